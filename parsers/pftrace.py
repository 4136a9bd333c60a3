"""Perfetto recordings (.pftrace): the ftrace events in them.

A file is a protobuf message ``Trace`` (protos/perfetto/trace/trace.proto in Perfetto's sources):
packets, one after the other, of which each says something about the machine or holds the events
of one CPU for a while (ftrace_event_bundle.proto).  Each packet is read once, when the file is
opened; its events become records in pages, and :mod:`fputrace.parsers.rebuild` does the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import field

from fputrace.errors import FormatError
from fputrace.events import Loss, Trace
from fputrace.parsers.compression import DecompressError, pieces
from fputrace.parsers.container import MOST_CPUS, CpuData
from fputrace.parsers.ftracebundles import Bundles
from fputrace.parsers.protobuf import LEN, ProtobufError, fields, text, varint
from fputrace.parsers.rebuild import MadePages, Parts, Spool, add_after_passes, open_parts
from fputrace.parsers.unpack import Budget, Window, pieces_of
from fputrace.plain import plain

LARGEST_PACKET = 1 << 23
"""Bytes of the largest packet that is read (Perfetto's bundles of events have some 100 KiB)."""

_SPOOL_FREE = 1 << 26
_SPOOL_RATIO = 32  # bytes of pages for each byte of packets: a compact switch of 8 becomes 76
_MOST_NOTES = 8
_MOST_NAMES = 1 << 17  # of tasks, of each machine
_MOST_MACHINES = 8
_MOST_PARTS = 1 << 12  # of one packet that are read; Perfetto writes one or two
_LARGEST_NUMBER = 4095  # of a packet's fields that sniff() believes; 200 exist

# Fields of TracePacket (trace_packet.proto).
_FTRACE_EVENTS, _PROCESS_TREE, _SEQUENCE = 1, 2, 10
_TRACE_CONFIG, _FTRACE_STATS, _DROPPED, _SYSTEM_INFO, _MACHINE_ID = 33, 34, 42, 45, 98
_READ = frozenset([_FTRACE_EVENTS, _PROCESS_TREE, _TRACE_CONFIG, _FTRACE_STATS, _SYSTEM_INFO])
_PACKED = {50: "zlib", 133: "zstd"}

_CLOCKS = {0: "boot", 2: "global", 3: "local", 4: "mono_raw"}
"""FtraceClock; where nothing is said it is boot (FtraceController's first choice)."""

_TIDS_TO_TRACE = 35
"""Of FtraceConfig."""

# Of FtraceStats and FtraceCpuStats.
_START_OF_TRACE, _END_OF_TRACE = 1, 2
_COUNTERS = {3: b"overrun", 4: b"commit overrun", 8: b"dropped events"}


def sniff(head: bytes) -> bool:
    """Whether a file that begins so is a Perfetto recording: packets, each a message."""
    at = found = 0
    while at < len(head):
        try:
            if head[at] != _FTRACE_EVENTS << 3 | LEN:
                return False
            size, start = varint(head, at + 1, len(head))
        except ProtobufError:
            break  # the head ends here
        if size > LARGEST_PACKET:
            break
        body = head[start : start + size].ljust(size, b"\0")
        try:
            for number, _, _ in fields(body, 0, size):
                found += 1
                if number > _LARGEST_NUMBER:
                    return False
        except ProtobufError as error:
            if start + error.at < len(head):  # and not in what is not seen
                return False
        at = start + size
    return found > 0


def open_pftrace(fd: int, path: str, most: int | None = None) -> Trace:
    """Read a Perfetto recording; the descriptor is closed.

    ``most``: bytes that its packets may unpack to, None for those of parsers/unpack.py.

    Raises FormatError when there are no ftrace events in it or they would fill the disk,
    ReadError when the file or the temporary file cannot be read or written.
    """
    try:
        reader = _Reader(path, os.fstat(fd).st_size, most)
        try:
            reader.read(Window(pieces_of(fd, reader.budget, seekable=True)))
            return reader.trace()
        finally:
            reader.spool.close()
    finally:
        os.close(fd)


@plain
class _Machine:
    """What packets say that hold no events."""

    release: str = ""
    cpus: set[int] = field(default_factory=set)
    names: dict[int, bytes] = field(default_factory=dict)
    stats: dict[tuple[int, int], dict[int, dict[int, int]]] = field(default_factory=dict)
    """(sequence, CPU) -> phase -> counter (field number) -> value."""
    left_out: dict[str, None] = field(default_factory=dict)


class _Reader:
    """Reads all packets: events into pages, the rest into plain values."""

    def __init__(self, path: str, size: int, most: int | None) -> None:
        self.path = path
        self.budget = Budget(path, size, most)
        self.spool = Spool(path)
        self.bundles = Bundles(self.spool, self._note)
        self.machines: dict[int, _Machine] = {0: _Machine()}
        self.machine_of: dict[int, _Machine] = {}
        self.filtered = False
        self.losses: list[Loss] = []
        self.notes: list[str] = []
        self.damaged = 0

    # --- packets ------------------------------------------------------------------------------

    def read(self, window: Window, inside: int | None = None) -> None:
        """All packets of a stream; `inside` is the packet that it was unpacked from."""
        for at, data in self._packets(window, inside):
            self.spool.allowed = _SPOOL_FREE + _SPOOL_RATIO * (
                self.budget.read + self.budget.unpacked
            )
            try:
                self._packet(data, at, inside is None)
            except ProtobufError as error:
                self._damage(at, f"a packet cannot be read: {error}")

    def _packets(self, window: Window, inside: int | None) -> Iterator[tuple[int, bytes]]:
        """Where each packet begins in the file, and its bytes; ends where the stream breaks."""
        while head := window.head(20):
            start = window.at
            at = start if inside is None else inside
            try:
                tag, behind = varint(head, 0, len(head))
                size, behind = varint(head, behind, len(head))
            except ProtobufError as error:
                self._damage(at, f"no packet begins here: {error}", at_end=inside is None)
                return
            if tag != _FTRACE_EVENTS << 3 | LEN:
                self._damage(at, f"expected a packet, found the tag {tag}", at_end=inside is None)
                return
            window.exactly(behind)
            if size > LARGEST_PACKET:
                skipped = sum(len(piece) for piece in window.pieces(size))
                if skipped == size:
                    self._damage(at, f"a packet of {size} bytes is left out")
                    continue
                data = b""
            else:
                data = window.exactly(size)
            if len(data) < size:
                self._damage(at, "the file ends inside a packet", at_end=inside is None)
                return
            yield at, data

    def _damage(self, at: int, what: str, at_end: bool = False) -> None:
        """Something that may have held events of any CPU cannot be read."""
        self._note(at, what)
        if len(self.losses) < _MOST_NOTES or at_end:
            where = f"packet at byte {at}: {what}"
            self.losses.append(Loss(None, None, None, None, where, severity="damaged"))
        self.bundles.lost(at)

    def _note(self, at: int, what: str) -> None:
        self.damaged += 1
        if self.damaged <= _MOST_NOTES:
            self.notes.append(f"{self.path}, packet at byte {at} (0x{at:x}): {what}")

    def _packet(self, data: bytes, at: int, may_unpack: bool) -> None:
        sequence = dropped = machine_id = 0
        ranges: list[tuple[int, int, int]] = []
        for number, value, stop in fields(data, 0, len(data)):
            if stop < 0:
                if number == _SEQUENCE:
                    sequence = value
                elif number == _DROPPED:
                    dropped = value
                elif number == _MACHINE_ID:
                    machine_id = value
            elif number in _READ or number in _PACKED:
                ranges.append((number, value, stop))
                if len(ranges) > _MOST_PARTS:
                    raise ProtobufError(value, f"more than {_MOST_PARTS} parts")
        if dropped:
            self.bundles.lost(at, sequence)
        if machine_id not in self.machines and len(self.machines) < _MOST_MACHINES:
            self.machines[machine_id] = _Machine()
        machine = self.machines.get(machine_id, self.machines[0])
        for number, start, stop in ranges:
            if number == _FTRACE_EVENTS:
                if len(self.machine_of) < MOST_CPUS:
                    self.machine_of.setdefault(sequence, machine)
                self.bundles.read(data, start, stop, sequence, at)
            elif number in _PACKED and may_unpack:
                self._unpack(_PACKED[number], data[start:stop], at)
            elif number == _PROCESS_TREE:
                _read_names(machine, data, start, stop)
            elif number == _FTRACE_STATS:
                _read_stats(machine, sequence, data, start, stop)
            elif number == _SYSTEM_INFO:
                _read_system(machine, data, start, stop)
            elif number == _TRACE_CONFIG:
                self.filtered |= _has_filter(data, start, stop)

    def _unpack(self, compression: str, data: bytes, at: int) -> None:
        def counted() -> Iterator[bytes]:
            for piece in pieces(compression, data, 1 << 62):
                self.budget.add(len(piece))
                yield piece

        try:
            self.read(Window(counted()), at)
        except DecompressError as error:
            self._damage(at, f"its {compression} data does not decompress: {error}")

    # --- the trace ----------------------------------------------------------------------------

    def trace(self) -> Trace:
        """What was read, as a trace.  Raises FormatError when there are no events in it."""
        bundles = self.bundles
        bundles.finish()
        sources: dict[int, list[int]] = {}
        for (sequence, _), cpu in bundles.cpus.items():
            total = sources.setdefault(sequence, [0, 0])
            total[0] += cpu.known
            total[1] += cpu.writer.records
        chosen = max(sources, key=lambda sequence: sources[sequence], default=-1)
        if not sources or not sources[chosen][1]:
            why = f" ({self.notes[0]})" if self.notes else ""
            raise FormatError(
                f"this Perfetto recording holds no ftrace events{why}", path=self.path, hint=_HINT
            )
        machine = self.machine_of.get(chosen, self.machines[0])
        writers = {
            number: cpu.writer
            for (sequence, number), cpu in sorted(bundles.cpus.items(), key=lambda known: known[0])
            if sequence == chosen
        }
        source = MadePages(self.spool.finish(), self.path, writers)
        silent = sorted(machine.cpus - set(writers))
        parts = Parts(
            self.path,
            "pftrace",
            [shape.form for shape in bundles.events.shapes.values()],
            [*source.places, *(CpuData(number, source.size, 0) for number in silent)],
            cmdlines=b"".join(b"%d %s\n" % named for named in machine.names.items()),
            kernel=machine.release,
            clock=_CLOCKS.get(max(bundles.clocks), "") if len(bundles.clocks) == 1 else "",
            stats=_statistics(machine, chosen),
        )
        trace = open_parts(parts, source)
        # Events that are described and were never seen: nothing says that they were switched on.
        trace.enabled = frozenset()
        trace.limits += _LIMITS
        if self.filtered:
            trace.losses_known = False
            trace.limits.append("only the events of some tasks were recorded (tids_to_trace)")
        self._finish_notes(sources, chosen, machine)
        add_after_passes(trace, losses=self.losses, notes=self.notes)
        return trace

    def _finish_notes(self, sources: dict[int, list[int]], chosen: int, machine: _Machine) -> None:
        notes = self.notes
        if self.damaged > _MOST_NOTES:
            notes.append(f"{self.path}: {self.damaged - _MOST_NOTES} more places are damaged")
        unknown, doubtful = self.bundles.unknown, self.bundles.doubtful
        if unknown:
            notes.append(f"{self.path}: {unknown} events have no description; they count as lost")
        if doubtful:
            notes.append(
                f"{self.path}: {doubtful} events have the very time of a sched_switch of their "
                "CPU; they count as lost"
            )
        others = sum(records for sequence, (_, records) in sources.items() if sequence != chosen)
        if others:
            notes.append(
                f"{self.path}: {others} events of other ftrace data sources are left out; the one "
                f"read has {sources[chosen][1]}"
            )
        if machine.left_out:
            names = list(machine.left_out)
            more = f" and {len(names) - _MOST_NOTES} more" if len(names) > _MOST_NOTES else ""
            notes.append(
                f"{self.path}: asked for and not recorded: {', '.join(names[:_MOST_NOTES])}{more}"
            )


_HINT = (
    'Record them: data_sources { config { name: "linux.ftrace" ftrace_config { '
    'ftrace_events: "x86_fpu/*" ftrace_events: "kvm/*" ftrace_events: "sched/*" } } }'
)

_LIMITS = (
    "Perfetto does not keep the kernel's event formats: fields that no event showed may exist",
    "common_preempt_count is not in a Perfetto recording",
    "of kvm events that Perfetto has a message for, x86's own fields are not recorded",
    "a compact sched_switch does not say whom it takes off: that is who was put on before",
    "nothing says how many packets there are: a file that was cut between two of them looks whole",
)


def _statistics(machine: _Machine, sequence: int) -> dict[int, bytes]:
    """Each CPU's losses between the start and the end, worded as ``per_cpu/cpuN/stats``."""
    texts: dict[int, bytes] = {}
    for (told_by, cpu), phases in machine.stats.items():
        end = phases.get(_END_OF_TRACE)
        if told_by == sequence and end is not None:
            start = phases.get(_START_OF_TRACE, {})
            texts[cpu] = b"".join(
                b"%s: %d\n" % (name, max(0, end.get(number, 0) - start.get(number, 0)))
                for number, name in _COUNTERS.items()
            )
    return texts


def _read_names(machine: _Machine, data: bytes, start: int, stop: int) -> None:
    """ProcessTree (process_tree.proto): names of threads, and of processes by what they run."""
    for number, value, limit in fields(data, start, stop):
        if limit < 0 or number not in (1, 2):
            continue
        pid, name = -1, b""
        for part, inner, end in fields(data, value, limit):
            if part == 1 and end < 0:
                pid = inner
            elif number == 1 and part == 3 and end >= 0 and not name:
                name = data[inner:end].split(b" ")[0].rpartition(b"/")[2]
            elif number == 2 and part == 2 and end >= 0:
                name = data[inner:end]
        name = name[:15].split(b"\0")[0].replace(b"\n", b" ")
        if not name or not 0 < pid < 1 << 31 or len(machine.names) >= _MOST_NAMES:
            continue
        if number == 2 or pid not in machine.names:
            machine.names[pid] = name


def _read_stats(machine: _Machine, sequence: int, data: bytes, start: int, stop: int) -> None:
    """FtraceStats (ftrace_stats.proto): counters of each CPU, and events that did not work."""
    phase = 0
    told: list[dict[int, int]] = []
    for number, value, limit in fields(data, start, stop):
        if number == 1 and limit < 0:
            phase = value
        elif number == 2 and limit >= 0 and len(told) < MOST_CPUS:
            told.append(
                {
                    part: inner
                    for part, inner, end in fields(data, value, limit)
                    if end < 0 and (part in _COUNTERS or part == 1)
                }
            )
        elif number in (6, 7) and limit >= 0 and len(machine.left_out) < 1000:
            machine.left_out[text(data, value, min(limit, value + 100))] = None
    for counters in told:
        cpu = counters.get(1, 0)
        if cpu < MOST_CPUS and phase in (_START_OF_TRACE, _END_OF_TRACE):
            machine.cpus.add(cpu)
            if (sequence, cpu) in machine.stats or len(machine.stats) < MOST_CPUS:
                machine.stats.setdefault((sequence, cpu), {})[phase] = counters


def _read_system(machine: _Machine, data: bytes, start: int, stop: int) -> None:
    """SystemInfo (system_info.proto): ``uname -r`` and how many CPUs there are."""
    for number, value, limit in fields(data, start, stop):
        if number == 1 and limit >= 0:
            for part, inner, end in fields(data, value, limit):
                if part == 3 and end >= 0:
                    machine.release = text(data, inner, min(end, inner + 200))
        elif number == 8 and limit < 0:
            machine.cpus |= set(range(min(value, MOST_CPUS)))


def _has_filter(data: bytes, start: int, stop: int) -> bool:
    """Whether a TraceConfig (trace_config.proto) asks for the events of some tasks only."""
    ranges = [(start, stop)]
    # TraceConfig.data_sources, DataSource.config, DataSourceConfig.ftrace_config
    for wanted in (2, 1, 100):
        ranges = [
            (value, limit)
            for at, end in ranges
            for number, value, limit in fields(data, at, end)
            if number == wanted and limit > value
        ][:_MOST_PARTS]
    return any(
        number == _TIDS_TO_TRACE for at, end in ranges for number, _, _ in fields(data, at, end)
    )
