"""How fast perf.data is read: whole processes, side by side with perf script on the same file.

    pytest -m bench -s tests/bench/test_perf_speed.py

The ratios are printed, not asserted: machines differ.  Asserted is that both saw the same events.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bench.test_speed import analyze, measure
from tests.tools import perf_script
from tests.tools.repeat_perf import repeat

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not perf_script.INSTALLED, reason=perf_script.MISSING),
]

EVENTS = 5_000_000
BYTES_AN_EVENT = 110


@pytest.mark.parametrize("case", ["5.10-pinned", "6.12-perf-lost"])
def test_against_perf_script(samples: Path, tmp_path: Path, case: str) -> None:
    free = shutil.disk_usage(tmp_path).free
    if free < 2 * EVENTS * BYTES_AN_EVENT:
        pytest.skip(f"{2 * EVENTS * BYTES_AN_EVENT / 1e9:.1f} GB needed in {tmp_path}")
    path = tmp_path / "perf.data"
    events = repeat(samples / case / "perf.data", path, EVENTS)
    with path.open("rb") as file:  # both are to find the file in the page cache
        while file.read(1 << 24):
            pass
    rounds = []
    for _ in range(3):
        theirs = measure(["perf", "script", "-i", path])
        ours, found = analyze(path, tmp_path / "report.json")
        assert found == events
        rounds.append((theirs, ours))
        print(f"\n  perf script        {theirs}\n  fputrace analyze   {ours}", end="")
        print(f"   {theirs.wall / ours.wall:.1f} times faster", end="")
    said = subprocess.run(
        ["perf", "report", "--stats", "-i", path], capture_output=True, text=True, check=True
    )
    assert f"SAMPLE events:{events:>11}" in said.stdout.replace("\t", " ")
    print(f"\n  {events} events, {path.stat().st_size / 1e6:.0f} MB", end="")
    for what in ("wall", "processor"):
        ratios = sorted(getattr(t, what) / getattr(o, what) for t, o in rounds)
        print(f", median {ratios[1]:.1f} times by {what} time", end="")
    print()
    path.unlink()
