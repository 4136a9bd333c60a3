"""The replay against the naive one, before every event; and what is known is never wrong.

The default run takes every sample whole, three of them with a quarter of their pages removed in 25
ways and the others in three.  ``-m long`` does the full matrix, in every generation of the
recording's format.
"""

from __future__ import annotations

import functools
import json
import random
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fputrace.events import Kind, Trace
from fputrace.parsers import open_trace
from fputrace.replay import loop, replay
from tests.conftest import SAMPLE_CASES, SAMPLES
from tests.oracles import naive_replay
from tests.oracles.made_streams import MARKS, Cut, Kernel, Row, anything, lose, trace_of
from tests.oracles.naive_replay import EAGER, GENERATIONS, NULL, NaiveFacts
from tests.tools.cut_pages import cut_pages
from tests.tools.plain import plain

SEEDS = range(25)
THOROUGH = ("4.14.5-pinned", "5.2.1-pinned", "6.1-put-at-sched-out")
"""Cut with more seeds in the default run: small, with much in switch windows."""

WIN = {"none": 0, "open": 1, "unknown": 2}
IMAGE = {"unknown": 0, "user": 1, "guest": 2, "kernel": 3, "init": 4, "user, inferred": 5}
KVM = {None: -1, "OUT": 0, "LOADED": 1}
COLUMNS = (
    "cur", "win", "own_state", "own", "subject", "fpu_known", "fpu", "last", "tif", "kvm", "image",
)  # fmt: skip

Facts = NDArray[np.int64]
"""One row an event, one column a name of COLUMNS; values as ``timeline.Facts`` has them."""


def encoded(facts: NaiveFacts) -> tuple[int, ...]:
    own = facts.own if isinstance(facts.own, int) else 0
    return (
        -1 if facts.cur is None else facts.cur,
        WIN[facts.win],
        0 if facts.own is None else 1 if facts.own is NULL else 2,
        own,
        facts.subject,
        int(facts.fpu is not None),
        facts.fpu or 0,
        -2 if facts.last is None else facts.last,
        -1 if facts.tif is None else facts.tif,
        KVM[facts.kvm],
        IMAGE[facts.image],
    )


def table(rows: Iterable[tuple[int, ...]]) -> Facts:
    return np.array(list(rows), np.int64).reshape(-1, len(COLUMNS))


def naive(trace: Trace, generation: str) -> Facts:
    return table(encoded(facts) for facts in naive_replay.replay(trace, generation))


def compiled(trace: Trace, generation: str, module: Any = loop) -> Facts:
    parts = [table([])]
    for block, facts in replay(trace, generation, module=module):
        events = ~np.isin(block.kind, MARKS)
        columns = [getattr(facts, name)[events].astype(np.int64) for name in COLUMNS]
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts)


def assert_same(one: Facts, other: Facts) -> None:
    assert one.shape == other.shape
    rows, columns = np.nonzero(one != other)
    if len(rows):
        first = rows[0]
        names = [COLUMNS[column] for column in columns[rows == first]]
        raise AssertionError(f"event {first} differs in {names}: {one[first]} and {other[first]}")


class Events(NamedTuple):
    """All events of a recording: what identifies them, and how often their CPU had lost some."""

    rows: Facts
    """CPU, time, kind, pid and the four operands."""
    losses: NDArray[np.int64]


def events_of(trace: Trace) -> Events:
    parts = []
    for block in trace.blocks():
        columns = (block.cpu, block.ts, block.kind, block.pid, *block.op.T)
        parts.append(np.stack([column.astype(np.int64) for column in columns], axis=1))
    rows = np.concatenate(parts)
    losses = np.zeros(len(rows), np.int64)
    for cpu in np.unique(rows[:, 0]):
        own = rows[:, 0] == cpu
        losses[own] = np.cumsum(rows[own, 2] == Kind.LOSS)
    events = ~np.isin(rows[:, 2], MARKS)
    return Events(rows[events], losses[events])


def found_again(cut: Events, whole: Events) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the events of ``cut``, and of the same events in ``whole``.

    What a CPU of ``cut`` shows between two losses is a stretch of ``whole``; time and pid do not
    tell its events apart, as the clock of some machines is coarse.
    """
    here, there = [], []
    for cpu in np.unique(cut.rows[:, 0]):
        own = np.flatnonzero(cut.rows[:, 0] == cpu)
        originals = np.flatnonzero(whole.rows[:, 0] == cpu)
        for stretch in np.split(own, np.flatnonzero(np.diff(cut.losses[own])) + 1):
            events = cut.rows[stretch]
            starts = np.flatnonzero((whole.rows[originals] == events[0]).all(axis=1))
            runs = (originals[start : start + len(stretch)] for start in starts)
            run = next(run for run in runs if np.array_equal(whole.rows[run], events))
            here.append(stretch)
            there.append(run)
            originals = originals[originals > run[-1]]
    return np.concatenate(here), np.concatenate(there)


UNKNOWN = {
    "cur": (-1,),
    "win": (WIN["unknown"],),
    "own_state": (0,),
    "last": (-2,),
    "tif": (-1,),
    "kvm": (-1,),
    "image": (IMAGE["unknown"], IMAGE["user, inferred"]),
}
GUARD = {"own": "own_state", "fpu": "fpu_known"}
"""Columns that mean something only where another says so."""


def contradictions(less: Facts, more: Facts) -> Iterator[tuple[int, str]]:
    """Where both know something, and not the same; ``less`` and ``more`` have the same events."""
    for column, name in enumerate(COLUMNS):
        if name in UNKNOWN:
            known = ~np.isin(less[:, column], UNKNOWN[name])
            known &= ~np.isin(more[:, column], UNKNOWN[name])
        elif name in GUARD:
            guard = COLUMNS.index(GUARD[name])
            known = (less[:, guard] != 0) & (more[:, guard] != 0)
        else:
            continue
        for row in np.flatnonzero(known & (less[:, column] != more[:, column])):
            yield int(row), name


def family(generation: str) -> list[str]:
    """The generations whose recordings have the same fields."""
    return [code for code in GENERATIONS if (code in EAGER) == (generation in EAGER)]


def generation_of(case: str) -> str:
    expected = json.loads((SAMPLES / case / "expected.json").read_text())
    code: str = expected.get("generation") or expected["candidates"][-1]
    return code


@pytest.fixture(scope="module")
def uncompiled() -> types.ModuleType:
    """The ownership loop as plain Python."""
    return plain(loop)


# ----- made streams


@pytest.mark.parametrize("generation", GENERATIONS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=anything())
def test_any_stream(generation: str, stream: tuple[list[Row], list[int], int]) -> None:
    rows, cpus, block_rows = stream
    trace = trace_of(rows, cpus, block_rows)
    assert_same(compiled(trace, generation), naive(trace, generation))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=anything(), generation=st.sampled_from(GENERATIONS))
def test_compiled_and_uncompiled_loop_agree_on_any_stream(
    uncompiled: types.ModuleType, stream: tuple[list[Row], list[int], int], generation: str
) -> None:
    rows, cpus, block_rows = stream
    trace = trace_of(rows, cpus, block_rows)
    assert_same(compiled(trace, generation), compiled(trace, generation, uncompiled))


def simulate(seed: int) -> tuple[Kernel, Cut, Cut]:
    """What a kernel of some generation printed, as recorded without and with losses."""
    chance = random.Random(seed)
    kernel = Kernel(chance.choice(GENERATIONS), chance, cpus=chance.choice([1, 2, 3]))
    for _ in range(chance.choice([20, 60, 200])):
        kernel.step()
    whole = lose(kernel.rows, chance, 0)
    return kernel, whole, lose(kernel.rows, chance, chance.choice([1, 2, 4, 8]))


@pytest.mark.parametrize("batch", range(10))
def test_simulated_kernels(batch: int) -> None:
    """The replays agree, and what they know is what the kernel did, however much was lost."""
    compared = 0
    for seed in range(batch * 60, batch * 60 + 60):
        kernel, whole, cut = simulate(seed)
        cpus = range(kernel.cpus)
        full = naive(trace_of(whole.rows, cpus), kernel.generation)
        part = naive(trace_of(cut.rows, cpus), kernel.generation)
        assert_same(compiled(trace_of(whole.rows, cpus), kernel.generation), full)
        assert_same(compiled(trace_of(cut.rows, cpus), kernel.generation), part)
        assert not list(contradictions(part, full[cut.events])), seed
        assert_true(kernel, full, whole.events)
        assert_true(kernel, part, cut.events)
        compared += len(part)
    assert compared > 1000


def assert_true(kernel: Kernel, facts: Facts, events: list[int]) -> None:
    """Nothing known is wrong; losses of ownership are invisible, so own and last may be too much.

    An exec by another thread is told by the pid that the thread takes over, whose own state it
    throws away.
    """
    for row, index in zip(facts, events, strict=True):
        truth = kernel.truth[index]
        fact = dict(zip(COLUMNS, row.tolist(), strict=True))
        if fact["own_state"] == 1:
            assert truth.own == 0
        elif fact["own_state"] == 2:
            assert truth.own in (0, fact["own"])
        if fact["subject"] and kernel.rows[index].kind != Kind.SCHED_PROCESS_EXEC:
            assert fact["kvm"] in (-1, truth.kvm)
            assert not fact["fpu_known"] or fact["fpu"] == truth.fpu
            assert fact["last"] == -2 or truth.last in (-1, fact["last"])


# ----- recordings


def compare(path: Path, generations: Iterable[str]) -> None:
    with open_trace(str(path)) as trace:
        for generation in generations:
            assert_same(compiled(trace, generation), naive(trace, generation))


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_sample(case: str) -> None:
    compare(SAMPLES / case / "trace.dat", [generation_of(case)])


@pytest.mark.parametrize("case", THOROUGH)
def test_sample_in_other_generations(case: str) -> None:
    compare(SAMPLES / case / "trace.dat", ["G1", "G4c", "G6"])


@functools.lru_cache(maxsize=1)
def whole_sample(case: str, generation: str) -> tuple[Facts, Events]:
    with open_trace(str(SAMPLES / case / "trace.dat")) as trace:
        return compiled(trace, generation), events_of(trace)


def compare_cut(tmp_path: Path, case: str, seed: int, generations: list[str]) -> None:
    """The replays agree on the cut recording, and it never contradicts the whole one."""
    target = tmp_path / "trace.dat"
    assert cut_pages(SAMPLES / case / "trace.dat", target, seed=seed)
    compare(target, generations)
    with open_trace(str(target)) as trace:
        less, events = compiled(trace, generations[0]), events_of(trace)
    assert trace.losses
    more, originals = whole_sample(case, generations[0])
    rows, original_rows = found_again(events, originals)
    assert len(rows) == len(less)
    wrong = list(contradictions(less[rows], more[original_rows]))
    assert not wrong, [(less[rows[row]], more[original_rows[row]], name) for row, name in wrong[:3]]


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_sample_with_pages_removed(tmp_path: Path, case: str) -> None:
    for seed in SEEDS[:4] if case in THOROUGH else SEEDS[:1]:
        compare_cut(tmp_path, case, seed, [generation_of(case)])


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_every_sample_every_seed_every_generation(tmp_path: Path, case: str, seed: int) -> None:
    own = generation_of(case)
    compare_cut(tmp_path, case, seed, [own, *(code for code in family(own) if code != own)])


@pytest.mark.parametrize("case", THOROUGH)
def test_compiled_and_uncompiled_loop_agree_on_a_sample(
    uncompiled: types.ModuleType, case: str
) -> None:
    generation = generation_of(case)
    with open_trace(str(SAMPLES / case / "trace.dat")) as trace:
        assert_same(compiled(trace, generation), compiled(trace, generation, uncompiled))
