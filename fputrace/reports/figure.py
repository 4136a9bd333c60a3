"""``Timeline.plot``: the lanes of a window as a matplotlib figure."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from fputrace.errors import UsageError
from fputrace.reports import palette
from fputrace.reports.lanes import STATE_WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fputrace.lanes import LaneGrid

_HEIGHT = 0.7
"""Of a lane; the distance between two is 1."""


def draw(grid: LaneGrid, in_ns: bool, ax: Axes | None = None) -> Axes:
    """Draw the lanes on ``ax`` (None: on a new figure), time in s, or in ticks of the clock.

    Raises UsageError when matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise UsageError(
            "plot() needs matplotlib, which is not installed", hint="pip install matplotlib"
        ) from error
    if ax is None:
        size = (12, 1.2 + 0.4 * len(grid.cpus))
        ax = pyplot.figure(figsize=size, layout="constrained").add_subplot()
    unit = 1e9 if in_ns else 1
    start, step = grid.start_ns / unit, (grid.end_ns - grid.start_ns) / unit / len(grid.cells[0])
    drawn = set()
    for row, lane in enumerate(grid.cells):
        for state, run in groupby(enumerate(lane), key=lambda cell: cell[1].state):
            cells = [number for number, _ in run]
            if state in palette.STATES:
                ax.broken_barh(
                    [(start + cells[0] * step, len(cells) * step)],
                    (row - _HEIGHT / 2, _HEIGHT),
                    facecolors=palette.STATES[state],
                    label="" if state in drawn else STATE_WORDS[state],
                )
                drawn.add(state)
        for what, marker, colour, place in (
            ("error", "v", palette.VERMILLION, -0.45),
            ("performance", "v", palette.ORANGE, -0.45),
            ("lost", "x", "black", 0.45),
        ):
            at = [
                start + (number + 0.5) * step
                for number, cell in enumerate(lane)
                if what in (cell.finding, cell.loss)
            ]
            if at:
                label = {"lost": "events lost"}.get(what, f"finding ({what})")
                ax.scatter(
                    at,
                    [row + place] * len(at),
                    marker=marker,
                    color=colour,
                    s=16,
                    zorder=3,
                    label="" if what in drawn else label,
                )
                drawn.add(what)
    ax.set_yticks(range(len(grid.cpus)), [f"CPU {cpu}" for cpu in grid.cpus])
    ax.set_ylim(len(grid.cpus) - 0.4, -0.6)
    ax.set_xlim(start, start + step * len(grid.cells[0]))
    ax.set_xlabel("s" if in_ns else "ticks of the trace's clock")
    if drawn:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax
