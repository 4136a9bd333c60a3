"""# FPU109 guest-fpu-unloaded-twice

## What
A vCPU thread put its guest FPU although it was not loaded.

## Why it matters
The put stores the VMM's registers as the guest's image, and loads an older user image over the
VMM's registers: both are lost. From 5.16 on it leaves the wrong `fpu->fpstate` behind.

## Generations
All; in G1 the put does nothing when no guest is loaded, so it is not expected there. Kernels with
9bc610b6a2a7 (7.2 has it) refuse the second put and print nothing: there an imbalance shows as a
missing `kvm_fpu` and a VM that is dead (`KVM_BUG_ON`).

## Events needed
kvm:kvm_fpu, sched:sched_switch. Without sched:sched_process_fork and sched:sched_process_free (a
pid may be used again) a finding is only `possible`.

## Example
No recording shows it. The scenario in tests/rules/test_fpu109.py follows f958bd2314d1: a KVM_RUN
ends with `kvm_fpu` load=0, then KVM_GET_MP_STATE sees an INIT and prints `kvm_fpu` load=0 once
more.

## When it can be wrong
A lost event or a reused pid would look like it: so a hole in the trace makes the load state
unknown, and `sched_process_fork` and `sched_process_free` start it anew. Pairs of load and unload
outside of KVM_RUN (KVM_GET_MP_STATE, in 6.18 and later also the MSR ioctls) are in order.

## References
* f958bd2314d1: load and put the guest FPU around the INIT in KVM_GET_MP_STATE on MPX hosts.
* 9bc610b6a2a7, which hardens KVM against imbalanced load and put.
* `kvm_put_guest_fpu()` and `kvm_vcpu_reset()` in arch/x86/kvm/x86.c; docs/model.md.
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
        f"{case.comm} put its guest FPU {case.times} although it was not loaded: the put "
        "stored the VMM's registers as the guest's image."
    )


RULE = Rule(
    code="FPU109",
    name="guest-fpu-unloaded-twice",
    severity=Severity.ERROR,
    title="guest FPU put while it was not loaded",
    generations=_ALL,
    needs=("kvm:kvm_fpu", "sched:sched_switch"),
    excuses=("sched:sched_process_fork", "sched:sched_process_free"),
    by_absence=True,
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
