"""# FPU906 input-damaged

## What
Part of the file could not be read: it is cut off, or records in it are corrupt. Every whole page
was kept.

## Why it matters
What was in the damaged part is unknown, like a loss.

## Generations
All of them, G0 to G6.

## Events needed
None: it is about the recording itself.

## Example
No recording shows it. A version 6 file that a full disk cut short keeps the pages it has; a
version 7 file without its end lacks the table that says where each CPU's events are, and cannot
be read.

## When it can be wrong
The rest of the file is read as it is.

## References
* kernel/trace/ring_buffer.c for pages; the manual pages trace-cmd.dat.v6(5) and
  trace-cmd.dat.v7(5) for files.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """Damage anywhere in the input."""
    damaged = [loss for loss in trace.losses if loss.severity == "damaged"]
    if not damaged:
        if not trace.trace.broken:
            return None
        others = len(trace.trace.broken) - 1
        more = f" (and {others:,} more)" if others else ""
        return f"part of the file cannot be read: {trace.trace.broken[0]}{more}", 1
    others = len(damaged) - 1
    more = f" (and {others:,} more place{'s' if others > 1 else ''})" if others else ""
    said = (
        f"part of the recording could not be read: {damaged[0].where}{more}. What was there counts "
        "as lost."
    )
    return said, 1


RULE = TraceRule(
    code="FPU906",
    name="input-damaged",
    title="the recording is damaged or cut off",
    check=check,
)
