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

A text may hold the events and not their fields: lines that were cut or wrapped, `perf script`
without `-F trace`. Then it says so, and how to print them; nothing needs to be recorded again.

## When it can be wrong
An event counts as recorded when its format is in the file, and a file may describe events that
were not enabled: then the coverage says of the rules that need them that they never occurred.

## References
* The README tells what to record; docs/events.md lists what is read.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """Core events that are not in the recording, or not readable in it, in one finding."""
    if not trace.missing:
        return None
    unread = [event for event in trace.missing if event in trace.unread]
    absent = [event for event in trace.missing if event not in trace.unread]
    said = [f"not recorded: {', '.join(absent)}."] * bool(absent)
    if unread:
        said.append(f"in this text, but not their fields: {', '.join(unread)}. {trace.to_read}")
    return " ".join([*said, "Rules that need them say not-decidable."]), 1


RULE = TraceRule(
    code="FPU902",
    name="events-missing",
    title="events the core rules need were not recorded, or cannot be read",
    check=check,
)
