"""Rows that a reader makes itself, in the recording's own order, with the marks set among them.

For recordings whose events already stand in one order (text, converted files).  What the marks
need to know, each CPU's last event and the events around each hole, is found before the pass:
a file often tells of a hole long after the place where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.events import ABSENT, BLOCK_ROWS, EventBlock, Kind, Loss, Trace
from fputrace.lines.textlayout import view
from fputrace.parsers import merge
from fputrace.plain import PlainTuple, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray


@plain
class Columns:
    """Rows in order, as :class:`~fputrace.events.EventBlock` has them.

    ``raw``, int64[n], is what finds a row again in the input (an offset in bytes, a number): it is
    different for every event, and -1 on marks.
    """

    ts: NDArray[np.int64]
    cpu: NDArray[np.int32]
    pid: NDArray[np.int32]
    kind: NDArray[np.uint8]
    flags: NDArray[np.uint16]
    event: NDArray[np.int32]
    op: NDArray[np.int64]
    raw: NDArray[np.int64]

    @classmethod
    def empty(cls, rows: int) -> Columns:
        """Room for that many rows; what is in them is undefined."""
        return cls(
            np.empty(rows, dtype=np.int64),
            np.empty(rows, dtype=np.int32),
            np.empty(rows, dtype=np.int32),
            np.empty(rows, dtype=np.uint8),
            np.empty(rows, dtype=np.uint16),
            np.empty(rows, dtype=np.int32),
            np.empty((rows, 4), dtype=np.int64),
            np.empty(rows, dtype=np.int64),
        )

    def part(self, chosen: Any) -> Columns:
        """The rows of a slice, or of an array of row numbers."""
        return Columns(*(getattr(self, name)[chosen] for name in _NAMES))

    def __len__(self) -> int:
        return len(self.ts)


_NAMES = Columns.__match_args__


class Seen(PlainTuple):
    """An event as the marks know it: its ``raw``, and its time in the trace's unit."""

    raw: int
    ts: int


class Hole(PlainTuple):
    """Events of a CPU missing between two of its events; None where there is none.

    ``lost`` events, None when nobody counted them; ``where``: the place in the input that says so.
    """

    cpu: int
    after: Seen | None
    before: Seen | None
    lost: int | None
    where: str
    severity: str = "lost"


class Marks:
    """LOSS, LOSS_END and CPU_END rows, and where they belong."""

    def __init__(self, holes: Sequence[Hole], last: Mapping[int, Seen]) -> None:
        self._rows: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        gathered: dict[tuple[int, Seen | None, Seen | None], int] = {}
        for hole in holes:
            key = (hole.cpu, hole.after, hole.before)
            lost = -1 if hole.lost is None or hole.severity != "lost" else hole.lost
            known = gathered.get(key, 0)
            gathered[key] = -1 if lost < 0 or known < 0 else known + lost
        for (cpu, after, before), lost in gathered.items():
            known_after = -1 if after is None else after.ts
            start = after or before
            if start is None:
                continue  # a CPU without any event has no rows
            place = (start.raw, int(after is not None))
            self._add(place, cpu, Kind.LOSS, lost, known_after)
            if before is not None:
                self._add((before.raw, 0), cpu, Kind.LOSS_END, ABSENT, ABSENT)
        for cpu, seen in last.items():
            self._add((seen.raw, 1), cpu, Kind.CPU_END, ABSENT, ABSENT)
        self._anchors = np.array(sorted({raw for raw, _ in self._rows}), dtype=np.int64)

    def _add(self, place: tuple[int, int], cpu: int, kind: Kind, *op: int) -> None:
        self._rows.setdefault(place, []).append((cpu, int(kind), *op))

    def insert(self, rows: Columns) -> Columns:
        """The rows with the marks that belong before and behind them."""
        if not len(self._anchors) or not len(rows):
            return rows
        first, last = np.searchsorted(self._anchors, (rows.raw.min(), rows.raw.max() + 1))
        if first == last:
            return rows  # most blocks have none
        at = np.searchsorted(self._anchors, rows.raw)
        at[at == len(self._anchors)] = 0
        hits = np.flatnonzero(self._anchors[at] == rows.raw)
        if not len(hits):
            return rows
        places: list[int] = []
        made: list[tuple[int, ...]] = []
        for row in hits.tolist():
            for behind in (0, 1):
                for mark in self._rows.get((int(rows.raw[row]), behind), ()):
                    places.append(row + behind)
                    # The row's own time: a reader may show an event later than it says it was.
                    made.append((int(rows.ts[row]), *mark))
        marks = _mark_columns(made)
        return Columns(
            *(
                np.insert(getattr(rows, name), places, getattr(marks, name), axis=0)
                for name in _NAMES
            )
        )


def _mark_columns(made: Sequence[tuple[int, ...]]) -> Columns:
    table = np.array(made, dtype=np.int64)
    marks = Columns.empty(len(made))
    marks.ts[:], marks.cpu[:], marks.kind[:] = table[:, 0], table[:, 1], table[:, 2]
    marks.pid[:] = marks.event[:] = marks.raw[:] = -1
    marks.flags[:] = 0
    marks.op[:] = ABSENT
    marks.op[:, :2] = table[:, 3:5]
    return marks


def losses_of(holes: Iterable[Hole]) -> list[Loss]:
    """What ``Trace.losses`` says of the holes, in the order of time."""
    told = [
        Loss(
            hole.cpu,
            None if hole.after is None else hole.after.ts,
            None if hole.before is None else hole.before.ts,
            hole.lost,
            hole.where,
            severity=hole.severity,
        )
        for hole in holes
    ]
    far = (1 << 63) - 1
    return sorted(
        told,
        key=lambda loss: (
            -far if loss.after_ns is None else loss.after_ns,
            far if loss.before_ns is None else loss.before_ns,
            -1 if loss.cpu is None else loss.cpu,
        ),
    )


FieldsOf = Callable[[int], dict[str, Any]]


def blocks_of(
    trace: Trace, parts: Iterable[Columns], marks: Marks, fields_of: Callable[[Columns], FieldsOf]
) -> Iterator[EventBlock]:
    """Blocks of at most BLOCK_ROWS rows, with the marks in their places.

    Keeps ``Trace.counts``, ``first_ns`` and ``last_ns``; the caller has started them anew.
    `fields_of` gives a block's ``EventBlock.fields_of`` for its rows.
    """
    for part in parts:
        rows = marks.insert(part)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows.part(slice(start, start + BLOCK_ROWS))
            _count(trace, block)
            yield EventBlock(
                block.ts,
                block.cpu,
                block.pid,
                block.kind,
                block.flags,
                block.event,
                block.op,
                trace.event_names,
                fields_of(block),
            )


def _count(trace: Trace, rows: Columns) -> None:
    counts = np.zeros(len(trace.event_names) + 1, dtype=np.int64)
    merge.tally(view(np.ascontiguousarray(rows.event)), view(counts))
    note(trace, counts, rows.ts)


def note(trace: Trace, counts: NDArray[np.int64], ts: NDArray[np.int64]) -> None:
    """Note a block's times, and its events: ``counts[i + 1]`` of event i."""
    for index in np.flatnonzero(counts[1:]).tolist():
        name = trace.event_names[index]
        trace.counts[name] = trace.counts.get(name, 0) + int(counts[index + 1])
    if trace.first_ns is None:
        trace.first_ns = int(ts[0])
    trace.last_ns = int(ts[-1])
