"""Recordings made to cost much stay within 30 s and 512 MiB, and give a result or a typed error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.bombs import BOMBS
from tests.fuzz.checks import examine
from tests.fuzz.forms import write
from tests.fuzz.sandbox import run

SECONDS = 30.0


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_bounded(name: str) -> None:
    tree = BOMBS[name]()

    def check(output: str, folder: Path) -> None:
        examine(write(tree, folder), output)

    for outcome in run(["text"], check, 1, seconds=SECONDS):
        assert not outcome.why
