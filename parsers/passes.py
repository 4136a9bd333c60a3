"""One pass over a buffer's events: every CPU walked, corrected, and merged into blocks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.events import ABSENT, BLOCK_ROWS, EventBlock, FormatField, Kind, Trace
from fputrace.parsers import layout, merge, ringbuffer
from fputrace.parsers.clocks import Correction
from fputrace.parsers.compression import engine_for
from fputrace.parsers.container import Buffer, Container, CpuData
from fputrace.parsers.formats import Common
from fputrace.parsers.losses import CpuLosses, LossBook
from fputrace.parsers.records import BlockRecords, RecordDecoder
from fputrace.parsers.rows import note
from fputrace.parsers.streams import NO_ENTRIES, Chunk, chunk_bytes, chunks, largest_chunk
from fputrace.parsers.tables import EventTable
from fputrace.plain import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS = (
    ("ts", np.int64, 1),
    ("pid", np.int32, 1),
    ("kind", np.uint8, 1),
    ("flags", np.uint16, 1),
    ("event", np.int32, 1),
    ("op", np.int64, 4),
    ("raw", np.int64, 1),
)
_ROWS = 1 << 16  # of all CPUs together, waiting to be merged
_ROWS_OF_ONE = 1 << 14
_HELD = 1 << 26  # bytes of pages that one block's rows may keep, should few events fill many
_REPORTS = 64
_CHANGES = 256
_SWITCH = int(Kind.SCHED_SWITCH)  # an Enum's members are slow to reach
_FORK = int(Kind.SCHED_PROCESS_FORK)


def view(array: Any) -> memoryview:
    """An array as the loops take it: plain Python gets plain integers out of it."""
    return memoryview(array)


@plain(frozen=True)
class Plan:
    """What every pass over a buffer needs, fixed when the trace is opened."""

    container: Container
    buffer: Buffer
    page_size: int
    geometry: np.ndarray[Any, np.dtype[np.int64]]
    table: EventTable
    corrections: Correction
    decoder: RecordDecoder
    comms: dict[int, str]
    notes: list[str]
    overruns: dict[int, tuple[int, int]]
    """CPUSTAT: CPU -> (events its buffer overran or failed to commit, events it dropped)."""


class Cpu:
    """Where a pass is in one CPU's data."""

    def __init__(self, slot: int, position: int, place: CpuData, stream: Iterator[Chunk]) -> None:
        self.slot = slot
        self.position = position
        self.place = place
        self.stream = stream
        self.state = np.zeros(layout.STATE, dtype=np.int64)
        self.state[layout.NEXT] = -1
        self.state[layout.LAST] = self.state[layout.SEEN] = -1
        self.state_view = view(self.state)
        self.data = memoryview(b"")
        self.words = memoryview(b"").cast("I")
        self.entries = NO_ENTRIES
        self.serial = -1
        self.live: dict[int, memoryview] = {}
        self.held = 0
        self.ahead = next(stream, None)
        self.losses = CpuLosses(place)
        self.floor = -(1 << 63)
        self.done = False


class Pass:
    """One run over the events.  ``blocks()`` is the iterator that ``Trace.blocks`` returns."""

    def __init__(self, trace: Trace, plan: Plan) -> None:
        self.trace = trace
        self.plan = plan
        self.table = plan.table
        places = sorted(
            (place, position) for position, place in enumerate(plan.buffer.cpus) if place.size > 0
        )
        most = chunk_bytes(len(places), plan.page_size)
        # One engine for all CPUs: each needs some hundred KiB.
        self.unpack = engine_for(plan.container.compression) if plan.buffer.compressed else None
        self.largest = largest_chunk(len(places))
        self.cpus = [
            Cpu(slot, position, place, self.stream(place, most))
            for slot, (place, position) in enumerate(places)
        ]
        self.rows = max(64, min(_ROWS_OF_ONE, _ROWS // max(len(places), 1)))
        total = self.rows * len(places)
        self.columns: dict[str, Any] = {
            name: np.empty(total * width, dtype=dtype) for name, dtype, width in _COLUMNS
        }
        self.views = [view(column) for column in self.columns.values()]
        # Single values come out of a view faster than out of an array.
        self.ts, self.kind, self.event, self.op = (
            self.views[list(self.columns).index(name)] for name in ("ts", "kind", "event", "op")
        )
        self.comms_cache = view(np.full(3 * layout.COMMS, -1, dtype=np.int64))
        self.reports = view(np.zeros((_REPORTS + 1) * layout.REPORT, dtype=np.int64))
        self.changes = view(np.zeros(_CHANGES * layout.CHANGE, dtype=np.int64))
        self.geometry = view(plan.geometry)
        self.head = np.zeros(len(places), dtype=np.int64)
        self.tail = np.zeros(len(places), dtype=np.int64)
        # Marks, the events known now, and every id without a format that may turn up.
        self.counts = np.zeros(1 + len(plan.table.formats) + (1 << 16) + 1, dtype=np.int64)
        self.comm_times: dict[int, int] = {}
        self.named: dict[int, FormatField] = {}
        """Event -> its field that names a task."""
        self.serials = 0
        self.held = 0
        self.most_held = _HELD // max(len(places), 1)
        self.block_buffers: dict[int, memoryview] = {}
        self.book = self.loss_book()

    def loss_book(self) -> LossBook:
        """Who writes down what is missing."""
        plan = self.plan
        return LossBook(self.trace, plan.container.path, plan.buffer.compressed, plan.overruns)

    def stream(self, place: CpuData, most: int) -> Iterator[Chunk]:
        """One CPU's pages, up to `most` bytes at once; :mod:`tracecmd` gets them elsewhere."""
        plan = self.plan
        return chunks(plan.container, place, plan.page_size, most, self.unpack, self.largest)

    def blocks(self) -> Iterator[EventBlock]:
        """All rows in global order, in blocks.  Raises ReadError when the file shrinks."""
        trace = self.trace
        trace.losses.clear()
        trace.counts.clear()
        trace.notes[:] = self.plan.notes
        trace.comms.clear()
        trace.comms.update(self.plan.comms)
        trace.first_ns = trace.last_ns = None
        trace.read_bytes = 0
        for cpu in self.cpus:
            self._refill(cpu)
        filled = [cpu.slot for cpu in self.cpus if self.head[cpu.slot] < self.tail[cpu.slot]]
        heap = np.array(filled, dtype=np.int64)
        merge.heapify(view(heap), len(heap), self.views[0], view(self.head))
        count = np.array([len(heap), 0], dtype=np.int64)
        numbers = view(np.array([cpu.place.cpu for cpu in self.cpus], dtype=np.int32))
        shared = (
            view(heap),
            view(count),
            view(self.head),
            view(self.tail),
            numbers,
            *self.views,
        )
        counts = view(self.counts)
        status = 0
        while status != layout.ALL_DONE and len(heap):
            out = self._new_block()
            views = [*map(view, out), counts]
            count[1] = 0
            while True:
                status = merge.merge(*shared, *views)
                if status < 0:
                    break
                self._refill(self.cpus[status])
                if self.held > _HELD:
                    break
            if count[1]:
                yield self._finish_block(out, int(count[1]))
        self.book.finish([cpu.losses for cpu in self.cpus])

    def _new_block(self) -> list[Any]:
        self.block_buffers = {
            serial: data for cpu in self.cpus for serial, data in cpu.live.items()
        }
        self.held = sum(len(data) for data in self.block_buffers.values())
        return [
            np.empty(BLOCK_ROWS, dtype=np.int64),
            np.empty(BLOCK_ROWS, dtype=np.int32),
            np.empty(BLOCK_ROWS, dtype=np.int32),
            np.empty(BLOCK_ROWS, dtype=np.uint8),
            np.empty(BLOCK_ROWS, dtype=np.uint16),
            np.empty(BLOCK_ROWS, dtype=np.int32),
            np.empty(BLOCK_ROWS * 4, dtype=np.int64),
            np.empty(BLOCK_ROWS, dtype=np.int64),
        ]

    def _finish_block(self, out: list[Any], rows: int) -> EventBlock:
        trace = self.trace
        ts, cpu, pid, kind, flags, event, op, raw = out
        counts = self.counts[: len(trace.event_names) + 1]
        note(trace, counts, ts[:rows])
        counts[:] = 0
        records = self.records(raw[:rows], event[:rows])
        return EventBlock(
            ts[:rows],
            cpu[:rows],
            pid[:rows],
            kind[:rows],
            flags[:rows],
            event[:rows],
            op.reshape(-1, 4)[:rows],
            trace.event_names,
            records,
        )

    def records(self, raw: NDArray[np.int64], event: NDArray[np.int32]) -> BlockRecords:
        """The records of a block's rows."""
        plan = self.plan
        return BlockRecords(raw, event, self.block_buffers, self.table.formats, plan.decoder)

    def _refill(self, cpu: Cpu) -> None:
        """Walk on until this CPU's rows are full or its data ends."""
        start = cpu.slot * self.rows
        state = cpu.state_view
        state[layout.ROW] = start
        state[layout.REPORTS] = 0
        cpu.live = {cpu.serial: cpu.data} if cpu.serial >= 0 else {}
        cpu.held = len(cpu.data)
        while not cpu.done:
            work: tuple[Any, ...] = (
                cpu.data,
                cpu.words,
                len(cpu.data),
                cpu.serial,
                self.geometry,
                state,
                view(self.table.index_of),
                view(self.table.rows),
                view(self.table.ips),
                len(self.table.ips) // 3 - 1,
                self.comms_cache,
                *self.views,
                start + self.rows - 2,
                self.reports,
                self.changes,
                *cpu.entries[:4],
                cpu.entries.stop,
            )
            status = ringbuffer.walk(*work)
            self._note_comms(cpu)
            if status == layout.ASK:
                at, length = state[layout.WHERE], state[layout.LENGTH]
                self.table.learn(
                    state[layout.ASKED],
                    bytes(cpu.data[at : at + length]),
                    self.plan.decoder.order,
                )
            elif status != layout.NEED_CHUNK or (
                cpu.held > self.most_held and state[layout.ROW] > start
            ):
                break
            elif not self._next_chunk(cpu):
                self._end(cpu)
        end = state[layout.ROW]
        self._correct(cpu, start, end)
        self._report(cpu)
        self.head[cpu.slot], self.tail[cpu.slot] = start, end

    def _next_chunk(self, cpu: Cpu) -> bool:
        """Give the walk the next chunk of pages; holes on the way become damage."""
        state = cpu.state
        while cpu.ahead is not None:
            chunk, cpu.ahead = cpu.ahead, next(cpu.stream, None)
            self.trace.read_bytes += chunk.consumed
            if chunk.missing:
                if state[layout.BAD] == 0:
                    state[layout.BAD_AT] = chunk.base
                    state[layout.BAD_WHY] = layout.WHY_CHUNK
                    cpu.losses.holes[chunk.base] = chunk
                state[layout.BAD] += 1
                continue
            cpu.data = memoryview(chunk.data)
            cpu.words = cpu.data.cast("I")
            cpu.entries = chunk.entries
            state[layout.ENTRY] = chunk.entries.first
            state[layout.NEXT] = -1
            state[layout.BASE] = chunk.base
            self.open(cpu)
            return True
        return False

    def open(self, cpu: Cpu) -> None:
        """Get ready for a CPU's next chunk of pages, which its rows and the block's keep."""
        state = cpu.state_view
        cpu.held += len(cpu.data)
        self.held += len(cpu.data)
        cpu.serial = self.serials
        self.serials += 1
        cpu.live[cpu.serial] = self.block_buffers[cpu.serial] = cpu.data
        state[layout.PAGE] = 0
        state[layout.PEEK] = self._base_time(cpu.ahead, 0)
        state[layout.PEEK2] = self._base_time(cpu.ahead, self.plan.page_size)

    def _base_time(self, chunk: Chunk | None, page: int) -> int:
        """Base time of a page of a chunk, -1 where there is none."""
        if chunk is None or page + self.plan.page_size > len(chunk.data):
            return -1
        return int(ringbuffer.base_time(memoryview(chunk.data).cast("I"), page, self.geometry))

    def _end(self, cpu: Cpu) -> None:
        """The marks behind a CPU's last event: LOSS when something is missing there, CPU_END."""
        state = cpu.state
        row = int(state[layout.ROW])
        last = int(state[layout.LAST])
        cpu.done = True
        if state[layout.LOST] or state[layout.BAD]:
            at = int(state[layout.REPORTS]) * layout.REPORT
            fields = (layout.LOST, layout.LOST_COUNT, layout.LOST_AT)
            bad = (layout.BAD, layout.BAD_AT, layout.BAD_WHY)
            values = [-1 if last < 0 else row, *(int(state[i]) for i in fields + bad)]
            values.append(layout.BEFORE_NOTHING)
            for i, value in enumerate(values):
                self.reports[at + i] = value
            state[layout.REPORTS] += 1
            if last >= 0:
                count = -1 if state[layout.BAD] else int(state[layout.LOST_COUNT])
                self._mark(row, Kind.LOSS, last, count, last)
                row += 1
        if last >= 0:
            self._mark(row, Kind.CPU_END, last, ABSENT, ABSENT)
            row += 1
        state[layout.ROW] = row

    def _mark(self, row: int, kind: Kind, when: int, count: int, before: int) -> None:
        columns = self.columns
        columns["ts"][row] = when
        columns["pid"][row] = columns["event"][row] = columns["raw"][row] = -1
        columns["kind"][row] = kind
        columns["flags"][row] = 0
        columns["op"][row * 4 : row * 4 + 4] = (count, before, ABSENT, ABSENT)

    def _correct(self, cpu: Cpu, start: int, end: int) -> None:
        """Recorded times to the trace's times, still in order."""
        correction = self.plan.corrections
        if start == end or not correction.applies(cpu.position):
            return
        ts = self.columns["ts"][start:end]
        correction.apply(ts, cpu.position)
        if correction.shifts:  # samples may move a later time before an earlier one
            np.maximum.accumulate(ts, out=ts)
            np.maximum(ts, cpu.floor, out=ts)
            cpu.floor = int(ts[-1])

    def _report(self, cpu: Cpu) -> None:
        """Enter the holes the walk has found, and a clock that went back."""
        state = cpu.state_view
        if state[layout.REPORTS]:
            numbers = iter(self.reports[: state[layout.REPORTS] * layout.REPORT].tolist())
            reports = list(zip(*[numbers] * layout.REPORT, strict=True))
            self.book.report(cpu.losses, reports, self.ts, self.op)
        if cpu.done and state[layout.BACK]:
            self.book.went_back(cpu.losses, state[layout.BACK], state[layout.BACK_AT])
            state[layout.BACK] = 0

    def _note_comms(self, cpu: Cpu) -> None:
        """Names of tasks that the walk saw change; the latest by time counts."""
        state = cpu.state_view
        count = int(state[layout.CHANGES])
        if not count:
            return
        state[layout.CHANGES] = 0
        changes = self.changes[: count * layout.CHANGE].tolist()
        ts, kinds, events = self.ts, self.kind, self.event
        sizes = view(self.table.rows)
        times, comms = self.comm_times, self.trace.comms
        for i in range(0, count * layout.CHANGE, layout.CHANGE):
            pid, at, row = changes[i : i + layout.CHANGE]
            when = ts[row]
            if pid == 0 or times.get(pid, -1) > when:
                continue
            kind = kinds[row]
            size = sizes[events[row] * layout.TABLE + layout.COMM_SIZE]
            if kind == _SWITCH or (kind == _FORK and size):
                text = bytes(cpu.data[at : at + size])
                name = text.partition(b"\0")[0].decode("utf-8", "backslashreplace")
            else:
                name = self._comm_in_record(cpu, row, kind, at)
            if name:
                times[pid] = when
                comms[pid] = name

    def _comm_in_record(self, cpu: Cpu, row: int, kind: int, at: int) -> str:
        """``child_comm`` of a fork, or what exec makes the comm: the file's name, cut to 15.

        That field's word is at ``at`` of the chunk.
        """
        index = self.event[row]
        field = self.named.get(index)
        if field is None:
            form = self.table.formats[index]
            name = "child_comm" if kind == _FORK else "filename"
            field = next((f for f in form.fields if f.name == name), None) if form else None
            if field is None:
                return ""
            self.named[index] = field
        start = at - int(self.table.rows[index * layout.TABLE + layout.COMM_OFF])
        text = str(self.plan.decoder.value(field, self.payload(cpu, row, start)))
        return text if kind == _FORK else text.rpartition("/")[2][:15]

    def payload(self, cpu: Cpu, row: int, _start: int) -> bytes:
        """The bytes of a record that the walk is at, which begins at ``start`` of the chunk."""
        raw, event = self.columns["raw"][row : row + 1], self.columns["event"][row : row + 1]
        return BlockRecords(raw, event, cpu.live, [], self.plan.decoder).payload(0)


def blocks_of(plan: Plan) -> Callable[[Trace], Iterator[EventBlock]]:
    """What ``Trace.blocks`` calls: a new pass each time."""
    return lambda trace: Pass(trace, plan).blocks()


def geometry_of(table: EventTable, big: bool, slack: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The walk's array of what is where, without the layout of the pages.

    `slack`: how far an event may lie after the next page's base time, see :mod:`layout`.
    """
    common = table.common
    geometry = np.zeros(layout.GEOMETRY, dtype=np.int64)
    geometry[layout.SWAP] = byte_order_differs(big)
    geometry[layout.BIG] = big
    geometry[layout.TYPE_OFF], geometry[layout.TYPE_SIZE] = common.type_offset, common.type_size
    geometry[layout.PID_OFF] = common.pid_offset
    geometry[layout.FLAGS_OFF] = common.flags_offset
    geometry[layout.COUNT_OFF] = common.count_offset
    geometry[layout.HEAD] = max(
        common.type_offset + common.type_size,
        common.pid_offset + 4,
        common.flags_offset + 1,
        common.count_offset + 1,
    )
    geometry[layout.SLACK] = slack
    geometry[layout.USUAL] = common == Common() and not big and not geometry[layout.SWAP]
    return geometry


def byte_order_differs(big: bool) -> bool:
    """Whether the recording's byte order is not this machine's."""
    return big != (sys.byteorder == "big")
