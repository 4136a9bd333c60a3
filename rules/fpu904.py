"""# FPU904 clock-not-global

## What
The recording was made with a clock that is not in step across CPUs (`local`), or with one that is
not known.

## Why it matters
The order of events on different CPUs is not reliable, so verdicts that rest on it are `possible`.

## Generations
All of them, G0 to G6.

## Events needed
None: it is about the recording itself.

## Example
No recording shows it. `trace-cmd record` without `-C` uses the kernel's default clock, `local`.

## When it can be wrong
On most machines `local` agrees to some microseconds; that is no proof. The order of the events of
one CPU is right with any clock.

## References
* Documentation/trace/ftrace.rst, `trace_clock`.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """A clock that cannot order CPUs, and more than one CPU."""
    if trace.trace.clock_global or len(trace.trace.cpus) < 2:
        return None
    clock = trace.trace.clock
    which = (
        f"recorded with the clock {clock!r}, which is not the same on all CPUs"
        if clock
        else "the recording does not name its clock, and the kernel's default is not the same on "
        "all CPUs"
    )
    said = (
        f"{which}: verdicts that rest on the order of events across CPUs are possible only. "
        "Record with -C mono."
    )
    return said, 1


RULE = TraceRule(
    code="FPU904",
    name="clock-not-global",
    title="the trace clock is not the same on all CPUs",
    check=check,
)
