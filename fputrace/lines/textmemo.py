# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What lines of text said before: most begin, and end, as some line not long ago did.

Cython's pure-Python mode, as ``textwalk.py``.  The head of a line is what stands before its time,
the tail what stands behind it, from the colon on.  Both are kept by a hash of their bytes and
compared as a whole, so that what is recalled is what reading them again would give; between them
only the time is read.  Plain Python recalls nothing.
"""

# The annotations are C types, which mypy cannot read.
# mypy: ignore-errors
from __future__ import annotations

import sys

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

if cython.compiled:
    from cython.cimports.fputrace.lines.textchunk import newline
    from cython.cimports.fputrace.lines.words import load
    from cython.cimports.libc.string import memcmp, memcpy, memset

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.lines.textchunk import newline
    from fputrace.lines.textlayout import (
        AT,
        BASE,
        BRACKET,
        COLUMN,
        COMM,
        COMM_ROOM,
        COMM_SLOTS,
        END,
        GAP,
        HEAD,
        HEAD_BYTES,
        HEAD_SLOTS,
        LINE,
        NEXT_BITS,
        NEXTS,
        P_COMM,
        P_COMM_END,
        P_CPU,
        P_EVENT,
        P_FLAGS,
        P_FLAGS_END,
        P_KIND,
        P_PID,
        P_POINT,
        P_SLOT,
        P_TAIL,
        P_TS,
        P_VALUE,
        POINT,
        ROW,
        SECONDS,
        SECONDS_TEXT,
        TAIL,
        TAIL_BYTES,
        TAIL_SLOTS,
        TIME,
    )

# Eight bytes at once, where the first is the lowest; constants wider than 32 bits need a name.
WIDE = cython.declare(cython.bint, cython.compiled and sys.byteorder == "little")
SPREAD = cython.declare(cython.ulonglong, 0x9E3779B97F4A7C15)
HIGHS = cython.declare(cython.ulonglong, 0x8080808080808080)
ZEROS = cython.declare(cython.ulonglong, 0x3030303030303030)
ABOVE_NINE = cython.declare(cython.ulonglong, 0x4646464646464646)  # carries from above '9'
LEADING = cython.declare(cython.ulonglong, 0x3030)
EVERY_FOURTH = cython.declare(cython.ulonglong, 0x000000FF000000FF)
TO_HUNDREDS = cython.declare(cython.ulonglong, 0x000F424000000064)
TO_TENS = cython.declare(cython.ulonglong, 0x0000271000000001)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _turn(word: cython.ulonglong, bits: cython.longlong) -> cython.ulonglong:
    return word << bits | word >> 64 - bits


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _is(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    length: cython.longlong,
    memo: cython.pointer[cython.const[cython.longlong]],
    place: cython.longlong,
) -> cython.bint:
    """Whether these bytes are those kept at `place`."""
    if cython.compiled:
        return memcmp(cython.address(d[at]), cython.address(memo[place]), length) == 0
    return False


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _keep(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    length: cython.longlong,
    memo: cython.pointer[cython.longlong],
    place: cython.longlong,
) -> cython.void:
    if cython.compiled:
        memcpy(cython.address(memo[place]), cython.address(d[at]), length)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _number(word: cython.ulonglong) -> cython.longlong:
    """The value of eight digits, -1 when one of the bytes is none."""
    if (word + ABOVE_NINE | word - ZEROS) & HIGHS:
        return -1
    word -= ZEROS
    word = word * 10 + (word >> 8)
    word = (word & EVERY_FOURTH) * TO_HUNDREDS + (word >> 16 & EVERY_FOURTH) * TO_TENS
    return cython.cast(cython.longlong, word >> 32)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _head_slot(
    d: cython.pointer[cython.const[cython.uchar]], q: cython.longlong
) -> cython.longlong:
    """Where to look for a head, its CPU in brackets at `q`: by its pid, CPU and flags."""
    h: cython.ulonglong = load(d, q - 8) ^ _turn(load(d, q), 13)
    if d[q + 6] != 32:  # else no flags, but blanks before the time
        h ^= _turn(load(d, q + 3), 29)
    return (cython.cast(cython.longlong, h * SPREAD >> 50) & HEAD_SLOTS - 1) * HEAD


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def keep_head(
    d: cython.pointer[cython.const[cython.uchar]],
    line: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.longlong],
) -> cython.void:
    """Keep the head of a line that was read, with the blank behind it, and the line's seconds."""
    behind: cython.longlong
    slot: cython.longlong
    gap: cython.longlong
    comm: cython.longlong
    if not WIDE or not g[BRACKET] or s[COLUMN] < 8 or s[P_POINT] < 0:
        return
    behind = s[P_FLAGS_END]
    if s[P_FLAGS] == behind:  # none: it ends with the CPU
        behind = line + s[COLUMN]
        while d[behind] != 93:
            behind += 1
        behind += 1
    gap = s[P_POINT] - behind
    if behind + 1 - line > HEAD_BYTES or gap > 8:
        return
    comm = s[P_COMM]
    slot = _head_slot(d, line + s[COLUMN])
    memo[slot] = behind + 1 - line
    memo[slot + 1] = s[COLUMN]
    memo[slot + 2] = s[P_PID]
    memo[slot + 3] = s[P_CPU]
    memo[slot + 4] = comm - line
    memo[slot + 5] = s[P_COMM_END] - line
    memo[slot + 6] = s[P_VALUE]
    if cython.compiled:
        memset(cython.address(memo[slot + 7]), 0, 16)
    _keep(d, comm, s[P_COMM_END] - comm, memo, slot + 7)
    memo[slot + 9] = 0
    _keep(d, line, memo[slot], memo, slot + 10)
    s[POINT] = s[P_POINT] - line
    s[GAP] = gap
    s[SECONDS_TEXT] = cython.cast(cython.longlong, load(d, s[P_POINT] - 8) >> 64 - 8 * gap)
    s[SECONDS] = s[P_TS] // 1000000000 * 1000000000


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _eight(d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong) -> cython.ulonglong:
    """A hash of 64 bytes."""
    a: cython.ulonglong = _turn(load(d, at), 7) ^ load(d, at + 8)
    b: cython.ulonglong = _turn(load(d, at + 16), 7) ^ load(d, at + 24)
    c: cython.ulonglong = _turn(load(d, at + 32), 7) ^ load(d, at + 40)
    e: cython.ulonglong = _turn(load(d, at + 48), 7) ^ load(d, at + 56)
    return _turn(_turn(a, 14) ^ b, 28) ^ _turn(c, 14) ^ e


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _tail_slot(
    d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong, length: cython.longlong
) -> cython.longlong:
    """Where to look for a tail: by all its bytes; -1 for one that is not kept."""
    h: cython.ulonglong = 0
    i: cython.longlong = 0
    if length < 8 or length > TAIL_BYTES:
        return -1
    if length >= 64:
        h = _turn(_eight(d, at), 11) ^ _eight(d, at + length - 64)
        if length > 128:
            h = _turn(h, 11) ^ _eight(d, at + 64)
    else:
        while i + 8 <= length:
            h = _turn(h, 7) ^ load(d, at + i)
            i += 8
        h = _turn(h, 7) ^ load(d, at + length - 8)
    i = cython.cast(cython.longlong, h * SPREAD >> 50) & TAIL_SLOTS - 1
    return HEAD_SLOTS * HEAD + i * TAIL


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _pair(head: cython.longlong, last: cython.longlong) -> cython.longlong:
    """Where to look for what a head has after a tail."""
    both: cython.ulonglong = cython.cast(cython.ulonglong, head << 20 | last)
    return cython.cast(cython.longlong, both * SPREAD >> 64 - NEXT_BITS)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tail(
    d: cython.pointer[cython.const[cython.uchar]],
    end: cython.longlong,
    s: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.const[cython.longlong]],
    op: cython.pointer[cython.longlong],
    row: cython.longlong,
) -> cython.longlong:
    """The end of the line, if what stands from ``s[P_TAIL]`` on is known, or -1.

    Its event and kind are in ``s``, its operands in ``op[row:]``.  ``s[P_SLOT]`` is where it may be
    kept, -1 for nowhere.
    """
    at: cython.longlong = s[P_TAIL]
    slot: cython.longlong
    stop: cython.longlong
    s[P_SLOT] = -1
    if not WIDE:
        return -1
    stop = newline(d, at, end)
    slot = _tail_slot(d, at, stop - at)
    s[P_SLOT] = slot
    if slot < 0 or memo[slot] != stop - at or not _is(d, at, stop - at, memo, slot + 8):
        return -1
    s[P_EVENT] = memo[slot + 1]
    s[P_KIND] = memo[slot + 2]
    op[row] = memo[slot + 3]
    op[row + 1] = memo[slot + 4]
    op[row + 2] = memo[slot + 5]
    op[row + 3] = memo[slot + 6]
    return stop


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def keep_tail(
    d: cython.pointer[cython.const[cython.uchar]],
    end: cython.longlong,
    s: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.longlong],
    op: cython.pointer[cython.const[cython.longlong]],
    row: cython.longlong,
) -> cython.void:
    """Keep what stands from ``s[P_TAIL]`` to the `end` of the line, and what it said."""
    slot: cython.longlong = s[P_SLOT]
    if slot >= 0:
        memo[slot] = end - s[P_TAIL]
        memo[slot + 1] = s[P_EVENT]
        memo[slot + 2] = s[P_KIND]
        memo[slot + 3] = op[row]
        memo[slot + 4] = op[row + 1]
        memo[slot + 5] = op[row + 2]
        memo[slot + 6] = op[row + 3]
        _keep(d, s[P_TAIL], memo[slot], memo, slot + 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def recall(
    d: cython.pointer[cython.const[cython.uchar]],
    s: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.longlong],
    comms: cython.pointer[cython.const[cython.longlong]],
    texts: cython.pointer[cython.const[cython.uchar]],
    ts: cython.pointer[cython.longlong],
    cpu: cython.pointer[cython.int],
    pid: cython.pointer[cython.int],
    kind: cython.pointer[cython.uchar],
    flag: cython.pointer[cython.ushort],
    event: cython.pointer[cython.int],
    op: cython.pointer[cython.longlong],
    raw: cython.pointer[cython.longlong],
    rows: cython.longlong,
) -> cython.longlong:
    """Write the rows of lines of which all but the time is known.

    Goes on at ``s[AT]`` and row ``s[ROW]`` up to a line that is not so, or the end of either.  Of a
    line whose tail alone is new the result is where its event's text begins, with what stands
    before it in ``s`` and ``s[P_SLOT]`` as :func:`tail` sets it; else -1.
    """
    end: cython.longlong = s[END]
    base: cython.longlong = s[BASE]
    line: cython.longlong = s[AT]
    n: cython.longlong = s[ROW]
    first: cython.longlong = n
    time: cython.longlong = s[TIME]
    column: cython.longlong = s[COLUMN]
    head: cython.longlong
    length: cython.longlong
    c: cython.longlong
    p: cython.longlong
    stop: cython.longlong
    guess: cython.longlong
    slot: cython.longlong
    stamp: cython.longlong
    result: cython.longlong = -1
    if not WIDE or s[POINT] == 0 or column < 8:
        return -1
    while line < end and n < rows:
        if d[line + column] != 91:
            break
        head = _head_slot(d, line + column)
        length = memo[head]
        if length == 0 or memo[head + 1] != column or not _is(d, line, length, memo, head + 10):
            break
        # The task must be called what it was called last.
        c = memo[head + 2] & COMM_SLOTS - 1
        if (
            comms[c * COMM] != memo[head + 2]
            or comms[c * COMM + 1] != memo[head + 5] - memo[head + 4]
            or load(texts, c * COMM_ROOM) != cython.cast(cython.ulonglong, memo[head + 7])
            or load(texts, c * COMM_ROOM + 8) != cython.cast(cython.ulonglong, memo[head + 8])
        ):
            break
        p = line + s[POINT]
        if (
            s[POINT] - length + 1 != s[GAP]
            or d[p] != 46
            or load(d, p - 8) >> 64 - 8 * s[GAP] != cython.cast(cython.ulonglong, s[SECONDS_TEXT])
        ):
            break
        if d[p + 7] == 58:
            stamp = _number(load(d, p + 1) << 16 | LEADING) * 1000
            p += 8
        elif d[p + 10] == 58 and d[p + 9] >= 48 and d[p + 9] <= 57:
            stamp = _number(load(d, p + 1)) * 10
            if stamp >= 0:
                stamp += d[p + 9] - 48
            p += 11
        else:
            break
        if stamp < 0 or d[p] != 32 or s[SECONDS] + stamp < time:
            break
        stamp += s[SECONDS]
        # Mostly a task does again what it did after that the last time.  Tails hold no newline, so
        # one that ends before a newline ends with the line; of one that was forgotten there is
        # nothing, and a blank stands there.
        guess = NEXTS + _pair(head, memo[head + 9])
        slot = memo[guess]
        stop = p + memo[slot]
        if slot == 0 or d[stop] != 10 or not _is(d, p, stop - p, memo, slot + 8):
            stop = newline(d, p, end)
            slot = _tail_slot(d, p, stop - p)
            if slot < 0 or memo[slot] != stop - p or not _is(d, p, stop - p, memo, slot + 8):
                s[P_SLOT] = slot
                s[P_TAIL] = p
                s[P_TS] = stamp
                s[P_PID] = memo[head + 2]
                s[P_CPU] = memo[head + 3]
                s[P_COMM] = line + memo[head + 4]
                s[P_COMM_END] = line + memo[head + 5]
                s[P_VALUE] = memo[head + 6]
                while d[p] == 32:
                    p += 1
                # Else it takes more to find the text.
                if d[p] != 40 and d[p] > 13:
                    result = p
                break
            memo[guess] = slot
        memo[head + 9] = slot
        time = stamp
        ts[n] = stamp
        cpu[n] = cython.cast(cython.int, memo[head + 3])
        pid[n] = cython.cast(cython.int, memo[head + 2])
        kind[n] = cython.cast(cython.uchar, memo[slot + 2])
        flag[n] = cython.cast(cython.ushort, memo[head + 6])
        event[n] = cython.cast(cython.int, memo[slot + 1])
        op[n * 4] = memo[slot + 3]
        op[n * 4 + 1] = memo[slot + 4]
        op[n * 4 + 2] = memo[slot + 5]
        op[n * 4 + 3] = memo[slot + 6]
        raw[n] = base + line
        n += 1
        line = stop + 1
    s[AT] = line
    s[LINE] += n - first
    s[ROW] = n
    s[TIME] = time
    return result
