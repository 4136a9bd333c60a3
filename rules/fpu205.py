"""# FPU205 migration-reload

## What
A task's registers were restored on another CPU than the one that had saved them. This is a normal
cost: it is listed with `--costs` only.

## Why it matters
On the CPU it came from the restore might have been skipped, and the image would have been in that
CPU's cache. Pinned vCPUs do not pay it.

## Generations
All of them; from 5.2 on (G4a to G6) a restore that was skipped prints nothing, so each is a real
one.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch; kvm:kvm_fpu,
which tells swaps apart.

## Example
`sample_traces/7.2-storm`, where no task is pinned:

    8.777449632 [001] CPU 0/KVM-140 x86_fpu:x86_fpu_regs_deactivated load_fpu=1 xfeatures=0x7
    8.797567567 [000] CPU 0/KVM-140 x86_fpu:x86_fpu_regs_activated load_fpu=1 xfeatures=0x7

## When it can be wrong
Whether it would have been skipped without the migration is not known: somebody else may have used
the CPU in between.

## References
* `fpregs_state_valid()` in arch/x86/kernel/fpu/context.h: `last_cpu` must be the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FACTS = Fact.MIGRATED_RELOAD


def check(rows: Rows, _generation: str) -> Check:
    """A restore on another CPU than the save."""
    return verdicts(rows, confirmed=Fact.MIGRATED_RELOAD)


def price(rows: Rows) -> NDArray[np.bool_]:
    """One restore."""
    return rows.show(_FACTS)


def say(case: Case) -> str:
    """How often."""
    return f"The registers of {case.comm} were restored on another CPU {case.times}."


RULE = Rule(
    code="FPU205",
    name="migration-reload",
    severity=Severity.PERFORMANCE,
    title="registers restored on another CPU than the one that saved them",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
    ),
    excuses=("kvm:kvm_fpu",),
    facts=_FACTS,
    check=check,
    proof=(
        Step("cause", "the registers are saved here"),
        Step("event", "and restored there"),
    ),
    say=say,
    price=price,
    moves=(0, 1),
    costs_only=True,
)
