"""# FPU207 save-never-used

## What
A task's registers were saved at its switch-out, and when it came back they were still there:
nothing ever read what was saved. This is a normal cost: it is listed with `--costs` only.

## Why it matters
The save is needed all the same, since nobody knows beforehand where the task runs next. Many of
them mean that the CPU flips between this task and idle or kernel threads.

## Generations
All of them. Until 5.1 (G0 to G3) a restore that is skipped prints the same event, so it is
`possible`.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch.

## Example
`sample_traces/6.12-two-vms`:

    5.568535879 [000] kvmload-209 x86_fpu:x86_fpu_regs_deactivated load_fpu=0 xfeatures=0x7
    5.577391197 [000] kvmload-209 sched:sched_switch prev_pid=209 prev_state=0 next_pid=18
    5.577416615 [000] kvmload-209 x86_fpu:x86_fpu_regs_deactivated load_fpu=0 xfeatures=0x7

## When it can be wrong
It rests on an activation that was not printed: confirmed only where the CPU prints one again
later.

## References
* `fpregs_state_valid()` in arch/x86/kernel/fpu/context.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FACTS = Fact.SAVE_UNUSED | Fact.SAVE_UNUSED_OPEN


def check(rows: Rows, _generation: str) -> Check:
    """A save, and the next one on the same CPU with no restore between."""
    return verdicts(rows, confirmed=Fact.SAVE_UNUSED, possible=Fact.SAVE_UNUSED_OPEN)


def price(rows: Rows) -> NDArray[np.bool_]:
    """One save."""
    return rows.show(_FACTS)


def say(case: Case) -> str:
    """How often."""
    return (
        f"What was saved of {case.comm} was never read {case.times}: its registers were still on "
        "the CPU when it came back."
    )


RULE = Rule(
    code="FPU207",
    name="save-never-used",
    severity=Severity.PERFORMANCE,
    title="a switch-out save that no restore ever read",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
    ),
    facts=_FACTS,
    check=check,
    proof=(
        Step("cause", "the registers are saved"),
        Step("switch", "the task leaves the CPU again later"),
        Step("event", "and they still were the task's: nothing had been restored"),
    ),
    say=say,
    shown_again=((Fact.SAVE_UNUSED, "x86_fpu"),),
    one_cpu=True,
    price=price,
    moves=(1, 0),
    costs_only=True,
    other_reading="the restore may have been done: it prints the same event in this generation",
)
