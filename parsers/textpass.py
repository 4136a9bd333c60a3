"""One pass over a text: rows by the compiled walk, and line by line what it is not sure of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fputrace.events import ABSENT, BLOCK_ROWS, EventBlock, Kind, Loss, Trace
from fputrace.lines import textlayout as layout
from fputrace.lines import textwalk
from fputrace.parsers.rows import Columns, FieldsOf, Marks, blocks_of
from fputrace.parsers.source import Source
from fputrace.parsers.textevents import Event, EventTable, Named, split_name
from fputrace.parsers.textindex import Index
from fputrace.parsers.textlines import Form, Prefix, flags_number, read_prefix
from fputrace.parsers.textlook import Chunks, geometry_of
from fputrace.parsers.textprograms import Programs
from fputrace.plain import plain

LARGEST_LINE = 1 << 16
"""Bytes of a line that its fields are decoded from."""

_SWITCH = int(Kind.SCHED_SWITCH)  # compared with an Enum, numpy widens the column first

_MOST_LOSSES = 1000  # broken events with a row of their own in Trace.losses

_OTHER_TASKS = (
    "Lines name another task than the one that runs there, as perf script -F pid does, which "
    "prints the process and not the thread: what threads did is not known. Print them with -F tid: "
    "perf script --ns --show-lost-events -F comm,tid,cpu,time,event,trace."
)


@plain(frozen=True)
class Plan:
    """What every pass over a text needs, fixed when it is opened."""

    source: Source
    form: Form
    table: EventTable
    programs: Programs
    marks: Marks
    index: Index
    where: Callable[[int], str]
    losses: tuple[Loss, ...]
    comms: dict[int, str]
    notes: tuple[str, ...]


class Pass:
    """One run over the lines.  ``blocks()`` is the iterator that ``Trace.blocks`` returns."""

    def __init__(self, trace: Trace, plan: Plan) -> None:
        self.trace = trace
        self.plan = plan
        self.table = plan.table
        self.state = np.zeros(layout.STATE, dtype=np.int64)
        self.state[layout.LINE] = 1
        self.state[layout.TIME] = -(1 << 62)
        self.chunks = Chunks(plan.source, self.state)
        self.comms = np.full(layout.COMM_SLOTS * layout.COMM, -2, dtype=np.int64)
        self.changes = np.zeros(layout.MOST_CHANGES * layout.CHANGE, dtype=np.int64)
        self.memo = np.zeros(layout.MEMO, dtype=np.int64)
        self.tables = [
            geometry_of(plan.form),
            layout.view(self.state),
            *plan.programs.views,
            layout.view(self.comms),
            memoryview(bytearray(layout.COMM_SLOTS * layout.COMM_ROOM)),
            layout.view(self.changes),
            layout.view(self.memo),
        ]
        self._new_rows()
        self.broken = 0
        self.other_tasks = False
        self.own = plan.index.own

    def blocks(self) -> Iterator[EventBlock]:
        """All rows in order, in blocks.  Raises ReadError when the file shrinks."""
        trace, plan = self.trace, self.plan
        trace.comms.clear()
        trace.comms.update(plan.comms)
        trace.counts.clear()
        trace.losses[:] = plan.losses
        trace.notes[:] = plan.notes
        trace.first_ns = trace.last_ns = None
        trace.read_bytes = 0
        yield from blocks_of(trace, self._parts(), plan.marks, self._fields_of)
        self._finish()

    def _parts(self) -> Iterator[Columns]:
        state, chunks = self.state, self.chunks
        for skipped in chunks:
            if skipped:
                state[layout.LINE] += 1
                continue
            status = None
            while status != layout.NEED_CHUNK:
                status = textwalk.walk(
                    self.plan.source.fd, chunks.stop, chunks.data, *self.tables, *self.columns
                )
                if state[layout.CHANGES]:
                    self._changes()
                if status == layout.ROWS_FULL or state[layout.ROW] > BLOCK_ROWS - 2:
                    self.trace.read_bytes = int(state[layout.BASE] + state[layout.AT])
                    yield self._take()
                if status == layout.ASK:
                    self._ask()
        self.trace.read_bytes = chunks.at
        if state[layout.ROW]:
            yield self._take()

    def _new_rows(self) -> None:
        rows = self.rows = Columns.empty(BLOCK_ROWS)
        columns = (rows.ts, rows.cpu, rows.pid, rows.kind, rows.flags, rows.event)
        self.columns = [
            *(layout.view(column) for column in columns),
            layout.view(rows.op.reshape(-1)),
            layout.view(rows.raw),
        ]

    def _take(self) -> Columns:
        """The rows so far; new ones go elsewhere."""
        done = self.rows.part(slice(0, int(self.state[layout.ROW])))
        if not (self.plan.form.dash or self.other_tasks):
            switches = np.flatnonzero(done.kind == _SWITCH)
            pids = done.pid[switches]
            # perf's -1 is a task that is gone.
            self.other_tasks |= bool(((pids != done.op[switches, 0]) & (pids > 0)).any())
        self._new_rows()
        self.state[layout.ROW] = 0
        return done

    def _changes(self) -> None:
        """Names of tasks that the walk noted."""
        count = int(self.state[layout.CHANGES]) * layout.CHANGE
        noted = self.changes[:count].tolist()
        for pid, place, length in zip(noted[::3], noted[1::3], noted[2::3], strict=True):
            self._name(pid, bytes(self.chunks.data[place : place + length]))
        self.state[layout.CHANGES] = 0

    def _ask(self) -> None:
        """Read the line where the walk is in plain Python, and go behind it."""
        state = self.state
        at = int(state[layout.BASE] + state[layout.AT])
        line = self.chunks.line()
        prefix = read_prefix(self.plan.form, line)
        if prefix is not None and prefix.buffer == self.own:
            named = split_name(line, prefix.end)
            if named is not None and not named.name.startswith("PERF_RECORD_"):
                args = line[named.args :]
                event = self.table.settle(self.table.decode(named, args))
                self._row(prefix, event, at)
                self._learn(prefix, named, event, args)
        state[layout.LINE] += 1

    def _learn(self, prefix: Prefix, named: Named, event: Event, args: bytes) -> None:
        """Let the walk read the next such line itself."""
        programs = self.plan.programs
        before = programs.learned
        programs.learn_flags(prefix.flags, flags_number(prefix.flags))
        text = args.decode("utf-8", "backslashreplace").strip()
        programs.learn(named, event, self.table.number(event), text)
        if programs.learned != before:
            self.memo[layout.TAILS] = 0

    def _row(self, prefix: Prefix, event: Event, raw: int) -> None:
        state, rows = self.state, self.rows
        ts = prefix.ts
        if ts < state[layout.TIME]:
            if not state[layout.BACK]:
                state[layout.BACK_LINE] = state[layout.LINE]
            state[layout.BACK] += 1
            ts = int(state[layout.TIME])
        state[layout.TIME] = ts
        self._name(prefix.pid, prefix.comm)
        # The walk tells the next name that it reads, also the one it knew.
        self.comms[(prefix.pid & layout.COMM_SLOTS - 1) * layout.COMM] = -2
        if event.broken:
            self._lose(ts, prefix.cpu, event, raw)
            return
        n = int(state[layout.ROW])
        rows.ts[n], rows.cpu[n], rows.pid[n] = ts, prefix.cpu, prefix.pid
        rows.kind[n], rows.flags[n] = event.kind, flags_number(prefix.flags)
        rows.event[n] = self.table.number(event)
        rows.op[n] = event.ops
        rows.raw[n] = raw
        state[layout.ROW] = n + 1

    def _lose(self, ts: int, cpu: int, event: Event, raw: int) -> None:
        """An event that happened here, but nobody knows what it was: a hole of no length."""
        rows = self.rows
        for kind, lost, after in ((Kind.LOSS, -1, ts), (Kind.LOSS_END, ABSENT, ABSENT)):
            n = int(self.state[layout.ROW])
            rows.ts[n], rows.cpu[n], rows.kind[n] = ts, cpu, kind
            rows.pid[n] = rows.event[n] = -1
            rows.flags[n] = 0
            rows.op[n] = (lost, after, ABSENT, ABSENT)
            # CPU_END may belong behind this line.
            rows.raw[n] = raw if kind is Kind.LOSS_END else -1
            self.state[layout.ROW] = n + 1
        self.broken += 1
        if self.broken <= _MOST_LOSSES:
            number = int(self.state[layout.LINE])
            where = f"{self.plan.where(number)}: {event.key} in a text that cannot be read"
            self.trace.losses.append(Loss(cpu, ts, ts, None, where, severity="damaged"))

    def _name(self, pid: int, comm: bytes) -> None:
        if self.table.header.any:
            return  # the head of a converted text has them all
        if pid <= 0 or not comm or comm == b"<...>" or comm == b":%d" % pid:
            return
        text = comm.decode("utf-8", "backslashreplace")
        if not self.plan.form.bracket and self.trace.comms.get(pid, "").startswith(text):
            return  # cut to eight bytes
        self.trace.comms[pid] = text

    def _finish(self) -> None:
        trace, state = self.trace, self.state
        self.table.tell_unread(self.plan.index.named)
        if self.other_tasks and _OTHER_TASKS not in trace.limits:
            trace.limits.append(_OTHER_TASKS)
        if state[layout.BACK]:
            trace.clock_global = False
            trace.notes.append(
                f"Times go back at {self.plan.where(int(state[layout.BACK_LINE]))}: "
                f"{state[layout.BACK]} events are shown at the last time before."
            )
        if self.broken:
            trace.notes.append(
                f"{self.broken} events cannot be read: their text is none that is known."
            )

    def _fields_of(self, rows: Columns) -> FieldsOf:
        def fields(row: int) -> dict[str, Any]:
            raw = int(rows.raw[row])
            return self.fields_at(raw) if raw >= 0 and rows.event[row] >= 0 else {}

        return fields

    def fields_at(self, at: int) -> dict[str, Any]:
        """The fields of the event whose line begins at a place in the file."""
        source = self.plan.source
        data = source.read_known(at, min(LARGEST_LINE, source.size - at), "an event's line")
        line = data.partition(b"\n")[0]
        prefix = read_prefix(self.plan.form, line)
        named = split_name(line, prefix.end) if prefix is not None else None
        if named is None:
            return {}
        fields = self.table.decode(named, line[named.args :]).fields
        return {name: value for name, value in fields.items() if value is not None}
