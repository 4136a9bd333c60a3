"""# FPU109 guest-fpu-unloaded-twice

## What
A vCPU thread put its guest FPU although it was not loaded.

## Why it matters
The second put stores the VMM's registers as the guest's image, and loads an old user image over the VMM's registers.

## Generations
All. From 5.16 on (`KVM_BUG_ON`, 9bc610b6a2a7) newer kernels refuse the second one and print nothing.

## Events needed
kvm:kvm_fpu, sched:sched_switch.

## Example
No recording shows it; the scenario in the tests follows f958bd2314d1 (an INIT seen in KVM_GET_MP_STATE on an MPX host).

## When it can be wrong
A lost event or a reused pid would look like it; so a hole in the trace makes the load state unknown, and
`sched_process_fork` and `_free` start it anew.

## References
Reference C.3 KVM-UNLOAD-TWICE; commits f958bd2314d1, 9bc610b6a2a7.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_ALL = frozenset({"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """kvm_fpu unload while out."""
    return verdicts(rows, confirmed=Fact.UNLOAD_TWICE)


def say(case: Case) -> str:
    """What the second one did."""
    return (
        f"{case.comm} put its guest FPU {case.count} times in a row without a load between: the second put "
        "stored the VMM's registers as the guest's image."
    )


RULE = Rule(
    code="FPU109",
    name="guest-fpu-unloaded-twice",
    severity=Severity.ERROR,
    title="guest FPU put while it was not loaded",
    generations=_ALL,
    needs=("kvm:kvm_fpu", "sched:sched_switch"),
    facts=Fact.UNLOAD_TWICE,
    check=check,
    proof=(
        Step("kvm", "the guest is unloaded"),
        Step("event", "and unloaded again, with no load between"),
    ),
    say=say,
    core=_ALL,
    vcpu_only=True,
    other_reading="events may be missing in between",
)
