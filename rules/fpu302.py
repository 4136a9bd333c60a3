"""# FPU302 kernel-fpu-slept

## What
A task was switched out inside a kernel FPU section.

## Why it matters
The section's registers are not saved at a switch: when the task comes back they are somebody
else's. Sleeping there is forbidden on every kernel, PREEMPT_RT too.

## Generations
All of them, G0 to G6.

## Events needed
sched:sched_switch, and probes on `kernel_fpu_begin_mask` (`kernel_fpu_begin` in older kernels) and
`kernel_fpu_end`; a return probe on the begin proves more. `fputrace record --kfpu` sets all three.

## Example
No recording shows it. The scenario in tests/rules/test_probed.py lets a task sleep between
`kernel_fpu_begin_mask` and `kernel_fpu_end`.

## When it can be wrong
A probe on the begin fires before preemption is off, and that is where a preemption likes to fall:
the interrupt waited for the probe itself. So a task that wanted to run (`prev_state` R) counts as
switched out inside the section only where

* a return probe on the begin had shown that it returned: `confirmed`, once the section's end comes;
* there is no return probe, and the switch's flags show bottom halves off, or preemption disabled
  once more than at other switches: `possible`;
* there is none, and the kernel does not count preemption (CONFIG_PREEMPT_COUNT off, or a text
  without flags): `possible`.

A task that blocked was inside. Both are `confirmed` only if the task's next record of the two is
the section's end: else the end's probe may have been off.

## References
* `kernel_fpu_begin_mask()` in arch/x86/kernel/fpu/core.c: `fpregs_lock()`, `preempt_disable()`.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact


def check(rows: Rows, _generation: str) -> Check:
    """A switch inside a section; proven where the task blocked or the begin had returned."""
    return verdicts(rows, Fact.SLEPT_SURE, Fact.SLEPT)


def say(case: Case) -> str:
    """What was lost."""
    return (
        f"{case.comm} was switched out {case.times} inside a kernel FPU section: its registers are "
        "not saved there, and are somebody else's when it goes on."
    )


RULE = Rule(
    code="FPU302",
    name="kernel-fpu-slept",
    severity=Severity.ERROR,
    title="a task switched out inside a kernel FPU section",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=(
        "sched:sched_switch",
        "probe:kernel_fpu_begin_mask|probe:kernel_fpu_begin",
        "probe:kernel_fpu_end",
    ),
    facts=Fact.SLEPT | Fact.SLEPT_SURE,
    check=check,
    proof=(
        Step("begin", "the kernel begins to use the FPU"),
        Step("event", "the task is switched out, and no kernel_fpu_end was seen"),
    ),
    say=say,
    one_cpu=True,
    other_reading="the preemption may lie between the probe and the section's true beginning; a "
    "return probe on the begin would tell",
)
