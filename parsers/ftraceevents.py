"""Events of a Perfetto recording as the kernel's records.

Perfetto drops the event format files and keeps names and values (protos/perfetto/trace/ftrace in
its sources): typed messages for the events it knows, GenericFtraceEvent for all others, or in
newer recordings messages that a descriptor in the same bundle explains.  Here each event gets a
format again: the kernel's field names, the types that :data:`~fputrace.events.KINDS` gives them,
and offsets of our own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from operator import and_

from fputrace.events import KINDS, EventFormat, FormatField
from fputrace.parsers.protobuf import ProtobufError, fields, text
from fputrace.parsers.rebuild import LARGEST_RECORD
from fputrace.plain import PlainTuple

LARGEST_EVENT = 1 << 14
"""Bytes of the largest message of one event that is decoded; the kernel's fit a page."""

MOST_SHAPES = 1 << 12
"""Different events, as named and as their fields are."""

_MOST_FIELDS = 64
_LARGEST_TEXT = 512

# Fields of FtraceEvent (ftrace_event.proto), GenericFtraceEvent and its Field (generic.proto).
_TIMESTAMP, _PID, _COMMON_FLAGS, _GENERIC = 1, 2, 5, 327
_GENERIC_NAME, _GENERIC_FIELD = 1, 2
_FIELD_NAME, _FIELD_TEXT, _FIELD_INT, _FIELD_UINT = 1, 3, 4, 5
DESCRIBED_FROM = 65536
"""Numbers from here on are explained by generic_event_descriptors."""

SCHED_SWITCH = 4
TYPED: dict[int, tuple[str, tuple[str, ...]]] = {
    # Number in FtraceEvent -> the event and its fields, numbered from 1 (sched.proto, kvm.proto,
    # raw_syscalls.proto, signal.proto, cpuhp.proto, power.proto).  The kvm messages have the
    # fields of arm64: of x86's only those come through that are called the same.
    SCHED_SWITCH: (
        "sched_switch",
        ("prev_comm", "prev_pid", "prev_prio", "prev_state", "next_comm", "next_pid", "next_prio"),
    ),
    113: ("suspend_resume", ("action", "val", "start")),
    237: ("sched_process_exec", ("filename", "pid", "old_pid")),
    238: ("sched_process_exit", ("comm", "pid", "tgid", "prio")),
    239: ("sched_process_fork", ("parent_comm", "parent_pid", "child_comm", "child_pid")),
    240: ("sched_process_free", ("comm", "pid", "prio")),
    324: ("signal_deliver", ("code", "sa_flags", "sig")),
    329: ("sys_enter", ("id",)),
    330: ("sys_exit", ("id", "ret")),
    344: ("cpuhp_multi_enter", ("cpu", "fun", "idx", "target")),
    345: ("cpuhp_enter", ("cpu", "fun", "idx", "target")),
    376: ("kvm_entry", ("vcpu_pc",)),
    377: ("kvm_exit", ("esr_ec", "ret", "vcpu_pc")),
    378: ("kvm_fpu", ("load",)),
    399: ("kvm_userspace_exit", ("reason",)),
    400: ("kvm_vcpu_wakeup", ("ns", "valid", "waited")),
    491: ("sched_migrate_task", ("comm", "pid", "prio", "orig_cpu", "dest_cpu")),
}

_SPECS = {name: spec for spec in KINDS for name in spec.names}
_COMMS = frozenset(["comm", "prev_comm", "next_comm", "parent_comm", "child_comm"])
_OF_WHO_LEAVES = frozenset(["x86_fpu_regs_activated", "x86_fpu_regs_deactivated", "kvm_fpu"])
"""Events that the task which a sched_switch takes off may still print behind it (docs/model.md)."""

_SIZES = {
    # C type -> bytes and signedness, of the types in KINDS.
    "bool": (1, False),
    "int": (4, True),
    "pid_t": (4, True),
    "unsigned int": (4, False),
    "u32": (4, False),
    "__u32": (4, False),
    "long": (8, True),
    "s64": (8, True),
    "unsigned long": (8, False),
    "struct fpu *": (8, False),
    "u64": (8, False),
    "__u64": (8, False),
}
_LETTERS = {1: "B", 4: "I", 8: "Q"}

INT, UINT, TEXT = "s64", "u64", "text"
"""What a value is where no KIND says its type."""


class FieldShape(PlainTuple):
    """A field as the recording has it: its name, and INT, UINT or TEXT."""

    name: str
    value: str


_VALUES = {_FIELD_TEXT: TEXT, _FIELD_INT: INT, _FIELD_UINT: UINT}

Value = int | bytes


class Shape:
    """One event with certain fields: its made-up format, and how its records are packed.

    ``known``: it is one of KINDS; ``runs``: only the task that runs prints it.
    """

    def __init__(self, number: int, system: str, name: str, own: Sequence[FieldShape]) -> None:
        self.number = number
        self.key = f"{system}:{name}"
        self.known = name in _SPECS and _SPECS[name].system == system
        self.runs = self.known and name not in _OF_WHO_LEAVES
        types: dict[str, str] = {}
        if self.known:
            types = {n: op.ctype for op in _SPECS[name].operands for n in op.fields}
        self._layout = "<HBBi"
        self._texts: list[tuple[int, bool]] = []  # which values are text, and whether dynamic
        self._masks: list[int] = []
        made: list[FormatField] = []
        for i, field in enumerate(own):
            at = struct.calcsize(self._layout)
            if field.value == TEXT:
                dynamic = field.name not in _COMMS
                self._texts.append((i, dynamic))
                self._masks.append(0)
                pad = -at % 4 if dynamic else 0
                self._layout += f"{pad}x" + ("I" if dynamic else "16s")
                ctype, size, kind = ("char[]", 4, "data_loc") if dynamic else ("char[16]", 16, "")
                made.append(FormatField(field.name, ctype, at + pad, size, False, True, kind))
                continue
            ctype = types.get(field.name, field.value)
            size, signed = _SIZES[ctype]
            pad = -at % size
            self._layout += f"{pad}x{_LETTERS[size]}"
            self._masks.append((1 << 8 * size) - 1)
            made.append(FormatField(field.name, ctype, at + pad, size, signed, False, ""))
        self._struct = struct.Struct(self._layout)
        self.form = EventFormat(system, name, number, tuple(made), complete=False)

    def pack(self, pid: int, flags: int, values: Sequence[Value]) -> bytes:
        """The record of one event."""
        if not self._texts:
            numbers = map(and_, values, self._masks)
            return self._struct.pack(self.number, flags & 0xFF, 0, pid, *numbers)
        packed: list[Value] = [
            value if isinstance(value, bytes) else value & mask
            for value, mask in zip(values, self._masks, strict=True)
        ]
        tail = b""
        for i, dynamic in self._texts:
            value = packed[i]
            assert isinstance(value, bytes)
            if dynamic:
                kept = value[:_LARGEST_TEXT]
                if self._struct.size + len(tail) + len(kept) + 1 > LARGEST_RECORD:
                    kept = b""
                packed[i] = (self._struct.size + len(tail)) | (len(kept) + 1) << 16
                tail += kept + b"\0"
            else:
                packed[i] = value[:15]
        return self._struct.pack(self.number, flags & 0xFF, 0, pid, *packed) + tail


class Event(PlainTuple):
    """One event: its time in ns, the pid it happened to, and its record."""

    ts: int
    pid: int
    shape: Shape
    record: bytes


class Described(PlainTuple):
    """What the messages of an event look like: field number -> its name in the kernel.

    ``shapes`` are those seen so far, by the numbers of their fields, negative ones of text.
    """

    system: str
    name: str
    fields: dict[int, str]
    signed: frozenset[int]
    shapes: dict[tuple[int, ...], Shape]


_TYPED = {
    number: Described(
        _SPECS[name].system,
        name,
        dict(enumerate(names, 1)),
        frozenset(
            i
            for i, field in enumerate(names, 1)
            if field not in ("start", "waited", "valid", "load")
        ),
        {},
    )
    for number, (name, names) in TYPED.items()
}


class UnknownEventError(Exception):
    """An event whose meaning is not in the recording (never leaves the parser)."""


# Of a DescriptorProto and its fields, and the types there that are signed (descriptor.proto).
_NAME, _FIELD, _FIELD_NUMBER, _FIELD_TYPE = 1, 2, 3, 5
_SIGNED_TYPES = frozenset([3, 5, 15, 16, 17, 18])


def described_by(data: bytes, at: int, end: int, group: str) -> Described:
    """What a DescriptorProto says of an event of a system.

    Raises ProtobufError when it is no message.
    """
    if end - at > LARGEST_EVENT:
        raise ProtobufError(at, f"a descriptor of {end - at} bytes")
    event = ""
    names: dict[int, str] = {}
    signed = set()
    for field, value, stop in fields(data, at, end):
        if field == _NAME and stop >= 0:
            event = text(data, value, stop)
        elif field == _FIELD and stop >= 0:
            name, number, kind = "", 0, 0
            for part, inner, limit in fields(data, value, stop):
                if part == _NAME and limit >= 0:
                    name = text(data, inner, limit)
                elif part == _FIELD_NUMBER:
                    number = inner
                elif part == _FIELD_TYPE:
                    kind = inner
            names[number] = name
            if kind in _SIGNED_TYPES:
                signed.add(number)
    return Described(group or system_of(event), event, names, frozenset(signed), {})


def system_of(event: str) -> str:
    """The system of an event whose recording tells its name only."""
    if event.startswith(("sys_enter_", "sys_exit_")):
        return "syscalls"
    return _SPECS[event].system if event in _SPECS else "unknown"


class Events:
    """Decodes FtraceEvent messages; knows every shape seen so far."""

    def __init__(self) -> None:
        self.shapes: dict[tuple[str, str, tuple[FieldShape, ...]], Shape] = {}
        self._generic: dict[tuple[bytes, tuple[tuple[bytes, int], ...]], Shape] = {}
        self._typed = {number: event._replace(shapes={}) for number, event in _TYPED.items()}

    def shape(self, system: str, name: str, own: tuple[FieldShape, ...]) -> Shape:
        """The shape of an event.  Raises UnknownEventError when there are too many."""
        known = self.shapes.get((system, name, own))
        if known is None:
            if len(self.shapes) >= MOST_SHAPES or len(own) > _MOST_FIELDS:
                raise UnknownEventError
            known = self.shapes[system, name, own] = Shape(len(self.shapes) + 1, system, name, own)
        return known

    def decode(self, data: bytes, at: int, end: int, described: dict[int, Described]) -> Event:
        """One FtraceEvent.

        Raises ProtobufError when it is no message, UnknownEventError when what it means is not
        known.
        """
        if end - at > LARGEST_EVENT:
            raise ProtobufError(at, f"an event of {end - at} bytes")
        ts = pid = flags = number = start = stop = 0
        for field, value, limit in fields(data, at, end):
            if limit >= 0:
                number, start, stop = field, value, limit
            elif field == _TIMESTAMP:
                ts = value
            elif field == _PID:
                pid = value
            elif field == _COMMON_FLAGS:
                flags = value
        if ts >> 62:
            raise ProtobufError(at, f"an event at {ts} ns")
        pid = pid & 0xFFFFFFFF
        if pid >> 31:
            pid -= 1 << 32
        if number == _GENERIC:
            shape, values = self._of_generic(data, start, stop)
        elif number in self._typed:
            shape, values = self._of_message(self._typed[number], data, start, stop)
        elif number in described:
            shape, values = self._of_message(described[number], data, start, stop)
        elif 0 < number < DESCRIBED_FROM:
            shape, values = self.shape("perfetto", f"event_{number}", ()), []
        else:
            raise UnknownEventError
        return Event(ts, pid, shape, shape.pack(pid, flags, values))

    def _of_message(
        self, event: Described, data: bytes, at: int, end: int
    ) -> tuple[Shape, list[Value]]:
        names = event.fields
        own: list[int] = []
        values: list[Value] = []
        for number, value, stop in fields(data, at, end):
            if number not in names:
                continue
            if stop >= 0:
                own.append(-number)
                values.append(data[value:stop])
            else:
                own.append(number)
                values.append(value)
        key = tuple(own)
        shape = event.shapes.get(key)
        if shape is None:
            shape = event.shapes[key] = self.shape(
                event.system,
                event.name,
                tuple(
                    FieldShape(
                        names[abs(number)],
                        TEXT if number < 0 else INT if number in event.signed else UINT,
                    )
                    for number in own
                ),
            )
        return shape, values

    def _of_generic(self, data: bytes, at: int, end: int) -> tuple[Shape, list[Value]]:
        event = b""
        own: list[tuple[bytes, int]] = []
        values: list[Value] = []
        for number, value, stop in fields(data, at, end):
            if stop < 0:
                continue
            if number == _GENERIC_NAME:
                event = data[value:stop]
            elif number == _GENERIC_FIELD:
                name, kind = b"", 0
                content: Value = 0
                for part, inner, limit in fields(data, value, stop):
                    if part == _FIELD_NAME and limit >= 0:
                        name = data[inner:limit]
                    elif (part == _FIELD_TEXT) == (limit >= 0):
                        kind = part
                        content = data[inner:limit] if limit >= 0 else inner
                if kind in _VALUES:
                    own.append((name, kind))
                    values.append(content)
        key = (event, tuple(own))
        shape = self._generic.get(key)
        if shape is None:
            known = event.decode("utf-8", "backslashreplace")
            shape = self.shape(
                system_of(known),
                known,
                tuple(
                    FieldShape(name.decode("utf-8", "backslashreplace"), _VALUES[kind])
                    for name, kind in own
                ),
            )
            self._generic[key] = shape
        return shape, values
