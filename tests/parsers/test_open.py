"""From what people give to a trace: standard input, folders, and errors that say what to do."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fputrace.analysis import analyze, exit_status
from fputrace.errors import FormatError, ReadError, TraceError, UsageError
from fputrace.events import Trace
from fputrace.findings import Verdict
from fputrace.parsers import FOLDERS, FORMATS, open_trace, opening
from fputrace.parsers.opening import EVENT_LINE
from fputrace.parsers.unknown import OTHERS
from tests.conftest import SAMPLES
from tests.tools.archives import PACKERS, pack, tar, zipped
from tests.writers import TraceWriter
from tests.writers.tracefs import write_tracefs

BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; nothing may be left there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def made(events: int = 40) -> TraceWriter:
    w = TraceWriter("6.12.1", cpus=2, clock="mono")
    for i in range(events):
        w.event(i % 2, 1000 + i, 7, "kvm_fpu", load=i // 2 % 2)
    return w


DAT = made().file().to_bytes(7, "none", 1)


def put(folder: Path, data: bytes, name: str = "x") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def all_of(trace: Trace) -> list[bytes]:
    """Every row of a trace, closed afterwards."""
    with trace:
        return [
            block.ts.tobytes() + block.kind.tobytes() + block.op.tobytes()
            for block in trace.blocks()
        ]


def fputrace(*arguments: object, **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "fputrace", *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=60,
        **more,
    )


# --- the same recording in every wrapping --------------------------------------------------------


@pytest.mark.parametrize("name", [*PACKERS, "tar", "zip", "tar.xz"])
def test_a_packed_sample_gives_the_same_from_a_file_and_a_pipe(name: str, tmp_path: Path) -> None:
    data = BUG.read_bytes()
    packed = {
        "tar": lambda: tar({"a/t.dat": data}),
        "zip": lambda: zipped({"a/t.dat": data}),
        "tar.xz": lambda: pack(tar({"a/t.dat": data}), ["xz"]),
    }.get(name, lambda: pack(data, [name]))()
    path = put(tmp_path, packed)
    plain, unpacked = analyze(BUG), analyze(path)
    with plain.trace, unpacked.trace as trace:
        assert trace.format == plain.trace.format
        assert unpacked.findings == plain.findings
        assert unpacked.coverage == plain.coverage
    piped = fputrace("analyze", "-", "--format", "json", input=packed)
    told = json.loads(piped.stdout)["traces"][0]
    assert piped.returncode == 1
    assert told["path"].startswith("standard input")
    assert [one["code"] for one in told["findings"]] == [one.code for one in plain.findings]


@pytest.mark.parametrize("layers", [["gzip"], ["zstd", "xz"]])
def test_a_tracefs_folder_in_an_archive(tmp_path: Path, layers: list[str]) -> None:
    w = made()
    top = tmp_path / "root" / "sys" / "kernel" / "tracing"
    write_tracefs(top, w.file())
    members = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in sorted((tmp_path / "root").rglob("*"))
        if path.is_file()
    }
    path = put(tmp_path, pack(tar({**members, "root/README": b"a run\n"}), layers))
    expected = all_of(open_trace(put(tmp_path, w.file().to_bytes(7, "none", 1), "dat")))
    trace = open_trace(path)
    assert trace.path.startswith(f"{path}: root/sys/kernel/tracing")
    assert all_of(trace) == expected
    assert all_of(open_trace(tmp_path / "root")) == expected
    assert all_of(open_trace(top)) == expected


def test_a_folder_recording_in_an_archive_that_breaks_off_proves_nothing(tmp_path: Path) -> None:
    top = tmp_path / "t"
    write_tracefs(top, made().file())
    members = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }
    whole = tar({**members, "t/zz": bytes(3000)})
    with analyze(put(tmp_path, whole[: whole.index(b"t/zz") + 700])).trace as trace:
        assert [loss.placed for loss in trace.losses] == [False]
        assert trace.losses[0].severity == "damaged"


@pytest.mark.parametrize("name", list(PACKERS))
def test_a_packed_file_that_breaks_off_never_looks_complete(name: str, tmp_path: Path) -> None:
    packed = pack(DAT, [name])
    for size in {len(packed) - 1, len(packed) - 3, len(packed) * 3 // 4}:
        path = put(tmp_path, packed[:size])
        try:
            analysis = analyze(path)
        except TraceError as error:
            assert "breaks off" in error.hint or "breaks off" in error.message
            continue
        with analysis.trace as trace:
            assert any(loss.severity == "damaged" for loss in trace.losses)
            assert "FPU906" in [finding.code for finding in analysis.findings]
            assert any("breaks off" in note for note in trace.notes)
            assert exit_status([analysis]) == 3
            for _ in range(2):
                list(trace.blocks())
                assert sum("breaks off" in loss.where for loss in trace.losses) == 1
                assert sum(f"{name} data breaks off" in note for note in trace.notes) == 1


def test_what_no_checksum_proves_is_never_confirmed(tmp_path: Path) -> None:
    plain = analyze(BUG)
    plain.trace.close()
    confirmed = {one.code for one in plain.findings if one.verdict is Verdict.CONFIRMED}
    assert any(code.startswith("FPU1") for code in confirmed)
    # All events are there, and only the checksum is not.
    analysis = analyze(put(tmp_path, pack(BUG.read_bytes(), ["gzip"])[:-1]))
    analysis.trace.close()
    verdicts = {one.verdict for one in analysis.findings if one.code.startswith("FPU1")}
    assert verdicts == {Verdict.POSSIBLE}
    # A tar has no checksum of its data: what is there is as right as in the file itself.
    analysis = analyze(put(tmp_path, tar({"t": BUG.read_bytes()})[: -10240 - 512]))
    analysis.trace.close()
    assert confirmed <= {one.code for one in analysis.findings if one.verdict is Verdict.CONFIRMED}


def test_what_is_ignored_behind_a_stream_is_noted_and_no_damage(tmp_path: Path) -> None:
    path = put(tmp_path, pack(DAT, ["gzip"]) + b"garbage")
    with analyze(path).trace as trace:
        assert trace.losses == []
        assert any("which was ignored" in note for note in trace.notes)


def test_the_hash_is_that_of_the_file_as_it_was_given(tmp_path: Path) -> None:
    import hashlib

    packed = tar({"t": DAT})
    analysis = analyze(put(tmp_path, packed), sha256=True)
    analysis.trace.close()
    assert analysis.sha256 == hashlib.sha256(packed).hexdigest()
    done = fputrace("analyze", tmp_path, "--sha256")
    assert (done.returncode, b"a folder has no hash" in done.stderr) == (2, True)


def test_unpacking_shows_progress(tmp_path: Path) -> None:
    packed = pack(os.urandom(1 << 20), ["gzip"])
    seen: list[tuple[int, int]] = []
    path = put(tmp_path, tar({"junk": packed, "t": DAT}))

    def progress(trace: Trace) -> None:
        seen.append((trace.read_bytes, trace.total_bytes))

    open_trace(path, progress=progress).close()
    size = path.stat().st_size
    assert (size, size) in seen
    assert len(seen) > 3
    assert max(read for read, _ in seen) == size


# --- standard input ------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [[], ["gzip"], ["bzip2", "lz4"]])
def test_a_stream_that_is_no_recording_is_not_read_to_its_end(layers: list[str]) -> None:
    head = pack(b"\x7fELF\2\1\1\0" + os.urandom(1 << 21), layers)
    with subprocess.Popen(
        [sys.executable, "-m", "fputrace", "analyze", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with suppress(BrokenPipeError):
            process.stdin.write(head)
            process.stdin.flush()
        try:
            # The stream stays open: whoever waits for its end would wait for ever.
            assert process.wait(60) == 2
        finally:
            process.kill()
        assert b"this is an ELF program" in process.stderr.read()
        with suppress(BrokenPipeError):
            process.stdin.close()


def test_text_without_end_and_without_events_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_TEXT_BYTES", 1 << 16)
    endless = [sys.executable, "-c", "while True: print('no events here')"]
    with subprocess.Popen(endless, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        monkeypatch.setattr(sys, "stdin", process.stdout)
        try:
            with pytest.raises(FormatError, match="no event is in the first"):
                open_trace("-")
        finally:
            process.kill()


@pytest.mark.parametrize("wrap", [lambda data: pack(data, ["xz"]), lambda data: tar({"t": data})])
def test_an_interrupt_leaves_nothing_behind(wrap: object, tmp_path: Path, scratch: Path) -> None:
    packed = wrap(BUG.read_bytes())  # type: ignore[operator]
    with subprocess.Popen(
        [sys.executable, "-m", "fputrace", "analyze", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(packed[: len(packed) // 2])
        process.stdin.flush()
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (out, b"Traceback" in err) == (b"", False)
    assert list(scratch.iterdir()) == []


# --- the disk ------------------------------------------------------------------------------------


def test_a_full_disk_says_where_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, _data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(ReadError, match="No space left on device") as caught:
        open_trace(put(tmp_path, pack(DAT, ["gzip"])))
    assert "TMPDIR" in caught.value.hint

    def full(*_args: object) -> IO[bytes]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(ReadError, match="No space left on device"):
        open_trace(put_by_fd(tmp_path / "y", tar({"t": DAT})))


def put_by_fd(path: Path, data: bytes) -> Path:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(fd, data)
    os.close(fd)
    return path


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, tar({"t": DAT}))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(ReadError, match="no temporary folder") as caught:
        open_trace(path)
    assert "TMPDIR" in caught.value.hint


# --- what is no recording ------------------------------------------------------------------------

FOREIGN = (
    (b"\x7fELF\2\1\1" + bytes(9) + b"\4\0\x3e\0", "an ELF core", "trace dump -t"),
    (b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\x3e\0", "an ELF program", "trace-cmd record"),
    (b"KDUMP   \6\0\0\0", "kdump", "trace dump -t"),
    (b"\x02\x21\x4c\x18\0\0", "legacy", "lz4 -d"),
    (b"\x1f\x9d\x90ab", "compress", "gzip -d"),
    (b"\x5d\0\0\x80\0\xff", "lzma", "xz -d"),
    (b"LZIP\1\x0c", "lzip", "lzip -d"),
    (b"\x89LZO\0\r\n", "lzop", "lzop -d"),
    (b"7z\xbc\xaf\x27\x1c\0\4", "7z", "7z x"),
    (b"Rar!\x1a\x07\1\0", "rar", "Unpack"),
    (b"070701000", "cpio", "cpio -id"),
    (b"!<arch>\ndebian", "Debian package", "Record"),
    (b"\xd4\xc3\xb2\xa1\2\0\4\0", "network capture", "Record"),
    (b"\x0a\x0d\x0d\x0a\x1c\0\0\0", "network capture", "Record"),
    (b"\xc1\x1f\xfc\xc1\0\0", "CTF", "Record"),
    (b"/* CTF 1.8 */\n\ntypealias", "the metadata of a CTF", "perf.data"),
    (b"SQLite format 3\0\x10", "SQLite", "perf.data"),
    (b"PAR1\x15\4", "one table", "folder"),
    (b"\x89PNG\r\n\x1a\n", "picture", "Record"),
    (b"\xff\xfe#\0 \0", "UTF-16", "iconv"),
    (
        b"From: a@b\nMIME-Version: 1.0\ncontent-transfer-encoding: base64\n\nRlVCQVI=\n",
        "mail",
        "Save",
    ),
    (b'{"ts":1,"cpu":0,"pid":7,"flags":0,"event":"kvm:kvm_fpu"}\n', "first line", "Keep"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
    (b'{\n\t"linux-perf-json-version": 1,\n', "JSON of perf data convert", "perf.data"),
    (b'{\n "schema_version": 1,\n "tool"', "a report of fputrace", "recording itself"),
    (b'{"name": "left-pad", "version": "1"}', "JSON that is no recording", "Record"),
    (b"<!DOCTYPE html>\n<html><title>Sign in</title>", "a web page", "Download"),
    (bytes(10240), "an empty tar archive", "tar -tf"),
)


@pytest.mark.parametrize(("head", "what", "hint"), FOREIGN, ids=lambda value: str(value)[:16])
def test_other_files_say_what_they_are_and_what_to_do(
    tmp_path: Path, head: bytes, what: str, hint: str
) -> None:
    for data in (head, pack(head, ["gzip"])):
        with pytest.raises(FormatError) as caught:
            open_trace(put(tmp_path, data))
        assert caught.value.offset == 0
        assert what in caught.value.message
        assert hint in caught.value.hint
        assert "known: trace.dat, perf.data" in caught.value.message


def test_every_row_of_the_table_is_tried() -> None:
    tried = {
        next(i for i, other in enumerate(OTHERS) if other.begins.match(head))
        for head, _, _ in FOREIGN
    }
    assert tried == set(range(len(OTHERS)))


@pytest.mark.parametrize(
    "head",
    [
        b'{"traceEvents": [{"ph": "X"}]}',
        b'[{"ph": "X", "name": "a"}]',
        b"<!DOCTYPE html>\n<html><head><title>Android System Trace</title>",
        b"<html><head>trace-viewer",
        b"# tracer: nop\n#\n# entries-in-buffer/entries-written: 1/1   #P:2\n",
        b"[    0.000000] Linux version 6.1.0\n",
    ],
)
def test_what_a_reader_of_texts_decides_is_left_to_it(head: bytes) -> None:
    assert not any(other.begins.match(head) for other in OTHERS)


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_bytes_that_nothing_knows(data: bytes) -> None:
    head = b"\0\xfe\0" + data
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = put(Path(folder), head)
        try:
            open_trace(path).close()
        except FormatError as error:
            assert str(path) in str(error)
            assert error.hint


def test_a_missing_file_names_recordings_beside_it(tmp_path: Path) -> None:
    for name in ("b.data", "a.tar.zst", "c.txt", "core"):
        put(tmp_path, b"", name)
    with pytest.raises(TraceError, match="no such file") as caught:
        open_trace(tmp_path / "trace.dat")
    assert caught.value.hint == "There is: a.tar.zst, b.data, c.txt"
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceError) as caught:
        open_trace(tmp_path / "empty" / "trace.dat")
    assert caught.value.hint == "No recording is in that directory."
    with pytest.raises(TraceError) as caught:
        open_trace(tmp_path / "none" / "trace.dat")
    assert caught.value.hint == "The directory is missing too."


@pytest.mark.parametrize("name", list(PACKERS))
def test_nothing_inside(name: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="the file is empty"):
        open_trace(put(tmp_path, pack(b"", [name])))
    with pytest.raises(FormatError, match="nothing is in it"):
        open_trace(put(tmp_path, pack(b"", [name])[:11]))


# --- options -------------------------------------------------------------------------------------


def test_options_that_cannot_be(tmp_path: Path) -> None:
    path = put(tmp_path, DAT)
    with pytest.raises(UsageError, match="no format 'ctf'") as caught:
        open_trace(path, format_in="ctf")
    for name in [one.name for one in FORMATS] + [one.name for one in FOLDERS]:
        assert name in caught.value.hint
    with pytest.raises(UsageError, match="is a folder"):
        open_trace(path, format_in="tracefs")
    with pytest.raises(UsageError, match="no number of GiB"):
        open_trace(path, max_unpacked=0)


def test_a_forced_format_is_taken_at_its_word(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        open_trace(put(tmp_path, b"not a recording\0"), format_in="perf.data")
    assert "expected one of" not in str(caught.value)
    path = put(tmp_path, pack(DAT, ["gzip"]))
    open_trace(path, format_in="trace.dat").close()


def test_a_forced_format_chooses_among_members(tmp_path: Path) -> None:
    line = b" qemu-70  [001] d..2.  12.345678: kvm_fpu: load\n"
    path = put(tmp_path, tar({"trace.dat": DAT, "trace.txt": line}))
    with pytest.raises(UsageError, match="holds 2 recordings"):
        open_trace(path)
    trace = open_trace(path, format_in="trace.dat")
    assert trace.path.endswith(": trace.dat")
    trace.close()
    trace = open_trace(path, format_in="text")
    assert trace.path.endswith(": trace.txt")
    trace.close()


@pytest.mark.parametrize("unpacked", ["0", "x", "-1", "1e3", "9999999"])
def test_the_command_line_checks_max_unpacked(unpacked: str) -> None:
    done = fputrace("info", BUG, f"--max-unpacked={unpacked}")
    assert done.returncode == 2
    assert b"no number of GiB" in done.stderr


def test_the_command_line_stops_a_bomb(tmp_path: Path) -> None:
    path = put(tmp_path, pack(DAT + bytes(1 << 24), ["zstd"]))
    done = fputrace("info", path, "--max-unpacked", "0.01")
    assert done.returncode == 2
    assert b"--max-unpacked GIB allows more" in done.stderr
    assert fputrace("info", path).returncode == 0


# --- texts among other texts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"# tracer: nop",
        b"cpus=8",
        b"            qemu-70      [001] d..2.   12.345678: kvm_fpu: load",
        b"            qemu-70    (     70) [001] d..2.   12.345678: kvm_fpu: load",
        b"            qemu-70      [001]    12.345678901: kvm_fpu:  load",
        b"qemu    70 [001]    12.345678:        kvm:kvm_fpu: load",
        b"qemu    70/71    [001]    12.345678901:        kvm:kvm_fpu: load",
        b"[   99.1] CPU:1 [LOST 12 EVENTS]",
        b'# fputrace: {"schema_version": 1}',
    ],
)
def test_lines_that_only_recordings_have(line: bytes) -> None:
    assert EVENT_LINE.search(b"something\n" + line + b"\n")


@pytest.mark.parametrize(
    "text", [b"about [001] things: none\n", b"2026-11-23 12:00:01.5: ok\n", b"[1] a 1.2: b\n"]
)
def test_lines_that_any_text_may_have(text: bytes) -> None:
    assert not EVENT_LINE.search(text)


def test_a_search_for_events_takes_no_long_time() -> None:
    hostile = [b"[000] " + b" " * 17, b"[000] a", b"[0", b"CPU:1 ", b"# ", b"[000]\t123456789012."]
    for part in hostile:
        start = time.perf_counter()
        EVENT_LINE.search(part * ((1 << 20) // len(part)))
        assert time.perf_counter() - start < 2
    assert re.compile(EVENT_LINE.pattern, re.MULTILINE) == EVENT_LINE
