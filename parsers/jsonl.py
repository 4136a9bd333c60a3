"""JSON lines, as ``fputrace convert --to jsonl`` writes them (docs/convert.md).

A head of metadata, one object a line for every row in order, marks included, and an end with a
checksum of all before it.  A file whose checksum is right is read once, and a line in it that is
no row is an error.  Any other is damaged: it is looked through first, a line that is no row is a
hole on every CPU, and nothing in it is proven.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from fputrace.errors import FormatError
from fputrace.events import ABSENT, BLOCK_ROWS, EventBlock, Kind, Loss, Trace
from fputrace.metadata import (
    OPERANDS,
    ROW,
    MalformedError,
    Names,
    comms_from_plain,
    format_from_plain,
    from_plain,
    kind_of,
    loss_from_plain,
    operands_of,
)
from fputrace.parsers.rows import Columns, Hole, Marks, Seen, blocks_of, losses_of
from fputrace.parsers.source import Source

LARGEST_LINE = 4 << 20
"""A longer line is damage: a record fits a sub-buffer, which is far smaller."""

BLOCK_BYTES = 16 << 20
"""Lines of a block are kept until it is done with."""

_PIECE = 1 << 20
_NOTES = 8  # sentences about damage that a pass writes; the rest is counted
_MOST_NAMES = 1 << 17  # common_type has 16 bits
_I31, _I63, _U16, _U64 = 1 << 31, 1 << 63, 1 << 16, 1 << 64
_MARKS = {kind.name: int(kind) for kind in (Kind.LOSS, Kind.LOSS_END, Kind.CPU_END)}
_HINT = "The file is truncated or was changed; convert the recording again."


def _no_constant(name: str) -> NoReturn:
    raise MalformedError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode


def read_line(line: bytes) -> dict[str, Any]:
    """The object that a line holds; raises MalformedError."""
    try:
        text = line.decode()
        value, end = _decode(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)[:80]) from error
    if not isinstance(value, dict) or text[end:].strip():
        raise MalformedError("expected one object")
    return value


def open_jsonl(fd: int, path: str) -> Trace:
    """Open a converted recording.  The descriptor belongs to the trace from now on.

    Raises FormatError when its head cannot be read.
    """
    source = Source(fd, path)
    try:
        plan = _Plan(source)
    except BaseException:
        source.close()
        raise
    trace = plan.trace
    trace.total_bytes = source.size
    trace._blocks = lambda opened: _blocks(opened, plan)
    trace._close = source.close
    return trace


Row = tuple[int, ...]
"""ts, cpu, pid, kind, flags, event (-1 for marks) and four operands."""


class _Lines:
    """The lines between two offsets, without their ends; ``number`` of the latest.

    None stands for a line longer than LARGEST_LINE, and for a last one that does not end.
    """

    def __init__(self, source: Source, offset: int, stop: int, number: int = 0) -> None:
        self._source = source
        self._stop = stop
        self.offset = offset  # behind the latest line; only a little off behind a too long one
        self.number = number

    def __iter__(self) -> Iterator[bytes | None]:
        at, carried, too_long = self.offset, b"", False
        while at < self._stop:
            piece = self._source.read_known(at, min(_PIECE, self._stop - at), "lines")
            at += len(piece)
            first, *others = piece.split(b"\n")
            if not others:
                carried = b"" if too_long else carried + first
                too_long = too_long or len(carried) > LARGEST_LINE
                continue
            whole = [None if too_long else carried + first, *others[:-1]]
            carried, too_long = others[-1], False
            for line in whole:
                self.offset += len(line or b"") + 1
                self.number += 1
                yield line
        if carried or too_long:
            self.number += 1
            yield None


class _Plan:
    """What every pass needs: the head, where the rows are, and what damage there is."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.comms: dict[int, str] = {}
        self.losses: list[Loss] = []
        self.start, self.number = 0, 0
        self.stop, self.whole = _end_of(source)
        self._read_head()
        self.trace.comms = dict(self.comms)
        self.notes = list(self.trace.notes)
        self.marks = Marks((), {})
        if not self.whole:
            self._look_through()

    def _read_head(self) -> None:
        """The lines before the first row: metadata, formats, names of tasks, losses."""
        path = self.source.path
        lines = _Lines(self.source, 0, self.stop)
        for line in lines:
            try:
                if not self._take(line or b"", path):
                    return
            except MalformedError as error:
                raise FormatError(
                    f"line {lines.number}: {error}", path=path, offset=self.start, hint=_HINT
                ) from error
            self.start, self.number = lines.offset, lines.number
        if not self.whole or not self.number:
            raise FormatError(
                "the file breaks off before its events", path=path, offset=self.stop, hint=_HINT
            )

    def _take(self, line: bytes, path: str) -> bool:
        """Whether the line still belongs to the head."""
        if self.number == 0:
            self.trace = from_plain(read_line(line).get("fputrace"), path, "jsonl")
        elif line.startswith(b'{"format":'):
            form = format_from_plain(read_line(line)["format"])
            self.trace.formats[form.key] = form
        elif line.startswith(b'{"comms":'):
            self.comms.update(comms_from_plain(read_line(line)["comms"]))
        elif line.startswith(b'{"loss":'):
            self.losses.append(loss_from_plain(read_line(line)["loss"]))
        else:
            return False
        return True

    def lines(self) -> _Lines:
        """Those behind the head."""
        return _Lines(self.source, self.start, self.stop, self.number)

    def _look_through(self) -> None:
        """Where rows are missing: whose they were is not known, so it is a hole on every CPU."""
        rows, lines, damage = _Rows(self.trace), self.lines(), _Damage()
        for line in lines:
            try:
                row = rows.read(line)
            except MalformedError as error:
                damage.hole(f"line {lines.number} is no row: {error}")
            else:
                damage.row(row, lines.number)
        damage.finish()
        holes, path = damage.holes, self.source.path
        self.marks = Marks(holes, damage.last)
        self.losses += losses_of(holes)
        where = "anywhere: the checksum at the end of the file does not fit it, or is missing"
        self.losses.append(Loss(None, None, None, None, where, False, "damaged"))
        self.notes.append(f"{path}: {where[10:]}")
        self.notes += [f"{path}: {note}" for note in damage.notes]
        if damage.count > len(damage.notes):
            self.notes.append(f"{path}: {damage.count - len(damage.notes)} more lines are no rows")


def _end_of(source: Source) -> tuple[int, bool]:
    """Where the rows end, and whether the file is what was written, by its checksum."""
    room = min(source.size, LARGEST_LINE)
    tail = source.read_known(source.size - room, room, "the end")
    at = tail.rfind(b"\n", 0, len(tail) - 1) + 1
    last, start = tail[at:], source.size - len(tail) + at
    told, _, number = last.rpartition(b',"crc32":')
    if not last.startswith(b'{"end":'):
        return source.size, False
    stop, crc, done = start + len(told), 0, 0
    while done < stop:
        piece = source.read_known(done, min(_PIECE, stop - done), "the checksum")
        crc = zlib.crc32(piece, crc)
        done += len(piece)
    return start, number == b"%d}\n" % crc


class _Damage:
    """Gathers what is around lines that are no rows."""

    def __init__(self) -> None:
        self.holes: list[Hole] = []
        self.last: dict[int, Seen] = {}  # of CPUs whose CPU_END has not come
        self.notes: list[str] = []
        self.count = 0
        self._visible: dict[int, Seen] = {}
        self._open: dict[int, tuple[Seen, str]] = {}

    def hole(self, where: str) -> None:
        """A line that is no row."""
        self.count += 1
        if self.count <= _NOTES:
            self.notes.append(where)
        self._open.update((cpu, (seen, where)) for cpu, seen in self._visible.items())
        self._visible.clear()

    def row(self, row: Row, number: int) -> None:
        """A row, and the number of its line."""
        ts, cpu, kind, event = row[0], row[1], row[3], row[5]
        if event >= 0:
            self._close(cpu, Seen(number, ts))
            self.last[cpu] = self._visible[cpu] = Seen(number, ts)
        elif kind == Kind.CPU_END:
            self._close(cpu, None)
            self.last.pop(cpu, None)
            self._visible.pop(cpu, None)

    def _close(self, cpu: int, before: Seen | None) -> None:
        if cpu in self._open:
            after, where = self._open.pop(cpu)
            self.holes.append(Hole(cpu, after, before, None, where, "damaged"))

    def finish(self) -> None:
        """The file ends: what no CPU_END closes may go on."""
        for cpu in list(self.last):
            if cpu not in self._open:
                self._open[cpu] = (self.last[cpu], "the file ends without a CPU_END")
            self._close(cpu, None)


class _Rows:
    """Decodes lines, and knows which come after which."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.last = -_I63
        self.cpus = frozenset(trace.cpus)
        self.kinds: dict[str, tuple[int, int, Names]] = {}
        for index, name in enumerate(trace.event_names):
            kind = trace.event_kinds[index]
            self.kinds.setdefault(name, (index, int(kind), OPERANDS.get(kind, ())))

    def read(self, line: bytes | None) -> Row:
        """The row of a line; raises MalformedError."""
        if line is None:
            raise MalformedError(f"it has no end, or one beyond {LARGEST_LINE} bytes")
        told = read_line(line)
        try:
            row = self._row(told)
        except KeyError as error:
            raise MalformedError(f"there is no {error}") from error
        self.last = row[0]
        return row

    def _row(self, told: dict[str, Any]) -> Row:
        ts, cpu = told["ts"], told["cpu"]
        if type(ts) is not int or not self.last <= ts < _I63:
            raise MalformedError("its time is before the row before it, or none")
        if type(cpu) is not int or cpu not in self.cpus:
            raise MalformedError("its cpu is none of the recording's")
        if "mark" in told:
            return (ts, cpu, -1, *_mark(told))
        pid, flags, name, fields = told["pid"], told["flags"], told["event"], _fields(told)
        if type(pid) is not int or not -_I31 <= pid < _I31:
            raise MalformedError("its pid is no number of a task")
        if type(flags) is not int or not 0 <= flags < _U16:
            raise MalformedError("its flags are no number of 16 bits")
        known = self.kinds.get(name) if isinstance(name, str) else None
        index, kind, names = known or self._learn(name)
        if "kind" in told:
            kind = int(kind_of(told["kind"]))
            if kind in _MARKS.values():
                raise MalformedError("a mark has no event")
            names = OPERANDS.get(Kind(kind), ())
        if "op" in told:
            return (ts, cpu, pid, kind, flags, index, *_op(told["op"]))
        return (ts, cpu, pid, kind, flags, index, *operands_of(names, fields))

    def _learn(self, name: Any) -> tuple[int, int, Names]:
        """An event that the head does not list counts, and nothing else."""
        trace = self.trace
        if not isinstance(name, str) or len(trace.event_names) >= _MOST_NAMES:
            raise MalformedError("its event is no name")
        self.kinds[name] = (len(trace.event_names), int(Kind.OTHER), ())
        trace.event_names.append(name)
        trace.event_kinds.append(Kind.OTHER)
        return self.kinds[name]


def _blocks(trace: Trace, plan: _Plan) -> Iterator[EventBlock]:
    """One pass.  Raises ReadError when the file shrinks, FormatError for a line that is no row."""
    trace.losses[:] = plan.losses
    trace.counts.clear()
    trace.notes[:] = plan.notes
    trace.comms.clear()
    trace.comms.update(plan.comms)
    trace.first_ns = trace.last_ns = None
    trace.read_bytes = plan.start
    kept: dict[int, bytes] = {}

    def parts() -> Iterator[Columns]:
        rows, lines = _Rows(trace), plan.lines()
        made: list[Row] = []
        size, unended = 0, set()
        for line in lines:
            try:
                row = rows.read(line)
            except MalformedError as error:
                if plan.whole:
                    where = f"line {lines.number} is no row: {error}"
                    raise FormatError(where, path=trace.path, offset=lines.offset) from error
                continue
            if row[5] >= 0:
                assert line is not None
                made.append((*row, lines.number))
                kept[lines.number] = line
                size += len(line)
                unended.add(row[1])
            else:
                made.append((*row, -1))
                if row[3] == Kind.CPU_END:
                    unended.discard(row[1])
            if len(made) >= BLOCK_ROWS or size >= BLOCK_BYTES:
                trace.read_bytes = lines.offset
                yield _columns(made)
                kept.clear()
                made, size = [], 0
        if plan.whole and unended:
            raise FormatError(
                f"CPU {min(unended)} has no CPU_END behind its last event", path=trace.path
            )
        if made:
            yield _columns(made)
        trace.read_bytes = trace.total_bytes

    def fields_of(rows: Columns) -> Callable[[int], dict[str, Any]]:
        lines = {number: kept[number] for number in rows.raw.tolist() if number >= 0}

        def fields(row: int) -> dict[str, Any]:
            line = lines.get(int(rows.raw[row]))
            return {} if line is None else _fields(read_line(line))

        return fields

    return blocks_of(trace, parts(), plan.marks, fields_of)


def _columns(made: list[Row]) -> Columns:
    table = np.array(made, dtype=np.int64)
    return Columns(
        table[:, 0].copy(),
        table[:, 1].astype(np.int32),
        table[:, 2].astype(np.int32),
        table[:, 3].astype(np.uint8),
        table[:, 4].astype(np.uint16),
        table[:, 5].astype(np.int32),
        table[:, 6:10].copy(),
        table[:, 10].copy(),
    )


def _fields(told: dict[str, Any]) -> dict[str, Any]:
    """An event's fields: numbers of 64 bits, texts, lists of numbers; raises MalformedError."""
    fields = told["fields"]
    if not isinstance(fields, dict):
        raise MalformedError("its fields are no object")
    for name, value in fields.items():
        if type(value) is int:
            if not -_I63 <= value < _U64:
                raise MalformedError(f"{name[:40]} has more than 64 bits")
        elif type(value) is list:
            if not all(type(item) is int and -_I63 <= item < _U64 for item in value):
                raise MalformedError(f"{name[:40]} has an element that is no number of 64 bits")
            fields[name] = tuple(value)
        elif type(value) is not str:
            raise MalformedError(f"{name[:40]} is neither number nor text nor list")
    return fields


def _op(told: Any) -> Sequence[int]:
    """Operands that the fields do not give: at most four, null where there is none."""
    if not isinstance(told, list) or len(told) > 4:
        raise MalformedError("op has no list of up to four")
    op = [ABSENT if value is None else value for value in told]
    if not all(type(value) is int and -_I63 <= value < _I63 for value in op):
        raise MalformedError("op has an element that is no number of 64 bits")
    return (*op, *ROW[len(op) :])


def _mark(told: dict[str, Any]) -> tuple[int, ...]:
    """kind, flags, event and operands of a mark; raises MalformedError."""
    name = told["mark"]
    kind = _MARKS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise MalformedError(f"there is no mark {str(name)[:40]!r}")
    if kind == Kind.LOSS:
        found = [-1 if told.get(key) is None else told[key] for key in ("lost", "after_ns")]
        return (kind, 0, -1, *_op(found))
    return (kind, 0, -1, *ROW)
