"""Where converted recordings go: whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from fputrace.cli import main
from fputrace.convert import convert_trace
from fputrace.errors import UsageError
from fputrace.events import EventBlock, Trace
from fputrace.parsers import open_trace


@pytest.fixture
def recording(samples: Path) -> Path:
    return samples / "5.2.1-pinned" / "trace.dat"


@pytest.fixture(scope="module")
def lines(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("lines") / "x"
    with open_trace(samples / "5.2.1-pinned" / "trace.dat") as trace:
        convert_trace(trace, "jsonl", str(path))
    return path.read_bytes()


def convert(*words: str | Path) -> int:
    return main(["convert", *map(str, words)])


def test_standard_output(
    recording: Path, lines: bytes, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert convert(recording, "--to", "jsonl") == 0
    out, err = capfdbinary.readouterr()
    assert out == lines
    assert not err


def test_every_line_is_an_object_of_ascii(lines: bytes) -> None:
    objects = [json.loads(line) for line in lines.decode("ascii").splitlines()]
    assert list(objects[0]) == ["fputrace"]
    assert list(objects[-1]) == ["end", "crc32"]
    events = [one for one in objects if "event" in one]
    assert len(events) == objects[-1]["end"]["events"]
    assert {one["mark"] for one in objects if "mark" in one} == {"CPU_END"}


def test_names_of_tasks_are_escaped(tmp_path: Path) -> None:
    trace = Trace("x", "made", cpus=[0])
    trace.comms = {1: 'a"\n\x1b[31m\u202e', 2: "\udc80\ud800"}
    trace._blocks = lambda _trace: iter(())
    convert_trace(trace, "jsonl", str(tmp_path / "x"))
    data = (tmp_path / "x").read_bytes()
    assert data.isascii() and b"\x1b" not in data
    assert all(
        json.dumps(json.loads(line), ensure_ascii=False).encode() for line in data.split(b"\n")[:-1]
    )
    with open_trace(tmp_path / "x") as copy:
        assert copy.comms == {1: 'a"\n\x1b[31m\u202e', 2: "\\x80\\ud800"}


def test_compressed_by_name(recording: Path, lines: bytes, tmp_path: Path) -> None:
    for name in ("x.gz", "y.gz", "x.zst"):
        assert convert(recording, "--to", "jsonl", "-o", tmp_path / name) == 0
    packed = (tmp_path / "x.gz").read_bytes()
    assert gzip.decompress(packed) == lines
    assert packed == (tmp_path / "y.gz").read_bytes()
    with (tmp_path / "x.zst").open("rb") as file:
        assert zstandard.ZstdDecompressor().stream_reader(file).read() == lines


def test_a_file_is_replaced_and_keeps_its_permissions(
    recording: Path, lines: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o640)
    assert convert(recording, "--to", "jsonl", "-o", path) == 0
    assert path.read_bytes() == lines
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert convert(path, "--to", "jsonl", "-o", path) == 2, "over the recording itself"
    assert path.read_bytes() == lines


def test_a_pipe_stays_a_pipe(recording: Path, lines: bytes, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    assert convert(recording, "--to", "jsonl", "-o", pipe) == 0
    reader.join()
    assert got == [lines]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_an_interrupted_run_leaves_what_was_there(to: str, recording: Path, tmp_path: Path) -> None:
    """The second pass is interrupted in the middle of its rows."""
    path = tmp_path / "x"
    if to == "jsonl":
        path.write_text("old")
    with open_trace(recording) as trace:
        whole = trace._blocks
        assert whole is not None
        passes = []

        def blocks(opened: Trace) -> Iterator[EventBlock]:
            passes.append(opened)
            yield from whole(opened)
            if len(passes) > 1:
                raise KeyboardInterrupt

        trace._blocks = blocks
        with pytest.raises(KeyboardInterrupt):
            convert_trace(trace, to, str(path))
    assert [one.name for one in tmp_path.iterdir()] == (["x"] if to == "jsonl" else [])
    assert to == "parquet" or path.read_text() == "old"


def test_progress_is_told_of_every_block(recording: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    with open_trace(recording) as trace:
        convert_trace(
            trace, "jsonl", str(tmp_path / "x"), progress=lambda one: seen.append(one.read_bytes)
        )
    assert len(seen) >= 2 and seen[-1] > 0


def test_parquet_folders(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tables"
    assert convert(recording, "--to", "parquet", "-o", f"{folder}/") == 0
    first = sorted(path.name for path in folder.iterdir())
    assert "metadata.parquet" in first and "sched.sched_switch.parquet" in first
    assert convert(recording, "--to", "parquet", "-o", folder) == 2
    assert "is not empty" in capsys.readouterr().err
    (folder / "more").write_text("x")
    assert convert(recording, "--to", "parquet", "-o", folder, "--force") == 0
    assert sorted(path.name for path in folder.iterdir()) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tables"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert convert(recording, "--to", "parquet", "-o", empty) == 0


def test_force_replaces_no_other_folder(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("x")
    assert convert(recording, "--to", "parquet", "-o", tmp_path, "--force") == 2
    assert "something else" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "x"


REFUSED: dict[str, tuple[list[str], str]] = {
    "parquet to stdout": (["TRACE", "--to", "parquet"], "-o FOLDER"),
    "several": (["TRACE", "TRACE", "--to", "jsonl"], "one by one"),
    "no such form": (["TRACE", "--to", "csv"], "'csv' is not known"),
    "no form": (["TRACE"], "--to"),
    "no such trace": (["nothing.dat", "--to", "jsonl"], "no such file"),
    "no such folder": (["TRACE", "--to", "jsonl", "-o", "none/x"], "none/x"),
    "a folder": (["TRACE", "--to", "jsonl", "-o", "."], "irectory"),
    "a file for a folder": (["TRACE", "--to", "parquet", "-o", "file"], "file is no folder"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(
    words: list[str],
    said: str,
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    command = [str(recording) if word == "TRACE" else word for word in words]
    try:
        status: Any = convert(*command)
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    out, err = capsys.readouterr()
    assert said in err and not out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_pyarrow(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metadata.parquet").write_text("x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with open_trace(recording) as trace, pytest.raises(UsageError, match=r"fputrace\[arrow\]"):
        convert_trace(trace, "parquet", str(tmp_path / "x"))
    with pytest.raises(UsageError, match=r"fputrace\[arrow\]"):
        open_trace(tmp_path)


def test_a_form_that_is_not_there(recording: Path) -> None:
    with open_trace(recording) as trace, pytest.raises(UsageError, match="no form 'csv'"):
        convert_trace(trace, "csv", None)
