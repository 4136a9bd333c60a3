"""Text: the lines of ``trace-cmd report -t``, with what a text alone would lose as comments.

A line is ``%16s-%-5d [%03d] %5d.%09d: EVENT: ARGS``.  ARGS is the kernel's own text where the
table of texts has one (:mod:`fputrace.parsers.shapes`), else ``field=value field=value`` as
``trace-cmd report -R`` prints them.  Comments (docs/convert.md)::

    # fputrace: {...}     what the recording says of itself (fputrace.metadata)
    # format: {...}       an event's format, one a line
    # comms: {...}        names of tasks as they are: in the lines they are made harmless
    # loss: {...}         a loss; those that have a place are in the lines as well
    # end: {...}          the last line: without it the text was cut
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

from fputrace.convert.arguments import Arguments
from fputrace.events import EventBlock, Kind, Trace
from fputrace.metadata import comms_to_plain, format_to_plain, loss_to_plain, text_of, to_plain
from fputrace.parsers.textmeta import shown_names
from fputrace.reports.escape import clean

_U64 = (1 << 64) - 1
_COMMS = 1000  # names of tasks a line
_FRONTS = 1 << 16  # beginnings of lines kept


def write_text(trace: Trace, out: IO[bytes]) -> None:
    """Write a recording; reads it twice, so that the head can tell what only a pass finds out.

    Raises what reading the trace and writing to `out` raise.
    """
    for _ in trace.blocks():
        pass
    out.write(b"cpus=%d\n" % len(trace.cpus))
    crc = 0
    for comment in _head(trace):
        line = comment.encode("ascii")
        crc = zlib.crc32(line, crc)
        out.write(line + b"\n")
    writer = _Lines(trace)
    for block in trace.blocks():
        out.write("".join(writer.of(block)).encode())
    out.write("".join(writer.rest()).encode())
    end = {"events": sum(trace.counts.values()), "head_crc32": crc}
    out.write(b"# end: " + _json(end).encode("ascii") + b"\n")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _head(trace: Trace) -> Iterator[str]:
    """The comments before the lines; the same for the same recording, whatever it was read from."""
    plain = to_plain(trace)
    plain["events"] = [
        # Which function a probe sits on, and so its kind, stands in its lines.
        [text_of(name), (kind if kind < Kind.PROBE_SAVE else Kind.PROBE_OTHER).name]
        for name, kind in sorted(_seen(trace).items())
    ]
    yield f"# fputrace: {_json(plain)}"
    for _, form in sorted(trace.formats.items()):
        yield f"# format: {_json(format_to_plain(form))}"
    comms = iter(sorted(trace.comms.items()))
    while part := dict(islice(comms, _COMMS)):
        yield f"# comms: {_json(comms_to_plain(part))}"
    for loss in trace.losses:
        yield f"# loss: {_json(loss_to_plain(loss))}"


def _seen(trace: Trace) -> dict[str, Kind]:
    """The events that occur, and their kinds."""
    kinds = dict(zip(trace.event_names, trace.event_kinds, strict=True))
    return {name: kind for name, kind in kinds.items() if trace.counts.get(name)}


def harmless(comm: str) -> str:
    r"""A task's name that cannot end its line or pass for another column.

    What is not printable is written as ``\x1b``, and so is ``[``: a name with ``-1 [000]`` in it
    would look like the columns that follow.
    """
    return clean(comm).replace("[", r"\x5b")


class _Lines:
    """Makes the lines of blocks; knows what they share."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.arguments = Arguments(trace)
        self.fronts: dict[tuple[int, int], str] = {}
        seen = sorted(_seen(trace))
        shown = dict(zip(seen, shown_names(seen), strict=True))
        self.names = [f"{shown.get(name, name) + ':':<21}" for name in trace.event_names]
        self.dropped: dict[int, int] = {}
        """CPU -> events lost behind its last line, -1 when nobody counted them."""

    def of(self, block: EventBlock) -> list[str]:
        """The lines of one block."""
        lines: list[str] = []
        columns = (block.ts, block.cpu, block.pid, block.kind, block.event)
        rows = zip(*(column.tolist() for column in columns), block.op.tolist(), strict=True)
        names, fronts, of_row = self.names, self.fronts, self.arguments.of_row
        fields_of, in_ns = block.fields_of, self.trace.clock_in_ns
        for row, (ts, cpu, pid, kind, event, op) in enumerate(rows):
            if event < 0:
                lines += self._mark(cpu, kind, op)
                continue
            front = fronts.get((pid, cpu)) or self._front(pid, cpu)
            args = of_row(fields_of, row, event, kind, op)
            time = ts & _U64  # one before zero as trace-cmd prints it, which takes it for unsigned
            if in_ns:
                seconds, ns = divmod(time, 1_000_000_000)
                lines.append(f"{front}{seconds:5d}.{ns:09d}: {names[event]} {args}\n")
            else:
                lines.append(f"{front}{time:15d}: {names[event]} {args}\n")
        return lines

    def rest(self) -> Iterator[str]:
        """What belongs behind the last line: losses that no event follows."""
        for cpu in sorted(self.dropped):
            yield _dropped(cpu, self.dropped[cpu])

    def _front(self, pid: int, cpu: int) -> str:
        if len(self.fronts) >= _FRONTS:
            self.fronts.clear()
        comm = self.trace.comms.get(pid, "<idle>" if pid == 0 else "<...>")
        self.fronts[pid, cpu] = f"{harmless(comm):>16}-{pid:<5d} [{cpu:03d}] "
        return self.fronts[pid, cpu]

    def _mark(self, cpu: int, kind: int, op: list[int]) -> Iterator[str]:
        if kind == Kind.LOSS:
            self.dropped[cpu] = op[0]
        elif kind == Kind.LOSS_END:
            yield _dropped(cpu, self.dropped.pop(cpu, -1))


def _dropped(cpu: int, count: int) -> str:
    return f"CPU:{cpu} [{f'{count} ' if count >= 0 else ''}EVENTS DROPPED]\n"
