from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fputrace.lanes import LaneCell, LaneCounter, LaneGrid
from fputrace.reports.outline import Clock
from fputrace.reports.timeline import TimelineView, cells_for, timeline_text
from tests.reports.cases import HOSTILE_NAMES, grid

MONO = Clock("mono", True)
COMMS = {90: "fphog", 74: "CPU 0/KVM"}


def test_text() -> None:
    assert timeline_text(grid(40), MONO, COMMS, width=72).splitlines() == [
        "from 1.000000 s to 3.000000 s, one column is 50.000 ms",
        "       |1                  |2",
        "                   !       *",
        "CPU 0  U:90UUuUG:74gGGgGGgGGgGGKKIi....????UGUG",
        "                   x                 ~",
        "CPU 1  U:90UUuUG:74gGGgGGgGGgGGKKIi....????UGUG",
        "",
        "What the registers hold: U user, G guest, K kernel, I init, . nobody's,",
        "? unknown; a small letter: for less than half of the column.",
        "Marks: ! an error, * a performance finding, x events lost, ~ not fully",
        "known.",
        "Owners: 74 CPU 0/KVM, 90 fphog.",
    ]


def view(width: int, encoding: str = "utf-8", color: bool = False, clock: Clock = MONO) -> str:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as file:
        console = Console(
            file=file, width=width, force_terminal=color, color_system="256" if color else None
        )
        console.print(TimelineView(grid(), clock, COMMS))
        file.flush()
        return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [30, 40, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_as_wide_as_the_console(width: int, encoding: str) -> None:
    text = view(width, encoding)
    assert max(map(len, text.splitlines())) <= width
    assert "U:90" in text
    assert "G:74" in text
    assert ("█" in text) == (encoding == "utf-8")


def test_colour_only_repeats() -> None:
    assert re.sub(r"\x1b\[[\d;]*m", "", view(80, color=True)) == view(80)


@pytest.mark.parametrize("width", [15, 24, 40, 80])
def test_marks_never_vanish(width: int) -> None:
    """However little room there is: the finding and both losses of CPU 0 are drawn."""
    made = grid(400, cpus=1)
    lane = [cell._replace(finding="", loss="") for cell in made.cells[0]]
    lane[123] = lane[123]._replace(finding="error", loss="lost")
    lane[301] = lane[301]._replace(finding="performance", loss="unknown")
    lines = timeline_text(made._replace(cells=(tuple(lane),)), MONO, {}, width).splitlines()
    above, below = next(
        (lines[n - 1], lines[n + 1]) for n, line in enumerate(lines) if line.startswith("CPU 0")
    )
    assert above.split() == ["!", "*"]
    assert below.split() == ["x", "~"]
    assert above.index("!") == below.index("x")


def test_joined_cells_show_what_held_longest() -> None:
    cells = (
        LaneCell("U", 1.0, 1),
        LaneCell("G", 0.8, 2),
        LaneCell("G", 0.9, 2, "performance"),
        LaneCell("U", 0.6, 1, "error"),
    ) * 4
    lines = timeline_text(LaneGrid(0, 1600, (0,), (cells,)), MONO, {}, width=7 + 8).splitlines()
    lane = lines.index("CPU 0  UGUGUGUG")
    assert lines[lane - 1] == "        ! ! ! !"


def test_cells_for_is_what_a_line_has_room_for() -> None:
    width = 70
    count = cells_for(width, (0, 1))
    text = timeline_text(grid(count), MONO, COMMS, width)
    assert max(len(line) for line in text.splitlines() if line.startswith("CPU")) == width
    assert cells_for(3, range(300)) == 8


def test_raw_clock() -> None:
    text = timeline_text(grid(), Clock("x86-tsc", False), {}, 100)
    assert text.startswith("from 1000000000 x86-tsc ticks to 3000000000 x86-tsc ticks")
    assert "|2000000000" in text
    assert not re.search(r"\d (s|ms|us)\b", text)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(name: str) -> None:
    text = timeline_text(grid(), MONO, {74: name, 90: name})
    assert text.isascii()
    assert all(c.isprintable() or c == "\n" for c in text)


def test_nothing_to_draw() -> None:
    empty = LaneGrid(5, 5, (), ())
    assert "nothing to draw: no events" in timeline_text(empty, MONO)
    assert "nothing to draw: none of these tasks" in timeline_text(empty, MONO, some=True)


def test_title_and_some_tasks() -> None:
    text = timeline_text(grid(), MONO, COMMS, 200, title="a\x1b/trace.dat", some=True)
    assert text.splitlines()[0] == "a\\x1b/trace.dat"
    assert ". others' or nobody's" in text
    assert "Marks, of every task: !" in text


def test_a_short_stay_of_the_chosen_task_is_shown() -> None:
    """Cell by cell: 5 of 100 ns are task 7's, the rest another's; then unknown; then nobody's."""
    spans = [(0, 0, 5, 7, 1), (0, 5, 100, 8, 2), (0, 100, 200, -1, 0), (0, 200, 300, 0, 0)]
    counter = LaneCounter(0, 300, 3, [0], owners={7})
    counter.add(np.array(spans, dtype=np.int64))
    (lane,) = counter.grid([]).cells
    assert [(cell.state, cell.owner) for cell in lane] == [("U", 7), ("?", -1), (".", 0)]
    assert lane[0].share == pytest.approx(0.05)
    assert [cell.loss for cell in lane] == ["", "unknown", ""]


CELLS = st.builds(
    LaneCell,
    st.sampled_from("UGKI.?"),
    st.floats(0, 1),
    st.integers(-1, 5),
    st.sampled_from(["", "error", "performance"]),
    st.sampled_from(["", "lost", "unknown"]),
)


@given(
    st.lists(st.lists(CELLS, min_size=30, max_size=30), min_size=1, max_size=3),
    st.integers(15, 60),
    st.integers(1, 10**12),
)
def test_any_grid(lanes: list[list[LaneCell]], width: int, length: int) -> None:
    made = LaneGrid(7, 7 + length, tuple(range(len(lanes))), tuple(map(tuple, lanes)))
    drawing, _, _ = timeline_text(made, MONO, {}, width).partition("\n\n")
    assert sum(line.startswith("CPU") for line in drawing.splitlines()) == len(lanes)
    for kind, mark in (("error", "!"), ("lost", "x")):
        for cpu, lane in enumerate(lanes):
            if any(kind in (cell.finding, cell.loss) for cell in lane):
                assert mark in drawing, (cpu, kind)
