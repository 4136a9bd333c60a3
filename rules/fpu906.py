"""# FPU906 input-damaged

## What
Part of the file could not be read: it is truncated, or records in it are corrupt. Every whole page was kept.

## Why it matters
What was in the damaged part is unknown, like a loss.

## Generations
All.

## Events needed
None.

## Example
Any recording cut short by a full disk.

## When it can be wrong
The rest of the file is read as it is.

## References
Trace formats 1.3, 1.4.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """Damage anywhere in the input."""
    damaged = [loss for loss in trace.losses if loss.severity == "damaged"]
    if not damaged:
        return None
    more = f" (and {len(damaged) - 1} more places)" if len(damaged) > 1 else ""
    return (
        f"part of the recording could not be read: {damaged[0].where}{more}. What was there counts as lost.",
        1,
    )


RULE = TraceRule(
    code="FPU906",
    name="input-damaged",
    title="the recording is damaged or cut off",
    check=check,
)
