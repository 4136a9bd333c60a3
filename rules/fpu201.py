"""# FPU201 double-save

## What
In one switch-out of a vCPU thread KVM put the guest FPU, which restores the user image, and the context switch at once
saved that same image again. At the next switch-in the user image is restored only to be saved again by the load.

## Why it matters
Each half is one restore and one save of the user image that nobody used. The change of November 2017 (f775b13eedee) removed
it: "every time a vCPU is scheduled out the host saves the guest state, loads QEMU's, and at once saves QEMU's again".

## Generations
G1 (and eager G0) do it by design; in any later kernel it is a regression.

## Events needed
x86_fpu:x86_fpu_regs_deactivated, kvm:kvm_fpu, sched:sched_switch.

## Example
EXAMPLE

## When it can be wrong
The switch window contains no user mode, so nothing can have used the image between. The restore at switch-in may have been
elided when nobody else used the CPU's registers: its price is an upper bound.

## References
Reference C.2 rule 1, B.1, F.2; commit f775b13eedee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check(rows: Rows, _generation: str) -> Check:
    """Unload and save in one switch window; LOAD_AFTER_IN only adds to the price."""
    return verdicts(rows, confirmed=Fact.UNLOAD_THEN_SAVE)


def price(rows: Rows) -> NDArray[np.bool_]:
    """Both halves cost a restore and a save of the user image."""
    return rows.show(Fact.UNLOAD_THEN_SAVE | Fact.LOAD_AFTER_IN)


def say(case: Case) -> str:
    """What was done for nothing."""
    design = (
        "as this generation does by design (f775b13eedee removed it)"
        if case.generation in ("G0", "G1")
        else f"which no kernel of generation {case.generation} should do"
    )
    return (
        f"{case.count} switch-outs of {case.comm} restored the VMM's registers and saved them again at once, "
        f"{design}: a restore and a save each that nothing used in between."
    )


RULE = Rule(
    code="FPU201",
    name="double-save",
    severity=Severity.PERFORMANCE,
    title="user image restored and saved again around a vCPU's sched-out",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=("x86_fpu:x86_fpu_regs_deactivated", "kvm:kvm_fpu", "sched:sched_switch"),
    facts=Fact.UNLOAD_THEN_SAVE | Fact.LOAD_AFTER_IN,
    check=check,
    proof=(
        Step("entry", "the guest runs"),
        Step("switch", "the vCPU thread is switched out inside KVM_RUN"),
        Step("", "calls kvm_arch_vcpu_put()", "prepare_task_switch() -> kvm_sched_out()"),
        Step("kvm", "guest registers saved, the VMM's restored: kvm_put_guest_fpu()"),
        Step("event", "and the VMM's registers are saved again: switch_fpu_prepare()"),
    ),
    say=say,
    one_cpu=True,
    vcpu_only=True,
    price=price,
)
