"""One CPU's samples in order of time, put into ring-buffer pages for the walk.

The kernel takes an event's time before it reserves room for it, so an interrupt in between writes
its events, which are later, in front.  Granules in which that happened are sorted here, with what
reaches over from one into the next; all others are packed as they are.  A time that fits neither
neighbour by a second or more is damage, not such an interrupt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fputrace.parsers import perflayout as at
from fputrace.parsers import perfloop
from fputrace.parsers.passes import view
from fputrace.parsers.perfindex import Index, Share
from fputrace.parsers.streams import Chunk

LARGEST_STEP_NS = 10**9
"""How far a time may lie before its predecessor's and still be right: an interrupt is shorter."""

_MARKS = 64
_MISSED_EVENTS, _MISSED_STORED = 1 << 31, 1 << 30  # kernel/trace/ring_buffer.c
_WHY_BAD = "a sample that cannot be read"
_WHY_TIME = "the time of a sample does not fit its neighbours"


class Entry(NamedTuple):
    """A sample (`payload` its RAW) or what is missing (`size` negative), of the granule before.

    ``offset`` is the record's place in the file where the entry is no sample.
    """

    time: int
    size: int
    payload: bytes
    offset: int


class Part(NamedTuple):
    """Entries `first` to `stop` of the arrays, in order; their data and its place in the file."""

    data: Any
    base: int
    times: Any
    ats: Any
    sizes: Any
    first: int
    stop: int
    room: int


class Stream:
    """The pages of one CPU, as :class:`fputrace.parsers.passes.Pass` reads them.

    ``places`` says for a page that begins with a hole which record told of it, by the page's
    place in this CPU's pages; the offset of that record in the file.
    """

    def __init__(self, index: Index, slot: int) -> None:
        self.index = index
        self.slot = slot
        self.places: dict[int, int] = {}
        self._state = np.zeros(at.PACK, dtype=np.int64)
        self._marks = np.zeros(_MARKS * at.MARK, dtype=np.int64)
        self._base = 0
        self._seen = -1
        self._carry: list[Entry] = []
        self._far: list[int] = []
        self._wild: set[int] = set()

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of whole pages, and holes.  Raises ReadError when the file shrinks."""
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
                part = Part(
                    granule.data,
                    granule.base,
                    granule.times,
                    granule.ats,
                    granule.sizes,
                    share.first,
                    share.stop,
                    share.room,
                )
            else:
                part = self._sorted(share, ahead)
            yield from self._pack(part, consumed)
            share = ahead
        if self._state[at.MISSED]:
            yield self._empty_page()
        for broken in self.index.broken:
            yield self._hole(broken.offset, broken.reason, broken.missing)

    def _pack(self, part: Part, consumed: int) -> Iterator[Chunk]:
        state, marks = view(self._state), view(self._marks)
        data = view(part.data)
        times, ats, sizes = view(part.times), view(part.ats), view(part.sizes)
        state[at.NEXT] = part.first
        room = part.room
        while state[at.NEXT] < part.stop:
            # A page ends where the next record does not fit; what a page loses there is little.
            pages = min(room + room // 8, 1 << 20) // at.PAGE + 4
            out = np.empty(pages * at.PAGE, dtype=np.uint8)
            perfloop.pack(
                data,
                part.base,
                self.index.geometry,
                times,
                ats,
                sizes,
                part.stop,
                state,
                view(out),
                view(out).cast("I"),
                marks,
            )
            length, here = state[at.LENGTH], state[at.NEXT]
            for i in range(0, state[at.MARKS] * at.MARK, at.MARK):
                place = marks[i + 1]
                self.places[self._base + marks[i]] = place if place >= 0 else self._far[-place - 1]
            if length:
                if length < len(out) // 2:
                    out = out[:length].copy()
                yield Chunk(view(out)[:length], self._base, consumed)
                self._base += length
                room -= min(room, length)
                consumed = 0
            if here < part.stop and sizes[here] == at.BAD:
                place = ats[here]
                offset = part.base + place if place >= 0 else self._far[-place - 1]
                yield self._hole(offset, _WHY_TIME if offset in self._wild else _WHY_BAD, 1)
                state[at.NEXT] = here + 1

    def _hole(self, offset: int, reason: str, missing: int) -> Chunk:
        self._base += 1  # every hole has a place of its own
        return Chunk(b"", self._base, 0, missing, reason, offset)

    def _empty_page(self) -> Chunk:
        """What is missing behind the last sample: a page without any."""
        order: Any = "big" if self.index.recording.container.big else "little"
        count = int(self._state[at.MISSED_COUNT])
        page = bytearray(at.PAGE)
        commit = _MISSED_EVENTS
        if count > 0:
            commit |= _MISSED_STORED
            page[at.PAGE_DATA : at.PAGE_DATA + 8] = count.to_bytes(8, order)
        page[8:16] = commit.to_bytes(8, order)
        self._base += 1
        place = int(self._state[at.MISSED_AT])
        self.places[self._base] = place if place >= 0 else self._far[-place - 1]
        return Chunk(bytes(page), self._base, 0)

    def _sorted(self, share: Share, ahead: Share | None) -> Part:
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
        return self._part(chosen)

    def _keys(
        self, entries: list[Entry], following: list[int]
    ) -> tuple[list[tuple[int, int]], int]:
        """What to sort by: (how often the clock went back, time); and the latest time.

        What is missing stands behind everything that was written before it.  Entries whose time
        cannot be become BAD ones.
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
                entries[i] = entry._replace(size=at.BAD)
                self._wild.add(entry.offset)
                keys.append((epoch, seen))
            else:
                seen = max(seen, time)
                keys.append((epoch, time))
        return keys, seen

    def _part(self, entries: list[Entry]) -> Part:
        """Entries as :func:`~fputrace.parsers.perfloop.pack` takes them."""
        pieces: list[bytes] = []
        length = room = 0
        ats: list[int] = []
        for entry in entries:
            if entry.size < 0:
                # No place in the data: the number of one that is kept apart.
                self._far.append(entry.offset)
                ats.append(-len(self._far))
                continue
            padded = entry.payload + bytes(-len(entry.payload) % 8)
            ats.append(length)
            pieces.append(padded)
            length += len(padded)
            room += len(padded) + 16
        return Part(
            b"".join(pieces),
            0,
            np.array([entry.time for entry in entries], dtype=np.int64),
            np.array(ats, dtype=np.int32),
            np.array([entry.size for entry in entries], dtype=np.int32),
            0,
            len(entries),
            room,
        )


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
        Entry(time, size, granule.data[place : place + max(size, 0)], granule.base + place)
        for time, place, size in rows
    ]


def _sample_times(share: Share) -> list[int]:
    chosen = slice(share.first, share.stop)
    granule = share.granule
    return [int(time) for time in granule.times[chosen][granule.sizes[chosen] >= 0]]
