"""``Analysis._repr_html_``: what a notebook shows of a result.

A fragment of HTML without scripts or style sheets, so that every front end shows it: the verdict,
what was looked at, the findings, and the lanes of the whole trace as a drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from fputrace.reports import outline, palette
from fputrace.reports.lanes import STATE_WORDS
from fputrace.reports.markup import node, written

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Finding
    from fputrace.lanes import LaneCell, LaneGrid
    from fputrace.reports.outline import Clock

_ROWS = 20
_CELLS = 240
_CELL, _LANE, _LABEL = 3, 18, 60
"""Pixels: the width of a cell, the height of a lane, room for its name."""

_HEADS = frozenset({"File", "Kernel", "Generation", "Time span", "Events", "Losses"})
_COLUMNS = ("Rule", "Verdict", "Times", "Task", "CPUs", "What")
_SEVERITIES = {"error": palette.VERMILLION, "performance": palette.ORANGE}


def fragment(analysis: Analysis) -> str:
    """The HTML of one result.  Raises ReadError when the trace cannot be read again."""
    clock = outline.clock_of(analysis.trace)
    rows = [row for row in outline.head(analysis) if row.label in _HEADS]
    shown = outline.sorted_findings(analysis.findings)
    more = len(shown) - _ROWS
    page = node(
        "div",
        node("p", node("b", outline.verdict_line(analysis))),
        node("table", node("tbody", (_about(row) for row in rows))),
        _findings(shown[:_ROWS]) if shown else None,
        node("p", f"and {outline.plural(more, 'more finding')}") if more > 0 else None,
        _drawing(analysis, clock),
    )
    return written(page)


def _about(row: outline.Row) -> Element:
    return node(
        "tr",
        node("th", row.label, scope="row", style="text-align:left;vertical-align:top"),
        # What tells the generation is for a report.
        node(
            "td", "; ".join(line for line in row.lines if line[0] != "-"), style="text-align:left"
        ),
    )


def _findings(findings: list[Finding]) -> Element:
    return node(
        "table",
        node("thead", node("tr", (node("th", name, scope="col") for name in _COLUMNS))),
        node("tbody", (_finding(finding) for finding in findings)),
    )


def _finding(finding: Finding) -> Element:
    colour = _SEVERITIES.get(finding.severity.value, palette.GREY)
    cells = (
        node("b", f"{finding.code} {finding.name}"),
        finding.verdict.value,
        outline.number(finding.count),
        outline.subject(finding),
        outline.cpu_list(finding.cpus),
        finding.message,
    )
    return node(
        "tr",
        (node("td", cell, style="text-align:left;vertical-align:top") for cell in cells),
        style=f"border-left:4px solid {colour}",
    )


def _drawing(analysis: Analysis, clock: Clock) -> Element | None:
    timeline = analysis.timeline
    if timeline.start_ns is None or timeline.end_ns is None:
        return None
    grid = timeline.lanes(timeline.start_ns, timeline.end_ns + 1, _CELLS)
    width, height = _LABEL + _CELLS * _CELL, _LANE * (len(grid.cpus) + 1)
    states = [state for state in palette.STATES if _holds(grid, state)]
    legend = [node("span", "■ ", style=f"color:{palette.STATES[state]}") for state in states]
    words = [f"{STATE_WORDS[state]}  " for state in states]
    return node(
        "figure",
        node(
            "svg",
            (_lane(grid, row, clock) for row in range(len(grid.cpus))),
            _label(0, height - 4, clock.at(grid.start_ns)),
            _label(width - 1, height - 4, clock.at(grid.end_ns), anchor="end"),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width} {height}",
            width=width,
            height=height,
            role="img",
            aria_label="what each CPU's FP registers held over the trace",
            style="max-width:100%",
        ),
        node(
            "figcaption",
            [part for pair in zip(legend, words, strict=True) for part in pair],
            "▾ a finding" if any(c.finding for lane in grid.cells for c in lane) else None,
        ),
    )


def _holds(grid: LaneGrid, state: str) -> bool:
    return any(cell.state == state for lane in grid.cells for cell in lane)


def _lane(grid: LaneGrid, row: int, clock: Clock) -> Iterator[Element]:
    top = row * _LANE
    yield _label(0, top + 13, f"CPU {grid.cpus[row]}")
    step = (grid.end_ns - grid.start_ns) / _CELLS
    runs = groupby(enumerate(grid.cells[row]), key=lambda cell: (cell[1].state, cell[1].owner))
    for (state, owner), run in runs:
        cells = [number for number, _ in run]
        times = (grid.start_ns + int(edge * step) for edge in (cells[0], cells[-1] + 1))
        whose = f" of {owner}" if owner > 0 else ""
        said = " to ".join(clock.at(time) for time in times)
        yield node(
            "rect",
            node("title", f"{STATE_WORDS[state]}{whose}, {said}"),
            x=_LABEL + cells[0] * _CELL,
            y=top + 4,
            width=len(cells) * _CELL,
            height=_LANE - 6,
            fill=palette.STATES.get(state, palette.GREY),
            fill_opacity=1 if state in palette.STATES else 0.25,
        )
    for number, cell in enumerate(grid.cells[row]):
        yield from _marks(number, top, cell)


def _marks(number: int, top: int, cell: LaneCell) -> Iterator[Element]:
    x = _LABEL + number * _CELL
    if cell.finding:
        colour = _SEVERITIES.get(cell.finding, palette.GREY)
        yield node("path", d=f"M{x} {top}h{_CELL}l-1.5 4z", fill=colour)
    if cell.loss == "lost":
        yield node("rect", x=x, y=top + _LANE - 2, width=_CELL, height=2, fill=palette.VERMILLION)


def _label(x: int, y: int, words: str, anchor: str = "start") -> Element:
    return node("text", words, x=x, y=y, text_anchor=anchor, font_size=11, fill="currentColor")
