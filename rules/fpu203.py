"""# FPU203 user-exit-swap-cost

## What
Each return from KVM_RUN to the VMM puts the guest's registers and restores the VMM's, and the next
KVM_RUN does the reverse. This is a normal cost: it is listed with `--costs` only.

## Why it matters
Two saves and two restores for every exit that the VMM handles itself. Devices emulated in the
kernel (irqchip, ioeventfd, vhost) avoid the exits.

## Generations
All of them.

## Events needed
kvm:kvm_fpu, kvm:kvm_entry, kvm:kvm_userspace_exit.

## Example
`sample_traces/4.14.177-pinned`, the first KVM_RUN of the little VMM:

    3.049820600 [000] CPU 0/KVM-74 kvm:kvm_fpu load=1
    3.067400520 [000] CPU 0/KVM-74 kvm:kvm_fpu load=0
    3.067578650 [000] CPU 0/KVM-74 kvm:kvm_userspace_exit reason=2

## When it can be wrong
The count is what the events say. The price is an estimate: what a swap saves and restores follows
from the generation (docs/costs.md).

## References
* `kvm_arch_vcpu_ioctl_run()`, `kvm_load_guest_fpu()` and `kvm_put_guest_fpu()` in
  arch/x86/kvm/x86.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FACTS = Fact.USER_EXIT_SWAP


def check(rows: Rows, _generation: str) -> Check:
    """A KVM_RUN that entered the guest and returned to the VMM."""
    return verdicts(rows, confirmed=Fact.USER_EXIT_SWAP)


def price(rows: Rows) -> NDArray[np.bool_]:
    """Both images are saved and restored."""
    return rows.show(_FACTS)


def say(case: Case) -> str:
    """How often."""
    return (
        f"{case.comm} returned to the VMM {case.times}: each time the guest's registers were put "
        "and the VMM's restored, and the reverse for the next KVM_RUN."
    )


RULE = Rule(
    code="FPU203",
    name="user-exit-swap-cost",
    severity=Severity.PERFORMANCE,
    title="registers swapped for exits to the VMM",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=("kvm:kvm_fpu", "kvm:kvm_entry", "kvm:kvm_userspace_exit"),
    facts=_FACTS,
    check=check,
    proof=(
        Step("cause", "KVM_RUN begins: the VMM's registers are saved, the guest's restored"),
        Step("kvm", "and it ends: the guest's saved, the VMM's restored"),
        Step("event", "the VMM has to do something"),
    ),
    say=say,
    one_cpu=True,
    vcpu_only=True,
    price=price,
    moves=(2, 2),
    costs_only=True,
)
