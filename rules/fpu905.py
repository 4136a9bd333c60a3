"""# FPU905 impossible-flag

## What
Some events carry a flag value that the kernel of this generation cannot print: `load: 1` at a switch-out save before 6.16,
`load: 0` from then on, `initialized: 0` on `regs_activated` up to 5.1.

## Why it matters
The generation is wrong, records are corrupt, or the recording mixes two kernels: every verdict is doubtful.

## Generations
All but G0.

## Events needed
x86_fpu:*.

## Example
No recording shows it.

## When it can be wrong
The generation is chosen by what most switch-out saves print.

## References
Reference C.3 FPU-FLAG-IMPOSSIBLE.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """Any such flag."""
    if not trace.bad_flags:
        return None
    return (
        f"{trace.bad_flags} events carry a flag that {' or '.join(trace.candidates)} cannot print: wrong generation, "
        "corrupt records, or two recordings mixed.",
        1,
    )


RULE = TraceRule(
    code="FPU905",
    name="impossible-flag",
    title="events carry a flag this generation cannot print",
    check=check,
)
