"""What the options of a trace.dat say, as plain values on the trace."""

from __future__ import annotations

import re
from dataclasses import field

from fputrace.errors import FormatError
from fputrace.events import Trace
from fputrace.parsers.clocks import (
    GLOBAL_CLOCKS,
    RAW_CLOCKS,
    TSC_CLOCKS,
    Correction,
    parse_offset,
    parse_time_shift,
)
from fputrace.parsers.container import (
    CPUSTAT,
    DATE,
    GUEST,
    OFFSET,
    TIME_SHIFT,
    TRACECLOCK,
    TRACEID,
    TSC2NSEC,
    UNAME,
    Buffer,
    Container,
    Option,
)
from fputrace.parsers.source import Cursor
from fputrace.plain import plain

_STAT = re.compile(rb"^(overrun|commit overrun|dropped events):\s*(\d{1,18})", re.M)
_STAT_CPU = re.compile(rb"^CPU:\s*(\d{1,9})", re.M)
_STAT_BUFFER = re.compile(rb"^Buffer:\s*(\S*)", re.M)
_CLOCK = re.compile(r"\[([^\]\s]+)\]")


@plain
class Told:
    """What the options say that no field of :class:`Trace` holds."""

    correction: Correction = field(default_factory=Correction)
    overruns: dict[int, tuple[int, int]] = field(default_factory=dict)
    """CPU -> (overrun + commit overrun, dropped events)."""


def read_options(container: Container, buffer: Buffer, trace: Trace) -> Told:
    """Fill the trace's metadata from the options; what is wrong with them becomes a note."""
    told = Told()
    clock_text = ""
    stat_buffer = ""
    for option in container.options:
        if option.id == UNAME:
            _uname(option.data, trace)
        elif option.id == TRACECLOCK:
            clock_text = option.data.split(b"\0")[0].decode("ascii", "replace")
        elif option.id in (DATE, OFFSET):
            _add(container, option, told.correction)
        elif option.id == TSC2NSEC:
            _tsc2nsec(container, option, told.correction)
        elif option.id == TIME_SHIFT:
            trace.is_guest = True
            parsed = parse_time_shift(option.data, container.big)
            if parsed is None:
                container.note(
                    "the TIME_SHIFT option cannot be read; times are not moved to the host's",
                    option.offset,
                )
            else:
                told.correction.interpolate, told.correction.shifts = parsed
        elif option.id == GUEST:
            _guest(container, option, trace)
        elif option.id == TRACEID and len(option.data) >= 8:
            trace.trace_id = int.from_bytes(option.data[:8], "big" if container.big else "little")
        elif option.id == CPUSTAT:
            heading = _STAT_BUFFER.search(option.data)
            if heading:
                stat_buffer = heading[1].decode("utf-8", "backslashreplace")
            elif stat_buffer == buffer.name:
                _cpustat(option.data, told.overruns)
    _clock(buffer.clock or clock_text, told.correction, trace)
    return told


def _uname(data: bytes, trace: Trace) -> None:
    """``Linux HOST RELEASE MACHINE`` (trace-cmd's ``get_uname()``)."""
    words = data.split(b"\0")[0].decode("utf-8", "backslashreplace").split()
    if len(words) >= 3:
        trace.host = words[1] if words[1] != "(none)" else None
        trace.kernel = words[2]


def _clock(text: str, correction: Correction, trace: Trace) -> None:
    chosen = _CLOCK.search(text)
    clock = chosen[1] if chosen else text.strip().split(" ")[0]
    trace.clock = clock or None
    # Without a name it is the kernel's default, `local`.
    trace.clock_global = clock in GLOBAL_CLOCKS
    trace.clock_in_ns = clock not in RAW_CLOCKS or (clock in TSC_CLOCKS and correction.mult > 0)


def _add(container: Container, option: Option, correction: Correction) -> None:
    value = parse_offset(option.data)
    if value is None:
        container.note("a DATE or OFFSET option is no number; times are not moved", option.offset)
        return
    total = correction.add + value * (1000 if option.id == DATE else 1)
    if abs(total) >= 1 << 61:
        container.note(
            "a DATE or OFFSET option is out of range; times are not moved", option.offset
        )
        return
    correction.add = total


def _tsc2nsec(container: Container, option: Option, correction: Correction) -> None:
    try:
        cursor = Cursor(container.source, 0, container.big, option.data, option.offset)
        mult, shift = cursor.u32("mult"), cursor.u32("shift")
    except FormatError:
        mult, shift = 0, 0
    if mult == 0 or shift > 32:
        container.note("the TSC2NSEC option cannot be used; times stay in cycles", option.offset)
        return
    correction.mult, correction.shift = mult, shift


def _guest(container: Container, option: Option, trace: Trace) -> None:
    try:
        cursor = Cursor(container.source, 0, container.big, option.data, option.offset)
        name = cursor.string("guest name").decode("utf-8", "backslashreplace")
        trace.guest_ids.setdefault(cursor.u64("guest trace id"), name)
        for _ in range(cursor.u32("number of vCPUs")):
            vcpu, tid = cursor.u32("vCPU"), cursor.u32("host TID")
            trace.guests[tid] = (name, vcpu)
    except FormatError as error:
        container.notes.append(str(error).splitlines()[0])


def _cpustat(data: bytes, overruns: dict[int, tuple[int, int]]) -> None:
    """``per_cpu/cpuN/stats``: what the kernel counted as lost, not what was still unread."""
    number = _STAT_CPU.search(data)
    if number is None:
        return
    found = {name: int(value) for name, value in _STAT.findall(data)}
    over = found.get(b"overrun", 0) + found.get(b"commit overrun", 0)
    overruns[int(number[1])] = (over, found.get(b"dropped events", 0))
