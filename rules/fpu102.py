"""# FPU102 missing-restore-at-vm-entry

## What
A vCPU thread entered its guest although the CPU's registers were last acquired by another task,
or the thread's own were last acquired on another CPU.

## Why it matters
The guest runs with somebody else's floating-point and vector registers: silent corruption in the
guest, and another task's data shown to it. The next save stores them as the guest's.

## Generations
G2 to G6. In G4a, G4x and G4c `kvm_entry` is printed before the reload in `vcpu_enter_guest()`:
there the verdict waits for that CPU's next event, and a `regs_activated` of the thread clears it.
In G1 every entry after a switch-in loads the guest anew (FPU103 sees that).

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, kvm:kvm_entry,
sched:sched_switch.

## Example
`sample_traces/6.1-no-reload-at-entry`, a 6.1.176 that leaves out some reloads: the vCPU's own
restore, another task's, the switch back, and the entry without a restore.

    3.037689757 [001] CPU 1/KVM-81 x86_fpu:x86_fpu_regs_activated fpu=0xff11000000334980
    3.038166837 [001] fpsleeper-77 x86_fpu:x86_fpu_regs_activated fpu=0xff11000000290980
    3.038222507 [001] fpsleeper-77 sched:sched_switch prev_pid=77 prev_state=1 next_pid=81
    3.038253647 [001] CPU 1/KVM-81 kvm:kvm_entry vcpu_id=1 rip=0x1027

## When it can be wrong
`fpregs_activate()` is the one place that makes a task the owner of a CPU's registers, and it
always prints `regs_activated`: a foreign owner is proof while the CPU was in sight. Tracing may
have been switched off on that CPU, so it is confirmed only if the CPU shows a `regs_activated`
again later. Up to 5.1 the restore is printed under the pid of the task before: confirmed only if
that task has printed one, for a filter by pid hides it. A restore that is left out because the
registers are still valid prints nothing and is no finding. An owner lost without an event
(`kernel_fpu_begin()`) is not seen: the hole that 2620fe268e80 closed shows only where another task
took the registers too.

## References
* 2620fe268e80, the revert of e751732486eb: reload in `vcpu_enter_guest()` again, not only at
  sched-in (G4b, kernel bug 206215).
* `fpregs_activate()` and `fpregs_state_valid()` in arch/x86/include/asm/fpu;
  `switch_fpu_return()` in arch/x86/kernel/fpu/core.c; docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import ANY, Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_FACTS = Fact.ENTRY_FOREIGN | Fact.ENTRY_ELSEWHERE


def check(rows: Rows, _generation: str) -> Check:
    """The owner before kvm_entry (after the grace of a late reload) is not this thread."""
    return verdicts(rows, confirmed=_FACTS)


def say(case: Case) -> str:
    """Whose registers the guest got."""
    held = (
        f"the CPU's registers were last acquired by {case.owner}"
        if Fact.ENTRY_FOREIGN in case.facts
        else "its own registers were last acquired on another CPU"
    )
    return (
        f"{case.comm} entered its guest {case.times} without the restore that was due: "
        f"{held}, and no regs_activated of the vCPU thread came before the guest ran. The guest "
        "ran with them, and the next save stores them as the guest's."
    )


RULE = Rule(
    code="FPU102",
    name="missing-restore-at-vm-entry",
    severity=Severity.ERROR,
    title="VM entry with registers last acquired by another task, or on another CPU",
    generations=frozenset({"G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "kvm:kvm_entry",
        "sched:sched_switch",
    ),
    facts=_FACTS | Fact.UNTOLD,
    check=check,
    proof=(
        Step("acted", "the vCPU thread's own last restore"),
        Step("own", "the registers of this CPU are acquired"),
        Step("in", "the vCPU thread is switched in: a restore is due before the guest runs"),
        Step("event", "the guest is entered, and no restore was seen"),
        Step("next", "the CPU goes on without a reload"),
    ),
    say=say,
    shown_again=((ANY, "regs_activated"),),
    core=frozenset({"G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    vcpu_only=True,
    other_reading="tracing may have been switched off on that CPU for a while",
)
