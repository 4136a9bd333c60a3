"""The hot loop of the readers of binary records: ring-buffer pages, or samples, to columns.

A Python file in Cython's pure-Python mode: compiled when it can be, plain Python otherwise, with
the same results.  It takes memoryviews and numbers only; everything that needs thought
(an unknown event id, the function behind a probe) is handed back to the caller by status.

Page layout: kernel/trace/ring_buffer.c, ``struct buffer_data_page`` and ``rb_update_event()``;
missed-event flags: ``ring_buffer_read_page()``.  All offsets come from the recording's own
``header_page`` text.  A sample of perf has such a record too, at a place that the caller found
(:mod:`fputrace.parsers.perfloop`).  Every read of trace bytes is checked against the page or chunk
it lies in first, by whoever calls what reads it.
"""

# The annotations are C types, which mypy cannot read.
# mypy: ignore-errors
from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

if cython.compiled:
    from cython.cimports.fputrace.hints import prefetch
    from cython.cimports.libc.string import memcpy

from fputrace import events
from fputrace.events import Kind
from fputrace.parsers import layout, perflayout

# C constants of what `layout` names.
NEED_CHUNK = cython.declare(cython.longlong, layout.NEED_CHUNK)
ROWS_FULL = cython.declare(cython.longlong, layout.ROWS_FULL)
ASK = cython.declare(cython.longlong, layout.ASK)
REPORTS_FULL = cython.declare(cython.longlong, layout.REPORTS_FULL)
PAGE = cython.declare(cython.longlong, layout.PAGE)
NEXT = cython.declare(cython.longlong, layout.NEXT)
END = cython.declare(cython.longlong, layout.END)
TIME = cython.declare(cython.longlong, layout.TIME)
LAST = cython.declare(cython.longlong, layout.LAST)
LIMIT = cython.declare(cython.longlong, layout.LIMIT)
PEEK = cython.declare(cython.longlong, layout.PEEK)
PEEK2 = cython.declare(cython.longlong, layout.PEEK2)
SUSPECT = cython.declare(cython.longlong, layout.SUSPECT)
ENTRY = cython.declare(cython.longlong, layout.ENTRY)
THROTTLED = cython.declare(cython.longlong, layout.THROTTLED)
THROTTLED_AT = cython.declare(cython.longlong, layout.THROTTLED_AT)
LOST = cython.declare(cython.longlong, layout.LOST)
LOST_COUNT = cython.declare(cython.longlong, layout.LOST_COUNT)
LOST_AT = cython.declare(cython.longlong, layout.LOST_AT)
BAD = cython.declare(cython.longlong, layout.BAD)
BAD_AT = cython.declare(cython.longlong, layout.BAD_AT)
BAD_WHY = cython.declare(cython.longlong, layout.BAD_WHY)
SEEN = cython.declare(cython.longlong, layout.SEEN)
BACK = cython.declare(cython.longlong, layout.BACK)
BACK_AT = cython.declare(cython.longlong, layout.BACK_AT)
BASE = cython.declare(cython.longlong, layout.BASE)
ASKED = cython.declare(cython.longlong, layout.ASKED)
WHERE = cython.declare(cython.longlong, layout.WHERE)
LENGTH = cython.declare(cython.longlong, layout.LENGTH)
ROW = cython.declare(cython.longlong, layout.ROW)
REPORTS = cython.declare(cython.longlong, layout.REPORTS)
CHANGES = cython.declare(cython.longlong, layout.CHANGES)
PAGE_SIZE = cython.declare(cython.longlong, layout.PAGE_SIZE)
TIME_OFF = cython.declare(cython.longlong, layout.TIME_OFF)
COMMIT_OFF = cython.declare(cython.longlong, layout.COMMIT_OFF)
LONG = cython.declare(cython.longlong, layout.LONG)
DATA_OFF = cython.declare(cython.longlong, layout.DATA_OFF)
SWAP = cython.declare(cython.longlong, layout.SWAP)
BIG = cython.declare(cython.longlong, layout.BIG)
TYPE_OFF = cython.declare(cython.longlong, layout.TYPE_OFF)
PID_OFF = cython.declare(cython.longlong, layout.PID_OFF)
FLAGS_OFF = cython.declare(cython.longlong, layout.FLAGS_OFF)
COUNT_OFF = cython.declare(cython.longlong, layout.COUNT_OFF)
HEAD = cython.declare(cython.longlong, layout.HEAD)
SLACK = cython.declare(cython.longlong, layout.SLACK)
TYPE_SIZE = cython.declare(cython.longlong, layout.TYPE_SIZE)
USUAL = cython.declare(cython.longlong, layout.USUAL)
KIND = cython.declare(cython.longlong, layout.KIND)
NEED = cython.declare(cython.longlong, layout.NEED)
IP_OFF = cython.declare(cython.longlong, layout.IP_OFF)
IP_SIZE = cython.declare(cython.longlong, layout.IP_SIZE)
COMM_PID = cython.declare(cython.longlong, layout.COMM_PID)
COMM_OFF = cython.declare(cython.longlong, layout.COMM_OFF)
COMM_SIZE = cython.declare(cython.longlong, layout.COMM_SIZE)
COMM_PID2 = cython.declare(cython.longlong, layout.COMM_PID2)
COMM_OFF2 = cython.declare(cython.longlong, layout.COMM_OFF2)
FULL = cython.declare(cython.longlong, layout.FULL)
REACH = cython.declare(cython.longlong, layout.REACH)
OPERAND = cython.declare(cython.longlong, layout.OPERAND)
MASK = cython.declare(cython.longlong, layout.MASK)
FLIP = cython.declare(cython.longlong, layout.FLIP)
LESS = cython.declare(cython.longlong, layout.LESS)
OPERAND_SIZE = cython.declare(cython.longlong, layout.OPERAND_SIZE)
TABLE = cython.declare(cython.longlong, layout.TABLE)
WHY_TIME = cython.declare(cython.longlong, layout.WHY_TIME)
WHY_LENGTH = cython.declare(cython.longlong, layout.WHY_LENGTH)
WHY_RECORD = cython.declare(cython.longlong, layout.WHY_RECORD)
WHY_SHORT = cython.declare(cython.longlong, layout.WHY_SHORT)
WHY_SAMPLE = cython.declare(cython.longlong, layout.WHY_SAMPLE)
WHY_WILD = cython.declare(cython.longlong, layout.WHY_WILD)
LOST_RECORD = cython.declare(cython.longlong, perflayout.LOST)
THROTTLE = cython.declare(cython.longlong, perflayout.THROTTLE)
UNTHROTTLE = cython.declare(cython.longlong, perflayout.UNTHROTTLE)
WILD = cython.declare(cython.longlong, perflayout.WILD)
REPORT = cython.declare(cython.longlong, layout.REPORT)
CHANGE = cython.declare(cython.longlong, layout.CHANGE)
LATEST = cython.declare(cython.longlong, layout.LATEST)
COMMS = cython.declare(cython.longlong, layout.COMMS)
LOSS = cython.declare(cython.uchar, int(Kind.LOSS))
LOSS_END = cython.declare(cython.uchar, int(Kind.LOSS_END))
ABSENT = cython.declare(cython.longlong, events.ABSENT)
# Cython makes Python integers of literals that are wider than 32 bits.
WORD = cython.declare(cython.longlong, 1 << 32)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _u32(
    words: cython.const[cython.uint][::1], at: cython.longlong, swap: cython.longlong
) -> cython.longlong:
    """The word at byte `at` (a multiple of four) in the recording's byte order."""
    w: cython.longlong = words[at >> 2]
    if swap:
        w = (w & 0xFF) << 24 | (w & 0xFF00) << 8 | (w >> 8) & 0xFF00 | w >> 24
    return w


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _number(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.uint][::1],
    at: cython.longlong,
    size: cython.longlong,
    signed: cython.longlong,
    swap: cython.longlong,
    big: cython.longlong,
) -> cython.longlong:
    """An integer of 1, 2, 4 or 8 bytes; 64-bit ones as their two's complement."""
    low: cython.longlong
    high: cython.longlong
    i: cython.longlong
    if size == 1:
        low = data[at]
        if signed and low > 0x7F:
            low -= 0x100
        return low
    if size == 2:
        if big:
            low = data[at] << 8 | data[at + 1]
        else:
            low = data[at + 1] << 8 | data[at]
        if signed and low > 0x7FFF:
            low -= 0x10000
        return low
    if at & 3 == 0:
        low = _u32(words, at, swap)
        high = _u32(words, at + 4, swap) if size == 8 else 0
        if big and size == 8:
            low, high = high, low
    else:
        low = 0
        high = 0
        for i in range(4):
            if big:
                low = low << 8 | data[at + size - 4 + i]
            else:
                low = low << 8 | data[at + 3 - i]
        if size == 8:
            for i in range(4):
                high = high << 8 | (data[at + i] if big else data[at + 7 - i])
    if size == 8:
        if high > 0x7FFFFFFF:
            high -= WORD
        return high * WORD + low
    if signed and low > 0x7FFFFFFF:
        low -= WORD
    return low


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _word(data: cython.const[cython.uchar][::1], at: cython.longlong) -> cython.longlong:
    """Eight bytes as a number, which is right where they and the machine are little-endian."""
    word: cython.longlong = 0
    if cython.compiled:
        memcpy(cython.address(word), cython.address(data[at]), 8)
        return word
    return int.from_bytes(data[at : at + 8], "little", signed=True)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(-1, check=True)
@cython.wraparound(False)
def _page_time(
    words: cython.const[cython.uint][::1],
    at: cython.longlong,
    swap: cython.longlong,
    big: cython.longlong,
) -> cython.longlong:
    """Base time of a page; -2 when no clock can say that."""
    low: cython.longlong = _u32(words, at, swap)
    high: cython.longlong = _u32(words, at + 4, swap)
    if big:
        low, high = high, low
    if high > 0x3FFFFFFF:
        return -2
    return high * WORD + low


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _comm_changed(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.uint][::1],
    pid: cython.longlong,
    at: cython.longlong,
    size: cython.longlong,
    comms: cython.longlong[::1],
) -> cython.longlong:
    """Whether the cache knows another name for this pid; it knows this one afterwards.

    Names are only compared, so that it does not matter in which order their bytes are.
    """
    if size < 8 or size > 16:  # other than TASK_COMM_LEN; 0: the caller must find the name
        return 1
    low: cython.longlong = _word(data, at)
    high: cython.longlong = _word(data, at + size - 8)
    i: cython.longlong = (pid & (COMMS - 1)) * 3
    if comms[i] == pid and comms[i + 1] == low and comms[i + 2] == high:
        return 0
    comms[i] = pid
    comms[i + 1] = low
    comms[i + 2] = high
    return 1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(-3, check=True)
@cython.wraparound(False)
def _base_time(
    words: cython.const[cython.uint][::1], page: cython.longlong, geo: cython.longlong[::1]
) -> cython.longlong:
    """Base time of the page at byte `page`; -1 when it is empty or its header cannot be right."""
    swap: cython.longlong = geo[SWAP]
    big: cython.longlong = geo[BIG]
    at: cython.longlong = page + geo[COMMIT_OFF]
    size: cython.longlong = _u32(words, at + 4 if big and geo[LONG] == 8 else at, swap) & 0x7FFFFFF
    if size == 0 or size > geo[PAGE_SIZE] - geo[DATA_OFF]:
        return -1
    at = _page_time(words, page + geo[TIME_OFF], swap, big)
    return at if at >= 0 else -1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(-3, check=True)
@cython.wraparound(False)
def _look(
    words: cython.const[cython.uint][::1],
    page: cython.longlong,
    length: cython.longlong,
    geo: cython.longlong[::1],
    state: cython.longlong[::1],
) -> cython.longlong:
    """As `_base_time`, for a page that may lie behind the chunk: then the caller has looked."""
    if page + geo[PAGE_SIZE] <= length:
        return _base_time(words, page, geo)
    return state[PEEK] if page < length + geo[PAGE_SIZE] else state[PEEK2]


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _lost(
    count: cython.longlong, at: cython.longlong, state: cython.longlong[::1]
) -> cython.longlong:
    """Events are missing before the next one, as `at` says; `count` -1: nobody counted them."""
    if state[LOST] == 0:
        state[LOST] = 1
        state[LOST_COUNT] = count
        state[LOST_AT] = at
    elif count < 0 or state[LOST_COUNT] < 0 or count > LATEST - state[LOST_COUNT]:
        state[LOST_COUNT] = -1
    else:
        state[LOST_COUNT] += count
    return 0


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _bad(why: cython.longlong, at: cython.longlong, state: cython.longlong[::1]) -> cython.longlong:
    """What is at `at` cannot be used, and is missing before the next event."""
    if state[BAD] == 0:
        state[BAD_AT] = at
        state[BAD_WHY] = why
    state[BAD] += 1
    return 0


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
@cython.boundscheck(False)
@cython.wraparound(False)
def _origin(
    origins: cython.longlong[::1],
    entry: cython.longlong,
    at: cython.longlong,
    state: cython.longlong[::1],
) -> cython.longlong:
    """The place in the recording of an entry that is at `at` of its chunk."""
    return origins[entry] if origins.shape[0] else state[BASE] + at


@cython.cfunc
@cython.nogil
@cython.exceptval(-1, check=True)
@cython.wraparound(False)
def _missing(
    what: cython.longlong,
    count: cython.longlong,
    at: cython.longlong,
    state: cython.longlong[::1],
) -> cython.longlong:
    """An entry that is no sample, of a record at `at`."""
    if what == LOST_RECORD:
        return _lost(count, at, state)
    if what == THROTTLE:
        state[THROTTLED] = 1
        state[THROTTLED_AT] = at
        return _lost(-1, at, state)
    if what == UNTHROTTLE:
        state[THROTTLED] = 0
        return _lost(-1, at, state)
    return _bad(WHY_WILD if what == WILD else WHY_SAMPLE, at, state)


def base_time(
    words: cython.const[cython.uint][::1], page: cython.longlong, geo: cython.longlong[::1]
) -> cython.longlong:
    """Base time of the page at byte `page`; -1 when it is empty or its header cannot be right."""
    return _base_time(words, page, geo)


def walk(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.uint][::1],
    length: cython.longlong,
    serial: cython.longlong,
    geo: cython.longlong[::1],
    state: cython.longlong[::1],
    index_of: cython.int[::1],
    table: cython.longlong[::1],
    ips: cython.longlong[::1],
    ip_mask: cython.longlong,
    comms: cython.longlong[::1],
    ts: cython.longlong[::1],
    pid: cython.int[::1],
    kind: cython.uchar[::1],
    flags: cython.ushort[::1],
    event: cython.int[::1],
    op: cython.longlong[::1],
    raw: cython.longlong[::1],
    row_end: cython.longlong,
    reports: cython.longlong[::1],
    changes: cython.longlong[::1],
    times: cython.longlong[::1],
    ats: cython.int[::1],
    sizes: cython.int[::1],
    origins: cython.longlong[::1],
    stop: cython.longlong,
) -> int:
    """Decode records of one CPU from `state` on, until a status above says why it stopped.

    `data` and `words` are the same chunk of whole pages (`length` bytes) in bytes and in 32-bit
    words.  Rows go to the columns from ``state[ROW]``; `raw` gets ``serial << 32 | offset`` of the
    record's header.  Times are raw; marks are LOSS (time of the event before, or of the next when
    there is none) and LOSS_END, written together once the next event is found.

    A record that cannot be (beyond its page, too short for its event, later than the next page)
    ends its page: what follows it there is lost.  A page whose base time lies before the events
    already seen, or after the next page's, is dropped as a whole, and the next with it where no
    third page tells which of the two is wrong.  Where the page after it agrees with it, the clock
    went back: such events are kept, their times held at the last one seen.

    Unless `stop` is 0, the chunk holds no pages but the entries ``state[ENTRY]`` to `stop` of one
    CPU in order (:mod:`fputrace.parsers.perflayout`): times, where in the chunk each record is,
    its size.  `origins` are their places in the recording; where it is empty, ``state[BASE]`` is
    the place of the chunk's first byte.  `raw` gets that place instead.
    """
    done: cython.longlong
    with cython.nogil:
        done = _walk(
            data, words, length, serial, geo, state, index_of, table, ips, ip_mask,
            comms, ts, pid, kind, flags, event, op, raw, row_end, reports, changes,
            times, ats, sizes, origins, stop,
        )  # fmt: skip
    return done


@cython.cfunc
@cython.nogil
@cython.exceptval(-99, check=True)
@cython.boundscheck(False)
@cython.wraparound(False)
def _walk(
    data: cython.const[cython.uchar][::1],
    words: cython.const[cython.uint][::1],
    length: cython.longlong,
    serial: cython.longlong,
    geo: cython.longlong[::1],
    state: cython.longlong[::1],
    index_of: cython.int[::1],
    table: cython.longlong[::1],
    ips: cython.longlong[::1],
    ip_mask: cython.longlong,
    comms: cython.longlong[::1],
    ts: cython.longlong[::1],
    pid: cython.int[::1],
    kind: cython.uchar[::1],
    flags: cython.ushort[::1],
    event: cython.int[::1],
    op: cython.longlong[::1],
    raw: cython.longlong[::1],
    row_end: cython.longlong,
    reports: cython.longlong[::1],
    changes: cython.longlong[::1],
    times: cython.longlong[::1],
    ats: cython.int[::1],
    sizes: cython.int[::1],
    origins: cython.longlong[::1],
    stop: cython.longlong,
) -> cython.longlong:
    page_size: cython.longlong = geo[PAGE_SIZE]
    data_off: cython.longlong = geo[DATA_OFF]
    long_size: cython.longlong = geo[LONG]
    swap: cython.longlong = geo[SWAP]
    big: cython.longlong = geo[BIG]
    type_off: cython.longlong = geo[TYPE_OFF]
    type_size: cython.longlong = geo[TYPE_SIZE]
    pid_off: cython.longlong = geo[PID_OFF]
    flags_off: cython.longlong = geo[FLAGS_OFF]
    count_off: cython.longlong = geo[COUNT_OFF]
    head: cython.longlong = geo[HEAD]
    slack: cython.longlong = geo[SLACK]

    page: cython.longlong = state[PAGE]
    at: cython.longlong = state[NEXT]
    end: cython.longlong = state[END]
    time: cython.longlong = state[TIME]
    last: cython.longlong = state[LAST]
    seen: cython.longlong = state[SEEN]
    limit: cython.longlong = state[LIMIT]
    row: cython.longlong = state[ROW]
    n_reports: cython.longlong = state[REPORTS]
    n_changes: cython.longlong = state[CHANGES]
    max_reports: cython.longlong = reports.shape[0] // REPORT - 1  # one is the caller's
    max_changes: cython.longlong = changes.shape[0] // CHANGE - 2  # an event tells up to two

    status: cython.longlong = NEED_CHUNK
    why: cython.longlong
    word: cython.longlong
    size: cython.longlong
    delta: cython.longlong
    following: cython.longlong
    payload: cython.longlong
    long_at: cython.longlong
    then: cython.longlong
    eid: cython.longlong
    index: cython.longlong
    t: cython.longlong
    k: cython.longlong
    ip: cython.longlong
    slot: cython.longlong
    o: cython.longlong
    i: cython.longlong
    field: cython.longlong
    width: cython.longlong
    when: cython.longlong

    entry: cython.longlong = state[ENTRY]
    usual: cython.longlong = geo[USUAL]
    value: cython.longlong
    task: cython.longlong
    marks: cython.longlong
    place: cython.longlong

    while True:
        why = 0
        if at < 0 and stop == 0:  # open the page
            if page + page_size > length:
                status = NEED_CHUNK
                break
            time = _page_time(words, page + geo[TIME_OFF], swap, big)
            long_at = page + geo[COMMIT_OFF]
            word = _u32(words, long_at + 4 if big and long_size == 8 else long_at, swap)
            size = word & 0x7FFFFFF
            end = page + data_off + size
            limit = -1
            if size > page_size - data_off:
                why = WHY_LENGTH
            elif size == 0:
                time = 0 if time < 0 else time  # nothing in it has a time
            elif time < 0:
                why = WHY_TIME
            else:
                following = _look(words, page + page_size, length, geo, state)
                if state[SUSPECT]:
                    state[SUSPECT] = 0
                    why = WHY_TIME
                elif time + slack < seen:
                    # The clock went back only if the next page says so too.
                    if following < time or following >= seen:
                        why = WHY_TIME
                elif following >= 0 and following + slack < time:
                    # One of the two is wrong.  The next, if it lies before what was seen already;
                    # this, if the one after that agrees with the next; else nobody knows.
                    if following >= seen:
                        why = WHY_TIME
                        i = _look(words, page + 2 * page_size, length, geo, state)
                        state[SUSPECT] = i < 0 or i >= time
                elif following >= 0:
                    limit = following + slack
            if why == 0:
                if word >> 31 & 1:
                    o = -1
                    if word >> 30 & 1 and size + long_size <= page_size - data_off:
                        o = _number(data, words, end, long_size, 1, swap, big)
                        if o <= 0:
                            o = -1
                    _lost(o, state[BASE] + page, state)
                at = page + data_off

        while why == 0:
            if at + 4 > end if stop == 0 else entry >= stop:
                at = -1
                break
            if row + 3 > row_end or n_changes > max_changes:
                status = ROWS_FULL
                break
            if stop:
                if cython.compiled and entry + 16 < stop:  # by then it is in the cache again
                    prefetch(cython.address(data[ats[entry + 16]]))
                size = sizes[entry]
                payload = ats[entry]
                if size < 0:
                    _missing(size, times[entry], _origin(origins, entry, payload, state), state)
                    entry += 1
                    continue
                t = times[entry]
                then = 0
                if payload < 0 or payload + size > length or size < head:
                    why = WHY_RECORD
                    break
            else:
                word = _u32(words, at, swap)
                if big:
                    size = word >> 27
                    delta = word & 0x7FFFFFF
                else:
                    size = word & 0x1F
                    delta = word >> 5
                if size == 0 or size >= 29:
                    if size == 29 and delta == 0:  # the rest of the page is empty
                        at = -1
                        break
                    if at + 8 > end:
                        why = WHY_RECORD
                        break
                    word = _u32(words, at + 4, swap)
                    if size == 0:
                        if word < 4:
                            why = WHY_RECORD
                            break
                        payload = at + 8
                        size = word - 4
                    elif size == 29:  # a discarded event
                        if word < 4:
                            why = WHY_RECORD
                            break
                        time += delta
                        at += 4 + (word + 3 & ~3)
                        continue
                    elif size == 30:
                        time += (word << 27) + delta
                        if time >= LATEST or (limit >= 0 and time > limit):
                            why = WHY_TIME
                            break
                        at += 8
                        continue
                    else:  # 59 bits of an absolute time; the upper five stay
                        time = (time >> 59 << 59) + ((word << 27) + delta)
                        if time >= LATEST or (limit >= 0 and time > limit):
                            why = WHY_TIME
                            break
                        at += 8
                        continue
                else:
                    payload = at + 4
                    size = size * 4
                t = time + delta
                then = payload + (size + 3 & ~3)
                if then > end or size < head:
                    why = WHY_RECORD
                    break
                if (limit >= 0 and t > limit) or t >= LATEST:
                    why = WHY_TIME
                    break
            if usual:
                value = _word(data, payload)
                eid = value & 0xFFFF
                task = value >> 32
                marks = value >> 16 & 0xFFFF
            else:
                eid = _number(data, words, payload + type_off, type_size, 0, swap, big)
                task = _number(data, words, payload + pid_off, 4, 1, swap, big)
                marks = data[payload + flags_off] | data[payload + count_off] << 8
            index = index_of[eid if eid < 0x10000 else 0x10000]
            if index < 0:
                state[ASKED] = eid
                state[WHERE] = payload
                state[LENGTH] = size
                status = ASK
                break
            o = index * TABLE
            if size < table[o + NEED]:
                why = WHY_SHORT
                break
            k = table[o + KIND]
            if table[o + IP_OFF] >= 0:
                ip = _number(
                    data, words, payload + table[o + IP_OFF], table[o + IP_SIZE], 0, swap, big
                )
                slot = (ip ^ ip >> 12 ^ index * 31) & ip_mask
                while ips[slot * 3 + 2] >= 0 and (
                    ips[slot * 3] != ip or ips[slot * 3 + 1] != index
                ):
                    slot = slot + 1 & ip_mask
                k = ips[slot * 3 + 2]
                if k < 0:
                    state[ASKED] = eid
                    state[WHERE] = payload
                    state[LENGTH] = size
                    status = ASK
                    break

            when = t
            if t < last:
                when = last
                if state[BACK] == 0:
                    state[BACK_AT] = (
                        _origin(origins, entry, payload, state) if stop else state[BASE] + page
                    )
                state[BACK] += 1
            if state[LOST] or state[BAD]:
                if n_reports >= max_reports:
                    status = REPORTS_FULL
                    break
                if state[LOST_COUNT] == 0:  # somebody said so, and not how many
                    state[LOST_COUNT] = -1
                i = n_reports * REPORT
                reports[i] = row
                reports[i + 1] = state[LOST]
                reports[i + 2] = state[LOST_COUNT]
                reports[i + 3] = state[LOST_AT]
                reports[i + 4] = state[BAD]
                reports[i + 5] = state[BAD_AT]
                reports[i + 6] = state[BAD_WHY]
                reports[i + 7] = last >= 0
                n_reports += 1
                for i in range(2):
                    ts[row] = last if i == 0 and last >= 0 else when
                    pid[row] = -1
                    kind[row] = LOSS if i == 0 else LOSS_END
                    flags[row] = 0
                    event[row] = -1
                    raw[row] = -1
                    for field in range(4):
                        op[row * 4 + field] = ABSENT
                    row += 1
                op[row * 4 - 8] = -1 if state[BAD] else state[LOST_COUNT]
                op[row * 4 - 7] = last
                state[LOST] = 0
                state[BAD] = 0

            ts[row] = when
            pid[row] = cython.cast(cython.int, task)
            kind[row] = cython.cast(cython.uchar, k)
            flags[row] = cython.cast(cython.ushort, marks)
            event[row] = cython.cast(cython.int, index)
            raw[row] = _origin(origins, entry, payload, state) if stop else serial << 32 | at
            place = o + OPERAND
            if usual and size >= table[o + FULL] and payload + table[o + REACH] <= length:
                # No branch in it: which event comes next is anybody's guess, so that the processor
                # would guess wrong at each.
                for i in range(4):
                    value = _word(data, payload + table[place]) & table[place + MASK]
                    op[row * 4 + i] = (value ^ table[place + FLIP]) - table[place + LESS]
                    place += OPERAND_SIZE
            else:
                for i in range(4):
                    field = table[place]
                    width = table[place + 1]
                    value = ABSENT
                    if width and field + width <= size:
                        value = _number(data, words, payload + field, width, 0, swap, big)
                        value = (value ^ table[place + FLIP]) - table[place + LESS]
                    op[row * 4 + i] = value
                    place += OPERAND_SIZE
            if table[o + COMM_PID] >= 0:
                for i in range(2):
                    field = table[o + (COMM_PID if i == 0 else COMM_PID2)]
                    width = table[o + (COMM_OFF if i == 0 else COMM_OFF2)]
                    if field < 0 or field + 4 > size or width + table[o + COMM_SIZE] > size:
                        continue
                    ip = _number(data, words, payload + field, 4, 1, swap, big)
                    if _comm_changed(data, words, ip, payload + width, table[o + COMM_SIZE], comms):
                        changes[n_changes * CHANGE] = ip
                        changes[n_changes * CHANGE + 1] = payload + width
                        changes[n_changes * CHANGE + 2] = row
                        n_changes += 1
            row += 1
            last = when
            seen = t
            time = t
            at = then
            entry += 1
            if state[THROTTLED]:
                state[LOST] = 1
                state[LOST_COUNT] = -1
                state[LOST_AT] = state[THROTTLED_AT]

        if stop:
            if why:
                _bad(why, _origin(origins, entry, payload, state), state)
                entry += 1
            elif status != NEED_CHUNK or entry >= stop:
                break
            continue
        if why:
            _bad(why, state[BASE] + (page if at < 0 else at), state)
            at = -1
        if at >= 0 or status != NEED_CHUNK:
            break
        page += page_size

    state[ENTRY] = entry
    state[PAGE] = page
    state[NEXT] = at
    state[END] = end
    state[TIME] = time
    state[LAST] = last
    state[SEEN] = seen
    state[LIMIT] = limit
    state[ROW] = row
    state[REPORTS] = n_reports
    state[CHANGES] = n_changes
    return status
