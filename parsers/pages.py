"""Records to ring-buffer pages, as the kernel writes them (kernel/trace/ring_buffer.c)."""

from __future__ import annotations

from typing import Literal

_TIME_EXTEND, _TIME_STAMP = 30, 31
_DELTA_BITS, _STAMP_BITS = 27, 59
_DELTA = (1 << _DELTA_BITS) - 1
_LARGEST_SHORT = 28 * 4
_MISSED_EVENTS, _MISSED_STORED = 1 << 31, 1 << 30
_LARGEST_COUNT = (1 << 31) - 1  # of a 32-bit kernel's long


class PagePacker:
    """The pages of one CPU: :meth:`record` and :meth:`lost` in order, then :meth:`finish`.

    Layout of a page: u64 time, commit word of ``long_size`` bytes, records.  ``pages`` are those
    that are full.
    """

    def __init__(self, big: bool, long_size: int, page_size: int) -> None:
        self.pages: list[bytes] = []
        self.begun = 0
        """Pages begun so far, the open one among them."""
        self.records = 0
        self.missed = 0
        """Events said to be lost, as far as they were counted."""
        self._order: Literal["big", "little"] = "big" if big else "little"
        self._big = big
        self._long = long_size
        self._page = page_size
        self._room = page_size - 8 - long_size
        self._data = bytearray()
        self._open = False
        self._base = self._last = 0
        self._lost: int | None = 0  # events lost before the page; None: nobody counted

    def largest(self) -> int:
        """Bytes of the largest record that fits a page, with its count of lost events."""
        return self._room - 24 & ~3

    def lost(self, count: int | None) -> None:
        """Events are missing here; None where nobody knows how many."""
        self._end_page()
        if count is None or self._lost is None:
            self._lost = None
        else:
            self._lost += min(count, _LARGEST_COUNT - self._lost)

    def record(self, ts: int, payload: bytes) -> None:
        """One event of at most :meth:`largest` bytes, at a time of 63 bits."""
        size = len(payload) + 3 & ~3
        if self._open and len(self._data) + size + 16 > self._room - self._reserve():
            self._end_page()
        if not self._open:
            self._begin_page(ts)
        delta = ts - self._last
        if not 0 <= delta <= _DELTA:
            if 0 < delta < 1 << _STAMP_BITS:
                self._time(_TIME_EXTEND, delta)
            elif ts >> _STAMP_BITS == self._last >> _STAMP_BITS:
                self._time(_TIME_STAMP, ts & (1 << _STAMP_BITS) - 1)
            else:
                self._end_page()
                self._begin_page(ts)
            delta = 0
        self._last = ts
        if 0 < size <= _LARGEST_SHORT:
            self._word(size >> 2, delta)
        else:
            self._word(0, delta)
            self._data += (size + 4).to_bytes(4, self._order)
        self._data += payload.ljust(size, b"\0")
        self.records += 1

    def finish(self, ts: int = 0) -> list[bytes]:
        """All pages.  What is missing behind the last record is told by a page without any.

        ``ts``: the time of such a page, where there was no record at all.
        """
        if self._lost != 0 and not self._open:
            self._begin_page(self._last or ts)
        self._end_page()
        return self.pages

    def _reserve(self) -> int:
        return self._long if self._lost else 0

    def _begin_page(self, ts: int) -> None:
        self._open = True
        self.begun += 1
        self._base = self._last = ts

    def _time(self, kind: int, time: int) -> None:
        self._word(kind, time & _DELTA)
        self._data += (time >> _DELTA_BITS).to_bytes(4, self._order)

    def _word(self, type_len: int, delta: int) -> None:
        word = type_len << 27 | delta if self._big else type_len | delta << 5
        self._data += word.to_bytes(4, self._order)

    def _end_page(self) -> None:
        if not self._open:
            return
        commit = len(self._data)
        if self._lost != 0:
            commit |= _MISSED_EVENTS
        if self._lost:
            commit |= _MISSED_STORED
            self._data += self._lost.to_bytes(self._long, self._order)
            self.missed += self._lost
        head = self._base.to_bytes(8, self._order)
        head += commit.to_bytes(self._long, self._order)
        self.pages.append((head + self._data).ljust(self._page, b"\0"))
        self._data.clear()
        self._open, self._lost = False, 0
