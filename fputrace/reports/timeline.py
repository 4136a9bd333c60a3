"""``timeline``: lanes of a whole trace or a window, one per CPU, as wide as the console.

    from 1.000000 s to 3.000000 s, one column is 25.000 ms
           |1.0                |1.5                |2.0
                  !                      *
    CPU 0  U:90UUUUG:74GGGGGGGGGGGGGGGGggGKKKKI....????UGUG
                  x                               ~
    CPU 1  U:91UUU

A cell shows the state that held for most of its time.  What is rare and matters must not vanish
with that: findings are marked in a row of their own above a lane, losses in one below.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from fputrace.lanes import LaneCell
from fputrace.reports import palette
from fputrace.reports.escape import clean
from fputrace.reports.lanes import STATE_WORDS, Piece

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.measure import Measurement

    from fputrace.lanes import LaneGrid
    from fputrace.reports.outline import Clock

FINDING_MARKS = {"error": "!", "performance": "*"}
LOSS_MARKS = {"lost": "x", "unknown": "~"}

_MIN_CELLS = 8
_TICK_ROOM = 16
_OWNERS_TOLD = 12


def cells_for(width: int, cpus: Sequence[int]) -> int:
    """How many cells a lane has on lines of ``width`` columns with these CPUs beside it."""
    return max(width - label_width(cpus), _MIN_CELLS)


class TimelineView:
    """The lanes of ``grid``, ``comms`` naming their owners (pid -> comm).

    ``title`` stands above them; ``some`` says that only some tasks' registers are drawn.
    """

    def __init__(
        self,
        grid: LaneGrid,
        clock: Clock,
        comms: Mapping[int, str] | None = None,
        ascii_only: bool = False,
        title: str = "",
        some: bool = False,
    ) -> None:
        self.grid = grid
        self.clock = clock
        self.comms = comms or {}
        self.ascii = ascii_only
        self.title = title
        self.some = some

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        from rich.text import Text

        ascii_only = self.ascii or options.ascii_only
        for line in timeline_lines(
            self.grid,
            self.clock,
            self.comms,
            options.max_width,
            ascii_only,
            self.title,
            self.some,
        ):
            text = Text()
            for piece, kind in line:
                text.append(piece, palette.style(kind))
            yield text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        label = label_width(self.grid.cpus)
        widest = label + max((len(lane) for lane in self.grid.cells), default=0)
        return Measurement(label + _MIN_CELLS, max(widest, label + _MIN_CELLS))


def timeline_text(
    grid: LaneGrid,
    clock: Clock,
    comms: Mapping[int, str] | None = None,
    width: int = 80,
    ascii_only: bool = True,
    title: str = "",
    some: bool = False,
) -> str:
    """The lanes as plain text without colours, for a pipe or a mail; ends with a newline."""
    lines = timeline_lines(grid, clock, comms or {}, width, ascii_only, title, some)
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def timeline_lines(
    grid: LaneGrid,
    clock: Clock,
    comms: Mapping[int, str],
    width: int,
    ascii_only: bool,
    title: str = "",
    some: bool = False,
) -> Iterator[list[Piece]]:
    """The lines of the drawing as pieces with their kind (``palette.style``)."""
    if title:
        yield from _wrapped(title, width, "mark", ascii_only)
    label = label_width(grid.cpus)
    room = cells_for(width, grid.cpus)
    lanes = [_fitted(lane, room) for lane in grid.cells]
    columns = max((len(lane) for lane in lanes), default=0)
    if not columns or grid.end_ns <= grid.start_ns:
        reason = "none of these tasks held registers" if some else "no events"
        yield from _wrapped(
            f"There is nothing to draw: {reason} in this window.", width, "", ascii_only
        )
        return
    each = clock.length((grid.end_ns - grid.start_ns) // columns)
    window = f"from {clock.at(grid.start_ns)} to {clock.at(grid.end_ns)}, one column is {each}"
    yield from _wrapped(window, width, "dim", ascii_only)
    axis = axis_line(grid, clock, columns)
    if axis:
        yield [(" " * label + axis, "dim")]
    for cpu, lane in zip(grid.cpus, lanes, strict=True):
        yield from _marks([(c.finding, FINDING_MARKS) for c in lane], label)
        yield [(f"CPU {cpu}".ljust(label), ""), *lane_pieces(lane, ascii_only)]
        yield from _marks([(c.loss, LOSS_MARKS) for c in lane], label)
    yield [("", "")]
    for line in _legend(lanes, comms, ascii_only, some):
        yield from _wrapped(line, width, "dim", ascii_only)


def label_width(cpus: Sequence[int]) -> int:
    """Columns that the names of the CPUs take beside their lanes."""
    return max((len(f"CPU {cpu}") for cpu in cpus), default=0) + 2


def _fitted(lane: Sequence[LaneCell], room: int) -> list[LaneCell]:
    """The lane with as many cells as there is room for, several joined into one if need be."""
    count = len(lane)
    if count <= room:
        return list(lane)
    edges = [column * count // room for column in range(room + 1)]
    return [_joined(lane[a:b]) for a, b in pairwise(edges)]


def _joined(cells: Sequence[LaneCell]) -> LaneCell:
    """One cell for several: the state and owner that held longest, and the worst of the marks."""
    shares: defaultdict[str, float] = defaultdict(float)
    owners: defaultdict[tuple[str, int], float] = defaultdict(float)
    for cell in cells:
        shares[cell.state] += cell.share
        owners[cell.state, cell.owner] += cell.share
    state = max(shares, key=lambda key: shares[key])
    owner = max((key for key in owners if key[0] == state), key=lambda key: owners[key])[1]
    findings = {cell.finding for cell in cells}
    losses = {cell.loss for cell in cells}
    return LaneCell(
        state,
        shares[state] / len(cells),
        owner,
        next((mark for mark in FINDING_MARKS if mark in findings), ""),
        next((mark for mark in LOSS_MARKS if mark in losses), ""),
    )


def lane_pieces(lane: Sequence[LaneCell], ascii_only: bool) -> list[Piece]:
    """Each stretch of one owner begins with its letter, and its pid where that fits."""
    pieces: list[Piece] = []
    for (state, owner), run in groupby(lane, key=lambda cell: (cell.state, cell.owner)):
        cells = list(run)
        label = f"{state}:{owner}" if owner > 0 and state in palette.FILLED else state
        if len(label) > len(cells):
            label = state
        pieces.append((label, state))
        rest = "".join(_fill(cell, ascii_only) for cell in cells[len(label) :])
        plain = ascii_only or state not in palette.FILLED
        pieces.append((rest, state if plain else f"fill {state}"))
    return pieces


def _fill(cell: LaneCell, ascii_only: bool) -> str:
    if cell.state not in palette.FILLED:
        return cell.state
    if ascii_only:
        return cell.state if cell.share >= 0.5 else cell.state.lower()
    return "░▒▓█"[min(int(cell.share * 4), 3)]


def _marks(kinds: Sequence[tuple[str, Mapping[str, str]]], label: int) -> Iterator[list[Piece]]:
    """A row of marks, if there are any."""
    if not any(kind in marks for kind, marks in kinds):
        return
    pieces: list[Piece] = [(" " * label, "")]
    pieces += [(marks.get(kind, " "), kind) for kind, marks in kinds]
    yield pieces


def axis_line(grid: LaneGrid, clock: Clock, columns: int) -> str:
    """Round times above the columns they fall into."""
    span = grid.end_ns - grid.start_ns
    step = _round_step(span * _TICK_ROOM // columns)
    axis = [" "] * columns
    time = -(-grid.start_ns // step) * step
    while time < grid.end_ns:
        column = (time - grid.start_ns) * columns // span
        text = f"|{_tick(time, step, clock)}"
        if column + len(text) <= columns:
            axis[column : column + len(text)] = text
        time += step
    return "".join(axis).rstrip()


def _round_step(least: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is at least ``least``."""
    unit = 1
    while True:
        for factor in (1, 2, 5):
            if factor * unit >= least:
                return factor * unit
        unit *= 10


def _tick(time: int, step: int, clock: Clock) -> str:
    """A time with the decimals that tell it from its neighbours."""
    if not clock.in_ns:
        return str(time)
    decimals = 9
    while decimals and step % 10 ** (10 - decimals) == 0:
        decimals -= 1
    sign = "-" if time < 0 else ""
    whole, rest = divmod(abs(time), 10**9)
    return f"{sign}{whole}" + (f".{rest:09d}"[: decimals + 1] if decimals else "")


def _legend(
    lanes: Sequence[Sequence[LaneCell]], comms: Mapping[int, str], ascii_only: bool, some: bool
) -> Iterator[str]:
    cells = [cell for lane in lanes for cell in lane]
    states = {cell.state for cell in cells}
    told = {**STATE_WORDS, ".": "others' or nobody's"} if some else STATE_WORDS
    words = [f"{letter} {word}" for letter, word in told.items() if letter in states]
    mixed = "a small letter: for less than half" if ascii_only else "lighter: for a part"
    yield f"What the registers hold: {', '.join(words)}; {mixed} of the column."
    marks = [
        f"{mark} {word}"
        for mark, word, there in (
            ("!", "an error", any(cell.finding == "error" for cell in cells)),
            ("*", "a performance finding", any(cell.finding == "performance" for cell in cells)),
            ("x", "events lost", any(cell.loss == "lost" for cell in cells)),
            ("~", "not fully known", any(cell.loss == "unknown" for cell in cells)),
        )
        if there
    ]
    if marks:
        yield f"Marks{', of every task' if some else ''}: {', '.join(marks)}."
    owners = Counter(c.owner for c in cells if c.owner > 0 and c.state in palette.FILLED)
    if owners:
        named = [f"{pid} {comms.get(pid, '<...>')}" for pid, _ in owners.most_common(_OWNERS_TOLD)]
        more = len(owners) - len(named)
        yield f"Owners: {', '.join(named)}{f', and {more} more' if more else ''}."


def _wrapped(text: str, width: int, kind: str, ascii_only: bool) -> Iterator[list[Piece]]:
    from textwrap import wrap

    for line in wrap(clean(text, ascii_only), max(width, 20), break_on_hyphens=False):
        yield [(line, kind)]
