"""# FPU301 kernel-fpu-nested

## What
`kernel_fpu_begin()` was called while a kernel FPU section of the same task was open on that CPU.

## Why it matters
The inner section destroys the outer one's registers: wrong checksums, wrong ciphertext. The kernel
warns of it (`in_kernel_fpu`) where CONFIG_X86_DEBUG_FPU is set.

## Generations
All of them, G0 to G6.

## Events needed
sched:sched_switch, and probes on `kernel_fpu_begin_mask` (`kernel_fpu_begin` in older kernels) and
`kernel_fpu_end`; for a proof also a return probe on the begin.

## Example
No recording shows it. The scenario in tests/rules/test_probed.py begins a section twice.

## When it can be wrong
A probe on the begin fires before preemption and softirqs are off: a softirq's own section may lie
between the probe and the section it belongs to. Confirmed only where a return probe shows that the
first begin had returned, and two ends in a row that the end's probe was on. Where returns are
recorded and this one had not come, or the second begin's flags count preemption no deeper than the
first's, nothing is said; where there is neither, it is `possible`.
Several probes on one function tell of one call.

## References
* `kernel_fpu_begin_mask()` and `irq_fpu_usable()` in arch/x86/kernel/fpu/core.c.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact


def check(rows: Rows, _generation: str) -> Check:
    """A begin inside a section; proven where the first begin had returned."""
    return verdicts(rows, Fact.NESTED_SURE, Fact.NESTED)


def say(case: Case) -> str:
    """What was destroyed."""
    return (
        f"kernel_fpu_begin() was called {case.times} inside an open kernel FPU section of "
        f"{case.comm}: the inner section destroys the outer one's registers."
    )


RULE = Rule(
    code="FPU301",
    name="kernel-fpu-nested",
    severity=Severity.ERROR,
    title="a kernel FPU section begun inside another",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=(
        "sched:sched_switch",
        "probe:kernel_fpu_begin_mask|probe:kernel_fpu_begin",
        "probe:kernel_fpu_end",
    ),
    facts=Fact.NESTED | Fact.NESTED_SURE,
    check=check,
    proof=(
        Step("begin", "the kernel begins to use the FPU"),
        Step("event", "it begins again, and no kernel_fpu_end was seen"),
    ),
    say=say,
    one_cpu=True,
    other_reading="a softirq's section may lie between the probe and the section it belongs to; a "
    "return probe on the begin would tell",
)
