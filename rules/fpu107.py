"""# FPU107 missing-save

## What
A task whose registers were live was switched out, and nothing saved them.

## Why it matters
The task's next restore brings back an older image: what it computed in between is lost.

## Generations
G0 to G3. From 5.2 on `kernel_fpu_begin()` may have saved the registers already, and an exec or a
failed sigreturn may have thrown them away, all without an event: there the rule needs probes, and
the coverage says so.

## Events needed
x86_fpu:x86_fpu_regs_activated, x86_fpu:x86_fpu_regs_deactivated, sched:sched_switch. Without
x86_fpu:x86_fpu_dropped (an exit, exec or signal) a finding is only `possible`.

## Example
No recording of an eager kernel shows it. The scenario in tests/rules/test_fpu107.py leaves out
`switch_fpu_prepare()` once: `regs_activated` of a task at its switch-in, its `sched_switch` out,
and the next task's events with no `regs_deactivated` between.

## When it can be wrong
A task that dropped its state since (`x86_fpu_dropped`: exit, exec, signal) is left out. Judged
only where the whole switch was in sight. If the incoming task printed nothing of its own, a pid
filter may have left out the outgoing one's last events: `possible`. Confirmed only if the CPU shows
the save of a later switch-out.

## References
* `__switch_to()` in arch/x86/kernel/process_64.c and `switch_fpu_prepare()` in
  arch/x86/include/asm/fpu/internal.h, 4.14 to 5.1; `fpu__drop()` in arch/x86/kernel/fpu/core.c.
* docs/model.md.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_EAGER = frozenset({"G0", "G1", "G2", "G2x", "G3"})


def check(rows: Rows, generation: str) -> Check:
    """Live registers, a whole switch window in sight, no save in it."""
    if generation not in _EAGER:
        return verdicts(rows)
    return verdicts(rows, Fact.LIVE_NOT_SAVED, Fact.LIVE_NOT_SAVED_QUIET)


def say(case: Case) -> str:
    """What was lost."""
    return (
        f"{case.comm} was switched out {case.times} with live registers and no save of them: "
        "its next restore brings back an older image."
    )


RULE = Rule(
    code="FPU107",
    name="missing-save",
    severity=Severity.ERROR,
    title="live registers of a task given up without a save",
    generations=_EAGER | {"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"},
    needs=(
        "x86_fpu:x86_fpu_regs_activated",
        "x86_fpu:x86_fpu_regs_deactivated",
        "sched:sched_switch",
    ),
    excuses=("x86_fpu:x86_fpu_dropped",),
    facts=Fact.LIVE_NOT_SAVED | Fact.LIVE_NOT_SAVED_QUIET,
    check=check,
    proof=(
        Step("acted", "the task's registers are loaded"),
        Step("event", "the task is switched out, and no save follows in the window"),
    ),
    say=say,
    probed_functions=frozenset(
        {"kernel_fpu_begin", "kernel_fpu_begin_mask", "save_fpregs_to_fpstate"}
    ),
    probe="kprobes on kernel_fpu_begin_mask and save_fpregs_to_fpstate",
    probe_generations=frozenset({"G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"}),
    shown_again="regs_deactivated",
    one_cpu=True,
    other_reading="the recording may be filtered by pid, or tracing was switched off for a while",
)
