"""# FPU101 guest-state-in-thread-fpu

## What
A vCPU thread was switched out while its guest's registers were loaded, and the context switch
saved them into `current->thread.fpu`, where the VMM's own image lived. The next
`kvm_put_guest_fpu()` reloads from there and gives the VMM (QEMU) the guest's registers.

## Why it matters
QEMU goes on with the floating-point and vector registers of its guest: wrong results, crashes,
and guest data in the VMM's address space. Linux 5.0.0 to 5.1.20 and 5.2.0 to 5.2.3 shipped it.

## Generations
A fault in G1 (which puts the guest at every sched-out), G3 and G4a. In G2, G4x and G4b to G6 the
guest's image in `thread.fpu` is by design: the VMM's is in `vcpu->arch.user_fpu`, or from 5.16 on
`fpu->fpstate` points to the guest's buffer. There only probes that show the destination of the
save decide, and the coverage says so.

## Events needed
x86_fpu:x86_fpu_regs_deactivated, kvm:kvm_fpu, sched:sched_switch; in G1, G3 and G4a
kvm:kvm_entry.

By probes: in G1, G3 and G4a one on `kernel_fpu_begin` (or `kernel_fpu_begin_mask`), which saves to
the same place. From 5.16 on (G5, G6) `fpu_swap_kvm_fpstate`, `save_fpregs_to_fpstate` and
`restore_fpregs_from_fpstate` with their `struct fpstate *`: which argument that is follows from the
values (fputrace.replay.roles). In the others `kvm_load_guest_fpu` and `copy_fpregs_to_fpstate` with
its `struct fpu *`, where the kernel has them out of line.

## Example
`sample_traces/5.2.1-pinned`, an unmodified 5.2.1: loaded, switched out, saved, entered again.

    3.301539588 [001] CPU 1/KVM-94 kvm:kvm_fpu load=1
    3.301790898 [001] CPU 1/KVM-94 sched:sched_switch prev_pid=94 prev_state=256 next_pid=91
    3.301814878 [001] CPU 1/KVM-94 x86_fpu:x86_fpu_regs_deactivated load_fpu=0 xfeatures=0x217
    3.305171918 [001] CPU 1/KVM-94 kvm:kvm_entry vcpu_id=1

## When it can be wrong
From 4.15 on `kvm_fpu` is printed after the registers changed and preemption is on again, so a
switch-out between the swap-out and its `kvm_fpu` looks the same. The finding is confirmed once
the thread enters the guest again before its next `kvm_fpu`, and `possible` otherwise. G2 and G3
print the same events, and so do G4a and G4x: where the release does not decide, it is `possible`.
By probes: what an argument is follows from its values; where a probe's function is known by the
event's name only (perf.data has no kallsyms), it is `possible`. Nothing is said while a swap is
under way, nor of a thread whose swaps were not seen whole.

## References
* 240c35a3783a "kvm: x86: Use task structs fpu field for user" (5.0); its revert ec269475cba7.
* Rik van Riel, "[PATCH 1/2] x86,kvm: move qemu/guest FPU switching out to vcpu_run", 14 Nov 2017,
  and Wanpeng Li's answer of 15 Nov 2017, who feared this.
* Paolo Bonzini, 19 Jul 2019, `3ae96202-a121-70a9-fe00-4b5bb4970242@redhat.com`: who owns which
  image across KVM_RUN, preemption and put.
* `kvm_load_guest_fpu()` in arch/x86/kvm/x86.c of 5.0.1 and 5.2.1; docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import (
    Buffer,
    Case,
    Chain,
    Check,
    Frame,
    Route,
    Rows,
    Rule,
    Severity,
    Step,
    verdicts,
)
from fputrace.timeline import Fact

_BUG = frozenset({"G1", "G3", "G4a"})
_ASIDE = frozenset({"G2", "G2x", "G4x", "G4b", "G4c", "G4d"})
_POINTER = frozenset({"G5", "G6"})
_PROVEN = Fact.SAVED_LOADED_ENTRY | Fact.KERNEL_LOADED_ENTRY
_OPEN = Fact.SAVED_LOADED_OPEN | Fact.KERNEL_LOADED_OPEN
_BY_DESIGN = (
    "a guest's image in thread.fpu is by design there: only probes tell which buffer a save went to"
)
_BUFFER = Fact.SAVED_OWN_LOADED | Fact.SAVED_GUEST_OUT


def check(rows: Rows, generation: str) -> Check:
    """Where thread.fpu is the VMM's own image any save of a loaded guest; else by destination."""
    if generation in _BUG:
        return verdicts(rows, _PROVEN, _OPEN)
    if generation in _POINTER:
        return verdicts(rows, _BUFFER)
    return verdicts(rows, Fact.PARKED_SAVED)


def say(case: Case) -> str:
    """What was overwritten, and which later event makes it matter."""
    if case.facts & _BUFFER:
        return _say_buffer(case)
    by = (
        "switch_fpu_prepare() saved them"
        if case.facts & (Fact.SAVED_LOADED_ENTRY | Fact.SAVED_LOADED_OPEN | Fact.PARKED_SAVED)
        else "kernel_fpu_begin() saved them"
    )
    was = "was switched out" if by.startswith("switch") else "used the FPU in the kernel"
    if Fact.PARKED_SAVED in case.facts:
        again = "where kvm_load_guest_fpu() was seen to put it"
    elif case.facts & _PROVEN:
        again = (
            "it then entered the guest again without a kvm_fpu between, so the guest was loaded "
            "all along"
        )
    else:
        again = (
            "no kvm_entry follows before its next kvm_fpu, so the swap-out may have been done "
            "already"
        )
    return (
        f"{case.comm} {was} {case.times} with its guest's registers loaded: "
        f"{by} over the VMM's image in current->thread.fpu; "
        f"{again}. The next kvm_put_guest_fpu() gives the VMM the guest's registers."
    )


def _say_buffer(case: Case) -> str:
    """From 5.16 on: fpu->fpstate pointed to the wrong buffer."""
    if Fact.SAVED_OWN_LOADED in case.facts:
        return (
            f"{case.comm} saved its guest's registers {case.times} to the VMM's own fpstate: "
            "fpu->fpstate did not point to the guest's buffer while the guest was loaded. The next "
            "fpu_swap_kvm_fpstate() gives the VMM the guest's registers."
        )
    return (
        f"{case.comm} saved the VMM's registers {case.times} to its guest's fpstate: fpu->fpstate "
        "still pointed to the guest's buffer after the guest was put. The guest resumes on them."
    )


def chain(case: Case) -> Chain:
    """From the load to the put: how the guest's registers came where the VMM's were."""
    if case.facts & _BUFFER:
        return _chain_buffer(case)
    by_switch = case.facts & (Fact.SAVED_LOADED_ENTRY | Fact.SAVED_LOADED_OPEN | Fact.PARKED_SAVED)
    over = "the guest's registers -> current->thread.fpu, OVER THE VMM'S"
    again = (
        (Frame(1, "vcpu_enter_guest()", "next", "no kvm_fpu between: the guest was loaded"),)
        if case.facts & _PROVEN
        else ()
    )
    return Chain(
        (
            Frame(0, "kvm_arch_vcpu_ioctl_run()"),
            Frame(
                1,
                "kvm_load_guest_fpu()",
                "kvm",
                "the VMM's registers -> current->thread.fpu; the guest's -> registers",
            ),
            *(
                _switched_out(over)
                if by_switch
                else (Frame(1, "kernel_fpu_begin()", "event", over),)
            ),
            *again,
            Frame(
                1,
                "kvm_put_guest_fpu()",
                "",
                "current->thread.fpu -> registers: THE VMM GETS THE GUEST'S",
            ),
        ),
        Buffer(
            "current->thread.fpu",
            "the VMM's registers",
            "the guest's",
            "kvm_put_guest_fpu(), when KVM_RUN ends: it gives them to the VMM",
        ),
    )


def _switched_out(over: str) -> tuple[Frame, ...]:
    """The second chain of the mails of November 2017: kvm_sched_out() no longer puts the guest."""
    return (
        Frame(1, "__schedule()", "switch"),
        Frame(2, "context_switch()"),
        Frame(3, "prepare_task_switch()"),
        Frame(4, "fire_sched_out_preempt_notifiers()"),
        Frame(5, "kvm_sched_out()"),
        Frame(6, "kvm_arch_vcpu_put()", "", "leaves the FPU alone: the guest stays loaded"),
        Frame(3, "switch_to()"),
        Frame(4, "__switch_to()"),
        Frame(5, "switch_fpu_prepare()", "event", over),
    )


def _chain_buffer(case: Case) -> Chain:
    """From 5.16 on the save goes where fpu->fpstate points."""
    own = Fact.SAVED_OWN_LOADED in case.facts
    held, gets = ("the VMM's", "the guest's") if own else ("the guest's", "the VMM's")
    name = "the VMM's own fpstate" if own else "guest_fpu.fpstate"
    swap = "kvm_load_guest_fpu()" if own else "kvm_put_guest_fpu()"
    back = "kvm_put_guest_fpu()" if own else "kvm_load_guest_fpu()"
    return Chain(
        (
            Frame(0, swap, "kvm", f"the registers are now {gets}"),
            Frame(1, "fpu_swap_kvm_fpstate()", "swap", f"fpu->fpstate still points to {held}"),
            Frame(
                0,
                "save_fpregs_to_fpstate()",
                "event",
                f"{gets} registers -> *fpu->fpstate, OVER {held.upper()}",
            ),
            Frame(0, back),
            Frame(1, "fpu_swap_kvm_fpstate()", "", f"{name} -> registers: NOT WHAT IT SHOULD HOLD"),
        ),
        Buffer(
            name,
            f"{held} registers",
            gets,
            f"the next fpu_swap_kvm_fpstate(), called by {back}",
        ),
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
        "sched:sched_switch",
    ),
    facts=_PROVEN | _OPEN | _BUFFER | Fact.PARKED_SAVED,
    check=check,
    proof=(
        Step("swap", "fpu_swap_kvm_fpstate(): the registers and fpu->fpstate change together"),
        Step("kvm", "the VMM's image goes aside, the guest's comes into the registers"),
        Step("switch", "the vCPU thread is switched out inside KVM_RUN"),
        Step("", "the registers still hold the guest", "prepare_task_switch() -> kvm_sched_out()"),
        Step("event", "the registers are saved over the VMM's image"),
        Step("next", "the guest is entered again: it was loaded all along"),
        Step("", "reloads the VMM's registers from thread.fpu: the guest's", "kvm_put_guest_fpu()"),
    ),
    say=say,
    by_design=_ASIDE | _POINTER,
    routes=(
        Route(_BUG, ("kvm:kvm_entry",), "only a kvm_entry tells that the guest was still loaded"),
        Route(
            _BUG,
            ("kvm:kvm_entry", "probe:kernel_fpu_begin|probe:kernel_fpu_begin_mask"),
            "kernel_fpu_begin() inside KVM_RUN saves there too, which only a probe on it shows",
        ),
        Route(
            _ASIDE,
            (
                "probe:copy_fpregs_to_fpstate|probe:save_fpregs_to_fpstate",
                "probe:kvm_load_guest_fpu",
            ),
            _BY_DESIGN,
        ),
        Route(
            _POINTER,
            (
                "probe:fpu_swap_kvm_fpstate",
                "probe:save_fpregs_to_fpstate",
                "probe:restore_fpregs_from_fpstate",
                "argument:fpstate",
            ),
            _BY_DESIGN,
        ),
    ),
    core=_BUG,
    vcpu_only=True,
    chain=chain,
    other_reading="the swap-out may have been done already, with its kvm_fpu still to come",
)
