"""trace.dat version 7: sections found through a chain of OPTIONS sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from fputrace.errors import FormatError, TraceError
from fputrace.parsers.compression import PIECE, DecompressError, engine_for, pieces
from fputrace.parsers.container import (
    BUFFER,
    BUFFER_TEXT,
    CMDLINES,
    CPUSTAT,
    DONE,
    EVENT_FORMATS,
    FTRACE_EVENTS,
    HEADER_INFO,
    KALLSYMS,
    LARGEST_SECTION,
    LARGEST_TEXT,
    PRINTK,
    STRINGS,
    Buffer,
    Container,
    CpuData,
    Option,
    read_buffer_option,
    read_event_formats,
    read_ftrace_formats,
    read_headers,
)
from fputrace.parsers.source import Cursor
from fputrace.plain import PlainTuple

_LARGEST_RATIO = 1024
"""Text does not compress better than this; what claims to is damaged or hostile."""

_NO_STRING = 0xFFFFFFFF
_MOST_SECTIONS = 1 << 16  # a recording has 20, and one for each instance

_STATS = re.compile(rb"^(CPU|entries|read events):\s*(\d{1,9})", re.M)


class _Section(PlainTuple):
    """A section's id, where its body is, and the body's size once decompressed."""

    id: int
    at: int
    size: int
    compressed: bool
    full: int


def _section(container: Container, offset: int) -> _Section:
    """The section header at `offset`, with the sizes checked."""
    cursor = Cursor(container.source, offset, container.big)
    number, flags = cursor.u16("section id"), cursor.u16("section flags")
    cursor.u32("section description")
    size = cursor.u64("section size")
    if size > container.source.size - cursor.at:
        raise FormatError(
            f"section {number} of {size} bytes reaches beyond the file's "
            f"{container.source.size} bytes",
            path=container.path,
            offset=offset,
            hint="The file is truncated or damaged; copy it again from where it was recorded.",
        )
    if not flags & 1 or number == BUFFER:
        return _Section(number, cursor.at, size, False, size)
    packed, full = cursor.u32("compressed size"), cursor.u32("uncompressed size")
    if packed > size - 8 or full > max(PIECE, packed * _LARGEST_RATIO) or full > LARGEST_TEXT:
        raise FormatError(
            f"section {number}: {packed} bytes compressed from {full} cannot be in {size} bytes",
            path=container.path,
            offset=offset,
        )
    return _Section(number, cursor.at, packed, True, full)


def _body(container: Container, section: _Section) -> Iterator[bytes]:
    """The section's bytes in pieces, as many as can be had; damage is noted."""
    what = f"section {section.id}"
    if not section.compressed:
        for start in range(0, section.size, PIECE):
            length = min(PIECE, section.size - start)
            yield container.source.read_known(section.at + start, length, what)
        return
    packed = container.source.read_known(section.at, section.size, what)
    got = 0
    try:
        for piece in pieces(container.compression, packed, section.full):
            got += len(piece)
            yield piece
    except DecompressError as error:
        container.note(f"{what} does not decompress: {error}", section.at)
        return
    if got < section.full:
        container.note(f"{what} has {got} of {section.full} bytes", section.at)


def read_v7(container: Container, cursor: Cursor) -> None:
    """Fill the container from the sections the options chain names.

    Raises FormatError when not even the first OPTIONS section can be read.
    """
    at = cursor.at
    container.compression = cursor.string("compression", 32).decode("ascii", "backslashreplace")
    cursor.string("version of the compression", 256)
    engine_for(container.compression, container.path, at)
    first = cursor.u64("offset of the first options")
    start = cursor.at
    broken = ""
    try:
        _read_chain(container, first)
    except FormatError as error:
        broken = str(error).splitlines()[0]
    for option in container.options:
        _read_option(container, option)
    if container.buffers:
        _check_end(container, start)
    else:
        _salvage(container, start, broken)


def _read_chain(container: Container, offset: int) -> None:
    """All options of the chain; a broken link ends it and is noted."""
    seen: set[int] = set()
    while offset:
        if offset in seen:
            container.note("the chain of options runs in a circle", offset)
            return
        seen.add(offset)
        try:
            section = _section(container, offset)
            if section.id != DONE:
                raise FormatError(
                    f"expected an OPTIONS section (0), found section {section.id}",
                    path=container.path,
                    offset=offset,
                )
            body = b"".join(_body(container, section))
        except FormatError as error:
            if len(seen) == 1:
                raise
            container.notes.append(str(error).splitlines()[0])
            return
        offset = _read_options(container, body, section)


def _read_options(container: Container, body: bytes, section: _Section) -> int:
    """The options of one section; returns the offset of the next section, 0 at the end."""
    cursor = Cursor(container.source, 0, container.big, body, section.at)
    try:
        while True:
            number = cursor.u16("option")
            size = cursor.u32("size of an option")
            at = section.at + (0 if section.compressed else cursor.at)
            data = cursor.take(size, f"option {number}")
            if number == DONE:
                return Cursor(container.source, 0, container.big, data, at).u64("next options")
            container.options.append(Option(number, data, at))
    except FormatError as error:
        container.notes.append(str(error).splitlines()[0])
        return 0


def _read_option(container: Container, option: Option) -> None:
    """What an option points at; a section that cannot be read is noted and left out."""
    try:
        if option.id in (BUFFER, BUFFER_TEXT):
            container.buffers.append(
                read_buffer_option(container, option, option.id == BUFFER_TEXT)
            )
            return
        if option.id == PRINTK:
            container.printk = partial(_printk, container, option)
            return
        if option.id not in (HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, CMDLINES):
            return
        offset = Cursor(container.source, 0, container.big, option.data, option.offset).u64(
            "offset of a section"
        )
        section = _section(container, offset)
        if section.id != option.id:
            raise FormatError(
                f"expected section {option.id}, found section {section.id}",
                path=container.path,
                offset=offset,
            )
        if option.id == KALLSYMS:
            container.kallsyms = lambda: _kallsyms(container, section)
            return
        body = b"".join(_body(container, section))
        inside = Cursor(container.source, 0, container.big, body, section.at)
        if option.id == HEADER_INFO:
            read_headers(container, inside)
        elif option.id == FTRACE_EVENTS:
            read_ftrace_formats(container, inside)
        elif option.id == EVENT_FORMATS:
            read_event_formats(container, inside)
        else:
            size = inside.u64("size of the command lines")
            container.cmdlines = inside.take(min(size, len(body) - 8), "command lines")
    except TraceError as error:
        container.notes.append(str(error).splitlines()[0])


def _kallsyms(container: Container, section: _Section) -> Iterator[bytes]:
    """The text behind the section's own u32 size."""
    skip = 4
    for piece in _body(container, section):
        yield piece[skip:]
        skip = max(0, skip - len(piece))


def _printk(container: Container, option: Option) -> bytes:
    """The formats of trace_printk(), which events do not need: b"" where they cannot be read."""
    try:
        cursor = Cursor(container.source, 0, container.big, option.data, option.offset)
        section = _section(container, cursor.u64("offset of a section"))
    except TraceError:
        return b""
    return b"".join(_body(container, section))[4:] if section.id == PRINTK else b""


def _walk_sections(container: Container, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Id, offset, size and string id of every section: they lie back to back from `start` on.

    The last one may reach beyond the file.  Ends where something else stands, and behind
    _MOST_SECTIONS: zeros behind a recording read like sections without anything in them.
    """
    at = start
    for _ in range(_MOST_SECTIONS):
        if at + 16 > container.source.size:
            return
        cursor = Cursor(container.source, at, container.big)
        number, _flags, name = cursor.u16("id"), cursor.u16("flags"), cursor.u32("string id")
        if number > LARGEST_SECTION:
            return
        size = cursor.u64("section size")
        yield number, at, size, name
        at += 16 + size


def _check_end(container: Container, start: int) -> None:
    """Note when the file ends inside a section, be it one that nobody needs."""
    end = start
    named = strings = False
    for number, at, size, name in _walk_sections(container, start):
        named = named or name != _NO_STRING
        strings = strings or number == STRINGS
        end = at + 16 + size
        if end > container.source.size:
            container.note(f"the file ends inside section {number}", container.source.size)
            return
    if named and not strings:
        container.note("the section of strings, the last one, is missing", container.source.size)
    elif end < container.source.size < end + 16:
        container.note("the file ends inside the head of a section", container.source.size)


def _salvage(container: Container, start: int, broken: str) -> None:
    """Read a file whose end, and so the table of its data, is missing.

    The CPUs of compressed data can still be told apart; raises FormatError when there are none.
    """
    container.options.clear()
    container.ftrace_formats.clear()
    container.event_formats.clear()
    data_at = reached = 0
    size = container.source.size
    for number, at, length, _ in _walk_sections(container, start):
        body_at = reached = at + 16
        if number == BUFFER:
            data_at = data_at or body_at
        elif length > size - body_at:
            break
        elif number == DONE:
            body = container.source.read(body_at, length, "options")
            _read_options(container, body, _Section(DONE, body_at, length, False, length))
        else:
            pointer = at.to_bytes(8, "big" if container.big else "little")
            _read_option(container, Option(number, pointer, at))
    for option in container.options:
        if option.id == BUFFER:
            _read_option(container, option)
    if broken:
        container.notes.append(broken)
    if container.buffers:
        return
    places = _salvage_cpus(container, data_at) if data_at else []
    if not places:
        raise FormatError(
            "the table that says where each CPU's events are is missing",
            path=container.path,
            offset=reached,
            hint="The end of the file is not there; copy it again from where it was recorded.",
        )
    container.buffers.append(Buffer("", places, "", container.page_size, compressed=True))
    container.notes.append(
        f"{container.path}: the end of the file is missing, and the table of its data with it; "
        "CPUs are numbered in the order in which they lie"
    )


def _salvage_cpus(container: Container, data_at: int) -> list[CpuData]:
    """The runs of compressed chunks from `data_at` on, each page-aligned."""
    if container.compression == "none" or not 0 < container.page_size <= 1 << 24:
        return []
    size = container.source.size
    told = _cpus_with_data(container)
    names = told or list(range(4096))
    places: list[CpuData] = []
    at = -(-data_at // container.page_size) * container.page_size
    while at + 12 <= size and len(places) < len(names):
        begin = at
        count = Cursor(container.source, at, container.big).u32("number of chunks")
        at += 4
        for _ in range(count):
            if at + 8 > size:
                at = size + 1
                break
            cursor = Cursor(container.source, at, container.big)
            packed, full = cursor.u32("packed"), cursor.u32("full")
            if packed == 0 or full == 0 or full % container.page_size:
                return places
            at += 8 + packed
        # What the last CPU lacks is not known; one byte stands for it.
        length = at - begin - 4 if at <= size else size - begin + 1
        places.append(CpuData(names[len(places)], begin, length))
        at = -(-at // container.page_size) * container.page_size
    if places and told:
        places += [CpuData(cpu, size, 1) for cpu in names[len(places) :]]
    return places


def _cpus_with_data(container: Container) -> list[int]:
    """CPUs that had events, by their statistics; empty where there are none."""
    names = []
    for option in container.options:
        if option.id == CPUSTAT:
            found = {key: int(value) for key, value in _STATS.findall(option.data)}
            if b"CPU" in found and found.get(b"entries", 1) + found.get(b"read events", 1):
                names.append(found[b"CPU"])
    return names
