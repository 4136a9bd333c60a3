# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Chunks of a text, read by the loops over its lines themselves: no chunk waits for the GIL.

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
    from cython.cimports.libc.string import memchr
    from cython.cimports.posix.unistd import pread

if not cython.compiled:  # compiled, they are C constants of the .pxd beside this file
    from fputrace.lines.textlayout import AT, BASE, END, HALT


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def newline(
    d: cython.pointer[cython.const[cython.uchar]], at: cython.longlong, end: cython.longlong
) -> cython.longlong:
    """Where the line ends: the newline at or behind `at`; `end` holds one before it."""
    if cython.compiled:
        return cython.cast(
            cython.longlong,
            cython.cast(cython.p_uchar, memchr(cython.address(d[at]), 10, end - at))
            - cython.cast(cython.p_uchar, cython.address(d[0])),
        )
    while d[at] != 10:
        at += 1
    return at


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def next_chunk(
    fd: cython.int,
    d: cython.pointer[cython.uchar],
    room: cython.longlong,
    stop: cython.longlong,
    s: cython.pointer[cython.longlong],
) -> cython.bint:
    """Read the whole lines behind those in `d`, of the file up to `stop`; False: nothing was done.

    That is so where it takes more than one read (at the end, for a line longer than `room`, when
    the system refuses), and always in plain Python: what asks then is
    :class:`fputrace.parsers.textlook.Chunks`, which can do all of it.  And where another
    thread has set ``s[HALT]``.
    """
    base: cython.longlong = s[BASE] + s[END]
    length: cython.longlong = min(room, stop - base)
    if not cython.compiled or s[HALT] or length <= 0 or pread(fd, d, length, base) != length:
        return False
    while length > 0 and d[length - 1] != 10:
        length -= 1
    if length == 0:
        return False
    s[BASE] = base
    s[END] = length
    s[AT] = 0
    return True
