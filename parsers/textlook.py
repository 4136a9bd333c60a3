"""The first look through a text by the compiled loop, which needs neither numpy nor the GIL.

A look goes through a stretch of the file and tells it in segments: every CPU's first and last event
between lines that are no events for sure.  Those lines are read by whoever adopts the segments
(:mod:`fputrace.parsers.textindex`), in their order, so that stretches can be looked through side
by side.
"""

from __future__ import annotations

import mmap
import threading
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from fputrace.errors import ReadError
from fputrace.lines import textlayout as layout
from fputrace.lines import textscan
from fputrace.parsers.source import Source
from fputrace.parsers.textlines import Form
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 1 << 18
"""Bytes read at once: they stay in the second-level cache."""


def numbers(count: int) -> memoryview:
    """So many int64, all zero, in memory that is taken up when it is written to."""
    return memoryview(mmap.mmap(-1, 8 * count)).cast("q")


def geometry_of(form: Form) -> memoryview:
    """A form as the compiled loops take it."""
    geometry = numbers(layout.GEOMETRY)
    geometry[layout.BRACKET], geometry[layout.DASH] = form.bracket, form.dash
    geometry[layout.TICKS] = form.ticks
    return geometry


class Chunks:
    """Whole lines of a file in a buffer, chunk by chunk, from `start` to `stop`: line beginnings.

    ``data[:END]`` stands at BASE in the file; END, BASE and where the walk is (AT) are in `state`,
    for the compiled loops read on by themselves as long as nothing is odd.
    """

    def __init__(
        self,
        source: Source,
        state: memoryview[int] | NDArray[np.int64],
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
            self.source.read_into(self.data[:length], at, "lines")
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


class Run(PlainTuple):
    """A CPU's first and last event in a segment: places in the file, and times or UNREAD."""

    cpu: int
    first: int
    first_ts: int
    last: int
    last_ts: int


class Segment(PlainTuple):
    """Lines that are events, and the place of the line behind them; -1 where a look ends."""

    behind: int
    events: int
    runs: list[Run]


class Look:
    """Looks through stretches of a text.

    `quick`: take a line for an event when it has what it needs in the columns of the line before.
    ``at`` is where the last stretch was left: at its end, or before a line that only
    :class:`~fputrace.parsers.textindex.Indexer` can read.
    """

    def __init__(self, source: Source, form: Form, quick: bool) -> None:
        self.source = source
        self.state = numbers(layout.STATE)
        self.state[layout.QUICK] = quick and form.bracket and not form.ticks
        cpus = layout.LARGEST_CPU + 1
        self.log = numbers(layout.LOG_ROOM + 2 * layout.LARGEST_SEGMENT)
        active = numbers(cpus)
        seen = numbers(cpus * layout.CPU)
        self.tables = [geometry_of(form), self.state, seen, active, self.log]
        self.at = 0

    def through(self, start: int, stop: int) -> None:
        """Look through a stretch, from and to the beginning of a line.

        Raises ReadError when the file fails.
        """
        self.at = start
        self.state[layout.LOGGED] = 0
        chunks = Chunks(self.source, self.state, start, stop)
        try:
            for skipped in chunks:
                if skipped or self.state[layout.HALT]:
                    break
                status = textscan.index(self.source.fd, stop, chunks.data, *self.tables)
                if status != layout.NEED_CHUNK or self.state[layout.LOGGED] > layout.LOG_ROOM:
                    break
        finally:
            self.at = int(self.state[layout.BASE] + self.state[layout.AT])

    def segments(self) -> Iterator[Segment]:
        """What the last stretch has."""
        told = array("q", self.log[: self.state[layout.LOGGED]]).tolist()
        at = 0
        while at < len(told):
            behind, events, cpus = told[at : at + layout.SEGMENT]
            at += layout.SEGMENT
            end = at + cpus * layout.CPU_SEEN
            places = range(at, end, layout.CPU_SEEN)
            yield Segment(behind, events, [Run(*told[i : i + layout.CPU_SEEN]) for i in places])
            at = end


class Beside(threading.Thread):
    """A look at one stretch in a thread; what goes wrong is left for whoever looks next."""

    def __init__(self, look: Look, start: int, stop: int) -> None:
        super().__init__(name="fputrace-look", daemon=True)
        self.look = look
        self.stretch = (start, stop)

    def run(self) -> None:
        """Look through it."""
        with suppress(ReadError):
            self.look.through(*self.stretch)

    def halt(self) -> None:
        """End it, at the next chunk at the latest."""
        self.look.state[layout.HALT] = 1
        self.join()
