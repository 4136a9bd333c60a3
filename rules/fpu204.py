"""# FPU204 kernel-fpu-reload-cost

## What
A task's registers were loaded again although nobody else had acquired them since: something that
prints no event had invalidated them, as a rule the kernel's own use of the FPU (crypto, RAID,
checksums). This is a normal cost: it is listed with `--costs` only.

## Why it matters
Each is a save by kernel_fpu_begin() and a restore before the next return to user mode or VM entry.
Many small requests to in-kernel crypto pay it every time.

## Generations
5.2 on (G4a to G6). Before, kernel_fpu_end() restores at once and prints nothing.

## Events needed
x86_fpu:x86_fpu_regs_activated, sched:sched_switch; kvm:kvm_fpu, which tells swaps apart. Which
user it was, only probes on kernel_fpu_begin*() and kernel_fpu_end() tell.

## Example
`sample_traces/6.12-kfpu-probes`, where probes saw the kernel encrypt for AF_ALG in between:

    5.512722195 [001] kfpuload-218 x86_fpu:x86_fpu_regs_deactivated load_fpu=0 xfeatures=0x217
    5.520684396 [001] kfpuload-218 x86_fpu:x86_fpu_regs_activated load_fpu=1 xfeatures=0x217

## When it can be wrong
A debugger's write, a slow sigreturn, an exec that was not recorded, or AMX tiles thrown away in
idle invalidate registers too: `possible` without a probe. Confirmed where a probe saw
kernel_fpu_begin*() on that CPU since the registers were last loaded there.

## References
* `kernel_fpu_begin_mask()` and `__cpu_invalidate_fpregs_state()` in arch/x86/kernel/fpu/core.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, Verdict, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FACTS = Fact.KFPU_RELOAD | Fact.KFPU_RELOAD_PROBED


def check(rows: Rows, _generation: str) -> Check:
    """A reload of registers nobody else had acquired."""
    return verdicts(rows, confirmed=Fact.KFPU_RELOAD_PROBED, possible=Fact.KFPU_RELOAD)


def price(rows: Rows) -> NDArray[np.bool_]:
    """One save by the kernel, one restore afterwards."""
    return rows.show(_FACTS)


def say(case: Case) -> str:
    """How often."""
    who = (
        "the kernel itself had used the FPU"
        if case.verdict is Verdict.CONFIRMED
        else "something had invalidated them, as the kernel's own use of the FPU does"
    )
    return (
        f"The registers of {case.comm} were loaded again {case.times} although nobody else had "
        f"acquired them: {who}."
    )


RULE = Rule(
    code="FPU204",
    name="kernel-fpu-reload-cost",
    severity=Severity.PERFORMANCE,
    title="a task's registers reloaded after the kernel used them",
    generations=frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    needs=("x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"),
    excuses=("kvm:kvm_fpu",),
    facts=_FACTS,
    check=check,
    proof=(
        Step("cause", "the task's registers are saved"),
        Step("event", "and loaded again: they were the task's as far as events tell"),
    ),
    say=say,
    price=price,
    costs_only=True,
    other_reading=(
        "a debugger, sigreturn, exec or idle may have invalidated the registers; probes on "
        "kernel_fpu_begin tell"
    ),
)
