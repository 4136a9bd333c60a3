"""The drawing of a proof: a lane per CPU, spans of who owned the registers, marks of the events.

    step     1     2  3            4      5
             |     U  S            A      L
    CPU 0   G:74---U:74-----------------G:74
    CPU 1   U:90-----------------------------

Columns are not to scale: an event gets room of its own, and a long pause only a little more than a
short one, because what matters is the order; the times stand beside the events below the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fputrace.findings import Witness, WitnessEvent
    from fputrace.timeline import Span

Piece = tuple[str, str]
"""A piece of a line and what it is, for whoever has colours: a state, a mark or "" for text."""

STATES = {"user": "U", "guest": "G", "kernel": "K", "init": "I"}
STATE_WORDS = {
    "U": "user",
    "G": "guest",
    "K": "kernel",
    "I": "init",
    ".": "nobody's",
    "?": "unknown",
}
MARKS = {
    "sched_switch": "|",
    "x86_fpu_regs_deactivated": "S",
    "x86_fpu_before_save": "S",
    "x86_fpu_after_save": "S",
    "x86_fpu_regs_activated": "A",
    "x86_fpu_before_restore": "A",
    "x86_fpu_after_restore": "A",
    "x86_fpu_dropped": "D",
    "kvm_entry": "E",
    "kvm_exit": "X",
}
MARK_WORDS = {
    "|": "switch",
    "S": "save",
    "A": "restore (activation)",
    "L": "guest FPU loaded",
    "U": "guest FPU unloaded",
    "D": "dropped",
    "E": "VM entry",
    "X": "VM exit",
    "o": "another event",
}

_MARGIN = 3
_MAX_LANES = 8


def draw(witness: Witness, width: int) -> list[list[Piece]]:
    """The lines of the drawing, each at most ``width`` columns; none when there is no room."""
    events = [event for event in witness.events if not event.inferred]
    cpus = _cpus(witness, events)
    label = max((len(f"CPU {cpu}") for cpu in cpus), default=0)
    label = max(label, len("step")) + 2
    room = width - label
    if not events or room < 2 * len(events) + 2 * _MARGIN:
        return []
    columns = _columns([event.ns for event in events], room)
    # Events at the same time keep columns of their own; a span begins at the first of them.
    anchors: dict[int, int] = {}
    for event, column in zip(events, columns, strict=True):
        anchors.setdefault(event.ns, column)
    numbers = {id(event): index for index, event in enumerate(witness.events, 1)}
    ruler = [" "] * room
    for event, column in zip(events, columns, strict=True):
        for offset, digit in enumerate(str(numbers[id(event)])):
            if column + offset < room:
                ruler[column + offset] = digit
    lines: list[list[Piece]] = [[("step".ljust(label), "dim"), ("".join(ruler).rstrip(), "dim")]]
    for cpu in cpus:
        marks = [" "] * room
        for event, column in zip(events, columns, strict=True):
            if event.cpu == cpu:
                marks[column] = mark(event)
        spans = [span for span in _drawn_spans(witness, events) if span.cpu == cpu]
        if "".join(marks).strip():
            name = "" if spans else f"CPU {cpu}"
            lines.append([(name.ljust(label), ""), ("".join(marks).rstrip(), "mark")])
        if spans:
            lines.append([(f"CPU {cpu}".ljust(label), ""), *_lane(spans, anchors, room)])
    return lines


def legend(witnesses: Iterable[Witness]) -> str:
    """What the letters of these drawings mean, those that they use; "" where nothing is drawn."""
    used: set[str] = set()
    letters: set[str] = set()
    for witness in witnesses:
        events = [event for event in witness.events if not event.inferred]
        used |= {mark(event) for event in events}
        spans = _drawn_spans(witness, events)
        for cpu in {span.cpu for span in spans}:
            letters |= {state(span) for span in _joined(s for s in spans if s.cpu == cpu)}
    states = {letter.upper() for letter in letters}
    words = [f"{letter} {word}" for letter, word in MARK_WORDS.items() if letter in used]
    if not words:
        return ""
    text = "Marks: " + ", ".join(words) + "."
    if states:
        told = [f"{letter} {word}" for letter, word in STATE_WORDS.items() if letter in states]
        text += " Lanes: what the registers hold and whose it is: " + ", ".join(told)
        text += "; a small letter is inferred" if letters != states else ""
        text += ". Not to scale."
    return text


def mark(event: WitnessEvent) -> str:
    """The letter of an event in the drawing."""
    name = event.name.partition(":")[2] or event.name
    if name == "kvm_fpu":
        return "L" if event.fields.get("load") else "U"
    return MARKS.get(name, "o")


def state(span: Span) -> str:
    """The letter of a span: small when it is inferred, "." when nobody owns the registers."""
    letter = STATES.get(span.image)
    if letter is None:
        return "." if span.owner == 0 else "?"
    if span.certainty == "unknown":
        return "?"
    return letter.lower() if span.certainty == "inferred" else letter


def _cpus(witness: Witness, events: Sequence[WitnessEvent]) -> list[int]:
    """The CPUs the proof is about: where its events are, and where its tasks owned registers."""
    pids = {event.pid for event in events}
    cpus = {event.cpu for event in events}
    cpus |= {
        span.cpu
        for span in _near(witness.spans, events)
        if span.owner in pids and span.end_ns > events[0].ns
    }
    nearest = sorted(cpus, key=lambda cpu: (cpu != witness.cpu, cpu))
    return sorted(nearest[:_MAX_LANES])


def _near(spans: Iterable[Span], events: Sequence[WitnessEvent]) -> Iterator[Span]:
    """Spans between the first and the last event, and those that end or begin with them."""
    if events:
        first, last = events[0].ns, events[-1].ns
        yield from (span for span in spans if span.end_ns >= first and span.start_ns <= last)


def _drawn_spans(witness: Witness, events: Sequence[WitnessEvent]) -> list[Span]:
    cpus = set(_cpus(witness, events))
    return [span for span in _near(witness.spans, events) if span.cpu in cpus]


def _columns(times: Sequence[int], room: int) -> list[int]:
    """A column for each event: two apart at least, the rest of the room by logarithms of gaps."""
    gaps = [after - before for before, after in pairwise(times)]
    shortest = min((gap for gap in gaps if gap > 0), default=1)
    weights = [log2(1 + gap / shortest) for gap in gaps]
    total = sum(weights) or 1.0
    spare = room - 2 * _MARGIN - 2 * len(gaps) - 1
    columns, reached = [_MARGIN], 0.0
    for index, weight in enumerate(weights, 1):
        reached += weight
        columns.append(_MARGIN + 2 * index + int(spare * reached / total))
    return columns


def _lane(spans: Sequence[Span], anchors: dict[int, int], room: int) -> list[Piece]:
    """Spans as cells: letter and owner at the start of each stretch, then a line to its end."""
    cells = [" "] * room
    kinds = [""] * room
    for span in _joined(spans):
        start, end = _column(span.start_ns, anchors, room), _column(span.end_ns, anchors, room)
        letter = state(span)
        label = f"{letter}:{span.owner}" if span.owner > 0 and letter != "?" else letter
        if len(label) > end - start:
            label = letter
        text = label.ljust(end - start, "-" if letter not in ".?" else letter)
        for column in range(start, end):
            cells[column] = text[column - start]
            kinds[column] = letter.upper()
    pieces: list[Piece] = []
    for cell, kind in zip(cells, kinds, strict=True):
        if pieces and pieces[-1][1] == kind:
            pieces[-1] = (pieces[-1][0] + cell, kind)
        else:
            pieces.append((cell, kind))
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    return pieces


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in time order; neighbours that hold the same of the same owner are one.

    Such a stretch is inferred only if all of it is.
    """
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_ns):
        last = joined[-1] if joined else None
        if last and last.end_ns == span.start_ns and _same(last, span):
            surest = last if last.certainty == "known" else span
            joined[-1] = surest._replace(start_ns=last.start_ns, end_ns=span.end_ns)
        else:
            joined.append(span)
    return joined


def _same(a: Span, b: Span) -> bool:
    return (a.owner, state(a).upper()) == (b.owner, state(b).upper())


def _column(time: int, anchors: dict[int, int], room: int) -> int:
    """Where a time lies between the events; the margins are all that was before and after."""
    times = list(anchors)
    if time < times[0]:
        return 0
    if time > times[-1]:
        return room
    for (before, left), (after, right) in pairwise(anchors.items()):
        if before <= time < after:
            return left + (time - before) * (right - left) // (after - before)
    return anchors[times[-1]]
