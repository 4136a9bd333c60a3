"""``fputrace check``: the three answers, and that nothing that goes wrong is one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fputrace.cli import main
from fputrace.presence import Answer, overall
from fputrace.verbs import check
from tests.conftest import SAMPLES

BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"
LOST = SAMPLES / "6.1-storm-lost" / "trace.dat"
MAYBE = SAMPLES / "4.14.0-rc8-pinned" / "trace.dat"
DOUBLE = SAMPLES / "4.14.5-pinned" / "trace.dat"
TEXT = SAMPLES / "6.12-pipe-lost" / "trace.txt"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([BUG, "--rule", "FPU101"], 1, "present: FPU101 guest-state-in-thread-fpu: confirmed, "),
        ([BUG, "--rule", "fpu101"], 1, "present: FPU101"),
        ([DOUBLE, "--rule", "double-save"], 1, "present: FPU201 double-save: confirmed, "),
        ([DOUBLE, "--rule", "FPU103"], 0, "absent: FPU103 "),
        ([DOUBLE, "--rule", "FPU101"], 0, "absent: FPU101 guest-state-in-thread-fpu: checked in "),
        ([DOUBLE, "--rule", "FPU101", "--strict"], 125, "not decidable: FPU101 "),
        ([DOUBLE, "--rule", "FPU104"], 125, "not a rule of generation G1"),
        ([BUG, "--rule", "FPU105"], 125, "; missing exceptions:page_fault_user or raw_syscalls"),
        ([MAYBE, "--rule", "FPU101"], 1, "present: FPU101 guest-state-in-thread-fpu: possible, "),
        ([MAYBE, "--rule", "FPU101", "--confirmed-only"], 125, "--confirmed-only asks for proof"),
        ([BUG, "--rule", "FPU203"], 1, "present: FPU203"),
        ([LOST, "--rule", "FPU901"], 1, "present: FPU901 events-lost: confirmed"),
    ],
)  # fmt: skip
def test_answers(
    words: list[object], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *map(str, words)]) == status
    out, err = capsys.readouterr()
    assert said in out
    assert out.count("\n") == 1
    assert str(words[0]) in out
    assert err == ""


def test_several_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.dat"
    bad.write_bytes(b"no recording")
    for traces, status in (
        ([DOUBLE, BUG], 1),
        ([DOUBLE, DOUBLE], 0),
        ([DOUBLE, bad], 125),
        ([BUG, bad], 1),
        ([bad], 125),
    ):
        assert main(["check", "--rule", "FPU101", *map(str, traces)]) == status
        out, err = capsys.readouterr()
        assert out.count("\n") == sum(one is not bad for one in traces)
        assert ("bad.dat" in err) == (bad in traces)


def test_overall() -> None:
    absent, present, unknown = Answer.ABSENT, Answer.PRESENT, Answer.NOT_DECIDABLE
    assert overall([]) is unknown
    assert overall([absent, unknown]) is unknown
    assert overall([unknown, present]) is present


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: --rule"),
        (["--rule", "FPU1O1"], "there is no rule 'FPU1O1'; the closest that exist: FPU121"),
        (["--rule", "double-saves"], "the closest that exist: double-save"),
        (["--rule", "FPU101", "gone.dat"], "gone.dat: there is no such file"),
        (["--rule", "FPU101", "--generation", "G9", str(BUG)], "'G9'"),
        (["--rule", "FPU101", "--nonsense"], "--nonsense"),
        (["--rule", "FPU101", str(BUG), "-o", "/dev/full"], "No space left on device"),
        (["--rule", "FPU101", "--plugin", "no-such", str(BUG)], "no-such"),
    ],
)
def test_what_goes_wrong_is_no_answer(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["check", *words])
    except SystemExit as left:
        status = int(left.code or 0)
    assert status == 125
    assert said in capsys.readouterr().err


def test_a_fault_of_our_own_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(check, "analyses_of", fail)
    assert main(["check", "--rule", "FPU101", str(BUG)]) == 125
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_closed_stdout_is_no_answer() -> None:
    command = f"{sys.executable} -m fputrace check --rule FPU101 {BUG} >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.returncode == 125
    assert done.stderr.startswith(b"fputrace: standard output is closed\n")


def test_git_bisect_takes_the_answers(tmp_path: Path) -> None:
    """Commits that stand for kernels: good, skipped, bad; git finds the bad one."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    git("init", "-q")
    rounds = (DOUBLE, DOUBLE, BUG, BUG, BUG)
    for number, recording in enumerate(rounds):
        (tmp_path / "recording").write_text(f"{recording} {number}\n")
        git("add", "-A")
        git("commit", "-qm", f"kernel {number}")
    git("bisect", "start", "HEAD", "HEAD~4")
    program = f'exec {sys.executable} -m fputrace check --rule FPU101 "$(cut -d" " -f1 recording)"'
    said = git("bisect", "run", "sh", "-c", program)
    assert "is the first bad commit" in said
    assert git("log", "-1", "--format=%s", "refs/bisect/bad").strip() == "kernel 2"


def test_hostile_text_of_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = TEXT.read_bytes().replace(b"fphog", b"\x1b[31m")
    path = tmp_path / "\x1b]0;x\x07.txt"
    path.write_bytes(text)
    assert main(["check", "--rule", "FPU102", str(path)]) in (0, 125)
    assert capsys.readouterr().out.strip().isprintable()
