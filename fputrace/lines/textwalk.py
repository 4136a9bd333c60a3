# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The hot loop of the text reader: lines to rows, and where in a text each CPU's events are.

A Python file in Cython's pure-Python mode, as ``ringbuffer.py``: compiled when it can be, plain
Python otherwise, with the same results.  It does what is usual and only what is certain; every
other line is handed back by its place (ASK) and read by :mod:`fputrace.parsers.textlines` and
:mod:`fputrace.parsers.textevents`, whose answers for every line read here are the same.

The text lies in a buffer whose last byte before ``end`` is a newline and behind which PADDING
bytes may be read.  Every loop over bytes stops at a newline, so none runs out of the buffer; a
comparison of several bytes starts before ``end`` and is no longer than PADDING.
"""

# The annotations are C types, which mypy cannot read.
# mypy: ignore-errors
from __future__ import annotations

import sys

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace import events
from fputrace.lines import textlayout

if cython.compiled:
    from cython.cimports.fputrace.lines.textchunk import newline, next_chunk
    from cython.cimports.fputrace.lines.textmemo import keep_head, keep_tail, recall, tail
    from cython.cimports.fputrace.lines.textprefix import prefix
    from cython.cimports.fputrace.lines.words import load
    from cython.cimports.libc.string import memcmp
else:
    from fputrace.lines.textchunk import newline, next_chunk
    from fputrace.lines.textmemo import keep_head, keep_tail, recall, tail
    from fputrace.lines.textprefix import prefix

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.lines.textlayout import (
        ASK,
        AT,
        BACK,
        BACK_LINE,
        BASE,
        CHANGE,
        CHANGED,
        CHANGES,
        COMM,
        COMM_ROOM,
        COMM_SLOTS,
        END,
        FLAG,
        FLAG_SLOTS,
        LINE,
        MOST_CHANGES,
        MOST_PROBES,
        NAME,
        NAME_SLOTS,
        NEED_CHUNK,
        OP_DEC,
        OP_FREE,
        OP_HEX,
        OP_LITERAL,
        OP_NAMED,
        OP_NUMBER,
        OP_REST,
        OP_SET,
        OP_TOKEN,
        OP_WORD,
        OTHER,
        P_COMM,
        P_COMM_END,
        P_CPU,
        P_EVENT,
        P_FLAGS,
        P_FLAGS_END,
        P_KIND,
        P_PID,
        P_SLOT,
        P_TS,
        P_VALUE,
        ROW,
        ROWS_FULL,
        STEP,
        TABLE,
        TIME,
    )

PADDING = cython.declare(cython.longlong, textlayout.PADDING)
LONGEST_NAME = cython.declare(cython.longlong, 256)
MOST_TRIES = cython.declare(cython.longlong, 64)  # of ends of free texts; then it is asked
UNSURE = cython.declare(cython.longlong, -2)  # of a program: plain Python might read it so
# Eight bytes at once, where the first is the lowest; constants wider than 32 bits need a name.
ABSENT = cython.declare(cython.longlong, events.ABSENT)
WIDE = cython.declare(cython.bint, cython.compiled and sys.byteorder == "little")
ONES = cython.declare(cython.ulonglong, 0x0101010101010101)
HIGHS = cython.declare(cython.ulonglong, 0x8080808080808080)
ABOVE_NINE = cython.declare(cython.ulonglong, 0x4646464646464646)  # carries from above '9'
SPREAD = cython.declare(cython.ulonglong, 0x9E3779B97F4A7C15)
BLANKS = cython.declare(cython.ulonglong, 0x2020202020202020)
FROM_ZERO = cython.declare(cython.ulonglong, 0x5050505050505050)  # carries from '0'
LOWER = cython.declare(cython.ulonglong, 0x2020202020202020)
FROM_A = cython.declare(cython.ulonglong, 0x1F1F1F1F1F1F1F1F)  # carries from 'a'
ABOVE_F = cython.declare(cython.ulonglong, 0x1919191919191919)  # carries from above 'f'
NIBBLES = cython.declare(cython.ulonglong, 0x0F0F0F0F0F0F0F0F)
PAIRS = cython.declare(cython.ulonglong, 0x00FF00FF00FF00FF)
QUADS = cython.declare(cython.ulonglong, 0x0000FFFF0000FFFF)
EIGHT = cython.declare(cython.ulonglong, 0xFFFFFFFF)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _same(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    pool: cython.pointer[cython.const[cython.uchar]],
    place: cython.longlong,
    length: cython.longlong,
) -> cython.bint:
    """Whether the text at `at` is this piece of the pool (no longer than PADDING)."""
    i: cython.longlong = 0
    if WIDE:
        while length - i >= 8:
            if load(d, at + i) != load(pool, place + i):
                return False
            i += 8
        if i == length:
            return True
        return (load(d, at + i) ^ load(pool, place + i)) << 8 * (8 - (length - i)) == 0
    if cython.compiled:
        return memcmp(cython.address(d[at]), cython.address(pool[place]), length) == 0
    return bytes(d[at : at + length]) == bytes(pool[place : place + length])


# What textprefix.py has as well: C inlines only what stands in its own file, and these run for
# every byte.
@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _blank(d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong) -> cython.bint:
    """Whether this byte is what ``bytes.strip`` takes for white space."""
    return d[at] == 32 or (d[at] >= 9 and d[at] <= 13)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _odd(d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong) -> cython.bint:
    """Whether what ``str.strip`` takes for white space, but no blank, may begin with this byte."""
    return (d[at] >= 28 and d[at] <= 31) or d[at] >= 128


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _digit(d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong) -> cython.bint:
    return d[at] >= 48 and d[at] <= 57


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _skip_blanks(
    d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong
) -> cython.longlong:
    while d[at] == 32:
        at += 1
    return at


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _nibble(c: cython.longlong) -> cython.longlong:
    """The value of a hexadecimal digit, 16 for another byte."""
    if c >= 48 and c <= 57:
        return c - 48
    c |= 32
    if c >= 97 and c <= 102:
        return c - 87
    return 16


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _hex(d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong) -> cython.longlong:
    """The value of eight hexadecimal digits, -1 when one of the bytes is none; only where WIDE."""
    word: cython.ulonglong = load(d, at)
    lower: cython.ulonglong = word | LOWER
    decimal: cython.ulonglong = word + FROM_ZERO & ~(word + ABOVE_NINE)
    letter: cython.ulonglong = lower + FROM_A & ~(lower + ABOVE_F)
    if (word & HIGHS) or ((decimal | letter) & HIGHS) != HIGHS:
        return -1
    word = (word & NIBBLES) + 9 * (word >> 6 & ONES)
    word = (word << 4 | word >> 8) & PAIRS
    word = (word << 8 | word >> 16) & QUADS
    return cython.cast(cython.longlong, (word << 16 | word >> 32) & EIGHT)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _find(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    pool: cython.pointer[cython.const[cython.uchar]],
    place: cython.longlong,
    length: cython.longlong,
) -> cython.longlong:
    """Where this piece of the pool stands first in the rest of the line, or -1."""
    first: cython.uchar = pool[place]
    while d[at] != 10:
        if d[at] == first and _same(d, at, pool, place, length):
            return at
        at += 1
    return -1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _word(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    length: cython.longlong,
    table: cython.longlong,
    words: cython.pointer[cython.longlong],
    pool: cython.pointer[cython.const[cython.uchar]],
) -> cython.longlong:
    """Where the value of this word stands in its table, or -1."""
    w: cython.longlong = table * TABLE + 1
    last: cython.longlong = w + 3 * words[table * TABLE]
    while w < last:
        if words[w + 1] == length and _same(d, at, pool, words[w], length):
            return w + 2
        w += 3
    return -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _match(
    d: cython.pointer[cython.const[cython.uchar]],
    p: cython.longlong,
    end: cython.longlong,
    at: cython.longlong,
    programs: cython.pointer[cython.longlong],
    pool: cython.pointer[cython.const[cython.uchar]],
    words: cython.pointer[cython.longlong],
    op: cython.pointer[cython.longlong],
    row: cython.longlong,
) -> cython.longlong:
    """Run the program at step `at` on the text at `p`; the end of the line, -1, or UNSURE.

    -1: plain Python does not read it so either, and a later program may be meant.  What it stops at
    is never behind the newline: literals hold none.  A free text ends where what follows can be
    read up to the next one, or the last time that the line has what follows it, as in
    :mod:`fputrace.parsers.shapes`.
    """
    code: cython.longlong
    slot: cython.longlong
    value: cython.longlong
    digit: cython.longlong
    start: cython.longlong
    negative: cython.longlong
    low: cython.longlong
    i: cython.longlong = at * STEP
    free: cython.longlong = -1  # the free text that may be longer
    stop: cython.longlong = 0  # where it ends as far as was tried
    tries: cython.longlong = 0
    while True:
        code = programs[i]
        slot = programs[i + 1]
        if code == OP_LITERAL:
            p = p + programs[i + 2] if _same(d, p, pool, slot, programs[i + 2]) else -1
        elif code == OP_DEC or (code == OP_NUMBER and not (d[p] == 48 and d[p + 1] == 120)):
            if code == OP_DEC and programs[i + 3]:
                p = _skip_blanks(d, p)
            negative = code == OP_DEC and programs[i + 2]
            if d[p] == 45:
                if negative:
                    return UNSURE
                negative = 1
                p += 1
            start = p
            value = 0
            while _digit(d, p) and p - start < 18:
                value = value * 10 + (d[p] - 48)
                p += 1
            if _digit(d, p) or (p == start and _blank(d, p)):
                return UNSURE
            if p == start:
                p = -1
            elif slot >= 0:
                op[row + slot] = -value if negative else value
        elif code == OP_HEX or code == OP_NUMBER:
            if d[p] == 48 and d[p + 1] == 120:
                p += 2
            start = p
            value = 0
            digit = _nibble(d[p])
            if WIDE and _nibble(d[p + 15]) < 16:
                value = _hex(d, p)
                low = _hex(d, p + 8)
                if value >= 0 and low >= 0 and _nibble(d[p + 16]) == 16:
                    if slot >= 0:
                        op[row + slot] = value << 32 | low
                    p += 16
                    i += STEP
                    continue
                value = 0
            while digit < 16 and p - start < 16:
                value = value << 4 | digit
                p += 1
                digit = _nibble(d[p])
            if p == start or digit < 16:
                return UNSURE
            if not cython.compiled and value >> 63:
                value -= 1 << 64
            if slot >= 0:
                op[row + slot] = value
        elif code == OP_FREE:
            start = _find(d, p, pool, programs[i + STEP + 1], programs[i + STEP + 2])
            p = start
            free = -1 if programs[i + 2] else i
            while free < 0 and start >= 0:
                p = start
                start = _find(d, p + 1, pool, programs[i + STEP + 1], programs[i + STEP + 2])
            if p < 0:
                return -1
            stop = p
        elif code == OP_NAMED:
            start = p
            p = _find(d, p, pool, programs[i + STEP + 1], programs[i + STEP + 2])
            if p < 0:
                return -1
            free = i
            stop = p
            value = _word(d, start, p - start, programs[i + 2], words, pool)
            if value < 0:
                return UNSURE
            if slot >= 0:
                op[row + slot] = words[value]
        elif code == OP_TOKEN:
            start = p
            while (
                _nibble(d[p]) < 16
                or ((d[p] | 32) >= 97 and (d[p] | 32) <= 122)
                or (d[p] == 95 or d[p] == 124 or d[p] == 43)
            ):
                p += 1
            value = _word(d, start, p - start, programs[i + 2], words, pool)
            if value >= 0:
                if slot >= 0:
                    op[row + slot] = words[value]
            elif p == start or _digit(d, start) or d[start] == 95:
                p = -1  # words are letters
            else:
                return UNSURE
        elif code == OP_WORD:
            start = p
            while not _blank(d, p):
                if _odd(d, p):
                    return UNSURE
                p += 1
            if p == start:
                p = -1
        elif code == OP_SET:
            op[row + slot] = programs[i + 2]
        elif code == OP_REST:
            if d[p - 1] == 32:
                # Blanks at the end of a line are no text, so that the literal may end there.
                p = _skip_blanks(d, p)
                if _blank(d, p) or _odd(d, p):
                    return UNSURE
            return newline(d, p, end)
        else:
            p = _skip_blanks(d, p)
            if d[p] == 10:
                return p
            if _blank(d, p) or _odd(d, p):
                return UNSURE
            p = -1
        if p < 0:
            # Surely not what is meant here.
            if free < 0:
                return -1
            i = free
            p = _find(d, stop + 1, pool, programs[i + STEP + 1], programs[i + STEP + 2])
            if p < 0:
                return -1
            if tries == MOST_TRIES or programs[i] == OP_NAMED:
                return UNSURE
            tries += 1
            stop = p
        i += STEP


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _flags_slot(
    d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong, length: cython.longlong
) -> cython.longlong:
    """Where to look for a column of flags."""
    i: cython.longlong
    h: cython.longlong = length
    word: cython.ulonglong
    if WIDE and length < 8:
        word = load(d, at) << 8 * (8 - length)
        return cython.cast(cython.longlong, word * SPREAD >> 56) & FLAG_SLOTS - 1
    for i in range(length):
        h = h * 31 + d[at + i]
    return h & FLAG_SLOTS - 1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _flags(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    length: cython.longlong,
    flags: cython.pointer[cython.longlong],
    pool: cython.pointer[cython.const[cython.uchar]],
) -> cython.longlong:
    """The value of a column of flags, -1 for one that was not met before."""
    _: cython.longlong
    h: cython.longlong
    if length == 0:
        return 0
    h = _flags_slot(d, at, length)
    for _ in range(MOST_PROBES):
        if flags[h * FLAG + 1] == 0:
            return -1
        if flags[h * FLAG + 1] == length and _same(d, at, pool, flags[h * FLAG], length):
            return flags[h * FLAG + 2]
        h = h + 1 & FLAG_SLOTS - 1
    return -1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _token_end(
    d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong
) -> cython.longlong:
    """Where the word at `at` ends; some place in it when it is longer than any that is known."""
    stop: cython.longlong = at + LONGEST_NAME
    word: cython.ulonglong
    while WIDE and at < stop:
        word = load(d, at) ^ BLANKS
        if (word - ONES) & ~word & HIGHS:
            break
        at += 8
    while at < stop and not _blank(d, at):
        at += 1
    return at


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _named(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    length: cython.longlong,
    names: cython.pointer[cython.longlong],
    pool: cython.pointer[cython.const[cython.uchar]],
) -> cython.longlong:
    """Where an event's name stands in the table, or -1."""
    _: cython.longlong
    h: cython.longlong = _slot(d, at, length)
    for _ in range(MOST_PROBES):
        if names[h * NAME + 1] == 0:
            return -1
        if names[h * NAME + 1] == length and _same(d, at, pool, names[h * NAME], length):
            return h * NAME
        h = h + 1 & NAME_SLOTS - 1
    return -1


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _slot(
    d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong, length: cython.longlong
) -> cython.longlong:
    """Where to look for a name: by its length and some of its bytes."""
    h: cython.longlong = length * 97 + d[at]
    if length > 3:
        h += d[at + length - 2] * 31 + d[at + length - 3] * 7 + d[at + (length >> 1)] * 131
    return h & NAME_SLOTS - 1


def name_slot(d: cython.const[cython.uchar][::1], length: cython.longlong) -> int:
    """The first slot of the table of names for a name."""
    if cython.compiled:
        return _slot(cython.address(d[0]), 0, length)
    return _slot(d, 0, length)


def flag_slot(d: cython.const[cython.uchar][::1], length: cython.longlong) -> int:
    """The first slot of the table of flags; `d` has room for eight bytes more than the flags."""
    if cython.compiled:
        return _flags_slot(cython.address(d[0]), 0, length)
    return _flags_slot(d, 0, length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _event(
    d: cython.pointer[cython.const[cython.uchar]],
    p: cython.longlong,
    end: cython.longlong,
    s: cython.pointer[cython.longlong],
    pool: cython.pointer[cython.const[cython.uchar]],
    names: cython.pointer[cython.longlong],
    programs: cython.pointer[cython.longlong],
    words: cython.pointer[cython.longlong],
    op: cython.pointer[cython.longlong],
    row: cython.longlong,
) -> cython.longlong:
    """Read an event's name and arguments from `p` on; the end of the line, or -1."""
    i: cython.longlong
    q: cython.longlong = _token_end(d, p)
    name: cython.longlong = _named(d, p, q - p, names, pool)
    program: cython.longlong
    if name < 0:
        return -1
    s[P_EVENT] = names[name + 2]
    program = names[name + 3]
    q = _skip_blanks(d, q)
    for i in range(4):
        op[row + i] = ABSENT
    if program < 0:
        s[P_KIND] = OTHER
        s[P_SLOT] = -1  # its arguments do not matter, so they are not kept
        return newline(d, q, end)
    p = _match(d, q, end, program + 1, programs, pool, words, op, row)
    while p == -1 and programs[program * STEP + 1] >= 0:
        program = programs[program * STEP + 1]
        for i in range(4):
            op[row + i] = ABSENT
        p = _match(d, q, end, program + 1, programs, pool, words, op, row)
    s[P_KIND] = programs[program * STEP]
    return p


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _comm(
    d: cython.pointer[cython.const[cython.uchar]],
    s: cython.pointer[cython.longlong],
    comms: cython.pointer[cython.longlong],
    texts: cython.pointer[cython.uchar],
    changes: cython.pointer[cython.longlong],
) -> cython.longlong:
    """Note a task's name when it is another than it was."""
    i: cython.longlong
    pid: cython.longlong = s[P_PID]
    length: cython.longlong = s[P_COMM_END] - s[P_COMM]
    c: cython.longlong = pid & COMM_SLOTS - 1
    n: cython.longlong = s[CHANGES] * CHANGE
    if (
        comms[c * COMM] == pid
        and comms[c * COMM + 1] == length
        and _same(d, s[P_COMM], texts, c * COMM_ROOM, length)
    ):
        return 0
    comms[c * COMM] = pid
    comms[c * COMM + 1] = length
    for i in range(COMM_ROOM):
        texts[c * COMM_ROOM + i] = d[s[P_COMM] + i] if i < length else 0
    changes[n] = pid
    changes[n + 1] = s[P_COMM]
    changes[n + 2] = length
    s[CHANGES] += 1
    return 0


def walk(
    fd: cython.int,
    stop: cython.longlong,
    d: cython.uchar[::1],
    g: cython.longlong[::1],
    s: cython.longlong[::1],
    pool: cython.const[cython.uchar][::1],
    names: cython.longlong[::1],
    flags: cython.longlong[::1],
    programs: cython.longlong[::1],
    words: cython.longlong[::1],
    comms: cython.longlong[::1],
    texts: cython.uchar[::1],
    changes: cython.longlong[::1],
    memo: cython.longlong[::1],
    ts: cython.longlong[::1],
    cpu: cython.int[::1],
    pid: cython.int[::1],
    kind: cython.uchar[::1],
    flag: cython.ushort[::1],
    event: cython.int[::1],
    op: cython.longlong[::1],
    raw: cython.longlong[::1],
) -> int:
    """Write the events of a buffer as rows, and of what follows it in the file up to `stop`.

    Goes on at ``s[AT]`` and row ``s[ROW]``.  Ends with NEED_CHUNK, ROWS_FULL, CHANGED, or with ASK
    at a line that it leaves to be read otherwise.  The other arrays are described in
    :mod:`fputrace.lines.textlayout`; the last eight are the columns of the rows.
    """
    status: cython.longlong
    rows: cython.longlong = len(ts)
    room: cython.longlong = len(d) - PADDING
    if not cython.compiled:
        return _walk(
            d,
            g,
            s,
            pool,
            names,
            flags,
            programs,
            words,
            comms,
            texts,
            changes,
            memo,
            ts,
            cpu,
            pid,
            kind,
            flag,
            event,
            op,
            raw,
            rows,
        )
    with cython.nogil:
        while True:
            status = _walk(
                cython.address(d[0]),
                cython.address(g[0]),
                cython.address(s[0]),
                cython.address(pool[0]),
                cython.address(names[0]),
                cython.address(flags[0]),
                cython.address(programs[0]),
                cython.address(words[0]),
                cython.address(comms[0]),
                cython.address(texts[0]),
                cython.address(changes[0]),
                cython.address(memo[0]),
                cython.address(ts[0]),
                cython.address(cpu[0]),
                cython.address(pid[0]),
                cython.address(kind[0]),
                cython.address(flag[0]),
                cython.address(event[0]),
                cython.address(op[0]),
                cython.address(raw[0]),
                rows,
            )
            if status != NEED_CHUNK or not next_chunk(
                fd, cython.address(d[0]), room, stop, cython.address(s[0])
            ):
                break
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _walk(
    d: cython.pointer[cython.const[cython.uchar]],
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
    pool: cython.pointer[cython.const[cython.uchar]],
    names: cython.pointer[cython.longlong],
    flags: cython.pointer[cython.longlong],
    programs: cython.pointer[cython.longlong],
    words: cython.pointer[cython.longlong],
    comms: cython.pointer[cython.longlong],
    texts: cython.pointer[cython.uchar],
    changes: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.longlong],
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
    end: cython.longlong = s[END]
    base: cython.longlong = s[BASE]
    line: cython.longlong = s[AT]
    n: cython.longlong = s[ROW]
    p: cython.longlong
    q: cython.longlong
    status: cython.longlong = NEED_CHUNK
    while line < end:
        if n >= rows:
            status = ROWS_FULL
            break
        if s[CHANGES] >= MOST_CHANGES:
            break
        s[AT] = line
        s[ROW] = n
        p = recall(d, s, memo, comms, texts, ts, cpu, pid, kind, flag, event, op, raw, rows)
        line = s[AT]
        n = s[ROW]
        if line >= end or n >= rows:
            continue
        status = ASK
        q = -1
        if p < 0:
            p = prefix(d, line, g, s)
            if p < 0:
                break
            s[P_VALUE] = _flags(d, s[P_FLAGS], s[P_FLAGS_END] - s[P_FLAGS], flags, pool)
            if s[P_VALUE] < 0:
                break
            keep_head(d, line, g, s, memo)
            q = tail(d, end, s, memo, op, n * 4)
        if q < 0:
            q = _event(d, p, end, s, pool, names, programs, words, op, n * 4)
            if q < 0:
                break
            keep_tail(d, q, s, memo, op, n * 4)
        _comm(d, s, comms, texts, changes)
        if s[P_TS] < s[TIME]:
            if s[BACK] == 0:
                s[BACK_LINE] = s[LINE]
            s[BACK] += 1
        else:
            s[TIME] = s[P_TS]
        ts[n] = s[TIME]
        cpu[n] = cython.cast(cython.int, s[P_CPU])
        pid[n] = cython.cast(cython.int, s[P_PID])
        kind[n] = cython.cast(cython.uchar, s[P_KIND])
        flag[n] = cython.cast(cython.ushort, s[P_VALUE])
        event[n] = cython.cast(cython.int, s[P_EVENT])
        raw[n] = base + line
        n += 1
        s[LINE] += 1
        line = q + 1
        status = NEED_CHUNK
    if status == NEED_CHUNK and s[CHANGES]:
        status = CHANGED  # the comms stand in this buffer
    s[AT] = line
    s[ROW] = n
    return status
