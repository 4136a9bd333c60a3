"""# FPU303 kernel-fpu-too-long

## What
A kernel FPU section lasted longer than 50 microseconds.

## Why it matters
Preemption is off for as long, and from 6.16 on softirqs too: real-time latency suffers, network
and timers wait.

## Generations
All of them, G0 to G6.

## Events needed
Probes on `kernel_fpu_begin_mask` (`kernel_fpu_begin` in older kernels) and `kernel_fpu_end`, and
sched:sched_switch.

## Example
No recording shows it. The scenario in tests/rules/test_probed.py lets 60 microseconds pass between
`kernel_fpu_begin_mask` and `kernel_fpu_end`.

## When it can be wrong
Interrupts count with the section they came in, one that came between the probe and the section
too, and so does what the probes themselves cost; under emulation everything is slow. The judgement
is yours: it is a fact about time, not a fault.

## References
* `kernel_fpu_begin_mask()` in arch/x86/kernel/fpu/core.c.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact


def check(rows: Rows, _generation: str) -> Check:
    """A section longer than the limit."""
    return verdicts(rows, confirmed=Fact.TOO_LONG)


def say(case: Case) -> str:
    """How often."""
    return (
        f"From the call of kernel_fpu_begin() to that of kernel_fpu_end() more than 50 us passed "
        f"{case.times} while {case.comm} was running: preemption was off for the section, whatever "
        "interrupts took of it."
    )


RULE = Rule(
    code="FPU303",
    name="kernel-fpu-too-long",
    severity=Severity.PERFORMANCE,
    title="a kernel FPU section longer than 50 microseconds",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=(
        "sched:sched_switch",
        "probe:kernel_fpu_begin_mask|probe:kernel_fpu_begin",
        "probe:kernel_fpu_end",
    ),
    facts=Fact.TOO_LONG,
    check=check,
    proof=(
        Step("begin", "the kernel begins to use the FPU"),
        Step("event", "it has done"),
    ),
    say=say,
    one_cpu=True,
)
