"""# FPU104 missing-restore-claimed-valid

## What
The kernel treated the CPU's registers as this task's own (`TIF_NEED_FPU_LOAD` clear: it saved them at switch-out, or swapped or
replaced them without loading first) although another task had acquired them since. This is
`fpregs_assert_state_consistent()`, checked afterwards.

## Why it matters
The task ran, and is saved, with foreign registers: corruption and a leak between tasks. CVE-2019-19602 was this
(59c4bd853abc, "x86/fpu: Don't cache access to fpu_fpregs_owner_ctx").

## Generations
G4a to G6 (deferred load). In G6 `switch_fpu()` sets the flag before it prints, so there the save itself tells that the
flag was clear.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch.

## Example
EXAMPLE

## When it can be wrong
A dead task's last save (after `x86_fpu_dropped`) is left out. Acquisitions are always traced, so a foreign owner is proof
while the CPU was in sight; confirmed only if the CPU shows a `regs_activated` again later.

## References
Reference C.2 rule 2c, C.3a.1, C.3a.3, C.3a.13; commit 59c4bd853abc.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
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
        f"In {case.count} stays on a CPU {case.comm} was taken to have its registers loaded "
        f"(TIF_NEED_FPU_LOAD clear) although {held}: the restore that was due never happened, and the "
        "task ran on, and was saved with, registers that are not its own."
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
    facts=_FACTS,
    check=check,
    proof=(
        Step("acted", "the task's own last restore"),
        Step("own", "the registers of this CPU are acquired"),
        Step("in", "the task is switched in: a restore is due"),
        Step("event", "its TIF_NEED_FPU_LOAD is clear: the registers count as its own"),
    ),
    say=say,
    shown_again="regs_activated",
    core=_DEFERRED,
    other_reading="tracing may have been switched off on that CPU for a while",
)
