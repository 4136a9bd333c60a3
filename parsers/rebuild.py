"""Recordings that hold ring-buffer pages, or can be put into them, in the form of a trace.dat.

What is not a trace.dat but knows the same things (formats, names of tasks, each CPU's data) is
described as a :class:`~fputrace.parsers.container.Container`; the one reader of pages does the
rest.  The data stands in a temporary file without a name, so that it is read once from where it
came from, whatever that is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fputrace.errors import ReadError
from fputrace.events import EventFormat, Trace
from fputrace.parsers.container import CPUSTAT, UNAME, Buffer, Container, CpuData, Option
from fputrace.parsers.passes import blocks_of
from fputrace.parsers.source import Source
from fputrace.parsers.tracedat import trace_of

_PAGE_BYTES = 4096
_PIECE = 1 << 20


@dataclass
class Parts:
    """What a recording holds, as far as it knows; see the members of ``Container``.

    ``format`` and ``path`` are what the trace shall call itself; ``page_size`` is 0 where only
    ``header_page`` says it; ``stats`` is each CPU's ``per_cpu/cpuN/stats``; ``instances`` are the
    names of all buffers but the top one.  ``kernel`` and ``host`` are "" when unknown, ``clock``
    is a name or the text of ``trace_clock``.
    """

    path: str
    format: str
    forms: list[EventFormat]
    cpus: list[CpuData]
    header_page: bytes = b""
    page_size: int = 0
    cmdlines: bytes = b""
    kernel: str = ""
    host: str = ""
    clock: str = ""
    stats: dict[int, bytes] = field(default_factory=dict)
    kallsyms: Callable[[], Iterator[bytes]] = lambda: iter(())
    instance: str = ""
    instances: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def open_parts(parts: Parts, source: Source) -> Trace:
    """The trace whose pages `source` holds; it belongs to the trace from now on.

    Pages are little-endian, as on every machine that has x86_fpu events.  Raises FormatError when
    there is less than a page of data.
    """
    container = Container(
        source,
        version=6,
        big=False,
        long_size=8,
        page_size=_PAGE_BYTES,
        header_page=parts.header_page,
        kallsyms=parts.kallsyms,
        cmdlines=parts.cmdlines,
        notes=parts.notes,
    )
    if parts.kernel:
        told = f"Linux {parts.host or '(none)'} {parts.kernel}"
        container.options.append(Option(UNAME, told.encode("utf-8", "replace"), 0))
    for cpu, text in parts.stats.items():
        container.options.append(Option(CPUSTAT, b"CPU: %d\n" % cpu + text, 0))
    # CPUSTAT options stand for the top buffer unless a heading says otherwise, so here the
    # buffer that is read is the top one.
    buffer = Buffer("", parts.cpus, parts.clock, parts.page_size)
    container.buffers.append(buffer)
    try:
        trace, plan = trace_of(container, buffer, parts.forms)
    except BaseException:
        source.close()
        raise
    trace.format = parts.format
    trace.instances = list(parts.instances)
    trace._blocks = blocks_of(plan)
    trace._close = source.close
    return trace


def spooled(pieces: Iterable[bytes], path: str) -> int:
    """A descriptor of a temporary file without a name that holds the pieces.

    Raises ReadError when it cannot be written; `path` is whose data it is.
    """
    try:
        with tempfile.TemporaryFile() as spool:
            for piece in pieces:
                spool.write(piece)
            spool.flush()
            return os.dup(spool.fileno())
    except OSError as error:
        raise ReadError(f"cannot be copied to a temporary file: {error}", path=path) from error


def pieces_of(fd: int, path: str) -> Iterator[bytes]:
    """What can be read from a descriptor, to its end.  Raises ReadError when the system refuses."""
    while True:
        try:
            piece = os.read(fd, _PIECE)
        except OSError as error:
            raise ReadError(f"cannot be read: {error}", path=path) from error
        if not piece:
            return
        yield piece
