"""Where each CPU's records are in a perf.data, found while they are read.

perf copies its buffers, one for each CPU, in turn into the file: what belongs to one CPU lies
scattered, in order.  The file is read in granules of whole records.  A granule is gone over once
for all CPUs, and kept for a while: CPUs are read side by side, so the next one finds it there.  How
far the file has been read grows as the pass asks for more of a CPU, so that no pass reads a file
twice unless a CPU is quiet for long.  Memory holds some granules, and for each CPU the numbers of
those that concern it.
"""

from __future__ import annotations

import struct
import sys
import weakref
from array import array
from collections import OrderedDict, deque
from dataclasses import field
from typing import Any

import numpy as np

from fputrace.errors import ReadError
from fputrace.parsers import perflayout as at
from fputrace.parsers import perfloop
from fputrace.parsers.container import MOST_CPUS
from fputrace.parsers.passes import view
from fputrace.parsers.perffile import (
    AUXTRACE,
    COMM,
    COMPRESSED,
    COMPRESSED2,
    FORK,
    HEADER_TRACING_DATA,
    LOST_SAMPLES,
    PIPE_CUT,
    SAMPLE,
    SAMPLE_ID_ALL,
    TRACEPOINT,
    Attr,
    Recording,
    Segment,
    more_behind,
)
from fputrace.parsers.perfpack import records_of
from fputrace.plain import PlainTuple, plain

GRANULE = 1 << 20
"""Bytes read at once where there are few CPUs."""

_LEAST_GRANULE = 1 << 17  # twice the largest record
_ALL_GRANULES = 1 << 25
_KEPT = 1 << 25  # bytes of granules kept besides those that a CPU is at
_MOST_STRAYS = 256

# Bits of sample_type (enum perf_event_sample_format).
IP, TID, TIME, ADDR, READ, CALLCHAIN, ID, CPU, PERIOD, STREAM_ID, RAW, IDENTIFIER = (
    1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x10000,
)  # fmt: skip
BEFORE_READ = (IDENTIFIER, IP, TID, TIME, ADDR, ID, STREAM_ID, CPU, PERIOD)
TRAILER = (TID, TIME, ID, STREAM_ID, CPU, IDENTIFIER)


class Share(PlainTuple):
    """What a granule has of one CPU: entries `first` to `stop`, in the order of the file."""

    granule: Granule
    first: int
    stop: int
    earliest: int
    latest: int
    disorder: bool


@plain
class Granule:
    """Whole records, and what they are (see :mod:`fputrace.parsers.perflayout`)."""

    number: int
    base: int
    """The place of its first byte (:mod:`fputrace.parsers.perflayout`)."""
    data: memoryview
    times: Any
    ats: Any
    sizes: Any
    groups: Any
    length: int
    """Bytes of its records."""
    waiting: int
    """CPUs that have something in it and have not come by."""

    def share(self, slot: int) -> Share:
        """What is the CPU's of this slot."""
        row = self.groups[slot * at.GROUP : (slot + 2) * at.GROUP].tolist()
        return Share(
            self,
            row[at.FIRST],
            row[at.GROUP + at.FIRST],
            row[at.EARLIEST],
            row[at.LATEST_SEEN],
            bool(row[at.DISORDER]),
        )


class Broken(PlainTuple):
    """Where the records of a segment break off, what is wrong, and how many bytes are missing."""

    offset: int
    reason: str
    missing: int


@plain
class Told:
    """What records besides the samples tell, each pid's latest.

    ``comms``: pid -> (time, comm); ``parents``: pid -> the task that forked it; ``lost_samples``:
    id -> events lost, from LOST_SAMPLES.
    """

    comms: dict[int, tuple[int, str]] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)
    lost_samples: dict[int, int] = field(default_factory=dict)


def layout_of(attr: Attr) -> list[int]:
    """One event's row of the table that `scan` reads."""
    kind = attr.sample_type
    row = [0] * at.LAYOUT
    place = 8
    for bit in BEFORE_READ:
        if kind & bit:
            if bit == TIME:
                row[at.TIME_AT] = place
            elif bit == CPU:
                row[at.CPU_AT] = place
            place += 8
    row[at.NEED] = row[at.READ_AT] = place
    row[at.READ_FORMAT] = attr.read_format & 0x1F if kind & READ else -1
    row[at.CHAIN] = int(bool(kind & CALLCHAIN))
    row[at.WANTED] = int(attr.type == TRACEPOINT and kind & (TIME | CPU | RAW) == TIME | CPU | RAW)
    row[at.PLAIN] = int(not kind & (READ | CALLCHAIN))
    if attr.flag(SAMPLE_ID_ALL):
        trailer = [bit for bit in TRAILER if kind & bit]
        row[at.TRAILER] = 8 * len(trailer)
        if CPU in trailer:
            row[at.CPU_FROM_END] = 8 * (len(trailer) - trailer.index(CPU))
    return row


def id_places(attrs: list[Attr]) -> tuple[int, int]:
    """Where the id stands in samples, and from the end in other records; (-1, 0) where it does not.

    perf refuses to record events that would have it in different places.
    """
    places = set()
    for attr in attrs:
        kind = attr.sample_type
        trailer = [bit for bit in TRAILER if kind & bit]
        if kind & IDENTIFIER:
            places.add((8, 8))
        elif kind & ID:
            before = sum(1 for bit in (IP, TID, TIME, ADDR) if kind & bit)
            places.add((8 + 8 * before, 8 * (len(trailer) - trailer.index(ID))))
        else:
            places.add((-1, 0))
    return places.pop() if len(places) == 1 else (-1, 0)


def trailer_of(attrs: list[Attr]) -> tuple[int, int]:
    """Bytes behind records other than samples, and where in them the time is, from the end.

    0: nowhere.
    """
    attr = next((a for a in attrs if a.flag(SAMPLE_ID_ALL)), None)
    if attr is None:
        return 0, 0
    trailer = [bit for bit in TRAILER if attr.sample_type & bit]
    from_end = 8 * (len(trailer) - trailer.index(TIME)) if TIME in trailer else 0
    return 8 * len(trailer), from_end


def _hash_table(recording: Recording) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Pairs (id, row of the layouts) as `scan` looks them up; of a guest's event, GUEST."""
    known: dict[int, int] = {}
    for number, attr in enumerate(recording.attrs):
        for one in attr.ids:
            known.setdefault(one, at.GUEST if one in recording.guests else number)
    size = 64
    while size < 2 * len(known) + 2:
        size *= 2
    table = np.full(2 * size, -1, dtype=np.int64)
    for one, number in known.items():
        slot = ((one & 0x7FFFFFFF) * 0x9E3779B1 >> 16) & size - 1
        while table[2 * slot + 1] != -1:
            slot = slot + 1 & size - 1
        table[2 * slot : 2 * slot + 2] = (one, number)
    return table


class Index:
    """Grows while the file is read; see the module.

    ``cpus`` are the CPUs by slot.  Unless they are given, a CPU gets the next slot when it turns
    up; else a record of another one cannot be right.  ``numbers`` are, by slot, the granules that
    have something of a CPU, and ``behind`` how many of those begin before the one before ends.
    """

    def __init__(self, recording: Recording, cpus: list[int] | None) -> None:
        self.recording = recording
        self.cpus: list[int] = list(cpus or ())
        self.fixed = cpus is not None
        self.numbers: list[array[int]] = [array("I") for _ in self.cpus]
        self.behind: list[int] = [0] * len(self.cpus)
        self._latest: list[int] = [-1] * len(self.cpus)
        self.places: list[tuple[int, int, int]] = []
        self.broken: list[Broken] = []
        self.told = Told()
        self.guest_samples = 0
        self.strays = 0
        self._hidden: dict[int, int] = {}
        self.done = False
        many = max(len(self.cpus), 1)
        self.size = max(_LEAST_GRANULE, min(GRANULE, _ALL_GRANULES // many))
        self._segment = 0
        self._next = recording.segments[0].start
        self._counted = bytearray()
        self._kept: OrderedDict[int, Granule] = OrderedDict()
        self._rooms: list[bytearray] = []
        big = recording.container.big
        table = _hash_table(recording)
        id_at, id_from_end = id_places(recording.attrs)
        self._trailer = trailer_of(recording.attrs)
        self.geometry = view(
            np.array(
                [
                    big,
                    not big and sys.byteorder == "little",
                    id_at,
                    id_from_end,
                    len(table) // 2 - 1,
                ],
                dtype=np.int64,
            )
        )
        self._layouts = view(
            np.array([layout_of(attr) for attr in recording.attrs], dtype=np.int64).reshape(-1)
        )
        self._ids = view(table)
        self._slot_of = np.full(MOST_CPUS, -2 if self.fixed else -1, dtype=np.int32)
        for slot, cpu in enumerate(self.cpus):
            self._slot_of[cpu] = slot
        room = self.size // 16
        self._slots, self._ats, self._sizes = (
            view(np.empty(room, dtype=np.int32)) for _ in range(3)
        )
        self._times = view(np.empty(room, dtype=np.int64))
        self._specials = view(np.empty(room, dtype=np.int32))

    def next_share(self, slot: int, position: int) -> Share | None:
        """What the CPU has in the `position`-th of its granules; None behind the last.

        Raises ReadError when the file shrinks or changes.
        """
        numbers = self.numbers[slot]
        while position >= len(numbers):
            if self.done:
                return None
            self._extend()
        number = numbers[position]
        granule = self._kept.get(number)
        if granule is None:
            granule = self._read(number)
            self._keep(granule)
        granule.waiting -= 1
        if granule.waiting <= 0:
            self._kept.pop(number, None)
        share = granule.share(slot)
        if share.first == share.stop:  # it had some when it was read first
            segment, start, _end = self.places[number]
            raise ReadError(
                f"no samples of CPU {self.cpus[slot]} are here any more; the file has changed "
                "while it was being read",
                path=self.recording.segments[segment].source.path,
                offset=start,
                hint="Analyse it again when nothing writes to it.",
            )
        return share

    def finish(self) -> None:
        """Read on to the end."""
        while not self.done:
            self._extend()

    def new_pass(self) -> None:
        """Forget what was read and counted: a pass reads anew."""
        self.forget()
        self._counted = bytearray()

    def forget(self) -> None:
        """Give back the memory of what was read."""
        self._kept.clear()
        self._rooms = []

    def count(self, granule: Granule) -> int:
        """Bytes that a pass has read when it comes to this granule, 0 where it was counted."""
        missing = granule.number + 1 - len(self._counted)
        self._counted += bytes(max(0, missing))
        if self._counted[granule.number]:
            return 0
        self._counted[granule.number] = 1
        return granule.length

    def _keep(self, granule: Granule) -> None:
        self._kept[granule.number] = granule
        while len(self._kept) * self.size > _KEPT and len(self._kept) > 1:
            self._kept.popitem(last=False)

    def _extend(self) -> None:
        """Go over the next granule."""
        segments = self.recording.segments
        segment = segments[self._segment]
        if self._next + 8 <= segment.end:
            # Segment, start and end; the end is known once it was read.
            end = min(self._next + self.size, segment.end)
            self.places.append((self._segment, self._next, end))
            granule = self._read(len(self.places) - 1, first=True)
            self._keep(granule)
            return
        if self._next < segment.told:
            reason = segment.reason or "the file ends before its records do"
            self._break(segment, reason)
        self._segment += 1
        if self._segment == len(segments):
            self.done = True
        else:
            self._next = segments[self._segment].start

    def _break(self, segment: Segment, reason: str) -> None:
        """The rest of a segment cannot be read."""
        missing = max(segment.told - self._next, 1)
        self.broken.append(Broken(self._next, reason, missing))
        self._next = max(segment.end, segment.told)

    def _room(self, length: int) -> memoryview:
        """Bytes to read into.  A granule's are used again once nothing looks at them any more."""
        if length < self.size:
            return view(np.empty(length, dtype=np.uint8))
        room = self._rooms.pop() if self._rooms else bytearray(self.size + 8)
        lent = np.frombuffer(room, dtype=np.uint8)
        weakref.finalize(lent, self._rooms.append, room)
        return view(lent)[:length]

    def _read(self, number: int, first: bool = False) -> Granule:
        """Read a granule; the first time, note who it concerns and where the next one begins."""
        which, start, end = self.places[number]
        segment = self.recording.segments[which]
        length = end - start
        whole = self._room(length + 7 & ~7)
        whole[length:] = bytes(-length % 8)
        segment.source.read_into(whole[:length], start, "records")
        state = np.zeros(at.SCAN, dtype=np.int64)
        state_view = view(state)
        while True:
            status = perfloop.scan(
                whole,
                whole.cast("q"),
                length,
                self.geometry,
                self._layouts,
                self._ids,
                view(self._slot_of),
                state_view,
                self._slots,
                self._times,
                self._ats,
                self._sizes,
                self._specials,
            )
            here = int(state[at.AT])
            if status == at.NEW_CPU:
                self._slot_of[state[at.ASKED]] = len(self.cpus)
                self.cpus.append(int(state[at.ASKED]))
                self.numbers.append(array("I"))
                self.behind.append(0)
                self._latest.append(-1)
            elif status == at.STRAY and self._stray(whole, state_view, number, first):
                continue
            else:
                break
        if first:
            self._next = start + here
            self.places[number] = (which, start, self._next)
            self._go_on(segment, status, whole, here)
            self._check_end(segment, start)
            self.guest_samples += int(state[at.GUESTS])
            self._listen(whole, self._specials[: int(state[at.SPECIALS])])
        place = which << at.SEGMENT_SHIFT | start
        return self._group(number, place, whole, int(state[at.COUNT]), here, first)

    def _go_on(self, segment: Segment, status: int, data: memoryview, here: int) -> None:
        """What follows a granule: skip what no record counts, or give the rest of it up."""
        if status == at.STOP:
            self._skip(segment, bytes(data[here : here + 24]))
        elif status == at.BROKEN:
            self._break(segment, "a record that is shorter than its header")
        elif status == at.STRAY:
            self._break(segment, f"more than {_MOST_STRAYS} records that cannot be read")
        elif here == 0 and status == at.WINDOW_END:
            self._break(segment, "the file ends inside a record")

    def _check_end(self, segment: Segment, start: int) -> None:
        """A pipe that ends with a sample was cut: perf ends each round with FINISHED_ROUND.

        Nothing else tells, since a pipe's head has no size (``record__mmap_read_evlist`` of
        builtin-record.c).  Samples of the other CPUs of that round may be missing.  The granule
        begins at ``start``.
        """
        whole = self._next + 8 > segment.end and not self.broken
        pipe = self.recording.pipe and not self.recording.unpacked
        if whole and pipe and segment is self.recording.segments[-1]:
            records = records_of(self.recording, segment._replace(start=start))
            kinds = deque((kind for _, kind, _, _ in records), maxlen=1)
            if kinds == deque([SAMPLE]):
                self._break(segment, PIPE_CUT)

    def _skip(self, segment: Segment, head: bytes) -> None:
        order = self.recording.order
        kind, _, size = struct.unpack_from(order + "IHH", head)
        if kind in (COMPRESSED, COMPRESSED2):
            self._break(segment, "a compressed record among those that were unpacked")
            return
        more = more_behind(kind, head[8:], order) if kind in (HEADER_TRACING_DATA, AUXTRACE) else 0
        if more > segment.end - self._next - size:
            self._break(segment, "the file ends inside a record")
        else:
            self._next += size + more

    def _stray(self, data: memoryview, state: memoryview, number: int, first: bool) -> bool:
        """A record that cannot be read hides an event of any CPU: an entry for each of them.

        That is, of those known when it was read first: read again, a granule must be the same.
        """
        here, count = state[at.AT], state[at.COUNT]
        self.strays += first
        if self.strays > _MOST_STRAYS and first:
            return False
        size = struct.unpack_from(self.recording.order + "H", data, here + 6)[0]
        which, start, _ = self.places[number]
        place = which << at.SEGMENT_SHIFT | start + here
        many = self._hidden.setdefault(place, len(self.cpus))
        if count + many > len(self._times):
            return False
        for slot in range(many):
            self._slots[count + slot], self._ats[count + slot] = slot, here
            self._times[count + slot], self._sizes[count + slot] = 0, at.BAD
        state[at.COUNT] = count + many
        state[at.AT] = here + size
        return True

    def _group(
        self, number: int, place: int, data: memoryview, count: int, length: int, first: bool
    ) -> Granule:
        many = len(self.cpus)
        groups = np.zeros((many + 1) * at.GROUP, dtype=np.int64)
        times = np.empty(count, dtype=np.int64)
        ats, sizes = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
        perfloop.group(
            count,
            self._slots,
            self._times,
            self._ats,
            self._sizes,
            view(groups),
            view(times),
            view(ats),
            view(sizes),
        )
        firsts = groups[at.FIRST :: at.GROUP]
        there = np.flatnonzero(firsts[1:] > firsts[:-1])
        if first:
            rows = groups.reshape(-1, at.GROUP)[there].tolist()
            for slot, row in zip(there.tolist(), rows, strict=True):
                self.numbers[slot].append(number)
                self.behind[slot] += row[at.EARLIEST] < self._latest[slot]
                self._latest[slot] = max(self._latest[slot], row[at.LATEST_SEEN])
        return Granule(number, place, data, times, ats, sizes, groups, length, len(there))

    def _listen(self, data: memoryview, places: memoryview) -> None:
        """COMM, FORK and LOST_SAMPLES of a granule."""
        order, told, names = self.recording.order, self.told, self.told.comms
        trailer, time = self._trailer
        head, pair, word = (struct.Struct(order + code).unpack_from for code in ("IHH", "2i", "q"))
        for here in places.tolist():
            kind, misc, size = head(data, here)
            end = here + size
            if kind == COMM and size > 16 + trailer:
                _, pid = pair(data, here + 8)
                when = word(data, end - time)[0] if time else 0
                if pid not in names or names[pid][0] <= when:
                    raw = bytes(data[here + 16 : end - trailer]).split(b"\0")[0]
                    names[pid] = (when, raw.decode("utf-8", "backslashreplace"))
            elif kind == FORK and size >= 24:
                # struct: pid, ppid, tid, ptid.
                task, parent = pair(data, here + 16)
                told.parents[task] = parent
            elif kind == LOST_SAMPLES and size >= 24 and not misc >> 15 & 1:
                (lost,) = word(data, here + 8)
                number = 0
                if self.geometry[at.ID_FROM_END]:
                    (number,) = word(data, end - self.geometry[at.ID_FROM_END])
                lost &= (1 << 64) - 1
                told.lost_samples[number] = told.lost_samples.get(number, 0) + lost
