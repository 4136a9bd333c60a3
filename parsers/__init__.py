"""Formats of recordings.  A format is one row of :data:`FORMATS` and one file.

What a file is is found from its content, never from its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from fputrace.errors import UsageError
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from fputrace.events import Trace

TRACE_CLOCKS = (
    "local",
    "global",
    "counter",
    "uptime",
    "perf",
    "mono",
    "mono_raw",
    "boot",
    "tai",
    "x86-tsc",
    "tsc2nsec",
)
"""Names that a recording's clock can have (Documentation/trace/ftrace.rst; trace-cmd)."""

HEAD_BYTES = 4096
"""How much of a file a format may look at to know it."""


class Options(PlainTuple):
    """How to open a recording.

    ``instance``: the ring buffer to read, None for the top one; ``reader``: who reads it;
    ``member``: which recording of an archive or a folder; ``clock``: the trace clock, for
    recordings that do not name theirs; ``most``: bytes that it may unpack to, None for the rules
    of :mod:`fputrace.parsers.unpack`.
    """

    instance: str | None = None
    reader: str | None = None
    member: str | None = None
    clock: str | None = None
    most: int | None = None


class Format(PlainTuple):
    """A format: its name, whether a file beginning so is of it, and how to open one.

    ``sure`` is False where other files begin so too: they are asked for before.  ``open`` gets a
    descriptor that belongs to the trace from then on, and the name for messages.
    """

    name: str
    sniff: Callable[[bytes], bool]
    open: Callable[[int, str, Options], Trace]
    sure: bool = True


class Folder(PlainTuple):
    """A recording that is a folder: its name, whether a folder is one, and how to open it.

    ``open`` gets the folder and the name for messages.
    """

    name: str
    sniff: Callable[[str], bool]
    open: Callable[[str, str, Options], Trace]


def _no_choice(path: str, what: str, options: Options) -> None:
    """Raise UsageError for an ftrace instance or a reader where a format has but one of them."""
    if options.instance is not None:
        raise UsageError(
            f"--instance: {path} is {what}, which has no instances", hint="Leave --instance away."
        )
    _no_reader(path, what, options)


def _no_reader(path: str, what: str, options: Options) -> None:
    """Raise UsageError for a reader of trace.dat where there is none: nobody would know."""
    if options.reader is not None:
        raise UsageError(
            f"--reader: {path} is {what}, which {options.reader} does not read",
            hint="Leave --reader away.",
        )


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


def _open_perfdata(fd: int, path: str, options: Options) -> Trace:
    _no_choice(path, "a perf.data", options)
    from fputrace.parsers.perfdata import open_perfdata

    return open_perfdata(fd, path)


def _sniff_pftrace(head: bytes) -> bool:
    if not head.startswith(b"\n"):  # the tag of a packet; spares all others the import
        return False
    from fputrace.parsers.pftrace import sniff

    return sniff(head)


def _open_pftrace(fd: int, path: str, options: Options) -> Trace:
    _no_choice(path, "a Perfetto recording", options)
    from fputrace.parsers.pftrace import open_pftrace

    return open_pftrace(fd, path, options.most)


def _sniff_jsonl(head: bytes) -> bool:
    return head.startswith(b'{"fputrace":')


def _open_jsonl(fd: int, path: str, options: Options) -> Trace:
    _no_choice(path, "a converted recording", options)
    from fputrace.parsers.jsonl import open_jsonl

    return open_jsonl(fd, path)


def _sniff_text(head: bytes) -> bool:
    # Serial logs hold a NUL here and there.
    return head.count(0) * 64 < len(head)


def _open_text(fd: int, path: str, options: Options) -> Trace:
    _no_choice(path, "a text", options)
    from fputrace.parsers.text import open_text

    return open_text(fd, path, clock=options.clock)


def _is_perf_folder(folder: str) -> bool:
    try:
        with open(os.path.join(folder, "data"), "rb") as stream:
            return _sniff_perfdata(stream.read(8))
    except OSError:
        return False


def _open_perf_folder(folder: str, path: str, options: Options) -> Trace:
    _no_choice(path, "a perf.data", options)
    from fputrace.parsers.perfdata import open_perf_folder

    return open_perf_folder(folder, path)


def _is_tracefs(folder: str) -> bool:
    return os.path.isdir(os.path.join(folder, "events"))


def _open_tracefs(folder: str, path: str, options: Options) -> Trace:
    _no_reader(path, "a copy of tracefs", options)
    from fputrace.parsers.tracefs import open_tracefs

    return open_tracefs(folder, path, options.instance)


def _is_parquet(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "metadata.parquet"))


def _open_parquet(folder: str, path: str, options: Options) -> Trace:
    _no_choice(path, "a converted recording", options)
    from fputrace.parsers.parquet import open_parquet

    return open_parquet(folder, path)


FORMATS: tuple[Format, ...] = (
    Format("trace.dat", _sniff_tracedat, _open_tracedat),
    Format("perf.data", _sniff_perfdata, _open_perfdata),
    Format("jsonl", _sniff_jsonl, _open_jsonl),
    Format("pftrace", _sniff_pftrace, _open_pftrace, sure=False),
    # Text last: it is what nothing else claims.
    Format("text", _sniff_text, _open_text, sure=False),
)

FOLDERS: tuple[Folder, ...] = (
    Folder("perf.data", _is_perf_folder, _open_perf_folder),
    Folder("tracefs", _is_tracefs, _open_tracefs),
    Folder("parquet", _is_parquet, _open_parquet),
)


def open_trace(
    path: str | os.PathLike[str],
    *,
    format_in: str | None = None,
    instance: str | None = None,
    reader: str | None = None,
    member: str | None = None,
    clock: str | None = None,
    max_unpacked: float | None = None,
    progress: Callable[[Trace], None] | None = None,
) -> Trace:
    """Open a recording; its events come from ``Trace.blocks()``.

    Parameters
    ----------
    path
        A file, packed or not, an archive or a folder with a recording in it, or ``-`` for
        standard input.
    format_in
        Name of a row of :data:`FORMATS` or :data:`FOLDERS`; None finds it from the content.
    instance
        Ring buffer to read; None is the top one.
    reader
        ``"tracecmd"`` reads through the trace-cmd Python bindings instead.
    member
        Which recording of an archive or a folder that holds several.
    clock
        The trace clock it was recorded with, for a text, which does not name its own.
    max_unpacked
        GiB that a packed recording may have unpacked; None: 256 MiB, beyond that 1000 times the
        size of the input and never more than 32 GiB.
    progress
        Called while a packed file is unpacked, with a Trace that tells how far that is.

    Raises
    ------
    FormatError
        The content is of no known format, breaks off before its events, or unpacks to too much.
    TraceError
        There is no such file, it is empty, or may not be read.
    UsageError
        An option that cannot be, or several recordings in one archive or folder.
    """
    from fputrace.parsers.opening import Asked, open_path

    if reader not in (None, "tracecmd"):
        raise UsageError(f"there is no reader {reader!r}", hint="The other reader is tracecmd.")
    formats = list(
        dict.fromkeys([known.name for known in FORMATS] + [known.name for known in FOLDERS])
    )
    if format_in is not None and format_in not in formats:
        raise UsageError(
            f"--format-in: there is no format {format_in!r}", hint=f"Formats: {', '.join(formats)}."
        )
    if clock is not None and clock not in TRACE_CLOCKS:
        raise UsageError(
            f"--clock: there is no trace clock {clock!r}",
            hint=f"Clocks: {', '.join(TRACE_CLOCKS)}.",
        )
    if max_unpacked is not None and not 0 < max_unpacked < 1 << 20:
        raise UsageError(
            f"max_unpacked: {max_unpacked!r} is no number of GiB", hint="Above 0: 64 is such a one."
        )
    most = None if max_unpacked is None else int(max_unpacked * (1 << 30))
    options = Options(instance, reader, member, clock, most)
    trace = open_path(os.fspath(path), Asked(options, format_in, progress))
    if clock is not None and trace.clock != clock:
        named = trace.clock or "no clock that could be another"
        trace.close()
        raise UsageError(
            f"{trace.path}: the recording itself names {named}, not {clock}",
            hint="A clock can be told for a text only.",
        )
    return trace
