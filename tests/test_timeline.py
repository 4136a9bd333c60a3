"""Spans, graphs and lanes: against the replay's facts on recordings, and on small made tables."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fputrace
from fputrace.events import ABSENT, EventBlock, Kind
from fputrace.findings import Analysis, Finding, Severity, Verdict, Witness, WitnessEvent
from fputrace.lanes import LaneCounter, LaneGrid, Marked
from fputrace.moment import Moment
from fputrace.pricing import bytes_in_use
from fputrace.replay import MAX_CPU, replay, spanloop
from fputrace.replay.layout import Before, Image
from fputrace.replay.spans import Excerpts, SpanBuilder
from fputrace.timeline import (
    CERTAINTIES,
    IMAGES,
    SPAN_COLUMNS,
    Col,
    Span,
    Timeline,
)
from tests.conftest import SAMPLE_CASES, SAMPLES
from tests.tools.plain import plain

Table = NDArray[np.int64]
WIDTHS = (1, 2, 7, 80, 333, 5000)


@functools.lru_cache(maxsize=1)
def analysed(case: str) -> tuple[Analysis, pd.DataFrame]:
    analysis = fputrace.analyze(SAMPLES / case / "trace.dat")
    return analysis, analysis.timeline.spans()


# ----- on recordings


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_spans_cover_each_cpu_without_hole_or_overlap(case: str) -> None:
    analysis, spans = analysed(case)
    times: dict[int, list[int]] = defaultdict(list)
    for block in analysis.trace.blocks():
        for cpu in np.unique(block.cpu).tolist():
            mine = block.ts[block.cpu == cpu]
            times[cpu] += [int(mine[0]), int(mine[-1])]
    assert set(spans.cpu) == {cpu for cpu, seen in times.items() if min(seen) < max(seen)}
    for cpu, own in spans.groupby("cpu"):
        assert own.start_ns.iloc[0] == min(times[int(str(cpu))])
        assert own.end_ns.iloc[-1] == max(times[int(str(cpu))])
        assert (own.end_ns > own.start_ns).all()
        assert (own.end_ns.to_numpy()[:-1] == own.start_ns.to_numpy()[1:]).all()


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_spans_say_what_the_replay_knew_before_every_event(case: str) -> None:
    analysis, spans = analysed(case)
    at = {int(str(cpu)): own.reset_index(drop=True) for cpu, own in spans.groupby("cpu")}
    before: dict[int, int] = {}
    checked = 0
    for block, facts in replay(analysis.trace, analysis.generation.candidates[0]):
        event = block.event >= 0
        for cpu in np.unique(block.cpu).tolist():
            rows = np.flatnonzero(block.cpu == cpu)
            ts = block.ts[rows]
            earlier = np.concatenate([[before.get(cpu, ts[0])], ts[:-1]])
            before[cpu] = int(ts[-1])
            known = (earlier < ts) & event[rows]
            rows, ts = rows[known], ts[known]
            if not len(rows):
                continue
            own = at[cpu].iloc[np.searchsorted(at[cpu].end_ns, ts)]
            assert (own.start_ns.to_numpy() < ts).all()
            assert (own.pid.to_numpy() == facts.cur[rows]).all()
            assert (own.owner.to_numpy() == facts.own_pid[rows]).all()
            image = facts.image[rows]
            guessed = image == Image.USER_INFERRED
            assert [IMAGES[i] for i in np.where(guessed, Image.USER, image)] == list(own.image)
            assert "known" not in set(own.certainty.to_numpy()[guessed])
            checked += len(rows)
    assert checked > 1000


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_a_hole_is_an_unknown_span(case: str) -> None:
    analysis, spans = analysed(case)
    for loss in analysis.losses:
        if loss.after_ns is None or loss.before_ns is None or loss.after_ns == loss.before_ns:
            continue
        own = spans[spans.cpu == loss.cpu]
        hole = own[(own.start_ns < loss.before_ns) & (own.end_ns > loss.after_ns)]
        assert len(hole)
        assert set(hole.image) == {"unknown"}
        assert set(hole.certainty) == {"unknown"}


def test_a_window_is_a_part_of_the_whole() -> None:
    analysis, spans = analysed("6.12-two-vms")
    start, end = np.quantile(spans.start_ns, [0.3, 0.4]).astype(int).tolist()
    inside = spans[(spans.end_ns > start) & (spans.start_ns < end)]
    window = analysis.timeline.spans(start, end)
    pd.testing.assert_frame_equal(window, inside.reset_index(drop=True))
    one = analysis.timeline.spans(start, end, cpus=[1])
    pd.testing.assert_frame_equal(one, window[window.cpu == 1].reset_index(drop=True))
    assert analysis.timeline.spans(cpus=[4711]).empty


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_summary_adds_up_to_the_spans(case: str) -> None:
    analysis, spans = analysed(case)
    summary = analysis.timeline.summary_graph()
    length = spans.end_ns - spans.start_ns
    for image in IMAGES:
        assert summary.nodes[image]["ns"] == length[spans.image == image].sum()
    followed = spans.cpu == spans.cpu.shift(-1)
    pairs = spans.assign(length=length, after=spans.image.shift(-1))[followed]
    for (one, after), hits in pairs.groupby(["image", "after"]):
        assert summary.edges[str(one), str(after), "next_on_cpu"] == {
            "count": len(hits),
            "bytes": hits.bytes.sum(),
            "ns": hits.length.sum(),
        }
    assert summary.number_of_edges() == len(pairs.groupby(["image", "after"]))


def test_bytes_are_those_of_the_saves_and_restores() -> None:
    analysis, spans = analysed("5.2.1-pinned")
    total = 0
    for block in analysis.trace.blocks():
        moving = np.isin(block.kind, [Kind.REGS_ACTIVATED, Kind.REGS_DEACTIVATED])
        total += int(bytes_in_use(block.op[moving, 2]).sum())
    assert spans.bytes.sum() == total
    assert (spans.saved.sum() > 0) and spans.saved.dtype == bool


def test_graph_of_a_window_is_its_spans_and_their_order() -> None:
    analysis, spans = analysed("5.2.1-pinned")
    start, end = np.quantile(spans.start_ns, [0.5, 0.55]).astype(int).tolist()
    inside = analysis.timeline.spans(start, end)
    graph = analysis.timeline.graph(start, end)
    nodes = pd.DataFrame([data for _n, data in graph.nodes.items()])
    assert len(nodes) > 100
    columns = list(Span._fields)
    pd.testing.assert_frame_equal(
        nodes.sort_values(["cpu", "start_ns"], ignore_index=True)[columns], inside[columns]
    )
    assert set(nodes.comm) > {"CPU 0/KVM"}
    assert not any(nodes.events)
    moved = defaultdict(set)
    for a, b, key, data in graph.edges(keys=True, data=True):
        earlier, later = graph.nodes[a], graph.nodes[b]
        assert a < b
        if key == "next_on_cpu":
            assert earlier["cpu"] == later["cpu"]
            assert data["gap_ns"] == 0
            assert (data["moved"] == "switch") >= (earlier["pid"] != later["pid"])
        else:
            assert earlier["pid"] == later["pid"] > 0
        assert data["gap_ns"] == later["start_ns"] - earlier["end_ns"]
        moved[key].add(data["moved"])
    assert moved["next_on_cpu"] >= {"switch", "restore", "load", "unload"}
    assert moved["next_of_task"] >= {"save", "restore", "load", "unload"}
    on_cpu = [k for _a, _b, k in graph.edges(keys=True) if k == "next_on_cpu"]
    assert len(on_cpu) == len(inside) - inside.cpu.nunique()


def test_graph_of_a_finding_holds_its_evidence() -> None:
    analysis, _spans = analysed("5.2.1-pinned")
    finding = next(f for f in analysis.findings if f.code == "FPU101")
    graph = analysis.timeline.graph(finding=finding)
    nodes: dict[int, Any] = dict(graph.nodes.items())
    shown = [event for data in nodes.values() for event in data["events"]]
    told = [event for witness in finding.witnesses for event in witness.events]
    assert {id(event) for event in shown} == {id(event) for event in told}
    assert finding.pid in {data["pid"] for data in nodes.values()}
    (saved, *_rest) = [
        n
        for n, data in nodes.items()
        if any(e.name == "x86_fpu:x86_fpu_regs_deactivated" for e in data["events"])
    ]
    assert graph.nodes[saved]["image"] == "guest"
    assert graph.nodes[saved]["pid"] == finding.pid
    leaving = {
        (key, data["moved"]) for a, _b, key, data in graph.edges(keys=True, data=True) if a == saved
    }
    assert ("next_on_cpu", "switch") in leaving
    assert graph.number_of_nodes() < 100


def test_graph_of_a_witness_needs_no_second_reading() -> None:
    analysis, _spans = analysed("5.2.1-pinned")
    spans = analysis.findings[0].witnesses[0].spans
    assert [spans[i] for i in range(len(spans))] == list(spans) == list(spans[:])
    graph = analysis.timeline.graph(spans=spans)
    assert len(graph) == len(spans) > 2
    assert {tuple(data[f] for f in Span._fields) for _n, data in graph.nodes(data=True)} == {
        tuple(span) for span in spans
    }


def lost_and_found(grid: LaneGrid) -> Iterator[tuple[int, int, str]]:
    """(CPU, cell, mark) of every marked cell."""
    for cpu, lane in zip(grid.cpus, grid.cells, strict=True):
        for number, cell in enumerate(lane):
            if cell.finding:
                yield cpu, number, cell.finding
            if cell.loss == "lost":
                yield cpu, number, "lost"


@pytest.mark.parametrize("case", ["5.2.1-pinned", "6.1-storm-lost", "6.1-stale-owner"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_important_disappears_by_zooming(case: str, width: int) -> None:
    analysis, _spans = analysed(case)
    line = analysis.timeline
    assert line.start_ns is not None
    assert line.end_ns is not None
    marked = set(lost_and_found(line.lanes(line.start_ns, line.end_ns, width)))
    cell = (line.end_ns - line.start_ns) / width

    def cells(ns: int) -> set[int]:
        """The cell of a time; at a border rounding may give either."""
        place = (ns - line.start_ns) / cell  # type: ignore[operator]
        return {min(max(int(place + e), 0), width - 1) for e in (-1e-6, 1e-6)}

    told = 0
    for finding in analysis.findings:
        if finding.severity not in (Severity.ERROR, Severity.PERFORMANCE):
            continue
        for witness in finding.witnesses:
            said = {m for c, n, m in marked if c == witness.cpu and n in cells(witness.ns)}
            assert said & {"error", finding.severity.value}
            told += 1
    for loss in analysis.losses:
        for ns in (loss.after_ns, loss.before_ns):
            if ns is not None:
                assert any((loss.cpu, n, "lost") in marked for n in cells(ns))
                told += 1
    assert told


@pytest.mark.parametrize("case", ["5.10-pinned", "6.1-storm-lost"])
@pytest.mark.parametrize("width", WIDTHS)
def test_shares_add_up_to_the_spans(case: str, width: int) -> None:
    analysis, spans = analysed(case)
    line = analysis.timeline
    assert line.start_ns is not None
    assert line.end_ns is not None
    start, end = line.start_ns + 12345, line.end_ns - 54321
    grid = line.lanes(start, end, width)
    cell = (end - start) / width
    for cpu, lane in zip(grid.cpus, grid.cells, strict=True):
        assert len(lane) == width
        own = spans[spans.cpu == cpu]
        for number in sorted({0, width // 3, width // 2, width - 1}):
            low, high = start + number * cell, start + (number + 1) * cell
            inside = (own.end_ns.clip(upper=high) - own.start_ns.clip(lower=low)) / cell
            inside = inside.clip(lower=0)
            state = own.image.map(dict(zip(IMAGES, "?UGKI", strict=True)))
            state[(own.owner == 0) & (state == "?")] = "."
            shares = inside.groupby(state).sum()
            shares["?"] = shares.get("?", 0.0) + 1 - inside.sum()  # time no span covers
            got = lane[number]
            assert got.share == pytest.approx(shares.max(), abs=1e-6)
            assert got.share == pytest.approx(shares[got.state], abs=1e-6)
            here = state == got.state
            if here.any():
                longest = inside[here].groupby(own.owner[here]).sum()
                assert longest[got.owner] == pytest.approx(longest.max(), abs=1e-6)


# ----- made


def test_columns_of_a_span_table_by_number() -> None:
    names = {number: name for name, number in vars(Col).items() if name.isupper()}
    assert [names[number] for number in range(len(SPAN_COLUMNS))] == [
        {"start_ns": "START", "end_ns": "END", "ended_by": "BY"}.get(name, name.upper())
        for name in SPAN_COLUMNS
    ]


PIDS = st.sampled_from([-1, 0, 5, 6])
ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),  # ns since the row before
        st.sampled_from([0, 1, 2, 300, MAX_CPU]),
        st.sampled_from(
            [Kind.REGS_ACTIVATED, Kind.REGS_DEACTIVATED, Kind.KVM_FPU, Kind.SCHED_SWITCH, Kind.LOSS]
        ),
        st.sampled_from([0, 3, 7, ABSENT]),
        PIDS,
        PIDS,
        st.integers(0, len(Image) - 1),
    ),
    max_size=40,
)
Rows = list[tuple[int, int, Kind, int, int, int, int]]


def block_of(rows: Rows) -> tuple[EventBlock, Table]:
    """The rows as a block, and what was known before each of them."""
    count = len(rows)
    op = np.full((count, 4), ABSENT, np.int64)
    op[:, 2] = [row[3] for row in rows]
    block = EventBlock(
        ts=np.cumsum([row[0] for row in rows], dtype=np.int64),
        cpu=np.array([row[1] for row in rows], np.int32),
        pid=np.zeros(count, np.int32),
        kind=np.array([row[2] for row in rows], np.uint8),
        flags=np.zeros(count, np.uint16),
        event=np.zeros(count, np.int32),
        op=op,
        names=["x"],
        fields_of=lambda _row: {},
    )
    facts = np.full((count, Before.WIDTH), 99, np.int64)
    for column, field in ((Before.CUR, 4), (Before.OWN_PID, 5), (Before.IMAGE, 6)):
        facts[:, column] = [row[field] for row in rows]
    return block, facts


def fed(rows: Rows, cuts: Sequence[int], loop: ModuleType = spanloop) -> list[tuple[int, ...]]:
    """Spans of the rows, fed in pieces, as tuples by CPU and time."""
    block, facts = block_of(rows)
    builder = SpanBuilder(module=loop)
    borders = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    mask = block.op[:, 2]
    tables = [
        builder.add(block.ts[a:b], block.cpu[a:b], block.kind[a:b], mask[a:b], facts[a:b])
        for a, b in itertools.pairwise(borders)
    ]
    tables.append(builder.finish())
    assert len(builder.finish()) == 0
    for table in tables:
        assert table.tolist() == sorted(table.tolist())
    return sorted(tuple(row) for table in tables for row in table.tolist())


def plainly(rows: Rows, chosen: Collection[int] | None = None) -> list[tuple[int, ...]]:
    """The same, one row after the other; of some rows, by number."""
    done: list[tuple[int, ...]] = []
    for cpu in {row[1] for row in rows}:
        ts = 0
        span: list[int] | None = None
        for number, (step, where, kind, mask, *state) in enumerate(rows):
            ts += step
            if where != cpu or (chosen is not None and number not in chosen):
                continue
            if span is None or span[3:6] != state:
                start = span[2] if span else ts
                done += [tuple(span)] if span else []
                span = [cpu, start, ts, *state, 0, 0, 0, 0]
            span[2], span[7] = ts, kind
            if kind == Kind.REGS_DEACTIVATED:
                span[8] = 1
            if kind in (Kind.REGS_ACTIVATED, Kind.REGS_DEACTIVATED) and mask != ABSENT:
                span[9] += int(bytes_in_use(np.array([mask]))[0])
        if span:
            done.append((*span[:7], 0, *span[8:]))
    out = []
    for row in done:
        cpu, start, end, pid, owner, image, _certainty, *rest = row
        certain = "inferred" if owner != pid or image == Image.USER_INFERRED else "known"
        if image == Image.UNKNOWN or pid < 0:
            certain = "unknown"
        if image == Image.USER_INFERRED:
            image = Image.USER
        if end > start:
            out.append((cpu, start, end, pid, owner, image, CERTAINTIES.index(certain), *rest))
    return sorted(out)


PLAIN = plain(spanloop)


@settings(deadline=None)  # two cores, shared
@given(rows=ROWS, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_spans_do_not_depend_on_the_pieces_they_are_fed_in(rows: Rows, cuts: list[int]) -> None:
    assert fed(rows, cuts) == fed(rows, []) == plainly(rows)
    assert fed(rows, cuts, PLAIN) == plainly(rows)


@settings(deadline=None)
@given(
    rows=ROWS,
    times=st.lists(st.tuples(st.integers(-5, 130), st.integers(0, 30)), min_size=1, max_size=3),
    beside=st.integers(0, 5),
    most=st.integers(1, 12),
)
def test_an_excerpt_is_of_the_rows_near_a_time(
    rows: Rows, times: list[tuple[int, int]], beside: int, most: int
) -> None:
    block, facts = block_of(rows)
    cpus = block.cpu.tolist()
    made = [
        Excerpts(block, facts, max(cpus, default=0) + 1, module=loop) for loop in (spanloop, PLAIN)
    ]
    for after, length in times:
        before = after + length
        near = {n for n, ts in enumerate(block.ts.tolist()) if after <= ts <= before}
        low = max(0, min(near, default=int(np.sum(block.ts < after))) - beside)
        high = max(near, default=int(np.sum(block.ts < after)) - 1) + 1 + beside
        chosen = set(range(low, min(high, len(rows))))
        for cpu in set(cpus):
            mine = [n for n, other in enumerate(cpus) if other == cpu]
            chosen |= set([n for n in mine if n < low][-1:] + [n for n in mine if n >= high][:1])
        spans = [row for row in plainly(rows, chosen) if row[2] > after and row[1] < before]
        spans.sort(key=lambda row: (row[1], row[0]))
        for excerpts in made:
            found = excerpts.between(after, before, beside, most)
            assert [tuple(row) for row in found.tolist()] == [
                (*row[:9], 0) for row in spans[-most:]
            ]


def test_an_excerpt_at_the_ends_of_64_bits() -> None:
    block, facts = block_of([(0, 0, Kind.KVM_FPU, 0, 5, 5, 1)] * 4)
    block.ts[:] = [-(1 << 63), -5, 5, (1 << 63) - 1]
    excerpts = Excerpts(block, facts, 1)
    assert excerpts.between(-(1 << 63) - 7, -(1 << 62), 0, 9)[:, 1:3].tolist() == [[-(1 << 63), -5]]
    assert excerpts.between(6, 1 << 63, 0, 9)[:, 1:3].tolist() == [[5, (1 << 63) - 1]]


def span(cpu: int, start: int, end: int, pid: int, owner: int, image: str, by: Kind) -> Table:
    """A row of a span table."""
    return np.array(
        [[cpu, start, end, pid, owner, IMAGES.index(image), 2, by, by == Kind.REGS_DEACTIVATED, 8]],
        dtype=np.int64,
    )


TABLE = np.concatenate(
    [
        span(0, 100, 200, 5, 5, "user", Kind.KVM_FPU),
        span(0, 200, 300, 5, 5, "guest", Kind.REGS_DEACTIVATED),
        span(1, 150, 400, 0, 7, "user", Kind.SCHED_SWITCH),
        span(0, 300, 500, 7, 5, "guest", Kind.REGS_ACTIVATED),
        span(1, 400, 600, 5, 7, "user", Kind.REGS_ACTIVATED),
        span(0, 500, 800, 7, 7, "user", Kind.LOSS),
        span(1, 600, 700, 5, 5, "guest", Kind.KVM_FPU),
        span(1, 700, 900, 5, 5, "user", Kind.OTHER),
        span(0, 800, 900, -1, -1, "unknown", Kind.OTHER),
    ]
)


def timeline(marks: Sequence[Marked] = (), table: Table = TABLE, cut: int = 4) -> Timeline:
    return Timeline(
        lambda: iter([table[:cut], table[cut:]]),
        (100, 900),
        (0, 1),
        lambda: marks,
        lambda: {5: "CPU 0/KVM", 7: "fphog"},
        lambda: iter(()),
        lambda ns, around: Moment(ns or 900, ns, ns is None, ("G5",), (), (), ()),
    )


def test_edges_of_a_graph() -> None:
    graph = timeline().graph()
    nodes: dict[int, Any] = dict(graph.nodes.items())
    assert [nodes[n]["start_ns"] for n in sorted(nodes)] == sorted(TABLE[:, 1].tolist())
    assert nodes[0] == {
        **Span(0, 100, 200, 5, 5, "user", "known")._asdict(), "comm": "CPU 0/KVM", "events": (),
    }  # fmt: skip

    def edges(key: str) -> list[tuple[tuple[int, int], tuple[int, int], str, int]]:
        place = {n: (data["cpu"], data["start_ns"]) for n, data in nodes.items()}
        return sorted(
            (place[a], place[b], data["moved"], data["gap_ns"])
            for a, b, k, data in graph.edges(keys=True, data=True)
            if k == key
        )

    assert edges("next_on_cpu") == [
        ((0, 100), (0, 200), "load", 0),
        ((0, 200), (0, 300), "switch", 0),
        ((0, 300), (0, 500), "restore", 0),
        ((0, 500), (0, 800), "", 0),  # who runs next is not known
        ((1, 150), (1, 400), "switch", 0),
        ((1, 400), (1, 600), "restore", 0),
        ((1, 600), (1, 700), "unload", 0),
    ]
    assert edges("next_of_task") == [
        ((0, 100), (0, 200), "load", 0),
        ((0, 200), (1, 400), "save", 100),  # switched out, saved, and on to another CPU
        ((0, 300), (0, 500), "restore", 0),
        ((1, 400), (1, 600), "restore", 0),
        ((1, 600), (1, 700), "unload", 0),
    ]


def test_graph_of_a_window_and_of_given_spans() -> None:
    part = timeline().graph(350, 450)
    assert sorted(data["start_ns"] for data in dict(part.nodes.items()).values()) == [150, 300, 400]
    two = [Span(0, 0, 10, 5, 5, "user", "known"), Span(0, 30, 40, 5, 5, "guest", "known")]
    graph = timeline().graph(spans=two)
    assert list(graph.edges(keys=True, data=True)) == [
        (0, 1, "next_on_cpu", {"moved": "", "gap_ns": 20}),
        (0, 1, "next_of_task", {"moved": "", "gap_ns": 20}),
    ]
    assert len(timeline().graph(spans=[])) == 0


def found(*events: tuple[int, int, int]) -> Finding:
    """A finding with one witness: events as (ns, CPU, pid)."""
    shown = tuple(WitnessEvent(ns, cpu, pid, "", "", {}, "") for ns, cpu, pid in events)
    return Finding(
        "FPU102", "x", Severity.ERROR, Verdict.CONFIRMED, 1, 5, "", 0, None, (0, 1), 0, 0, "",
        (Witness(events[-1][0], events[-1][1], shown),),
    )  # fmt: skip


def test_graph_of_a_findings_evidence() -> None:
    finding = found((300, 0, 5), (600, 1, 5))
    graph = timeline().graph(finding=finding)
    evidence = {
        (data["cpu"], data["start_ns"]): [e.ns for e in data["events"]]
        for _n, data in graph.nodes(data=True)
    }
    assert evidence == {
        (0, 200): [300],
        (0, 300): [],
        (0, 500): [],
        (1, 150): [],
        (1, 400): [600],
        (1, 600): [],
    }
    # On CPU 0 alone: what ran elsewhere is not part of it unless it is the same task.
    alone = timeline().graph(finding=found((300, 0, 7)))
    assert {data["cpu"] for _n, data in alone.nodes(data=True)} == {0}


def test_two_idle_tasks_are_not_one() -> None:
    table = np.concatenate(
        [
            span(0, 0, 10, 0, 5, "user", Kind.OTHER),
            span(1, 20, 30, 0, 5, "user", Kind.OTHER),
            span(1, 30, 40, -1, 5, "user", Kind.OTHER),
            span(0, 50, 60, -1, 5, "user", Kind.OTHER),
        ]
    )
    keys = [key for *_nodes, key in timeline(table=table).graph().edges(keys=True)]
    assert keys == ["next_on_cpu", "next_on_cpu"]


def test_summary_of_made_spans() -> None:
    summary = timeline().summary_graph()
    assert {name: data["ns"] for name, data in summary.nodes.items()} == {
        "unknown": 100, "user": 1050, "guest": 400, "kernel": 0, "init": 0,
    }  # fmt: skip
    assert {(a, b): tuple(data.values()) for a, b, data in summary.edges(data=True)} == {
        ("user", "guest"): (2, 16, 300),
        ("guest", "guest"): (1, 8, 100),
        ("guest", "user"): (2, 16, 300),
        ("user", "user"): (1, 8, 250),
        ("user", "unknown"): (1, 8, 300),
    }


@pytest.mark.parametrize("cut", range(len(TABLE) + 1))
def test_answers_do_not_depend_on_the_tables(cut: int) -> None:
    whole, cutted = timeline(cut=0), timeline(cut=cut)
    assert dict(whole.summary_graph().edges) == dict(cutted.summary_graph().edges)
    assert whole.lanes(100, 900, 3) == cutted.lanes(100, 900, 3)
    pd.testing.assert_frame_equal(whole.spans(), cutted.spans())


# ----- lanes


def test_cells_say_what_was_held_longest_and_by_whom() -> None:
    grid = timeline().lanes(100, 900, 4)
    zero, one = grid.cells
    assert [(c.state, c.share, c.owner, c.loss) for c in zero] == [
        ("U", 0.5, 5, ""),
        ("G", 1.0, 5, ""),
        ("U", 1.0, 7, ""),
        ("?", 0.5, -1, "unknown"),
    ]
    assert [(c.state, c.owner) for c in one] == [("U", 7), ("U", 7), ("U", 7), ("U", 5)]
    assert [round(c.share, 6) for c in one] == [0.75, 1.0, 0.5, 1.0]


def test_owner_is_of_the_state_that_the_cell_shows() -> None:
    """In the middle of the cell somebody else owned the registers for a moment."""
    table = np.concatenate(
        [
            span(0, 100, 490, 5, 5, "guest", Kind.OTHER),
            span(0, 490, 510, 7, 7, "user", Kind.OTHER),
            span(0, 510, 900, 5, 5, "guest", Kind.OTHER),
        ]
    )
    ((cell,), _lane) = timeline(table=table).lanes(100, 900, 1).cells
    assert (cell.state, cell.owner) == ("G", 5)
    assert cell.share == pytest.approx(0.975)


def test_nobodys_registers() -> None:
    table = span(0, 100, 900, 0, 0, "unknown", Kind.OTHER)
    lane = timeline(table=table).lanes(100, 900, 2, cpus=[0]).cells[0]
    assert [(c.state, c.share, c.owner, c.loss) for c in lane] == [(".", 1.0, 0, "")] * 2


@pytest.mark.parametrize("width", WIDTHS)
def test_marks_land_in_their_cell(width: int) -> None:
    marks = [
        Marked(0, 300, 300, "performance"),
        Marked(1, 300, 300, "error"),
        Marked(1, 301, 301, "performance"),
        Marked(1, 700, 720, "lost"),
        Marked(1, 99, 99, "error"),  # before the window
        Marked(1, 901, 2000, "lost"),  # after it
        Marked(9, 300, 300, "error"),  # no such lane
    ]
    grid = timeline(marks).lanes(100, 900, width)
    at = (300 - 100) * width // 800
    expected = {(0, at, "performance")}
    expected |= {(1, (301 - 100) * width // 800, "performance"), (1, at, "error")}
    if (1, at, "performance") in expected:
        expected.remove((1, at, "performance"))  # the worst is shown
    first, last = (700 - 100) * width // 800, (720 - 100) * width // 800
    expected |= {(1, cell, "lost") for cell in range(first, last + 1)}
    assert set(lost_and_found(grid)) == expected


@settings(deadline=None)  # two cores, shared
@given(
    spans=st.lists(
        st.tuples(st.integers(0, 50), st.sampled_from([-1, 0, 5, 6]), st.integers(0, 4)),
        max_size=20,
    ),
    start=st.integers(-20, 200),
    length=st.integers(0, 300),
    width=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 20), max_size=4),
)
def test_lanes_are_sums(
    spans: list[tuple[int, int, int]], start: int, length: int, width: int, cuts: list[int]
) -> None:
    rows, now = [], 0
    for duration, owner, image in spans:
        rows.append((3, now, now + duration, owner, image))
        now += duration
    table = np.array(rows, dtype=np.int64).reshape(len(rows), 5)
    counter = LaneCounter(start, start + length, width, [3])
    borders = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    for a, b in itertools.pairwise(borders):
        counter.add(table[a:b])
    (lane,) = counter.grid([]).cells
    step = max(length, 1) / width
    for number, cell in enumerate(lane):
        low, high = start + number * step, start + (number + 1) * step
        shares: dict[str, float] = dict.fromkeys("?UGKI.", 0.0)
        owners: dict[tuple[str, int], float] = defaultdict(float)
        for _cpu, begin, end, owner, image in rows:
            part = max(0.0, min(end, high) - max(begin, low)) / step
            state = "." if owner == image == 0 else "?UGKI"[image]
            shares[state] += part
            owners[state, owner] += part
        shares["?"] += 1 - sum(shares.values())
        assert cell.share == pytest.approx(max(shares.values()), abs=1e-6)
        assert shares[cell.state] == pytest.approx(cell.share, abs=1e-6)
        assert (cell.loss == "unknown") or shares["?"] < 1e-5
        of_state = [part for (state, _o), part in owners.items() if state == cell.state]
        if max(of_state, default=0.0) > 1e-6:
            assert owners[cell.state, cell.owner] == pytest.approx(max(of_state), abs=1e-6)
        assert cell.owner in {-1, *(row[3] for row in rows)}


def test_columns_have_names() -> None:
    assert SPAN_COLUMNS[:7] == Span._fields
    assert list(timeline().spans().columns) == list(SPAN_COLUMNS)
