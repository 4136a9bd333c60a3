"""# FPU120 sigframe-rejected

## What
A program returned from a signal handler, and the kernel took only the x87 and SSE registers of the
signal frame: what it says of the rest did not pass the check (`xstate_check_failed`).

## Why it matters
AVX registers and everything above are set to their initial values, and the program goes on with
those. Its frame was damaged, or copied without its end, or written on a CPU with other features
(CRIU, live migration of a container).

## Generations
All of them, G0 to G6.

## Events needed
x86_fpu:x86_fpu_xstate_check_failed; it must have been switched on, and need not occur.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py prints the event once.

## When it can be wrong
The event is the kernel's own verdict on the frame. A program that knows of x87 and SSE only and
writes frames itself gets what it asked for, and so does one that tries sigreturn with bad frames.

## References
* `check_xstate_in_sigframe()` in arch/x86/kernel/fpu/signal.c.
"""

from __future__ import annotations

from fputrace.findings import Case, Check, Route, Rows, Rule, Severity, Step, verdicts
from fputrace.timeline import Fact

_ALL = frozenset({"G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6"})


def check(rows: Rows, _generation: str) -> Check:
    """The kernel says so itself."""
    return verdicts(rows, confirmed=Fact.SIGFRAME)


def say(case: Case) -> str:
    """Whose frame."""
    return (
        f"The kernel took only the x87 and SSE registers of a signal frame of {case.comm} "
        f"{case.times}: AVX and what came after it are set to initial values."
    )


RULE = Rule(
    code="FPU120",
    name="sigframe-rejected",
    severity=Severity.ERROR,
    title="the kernel takes only x87 and SSE registers of a signal frame",
    generations=_ALL,
    needs=(),
    facts=Fact.SIGFRAME,
    check=check,
    proof=(Step("event", "the kernel refuses the rest of the frame"),),
    say=say,
    routes=(
        Route(
            _ALL,
            ("x86_fpu:x86_fpu_xstate_check_failed",),
            "x86_fpu_xstate_check_failed was not recorded",
        ),
    ),
    one_cpu=True,
)
