"""One CPU's ring-buffer data, chunk by chunk, whole pages only.

A chunk comes with the base time of the page that follows it, which the walk needs to tell a
wild time from a late one.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator

from fputrace.parsers.compression import Decompress, DecompressError
from fputrace.parsers.container import Container, CpuData
from fputrace.parsers.source import Source
from fputrace.plain import PlainTuple

LARGEST_CHUNK = 1 << 24
"""Bytes of the largest compressed chunk this unpacks (trace-cmd writes ten pages a chunk)."""

ALL_PACKED = 1 << 28
"""Bytes of one unpacked chunk of each CPU, which all are in memory at once."""

_LEAST_CHUNK = 10 * 4096  # is unpacked with any number of CPUs

_LARGEST_RATIO = 1024

CHUNK_BYTES = 1 << 18
"""Bytes that are read at once where there are few CPUs."""

_ALL_CHUNKS = 1 << 24


class Entries(PlainTuple):
    """Which records a chunk has where it has no pages: the entries `first` to `stop` of these.

    See :func:`fputrace.parsers.ringbuffer.walk`.
    """

    times: memoryview
    ats: memoryview
    sizes: memoryview
    origins: memoryview
    first: int
    stop: int


_NO_TIMES, _NO_SIZES = memoryview(array("q")), memoryview(array("i"))
NO_ENTRIES = Entries(_NO_TIMES, _NO_SIZES, _NO_SIZES, _NO_TIMES, 0, 0)
"""Of a chunk that has pages."""


class Chunk(PlainTuple):
    """Whole pages or entries, or a hole: ``missing`` bytes of this CPU's data that cannot be had.

    ``base`` is the first byte's place in this CPU's data and ``consumed`` how many bytes of the
    file were used up for it.  ``reason`` says in words why the bytes of a hole are missing, and
    ``offset`` where in the file they should be.
    """

    data: bytes | memoryview
    base: int
    consumed: int
    missing: int = 0
    reason: str = ""
    offset: int = 0
    entries: Entries = NO_ENTRIES


def chunk_bytes(cpus: int, page_size: int) -> int:
    """Bytes to read at once, whole pages, so that all CPUs together stay small."""
    wanted = min(CHUNK_BYTES, _ALL_CHUNKS // max(cpus, 1))
    return max(1, wanted // page_size) * page_size


def raw_chunks(source: Source, place: CpuData, page_size: int, most: int) -> Iterator[Chunk]:
    """Chunks of uncompressed data: pages as the kernel wrote them.

    Raises ReadError when the file shrinks.
    """
    there = max(0, min(place.size, source.size - place.offset))
    whole = there // page_size * page_size
    at = 0
    while at < whole:
        length = min(most, whole - at)
        data = source.read_known(place.offset + at, length, f"data of CPU {place.cpu}")
        yield Chunk(data, at, length)
        at += length
    if whole < place.size:
        reason = (
            "the file ends before this CPU's data does"
            if there < place.size
            else "the last page is not whole"
        )
        offset = place.offset + whole
        yield Chunk(b"", whole, there - whole, place.size - whole, reason, offset)


def packed_chunks(
    container: Container,
    place: CpuData,
    page_size: int,
    most: int,
    unpack: Decompress,
    largest: int,
) -> Iterator[Chunk]:
    """Chunks of compressed data, several of the file's own joined up to `most` bytes.

    `largest` is how large one of the file's own may be.

    Layout: u32 number of chunks, then for each u32 compressed size, u32 uncompressed size, data
    (libtracecmd's trace-compress.c).  A chunk that does not decompress is a hole; a size that
    cannot be ends the CPU's data.  Raises ReadError when the file shrinks.
    """
    source = container.source
    order = ">" if container.big else "<"
    what = f"data of CPU {place.cpu}"
    end = min(place.offset + 4 + place.size, source.size)  # the size leaves out the count
    at, base = place.offset, 0
    if at + 4 > end:
        yield Chunk(b"", 0, 0, place.size, "the file ends before this CPU's data", at)
        return
    (count,) = struct.unpack(order + "I", source.read_known(at, 4, what))
    at += 4
    parts: list[bytes] = []
    gathered = consumed = 0
    window, window_at = b"", at
    for _ in range(count):
        reason = ""
        head = window[at - window_at : at - window_at + 8]
        if len(head) < 8:
            window_at, window = at, source.read_known(at, min(most, end - at), what)
            head = window[:8]
        if len(head) < 8:
            reason, missing = "the file ends before this CPU's data does", end - at
            packed = full = 0
        else:
            packed, full = struct.unpack(order + "II", head)
            missing = full
        if not reason and (
            full % page_size or full > largest or full > max(1 << 20, packed * _LARGEST_RATIO)
        ):
            reason = f"a chunk of {packed} bytes cannot have {full} bytes of pages in it"
        if not reason and at + 8 + packed > end:
            reason = "the file ends inside a chunk"
        broken = bool(reason)
        pages = b""
        if not broken:
            start = at + 8 - window_at
            if start + packed > len(window):
                window_at = at
                window = source.read_known(at, min(max(most, packed + 8), end - at), what)
                start = 8
            try:
                pages = unpack(window[start : start + packed], full)
            except DecompressError as error:
                reason = f"a chunk does not decompress: {error}"
            if not reason and len(pages) != full:
                reason = f"a chunk gives {len(pages)} bytes instead of {full}"
        if reason:
            if parts:
                yield Chunk(b"".join(parts), base, consumed)
                base, gathered, consumed, parts = base + gathered, 0, 0, []
            if broken:
                yield Chunk(b"", base, end - at + consumed, max(missing, 1), reason, at)
                return
            whole = pages[: len(pages) // page_size * page_size]
            if whole:
                yield Chunk(whole, base, 0)
            left = full - len(whole)
            yield Chunk(b"", base + len(whole), packed + 8, left, reason, at)
            base += full
        else:
            parts.append(pages)
            gathered += full
            consumed += packed + 8
            if gathered >= most:
                yield Chunk(b"".join(parts), base, consumed)
                base, gathered, consumed, parts = base + gathered, 0, 0, []
        at += 8 + packed
    if parts:
        yield Chunk(b"".join(parts), base, consumed)


def largest_chunk(cpus: int) -> int:
    """How many bytes one compressed chunk may unpack to, with so many CPUs."""
    return min(LARGEST_CHUNK, max(_LEAST_CHUNK, ALL_PACKED // max(cpus, 1)))


def chunks(
    container: Container,
    place: CpuData,
    page_size: int,
    most: int,
    unpack: Decompress | None,
    largest: int,
) -> Iterator[Chunk]:
    """All chunks of one CPU; nothing when it has no data.

    `unpack` is None for data that is not compressed, `largest` the largest compressed chunk.
    Raises ReadError when the file shrinks or fails meanwhile.
    """
    if place.size == 0:
        return iter(())
    if place.offset > container.source.size:
        reason = "the file ends before this CPU's data"
        return iter([Chunk(b"", 0, 0, place.size, reason, place.offset)])
    if unpack is not None:
        return packed_chunks(container, place, page_size, most, unpack, largest)
    return raw_chunks(container.source, place, page_size, most)
