"""# FPU902 events-missing

## What
The recording lacks events without which the core rules cannot answer.

## Why it matters
A rule that cannot answer is `not-decidable`, never clean.

## Generations
All of them, G0 to G6.

## Events needed
None: it is about the recording itself.

## Example
A recording made with `trace-cmd record -e x86_fpu` alone: no recording shows it here, and the
tests leave one event after the other out. fputrace says which are missing and prints the command
that records them.

## When it can be wrong
An event counts as recorded when its format is in the file, and a file may describe events that
were not enabled: then the coverage says of the rules that need them that they never occurred.

## References
* The README tells what to record; docs/events.md lists what is read.
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
