"""# FPU110 guest-state-visible-to-user

## What
A vCPU thread was seen in user mode while its guest's registers were loaded.

## Why it matters
The VMM runs with, and can read, the guest's registers; what it leaves in them goes back to the
guest.

## Generations
All of them, G0 to G6.

## Events needed
kvm:kvm_fpu, sched:sched_switch, and proof of user mode: raw_syscalls:sys_enter or
exceptions:page_fault_user. Without sched:sched_process_fork and sched:sched_process_free (a pid
may be used again) a finding is only `possible`.

By probes on `fpu_swap_kvm_fpstate` and `restore_fpregs_from_fpstate`, from 5.16 on, without proof
of user mode: the guest was swapped out and nothing was restored in its place.

## Example
No recording without probes shows it. The scenario in tests/rules/test_fpu110.py leaves out
`kvm_put_guest_fpu()` once: `kvm_fpu` load=1, `kvm_entry`, `kvm_userspace_exit`, then `sys_enter`
of the same thread with no `kvm_fpu` load=0 between.

## When it can be wrong
`kvm_fpu` load=0 is printed before the return to user mode in every generation; in G1 it follows
`kvm_userspace_exit`, which is therefore no evidence. Confirmed only if the CPU shows a `kvm_fpu`
again later; by probes, if it shows a restore again later, and only of a thread whose last swap-in
hit the restore's probe: a compiler may have inlined that call, and a confidential guest has none.

## References
* `kvm_vcpu_ioctl()` in virt/kvm/kvm_main.c and `kvm_put_guest_fpu()` in arch/x86/kvm/x86.c.
* docs/model.md: the state `kvm`.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_ALL = frozenset({"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """User mode of the thread while its guest is loaded, or a swap-out that restored nothing."""
    return verdicts(rows, confirmed=Fact.USER_LOADED | Fact.SWAP_NOT_RESTORED)


def say(case: Case) -> str:
    """What user mode saw."""
    if Fact.SWAP_NOT_RESTORED in case.facts:
        return (
            f"In {case.stays}, fpu_swap_kvm_fpstate() put {case.comm}'s guest and marked the "
            "registers as the VMM's, but restored nothing: the VMM runs on its guest's registers."
        )
    return (
        f"In {case.stays}, {case.comm} ran in user mode while its guest's registers "
        "were loaded: no kvm_fpu unload since the load. The VMM ran on its guest's registers."
    )


RULE = Rule(
    code="FPU110",
    name="guest-state-visible-to-user",
    severity=Severity.ERROR,
    title="user mode of the VMM thread while the guest image is in the registers",
    generations=_ALL,
    needs=(
        "kvm:kvm_fpu",
        "sched:sched_switch",
    ),
    excuses=("sched:sched_process_fork", "sched:sched_process_free"),
    facts=Fact.USER_LOADED | Fact.SWAP_NOT_RESTORED,
    check=check,
    proof=(
        Step("kvm", "the guest is loaded"),
        Step("in", "the vCPU thread is switched in"),
        Step("swap", "fpu_swap_kvm_fpstate() puts the guest: a restore is due"),
        Step("event", "the thread goes on, and the guest's registers were not replaced"),
    ),
    say=say,
    routes=(
        Route(
            _ALL,
            ("raw_syscalls:sys_enter|exceptions:page_fault_user",),
            "user mode itself was not recorded",
        ),
        Route(
            frozenset({"G5", "G6"}),
            ("probe:fpu_swap_kvm_fpstate", "probe:restore_fpregs_from_fpstate"),
            "whether a put restored the VMM's image shows only with probes",
        ),
    ),
    shown_again=((Fact.USER_LOADED, "kvm_fpu"), (Fact.SWAP_NOT_RESTORED, "restore probe")),
    vcpu_only=True,
    other_reading="kvm_fpu may have been switched off on that CPU for a while",
)
