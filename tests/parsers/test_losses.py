"""Losses: every hole once, where it happened, with the number if anyone knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.events import Kind, Loss
from tests.parsers.rows import read_all
from tests.tools.cut_pages import cut_pages
from tests.writers import TraceWriter


def writer() -> TraceWriter:
    return TraceWriter("6.12.1", cpus=2)


def tick(w: TraceWriter, cpu: int, ts: int) -> None:
    w.event(cpu, ts, 7, "kvm_fpu", load=1)


def short(losses: list[Loss]) -> list[tuple[int | None, int | None, int | None, int | None]]:
    return [loss[:4] for loss in losses if loss.placed]


@pytest.mark.parametrize("version", [6, 7])
def test_a_hole_lies_between_two_events_of_its_cpu(tmp_path: Path, version: int) -> None:
    w = writer()
    for ts in (100, 200):
        tick(w, 0, ts)
    w.loss(0, 12)
    tick(w, 0, 500)
    w.loss(0)
    tick(w, 0, 600)
    for ts in (150, 300, 700):
        tick(w, 1, ts)
    mine = read_all(w.write(tmp_path / "trace.dat", version))
    assert short(mine.trace.losses) == [(0, 200, 500, 12), (0, 500, 600, None)]
    assert all(loss.severity == "lost" for loss in mine.trace.losses)
    # A mark on either side of each hole, then the end of each CPU.
    assert [mark for mark in mine.marks if mark[2] != Kind.CPU_END] == [
        (200, 0, Kind.LOSS),
        (500, 0, Kind.LOSS_END),
        (500, 0, Kind.LOSS),
        (600, 0, Kind.LOSS_END),
    ]
    assert {mark for mark in mine.marks if mark[2] == Kind.CPU_END} == {
        (600, 0, Kind.CPU_END),
        (700, 1, Kind.CPU_END),
    }


def test_holes_with_no_event_between_them_are_one(tmp_path: Path) -> None:
    w = writer()
    tick(w, 0, 100)
    for _ in range(3):
        w.loss(0, 5)
        w.builder(0).open_page(150)
    tick(w, 0, 200)
    mine = read_all(w.write(tmp_path / "trace.dat"))
    assert short(mine.trace.losses) == [(0, 100, 200, 15)]


def test_one_unknown_count_makes_the_sum_unknown(tmp_path: Path) -> None:
    w = writer()
    tick(w, 0, 100)
    w.loss(0, 5)
    w.builder(0).open_page(150)
    w.loss(0)
    tick(w, 0, 200)
    w.stats[0] = {"overrun": 0}
    assert short(read_all(w.write(tmp_path / "trace.dat")).trace.losses) == [(0, 100, 200, None)]


def test_statistics_count_the_one_hole_that_is_not_counted(tmp_path: Path) -> None:
    w = writer()
    tick(w, 0, 100)
    w.loss(0, 5)
    tick(w, 0, 150)
    w.loss(0)
    tick(w, 0, 200)
    w.stats[0] = {"overrun": 12}
    losses = read_all(w.write(tmp_path / "trace.dat")).trace.losses
    assert short(losses) == [(0, 100, 150, 5), (0, 150, 200, 7)] and len(losses) == 2


def test_before_the_first_and_after_the_last_event(tmp_path: Path) -> None:
    w = writer()
    w.loss(0, 3)
    tick(w, 0, 100)
    tick(w, 0, 200)
    w.loss(0, 4)
    tick(w, 1, 150)
    mine = read_all(w.write(tmp_path / "trace.dat"))
    assert short(mine.trace.losses) == [(0, None, 100, 3), (0, 200, None, 4)]


def test_a_cpu_with_nothing_but_a_loss(tmp_path: Path) -> None:
    w = writer()
    w.loss(0, 9)
    tick(w, 1, 150)
    assert short(read_all(w.write(tmp_path / "trace.dat")).trace.losses) == [(0, None, None, 9)]


@pytest.mark.parametrize(
    ("stats", "excess"),
    [
        ({}, 0),
        ({"overrun": 12}, 0),
        ({"overrun": 20}, 8),
        ({"overrun": 12, "commit overrun": 3, "dropped events": 4}, 7),
        ({"overrun": 12, "entries": 500}, 0),
    ],
    ids=["as the pages say", "the same", "overrun", "commit overrun and dropped", "entries"],
)
def test_cpustat_adds_only_what_the_pages_do_not_say(
    tmp_path: Path, stats: dict[str, int], excess: int
) -> None:
    w = writer()
    tick(w, 0, 100)
    w.loss(0, 12)
    tick(w, 0, 200)
    w.stats[0] = stats
    losses = read_all(w.write(tmp_path / "trace.dat")).trace.losses
    assert short(losses) == [(0, 100, 200, 12)]
    further = [loss for loss in losses if not loss.placed]
    assert {loss.cpu for loss in further} == ({0} if excess else set())
    assert sum(loss.count or 0 for loss in further) == excess


def test_cpustat_of_a_cpu_whose_pages_say_nothing(tmp_path: Path) -> None:
    w = writer()
    tick(w, 0, 100)
    tick(w, 1, 100)
    w.stats[1] = {"dropped events": 6}
    losses = read_all(w.write(tmp_path / "trace.dat")).trace.losses
    assert [(loss.cpu, loss.count, loss.placed) for loss in losses] == [(1, 6, False)]


def test_lossy_sample(samples: Path) -> None:
    losses = read_all(samples / "6.1-storm-lost" / "trace.dat", fields=False).trace.losses
    assert sorted((loss.cpu or 0, loss.count or 0) for loss in losses) == [
        (0, 3787),
        (0, 4660),
        (0, 7715),
        (1, 1805),
        (1, 4145),
        (1, 4767),
    ]
    assert all(loss.placed and loss.severity == "lost" for loss in losses)


def test_cut_pages_account_for_every_event(sample: Path, tmp_path: Path) -> None:
    """Events kept plus events lost make the whole, but for what is cut from a CPU's end."""
    whole = read_all(sample, fields=False)
    known = sum(loss.count or 0 for loss in whole.trace.losses)
    cut_pages(sample, tmp_path / "cut.dat", 0.25, seed=3)
    cut = read_all(tmp_path / "cut.dat", fields=False)
    lost = sum(loss.count or 0 for loss in cut.trace.losses if loss.placed)
    uncounted = [loss for loss in cut.trace.losses if loss.placed and loss.count is None]
    last = {row.cpu: row.ts for row in cut.rows}
    after = sum(row.ts > last[row.cpu] for row in whole.rows)
    assert len(cut.rows) + lost + after <= len(whole.rows) + known
    if not uncounted:
        assert len(cut.rows) + lost + after == len(whole.rows) + known
    assert {row[:5] for row in cut.rows} <= {row[:5] for row in whole.rows}
