"""Makes a long v6 recording out of a short one: its pages again and again, later each time.

A repetition begins ``GAP_NS`` after the one before has ended on every CPU, so each CPU's time
only grows.  Pages are written as they are made: memory holds the sample, never the result.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tests.tools.records import Shape, records, shape_of
from tests.writers import container
from tests.writers.pages import ABSOLUTE_BITS, DELTA_BITS, TYPE_TIME_STAMP

GAP_NS = 1_000_000


def repeat(src: Path, dst: Path, events: int = 10_000_000) -> int:
    """Write at least ``events`` events to ``dst``; returns how many exactly.

    ValueError if the sample has no events.
    """
    trace = container.read(src)
    del trace.buffers[1:]
    shape = shape_of(trace)
    top = trace.buffers[0]
    found = 0
    first, last = None, 0
    for pages in top.cpus.values():
        for page in pages:
            for record in records(page, shape):
                if record.data is not None:
                    found += 1
                    first = record.ts if first is None else min(first, record.ts)
                    last = max(last, record.ts)
    if first is None:
        raise ValueError(f"{src} has no events")
    times = -(-events // found)
    step = last - first + GAP_NS
    trace.cpu_count = max(top.cpus) + 1
    with dst.open("wb") as out:
        out.write(trace.head_v6() + b"flyrecord\0")
        table = out.tell()
        out.write(bytes(16 * trace.cpu_count) + trace.clock_v6(top))
        for cpu in range(trace.cpu_count):
            out.write(bytes(-out.tell() % top.page_size))
            begin = out.tell()
            _write_cpu(out, top.cpus.get(cpu, []), shape, times, step)
            end = out.tell()
            out.seek(table + 16 * cpu)
            out.write(trace.word(begin, 8) + trace.word(end - begin, 8))
            out.seek(end)
    return found * times


def _write_cpu(out: BinaryIO, pages: list[bytes], shape: Shape, times: int, step: int) -> None:
    if not pages:
        return
    order = "<" if shape.endian == "little" else ">"
    data = np.frombuffer(bytearray(b"".join(pages)), np.uint8).reshape(len(pages), -1)
    bases: NDArray[np.uint64] = data[:, :8].view(f"{order}u8")
    absolute = [
        (number, record.offset, record.ts)
        for number, page in enumerate(pages)
        for record in records(page, shape)
        if record.type_len == TYPE_TIME_STAMP
    ]
    for done in range(times):
        for number, offset, ts in absolute:
            moved = (ts + done * step) & ((1 << ABSOLUTE_BITS) - 1)
            low, high = moved & ((1 << DELTA_BITS) - 1), moved >> DELTA_BITS
            little = shape.endian == "little"
            head = TYPE_TIME_STAMP | low << 5 if little else TYPE_TIME_STAMP << DELTA_BITS | low
            data[number, offset : offset + 8].view(f"{order}u4")[:] = head, high
        out.write(data.tobytes())
        bases += np.uint64(step)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a long v6 trace.dat out of a short one.")
    parser.add_argument("src", type=Path)
    parser.add_argument("dst", type=Path)
    parser.add_argument("--events", type=int, default=10_000_000, help="default: %(default)s")
    given = parser.parse_args()
    print(f"{repeat(given.src, given.dst, given.events)} events")


if __name__ == "__main__":
    main()
