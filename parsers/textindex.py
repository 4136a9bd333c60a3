"""Before the rows of a text: each CPU's last event, the holes, and what other lines tell.

A text tells of a hole where the CPU's next event is printed, long after the events that other CPUs
had meanwhile; so all of it is looked through once before the first block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fputrace.errors import ReadError
from fputrace.lines import textlayout as layout
from fputrace.lines import textscan
from fputrace.parsers.rows import Hole, Seen
from fputrace.parsers.source import Source
from fputrace.parsers.textevents import names_in
from fputrace.parsers.textlines import (
    CPUS,
    LARGEST_CPU,
    LARGEST_PREFIX,
    WRITTEN,
    Form,
    Lost,
    read_clock,
    read_kernel,
    read_lost,
    read_perf_lost,
    read_prefix,
    shown,
)
from fputrace.parsers.textmeta import Header

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 1 << 18
"""Bytes read at once: they stay in the second-level cache."""

STRETCH = 1 << 24
"""Bytes that one of two threads looks through while the other is at the next so many."""

LARGEST_COMMENT = 1 << 23

SHOWN = 5
"""Lines nobody understands that a note shows."""

_FIRST = slice(layout.FIRST_AT, layout.FIRST_TS + 1)
_LAST = slice(layout.LAST_AT, layout.LAST_TS + 1)
_MOST_HOLES = 1 << 16  # lines about losses beyond these make one hole each CPU
_MOST_BUFFERS = 64  # whose names are kept
_MOST_TOLD = 100_000  # lines that may tell something and are looked at in plain Python


class Chunks:
    """Whole lines of a file in a buffer, chunk by chunk, from `start` to `stop`: line beginnings.

    ``data[:END]`` stands at BASE in the file; END, BASE and where the walk is (AT) are in `state`,
    for the compiled loops read on by themselves as long as nothing is odd.
    """

    def __init__(
        self,
        source: Source,
        state: NDArray[np.int64],
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self.source = source
        self.state = state
        self.stop = source.size if stop is None else stop
        self.buffer = bytearray(CHUNK + layout.PADDING)
        self.data = memoryview(self.buffer)
        self._set(start, 0)

    @property
    def at(self) -> int:
        """The place in the file behind the last newline that was passed."""
        return int(self.state[layout.BASE] + self.state[layout.END])

    def __iter__(self) -> Iterator[int]:
        """Fill the buffer anew.  Gives the length of a line that is longer than it, else 0.

        Such a line stands at BASE, and the buffer has nothing of it.
        """
        while self.at < self.stop:
            at, length = self.at, min(CHUNK, self.stop - self.at)
            self.source.read_into(self.data[:length], at)
            end = self.buffer.rfind(b"\n", 0, length) + 1
            if end:
                self._set(at, end)
                yield 0
            elif length < CHUNK:
                self._set(at, 0)
                return
            else:
                self._set(at, 0)
                behind = next_line(self.source, at + length)
                if behind < 0:
                    return
                yield behind - at
                self._set(behind, 0)

    def _set(self, base: int, end: int) -> None:
        self.state[layout.BASE], self.state[layout.END], self.state[layout.AT] = base, end, 0

    def line(self) -> bytes:
        """The line where the walk is, which goes behind it."""
        at = int(self.state[layout.AT])
        stop = self.buffer.find(b"\n", at)
        self.state[layout.AT] = stop + 1
        return bytes(self.data[at:stop])


def next_line(source: Source, at: int) -> int:
    """Where the line after the one that goes on at `at` begins; -1 when none does."""
    size = source.size
    while at < size:
        piece = source.read_known(at, min(CHUNK, size - at), "lines")
        found = piece.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(piece)
    return -1


@dataclass
class Index:
    """What a look through a text found; ``last`` and ``first`` by CPU, in the trace's unit."""

    last: dict[int, Seen] = field(default_factory=dict)
    first: dict[int, Seen] = field(default_factory=dict)
    holes: list[Hole] = field(default_factory=list)
    buffers: dict[bytes, int] = field(default_factory=dict)
    """Names that trace-cmd prints before the comm, with their events."""
    own: bytes = b""
    """The one that is read: the top buffer, which has no name, if there is a line of it."""
    events: int = 0
    lines: int = 0
    perf_losses: int = 0
    kernel: str | None = None
    clock: str | None = None
    written: list[tuple[int, int, int]] = field(default_factory=list)
    """Headers of tracefs' ``trace``: the line, events in the buffer, events ever written."""
    cpus: int = 0
    """How many CPUs a header names."""
    tracer: str = ""
    odd: int = 0
    odd_lines: list[tuple[int, str]] = field(default_factory=list)
    """Lines nobody understands: the first few, by number."""
    cut: int | None = None
    """Number of a last line that has no newline."""
    cut_text: bytes = b""
    header: Header = field(default_factory=Header)
    named: set[str] = field(default_factory=set)
    """Known events, ``system:name``, that lines name which are no events."""


class ColumnsError(Exception):
    """An event that was found by its columns is none, or another one."""


class Indexer:
    """Goes through a text once.

    `top`: lines that name no buffer are the ones to read.  `quick`: take a line for an event when
    it has what it needs in the columns of the line before.
    """

    def __init__(
        self, source: Source, form: Form, where: Callable[[int], str], top: bool, quick: bool
    ) -> None:
        self.source = source
        self.form = form
        self.where = where
        self.top = top
        self.found = Index()
        self.state = np.zeros(layout.STATE, dtype=np.int64)
        self.state[layout.LINE] = 1
        self.state[layout.QUICK] = quick and form.bracket and not form.ticks
        self.geometry = geometry_of(form)
        self.table = _no_cpus()
        self.at = 0
        """Where the last line ended that was looked through."""
        self.waiting: dict[int, list[int]] = {}
        self.latest: dict[int, int] = {}
        self.told = 0

    def run(self) -> Index:
        """The index; raises ReadError when the file fails, ColumnsError when quick was wrong."""
        at, size = 0, self.source.size
        while at < size:
            middle = self._cut(at)
            helper = Helper(self.source, self.state, self.geometry, middle, self._cut(middle))
            helper.start()
            try:
                self._look(at, middle)
            finally:
                helper.join()
            self._adopt(helper)
            at = helper.stop
            if self.at == middle:
                self._look(helper.at, at)
        self._finish()
        return self.found

    def _cut(self, at: int) -> int:
        """Where a stretch from `at` on ends: with a line."""
        stop = next_line(self.source, at + STRETCH)
        return self.source.size if stop < 0 else stop

    def _look(self, start: int, stop: int) -> None:
        state, chunks = self.state, Chunks(self.source, self.state, start, stop)
        tables = [layout.view(table) for table in (self.geometry, state, self.table.reshape(-1))]
        for skipped in chunks:
            if skipped:
                self._long_line(skipped)
                state[layout.LINE] += 1
                continue
            while True:
                status = textscan.index(self.source.fd, stop, chunks.data, *tables)
                if status == layout.NEED_CHUNK:
                    break
                if status == layout.WAITED_FOR:
                    self._arrived(int(state[layout.P_CPU]))
                    continue
                at = int(state[layout.BASE] + state[layout.AT])
                self._line(chunks.line(), at)
                state[layout.LINE] += 1
        self.at = chunks.at

    def _adopt(self, helper: Helper) -> None:
        """What the helper found behind this one's own stretch, as if it were looked through."""
        self.state[layout.LINE] += helper.state[layout.LINE]
        self.state[layout.EVENTS] += helper.state[layout.EVENTS]
        for cpu in np.flatnonzero(helper.table[:, layout.FIRST_AT] >= 0).tolist():
            row, told = self.table[cpu], helper.table[cpu]
            if row[layout.FIRST_AT] < 0:
                row[_FIRST] = told[_FIRST]
            if row[layout.WAITING]:
                row[_LAST] = told[_FIRST]
                self._arrived(cpu)
            row[_LAST] = told[_LAST]

    def _long_line(self, length: int) -> None:
        """A line that is longer than a chunk: no event, but the head of a converted text may be."""
        at = int(self.state[layout.BASE])
        line = self.source.read_known(at, min(length, LARGEST_COMMENT), "a long line")
        if line.startswith(b"# ") and length <= LARGEST_COMMENT:
            self._comment(line)
        else:
            self._odd(line)

    def seen(self, cpu: int, what: int = layout.LAST_AT) -> Seen | None:
        """A CPU's last event so far, or its first; None before there is one."""
        at, ts = self.table[cpu, what : what + 2].tolist()
        if at >= 0 and ts == layout.UNREAD:
            size = min(LARGEST_PREFIX, self.source.size - at)
            line = self.source.read_known(at, size, "an event's line").partition(b"\n")[0]
            prefix = read_prefix(self.form, line)
            if prefix is None or prefix.cpu != cpu or prefix.buffer != self.found.own:
                raise ColumnsError
            ts = prefix.ts
            self.table[cpu, what + 1] = ts
        return Seen(at, ts) if at >= 0 else None

    def _line(self, line: bytes, at: int) -> None:
        """A line that the compiled scan is not sure of."""
        prefix = read_prefix(self.form, line)
        if prefix is None:
            self._other(line)
            return
        text = line[prefix.end :]
        lost = read_perf_lost(text)
        if lost is not None:
            self.found.perf_losses += 1
            self._lose(Lost(prefix.cpu, lost), line)
        elif text.startswith(b"PERF_RECORD_") or not text.strip():
            return
        elif self._own(prefix.buffer):
            self._event(prefix.cpu, at, prefix.ts)

    def _own(self, buffer: bytes) -> bool:
        """Whether a line is of the buffer that is read."""
        names = self.found.buffers
        if buffer:
            if not (names or self.top or self.state[layout.EVENTS]):
                self.found.own = buffer
            if buffer in names or len(names) < _MOST_BUFFERS:
                names[buffer] = names.get(buffer, 0) + 1
        return buffer == self.found.own

    def _event(self, cpu: int, at: int, ts: int) -> None:
        row = self.table[cpu]
        if row[layout.FIRST_AT] < 0:
            row[layout.FIRST_AT], row[layout.FIRST_TS] = at, ts
        row[layout.LAST_AT], row[layout.LAST_TS] = at, ts
        self.state[layout.EVENTS] += 1
        if row[layout.WAITING]:
            self._arrived(cpu)

    def _arrived(self, cpu: int) -> None:
        """The event has come before which holes of its CPU end."""
        self.table[cpu, layout.WAITING] = 0
        before = self.seen(cpu)
        for i in self.waiting.pop(cpu, ()):
            self.found.holes[i] = self.found.holes[i]._replace(before=before)

    def _lose(self, lost: Lost, line: bytes) -> None:
        found = self.found
        last = self.latest.get(lost.cpu)
        self.table[lost.cpu, layout.WAITING] = 1
        if last is not None and len(found.holes) >= _MOST_HOLES:
            # One hole from here on, which every further line makes longer.
            found.holes[last] = found.holes[last]._replace(lost=None, before=None)
            self.waiting[lost.cpu] = [last]
            return
        said = line.strip()[:60].decode("ascii", "backslashreplace")
        where = f"{self.where(int(self.state[layout.LINE]))}: {said}"
        after = None if lost.started else self.seen(lost.cpu)
        self.waiting.setdefault(lost.cpu, []).append(len(found.holes))
        self.latest[lost.cpu] = len(found.holes)
        found.holes.append(Hole(lost.cpu, after, None, lost.events, where))

    def _other(self, line: bytes) -> None:
        """A line that is no event."""
        if not line.strip() or line.startswith(b"\t"):  # perf prints call chains so
            return
        found = self.found
        self.told += 1
        if self.told > _MOST_TOLD:
            self._odd(line)
            return
        lost = read_lost(line)
        if lost is not None:
            self._lose(lost, line)
        elif line.startswith(b"#"):
            self._comment(line)
        elif (hit := CPUS.fullmatch(line)) is not None:
            found.cpus = max(found.cpus, int(hit[1]))
            found.tracer = found.tracer or "trace-cmd report"
        else:
            kernel = read_kernel(line)
            found.kernel = found.kernel or kernel
            if kernel is None and not line.startswith(b"version = "):
                self._odd(line)

    def _comment(self, line: bytes) -> None:
        found = self.found
        if found.header.line(line, int(self.state[layout.LINE])):
            return
        written = WRITTEN.match(line)
        if written is not None:
            found.written.append((int(self.state[layout.LINE]), int(written[1]), int(written[2])))
            found.cpus = max(found.cpus, int(written[3] or 0))
            if int(written[1]) != int(written[2]) or len(found.written) > 1:
                self._overwritten(int(self.state[layout.LINE]))
        elif line.startswith(b"# tracer:"):
            found.tracer = "tracefs"
        found.kernel = found.kernel or read_kernel(line)
        found.clock = found.clock or read_clock(line)

    def _overwritten(self, number: int) -> None:
        """Every CPU has a hole here: its buffer was overwritten, or another text begins."""
        for cpu in np.flatnonzero(self.table[:, layout.FIRST_AT] >= 0).tolist():
            self._lose(Lost(cpu, None), b"the header of another trace")

    def _odd(self, line: bytes) -> None:
        self.found.odd += 1
        self.found.named |= names_in(line[:LARGEST_PREFIX])
        if len(self.found.odd_lines) < SHOWN:
            self.found.odd_lines.append((int(self.state[layout.LINE]), shown(line)))

    def _finish(self) -> None:
        found, size, at = self.found, self.source.size, self.at
        found.lines = int(self.state[layout.LINE]) - 1
        found.events = int(self.state[layout.EVENTS])
        for cpu in np.flatnonzero(self.table[:, layout.FIRST_AT] >= 0).tolist():
            last, first = self.seen(cpu), self.seen(cpu, layout.FIRST_AT)
            assert last is not None
            assert first is not None
            found.last[cpu], found.first[cpu] = last, first
        if at < size:
            found.cut = found.lines + 1
            found.cut_text = self.source.read_known(at, min(size - at, 200), "the last line")
            found.lines += 1


class Helper(threading.Thread):
    """Looks through a stretch beside an Indexer, up to the first line that takes plain Python.

    ``at`` is where it ended; the rest up to ``stop`` is left to others, and so is what went wrong.
    """

    def __init__(
        self,
        source: Source,
        state: NDArray[np.int64],
        geometry: NDArray[np.int64],
        start: int,
        stop: int,
    ) -> None:
        super().__init__(name="fputrace-index", daemon=True)
        self.source = source
        self.state = np.zeros_like(state)
        self.state[layout.QUICK] = state[layout.QUICK]
        self.geometry = geometry
        self.table = _no_cpus()
        self.at = start
        self.stop = stop

    def run(self) -> None:
        """Look through it."""
        state, chunks = self.state, Chunks(self.source, self.state, self.at, self.stop)
        tables = [layout.view(table) for table in (self.geometry, state, self.table.reshape(-1))]
        with suppress(ReadError):
            for skipped in chunks:
                if skipped:
                    break
                status = textscan.index(self.source.fd, self.stop, chunks.data, *tables)
                if status != layout.NEED_CHUNK:
                    break
        self.at = int(state[layout.BASE] + state[layout.AT])


def _no_cpus() -> NDArray[np.int64]:
    """The table of CPUs for :func:`fputrace.lines.textscan.index`, without any."""
    table = np.full((LARGEST_CPU + 1, layout.CPU), -1, dtype=np.int64)
    table[:, layout.WAITING] = 0
    return table


def look_through(source: Source, form: Form, where: Callable[[int], str]) -> Index:
    """What a text tells before its events are read; ``where`` names a line by its number.

    Raises ReadError when the file fails.
    """

    def index(top: bool) -> Index:
        try:
            return Indexer(source, form, where, top, quick=True).run()
        except ColumnsError:
            return Indexer(source, form, where, top, quick=False).run()

    found = index(top=False)
    if found.own and found.events > found.buffers[found.own]:
        return index(top=True)  # the top buffer's first line came later
    return found


def geometry_of(form: Form) -> NDArray[np.int64]:
    """A form as the compiled loops take it."""
    geometry = np.zeros(layout.GEOMETRY, dtype=np.int64)
    geometry[layout.BRACKET], geometry[layout.DASH] = form.bracket, form.dash
    geometry[layout.TICKS] = form.ticks
    return geometry
