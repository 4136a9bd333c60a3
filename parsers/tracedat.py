"""trace.dat, as ``trace-cmd record`` writes it: versions 6 and 7, none, zlib and zstd.

Facts: trace-cmd's trace-cmd.dat.v6 and .v7 manual pages, libtracecmd's trace-input.c, and the
kernel's kernel/trace/ring_buffer.c for the pages.  Times come out in ns of the recording's clock
(raw clocks: in that clock's own unit) after the corrections the file asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fputrace.errors import FormatError, UsageError
from fputrace.events import EventBlock, EventFormat, Trace
from fputrace.parsers import layout
from fputrace.parsers.clocks import slack_of
from fputrace.parsers.container import MAGIC, Buffer, Container, apart, read_start
from fputrace.parsers.container6 import read_v6
from fputrace.parsers.container7 import read_v7
from fputrace.parsers.formats import parse_fields, parse_format
from fputrace.parsers.options import read_options
from fputrace.parsers.passes import Plan, blocks_of, geometry_of
from fputrace.parsers.records import RecordDecoder
from fputrace.parsers.source import Source
from fputrace.parsers.symbols import find_symbols
from fputrace.parsers.tables import EventTable

LARGEST_PAGE = 1 << 20
"""Twice the largest sub-buffer of x86: 128 pages (kernel/trace/ring_buffer.c, order 7)."""

ALL_PAGES = 1 << 28
"""Bytes of one page of each CPU, which all are in memory at once."""


def sniff(head: bytes) -> bool:
    """Whether a file beginning like this is a trace.dat, of whatever version."""
    return head.startswith(MAGIC)


_NR_CPUS = 8192
"""The most CPUs that Linux on x86 can be built for (NR_CPUS_RANGE_END)."""


def open_tracedat(
    fd: int,
    path: str,
    *,
    instance: str | None = None,
    blocks_of: Callable[[Plan], Callable[[Trace], Iterator[EventBlock]]] = blocks_of,
) -> Trace:
    """Open a trace.dat.  The descriptor belongs to the trace from now on.

    `instance` names a ring buffer other than the top one; `blocks_of` reads the events.
    Raises FormatError when the file is no trace.dat or breaks off before its events, UsageError
    when there is no such instance.
    """
    source = Source(fd, path)
    try:
        container, cursor = read_start(source)
        if container.version == 6:
            read_v6(container, cursor)
        else:
            read_v7(container, cursor)
        buffer = _choose_buffer(container, instance)
        buffer.cpus = apart(container, buffer)
        trace, plan = trace_of(container, buffer, formats_of(container))
    except BaseException:
        source.close()
        raise
    trace.broken = list(container.notes)
    trace._blocks = blocks_of(plan)
    trace._close = source.close
    return trace


def _choose_buffer(container: Container, instance: str | None) -> Buffer:
    names = [buffer.name for buffer in container.buffers]
    wanted = instance or ""
    full = [other for other in container.buffers if any(place.size for place in other.cpus)]
    if instance is None and len(full) == 1 and len(full) < len(names):
        # trace-cmd record -B keeps the top buffer out of it, as fputrace record has it done.
        wanted = full[0].name
    if wanted not in names:
        if instance:
            known = ", ".join(name for name in names if name) or "none"
            raise UsageError(
                f"{container.path}: there is no instance {instance!r}",
                hint=f"Instances in this recording: {known}.",
            )
        raise FormatError(
            "the table that says where each CPU's events are is missing",
            path=container.path,
            offset=container.source.size,
            hint="The file is truncated: its end is not there. "
            + (f"({container.notes[0]})" if container.notes else "Copy it again."),
        )
    buffer = container.buffers[names.index(wanted)]
    if buffer.latency:
        raise FormatError(
            "this is a latency trace: it holds the text of tracefs' `trace` file, no events",
            path=container.path,
            hint="Record events instead: trace-cmd record -e x86_fpu -e kvm:kvm_fpu -e sched ...",
        )
    return buffer


def formats_of(container: Container) -> list[EventFormat]:
    """Every event's format; those that cannot be read become a note."""
    forms = [parse_format(text, "ftrace") for text in container.ftrace_formats]
    forms += [parse_format(text, system) for system, text in container.event_formats]
    good = [form for form in forms if form is not None]
    if len(good) < len(forms):
        container.notes.append(
            f"{container.path}: {len(forms) - len(good)} event formats cannot be read"
        )
    return good


def trace_of(container: Container, buffer: Buffer, forms: list[EventFormat]) -> tuple[Trace, Plan]:
    """What a container says of itself, and how to read the events of one of its buffers.

    Raises FormatError when there is less than a page of data where some was announced.
    """
    trace = Trace(container.path, f"trace.dat v{container.version}")
    if container.version == 7 and container.compression != "none":
        trace.format += f" {container.compression}"
    trace.cpus = sorted({place.cpu for place in buffer.cpus})
    trace.instances = [other.name for other in container.buffers if other.name]
    told = read_options(container, buffer, trace)
    # Version 7 lists CPUs with data only; the others were there too, idle or masked.
    trace.cpus = sorted({*trace.cpus, *(cpu for cpu in told.overruns if cpu < _NR_CPUS)})
    for form in forms:
        trace.formats[form.key] = form
    symbols = find_symbols(container.kallsyms())
    trace.has_kallsyms = symbols.any_text
    trace.symbols = symbols.first
    table = EventTable(trace, forms, symbols)
    page_size, geometry = _geometry(container, buffer, table, trace.clock)
    there = [min(place.size, container.source.size - place.offset) for place in buffer.cpus]
    trace.total_bytes = sum(size for size in there if size > 0)
    least = 12 if buffer.compressed else page_size
    if buffer.cpus and any(place.size for place in buffer.cpus) and max(there) < least:
        first = min((place for place in buffer.cpus if place.size), key=lambda place: place.offset)
        size = first.size if first.path else container.source.size
        raise FormatError(
            f"expected the events here, but the file has {size} bytes",
            path=first.path or container.path,
            offset=0 if first.path else first.offset,
            hint="The end of the file is not there; copy it again from where it was recorded.",
        )
    comms = {0: "<idle>", **cmdlines(container.cmdlines)}
    trace.comms = dict(comms)
    trace.notes = list(container.notes)
    plan = Plan(
        container,
        buffer,
        page_size,
        geometry,
        table,
        told.correction,
        RecordDecoder(container.big, int(geometry[layout.LONG])),
        comms,
        list(container.notes),
        told.overruns,
    )
    trace._plan = plan
    return trace, plan


def cmdlines(text: bytes) -> dict[int, str]:
    """``PID COMM`` lines; a comm may contain blanks."""
    comms = {}
    for line in text.split(b"\0")[0].split(b"\n"):
        pid, _, comm = line.strip(b"\r").partition(b" ")
        if pid.isdigit() and len(pid) < 10 and comm:
            comms[int(pid)] = comm.decode("utf-8", "backslashreplace")
    return comms


def _geometry(
    container: Container, buffer: Buffer, table: EventTable, clock: str | None
) -> tuple[int, np.ndarray]:
    """Page size, and the walk's array of what is where in a page and a record.

    ``header_page`` says it; where that is missing, the layout all kernels have had so far.
    """
    fields = {field.name: field for field in parse_fields(container.header_page)}
    stamp, commit, data = fields.get("timestamp"), fields.get("commit"), fields.get("data")
    long_size = container.long_size
    places = (0, 8, 8 + long_size)
    told_size = 0
    if stamp and commit and data and commit.size in (4, 8) and stamp.size == 8:
        aligned = all(place.offset % 4 == 0 for place in (stamp, commit, data))
        if aligned and max(stamp.offset + 8, commit.offset + commit.size) <= data.offset:
            long_size = commit.size
            places = (stamp.offset, commit.offset, data.offset)
            told_size = data.offset + data.size
    elif container.header_page:
        container.notes.append(
            f"{container.path}: header_page cannot be read; the usual layout is assumed"
        )
    page_size = next(
        (
            size
            for size in (buffer.page_size, told_size, container.page_size)
            if places[2] + 8 <= size <= LARGEST_PAGE and size % 4 == 0
        ),
        0,
    )
    if not page_size:
        raise FormatError(
            f"pages of {container.page_size} bytes cannot be", path=container.path, offset=0
        )
    if page_size * sum(place.size > 0 for place in buffer.cpus) > ALL_PAGES:
        raise FormatError(
            f"pages of {page_size} bytes on {len(buffer.cpus)} CPUs are more than is kept in "
            f"memory ({ALL_PAGES >> 20} MiB)",
            path=container.path,
        )
    geometry = geometry_of(table, container.big, slack_of(clock))
    geometry[layout.PAGE_SIZE] = page_size
    geometry[layout.TIME_OFF], geometry[layout.COMMIT_OFF], geometry[layout.DATA_OFF] = places
    geometry[layout.LONG] = long_size
    return page_size, geometry
