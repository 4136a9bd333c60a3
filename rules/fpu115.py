"""# FPU115 exec-leaks-registers

## What
A task executed a new program and was seen in user mode of it with no restore since: the old
program's registers were still there.

## Why it matters
What the old program computed, keys included, is readable by the new one, which may run with other
rights.

## Generations
G1 to G6. From 5.14 on the flush throws the registers away and the restore comes on the way to user
mode; before, `fpu__clear()` loads initial registers before `sched_process_exec` is printed.

## Events needed
sched:sched_process_exec, x86_fpu:x86_fpu_regs_activated, sched:sched_switch, and proof of user
mode: raw_syscalls:sys_enter or exceptions:page_fault_user. Before 5.14 raw_syscalls:sys_enter,
which shows where the exec began.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py leaves out the restore after
`fpu_flush_thread()`: `sched_process_exec`, `sys_enter` of the same task with no `regs_activated`
between.

## When it can be wrong
`sys_exit` is no proof of user mode here: it precedes the restore. Nothing is said over a hole, nor
before 5.14 of an exec by a thread that is not the leader, whose pid changes on the way. In the
eager generations, G1 to G3, it is `possible` only. Confirmed only if the CPU shows a
`regs_activated` again later.

## References
* `fpu_flush_thread()` in arch/x86/kernel/fpu/core.c (5.14 on), `fpu__clear()` before.
* `begin_new_exec()` in fs/exec.c runs before `trace_sched_process_exec()`.
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_LATE = frozenset({"G5", "G6"})
_EARLY = frozenset({"G4a", "G4x", "G4b", "G4c", "G4d"})
_EAGER = frozenset({"G1", "G2", "G2x", "G3"})


def check(rows: Rows, generation: str) -> Check:
    """User mode after an exec with no restore in between, or before it where that comes first."""
    if generation in _LATE:
        return verdicts(rows, confirmed=Fact.EXEC_USER)
    if generation in _EARLY:
        return verdicts(rows, confirmed=Fact.EXEC_USER_EARLY)
    return verdicts(rows, possible=Fact.EXEC_USER_EARLY)


def say(case: Case) -> str:
    """What the new program can read."""
    return (
        f"{case.comm} executed a program {case.times} and reached user mode of it with no restore "
        "since: the old program's registers were still there."
    )


RULE = Rule(
    code="FPU115",
    name="exec-leaks-registers",
    severity=Severity.ERROR,
    title="a new program starts with the old one's registers",
    generations=_LATE | _EARLY | _EAGER,
    needs=("x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"),
    facts=Fact.EXEC_USER | Fact.EXEC_USER_EARLY,
    check=check,
    proof=(
        Step("cause", "the task has executed a program: its registers are thrown away"),
        Step("event", "it is in user mode, and no restore was seen"),
    ),
    say=say,
    routes=(
        Route(
            _LATE,
            ("sched:sched_process_exec", "raw_syscalls:sys_enter|exceptions:page_fault_user"),
            "execs, or user mode after them, were not recorded",
        ),
        Route(
            _EARLY | _EAGER,
            ("sched:sched_process_exec", "raw_syscalls:sys_enter"),
            "execs, or the system calls that make them, were not recorded",
        ),
    ),
    shown_again=((ANY, "regs_activated"),),
    other_reading="the registers may have been loaded without an event",
)
