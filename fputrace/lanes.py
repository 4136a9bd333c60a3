"""Zooming out: how long each CPU's registers held what, cell by cell of a window."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STATES = "?UGKI."
"""Letters of the images, in the order of ``timeline.IMAGES``, and nobody's."""

NOBODY = 5
"""State of registers that nobody owns (owner NULL), behind the images of ``timeline.IMAGES``."""


class LaneCell(PlainTuple):
    """One cell of a zoomed-out lane.

    ``state``: the image the registers of that CPU held for most of the cell's time: "U" user, "G"
    guest, "K" kernel, "I" init, "." nobody's (owner NULL, or nothing ran that has FPU state), "?"
    unknown.  ``share``: the part of the cell's time in that state, 0 to 1.  ``owner``: the pid
    that owned the registers for most of that, 0 for NULL, -1 unknown.  ``finding``: the worst
    severity of a finding with an occurrence in the cell, "error" or "performance", else "".
    ``loss``: "lost" when a hole in the CPU's events touches the cell, "unknown" when its state is
    unknown for part of the cell because of an earlier hole, else "".
    """

    state: str
    share: float
    owner: int
    finding: str = ""
    loss: str = ""


class LaneGrid(PlainTuple):
    """A window of a trace cut into equal cells: ``cells[i]`` is the lane of ``cpus[i]``.

    ``start_ns`` and ``end_ns`` bound the window, in ns of the trace's clock; every lane has the
    same number of cells, each ``(end_ns - start_ns) / len(cells[i])`` long.
    """

    start_ns: int
    end_ns: int
    cpus: tuple[int, ...]
    cells: tuple[tuple[LaneCell, ...], ...]


class Marked(PlainTuple):
    """Something to show over a lane: a finding's occurrence (with its ``code``) or a hole."""

    cpu: int
    start_ns: int
    end_ns: int
    what: str  # "error", "performance" or "lost"
    code: str = ""


class LaneCounter:
    """Sums ns per CPU, cell and state.

    Memory depends on the grid, and on how many tasks own the registers within one cell.  With
    ``owners`` (pids), registers of other tasks count as nobody's, and a cell shows what of those
    owners is in it, however short.
    """

    def __init__(
        self,
        start_ns: int,
        end_ns: int,
        width: int,
        cpus: Sequence[int],
        owners: Collection[int] | None = None,
    ) -> None:
        self._start = start_ns
        self._end = max(end_ns, start_ns + 1)
        self._width = max(1, width)
        self._cpus = tuple(cpus)
        self._owners = None if owners is None else np.array(sorted(owners), dtype=np.int64)
        self._row = {cpu: row for row, cpu in enumerate(self._cpus)}
        shape = (len(self._cpus), len(_STATES), self._width)
        self._share = np.zeros(shape, dtype=np.float64)
        # Whoever owned the registers longest in a state and cell, and how long.
        self._owner = np.full(shape, -1, dtype=np.int64)
        self._owned = np.zeros(shape, dtype=np.float64)
        self._last = [Pieces.none() for _ in self._cpus]

    def add(self, spans: NDArray[np.int64]) -> None:
        """Sum up spans: int64[n, 5], cpu, start, end, owner and image; each CPU's in time order."""
        scale = self._width / (self._end - self._start)
        for cpu in np.unique(spans[:, 0]).tolist():
            row = self._row.get(cpu)
            if row is None:
                continue
            mine = spans[spans[:, 0] == cpu]
            if self._owners is not None:
                # An owner nobody knows (-1) may be one of them.
                others = (mine[:, 3] >= 0) & ~np.isin(mine[:, 3], self._owners)
                mine[others, 3:5] = 0
            low = (np.clip(mine[:, 1], self._start, self._end) - self._start) * scale
            high = (np.clip(mine[:, 2], self._start, self._end) - self._start) * scale
            state = np.where((mine[:, 3] == 0) & (mine[:, 4] == 0), NOBODY, mine[:, 4])
            pieces = cut(low, high, state, mine[:, 3], self._width)
            np.add.at(self._share[row], (pieces.state, pieces.cell), pieces.length)
            pieces = self._last[row].and_then(pieces)
            # The longest comes last, and the last assignment to a cell holds.
            longest = pieces.at(np.argsort(pieces.length, kind="stable"))
            longest = longest.at(longest.length > self._owned[row, longest.state, longest.cell])
            self._owned[row, longest.state, longest.cell] = longest.length
            self._owner[row, longest.state, longest.cell] = longest.owner
            # Only in the cell where these spans end can somebody still be longer.
            self._last[row] = pieces.at(pieces.cell == pieces.cell.max())

    def grid(self, marks: Iterable[Marked]) -> LaneGrid:
        """The cells, with findings and holes as marks over them."""
        marked: dict[tuple[int, int], set[str]] = {}
        scale = self._width / (self._end - self._start)
        for mark in marks:
            row = self._row.get(mark.cpu)
            if row is None or mark.end_ns < self._start or mark.start_ns > self._end:
                continue
            a = int((max(mark.start_ns, self._start) - self._start) * scale)
            b = int((min(mark.end_ns, self._end) - self._start) * scale)
            for cell in range(min(a, self._width - 1), min(b, self._width - 1) + 1):
                marked.setdefault((row, cell), set()).add(mark.what)
        lanes = []
        for row in range(len(self._cpus)):
            lane = []
            for cell in range(self._width):
                share = self._share[row, :, cell].copy()
                share[0] += max(0.0, 1.0 - share.sum())  # time no span covers
                held = share[1:NOBODY]
                asked = self._owners is not None and held.any()
                best = 1 + int(held.argmax()) if asked else int(share.argmax())
                marks_here = marked.get((row, cell), set())
                lane.append(
                    LaneCell(
                        state=_STATES[best],
                        share=float(min(1.0, share[best])),
                        owner=int(self._owner[row, best, cell]),
                        finding="error"
                        if "error" in marks_here
                        else "performance"
                        if "performance" in marks_here
                        else "",
                        loss="lost"
                        if "lost" in marks_here
                        else "unknown"
                        if share[0] > 1e-6
                        else "",
                    )
                )
            lanes.append(tuple(lane))
        return LaneGrid(self._start, self._end, self._cpus, tuple(lanes))


class Pieces(PlainTuple):
    """Spans cut at the borders of cells: columns of equal length, ``length`` in cells."""

    cell: NDArray[np.int64]
    state: NDArray[np.int64]
    owner: NDArray[np.int64]
    length: NDArray[np.float64]

    @classmethod
    def none(cls) -> Pieces:
        """No pieces."""
        empty = np.zeros(0, dtype=np.int64)
        return cls(empty, empty, empty, np.zeros(0))

    def and_then(self, other: Pieces) -> Pieces:
        """Both, one piece for each cell, state and owner."""
        cell, state, owner, length = (
            np.concatenate(pair) for pair in zip(self, other, strict=True)
        )
        order = np.lexsort((owner, state, cell))
        new = np.ones(len(order), dtype=bool)
        new[1:] = False
        for column in (cell, state, owner):
            new[1:] |= np.diff(column[order]) != 0
        first = np.flatnonzero(new)
        kept = order[first]
        total = np.add.reduceat(length[order], first)
        return Pieces(cell[kept], state[kept], owner[kept], total)

    def at(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Pieces:
        """Some of them, by mask or number."""
        return Pieces(self.cell[rows], self.state[rows], self.owner[rows], self.length[rows])


def cut(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    state: NDArray[np.int64],
    owner: NDArray[np.int64],
    width: int,
) -> Pieces:
    """Cut intervals [low, high), in cells from 0 to ``width``, at the borders of cells."""
    first = np.minimum(low.astype(np.int64), width - 1)
    last = np.clip(np.ceil(high).astype(np.int64) - 1, first, width - 1)
    count = last - first + 1
    row = np.repeat(np.arange(len(low)), count)
    cell = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    length = np.minimum(high[row], cell + 1) - np.maximum(low[row], cell)
    return Pieces(cell, state[row], owner[row], length)
