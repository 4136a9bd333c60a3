"""# FPU105 missing-restore-at-user-return

## What
A task was seen in user mode on a CPU whose registers were last acquired by somebody else; or it
went on, to user mode or to its next switch-out save, with what the kernel's own use of the FPU had
left in them.

## Why it matters
User space runs with another task's registers: corruption, and a leak between processes.

## Generations
G4a to G6 (5.2 on: the restore is due on the way back to user mode).

## Events needed
x86_fpu:x86_fpu_regs_activated, sched:sched_switch, and proof of user mode:
exceptions:page_fault_user or raw_syscalls:sys_enter. Without sched:sched_process_exec (an exec
throws the registers away) a finding is only `possible`.

By probes on `kernel_fpu_begin_mask` (`kernel_fpu_begin` in older kernels) and `kernel_fpu_end`: the
kernel's sections. With them x86_fpu:x86_fpu_regs_deactivated is evidence too: from 5.2 on a
switch-out saves only registers whose TIF_NEED_FPU_LOAD is clear.

## Example
No recording shows it. The scenario in tests/rules/test_fpu105.py leaves out `switch_fpu_return()`
once: `regs_activated` of task A, `sched_switch` to task B, `page_fault_user` of B with no
`regs_activated` of B between.

## When it can be wrong
A `sys_enter` that is a task's first sign of user mode since its switch-in proves nothing about
that CPU: interrupts are on between the entry and its tracepoint, so the task may have been moved
in between. It counts only after an earlier `sys_enter` or `sys_exit` of the same stay; a
`page_fault_user` is printed with interrupts still off and always counts. Nothing is said between
an exec and the next activation. Confirmed only if the CPU shows a `regs_activated` again later.
A section counts only when its begin and its end are of one task with no `sched_switch` between;
what follows is judged on that CPU, until somebody acquires its registers. An interrupt's section
may lie between the entry of a system call and its `sys_enter`: only the next one counts.

## References
* 5f409e20b794 "x86/fpu: Defer FPU state load until return to userspace" (5.2).
* `switch_fpu_return()` in arch/x86/kernel/fpu/core.c, called on the way to user mode;
  docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_KERNEL = Fact.KERNEL_SAVED | Fact.KERNEL_USER
_FACTS = Fact.USER_FOREIGN | _KERNEL
_DEFERRED = frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """User mode with a foreign owner; user mode or a save with the kernel's leftovers."""
    return verdicts(rows, confirmed=_FACTS)


def say(case: Case) -> str:
    """Whose registers user mode saw."""
    if case.facts & _KERNEL:
        return (
            f"In {case.stays}, {case.comm} went on with what the kernel's own use of the FPU had "
            "left in the registers: after kernel_fpu_end() they were nobody's, and no "
            "regs_activated brought the task's own back."
        )
    return (
        f"In {case.stays}, {case.comm} ran in user mode while the registers were "
        f"last acquired by {case.owner}: the restore on the way back to user mode never happened."
    )


RULE = Rule(
    code="FPU105",
    name="missing-restore-at-user-return",
    severity=Severity.ERROR,
    title="user mode reached with another task's registers",
    generations=_DEFERRED,
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "sched:sched_switch",
    ),
    excuses=("sched:sched_process_exec",),
    facts=_FACTS,
    check=check,
    proof=(
        Step("acted", "the task's own last restore"),
        Step("own", "the registers of this CPU are acquired"),
        Step("in", "the task is switched in: a restore is due before user mode"),
        Step("begin", "the kernel begins to use the FPU: the task's registers are put away"),
        Step("end", "it has done: the registers are nobody's"),
        Step("event", "the task goes on with these registers, and no restore was seen"),
    ),
    say=say,
    shown_again=((ANY, "regs_activated"),),
    routes=(
        Route(
            _DEFERRED,
            ("exceptions:page_fault_user|raw_syscalls:sys_enter",),
            "user mode itself was not recorded",
        ),
        Route(
            _DEFERRED,
            (
                "probe:kernel_fpu_begin_mask|probe:kernel_fpu_begin",
                "probe:kernel_fpu_end",
                "x86_fpu:x86_fpu_regs_deactivated",
            ),
            "the kernel's own use of the registers shows only with probes on it",
        ),
    ),
    other_reading="tracing may have been switched off on that CPU for a while",
)
