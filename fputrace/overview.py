"""A trace to look at: every zoom of its lanes, exact spans where findings are, and who held what.

One pass over the trace makes all of it, in memory that depends on the answer alone: cells are
limited in number, and the stretches of exact spans shrink until they fit.  A short trace is exact
from end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from fputrace.lanes import NOBODY, Marked
from fputrace.pyramid import STATES, STEP, Lane, Move, Overview, Vcpu, levels
from fputrace.timeline import SPAN_COLUMNS, moves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import Trace
    from fputrace.findings import Analysis

CELLS = 1 << 17
"""Cells of the finest level, all CPUs together."""

SPANS = 250_000
"""Exact spans that are kept."""

MARKS = 20_000
"""Places of findings and holes that are kept apart."""

SPAN_WIDTH = SPAN_COLUMNS.index("certainty") + 1
"""Columns of an exact span, the first of ``SPAN_COLUMNS``."""

_MOST_CELLS = 1 << 16
_ANCHORS = 4000
_LEAST_PAD_NS = 1000

_CPU, _START, _END, _PID, _OWNER, _IMAGE = range(6)


def overview(
    analysis: Analysis,
    *,
    time: tuple[int | None, int | None] | None = None,
    cpus: Iterable[int] | None = None,
    progress: Callable[[Trace], None] | None = None,
) -> Overview | None:
    """Everything a page draws of this trace, by one more pass over it; None where there is no time.

    ``time`` (ns) and ``cpus`` choose a part.  ``progress`` is called again and again.  Raises
    ReadError when the file fails meanwhile.
    """
    trace, timeline = analysis.trace, analysis.timeline
    wanted = None if cpus is None else set(cpus)
    chosen = tuple(cpu for cpu in timeline.cpus if wanted is None or cpu in wanted)
    low, high = time or (None, None)
    start = max((n for n in (low, timeline.start_ns) if n is not None), default=0)
    end = min((n for n in (high, timeline.end_ns) if n is not None), default=0)
    if not chosen or end <= start:
        return None
    width = _MOST_CELLS
    while width > 1 and width * len(chosen) > CELLS:
        width //= STEP
    lanes = {cpu: Lane(start, end, width) for cpu in chosen}
    exact = ExactSpans(start, end, list(_anchors(analysis, start, end)), SPANS)
    sums = Sums()

    def seen() -> Iterator[NDArray[np.int64]]:
        for table in timeline.tables(start, end, chosen):
            sums.add(table, start, end)
            exact.add(table[:, :SPAN_WIDTH])
            for cpu in np.unique(table[:, _CPU]).tolist():
                mine = table[table[:, _CPU] == cpu]
                lanes[cpu].add(mine[:, [_START, _END, _OWNER, _IMAGE]])
            if progress is not None:
                progress(trace)
            yield table

    moved, images = moves(seen())
    spans, stretches = exact.finish()
    marks = [mark for mark in timeline.marks() if mark.cpu in lanes]
    return Overview(
        start,
        end,
        chosen,
        tuple(levels(width, tuple(lanes[cpu].finish() for cpu in chosen))),
        spans,
        stretches,
        {cpu: tuple(sums.cpus.get(cpu, [0] * len(STATES))) for cpu in chosen},
        {pid: tuple(row) for pid, row in sums.owners.items()},
        thinned(marks, start, end, MARKS),
        tuple(Move(*pair, *sums) for pair, sums in moved.items()),
        images,
        _vcpus(analysis, sums),
    )


class Sums:
    """ns by CPU and state, and by owner and state, of spans clipped to a window."""

    def __init__(self) -> None:
        self.cpus: dict[int, list[int]] = {}
        self.owners: dict[int, list[int]] = {}

    def add(self, table: NDArray[np.int64], start: int, end: int) -> None:
        """Further spans of ``SPAN_COLUMNS``."""
        length = np.minimum(table[:, _END], end) - np.maximum(table[:, _START], start)
        nobody = (table[:, _OWNER] == 0) & (table[:, _IMAGE] == 0)
        state = np.where(nobody, NOBODY, table[:, _IMAGE])
        for column, into in ((_CPU, self.cpus), (_OWNER, self.owners)):
            keys, rows = np.unique(table[:, column], return_inverse=True)
            sums = np.zeros((len(keys), len(STATES)), dtype=np.int64)
            np.add.at(sums, (rows, state), length)
            for key, row in zip(keys.tolist(), sums.tolist(), strict=True):
                kept = into.setdefault(key, [0] * len(STATES))
                into[key] = [a + b for a, b in zip(kept, row, strict=True)]


class ExactSpans:
    """Spans near the anchors (times, the important ones first), as many as ``limit``.

    Near is at first everywhere; whenever too many were kept it becomes half as far.
    """

    def __init__(self, start: int, end: int, anchors: list[int], limit: int) -> None:
        self._start, self._end, self._limit = start, end, limit
        self._anchors = anchors[:_ANCHORS]
        self._pad = end - start
        self._whole = True
        self._kept: list[NDArray[np.int64]] = []
        self._rows = 0

    def add(self, spans: NDArray[np.int64]) -> None:
        """Further spans: rows that begin with CPU, start and end."""
        self._take(self._near(spans))
        while self._rows > self._limit:
            self._shrink()

    def finish(self) -> tuple[NDArray[np.int64], tuple[tuple[int, int], ...]]:
        """The spans by CPU and time, and the stretches of time in which none is missing."""
        spans = np.concatenate([np.zeros((0, SPAN_WIDTH), dtype=np.int64), *self._kept])
        spans = spans[np.lexsort((spans[:, _START], spans[:, _CPU]))]
        return spans, tuple((int(a), int(b)) for a, b in zip(*self._stretches(), strict=True))

    def _take(self, spans: NDArray[np.int64]) -> None:
        if len(spans):
            self._kept.append(spans.copy())
            self._rows += len(spans)

    def _shrink(self) -> None:
        if not self._whole and self._pad <= _LEAST_PAD_NS:
            self._anchors = self._anchors[: len(self._anchors) // 2]
        self._whole = False
        self._pad = max(self._pad // 2, _LEAST_PAD_NS)
        kept, self._kept, self._rows = self._kept, [], 0
        for spans in kept:
            self._take(self._near(spans))

    def _stretches(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and ends of what is near, joined where they overlap."""
        if self._whole:
            return np.array([self._start]), np.array([self._end])
        at = np.sort(np.array(self._anchors, dtype=np.int64))
        first = np.clip(at - self._pad, self._start, self._end)
        last = np.clip(at + self._pad, self._start, self._end)
        apart = np.flatnonzero(first[1:] > last[:-1])
        begins = np.concatenate([first[:1], first[apart + 1]])
        return begins, np.concatenate([last[apart], last[-1:]])

    def _near(self, spans: NDArray[np.int64]) -> NDArray[np.int64]:
        begins, ends = self._stretches()
        if not len(begins):
            return spans[:0]
        place = np.searchsorted(ends, spans[:, _START], side="right")
        touched = begins[np.minimum(place, len(begins) - 1)] < spans[:, _END]
        return spans[(place < len(begins)) & touched]


def thinned(
    marks: Sequence[Marked], start: int, end: int, limit: int = MARKS
) -> tuple[Marked, ...]:
    """The marks of a window in time order; near ones of one kind become one when there are many."""
    inside = [mark for mark in marks if mark.end_ns >= start and mark.start_ns <= end]
    inside.sort(key=lambda mark: (mark.start_ns, mark.cpu))
    apart = 1
    while len(inside) > limit:
        apart = max(apart * 2, (end - start) // limit)
        joined: dict[tuple[int, str, str], int] = {}
        kept: list[Marked] = []
        for mark in inside:
            key = (mark.cpu, mark.what, mark.code)
            last = joined.get(key)
            if last is not None and mark.start_ns - kept[last].start_ns < apart:
                kept[last] = kept[last]._replace(end_ns=max(kept[last].end_ns, mark.end_ns))
            else:
                joined[key] = len(kept)
                kept.append(mark)
        if apart > end - start:
            kept = kept[:limit]
        inside = kept
    return tuple(inside)


def _anchors(analysis: Analysis, start: int, end: int) -> Iterator[int]:
    """Times worth exact spans: proofs, the first of every finding before the second; then holes.

    Where there is none of them: the beginning, the middle and the end.
    """
    depth = max((len(found.witnesses) for found in analysis.findings), default=0)
    proofs = (
        event.ns
        for index in range(depth)
        for found in analysis.findings
        for witness in found.witnesses[index : index + 1]
        for event in witness.events
    )
    holes = (
        ns for loss in analysis.losses for ns in (loss.after_ns, loss.before_ns) if ns is not None
    )
    found = [ns for ns in chain(proofs, holes) if start <= ns <= end]
    yield from found or (start, (start + end) // 2, end)


def _vcpus(analysis: Analysis, sums: Sums) -> dict[int, Vcpu]:
    guest = STATES.index("guest")
    found = {pid: Vcpu(None, None) for pid, row in sums.owners.items() if pid > 0 and row[guest]}
    for pid, (name, number) in analysis.trace.guests.items():
        found[pid] = Vcpu(number, name)
    tasks = analysis.costs.tasks if analysis.costs else ()
    for told in (*(one for one in tasks if one.is_vcpu), *analysis.findings):
        if told.pid is not None and (told.vcpu is not None or told.vm):
            known = found.get(told.pid, Vcpu(None, None))
            vcpu = told.vcpu if told.vcpu is not None else known.vcpu
            found[told.pid] = Vcpu(vcpu, told.vm or known.vm)
    return found
