"""One CPU's samples in order of time, for the walk.

The kernel takes an event's time before it reserves room for it, so an interrupt in between writes
its events, which are later, in front.  Granules in which that happened are sorted here, with what
reaches over from one into the next; all others are walked as they are.  A time that fits neither
neighbour by a second or more is damage, not such an interrupt.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from fputrace.parsers import perflayout as at
from fputrace.parsers.passes import view
from fputrace.parsers.perfindex import Index, Share
from fputrace.parsers.streams import NO_ENTRIES, Chunk, Entries
from fputrace.plain import PlainTuple

LARGEST_STEP_NS = 10**9
"""How far a time may lie before its predecessor's and still be right: an interrupt is shorter."""


class Entry(PlainTuple):
    """A sample (`payload` its RAW) or what is missing (`size` negative), of the granule before.

    ``place`` is where in the recording that stands (:mod:`fputrace.parsers.perflayout`).
    """

    time: int
    size: int
    payload: bytes
    place: int


class Stream:
    """The entries of one CPU, as :class:`fputrace.parsers.passes.Pass` reads them."""

    def __init__(self, index: Index, slot: int) -> None:
        self.index = index
        self.slot = slot
        self._seen = -1
        self._carry: list[Entry] = []

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of entries, and holes.  Raises ReadError when the file shrinks."""
        position = 0
        share = self.index.next_share(self.slot, 0)
        while share is not None:
            position += 1
            ahead = self.index.next_share(self.slot, position)
            granule = share.granule
            consumed = self.index.count(granule)
            ordered = not self._carry and not share.disorder and self._seen <= share.earliest
            if ordered and (ahead is None or share.latest <= ahead.earliest):
                self._seen = max(self._seen, share.latest)
                entries = Entries(
                    view(granule.times),
                    view(granule.ats),
                    view(granule.sizes),
                    NO_ENTRIES.origins,
                    share.first,
                    share.stop,
                )
                yield Chunk(granule.data, granule.base, consumed, entries=entries)
            else:
                yield self.chunk(self._sorted(share, ahead), consumed)
            share = ahead
        for broken in self.index.broken:
            yield Chunk(b"", broken.offset, 0, broken.missing, broken.reason, broken.offset)

    def chunk(self, entries: list[Entry], consumed: int) -> Chunk:
        """A chunk of these entries: each sample's RAW with its size in front."""
        order = self.index.recording.order
        pieces: list[bytes] = []
        length = 0
        ats: list[int] = []
        for entry in entries:
            ats.append(length + 4)
            if entry.size >= 0:
                piece = struct.pack(order + "I", entry.size) + entry.payload
                piece += bytes(-len(piece) % 8)
                pieces.append(piece)
                length += len(piece)
        return Chunk(
            b"".join(pieces),
            0,
            consumed,
            entries=Entries(
                view(np.array([entry.time for entry in entries], dtype=np.int64)),
                view(np.array(ats, dtype=np.int32)),
                view(np.array([entry.size for entry in entries], dtype=np.int32)),
                view(np.array([entry.place for entry in entries], dtype=np.int64)),
                0,
                len(entries),
            ),
        )

    def _sorted(self, share: Share, ahead: Share | None) -> list[Entry]:
        """The entries in order of time; those that belong behind the next granule's first wait."""
        entries = self._carry + _entries(share)
        waited = len(self._carry)
        following = _sample_times(ahead) if ahead is not None else []
        keys, high = self._keys(entries, following[:2])
        order = sorted(range(len(entries)), key=keys.__getitem__)
        near = [time for time in following if time + LARGEST_STEP_NS >= high]
        stop = len(order)
        if near:
            last = keys[order[-1]][0]
            least = (last, min(near))
            stop = next((i for i, number in enumerate(order) if keys[number] > least), stop)
            # Nothing waits twice, so that what waits stays small.
            for i in range(stop, len(order)):
                if order[i] < waited:
                    stop = i + 1
        chosen = [entries[number] for number in order[:stop]]
        self._carry = [entries[number] for number in order[stop:]]
        for entry in chosen:
            if entry.size >= 0:
                self._seen = (
                    entry.time
                    if entry.time < self._seen - LARGEST_STEP_NS
                    else max(self._seen, entry.time)
                )
        return chosen

    def _keys(
        self, entries: list[Entry], following: list[int]
    ) -> tuple[list[tuple[int, int]], int]:
        """What to sort by: (how often the clock went back, time); and the latest time.

        What is missing stands behind everything that was written before it.  Entries whose time
        cannot be become WILD ones.
        """
        step = LARGEST_STEP_NS
        seen, epoch = self._seen, 0
        times = [entry.time for entry in entries if entry.size >= 0] + following
        keys: list[tuple[int, int]] = []
        number = 0
        for i, entry in enumerate(entries):
            if entry.size < 0:
                keys.append((epoch, seen))
                continue
            time = entry.time
            after = times[number + 1] if number + 1 < len(times) else None
            then = times[number + 2] if number + 2 < len(times) else None
            number += 1
            wild = False
            if time + step < seen:
                wild = after is None or after + step >= seen
                if not wild:  # the next one says so too: the clock went back
                    epoch += 1
                    seen = time
            elif after is not None and after + step < time:
                # This one or the next; whichever the one after that does not agree with.
                wild = then is None or (then + step < time and seen <= after + step)
            if wild:
                entries[i] = entry._replace(size=at.WILD)
                keys.append((epoch, seen))
            else:
                seen = max(seen, time)
                keys.append((epoch, time))
        return keys, seen


def _entries(share: Share) -> list[Entry]:
    granule = share.granule
    chosen = slice(share.first, share.stop)
    rows = zip(
        granule.times[chosen].tolist(),
        granule.ats[chosen].tolist(),
        granule.sizes[chosen].tolist(),
        strict=True,
    )
    return [
        Entry(time, size, bytes(granule.data[place : place + max(size, 0)]), granule.base + place)
        for time, place, size in rows
    ]


def _sample_times(share: Share) -> list[int]:
    chosen = slice(share.first, share.stop)
    granule = share.granule
    return [int(time) for time in granule.times[chosen][granule.sizes[chosen] >= 0]]
