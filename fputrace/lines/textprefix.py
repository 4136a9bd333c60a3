# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The beginning of a line of text: who, where and when, in front of an event's name.

Cython's pure-Python mode, as ``textwalk.py``, whose rules for bytes hold here too: a loop stops at
a newline, and what is not certain is left to :func:`fputrace.parsers.textlines.read_prefix`.
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
    from cython.cimports.fputrace.lines.words import load

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.lines.textlayout import (
        BRACKET,
        COLUMN,
        COMM_BYTES,
        DASH,
        LARGEST_CPU,
        LARGEST_SECONDS,
        LEAST_TICKS,
        P_COMM,
        P_COMM_END,
        P_CPU,
        P_FLAGS,
        P_FLAGS_END,
        P_PID,
        P_POINT,
        P_TAIL,
        P_TS,
        TICKS,
    )

# Eight bytes at once, where the first is the lowest; constants wider than 32 bits need a name.
WIDE = cython.declare(cython.bint, cython.compiled and sys.byteorder == "little")
BLANKS = cython.declare(cython.ulonglong, 0x2020202020202020)
NEWLINES = cython.declare(cython.ulonglong, 0x0A0A0A0A0A0A0A0A)
ONES = cython.declare(cython.ulonglong, 0x0101010101010101)
HIGHS = cython.declare(cython.ulonglong, 0x8080808080808080)
FARTHEST = cython.declare(cython.longlong, 256)  # column of a CPU, and less than PADDING


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
def _one_line(
    d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong, end: cython.longlong
) -> cython.bint:
    """Whether these bytes (fewer than 16) hold no newline, nor white space at their ends."""
    word: cython.ulonglong
    other: cython.ulonglong
    if at == end:
        return True
    if _blank(d, at) or _blank(d, end - 1):
        return False
    if WIDE:
        word = load(d, at) ^ NEWLINES
        other = load(d, at + 8) ^ NEWLINES
        if ((word - ONES) & ~word & HIGHS | (other - ONES) & ~other & HIGHS) == 0:
            return True
    while at < end:
        if d[at] == 10:
            return False
        at += 1
    return True


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _task(
    d: cython.pointer[cython.const[cython.uchar]],
    line: cython.longlong,
    p: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
) -> cython.bint:
    """Read comm and pid, backwards from the byte before the blanks that `p` ends."""
    pid: cython.longlong = 0
    scale: cython.longlong = 1
    first: cython.longlong
    stop: cython.longlong = p
    while p > line and d[p] == 32:
        p -= 1
    if p == stop or stop - p > 40:
        return False
    if g[DASH] and p > line and d[p] == 41:  # a thread group, `(  123)` or `(-------)`
        stop = p
        p -= 1
        if d[p] == 45:
            while p > line and d[p] == 45:
                p -= 1
        else:
            while p > line and _digit(d, p):
                p -= 1
            if p == stop - 1:
                return False
            while p > line and d[p] == 32:
                p -= 1
        if d[p] != 40 or stop - p > 9:
            return False
        p -= 1
        stop = p
        while p > line and d[p] == 32:
            p -= 1
        if p == stop or stop - p > 8:
            return False
    stop = p
    while p >= line and _digit(d, p):
        pid += (d[p] - 48) * scale
        scale *= 10
        p -= 1
        if stop - p > 10:
            return False
    if p == stop:
        return False
    if g[DASH]:
        if p < line or d[p] != 45 or stop - p > 7:
            return False
        p -= 1
    else:
        if p >= line and d[p] == 45:
            if pid != 1 or stop - p != 1:
                return False
            pid = -1
            p -= 1
        if p >= line and d[p] == 47:
            p -= 1
            stop = p
            while p >= line and _digit(d, p):
                p -= 1
            if p == stop or stop - p > 10:
                return False
            if p >= line and d[p] == 45:
                p -= 1
        if p >= line and not _blank(d, p):
            return False
    if pid > 0x7FFFFFFF:
        return False
    s[P_PID] = pid
    while p >= line and d[p] == 32:
        p -= 1
    first = line
    if WIDE:
        while first + 8 <= p and load(d, first) == BLANKS:
            first += 8
    while first <= p and d[first] == 32:
        first += 1
    # A longer one begins with the name of a buffer, or has room for what looks like all of this.
    if p - first >= COMM_BYTES or not _one_line(d, first, p + 1):
        return False
    s[P_COMM] = first
    s[P_COMM_END] = p + 1
    return True


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _time(
    d: cython.pointer[cython.const[cython.uchar]],
    p: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
) -> cython.longlong:
    """Read the time at `p`; where its colon is, or -1."""
    seconds: cython.longlong = 0
    fraction: cython.longlong = 0
    start: cython.longlong = p
    s[P_POINT] = -1
    if g[TICKS]:
        while _digit(d, p) and p - start < 18:
            seconds = seconds * 10 + (d[p] - 48)
            p += 1
        if p == start or d[p] != 58:
            return -1
        s[P_TS] = seconds
        return p
    while _digit(d, p) and p - start < 10:
        seconds = seconds * 10 + (d[p] - 48)
        p += 1
    if p == start or d[p] != 46 or seconds > LARGEST_SECONDS:
        return -1
    s[P_POINT] = p
    p += 1
    start = p
    while _digit(d, p) and p - start < 10:
        fraction = fraction * 10 + (d[p] - 48)
        p += 1
    if d[p] != 58:
        return -1
    if p - start == 6:
        fraction *= 1000
    elif p - start != 9:
        return -1
    s[P_TS] = seconds * 1000000000 + fraction
    return p


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _text_after(
    d: cython.pointer[cython.const[cython.uchar]],
    p: cython.longlong,
    s: cython.pointer[cython.longlong],
) -> cython.longlong:
    """Where the event's text begins behind the colon at `p`, or -1."""
    q: cython.longlong
    p += 1
    s[P_TAIL] = p
    if d[p] != 32:
        return -1
    p = _skip_blanks(d, p)
    if d[p] == 40:  # (+123), of trace-cmd report --ts-diff
        if d[p + 1] != 43:
            return -1
        q = p + 2
        while _digit(d, q) and q - p < 20:
            q += 1
        if q == p + 2 or d[q] != 41 or d[q + 1] != 32:
            return -1
        p = _skip_blanks(d, q + 1)
    if d[p] == 10 or d[p] == 13 or d[p] == 9 or d[p] == 40:
        return -1
    return p


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def timed(
    d: cython.pointer[cython.const[cython.uchar]],
    behind: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
) -> cython.longlong:
    """Read the time behind the CPU and flags; where the event's text begins, or -1."""
    p: cython.longlong = _skip_blanks(d, behind)
    if p - behind > 40:
        return -1
    p = _time(d, p, g, s)
    if p < 0 or (g[TICKS] and p + 1 - behind < LEAST_TICKS):
        return -1
    return _text_after(d, p, s)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _bracketed(
    d: cython.pointer[cython.const[cython.uchar]],
    line: cython.longlong,
    q: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
) -> cython.longlong:
    """What stands before an event's name, its CPU in brackets at `q`; -1 when that is none."""
    cpu: cython.longlong = 0
    p: cython.longlong = q + 1
    behind: cython.longlong
    while _digit(d, p) and p - q < 7:
        cpu = cpu * 10 + (d[p] - 48)
        p += 1
    if d[p] != 93 or p - q < 4 or p - q > 6 or cpu > LARGEST_CPU:
        return -1
    p += 1
    behind = p
    if d[p] != 32:
        return -1
    p = _skip_blanks(d, p)
    s[P_FLAGS] = p
    s[P_FLAGS_END] = p
    if not _digit(d, p):
        if p - behind > 40:
            return -1
        while not _blank(d, p) and p - s[P_FLAGS] < 10:
            p += 1
        if p - s[P_FLAGS] < 3 or p - s[P_FLAGS] > 9 or d[p] != 32:
            return -1
        s[P_FLAGS_END] = p
        behind = p
    p = timed(d, behind, g, s)
    if p < 0 or not _task(d, line, q - 1, g, s):
        return -1
    s[P_CPU] = cpu
    return p


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _unbracketed(
    d: cython.pointer[cython.const[cython.uchar]],
    line: cython.longlong,
    colon: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
) -> cython.longlong:
    """The same where the CPU stands bare, or before the flags; by the colon behind the time."""
    cpu: cython.longlong = 0
    end: cython.longlong
    start: cython.longlong
    p: cython.longlong = colon - 1
    while p > line and (_digit(d, p) or d[p] == 46):
        p -= 1
    if p < line or d[p] != 32 or colon - p > 24 or _time(d, p + 1, g, s) != colon:
        return -1
    end = p
    while p > line and d[p] == 32:
        p -= 1
    if end - p > 40 or (g[TICKS] and colon + 1 - (p + 1) < LEAST_TICKS):
        return -1
    end = p + 1
    while p > line and not _blank(d, p) and end - p < 16:
        p -= 1
    start = p + 1
    if d[p] != 32:
        return -1
    while _digit(d, start) and start - p < 7:
        cpu = cpu * 10 + (d[start] - 48)
        start += 1
    if start == p + 1 or start - p > 6 or cpu > LARGEST_CPU:
        return -1
    s[P_FLAGS] = start
    s[P_FLAGS_END] = end
    if g[DASH]:
        if end - start < 3 or end - start > 9:
            return -1
    elif start != end:
        return -1
    end = _text_after(d, colon, s)
    if end < 0 or not _task(d, line, p, g, s):
        return -1
    s[P_CPU] = cpu
    return end


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def prefix(
    d: cython.pointer[cython.const[cython.uchar]],
    line: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
) -> cython.longlong:
    """Where the text of an event begins in the line at `line`, with all before it in `s`.

    -1 for a line to be asked about.  No comm has room for what is matched here, so that the only
    place where it can match is the right one.
    """
    p: cython.longlong = line + s[COLUMN]
    q: cython.longlong
    mark: cython.longlong = 91 if g[BRACKET] else 58
    if g[BRACKET] and d[p] == 91:
        # Where the line before had its CPU.
        q = _bracketed(d, line, p, g, s)
        if q >= 0:
            return q
    p = line
    while p - line < FARTHEST:
        while d[p] != mark and d[p] != 10:
            p += 1
        # Farther behind blanks, the next line's may be sought there, behind the buffer.
        if d[p] == 10 or p - line >= FARTHEST:
            return -1
        q = _bracketed(d, line, p, g, s) if g[BRACKET] else _unbracketed(d, line, p, g, s)
        if q >= 0:
            s[COLUMN] = p - line
            return q
        p += 1
    return -1
