"""# FPU202 guest-swap-without-entry

## What
A KVM_RUN loaded the guest's registers, never entered the guest, and put them again before it
returned to the VMM.

## Why it matters
Two saves and two restores moved both images for nothing. It happens when KVM_RUN finds a pending
signal or `immediate_exit`, or waits for an application processor to be started; a VMM that kicks
its vCPUs too often shows many.

## Generations
4.15 on (G2 to G6): the guest is loaded when KVM_RUN begins. Before, it is loaded just before
entry.

## Events needed
kvm:kvm_fpu, kvm:kvm_entry, kvm:kvm_userspace_exit. A KVM back end that prints no kvm_entry (PVM)
cannot be judged.

## Example
No recording shows it. The scenario in tests/rules/test_costs.py loads the guest, finds a signal
and puts it again: `kvm_fpu load=1`, `kvm_fpu load=0`, `kvm_userspace_exit`, no `kvm_entry`.

## When it can be wrong
Loads and puts of other system calls (KVM_GET_MSRS, KVM_GET_MP_STATE, an INIT) print no
kvm_userspace_exit and are none. Confirmed only where the CPU printed kvm_entry before and after,
and the thread stayed on it.

## References
* "KVM: x86: Don't load/put guest FPU context for sleeping AP", Wanpeng Li, 10 Mar 2020 (not merged
  in that form): the case of a vCPU that waits for SIPI.
* `kvm_arch_vcpu_ioctl_run()` in arch/x86/kvm/x86.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FACTS = Fact.SWAP_NO_ENTRY | Fact.SWAP_NO_ENTRY_OPEN


def check(rows: Rows, _generation: str) -> Check:
    """Load and put of one KVM_RUN with no entry between."""
    return verdicts(rows, confirmed=Fact.SWAP_NO_ENTRY, possible=Fact.SWAP_NO_ENTRY_OPEN)


def price(rows: Rows) -> NDArray[np.bool_]:
    """Both images are saved and restored."""
    return rows.show(_FACTS)


def say(case: Case) -> str:
    """What was moved for nothing."""
    return (
        f"KVM_RUN of {case.comm} loaded the guest's registers and put them again {case.times} "
        "without entering the guest: two saves and two restores each for nothing."
    )


RULE = Rule(
    code="FPU202",
    name="guest-swap-without-entry",
    severity=Severity.PERFORMANCE,
    title="guest registers loaded and put again without VM entry",
    generations=frozenset({"G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    needs=("kvm:kvm_fpu", "kvm:kvm_entry", "kvm:kvm_userspace_exit"),
    facts=_FACTS,
    check=check,
    proof=(
        Step("cause", "KVM_RUN begins: the VMM's registers are saved, the guest's restored"),
        Step("kvm", "and it ends: the guest's saved, the VMM's restored"),
        Step("event", "the VMM runs again; no kvm_entry was between"),
    ),
    say=say,
    shown_again=((Fact.SWAP_NO_ENTRY, "kvm_entry"),),
    one_cpu=True,
    vcpu_only=True,
    price=price,
    moves=(2, 2),
    other_reading="kvm_entry may not have been recorded where the vCPU ran",
)
