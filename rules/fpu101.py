"""# FPU101 guest-state-in-thread-fpu

## What
A vCPU thread was switched out while the guest's registers were loaded, and the context switch saved
them into `current->thread.fpu`, where the VMM's own image lived. The next `kvm_put_guest_fpu()`
gives the VMM (QEMU) the guest's registers as its own.

## Why it matters
QEMU goes on with floating-point and vector registers of its guest: wrong results, crashes, and guest
data in the VMM's address space. Linux 5.0-5.1.20 and 5.2.0-5.2.3 shipped this (240c35a3783a, "kvm: x86:
Use task structs fpu field for user"); the revert is ec269475cba7.

## Generations
Confirmed in G1 (whose design puts the guest at every sched-out), G3 and G4a. In G2, G4x and G4b to G6 the
guest image in `thread.fpu` is by design: the user image is in `vcpu->arch.user_fpu`, or `fpu->fpstate` points to
the guest's buffer. There only a probe that shows the destination of the save decides, and the
coverage says so.

## Events needed
x86_fpu:x86_fpu_regs_deactivated, kvm:kvm_fpu, kvm:kvm_entry, sched:sched_switch.

## Example
EXAMPLE

## When it can be wrong
`kvm_fpu` is printed after the registers changed (from 4.15 on). A switch-out between the swap-out and its `kvm_fpu
unload` looks the same; so the finding is confirmed only once the same thread enters the guest again before
its next `kvm_fpu`, and `possible` otherwise. G2 and G3 print the same events, and so do G4a and G4x: where
the release does not decide, it is `possible`.

## References
Reference C.2 rule 3 and C.3a.10; commits 240c35a3783a and ec269475cba7; the review of "x86,kvm: move qemu/guest
FPU switching out to vcpu_run", November 2017.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_FACTS = Fact.SAVED_LOADED_ENTRY | Fact.SAVED_LOADED_OPEN
_BUG = frozenset({"G1", "G3", "G4a"})


def check(rows: Rows, generation: str) -> Check:
    """A save of loaded guest registers is a bug only where thread.fpu is the VMM's own image."""
    if generation not in _BUG:
        return verdicts(rows)
    return verdicts(rows, Fact.SAVED_LOADED_ENTRY, Fact.SAVED_LOADED_OPEN)


def say(case: Case) -> str:
    """What was overwritten, and which later event makes it matter."""
    again = (
        "it then entered the guest again without a kvm_fpu between, so the guest was loaded all along"
        if Fact.SAVED_LOADED_ENTRY in case.facts
        else "no kvm_entry follows before its next kvm_fpu, so the swap-out may have been done already"
    )
    return (
        f"{case.comm} was switched out {case.count} times with its guest's registers loaded: "
        "switch_fpu_prepare() saved them over the VMM's image in current->thread.fpu; "
        f"{again}. The next kvm_put_guest_fpu() gives the VMM the guest's registers."
    )


RULE = Rule(
    code="FPU101",
    name="guest-state-in-thread-fpu",
    severity=Severity.ERROR,
    title="guest registers saved into current->thread.fpu, over the VMM's image",
    generations=frozenset({"G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    needs=(
        "x86_fpu:x86_fpu_regs_deactivated",
        "kvm:kvm_fpu",
        "kvm:kvm_entry",
        "sched:sched_switch",
    ),
    facts=_FACTS,
    check=check,
    proof=(
        Step("kvm", "the VMM's image goes to current->thread.fpu, the guest's into the registers"),
        Step("switch", "the vCPU thread is switched out inside KVM_RUN"),
        Step("", "the registers still hold the guest", "prepare_task_switch() -> kvm_sched_out()"),
        Step("event", "the guest's registers are saved over the VMM's image in thread.fpu"),
        Step("next", "the guest is entered again: it was loaded all along"),
        Step("", "reloads the VMM's registers from thread.fpu: the guest's", "kvm_put_guest_fpu()"),
    ),
    say=say,
    by_design=frozenset({"G2", "G2x", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    probe="a kprobe on save_fpregs_to_fpstate (copy_fpregs_to_fpstate before 5.14)",
    core=_BUG,
    vcpu_only=True,
    unseen="kernel_fpu_begin() inside KVM_RUN saves there too; only a kprobe on it shows that",
    other_reading="the swap-out may have been done already, with its kvm_fpu still to come",
)
