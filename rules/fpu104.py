"""# FPU104 missing-restore-claimed-valid

## What
The kernel treated a CPU's registers as this task's (`TIF_NEED_FPU_LOAD` clear: it saved them at
switch-out, or replaced them without loading them first) although another task had acquired them
since, or this task's were last loaded on another CPU. It is `fpregs_assert_state_consistent()`,
checked afterwards.

## Why it matters
The task ran with foreign registers, and these were saved as its own: corruption, and a leak
between tasks. CVE-2019-19602 was this: gcc 9 cached `fpu_fpregs_owner_ctx` over a schedule.

## Generations
G4a to G6 (5.2 on: the load is deferred, the flag says whether it is still due). A save at
switch-out tells that the flag was clear: with it set, nothing is saved. Its `load_fpu` is 0 in
G4a to G5; in G6 `switch_fpu()` sets the flag before it prints, so it is 1 there.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch. Without
x86_fpu:x86_fpu_dropped (a task's end) a finding is only `possible`.

## Example
`sample_traces/6.1-stale-owner`, a 6.1.176 that takes foreign registers for valid: the vCPU's own
restore, another task's, the switch back, and the save of what that task had loaded.

    3.339090654 [001] CPU 1/KVM-81 x86_fpu:x86_fpu_regs_activated fpu=0xff11000000378980
    3.340282564 [001] fpsleeper-77 x86_fpu:x86_fpu_regs_activated fpu=0xff110000008a2980
    3.340340834 [001] fpsleeper-77 sched:sched_switch prev_pid=77 prev_state=1 next_pid=81
    3.340762574 [001] CPU 1/KVM-81 x86_fpu:x86_fpu_regs_deactivated fpu=0xff11000000378980

## When it can be wrong
A dead task is saved once more after `x86_fpu_dropped` (`fpu__drop()` leaves the flag alone): left
out. Acquisitions are always printed, so a foreign owner is proof while the CPU was in sight; it
is confirmed only if that CPU shows a `regs_activated` again later.

## References
* 59c4bd853abc "x86/fpu: Don't cache access to fpu_fpregs_owner_ctx" (CVE-2019-19602).
* 5f409e20b794 "x86/fpu: Defer FPU state load until return to userspace" (5.2).
* `fpregs_assert_state_consistent()` and `switch_fpu_return()` in arch/x86/kernel/fpu/core.c;
  docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_FACTS = Fact.CLEAR_FOREIGN | Fact.CLEAR_ELSEWHERE
_DEFERRED = frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """TIF_NEED_FPU_LOAD was clear while the model's owner is somebody else."""
    return verdicts(rows, confirmed=_FACTS)


def say(case: Case) -> str:
    """Whose registers were taken for this task's."""
    held = (
        f"they were last acquired by {case.owner}"
        if Fact.CLEAR_FOREIGN in case.facts
        else "its own had last been loaded on another CPU"
    )
    return (
        f"In {case.stays}, {case.comm} was taken to have its registers loaded "
        f"(TIF_NEED_FPU_LOAD clear) although {held}: the restore that was due never happened, and "
        "the task ran on, and was saved with, registers that are not its own."
    )


RULE = Rule(
    code="FPU104",
    name="missing-restore-claimed-valid",
    severity=Severity.ERROR,
    title="registers treated as this task's although another acquired them since",
    generations=_DEFERRED,
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
    ),
    excuses=("x86_fpu:x86_fpu_dropped",),
    facts=_FACTS,
    check=check,
    proof=(
        Step("acted", "the task's own last restore"),
        Step("own", "the registers of this CPU are acquired"),
        Step("in", "the task is switched in: a restore is due"),
        Step("event", "its TIF_NEED_FPU_LOAD is clear: the registers count as its own"),
    ),
    say=say,
    shown_again=((ANY, "regs_activated"),),
    core=_DEFERRED,
    other_reading="tracing may have been switched off on that CPU for a while",
)
