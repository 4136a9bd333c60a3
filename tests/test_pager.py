"""The pager: windows, what is in them, and the screen as keys change it."""

from __future__ import annotations

import asyncio
import copy
import functools
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from textual.pilot import Pilot

import fputrace
from fputrace import cli
from fputrace.events import EventBlock, Kind
from fputrace.findings import Analysis
from fputrace.overview import overview
from fputrace.pager.app import Events, Help, Lanes, Pager
from fputrace.pager.source import EDGE, GaveUpError, Source
from fputrace.pager.view import View
from fputrace.pyramid import Overview
from tests.conftest import SAMPLES
from tests.reports.cases import HOSTILE_NAMES

BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"
LOST = SAMPLES / "6.1-storm-lost" / "trace.dat"


@functools.lru_cache
def opened(path: Any = BUG) -> tuple[Analysis, Overview]:
    analysis = fputrace.analyze(path)
    found = overview(analysis)
    assert found is not None
    return analysis, found


# ----- windows


@given(
    st.integers(0, 10**6),
    st.integers(1, 10**7),
    st.integers(8, 300),
    st.lists(
        st.one_of(
            st.tuples(st.just("zoomed"), st.sampled_from([0.5, 2.0, 0.1])),
            st.tuples(st.just("moved"), st.integers(-400, 400)),
            st.tuples(st.just("turned"), st.sampled_from([-0.5, 0.5, 3.0])),
            st.tuples(st.just("at"), st.integers(-5, 10**7)),
            st.tuples(st.just("resized"), st.integers(8, 300)),
        ),
        max_size=12,
    ),
)
def test_a_window_stays_in_the_trace_and_the_cursor_in_it(
    first: int, length: int, columns: int, steps: list[tuple[str, Any]]
) -> None:
    view = View.of(first, first + length, columns)
    for name, value in steps:
        view = getattr(view, name)(value)
        assert view.first <= view.start < view.end <= view.last
        assert view.start <= view.cursor < view.end
        assert view.end - view.start >= view.columns
        assert 0 <= view.column < view.columns
        assert view._replace(cursor=view.time_of(view.column)).column == view.column
        assert view.time_of(view.column) <= view.cursor < view.time_of(view.column + 1)


def test_zooming_keeps_the_cursor_in_its_column() -> None:
    view = View.of(0, 1_000_000, 100).at(730_000)
    for _ in range(5):
        assert abs(view.zoomed(0.5).column - view.column) <= 1
        view = view.zoomed(0.5)


# ----- what is in a window


@pytest.mark.parametrize("exact", [True, False])
def test_lanes_are_those_of_the_timeline(exact: bool) -> None:
    analysis, found = opened()
    kept = found if exact else found._replace(exact=(), spans=found.spans[:0])
    source = Source(analysis, kept)
    start, end = found.start_ns, found.end_ns
    for low, high in ((start, end), (start + 10**8, start + 2 * 10**8), (start, start + 10**6)):
        grid, sharp = source.lanes(low, high, 60, found.cpus)
        want = analysis.timeline.lanes(low, high, 60, found.cpus)
        assert sharp == (exact or high - low > 10**7)
        for lane, wanted in zip(grid.cells, want.cells, strict=True):
            same = [a.state == b.state for a, b in zip(lane, wanted, strict=True)]
            assert np.mean(same) >= (1 if exact else 0.9 if sharp else 0)


def coarse() -> tuple[Analysis, Overview]:
    """As of a long trace: nothing exact is kept, and cells are long."""
    analysis, found = opened()
    level = next(level for level in found.levels if level.width <= 256)
    levels = found.levels[found.levels.index(level) :]
    return analysis, found._replace(exact=(), spans=found.spans[:0], levels=levels)


def test_what_is_not_sharp_is_read_and_then_is() -> None:
    analysis, found = coarse()
    source = Source(analysis, found)
    start = found.start_ns + 4 * 10**8
    window = (start, start + 10**7, 60, found.cpus)
    _, sharp = source.lanes(*window)
    assert not sharp
    source.fetch(*window, lambda: False)
    grid, sharp = source.lanes(*window)
    assert sharp
    want = analysis.timeline.lanes(*window)
    assert [[c[:3] for c in lane] for lane in grid.cells] == [
        [c[:3] for c in lane] for lane in want.cells
    ]
    # So are the windows beside it.
    assert source.lanes(start + 2 * 10**7, start + 3 * 10**7, 60, found.cpus)[1]


def test_reading_gives_up_when_nobody_waits() -> None:
    analysis, found = coarse()
    source = Source(analysis, found)
    with pytest.raises(GaveUpError):
        source.fetch(found.start_ns, found.end_ns, 60, found.cpus, lambda: True)
    with pytest.raises(GaveUpError):
        source.events(found.end_ns, 10, found.cpus, lambda: True)


@pytest.mark.parametrize("chosen", [slice(None), slice(1, 2)])
def test_events_around_a_time_are_all_of_them(chosen: slice) -> None:
    analysis, found = opened(LOST)
    cpus = found.cpus[chosen]
    rows = np.concatenate(
        [
            np.stack([block.ts, block.cpu], axis=1)[block.kind != Kind.LOSS_END]
            for block in analysis.trace.blocks()
        ]
    )
    rows = rows[np.isin(rows[:, 1], cpus)]
    source = Source(analysis, found)
    for ns in (found.start_ns, int(rows[5000, 0]), int(rows[5000, 0]) + 1, found.end_ns + 10):
        near = source.events(ns, 40, cpus, lambda: False)
        got = [(event.ns, event.cpu) for event in near.events]
        low, high = np.searchsorted(rows[:, 0], [ns, ns + 1]).tolist()
        assert got == [tuple(row) for row in rows[max(0, low - 40) : high + 40].tolist()]
        assert near.cpus == cpus
        assert not near.cut
        # Within its bounds a list has some on either side, unless the trace has none.
        assert near.start <= ns <= near.end
        times = [at for at, _ in got]
        assert near.start < 0 or sum(at < near.start for at in times) == EDGE
        assert near.end > found.end_ns or sum(at > near.end for at in times) == EDGE


def test_of_many_events_at_one_time_the_first_are_listed(monkeypatch: Any) -> None:
    analysis, found = opened(LOST)
    source = Source(analysis, found)
    block = next(iter(analysis.trace.blocks()))
    monkeypatch.setattr(
        analysis.trace, "blocks", lambda: iter([replace(block, ts=np.full_like(block.ts, 7))])
    )
    near = source.events(7, 40, found.cpus, lambda: False)
    assert near.cut
    assert 1000 < len(near.events) < len(block)
    assert near.start <= 7 <= near.end


def test_memory_does_not_grow_with_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte an event would be too much."""
    for name in ("overview.SPANS", "pager.source.SPANS", "overview.CELLS"):
        monkeypatch.setattr(f"fputrace.{name}", 1 << 12)
    once, _ = opened()
    blocks, tables = list(once.trace.blocks()), list(once.timeline.tables())
    start = once.timeline.start_ns or 0
    length = (once.timeline.end_ns or 0) - start + 1

    def longer(times: int) -> Analysis:
        """The recording again and again."""

        def all_blocks() -> Iterator[EventBlock]:
            for n in range(times):
                yield from (replace(block, ts=block.ts + n * length) for block in blocks)

        def all_tables() -> Iterator[NDArray[np.int64]]:
            for n in range(times):
                later = np.array([0, n * length, n * length, *[0] * 7])
                yield from (table + later for table in tables)

        trace, timeline = copy.copy(once.trace), copy.copy(once.timeline)
        monkeypatch.setattr(trace, "blocks", all_blocks)
        monkeypatch.setattr(timeline, "_tables", all_tables)
        timeline.end_ns = start + times * length
        return replace(once, trace=trace, timeline=timeline)

    def peak(times: int) -> list[int]:
        """Bytes that the overview, the lanes and the list of events took at most."""
        analysis = longer(times)
        end = analysis.timeline.end_ns or 0
        out = []
        tracemalloc.start()
        found = overview(analysis)
        out.append(tracemalloc.get_traced_memory()[1])
        assert found is not None
        assert not found.is_exact
        # As of a much longer trace or of many CPUs: a column has no cell of its own.
        source = Source(analysis, found._replace(levels=found.levels[-1:]))
        for read in (
            lambda: source.fetch(start, end, 60, found.cpus, lambda: False),
            lambda: source.events(end, 100, found.cpus, lambda: False),
        ):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            read()
            out.append(tracemalloc.get_traced_memory()[1] - before)
        assert source.lanes(start, end, 60, found.cpus)[1]
        tracemalloc.stop()
        return out

    short, long = peak(20), peak(80)
    rows = 60 * sum(map(len, blocks))
    assert rows > 100_000
    assert all(b - a < rows for a, b in zip(short, long, strict=True)), (short, long)


def test_stops_are_findings_and_losses_in_order() -> None:
    analysis, found = opened(LOST)
    source = Source(analysis, found)
    times, mark = [], source.next_stop(-1)
    while mark is not None:
        times.append(mark.start_ns)
        mark = source.next_stop(mark.start_ns)
    assert times == sorted({stop.start_ns for stop in source.stops})
    assert len(times) >= 3
    assert {stop.what for stop in source.stops} == {"lost"}
    last = source.next_stop(1 << 62, back=True)
    assert last is not None
    assert last.start_ns == times[-1]


# ----- the screen


def on_screen(
    act: Callable[[Pager, Pilot[None]], Awaitable[None]],
    made: tuple[Analysis, Overview] | None = None,
    size: tuple[int, int] = (80, 30),
    **how: Any,
) -> None:
    """Run the pager without a terminal, and ``act`` on it."""

    async def go() -> None:
        app = Pager(*(made or opened()), **how)
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            await act(app, pilot)

    asyncio.run(go())


async def settle(app: Pager, pilot: Pilot[None]) -> None:
    """Until nothing is read any more."""
    for _ in range(400):
        await pilot.pause(0.02)
        if not app.busy and app.nearby is not None:
            break
    await pilot.pause()


def text_of(app: Pager) -> str:
    return app.query_one(Lanes).render().plain


@pytest.mark.parametrize("size", [(80, 30), (200, 50), (40, 12)])
def test_it_fits(size: tuple[int, int]) -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        lanes = app.query_one(Lanes)
        lines = text_of(app).splitlines()
        assert all(len(line) <= lanes.size.width for line in lines[1:])
        assert "CPU 0" in text_of(app)
        assert lanes.size.width == (size[0] if size[0] < 120 else pytest.approx(116, abs=3))
        assert app.query_one(Events).size.height >= 3
        assert app.query_one("#body").has_class("wide") == (size[0] >= 120)
        assert app.view.columns == lanes.size.width - app.label

    on_screen(act, size=size)


def test_keys() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        whole = app.view
        await pilot.press("right", "right", "plus")
        assert app.view.end - app.view.start == (whole.end - whole.start) // 2
        await pilot.press("minus", "0")
        assert (app.view.start, app.view.end) == (whole.start, whole.end)
        await pilot.press("end")
        assert app.view.cursor == whole.last - 1
        await pilot.press("home", "plus", "plus", "pagedown")
        assert app.view.start > whole.start
        await pilot.press("down")
        assert app.chosen == 1
        await pilot.press("down", "up", "up", "up")
        assert app.chosen == 0

    on_screen(act)


def test_next_finding() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await settle(app, pilot)
        first = app.source.stops[0]
        assert app.view.cursor == first.start_ns
        assert app.cpus[app.chosen] == first.cpu
        assert "FPU101 guest-state-in-thread-fpu" in str(app.query_one("#told").render())
        table = app.query_one(Events)
        bar = table.get_row_at(table.cursor_row)
        assert bar[0].plain == f"{first.start_ns / 1e9:.6f}"
        await pilot.press("n")
        assert app.view.cursor > first.start_ns
        await pilot.press("N")
        assert app.view.cursor == first.start_ns
        await pilot.press("N")
        assert app.view.cursor == first.start_ns

    on_screen(act)


def test_the_events_lead_the_cursor() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        await pilot.press("n", "tab")
        await settle(app, pilot)
        before = app.view.cursor
        await pilot.press("down", "down")
        await settle(app, pilot)
        table = app.query_one(Events)
        assert table.has_focus
        assert app.view.cursor == app.shown[table.cursor_row].ns > before
        await pilot.press("tab")
        assert app.query_one(Lanes).has_focus
        await pilot.press("a")
        assert {event.cpu for event in app.shown} == {app.cpus[app.chosen]}

    on_screen(act)


def test_the_list_keeps_its_place_when_it_changes() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        await pilot.press("n", "n", "tab", "down", "down")
        await settle(app, pilot)
        table = app.query_one(Events)
        place = app.shown[table.cursor_row]
        for others in (False, True):
            await pilot.press("a")
            await settle(app, pilot)
            assert len({event.cpu for event in app.shown}) == 1 + others
            assert app.shown[table.cursor_row] == place
            assert app.view.cursor == place.ns

    on_screen(act)


@pytest.mark.parametrize("one_cpu", [False, True])
def test_the_list_goes_on(one_cpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down and down: every event of the trace comes, and none twice."""
    monkeypatch.setattr("fputrace.pager.app._EVENTS", 8)
    monkeypatch.setattr("fputrace.pager.source.EDGE", 3)
    rows = [
        (ns, cpu)
        for block in opened()[0].trace.blocks()
        for ns, cpu, kind in zip(block.ts.tolist(), block.cpu.tolist(), block.kind, strict=True)
        if kind != Kind.LOSS_END and not (one_cpu and cpu)
    ]

    async def act(app: Pager, pilot: Pilot[None]) -> None:
        await pilot.press("tab", *["a"] * one_cpu)
        await settle(app, pilot)
        table, passed = app.query_one(Events), []
        for _ in range(14):
            passed.append(app.shown[table.cursor_row])
            await pilot.press("down")
            if app.busy:
                await settle(app, pilot)
        assert [(event.ns, event.cpu) for event in passed] == rows[:14]

    on_screen(act)


def test_a_click_puts_the_cursor_there() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        await pilot.click(Lanes, offset=(app.label + 30, 4))
        assert (app.view.column, app.chosen) == (30, 1)

    on_screen(act)


def test_help() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.pause()
        assert app.screen.query_one("#help").max_scroll_y == 0, "all of it is to be seen"
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)

    on_screen(act, size=(80, 24))


def test_a_long_trace_is_drawn_at_once_and_sharpens() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        await pilot.press("n", *["plus"] * 7)
        await settle(app, pilot)
        assert app.sharp
        assert "reading" not in str(app.query_one("#title").render())
        assert app.query_one(Lanes).render().plain.count("CPU") == 2

    on_screen(act, coarse())


def test_a_window_and_tasks_are_shown_first() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        assert (app.view.start, app.view.end) == (3_300_000_000, 3_400_000_000)
        assert "93" in text_of(app)
        assert ":90" not in text_of(app)

    on_screen(act, window=(3_300_000_000, 3_400_000_000), owners={93})


def test_hostile_names() -> None:
    async def act(app: Pager, pilot: Pilot[None]) -> None:
        names = dict(zip(sorted(app.source.comms), HOSTILE_NAMES * 9, strict=False))
        app.source.comms = {pid: f"{name}{pid}" for pid, name in names.items()}
        app.nearby = None
        await pilot.press("n")
        await settle(app, pilot)
        table = app.query_one(Events)
        shown = [cell.plain for row in range(table.row_count) for cell in table.get_row_at(row)]
        assert shown
        assert all(cell.isprintable() for cell in shown)
        assert all(line.isprintable() for line in str(app.query_one("#told").render()).splitlines())
        assert "\u202e" not in app.export_screenshot()

    on_screen(act)


# ----- the command


def test_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["timeline", "-i", str(BUG)]) == 2
    assert "--interactive needs a terminal" in capsys.readouterr().err


def test_without_textual() -> None:
    """The error says what to install."""
    program = (
        "import sys; sys.modules['textual'] = None\n"
        "from fputrace.errors import UsageError\n"
        "from fputrace.pager import page\n"
        "try: page(None, None)\n"
        "except UsageError as error: print(error.message, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--interactive needs the package textual" in done.stdout
    assert "pip install" in done.stdout
