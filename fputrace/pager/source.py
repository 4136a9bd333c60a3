"""What is in a window of a trace: lanes, events, and the places worth jumping to.

Zoomed out, the levels of an overview tell; zoomed in, exact spans.  Those that the overview does
not keep are read again around the window, by whoever can wait for it; so are events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fputrace.checking import Naming, event_of
from fputrace.events import Kind
from fputrace.lanes import NOBODY, LaneCounter, LaneGrid, Marked
from fputrace.overview import SPAN_WIDTH, SPANS, ExactSpans
from fputrace.plain import PlainTuple
from fputrace.replay.layout import REF, Ref
from fputrace.watching import refs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.findings import Analysis, WitnessEvent
    from fputrace.pyramid import Level, Overview

AROUND = 3
"""Windows that are read on either side of the one asked for."""

EDGE = 30
"""Events that a list should have on either side of the cursor."""

_SAME = 2000
"""Events at one time that are listed: a coarse clock has many."""

_FINER = 4
"""Cells of a level in a column, at least."""

_MANY = 100_000
"""Exact spans beyond which a level is drawn instead, where there is one."""

_CPU, _START, _END, _PID, _OWNER, _IMAGE = range(6)
_DRAWN = [_CPU, _START, _END, _OWNER, _IMAGE]


class GaveUpError(Exception):
    """Nobody waits for this any more."""


class Nearby(PlainTuple):
    """Events of some CPUs around a time, in order, none between the first and the last missing.

    It has enough of them on either side of a time from ``start`` to ``end`` (ns).  ``cut``: there
    are more at the time asked for than can be listed.
    """

    cpus: tuple[int, ...]
    start: int
    end: int
    events: tuple[WitnessEvent, ...]
    cut: bool = False

    def shows(self, ns: int) -> bool:
        """Whether what happened at a time is in the list."""
        return bool(self.events) and self.events[0].ns <= ns <= self.events[-1].ns


class Fetched(PlainTuple):
    """A window as it is (the arguments of ``Source.lanes``), and exact spans around it."""

    window: tuple[int, int, int, tuple[int, ...]]
    grid: LaneGrid
    spans: NDArray[np.int64]
    exact: tuple[tuple[int, int], ...]


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
        self._fetched: Fetched | None = None
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

    def lanes(
        self, start: int, end: int, width: int, cpus: tuple[int, ...]
    ) -> tuple[LaneGrid, bool]:
        """The window in ``width`` cells, and whether it is as sharp as that.

        If it is not, :meth:`fetch` reads what makes it so.
        """
        spans = self._exact_spans(start, end)
        level = self._level(start, end, width)
        if spans is not None and level is not None and len(spans) > _MANY:
            spans = None
        sharp = level is not None or spans is not None
        fetched = self._fetched
        if not sharp and fetched and fetched.window == (start, end, width, cpus):
            return fetched.grid, True
        if spans is None:
            spans = self._of_level(level or self._overview.levels[0], start, end, cpus)
        counter = LaneCounter(start, end, width, cpus, self._owners)
        counter.add(spans[:, _DRAWN])
        return counter.grid(self._overview.marks), sharp

    def fetch(
        self,
        start: int,
        end: int,
        width: int,
        cpus: tuple[int, ...],
        given_up: Callable[[], bool],
    ) -> None:
        """Read a window, and the exact spans of what is around it, as far as they are not too many.

        Raises GaveUpError, and ReadError when the file fails.
        """
        margin = AROUND * (end - start)
        low, high = start - margin, end + margin
        near = ExactSpans(low, high, [(start + end) // 2], SPANS)
        counter = LaneCounter(start, end, width, cpus, self._owners)
        with self._reading:
            for table in self._analysis.timeline.tables(low, high, self._overview.cpus):
                if given_up():
                    raise GaveUpError
                near.add(table[:, :SPAN_WIDTH])
                counter.add(_within(table, start, end)[:, _DRAWN])
        grid = counter.grid(self._overview.marks)
        self._fetched = Fetched((start, end, width, cpus), grid, *near.finish())

    def events(
        self, ns: int, most: int, cpus: tuple[int, ...], given_up: Callable[[], bool]
    ) -> Nearby:
        """The ``most`` events of these CPUs before ``ns``, all at it, and ``most`` after it.

        Of very many at one time only the first.  Raises GaveUpError, and ReadError when the file
        fails.
        """
        trace = self._analysis.trace
        before = after = np.zeros((0, REF), dtype=np.int64)
        wanted = most
        with self._reading:
            for block in trace.blocks():
                if given_up():
                    raise GaveUpError
                told = np.flatnonzero(np.isin(block.cpu, cpus) & (block.kind != Kind.LOSS_END))
                split = int(np.searchsorted(block.ts[told], ns))
                # Copies: a block is not kept for a few rows of it.
                early = refs_of(block, told[max(0, split - most) : split])
                before = np.concatenate([before, early])[-most:]
                late = refs_of(block, told[split : split + most + _SAME])
                after = np.concatenate([after, late])[: most + _SAME]
                same = int(np.searchsorted(after[:, Ref.TS], ns, side="right"))
                wanted = most + min(same, _SAME)
                if len(after) >= wanted:
                    break
        after = after[:wanted]
        found = np.concatenate([before, after])
        times = found[:, Ref.TS]
        start, end = -(1 << 62), 1 << 62
        edge = min(EDGE, most)
        if len(before) == most:
            start = min(ns, int(times[edge - 1]) + 1)
        if len(after) == wanted:
            end = max(ns, int(times[-edge]) - 1)
        naming = Naming(self.comms, trace.event_names, trace.formats)
        events = tuple(event_of(tuple(row), "", naming) for row in found.tolist())
        cut = len(after) == wanted and events[-1].ns == ns
        return Nearby(cpus, start, end, events, cut)

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
        overview, fetched = self._overview, self._fetched
        if any(low <= start and end <= high for low, high in self._clipped()):
            return _within(overview.spans, start, end)
        if fetched is not None and any(a <= start and end <= b for a, b in fetched.exact):
            return _within(fetched.spans, start, end)
        return None

    def _clipped(self) -> Sequence[tuple[int, int]]:
        """Exact stretches; beyond the ends of the trace there is nothing to be missed."""
        first, last = self._overview.start_ns, self._overview.end_ns
        return [
            (low if low > first else -(1 << 62), high if high < last else 1 << 62)
            for low, high in self._overview.exact
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
