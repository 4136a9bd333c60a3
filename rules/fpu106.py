"""# FPU106 save-without-restore

## What
A task's registers were saved at its switch-out although nothing restored them since its
switch-in.

## Why it matters
What is saved as this task's image is whatever the CPU held: another task's registers.

## Generations
G0 to G3 (up to 5.1: `switch_fpu_finish()` prints a `regs_activated` at every switch-in of a task
that has FPU state, even where the registers were still valid and the XRSTOR was skipped). From
5.2 on a restore that is left out prints nothing; there FPU104 is the rule.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch. Without
x86_fpu:x86_fpu_activate_state (a task's first use of the FPU) a finding is only `possible`.

## Example
No recording shows it. The scenario in tests/rules/test_fpu106.py leaves out `switch_fpu_finish()`
once: `sched_switch` to task B with no `regs_activated` (printed under the outgoing task's pid) in
the switch, and at B's switch-out its `regs_deactivated`.

## When it can be wrong
A task whose first use of the FPU (`x86_fpu_activate_state`) fell into the stay is left out.
Judged only where the switch-in was in sight. Confirmed only if the CPU shows a `regs_activated`
again later, and if the task before has printed one: a filter by pid hides a restore that is
printed under its pid.

## References
* `__switch_to()` in arch/x86/kernel/process_64.c, `switch_fpu_prepare()` and
  `switch_fpu_finish()` in arch/x86/include/asm/fpu/internal.h, 4.14 to 5.1; docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import (
    ANY,
    Buffer,
    Case,
    Chain,
    Check,
    Frame,
    Rows,
    Rule,
    Severity,
    Step,
    verdicts,
)
from fputrace.timeline import Fact

_EAGER = frozenset({"G0", "G1", "G2", "G2x", "G3"})


def check(rows: Rows, _generation: str) -> Check:
    """A switch-out save in a stay that began in sight and had no activation."""
    return verdicts(rows, confirmed=Fact.SAVE_NO_RESTORE)


def say(case: Case) -> str:
    """What was saved."""
    return (
        f"{case.comm} was switched out {case.times} and its registers saved, although "
        "nothing restored them since it was switched in: the CPU held what "
        f"{case.owner} had loaded."
    )


def chain(case: Case) -> Chain:
    """Switched in without a restore, switched out with a save."""
    return Chain(
        (
            Frame(0, "__schedule()", "in"),
            Frame(1, "__switch_to()"),
            Frame(2, "switch_fpu_finish()", "", "should restore, and no restore was seen"),
            Frame(0, "__schedule()", "switch"),
            Frame(1, "context_switch()"),
            Frame(2, "switch_to()"),
            Frame(3, "__switch_to()"),
            Frame(
                4,
                "switch_fpu_prepare()",
                "event",
                "the registers, not the task's -> current->thread.fpu, OVER ITS OWN IMAGE",
            ),
        ),
        Buffer(
            "current->thread.fpu",
            "the task's own registers",
            f"what {case.owner} had loaded",
            "switch_fpu_finish(), when the task is switched in again",
        ),
    )


RULE = Rule(
    code="FPU106",
    name="save-without-restore",
    severity=Severity.ERROR,
    title="registers saved for a task that never had them restored since switch-in",
    generations=_EAGER,
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
    ),
    excuses=("x86_fpu:x86_fpu_activate_state",),
    facts=Fact.SAVE_NO_RESTORE | Fact.UNTOLD,
    check=check,
    proof=(
        Step("own", "the registers of this CPU are acquired"),
        Step("in", "the task is switched in: switch_fpu_finish() should restore"),
        Step("switch", "the task is switched out"),
        Step("event", "the registers are saved as its own"),
    ),
    say=say,
    shown_again=((ANY, "regs_activated"),),
    one_cpu=True,
    core=_EAGER,
    chain=chain,
    other_reading="tracing may have been switched off on that CPU for a while",
)
