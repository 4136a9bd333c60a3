"""How fast: whole processes, side by side with trace-cmd on the same file in the same run.

    pytest -m bench -s tests/bench

The ratios are printed, not asserted: machines differ.  Asserted is that both saw the same events,
since a program that reads half of a file is easily twice as fast.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from tests.tools import trace_cmd
from tests.tools.repeat_pages import repeat

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not trace_cmd.INSTALLED, reason=trace_cmd.MISSING),
]

CASE = "6.12-storm"
BYTES_AN_EVENT = 50
FPUTRACE = (sys.executable, "-m", "fputrace")


class Cost(NamedTuple):
    """Of one process: wall and processor time in s, largest resident set in MiB, exit status."""

    wall: float
    processor: float
    mebibytes: float
    status: int

    def __str__(self) -> str:
        return f"{self.wall:7.2f} s  {self.processor:7.2f} s CPU  {self.mebibytes:6.0f} MiB"


def measure(command: Sequence[str | Path], stdout: int | IO[bytes] = subprocess.DEVNULL) -> Cost:
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, process.returncode)


def analyze(path: Path, report: Path) -> tuple[Cost, int]:
    """Cost and the number of events the report tells of."""
    with report.open("wb") as out:
        cost = measure([*FPUTRACE, "analyze", "--format", "json", path], out)
    assert cost.status in (0, 1, 3), f"exit status {cost.status}"
    return cost, json.loads(report.read_bytes())["traces"][0]["events"]


def long_trace(samples: Path, folder: Path, events: int) -> tuple[Path, int]:
    path = folder / f"{events}.dat"
    need, free = events * BYTES_AN_EVENT, shutil.disk_usage(folder).free
    if free < 1.2 * need:
        pytest.skip(f"{need / 1e9:.1f} GB needed in {folder}, {free / 1e9:.1f} GB free")
    made = repeat(samples / CASE / "trace.dat", path, events)
    # Both are to find the file in the page cache.
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
    return path, made


def test_against_trace_cmd(samples: Path, tmp_path: Path) -> None:
    path, events = long_trace(samples, tmp_path, 10_000_000)
    listing = tmp_path / "report.txt"
    rounds = []
    for _ in range(3):
        theirs = measure(["trace-cmd", "report", "-i", path])
        ours, found = analyze(path, tmp_path / "report.json")
        assert found == events
        rounds.append((theirs, ours))
        print(f"\n  trace-cmd report   {theirs}\n  fputrace analyze   {ours}", end="")
        print(f"   {theirs.wall / ours.wall:.1f} times faster", end="")
    with listing.open("wb") as out:
        measure(["trace-cmd", "report", "-R", "-t", "-i", path], out)
    with listing.open("rb") as lines:
        assert sum(b" [0" in line for line in lines) == events
    print(f"\n  {events} events, {path.stat().st_size / 1e6:.0f} MB", end="")
    # On a machine that does other things too, processor time is the steadier measure.
    for what in ("wall", "processor"):
        ratios = sorted(getattr(t, what) / getattr(o, what) for t, o in rounds)
        print(f", median {ratios[1]:.1f} times by {what} time", end="")
    print()
    path.unlink()
    listing.unlink()


def test_ten_times_the_events(samples: Path, tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    large = 100_000_000 if free > 100_000_000 * BYTES_AN_EVENT * 1.5 else 10_000_000
    costs = []
    for events in (large // 10, large):
        path, made = long_trace(samples, tmp_path, events)
        best = None
        for _ in range(3):
            cost, found = analyze(path, tmp_path / "report.json")
            assert found == made
            best = cost if best is None or cost.wall < best.wall else best
        assert best is not None
        print(f"\n  {made:>10} events   {best}", end="")
        costs.append(best)
        path.unlink()
    small, big = costs
    wall, processor = big.wall / small.wall, big.processor / small.processor
    print(f"\n  ten times the events in {wall:.2f} times the time", end="")
    print(f" ({processor:.2f} times the processor time),", end="")
    print(f" {big.mebibytes - small.mebibytes:+.0f} MiB")


def test_help_starts_quickly() -> None:
    bare = min(measure([sys.executable, "-c", "pass"]).wall for _ in range(10))
    costs = [measure([*FPUTRACE, "--help"]) for _ in range(10)]
    assert {cost.status for cost in costs} == {0}
    ours = min(cost.wall for cost in costs)
    print(f"\n  python -c pass {1000 * bare:.0f} ms, fputrace --help {1000 * ours:.0f} ms", end="")
    print(f": {1000 * (ours - bare):+.0f} ms")
