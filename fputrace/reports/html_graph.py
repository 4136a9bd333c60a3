"""The ownership graph of an HTML page: which image followed which in the registers, and how often.

Its five nodes, the register images, have fixed places, so that two pages can be compared by eye.
"""

from __future__ import annotations

from math import copysign, hypot, log10
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from fputrace.reports.html_parts import section, table
from fputrace.reports.markup import add, node
from fputrace.reports.outline import number

if TYPE_CHECKING:
    from fputrace.pyramid import Move, Overview
    from fputrace.reports.outline import Clock

_PLACES = {
    "user": (130, 90),
    "guest": (550, 90),
    "kernel": (550, 300),
    "init": (130, 300),
    "unknown": (340, 195),
}
_HALF = (62, 26)
_GAP = 9
"""px between an edge and the one that comes back."""


def graph(overview: Overview, trace: str, clock: Clock) -> Element:
    """The drawing, and the same as a table."""
    rows = [
        (
            f"{move.before} \u2192 {move.after}",
            number(move.times),
            number(move.bytes),
            clock.length(move.ns),
        )
        for move in sorted(overview.moves, key=lambda move: -move.times)
    ]
    words = (
        "How often registers that held one image held another next, on the same CPU. Bytes are "
        "what x86_fpu events before tell of saves and restores (kvm_fpu tells none of its own), "
        "and time is how long it took until then."
    )
    return section(
        "graph",
        trace,
        node("p", words, class_="quiet"),
        _drawing(overview, clock) if overview.moves else None,
        table(("registers", "times", "bytes moved", "time before"), rows, (1, 2, 3), "Transitions"),
    )


def _drawing(overview: Overview, clock: Clock) -> Element:
    used = {name for move in overview.moves for name in (move.before, move.after)}
    height = 390 if used & {"kernel", "init"} else 250
    svg = node("svg", viewBox=f"0 0 680 {height}", class_="graph", role="img")
    add(svg, node("title", "Ownership graph; the table below says the same."))
    for move in overview.moves:
        add(svg, _loop(move) if move.before == move.after else _edge(move))
    half_x, half_y = _HALF
    for name, (x, y) in _PLACES.items():
        if name in used:
            box = {"x": x - half_x, "y": y - half_y, "width": 2 * half_x, "height": 2 * half_y}
            add(svg, node("rect", rx=6, class_=f"g-{name}", **box))
            add(svg, node("text", name, x=x, y=y - 4, class_=f"in in-{name}"))
            held = clock.length(overview.images[name])
            add(svg, node("text", held, x=x, y=y + 15, class_=f"in in-{name}"))
    return svg


def _edge(move: Move) -> list[Element]:
    """An arrow from box to box, right of the line between their middles; boxes cover its begin."""
    (x1, y1), (x2, y2) = _PLACES[move.before], _PLACES[move.after]
    length = hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    sx, sy = -uy * _GAP, ux * _GAP
    # How far before the other's middle the line meets its box.
    meets = [
        (side + copysign(half, u)) / u
        for side, u, half in ((sx, ux, _HALF[0]), (sy, uy, _HALF[1]))
        if u
    ]
    back = min(meets) + 2
    tip_x, tip_y = x2 + sx - ux * back, y2 + sy - uy * back
    end_x, end_y = tip_x - ux * 10, tip_y - uy * 10
    corners = ((tip_x, tip_y), (end_x - uy * 5, end_y + ux * 5), (end_x + uy * 5, end_y - ux * 5))
    # The number stands beside the line, nearer to where it comes from.
    at_x, at_y = x1 + (x2 - x1) * 0.4 + sx * 2.4, y1 + (y2 - y1) * 0.4 + sy * 2.1 + 4
    return [
        node("line", x1=_px(x1 + sx), y1=_px(y1 + sy), x2=_px(end_x), y2=_px(end_y),
             class_="arrow", stroke_width=_thick(move)),
        node("polygon", points=" ".join(f"{_px(x)},{_px(y)}" for x, y in corners), class_="tip"),
        node("text", number(move.times), x=_px(at_x), y=_px(at_y), class_="small"),
    ]  # fmt: skip


def _loop(move: Move) -> list[Element]:
    """An arrow from a box to itself: above those in the upper rows, below the others."""
    x, y = _PLACES[move.before]
    up = -1 if y < 250 else 1
    edge = y + up * _HALF[1]
    bend = edge + up * 44
    path = f"M {x - 22} {edge} C {x - 40} {bend}, {x + 40} {bend}, {x + 23} {edge + up * 9}"
    tip = f"{x + 20},{edge + up} {x + 17},{edge + up * 11} {x + 28},{edge + up * 9}"
    return [
        node("path", d=path, class_="arrow", stroke_width=_thick(move)),
        node("polygon", points=tip, class_="tip"),
        node(
            "text",
            number(move.times),
            x=x,
            y=edge + up * 40 + (4 if up > 0 else 0) + up * 4,
            class_="small",
        ),
    ]


def _px(value: float) -> str:
    return f"{value:.1f}"


def _thick(move: Move) -> str:
    return f"{1 + 0.6 * log10(max(move.times, 1)):.1f}"
