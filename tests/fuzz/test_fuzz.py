"""The fuzzer itself, for some seconds; the long runs are ``.ci/run fuzz``."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.fuzz.__main__ import fuzz
from tests.fuzz.sandbox import run_all


def test_a_short_run_finds_nothing() -> None:
    tried, failures = fuzz(5 / 60, seed=1, keep=None)
    assert tried > 10
    assert failures == []


def misbehave(path: Path) -> None:
    what = path.read_text()
    if what == "raise":
        raise KeyError(what)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "eat":
        bytearray(4 << 30)
    if what == "sleep":
        time.sleep(60)


def test_the_sandbox_notices(tmp_path: Path) -> None:
    """Each misdeed is reported under its label, and the rest still runs."""
    names = ["fine", "raise", "fine", "die", "eat", "sleep", "fine"]
    inputs = [(name, name.encode()) for name in names]
    failures = run_all(inputs, misbehave, tmp_path, seconds=0.5)
    assert [failure.label for failure in failures] == ["raise", "die", "eat", "sleep"]
    for failure, why in zip(
        failures, ["KeyError", "exit code", "MemoryError", "0.5 s"], strict=True
    ):
        assert why in failure.why
