"""The fuzzer itself, for some seconds; the long runs are ``.ci/run fuzz``."""

from __future__ import annotations

import os
import signal
import time
import tracemalloc
from itertools import groupby
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import sandbox
from tests.fuzz.__main__ import cuts, fuzz, jobs, mutant_of
from tests.fuzz.forms import FORMS
from tests.fuzz.mutations import mutate_text
from tests.fuzz.sandbox import run_all

FOREVER = float("inf")


def test_a_short_run_finds_nothing() -> None:
    tallies, failures = fuzz(jobs("examine", 1, list(FORMS), 6 * len(FORMS), FOREVER), FORMS, None)
    assert failures == []
    assert {form: tally.files for form, tally in tallies.items()} == dict.fromkeys(FORMS, 6)


def test_a_short_run_of_commands_finds_nothing() -> None:
    tallies, failures = fuzz(jobs("command", 1, list(FORMS)[::5], 5, FOREVER), FORMS, None)
    assert failures == []
    assert len(tallies) == 5


@pytest.mark.long
def test_a_cut_recording_never_looks_complete() -> None:
    _, failures = fuzz(cuts(list(FORMS), 1), FORMS, None)
    assert failures == []


def test_a_recording_cut_here_and_there_never_looks_complete() -> None:
    _, failures = fuzz(cuts(list(FORMS), 1999), FORMS, None)
    assert failures == []


def test_a_number_makes_the_same_mutant_again() -> None:
    for job in jobs("examine", 3, list(FORMS), 2 * len(FORMS), FOREVER):
        assert mutant_of(job) == mutant_of(job)


def misbehave(path: Path) -> None:
    what = path.read_text()
    if what == "raise":
        raise KeyError(what)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "eat":
        bytearray(4 << 30)
    if what == "touch":
        bytearray(b"x") * (500 << 20)
    if what == "sleep":
        time.sleep(60)


def test_making_a_mutant_leaves_the_memory_to_who_reads_it() -> None:
    blanks = b"sh-1 [000] " + b" " * 3_000_000 + b"\n"
    tracemalloc.start()
    try:
        made = [mutate_text(blanks, b"other\n", Random(seed))[0] for seed in range(60)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "swap words" in " ".join(made)
    assert most < 16 * len(blanks)


def test_the_sandbox_notices(tmp_path: Path) -> None:
    """Each misdeed is reported under its label, and the rest still runs."""
    names = ["fine", "raise", "fine", "die", "eat", "touch", "fine"]
    inputs = [(name, name.encode()) for name in names]
    # Half a GiB of new pages may take a busy machine a while.
    failures = run_all(inputs, misbehave, tmp_path, seconds=20)
    failures += run_all([("sleep", b"sleep"), ("fine", b"fine")], misbehave, tmp_path, seconds=1)
    assert [failure.label for failure in failures] == ["raise", "die", "eat", "touch", "sleep"]
    whys = ["KeyError", "exit code", "MemoryError", "MiB resident", "longer than 1 s"]
    for failure, why in zip(failures, whys, strict=True):
        assert why in failure.why


def test_a_process_does_so_many_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MOST_JOBS", 3)
    done = tmp_path / "done"

    def note(job: int, _folder: Path) -> None:
        with done.open("a") as file:
            print(job, os.getpid(), file=file)

    assert [one.job for one in sandbox.run(range(8), note, 1, seconds=5)] == list(range(8))
    served = [line.split() for line in done.read_text().splitlines()]
    assert [int(job) for job, _ in served] == list(range(8))
    assert [len(list(jobs)) for _, jobs in groupby(served, lambda line: line[1])] == [3, 3, 2]
