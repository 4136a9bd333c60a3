"""# FPU114 fork-runs-on-parent-registers

## What
A forked task was switched out with a save, or was seen in user mode, before its own registers had
ever been loaded: it ran on what its parent (or anybody) had left in them.

## Why it matters
The child computes with another task's registers, and the save stores them as its own.

## Generations
All of them but G0 (4.14 on). In the eager ones, G1 to G3, a child may also begin with a first use.

## Events needed
sched:sched_process_fork, x86_fpu:x86_fpu_regs_activated, sched:sched_switch, and one of
x86_fpu:x86_fpu_regs_deactivated, raw_syscalls:sys_enter, exceptions:page_fault_user.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py lets `ret_from_fork()` reach user
mode without `switch_fpu_return()`: `sched_process_fork`, `sched_switch` to the child, and its save
with no `regs_activated` of it between.

## When it can be wrong
Only a child whose fork was recorded counts, and only while no hole could hide its first restore.
The deactivation that an exit prints is none of a switch. Confirmed only if the CPU shows a
`regs_activated` again later.

## References
* `fpu_clone()` in arch/x86/kernel/fpu/core.c: `last_cpu` of a new task is -1, so its first restore
  cannot be elided; `set_tsk_thread_flag(dst, TIF_NEED_FPU_LOAD)` (5.2 on).
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_FACTS = Fact.CHILD_SAVED | Fact.CHILD_USER
_EAGER = frozenset({"G1", "G2", "G2x", "G3"})
_ALL = _EAGER | {"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}


def check(rows: Rows, generation: str) -> Check:
    """A save or user mode of a child before its first restore."""
    if generation in _EAGER:
        return verdicts(rows, possible=_FACTS)
    return verdicts(rows, confirmed=_FACTS)


def say(case: Case) -> str:
    """Whose registers the child ran on."""
    return (
        f"{case.comm} was forked and went on {case.times} without its registers ever being loaded: "
        "it ran on what another task had left in them."
    )


RULE = Rule(
    code="FPU114",
    name="fork-runs-on-parent-registers",
    severity=Severity.ERROR,
    title="a forked task runs on registers that were never loaded for it",
    generations=_ALL,
    needs=("x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"),
    facts=_FACTS,
    check=check,
    proof=(
        Step("cause", "the task is forked: its first restore is due before user mode"),
        Step("event", "it goes on, and no restore was seen"),
    ),
    say=say,
    routes=(
        Route(
            _ALL,
            ("sched:sched_process_fork", "x86_fpu:x86_fpu_regs_deactivated"),
            "forks, or the saves after them, were not recorded",
        ),
        Route(
            _ALL,
            ("sched:sched_process_fork", "raw_syscalls:sys_enter|exceptions:page_fault_user"),
            "user mode itself was not recorded",
        ),
    ),
    shown_again=((ANY, "regs_activated"),),
    other_reading="the task may have initialised its state without an event",
)
