"""# FPU201 double-save

## What
In one switch-out of a vCPU thread KVM put the guest FPU, which restores the VMM's image, and the
context switch at once saved that same image again. At the next switch-in the image is restored
only to be saved again by the load.

## Why it matters
Each half is one restore and one save of an image that nobody used in between. f775b13eedee
removed it in 4.15: the guest stays loaded for the whole of KVM_RUN, and the switch saves what is
loaded.

## Generations
G0 and G1 do it by design. In any later kernel it is a regression.

## Events needed
x86_fpu:x86_fpu_regs_deactivated, kvm:kvm_fpu, sched:sched_switch.

## Example
`sample_traces/4.14.5-pinned`: put and save, both in the window of one switch.

    3.091713370 [000] CPU 0/KVM-74 sched:sched_switch prev_pid=74 prev_state=256 next_pid=67
    3.091726300 [000] CPU 0/KVM-74 kvm:kvm_fpu load=0
    3.091747150 [000] CPU 0/KVM-74 x86_fpu:x86_fpu_regs_deactivated initialized=1 xfeatures=0x217

The recording `6.1-put-at-sched-out` shows it in a 6.1.176 that puts at sched-out again.

## When it can be wrong
The switch window contains no user mode, so nothing can have used the image. `count` counts the
switch-outs; the half at switch-in is in the price only, where `kvm_userspace_exit` was recorded:
the save that the load did, and the restore unless it was skipped because the CPU still had the
image. These are the saves and restores around switch-outs that `--costs` calls redundant.

## References
* f775b13eedee "x86,kvm: move qemu/guest FPU switching out to vcpu_run" (4.15), by Rik van Riel;
  first posted on 14 Nov 2017, with the objection of Wanpeng Li that FPU101 is about.
* `kvm_arch_vcpu_put()` in arch/x86/kvm/x86.c of 4.14.5; docs/model.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Case, Chain, Check, Frame, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check(rows: Rows, _generation: str) -> Check:
    """Unload and save in one switch window; what follows at switch-in only adds to the price."""
    return verdicts(rows, confirmed=Fact.UNLOAD_THEN_SAVE)


def price(rows: Rows) -> NDArray[np.bool_]:
    """Both halves cost a restore, unless it was skipped, and a save of the user image."""
    return rows.show(RULE.facts)


def say(case: Case) -> str:
    """What was done for nothing."""
    design = (
        "as this generation does by design (f775b13eedee removed it)"
        if case.generation in ("G0", "G1")
        else f"which no kernel of generation {case.generation} should do"
    )
    return (
        f"{case.count} switch-outs of {case.comm} restored the VMM's registers and saved them "
        f"again at once, {design}: a restore and a save each that nothing used in between."
    )


def chain(case: Case) -> Chain:
    """The first chain of the mails of November 2017: kvm_sched_out() puts the guest."""
    return Chain(
        (
            Frame(0, "__schedule()", "switch"),
            Frame(1, "context_switch()"),
            Frame(2, "prepare_task_switch()"),
            Frame(3, "fire_sched_out_preempt_notifiers()"),
            Frame(4, "kvm_sched_out()"),
            Frame(5, "kvm_arch_vcpu_put()"),
            Frame(
                6,
                "kvm_put_guest_fpu()",
                "kvm",
                "the guest's registers -> its own buffer (SAVE 1); the VMM's image -> registers",
            ),
            Frame(2, "switch_to()"),
            Frame(3, "__switch_to()"),
            Frame(
                4,
                _PREPARE.get(case.generation, "switch_fpu_prepare()"),
                "event",
                "the VMM's registers -> current->thread.fpu (SAVE 2), as they came from memory",
            ),
            *(_NEXT if case.generation in ("G0", "G1") else ()),
        ),
    )


_NEXT = (Frame(4, "switch_fpu_finish()", "", "the next task's image -> registers"),)
"""Where the switch itself restores."""

_PREPARE = {"G6": "switch_fpu()"}
"""Its name from 6.16 on."""

RULE = Rule(
    code="FPU201",
    name="double-save",
    severity=Severity.PERFORMANCE,
    title="user image restored and saved again around a vCPU's sched-out",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=("x86_fpu:x86_fpu_regs_deactivated", "kvm:kvm_fpu", "sched:sched_switch"),
    facts=Fact.UNLOAD_THEN_SAVE | Fact.LOAD_AFTER_IN | Fact.LOAD_AFTER_SKIPPED,
    check=check,
    proof=(
        Step("switch", "the vCPU thread is switched out inside KVM_RUN"),
        Step("", "calls kvm_arch_vcpu_put()", "prepare_task_switch() -> kvm_sched_out()"),
        Step("kvm", "guest registers saved, the VMM's restored: kvm_put_guest_fpu()"),
        Step("event", "and the VMM's registers are saved again: switch_fpu_prepare()"),
    ),
    say=say,
    one_cpu=True,
    vcpu_only=True,
    price=price,
    unrestored=Fact.LOAD_AFTER_SKIPPED,
    chain=chain,
)
