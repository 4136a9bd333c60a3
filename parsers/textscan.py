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

if cython.compiled:
    from cython.cimports.fputrace.parsers.textprefix import newline, prefix
else:
    from fputrace.parsers.textprefix import newline, prefix

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.parsers.textlayout import (
        ASK,
        AT,
        CPU,
        EVENTS,
        FIRST_AT,
        FIRST_TS,
        LAST_AT,
        LAST_TS,
        LINE,
        NEED_CHUNK,
        P_CPU,
        P_TS,
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


def index(
    d: cython.const[cython.uchar][::1],
    end: cython.longlong,
    base: cython.longlong,
    g: cython.longlong[::1],
    s: cython.longlong[::1],
    cpus: cython.longlong[::1],
) -> int:
    """Note every CPU's last and first event in a buffer that stands at `base` in the file.

    Goes on at ``s[AT]``.  Ends with NEED_CHUNK, with ASK at a line that is none it knows, or with
    WAITED_FOR behind an event of a CPU that somebody waits for.
    """
    status: cython.longlong
    if not cython.compiled:
        return _index(d, end, base, g, s, cpus)
    with cython.nogil:
        status = _index(
            cython.address(d[0]),
            end,
            base,
            cython.address(g[0]),
            cython.address(s[0]),
            cython.address(cpus[0]),
        )
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _index(
    d: cython.pointer[cython.const[cython.uchar]],
    end: cython.longlong,
    base: cython.longlong,
    g: cython.pointer[cython.longlong],
    s: cython.pointer[cython.longlong],
    cpus: cython.pointer[cython.longlong],
) -> cython.longlong:
    line: cython.longlong = s[AT]
    p: cython.longlong
    c: cython.longlong
    while line < end:
        p = prefix(d, line, g, s)
        if p < 0 or _perf_record(d, p):
            s[AT] = line
            return ASK
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
