"""Before the rows of a text: each CPU's last event, the holes, and what other lines tell.

A text tells of a hole where the CPU's next event is printed, long after the events that other CPUs
had meanwhile; so all of it is looked through once before the first block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from fputrace.lines import textlayout as layout
from fputrace.lines import textscan
from fputrace.parsers.rows import Hole, Seen
from fputrace.parsers.source import Source
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

CHUNK = 1 << 18
"""Bytes read at once: they stay in the second-level cache."""

LARGEST_COMMENT = 1 << 23

SHOWN = 5
"""Lines nobody understands that a note shows."""

_MOST_HOLES = 1 << 16  # lines about losses beyond these make one hole each CPU
_MOST_BUFFERS = 64  # whose names are kept
_MOST_TOLD = 100_000  # lines that may tell something and are looked at in plain Python


class Chunk(NamedTuple):
    """Whole lines in a buffer: ``data[:end]`` stands at ``base`` in the file.

    ``skipped``: the length of the line at `base` when it is longer than a chunk; then the buffer
    has nothing of it.
    """

    data: memoryview
    end: int
    base: int
    skipped: int = 0


class Chunks:
    """The lines of a file, chunk by chunk; ``rest`` is where the last newline was passed."""

    def __init__(self, source: Source, start: int = 0) -> None:
        self.source = source
        self.buffer = bytearray(CHUNK + layout.PADDING)
        self.at = start
        self.too_long = 0

    def __iter__(self) -> Iterator[Chunk]:
        source, buffer = self.source, self.buffer
        view = memoryview(buffer)
        while self.at < source.size:
            length = min(CHUNK, source.size - self.at)
            source.read_into(view[:length], self.at)
            end = buffer.rfind(b"\n", 0, length) + 1
            base = self.at
            if end:
                self.at += end
                yield Chunk(view, end, base)
            elif length < CHUNK:
                return
            else:
                self.at = self._behind_line(base + length)
                if self.at < 0:
                    self.at = base
                    return
                yield Chunk(view, 0, base, skipped=self.at - base)

    def _behind_line(self, at: int) -> int:
        """Where the line after the one that goes on at `at` begins; -1 when none does."""
        size = self.source.size
        while at < size:
            piece = self.source.read_known(at, min(CHUNK, size - at), "lines")
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
        self.table = np.full((LARGEST_CPU + 1, layout.CPU), -1, dtype=np.int64)
        self.table[:, layout.WAITING] = 0
        self.waiting: dict[int, list[int]] = {}
        self.latest: dict[int, int] = {}
        self.told = 0

    def run(self) -> Index:
        """The index; raises ReadError when the file fails, ColumnsError when quick was wrong."""
        state, found = self.state, self.found
        geometry = layout.view(geometry_of(self.form))
        view, cpus = layout.view(state), layout.view(self.table.reshape(-1))
        chunks = Chunks(self.source)
        for chunk in chunks:
            if chunk.skipped:
                self._long_line(chunk)
                state[layout.LINE] += 1
                continue
            state[layout.AT] = 0
            while True:
                status = textscan.index(chunk.data, chunk.end, chunk.base, geometry, view, cpus)
                if status == layout.NEED_CHUNK:
                    break
                if status == layout.WAITED_FOR:
                    self._arrived(int(state[layout.P_CPU]))
                    continue
                at = int(state[layout.AT])
                stop = self.source_newline(chunk, at)
                self._line(bytes(chunk.data[at:stop]), chunk.base + at)
                state[layout.AT] = stop + 1
                state[layout.LINE] += 1
        self._finish(chunks.at)
        return found

    def _long_line(self, chunk: Chunk) -> None:
        """A line that is longer than a chunk: no event, but the head of a converted text may be."""
        length = min(chunk.skipped, LARGEST_COMMENT)
        line = self.source.read_known(chunk.base, length, "a long line")
        if line.startswith(b"# ") and chunk.skipped <= LARGEST_COMMENT:
            self._comment(line)
        else:
            self._odd(line)

    def source_newline(self, chunk: Chunk, at: int) -> int:
        """Where the line at `at` of a chunk ends."""
        return chunk.data.obj.find(b"\n", at, chunk.end)  # type: ignore[attr-defined, no-any-return]

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
        if len(self.found.odd_lines) < SHOWN:
            self.found.odd_lines.append((int(self.state[layout.LINE]), shown(line)))

    def _finish(self, at: int) -> None:
        found, size = self.found, self.source.size
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


def geometry_of(form: Form) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A form as the compiled loops take it."""
    geometry = np.zeros(layout.GEOMETRY, dtype=np.int64)
    geometry[layout.BRACKET], geometry[layout.DASH] = form.bracket, form.dash
    geometry[layout.TICKS] = form.ticks
    return geometry
