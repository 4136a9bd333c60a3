"""# FPU111 raw-save-while-load-pending

## What
KVM saved the CPU's registers as the user's or the guest's image although `TIF_NEED_FPU_LOAD` said they were stale.

## Why it matters
Whatever the registers held is stored: another task's registers, or the kernel's, become the VMM's or the guest's
image. c9aef3b85f42 ("KVM: x86: Handle TIF_NEED_FPU_LOAD in kvm_{load,put}_guest_fpu()") fixed it.

## Generations
G4a, G4x and G4b, which save without looking at the flag. From 5.4.19 and 5.5.3 on `kvm_save_current_fpu()` honours it.

## Events needed
x86_fpu:x86_fpu_regs_activated, kvm:kvm_fpu, sched:sched_switch.

## Example
EXAMPLE

## When it can be wrong
The swap's own `regs_activated` prints `load: 1`. If another task is known to have acquired the registers before, that is
proof; if the flag alone tells, the registers may still have been the task's own (nobody used them meanwhile): `possible`.
In G4b an activation that is the task's first event after switch-in may be the reload of `kvm_arch_vcpu_load()`: not judged.

## References
Reference C.3 KVM-RAW-SAVE, C.3a.9; commits c9aef3b85f42, 95145c25a78c.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_FACTS = Fact.RAW_FOREIGN | Fact.RAW_ELSEWHERE | Fact.RAW_FLAGGED | Fact.RAW_FIRST
_GENERATIONS = frozenset({"G4a", "G4x", "G4b"})


def check(rows: Rows, generation: str) -> Check:
    """A swap that printed load: 1; proof when the registers were known to be foreign."""
    if generation not in _GENERATIONS:
        return verdicts(rows)
    found = verdicts(rows, Fact.RAW_FOREIGN | Fact.RAW_ELSEWHERE, Fact.RAW_FLAGGED)
    if generation != "G4b":
        return found
    # kvm_arch_vcpu_load() reloads at switch-in there: that activation is no swap's.
    swap = ~rows.show(Fact.RAW_FIRST)
    return Check(found.confirmed & swap, found.possible & swap)


def say(case: Case) -> str:
    """What was stored as whose image."""
    held = (
        "the registers had been acquired by another task"
        if Fact.RAW_FOREIGN in case.facts
        else "its own registers were last loaded on another CPU"
        if Fact.RAW_ELSEWHERE in case.facts
        else "the registers may have been used by the kernel since"
    )
    return (
        f"KVM saved the registers of {case.comm} {case.count} times while TIF_NEED_FPU_LOAD was set: {held}. "
        "What was stored as the thread's or the guest's image is not known to be its own."
    )


RULE = Rule(
    code="FPU111",
    name="raw-save-while-load-pending",
    severity=Severity.ERROR,
    title="KVM saves registers although TIF_NEED_FPU_LOAD said they were stale",
    generations=_GENERATIONS,
    needs=("x86_fpu:x86_fpu_regs_activated", "kvm:kvm_fpu", "sched:sched_switch"),
    facts=_FACTS,
    check=check,
    proof=(
        Step("save", "the thread's registers are saved and given up"),
        Step("in", "it is switched in: TIF_NEED_FPU_LOAD is set"),
        Step("", "saves the registers without looking at the flag", "kvm_{load,put}_guest_fpu()"),
        Step("acted", "the swap's activation prints load: 1: the registers were stale"),
        Step("event", "the swap is done"),
    ),
    say=say,
    shown_again="regs_activated",
    vcpu_only=True,
    other_reading="nobody may have used the registers between the flag and the save",
)
