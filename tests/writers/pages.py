"""Ring-buffer pages, record by record: the bytes the kernel hands out per CPU.

Layout from ``kernel/trace/ring_buffer.c`` (``struct buffer_data_page``, ``enum ring_buffer_type``,
``ring_buffer_read_page``): a u64 time stamp, a ``commit`` word of the kernel's long, then records.
A :class:`PageBuilder` writes one CPU's pages and knows nothing of events or files.
"""

from __future__ import annotations

from typing import Literal

Endian = Literal["little", "big"]
Stamp = Literal["auto", "extend", "absolute"]

TYPE_PADDING, TYPE_TIME_EXTEND, TYPE_TIME_STAMP = 29, 30, 31
DELTA_BITS = 27
ABSOLUTE_BITS = 59
LARGEST_SHORT_PAYLOAD = 28 * 4
MISSED_EVENTS = 1 << 31
MISSED_STORED = 1 << 30


def header_size(long_size: int) -> int:
    """Bytes of a page before its records: u64 time stamp and the commit word."""
    return 8 + long_size


class PageBuilder:
    """Builds the pages of one CPU in file order.

    A page begins at the time of its first event unless :meth:`open_page` said otherwise, and ends
    when the next record does not fit or when :meth:`end_page` or :meth:`lost` is called.
    """

    def __init__(self, endian: Endian = "little", long_size: int = 8, page_size: int = 4096):
        self.endian: Endian = endian
        self.long_size = long_size
        self.page_size = page_size
        self.capacity = page_size - header_size(long_size)
        self.pages: list[bytes] = []
        self.last_ts = 0
        self._base: int | None = None
        self._data = bytearray()
        self._missed: tuple[bool, int | None] = (False, None)

    def event(
        self, ts: int, payload: bytes, *, stamp: Stamp = "auto", length_word: bool = False
    ) -> None:
        """Append one record; ``stamp`` forces a time extend or an absolute time stamp before it.

        ``length_word`` uses the form with a separate length (type_len 0) for a short payload too,
        as kernels with RB_FORCE_8BYTE_ALIGNMENT do.  Time may run backwards only with an absolute
        stamp (clocks that jump); ValueError otherwise, or when the payload fits no page.
        """
        body = payload + bytes(-len(payload) % 4)
        length_word = length_word or len(body) > LARGEST_SHORT_PAYLOAD or not body
        need = 4 + 4 * length_word + len(body)
        if need + 8 > self._room(fresh=True):
            raise ValueError(f"a payload of {len(payload)} bytes does not fit a page")
        time_record = stamp != "auto" or ts - (self.last_ts if self._open else ts) >> DELTA_BITS
        if self._open and need + (8 if time_record else 0) > self._room():
            self.end_page()
        delta = self._advance(ts, stamp)
        if length_word:
            self._header(0, delta)
            self._u32(len(payload) + 4)
        else:
            self._header(len(body) // 4, delta)
        self._data += body

    def discard(self, ts: int, size: int) -> None:
        """A discarded event of ``size`` (at least 4) bytes after its header word.

        ``ring_buffer_discard_commit`` turns it into padding whose delta is never 0.
        """
        if self._open and size + 12 > self._room():
            self.end_page()
        delta = self._advance(ts, "auto")
        if delta == 0:
            delta = 1
            self.last_ts += 1
        self._header(TYPE_PADDING, delta)
        self._u32(size)
        self._data += bytes(size - 4)

    def time_only(self, ts: int, stamp: Stamp = "extend") -> None:
        """A time record with no event after it."""
        if self._open and self._room() < 8:
            self.end_page()
        self._advance(ts, stamp)

    def pad(self) -> None:
        """Fill the open page with one padding record (delta 0: nothing more in this page)."""
        if self._open and self._room() >= 8:
            self._header(TYPE_PADDING, 0)
            self._u32(self._room())
            self._data += bytes(self._room())
        self.end_page()

    def open_page(self, ts: int) -> None:
        """Begin a page whose base time is ``ts``, which may lie before its first event."""
        self.end_page()
        self._base = self.last_ts = ts

    def end_page(self) -> None:
        """Close the open page, if any: zeros fill it up."""
        if self._base is None:
            return
        commit = len(self._data)
        missed, count = self._missed
        if missed:
            commit |= MISSED_EVENTS
            if count is not None:
                commit |= MISSED_STORED
                self._data += count.to_bytes(self.long_size, self.endian)
        head = self._base.to_bytes(8, self.endian) + commit.to_bytes(self.long_size, self.endian)
        self.pages.append((head + bytes(self._data)).ljust(self.page_size, b"\0"))
        self._base, self._data, self._missed = None, bytearray(), (False, None)

    def lost(self, count: int | None = None) -> None:
        """Events were lost here: flag the next page, with the number lost if it is known."""
        self.end_page()
        missed, before = self._missed
        if missed:
            count = None if count is None or before is None else before + count
        self._missed = (True, count)

    def finish(self) -> list[bytes]:
        """The pages, each exactly ``page_size`` bytes.

        A loss after the last event needs a page to be told in: an empty one is written for it.
        """
        if self._missed[0] and self._base is None:
            self.open_page(self.last_ts)
        self.end_page()
        return self.pages

    @property
    def _open(self) -> bool:
        return self._base is not None

    def _room(self, fresh: bool = False) -> int:
        # The stored count needs a long after the valid data, or the kernel leaves it out.
        reserve = self.long_size if self._missed[1] is not None else 0
        return self.capacity - reserve - (0 if fresh else len(self._data))

    def _advance(self, ts: int, stamp: Stamp) -> int:
        """Write the time records that lead to ``ts``; returns the delta of the next record."""
        if self._base is None:
            self._base = self.last_ts = ts
        if stamp == "absolute":
            if ts >> ABSOLUTE_BITS != self.last_ts >> ABSOLUTE_BITS:
                raise ValueError("an absolute stamp cannot change the upper five bits")
            low = ts & ((1 << ABSOLUTE_BITS) - 1)
            self._header(TYPE_TIME_STAMP, low & ((1 << DELTA_BITS) - 1))
            self._u32(low >> DELTA_BITS)
            self.last_ts = ts
            return 0
        delta = ts - self.last_ts
        if delta < 0:
            raise ValueError(f"time runs backwards on this CPU: {self.last_ts} to {ts}")
        self.last_ts = ts
        if stamp == "extend" or delta >> DELTA_BITS:
            if delta >> (DELTA_BITS + 32):
                raise ValueError("a time extend holds 59 bits")
            self._header(TYPE_TIME_EXTEND, delta & ((1 << DELTA_BITS) - 1))
            self._u32(delta >> DELTA_BITS)
            return 0
        return delta

    def _header(self, type_len: int, delta: int) -> None:
        # The bit field's order follows the endianness (header_event: type_len is 5 bits, first).
        self._u32(type_len | delta << 5 if self.endian == "little" else type_len << 27 | delta)

    def _u32(self, value: int) -> None:
        self._data += value.to_bytes(4, self.endian)
