"""Who held the registers of each CPU: spans, and the facts before each event."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of one CPU in which nobody's state moved.

    ``pid``: the task that ran (-1 unknown).  ``owner``: the task that last acquired the registers
    (`fpu_fpregs_owner_ctx`): its pid, 0 for NULL, -1 unknown.  ``image``: "user", "guest",
    "kernel", "init" or "unknown": what the registers held.  ``certainty``: "known" when events
    define it, "inferred" when it follows from the generation, "unknown".  Times in ns.
    """

    cpu: int
    start_ns: int
    end_ns: int
    pid: int
    owner: int
    image: str
    certainty: str
