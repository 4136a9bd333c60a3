"""Where events are missing: rows of ``Trace.losses`` and sentences about damage.

The pages of a CPU tell of their holes where they are; CPUSTAT repeats their sum and knows what no
page tells.  Every hole becomes one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from fputrace.events import Loss, Trace
from fputrace.parsers import layout
from fputrace.parsers.container import CpuData
from fputrace.parsers.streams import Chunk
from fputrace.plain import plain

NOTES = 8  # sentences about damage that a pass writes; the rest is counted
_NEVER = (1 << 63) - 1

Report = tuple[int, int, int, int, int, int, int, int]
"""One report of the walk, see :mod:`fputrace.parsers.layout`."""

WHY = {
    layout.WHY_TIME: "the time does not fit its neighbours",
    layout.WHY_LENGTH: "the page claims more data than it has room for",
    layout.WHY_RECORD: "a record does not fit its page",
    layout.WHY_SHORT: "a record is too short for its event",
    layout.WHY_CHUNK: "the data cannot be read",
    layout.WHY_SAMPLE: "a sample that cannot be read",
    layout.WHY_WILD: "the time of a sample does not fit its neighbours",
}


@plain
class CpuLosses:
    """One CPU's losses so far: events counted by its pages, and its holes without a count.

    ``holes`` are chunks that could not be read, by their place in this CPU's data.
    """

    place: CpuData
    counted: int = 0
    uncounted: list[int] = field(default_factory=list)
    holes: dict[int, Chunk] = field(default_factory=dict)


class LossBook:
    """Writes the losses of one pass into its trace.

    ``overruns`` is CPUSTAT: CPU -> (events overrun or not committed, events dropped).
    """

    def __init__(
        self, trace: Trace, path: str, compressed: bool, overruns: dict[int, tuple[int, int]]
    ) -> None:
        self.trace = trace
        self.path = path
        self.compressed = compressed
        self.overruns = overruns
        self.damaged = 0

    def report(self, cpu: CpuLosses, reports: Sequence[Report], ts: Any, op: Any) -> None:
        """What the walk has reported of one CPU; completes the LOSS rows.

        `ts` and `op` are the columns the rows are in, already in the trace's time.
        """
        number = cpu.place.cpu
        place = cpu.place.origin or cpu.place.place
        losses = self.trace.losses
        for row, lost, count, lost_at, bad, bad_at, why, before in reports:
            after_ns = before_ns = None
            if row >= 0:
                if before != layout.BEFORE_NOTHING:
                    before_ns = ts[row + 1]
                if before:
                    after_ns = ts[row]
                op[row * 4 + 1] = -1 if after_ns is None else after_ns
            if lost and count >= 0:
                cpu.counted += count
                losses.append(Loss(number, after_ns, before_ns, count, place(lost_at)))
            elif lost:
                self.uncounted(cpu, Loss(number, after_ns, before_ns, None, place(lost_at)))
            if bad:
                hole = cpu.holes.pop(bad_at, None) if why == layout.WHY_CHUNK else None
                reason = hole.reason if hole else WHY[why]
                where = f"{self.damaged_at(cpu, hole, bad_at)}: {reason}"
                losses.append(Loss(number, after_ns, before_ns, None, where, severity="damaged"))
                self.note(cpu, hole, bad_at, reason)

    def uncounted(self, cpu: CpuLosses, loss: Loss) -> None:
        """Enter a loss that nobody counted."""
        cpu.uncounted.append(len(self.trace.losses))
        self.trace.losses.append(loss)

    def damaged_at(self, cpu: CpuLosses, _hole: Chunk | None, at: int) -> str:
        """Where damage begins; `_hole` is what stands for it, where it is no page."""
        if cpu.place.origin:
            return cpu.place.place(at)
        return f"data from byte {at} of CPU {cpu.place.cpu}"

    def note(self, cpu: CpuLosses, hole: Chunk | None, at: int, reason: str) -> None:
        """A sentence about damage, for the first few places."""
        self.damaged += 1
        if self.damaged > NOTES:
            return
        if cpu.place.origin:
            self.trace.notes.append(f"{self.path}, {cpu.place.place(at)}: {reason}")
            return
        if hole or not self.compressed:
            offset = hole.offset if hole else cpu.place.offset + at
            if cpu.place.path:
                offset -= cpu.place.offset
            place = f"{cpu.place.path or self.path} at byte {offset} (0x{offset:x})"
        else:
            place = f"{self.path}, byte {at} of the unpacked data"
        self.trace.notes.append(f"{place} of CPU {cpu.place.cpu}: {reason}")

    def went_back(self, cpu: CpuLosses, events: int, at: int) -> None:
        """The clock of a CPU went back, first at its page at byte `at`."""
        self.trace.clock_global = False
        self.trace.notes.append(
            f"{self.path}: the clock of CPU {cpu.place.cpu} went back ({cpu.place.place(at)}): "
            f"{events} events are shown at the last time before"
        )

    def finish(self, cpus: list[CpuLosses]) -> None:
        """At the end of a pass: what CPUSTAT counts and no page does; rows in time order."""
        trace = self.trace
        for cpu in cpus:
            self._overruns(cpu, *self.overruns.get(cpu.place.cpu, (0, 0)))
        seen = {cpu.place.cpu for cpu in cpus}
        for number, (over, dropped) in self.overruns.items():
            if number not in seen and over + dropped:
                where = f"statistics of CPU {number}, which has no data"
                trace.losses.append(Loss(number, None, None, over + dropped, where, placed=False))
        if self.damaged > NOTES:
            trace.notes.append(f"{self.path}: {self.damaged - NOTES} more places are damaged")
        trace.losses.sort(
            key=lambda loss: (
                not loss.placed,
                -_NEVER if loss.after_ns is None else loss.after_ns,
                _NEVER if loss.before_ns is None else loss.before_ns,
                -1 if loss.cpu is None else loss.cpu,
            )
        )

    def _overruns(self, cpu: CpuLosses, over: int, dropped: int) -> None:
        """Overruns are what the missed-event flags tell of; dropped events have no place."""
        losses = self.trace.losses
        number = cpu.place.cpu
        where = f"overruns in the statistics of CPU {number}"
        excess = max(0, over - cpu.counted)
        if excess and len(cpu.uncounted) == 1:
            hole = losses[cpu.uncounted[0]]
            losses[cpu.uncounted[0]] = hole._replace(
                count=excess, where=f"{hole.where}, counted by {where}"
            )
        elif excess and cpu.uncounted:
            first, last = losses[cpu.uncounted[0]], losses[cpu.uncounted[-1]]
            losses.append(Loss(number, first.after_ns, last.before_ns, excess, where))
        elif excess:
            losses.append(Loss(number, None, None, excess, where, placed=False))
        left = max(0, over + dropped - max(cpu.counted, over))
        if left:
            where = f"dropped events in the statistics of CPU {number}"
            losses.append(Loss(number, None, None, left, where, placed=False))
