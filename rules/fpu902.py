"""# FPU902 events-missing

## What
The recording lacks events without which the core rules cannot answer.

## Why it matters
A rule that cannot answer is not-decidable, never clean.

## Generations
All.

## Events needed
None.

## Example
Any recording made without sched:sched_switch.

## When it can be wrong
Formats of events that were not enabled may be in the file: an event counts as recorded when its format is there.

## References
Reference D.3.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """Core events that are not in the recording, in one finding."""
    if not trace.missing:
        return None
    return (
        "not recorded: " + ", ".join(trace.missing) + ". Rules that need them say not-decidable.",
        1,
    )


RULE = TraceRule(
    code="FPU902",
    name="events-missing",
    title="events the core rules need were not recorded",
    check=check,
)
