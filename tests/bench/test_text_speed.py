"""How fast text is read: the whole program beside a loop that only iterates over the lines.

    pytest -m bench -s tests/bench/test_text_speed.py

The ratio is printed; asserted is that both saw every line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench.test_speed import analyze, measure
from tests.tools.repeat_text import repeat

pytestmark = pytest.mark.bench

EVENTS = 5_000_000
CASE = "6.12-pipe-lost"
ROUNDS = 5
LOOP = "import sys\nn = 0\nfor line in open(sys.argv[1]): n += 1\nprint(n)"


def test_against_a_loop_over_the_lines(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    made = repeat(samples / CASE / "trace.txt", path, EVENTS)
    with path.open("rb") as file:  # both are to find the file in the page cache
        while file.read(1 << 24):
            pass
    counted = tmp_path / "count"
    loops, ours = [], []
    for _ in range(ROUNDS):
        with counted.open("wb") as out:
            loops.append(measure([sys.executable, "-c", LOOP, path], out))
        assert int(counted.read_text()) == made
        cost, events = analyze(path, tmp_path / "report.json")
        assert events == made
        ours.append(cost)
    loop, own = min(loops), min(ours)
    print(f"\n{made:,} lines, {path.stat().st_size / 1e6:,.0f} MB, best of {ROUNDS}")
    print(f"for line in open(file)   {loop}")
    print(f"fputrace analyze         {own}   {loop.wall / own.wall:.2f} times as fast")
