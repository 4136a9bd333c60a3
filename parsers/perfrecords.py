"""The records of a perf.data's rows, read again when somebody asks for one.

A block's samples lie scattered among those of others; keeping what was read would hold far more
than the block.  ``raw`` is each record's place (:mod:`fputrace.parsers.perflayout`), with its size
in the four bytes before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fputrace.parsers import perflayout as at
from fputrace.parsers.bulk import Part, words
from fputrace.parsers.records import BlockRecords

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventFormat
    from fputrace.parsers.perffile import Recording
    from fputrace.parsers.records import RecordDecoder


_GAP = 1 << 12  # bytes between two records that are read rather than left out
_USUAL = 1 << 10  # bytes of a record, at most; a longer one is read alone
_WINDOW_SHIFT = 22
_AT_ONCE = 1 << _WINDOW_SHIFT  # bytes, about


def read_raw(recording: Recording, place: int, size: int) -> bytes:
    """`size` bytes at a place of a recording.  Raises ReadError when the file has shrunk."""
    segment = recording.segments[place >> at.SEGMENT_SHIFT]
    return segment.source.read_known(place & at.OFFSET, size, "sample")


class PerfRecords(BlockRecords):
    """As the base, of samples."""

    def __init__(
        self,
        raw: NDArray[np.int64],
        event: NDArray[np.int32],
        recording: Recording,
        formats: list[EventFormat | None],
        decoder: RecordDecoder,
    ) -> None:
        super().__init__(raw, event, {}, formats, decoder)
        self.recording = recording

    def payload(self, row: int) -> bytes:
        """The sample's RAW; empty on marks.  Raises ReadError when the file has shrunk."""
        place = int(self.raw[row])
        if place < 0:
            return b""
        size = int.from_bytes(read_raw(self.recording, place - 4, 4), self.decoder.order)
        return read_raw(self.recording, place, min(size, at.LARGEST_RAW))

    def parts(self, raw: NDArray[np.int64]) -> Iterator[Part | None]:
        """As the base: neighbours are read together, and what lies between them."""
        order = np.argsort(raw, kind="stable")
        places = raw[order]
        apart = np.diff(places) > _GAP
        apart |= np.diff(places >> _WINDOW_SHIFT) != 0
        firsts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(places)]
        pieces: list[bytes] = []
        length = begun = 0
        shifts: list[int] = []  # from a place to where it is in the pieces
        ends: list[int] = []
        for run, (first, stop) in enumerate(pairwise(firsts)):
            start = int(places[first]) - 4
            pieces.append(self._run(start, int(places[stop - 1]) + _USUAL - start))
            shifts.append(length - start)
            length += len(pieces[-1])
            ends.append(length)
            if length >= _AT_ONCE or stop == len(places):
                counts = np.diff(firsts[begun : run + 2])
                chosen = slice(firsts[begun], stop)
                where = places[chosen] + np.repeat(shifts, counts)
                data = b"".join(pieces)
                size = words(data, where - 4, self.decoder.order)
                there = bool(np.all(where + size <= np.repeat(ends, counts)))
                yield Part(order[chosen], data, where, size) if there else None
                pieces, shifts, ends, length, begun = [], [], [], 0, run + 1

    def _run(self, place: int, length: int) -> bytes:
        """As many of these bytes as the file has."""
        source = self.recording.segments[place >> at.SEGMENT_SHIFT].source
        offset = place & at.OFFSET
        return source.read_known(offset, min(length, source.size - offset), "samples")
