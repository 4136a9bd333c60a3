"""Archives and folders: the recording in them is found, the rest of the machine is left alone."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fputrace.cli import main
from fputrace.errors import FormatError, TraceError, UsageError
from fputrace.events import Trace
from fputrace.parsers import archive, open_trace
from fputrace.parsers.archive import archive_of, extract, walk
from fputrace.parsers.unpack import Budget, Window
from tests.tools.archives import pack, tar, zipped
from tests.writers import TraceWriter

Wrap = Callable[[dict[str, bytes]], bytes]
FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def recording(events: int = 40, version: int = 7) -> bytes:
    w = TraceWriter("6.12.1", cpus=2)
    for i in range(events):
        w.event(i % 2, 1000 + i, 7, "kvm_fpu", load=i // 2 % 2)
    return w.file().to_bytes(version, "none", 1)


DAT = recording()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; nothing may be left there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def events_of(trace: Trace) -> int:
    with trace:
        return sum(int((block.event >= 0).sum()) for block in trace.blocks())


def put(folder: Path, data: bytes, name: str = "x") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("wrap", [tar, zipped])
@pytest.mark.parametrize("layers", [[], ["zstd"], ["gzip", "xz"]])
@pytest.mark.parametrize("inner", [[], ["xz"], ["lz4", "bzip2"]])
def test_the_one_recording_in_an_archive(
    tmp_path: Path, wrap: Wrap, layers: list[str], inner: list[str]
) -> None:
    members = {"a/README": b"see the trace\n", "a/b/t": pack(DAT, inner), "a/empty": b""}
    path = put(tmp_path, pack(wrap(members), layers))
    trace = open_trace(path)
    assert trace.path == f"{path}: a/b/t"
    assert trace.notes == []
    assert events_of(trace) == 40
    assert trace.losses == []


@pytest.mark.parametrize("form", FORMS)
def test_names_as_long_as_they_come(tmp_path: Path, form: int) -> None:
    long = (
        "/".join(["d" * 70] * 2 + ["trace.dat"]) if form == FORMS[0] else "/".join(["é" * 90] * 3)
    )
    trace = open_trace(put(tmp_path, tar({"x.log": b"no\n", long: DAT}, form)))
    assert trace.path.endswith(long)
    assert events_of(trace) == 40


@pytest.mark.parametrize("tool", [["tar", "-cf", "-", "in"], ["zip", "-qr", "-", "in"]])
def test_what_the_tools_write(tmp_path: Path, tool: list[str]) -> None:
    if not shutil.which(tool[0]):
        pytest.skip(f"{tool[0]} is not installed")
    (tmp_path / "in").mkdir()
    put(tmp_path / "in", DAT, "trace.dat")
    put(tmp_path / "in", b"junk \0", "core")
    packed = subprocess.run(tool, cwd=tmp_path, capture_output=True, check=True).stdout
    assert events_of(open_trace(put(tmp_path, packed))) == 40


def test_several_recordings_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    members = {"h/host.dat": DAT, "g/guest.dat": recording(6), "notes.txt": b"x\n"}
    path = put(tmp_path, tar(members))
    with pytest.raises(UsageError, match="holds 2 recordings") as caught:
        open_trace(path)
    assert "--member h/host.dat   (trace.dat)" in caught.value.hint
    assert "notes.txt" not in caught.value.hint
    for name in ("g/guest.dat", "guest.dat", "/g/guest.dat"):
        assert events_of(open_trace(path, member=name)) == 6
    with pytest.raises(UsageError, match="no recording 'guest'") as caught:
        open_trace(path, member="guest")
    assert "g/guest.dat" in caught.value.hint


def test_the_command_line_takes_a_member(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, zipped({"a.dat": DAT, "b.dat": recording(4)}))
    assert main(["info", str(path)]) == 2
    assert "--member a.dat" in capsys.readouterr().err
    assert main(["info", str(path), "--member", "b.dat"]) == 0
    assert f"{path.name}: b.dat" in "".join(capsys.readouterr().out.split("\n           "))
    assert main(["info", str(put(tmp_path, DAT, "plain")), "--member", "b.dat"]) == 2
    assert "neither an archive nor a folder" in capsys.readouterr().err


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner = pack(tar({"in/trace.dat": DAT, "in/two.dat": recording(2)}), ["gzip"])
    path = put(tmp_path, zipped({"mail/run.tgz": inner, "mail/text": b"hello"}))
    assert events_of(open_trace(path, member="in/two.dat")) == 2
    assert events_of(open_trace(path, member="mail/run.tgz/in/two.dat")) == 2
    with pytest.raises(UsageError, match=r"run\.tgz holds 2 recordings"):
        open_trace(path)


def test_archives_too_deep(tmp_path: Path) -> None:
    data = DAT
    for _ in range(7):
        data = tar({"t": data})
    with pytest.raises(FormatError, match="more than 6 times"):
        open_trace(put(tmp_path, data))


def test_members_without_a_recording(tmp_path: Path) -> None:
    path = put(tmp_path, tar({"a.png": b"\x89PNG\r\n\x1a\n\0", "b": b"\0" * 100}))
    with pytest.raises(FormatError, match="no recording is in it, only 2 other files"):
        open_trace(path)
    path = put(tmp_path, tar({"a.txt": b"some words\n", "b.txt": b"other words\n"}))
    with pytest.raises(UsageError, match="2 texts, none of which") as caught:
        open_trace(path)
    assert "--member b.txt   (text)" in caught.value.hint


def test_a_text_with_events_wins_over_a_text_without(tmp_path: Path) -> None:
    line = b" qemu-70  [001] d..2.  12.345678: kvm_fpu: load\n"
    path = put(tmp_path, tar({"README": b"about\n", "trace.txt": b"# a\n" + line * 3}))
    trace = open_trace(path)
    assert trace.path.endswith(": trace.txt")
    assert events_of(trace) == 3


# --- names, links, numbers -----------------------------------------------------------------------


def hostile(name: str, kind: bytes = tarfile.REGTYPE, size: int | None = None) -> bytes:
    """A header as no tool writes it, then 1 KiB."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = 1024 if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" * 1024


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "a/../../x", "..", "a/" * 40 + "x"])
def test_names_that_lead_elsewhere_are_left_out(tmp_path: Path, name: str) -> None:
    before = sorted(str(path) for path in tmp_path.parent.rglob("*"))
    path = put(tmp_path, hostile(name) + tar({"t": DAT}))
    trace = open_trace(path)
    assert "left out of the archive" in trace.notes[0]
    assert events_of(trace) == 40
    after = sorted(str(path) for path in tmp_path.parent.rglob("*"))
    assert set(after) - set(before) == {str(path)}


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    bad = b"".join(hostile(f"n{kind.decode()}", kind, 0)[:512] for kind in kinds)
    trace = open_trace(put(tmp_path, bad + tar({"n2/passwd": b"x", "t": DAT}, links=["l"])))
    assert "no regular file" in trace.notes[0]
    assert "and 3 more" in trace.notes[0]
    assert events_of(trace) == 40


def test_a_file_and_a_folder_of_one_name(tmp_path: Path) -> None:
    trace = open_trace(put(tmp_path, hostile("t") + hostile("t/x") + tar({"a": DAT, "a/b": DAT})))
    assert "another member stands where it belongs" in trace.notes[0]
    assert events_of(trace) == 40


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    assert events_of(open_trace(put(tmp_path, hostile("t") + tar({"t": DAT})))) == 40


def test_sparse_and_encrypted_members_say_what_to_do(tmp_path: Path) -> None:
    sparse = hostile("s", tarfile.GNUTYPE_SPARSE)
    trace = open_trace(put(tmp_path, sparse + tar({"t": DAT})))
    assert "without --sparse" in trace.notes[0]
    trace.close()
    out = io.BytesIO(zipped({"secret": DAT, "t": DAT}))
    data = bytearray(out.getvalue())
    data[data.index(b"PK\1\2") + 8] |= 1
    trace = open_trace(put(tmp_path, bytes(data)))
    assert "encrypted" in trace.notes[0]
    trace.close()
    trace = open_trace(put(tmp_path, _mixed()))
    assert "zip -Z deflate" in trace.notes[0]
    trace.close()


def _mixed() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("t", DAT)
        made.writestr("packed", DAT, zipfile.ZIP_LZMA)
    return out.getvalue()


def test_a_name_may_not_be_gigabytes_long(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="a name in the tar archive has 1,073,741,824 bytes"):
        open_trace(put(tmp_path, hostile("n", tarfile.GNUTYPE_LONGNAME, 1 << 30)))


def test_more_members_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
    many = {str(i): b"" for i in range(6)}
    for data in (tar(many), zipped(many)):
        with pytest.raises(FormatError, match=r"more than 5 members|directory has"):
            open_trace(put(tmp_path, data))


def test_a_zip_bomb_of_members_stops(tmp_path: Path) -> None:
    bomb = zipped({str(i): bytes(1 << 20) for i in range(20)})
    with pytest.raises(FormatError, match="unpacks to more than"):
        open_trace(put(tmp_path, bomb), max_unpacked=0.01)


def test_names_with_control_characters_are_shown_escaped(tmp_path: Path) -> None:
    path = put(tmp_path, tar({"a\x1b[31m": DAT, "b\n": DAT}))
    with pytest.raises(UsageError) as caught:
        open_trace(path)
    assert "--member a\\x1b[31m " in caught.value.hint
    assert events_of(open_trace(path, member="a\\x1b[31m")) == 40


# --- broken ones ---------------------------------------------------------------------------------


def test_a_tar_that_breaks_off_is_read_and_damaged(tmp_path: Path) -> None:
    whole = tar({"t": DAT, "u": b"x" * 5000})
    path = put(tmp_path, whole[: 512 + len(DAT) + 900])
    trace = open_trace(path)
    assert events_of(trace) == 40
    loss = trace.losses[-1]
    assert (loss.severity, loss.placed, loss.after_ns) == ("damaged", True, trace.last_ns)
    assert "the tar archive breaks off" in loss.where
    assert any("breaks off" in note for note in trace.notes)


def test_a_packed_tar_without_its_checksum_is_damaged(tmp_path: Path) -> None:
    """Everything in it is there, and nothing proves it."""
    trace = open_trace(put(tmp_path, gzip.compress(tar({"t": DAT}))[:-4]))
    assert events_of(trace) == 40
    assert trace.losses[-1].severity == "damaged"
    assert any("the gzip data breaks off" in note for note in trace.notes)


def test_a_tar_that_breaks_off_inside_the_recording(tmp_path: Path) -> None:
    big = recording(4000, 6)
    trace = open_trace(put(tmp_path, tar({"t": big})[: len(big) - 5000]))
    assert 0 < events_of(trace) < 4000
    assert any("breaks off inside 't'" in loss.where for loss in trace.losses)


def test_what_cannot_be_read_because_its_archive_breaks_off_says_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        open_trace(put(tmp_path, tar({"t": DAT})[:3000]))
    assert "breaks off inside 't'" in caught.value.hint


def test_a_text_that_breaks_off_ends_with_a_whole_line(tmp_path: Path) -> None:
    lines = b"".join(b" qemu-70  [001] d..2.  12.%06d: kvm_fpu: load\n" % i for i in range(99))
    for data in (tar({"t": lines})[: 512 + 1000], pack(tar({"t": lines})[: 512 + 1000], ["xz"])):
        trace = open_trace(put(tmp_path, data))
        assert events_of(trace) == lines[:1000].count(b"\n")
        assert any(loss.severity == "damaged" for loss in trace.losses)


def test_a_damaged_header_ends_a_tar(tmp_path: Path) -> None:
    data = bytearray(tar({"t": DAT, "u": b"x"}))
    at = data.index(b"u\0\0\0", 1024)
    data[at + 100] ^= 1
    trace = open_trace(put(tmp_path, bytes(data)))
    assert events_of(trace) == 40
    assert f"damaged at its byte {at:,}" in trace.losses[-1].where


def test_a_zip_without_its_end_or_with_other_bytes(tmp_path: Path) -> None:
    data = zipped({"t": DAT})
    with pytest.raises(FormatError, match="its directory, at the end, is missing"):
        open_trace(put(tmp_path, data[:-30]))
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0x55
    with pytest.raises(FormatError, match="the zip archive is damaged"):
        open_trace(put(tmp_path, bytes(flipped)))


@settings(deadline=None)
@given(
    data=st.binary(max_size=3000),
    wraps=st.lists(
        st.sampled_from(["tar", "zip", "gzip", "xz", "zstd", "bzip2", "lz4"]), max_size=4
    ),
    cut=st.integers(0, 1 << 20),
    flip=st.integers(0, 1 << 20),
)
def test_anything_in_anything_is_a_trace_or_a_typed_error(
    data: bytes, wraps: list[str], cut: int, flip: int
) -> None:
    for wrap in wraps:
        if wrap == "tar":
            data = tar({"a": b"junk\0", "t": data})
        elif wrap == "zip":
            data = zipped({"a": b"junk\0", "t": data})
        else:
            data = pack(data, [wrap])
    whole = bytearray(data[: max(1, len(data) - cut % (len(data) + 1))] or b"x")
    if flip % 3 == 0:
        whole[flip % len(whole)] ^= 1 << flip % 8
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = put(Path(folder), bytes(whole))
        try:
            with open_trace(path) as trace:
                for _ in trace.blocks():
                    pass
        except (TraceError, UsageError):
            pass


@settings(deadline=None)
@given(st.binary(max_size=2000), st.sampled_from(["tar", "zip"]))
def test_extracting_any_bytes(data: bytes, name: str) -> None:
    kind = next(one for one in archive.ARCHIVES if one.name == name)
    seed = tar({"t": b"x"}) if name == "tar" else zipped({"t": b"x"})
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, tempfile.TemporaryFile() as file:
        whole = seed[: len(seed) // 2] + data
        file.write(whole)
        file.flush()
        budget = Budget("x", len(whole))
        try:
            extract(kind, Window(iter([whole])), file.fileno(), folder, budget)
        except FormatError:
            return
        extracted = [os.path.join(folder, name) for name, _ in walk(folder, 1000)]
        assert all(os.path.realpath(path).startswith(folder) for path in extracted)


def test_a_plain_file_is_no_archive() -> None:
    assert archive_of(b"") is None
    assert archive_of(DAT[:4096]) is None
    assert archive_of(bytes(4096)) is None
    assert archive_of(b"PK\3\4") is not None


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_with_one_recording(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "deep"
    folder.mkdir(parents=True)
    path = put(folder, pack(DAT, ["zstd"]), "any name")
    put(folder, b"readme\n", "README")
    (folder / "loop").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    trace = open_trace(tmp_path / "run")
    assert trace.path == str(path)
    assert events_of(trace) == 40


def test_a_folder_with_several_recordings(tmp_path: Path) -> None:
    for name in ("a.dat", "b.dat"):
        put(tmp_path, DAT, name)
    with pytest.raises(UsageError, match="holds 2 recordings"):
        open_trace(tmp_path)
    trace = open_trace(tmp_path, member="b.dat")
    assert trace.path == str(tmp_path / "b.dat")
    trace.close()


def test_walking_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a/x", "b/y", "b/c/z"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    steps = walk(str(root), 100)
    found = [next(steps)]
    while True:
        try:
            found.append(steps.send(found[-1][0] == "b"))
        except StopIteration:
            break
    assert found == [("a", True), ("b", True), ("a/x", False)]
    assert len(list(walk(str(root), 3))) == 3
