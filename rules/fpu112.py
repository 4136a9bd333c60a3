"""# FPU112 vm-entry-after-kernel-fpu

## What
A vCPU entered its guest with what the kernel's own use of the FPU had left in the registers: after
`kernel_fpu_end()` nobody owned them, and no restore followed before VM entry.

## Why it matters
The guest runs on leftovers of the kernel's computation (a cipher's state, say): corruption, and a
leak into the guest. Linux 5.2.5 to 5.4.18 had such a hole (bug 206215: Windows guests died).

## Generations
G4a to G6 (5.2 on: `kernel_fpu_begin()` puts the task's registers away for good).

## Events needed
kvm:kvm_entry, x86_fpu:x86_fpu_regs_activated, sched:sched_switch, and probes on
`kernel_fpu_begin_mask` (`kernel_fpu_begin` in older kernels) and `kernel_fpu_end`.

## Example
No recording shows it. The scenario in tests/rules/test_probed.py leaves out `switch_fpu_return()`
in `vcpu_enter_guest()` after a section: `kernel_fpu_begin_mask`, `kernel_fpu_end`, `kvm_entry` with
no `regs_activated` between.

## When it can be wrong
A section counts only when its begin and its end are of one task with no `sched_switch` between, and
what follows is judged on that CPU until somebody acquires its registers. In G4a, G4x and G4c the
reload comes after `kvm_entry`: there the CPU's next event of the kernel's own is awaited.
Confirmed only if the CPU shows a `regs_activated` again later; `possible` where a probe's function
is known by its event's name only.

## References
* 2620fe268e80 "KVM: x86: Revert 'KVM: X86: Fix fpu state crash in kvm guest'", which took
  e751732486eb back; bug 206215.
* `kernel_fpu_begin_mask()` in arch/x86/kernel/fpu/core.c: `__cpu_invalidate_fpregs_state()`.
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact


def check(rows: Rows, _generation: str) -> Check:
    """VM entry on a CPU whose registers are the kernel's leftovers."""
    return verdicts(rows, confirmed=Fact.KERNEL_ENTRY)


def say(case: Case) -> str:
    """What the guest got."""
    return (
        f"{case.comm} entered its guest {case.times} with what the kernel's own use of the FPU had "
        "left in the registers: after kernel_fpu_end() they were nobody's, and no regs_activated "
        "brought the guest's back."
    )


RULE = Rule(
    code="FPU112",
    name="vm-entry-after-kernel-fpu",
    severity=Severity.ERROR,
    title="VM entry with the kernel's leftovers in the registers",
    generations=frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    needs=(
        "kvm:kvm_entry",
        "x86_fpu:x86_fpu_regs_activated",
        "sched:sched_switch",
        "probe:kernel_fpu_begin_mask|probe:kernel_fpu_begin",
        "probe:kernel_fpu_end",
    ),
    facts=Fact.KERNEL_ENTRY,
    check=check,
    proof=(
        Step("acted", "the guest's registers are loaded"),
        Step("begin", "the kernel begins to use the FPU: they are put away"),
        Step("end", "it has done: the registers are nobody's"),
        Step("event", "the guest is entered, and no restore was seen"),
    ),
    say=say,
    shown_again=((ANY, "regs_activated"),),
    one_cpu=True,
    vcpu_only=True,
    other_reading="tracing may have been switched off on that CPU for a while",
)
