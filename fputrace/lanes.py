"""Zooming out: how long each CPU's registers held what, cell by cell of a window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fputrace.timeline import LaneCell, LaneGrid, Marked

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STATES = "?UGKI."
"""Letters of the images, in the order of ``timeline.IMAGES``, and nobody's."""

_NOBODY = 5


class LaneCounter:
    """Sums ns per CPU, cell and state; memory depends on the grid only."""

    def __init__(self, start_ns: int, end_ns: int, width: int, cpus: Sequence[int]) -> None:
        self._start = start_ns
        self._end = max(end_ns, start_ns + 1)
        self._width = max(1, width)
        self._cpus = tuple(cpus)
        self._row = {cpu: row for row, cpu in enumerate(self._cpus)}
        self._ns = np.zeros((len(self._cpus), len(_STATES), self._width), dtype=np.float64)
        self._owner = np.full((len(self._cpus), self._width), -1, dtype=np.int64)

    def add(self, spans: NDArray[np.int64]) -> None:
        """Sum up spans: int64[n, 5], cpu, start, end, owner and image."""
        scale = self._width / (self._end - self._start)
        for cpu in np.unique(spans[:, 0]).tolist():
            row = self._row.get(cpu)
            if row is None:
                continue
            mine = spans[spans[:, 0] == cpu]
            low = (np.clip(mine[:, 1], self._start, self._end) - self._start) * scale
            high = (np.clip(mine[:, 2], self._start, self._end) - self._start) * scale
            state = np.where((mine[:, 3] == 0) & (mine[:, 4] == 0), _NOBODY, mine[:, 4])
            for code in np.unique(state).tolist():
                chosen = state == code
                self._ns[row, code] += _spread(low[chosen], high[chosen], self._width)
            # The owner of a cell is whoever owned the registers at its middle.
            order = np.argsort(low, kind="stable")
            middle = np.arange(self._width) + 0.5
            at = np.searchsorted(low[order], middle, side="right") - 1
            inside = (at >= 0) & (high[order][at] > middle)
            self._owner[row, inside] = mine[order[at[inside]], 3]

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
                ns = self._ns[row, :, cell].copy()
                ns[0] += max(0.0, 1.0 - ns.sum())  # time no span covers
                best = int(ns.argmax())
                marks_here = marked.get((row, cell), set())
                lane.append(
                    LaneCell(
                        state=_STATES[best],
                        share=float(min(1.0, ns[best])),
                        owner=int(self._owner[row, cell]),
                        finding="error"
                        if "error" in marks_here
                        else "performance"
                        if "performance" in marks_here
                        else "",
                        loss="lost" if "lost" in marks_here else "unknown" if ns[0] > 1e-6 else "",
                    )
                )
            lanes.append(tuple(lane))
        return LaneGrid(self._start, self._end, self._cpus, tuple(lanes))


def _spread(
    low: NDArray[np.float64], high: NDArray[np.float64], width: int
) -> NDArray[np.float64]:
    """How much of each cell the intervals [low, high) cover, in cells; float64[width].

    The cumulated cover up to a point x is the sum of clip(x - low, 0, high - low): exact at the
    cell borders from two sorted cumulations, however many intervals there are.
    """
    borders = np.arange(width + 1, dtype=np.float64)

    def area(points: NDArray[np.float64]) -> NDArray[np.float64]:
        ordered = np.sort(points)
        total = np.concatenate([[0.0], np.cumsum(ordered)])
        below = np.searchsorted(ordered, borders, side="right")
        return below * borders - total[below]

    return np.diff(area(low) - area(high))
