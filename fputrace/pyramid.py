"""What a page draws, as plain values; and zooming out of one CPU step by step.

Cells of several sizes tell the shares of who held them.  A :class:`~fputrace.lanes.LaneGrid` knows
the state a cell mostly had; here a cell keeps its largest pieces, and coarser cells are made of
finer ones, so that one pass over a trace gives every zoom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fputrace.lanes import NOBODY, Marked, Pieces, cut
from fputrace.plain import PlainTuple
from fputrace.timeline import IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

STATES = (*IMAGES, "nobody")
"""Names of the states of a piece (:class:`~fputrace.lanes.Pieces`)."""

OTHERS = -2
"""The owner of a piece that sums up the small ones of a cell: several tasks."""

KEPT = 4
"""Pieces with an owner of their own that a cell keeps; the rest is one piece a state."""

STEP = 4
"""Cells of one level that make one of the next."""


class Level(PlainTuple):
    """One zoom: the window in ``width`` cells; ``lanes[i]`` are the pieces of CPU number i.

    ``length`` of a piece is its share of the cell, 0 to 1; what no piece covers is not known.
    """

    width: int
    lanes: tuple[Pieces, ...]


class Move(PlainTuple):
    """How often registers went from one image to another on a CPU: ``Timeline.summary_graph``.

    ``bytes`` were moved by saves and restores in the spans before, which were ``ns`` long.
    """

    before: str
    after: str
    times: int
    bytes: int
    ns: int


class Vcpu(PlainTuple):
    """What the trace tells of a vCPU thread: its number and its VM, each None where it does not."""

    vcpu: int | None
    vm: str | None


class Overview(PlainTuple):
    """What a page draws.  Times in ns of the trace's clock; ``levels`` begin with the finest.

    ``spans``: int64[n, 7], the first columns of ``SPAN_COLUMNS``, by CPU and time.  They are
    complete within ``exact``, stretches in time order; elsewhere only ``levels`` tell.
    ``held``: ns that each CPU's registers were in each of ``STATES``; ``owners``: the same of each
    pid that owned registers (0: NULL, -1: unknown).  ``moves``: by image before, then after.
    ``vcpus``: the vCPU threads, by pid: those told of by findings, costs or the recording, and
    every task whose guest's image was in registers.
    """

    start_ns: int
    end_ns: int
    cpus: tuple[int, ...]
    levels: tuple[Level, ...]
    spans: NDArray[np.int64]
    exact: tuple[tuple[int, int], ...]
    held: dict[int, tuple[int, ...]]
    owners: dict[int, tuple[int, ...]]
    marks: tuple[Marked, ...]
    moves: tuple[Move, ...]
    images: dict[str, int]
    vcpus: dict[int, Vcpu]

    @property
    def is_exact(self) -> bool:
        """Whether the exact spans are all of them."""
        return self.exact == ((self.start_ns, self.end_ns),)


class Lane:
    """Sums the spans of one CPU, which come in time order, into cells of ``width`` a window.

    Memory: the pieces of all cells, at most ``KEPT`` and one a state for each.
    """

    def __init__(self, start_ns: int, end_ns: int, width: int) -> None:
        self._start, self._end, self._width = start_ns, end_ns, width
        self._done: list[Pieces] = []
        self._open = Pieces.none()

    def add(self, spans: NDArray[np.int64]) -> None:
        """Further spans: int64[n, 4], start, end, owner and image; ``-1`` owners are unknown."""
        scale = self._width / (self._end - self._start)
        low = (np.clip(spans[:, 0], self._start, self._end) - self._start).astype(np.float64)
        high = (np.clip(spans[:, 1], self._start, self._end) - self._start).astype(np.float64)
        inside = high > low
        if not inside.any():
            return
        owner, image = spans[inside, 2], spans[inside, 3]
        state = np.where((owner == 0) & (image == 0), NOBODY, image)
        pieces = self._open.and_then(
            cut(scale * low[inside], scale * high[inside], state, owner, self._width)
        )
        # Only in the cell where these spans end can more follow.
        last = pieces.cell[-1]
        self._done.append(largest(pieces.at(pieces.cell != last)))
        self._open = pieces.at(pieces.cell == last)

    def finish(self) -> Pieces:
        """All cells in order; nothing can be added afterwards."""
        self._done.append(largest(self._open))
        self._open = Pieces.none()
        return Pieces(*(np.concatenate(column) for column in zip(*self._done, strict=True)))


def largest(pieces: Pieces) -> Pieces:
    """The ``KEPT`` largest pieces of each cell; the others as one piece a state, of OTHERS."""
    order = np.lexsort((-pieces.length, pieces.cell))
    ordered = pieces.at(order)
    rank = np.arange(len(order)) - np.searchsorted(ordered.cell, ordered.cell)
    owner = np.where(rank < KEPT, ordered.owner, OTHERS)
    return Pieces.none().and_then(ordered._replace(owner=owner))


def levels(width: int, lanes: tuple[Pieces, ...]) -> Iterator[Level]:
    """The finest level, then coarser ones."""
    yield Level(width, lanes)
    while width > 1 and width % STEP == 0:
        width //= STEP
        lanes = tuple(
            largest(
                Pieces.none().and_then(
                    lane._replace(cell=lane.cell // STEP, length=lane.length / STEP)
                )
            )
            for lane in lanes
        )
        yield Level(width, lanes)
