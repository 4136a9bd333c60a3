"""How fast text is read: the whole program beside loops that only iterate over the lines.

    pytest -m bench -s tests/bench/test_text_speed.py

What counts is the plain ``for line in open(path): pass``, which decodes every line; one that also
counts the lines, and one over bytes, are beside it.  The ratios are printed; asserted is that all
of the lines were seen.  The text is one recording again and again: its lines repeat more than a
longer recording's would, which :mod:`fputrace.lines.textmemo` profits from.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.bench.test_speed import Cost, analyze, measure
from tests.tools.repeat_text import repeat

pytestmark = pytest.mark.bench

EVENTS = 5_000_000
CASE = "6.12-pipe-lost"
ROUNDS = 5
LOOPS = {
    "for line in open(path): pass": "for line in open(sys.argv[1]): pass",
    "for line in open(path, 'rb'): pass": "for line in open(sys.argv[1], 'rb'): pass",
    "for line in open(path): n += 1": "n = 0\nfor line in open(sys.argv[1]): n += 1\nprint(n)",
}


def test_against_a_loop_over_the_lines(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    made = repeat(samples / CASE / "trace.txt", path, EVENTS)
    os.sync()  # writing it takes a core for a while
    with path.open("rb") as file:  # all are to find the file in the page cache
        while file.read(1 << 24):
            pass
    counted = tmp_path / "count"
    loops: dict[str, list[Cost]] = {name: [] for name in LOOPS}
    ours = []
    for _ in range(ROUNDS):
        for name, loop in LOOPS.items():
            with counted.open("wb") as out:
                command: list[str | Path] = [sys.executable, "-c", f"import sys\n{loop}", path]
                loops[name].append(measure(command, out))
        assert int(counted.read_text()) == made
        cost, events = analyze(path, tmp_path / "report.json")
        assert events == made
        ours.append(cost)
    own = min(ours)
    print(f"\n{made:,} lines, {path.stat().st_size / 1e6:,.0f} MB, best of {ROUNDS}")
    print(f"{'fputrace analyze':36}{own}")
    for name, costs in loops.items():
        print(f"{name:36}{min(costs)}   fputrace: {min(costs).wall / own.wall:.2f} times as fast")
