"""A plain walk over the records of one ring-buffer page, independent of the reader under test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.writers.container import HEADERS, TraceFile
from tests.writers.pages import (
    ABSOLUTE_BITS,
    DELTA_BITS,
    MISSED_EVENTS,
    MISSED_STORED,
    TYPE_PADDING,
    TYPE_TIME_EXTEND,
    TYPE_TIME_STAMP,
    Endian,
    header_size,
)

_DELTA = (1 << DELTA_BITS) - 1


class Record(NamedTuple):
    """``type_len``, its offset in the page, and the time it leads to; ``data`` of events only."""

    type_len: int
    offset: int
    ts: int
    data: bytes | None


class Shape(NamedTuple):
    """What one needs to know to read a page."""

    endian: Endian
    long_size: int


def shape_of(trace: TraceFile) -> Shape:
    """The kernel's long is as long as the ``commit`` field in header_page says."""
    found = re.search(rb"commit;\s*offset:\d+;\s*size:(\d+);", trace.blocks[HEADERS])
    if not found:
        raise ValueError("header_page has no commit field")
    return Shape(trace.endian, int(found[1]))


def commit(page: bytes, shape: Shape) -> int:
    """The page's commit word: length of the valid data and the missed-events flags."""
    return int.from_bytes(page[8 : 8 + shape.long_size], shape.endian)


def lost_before(page: bytes, shape: Shape) -> int | None:
    """Events lost before this page: 0, the stored count, or None when only the flag is set."""
    word = commit(page, shape)
    if not word & MISSED_EVENTS:
        return 0
    if not word & MISSED_STORED:
        return None
    end = header_size(shape.long_size) + (word & _DELTA)
    return int.from_bytes(page[end : end + shape.long_size], shape.endian)


def records(page: bytes, shape: Shape) -> Iterator[Record]:
    """The records of a well-formed page in order."""

    def word(offset: int) -> int:
        return int.from_bytes(page[offset : offset + 4], shape.endian)

    ts = int.from_bytes(page[:8], shape.endian)
    at = header_size(shape.long_size)
    end = at + (commit(page, shape) & _DELTA)
    while at + 4 <= end:
        head = word(at)
        if shape.endian == "little":
            type_len, delta = head & 31, head >> 5
        else:
            type_len, delta = head >> DELTA_BITS, head & _DELTA
        if type_len == TYPE_PADDING and delta == 0:
            return
        start, size, data = at, 8, None
        if type_len == TYPE_TIME_EXTEND:
            ts += (word(at + 4) << DELTA_BITS) + delta
        elif type_len == TYPE_TIME_STAMP:
            upper = ts >> ABSOLUTE_BITS << ABSOLUTE_BITS
            ts = upper | (word(at + 4) << DELTA_BITS) + delta
        else:
            ts += delta
            if type_len == TYPE_PADDING:
                size = 4 + word(at + 4)
            elif type_len == 0:
                size = 4 + -(-word(at + 4) // 4) * 4
                data = page[at + 8 : at + 4 + word(at + 4)]
            else:
                size = 4 + 4 * type_len
                data = page[at + 4 : at + size]
        yield Record(type_len, start, ts, data)
        at += size


def count_events(page: bytes, shape: Shape) -> int:
    """Events in a page: no padding, no time records."""
    return sum(record.data is not None for record in records(page, shape))
