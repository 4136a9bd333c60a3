"""A recording as it would be had the kernel left a step out: rows dropped, operands changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

import fputrace
from fputrace import analysis as analysis_module
from fputrace.events import EventBlock, Trace
from fputrace.findings import Analysis
from fputrace.parsers import open_trace

COLUMNS = ("ts", "cpu", "pid", "kind", "flags", "event", "op")


class Tape:
    """All rows of a recording; ``drop()`` and ``put()`` say what is to be different."""

    def __init__(self, path: Path) -> None:
        with open_trace(path) as trace:
            blocks = list(trace.blocks())
            self.names = list(trace.event_names)
        self.path = path
        for column in COLUMNS:
            whole = np.concatenate([getattr(block, column) for block in blocks])
            setattr(self, f"_{column}", whole)
        self.kind: list[int] = self._kind.tolist()  # type: ignore[attr-defined]
        self.cpu: list[int] = self._cpu.tolist()  # type: ignore[attr-defined]
        self.pid: list[int] = self._pid.tolist()  # type: ignore[attr-defined]
        self.flags: list[int] = self._flags.tolist()  # type: ignore[attr-defined]
        self.op: NDArray[np.int64] = self._op  # type: ignore[attr-defined]
        self.kept = np.ones(len(self.kind), dtype=bool)
        self.forgotten: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.kind)

    def drop(self, rows: Iterable[int]) -> None:
        """These were never printed."""
        self.kept[list(rows)] = False

    def forget(self, names: Iterable[str]) -> None:
        """These events had not been enabled: neither records nor formats."""
        self.forgotten = frozenset(names)
        numbers = [self.names.index(name) for name in self.forgotten]
        self.kept &= ~np.isin(self._event, numbers)  # type: ignore[attr-defined]

    def put(self, row: int, column: int, value: int) -> None:
        """That operand had another value."""
        self.op[row, column] = value

    def analyze(self, **how: Any) -> Analysis:
        """What fputrace says of the altered recording."""

        def opened(path: Path, **options: Any) -> Trace:
            return self._altered(open_trace(path, **options))

        with mock.patch.object(analysis_module, "open_trace", opened):
            return fputrace.analyze(self.path, **how)

    def _altered(self, trace: Trace) -> Trace:
        inner = trace.blocks

        def blocks(outer: Trace) -> Iterator[EventBlock]:
            counts: dict[str, int] = {}
            start = 0
            for block in inner():
                stop = start + len(block)
                rows = np.flatnonzero(self.kept[start:stop])
                for number, count in zip(
                    *np.unique(block.event[rows], return_counts=True), strict=True
                ):
                    if number >= 0:
                        name = trace.event_names[number]
                        counts[name] = counts.get(name, 0) + int(count)
                outer.counts = counts
                outer.losses, outer.comms = trace.losses, trace.comms
                outer.probes = {
                    name: how for name, how in trace.probes.items() if name not in self.forgotten
                }
                outer.first_ns, outer.last_ns = trace.first_ns, trace.last_ns
                outer.event_names = trace.event_names
                yield _chosen(block, rows, self.op[start:stop])
                start = stop

        formats = {name: f for name, f in trace.formats.items() if name not in self.forgotten}
        return dataclasses.replace(trace, formats=formats, _blocks=blocks, _close=trace.close)


def _chosen(block: EventBlock, rows: NDArray[np.intp], op: NDArray[np.int64]) -> EventBlock:
    fields_of = block.fields_of
    columns = {name: getattr(block, name)[rows] for name in COLUMNS if name != "op"}
    return dataclasses.replace(
        block, **columns, op=op[rows], fields_of=lambda row: fields_of(int(rows[row]))
    )
