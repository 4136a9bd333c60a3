"""A long text out of a short one: its lines again and again, their times going on."""

from __future__ import annotations

import re
from pathlib import Path

_TIME = re.compile(rb"( +)(\d+)\.(\d{6})(?=: )")


def repeat(source: Path, target: Path, events: int) -> int:
    """Write at least that many events of tracefs text; returns how many lines are events.

    Comments and lines about losses are left out, so that every line is an event.
    """
    pieces: list[tuple[bytes, int, bytes]] = []
    for line in source.read_bytes().splitlines(keepends=True):
        found = _TIME.search(line)
        if found is not None and not line.startswith(b"#"):
            at = int(found[2]) * 10**6 + int(found[3])
            pieces.append((line[: found.start()], at, line[found.end() :]))
    first, last = pieces[0][1], pieces[-1][1]
    length = last - first + 1000
    rounds = -(-events // len(pieces))
    with target.open("wb") as out:
        for number in range(rounds):
            shift = number * length
            out.writelines(
                b"%b %5d.%06d%b" % (head, (at + shift) // 10**6, (at + shift) % 10**6, tail)
                for head, at, tail in pieces
            )
    return rounds * len(pieces)
