"""A trace.dat without the names that are in it: the same events, times, order and losses."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import IO

from fputrace.events import Kind, Trace
from fputrace.parsers import layout
from fputrace.parsers.container import GUEST, UNAME, VERSION, apart
from fputrace.parsers.pages import PagePacker
from fputrace.parsers.passes import Plan, blocks_of
from fputrace.parsers.tracedat import formats_of, trace_of
from fputrace.rewrite.fields import RecordCleaner
from fputrace.rewrite.head import clock_of, cmdlines_of, cpustat, head_of, symbols_for
from fputrace.rewrite.names import Names
from fputrace.rewrite.records import rows_of
from fputrace.rewrite.tracefile import Ring, write

Progress = Callable[[Trace], None]

_VERSION = re.compile(rb"[0-9][0-9.]{0,15}")
_LINE = re.compile(rb"(\S+) (\S) (\S+)(?:\s+\[(\S+)\])?.*", re.S)
_OWN_MODULES = (b"kvm", b"kvm_intel", b"kvm_amd", b"irqbypass")
_OWN_INSTANCE = re.compile(r"fputrace-(?:dry)?\d+")  # as fputrace record names its own


class Spool:
    """Pages of many CPUs in one temporary file, each to be had in order."""

    def __init__(self, file: IO[bytes], page_size: int) -> None:
        self._file = file
        self._page_size = page_size
        self._places: dict[int, list[int]] = {}
        self._pages = 0

    def add(self, cpu: int, pages: list[bytes]) -> None:
        """Append pages of a CPU; the list is emptied."""
        if pages:
            self._file.seek(self._pages * self._page_size)
        for page in pages:
            self._file.write(page)
            self._places.setdefault(cpu, []).append(self._pages)
            self._pages += 1
        pages.clear()

    def pages(self, cpu: int) -> Iterator[bytes]:
        """A CPU's pages."""
        for number in self._places.get(cpu, ()):
            self._file.seek(number * self._page_size)
            yield self._file.read(self._page_size)


def redact_tracedat(
    trace: Trace, plan: Plan, names: Names, out: IO[bytes], progress: Progress | None = None
) -> int:
    """Write a recording with new names to a file that can be sought in; the number of its events.

    The version and the compression stay.  Raises ReadError as the recording's file does, OSError
    when there is no room.
    """
    container = plan.container
    rings: list[Ring] = []
    lost: list[tuple[int, bytes]] = []
    comms: dict[int, str] = {}
    events = 0
    with ExitStack() as stack:
        for name, one, its in _buffers(trace, plan):
            file = stack.enter_context(tempfile.TemporaryFile(prefix="fputrace-"))
            spool = Spool(file, its.page_size)
            packers = _fill(one, its, names, spool, progress)
            new = name if _OWN_INSTANCE.fullmatch(name) else names.host(name)
            cpus: list[tuple[int, Iterable[bytes]]] = [
                (place.cpu, spool.pages(place.cpu)) for place in its.buffer.cpus
            ]
            rings.append(Ring(new, clock_of(one), cpus))
            lost += _statistics(new, one, its)
            comms |= {pid: names.comm(comm) for pid, comm in one.comms.items()}
            events += sum(packer.records for packer in packers.values())
        head = head_of(trace, plan, plan.page_size)
        head.printk = b""
        head.cmdlines = cmdlines_of(comms)
        head.options = [_option(number, data, names, head.big) for number, data in head.options]
        head.options += lost
        lines = symbols_for(container, names.functions)
        head.kallsyms = b"".join(_symbol(line, names) for _, line in lines)
        if not rings or rings[0].name:
            rings.insert(0, Ring("", rings[0].clock if rings else "local", []))
        write(out, head, rings, container.version, container.compression)
    return events


def _buffers(trace: Trace, plan: Plan) -> Iterator[tuple[str, Trace, Plan]]:
    """Every ring buffer, the top one first."""
    container = plan.container
    for buffer in sorted(container.buffers, key=lambda buffer: buffer.name != ""):
        if buffer.name == plan.buffer.name:
            yield buffer.name, trace, plan
        elif not buffer.latency and any(place.size for place in buffer.cpus):
            buffer.cpus = apart(container, buffer)
            one, its = trace_of(container, buffer, formats_of(container))
            one._blocks = blocks_of(its)
            yield buffer.name, one, its


def _fill(
    trace: Trace,
    plan: Plan,
    names: Names,
    spool: Spool,
    progress: Progress | None,
) -> dict[int, PagePacker]:
    """Put a buffer's records, with new names, into pages."""
    big, long_size = plan.container.big, int(plan.geometry[layout.LONG])
    head = int(plan.geometry[layout.HEAD])
    cleaner = RecordCleaner(names, big, long_size)
    packers = {place.cpu: PagePacker(big, long_size, plan.page_size) for place in plan.buffer.cpus}
    formats = plan.table.formats
    for rows in rows_of(trace, plan, progress):
        block = rows.block
        columns = (block.cpu, rows.raw_ts, block.kind, block.event)
        for row, (cpu, ts, kind, event) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            packer = packers[cpu]
            if event >= 0:
                payload = cleaner.clean(formats[event], rows.records.payload(row), head)
                if len(payload) <= packer.largest():
                    packer.record(ts, payload)
                else:
                    packer.lost(1)
            elif kind == Kind.LOSS:
                packer.lost(rows.lost_before(row))
            if len(packer.pages) > 64:
                spool.add(cpu, packer.pages)
    for cpu, packer in packers.items():
        spool.add(cpu, packer.finish())
    return packers


def _statistics(name: str, trace: Trace, plan: Plan) -> list[tuple[int, bytes]]:
    """What the statistics of each CPU counted, and what else was lost nobody knows where."""
    other: dict[int, int] = {}
    for loss in trace.losses:
        told_elsewhere = "statistics of CPU" in loss.where or "hits of the probe" in loss.where
        if not loss.placed and not told_elsewhere:
            for cpu in trace.cpus if loss.cpu is None else [loss.cpu]:
                other[cpu] = other.get(cpu, 0) + (loss.count or 1)
    found = []
    for cpu in sorted({*plan.overruns, *other}):
        over, dropped = plan.overruns.get(cpu, (0, 0))
        found.append(cpustat(cpu, over, dropped + other.get(cpu, 0)))
    if found and name:
        found.insert(0, (found[0][0], b"\nBuffer: " + name.encode() + b"\n\n\0"))
    return found


def _option(number: int, data: bytes, names: Names, big: bool) -> tuple[int, bytes]:
    """An option with new names."""
    if number == UNAME:
        words = data.partition(b"\0")[0].decode("utf-8", "backslashreplace").split()
        if len(words) >= 3:
            words = ["Linux", names.host(words[1]), words[2], *words[-1:]]
            data = " ".join(words).encode() + b"\0"
        else:
            data = b"\0"
    elif number == VERSION:
        version = _VERSION.match(data)
        data = (version[0] if version else b"") + b"\0"
    elif number == GUEST:
        name, _, rest = data.partition(b"\0")
        new = names.host(name.decode("utf-8", "backslashreplace"))
        data = new.encode("utf-8", "replace") + b"\0" + rest
    return number, data


def _symbol(line: bytes, names: Names) -> bytes:
    """A line of kallsyms at its new address; functions of the house's modules get new names."""
    match = _LINE.fullmatch(line)
    if match is None:
        return b""
    address, kind, name, module = match.groups()
    value = int(address, 16)
    value = names.pointer(value) if names.is_kernel(value) else value
    if module is not None and module not in _OWN_MODULES:
        name = names.symbol(name.decode("ascii", "backslashreplace")).encode()
        module = names.symbol(module.decode("ascii", "backslashreplace")).encode()
    end = b"\t[" + module + b"]\n" if module is not None else b"\n"
    return b"%0*x %s %s" % (len(address), value, kind, name) + end
