"""A report within the length that mailing lists and code hosts take.

Findings are left out from the end, where they matter least; what the report begins and ends with
stays, and the reader is told how much is missing and where it can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fputrace.plain import PlainTuple

Block = list[str]
"""Lines that belong together."""


class Part(PlainTuple):
    """The report of one trace; only blocks of ``body`` are left out, as long as that suffices."""

    head: list[Block]
    body: list[Block]
    tail: list[Block]

    @property
    def lines(self) -> list[str]:
        """Everything."""
        return [line for block in (*self.head, *self.body, *self.tail) for line in block]


class Limit(PlainTuple):
    """How long a report may be: ``size`` of its lines is at most ``most``.

    ``notice``: (lines left out, findings left out) -> a block that says so.  ``by_line``: where not
    even one block fits, its beginning does; Markdown's blocks have an end that must not be missing.
    """

    most: int
    size: Callable[[Sequence[str]], int]
    notice: Callable[[int, int], Block]
    by_line: bool


def characters(lines: Sequence[str]) -> int:
    """Characters, each line with its end."""
    return sum(len(line) + 1 for line in lines)


def fit(parts: Sequence[Part], limit: Limit) -> list[str]:
    """As many blocks of every body as there is room for, each trace having its share."""
    whole = [line for part in parts for line in part.lines]
    if limit.size(whole) <= limit.most:
        return whole
    longest_notice = limit.size(limit.notice(len(whole), len(whole)))
    frame = sum(limit.size(Part(part.head, [], part.tail).lines) for part in parts)
    room = limit.most - frame - longest_notice * len(parts)
    shown: list[Block] = []
    for index, part in enumerate(parts):
        left = max(room, 0) // (len(parts) - index)
        kept = _beginning(part.body, left, limit)
        room -= sum(map(limit.size, kept))
        missing = sum(map(len, part.body)) - sum(map(len, kept))
        more = [limit.notice(missing, len(part.body) - len(kept))] if missing else []
        shown += [*part.head, *kept, *more, *part.tail]
    if sum(map(limit.size, shown)) > limit.most:
        # Not even the frame has room: the beginning of that.
        notice = limit.notice(len(whole), sum(len(part.body) for part in parts))
        shown = [*_beginning(shown, limit.most - longest_notice, limit), notice]
    return [line for block in shown for line in block]


def _beginning(blocks: Sequence[Block], room: int, limit: Limit) -> list[Block]:
    """The first blocks, as many as there is room for; of a first that is too long, its lines."""
    kept: list[Block] = []
    for block in blocks:
        if limit.size(block) > room:
            if limit.by_line and not kept:
                kept.append(_lines(block, room, limit))
            break
        room -= limit.size(block)
        kept.append(block)
    return kept


def _lines(block: Block, room: int, limit: Limit) -> Block:
    kept: Block = []
    for line in block:
        room -= limit.size([line])
        if room < 0:
            break
        kept.append(line)
    return kept
