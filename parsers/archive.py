"""Archives: tar and zip, written out as plain files so that they can be searched like a folder.

The headers are read here rather than by ``tarfile``, which gives as much memory to a long name as
the archive asks for and stops at the first damage.  An archive comes from a stranger: only regular
files are written, under names without ``..`` in a new folder; links and devices are left out, and
sizes and numbers are counted.  Facts: POSIX pax(1), "ustar Interchange Format" and "pax Extended
Header"; GNU tar's manual, "Basic Tar Format"; PKWARE's APPNOTE.TXT.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from fputrace.errors import FormatError
from fputrace.parsers.unpack import Budget, Window
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    import zipfile

MOST_MEMBERS = 200_000
"""Files of an archive; tracefs with all events of a distribution's kernel has 20,000."""

MOST_DEPTH = 32
"""Folders inside each other."""

_BLOCK = 512
_PADDING = 1 << 20  # bytes looked through behind a tar's end
_LONG_NAME = 1 << 16  # bytes of a GNU long name or a pax header
_DIRECTORY = 1 << 24  # bytes of a zip's directory
_END_BYTES = 66_000  # of a zip that may hold the end of its directory
_PIECE = 1 << 18
_ZIP_ERRORS = (  # and zipfile.BadZipFile
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
    MemoryError,
    LookupError,
)


class Archive(PlainTuple):
    """A form of archive: its name, how to know it, and whether it needs seeking."""

    name: str
    sniff: Callable[[bytes], bool]
    seeks: bool


def _number(text: bytes) -> int:
    """A number of a tar header, octal or (GNU) base 256; -1 when it is none."""
    if text[:1] == b"\x80":
        return int.from_bytes(text[1:], "big")
    text = text.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        return -1


def _is_tar(head: bytes) -> bool:
    header = head[:_BLOCK]
    if len(header) < _BLOCK or not header[0]:
        return False
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return _number(header[148:156]) == total


def _is_zip(head: bytes) -> bool:
    return head.startswith((b"PK\3\4", b"PK\5\6"))


ARCHIVES = (Archive("tar", _is_tar, seeks=False), Archive("zip", _is_zip, seeks=True))


def archive_of(head: bytes) -> Archive | None:
    """The archive that begins so; None for anything else."""
    return next((one for one in ARCHIVES if one.sniff(head)), None)


class Extraction:
    """Writes members below `folder`; what it leaves out is counted."""

    def __init__(self, folder: str, budget: Budget) -> None:
        self._folder = folder
        self._budget = budget
        self.members = 0
        self.left_out: list[str] = []

    def leave_out(self, name: str, why: str) -> None:
        """A member that is not written, and why."""
        self.left_out.append(f"{name[:200]!r} ({why})")

    def count(self) -> None:
        """One more member of any kind; FormatError when there are too many."""
        self.members += 1
        if self.members > MOST_MEMBERS:
            raise FormatError(
                f"the archive has more than {MOST_MEMBERS:,} members",
                path=self._budget.path,
                hint="Unpack the recording and give it alone.",
            )

    def write(self, name: str, pieces: Iterator[bytes]) -> None:
        """Write a regular file; of two of one name the later counts, as in tar(1)."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\0" in name or not parts:
            self.leave_out(name, "its name leads out of the archive")
            return
        if len(parts) > MOST_DEPTH or any(len(os.fsencode(part)) > 255 for part in parts):
            self.leave_out(name, "its name is too long")
            return
        place = os.path.join(self._folder, *parts)
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if os.path.lexists(place):
                os.unlink(place)
        except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError):
            self.leave_out(name, "another member stands where it belongs")
            return
        with open(place, "xb") as stream:
            for piece in pieces:
                stream.write(piece)

    def finish(self) -> None:
        """Say what was left out."""
        if self.left_out:
            more = f" and {len(self.left_out) - 3:,} more" if len(self.left_out) > 3 else ""
            self._budget.notes.append(
                f"left out of the archive: {', '.join(self.left_out[:3])}{more}"
            )


def extract(kind: Archive, stream: Window, fd: int, folder: str, budget: Budget) -> None:
    """Write the members of an archive below `folder`: of `stream` (tar) or of `fd` (zip).

    Raises FormatError for too many members, too much data, or damage that leaves nothing to read;
    an archive that breaks off is told in ``budget.damage``.
    """
    extraction = Extraction(folder, budget)
    if kind.name == "tar":
        _tar(stream, extraction, budget)
    else:
        _zip(fd, extraction, budget)
    extraction.finish()


# tar


def _tar(stream: Window, extraction: Extraction, budget: Budget) -> None:
    told: dict[str, bytes] = {}  # what extended headers say of the next member
    while True:
        at = stream.at
        header = stream.exactly(_BLOCK)
        if header and not header.strip(b"\0"):
            # Padding up to a whole record of tar(1), and behind it a compression's checksum.
            _skip(stream, _PADDING)
            return
        if len(header) < _BLOCK:
            budget.damage.append(f"the tar archive breaks off at its byte {stream.at:,}")
            return
        size = _number(header[124:136])
        if not _is_tar(header) or size < 0:
            budget.damage.append(f"the tar archive is damaged at its byte {at:,}")
            return
        kind = header[156:157]
        if kind in b"gxLK":
            if size > _LONG_NAME:
                raise FormatError(
                    f"a name in the tar archive has {size:,} bytes",
                    path=budget.path,
                    hint="Unpack the recording and give it alone.",
                )
            text = stream.exactly(size)
            _skip(stream, -size % _BLOCK)
            if kind == b"x":
                told.update(_pax(text))
            elif kind == b"L":
                told["path"] = text.rstrip(b"\0")
            continue
        extraction.count()
        name = told.get("path") or _name(header)
        size = int(told["size"]) if told.get("size", b"").isdigit() else size
        sparse = kind == b"S" or any(key.startswith("GNU.sparse.") for key in told)
        told = {}
        end = stream.at + size
        if kind in b"\x0007S" and not name.endswith(b"/"):
            if sparse:
                extraction.leave_out(os.fsdecode(name), "sparse: pack it without --sparse")
            else:
                extraction.write(os.fsdecode(name), stream.pieces(size))
        elif kind in b"123456" or name.endswith(b"/"):
            # Links, devices, folders and pipes have no data (POSIX: size is ignored for them).
            if kind in b"12346":
                extraction.leave_out(os.fsdecode(name), "no regular file")
            continue
        _skip(stream, end - stream.at)
        if stream.at < end:
            shown = os.fsdecode(name)
            budget.damage.append(f"the tar archive breaks off inside {shown!r}")
            return
        _skip(stream, -size % _BLOCK)


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _pax(text: bytes) -> dict[str, bytes]:
    """``LENGTH KEY=VALUE`` records; what follows a wrong one is left out."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(text):
        digits = text[at : at + 8].split(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = text[at + len(digits) + 1 : at + length].partition(b"=")
        if not equals or length <= len(digits):
            break
        found[key.decode("utf-8", "replace")] = value.removesuffix(b"\n")
        at += length
    return found


def _skip(stream: Window, size: int) -> None:
    for _ in stream.pieces(max(0, size)):
        pass


# zip


def _zip(fd: int, extraction: Extraction, budget: Budget) -> None:
    import zipfile

    try:
        with os.fdopen(os.dup(fd), "rb") as stream:
            _check_directory(stream.fileno(), budget)
            with zipfile.ZipFile(stream) as archive:
                for info in archive.infolist():
                    extraction.count()
                    _zip_member(archive, info, extraction, budget)
    except (zipfile.BadZipFile, *_ZIP_ERRORS) as error:
        raise FormatError(
            f"the zip archive is damaged: {error}",
            path=budget.path,
            hint="zip -T FILE tests it; copy it again from where it was made.",
        ) from error


def _zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, extraction: Extraction, budget: Budget
) -> None:
    import zipfile

    kind = info.external_attr >> 28
    if info.is_dir():
        return
    if kind not in (0, 0o10):  # S_IFREG >> 12; 0 where the packer knew no Unix modes
        extraction.leave_out(info.filename, "no regular file")
    elif info.flag_bits & 1:
        extraction.leave_out(info.filename, "encrypted: unzip it first")
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile gives the others as much memory as they ask for.
        extraction.leave_out(info.filename, "pack it with zip -Z deflate")
    else:
        extraction.write(info.filename, _zip_pieces(archive, info, budget))


def _zip_pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Iterator[bytes]:
    with archive.open(info) as member:
        while piece := member.read(_PIECE):
            budget.add(len(piece))
            yield piece


def _check_directory(fd: int, budget: Budget) -> None:
    """The directory is at the end and read as a whole: its size is checked before that."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, _END_BYTES, max(0, size - _END_BYTES))
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < 22:
        raise FormatError(
            "the zip archive is cut off: its directory, at the end, is missing",
            path=budget.path,
            offset=size,
            hint="Copy it again from where it was made, or try: zip -FF FILE --out REPAIRED.zip",
        )
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    big = tail.rfind(b"PK\6\6")
    if big >= 0 and len(tail) - big >= 56:
        length = max(length % 0xFFFFFFFF, int.from_bytes(tail[big + 40 : big + 48], "little"))
    entries = int.from_bytes(tail[at + 10 : at + 12], "little")
    if length > _DIRECTORY or entries > MOST_MEMBERS:
        raise FormatError(
            f"the zip archive's directory has {length:,} bytes; {_DIRECTORY:,} are read at most",
            path=budget.path,
            hint="Unpack the recording and give it alone.",
        )


# Folders


def walk(root: str, most: int) -> Generator[tuple[str, bool], bool | None]:
    """(path below `root`, whether it is a folder) in order of names; links are not followed.

    Send True to have the folder just given left out.  Ends after `most` entries.
    """
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(os.path.join(root, inside)) as entries:
                here = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        folders: list[str] = []
        for entry in here:
            path = os.path.join(inside, entry.name)
            most -= 1
            if most < 0:
                return
            if entry.is_dir(follow_symlinks=False):
                if path.count("/") < MOST_DEPTH and not (yield path, True):
                    folders.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield path, False
        waiting += reversed(folders)
