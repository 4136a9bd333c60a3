"""# FPU113 owner-on-two-cpus

## What
A task's registers were acquired on one CPU while another CPU still ran the same task with them.

## Why it matters
One task on two CPUs: the scheduler is broken, or the CPUs of the recording are merged wrongly.
Either makes every other statement about the task worthless.

## Generations
All of them, G0 to G6.

## Events needed
x86_fpu:x86_fpu_regs_activated, sched:sched_switch.

## Example
No recording shows it. The scenario in tests/rules/test_fpu113.py is made by hand:
`regs_activated` of a task on CPU 0, `sched_switch` to it and `regs_activated` on CPU 1, and then
another event of the same task on CPU 0, which never switched it out.

## When it can be wrong
perf ends its recording one CPU after the other, so a CPU may simply have no more events:
confirmed only if the first CPU shows a later event of the same task with no `sched_switch`
between. With a clock that is not global, or with other gaps in the trace, it is `possible`.

## References
* `fpregs_activate()` and `fpregs_state_valid()` in arch/x86/include/asm/fpu: a task's registers
  are valid on one CPU, `fpu->last_cpu`; docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact


def check(rows: Rows, _generation: str) -> Check:
    """The other CPU went on with the same task."""
    return verdicts(rows, Fact.TWO_CPUS, Fact.TWO_CPUS_OPEN)


def say(case: Case) -> str:
    """What the two CPUs claim."""
    return (
        f"{case.comm} acquired the registers of one CPU {case.times} while another CPU still "
        "ran it: two CPUs claim the same task, or the recording's CPUs are merged wrongly."
    )


RULE = Rule(
    code="FPU113",
    name="owner-on-two-cpus",
    severity=Severity.ERROR,
    title="one task's registers acquired on two CPUs at once",
    generations=frozenset(
        {"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}
    ),
    needs=("x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"),
    by_absence=True,
    facts=Fact.TWO_CPUS | Fact.TWO_CPUS_OPEN,
    check=check,
    proof=(
        Step("own", "the task's registers are on this CPU"),
        Step("event", "and are acquired on another, without a switch-out between"),
    ),
    say=say,
    other_reading="the first CPU may not have been recorded any more",
)
