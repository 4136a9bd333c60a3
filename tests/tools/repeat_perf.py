"""Makes a long perf.data out of a short one: its records again and again, later each time.

A repetition begins ``GAP_NS`` after the one before has ended.  Records are written as they are
made: memory holds the sample, never the result.  For little-endian files in file mode that are
not compressed and whose events all have IDENTIFIER, TID and TIME, which is what perf writes.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

GAP_NS = 1_000_000
SAMPLE, LOST, LOST_SAMPLES = 9, 2, 13
_KERNEL_TYPES = 64  # from here on the types are perf's own, without a trailer
_TIME_IN_SAMPLE = 8 + 8 + 8 + 8  # header, IDENTIFIER, IP, TID
_TIME_FROM_END = 24  # TIME, CPU, IDENTIFIER
_SAMPLE_TYPE = 0x10000 | 0x80 | 0x7  # IDENTIFIER, CPU, IP, TID, TIME
_OTHERS = _SAMPLE_TYPE | 0x8 | 0x40 | 0x200  # ADDR, ID, STREAM_ID would stand in between


class Section(NamedTuple):
    """A range of the file in bytes."""

    offset: int
    size: int


def repeat(src: Path, dst: Path, events: int = 5_000_000) -> int:
    """Write at least ``events`` samples to ``dst``; returns how many exactly.

    ValueError if the sample is of another kind or has no events.
    """
    data = src.read_bytes()
    magic, _, attr_size, *places = struct.unpack_from("<8s8Q", data)
    if magic != b"PERFILE2":
        raise ValueError(f"{src} is no little-endian perf.data")
    attrs, body = Section(*places[:2]), Section(*places[2:4])
    for at in range(attrs.offset, attrs.offset + attrs.size, attr_size):
        (sample_type,) = struct.unpack_from("<Q", data, at + 24)
        if sample_type & _OTHERS != _SAMPLE_TYPE:
            raise ValueError(f"{src} has events with sample_type {sample_type:#x}")
    begin, stop, times, samples = _times(data, body)
    if not samples:
        raise ValueError(f"{src} has no events")
    again = -(-events // samples)
    words = np.frombuffer(data[begin:stop], np.uint64).copy()
    places_of_times = np.array(times) // 8
    moved = words[places_of_times]
    step = int(moved.max() - moved.min()) + GAP_NS
    # What stands before the first sample and behind the last is written once.
    grown = (again - 1) * (stop - begin)
    features = _features(data, body, grown)
    head = bytearray(data[:begin])
    struct.pack_into("<Q", head, 48, body.size + grown)
    with dst.open("wb") as out:
        out.write(head)
        for _ in range(again):
            out.write(words.tobytes())
            words[places_of_times] += np.uint64(step)
        out.write(data[stop : body.offset + body.size])
        out.write(features)
    return samples * again


def _times(data: bytes, body: Section) -> tuple[int, int, list[int], int]:
    """From the first sample to the last: where that is, its times in bytes from there, samples."""
    at, end = body.offset, body.offset + body.size
    begin = stop = -1
    times = []
    samples = 0
    while at < end:
        kind, _, size = struct.unpack_from("<IHH", data, at)
        if kind in (SAMPLE, LOST) and begin < 0:
            begin = at
        if begin >= 0 and kind == SAMPLE:
            times.append(at + _TIME_IN_SAMPLE)
            samples += 1
            stop = at + size
        elif begin >= 0 and kind < _KERNEL_TYPES:
            times.append(at + size - _TIME_FROM_END)
        at += size
    return begin, stop, [place - begin for place in times if place < stop], samples


def _features(data: bytes, body: Section, grown: int) -> bytes:
    """The feature sections, whose table of absolute offsets moves."""
    start = body.offset + body.size
    count = sum(byte.bit_count() for byte in data[72:104])
    moved = bytearray(data[start:])
    for at in range(0, 16 * count, 16):
        (offset,) = struct.unpack_from("<Q", moved, at)
        struct.pack_into("<Q", moved, at, offset + grown)
    return bytes(moved)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a long perf.data out of a short one.")
    parser.add_argument("src", type=Path)
    parser.add_argument("dst", type=Path)
    parser.add_argument("--events", type=int, default=5_000_000, help="default: %(default)s")
    given = parser.parse_args()
    print(f"{repeat(given.src, given.dst, given.events)} events")


if __name__ == "__main__":
    main()
