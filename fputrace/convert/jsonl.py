"""JSON lines: a head, one object a row, an end with a checksum (docs/convert.md)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fputrace.convert.bulk import Group, groups_of, told_by_fields
from fputrace.events import ABSENT, EventBlock, Kind, Trace
from fputrace.metadata import (
    OPERANDS,
    Names,
    comms_to_plain,
    format_to_plain,
    loss_to_plain,
    operands_of,
    plain_fields,
    text_of,
    to_plain,
)
from fputrace.parsers.formats import is_pointer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMMS = 1000  # names of tasks a line
_TEXTS = 1 << 16  # texts whose JSON is kept


def write_jsonl(trace: Trace, out: IO[bytes]) -> None:
    """Write a recording; reads it twice, so that the head can tell what only a pass finds out.

    Raises what reading the trace and writing to `out` raise.
    """
    for _ in trace.blocks():
        pass
    crc = 0
    for text in _texts(trace):
        data = text.encode("ascii")
        crc = zlib.crc32(data, crc)
        out.write(data)
    end = b'{"end":' + _json(_end(trace)).encode("ascii")
    out.write(b'%b,"crc32":%d}\n' % (end, zlib.crc32(end, crc)))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _texts(trace: Trace) -> Iterator[str]:
    """All lines but the last, some at a time."""
    yield _json({"fputrace": to_plain(trace)}) + "\n"
    for form in trace.formats.values():
        yield _json({"format": format_to_plain(form)}) + "\n"
    comms = iter(comms_to_plain(trace.comms).items())
    while part := dict(islice(comms, _COMMS)):
        yield _json({"comms": part}) + "\n"
    for loss in trace.losses:
        yield _json({"loss": loss_to_plain(loss)}) + "\n"
    writer = _Rows(trace)
    for block in trace.blocks():
        yield writer.text(block)


def _end(trace: Trace) -> dict[str, Any]:
    return {
        "events": sum(trace.counts.values()),
        "events_by_name": {text_of(name): count for name, count in sorted(trace.counts.items())},
        "first_ns": trace.first_ns,
        "last_ns": trace.last_ns,
        "losses": len(trace.losses),
    }


class _Quoted(dict[str, str]):
    """Texts as JSON; few differ."""

    def __missing__(self, text: str) -> str:
        if len(self) >= _TEXTS:
            self.clear()
        quoted = self[text] = _json(text_of(text))
        return quoted


class _Comms(dict[int, str]):
    """What a row says of its task's name: nothing where the recording has none."""

    def __missing__(self, pid: int) -> str:
        return ""


class _Rows:
    """Makes the lines of blocks; knows what they share."""

    def __init__(self, trace: Trace) -> None:
        self.quoted = _Quoted()
        self.comms = _Comms(
            (pid, f'"comm":{_json(text_of(comm))},') for pid, comm in trace.comms.items()
        )
        self.addresses = {
            key: {field.name for field in form.fields if is_pointer(field)}
            for key, form in trace.formats.items()
        }
        self.kinds: dict[str, Kind] = {}
        for name, kind in zip(trace.event_names, trace.event_kinds, strict=True):
            self.kinds.setdefault(name, kind)

    def text(self, block: EventBlock) -> str:
        """One line a row."""
        lines = np.empty(len(block), dtype=object)
        for row in np.flatnonzero(block.event < 0).tolist():
            lines[row] = _mark(block, row)
        for group in groups_of(block):
            if group.columns is None:
                for row in group.rows.tolist():
                    lines[row] = self._line(block, row, group.kind)
                continue
            op = block.op[group.rows]
            told = told_by_fields(OPERANDS.get(group.kind, ()), group.columns, op)
            for chosen, with_op in ((told, False), (~told, True)):
                at = np.flatnonzero(chosen)
                if len(at):
                    lines[group.rows[at]] = self._lines(block, group, at, with_op)
        return "".join(lines.tolist())

    def _start(self, name: str, kind: Kind) -> str:
        """What stands between the columns and the fields."""
        own = "" if kind is self.kinds.get(name, Kind.OTHER) else f'"kind":"{kind.name}",'
        return f'"event":{self.quoted[name]},{own}"fields":'

    def _lines(
        self, block: EventBlock, group: Group, at: NDArray[np.intp], with_op: bool
    ) -> list[str]:
        """The lines of some rows of a group, made by one template."""
        assert group.columns is not None
        addresses = self.addresses.get(block.names[group.event], ())
        rows = group.rows[at]
        pids = block.pid[rows].tolist()
        values: list[Any] = [block.ts[rows].tolist(), block.cpu[rows].tolist(), pids]
        values += [[self.comms[pid] for pid in pids], block.flags[rows].tolist()]
        parts = []
        for name, column in group.columns.items():
            key = self.quoted[name].replace("%", "%%")
            if isinstance(column, np.ndarray):
                parts.append(f'{key}:"0x%x"' if name in addresses else f"{key}:%d")
                values.append(column[at].tolist())
            else:
                parts.append(f"{key}:%s")
                values.append([self._value(column[row]) for row in at.tolist()])
        rest = ""
        if with_op:
            rest = ',"op":[%s,%s,%s,%s]'
            for number in range(4):
                told = block.op[rows, number].tolist()
                values.append(["null" if value == ABSENT else value for value in told])
        start = self._start(block.names[group.event], group.kind).replace("%", "%%")
        template = (
            f'{{"ts":%d,"cpu":%d,"pid":%d,%s"flags":%d,{start}{{{",".join(parts)}}}{rest}}}\n'
        )
        return list(map(template.__mod__, zip(*values, strict=True)))

    def _value(self, value: Any) -> str:
        return self.quoted[value] if isinstance(value, str) else _json(list(value))

    def _line(self, block: EventBlock, row: int, kind: Kind) -> str:
        """The line of a row that gives its fields by itself."""
        fields = plain_fields(block.fields_of(row))
        pid = int(block.pid[row])
        rest = _op(OPERANDS.get(kind, ()), fields, block.op[row].tolist())
        return (
            f'{{"ts":{block.ts[row]},"cpu":{block.cpu[row]},"pid":{pid},{self.comms[pid]}'
            f'"flags":{block.flags[row]},{self._start(block.names[block.event[row]], kind)}'
            f"{_json(fields)}{rest}}}\n"
        )


def _mark(block: EventBlock, row: int) -> str:
    kind = Kind(int(block.kind[row]))
    text = f'{{"ts":{block.ts[row]},"cpu":{block.cpu[row]},"mark":"{kind.name}"'
    if kind is Kind.LOSS:
        lost, after = ("null" if value == -1 else value for value in block.op[row, :2].tolist())
        text += f',"lost":{lost},"after_ns":{after}'
    return text + "}\n"


def _op(names: Names, fields: Mapping[str, Any], op: list[int]) -> str:
    """The operands, where the fields do not give them."""
    if tuple(op) == operands_of(names, fields):
        return ""
    return f',"op":{_json([None if value == ABSENT else value for value in op])}'
