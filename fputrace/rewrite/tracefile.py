"""Writes a trace.dat of version 6 or 7; ring-buffer pages come as they are needed.

Layout: trace-cmd's trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import IO

from fputrace.errors import UsageError
from fputrace.parsers.compression import zstd_module
from fputrace.parsers.container import (
    BUFFER,
    CMDLINES,
    CPUCOUNT,
    DONE,
    EVENT_FORMATS,
    FTRACE_EVENTS,
    HEADER_INFO,
    KALLSYMS,
    MAGIC,
    PRINTK,
    STRINGS,
    TRACECLOCK,
)
from fputrace.plain import plain

COMPRESSIONS = ("none", "zlib", "zstd")
"""How version 7 can be compressed; version 6 never is."""

_CHUNK_PAGES = 10  # as trace-cmd writes them
_CLOCKS = ("local", "global", "counter", "uptime", "perf", "mono", "mono_raw", "boot", "tai")
_DESCRIPTIONS = {
    DONE: "options",
    BUFFER: "buffer flyrecord",
    HEADER_INFO: "headers",
    FTRACE_EVENTS: "ftrace events",
    EVENT_FORMATS: "events format",
    KALLSYMS: "kallsyms",
    PRINTK: "trace_printk",
    CMDLINES: "command lines",
}
_NO_DESCRIPTION = 0xFFFFFFFF

HEADER_EVENT = b"""\
# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""
"""What tracefs' ``header_event`` says on every kernel (kernel/trace/ring_buffer.c)."""


def header_page(page_size: int, long_size: int) -> bytes:
    """Tracefs' ``header_page``: time, commit word of the kernel's long, data (ring_buffer.c)."""
    data = 8 + long_size
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        f"\tfield: local_t commit;\toffset:8;\tsize:{long_size};\tsigned:1;\n"
        "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        f"\tfield: char data;\toffset:{data};\tsize:{page_size - data};\tsigned:1;\n"
    ).encode()


def clock_text(clock: str) -> bytes:
    """Tracefs' ``trace_clock`` with the one in use in brackets."""
    names = [*_CLOCKS, *([] if clock in _CLOCKS else [clock])]
    told = " ".join(f"[{name}]" if name == clock else name for name in names)
    return told.encode("ascii", "replace") + b"\n\0"


@plain
class Head:
    """All that a trace.dat holds besides its events.

    ``options``: ids and bytes, without those that point at sections and without TRACECLOCK.
    """

    big: bool
    long_size: int
    page_size: int
    header_page: bytes
    header_event: bytes = HEADER_EVENT
    ftrace_formats: list[bytes] = field(default_factory=list)
    event_formats: list[tuple[str, bytes]] = field(default_factory=list)
    kallsyms: bytes = b""
    printk: bytes = b""
    cmdlines: bytes = b""
    options: list[tuple[int, bytes]] = field(default_factory=list)

    def pack(self, form: str, *values: int) -> bytes:
        """Integers in this recording's byte order."""
        return struct.pack((">" if self.big else "<") + form, *values)

    def blocks(self) -> Iterable[tuple[int, bytes]]:
        """Steps 1 to 6 of version 6, which are the sections 16 to 21 of version 7."""
        yield (
            HEADER_INFO,
            b"header_page\0"
            + self._sized("Q", self.header_page)
            + b"header_event\0"
            + self._sized("Q", self.header_event),
        )
        formats = b"".join(self._sized("Q", text) for text in self.ftrace_formats)
        yield FTRACE_EVENTS, self.pack("I", len(self.ftrace_formats)) + formats
        yield EVENT_FORMATS, self._systems()
        yield KALLSYMS, self._sized("I", self.kallsyms)
        yield PRINTK, self._sized("I", self.printk)
        yield CMDLINES, self._sized("Q", self.cmdlines)

    def _systems(self) -> bytes:
        systems: dict[str, list[bytes]] = {}
        for system, text in self.event_formats:
            systems.setdefault(system, []).append(text)
        parts = [self.pack("I", len(systems))]
        for system, texts in systems.items():
            parts.append(system.encode("utf-8", "replace") + b"\0" + self.pack("I", len(texts)))
            parts += [self._sized("Q", text) for text in texts]
        return b"".join(parts)

    def _sized(self, form: str, text: bytes) -> bytes:
        return self.pack(form, len(text)) + text


@plain
class Ring:
    """One ring buffer: the top one (name "") or an instance.

    ``cpus``: CPU number and its pages, each piece of whole ones.
    """

    name: str
    clock: str
    cpus: list[tuple[int, Iterable[bytes]]]


def write(
    out: IO[bytes], head: Head, rings: list[Ring], version: int = 7, compression: str = "zstd"
) -> None:
    """Write a trace.dat to a file that can be sought in.

    Raises UsageError when the compression's module is missing, OSError as the file does.
    """
    if version == 6:
        _write_v6(out, head, rings)
    else:
        _V7(out, head, compression).write(rings)


def _start(head: Head, version: int) -> bytes:
    text = MAGIC + str(version).encode() + b"\0" + bytes([head.big, head.long_size])
    return text + head.pack("I", head.page_size)


def _align(out: IO[bytes], size: int) -> int:
    out.write(bytes(-out.tell() % size))
    return out.tell()


def _patch(out: IO[bytes], at: int, data: bytes) -> None:
    end = out.tell()
    out.seek(at)
    out.write(data)
    out.seek(end)


def _write_v6(out: IO[bytes], head: Head, rings: list[Ring]) -> None:
    """Blocks one after the other; where an instance is, is known when what precedes it is there."""
    count = 1 + max((cpu for ring in rings for cpu, _ in ring.cpus), default=0)
    out.write(_start(head, 6))
    for _, block in head.blocks():
        out.write(block)
    out.write(head.pack("I", count) + b"options  \0")
    # The clock itself stands behind the table; its option only announces it.
    options = [(TRACECLOCK, b""), (CPUCOUNT, head.pack("I", count))]
    options += [(number, data) for number, data in head.options if number != CPUCOUNT]
    for number, data in options:
        out.write(head.pack("HI", number, len(data)) + data)
    places = []
    for ring in rings[1:]:
        data = bytes(8) + ring.name.encode("utf-8", "replace") + b"\0"
        out.write(head.pack("HI", BUFFER, len(data)))
        places.append(out.tell())
        out.write(data)
    out.write(head.pack("H", DONE))
    for number, ring in enumerate(rings):
        if number:
            _patch(out, places[number - 1], head.pack("Q", out.tell()))
        out.write(b"flyrecord\0")
        table = out.tell()
        clock = clock_text(ring.clock)
        out.write(bytes(16 * count) + head.pack("Q", len(clock)) + clock)
        pages = dict(ring.cpus)
        for cpu in range(count):
            begin = _align(out, head.page_size)
            for piece in pages.get(cpu, ()):
                out.write(piece)
            place = head.pack("QQ", begin, out.tell() - begin)
            _patch(out, table + 16 * cpu, place)


class _V7:
    def __init__(self, out: IO[bytes], head: Head, compression: str) -> None:
        self.out, self.head, self.compression = out, head, compression
        self.squeeze, self.version = _squeezer(compression)
        self.strings = bytearray()

    def write(self, rings: list[Ring]) -> None:
        out, head = self.out, self.head
        names = self.compression.encode() + b"\0" + self.version.encode() + b"\0"
        out.write(_start(head, 7) + names)
        pointer = out.tell()
        out.write(bytes(8))
        options = []
        for number, block in head.blocks():
            options.append((number, head.pack("Q", self._section(number, block))))
        if rings:
            options.append((TRACECLOCK, clock_text(rings[0].clock)))
        pointer = self._options(pointer, options + head.options)
        self._options(pointer, [(BUFFER, self._buffer(ring)) for ring in rings])
        self._header(STRINGS, len(self.strings), False)
        out.write(self.strings)

    def _header(self, number: int, size: int, compressed: bool) -> None:
        described = _NO_DESCRIPTION
        if number in _DESCRIPTIONS:
            described = len(self.strings)
            self.strings += _DESCRIPTIONS[number].encode() + b"\0"
        self.out.write(self.head.pack("HHIQ", number, compressed, described, size))

    def _section(self, number: int, data: bytes, plain: bool = False) -> int:
        """Append a section; its offset."""
        place = self.out.tell()
        compressed = self.squeeze is not None and not plain
        if compressed:
            data = self._packed(data)
        self._header(number, len(data), compressed)
        self.out.write(data)
        return place

    def _packed(self, data: bytes) -> bytes:
        assert self.squeeze is not None
        packed = self.squeeze(data)
        return self.head.pack("II", len(packed), len(data)) + packed

    def _options(self, pointer: int, options: list[tuple[int, bytes]]) -> int:
        """Append an OPTIONS section and point at it; returns where it points at the next."""
        parts = [self.head.pack("HI", number, len(data)) + data for number, data in options]
        done = self.head.pack("HI", DONE, 8) + bytes(8)
        place = self._section(DONE, b"".join(parts) + done, plain=True)
        _patch(self.out, pointer, self.head.pack("Q", place))
        return self.out.tell() - 8

    def _buffer(self, ring: Ring) -> bytes:
        """Append a BUFFER section; the option that describes it."""
        out, head = self.out, self.head
        place = out.tell()
        self._header(BUFFER, 0, self.squeeze is not None)
        begin = out.tell()
        table = bytearray()
        for cpu, pieces in ring.cpus:
            at = _align(out, head.page_size)
            size = self._data(pieces)
            table += head.pack("IQQ", cpu, at, size)
        _patch(out, begin - 8, head.pack("Q", out.tell() - begin))
        names = ring.name.encode("utf-8", "replace") + b"\0" + ring.clock.encode() + b"\0"
        sizes = head.pack("II", head.page_size, len(ring.cpus))
        return head.pack("Q", place) + names + sizes + bytes(table)

    def _data(self, pieces: Iterable[bytes]) -> int:
        """One CPU's pages; the size, which leaves out the number of chunks."""
        out, begin = self.out, self.out.tell()
        if self.squeeze is None:
            for piece in pieces:
                out.write(piece)
            return out.tell() - begin
        out.write(bytes(4))
        count = 0
        waiting = bytearray()
        step = _CHUNK_PAGES * self.head.page_size
        for piece in pieces:
            waiting += piece
            while len(waiting) >= step:
                out.write(self._packed(bytes(waiting[:step])))
                del waiting[:step]
                count += 1
        if waiting:
            out.write(self._packed(bytes(waiting)))
            count += 1
        if not count:
            out.seek(begin)
            out.truncate()
            return 0
        _patch(out, begin, self.head.pack("I", count))
        return out.tell() - begin - 4


def _squeezer(compression: str) -> tuple[Callable[[bytes], bytes] | None, str]:
    """What compresses one chunk, and its library's version; None for "none"."""
    if compression == "none":
        return None, ""
    if compression == "zlib":
        return zlib.compress, zlib.ZLIB_RUNTIME_VERSION
    if compression != "zstd":
        raise UsageError(f"there is no compression {compression!r} in a trace.dat")
    module = zstd_module()
    # libtracecmd's frames do not say their size; what reads them may rely on it.
    if hasattr(module, "ZSTD_VERSION"):
        engine = module.ZstdCompressor(level=9, write_content_size=False)
        return engine.compress, ".".join(map(str, module.ZSTD_VERSION))
    flag = module.CompressionParameter.content_size_flag
    return lambda data: bytes(module.compress(data, options={flag: 0})), module.zstd_version
