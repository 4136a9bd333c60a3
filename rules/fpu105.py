"""# FPU105 missing-restore-at-user-return

## What
A task was seen in user mode while the CPU's registers were last acquired by somebody else.

## Why it matters
User space runs with another task's registers: corruption, and a leak between processes.

## Generations
G4a to G6 (deferred load: the restore is due on the way back to user mode).

## Events needed
x86_fpu:x86_fpu_regs_activated, sched:sched_switch, and proof of user mode: exceptions:page_fault_user or
raw_syscalls:sys_enter.

## Example
No recording shows it; the scenario in the tests follows `switch_fpu_return()` left out once.

## When it can be wrong
A `sys_enter` that is a task's first event after its switch-in proves nothing about the registers of that CPU (interrupts
are on between entry and tracepoint): it counts only after an earlier `sys_enter` or `sys_exit` of the same stay.
Not judged between exec and the next activation. The kernel's own use of the registers is seen with probes only.

## References
Reference C.1 (on-CPU evidence), C.2 rule 2d, C.3a.3.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_DEFERRED = frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """User mode on this CPU with a foreign owner."""
    return verdicts(rows, confirmed=Fact.USER_FOREIGN)


def say(case: Case) -> str:
    """Whose registers user mode saw."""
    return (
        f"In {case.count} stays on a CPU {case.comm} ran in user mode while the registers were last acquired by "
        f"{case.owner}: the restore on the way back to user mode never happened."
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
        "exceptions:page_fault_user|raw_syscalls:sys_enter",
    ),
    facts=Fact.USER_FOREIGN,
    check=check,
    proof=(
        Step("acted", "the task's own last restore"),
        Step("own", "the registers of this CPU are acquired"),
        Step("in", "the task is switched in: a restore is due before user mode"),
        Step("event", "the task is in user mode, and no restore was seen"),
    ),
    say=say,
    shown_again="regs_activated",
    unseen="the kernel's own use of the registers shows only with kprobes on kernel_fpu_begin_mask and kernel_fpu_end",
    other_reading="tracing may have been switched off on that CPU for a while",
)
