"""Before the rows of a text: each CPU's last event, the holes, and what other lines tell.

A text tells of a hole where the CPU's next event is printed, long after the events that other CPUs
had meanwhile; so all of it is looked through once before the first block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from fputrace.lines import textlayout as layout
from fputrace.parsers.rows import Hole, Seen
from fputrace.parsers.source import Source
from fputrace.parsers.textevents import names_in
from fputrace.parsers.textlines import (
    CPUS,
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
from fputrace.parsers.textlook import CHUNK, Beside, Look, Run, next_line
from fputrace.parsers.textmeta import Header
from fputrace.parsers.wrapped import MOST_OTHERS, OTHERS_AN_EVENT, refuse_endless
from fputrace.plain import plain

STRETCH = 1 << 28
"""Bytes that one of two threads looks through, at most, while the other is at the next so many."""

ALONE = 1 << 20
"""Bytes that are not worth a second thread."""

LARGEST_COMMENT = 1 << 23

SHOWN = 5
"""Lines nobody understands that a note shows."""

_MOST_HOLES = 1 << 16  # lines about losses beyond these make one hole each CPU
_MOST_BUFFERS = 64  # whose names are kept
_CROWD = 1 << 13  # bytes read for a line that is no event, and others near it
_MOST_TOLD = 100_000  # lines that may tell something and are looked at in plain Python


@plain
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

    `top`: lines that name no buffer are the ones to read.  `quick`: as :class:`Look` takes it.
    """

    def __init__(
        self, source: Source, form: Form, where: Callable[[int], str], top: bool, quick: bool
    ) -> None:
        self.source = source
        self.form = form
        self.where = where
        self.top = top
        self.found = Index()
        self.look = Look(source, form, quick)
        self.beside: Look | None = None  # a text that is short needs none
        self.quick = quick
        self.at = 0
        """Where the last line ended that was looked through."""
        self.number = 1
        """The number of the line there."""
        self.events = 0
        self.first: dict[int, Seen] = {}
        self.last: dict[int, Seen] = {}
        self.waiting: dict[int, list[int]] = {}
        self.latest: dict[int, int] = {}
        self.others = 0
        self.told = 0
        self.text = (0, b"")
        """Some of the file, and where it stands: lines that are no events come in crowds."""

    def run(self, begun: Look | None = None) -> Index:
        """The index, where some of the file may have been looked through already.

        Raises ReadError when the file fails, FormatError when nearly all of a long text is no
        event, ColumnsError when quick was wrong.
        """
        if begun is not None:
            self._adopt(begun)
        size = self.source.size
        while self.at < size:
            start, length = self.at, size - self.at
            middle = stop = self._cut(start + min(STRETCH, length))
            if length > ALONE:
                middle = self._cut(start + min(STRETCH, length // 2))
                stop = self._cut(min(middle + STRETCH, size))
                self.beside = self.beside or Look(self.source, self.form, self.quick)
                helper = Beside(self.beside, middle, stop)
                helper.start()
                try:
                    self._through(middle)
                except BaseException:
                    helper.halt()
                    raise
                helper.join()
                if self.at == middle:
                    self._adopt(self.beside)
            self._through(stop)
            if self.at < stop:
                break  # the last line has no end
        self._finish()
        return self.found

    def _cut(self, at: int) -> int:
        """Where a stretch that should end at `at` ends: with a line."""
        stop = next_line(self.source, at)
        return self.source.size if stop < 0 else stop

    def _through(self, stop: int) -> None:
        """Look through all up to `stop`, also what takes plain Python."""
        while self.at < stop:
            self.look.through(self.at, stop)
            self._adopt(self.look)
            if self.at < stop and not self._plain():
                return

    def _adopt(self, look: Look) -> None:
        """Take over what a look at the stretch behind this place has found."""
        for segment in look.segments():
            self.events += segment.events
            self.number += segment.events
            for run in segment.runs:
                self._run(run)
            if segment.behind >= 0:
                self._line(self._text(segment.behind), segment.behind)
                self.number += 1
        self.at = look.at

    def _run(self, run: Run) -> None:
        """A CPU's events in one segment."""
        first = Seen(run.first, run.first_ts)
        self.first.setdefault(run.cpu, first)
        if run.cpu in self.waiting:
            self.last[run.cpu] = first
            self._arrived(run.cpu)
        self.last[run.cpu] = Seen(run.last, run.last_ts)

    def _text(self, at: int) -> bytes:
        """The line at a place, without its newline; no longer than a chunk."""
        base, text = self.text
        end = text.find(b"\n", at - base) if base <= at < base + len(text) else -1
        if end < 0:
            base = at
            for length in (_CROWD, CHUNK):
                text = self.source.read_known(at, min(length, self.source.size - at), "a line")
                end = text.find(b"\n")
                if end >= 0:
                    break
            self.text = base, text
        return text[at - base : end]

    def _plain(self) -> bool:
        """Go behind the next line, which no look has taken; False for one without an end."""
        behind = next_line(self.source, self.at)
        if behind < 0:
            return False
        if behind - self.at > CHUNK:
            self._long_line(behind - self.at)
        else:
            self._line(self._text(self.at), self.at)
        self.number += 1
        self.at = behind
        return True

    def _long_line(self, length: int) -> None:
        """A line that is longer than a chunk: no event, but the head of a converted text may be."""
        line = self.source.read_known(self.at, min(length, LARGEST_COMMENT), "a long line")
        if line.startswith(b"# ") and length <= LARGEST_COMMENT:
            self._comment(line)
        else:
            self._odd(line)

    def seen(self, cpu: int) -> Seen | None:
        """A CPU's last event so far; None before there is one."""
        last = self.last.get(cpu)
        if last is not None and last.ts == layout.UNREAD:
            last = self.last[cpu] = self._read(cpu, last)
        return last

    def _read(self, cpu: int, seen: Seen) -> Seen:
        """An event with its time."""
        if seen.ts != layout.UNREAD:
            return seen
        size = min(LARGEST_PREFIX, self.source.size - seen.raw)
        line = self.source.read_known(seen.raw, size, "an event's line").partition(b"\n")[0]
        prefix = read_prefix(self.form, line)
        if prefix is None or prefix.cpu != cpu or prefix.buffer != self.found.own:
            raise ColumnsError
        return Seen(seen.raw, prefix.ts)

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
            if not (names or self.top or self.events):
                self.found.own = buffer
            if buffer in names or len(names) < _MOST_BUFFERS:
                names[buffer] = names.get(buffer, 0) + 1
        return buffer == self.found.own

    def _event(self, cpu: int, at: int, ts: int) -> None:
        self.events += 1
        self._run(Run(cpu, at, ts, at, ts))

    def _arrived(self, cpu: int) -> None:
        """The event has come before which holes of its CPU end."""
        before = self.seen(cpu)
        for i in self.waiting.pop(cpu, ()):
            self.found.holes[i] = self.found.holes[i]._replace(before=before)

    def _lose(self, lost: Lost, line: bytes) -> None:
        found = self.found
        last = self.latest.get(lost.cpu)
        if last is not None and len(found.holes) >= _MOST_HOLES:
            # One hole from here on, which every further line makes longer.
            found.holes[last] = found.holes[last]._replace(lost=None, before=None)
            self.waiting[lost.cpu] = [last]
            return
        said = line.strip()[:60].decode("ascii", "backslashreplace")
        where = f"{self.where(self.number)}: {said}"
        after = None if lost.started else self.seen(lost.cpu)
        self.waiting.setdefault(lost.cpu, []).append(len(found.holes))
        self.latest[lost.cpu] = len(found.holes)
        found.holes.append(Hole(lost.cpu, after, None, lost.events, where))

    def _other(self, line: bytes) -> None:
        """A line that is no event."""
        self.others += 1 + (len(line) >> 7)
        if self.others > MOST_OTHERS + OTHERS_AN_EVENT * self.events:
            raise refuse_endless(self.number, self.source.path)
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
        if found.header.line(line, self.number):
            return
        written = WRITTEN.match(line)
        if written is not None:
            found.written.append((self.number, int(written[1]), int(written[2])))
            found.cpus = max(found.cpus, int(written[3] or 0))
            if int(written[1]) != int(written[2]) or len(found.written) > 1:
                self._overwritten(self.number)
        elif line.startswith(b"# tracer:"):
            found.tracer = "tracefs"
        found.kernel = found.kernel or read_kernel(line)
        found.clock = found.clock or read_clock(line)

    def _overwritten(self, number: int) -> None:
        """Every CPU has a hole here: its buffer was overwritten, or another text begins."""
        for cpu in sorted(self.first):
            self._lose(Lost(cpu, None), b"the header of another trace")

    def _odd(self, line: bytes) -> None:
        self.found.odd += 1
        self.found.named |= names_in(line[:LARGEST_PREFIX])
        if len(self.found.odd_lines) < SHOWN:
            self.found.odd_lines.append((self.number, shown(line)))

    def _finish(self) -> None:
        found, size, at = self.found, self.source.size, self.at
        found.lines = self.number - 1
        found.events = self.events
        for cpu in sorted(self.first):
            found.last[cpu] = self._read(cpu, self.last[cpu])
            found.first[cpu] = self._read(cpu, self.first[cpu])
        if at < size:
            found.cut = found.lines + 1
            found.cut_text = self.source.read_known(at, min(size - at, 200), "the last line")
            found.lines += 1


def look_through(
    source: Source, form: Form, where: Callable[[int], str], begun: Look | None = None
) -> Index:
    """What a text tells before its events are read; ``where`` names a line by its number.

    ``begun``: a quick look at its beginning that others have taken.  Raises ReadError when the file
    fails.
    """

    def index(top: bool, begun: Look | None = None) -> Index:
        try:
            return Indexer(source, form, where, top, quick=True).run(begun)
        except ColumnsError:
            return Indexer(source, form, where, top, quick=False).run()

    found = index(False, begun)
    if found.own and found.events > found.buffers[found.own]:
        return index(top=True)  # the top buffer's first line came later
    return found
