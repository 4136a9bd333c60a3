"""Recordings whose buffers are not one for each CPU in order of time: sorted as a whole.

``perf record --per-thread`` has a buffer for each task, so that the events of one CPU lie in
several; ``--overwrite`` has its buffers written to the file from the newest event to the oldest.
Times, places and sizes of all samples are held in memory for this, 20 bytes each, so their number
is limited.  A LOST record of a task's buffer tells nothing of a CPU: it has no place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fputrace.errors import TraceError
from fputrace.events import Loss
from fputrace.parsers import perflayout as at
from fputrace.parsers.perffile import TRACEPOINT, WRITE_BACKWARD
from fputrace.parsers.perfindex import Index
from fputrace.parsers.perfrecords import read_raw
from fputrace.parsers.perfstream import Entry, Stream
from fputrace.parsers.streams import Chunk
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_SAMPLES = 1 << 22
"""Samples that are sorted at most (about 400 MB of perf.data)."""

_BATCH = 4096
_DISORDER = 100  # one granule in so many of a CPU may begin before the one before it ends


class Samples(PlainTuple):
    """The samples of one CPU in order of time: place and size of the record."""

    times: NDArray[np.int64]
    places: NDArray[np.int64]
    sizes: NDArray[np.int32]


class Sorted(PlainTuple):
    """What :func:`sort` found: the samples by slot, and what is missing somewhere."""

    samples: list[Samples]
    losses: list[Loss]


def backward(index: Index) -> bool:
    """Whether buffers were written from their newest event on (--overwrite)."""
    attrs = index.recording.attrs
    return any(attr.type == TRACEPOINT and attr.flag(WRITE_BACKWARD) for attr in attrs)


def needed(index: Index) -> bool:
    """Whether the samples of a CPU are in no order that can be restored as they are read."""
    told = index.recording.index
    if any(cpu < 0 for cpu, _ in told.values()) or backward(index):
        return True
    if index.fixed:
        return False
    index.finish()
    return any(
        behind * _DISORDER > len(numbers) + 3 * _DISORDER
        for behind, numbers in zip(index.behind, index.numbers, strict=True)
    )


def sort(index: Index) -> Sorted:
    """Go through the whole recording.  Raises TraceError when it has too many samples."""
    index.finish()
    found = [_of_cpu(index, slot) for slot in range(len(index.cpus))]
    losses = _gathered(index, [hole for _, holes in found for hole in holes])
    return Sorted([samples for samples, _ in found], losses)


def _of_cpu(index: Index, slot: int) -> tuple[Samples, list[tuple[int, int, int]]]:
    """One CPU's samples, and what is missing: size (what it is), number of events, offset."""
    pieces: list[Samples] = []
    holes: list[tuple[int, int, int]] = []
    position = total = 0
    while (share := index.next_share(slot, position)) is not None:
        position += 1
        granule = share.granule
        chosen = slice(share.first, share.stop)
        sizes = granule.sizes[chosen]
        good = sizes >= 0
        times, places = granule.times[chosen], granule.ats[chosen].astype(np.int64) + granule.base
        pieces.append(Samples(times[good], places[good], sizes[good]))
        bad = ~good
        holes += zip(sizes[bad].tolist(), times[bad].tolist(), places[bad].tolist(), strict=True)
        total += len(pieces[-1].times)
        if total > MOST_SAMPLES:
            raise TraceError(
                f"its samples are in no order of time, and {MOST_SAMPLES:,} of one CPU is the most "
                "that is sorted",
                path=index.recording.path,
                hint="Record each CPU into its own buffer: perf record -a, without --per-thread "
                "and --overwrite.",
            )
    times = np.concatenate([np.empty(0, dtype=np.int64), *(piece.times for piece in pieces)])
    order = np.argsort(times, kind="stable")
    joined = Samples(
        times[order],
        np.concatenate([np.empty(0, dtype=np.int64), *(p.places for p in pieces)])[order],
        np.concatenate([np.empty(0, dtype=np.int32), *(p.sizes for p in pieces)])[order],
    )
    return joined, holes


def _gathered(index: Index, found: list[tuple[int, int, int]]) -> list[Loss]:
    """Rows for what is missing, none of which has a place."""
    unpacked = " of the unpacked data" if index.recording.unpacked else ""
    losses = []
    for what, name in ((at.LOST, "LOST"), (at.THROTTLE, "THROTTLE"), (at.BAD, "damaged")):
        holes = [hole for hole in found if hole[0] == what]
        if not holes:
            continue
        counts = [count for _, count, _ in holes]
        known = what == at.LOST and min(counts) >= 0
        first = min(place & at.OFFSET for _, _, place in holes)
        where = f"{len(holes)} {name} records, the first at byte {first}{unpacked}"
        severity = "damaged" if what == at.BAD else "lost"
        count = sum(counts) if known else None
        losses.append(Loss(None, None, None, count, where, placed=False, severity=severity))
    for broken in index.broken:
        where = f"records from byte {broken.offset}{unpacked}: {broken.reason}"
        losses.append(Loss(None, None, None, None, where, placed=False, severity="damaged"))
    return losses


class SortedStream(Stream):
    """The entries of one CPU from samples that were sorted."""

    def __init__(self, index: Index, slot: int, samples: Samples) -> None:
        super().__init__(index, slot)
        self._samples = samples

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of entries.  Raises ReadError when the file shrinks."""
        recording = self.index.recording
        for start in range(0, len(self._samples.times), _BATCH):
            rows = zip(
                *(column[start : start + _BATCH].tolist() for column in self._samples), strict=True
            )
            entries = [
                Entry(time, size, read_raw(recording, place, size), place)
                for time, place, size in rows
            ]
            yield self.chunk(entries, sum(entry.size for entry in entries))
