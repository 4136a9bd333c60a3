"""Recordings made to cost much stay within 30 s and 512 MiB, and give a result or a typed error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.bombs import BOMBS
from tests.fuzz.checks import examine
from tests.fuzz.forms import write
from tests.fuzz.sandbox import run

SECONDS = 30.0

LONG = (
    "bz2 of 300 MiB",
    "gz of 300 MiB",
    "gz in gz of xz of 300 MiB",
    "gz of 300 MiB of empty lines",
    "tar.gz of 250,000 members",
    "text of 100,000 events' names",
    "text of 120,000 tasks",
    "text of 60,000 CPUs",
    "text of losses on CPUs without events",
    "trace.dat of 8,000 CPUs in one place",
    "xz of 300 MiB",
    "zip of 30,000 members",
    *(name for name in BOMBS if name.startswith(("gz of 100 MiB", "gz of an event"))),
    *(name for name in BOMBS if name.startswith("lines of 3 MB") and "-1 [" not in name),
    *(name for name in BOMBS if name.startswith("events of 300 KB") and "==>" not in name),
)
"""What takes seconds to make or to read, or is much like another: ``.ci/run fuzz`` tries these."""


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.long if one in LONG else ()) for one in BOMBS]
)
def test_a_bomb_is_bounded(name: str) -> None:
    tree = BOMBS[name]()

    def check(output: str, folder: Path) -> None:
        examine(write(tree, folder), output)

    for outcome in run(["text"], check, 1, seconds=SECONDS):
        assert not outcome.why
