"""# FPU206 halt-swap-cost

## What
A vCPU waited for an interrupt, its thread slept, and its registers were saved for it and restored
when it woke. This is a normal cost: it is listed with `--costs` only.

## Why it matters
A wait that polling would have ended costs a switch and this save and restore. `halt_poll_ns`
trades them for CPU time.

## Generations
All of them. Until 4.14.93 (G0, G1) KVM puts the guest first, which costs two more of each
(FPU201).

## Events needed
x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch, kvm:kvm_vcpu_wakeup.

## Example
No recording shows it: the little guests of the samples compute and never halt. The scenario in
tests/rules/test_costs.py has one: `sched_switch` with prev_state=1, `regs_deactivated`, and
`kvm_vcpu_wakeup waited=1` when it is back.

## When it can be wrong
The count is what the events say; the price is of one save and one restore, which may have been
skipped where nobody else used the CPU.

## References
* `kvm_vcpu_halt()` (kvm_vcpu_block() before 5.17) in virt/kvm/kvm_main.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FACTS = Fact.HALT_SWAP


def check(rows: Rows, _generation: str) -> Check:
    """A wait of the vCPU with a switch-out save."""
    return verdicts(rows, confirmed=Fact.HALT_SWAP)


def price(rows: Rows) -> NDArray[np.bool_]:
    """One save, one restore."""
    return rows.show(_FACTS)


def say(case: Case) -> str:
    """How often."""
    return f"{case.comm} waited for an interrupt {case.times}, and its registers were saved for it."


RULE = Rule(
    code="FPU206",
    name="halt-swap-cost",
    severity=Severity.PERFORMANCE,
    title="registers saved and restored around a wait of the vCPU",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=(
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
        "kvm:kvm_vcpu_wakeup",
    ),
    facts=_FACTS,
    check=check,
    proof=(
        Step("switch", "the vCPU waits: its thread sleeps"),
        Step("cause", "its registers are saved"),
        Step("event", "it wakes up again"),
    ),
    say=say,
    one_cpu=True,
    vcpu_only=True,
    price=price,
    costs_only=True,
)
