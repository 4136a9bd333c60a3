"""# FPU116 signal-handler-not-cleared

## What
A signal was delivered to a handler, and the task was seen in user mode with no activation of its
registers since: the handler started on the interrupted code's registers.

## Why it matters
A handler may rely on initial floating-point state (control words, AVX upper halves); the
interrupted code's is also restored from the frame later, so nothing is lost, but the handler
computes wrongly.

## Generations
All of them, G0 to G6.

## Events needed
signal:signal_deliver, x86_fpu:x86_fpu_regs_activated, sched:sched_switch, and proof of user mode:
raw_syscalls:sys_enter or exceptions:page_fault_user.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py leaves out
`fpu__clear_user_states()` in `handle_signal()`: `signal_deliver`, `sys_enter` of the same task
with no `regs_activated` between.

## When it can be wrong
Always `possible` only: when the frame cannot be written the task gets SIGSEGV instead and never
enters the handler, and several signals may be delivered before one handler runs.

## References
* `handle_signal()` in arch/x86/kernel/signal.c: `fpu__clear_user_states()` (`fpu__clear()` before
  5.8) once the frame is set up.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_ALL = frozenset({"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """User mode after a delivery with no activation in between: consistent, not proven."""
    return verdicts(rows, possible=Fact.SIGNAL_USER)


def say(case: Case) -> str:
    """What the handler got."""
    return (
        f"A signal was delivered to {case.comm} {case.times}, and it reached user mode with no "
        "activation of its registers since: a handler starts on initial registers."
    )


RULE = Rule(
    code="FPU116",
    name="signal-handler-not-cleared",
    severity=Severity.ERROR,
    title="a signal handler starts on the interrupted code's registers",
    generations=_ALL,
    needs=("x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"),
    facts=Fact.SIGNAL_USER,
    check=check,
    proof=(
        Step("cause", "a signal is delivered to a handler"),
        Step("event", "the task is in user mode, and no activation was seen"),
    ),
    say=say,
    routes=(
        Route(
            _ALL,
            ("signal:signal_deliver", "raw_syscalls:sys_enter|exceptions:page_fault_user"),
            "signals, or user mode after them, were not recorded",
        ),
    ),
    other_reading="the frame may not have been written (SIGSEGV instead), or signals coalesced",
)
