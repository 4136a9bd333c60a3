"""The perf.data reader against perf itself: every event, time and field, and every LOST record."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.parsers.rows import Pass, Row, read_all
from tests.tools import perf_script
from tests.tools.perf_script import Event, Lost
from tests.tools.repeat_perf import repeat

SAMPLES = Path(__file__).parent.parent.parent / "sample_traces"
RECORDINGS = sorted(SAMPLES.glob("*/perf.data"))
pytestmark = pytest.mark.skipif(not perf_script.INSTALLED, reason=perf_script.MISSING)


def samples_of(path: Path) -> int:
    """How many samples perf counts in the file."""
    said = perf_script.run("report", "--stats", "-i", path)
    return int(re.search(r"SAMPLE events:\s+(\d+)", said)[1])  # type: ignore[index]


def key(event: Event | Row) -> tuple[int, int, str]:
    return (event.ns if isinstance(event, Event) else event.ts, event.cpu, event.name)


def assert_same(path: Path) -> Pass:
    """Same events, times, fields and losses as perf script.

    perf script leaves out samples whose registers were a guest's, "unprocessable" without its
    kernel: events of the host that KVM's window for interrupts held.  They are recorded all the
    same, and perf report counts them.
    """
    mine = read_all(path)
    said = list(perf_script.script(path))
    events = [item for item in said if isinstance(item, Event)]
    assert len(mine.rows) == samples_of(path) > 0
    hidden: list[str] = []
    rows = iter(mine.rows)
    # perf leaves events of one time in the order of the file.
    for event in sorted(events, key=lambda event: (event.ns, event.cpu)):
        row = next(rows)
        while key(row) != key(event):
            hidden.append(row.name)
            row = next(rows)
        assert event.tid in (row.pid, -1)
        assert_fields(row, event, mine)
    hidden += [row.name for row in rows]
    assert len(hidden) == len(mine.rows) - len(events)
    assert set(hidden) <= {"sched:sched_migrate_task", "sched:sched_process_free"}
    assert_losses(mine, said)
    return mine


def assert_fields(row: Row, event: Event, mine: Pass) -> None:
    got = row.fields
    for name, value in perf_script.values(event, mine.trace.formats[row.name].print_fmt).items():
        found: Any = got[name]
        if name == "prev_state":
            found = perf_script.state_text(found)
        elif isinstance(found, str) and isinstance(value, int):
            found = int(found, 16)
        assert found == value, (row, event)


def assert_losses(mine: Pass, said: list[Event | Lost]) -> None:
    """Each LOST record is one row, between this CPU's events around it."""
    holes = []
    for at, item in enumerate(said):
        if isinstance(item, Lost):
            times = [row.ts for row in mine.rows if row.cpu == item.cpu]
            following = next(e.ns for e in said[at:] if isinstance(e, Event) and e.cpu == item.cpu)
            after = max(time for time in times if time < following)
            holes.append((item.cpu, after, following, item.lost))
    found = [loss[:4] for loss in mine.trace.losses if loss.placed]
    assert Counter(found) == Counter(holes)


@pytest.mark.parametrize("path", RECORDINGS, ids=[path.parent.name for path in RECORDINGS])
def test_sample(path: Path) -> None:
    mine = assert_same(path)
    last: dict[int, str] = {}
    switched: dict[int, str] = {}
    for event in perf_script.script(path):
        if isinstance(event, Event):
            last[event.tid] = event.comm
            if event.name == "sched:sched_switch":
                told = perf_script.values(event, "")
                switched[told["next_pid"]] = told["next_comm"]
    for tid, comm in last.items():
        if tid > 0 and not comm.startswith(":"):
            # A COMM record may be lost, which perf cannot know; a kworker's name in /proc says
            # more than its comm.
            known = {comm.split("-")[0] if comm.startswith("kworker/") else comm}
            assert mine.trace.comms[tid] in known | {switched.get(tid)}


def test_repeated_sample(tmp_path: Path) -> None:
    long = tmp_path / "long.data"
    made = repeat(SAMPLES / "6.12-perf-lost" / "perf.data", long, 90_000)
    mine = assert_same(long)
    assert len(mine.rows) == made
    assert sum(loss.count or 0 for loss in mine.trace.losses) > 2 * 4050


@pytest.mark.parametrize("case", ["5.10-pinned", "6.12-perf-lost"])
def test_sorted_by_perf_inject(case: str, tmp_path: Path) -> None:
    made = tmp_path / "injected.data"
    command = ["perf", "inject", "-b", "-i", str(SAMPLES / case / "perf.data"), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0 or not made.exists():
        pytest.skip(f"perf inject: {done.stderr.decode()[-200:]}")
    mine = assert_same(made)
    assert mine.trace.counts == read_all(SAMPLES / case / "perf.data").trace.counts
