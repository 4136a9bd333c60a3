"""Recordings without raw records (texts, converted files) seen otherwise: a piece, or renamed.

A view is a Trace that reads another one and changes what it gives; :mod:`fputrace.convert` writes
it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np

from fputrace.events import ABSENT, KINDS, EventBlock, Kind, Loss, Trace
from fputrace.plain import changed
from fputrace.rewrite.fields import is_address, is_comm
from fputrace.rewrite.names import Names, has_address

_U64 = (1 << 64) - 1
_HEX = re.compile(r"(?<![0-9A-Za-z_])(0x)?([0-9a-f]{8,16})(?![0-9A-Za-z_])")
_NUMBER = re.compile(r"-?[0-9]+|0x[0-9a-f]+")
_FUNCTIONS = ("__probe_ip", "__probe_func", "__probe_ret_ip", "ip", "parent_ip", "func", "parent")
_PLACE = re.compile(r"(line|page at byte|record at byte) \d+( of CPU \d+)?")
_HIDDEN = "told by the original"

_ADDRESSES = {
    spec.kind: [
        column
        for column, operand in enumerate(spec.operands)
        if "*" in operand.ctype or is_address(operand.fields[0])
    ]
    for spec in KINDS
}
"""Kind -> its operands that are addresses."""


def _view(trace: Trace, blocks: Callable[[Trace], Iterator[EventBlock]]) -> Trace:
    return changed(
        trace,
        comms=dict(trace.comms),
        losses=list(trace.losses),
        counts={},
        _plan=None,
        _blocks=blocks,
        _close=None,
    )


def _follow(view: Trace, trace: Trace) -> None:
    """What a pass changes of a trace, for its view."""
    view.event_names, view.event_kinds = trace.event_names, trace.event_kinds
    view.formats, view.cpus, view.probes = trace.formats, trace.cpus, trace.probes
    view.read_bytes, view.clock_global = trace.read_bytes, trace.clock_global
    view.unusable, view.enabled = trace.unusable, trace.enabled
    view.limits, view.losses_known = trace.limits, trace.losses_known
    view.whole_known, view.pointers_hashed = trace.whole_known, trace.pointers_hashed


def write_view(
    view: Trace, out: IO[bytes], progress: Callable[[Trace], None] | None = None
) -> None:
    """Write a view as the text that ``fputrace convert`` writes; JSON lines stay JSON lines."""
    from fputrace.convert import watch
    from fputrace.convert.jsonl import write_jsonl
    from fputrace.convert.text import write_text

    if progress is not None:
        watch(view, progress)
    if view.format.startswith("jsonl"):
        write_jsonl(view, out)
    else:
        write_text(view, out)


# A piece


def piece_of(trace: Trace, start: int, end: int) -> Trace:
    """What a trace has from `start` to `end`, both included, in its own time.

    On every CPU of which something is left out, events are lost before and behind.
    """

    def blocks(view: Trace) -> Iterator[EventBlock]:
        return _Piece(trace, view, start, end).blocks()

    return _view(trace, blocks)


class _Piece:
    """One pass over a piece."""

    def __init__(self, trace: Trace, view: Trace, start: int, end: int) -> None:
        self.trace, self.view = trace, view
        self.start, self.end = start, end
        self.before: set[int] = set()
        self.after: set[int] = set()
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}

    def blocks(self) -> Iterator[EventBlock]:
        trace, view = self.trace, self.view
        view.counts, view.first_ns, view.last_ns = {}, None, None
        for block in trace.blocks():
            _follow(view, trace)
            events = block.event >= 0
            inside = (block.ts >= self.start) & (block.ts <= self.end)
            self.before |= set(np.unique(block.cpu[events & (block.ts < self.start)]).tolist())
            self.after |= set(np.unique(block.cpu[events & (block.ts > self.end)]).tolist())
            rows = np.flatnonzero(inside & (block.kind != int(Kind.CPU_END)))
            if len(rows):
                yield self._part(block, rows)
        view.comms = trace.comms
        view.losses = self._losses()
        marks = [(Kind.LOSS, cpu, self.last[cpu]) for cpu in sorted(self.after) if cpu in self.last]
        marks += [(Kind.CPU_END, cpu, self.last[cpu]) for cpu in sorted(self.last)]
        if marks:
            yield _marks(marks, max(self.last.values()), view.event_names)

    def _part(self, block: EventBlock, rows: np.ndarray[Any, np.dtype[np.int64]]) -> EventBlock:
        """Some rows of a block, and a hole before each CPU's first one."""
        view = self.view
        chosen = [column[rows] for column in _columns(block)]
        ts, cpu, event = chosen[0], chosen[1], chosen[5]
        view.first_ns = int(ts[0]) if view.first_ns is None else view.first_ns
        view.last_ns = int(ts[-1])
        for number in event[event >= 0].tolist():
            name = block.names[number]
            view.counts[name] = view.counts.get(name, 0) + 1
        places = rows
        holes: list[int] = []
        for number in np.unique(cpu[event >= 0]).tolist():
            own = np.flatnonzero((cpu == number) & (event >= 0))
            self.last[number] = int(ts[own[-1]])
            if number not in self.first:
                self.first[number] = int(ts[own[0]])
                if number in self.before:
                    holes.append(int(own[0]))
        for at in sorted(holes, reverse=True):
            for mark in (Kind.LOSS_END, Kind.LOSS):
                values = (ts[at], cpu[at], -1, mark, 0, -1, (-1, -1, ABSENT, ABSENT))
                chosen = [
                    np.insert(column, at, value, axis=0)
                    for column, value in zip(chosen, values, strict=True)
                ]
                places = np.insert(places, at, -1)
            ts, cpu = chosen[0], chosen[1]
        fields_of = block.fields_of

        def fields(row: int) -> dict[str, Any]:
            place = int(places[row])
            return fields_of(place) if place >= 0 else {}

        ts, cpu, pid, kind, flags, event, op = chosen
        return EventBlock(ts, cpu, pid, kind, flags, event, op, block.names, fields)

    def _losses(self) -> list[Loss]:
        kept = [
            loss
            for loss in self.trace.losses
            if not loss.placed
            or (
                (loss.after_ns is None or loss.after_ns <= self.end)
                and (loss.before_ns is None or loss.before_ns >= self.start)
            )
        ]
        for cpu in sorted(self.before | self.after):
            first, last = self.first.get(cpu), self.last.get(cpu)
            if cpu in self.before or first is None:
                kept.append(Loss(cpu, None, first, None, "cut: what was before is left out"))
            if cpu in self.after and last is not None:
                kept.append(Loss(cpu, last, None, None, "cut: what came later is left out"))
        return kept


def _columns(block: EventBlock) -> list[Any]:
    return [block.ts, block.cpu, block.pid, block.kind, block.flags, block.event, block.op]


def _marks(marks: list[tuple[Kind, int, int]], ts: int, names: list[str]) -> EventBlock:
    """Marks behind the last event: (kind, CPU, time of its last event)."""
    count = len(marks)
    return EventBlock(
        np.full(count, ts, np.int64),
        np.array([cpu for _, cpu, _ in marks], np.int32),
        np.full(count, -1, np.int32),
        np.array([kind for kind, _, _ in marks], np.uint8),
        np.zeros(count, np.uint16),
        np.full(count, -1, np.int32),
        np.array(
            [
                (-1, last, ABSENT, ABSENT) if kind == Kind.LOSS else (ABSENT,) * 4
                for kind, _, last in marks
            ],
            np.int64,
        ),
        names,
        lambda _row: {},
    )


# New names


def renamed(trace: Trace, names: Names) -> Trace:
    """A trace with new names for all that is one."""

    def blocks(view: Trace) -> Iterator[EventBlock]:
        renamer = _Renamer(names)
        for block in trace.blocks():
            _follow(view, trace)
            view.comms = {pid: names.comm(comm) for pid, comm in trace.comms.items()}
            yield renamer.block(block)
        _follow(view, trace)
        view.comms = {pid: names.comm(comm) for pid, comm in trace.comms.items()}
        view.counts = trace.counts
        view.first_ns, view.last_ns = trace.first_ns, trace.last_ns
        view.notes = []
        view.broken = [_HIDDEN for _ in trace.broken]
        view.losses = []
        for loss in trace.losses:
            place = _PLACE.match(loss.where)
            view.losses.append(loss._replace(where=place[0] if place else _HIDDEN))

    view = _view(trace, blocks)
    view.host = None if trace.host is None else names.host(trace.host)
    view.instances = [names.host(name) for name in trace.instances]
    view.guests = {tid: (names.host(name), cpu) for tid, (name, cpu) in trace.guests.items()}
    view.guest_ids = {number: names.host(name) for number, name in trace.guest_ids.items()}
    view.symbols = {name: names.pointer(address) for name, address in trace.symbols.items()}
    if trace.sidecar is not None:
        view.sidecar = changed(
            trace.sidecar,
            probes={
                key: probe._replace(fetches=_without_addresses(probe.fetches))
                for key, probe in trace.sidecar.probes.items()
            },
        )
    return view


def _without_addresses(fetches: Mapping[str, str]) -> dict[str, str]:
    return {name: fetch for name, fetch in fetches.items() if not has_address(fetch)}


class _Renamer:
    def __init__(self, names: Names) -> None:
        self.names = names

    def block(self, block: EventBlock) -> EventBlock:
        """A block with new operands, whose fields get new names when they are asked for."""
        op = block.op.copy()
        for kind in np.unique(block.kind[block.event >= 0]).tolist():
            rows = np.flatnonzero((block.kind == kind) & (block.event >= 0))
            known = _ADDRESSES.get(Kind(kind), [])
            for column in range(op.shape[1]):
                op[rows, column] = self._operands(op[rows, column], column in known)
        fields_of, kinds = block.fields_of, block.kind

        def fields(row: int) -> dict[str, Any]:
            kind = int(kinds[row])
            return {name: self._value(name, value, kind) for name, value in fields_of(row).items()}

        return changed(block, op=op, fields_of=fields)

    def _operands(self, values: Any, address: bool) -> Any:
        found, where = np.unique(values, return_inverse=True)
        new = [self._number(int(value), address) for value in found]
        return np.array(new, dtype=np.int64)[where]

    def _number(self, value: int, address: bool) -> int:
        """A number as it was given: signed stays signed."""
        bits = value & _U64
        if value == ABSENT or not (address or self.names.is_kernel(bits)):
            return value
        new = self.names.pointer(bits)
        return new - (1 << 64) if value < 0 and new >> 63 else new

    def _value(self, name: str, value: Any, kind: int) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value, is_address(name))
        if isinstance(value, tuple):
            return tuple(self._value(name, one, kind) for one in value)
        if not isinstance(value, str):
            return value
        if is_comm(name):
            return self.names.comm(value)
        if kind == Kind.SCHED_PROCESS_EXEC and name == "filename":
            return self.names.text(value)
        if (kind != Kind.OTHER and kind < Kind.PROBE_SAVE) or name in _FUNCTIONS:
            return _HEX.sub(self._address, value)
        if _NUMBER.fullmatch(value) or _HEX.fullmatch(value):
            return _HEX.sub(self._address, value)
        return self.names.text(value)

    def _address(self, match: re.Match[str]) -> str:
        value = int(match[2], 16)
        if not self.names.is_kernel(value):
            return match[0]
        return f"{match[1] or ''}{self.names.pointer(value):016x}"
