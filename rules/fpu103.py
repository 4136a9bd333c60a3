"""# FPU103 vm-entry-without-guest-load

## What
A vCPU thread entered its guest while the guest's FPU was not loaded: its last `kvm_fpu` was
`unload`, or there was none since the thread was created in this trace.

## Why it matters
The guest runs on the VMM's registers, and the VMM goes on with what the guest leaves in them:
both are corrupted, and each sees the other's data.

## Generations
G1 to G6. Up to 4.13 the guest FPU itself was lazy: an entry without it loaded is in order.

## Events needed
kvm:kvm_fpu, kvm:kvm_entry, sched:sched_switch. Without sched:sched_process_fork and
sched:sched_process_free (a pid may be used again) a finding is only `possible`.

## Example
No recording shows it. The scenario in tests/rules/test_fpu103.py leaves `kvm_load_guest_fpu()`
out of one KVM_RUN: `kvm_fpu` load=0, `kvm_userspace_exit`, then `kvm_entry` of the same thread
with no `kvm_fpu` load=1 between.

## When it can be wrong
A thread is judged from its first `kvm_fpu` on, or from its fork if the recording showed a
`kvm_fpu` before; not after it ran in a hole of the trace.
A KVM back end that emits no `kvm_entry` (PVM) is never judged. `kvm_fpu` may have been switched
off on that CPU for a while: confirmed only if the CPU shows one again later.

## References
* `kvm_arch_vcpu_ioctl_run()` in arch/x86/kvm/x86.c, which loads before it runs and puts after it
  (f775b13eedee and later); `vcpu_enter_guest()` in 4.14.0 to 4.14.93.
* docs/model.md: the state `kvm`.
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_ALL = frozenset({"G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """The guest FPU is known to be out at kvm_entry."""
    return verdicts(rows, confirmed=Fact.ENTRY_NOT_LOADED)


def say(case: Case) -> str:
    """What the guest ran with."""
    return (
        f"{case.comm} entered its guest {case.times} while the guest FPU was not loaded: no "
        "kvm_fpu load since the last unload (or since the thread was created). The guest ran on "
        "the VMM's registers."
    )


RULE = Rule(
    code="FPU103",
    name="vm-entry-without-guest-load",
    severity=Severity.ERROR,
    title="VM entry while the guest FPU is not loaded",
    generations=_ALL,
    needs=("kvm:kvm_fpu", "kvm:kvm_entry", "sched:sched_switch"),
    excuses=("sched:sched_process_fork", "sched:sched_process_free"),
    facts=Fact.ENTRY_NOT_LOADED,
    check=check,
    proof=(
        Step("kvm", "the guest is unloaded"),
        Step("in", "the vCPU thread is switched in"),
        Step("event", "the guest is entered, and no load was seen"),
    ),
    say=say,
    shown_again=((ANY, "kvm_fpu"),),
    core=_ALL,
    vcpu_only=True,
    other_reading="kvm_fpu may have been switched off on that CPU for a while",
)
