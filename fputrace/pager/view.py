"""Which stretch of a trace the screen shows, and where in it the cursor is.  Times in ns."""

from __future__ import annotations

from fputrace.plain import PlainTuple


class View(PlainTuple):
    """A window [start, end) of a trace [first, last), as wide as ``columns``, with a cursor.

    Every change gives a new one, within the trace and never finer than 1 ns a column.
    """

    first: int
    last: int
    columns: int
    start: int
    end: int
    cursor: int

    @classmethod
    def of(cls, first: int, last: int, columns: int) -> View:
        """All of a trace."""
        last = max(last, first + columns)
        return cls(first, last, columns, first, last, first)

    @property
    def column(self) -> int:
        """Where the cursor stands, 0 to ``columns`` - 1."""
        return (self.cursor - self.start) * self.columns // (self.end - self.start)

    @property
    def step(self) -> int:
        """Length of a column, at least 1."""
        return max(1, (self.end - self.start) // self.columns)

    def shown(self, start: int, length: int) -> View:
        """A window of ``length`` from ``start``, moved into the trace; the cursor stays in it."""
        length = min(max(length, self.columns), self.last - self.first)
        start = min(max(start, self.first), self.last - length)
        cursor = min(max(self.cursor, start), start + length - 1)
        return self._replace(start=start, end=start + length, cursor=cursor)

    def resized(self, columns: int) -> View:
        """The same stretch on a screen of another width."""
        last = max(self.last, self.first + columns)
        return self._replace(columns=columns, last=last).shown(self.start, self.end - self.start)

    def zoomed(self, factor: float) -> View:
        """``factor`` times as long; the cursor stays in its column."""
        length = min(
            max(int((self.end - self.start) * factor), self.columns), self.last - self.first
        )
        part = (self.cursor - self.start) / (self.end - self.start)
        return self.shown(int(self.cursor - part * length), length)

    def moved(self, columns: int) -> View:
        """The cursor some columns on; the window follows it."""
        return self.at(self.cursor + columns * self.step, centre=False)

    def turned(self, pages: float) -> View:
        """Some windows on, the cursor in its column."""
        length = self.end - self.start
        way = int(pages * length)
        return self._replace(cursor=self.cursor + way).shown(self.start + way, length)

    def at(self, ns: int, centre: bool = True) -> View:
        """The cursor at a time; where that is out of sight the window moves there."""
        ns = min(max(ns, self.first), self.last - 1)
        length = self.end - self.start
        moved = self._replace(cursor=ns)
        if self.start <= ns < self.end:
            return moved
        if centre:
            return moved.shown(ns - length // 2, length)
        return moved.shown(ns if ns < self.start else ns - length + 1, length)

    def whole(self) -> View:
        """All of the trace, the cursor where it was."""
        return self.shown(self.first, self.last - self.first)

    def time_of(self, column: int) -> int:
        """The first time of a column."""
        length = self.end - self.start
        return self.start - (-column * length // self.columns)
