"""Perfetto recordings made with Google's own protobuf classes; see :class:`PerfettoWriter`.

The classes come from the ``perfetto`` package, which is generated from the sources of Perfetto:
a reader that agrees with them agrees with it about every field number.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import pytest

from fputrace.events import Kind, Trace

pb: Any = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
descriptors: Any = pytest.importorskip("google.protobuf.descriptor_pb2")

Generic = Literal["named", "described"]
Compression = Literal["none", "deflate", "zstd"]

EVENTS_OF_A_BUNDLE = 300
_NEXT = ("next_pid", "next_prio")
_TYPED = frozenset(pb.FtraceEvent.DESCRIPTOR.fields_by_name)
_OWN = frozenset(["timestamp", "pid", "common_flags"])
_Field = descriptors.FieldDescriptorProto


class PerfettoWriter:
    """Collects packets and writes them as a file.

    Parameters
    ----------
    generic : how events without a message of their own are written, ``"described"`` as Perfetto
        has done from version 50 on.
    compact : whether ``sched_switch`` goes to ``compact_sched``, as it does by default.
    typed : names of events that are written as Perfetto's own messages, with those of their
        fields that the message has; None for all it has messages for.
    sequence : of the data source whose bundles these are.
    """

    def __init__(
        self,
        *,
        generic: Generic = "named",
        compact: bool = False,
        typed: Iterable[str] | None = None,
        sequence: int = 1,
    ) -> None:
        self.generic, self.compact, self.sequence = generic, compact, sequence
        self.typed = _TYPED - _OWN if typed is None else frozenset(typed)
        self.packets: list[Any] = []
        self._numbers: dict[str, int] = {}

    def packet(self, **values: Any) -> Any:
        """Append a packet of this sequence."""
        packet = pb.TracePacket(trusted_packet_sequence_id=self.sequence, **values)
        self.packets.append(packet)
        return packet

    def system(self, release: str, cpus: int) -> None:
        """What the machine is."""
        info = self.packet().system_info
        info.utsname.sysname, info.utsname.release = "Linux", release
        info.num_cpus = cpus

    def names(self, threads: Mapping[int, str]) -> None:
        """Names of threads, as Perfetto reads them from /proc."""
        tree = self.packet().process_tree
        for tid, name in threads.items():
            tree.threads.add(tid=tid, tgid=tid, name=name)

    def stats(self, phase: int, cpus: Mapping[int, Mapping[str, int]]) -> None:
        """Counters of the kernel's buffers at the start (1) or the end (2)."""
        told = self.packet().ftrace_stats
        told.phase = phase
        for cpu, counters in cpus.items():
            told.cpu_stats.add(cpu=cpu, **counters)

    def bundle(
        self,
        cpu: int,
        events: Iterable[tuple[int, int, str, Mapping[str, Any]]],
        *,
        lost: bool = False,
        clock: int = 0,
    ) -> Any:
        """Events of a CPU: (ts, pid, ``system:name``, fields)."""
        bundle = self.packet().ftrace_events
        bundle.cpu = cpu
        if lost:
            bundle.lost_events = True
        if clock:
            bundle.ftrace_clock = clock
        last = 0
        comms: list[str] = []
        for ts, pid, key, values in events:
            system, name = key.split(":")
            if name == "sched_switch" and self.compact:
                compact = bundle.compact_sched
                compact.switch_timestamp.append(ts - last)
                last = ts
                compact.switch_prev_state.append(values["prev_state"])
                compact.switch_next_pid.append(values["next_pid"])
                compact.switch_next_prio.append(values["next_prio"])
                comm = values["next_comm"]
                if comm not in comms:
                    comms.append(comm)
                compact.switch_next_comm_index.append(comms.index(comm))
                continue
            event = bundle.event.add(timestamp=ts, pid=pid & 0xFFFFFFFF)
            if name in self.typed and name in _TYPED:
                _fill(getattr(event, name), values)
            elif self.generic == "named":
                event.generic.event_name = name
                for field, value in values.items():
                    _add_generic(event.generic, field, value)
            else:
                self._described(bundle, event, system, name, values)
        bundle.compact_sched.intern_table.extend(comms)
        return bundle

    def _described(
        self, bundle: Any, event: Any, system: str, name: str, values: Mapping[str, Any]
    ) -> None:
        """A message as Perfetto makes it at run time, explained by a descriptor in the bundle."""
        number = self._numbers.setdefault(name, 65536 + len(self._numbers))
        plain = {f: made for f, value in values.items() if (made := _plain(value)) is not None}
        if all(told.field_id != number for told in bundle.generic_event_descriptors):
            described = descriptors.DescriptorProto(name=name)
            for at, (field, value) in enumerate(plain.items(), 1):
                kind = _Field.TYPE_STRING if isinstance(value, str) else _Field.TYPE_UINT64
                if isinstance(value, int) and field.endswith("pid"):
                    kind = _Field.TYPE_INT64
                described.field.add(name=field, number=at, type=kind)
            bundle.generic_event_descriptors.add(
                field_id=number, group_name=system, event_descriptor=described.SerializeToString()
            )
        body = b""
        for at, value in enumerate(plain.values(), 1):
            if isinstance(value, str):
                raw = value.encode()
                body += varint(at << 3 | 2) + varint(len(raw)) + raw
            else:
                body += varint(at << 3) + varint(value & (1 << 64) - 1)
        event.MergeFromString(varint(number << 3 | 2) + varint(len(body)) + body)

    def to_bytes(self, compression: Compression = "none") -> bytes:
        """The file."""
        trace = pb.Trace(packet=self.packets)
        if compression == "none":
            return bytes(trace.SerializeToString())
        out = pb.Trace()
        for at in range(0, len(self.packets), 20):
            inner = pb.Trace(packet=self.packets[at : at + 20]).SerializeToString()
            if compression == "deflate":
                out.packet.add(compressed_packets=zlib.compress(inner))
            else:
                zstandard = pytest.importorskip("zstandard")
                packed = zstandard.ZstdCompressor().compress(inner)
                out.packet.add(zstd_compressed_packets=packed)
        return bytes(out.SerializeToString())


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _plain(value: Any) -> int | str | None:
    """A field as Perfetto keeps it: pointers are numbers, arrays are dropped."""
    if isinstance(value, str) and value.startswith("0x"):
        return int(value, 16)
    return value if isinstance(value, int | str) else None


def _fill(message: Any, values: Mapping[str, Any]) -> None:
    message.SetInParent()
    known = message.DESCRIPTOR.fields_by_name
    for field, value in values.items():
        plain = _plain(value)
        if (
            field in known
            and plain is not None
            and isinstance(plain, str) == (known[field].type == known[field].TYPE_STRING)
        ):
            setattr(message, field, plain)


def _add_generic(message: Any, name: str, value: Any) -> None:
    plain = _plain(value)
    if isinstance(plain, str):
        message.field.add(name=name, str_value=plain)
    elif plain is not None and name.endswith("pid"):
        message.field.add(name=name, int_value=plain)
    elif plain is not None:
        message.field.add(name=name, uint_value=plain & (1 << 64) - 1)


def write_trace(writer: PerfettoWriter, trace: Trace) -> None:
    """Everything of another recording: its machine, names, events, and where events are lost."""
    writer.system(trace.kernel or "", len(trace.cpus))
    open_bundles: dict[int, list[tuple[int, int, str, dict[str, Any]]]] = {}
    lost: set[int] = set()

    def flush(cpu: int) -> None:
        events = open_bundles.pop(cpu, [])
        if events:
            writer.bundle(cpu, events, lost=cpu in lost)
            lost.discard(cpu)

    for block in trace.blocks():
        for at in range(len(block)):
            cpu = int(block.cpu[at])
            if block.event[at] < 0:
                if block.kind[at] == Kind.LOSS:
                    flush(cpu)
                    lost.add(cpu)
                continue
            events = open_bundles.setdefault(cpu, [])
            name = block.names[block.event[at]]
            events.append((int(block.ts[at]), int(block.pid[at]), name, block.fields_of(at)))
            if len(events) == EVENTS_OF_A_BUNDLE:
                flush(cpu)
    for cpu in list(open_bundles):
        flush(cpu)
    counts: dict[int, dict[str, int]] = {cpu: {"overrun": 0} for cpu in trace.cpus}
    for loss in trace.losses:
        if loss.cpu is not None:
            counts[loss.cpu]["overrun"] += loss.count or 0
    writer.stats(1, {cpu: {"overrun": 0} for cpu in trace.cpus})
    writer.stats(2, counts)
    writer.names(trace.comms)
