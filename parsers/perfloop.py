"""The hot loops of the perf.data reader: records to entries by CPU.

A Python file in Cython's pure-Python mode, as ``ringbuffer.py``, whose walk decodes what the
entries tell the place of.  Records: tools/perf/Documentation/perf.data-file-format.txt and ``enum
perf_event_type`` in include/uapi/linux/perf_event.h.  Every read of trace bytes is checked against
the record it lies in first.
"""

# The annotations are C types, which mypy cannot read.
# mypy: ignore-errors
from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.parsers import layout, perflayout

BIG = cython.declare(cython.longlong, perflayout.BIG)
FAST = cython.declare(cython.longlong, perflayout.FAST)
ID_AT = cython.declare(cython.longlong, perflayout.ID_AT)
ID_FROM_END = cython.declare(cython.longlong, perflayout.ID_FROM_END)
ID_MASK = cython.declare(cython.longlong, perflayout.ID_MASK)
NEED = cython.declare(cython.longlong, perflayout.NEED)
TIME_AT = cython.declare(cython.longlong, perflayout.TIME_AT)
CPU_AT = cython.declare(cython.longlong, perflayout.CPU_AT)
READ_AT = cython.declare(cython.longlong, perflayout.READ_AT)
READ_FORMAT = cython.declare(cython.longlong, perflayout.READ_FORMAT)
CHAIN = cython.declare(cython.longlong, perflayout.CHAIN)
CPU_FROM_END = cython.declare(cython.longlong, perflayout.CPU_FROM_END)
TRAILER = cython.declare(cython.longlong, perflayout.TRAILER)
WANTED = cython.declare(cython.longlong, perflayout.WANTED)
PLAIN = cython.declare(cython.longlong, perflayout.PLAIN)
LAYOUT = cython.declare(cython.longlong, perflayout.LAYOUT)
AT = cython.declare(cython.longlong, perflayout.AT)
COUNT = cython.declare(cython.longlong, perflayout.COUNT)
ASKED = cython.declare(cython.longlong, perflayout.ASKED)
SPECIALS = cython.declare(cython.longlong, perflayout.SPECIALS)
GUESTS = cython.declare(cython.longlong, perflayout.GUESTS)
STRAYS = cython.declare(cython.longlong, perflayout.STRAYS)
WINDOW_END = cython.declare(cython.longlong, perflayout.WINDOW_END)
BROKEN = cython.declare(cython.longlong, perflayout.BROKEN)
NEW_CPU = cython.declare(cython.longlong, perflayout.NEW_CPU)
FULL = cython.declare(cython.longlong, perflayout.FULL)
STOP = cython.declare(cython.longlong, perflayout.STOP)
STRAY = cython.declare(cython.longlong, perflayout.STRAY)
LOST = cython.declare(cython.longlong, perflayout.LOST)
THROTTLE = cython.declare(cython.longlong, perflayout.THROTTLE)
UNTHROTTLE = cython.declare(cython.longlong, perflayout.UNTHROTTLE)
BAD = cython.declare(cython.longlong, perflayout.BAD)
FIRST = cython.declare(cython.longlong, perflayout.FIRST)
EARLIEST = cython.declare(cython.longlong, perflayout.EARLIEST)
LATEST_SEEN = cython.declare(cython.longlong, perflayout.LATEST_SEEN)
DISORDER = cython.declare(cython.longlong, perflayout.DISORDER)
GROUP = cython.declare(cython.longlong, perflayout.GROUP)
LARGEST_RAW = cython.declare(cython.longlong, perflayout.LARGEST_RAW)
LATEST = cython.declare(cython.longlong, layout.LATEST)
# Cython makes Python integers of literals that are wider than 32 bits.
WORD = cython.declare(cython.longlong, 1 << 32)
LOW_WORD = cython.declare(cython.longlong, (1 << 32) - 1)
GOLDEN = cython.declare(cython.longlong, 0x9E3779B1)
FAR = cython.declare(cython.longlong, (1 << 63) - 1)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _u(
    data: cython.const[cython.uchar][::1],
    at: cython.longlong,
    size: cython.longlong,
    big: cython.longlong,
) -> cython.longlong:
    """An unsigned integer of up to 4 bytes."""
    value: cython.longlong = 0
    i: cython.longlong
    for i in range(size):
        value = value << 8 | (data[at + i] if big else data[at + size - 1 - i])
    return value


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _u32(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.longlong][::1],
    at: cython.longlong,
    geo: cython.longlong[::1],
) -> cython.longlong:
    """The 32-bit word at `at`."""
    if geo[FAST] and at & 3 == 0:
        return words[at >> 3] >> (at & 4) * 8 & LOW_WORD
    return _u(data, at, 4, geo[BIG])


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _q(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.longlong][::1],
    at: cython.longlong,
    geo: cython.longlong[::1],
) -> cython.longlong:
    """The 64-bit word at `at` as its two's complement."""
    low: cython.longlong
    high: cython.longlong
    if geo[FAST] and at & 7 == 0:
        return words[at >> 3]
    low = _u(data, at, 4, geo[BIG])
    high = _u(data, at + 4, 4, geo[BIG])
    if geo[BIG]:
        low, high = high, low
    if high > 0x7FFFFFFF:
        high -= WORD
    return high * WORD + low


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _attr_of(
    number: cython.longlong, geo: cython.longlong[::1], ids: cython.longlong[::1]
) -> cython.longlong:
    """The layout that the id of an event says; -1 for an id that nobody has."""
    mask: cython.longlong = geo[ID_MASK]
    slot: cython.longlong = ((number & 0x7FFFFFFF) * GOLDEN >> 16) & mask
    while ids[slot * 2 + 1] != -1:
        if ids[slot * 2] == number:
            return ids[slot * 2 + 1]
        slot = slot + 1 & mask
    return -1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _raw_at(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.longlong][::1],
    at: cython.longlong,
    end: cython.longlong,
    geo: cython.longlong[::1],
    layouts: cython.longlong[::1],
    o: cython.longlong,
) -> cython.longlong:
    """Where the size of a sample's RAW stands; -1 when what is before it does not fit."""
    form: cython.longlong = layouts[o + READ_FORMAT]
    n: cython.longlong
    each: cython.longlong
    if form >= 0:  # PERF_SAMPLE_READ
        # LOST 16 and ID 4 belong to each value, the two times 1 and 2 to all.
        each = 8 + (8 if form & 4 else 0) + (8 if form & 16 else 0)
        n = 1
        if form & 8:  # PERF_FORMAT_GROUP
            if at + 8 > end:
                return -1
            n = _q(data, words, at, geo)
            at += 8
        at += (8 if form & 1 else 0) + (8 if form & 2 else 0)
        if n < 0 or n > 0xFFFF or at + n * each > end:
            return -1
        at += n * each
    if layouts[o + CHAIN]:
        if at + 8 > end:
            return -1
        n = _q(data, words, at, geo)
        if n < 0 or n > 0xFFFF or at + 8 + n * 8 > end:
            return -1
        at += 8 + n * 8
    return at if at + 4 <= end else -1


def scan(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.longlong][::1],
    length: cython.longlong,
    geo: cython.longlong[::1],
    layouts: cython.longlong[::1],
    ids: cython.longlong[::1],
    slot_of: cython.int[::1],
    state: cython.longlong[::1],
    slots: cython.int[::1],
    times: cython.longlong[::1],
    ats: cython.int[::1],
    sizes: cython.int[::1],
    specials: cython.int[::1],
) -> int:
    """Go over whole records of a window from ``state[AT]`` on, until a status says why it stopped.

    `data` and `words` are the same window, `words` of its whole 64-bit words.  A sample of a
    tracepoint becomes an entry: slot of its CPU, time, where its RAW is and how long.  What is
    missing becomes one too, with a negative size: see :mod:`fputrace.parsers.perflayout`.
    """
    done: cython.longlong
    with cython.nogil:
        done = _scan(
            data,
            words,
            length,
            geo,
            layouts,
            ids,
            slot_of,
            state,
            slots,
            times,
            ats,
            sizes,
            specials,
        )
    return done


@cython.cfunc
@cython.nogil
@cython.exceptval(-99, check=True)
@cython.boundscheck(False)
@cython.wraparound(False)
def _scan(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.longlong][::1],
    length: cython.longlong,
    geo: cython.longlong[::1],
    layouts: cython.longlong[::1],
    ids: cython.longlong[::1],
    slot_of: cython.int[::1],
    state: cython.longlong[::1],
    slots: cython.int[::1],
    times: cython.longlong[::1],
    ats: cython.int[::1],
    sizes: cython.int[::1],
    specials: cython.int[::1],
) -> cython.longlong:
    at: cython.longlong = state[AT]
    count: cython.longlong = state[COUNT]
    special: cython.longlong = state[SPECIALS]
    room: cython.longlong = times.shape[0]
    room_special: cython.longlong = specials.shape[0]
    id_at: cython.longlong = geo[ID_AT]
    id_from_end: cython.longlong = geo[ID_FROM_END]
    big: cython.longlong = geo[BIG]
    fast: cython.longlong = geo[FAST]
    status: cython.longlong = WINDOW_END
    head: cython.longlong
    kind: cython.longlong
    size: cython.longlong
    end: cython.longlong
    attr: cython.longlong
    o: cython.longlong
    cpu: cython.longlong
    slot: cython.longlong
    when: cython.longlong
    place: cython.longlong
    much: cython.longlong
    while at + 8 <= length:
        if fast and at & 7 == 0:
            head = words[at >> 3]
            kind = head & LOW_WORD
            size = head >> 48 & 0xFFFF
        else:
            kind = _u(data, at, 4, big)
            size = _u(data, at + 6, 2, big)
        if size < 8:
            status = BROKEN
            break
        end = at + size
        if end > length:
            break
        if count >= room or special >= room_special:
            status = FULL
            break
        if kind == 9:  # PERF_RECORD_SAMPLE
            attr = 0
            if id_at >= 0:
                attr = -1
                if id_at + 8 <= size:
                    # perf's own records and their fields are aligned; others need not be.
                    if fast and at & 7 == 0:
                        much = words[at + id_at >> 3]
                    else:
                        much = _q(data, words, at + id_at, geo)
                    attr = _attr_of(much, geo, ids)
            if attr < -1:
                state[GUESTS] += 1
                at = end
                continue
            o = attr * LAYOUT
            if attr < 0 or layouts[o + NEED] > size:
                state[STRAYS] += 1
                status = STRAY
                break
            if layouts[o + WANTED] == 0:
                at = end
                continue
            if fast and at & 7 == 0:
                cpu = words[at + layouts[o + CPU_AT] >> 3] & LOW_WORD
                when = words[at + layouts[o + TIME_AT] >> 3]
            else:
                cpu = _u32(data, words, at + layouts[o + CPU_AT], geo)
                when = _q(data, words, at + layouts[o + TIME_AT], geo)
            slot = slot_of[cpu] if cpu < slot_of.shape[0] else -2
            if slot < 0:
                state[ASKED] = cpu
                status = NEW_CPU if slot == -1 else STRAY
                break
            place = at + layouts[o + READ_AT]
            if fast and at & 7 == 0 and layouts[o + PLAIN] and place + 8 <= end:
                much = words[place >> 3] & LOW_WORD
            else:
                place = _raw_at(data, words, place, end, geo, layouts, o)
                much = _u32(data, words, place, geo) if place >= 0 else 0
            slots[count] = cython.cast(cython.int, slot)
            if place >= 0 and (place + 4 + much > end or much > LARGEST_RAW):
                place = -1
            if when < 0 or when >= LATEST or place < 0:
                times[count] = 0
                ats[count] = cython.cast(cython.int, at)
                sizes[count] = BAD
            else:
                times[count] = when
                ats[count] = cython.cast(cython.int, place + 4)
                sizes[count] = cython.cast(cython.int, much)
            count += 1
        elif kind == 2 or kind == 5 or kind == 6:  # LOST, THROTTLE, UNTHROTTLE
            attr = 0
            if id_from_end > 0 and size >= 8 + id_from_end:
                attr = _attr_of(_q(data, words, end - id_from_end, geo), geo, ids)
            if attr < -1:
                at = end
                continue
            o = (attr if attr >= 0 else 0) * LAYOUT
            slot = -2
            if size >= 24 + layouts[o + TRAILER] and layouts[o + CPU_FROM_END] > 0:
                cpu = _u32(data, words, end - layouts[o + CPU_FROM_END], geo)
                slot = slot_of[cpu] if cpu < slot_of.shape[0] else -2
                state[ASKED] = cpu
            if slot < 0:
                status = NEW_CPU if slot == -1 else STRAY
                break
            if kind == 2 or layouts[o + WANTED]:
                slots[count] = cython.cast(cython.int, slot)
                ats[count] = cython.cast(cython.int, at)
                if kind == 2:
                    much = _q(data, words, at + 16, geo)
                    times[count] = much if 0 <= much < LATEST else -1
                    sizes[count] = LOST
                else:
                    times[count] = 0
                    sizes[count] = THROTTLE if kind == 5 else UNTHROTTLE
                count += 1
        elif kind == 3 or kind == 7 or kind == 13:
            # COMM, FORK, LOST_SAMPLES: the caller reads them.
            specials[special] = cython.cast(cython.int, at)
            special += 1
        elif kind == 66 or kind == 71:
            # HEADER_TRACING_DATA and AUXTRACE have more behind them than their size says.
            much = 0
            if kind == 66 and size >= 12:
                much = _u32(data, words, at + 8, geo)
            elif kind == 71 and size >= 16:
                much = _q(data, words, at + 8, geo)
            if much < 0 or much > length - end:
                status = STOP
                break
            end += much
        elif kind == 81 or kind == 83:  # COMPRESSED
            status = STOP
            break
        at = end
    state[AT] = at
    state[COUNT] = count
    state[SPECIALS] = special
    return status


def group(
    count: cython.longlong,
    slots: cython.int[::1],
    times: cython.longlong[::1],
    ats: cython.int[::1],
    sizes: cython.int[::1],
    groups: cython.longlong[::1],
    own_times: cython.longlong[::1],
    own_ats: cython.int[::1],
    own_sizes: cython.int[::1],
) -> int:
    """Put `count` entries into the order of their slots, and say in `groups` what each slot has.

    `groups` has a row for every slot and one more, zero on entry.
    """
    with cython.nogil:
        _group(count, slots, times, ats, sizes, groups, own_times, own_ats, own_sizes)
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(-99, check=True)
@cython.boundscheck(False)
@cython.wraparound(False)
def _group(
    count: cython.longlong,
    slots: cython.int[::1],
    times: cython.longlong[::1],
    ats: cython.int[::1],
    sizes: cython.int[::1],
    groups: cython.longlong[::1],
    own_times: cython.longlong[::1],
    own_ats: cython.int[::1],
    own_sizes: cython.int[::1],
) -> cython.longlong:
    many: cython.longlong = groups.shape[0] // GROUP - 1
    i: cython.longlong
    o: cython.longlong
    to: cython.longlong
    stop: cython.longlong
    slot: cython.longlong
    when: cython.longlong
    latest: cython.longlong
    earliest: cython.longlong
    # perf copies what one CPU has in one go: entries of a slot stand together.
    i = 0
    while i < count:
        slot = slots[i]
        stop = i + 1
        while stop < count and slots[stop] == slot:
            stop += 1
        groups[(slot + 1) * GROUP + FIRST] += stop - i
        i = stop
    for i in range(many):
        groups[(i + 1) * GROUP + FIRST] += groups[i * GROUP + FIRST]
        groups[i * GROUP + EARLIEST] = FAR
        groups[i * GROUP + LATEST_SEEN] = -1
    # FIRST runs up to the next slot's first while entries are placed, and is put back below.
    i = 0
    while i < count:
        slot = slots[i]
        o = slot * GROUP
        to = groups[o + FIRST]
        latest = groups[o + LATEST_SEEN]
        earliest = groups[o + EARLIEST]
        while i < count and slots[i] == slot:
            when = times[i]
            own_times[to] = when
            own_ats[to] = ats[i]
            own_sizes[to] = sizes[i]
            if sizes[i] < 0:
                if sizes[i] == BAD:
                    groups[o + DISORDER] = 1
            else:
                if when < latest:
                    groups[o + DISORDER] = 1
                else:
                    latest = when
                earliest = min(earliest, when)
            to += 1
            i += 1
        groups[o + FIRST] = to
        groups[o + LATEST_SEEN] = latest
        groups[o + EARLIEST] = earliest
    for i in range(many - 1, 0, -1):
        groups[i * GROUP + FIRST] = groups[(i - 1) * GROUP + FIRST]
    if many > 0:
        groups[FIRST] = 0
    return 0
