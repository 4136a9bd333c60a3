"""What a reader gave, as plain Python values that tests compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from fputrace.events import Kind, Trace
from fputrace.parsers import open_trace


class Row(NamedTuple):
    """One event of a block."""

    ts: int
    cpu: int
    pid: int
    flags: int
    name: str
    fields: dict[str, Any]


class Pass(NamedTuple):
    """One pass over a recording: its events, marks (ts, cpu, kind), and the trace itself."""

    trace: Trace
    rows: list[Row]
    marks: list[tuple[int, int, Kind]]


def read_all(
    path: Path, fields: bool = True, instance: str | None = None, ordered: bool = True
) -> Pass:
    """Every row of a recording; ``fields`` False leaves the fields out; texts keep their order."""
    rows: list[Row] = []
    marks: list[tuple[int, int, Kind]] = []
    before = (-(1 << 63), -1)
    with open_trace(path, instance=instance) as trace:
        for block in trace.blocks():
            for at in range(len(block)):
                ts, cpu = int(block.ts[at]), int(block.cpu[at])
                assert not ordered or (ts, cpu) >= before, (
                    f"row {at} of a block at {ts} on CPU {cpu}"
                )
                before = ts, cpu
                if block.event[at] < 0:
                    marks.append((ts, cpu, Kind(int(block.kind[at]))))
                    continue
                rows.append(
                    Row(
                        ts,
                        cpu,
                        int(block.pid[at]),
                        int(block.flags[at]),
                        block.names[block.event[at]],
                        block.fields_of(at) if fields else {},
                    )
                )
    return Pass(trace, rows, marks)
