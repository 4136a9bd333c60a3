"""The container of trace.dat: its blocks and options, not yet what they mean.

Version 6 is one sequence of blocks without lengths around them, version 7 a chain of sections
(trace-cmd's Documentation/trace-cmd/trace-cmd.dat.v6.5.txt and v7).  Both come out as one
:class:`Container`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from itertools import pairwise

from fputrace.errors import FormatError
from fputrace.parsers.source import Cursor, Source
from fputrace.plain import PlainTuple, plain

MAGIC = b"\x17\x08\x44tracing"
LARGEST_TEXT = 1 << 26
"""Bytes of the largest block of formats or command lines this reads."""

MOST_CPUS = 1 << 13
"""What x86 kernels can be built for (arch/x86/Kconfig, NR_CPUS_RANGE_END)."""

# Option and section ids (trace-cmd: include/trace-cmd/trace-cmd-private.h).
DONE, DATE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, HOOK, OFFSET = range(8)
CPUCOUNT, VERSION, PROCMAPS, TRACEID, TIME_SHIFT, GUEST, TSC2NSEC, STRINGS = range(8, 16)
HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES, BUFFER_TEXT = range(16, 23)
LARGEST_SECTION = 31


class Option(PlainTuple):
    """One option: its id, its bytes, and where in the file they are."""

    id: int
    data: bytes
    offset: int


class CpuData(PlainTuple):
    """Where one CPU's ring-buffer data is in the file, in bytes.

    ``path``: the file this data is all of, for messages; "" when it is the recording itself.
    ``origin``: for pages that were made here, what in the recording a byte of this data is from.
    """

    cpu: int
    offset: int
    size: int
    path: str = ""
    origin: Callable[[int], str] | None = None

    def place(self, at: int) -> str:
        """A byte of this CPU's data in words."""
        return self.origin(at) if self.origin else f"page at byte {at} of CPU {self.cpu}"


@plain
class Buffer:
    """One ring buffer: the top one (name "") or an instance."""

    name: str
    cpus: list[CpuData]
    clock: str = ""
    page_size: int = 0
    compressed: bool = False
    latency: bool = False


@plain
class Container:
    """What a trace.dat holds.

    ``kallsyms`` yields its text in pieces and ``printk`` gives the formats of trace_printk(), both
    read when asked for.
    """

    source: Source
    version: int
    big: bool
    long_size: int
    page_size: int
    compression: str = "none"
    header_page: bytes = b""
    ftrace_formats: list[bytes] = field(default_factory=list)
    event_formats: list[tuple[str, bytes]] = field(default_factory=list)
    header_event: bytes = b""
    kallsyms: Callable[[], Iterator[bytes]] = lambda: iter(())
    printk: Callable[[], bytes] = lambda: b""
    cmdlines: bytes = b""
    options: list[Option] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Name of the file, for messages."""
        return self.source.path

    def note(self, sentence: str, offset: int) -> None:
        """Remember damage at an offset of the file."""
        self.notes.append(f"{self.path} at byte {offset} (0x{offset:x}): {sentence}")


def read_start(source: Source) -> tuple[Container, Cursor]:
    """The part that v6 and v7 have in common; the cursor stands behind it.

    Raises FormatError when this is no trace.dat of a version that this reads.
    """
    head = source.read(0, min(source.size, len(MAGIC)), "magic")
    if head != MAGIC:
        raise FormatError(
            f"expected the magic {MAGIC!r} of trace.dat, found {head!r}",
            path=source.path,
            offset=0,
            hint="Leave --format-in away: what it is, is found from its content.",
        )
    cursor = Cursor(source, len(MAGIC), big=False)
    at = cursor.at
    text = cursor.string("version", 16)
    version = int(text) if text.isdigit() else -1
    if version not in (6, 7):
        raise FormatError(
            f"trace.dat version {text.decode('ascii', 'backslashreplace')!r}: this version reads "
            "6 and 7",
            path=source.path,
            offset=at,
            hint="Convert it: trace-cmd convert --file-version 7 -i IN -o OUT",
        )
    at = cursor.at
    endian, long_size = cursor.take(2, "endianness and long size")
    if endian > 1 or long_size not in (4, 8):
        raise FormatError(
            "expected endianness 0 or 1 and a long of 4 or 8 bytes, "
            f"found {endian} and {long_size}",
            path=source.path,
            offset=at,
        )
    cursor.order = ">" if endian else "<"
    page_size = cursor.u32("page size")
    return Container(source, version, bool(endian), long_size, page_size), cursor


def read_headers(container: Container, cursor: Cursor) -> None:
    """``header_page`` and ``header_event``: step 1 of v6, the body of section 16 of v7."""
    for name in (b"header_page\0", b"header_event\0"):
        at = cursor.at
        found = cursor.take(len(name), name[:-1].decode())
        if found != name:
            raise FormatError(f"expected {name!r}, found {found!r}", path=container.path, offset=at)
        size = cursor.u64("size of the header text")
        text = cursor.take(_text_size(container, size, cursor.at), "header text")
        if name.startswith(b"header_page"):
            container.header_page = text
        else:
            container.header_event = text


def _text_size(container: Container, size: int, at: int) -> int:
    """The size when it can be that of a text, FormatError otherwise."""
    if size > LARGEST_TEXT:
        raise FormatError(f"a text of {size} bytes cannot be", path=container.path, offset=at)
    return size


def _count(container: Container, cursor: Cursor, what: str) -> int:
    """A number of formats: event ids have 16 bits, so no more can be in use."""
    count = cursor.u32(f"number of {what}")
    if count + len(container.event_formats) > 1 << 17:
        raise FormatError(f"{count} {what} cannot be", path=container.path, offset=cursor.at - 4)
    return count


def read_ftrace_formats(container: Container, cursor: Cursor) -> None:
    """Formats of the ``ftrace`` system: step 2 of v6, section 17 of v7."""
    for _ in range(_count(container, cursor, "ftrace formats")):
        size = cursor.u64("size of an ftrace format")
        text = cursor.take(_text_size(container, size, cursor.at), "ftrace format")
        container.ftrace_formats.append(text)


def read_event_formats(container: Container, cursor: Cursor) -> None:
    """Formats of all other systems: step 3 of v6, section 18 of v7."""
    for _ in range(_count(container, cursor, "event systems")):
        system = cursor.string("name of an event system").decode("utf-8", "backslashreplace")
        for _ in range(_count(container, cursor, "events of a system")):
            size = cursor.u64("size of an event format")
            text = cursor.take(_text_size(container, size, cursor.at), "event format")
            container.event_formats.append((system, text))


def read_buffer_option(container: Container, option: Option, latency: bool) -> Buffer:
    """The BUFFER option of v7: a ring buffer and its CPU table."""
    cursor = Cursor(container.source, 0, container.big, option.data, option.offset)
    cursor.u64("offset of the buffer section")
    name = cursor.string("buffer name").decode("utf-8", "backslashreplace")
    clock = cursor.string("buffer clock").decode("utf-8", "backslashreplace").strip()
    if latency:
        return Buffer(name, [], clock, latency=True)
    page_size = cursor.u32("page size of the buffer")
    cpus = [
        CpuData(cursor.u32("CPU"), cursor.u64("data offset"), cursor.u64("data size"))
        for _ in range(cursor.u32("number of CPUs"))
    ]
    highest = max((place.cpu for place in cpus), default=0)
    if highest >= MOST_CPUS or len(cpus) > MOST_CPUS:
        raise FormatError(
            f"{len(cpus)} CPUs up to number {highest} cannot be",
            path=container.path,
            offset=option.offset,
        )
    return Buffer(name, cpus, clock, page_size, container.compression != "none")


def apart(container: Container, buffer: Buffer) -> list[CpuData]:
    """The CPUs' data without what two of them claim: it ends where the next CPU's begins.

    Pages do not say whose they are; read twice, they would be events that never happened.  Raises
    FormatError when a CPU is there twice.
    """
    count = 4 if buffer.compressed else 0  # the number of chunks, which the size leaves out
    ordered = sorted((place for place in buffer.cpus if place.size), key=lambda place: place.offset)
    if len({place.cpu for place in ordered}) < len(ordered):
        raise FormatError("the table of CPUs has one of them twice", path=container.path)
    sizes = {place.cpu: place.size for place in ordered}
    cut: list[CpuData] = []
    for place, following in pairwise(ordered):
        room = following.offset - place.offset
        if place.size + count > room:
            sizes[place.cpu] = max(0, room - count)
            cut.append(following)
    if cut:
        more = f", and so does that of {len(cut) - 1} more CPUs" if len(cut) > 1 else ""
        container.note(
            f"the data before CPU {cut[0].cpu}'s runs into it and is read up to there{more}",
            cut[0].offset,
        )
    return [place._replace(size=sizes.get(place.cpu, 0)) for place in buffer.cpus]
