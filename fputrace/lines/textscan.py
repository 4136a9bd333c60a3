# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The first look through a text: where every CPU's events are, and which lines are no events.

Cython's pure-Python mode, as ``textwalk.py``.
"""

# The annotations are C types, which mypy cannot read.
# mypy: ignore-errors
from __future__ import annotations

import sys

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.lines import textlayout

if cython.compiled:
    from cython.cimports.fputrace.lines.textchunk import newline, next_chunk
    from cython.cimports.fputrace.lines.textprefix import prefix
    from cython.cimports.fputrace.lines.words import load
else:
    from fputrace.lines.textchunk import newline, next_chunk
    from fputrace.lines.textprefix import prefix

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.lines.textlayout import (
        ACTIVE,
        ASK,
        AT,
        BASE,
        BRACKET,
        COLUMN,
        CPU,
        CPU_SEEN,
        END,
        EVENTS,
        FIRST_AT,
        FIRST_TS,
        FRACTION,
        LAST_AT,
        LAST_TS,
        LOG_ROOM,
        LOGGED,
        NEED_CHUNK,
        P_CPU,
        P_POINT,
        P_TAIL,
        P_TS,
        POINT,
        QUICK,
        SEGMENT,
        USUAL_COLUMN,
    )


# Wider than the numbers of an enum.
PADDING = cython.declare(cython.longlong, textlayout.PADDING)
UNREAD = cython.declare(cython.longlong, textlayout.UNREAD)
WIDE = cython.declare(cython.bint, cython.compiled and sys.byteorder == "little")
BLANKS = cython.declare(cython.ulonglong, 0x2020202020202020)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _perf_record(d: cython.pointer[cython.const[cython.uchar]], p: cython.longlong) -> cython.bint:
    """Whether perf's own record is named here: ``PERF_RECORD_LOST``."""
    return d[p] == 80 and d[p + 1] == 69 and d[p + 2] == 82 and d[p + 3] == 70 and d[p + 4] == 95


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _behind_blanks(
    d: cython.pointer[cython.const[cython.uchar]], p: cython.longlong
) -> cython.longlong:
    """Where a name begins that may be padded: perf's own records are, once a text was set anew."""
    while WIDE and load(d, p) == BLANKS:
        p += 8
    while d[p] == 32 or d[p] == 9:
        p += 1
    return p


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def _note(
    s: cython.pointer[cython.longlong],
    cpus: cython.pointer[cython.longlong],
    active: cython.pointer[cython.longlong],
    cpu: cython.longlong,
    place: cython.longlong,
    ts: cython.longlong,
) -> cython.longlong:
    """Note an event of a CPU, the offset of its line and its time."""
    row: cython.longlong = cpu * CPU
    if cpus[row + FIRST_AT] == 0:
        cpus[row + FIRST_AT] = place + 1
        cpus[row + FIRST_TS] = ts
        active[s[ACTIVE]] = cpu
        s[ACTIVE] += 1
    cpus[row + LAST_AT] = place + 1
    cpus[row + LAST_TS] = ts
    s[EVENTS] += 1
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _log(
    s: cython.pointer[cython.longlong],
    cpus: cython.pointer[cython.longlong],
    active: cython.pointer[cython.longlong],
    log: cython.pointer[cython.longlong],
    place: cython.longlong,
) -> cython.longlong:
    """End a segment, before the line at `place` in the file."""
    i: cython.longlong
    row: cython.longlong
    n: cython.longlong = s[LOGGED]
    log[n] = place
    log[n + 1] = s[EVENTS]
    log[n + 2] = s[ACTIVE]
    n += SEGMENT
    for i in range(s[ACTIVE]):
        row = active[i] * CPU
        log[n] = active[i]
        log[n + 1] = cpus[row + FIRST_AT] - 1
        log[n + 2] = cpus[row + FIRST_TS]
        log[n + 3] = cpus[row + LAST_AT] - 1
        log[n + 4] = cpus[row + LAST_TS]
        cpus[row + FIRST_AT] = 0
        n += CPU_SEEN
    s[LOGGED] = n
    s[ACTIVE] = 0
    s[EVENTS] = 0
    return 0


def index(
    fd: cython.int,
    stop: cython.longlong,
    d: cython.uchar[::1],
    g: cython.longlong[::1],
    s: cython.longlong[::1],
    cpus: cython.longlong[::1],
    active: cython.longlong[::1],
    log: cython.longlong[::1],
) -> int:
    """Log every CPU's first and last event between lines that are none, or not for sure.

    Looks at a buffer from ``s[AT]`` on, and at what follows it in the file up to `stop`.  Ends with
    NEED_CHUNK, or with ASK at a line that is no event for sure, when the log is full.
    """
    status: cython.longlong
    room: cython.longlong = len(d) - PADDING
    if not cython.compiled:
        status = _index(d, g, s, cpus, active, log)
        _log(s, cpus, active, log, -1)
        return status
    with cython.nogil:
        while True:
            status = _index(
                cython.address(d[0]),
                cython.address(g[0]),
                cython.address(s[0]),
                cython.address(cpus[0]),
                cython.address(active[0]),
                cython.address(log[0]),
            )
            if status != NEED_CHUNK or not next_chunk(
                fd, cython.address(d[0]), room, stop, cython.address(s[0])
            ):
                break
        _log(
            cython.address(s[0]),
            cython.address(cpus[0]),
            cython.address(active[0]),
            cython.address(log[0]),
            -1,
        )
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _index(
    d: cython.pointer[cython.const[cython.uchar]],
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
    cpus: cython.pointer[cython.longlong],
    active: cython.pointer[cython.longlong],
    log: cython.pointer[cython.longlong],
) -> cython.longlong:
    end: cython.longlong = s[END]
    base: cython.longlong = s[BASE]
    line: cython.longlong = s[AT]
    p: cython.longlong
    c: cython.longlong
    q: cython.longlong
    stop: cython.longlong
    while line < end:
        q = line + s[COLUMN]
        p = line + s[POINT] + s[FRACTION]
        if (
            s[QUICK]
            and s[POINT]
            and d[q] == 91
            and d[q + 4] == 93
            and d[q - 1] == 32
            and d[line + s[POINT]] == 46
            and d[p - 2] == 58
            and d[p - 1] == 32
            and d[p] != 40
            and not _perf_record(d, _behind_blanks(d, p))
        ):
            # A line like the one before; where it counts it is read again in plain Python.
            c = (d[q + 1] - 48) * 100 + (d[q + 2] - 48) * 10 + (d[q + 3] - 48)
            stop = newline(d, line, end)
            if c >= 0 and c <= 999 and stop > p:
                _note(s, cpus, active, c, base + line, UNREAD)
                line = stop + 1
                continue
        p = prefix(d, line, g, s)
        if p >= 0 and not _perf_record(d, p):
            s[POINT] = 0
            if g[BRACKET] and s[COLUMN] <= USUAL_COLUMN and s[P_POINT] >= 0:
                s[POINT] = s[P_POINT] - line
                s[FRACTION] = s[P_TAIL] + 1 - s[P_POINT]
            _note(s, cpus, active, s[P_CPU], base + line, s[P_TS])
            line = newline(d, p, end) + 1
        elif s[LOGGED] > LOG_ROOM:
            s[AT] = line
            return ASK
        else:
            _log(s, cpus, active, log, base + line)
            line = newline(d, line, end) + 1
    s[AT] = line
    return NEED_CHUNK
