"""The calls behind a proof, drawn as a tree: which of them an event shows, and what each moved.

    __schedule()                          <-- evidence: 2
      context_switch()                    (inferred)
        switch_to()                       (inferred)
          __switch_to()                   (inferred)
            switch_fpu_prepare()          <-- evidence: 4
            | the guest's registers -> current->thread.fpu, OVER THE VMM'S

The numbers are those of the proof's steps.  The arrows are ours: a rule's own text cannot have one.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from fputrace.reports.escape import clean
from fputrace.reports.outline import Row
from fputrace.reports.steps import field_text

if TYPE_CHECKING:
    from fputrace.findings import Witness

_DEEPER = 2
_ADDRESSES = ("fpstate", "fpu")
"""Fields that say where a save went, the exact one first."""


def chain_lines(witness: Witness, width: int) -> list[str]:
    """The tree, in lines of at most ``width`` columns; none where the rule has no chain."""
    if witness.chain is None:
        return []
    numbers = {event.step: number for number, event in enumerate(witness.events, 1) if event.step}
    frames = [
        frame._replace(function=_plain(frame.function), does=_plain(frame.does))
        for frame in witness.chain.frames
    ]
    column = max(_DEEPER * frame.depth + len(frame.function) for frame in frames) + 2
    lines = []
    for frame in frames:
        number = numbers.get(frame.event)
        mark = "(inferred)" if number is None else f"<-- evidence: {number}"
        lines.append(f"{' ' * (_DEEPER * frame.depth)}{frame.function}".ljust(column) + mark)
        below = " " * (_DEEPER * frame.depth) + "| "
        lines += wrap(frame.does, width, initial_indent=below, subsequent_indent=below)
    return lines


def _plain(text: str) -> str:
    """What a rule says, with whatever a recording put there made harmless, in a fence as well."""
    return clean(text, ascii_only=True).replace("<", "\\x3c")


def overwritten(witness: Witness, sure: bool) -> list[Row]:
    """Which buffer was overwritten and who reads it next; nothing where none was.

    ``sure``: there is no reading of the events in which it was not.
    """
    buffer = witness.chain and witness.chain.buffer
    if not buffer:
        return []
    written = [event for event in witness.events if event.step == "event"]
    where = next(
        (
            f" ({name}={field_text(name, event.fields[name])})"
            for name in _ADDRESSES
            for event in written
            if name in event.fields
        ),
        "",
    )
    doubt = "" if sure else "if it is so: "
    return [
        Row("Overwritten", [f"{doubt}{buffer.name}{where} held {buffer.held}, gets {buffer.gets}"]),
        Row("Read next by", [buffer.reader]),
    ]
