"""# FPU119 xfd-conflicts-with-xstate-bv

## What
A guest switched a register component off (`IA32_XFD`), and its registers were saved with that
component in use (XSTATE_BV).

## Why it matters
Loading such an image with XFD set raises #NM in the host's XRSTOR: the host panics (b45f72177594).

## Generations
G5 and G6 (5.17 on: AMX in guests).

## Events needed
kvm:kvm_msr, kvm:kvm_fpu, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py writes bit 18 of `IA32_XFD`
(0x1c4) and saves `xfeatures` with it while the guest is loaded.

## When it can be wrong
Always `possible` only: after its first use XFD is passed through to the guest, whose later writes
print no `kvm_msr`, so the value may be an old one.

## References
* b45f72177594 "KVM: x86: Clear XSTATE_BV[i] in guest XSAVE state whenever XFD[i]=1".
* `kvm_set_msr_common()` in arch/x86/kvm/x86.c, MSR_IA32_XFD.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_AMX = frozenset({"G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """In use, and switched off as far as was seen."""
    return verdicts(rows, possible=Fact.XFD_SET)


def say(case: Case) -> str:
    """What may happen."""
    return (
        f"{case.comm}'s guest was saved {case.times} with a component in use that its IA32_XFD "
        "switches off: loading that image raises #NM in the host."
    )


RULE = Rule(
    code="FPU119",
    name="xfd-conflicts-with-xstate-bv",
    severity=Severity.ERROR,
    title="a component in use that the guest's XFD switches off",
    generations=_AMX,
    needs=("x86_fpu:x86_fpu_regs_deactivated", "kvm:kvm_fpu", "sched:sched_switch"),
    facts=Fact.XFD_SET,
    check=check,
    proof=(
        Step("cause", "the guest writes IA32_XFD"),
        Step("event", "its registers are saved with the component in use"),
    ),
    say=say,
    routes=(Route(_AMX, ("kvm:kvm_msr",), "writes of IA32_XFD were not recorded"),),
    vcpu_only=True,
    other_reading="XFD is passed through after its first use, so its value may be another by now",
)
