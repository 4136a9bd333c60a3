"""trace.dat version 6: blocks one after the other, lengths only inside them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from fputrace.errors import FormatError, TraceError
from fputrace.parsers.compression import PIECE
from fputrace.parsers.container import (
    BUFFER,
    CPUCOUNT,
    DONE,
    LARGEST_TEXT,
    MOST_CPUS,
    TRACECLOCK,
    Buffer,
    Container,
    CpuData,
    Option,
    read_event_formats,
    read_ftrace_formats,
    read_headers,
)
from fputrace.parsers.source import Cursor, Source


def read_v6(container: Container, cursor: Cursor) -> None:
    """Fill the container from the blocks behind the common start.

    Raises FormatError when the file breaks off before the table that says where the data is.
    """
    source = container.source
    read_headers(container, cursor)
    read_ftrace_formats(container, cursor)
    read_event_formats(container, cursor)

    size = cursor.u32("size of kallsyms")
    at = cursor.at
    _skip(cursor, size, "kallsyms")
    container.kallsyms = partial(_pieces, source, at, size)
    size = cursor.u32("size of the printk formats")
    container.printk = partial(_text, source, cursor.at, size)
    _skip(cursor, size, "printk formats")
    size = cursor.u64("size of the command lines")
    if size > LARGEST_TEXT:
        raise FormatError(
            f"command lines of {size} bytes cannot be", path=source.path, offset=cursor.at
        )
    container.cmdlines = cursor.take(size, "command lines")
    cpus = cursor.u32("number of CPUs")
    container.buffers.append(_read_buffer(container, cursor, "", cpus))
    for option in [option for option in container.options if option.id == BUFFER]:
        inner = Cursor(source, 0, container.big, option.data, option.offset)
        offset = inner.u64("offset of an instance")
        name = option.data[8:].split(b"\0")[0].decode("utf-8", "backslashreplace")
        instance = Cursor(source, offset, container.big)
        try:
            container.buffers.append(_read_buffer(container, instance, name, cpus))
        except TraceError as error:
            container.notes.append(f"instance {name!r} cannot be read: {error.message}")


def _skip(cursor: Cursor, size: int, what: str) -> None:
    """Go over `size` bytes that must be there."""
    if cursor.at + size > cursor.source.size:
        raise FormatError(
            f"{what}: expected {size} bytes here, but the file has {cursor.source.size}",
            path=cursor.source.path,
            offset=cursor.at,
            hint="The file is truncated or damaged; copy it again from where it was recorded.",
        )
    cursor.at += size


def _pieces(source: Source, at: int, size: int) -> Iterator[bytes]:
    for start in range(0, size, PIECE):
        yield source.read_known(at + start, min(PIECE, size - start), "kallsyms")


def _text(source: Source, at: int, size: int) -> bytes:
    return source.read_known(at, min(size, LARGEST_TEXT), "printk formats")


def _read_buffer(container: Container, cursor: Cursor, name: str, cpus: int) -> Buffer:
    """Options and CPU table at the cursor (steps 8 to 10); the top buffer's options are kept."""
    own: list[Option] = []
    kind = cursor.take(10, "type of the data")
    if kind.startswith(b"options"):
        own = list(_read_options(cursor))
        if name == "":
            container.options = own
        kind = cursor.take(10, "type of the data")
    if kind.startswith(b"latency"):
        return Buffer(name, [], latency=True)
    if not kind.startswith(b"flyrecord"):
        raise FormatError(
            f"expected 'options', 'latency' or 'flyrecord', found {kind!r}",
            path=container.path,
            offset=cursor.at - 10,
        )
    if cpus > MOST_CPUS or cpus * 16 > container.source.size - cursor.at:
        raise FormatError(
            f"a table of {cpus} CPUs cannot be here", path=container.path, offset=cursor.at
        )
    table = [
        CpuData(cpu, cursor.u64("data offset"), cursor.u64("data size")) for cpu in range(cpus)
    ]
    clock = ""
    if any(option.id == TRACECLOCK for option in container.options):
        for option in container.options:
            # An empty pair pads the table for readers that believe CPUCOUNT.
            if option.id == CPUCOUNT and len(option.data) >= 4:
                more = Cursor(cursor.source, 0, container.big, option.data).u32("CPU count")
                if more > cpus:
                    cursor.take(16, "padding of the CPU table")
        clock = _read_clock(container, cursor)
    return Buffer(name, table, clock, compressed=False)


def _read_clock(container: Container, cursor: Cursor) -> str:
    """The text of ``trace_clock``; a file that lacks it is still readable."""
    try:
        size = cursor.u64("size of the clock's text")
        if size <= 4096:
            return cursor.take(size, "clock").decode("ascii", "replace").strip("\0\n ")
    except TraceError:
        pass
    container.note("the name of the clock cannot be read", cursor.at)
    return ""


def _read_options(cursor: Cursor) -> Iterator[Option]:
    while True:
        number = cursor.u16("option")
        if number == DONE:
            return
        size = cursor.u32("size of an option")
        at = cursor.at
        yield Option(number, cursor.take(size, "option"), at)
