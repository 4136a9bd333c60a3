"""# FPU119 xfd-conflicts-with-xstate-bv

## What
A guest switched a register component off (a bit of `IA32_XFD`; AMX tiles are the ones in practice)
while its image in memory had that component in use (the same bit of XSTATE_BV, which the events
print as `xfeatures`), or was saved with it in use afterwards.

## Why it matters
Loading such an image with XFD set raises #NM in the host's XRSTOR: the host panics (b45f72177594).

## Generations
G5 and G6 (5.17 on: AMX in guests).

## Events needed
kvm:kvm_msr, kvm:kvm_fpu, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch.

## Example
No recording shows it. The scenario in tests/bugs/test_xfd.py saves the guest with a component in
use and writes its bit of `IA32_XFD` (0x1c4) before the registers are loaded again; the one in
tests/rules/test_lives.py writes first.

## When it can be wrong
Always `possible` only: after the first write XFD is passed through to the guest, whose later ones
print no `kvm_msr`, so the value may be an old one. A kernel with the fix corrects the image at the
write: that shows in the `regs_activated` that follows, and a thread that loads its registers or
enters the guest after the write is not reported for it; one whose recording ends between is.

## References
* b45f72177594 "x86/fpu: Clear XSTATE_BV[i] in guest XSAVE state whenever XFD[i]=1".
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
        f"The image in memory of {case.comm}'s guest held {case.times} a component in use that its "
        "IA32_XFD switches off: loading it with that IA32_XFD raises #NM in the host, which panics."
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
        Step("cause", "the guest switches a component off (IA32_XFD)"),
        Step("event", "its registers are saved with the component in use"),
    ),
    say=say,
    routes=(Route(_AMX, ("kvm:kvm_msr",), "writes of IA32_XFD were not recorded"),),
    vcpu_only=True,
    other_reading="XFD is passed through after its first use, so its value may be another by now",
)
