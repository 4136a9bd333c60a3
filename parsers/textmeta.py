"""What ``fputrace convert --to text`` writes beside the events, read back (docs/convert.md).

Comments at the head of the file, in this order: ``# fputrace:`` is its second line, behind it come
``# format:``, ``# comms:`` and ``# loss:`` without a gap; ``# end:`` is its last line.  Elsewhere
they count for nothing: what a task wrote to trace_marker may look like one.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from typing import Any

from fputrace.events import EventFormat, Kind, Loss, Trace
from fputrace.metadata import (
    MalformedError,
    comms_from_plain,
    format_from_plain,
    from_plain,
    loss_from_plain,
)
from fputrace.parsers.shapes import shapes_of

_FIRST = b"# fputrace: "
_END = b"# end: "
_ODD = re.compile(r"[^A-Za-z0-9_.\-]")

_TAKEN = (
    "kernel", "host", "cpus", "clock", "clock_global", "clock_in_ns", "pointers_hashed",
    "losses_known", "whole_known", "has_kallsyms", "symbols", "unusable", "probes", "instances",
    "is_guest", "guests", "trace_id", "guest_ids", "enabled", "limits", "sidecar",
)  # fmt: skip


def shown_names(names: Sequence[str]) -> list[str]:
    """``system:event`` as the lines show it: without the system where nobody can mistake it."""
    seen: dict[str, int] = {}
    for name in dict.fromkeys(names):
        event = name.rpartition(":")[2]
        seen[event] = seen.get(event, 0) + 1
    shown = []
    for name in names:
        system, _, event = name.rpartition(":")
        rows = shapes_of(event)
        plain = seen[event] == 1 and (not rows or rows[0].system == system)
        event = _ODD.sub(_escaped, event)
        shown.append(event if plain else f"{_ODD.sub(_escaped, system)}:{event}")
    return shown


def _escaped(odd: re.Match[str]) -> str:
    return f"\\u{ord(odd[0]):04x}"


class Header:
    """Takes the comments of a converted text as they come, then tells a trace about them.

    ``any``: this is a converted text.  ``events``: name in the lines -> (``system:name``, kind).
    ``losses``: all that the recording had, those with a place among them.  ``count``: events
    written, None when there is no end.  ``broken``: why its head is not believed.
    """

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self.formats: dict[str, EventFormat] = {}
        self.comms: dict[int, str] = {}
        self.losses: list[Loss] = []
        self.events: dict[str, tuple[str, Kind]] = {}
        self.count: int | None = None
        self.broken = ""
        self._crc = 0
        self._next = 2

    @property
    def any(self) -> bool:
        """Whether there is a head, and one to be believed."""
        return self.trace is not None and not self.broken

    def line(self, line: bytes, number: int) -> bool:
        """Take a line that begins with ``# ``; its number counts from 1.  False: it is not ours."""
        word, colon, value = line.partition(b": ")
        if colon and line.startswith(_END) and self.trace is not None:
            self._finish(value)
            return True
        if number != self._next or (number == 2) != line.startswith(_FIRST):
            return False
        if word not in (b"# fputrace", b"# format", b"# comms", b"# loss"):
            return False
        self._next = number + 1
        self._crc = zlib.crc32(line.rstrip(b"\r\n"), self._crc)
        try:
            self._take(word, _loads(value))
        except MalformedError as error:
            self.broken = self.broken or f"line {number}: {error}"
        return True

    def apply(self, trace: Trace) -> None:
        """Tell a trace what its recording said of itself; ``losses`` are the reader's to set."""
        if self.broken:
            trace.notes.append(
                f"What the file says of its recording is damaged and left out ({self.broken})."
            )
        if self.trace is None or self.broken:
            return
        for name in _TAKEN:
            setattr(trace, name, getattr(self.trace, name))
        trace.format = self.trace.format
        trace.notes = [*self.trace.notes, *trace.notes]
        trace.formats.update(self.formats)
        trace.comms.update(self.comms)

    def _take(self, word: bytes, value: Any) -> None:
        if word == b"# fputrace":
            self.trace = from_plain(value, "", "text")
            names = self.trace.event_names
            pairs = zip(names, self.trace.event_kinds, strict=True)
            self.events = dict(zip(shown_names(names), pairs, strict=True))
        elif word == b"# format":
            form = format_from_plain(value)
            self.formats[form.key] = form
        elif word == b"# comms":
            self.comms.update(comms_from_plain(value))
        else:
            self.losses.append(loss_from_plain(value))

    def _finish(self, value: bytes) -> None:
        try:
            end = _loads(value)
        except MalformedError:
            return
        if not isinstance(end, dict) or type(end.get("events")) is not int:
            return
        self.count = end["events"]
        if end.get("head_crc32") != self._crc:
            self.broken = self.broken or "its checksum is another"


def _loads(value: bytes) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise MalformedError("this is no JSON") from error
