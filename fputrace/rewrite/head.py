"""What a new trace.dat says besides its events, taken from the recording that it is made from."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable

import numpy as np

from fputrace.events import PROBED_FUNCTIONS, Trace
from fputrace.parsers import layout
from fputrace.parsers.clocks import GLOBAL_CLOCKS
from fputrace.parsers.container import (
    CPUCOUNT,
    CPUSTAT,
    DATE,
    GUEST,
    OFFSET,
    TIME_SHIFT,
    TRACEID,
    TSC2NSEC,
    UNAME,
    Container,
)
from fputrace.parsers.formats import parse_format
from fputrace.parsers.passes import Plan
from fputrace.parsers.symbols import base_name
from fputrace.rewrite.tracefile import HEADER_EVENT, Head, header_page

KEPT_OPTIONS = (DATE, UNAME, OFFSET, CPUCOUNT, TIME_SHIFT, GUEST, TRACEID, TSC2NSEC, 9)
"""Options that say how to read the events and whose they are; 9 is the recorder's version."""

_LARGEST_KALLSYMS = 64 << 20
_KERNEL = 1 << 63
_REACH = 1 << 20  # no function is larger
_LINE = re.compile(rb"^([0-9a-fA-F]{8,16}) (\S) (\S+)[^\n]*$", re.M)


def head_of(trace: Trace, plan: Plan, page_size: int) -> Head:
    """The head of a trace.dat with this recording's formats, names, clock and release."""
    container = plan.container
    long_size = int(plan.geometry[layout.LONG])
    head = Head(
        container.big,
        long_size,
        page_size,
        header_page(page_size, long_size),
        container.header_event or HEADER_EVENT,
    )
    head.ftrace_formats = [text for text in container.ftrace_formats if _known(trace, text)]
    head.event_formats = [
        (system, text) for system, text in container.event_formats if _known(trace, text, system)
    ]
    head.printk = container.printk()
    head.cmdlines = cmdlines_of(trace.comms)
    head.options = [
        (option.id, option.data) for option in container.options if option.id in KEPT_OPTIONS
    ]
    if not any(number == UNAME for number, _ in head.options) and trace.kernel:
        words = ("Linux", trace.host or "(none)", trace.kernel, "x86_64")
        head.options.append((UNAME, " ".join(words).encode("utf-8", "replace") + b"\0"))
    return head


def _known(trace: Trace, text: bytes, system: str = "ftrace") -> bool:
    form = parse_format(text, system)
    return form is not None and form.key in trace.formats


def cmdlines_of(comms: dict[int, str]) -> bytes:
    """``PID COMM`` lines of the tasks, without the idle one."""
    lines = [
        f"{pid} {comm}".replace("\n", "?").encode("utf-8", "replace")
        for pid, comm in comms.items()
        if pid > 0 and comm
    ]
    return b"".join(line + b"\n" for line in lines)


def clock_of(trace: Trace) -> str:
    """The clock; one that went back orders nothing, which only `local` says."""
    clock = trace.clock or "local"
    return "local" if clock in GLOBAL_CLOCKS and not trace.clock_global else clock


def cpustat(cpu: int, overrun: int, dropped: int) -> tuple[int, bytes]:
    """The option that tells of `dropped` events that no page does (per_cpu/cpuN/stats)."""
    text = f"CPU: {cpu}\noverrun: {overrun}\ncommit overrun: 0\ndropped events: {dropped}\n"
    return CPUSTAT, text.encode() + b"\0"


def addresses_in(pages: Iterable[bytes], big: bool) -> set[int]:
    """What may be a kernel address: every eight bytes, at a multiple of four, with the top bit."""
    found: set[int] = set()
    order = ">" if big else "<"
    for page in pages:
        words = np.frombuffer(page, dtype=order + "u4").astype(np.uint64)
        low, high = (words[1:], words[:-1]) if big else (words[:-1], words[1:])
        values = low | high << np.uint64(32)
        found.update(np.unique(values[values >= np.uint64(_KERNEL)]).tolist())
    return found


def symbols_for(container: Container, addresses: Iterable[int]) -> list[tuple[int, bytes]]:
    """The lines of kallsyms, with their address, that name `addresses` or tell a generation.

    Each function comes with its successor, which says where it ends.
    """
    text = bytearray()
    for piece in container.kallsyms():
        text += piece
        if len(text) > _LARGEST_KALLSYMS:
            break
    told: set[tuple[int, bytes]] = set()
    places: list[tuple[int, bytes]] = []
    for match in _LINE.finditer(text):
        entry = (int(match[1], 16), match[0])
        places.append(entry)
        if base_name(match[3].decode("ascii", "backslashreplace")) in PROBED_FUNCTIONS:
            told.add(entry)
    places.sort()
    starts = [address for address, _ in places]
    for address in addresses:
        after = bisect.bisect_right(starts, address)
        if after and address - starts[after - 1] < _REACH:
            first = bisect.bisect_left(starts, starts[after - 1])
            told.update(places[first:after])
            told.update(places[after : after + 1])
    return sorted(told)
