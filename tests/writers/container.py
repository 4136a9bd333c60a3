"""trace.dat files as values: written as v6 or v7, and read back without the reader under test.

Layout as ``trace-cmd.dat.v6(5)`` and ``trace-cmd.dat.v7(5)`` give it.  A :class:`TraceFile` holds
the blocks both versions share byte for byte, the options, and the raw ring-buffer pages.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.writers.pages import Endian

if sys.version_info >= (3, 14):
    from compression import zstd

    def _zstd_compress(data: bytes) -> bytes:
        return zstd.compress(data, options={zstd.CompressionParameter.content_size_flag: 0})

    def _zstd_decompress(data: bytes, _size: int) -> bytes:
        return zstd.decompress(data)

else:
    import zstandard

    def _zstd_compress(data: bytes) -> bytes:
        return zstandard.ZstdCompressor(write_content_size=False).compress(data)

    def _zstd_decompress(data: bytes, size: int) -> bytes:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


Compression = Literal["none", "zlib", "zstd"]

MAGIC = b"\x17\x08\x44tracing"
DONE, DATE, CPUSTAT, BUFFER, TRACECLOCK, UNAME = 0, 1, 2, 3, 4, 5
OFFSET, CPUCOUNT, TIME_SHIFT, GUEST, TSC2NSEC, STRINGS = 7, 8, 12, 13, 14, 15
HEADERS, FTRACE, EVENTS, KALLSYMS, PRINTK, CMDLINES, BUFFER_TEXT = 16, 17, 18, 19, 20, 21, 22
SECTIONS = (HEADERS, FTRACE, EVENTS, KALLSYMS, PRINTK, CMDLINES)
CHUNK_PAGES = 10
NO_DESCRIPTION = 0xFFFFFFFF


@dataclass
class Buffer:
    """One ring buffer: the top one (name "") or an instance.  ``cpus``: CPU -> its raw pages."""

    name: str = ""
    clock: str = "mono"
    page_size: int = 4096
    cpus: dict[int, list[bytes]] = field(default_factory=dict)


@dataclass
class TraceFile:
    """A recording in pieces.

    ``blocks``: section id (16 to 21) -> its body, which is the same in v6 and v7.  ``options``:
    (id, data) pairs without pointers, BUFFER and DONE.  ``latency``: the text of a latency
    recording, which then has no buffers.
    """

    endian: Endian = "little"
    long_size: int = 8
    page_size: int = 4096
    blocks: dict[int, bytes] = field(default_factory=dict)
    options: list[tuple[int, bytes]] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    latency: bytes | None = None
    cpu_count: int | None = None  # v6 table length; None: as many as the highest CPU needs

    def to_bytes(
        self, version: int = 7, compression: Compression = "none", option_sections: int = 1
    ) -> bytes:
        """The whole file.  ``option_sections``: over how many sections v7 spreads its options."""
        if version == 6:
            return self._v6()
        return _V7(self, compression).build(option_sections)

    def word(self, value: int, size: int) -> bytes:
        """``value`` in this file's byte order."""
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, self.endian)

    def start(self, version: int) -> bytes:
        """The part both versions begin with."""
        head = MAGIC + str(version).encode() + b"\0"
        return (
            head
            + bytes([self.endian == "big", self.long_size])
            + self.page_size.to_bytes(4, self.endian)
        )

    def option(self, number: int, data: bytes) -> bytes:
        return self.word(number, 2) + self.word(len(data), 4) + data

    def _v6(self) -> bytes:
        """v6, strictly sequential: its instances' places are known only after the first try."""
        places = [0] * (len(self.buffers) - 1)
        while True:
            data, found = self._v6_at(places)
            if found == places:
                return data
            places = found

    def head_v6(self, places: list[int] | None = None) -> bytes:
        """Everything before the top buffer's ``flyrecord``; ``places`` of the instances."""
        out = self.start(6) + b"".join(self.blocks[s] for s in SECTIONS)
        out += self.word(self._cpus_v6(), 4)
        if self.latency is not None:
            return out + b"latency  \0" + self.latency
        out += b"options  \0"
        for number, data in self.options:
            # The clock itself stands after the CPU table; the option only announces it.
            out += self.option(number, b"" if number == TRACECLOCK else data)
        for buffer, place in zip(self.buffers[1:], places or [], strict=True):
            out += self.option(BUFFER, self.word(place, 8) + buffer.name.encode() + b"\0")
        return out + self.word(DONE, 2)

    def clock_v6(self, buffer: Buffer) -> bytes:
        """What follows the CPU table when a TRACECLOCK option announced it."""
        if TRACECLOCK not in dict(self.options):
            return b""
        text = clock_text(buffer.clock)
        return self.word(len(text), 8) + text

    def _cpus_v6(self) -> int:
        return self.cpu_count or max((max(b.cpus, default=-1) for b in self.buffers), default=0) + 1

    def _v6_at(self, places: list[int]) -> tuple[bytes, list[int]]:
        out = bytearray(self.head_v6(places))
        found: list[int] = []
        for number, buffer in enumerate(self.buffers):
            if number:
                found.append(len(out))
            out += b"flyrecord\0"
            table = len(out)
            clock = self.clock_v6(buffer)
            cpus = self._cpus_v6()
            out += bytes(16 * cpus) + clock
            for cpu in range(cpus):
                out += bytes(-len(out) % buffer.page_size)
                data = b"".join(buffer.cpus.get(cpu, ()))
                out[table + 16 * cpu : table + 16 * cpu + 16] = self.word(len(out), 8) + self.word(
                    len(data), 8
                )
                out += data
        return bytes(out), found


def clock_text(clock: str) -> bytes:
    """``trace_clock`` with the one in use in brackets."""
    names = ["local", "global", "counter", "uptime", "perf", "mono", "mono_raw", "boot", "tai"]
    if clock not in names:
        names.append(clock)
    return (" ".join(f"[{n}]" if n == clock else n for n in names) + "\n").encode() + b"\0"


def compress(data: bytes, compression: Compression) -> bytes:
    """One chunk.  trace-cmd writes zstd frames without their content size; so does this."""
    if compression == "zlib":
        return zlib.compress(data)
    return _zstd_compress(data)


class _V7:
    def __init__(self, trace: TraceFile, compression: Compression):
        self.trace, self.compression = trace, compression
        self.word = trace.word
        version = {"none": b"", "zlib": b"1.3.1", "zstd": b"1.5.4"}[compression]
        self.out = bytearray(trace.start(7) + compression.encode() + b"\0" + version + b"\0")
        self.strings = bytearray()

    def build(self, option_sections: int) -> bytes:
        first_pointer = len(self.out)
        self.out += bytes(8)
        trace = self.trace
        options = [(s, self.word(self._section(s, trace.blocks[s]), 8)) for s in SECTIONS]
        options += [(n, clock_fixed(d) if n == TRACECLOCK else d) for n, d in trace.options]
        size = -(-len(options) // option_sections)
        pointer = first_pointer
        for at in range(0, len(options), size):
            pointer = self._options(pointer, options[at : at + size])
        if trace.latency is not None:
            place = self._section(BUFFER_TEXT, trace.latency)
            last = [(BUFFER_TEXT, self.word(place, 8) + b"\0mono\0")]
        else:
            last = [(BUFFER, self._buffer(buffer)) for buffer in trace.buffers]
        self._options(pointer, last)
        self._section(STRINGS, bytes(self.strings))
        return bytes(self.out)

    def _patch(self, at: int, value: int, size: int) -> None:
        self.out[at : at + size] = self.word(value, size)

    def _header(self, number: int, size: int, compressed: bool) -> None:
        described = NO_DESCRIPTION
        if number != STRINGS:
            described = len(self.strings)
            self.strings += f"section {number}".encode() + b"\0"
        self.out += self.word(number, 2) + self.word(compressed, 2)
        self.out += self.word(described, 4) + self.word(size, 8)

    def _section(self, number: int, data: bytes, plain: bool = False) -> int:
        place = len(self.out)
        compressed = self.compression != "none" and not plain
        if compressed:
            packed = compress(data, self.compression)
            data = self.word(len(packed), 4) + self.word(len(data), 4) + packed
        self._header(number, len(data), compressed)
        self.out += data
        return place

    def _options(self, pointer: int, options: list[tuple[int, bytes]]) -> int:
        """Append an OPTIONS section, point ``pointer`` at it; returns where its DONE points."""
        body = b"".join(self.trace.option(n, d) for n, d in options)
        body += self.trace.option(DONE, bytes(8))
        place = self._section(0, body, plain=True)
        self._patch(pointer, place, 8)
        return len(self.out) - 8

    def _buffer(self, buffer: Buffer) -> bytes:
        compressed = self.compression != "none"
        place = len(self.out)
        self._header(BUFFER, 0, compressed)
        begin = len(self.out)
        table = bytearray()
        for cpu, pages in buffer.cpus.items():
            self.out += bytes(-len(self.out) % self.trace.page_size)
            at = len(self.out)
            if compressed:
                size = self._chunks(pages)
            else:
                self.out += b"".join(pages)
                size = len(self.out) - at
            table += self.word(cpu, 4) + self.word(at, 8) + self.word(size, 8)
        self._patch(begin - 8, len(self.out) - begin, 8)
        names = buffer.name.encode() + b"\0" + buffer.clock.encode() + b"\0"
        sizes = self.word(buffer.page_size, 4) + self.word(len(buffer.cpus), 4)
        return self.word(place, 8) + names + sizes + bytes(table)

    def _chunks(self, pages: list[bytes]) -> int:
        """Compressed pages; the size libtracecmd writes does not count the chunk count itself."""
        groups = [pages[i : i + CHUNK_PAGES] for i in range(0, len(pages), CHUNK_PAGES)]
        if not groups:
            return 0
        self.out += self.word(len(groups), 4)
        begin = len(self.out)
        for group in groups:
            data = b"".join(group)
            packed = compress(data, self.compression)
            self.out += self.word(len(packed), 4) + self.word(len(data), 4) + packed
        return len(self.out) - begin


def clock_fixed(text: bytes) -> bytes:
    """A TRACECLOCK option's text, which must not be empty in v7."""
    return text or clock_text("mono")


# --- reading back ------------------------------------------------------------------------------


class Bytes:
    """A cursor over a file's bytes in its own byte order."""

    def __init__(self, data: bytes, endian: Endian, at: int = 0):
        self.data, self.endian, self.at = data, endian, at

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ValueError(f"the file ends at {len(self.data)}, {size} bytes wanted at {self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def int(self, size: int) -> int:
        return int.from_bytes(self.take(size), self.endian)

    def string(self) -> str:
        end = self.data.index(b"\0", self.at)
        return self.take(end + 1 - self.at)[:-1].decode()


def read(path: Path) -> TraceFile:
    """A well-formed trace.dat (v6 or v7) as a :class:`TraceFile`; ValueError otherwise."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise ValueError(f"{path}: not a trace.dat")
    start = Bytes(data, "little", len(MAGIC))
    version = int(start.string())
    endian: Endian = "big" if start.int(1) else "little"
    cursor = Bytes(data, endian, start.at)
    trace = TraceFile(endian, long_size=cursor.int(1), page_size=cursor.int(4))
    if version == 6:
        _read_v6(trace, cursor)
    else:
        _read_v7(trace, cursor)
    return trace


def _split(data: bytes, page_size: int) -> list[bytes]:
    return [data[i : i + page_size] for i in range(0, len(data), page_size)]


def _blocks_v6(cursor: Bytes) -> Iterator[tuple[int, bytes]]:
    begin = cursor.at
    for section in SECTIONS:
        if section == HEADERS:
            for _ in range(2):
                cursor.string()
                cursor.take(cursor.int(8))
        elif section == FTRACE:
            for _ in range(cursor.int(4)):
                cursor.take(cursor.int(8))
        elif section == EVENTS:
            for _ in range(cursor.int(4)):
                cursor.string()
                for _ in range(cursor.int(4)):
                    cursor.take(cursor.int(8))
        else:
            cursor.take(cursor.int(8 if section == CMDLINES else 4))
        yield section, cursor.data[begin : cursor.at]
        begin = cursor.at


def _read_v6(trace: TraceFile, cursor: Bytes) -> None:
    trace.blocks = dict(_blocks_v6(cursor))
    cpus = cursor.int(4)
    places: list[tuple[int, str]] = []
    word = cursor.take(10)
    if word == b"options  \0":
        while number := cursor.int(2):
            body = Bytes(cursor.take(cursor.int(4)), trace.endian)
            if number == BUFFER:
                places.append((body.int(8), body.string()))
            else:
                trace.options.append((number, body.data))
        word = cursor.take(10)
    if word == b"latency  \0":
        trace.latency = cursor.data[cursor.at :]
        return
    announced = TRACECLOCK in dict(trace.options)
    for place, name in [(cursor.at, ""), *places]:
        cursor.at = place
        if name:
            word = cursor.take(10)
            if word == b"options  \0":
                while cursor.int(2):
                    cursor.take(cursor.int(4))
                word = cursor.take(10)
        if word != b"flyrecord\0":
            raise ValueError(f"flyrecord expected before byte {cursor.at}, not {word!r}")
        table = [(cursor.int(8), cursor.int(8)) for _ in range(cpus)]
        text = cursor.take(cursor.int(8)) if announced else b""
        clock = text.partition(b"[")[2].partition(b"]")[0].decode() or "local"
        buffer = Buffer(name, clock, trace.page_size)
        for cpu, (at, size) in enumerate(table):
            buffer.cpus[cpu] = _split(cursor.data[at : at + size], trace.page_size)
        trace.buffers.append(buffer)
        if text and not name:
            trace.options = [(n, text if n == TRACECLOCK else d) for n, d in trace.options]


def _read_v7(trace: TraceFile, cursor: Bytes) -> None:
    compression = cursor.string()
    cursor.string()
    following = cursor.int(8)

    def body(at: int) -> Bytes:
        section = Bytes(cursor.data, trace.endian, at)
        section.take(2)
        compressed = section.int(2) & 1
        section.take(4)
        size = section.int(8)
        return Bytes(
            unpack(section, compression) if compressed else section.take(size), trace.endian
        )

    while following:
        options = body(following)
        following = 0
        while options.at < len(options.data):
            number, size = options.int(2), options.int(4)
            option = Bytes(options.take(size), trace.endian)
            if number == DONE:
                following = option.int(8)
                break
            if number == BUFFER:
                trace.buffers.append(_read_buffer(trace, cursor.data, option, compression))
            elif number in SECTIONS:
                trace.blocks[number] = body(option.int(8)).data
            else:
                trace.options.append((number, option.data))


def unpack(cursor: Bytes, compression: str) -> bytes:
    """One compressed chunk: both sizes, then the data."""
    packed, plain = cursor.int(4), cursor.int(4)
    data = cursor.take(packed)
    if compression == "zlib":
        return zlib.decompress(data)
    return _zstd_decompress(data, plain)


def _read_buffer(trace: TraceFile, data: bytes, option: Bytes, compression: str) -> Buffer:
    option.int(8)
    buffer = Buffer(option.string(), option.string(), option.int(4))
    for _ in range(option.int(4)):
        cpu, at, size = option.int(4), option.int(8), option.int(8)
        raw = b""
        if size and compression == "none":
            raw = data[at : at + size]
        elif size:
            chunks = Bytes(data, trace.endian, at)
            raw = b"".join(unpack(chunks, compression) for _ in range(chunks.int(4)))
        buffer.cpus[cpu] = _split(raw, buffer.page_size)
    return buffer
