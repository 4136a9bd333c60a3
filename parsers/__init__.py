"""Formats of recordings.  A format is one row of :data:`FORMATS` and one file.

What a file is is found from its content, never from its name.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fputrace.errors import FormatError, ReadError, TraceError, UsageError

if TYPE_CHECKING:
    from fputrace.events import Trace

HEAD_BYTES = 4096
"""How much of a file a format may look at to know it."""


@dataclass(frozen=True)
class Options:
    """How to open a recording.

    ``instance``: the ring buffer to read, None for the top one; ``reader``: who reads it;
    ``member``: which recording of an archive or a folder.
    """

    instance: str | None = None
    reader: str | None = None
    member: str | None = None


@dataclass(frozen=True)
class Format:
    """A format: its name, whether a file beginning so is of it, and how to open one.

    ``open`` gets a descriptor that belongs to the trace from then on, and the name for messages.
    """

    name: str
    sniff: Callable[[bytes], bool]
    open: Callable[[int, str, Options], Trace]


@dataclass(frozen=True)
class Folder:
    """A recording that is a folder: its name, whether a folder is one, and how to open it.

    ``open`` gets the folder and the name for messages.
    """

    name: str
    sniff: Callable[[str], bool]
    open: Callable[[str, str, Options], Trace]


def _sniff_tracedat(head: bytes) -> bool:
    return head.startswith(b"\x17\x08\x44tracing")


def _open_tracedat(fd: int, path: str, options: Options) -> Trace:
    if options.reader == "tracecmd":
        from fputrace.parsers.tracecmd import open_tracedat
    else:
        from fputrace.parsers.tracedat import open_tracedat

    return open_tracedat(fd, path, instance=options.instance)


def _sniff_perfdata(head: bytes) -> bool:
    return head.startswith((b"PERFILE2", b"2ELIFREP"))


def _open_perfdata(fd: int, path: str, _options: Options) -> Trace:
    from fputrace.parsers.perfdata import open_perfdata

    return open_perfdata(fd, path)


def _sniff_pftrace(head: bytes) -> bool:
    from fputrace.parsers.pftrace import sniff

    return sniff(head)


def _open_pftrace(fd: int, path: str, _options: Options) -> Trace:
    from fputrace.parsers.pftrace import open_pftrace

    return open_pftrace(fd, path)


def _sniff_jsonl(head: bytes) -> bool:
    return head.startswith(b'{"fputrace":')


def _open_jsonl(fd: int, path: str, _options: Options) -> Trace:
    from fputrace.parsers.jsonl import open_jsonl

    return open_jsonl(fd, path)


def _sniff_text(head: bytes) -> bool:
    return b"\0" not in head


def _open_text(fd: int, path: str, _options: Options) -> Trace:
    from fputrace.parsers.text import open_text

    return open_text(fd, path)


def _is_perf_folder(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "data")) and not os.path.isdir(
        os.path.join(folder, "events")
    )


def _open_perf_folder(folder: str, path: str, _options: Options) -> Trace:
    from fputrace.parsers.perfdata import open_perf_folder

    return open_perf_folder(folder, path)


def _is_tracefs(folder: str) -> bool:
    return os.path.isdir(os.path.join(folder, "events"))


def _open_tracefs(folder: str, path: str, options: Options) -> Trace:
    from fputrace.parsers.tracefs import open_tracefs

    return open_tracefs(folder, path, options.instance)


def _is_parquet(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "metadata.parquet"))


def _open_parquet(folder: str, path: str, _options: Options) -> Trace:
    from fputrace.parsers.parquet import open_parquet

    return open_parquet(folder, path)


FORMATS: tuple[Format, ...] = (
    Format("trace.dat", _sniff_tracedat, _open_tracedat),
    Format("perf.data", _sniff_perfdata, _open_perfdata),
    Format("jsonl", _sniff_jsonl, _open_jsonl),
    Format("pftrace", _sniff_pftrace, _open_pftrace),
    # Text last: it is what nothing else claims.
    Format("text", _sniff_text, _open_text),
)

FOLDERS: tuple[Folder, ...] = (
    Folder("perf.data", _is_perf_folder, _open_perf_folder),
    Folder("tracefs", _is_tracefs, _open_tracefs),
    Folder("parquet", _is_parquet, _open_parquet),
)

_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "gzip-compressed data", "Decompress it first: gzip -d FILE"),
    (b"\xfd7zXZ\0", "xz-compressed data", "Decompress it first: xz -d FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data", "Decompress it first: zstd -d FILE"),
    (b"BZh", "bzip2-compressed data", "Decompress it first: bzip2 -d FILE"),
    (
        b"PERFILE2",
        "perf.data",
        "This version reads trace.dat: record with trace-cmd record -e x86_fpu -e kvm -e sched.",
    ),
    (
        b"2ELIFREP",
        "perf.data of another byte order",
        "This version reads trace.dat: record with trace-cmd record -e x86_fpu -e kvm -e sched.",
    ),
)


def open_trace(
    path: str | os.PathLike[str],
    *,
    format_in: str | None = None,
    instance: str | None = None,
    reader: str | None = None,
) -> Trace:
    """Open a recording; its events come from ``Trace.blocks()``.

    Parameters
    ----------
    path
        A file, or ``-`` for standard input.
    format_in
        Name of a row of :data:`FORMATS`; None finds it from the content.
    instance
        Ring buffer to read; None is the top one.
    reader
        ``"tracecmd"`` reads through the trace-cmd Python bindings instead.

    Raises
    ------
    FormatError
        The content is of no known format, or breaks off before its events.
    TraceError
        There is no such file, it is empty, or may not be read.
    UsageError
        An option that cannot be.
    """
    name = os.fspath(path)
    formats = {known.name: known for known in FORMATS}
    if reader not in (None, "tracecmd"):
        raise UsageError(f"there is no reader {reader!r}", hint="The other reader is tracecmd.")
    if format_in is not None and format_in not in formats:
        raise UsageError(
            f"there is no format {format_in!r}", hint=f"Formats: {', '.join(formats)}."
        )
    fd = _open_stdin() if name == "-" else _open_file(name)
    shown = "standard input" if name == "-" else name
    try:
        head = os.pread(fd, HEAD_BYTES, 0)
        if not head:
            raise TraceError(
                "the file is empty",
                path=shown,
                hint="trace-cmd record writes when it ends: was it killed before?",
            )
        chosen = formats[format_in] if format_in else _find(head, shown)
    except BaseException:
        os.close(fd)
        raise
    return chosen.open(fd, shown, Options(instance, reader))


def _find(head: bytes, path: str) -> Format:
    for known in FORMATS:
        if known.sniff(head):
            return known
    names = ", ".join(known.name for known in FORMATS)
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            raise FormatError(f"this is {what}; known: {names}", path=path, offset=0, hint=hint)
    what, hint = f"{head[:10]!r}", "Is it the file that trace-cmd record wrote?"
    if b"\0" not in head:
        what = f"text ({head[:24]!r})"
        hint = "This version reads trace.dat: give the file that trace-cmd record wrote."
    raise FormatError(
        f"expected the magic of one of: {names}; found {what}", path=path, offset=0, hint=hint
    )


def _open_file(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ENOENT:
            raise TraceError("there is no such file", path=path, hint=_hint_near(path)) from error
        if number == errno.EACCES:
            hint = "trace-cmd writes as root: sudo chown $USER FILE, or read it as root."
            raise TraceError("it may not be read", path=path, hint=hint) from error
        raise TraceError(f"cannot be opened: {error}", path=path) from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise TraceError(
            "this is a directory", path=path, hint=f"Name the file: {path.rstrip('/')}/trace.dat"
        )
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return _spool(fd, path)
    return fd


def _hint_near(path: str) -> str:
    """Recordings that lie where the missing one was looked for."""
    folder = os.path.dirname(path) or "."
    try:
        near = sorted(name for name in os.listdir(folder) if name.endswith(".dat"))[:5]
    except OSError:
        return "The directory is missing too."
    return f"There is: {', '.join(near)}" if near else "There is no .dat file in that directory."


def _open_stdin() -> int:
    try:
        fd = os.dup(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError) as error:
        raise TraceError(f"cannot be read: {error}", path="standard input") from error
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    return _spool(fd, "standard input")


def _spool(fd: int, path: str) -> int:
    """Copy what cannot be read by offset to a file without a name; `fd` is closed.

    Raises FormatError after the first bytes when they begin no known format.
    """
    try:
        with os.fdopen(fd, "rb") as stream, tempfile.TemporaryFile() as spool:
            # What is no recording is not copied first: the stream may never end.
            head = stream.read(HEAD_BYTES)
            if head:
                _find(head, path)
            spool.write(head)
            while piece := stream.read(1 << 20):
                spool.write(piece)
            spool.flush()
            return os.dup(spool.fileno())
    except OSError as error:
        raise ReadError(f"cannot be copied to a temporary file: {error}", path=path) from error
