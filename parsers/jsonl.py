"""JSON lines, as ``fputrace convert --to jsonl`` writes them (docs/convert.md).

A head of metadata, one object a line for every row in order, marks included, and an end with a
checksum of all before it.  What does not fit is damage: a line that is no row is a hole on every
CPU, an end that is missing or does not fit what stands before it leaves nothing proven.
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
from fputrace.parsers.rows import Columns, Marks, blocks_of
from fputrace.parsers.source import Source

LARGEST_LINE = 4 << 20
"""A longer line is damage: a record fits a sub-buffer, which is far smaller."""

BLOCK_BYTES = 16 << 20
"""Lines of a block are kept until it is done with."""

_PIECE = 1 << 20
_NOTES = 8  # sentences about damage that a pass writes; the rest is counted
_MOST_CPU = 65535
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
        head = _Head(source)
    except BaseException:
        source.close()
        raise
    trace = head.trace
    trace.total_bytes = source.size
    trace._blocks = lambda opened: _Pass(opened, source, head).blocks()
    trace._close = source.close
    return trace


class _Lines:
    """The lines of a file from `offset` on, without their ends; ``number`` of the latest.

    None stands for a line longer than LARGEST_LINE.  What follows the last line's end is ``rest``.
    """

    def __init__(self, source: Source, offset: int = 0, number: int = 0) -> None:
        self._source = source
        self.offset = offset  # behind the latest line; only a little off behind a too long one
        self.number = number
        self.rest = b""

    def __iter__(self) -> Iterator[bytes | None]:
        source = self._source
        at, carried, too_long = self.offset, b"", False
        while at < source.size:
            piece = source.read_known(at, min(_PIECE, source.size - at), "lines")
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
        self.rest = carried


class _Head:
    """The lines before the first row: metadata, formats, names of tasks, losses."""

    def __init__(self, source: Source) -> None:
        self.crc = 0
        self.comms: dict[int, str] = {}
        self.losses: list[Loss] = []
        self.start = 0
        self.number = 0
        lines = _Lines(source)
        for line in lines:
            try:
                if not self._take(line or b"", source.path):
                    break
            except MalformedError as error:
                raise FormatError(
                    f"line {lines.number}: {error}", path=source.path, offset=self.start, hint=_HINT
                ) from error
            self.crc = zlib.crc32(b"\n", zlib.crc32(line or b"", self.crc))
            self.start, self.number = lines.offset, lines.number
        else:
            raise FormatError(
                "the file breaks off before its events",
                path=source.path,
                offset=source.size,
                hint=_HINT,
            )
        self.trace.comms = dict(self.comms)
        self.notes = list(self.trace.notes)

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


class _Holes:
    """Where damage hides events: what is at which CPU, in marks and losses."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.last: dict[int, int] = {}
        self.visible: set[int] = set()
        self.open: dict[int, tuple[int, str]] = {}
        self.damaged = 0
        self.whole = True

    def note(self, where: str) -> None:
        """Say it, or count it."""
        self.damaged += 1
        if self.damaged <= _NOTES:
            self.trace.notes.append(f"{self.trace.path}: {where}")

    def begin(self, ts: int, where: str) -> Iterator[tuple[int, ...]]:
        """LOSS on every CPU in sight: whose event is missing here is not known."""
        self.note(where)
        for cpu in sorted(self.visible):
            self.open[cpu] = (self.last[cpu], where)
            yield _mark_row(ts, cpu, Kind.LOSS, (-1, self.last[cpu], ABSENT, ABSENT))
        self.visible.clear()

    def seen(self, ts: int, cpu: int) -> tuple[int, ...] | None:
        """An event; the LOSS_END before it, if it ends a hole."""
        mark = None
        if cpu in self.open:
            self._close(cpu, ts)
            mark = _mark_row(ts, cpu, Kind.LOSS_END, ROW)
        self.last[cpu] = ts
        self.visible.add(cpu)
        return mark

    def ended(self, cpu: int) -> None:
        """The file's own CPU_END."""
        if cpu in self.open:
            self._close(cpu, None)
        self.last.pop(cpu, None)
        self.visible.discard(cpu)

    def _close(self, cpu: int, before: int | None) -> None:
        after, where = self.open.pop(cpu)
        self.trace.losses.append(Loss(cpu, after, before, None, where, severity="damaged"))

    def finish(self, ts: int) -> Iterator[tuple[int, ...]]:
        """CPU_END for every CPU that has none."""
        for cpu in sorted(self.last):
            self.ended(cpu)
            yield _mark_row(ts, cpu, Kind.CPU_END, ROW)
        if not self.whole:
            where = "what the checksum at the end of the file would have told"
            self.trace.losses.append(Loss(None, None, None, None, where, False, "damaged"))
        if self.damaged > _NOTES:
            self.trace.notes.append(
                f"{self.trace.path}: {self.damaged - _NOTES} more places are damaged"
            )


class _Pass:
    """One run over the rows."""

    def __init__(self, trace: Trace, source: Source, head: _Head) -> None:
        self.trace = trace
        self.head = head
        self.lines = _Lines(source, head.start, head.number)
        self.crc = head.crc
        self.kinds: dict[str, tuple[int, int, Names]] = {}
        for index, name in enumerate(trace.event_names):
            kind = trace.event_kinds[index]
            self.kinds.setdefault(name, (index, int(kind), OPERANDS.get(kind, ())))
        self.last = -_I63
        self.rows: list[tuple[int, ...]] = []
        self.kept: list[bytes] = []
        self.holes = _Holes(trace)

    def blocks(self) -> Iterator[EventBlock]:
        """All rows in order.  Raises ReadError when the file shrinks."""
        trace = self.trace
        trace.losses.clear()
        trace.counts.clear()
        trace.notes[:] = self.head.notes
        trace.comms.clear()
        trace.comms.update(self.head.comms)
        trace.first_ns = trace.last_ns = None
        trace.read_bytes = self.head.start
        trace.losses.extend(self.head.losses)
        yield from blocks_of(trace, self._parts(), Marks((), {}), self._fields_of)

    def _fields_of(self, rows: Columns) -> Callable[[int], dict[str, Any]]:
        kept, raw = self.kept, rows.raw

        def fields_of(row: int) -> dict[str, Any]:
            at = int(raw[row])
            return _fields(read_line(kept[at])) if at >= 0 else {}

        return fields_of

    def _parts(self) -> Iterator[Columns]:
        size, ended = 0, False
        for line in self.lines:
            if ended:
                self._more()
                break
            if line is not None and line.startswith(b'{"end":'):
                ended = True
                self._end(line)
                continue
            self._take(line)
            size += len(line or b"")
            if len(self.rows) >= BLOCK_ROWS or size >= BLOCK_BYTES:
                if self.rows:
                    yield self._part()
                self.rows, self.kept, size = [], [], 0
        if not ended:
            self._cut_off()
        elif self.lines.rest:
            self._more()
        self.rows.extend(self.holes.finish(self.last))
        if self.rows:
            yield self._part()
        self.trace.read_bytes = self.trace.total_bytes

    def _take(self, line: bytes | None) -> None:
        """One row, or a hole where it would be."""
        self.crc = zlib.crc32(b"\n", zlib.crc32(line or b"", self.crc))
        try:
            if line is None:
                raise MalformedError(f"longer than {LARGEST_LINE} bytes")
            row = self._row(read_line(line))
        except (MalformedError, KeyError) as error:
            why = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            where = f"line {self.lines.number} is no row: {why}"
            self.rows.extend(self.holes.begin(self.last, where))
            return
        self.last, cpu = row[0], row[1]
        if row[5] >= 0:
            mark = self.holes.seen(self.last, cpu)
            if mark is not None:
                self.rows.append(mark)
            self.rows.append((*row, len(self.kept)))
            self.kept.append(line)
        else:
            self.rows.append((*row, -1))
            if row[3] == Kind.CPU_END:
                self.holes.ended(cpu)

    def _row(self, told: dict[str, Any]) -> tuple[int, ...]:
        """ts, cpu, pid, kind, flags, event and operands; raises MalformedError and KeyError."""
        ts, cpu = told["ts"], told["cpu"]
        if type(ts) is not int or not self.last <= ts < _I63:
            raise MalformedError("its time is before the row before it")
        if type(cpu) is not int or not 0 <= cpu <= _MOST_CPU:
            raise MalformedError("its cpu is no CPU of Linux")
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

    def _part(self) -> Columns:
        """The rows gathered so far as columns."""
        self.trace.read_bytes = self.lines.offset
        table = np.array(self.rows, dtype=np.int64)
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

    def _end(self, line: bytes) -> None:
        """Whether all that stands before the checksum is what was written."""
        head, _, tail = line.rpartition(b',"crc32":')
        try:
            whole = read_line(line).get("crc32") == zlib.crc32(head, self.crc)
        except MalformedError:
            whole = False
        if not whole or tail[-1:] != b"}":
            self.holes.whole = False
            self.holes.note(f"line {self.lines.number}: the checksum does not fit the file")

    def _more(self) -> None:
        self.holes.whole = False
        self.holes.note(f"there is more behind the end, which is in line {self.lines.number}")

    def _cut_off(self) -> None:
        where = f"behind line {self.lines.number}: the file breaks off before its end"
        self.rows.extend(self.holes.begin(self.last, where))
        self.holes.whole = False


def _mark_row(ts: int, cpu: int, kind: Kind, op: tuple[int, ...]) -> tuple[int, ...]:
    """A mark as the rows have it: ts, cpu, pid, kind, flags, event, operands, raw."""
    return (ts, cpu, -1, int(kind), 0, -1, *op, -1)


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
