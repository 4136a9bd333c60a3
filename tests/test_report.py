"""``fputrace report``: files, lengths, provenance, and the same bytes for whoever asks again."""

from __future__ import annotations

import doctest
import gzip
import hashlib
import re
import shutil
from pathlib import Path

import pytest

from fputrace.cli import command_line, main
from tests.conftest import SAMPLES

ROOT = Path(__file__).parent.parent
BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recording in it, and the current one."""
    shutil.copy(BUG, tmp_path / "trace.dat")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(*words: str) -> int:
    return main(["report", *words])


def test_says_what_it_was_made_of(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("trace.dat") == 0
    made = capsys.readouterr().out
    digest = hashlib.sha256(BUG.read_bytes()).hexdigest()
    assert made.endswith(
        "Provenance\n==========\n\nInput: trace.dat (trace.dat v7 zstd)\n"
        f"SHA-256:\n  {digest}\nTool: fputrace 0.1.0\nCommand:\n  fputrace report trace.dat\n"
    )


@pytest.mark.parametrize("name", ["text", "markdown"])
def test_same_bytes_elsewhere(
    name: str, here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder, another name for the output, quietly or not: the same report."""
    assert report("trace.dat", "--format", name, "-o", "a.txt") == 0
    other = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(BUG, other / "trace.dat")
    monkeypatch.chdir(other)
    assert report("-q", str(other / "trace.dat"), "--format", name, "-ob.txt") == 0
    assert (here / "a.txt").read_bytes() == (other / "b.txt").read_bytes()
    assert str(other) not in (other / "b.txt").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["report", "a b.dat", "-o", "x"], "fputrace report 'a b.dat'"),
        (["report", "/home/me/t.dat", "-ox.gz"], "fputrace report t.dat"),
        (["analyze", "t.dat", "--color", "never", "-q"], "fputrace analyze t.dat"),
        (["analyze", "t.dat", "--color=never", "--quiet"], "fputrace analyze t.dat"),
        (["analyze", "--config=/etc/x.toml"], "fputrace analyze --config=x.toml"),
        (["report", "--attach", "/tmp/all.gz", "t"], "fputrace report --attach all.gz t"),
        (["report", "-", "--time", "1,2"], "fputrace report - --time 1,2"),
    ],
)
def test_command_line(words: list[str], line: str) -> None:
    assert command_line(words) == line


def test_packed_by_name(here: Path) -> None:
    assert report("trace.dat", "-o", "a.txt", "--attach", "b.txt.gz") == 0
    assert report("trace.dat", "-o", "a.txt.gz", "--attach", "b.txt.gz") == 0
    assert gzip.decompress((here / "a.txt.gz").read_bytes()) == (here / "a.txt").read_bytes()
    before = (here / "a.txt.gz").read_bytes()
    assert report("trace.dat", "-o", "a.txt.gz", "--attach", "b.txt.gz") == 0
    assert (here / "a.txt.gz").read_bytes() == before
    assert "Proof 3 of 3" in gzip.decompress((here / "b.txt.gz").read_bytes()).decode()
    assert "Proof 3 of 3" not in (here / "a.txt").read_text()


@pytest.mark.parametrize("most", [10, 20, 60, 100, 200, 1000])
def test_max_lines(most: int, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Never longer; what matters most is kept, and the end says what is missing and where it is."""
    assert report("trace.dat", "--max-lines", str(most), "--attach", "all.txt") == 0
    lines = capsys.readouterr().out.splitlines()
    whole = (here / "all.txt").read_text()
    assert len(lines) <= most
    text = " ".join(" ".join(lines).split())
    assert "confirmed error findings" in text
    if most < 400:
        assert re.search(r"\[Left out: \d+ lines; the whole report is in all\.txt\]", text)
    else:
        assert "Left out" not in text
    if most >= 100:
        assert "FPU101 guest-state-in-thread-fpu: confirmed, 978 times" in lines
        assert lines[-1] == f"  fputrace report trace.dat --max-lines {most} --attach all.txt"
    assert whole.count("Proof ") > 10
    assert "Left out" not in whole


def test_several_traces_share_the_room(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(SAMPLES / "4.14.5-pinned" / "trace.dat", here / "old.dat")
    assert report("trace.dat", "old.dat", "--max-lines", "250") == 0
    made = capsys.readouterr().out
    assert len(made.splitlines()) <= 250
    for title in (
        "trace.dat\n#########\n",
        "old.dat\n#######\n",
        "FPU101 guest-",
        "FPU201 double-",
    ):
        assert title in made
    assert made.count("Provenance\n") == 2


def test_what_cannot_be(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = BUG.read_bytes()
    for words, said in (
        (["--attach", "trace.dat"], "--attach trace.dat is the recording itself"),
        (["-o", "trace.dat"], "-o trace.dat is the recording itself"),
        (["-o", "x", "--attach", "./x"], "-o and --attach both name x"),
        (["--format", "json", "--max-lines", "90"], "--max-lines and --attach are for"),
        (["--format", "markdown", "--attach", "y"], "--max-lines and --attach are for"),
    ):
        assert report("trace.dat", *words) == 2
        assert said in capsys.readouterr().err
    assert (here / "trace.dat").read_bytes() == before
    assert report("no.dat") == 2
    assert report("trace.dat", "no.dat", "-o", "x") == 2
    assert "FPU101" in (here / "x").read_text()
    assert report("trace.dat", "-o", "x", "--attach", "no/where") == 2
    assert "no/where" in capsys.readouterr().err


def test_standard_input_has_no_hash(here: Path) -> None:
    """As a pipe; the report says so rather than hash something else of that name."""
    import subprocess
    import sys

    with BUG.open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "fputrace", "report", "-", "-o", "x"],
            stdin=stream, check=True, cwd=here, env={"PYTHONPATH": str(ROOT), "PATH": ""},
        )  # fmt: skip
    assert done.returncode == 0
    assert "Input: standard input (trace.dat v7 zstd)" in (here / "x").read_text()
    assert "SHA-256: none: only files are hashed" in (here / "x").read_text()


def test_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "reports.md").read_text()
    examples = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(examples, {}, "docs/reports.md", None, None)
    said: list[str] = []
    assert len(test.examples) > 5
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)
    for name in re.findall(r"^    fputrace (.*?)  ", text, re.MULTILINE):
        assert name.startswith("report ")
