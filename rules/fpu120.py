"""# FPU120 sigframe-rejected

## What
The kernel refused the register image of a signal frame, or of a debugger: `xstate_check_failed`.

## Why it matters
The task loses its registers or gets SIGSEGV: a damaged frame, or one from a CPU with other
features (CRIU, live migration of a container).

## Generations
All of them, G0 to G6.

## Events needed
x86_fpu:x86_fpu_xstate_check_failed; it must have been switched on, and need not occur.

## Example
No recording shows it. The scenario in tests/rules/test_lives.py prints the event once.

## When it can be wrong
The event is the kernel's own verdict. Programs that test sigreturn with bad frames provoke it on
purpose.

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
    return f"The kernel refused the register image of a signal frame of {case.comm} {case.times}."


RULE = Rule(
    code="FPU120",
    name="sigframe-rejected",
    severity=Severity.ERROR,
    title="the kernel refuses the registers of a signal frame",
    generations=_ALL,
    needs=(),
    facts=Fact.SIGFRAME,
    check=check,
    proof=(Step("event", "the kernel refuses the image"),),
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
