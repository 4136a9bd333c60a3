"""Takes ring-buffer pages out of a recording, as a kernel that could not keep up would.

The page after each hole gets the kernel's missed-events flag and, if asked for and if there is
room after its data, the number of events lost (``ring_buffer_read_page``).  Pages cut from the end
of a CPU leave no trace, as nobody is left to tell.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from tests.tools.records import Shape, commit, count_events, lost_before, shape_of
from tests.writers import container
from tests.writers.container import Compression
from tests.writers.pages import DELTA_BITS, MISSED_EVENTS, MISSED_STORED, header_size


def cut_pages(
    src: Path,
    dst: Path,
    fraction: float = 0.25,
    seed: int = 0,
    *,
    counts: bool = True,
    version: int = 6,
    compression: Compression = "none",
) -> int:
    """Write ``src`` to ``dst`` without about ``fraction`` of its pages; returns how many went.

    The same ``seed`` takes the same pages.  ``counts``: whether the flag comes with the number of
    events lost.
    """
    trace = container.read(src)
    shape = shape_of(trace)
    chance = random.Random(seed)
    removed = 0
    for buffer in trace.buffers:
        for cpu, pages in buffer.cpus.items():
            kept: list[bytes] = []
            lost: int | None = 0
            hole = False
            for page in pages:
                before = lost_before(page, shape)
                if chance.random() < fraction:
                    hole = True
                    removed += 1
                    lost = _total(lost, before, count_events(page, shape))
                    continue
                told = _total(lost, before) if counts else None
                kept.append(flag_missed(page, shape, told) if hole else page)
                hole, lost = False, 0
            buffer.cpus[cpu] = kept
    dst.write_bytes(trace.to_bytes(version, compression))
    return removed


def _total(*parts: int | None) -> int | None:
    """The sum, unknown when a part is."""
    return None if None in parts else sum(part or 0 for part in parts)


def flag_missed(page: bytes, shape: Shape, count: int | None) -> bytes:
    """The page with the missed-events flag, and ``count`` stored if given and if it fits."""
    length = commit(page, shape) & ((1 << DELTA_BITS) - 1)
    word = length | MISSED_EVENTS
    end = header_size(shape.long_size) + length
    if count is not None and end + shape.long_size <= len(page):
        word |= MISSED_STORED
        stored = count.to_bytes(shape.long_size, shape.endian)
        page = page[:end] + stored + page[end + shape.long_size :]
    return page[:8] + word.to_bytes(shape.long_size, shape.endian) + page[8 + shape.long_size :]


def main() -> None:
    parser = argparse.ArgumentParser(description="Take ring-buffer pages out of a trace.dat.")
    parser.add_argument("src", type=Path)
    parser.add_argument("dst", type=Path)
    parser.add_argument("--fraction", type=float, default=0.25, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-counts", action="store_true", help="flag the holes, do not count")
    parser.add_argument("--version", type=int, choices=(6, 7), default=6)
    given = parser.parse_args()
    removed = cut_pages(
        given.src,
        given.dst,
        given.fraction,
        given.seed,
        counts=not given.no_counts,
        version=given.version,
    )
    print(f"{removed} pages removed")


if __name__ == "__main__":
    main()
