# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The first look through a text: where every CPU's events are, and which lines are no events.

Cython's pure-Python mode, as ``textwalk.py``.
"""

# The annotations are C types, which mypy cannot read.
# mypy: ignore-errors
from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.lines import textlayout

if cython.compiled:
    from cython.cimports.fputrace.lines.textchunk import newline, next_chunk
    from cython.cimports.fputrace.lines.textprefix import prefix
else:
    from fputrace.lines.textchunk import newline, next_chunk
    from fputrace.lines.textprefix import prefix

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.lines.textlayout import (
        ASK,
        AT,
        BASE,
        BRACKET,
        COLUMN,
        CPU,
        END,
        EVENTS,
        FIRST_AT,
        FIRST_TS,
        LAST_AT,
        LAST_TS,
        LINE,
        NEED_CHUNK,
        P_CPU,
        P_TS,
        POINT,
        QUICK,
        USUAL_COLUMN,
        WAITED_FOR,
        WAITING,
    )


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
    while d[p] == 32 or d[p] == 9:
        p += 1
    return p


# Wider than the numbers of an enum.
PADDING = cython.declare(cython.longlong, textlayout.PADDING)
UNREAD = cython.declare(cython.longlong, textlayout.UNREAD)


def index(
    fd: cython.int,
    stop: cython.longlong,
    d: cython.uchar[::1],
    g: cython.longlong[::1],
    s: cython.longlong[::1],
    cpus: cython.longlong[::1],
) -> int:
    """Note every CPU's last and first event in a buffer, and behind it in the file up to `stop`.

    Goes on at ``s[AT]``.  Ends with NEED_CHUNK, with ASK at a line that is none it knows, or with
    WAITED_FOR behind an event of a CPU that somebody waits for.
    """
    status: cython.longlong
    room: cython.longlong = len(d) - PADDING
    if not cython.compiled:
        return _index(d, g, s, cpus)
    with cython.nogil:
        while True:
            status = _index(
                cython.address(d[0]),
                cython.address(g[0]),
                cython.address(s[0]),
                cython.address(cpus[0]),
            )
            if status != NEED_CHUNK or not next_chunk(
                fd, cython.address(d[0]), room, stop, cython.address(s[0])
            ):
                break
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _index(
    d: cython.pointer[cython.const[cython.uchar]],
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
    cpus: cython.pointer[cython.longlong],
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
        p = line + s[POINT]
        if (
            s[QUICK]
            and s[POINT]
            and d[q] == 91
            and d[q + 4] == 93
            and d[q - 1] == 32
            and d[p] == 46
            and d[p + 7] == 58
            and d[p + 8] == 32
            and d[p + 9] != 40
            and not _perf_record(d, _behind_blanks(d, p + 9))
        ):
            # A line like the one before; where it counts it is read again in plain Python.
            c = (d[q + 1] - 48) * 100 + (d[q + 2] - 48) * 10 + (d[q + 3] - 48)
            stop = newline(d, line, end)
            if c >= 0 and c <= 999 and stop > p + 9:
                s[P_CPU] = c
                c *= CPU
                if cpus[c + FIRST_AT] < 0:
                    cpus[c + FIRST_AT] = base + line
                    cpus[c + FIRST_TS] = UNREAD
                cpus[c + LAST_AT] = base + line
                cpus[c + LAST_TS] = UNREAD
                s[EVENTS] += 1
                s[LINE] += 1
                line = stop + 1
                if cpus[c + WAITING]:
                    s[AT] = line
                    return WAITED_FOR
                continue
        p = prefix(d, line, g, s)
        if p < 0 or _perf_record(d, p):
            s[AT] = line
            return ASK
        s[POINT] = 0
        if g[BRACKET] and s[COLUMN] <= USUAL_COLUMN:
            q = p - 2
            while q > line and (d[q] == 32 or d[q] == 58):
                q -= 1
            if d[q - 6] == 46 and d[q + 1] == 58 and d[q + 2] == 32:
                s[POINT] = q - 6 - line
        c = s[P_CPU] * CPU
        if cpus[c + FIRST_AT] < 0:
            cpus[c + FIRST_AT] = base + line
            cpus[c + FIRST_TS] = s[P_TS]
        cpus[c + LAST_AT] = base + line
        cpus[c + LAST_TS] = s[P_TS]
        s[EVENTS] += 1
        s[LINE] += 1
        line = newline(d, p, end) + 1
        if cpus[c + WAITING]:
            s[AT] = line
            return WAITED_FOR
    s[AT] = line
    return NEED_CHUNK
