"""# FPU901 events-lost

## What
The recorder lost events: the ring buffer overflowed, was overwritten or dropped them. Or a text
lost them: a mail program wrapped its lines, a console dropped some.

## Why it matters
What a CPU did in a hole is unknown, and so is the state of every task that may have run there.
Nothing is accused over a hole, and rules are only `partly` checked.

## Generations
All of them, G0 to G6.

## Events needed
None: the recording itself tells.

## Example
`sample_traces/6.1-storm-lost`, recorded while the recorder was stopped three times: 26879 events
lost in six places on two CPUs. Without regard to them a replay would see FPU102, FPU104 and
FPU108, none of which happened.

## When it can be wrong
The count is what the recorder says; where it does not say, it is unknown. A loss of which only a
total per CPU is known cannot be placed: then every finding of the recording is `possible`.

## References
* `RB_MISSED_EVENTS` and `RB_MISSED_STORED` in kernel/trace/ring_buffer.c; `per_cpu/cpuN/stats` in
  Documentation/trace/ftrace.rst, which trace-cmd stores as CPUSTAT.
* docs/model.md: Blindness.
"""

from __future__ import annotations

from fputrace.findings import TraceFacts, TraceRule


def check(trace: TraceFacts) -> tuple[str, int] | None:
    """Places with losses, counted once each."""
    lost = [loss for loss in trace.losses if loss.severity == "lost"]
    if not lost:
        return None
    known = sum(loss.count for loss in lost if loss.count is not None)
    unknown = sum(1 for loss in lost if loss.count is None)
    parts = [f"{known} events"] if known else []
    if unknown:
        some = f"in {unknown} of the places" if known else "of events"
        parts.append(f"an unknown number {some}")
    cpus = sorted({loss.cpu for loss in lost if loss.cpu is not None})
    where = "CPU " + ", ".join(str(cpu) for cpu in cpus) if cpus else "an unknown CPU"
    unplaced = any(not loss.placed for loss in lost)
    tail = (
        " At least one loss cannot be placed, so nothing in this trace is certain."
        if unplaced
        else f" Nothing is confirmed over these holes; {trace.to_keep}."
    )
    places = f"{len(lost)} place{'s' if len(lost) > 1 else ''}"
    return f"{' and '.join(parts)} lost in {places} on {where}." + tail, len(lost)


RULE = TraceRule(
    code="FPU901",
    name="events-lost",
    title="places where the recorder lost events",
    check=check,
)
