"""# FPU111 raw-save-while-load-pending

## What
KVM saved the CPU's registers as the VMM's or the guest's image although `TIF_NEED_FPU_LOAD` said
that they were stale.

## Why it matters
Whatever the registers held is stored: another task's registers, or the kernel's, become the VMM's
or the guest's image.

## Generations
G4a, G4x and G4b, whose `kvm_load_guest_fpu()` and `kvm_put_guest_fpu()` save without a look at
the flag. From 5.4.19 and 5.5.3 on `kvm_save_current_fpu()` honours it: the same events are in
order.

## Events needed
x86_fpu:x86_fpu_regs_activated, kvm:kvm_fpu, sched:sched_switch.

## Example
`sample_traces/5.2.1-pinned`, an unmodified 5.2.1: the vCPU is saved and switched out, another
task runs, and when it is back the put finds the flag set (`load_fpu=1`) and saves all the same.

    3.312501698 [001] CPU 1/KVM-94 x86_fpu:x86_fpu_regs_deactivated load_fpu=0 xfeatures=0x217
    3.312530978 [001] fpsleeper-91 sched:sched_switch prev_pid=91 prev_state=1 next_pid=94
    3.312652468 [001] CPU 1/KVM-94 x86_fpu:x86_fpu_regs_activated load_fpu=1 xfeatures=0x217
    3.312671318 [001] CPU 1/KVM-94 kvm:kvm_fpu load=0

## When it can be wrong
If another task is known to have acquired the registers before, that is proof. If the flag alone
tells, they may still have been the thread's own, since nobody used them meanwhile: `possible`. In
G4b the thread's first activation after its switch-in may be the reload of
`kvm_arch_vcpu_load()` before a late `kvm_fpu`: not judged. Confirmed only if the CPU shows a
`regs_activated` again later.

## References
* c9aef3b85f42 "KVM: x86: Handle TIF_NEED_FPU_LOAD in kvm_{load,put}_guest_fpu()", first of a
  series of January 2020 by Sean Christopherson; 95145c25a78c, which had added a warning.
* Thomas Lambertz, July 2019: Windows guests and mprime in a guest fail on 5.2.
* `kvm_put_guest_fpu()` in arch/x86/kvm/x86.c of 5.2.1 and 5.3.1; docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import (
    ANY,
    Buffer,
    Case,
    Chain,
    Check,
    Frame,
    Rows,
    Rule,
    Severity,
    Step,
    verdicts,
)
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
        f"KVM saved the registers of {case.comm} {case.times} while TIF_NEED_FPU_LOAD was "
        f"set: {held}. What was stored as the thread's or the guest's image is not known to be "
        "its own."
    )


def chain(case: Case) -> Chain:
    """Switched out with a save, then swapped from registers that nobody had restored."""
    return Chain(
        (
            Frame(0, "__switch_to()"),
            Frame(1, "switch_fpu_prepare()", "save", "the thread's registers -> its image"),
            Frame(0, "__schedule()", "in", "back on the CPU: TIF_NEED_FPU_LOAD is set"),
            Frame(0, "kvm_load_guest_fpu() or kvm_put_guest_fpu()", "event"),
            Frame(
                1,
                "copy_fpregs_to_fpstate()",
                "",
                "the registers, stale -> the image of whom it takes out, OVER THE RIGHT ONE",
            ),
            Frame(1, "fpregs_mark_activate()", "acted", "prints load: 1: the flag was still set"),
        ),
        Buffer(
            "vcpu->arch.guest_fpu (at a put) or the VMM's image (at a load)",
            "its own registers",
            "whatever the CPU's held",
            "the next swap the other way, which gives them to the guest or to the VMM",
        ),
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
    shown_again=((ANY, "regs_activated"),),
    vcpu_only=True,
    chain=chain,
    other_reading="nobody may have used the registers between the flag and the save",
)
