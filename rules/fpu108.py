"""# FPU108 guest-fpu-loaded-twice

## What
A vCPU thread loaded its guest FPU although it was loaded already.

## Why it matters
The second load saves the guest's registers as the VMM's image (or loads an old guest image over the live one).

## Generations
All. From 5.16 on (`KVM_BUG_ON`, 9bc610b6a2a7) newer kernels refuse the second one and print nothing.

## Events needed
kvm:kvm_fpu, sched:sched_switch.

## Example
No recording shows it; the scenario in the tests follows the 4.14.94 backport (two `kvm_load_guest_fpu()` in one KVM_RUN).

## When it can be wrong
A lost event or a reused pid would look like it; so a hole in the trace makes the load state unknown, and
`sched_process_fork` and `_free` start it anew.

## References
Reference C.3 KVM-LOAD-TWICE; the 4.14.94 backport of f775b13eedee.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_ALL = frozenset({"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """kvm_fpu load while loaded."""
    return verdicts(rows, confirmed=Fact.LOAD_TWICE)


def say(case: Case) -> str:
    """What the second one did."""
    return (
        f"{case.comm} loaded its guest FPU {case.count} times in a row without an unload between: the second load "
        "stored the guest's registers as the VMM's image, or an old guest image over the live one."
    )


RULE = Rule(
    code="FPU108",
    name="guest-fpu-loaded-twice",
    severity=Severity.ERROR,
    title="guest FPU loaded while it was loaded",
    generations=_ALL,
    needs=("kvm:kvm_fpu", "sched:sched_switch"),
    facts=Fact.LOAD_TWICE,
    check=check,
    proof=(
        Step("kvm", "the guest is loaded"),
        Step("event", "and loaded again, with no unload between"),
    ),
    say=say,
    core=_ALL,
    vcpu_only=True,
    other_reading="events may be missing in between",
)
