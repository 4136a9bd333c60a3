"""The events of Perfetto's bundles, CPU by CPU, in pages.

A bundle (ftrace_event_bundle.proto) holds what one CPU recorded for a while.  What it does not
tell, or tells in a way that leaves doubt, becomes a hole of that CPU.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from fputrace.parsers.container import MOST_CPUS
from fputrace.parsers.ftraceevents import (
    INT,
    MOST_SHAPES,
    TEXT,
    Described,
    Events,
    FieldShape,
    UnknownEventError,
    described_by,
)
from fputrace.parsers.protobuf import ProtobufError, fields, packed, signed, text
from fputrace.parsers.rebuild import PageWriter, Spool
from fputrace.plain import plain

# Of FtraceEventBundle and CompactSched.
_CPU, _EVENT, _LOST, _COMPACT, _CLOCK, _ERROR, _DESCRIPTOR = 1, 2, 3, 4, 5, 8, 11
_SWITCH_TIME, _SWITCH_STATE, _SWITCH_NEXT, _SWITCH_PRIO, _COMMS, _SWITCH_COMM = 1, 2, 3, 4, 5, 6

_SWITCH_FIELDS = (
    FieldShape("prev_pid", INT),
    FieldShape("prev_state", INT),
    FieldShape("next_comm", TEXT),
    FieldShape("next_pid", INT),
    FieldShape("next_prio", INT),
)


@plain
class Cpu:
    """One CPU as one data source recorded it.

    ``current`` is who runs there and ``leaving`` who a switch has taken off and who may still
    print events, None when unknown.  After a switch that took off nobody knows whom, the CPU is
    seen again from the first event of ``awaited`` on.  ``losses`` is how many losses of its
    sequence it knows of.
    """

    writer: PageWriter
    losses: int
    current: int | None = None
    leaving: int | None = None
    awaited: int | None = None
    known: int = 0

    def lost(self, origin: int) -> None:
        """Events are missing here, as byte `origin` of the file tells."""
        self.writer.lost(origin)
        self.current = self.leaving = self.awaited = None

    def sees(self, pid: int, runs: bool) -> bool:
        """Whether an event of a task, no compact switch, belongs to what can be followed.

        `runs`: events of this kind come only from who runs, never from who is leaving.
        """
        if self.awaited is not None and pid != self.awaited:
            return False
        self.awaited = None
        if pid == self.current:
            self.leaving = None
        elif pid != self.leaving:
            # Nobody put it on: events are missing, also where nothing says so.
            self.current, self.leaving = pid if runs else None, None
        return True


@plain
class _Switches:
    """CompactSched with its times added up; ``at`` is the next one to be placed.

    ``doubtful`` is the time of one whose order among the other events is not known.
    """

    times: array[int]
    states: array[int]
    pids: array[int]
    prios: array[int]
    comms: array[int]
    table: list[bytes]
    at: int = 0
    doubtful: int = -1

    def comm(self, i: int) -> bytes:
        """Who a switch puts on, b"" when unknown."""
        index = self.comms[i]
        return self.table[index] if index < len(self.table) else b""


class Bundles:
    """Reads bundles into pages.  ``note`` is told of damage: where in the file, and what.

    ``cpus`` has a writer for each (data source, CPU); data sources are known by the sequence
    number of their packets.  ``unknown`` and ``doubtful`` count events that became holes.
    """

    def __init__(self, spool: Spool, note: Callable[[int, str], None]) -> None:
        self.spool = spool
        self.note = note
        self.events = Events()
        self.cpus: dict[tuple[int, int], Cpu] = {}
        self.clocks: set[int] = set()
        self.unknown = self.doubtful = 0
        self._lost_in: dict[int, int] = {}
        self._lost_everywhere = self._lost_at = 0
        self._descriptors: dict[bytes, Described] = {}

    def lost(self, at: int, sequence: int | None = None) -> None:
        """Packets of a data source are missing before byte `at` of the file, or of any source."""
        self._lost_at = at
        if sequence is None or len(self._lost_in) >= MOST_CPUS:
            self._lost_everywhere += 1
        else:
            self._lost_in[sequence] = self._lost_in.get(sequence, 0) + 1

    def losses(self, sequence: int) -> int:
        """How often packets of a data source were missing so far."""
        return self._lost_in.get(sequence, 0) + self._lost_everywhere

    def finish(self) -> None:
        """No more bundles."""
        for (sequence, _), cpu in self.cpus.items():
            if cpu.losses != self.losses(sequence):
                cpu.lost(self._lost_at)
            cpu.writer.finish()

    def read(self, data: bytes, start: int, stop: int, sequence: int, at: int) -> None:
        """One bundle of the packet at byte `at`.  Raises ProtobufError where it breaks."""
        number = clock = lost = 0
        broken = False
        compact: list[tuple[int, int]] = []
        described: dict[int, Described] = {}
        for field_number, value, limit in fields(data, start, stop):
            if field_number == _CPU:
                number = value
            elif field_number == _LOST:
                lost = value
            elif field_number == _CLOCK:
                clock = value
            elif field_number == _COMPACT and limit >= 0:
                compact.append((value, limit))
                if len(compact) > MOST_SHAPES:
                    raise ProtobufError(value, f"more than {MOST_SHAPES} of compact_sched")
            elif field_number == _DESCRIPTOR and limit >= 0:
                self._describe(described, data, value, limit)
            elif field_number == _ERROR:
                broken = True
        if number >= MOST_CPUS:
            raise ProtobufError(start, f"there is no CPU {number}")
        self.clocks.add(clock)
        known = self.losses(sequence)
        cpu = self.cpus.get((sequence, number))
        if cpu is None:
            if len(self.cpus) >= MOST_CPUS:
                raise ProtobufError(start, f"more than {MOST_CPUS} CPUs and data sources")
            cpu = self.cpus[sequence, number] = Cpu(PageWriter(self.spool), known)
        if lost or broken or cpu.losses != known:
            cpu.lost(at)
            cpu.losses = known
        if broken:
            # Which of its events are right and what is missing among them cannot be told.
            self.note(at, "Perfetto could not read a page of the kernel's; left out")
            return
        switches = _read_switches(data, compact)
        for field_number, value, limit in fields(data, start, stop):
            if field_number == _EVENT and limit >= 0:
                self._event(cpu, data, value, limit, described, switches, at)
        self._place_switches(cpu, switches, 1 << 62, at)

    def _describe(
        self, described: dict[int, Described], data: bytes, start: int, stop: int
    ) -> None:
        """One GenericEventDescriptor of a bundle."""
        raw = data[start:stop]
        known = self._descriptors.get(raw)
        number = 0
        body = (0, 0)
        group = ""
        for part, value, limit in fields(data, start, stop):
            if part == 1:
                number = value
            elif part == 2 and limit >= 0:
                body = (value, limit)
            elif part == 3 and limit >= 0:
                group = text(data, value, limit)
        if known is None:
            known = described_by(data, *body, group)
            if len(self._descriptors) < MOST_SHAPES:
                self._descriptors[raw] = known
        described[number] = known
        if len(described) > MOST_SHAPES:
            raise ProtobufError(start, f"more than {MOST_SHAPES} descriptors")

    def _event(
        self,
        cpu: Cpu,
        data: bytes,
        start: int,
        stop: int,
        described: dict[int, Described],
        switches: _Switches,
        at: int,
    ) -> None:
        try:
            event = self.events.decode(data, start, stop, described)
        except ProtobufError as error:
            self.note(at, f"an event cannot be read: {error}")
            cpu.lost(at)
            return
        except UnknownEventError:
            self.unknown += 1
            cpu.lost(at)
            return
        if switches.at < len(switches.times):
            self._place_switches(cpu, switches, event.ts, at)
            if switches.at < len(switches.times) and switches.times[switches.at] == event.ts:
                # Before or behind the switch? Nothing tells: the hole ends behind the switch.
                self.doubtful += 1
                cpu.writer.lost(at)
                switches.doubtful = event.ts
                return
        if cpu.sees(event.pid, event.shape.runs):
            cpu.writer.record(event.ts, event.record, at)
            cpu.known += event.shape.known
        if event.shape.key == "sched:sched_switch":
            cpu.current = cpu.leaving = cpu.awaited = None

    def _place_switches(self, cpu: Cpu, switches: _Switches, before: int, at: int) -> None:
        """Write the compact switches that are earlier than a time.

        They do not say whom they take off: that is who was put on before, or whose events were
        seen since.  Where neither is known, the CPU begins, or goes on after a loss, behind the
        switch: nothing that is left out was followed by anything that is not.
        """
        times = switches.times
        while switches.at < len(times) and times[switches.at] < before:
            i = switches.at
            switches.at += 1
            pid = signed(switches.pids[i], 32)
            leaving = cpu.current
            if leaving is None:
                if cpu.writer.records:
                    cpu.writer.lost(at)
                cpu.current = cpu.awaited = pid
                continue
            values = (leaving, switches.states[i], switches.comm(i), pid, switches.prios[i])
            shape = self.events.shape("sched", "sched_switch", _SWITCH_FIELDS)
            cpu.writer.record(times[i], shape.pack(leaving, 0, values), at)
            cpu.known += 1
            if times[i] == switches.doubtful:
                cpu.writer.lost(at)
            cpu.current, cpu.leaving, cpu.awaited = pid, leaving, None


def _read_switches(data: bytes, ranges: list[tuple[int, int]]) -> _Switches:
    """The switches of a bundle's CompactSched.

    Raises ProtobufError when the message breaks, or its columns are not of the same length.
    """
    columns = {
        number: array("Q")
        for number in (_SWITCH_TIME, _SWITCH_STATE, _SWITCH_NEXT, _SWITCH_PRIO, _SWITCH_COMM)
    }
    table: list[bytes] = []
    for start, stop in ranges:
        for number, value, limit in fields(data, start, stop):
            if number == _COMMS and limit >= 0:
                table.append(data[value : min(limit, value + 16)])
            elif number in columns and limit >= 0:
                columns[number] += packed(data, value, limit)
            elif number in columns:
                columns[number].append(value)
    times = columns[_SWITCH_TIME]
    if any(len(column) != len(times) for column in columns.values()):
        raise ProtobufError(ranges[0][0], "the columns of compact_sched have different lengths")
    now = 0
    for i, delta in enumerate(times):
        now += delta
        if now >> 62:
            raise ProtobufError(ranges[0][0], f"a switch at {now} ns")
        times[i] = now
    return _Switches(
        times,
        columns[_SWITCH_STATE],
        columns[_SWITCH_NEXT],
        columns[_SWITCH_PRIO],
        columns[_SWITCH_COMM],
        table,
    )
