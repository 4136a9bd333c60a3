"""What lies beside a recording as ``FILE.fputrace.json``, and definitions of probes.

``fputrace record`` writes both; so may a stranger.  A sidecar of other bytes is not believed, the
recording's own kallsyms win over it, and what its arguments are said to be is held against their
values (:mod:`fputrace.replay.roles`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Any

from fputrace.events import PROBED_FUNCTIONS, Loss, ProbeDefinition, Sidecar, Trace
from fputrace.parsers.opening import SUFFIX
from fputrace.parsers.rebuild import add_after_passes
from fputrace.parsers.symbols import REACH, base_name

_HEAD_BYTES = 1 << 16
_LARGEST = 16 << 20
_SAME_UNIT = ("mono", "boot", "global")
"""Clocks that fputrace record chooses from: all count ns and are one for all CPUs."""

_MOST_PROBES = 4096
_PF_KTHREAD = 0x00200000

_DEFINITION = re.compile(
    r"([prf])\d{0,9}:([\w.-]{1,100})/([\w.-]{1,100}) (?:\w{1,100}:)?([A-Za-z_][\w.]{0,200})"
    r"(?:\+(0x[0-9a-f]{1,8}|\d{1,8}))?(%return)?((?: \S{1,300}){0,128})\s*"
)
_FETCH = re.compile(r"(\w{1,100})=(\S{1,200}?)(?::\w{1,32}|:b\d\S{0,32})?")


def parse_definitions(lines: Iterable[str]) -> dict[str, ProbeDefinition]:
    """Probes by ``group:event``, from lines as kprobe_events has them (kernel/trace/trace_probe.c).

    Those that sit on no function of PROBED_FUNCTIONS, or not at its beginning, are left out.
    """
    found: dict[str, ProbeDefinition] = {}
    for line in lines:
        match = _DEFINITION.fullmatch(line)
        if match is None or len(found) == _MOST_PROBES:
            continue
        kind, group, event, symbol, offset, returns, rest = match.groups()
        function = base_name(symbol)
        if function in PROBED_FUNCTIONS and int(offset or "0", 0) < REACH:
            fetches = (_FETCH.fullmatch(word) for word in rest.split())
            found[f"{group}:{event}"] = ProbeDefinition(
                function,
                kind == "r" or returns is not None,
                # A clone's arguments are not those of the source.
                {} if symbol != function else {fetch[1]: fetch[2] for fetch in fetches if fetch},
            )
    return found


def add_sidecar(trace: Trace, path: str) -> None:
    """Read what lies beside the recording at `path`, if it is of it; else at most a note."""
    beside = path + SUFFIX
    try:
        with open(beside, "rb") as stream:
            text = stream.read(_LARGEST + 1)
        with open(path, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
            size = os.fstat(stream.fileno()).st_size
    except OSError:
        return
    try:
        if len(text) > _LARGEST:
            raise ValueError("it is too large")
        told = json.loads(text)
        of = told["recording"]
        same = of["bytes"] == size and of["head_sha256"] == hashlib.sha256(head).hexdigest()
        if told["fputrace_sidecar"] != 1 or not same:
            raise ValueError("it belongs to other bytes")
        sidecar, losses, comms = _content(told)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else "it is damaged"
        trace.notes.append(f"{beside} is not used: {why}")
        return
    trace.sidecar = sidecar
    ours = any(name.startswith("fputrace-") for name in trace.instances)
    if (
        ours
        and trace.clock_in_ns
        and told.get("recorder") == "trace-cmd"
        and told.get("clock") in _SAME_UNIT
    ):
        # trace-cmd 3.1 writes down the clock of the top buffer, not of this instance.
        trace.clock, trace.clock_global = told["clock"], True
    add_after_passes(trace, losses=losses, comms=comms)


def _content(told: dict[str, Any]) -> tuple[Sidecar, list[Loss], dict[int, str]]:
    """A sidecar's parts; what has another type than it should raises."""
    probes = parse_definitions(str(line) for line in _list(told.get("probes", [])))
    kthreads: set[int] = set()
    comms: dict[int, str] = {}
    for pid, _tgid, comm, flags in _list(told.get("tasks", [])):
        if type(pid) is int and type(flags) is int and isinstance(comm, str):
            comms[pid] = comm[:64]
            if flags & _PF_KTHREAD:
                kthreads.add(pid)
    sizes = {
        int(bit): component["size"]
        for bit, component in dict(told.get("xsave_components", {})).items()
        if type(component["size"]) is int and 0 < component["size"] < 1 << 20 and len(bit) < 3
    }
    misses = {
        event: count
        for event, count in dict(told.get("misses", {})).items()
        if type(count) is int and 0 < count < 1 << 62
    }
    losses = [
        Loss(None, None, None, count, f"hits of the probe {event} that the kernel missed", False)
        for event, count in sorted(misses.items())
    ]
    return Sidecar(probes, frozenset(kthreads), sizes), losses, comms


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value
