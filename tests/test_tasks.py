"""Stays: what is known of each task over time."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fputrace
from fputrace.tasks import Stay, StayBuilder, as_stays

FACT = st.tuples(
    st.sampled_from([-1, 0, 7, 8]),
    st.sampled_from([-2, -1, 0, 1]),
    st.sampled_from([-1, 0, 1]),
    st.sampled_from([-1, 0, 1]),
)


def naive(facts: list[tuple[int, int, int, int]]) -> list[Stay]:
    """Row by row: the state before a task's event held since its previous one."""
    stays: dict[int, list[Stay]] = {}
    before: dict[int, int] = {}
    for ns, (pid, *state) in enumerate(facts):
        if pid <= 0:
            continue
        mine = stays.setdefault(pid, [])
        start = before.get(pid, ns)
        if mine and list(mine[-1][3:]) == state:
            mine[-1] = mine[-1]._replace(end_ns=ns)
        else:
            mine.append(Stay(pid, start, ns, *state))
        before[pid] = ns
    return sorted(s for mine in stays.values() for s in mine if s.end_ns > s.start_ns)


@given(st.lists(FACT, max_size=40), st.integers(1, 10))
def test_as_told_row_by_row(facts: list[tuple[int, int, int, int]], size: int) -> None:
    builder = StayBuilder()
    state = np.array(facts, dtype=np.int64).reshape(-1, 4)
    ts = np.arange(len(facts), dtype=np.int64)
    tables = [
        builder.add(ts[at : at + size], state[at : at + size]) for at in range(0, len(facts), size)
    ]
    tables.append(builder.finish())
    assert sorted(s for table in tables for s in as_stays(table)) == naive(facts)


@pytest.mark.parametrize("case", ["4.14.177-pinned", "6.12-storm"])
def test_a_trace(samples: Path, case: str) -> None:
    analysis = fputrace.analyze(str(samples / case / "trace.dat"))
    timeline = analysis.timeline
    stays = [s for table in timeline.task_tables() for s in as_stays(table)]
    by_task: dict[int, list[Stay]] = {}
    for stay in stays:
        by_task.setdefault(stay.pid, []).append(stay)
    for mine in by_task.values():
        for before, after in itertools.pairwise(mine):
            assert before.end_ns <= after.start_ns
    comms = {analysis.trace.comms[stay.pid] for stay in stays if stay.kvm == 1}
    assert comms
    assert all("KVM" in comm for comm in comms)
    low, high = timeline.start_ns or 0, timeline.end_ns or 0
    middle = (low + high) // 2
    part = [s for table in timeline.task_tables(middle, high) for s in as_stays(table)]
    assert part == [s for s in stays if s.end_ns > middle]
