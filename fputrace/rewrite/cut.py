"""A piece of a recording as a trace.dat of its own, which says at its edges that it is a piece."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import field
from typing import Any

import numpy as np

from fputrace.errors import TraceError, UsageError
from fputrace.events import Kind, Trace
from fputrace.parsers import layout
from fputrace.parsers.compression import zstd_module
from fputrace.parsers.pages import PagePacker
from fputrace.parsers.passes import Plan
from fputrace.plain import PlainTuple, plain
from fputrace.rewrite.head import addresses_in, clock_of, cpustat, head_of, symbols_for
from fputrace.rewrite.records import is_record, plan_of, rows_of
from fputrace.rewrite.tracefile import Ring, write
from fputrace.rewrite.views import piece_of, write_view

Progress = Callable[[Trace], None]

_RATIO = 64  # how much a recording shrinks by compression, at most


SMALLER = "Choose a shorter time, or allow more: --max-size 5M"


class TooMuchError(UsageError):
    """A window that holds more than can be written below the limit."""


class _Entry(PlainTuple):
    """A record, or (``payload`` is None) a place where ``lost`` events are missing."""

    ts: int
    raw_ts: int
    payload: bytes | None
    lost: int | None = None


@plain
class _Cpu:
    entries: list[_Entry] = field(default_factory=list)
    before: bool = False
    """Something of this CPU lies before the window."""
    after: bool = False
    raw_ts: int = 0
    """A time that this CPU had, for a page without events."""


class Piece(PlainTuple):
    """A trace.dat, and how many events are in it."""

    data: bytes
    events: int


@plain
class Window:
    """What a recording has from ``start`` to ``end``, in the trace's time, both included."""

    trace: Trace
    plan: Plan
    start: int
    end: int
    cpus: dict[int, _Cpu]
    unplaced: dict[int, int]
    """CPU -> events that it lost nobody knows where."""

    def piece(self, start: int, end: int) -> Piece:
        """The trace.dat from `start` to `end`, which lie inside.

        Where it leaves something out, before and behind, it says that events are lost.
        """
        plan = self.plan
        longest = max(
            (len(entry.payload or b"") for cpu in self.cpus.values() for entry in cpu.entries),
            default=0,
        )
        page_size, long_size = _page_size(plan, longest), int(plan.geometry[layout.LONG])
        events = 0
        cpus: list[tuple[int, list[bytes]]] = []
        lost = []
        for number, cpu in self.cpus.items():
            packer = PagePacker(plan.container.big, long_size, page_size)
            kept = [entry for entry in cpu.entries if start <= entry.ts <= end]
            if cpu.before or any(entry.ts < start for entry in cpu.entries):
                packer.lost(None)
            for entry in kept:
                if entry.payload is None:
                    packer.lost(entry.lost)
                else:
                    packer.record(entry.raw_ts, entry.payload)
            if cpu.after or any(entry.ts > end for entry in cpu.entries):
                packer.lost(None)
            cpus.append((number, packer.finish(cpu.raw_ts)))
            events += packer.records
            if self.unplaced.get(number):
                lost.append(cpustat(number, packer.missed, self.unplaced[number]))
        head = head_of(self.trace, plan, page_size)
        head.options += lost
        addresses = addresses_in((page for _, pages in cpus for page in pages), head.big)
        lines = symbols_for(plan.container, addresses)
        head.kallsyms = b"".join(line + b"\n" for _, line in lines)
        clock = clock_of(self.trace)
        rings = [Ring(plan.buffer.name, clock, list(cpus))]
        if plan.buffer.name:
            rings.insert(0, Ring("", clock, []))
        out = io.BytesIO()
        version, compression = form_of(plan)
        write(out, head, rings, version, compression)
        return Piece(out.getvalue(), events)


@plain
class TextWindow:
    """A recording without raw records, any piece of which is written as text, or as JSON lines."""

    trace: Trace
    most: int
    progress: Progress | None

    def piece(self, start: int, end: int) -> Piece:
        """The text from `start` to `end`, which says where it leaves something out.

        Raises TooMuchError when it has more bytes than are wanted.
        """
        view = piece_of(self.trace, start, end)
        out = _Limited(self.most)
        write_view(view, out, self.progress)
        return Piece(out.getvalue(), sum(view.counts.values()))


class _Limited(io.BytesIO):
    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self.most:
            raise TooMuchError(f"the piece has more than {self.most:,} bytes", hint=SMALLER)
        return super().write(data)


def _page_size(plan: Plan, longest: int) -> int:
    """That of the recording, or what its longest record needs."""
    size = plan.page_size if plan.container.version else 4096
    while PagePacker(False, 8, size).largest() < longest:
        size *= 2
    return size


def form_of(plan: Plan) -> tuple[int, str]:
    """Version and compression of the trace.dat to write: the recording's own where it has them."""
    container = plan.container
    if container.version == 6:
        return 6, "none"
    if container.compression != "none" and container.version:
        return 7, container.compression
    try:
        zstd_module()
    except TraceError:
        return 7, "zlib"
    return 7, "zstd"


def read_window(
    trace: Trace, start: int, end: int, most: int, progress: Progress | None = None
) -> Window | TextWindow:
    """Read what lies from `start` to `end`.

    Raises UsageError when the recording's gaps are such as a trace.dat cannot tell; TooMuchError
    when it cannot come to less than `most` bytes; ReadError as the file does.
    """
    plan = plan_of(trace)
    if plan is None:
        return TextWindow(trace, most, progress)
    _check_told(trace)
    cpus = {place.cpu: _Cpu() for place in plan.buffer.cpus}
    size = 0
    for rows in rows_of(trace, plan, progress):
        block = rows.block
        events = is_record(block)
        for number in np.unique(block.cpu).tolist():
            cpu = cpus[number]
            own = np.flatnonzero(block.cpu == number)
            ts = rows.ts[own]
            cpu.before |= bool((ts < start).any())
            cpu.after |= bool((ts > end).any())
            cpu.raw_ts = cpu.raw_ts or int(rows.raw_ts[own[0]])
            for row in own[(ts >= start) & (ts <= end)].tolist():
                if events[row]:
                    payload, lost = rows.records.payload(row), None
                    size += len(payload) + 4
                elif block.kind[row] == Kind.LOSS:
                    payload, lost = None, rows.lost_before(row)
                else:
                    continue
                times = (int(rows.ts[row]), int(rows.raw_ts[row]))
                cpu.entries.append(_Entry(*times, payload, lost))
        if size > most * _RATIO:
            raise TooMuchError(
                f"{trace.path}: more than {size:,} bytes of events are in the window", hint=SMALLER
            )
    return Window(trace, plan, start, end, cpus, _unplaced(trace, list(cpus)))


def _check_told(trace: Trace) -> None:
    """A trace.dat is taken to tell all its losses: it must not be made from what cannot."""
    why = ""
    if not (trace.losses_known and trace.whole_known):
        why = "it cannot tell which events it lost"
    elif trace.unusable and trace.format.startswith("perf.data"):
        why = f"only some of its {next(iter(trace.unusable))} events were recorded"
    if why:
        raise UsageError(
            f"{trace.path}: no trace.dat is cut from it: {why}, and a trace.dat would not say so",
            hint="Send it whole, after fputrace redact.",
        )


def _unplaced(trace: Trace, cpus: list[int]) -> dict[int, int]:
    """Losses without a place: they may be in any piece."""
    found: dict[int, int] = {}
    for loss in trace.losses:
        if not loss.placed:
            for cpu in cpus if loss.cpu is None else [loss.cpu]:
                found[cpu] = found.get(cpu, 0) + (loss.count or 1)
    return found
