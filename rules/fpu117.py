"""# FPU117 kthread-owns-fpu

## What
A kernel thread (or the idle task) acquired the FPU registers as a user task does: `regs_activated`
printed by it outside a switch.

## Why it matters
Kernel threads have no user registers: the next save stores garbage, and the owner of the registers
is lost. The kernel warns of it (`WARN_ON_ONCE` in `fpregs_restore_userregs()`).

## Generations
G4a to G6. Before 5.2 an activation is printed under the outgoing task's pid.

## Events needed
x86_fpu:x86_fpu_regs_activated, sched:sched_switch; sched:sched_process_fork to know kernel
threads, and sched:sched_process_exec.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py lets a thread that kthreadd (pid
2) forked print `regs_activated`.

## When it can be wrong
Only the idle task and threads that kthreadd forked in sight count: nothing else in a trace tells a
kernel thread for certain. A user worker (io_uring, vhost) belongs to its process and is not seen.
A kernel that runs in a container's view of pids is not one: events print the kernel's own.

## References
* `fpregs_restore_userregs()` in arch/x86/kernel/fpu/context.h; 509e7a30cd0a.
* `kthreadd()` in kernel/kthread.c.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_DEFERRED = frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """An activation by a kernel thread."""
    return verdicts(rows, confirmed=Fact.KTHREAD_ACTIVE)


def say(case: Case) -> str:
    """Who took the registers."""
    return (
        f"{case.comm}, a kernel thread, acquired the FPU registers {case.times} as a user task "
        "does: it has none to restore."
    )


RULE = Rule(
    code="FPU117",
    name="kthread-owns-fpu",
    severity=Severity.ERROR,
    title="a kernel thread acquires the registers as a user task does",
    generations=_DEFERRED,
    needs=("x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"),
    facts=Fact.KTHREAD_ACTIVE,
    check=check,
    proof=(
        Step("cause", "kthreadd forks the thread"),
        Step("event", "it acquires the registers"),
    ),
    say=say,
    routes=(
        Route(
            _DEFERRED,
            ("sched:sched_process_fork", "sched:sched_process_exec"),
            "which tasks are kernel threads shows only with their forks and execs",
        ),
    ),
)
