"""A look that begins before the text is opened changes nothing but the time it takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fputrace import cli
from fputrace.cli import main
from fputrace.parsers import textahead, textindex
from fputrace.parsers.textlook import Beside, Look
from tests.conftest import SAMPLES
from tests.parsers.test_textwalk import assert_same, everything

TEXT = SAMPLES / "6.12-pipe-lost" / "trace.txt"


@pytest.fixture(autouse=True)
def _short_texts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_LONG", 1)


def adopted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where every look was left that was adopted from now on."""
    seen: list[int] = []
    adopt = textindex.Indexer._adopt

    def noted(self: Any, look: Look) -> None:
        seen.append(look.at)
        adopt(self, look)

    monkeypatch.setattr(textindex.Indexer, "_adopt", noted)
    return seen


@pytest.fixture
def lossy(tmp_path: Path) -> Path:
    lines = TEXT.read_bytes().splitlines(keepends=True)
    path = tmp_path / "trace.txt"
    path.write_bytes(b"".join(lines[27_000:]) + b"no event\n" + lines[0][:-20])
    return path


def test_what_a_look_ahead_saw_is_what_there_is(
    lossy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = everything(lossy)
    textahead.begin(str(lossy))
    assert textahead._Begun.look is not None
    textahead._Begun.look[0].join()
    seen = adopted(monkeypatch)
    assert_same(alone, everything(lossy))
    assert seen[0] == lossy.read_bytes().rindex(b"\n") + 1  # all but the line without an end
    assert textahead._Begun.look is None


def test_a_look_that_is_halted_at_once(lossy: Path) -> None:
    alone = everything(lossy)
    textahead.begin(str(lossy))
    assert_same(alone, everything(lossy))


def test_a_look_at_another_file_or_state_of_it_is_given_up(lossy: Path) -> None:
    textahead.begin(str(lossy))
    data = lossy.read_bytes()
    lossy.write_bytes(data[len(data) // 2 :])
    os.utime(lossy, ns=(1, 1))
    changed = everything(lossy)
    assert textahead._Begun.look is None
    textahead.begin(str(TEXT))
    assert_same(changed, everything(lossy))


def test_only_files_of_trace_text_are_looked_at(tmp_path: Path) -> None:
    binary, prose, pipe = (tmp_path / name for name in ("binary", "prose", "pipe"))
    binary.write_bytes(b"\0" + TEXT.read_bytes()[:9000])
    prose.write_bytes(b"no line of this is an event\n" * 500)
    os.mkfifo(pipe)
    for path in (binary, prose, pipe, tmp_path, tmp_path / "none", "-", "\0"):
        textahead.begin(str(path))
        assert textahead._Begun.look is None


def test_the_command_line_begins_with_the_first_file_it_names(
    lossy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report.json"
    begun: list[str] = []
    monkeypatch.setattr(textahead, "begin", begun.append)
    words = ["--format", "json", "-q", "-o", str(report), str(tmp_path / "none")]
    assert main(["analyze", *words, str(lossy)]) == 2
    assert main(["info", "-q", str(lossy)]) == 0
    assert begun == [str(lossy)]


def test_a_look_at_what_is_no_trace_of_this_command_does_no_harm(
    lossy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, other = tmp_path / "alone.json", tmp_path / "other.json"
    words = ["analyze", "-q", "--format", "json", str(lossy), "-o"]
    status = main([*words, str(alone)])
    other.write_bytes(TEXT.read_bytes())
    assert main(["analyze", "-o", str(other), *words[1:-1]]) == status
    assert other.read_text().replace("other.json", "alone.json") == alone.read_text()


def test_a_full_log_ends_a_look_where_reading_goes_on(
    lossy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = everything(lossy)
    data = lossy.read_bytes().splitlines(keepends=True)
    crowded = b"".join(line + b"\ta caller\n" * 20 for line in data[:-1]) + data[-1]
    lossy.write_bytes(crowded)
    seen = adopted(monkeypatch)
    told = everything(lossy)
    assert len(seen) > 2
    assert told["ts"] == alone["ts"]
    assert [loss.after_ns for loss in told["losses"]] == [loss.after_ns for loss in alone["losses"]]


@pytest.mark.parametrize("error", [MemoryError, OSError, RuntimeError])
def test_who_reads_the_trace_says_what_a_look_ahead_lacked(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's own status for what nobody catches would mean findings."""

    def fails(_thread: Beside) -> None:
        raise error("can't start new thread")

    monkeypatch.setattr(Beside, "start", fails)
    held = len(os.listdir("/proc/self/fd"))
    textahead.begin(str(TEXT))
    assert textahead._Begun.look is None
    assert len(os.listdir("/proc/self/fd")) == held
    monkeypatch.undo()
    assert main(["analyze", "-q", str(TEXT)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [ImportError, MemoryError])
def test_what_a_look_ahead_cannot_load_is_told_later(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_path: str) -> None:
        raise error("not there")

    monkeypatch.setattr(textahead, "begin", fails)
    assert main(["analyze", "-q", str(TEXT)]) == 0


def test_a_short_text_is_not_looked_at_ahead(
    lossy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(textahead, "begin", begun.append)
    monkeypatch.setattr(cli, "_LONG", lossy.stat().st_size + 1)
    main(["analyze", "-q", str(lossy), "-o", str(tmp_path / "report.txt")])
    assert begun == []
