"""# FPU208 sticky-avx512

## What
Every one of at least 64 switch-out saves in a row of a task (or of its guest) held AVX-512 or AMX
state: components 5 to 7, 17 or 18 of `xfeatures`.

## Why it matters
Such a save and its restore move up to 1.6 KiB more for AVX-512 and 8 KiB more for AMX. A component
counts as in use until it is initialised again: one old instruction without a `vzeroupper` or
`tilerelease` behind it keeps it so for the life of the task, and AVX-512 may lower the core's
clock.

## Generations
All of them.

## Events needed
x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch.

## Example
No recording shows it: the CPUs they were recorded on have neither. The scenario in
tests/rules/test_costs.py saves a task 64 times with xfeatures=0xe7.

## When it can be wrong
A trace shows no instructions: a task that computes with AVX-512 all the time looks the same, so
this is `possible` and never more. `count` counts saves; the price is what these components add.

## References
* Intel SDM 1, 13.6: processor tracking of XSAVE-managed state may be conservative.
* arch/x86/kernel/fpu/xstate.c (`avx512_timestamp`, /proc/PID/arch_status shows it on a live
  system).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.pricing import STICKY_BITS
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FACTS = Fact.STICKY


def check(rows: Rows, _generation: str) -> Check:
    """Many saves in a row with such a component in use."""
    return verdicts(rows, possible=Fact.STICKY)


def price(rows: Rows) -> NDArray[np.bool_]:
    """What these components add to a save and a restore."""
    return rows.show(_FACTS)


def say(case: Case) -> str:
    """How often."""
    return (
        f"AVX-512 or AMX state of {case.comm} was in use at {case.count} switch-out saves, at "
        "every one for long: either it computes with them all the time, or nobody cleared them."
    )


RULE = Rule(
    code="FPU208",
    name="sticky-avx512",
    severity=Severity.PERFORMANCE,
    title="AVX-512 or AMX state in use at every one of many saves",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=("x86_fpu:x86_fpu_regs_deactivated", "sched:sched_switch"),
    facts=_FACTS,
    check=check,
    proof=(Step("event", "saved with such a component in use, as all before it"),),
    say=say,
    one_cpu=True,
    price=price,
    components=STICKY_BITS,
    other_reading="the task may use AVX-512 or AMX all the time",
)
