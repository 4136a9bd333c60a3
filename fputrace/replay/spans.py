"""Spans out of the replay's facts: tables of :data:`fputrace.timeline.SPAN_COLUMNS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.events import Kind
from fputrace.pricing import bytes_in_use
from fputrace.replay import spanloop, view
from fputrace.replay.layout import OpenSpan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock


class SpanBuilder:
    """Facts in, spans out, block by block; keeps one open span per CPU.

    ``module``: the loop to use (a test gives the uncompiled one).
    """

    def __init__(self, *, module: Any = spanloop) -> None:
        self._cpus = np.zeros((0, OpenSpan.WIDTH), dtype=np.int64)
        self._done = np.zeros((0, OpenSpan.LIVE), dtype=np.int64)
        self._loop = module.SpanLoop(view(self._cpus), view(self._done))

    def add(
        self,
        ts: NDArray[np.int64],
        cpu: NDArray[np.int32],
        kind: NDArray[np.uint8],
        mask: NDArray[np.int64] | None,
        facts: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Spans that ended in these rows, by CPU and time: int64[m, 10], see ``SPAN_COLUMNS``.

        ``cpu``: 0 to ``MAX_CPU``, as the replay has checked; ``facts``: what was known *before*
        each row (int64[n, Before.WIDTH]); ``mask``: the third operand, which is ``xfeatures`` where
        the kind has it; None when nobody asks for ``bytes``.
        """
        self._fit(len(ts), int(cpu.max(initial=-1)) + 1)
        count = self._loop.run(*_views(ts, cpu, kind, facts, _moved(kind, mask)))
        return _by_cpu(self._done[:count])

    def finish(self) -> NDArray[np.int64]:
        """The spans still open, ended at their CPU's last event; by CPU."""
        self._fit(len(self._cpus), 0)
        return self._done[: self._loop.finish()].copy()

    def _fit(self, rows: int, cpus: int) -> None:
        """Make room for spans that end, and for CPUs."""
        if rows > len(self._done):
            self._done = np.empty((rows, OpenSpan.LIVE), dtype=np.int64)
        if cpus > len(self._cpus):
            more = np.zeros((cpus - len(self._cpus), OpenSpan.WIDTH), dtype=np.int64)
            self._cpus = np.concatenate([self._cpus, more])
        self._loop.grow(view(self._cpus), view(self._done))


class Excerpts:
    """Spans of parts of one block, each as if nothing else of it was known.

    ``facts`` as of :meth:`SpanBuilder.add`; ``cpus``: no CPU has this number, or a greater one;
    ``module``: the loop to use.
    """

    def __init__(
        self, block: EventBlock, facts: NDArray[np.int64], cpus: int, *, module: Any = spanloop
    ) -> None:
        self._ts = block.ts
        self._opened = np.zeros((cpus, OpenSpan.WIDTH), dtype=np.int64)
        self._done = np.zeros((0, OpenSpan.LIVE), dtype=np.int64)
        self._loop = module.SpanLoop(view(self._opened), view(self._done))
        self._columns = _views(block.ts, block.cpu, block.kind, facts, _moved(block.kind, None))
        self._cpus = self._loop.count(self._columns[1])

    def between(self, after: int, before: int, beside: int, most: int) -> NDArray[np.int64]:
        """The last ``most`` of the spans that overlap a time (ns), by start and CPU.

        A table as of :meth:`SpanBuilder.add`, but ``bytes`` are 0.  A span that began, or ended,
        more than so many rows ``beside`` that time is cut at some row of its CPU out there.
        """
        # Garbage may stand anywhere in 64 bits, and a margin around it outside.
        after, before = max(after, -(1 << 63)), min(before, (1 << 63) - 1)
        low = max(0, int(self._ts.searchsorted(after)) - beside)
        high = min(len(self._ts), int(self._ts.searchsorted(before, side="right")) + beside)
        rows = high - low + 2 * self._cpus
        if rows > len(self._done):
            self._done = np.empty((rows, OpenSpan.LIVE), dtype=np.int64)
            self._loop.grow(view(self._opened), view(self._done))
        count = self._loop.around(after, before, low, high, self._cpus, *self._columns)
        found = self._done[:count]
        order = np.lexsort((found[:, OpenSpan.CPU], found[:, OpenSpan.START]))
        return found[order[-most:]]


def _views(*columns: NDArray[Any]) -> list[memoryview]:
    return [view(np.ascontiguousarray(column)) for column in columns]


def _by_cpu(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same spans by CPU, each CPU's in the order they have; a copy."""
    # 16 bits numpy sorts by radix.
    order = np.argsort(table[:, OpenSpan.CPU].astype(np.uint16), kind="stable")
    return table[order]


def _moved(kind: NDArray[np.uint8], mask: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Bytes that each event moved; none without a mask."""
    if mask is None:
        return np.zeros(0, dtype=np.int64)
    moved = np.zeros(len(kind), dtype=np.int64)
    moves = (kind == int(Kind.REGS_ACTIVATED)) | (kind == int(Kind.REGS_DEACTIVATED))
    # ABSENT is negative: a format without xfeatures moves nobody knows how much.
    told = np.flatnonzero(moves & (mask >= 0))
    moved[told] = bytes_in_use(mask[told])
    return moved
