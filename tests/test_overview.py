"""What a page draws, against the timeline's own answers; and that it stays small."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fputrace
from fputrace.findings import Analysis
from fputrace.lanes import Marked
from fputrace.overview import ExactSpans, overview, thinned
from fputrace.pyramid import KEPT, OTHERS, STATES, STEP, Overview
from fputrace.timeline import SPAN_COLUMNS
from tests.conftest import SAMPLES

CASES = ("5.2.1-pinned", "6.1-storm-lost")


@functools.lru_cache
def made(case: str) -> tuple[Analysis, Overview]:
    analysis = fputrace.analyze(SAMPLES / case / "trace.dat")
    found = overview(analysis)
    assert found is not None
    return analysis, found


@pytest.mark.parametrize("case", CASES)
def test_a_short_trace_is_exact(case: str) -> None:
    analysis, found = made(case)
    assert found.is_exact
    spans = analysis.timeline.spans()
    order = np.lexsort((spans.start_ns, spans.cpu))
    columns = list(SPAN_COLUMNS[:5])
    assert (found.spans[:, :5] == spans[columns].to_numpy()[order]).all()
    length = (spans.end_ns - spans.start_ns).groupby(spans.cpu).sum()
    assert {cpu: sum(held) for cpu, held in found.held.items()} == length.to_dict()
    assert sum(map(sum, found.owners.values())) == length.sum()


@pytest.mark.parametrize("case", CASES)
def test_levels_agree_with_the_lanes_of_the_timeline(case: str) -> None:
    analysis, found = made(case)
    letters = dict(zip(("?", "U", "G", "K", "I", "."), range(len(STATES)), strict=True))
    for level in found.levels[-3:]:
        grid = analysis.timeline.lanes(found.start_ns, found.end_ns, level.width)
        for lane, cells in zip(level.lanes, grid.cells, strict=True):
            held = np.zeros((level.width, len(STATES)))
            np.add.at(held, (lane.cell, lane.state), lane.length)
            # What no piece covers is not known.
            held[:, 0] += 1 - held.sum(axis=1)
            told = [held[index, letters[cell.state]] for index, cell in enumerate(cells)]
            assert told == pytest.approx([cell.share for cell in cells], abs=1e-6)


def test_a_cell_has_few_pieces_and_every_level_is_a_step() -> None:
    _, found = made("6.1-storm-lost")
    widths = [level.width for level in found.levels]
    assert widths == sorted(widths, reverse=True)
    assert all(a == b * STEP for a, b in itertools.pairwise(widths))
    for level in found.levels:
        for lane in level.lanes:
            assert (np.diff(lane.cell) >= 0).all()
            assert np.bincount(lane.cell).max() <= KEPT + len(STATES)
    # Some cell of the coarsest level holds more tasks than it keeps apart.
    assert any((lane.owner == OTHERS).any() for lane in found.levels[-1].lanes)


@pytest.mark.parametrize("case", CASES)
def test_moves_are_the_summary_graph(case: str) -> None:
    analysis, found = made(case)
    graph = analysis.timeline.summary_graph()
    told = {(move.before, move.after): move[2:] for move in found.moves}
    assert told == {
        (a, b): (data["count"], data["bytes"], data["ns"]) for a, b, data in graph.edges(data=True)
    }
    assert found.images == {image: data["ns"] for image, data in graph.nodes(data=True)}


def test_a_window_of_one_cpu() -> None:
    analysis, whole = made("5.2.1-pinned")
    middle = (whole.start_ns + whole.end_ns) // 2
    part = overview(analysis, time=(middle, None), cpus=[1])
    assert part is not None
    assert (part.start_ns, part.cpus) == (middle, (1,))
    assert sum(part.held[1]) <= part.end_ns - part.start_ns
    assert {mark.cpu for mark in part.marks} == {1}
    assert overview(analysis, cpus=[9]) is None
    assert overview(analysis, time=(whole.end_ns + 1, None)) is None


def test_vcpu_threads_are_named() -> None:
    _, found = made("5.2.1-pinned")
    assert {(pid, told.vcpu) for pid, told in found.vcpus.items()} == {(93, 0), (94, 1)}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 99_999), max_size=6),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)
def test_exact_stretches_miss_no_span(anchors: list[int], limit: int, cpus: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    tables = []
    for cpu in range(cpus):
        borders = np.unique(np.append(dice.integers(0, 100_000, 100), [0, 100_000]))
        rows = np.zeros((len(borders) - 1, 7), dtype=np.int64)
        rows[:, 0], rows[:, 1], rows[:, 2] = cpu, borders[:-1], borders[1:]
        tables.append(rows)
    spans = np.concatenate(tables)
    spans = spans[np.argsort(spans[:, 1], kind="stable")]
    exact = ExactSpans(0, 100_000, anchors, limit)
    for block in np.array_split(spans, 7):
        exact.add(block)
    kept, stretches = exact.finish()
    assert len(kept) <= limit
    near = np.zeros(len(spans), dtype=bool)
    for low, high in stretches:
        near |= (spans[:, 1] < high) & (spans[:, 2] > low)
    assert sorted(map(tuple, kept.tolist())) == sorted(map(tuple, spans[near].tolist()))


def test_marks_are_few_and_cover_all() -> None:
    marks = [
        Marked(n % 2, 10 * n, 10 * n + 5, "error" if n % 3 else "performance", f"FPU{n % 5}")
        for n in range(5000)
    ]
    few = thinned(marks, 0, 50_000, 100)
    assert len(few) <= 100
    for mark in marks:
        assert any(
            one.start_ns <= mark.start_ns <= mark.end_ns <= one.end_ns
            for one in few
            if (one.cpu, one.what, one.code) == (mark.cpu, mark.what, mark.code)
        )
    assert thinned(marks, 0, 50_000) == tuple(marks)
