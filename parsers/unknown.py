"""What people also give: content that is no recording, and what to do instead.

A row says what the content is and what to do; the first that fits counts.
"""

from __future__ import annotations

import re

from fputrace.errors import FormatError
from fputrace.parsers import FORMATS
from fputrace.plain import PlainTuple

_RECORD = "Record with trace-cmd record or perf record; fputrace analyze --help shows how."
_CRASH = (
    "Take the ring buffer out of it with crash(8) and its trace extension: "
    "extend trace.so; trace dump -t trace.dat"
)
_PERF = "Give the perf.data it was made from."


class Other(PlainTuple):
    """Content that is no recording: how it begins, what it is, what to do."""

    begins: re.Pattern[bytes]
    what: str
    hint: str


def _other(begins: bytes, what: str, hint: str) -> Other:
    return Other(re.compile(begins, re.DOTALL), what, hint)


OTHERS: tuple[Other, ...] = (
    _other(rb"\0{512}", "nothing but zeros: an empty tar archive, or a file that its system never"
           " wrote out (a crash, a full disk)", "tar -tf FILE lists what an archive has. Record, or"
           " pack, again."),
    _other(rb"\x7fELF.{12}(\x04\0|\0\x04)", "an ELF core (vmcore)", _CRASH),
    _other(rb"\x7fELF", "an ELF program or module", _RECORD),
    _other(rb"KDUMP   |DISKDUMP|makedumpfile", "a kdump-compressed vmcore", _CRASH),
    _other(rb"\x02\x21\x4c\x18", "lz4 data of the legacy form", "lz4 -d FILE, then give that."),
    _other(rb"\x1f\x9d", "data packed by compress", "gzip -d FILE, then give that."),
    _other(rb"\x5d\0\0.{2}", "lzma data", "xz -d FILE, then give that."),
    _other(rb"LZIP", "lzip data", "lzip -d FILE, then give that."),
    _other(rb"\x89LZO\0", "lzop data", "lzop -d FILE, then give that."),
    _other(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x FILE, then give the recording."),
    _other(rb"Rar!\x1a\x07", "a rar archive", "Unpack it, then give the recording."),
    _other(rb"07070[127]|\xc7\x71", "a cpio archive", "cpio -id < FILE, then give the recording."),
    _other(rb"!<arch>\n", "a Debian package or library", _RECORD),
    _other(rb"(\xd4\xc3\xb2\xa1|\xa1\xb2[\xc3\x3c][\xd4\x4d]|\x0a\x0d\x0d\x0a)", "a network capture"
           " (pcap)", _RECORD),
    _other(rb"\xc1\x1f\xfc\xc1|\xc1\xfc\x1f\xc1", "a stream of a CTF trace (LTTng)", _RECORD),
    _other(rb"\x75\xd1\x1d\x57|\x57\x1d\xd1\x75|/\* CTF ", "the metadata of a CTF trace (LTTng, or"
           " perf data convert)", f"{_RECORD} Of perf data convert --to-ctf: the perf.data."),
    _other(rb"SQLite format 3\0", "an SQLite database", _PERF),
    _other(rb"PAR1", "one table of a converted recording", "Give the folder it is in."),
    _other(rb"(\x89PNG|\xff\xd8\xff|GIF8|%PDF)", "a picture or document", _RECORD),
    _other(rb"\xff\xfe|\xfe\xff", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE > trace.txt"),
    _other(rb"(?i:[A-Z][A-Z-]{1,40}: |From )(?:(?!\n(?i:Content-Transfer-Encoding):)[^\0])*"
           rb"\n(?i:Content-Transfer-Encoding: *(base64|quoted-printable))", "a mail whose text is"
           " encoded", "Save its attachment, or its text as your mail program shows it, and give"
           " that."),
    _other(rb"version https://git-lfs", "a Git LFS pointer, not the file", "git lfs pull"),
    _other(rb"\{\"(ts|format|comms|loss|end)\":", "JSON lines of fputrace convert without their"
           " first line", "Keep that line when you filter, or give the whole file."),
    _other(rb"\s*\{\s*\"linux-perf-json-version\"", "JSON of perf data convert", _PERF),
    _other(rb"\s*\{\s*\"schema_version\":", "a report of fputrace", "Give the recording itself."),
    _other(rb"\s*(\{\s*\"|\[\s*[\"{])(?!.*([tT]race|\"ph\"))", "JSON that is no"
           " recording", _RECORD),
    _other(rb"\s*<(!doctype html|html)(?!.*trace)|\s*<(!DOCTYPE html|HTML|html)(?!.*[tT]race)",
           "a web page without a trace (a login page?)", "Download the file itself again."),
)  # fmt: skip


def refuse_other(head: bytes, path: str) -> None:
    """Raise FormatError when content that begins so is known to be something else."""
    for other in OTHERS:
        if other.begins.match(head):
            names = ", ".join(known.name for known in FORMATS)
            raise FormatError(
                f"this is {other.what}; known: {names}", path=path, offset=0, hint=other.hint
            )


def refuse(head: bytes, path: str) -> FormatError:
    """The error for content that nothing knows."""
    names = ", ".join(known.name for known in FORMATS)
    return FormatError(
        f"expected one of: {names}, or an archive of one; found {head[:10]!r}",
        path=path,
        offset=0,
        hint="Is it the file that trace-cmd record or perf record wrote? --format-in NAME forces.",
    )
