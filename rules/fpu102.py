"""# FPU102 missing-restore-at-vm-entry

## What
A vCPU thread entered its guest although the CPU's registers were last acquired by another task, or the
thread's own were last acquired on another CPU.

## Why it matters
The guest runs with somebody else's floating-point and vector registers: silent corruption in the guest, and
another task's data shown to it. This is the class of the bugs behind 2620fe268e80 ("KVM: x86: Revert
'KVM: X86: Fix fpu state crash in kvm guest'").

## Generations
G2 to G6. In G4a, G4x and G4c `kvm_entry` is printed before the reload in `vcpu_enter_guest()`: there the verdict
waits for the next event of that CPU, and a `regs_activated` of the thread clears it.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, kvm:kvm_entry, sched:sched_switch.

## Example
EXAMPLE

## When it can be wrong
Acquisitions of the registers are always traced (`fpregs_activate()` is the one place that sets
`fpu_fpregs_owner_ctx`), so a foreign owner is proof while the CPU was in sight. Tracing may have been switched
off on that CPU: confirmed only if it shows a `regs_activated` again later. An owner lost invisibly
(`kernel_fpu_begin()`) is not seen: FPU112, with probes.

## References
Reference C.2 rule 2b, C.3a.3, C.3a.11; commit 2620fe268e80.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
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
        f"{case.comm} entered its guest {case.count} times without the restore that was due: {held}, and no "
        "regs_activated of the vCPU thread came before the guest ran. The guest ran with them, "
        "and the next save stores them as the guest's."
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
    facts=_FACTS,
    check=check,
    proof=(
        Step("acted", "the vCPU thread's own last restore"),
        Step("own", "the registers of this CPU are acquired"),
        Step("in", "the vCPU thread is switched in: a restore is due before the guest runs"),
        Step("event", "the guest is entered, and no restore was seen"),
        Step("next", "the CPU goes on without a reload"),
    ),
    say=say,
    shown_again="regs_activated",
    core=frozenset({"G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    vcpu_only=True,
    other_reading="tracing may have been switched off on that CPU for a while",
)
