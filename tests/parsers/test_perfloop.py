"""The loops of perf.data as plain Python too; and any records, in any form, come out again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fputrace.parsers import passes, perfindex, perfloop, ringbuffer
from tests.conftest import SAMPLES
from tests.parsers.rows import read_all
from tests.parsers.test_perfdata import FORMS, fill
from tests.parsers.test_ringbuffer import columns, uncompiled
from tests.writers.perf import CALLCHAIN, READ, USUAL, PerfWriter


@pytest.mark.parametrize("cython", [True, False], ids=["with-cython", "without"])
@pytest.mark.parametrize("what", ["6.12-perf-lost", "6.1-pinned", "big", "chains"])
def test_plain_python_gives_the_same(
    what: str, cython: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cython:
        pytest.importorskip("cython", reason="Cython is not installed here")
    path = SAMPLES / what / "perf.data"
    if what == "big":
        w = fill(PerfWriter(endian="big"), 2000)
        w.lost(0, 5, 10**6)
        w.event(0, 10**6, 40, "kvm_fpu", load=1)
        w.throttle(1, 10**6)
        w.event(1, 10**6, 41, "kvm_fpu", load=1)
        path = w.write(tmp_path / "perf.data")
    elif what == "chains":
        w = PerfWriter(sample_type=USUAL | READ | CALLCHAIN)
        path = fill(w, 2000, chain=(1, 2)).write(tmp_path / "perf.data", "pipe")
    installed = columns(path)
    monkeypatch.setattr(perfindex, "perfloop", uncompiled(monkeypatch, perfloop, cython))
    monkeypatch.setattr(passes, "ringbuffer", uncompiled(monkeypatch, ringbuffer, cython))
    assert columns(path) == installed


# What happens, in the order of the file: (CPU, ns since the CPU's last event, what).
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.one_of(st.integers(0, 300), st.integers(0, 1 << 33)),
        st.sampled_from(["event"] * 6 + ["switch", "lost", "comm", "round"]),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    form=st.sampled_from(FORMS),
    endian=st.sampled_from(["little", "big"]),
    index=st.booleans(),
    granule=st.sampled_from([512, 4096, 1 << 20]),
)
def test_what_is_written_is_read(
    steps: list[tuple[int, int, str]], form: Any, endian: Any, index: bool, granule: int
) -> None:
    w = PerfWriter(cpus=3, endian=endian, id_index=index)
    clock = [1000, 1000, 1000]
    expected: list[tuple[int, int, int, str]] = []
    holes: list[tuple[int, int | None, int | None, int]] = []
    last: list[int | None] = [None, None, None]
    missing = [0, 0, 0]
    for number, (cpu, ns, what) in enumerate(steps):
        clock[cpu] += ns
        if what == "round":
            w.finished_round()
        elif what == "lost":
            w.lost(cpu, number + 1, clock[cpu])
            missing[cpu] += number + 1
        elif what == "comm":
            w.comm(cpu, 40 + number, "task", clock[cpu])
        else:
            name = "kvm_fpu" if what == "event" else "sched_switch"
            w.event(cpu, clock[cpu], number, name)
            system = "kvm" if what == "event" else "sched"
            expected.append((clock[cpu], cpu, number, f"{system}:{name}"))
            if missing[cpu]:
                holes.append((cpu, last[cpu], clock[cpu], missing[cpu]))
            last[cpu], missing[cpu] = clock[cpu], 0
    told = {cpu for cpu, _, what in steps if what in ("event", "switch", "lost")}
    holes += [(cpu, last[cpu], None, missing[cpu]) for cpu in told if missing[cpu]]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(perfindex, "GRANULE", granule)
        patch.setattr(perfindex, "_LEAST_GRANULE", granule)
        patch.setattr(perfindex, "_KEPT", 2 * granule)
        mine = read_all(w.write(Path(folder) / "perf.data", form))
    # Rows of one time and CPU stay in the order of the file.
    assert [(row.ts, row.cpu, row.pid, row.name) for row in mine.rows] == sorted(
        expected, key=lambda event: event[:2]
    )
    assert sorted((loss[:4] for loss in mine.trace.losses), key=str) == sorted(holes, key=str)


def test_a_granule_read_again_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read hides events of the CPUs that were known then, not of all ever seen."""
    w = PerfWriter(cpus=60, id_index=False)
    w.event(0, 100, 7, "kvm_fpu", load=1)
    for _ in range(4):
        w.record(0, 9, b"")
    w.event(0, 200, 7, "kvm_fpu", load=1)
    for cpu in range(60):
        w.event(cpu, 300 + cpu, 7, "kvm_fpu", load=1)
    monkeypatch.setattr(perfindex, "GRANULE", 512)
    monkeypatch.setattr(perfindex, "_LEAST_GRANULE", 512)
    rows = [row.ts for row in read_all(w.write(tmp_path / "perf.data")).rows if row.pid == 7]
    assert rows == [100, 200, *range(300, 360)]
