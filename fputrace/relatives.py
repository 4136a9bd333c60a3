"""Recordings of one run that are given together: a host's, and those of its guests.

trace-cmd gives every recording a number (option TRACEID), and a host's names its guests' by theirs
(option GUEST, ``trace-cmd record -A``).  CPU 0 of a guest is not CPU 0 of its host, so each
recording is analysed by itself; what they are to each other is said in sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fputrace.events import Trace


def relations(traces: Sequence[Trace]) -> list[list[str]]:
    """For each trace, sentences on which of the others is its host, its guest or itself again."""
    said: list[list[str]] = [[] for _ in traces]
    for number, one in enumerate(traces):
        if one.trace_id is None:
            continue
        for other_number, other in enumerate(traces):
            if other_number == number:
                continue
            if other.trace_id == one.trace_id:
                said[number].append(
                    f"{other.path} has the same TRACEID ({one.trace_id:#x}): it is the same "
                    "recording, or a copy, and its findings are these again."
                )
            elif one.trace_id in other.guest_ids:
                guest = other.guest_ids[one.trace_id]
                said[number].append(
                    f"This is the recording of guest {guest} of {other.path}. Its CPUs are the "
                    "guest's, so it was analysed by itself."
                )
                said[other_number].append(
                    f"{one.path} is the recording of guest {guest}, analysed by itself."
                )
    return said
