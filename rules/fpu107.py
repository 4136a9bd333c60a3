"""# FPU107 missing-save

## What
A task whose registers were live was switched out, and nothing saved them.

## Why it matters
The task's next restore brings back an older image: what it computed in between is lost.

## Generations
All of them, G0 to G6. From 5.2 on `kernel_fpu_begin()` may have saved the registers already, and an
exec or a failed sigreturn may have thrown them away, all without an event: there the rule needs
probes, and the coverage says so.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch. Without
x86_fpu:x86_fpu_dropped (an exit, exec or signal) a finding is only `possible`.

By probes, from 5.2 on: `kernel_fpu_begin_mask` (`kernel_fpu_begin` in older kernels) and
`save_fpregs_to_fpstate` (`copy_fpregs_to_fpstate` before 5.14), and sched:sched_process_exec where
no guest is loaded. From 5.16 on `fpu_swap_kvm_fpstate`
too: a guest swapped in over the VMM's live registers.

## Example
No recording of an eager kernel shows it. The scenario in tests/rules/test_fpu107.py leaves out
`switch_fpu_prepare()` once: `regs_activated` of a task at its switch-in, its `sched_switch` out,
and the next task's events with no `regs_deactivated` between.

## When it can be wrong
A task that dropped its state since (`x86_fpu_dropped`: exit, exec, signal) is left out. Judged
only where the whole switch was in sight. If the incoming task printed nothing of its own, a pid
filter may have left out the outgoing one's last events: `possible`. Confirmed only if the CPU shows
the save of a later switch-out. From 5.2 on, by probes: an exec shows only afterwards, so a
switch-out is confirmed only while the thread's guest is loaded, else `possible`; and it is
`possible` where interrupts use the FPU at all, because a kprobe that is hit while another one's
handler runs leaves no record (`kprobes_inc_nmissed_count()`). A swap with TIF_NEED_FPU_LOAD set
owes no save: only one whose `regs_activated` prints `load_fpu` 0 counts, of a thread whose swaps
have shown that their call of the save is not inlined. Where switch-outs show that the save's probe
was off for a while, all of this is `possible`.

## References
* `__switch_to()` in arch/x86/kernel/process_64.c and `switch_fpu_prepare()` in
  arch/x86/include/asm/fpu/internal.h, 4.14 to 5.1; `fpu__drop()` in arch/x86/kernel/fpu/core.c.
* docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_EAGER = frozenset({"G0", "G1", "G2", "G2x", "G3"})
_DEFERRED = frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})
_SAVE = "probe:save_fpregs_to_fpstate|probe:copy_fpregs_to_fpstate"
_BEGIN = "probe:kernel_fpu_begin_mask|probe:kernel_fpu_begin"
_BY_EVENTS = Fact.LIVE_NOT_SAVED | Fact.LIVE_NOT_SAVED_QUIET
_AT_SWITCH = Fact.OUT_NOT_SAVED_LOADED | Fact.OUT_NOT_SAVED


def check(rows: Rows, generation: str) -> Check:
    """Live registers, a whole switch window in sight, no save in it."""
    if generation not in _EAGER:
        proof = Fact.OUT_NOT_SAVED_LOADED | Fact.SWAP_NOT_SAVED
        return verdicts(rows, proof, Fact.OUT_NOT_SAVED)
    return verdicts(rows, Fact.LIVE_NOT_SAVED, Fact.LIVE_NOT_SAVED_QUIET)


def say(case: Case) -> str:
    """What was lost."""
    if Fact.SWAP_NOT_SAVED in case.facts:
        return (
            f"fpu_swap_kvm_fpstate() loaded {case.comm}'s guest {case.times} over live registers "
            "of the VMM and no save of them: the VMM gets back an older image."
        )
    return (
        f"{case.comm} was switched out {case.times} with live registers and no save of them: "
        "its next restore brings back an older image."
    )


RULE = Rule(
    code="FPU107",
    name="missing-save",
    severity=Severity.ERROR,
    title="live registers of a task given up without a save",
    generations=_EAGER | _DEFERRED,
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
    ),
    excuses=("x86_fpu:x86_fpu_dropped",),
    facts=_BY_EVENTS | _AT_SWITCH | Fact.SWAP_NOT_SAVED,
    check=check,
    proof=(
        Step("acted", "the task's registers are loaded"),
        Step("swap", "fpu_swap_kvm_fpstate() begins: a save is due"),
        Step("event", "the registers are given up, and no save was seen"),
    ),
    say=say,
    routes=(
        Route(_EAGER, ()),
        Route(
            _DEFERRED,
            (_SAVE, _BEGIN),
            "the kernel may have saved without an event, which only probes show",
        ),
        Route(
            _DEFERRED,
            (_SAVE, _BEGIN, "sched:sched_process_exec"),
            "an exec throws registers away: of tasks without a guest loaded nothing is said",
        ),
        Route(
            frozenset({"G5", "G6"}),
            (_SAVE, "probe:fpu_swap_kvm_fpstate"),
            "whether a swap saved what it replaced shows only with probes",
        ),
    ),
    shown_again=(
        (_BY_EVENTS, "regs_deactivated"),
        (_AT_SWITCH, "regs_deactivated+save probe"),
        (Fact.SWAP_NOT_SAVED, "save probe"),
    ),
    one_cpu=True,
    other_reading="the recording may be filtered by pid, or tracing was switched off for a while",
)
