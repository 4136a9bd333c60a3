"""# FPU118 ptrace-write-lost

## What
A debugger wrote a task's registers, and the task went on with no restore since: what was written
never reached the CPU.

## Why it matters
`PTRACE_SETREGSET` and `PTRACE_SETFPREGS` write the image in memory; where the CPU's copy still
counts as valid the debugger's change is lost, or half of it.

## Generations
G4a to G6 (5.2 on).

## Events needed
A probe on `fpu_force_restore` (`fpu__prepare_write` in older kernels) with its `struct fpu *`,
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch; proof of user
mode (raw_syscalls:sys_enter or exceptions:page_fault_user) finds more.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py leaves out the invalidation in
`fpu_force_restore()`: the probe with a task's `struct fpu *`, then that task's save with no
`regs_activated` of it between.

## When it can be wrong
Whose registers are written follows from the probe's argument, which is a `struct fpu *` that the
trace has shown as that task's; a probe that did not fetch it says nothing. Debuggers stop a task at
its system call before `sys_enter` is printed: only the next one is proof. `possible` where a
probe's function is known by its event's name only. Confirmed only if the CPU shows a
`regs_activated` again later.

## References
* `fpu_force_restore()` in arch/x86/kernel/fpu/regset.c: `__fpu_invalidate_fpregs_state()`.
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_DEFERRED = frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """A task that went on after a debugger's write with no restore between."""
    return verdicts(rows, confirmed=Fact.PTRACE_LOST)


def say(case: Case) -> str:
    """What was lost."""
    return (
        f"A debugger wrote {case.comm}'s registers, and the task went on {case.times} with no "
        "restore since: what was written never reached the CPU."
    )


RULE = Rule(
    code="FPU118",
    name="ptrace-write-lost",
    severity=Severity.ERROR,
    title="registers a debugger wrote are not loaded",
    generations=_DEFERRED,
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
    ),
    facts=Fact.PTRACE_LOST,
    check=check,
    proof=(
        Step("cause", "a debugger writes the task's registers: a restore is due"),
        Step("event", "the task goes on, and no restore was seen"),
    ),
    say=say,
    routes=(
        Route(
            _DEFERRED,
            ("probe:fpu_force_restore|probe:fpu__prepare_write",),
            "a debugger's writes show only with a probe on them",
        ),
    ),
    shown_again=((ANY, "regs_activated"),),
)
