"""Takes events out of perf.data and texts, and says so as the recorder would have."""

from __future__ import annotations

import dataclasses
import random
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.fuzz.cutting import SAMPLE, PerfFile, record

LOST = 2
TRACEPOINT = 2  # PERF_TYPE_TRACEPOINT
_IDENTIFIER, _IP, _TID, _TIME, _ADDR, _ID, _CPU, _STREAM = (
    0x10000, 1, 2, 4, 8, 0x40, 0x80, 0x200,
)  # fmt: skip


def _without(
    rows: Sequence[bytes],
    cpu_of: Callable[[bytes], int | None],
    lost: Callable[[bytes, int], bytes],
    chance: random.Random,
    holes: int,
) -> list[bytes]:
    """The rows without ``holes`` runs of a CPU's rows; ``lost(row, count)`` is put before the next.

    As with a ring buffer, what is lost at a CPU's end nobody tells.
    """
    places: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        cpu = cpu_of(row)
        if cpu is not None:
            places.setdefault(cpu, []).append(number)
    gone: set[int] = set()
    told: dict[int, int] = {}
    for _ in range(holes):
        own = places[chance.choice(sorted(places))]
        begin = chance.randrange(len(own))
        size = chance.choice((1, 2, 5, 30, 300))
        gone.update(own[begin : begin + size])
    for own in places.values():
        count = 0
        for number in own:
            if number in gone:
                count += 1
            elif count:
                told[number], count = count, 0
    out: list[bytes] = []
    for number, row in enumerate(rows):
        if number in told:
            out.append(lost(row, told[number]))
        if number not in gone:
            out.append(row)
    return out


class _Id(NamedTuple):
    """What a sample says of itself, as a LOST record's trailer repeats it."""

    pid: int
    tid: int
    time: int
    id: int
    cpu: int


def lose_samples(perf: PerfFile, seed: int, holes: int = 25) -> PerfFile:
    """A perf.data without some of its samples, a LOST record before each CPU's next one.

    ``perf_output_begin`` (kernel/events/ring_buffer.c) writes LOST before the first event that
    finds room again.
    """
    # Of the tracepoints: an attr without RAW (for COMM and FORK) may have other fields.
    (sample_type,) = {
        struct.unpack_from("<Q", attr, 24)[0]
        for attr, _ in perf.attrs
        if struct.unpack_from("<I", attr)[0] == TRACEPOINT
    }

    def id_of(sample: bytes) -> _Id:
        at = 8
        words = {}
        for bit in (_IDENTIFIER, _IP, _TID, _TIME, _ADDR, _ID, _STREAM, _CPU):
            if sample_type & bit:
                words[bit] = sample[at : at + 8]
                at += 8
        pid, tid = struct.unpack("<II", words[_TID])
        number = words.get(_IDENTIFIER) or words.get(_ID) or bytes(8)
        return _Id(
            pid,
            tid,
            int.from_bytes(words[_TIME], "little"),
            int.from_bytes(number, "little"),
            int.from_bytes(words[_CPU][:4], "little"),
        )

    def cpu_of(row: bytes) -> int | None:
        return id_of(row).cpu if struct.unpack_from("<I", row)[0] == SAMPLE else None

    def lost(following: bytes, count: int) -> bytes:
        told = id_of(following)
        body = struct.pack("<QQ", told.id, count)
        for bit, field in (
            (_TID, struct.pack("<II", told.pid, told.tid)),
            (_TIME, struct.pack("<Q", told.time)),
            (_ID, struct.pack("<Q", told.id)),
            (_STREAM, struct.pack("<Q", told.id)),
            (_CPU, struct.pack("<II", told.cpu, 0)),
            (_IDENTIFIER, struct.pack("<Q", told.id)),
        ):
            body += field if sample_type & bit else b""
        return record(LOST, body)

    chance = random.Random(seed)
    kept = _without(perf.records, cpu_of, lost, chance, holes)
    return dataclasses.replace(perf, records=tuple(kept))


_LINE = re.compile(rb"^.{0,300}?-\d+ +(?:\([ \d-]+\) )?\[(\d+)\] ")


def lose_lines(text: bytes, seed: int, holes: int = 25, how: bytes = b"LOST %d EVENTS") -> bytes:
    """A text of ftrace without some of its lines, ``CPU:N [LOST n EVENTS]`` in their place.

    ``how``: the words in the brackets (trace-cmd says ``%d EVENTS DROPPED``).
    """

    def cpu_of(line: bytes) -> int | None:
        found = None if line.startswith(b"#") else _LINE.match(line)
        return int(found[1]) if found else None

    def lost(following: bytes, count: int) -> bytes:
        return b"CPU:%d [%s]\n" % (cpu_of(following) or 0, how % count)

    lines = text.splitlines(keepends=True)
    return b"".join(_without(lines, cpu_of, lost, random.Random(seed), holes))


def lose_silently(text: bytes, seed: int, holes: int = 25) -> Iterator[bytes]:
    """The lines of a text without some runs of them."""
    chance = random.Random(seed)
    lines = text.splitlines(keepends=True)
    gone: set[int] = set()
    for _ in range(holes):
        begin = chance.randrange(len(lines))
        gone.update(range(begin, begin + chance.choice((1, 2, 5, 30))))
    return (line for number, line in enumerate(lines) if number not in gone)
