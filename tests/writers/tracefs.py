"""Copies of a tracefs directory, made of the pieces of a trace.dat; see :func:`write_tracefs`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.writers.container import (
    CMDLINES,
    CPUSTAT,
    EVENTS,
    FTRACE,
    HEADERS,
    KALLSYMS,
    UNAME,
    Bytes,
    TraceFile,
    clock_text,
)

_NAME = re.compile(rb"^name: (\S+)", re.M)


def formats_of(trace: TraceFile) -> list[tuple[str, str, bytes]]:
    """(system, event, text) of every format in a trace.dat."""
    cursor = Bytes(trace.blocks[FTRACE], trace.endian)
    found = [("ftrace", cursor.take(cursor.int(8))) for _ in range(cursor.int(4))]
    cursor = Bytes(trace.blocks[EVENTS], trace.endian)
    for _ in range(cursor.int(4)):
        system = cursor.string()
        found += [(system, cursor.take(cursor.int(8))) for _ in range(cursor.int(4))]
    names = [_NAME.search(text) for _, text in found]
    return [
        (system, name[1].decode(), text)
        for (system, text), name in zip(found, names, strict=True)
        if name is not None
    ]


def write_tracefs(
    folder: Path,
    trace: TraceFile,
    *,
    pages: bool = True,
    text: bytes | None = None,
    enabled: Iterable[str] | None = None,
    instance: str = "",
) -> Path:
    """A copy of tracefs that holds what `trace` does; returns `folder`.

    ``pages``: the ring buffer's data in ``trace_pipe_raw``; ``text``: the file ``trace``;
    ``enabled``: names of the events that are on, None for all; ``instance``: the buffer of that
    name goes to ``instances/``, too.
    """
    headers = Bytes(trace.blocks[HEADERS], trace.endian)
    while headers.at < len(headers.data):
        _put(folder / "events" / headers.string(), headers.take(headers.int(8)))
    chosen = None if enabled is None else set(enabled)
    for system, event, form in formats_of(trace):
        place = folder / "events" / system / event
        _put(place / "format", form)
        if system != "ftrace":
            on = chosen is None or event in chosen
            _put(place / "enable", b"1\n" if on else b"0\n")
            _put(place / "filter", b"none\n")
    for number, name in ((KALLSYMS, "kallsyms"), (CMDLINES, "saved_cmdlines")):
        body = Bytes(trace.blocks[number], trace.endian)
        _put(folder / name, body.take(body.int(4 if number == KALLSYMS else 8)))
    uname = dict(trace.options)[UNAME].rstrip(b"\0").split(b" ")
    _put(folder / "uname", b" ".join([*uname[:3], b"#1 SMP PREEMPT_DYNAMIC", *uname[3:], b"\n"]))
    stats = [data for number, data in trace.options if number == CPUSTAT]
    for buffer in trace.buffers:
        if buffer.name not in ("", instance):
            continue
        where = folder / "instances" / buffer.name if buffer.name else folder
        _put(where / "trace_clock", clock_text(buffer.clock).rstrip(b"\0"))
        for cpu, data in buffer.cpus.items():
            _put(where / f"per_cpu/cpu{cpu}/trace_pipe_raw", b"".join(data) if pages else b"")
            for said in stats if not buffer.name else ():
                if said.startswith(b"CPU: %d\n" % cpu):
                    body_of = said.partition(b"\n")[2].rstrip(b"\0")
                    _put(where / f"per_cpu/cpu{cpu}/stats", body_of)
        if text is not None:
            _put(where / "trace", text)
    return folder


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
