"""# FPU108 guest-fpu-loaded-twice

## What
A vCPU thread loaded its guest FPU although it was loaded already.

## Why it matters
The second load saves the guest's registers as the VMM's image, and loads an older guest image
over the live one: both are lost. From 5.16 on it leaves the wrong `fpu->fpstate` behind.

## Generations
All of them. Kernels with 9bc610b6a2a7 (7.2 has it) refuse the second load and print nothing:
there an imbalance shows as a missing `kvm_fpu` and a VM that is dead (`KVM_BUG_ON`).

## Events needed
kvm:kvm_fpu, sched:sched_switch. Without sched:sched_process_fork and sched:sched_process_free (a
pid may be used again) a finding is only `possible`.

## Example
No recording shows it. The scenario in tests/rules/test_fpu108.py follows the 4.14.94 backport,
with two `kvm_load_guest_fpu()` in one KVM_RUN: `kvm_fpu` load=1, `kvm_fpu` load=1, `kvm_entry`,
and at the end two `kvm_fpu` load=0.

## When it can be wrong
A lost event or a reused pid would look like it: so a hole in the trace makes the load state
unknown, and `sched_process_fork` and `sched_process_free` start it anew. An INIT inside KVM_RUN
puts the guest and loads it again, which is in order.

## References
* 5663d8f9bbe4 (4.14.79) and f775b13eedee (4.14.94) reached 4.14.y in the wrong order; mails to
  stable by Sean Christopherson ("Fix a 4.14 backport regression ...") and D. Verkamp ("... remove
  extra kvm_{get,put}_guest_fpu").
* 9bc610b6a2a7, which hardens KVM against imbalanced load and put.
* `kvm_load_guest_fpu()` in arch/x86/kvm/x86.c; docs/model.md.
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
        f"{case.comm} loaded its guest FPU {case.times} although it was loaded: the second "
        "load stored the guest's registers as the VMM's image, and an older guest image over the "
        "live one."
    )


RULE = Rule(
    code="FPU108",
    name="guest-fpu-loaded-twice",
    severity=Severity.ERROR,
    title="guest FPU loaded while it was loaded",
    generations=_ALL,
    needs=("kvm:kvm_fpu", "sched:sched_switch"),
    excuses=("sched:sched_process_fork", "sched:sched_process_free"),
    by_absence=True,
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
