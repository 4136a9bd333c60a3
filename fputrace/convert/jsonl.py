"""JSON lines: a head, one object a row, an end with a checksum (docs/convert.md)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import IO, Any

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

_COMMS = 1000  # names of tasks a line
_LINES = 4096  # lines written at once


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
        lines = writer.lines(block)
        while part_of_block := list(islice(lines, _LINES)):
            yield "".join(part_of_block)


def _end(trace: Trace) -> dict[str, Any]:
    return {
        "events": sum(trace.counts.values()),
        "events_by_name": {text_of(name): count for name, count in sorted(trace.counts.items())},
        "first_ns": trace.first_ns,
        "last_ns": trace.last_ns,
        "losses": len(trace.losses),
    }


class _Rows:
    """Makes the lines of blocks; knows what they share."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.comms = {pid: f'"comm":{_json(text_of(comm))},' for pid, comm in trace.comms.items()}
        self.kinds: dict[str, Kind] = {}
        for name, kind in zip(trace.event_names, trace.event_kinds, strict=True):
            self.kinds.setdefault(name, kind)

    def lines(self, block: EventBlock) -> Iterator[str]:
        """One line a row."""
        columns = (block.ts, block.cpu, block.pid, block.kind, block.flags, block.event)
        rows = zip(*(column.tolist() for column in columns), block.op.tolist(), strict=True)
        comms = self.comms
        for row, (ts, cpu, pid, kind, flags, event, op) in enumerate(rows):
            if event < 0:
                yield f'{{"ts":{ts},"cpu":{cpu},{_mark(kind, op)}}}\n'
                continue
            name = block.names[event]
            fields = plain_fields(block.fields_of(row))
            told = (
                "" if kind == self.kinds.get(name, Kind.OTHER) else f'"kind":"{Kind(kind).name}",'
            )
            rest = _op(OPERANDS.get(Kind(kind), ()), fields, op)
            yield (
                f'{{"ts":{ts},"cpu":{cpu},"pid":{pid},{comms.get(pid, "")}"flags":{flags},'
                f'"event":{_json(text_of(name))},{told}"fields":{_json(fields)}{rest}}}\n'
            )


def _mark(kind: int, op: list[int]) -> str:
    text = f'"mark":"{Kind(kind).name}"'
    if kind == Kind.LOSS:
        lost, after = ("null" if value == -1 else value for value in op[:2])
        return f'{text},"lost":{lost},"after_ns":{after}'
    return text


def _op(names: Names, fields: Mapping[str, Any], op: list[int]) -> str:
    """The operands, where the fields do not give them."""
    if tuple(op) == operands_of(names, fields):
        return ""
    return f',"op":{_json([None if value == ABSENT else value for value in op])}'
