# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What lines of text said before: most begin, and end, as some line not long ago did.

Cython's pure-Python mode, as ``textwalk.py``.  The head of a line is what stands before its time,
the tail what stands behind it, from the event's name on.  Both are kept by a hash of their bytes
and compared as a whole, so that what is recalled is what reading them again would give.  Plain
Python recalls nothing.
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
    from cython.cimports.fputrace.lines.textprefix import timed
    from cython.cimports.libc.string import memcpy

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.lines.textchunk import newline
    from fputrace.lines.textlayout import (
        BRACKET,
        COLUMN,
        HEAD,
        HEAD_BYTES,
        HEAD_SLOTS,
        P_COMM,
        P_COMM_END,
        P_CPU,
        P_EVENT,
        P_FLAGS,
        P_FLAGS_END,
        P_KIND,
        P_PID,
        P_SLOT,
        P_VALUE,
        TAIL,
        TAIL_BYTES,
        TAIL_SLOTS,
    )
    from fputrace.lines.textprefix import timed

# Eight bytes at once, where the first is the lowest.
WIDE = cython.declare(cython.bint, cython.compiled and sys.byteorder == "little")
SPREAD = cython.declare(cython.ulonglong, 0x9E3779B97F4A7C15)


# The few lines that textprefix.py has as well: C inlines only what stands in its own file, and
# these run for every byte or word.
@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _load(d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong) -> cython.ulonglong:
    """The eight bytes at `at`; only where WIDE."""
    word: cython.ulonglong = 0
    if cython.compiled:
        memcpy(cython.address(word), cython.address(d[at]), 8)
    return word


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
    """Whether these bytes, eight at least, are those kept at `place`; the last word overlaps."""
    i: cython.longlong = 0
    while i + 8 <= length:
        if _load(d, at + i) != cython.cast(cython.ulonglong, memo[place]):
            return False
        i += 8
        place += 1
    return _load(d, at + length - 8) == cython.cast(cython.ulonglong, memo[place])


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
    i: cython.longlong = 0
    while i + 8 <= length:
        memo[place] = cython.cast(cython.longlong, _load(d, at + i))
        i += 8
        place += 1
    memo[place] = cython.cast(cython.longlong, _load(d, at + length - 8))


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _head_slot(
    d: cython.pointer[cython.const[cython.uchar]], q: cython.longlong
) -> cython.longlong:
    """Where to look for a head, its CPU in brackets at `q`: by its pid, CPU and flags."""
    h: cython.ulonglong = _load(d, q - 8) ^ _turn(_load(d, q), 13) ^ _turn(_load(d, q + 3), 29)
    return (cython.cast(cython.longlong, h * SPREAD >> 50) & HEAD_SLOTS - 1) * HEAD


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def head(
    d: cython.pointer[cython.const[cython.uchar]],
    line: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.const[cython.longlong]],
) -> cython.longlong:
    """Where the text of an event begins, as ``prefix`` tells it, if the head of the line is known.

    Its flags' value is in ``s[P_VALUE]``.  -1 when it is not known, or not followed by a time.
    """
    q: cython.longlong = line + s[COLUMN]
    slot: cython.longlong
    if not WIDE or s[COLUMN] < 8 or d[q] != 91:
        return -1
    slot = _head_slot(d, q)
    if (
        memo[slot] == 0
        or memo[slot + 1] != s[COLUMN]
        or not _is(d, line, memo[slot], memo, slot + 8)
    ):
        return -1
    s[P_PID] = memo[slot + 2]
    s[P_CPU] = memo[slot + 3]
    s[P_COMM] = line + memo[slot + 4]
    s[P_COMM_END] = line + memo[slot + 5]
    s[P_FLAGS] = line + memo[slot + 6]
    s[P_FLAGS_END] = line + memo[slot] - 1
    s[P_VALUE] = memo[slot + 7]
    return timed(d, s[P_FLAGS_END], g, s)


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
    """Keep the head of a line that was read, with the blank behind its flags."""
    length: cython.longlong = s[P_FLAGS_END] + 1 - line
    slot: cython.longlong
    if (
        WIDE
        and g[BRACKET]
        and s[COLUMN] >= 8
        and s[P_FLAGS] < s[P_FLAGS_END]
        and length <= HEAD_BYTES - 8
    ):
        slot = _head_slot(d, line + s[COLUMN])
        memo[slot] = length
        memo[slot + 1] = s[COLUMN]
        memo[slot + 2] = s[P_PID]
        memo[slot + 3] = s[P_CPU]
        memo[slot + 4] = s[P_COMM] - line
        memo[slot + 5] = s[P_COMM_END] - line
        memo[slot + 6] = s[P_FLAGS] - line
        memo[slot + 7] = s[P_VALUE]
        _keep(d, line, length, memo, slot + 8)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tail(
    d: cython.pointer[cython.const[cython.uchar]],
    at: cython.longlong,
    end: cython.longlong,
    s: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.const[cython.longlong]],
    op: cython.pointer[cython.longlong],
    row: cython.longlong,
) -> cython.longlong:
    """The end of the line, if what stands from `at` on is known, or -1.

    Its event and kind are in ``s``, its operands in ``op[row:]``.  ``s[P_SLOT]`` is where it may be
    kept, -1 for nowhere.
    """
    i: cython.longlong = 0
    slot: cython.longlong
    stop: cython.longlong
    length: cython.longlong
    h: cython.ulonglong = 0
    s[P_SLOT] = -1
    if not WIDE:
        return -1
    stop = newline(d, at, end)
    length = stop - at
    if length < 8 or length > TAIL_BYTES - 8:
        return -1
    while i + 8 <= length:
        h = _turn(h, 7) ^ _load(d, at + i)
        i += 8
    h = _turn(h, 7) ^ _load(d, stop - 8)
    slot = cython.cast(cython.longlong, h * SPREAD >> 50) & TAIL_SLOTS - 1
    slot = HEAD_SLOTS * HEAD + slot * TAIL
    s[P_SLOT] = slot
    if memo[slot] != length or not _is(d, at, length, memo, slot + 8):
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
    at: cython.longlong,
    end: cython.longlong,
    s: cython.pointer[cython.longlong],
    memo: cython.pointer[cython.longlong],
    op: cython.pointer[cython.const[cython.longlong]],
    row: cython.longlong,
) -> cython.void:
    """Keep what stands from `at` to the `end` of the line, and what it said."""
    slot: cython.longlong = s[P_SLOT]
    if slot >= 0:
        memo[slot] = end - at
        memo[slot + 1] = s[P_EVENT]
        memo[slot + 2] = s[P_KIND]
        memo[slot + 3] = op[row]
        memo[slot + 4] = op[row + 1]
        memo[slot + 5] = op[row + 2]
        memo[slot + 6] = op[row + 3]
        _keep(d, at, end - at, memo, slot + 8)
