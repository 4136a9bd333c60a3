"""# FPU121 lazy-fpu-host

## What
A user task acquired the FPU registers long after it was switched in, with no exec, signal or fork
to explain it: the host loads registers lazily, at the first use (#NM).

## Why it matters
Lazy FPU switching lets a task read another's registers by speculation (CVE-2018-3665, LazyFP).

## Generations
G0 (up to 4.13); later kernels cannot.

## Events needed
x86_fpu:x86_fpu_regs_activated, sched:sched_switch; sched:sched_process_exec, signal:signal_deliver
and sched:sched_process_fork, which explain an activation.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py prints a `regs_activated` in the
middle of a task's stay.

## When it can be wrong
Always `possible` only: a slow sigreturn prints an activation too, and without the events that
explain one every other cause looks the same.

## References
* CVE-2018-3665; 58122bf1d856 "x86/fpu: Default eagerfpu=on on all CPUs" (4.6).
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_OLD = frozenset({"G0"})


def check(rows: Rows, _generation: str) -> Check:
    """An activation that nothing explains."""
    return verdicts(rows, possible=Fact.LAZY)


def say(case: Case) -> str:
    """What it looks like."""
    return (
        f"{case.comm} acquired the FPU registers {case.times} in the middle of its stay on a CPU: "
        "this host seems to load them lazily."
    )


RULE = Rule(
    code="FPU121",
    name="lazy-fpu-host",
    severity=Severity.ERROR,
    title="the host loads FPU registers lazily",
    generations=_OLD,
    needs=("x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"),
    facts=Fact.LAZY,
    check=check,
    proof=(Step("event", "the task acquires the registers, by use"),),
    say=say,
    routes=(
        Route(
            _OLD,
            ("sched:sched_process_exec", "signal:signal_deliver", "sched:sched_process_fork"),
            "what explains an activation was not recorded",
        ),
    ),
    one_cpu=True,
    other_reading="a slow sigreturn prints an activation too",
)
