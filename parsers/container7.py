"""trace.dat version 7: sections found through a chain of OPTIONS sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fputrace.errors import FormatError, TraceError
from fputrace.parsers.compression import PIECE, Damaged, engine_for, pieces
from fputrace.parsers.container import (
    BUFFER,
    BUFFER_TEXT,
    CMDLINES,
    DONE,
    EVENT_FORMATS,
    FTRACE_EVENTS,
    HEADER_INFO,
    KALLSYMS,
    LARGEST_TEXT,
    Container,
    Option,
    read_buffer_option,
    read_event_formats,
    read_ftrace_formats,
    read_headers,
)
from fputrace.parsers.source import Cursor

_LARGEST_RATIO = 1024
"""Text does not compress better than this; what claims to is damaged or hostile."""


class _Section(NamedTuple):
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
    except Damaged as error:
        container.note(f"{what} does not decompress: {error}", section.at)
        return
    if got < section.full:
        container.note(f"{what} has {got} of {section.full} bytes", section.at)


def read_v7(container: Container, cursor: Cursor) -> None:
    """Fill the container from the sections the options chain names.

    Raises FormatError when not even the first OPTIONS section can be read.
    """
    container.compression = cursor.string("compression", 32).decode("ascii", "backslashreplace")
    cursor.string("version of the compression", 256)
    engine_for(container.compression)
    first = cursor.u64("offset of the first options")
    _read_chain(container, first)
    for option in container.options:
        _read_option(container, option)


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
        if option.id not in (HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, CMDLINES):
            return
        offset = Cursor(
            container.source, 0, container.big, option.data, option.offset
        ).u64("offset of a section")
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
