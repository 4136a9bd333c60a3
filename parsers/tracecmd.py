"""trace.dat through trace-cmd's own Python bindings: the second reader.

libtracecmd finds, unpacks and walks the pages and corrects the times; its records are put back
into pages of the simplest kind, and from there on both readers are the same code.  What the
bindings do not wrap (options, statistics, kallsyms, formats as text) comes from the file's own
header, which :mod:`fputrace.parsers.tracedat` reads.  Where the readers agree, the file was
understood the way trace-cmd understands it.

The module is ``ctracecmd``, the generated half of Debian's ``python3-trace-cmd``, and not the
``tracecmd`` above it, which never closes a file, knows no instances, takes a file that did not
open for an open one, and whose ``read_next_event()`` crashes the interpreter in 3.4.  A record
belongs to whoever read it: it is copied and freed at once, so none outlives its file.

The bindings report neither damage nor a loss behind a CPU's last event, and libtracecmd may crash
on a damaged file; a truncated one is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from fputrace.errors import FormatError, UsageError
from fputrace.events import EventBlock, Trace
from fputrace.parsers import layout, tracedat
from fputrace.parsers.clocks import Correction
from fputrace.parsers.container import CpuData
from fputrace.parsers.passes import Pass, Plan
from fputrace.parsers.streams import Chunk
from fputrace.plain import changed

HOW_TO_GET = (
    "Install Debian's python3-trace-cmd (from Debian 14 on; the package of Debian 13 lacks the "
    "module) and run fputrace with the system's Python, or leave out --reader tracecmd."
)

_LEAVE_OUT = "Leave out --reader tracecmd."

# A page that is made here holds what several of the file's pages do.
_PAGES = 4
_MISSED_EVENTS = 1 << 31  # of the commit word: kernel/trace/ring_buffer.c, RB_MISSED_EVENTS
_MISSED_STORED = 1 << 30  # RB_MISSED_STORED: the count follows the data
_TIME_STAMP = 31  # type_len of an absolute time stamp, RINGBUF_TYPE_TIME_STAMP
_DELTA_BITS = 27
_STAMP_BITS = 59
_U64 = (1 << 64) - 1


def bindings() -> Any:
    """The module ``ctracecmd``.  Raises UsageError where it cannot be imported."""
    try:
        import ctracecmd
    except ImportError as error:
        raise UsageError(
            f"--reader tracecmd needs the trace-cmd Python bindings: {error}", hint=HOW_TO_GET
        ) from error
    return ctracecmd


def open_tracedat(fd: int, path: str, *, instance: str | None = None) -> Trace:
    """As :func:`fputrace.parsers.tracedat.open_tracedat`, with the events read by libtracecmd.

    Raises UsageError besides where the bindings cannot be imported, and FormatError from
    :meth:`Trace.blocks` where libtracecmd cannot read what this package can: a truncated file, or
    one compressed by a method it was built without.
    """
    library = bindings()

    def blocks_of(plan: Plan) -> Callable[[Trace], Iterator[EventBlock]]:
        return lambda trace: _blocks(library, trace, plan)

    return tracedat.open_tracedat(fd, path, instance=instance, blocks_of=blocks_of)


def _blocks(library: Any, trace: Trace, plan: Plan) -> Iterator[EventBlock]:
    """One pass.  The file is opened anew for each: the bindings cannot go back."""
    source = plan.container.source
    _refuse_truncated(plan)
    # Not by name: the recording may have come through a pipe, or have been renamed since.
    top = library.tracecmd_open(f"/proc/self/fd/{source.fd}", library.TRACECMD_FL_LOAD_NO_PLUGINS)
    if top is None:
        raise FormatError(
            "libtracecmd cannot read this file",
            path=source.path,
            hint=f"What it says stands above. {_LEAVE_OUT}",
        )
    handle = top
    try:
        if plan.buffer.name:
            handle = _instance(library, top, plan.buffer.name)
        yield from _Pass(library, handle, trace, plan).blocks()
    finally:
        if handle is not top:
            library.tracecmd_close(handle)
        library.tracecmd_close(top)


def _refuse_truncated(plan: Plan) -> None:
    """Raise FormatError where libtracecmd 3.4 would crash the interpreter: data beyond the end."""
    source = plan.container.source
    for place in (place for buffer in plan.container.buffers for place in buffer.cpus):
        if place.offset + place.size > source.size:
            raise FormatError(
                f"the file ends before the data of CPU {place.cpu} does, which crashes libtracecmd",
                path=source.path,
                offset=source.size,
                hint=_LEAVE_OUT,
            )


def _instance(library: Any, top: Any, name: str) -> Any:
    numbers = range(library.tracecmd_buffer_instances(top))
    named = (i for i in numbers if library.tracecmd_buffer_instance_name(top, i) == name)
    return library.tracecmd_buffer_instance_handle(top, next(named))


class _Pass(Pass):
    """A pass over pages that hold the records which libtracecmd reads."""

    def __init__(self, library: Any, handle: Any, trace: Trace, plan: Plan) -> None:
        self.library = library
        self.handle = handle
        self.file_page_size = plan.page_size
        geometry = plan.geometry.copy()
        geometry[layout.PAGE_SIZE] *= _PAGES
        # libtracecmd has corrected the times.  The constant part is taken out and added again
        # behind the walk: a page cannot hold the negative times that an OFFSET may lead to.
        corrections = Correction(add=plan.corrections.add)
        page_size = plan.page_size * _PAGES
        super().__init__(
            trace, changed(plan, page_size=page_size, geometry=geometry, corrections=corrections)
        )

    def stream(self, place: CpuData, most: int) -> Iterator[Chunk]:
        """Pages with the records of one CPU, each a chunk of its own (at most `most` bytes)."""
        page = _Page(self.plan, 0)
        latest = first = -1
        left = place.size
        for ts, missed, offset, payload in self._records(place.cpu):
            time = ts - self.plan.corrections.add & _U64
            latest = max(latest, time)
            if missed or not page.fits(time, len(payload), most):
                if page.records:
                    # How far that is in the file is not known where the data is compressed.
                    left -= (used := min(len(page.records), left))
                    yield page.chunk(used)
                page = _Page(self.plan, missed)
            if not page.records:
                if first < 0:
                    first = self._start_of_data(place, offset)
                # Where the clock went back the walk sees it in the records, not in the pages.
                at = (offset - first) // self.file_page_size * self.file_page_size
                page.start(latest, at)
            page.add(time, payload)
        if page.records:
            yield page.chunk(left)

    def _records(self, cpu: int) -> Iterator[tuple[int, int, int, bytes]]:
        """Of each record its time, the events missed before it (-1: not counted), offset, bytes."""
        library = self.library
        while (record := library.tracecmd_read_data(self.handle, cpu)) is not None:
            try:
                yielded = (
                    library.tep_record_ts_get(record),
                    library.tep_record_missed_events_get(record),
                    library.tep_record_offset_get(record),
                    bytes(
                        library.fromMemory(
                            library.tep_record_data_get(record),
                            library.tep_record_size_get(record),
                        )
                    ),
                )
            finally:
                library.tracecmd_free_record(record)
            yield yielded

    def _start_of_data(self, place: CpuData, offset: int) -> int:
        """Where this CPU's pages begin, in the offsets that records have.

        Of compressed data these count in libtracecmd's unpacked copy, where each CPU begins at a
        page boundary.
        """
        if not self.plan.buffer.compressed:
            return place.offset
        return offset // self.plan.container.page_size * self.plan.container.page_size


class _Page:
    """A ring-buffer page under construction, with an absolute time stamp wherever time moves.

    `missed` events are missing before it: none if 0, an unknown number if negative.
    """

    def __init__(self, plan: Plan, missed: int) -> None:
        self.plan = plan
        self.missed = missed
        self.records = bytearray()
        self.base = self.time = self.place = 0
        self.pack = struct.Struct((">" if plan.container.big else "<") + "II").pack

    def fits(self, time: int, size: int, most: int) -> bool:
        """Whether a record of `size` bytes still fits this page, and its time this page's base."""
        geometry = self.plan.geometry
        # Two header words each for the stamp and the record, and the count of the missed behind.
        need = 16 + (size + 3 & ~3) + geometry[layout.LONG]
        room = min(self.plan.page_size, most) - geometry[layout.DATA_OFF]
        return bool(self.records) and (
            len(self.records) + need <= room and time >> _STAMP_BITS == self.base >> _STAMP_BITS
        )

    def start(self, time: int, place: int) -> None:
        """Give the page its base time, and its place in the CPU's data."""
        self.base = self.time = time
        self.place = place

    def add(self, time: int, payload: bytes) -> None:
        """Append a record."""
        if time != self.time:
            low = time & (1 << _DELTA_BITS) - 1
            high = time >> _DELTA_BITS & (1 << _STAMP_BITS - _DELTA_BITS) - 1
            self.records += self._words(_TIME_STAMP, low, high)
            self.time = time
        self.records += self._words(0, 0, len(payload) + 4) + payload + bytes(-len(payload) % 4)

    def _words(self, type_len: int, delta: int, second: int) -> bytes:
        """A record's header word (type_len 5 bits, time_delta 27 bits) and the word behind it."""
        if self.plan.container.big:
            return self.pack(type_len << _DELTA_BITS | delta, second)
        return self.pack(delta << 5 | type_len, second)

    def chunk(self, consumed: int) -> Chunk:
        """The page as a chunk that stands for `consumed` bytes of the file."""
        geometry = self.plan.geometry.tolist()
        order = self.plan.decoder.order
        commit = len(self.records)
        count = b""
        if self.missed:
            commit |= _MISSED_EVENTS
        if self.missed > 0:
            commit |= _MISSED_STORED
            count = self.missed.to_bytes(geometry[layout.LONG], order)
        page = bytearray(self.plan.page_size)
        for at, size, value in (
            (layout.TIME_OFF, 8, self.base),
            (layout.COMMIT_OFF, geometry[layout.LONG], commit),
        ):
            page[geometry[at] : geometry[at] + size] = value.to_bytes(size, order)
        data = geometry[layout.DATA_OFF]
        page[data : data + len(self.records) + len(count)] = self.records + count
        return Chunk(bytes(page), self.place, consumed)
