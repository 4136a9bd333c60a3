"""What is in a window of a trace: lanes, events, and the places worth jumping to.

Zoomed out, the levels of an overview tell; zoomed in, exact spans.  Those that the overview does
not keep are read again around the window, by whoever can wait for it; so are events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fputrace.checking import Naming, event_of
from fputrace.events import Kind
from fputrace.lanes import NOBODY, LaneCounter, LaneGrid, Marked
from fputrace.replay.layout import REF, Ref
from fputrace.watching import refs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock
    from fputrace.findings import Analysis, WitnessEvent
    from fputrace.pyramid import Level, Overview

AROUND = 3
"""Windows that are read on either side of the one asked for."""

_FINER = 4
"""Cells of a level in a column, at least."""

_MANY = 100_000
"""Exact spans beyond which a level is drawn instead, where there is one."""

_CPU, _START, _END, _PID, _OWNER, _IMAGE = range(6)


class GaveUpError(Exception):
    """Nobody waits for this any more."""


class Nearby(NamedTuple):
    """Events around a time, all of the trace's from ``start`` to ``end`` (ns), in order."""

    start: int
    end: int
    events: tuple[WitnessEvent, ...]


class Source:
    """One trace, opened and analysed.

    Drawing is at once; :meth:`fetch` and :meth:`events` read the trace, one at a time, and ask
    ``given_up`` after every block.
    """

    def __init__(
        self, analysis: Analysis, overview: Overview, owners: Collection[int] | None = None
    ) -> None:
        self._analysis = analysis
        self._overview = overview
        self._owners = owners
        self.comms = dict(analysis.trace.comms)
        self._reading = threading.Lock()
        self._spans = overview.spans
        self._exact: list[tuple[int, int]] = list(overview.exact)
        self._fetched: tuple[int, int, NDArray[np.int64]] | None = None
        self.stops = _stops(overview.marks)
        """Findings and holes in time order."""
        self._stop_times = [mark.start_ns for mark in self.stops]

    def next_stop(self, ns: int, back: bool = False) -> Marked | None:
        """The first finding or hole that begins after ``ns``, or the last before it."""
        if back:
            index = int(np.searchsorted(self._stop_times, ns, side="left")) - 1
        else:
            index = int(np.searchsorted(self._stop_times, ns, side="right"))
        return self.stops[index] if 0 <= index < len(self.stops) else None

    def lanes(self, start: int, end: int, width: int, cpus: Sequence[int]) -> tuple[LaneGrid, bool]:
        """The window in ``width`` cells, and whether it is as sharp as that.

        If it is not, :meth:`fetch` reads what makes it so.
        """
        spans = self._exact_spans(start, end)
        level = self._level(start, end, width)
        if spans is not None and level is not None and len(spans) > _MANY:
            spans = None
        sharp = level is not None or spans is not None
        if spans is None:
            spans = self._of_level(level or self._overview.levels[0], start, end, cpus)
        counter = LaneCounter(start, end, width, cpus, self._owners)
        counter.add(spans[:, [_CPU, _START, _END, _OWNER, _IMAGE]])
        return counter.grid(self._overview.marks), sharp

    def fetch(self, start: int, end: int, given_up: Callable[[], bool]) -> None:
        """Read the exact spans of a window and of what is beside it.

        Raises GaveUpError, and ReadError when the file fails.
        """
        margin = AROUND * (end - start)
        low, high = start - margin, end + margin
        kept: list[NDArray[np.int64]] = []
        with self._reading:
            for table in self._analysis.timeline.tables(low, high, self._overview.cpus):
                if given_up():
                    raise GaveUpError
                kept.append(table[:, : _IMAGE + 1])
        self._fetched = (low, high, np.concatenate(kept))

    def events(self, ns: int, most: int, given_up: Callable[[], bool]) -> Nearby:
        """The ``most`` events before ``ns`` and as many from it on, of the CPUs shown.

        Raises GaveUpError, and ReadError when the file fails.
        """
        trace = self._analysis.trace
        before: list[NDArray[np.int64]] = []
        after: list[NDArray[np.int64]] = []
        cpus = np.array(self._overview.cpus)
        with self._reading:
            for block in trace.blocks():
                if given_up():
                    raise GaveUpError
                rows = _refs(block, cpus)
                split = int(np.searchsorted(rows[:, Ref.TS], ns))
                before = _last(before, rows[:split], most)
                after.append(rows[split:])
                if sum(map(len, after)) >= most:
                    break
        found = np.concatenate([*before, *(after or [np.zeros((0, REF), dtype=np.int64)])])
        found = found[: sum(map(len, before)) + most]
        naming = Naming(self.comms, trace.event_names, trace.formats)
        events = tuple(event_of(tuple(row), "", naming) for row in found.tolist())
        if not events:
            return Nearby(ns, ns, ())
        ended = sum(map(len, after)) < most
        start = events[0].ns if sum(map(len, before)) >= most else -(1 << 62)
        return Nearby(start, 1 << 62 if ended else events[-1].ns, events)

    def _level(self, start: int, end: int, width: int) -> Level | None:
        """The coarsest level of which a column has several cells: where in one is not told."""
        whole = self._overview.end_ns - self._overview.start_ns
        fine = [
            level
            for level in self._overview.levels
            if whole * width * _FINER <= level.width * (end - start)
        ]
        return fine[-1] if fine else None

    def _exact_spans(self, start: int, end: int) -> NDArray[np.int64] | None:
        if any(low <= start and end <= high for low, high in self._clipped()):
            return _within(self._spans, start, end)
        if self._fetched is not None:
            low, high, spans = self._fetched
            if low <= start and end <= high:
                return _within(spans, start, end)
        return None

    def _clipped(self) -> Sequence[tuple[int, int]]:
        """Exact stretches; beyond the ends of the trace there is nothing to be missed."""
        first, last = self._overview.start_ns, self._overview.end_ns
        return [
            (low if low > first else -(1 << 62), high if high < last else 1 << 62)
            for low, high in self._exact
        ]

    def _of_level(
        self, level: Level, start: int, end: int, cpus: Sequence[int]
    ) -> NDArray[np.int64]:
        """Pieces of cells as spans, one behind the other within their cell."""
        first, whole = self._overview.start_ns, self._overview.end_ns - self._overview.start_ns
        low = max(0, (start - first) * level.width // whole - 1)
        high = (end - first) * level.width // whole + 1
        tables = [np.zeros((0, 6), dtype=np.int64)]
        for cpu, lane in zip(self._overview.cpus, level.lanes, strict=True):
            if cpu not in cpus:
                continue
            rows = slice(*np.searchsorted(lane.cell, [low, high + 1]))
            cell, length = lane.cell[rows], lane.length[rows]
            if not len(cell):
                continue
            total = np.cumsum(length)
            begins = np.flatnonzero(np.r_[True, np.diff(cell) != 0])
            before = np.repeat(total[begins] - length[begins], np.diff(np.r_[begins, len(cell)]))
            table = np.empty((len(cell), 6), dtype=np.int64)
            table[:, _CPU], table[:, _PID] = cpu, -1
            scale = whole / level.width
            table[:, _START] = first + ((cell + total - length - before) * scale).astype(np.int64)
            table[:, _END] = first + ((cell + total - before) * scale).astype(np.int64)
            nobody = lane.state[rows] == NOBODY
            table[:, _OWNER] = np.where(nobody, 0, lane.owner[rows])
            table[:, _IMAGE] = np.where(nobody, 0, lane.state[rows])
            tables.append(table)
        return np.concatenate(tables)


def _within(spans: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    return spans[(spans[:, _END] > start) & (spans[:, _START] < end)]


def _stops(marks: Sequence[Marked]) -> list[Marked]:
    told = [mark for mark in marks if mark.what in ("error", "performance", "lost")]
    return sorted(told, key=lambda mark: (mark.start_ns, mark.cpu))


def _refs(block: EventBlock, cpus: NDArray[np.int64]) -> NDArray[np.int64]:
    """Events and holes of these CPUs as references (``layout.Ref``)."""
    return refs_of(block, np.flatnonzero(np.isin(block.cpu, cpus) & (block.kind != Kind.LOSS_END)))


def _last(
    kept: list[NDArray[np.int64]], rows: NDArray[np.int64], most: int
) -> list[NDArray[np.int64]]:
    """The last rows of both."""
    if len(rows) >= most:
        return [rows[-most:].copy()]
    both = np.concatenate([*kept, rows])
    return [both[-most:]]
