"""Recordings that hold ring-buffer pages, or can be put into them, in the form of a trace.dat.

What is not a trace.dat but knows the same things (formats, names of tasks, each CPU's data) is
described as a :class:`~fputrace.parsers.container.Container`; the one reader of pages does the
rest.  The data stands in a temporary file without a name, so that it is read once from where it
came from, whatever that is.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from fputrace.errors import FormatError, ReadError
from fputrace.events import EventBlock, EventFormat, Loss, Trace
from fputrace.parsers.container import CPUSTAT, UNAME, Buffer, Container, CpuData, Option
from fputrace.parsers.pages import PagePacker
from fputrace.parsers.passes import blocks_of
from fputrace.parsers.source import Source
from fputrace.parsers.tracedat import trace_of
from fputrace.plain import plain

_PAGE_BYTES = 4096
_PIECE = 1 << 20

LARGEST_RECORD = 3072
"""Bytes of the largest record that is put into a page."""


@plain
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


def add_after_passes(
    trace: Trace,
    *,
    losses: Sequence[Loss] = (),
    notes: Sequence[str] = (),
    comms: Mapping[int, str] | None = None,
) -> None:
    """Add to what every pass finds: losses, notes, and names of tasks that it does not name.

    A loss that is ``damaged`` and has no time is what is missing at the end of the file.
    """
    inner = trace._blocks
    assert inner is not None
    read = inner

    def blocks(trace: Trace) -> Iterator[EventBlock]:
        yield from read(trace)
        for loss in losses:
            at_end = loss.severity == "damaged" and loss.after_ns is None
            trace.losses.append(loss._replace(after_ns=trace.last_ns) if at_end else loss)
        trace.notes += notes
        for pid, comm in (comms or {}).items():
            trace.comms.setdefault(pid, comm)

    trace.notes += notes
    trace._blocks = blocks


class Spool:
    """A temporary file without a name, written page by page.

    ``allowed`` is how many bytes it may have; whoever writes knows how many make sense.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pages = 0
        self.allowed = 0
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by finish() or close()
        except OSError as error:
            raise self._failed(error) from error

    def add(self, page: bytes) -> int:
        """Write a page; its number.  Raises FormatError beyond what is allowed, or ReadError."""
        if (self.pages + 1) * _PAGE_BYTES > self.allowed:
            raise FormatError(
                f"its events need more than {self.allowed:,} bytes in a temporary file: it may be "
                "made to fill the disk",
                path=self.path,
            )
        try:
            self._file.write(page)
        except OSError as error:
            raise self._failed(error) from error
        self.pages += 1
        return self.pages - 1

    def finish(self) -> int:
        """A descriptor of the file, which is closed here."""
        try:
            with self._file:
                self._file.flush()
                return os.dup(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Throw it away."""
        self._file.close()

    def _failed(self, error: OSError) -> ReadError:
        return ReadError(f"cannot be copied to a temporary file: {error}", path=self.path)


class PageWriter:
    """Writes one CPU's records into pages of a spool.

    Every record has an ``origin``: the offset in the user's file of what it was made from.
    ``pages`` are the numbers of this CPU's pages, ``origins`` what each was begun for.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._packer = PagePacker(False, 8, _PAGE_BYTES)
        self._missing: int | None = None  # where events went missing before the next page
        self.pages = array("Q")
        self.origins = array("Q")

    @property
    def records(self) -> int:
        """How many were written."""
        return self._packer.records

    def lost(self, origin: int) -> None:
        """Events are missing here."""
        self._packer.lost(None)
        if self._missing is None:
            self._missing = origin
        self._store(origin)

    def record(self, ts: int, payload: bytes, origin: int) -> None:
        """One event, `payload` of at most LARGEST_RECORD bytes, at a time of 63 bits in ns."""
        self._packer.record(ts, payload)
        self._store(origin)

    def finish(self) -> None:
        """No more records: what is missing behind the last one is told by an empty page."""
        self._packer.finish()
        self._store(0)

    def _store(self, origin: int) -> None:
        """Note what a new page was begun for, and spool those that are full."""
        if self._packer.begun > len(self.origins):
            self.origins.append(origin if self._missing is None else self._missing)
            self._missing = None
        for page in self._packer.pages:
            self.pages.append(self._spool.add(page))
        self._packer.pages.clear()


class MadePages(Source):
    """The pages of some writers one writer after the other, wherever the spool has them.

    ``places`` says where each CPU's data is in it.
    """

    def __init__(self, fd: int, path: str, writers: Mapping[int, PageWriter]) -> None:
        super().__init__(fd, path)
        self._numbers = array("Q")
        self.places: list[CpuData] = []
        for cpu, writer in writers.items():
            at, size = len(self._numbers) * _PAGE_BYTES, len(writer.pages) * _PAGE_BYTES
            self.places.append(CpuData(cpu, at, size, origin=_told_by(cpu, writer.origins)))
            self._numbers += writer.pages
        self.size = len(self._numbers) * _PAGE_BYTES

    def read_known(self, offset: int, length: int, what: str) -> bytes:
        """As in :class:`Source`, put together page by page."""
        first, last = offset // _PAGE_BYTES, -(-(offset + length) // _PAGE_BYTES)
        pages = [
            super(MadePages, self).read_known(number * _PAGE_BYTES, _PAGE_BYTES, what)
            for number in self._numbers[first:last]
        ]
        skip = offset - first * _PAGE_BYTES
        return b"".join(pages)[skip : skip + length]


def _told_by(cpu: int, origins: array[int]) -> Callable[[int], str]:
    return lambda at: f"packet at byte {origins[at // _PAGE_BYTES]} of CPU {cpu}"
