# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What the loops behind the ownership loop have in common: each reads events beside its facts.

They keep rows for CPUs and tasks as that loop numbers them, and fill ``out`` with what shows
something notable (:mod:`fputrace.replay.judge` and those beside it).
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.replay import layout

# Compiled, this is a C constant of the .pxd beside this file (fputrace/replay/pxd.py).
if not cython.compiled:
    REF = layout.REF


@cython.cclass
class Reader:
    """Tables, the rows for the rules, and the way into a loop; ``_run`` is the loop itself.

    cpus, tasks: int64[cap, the loop's widths]; out: int64[rows, Out.WIDTH], of which ``nout`` are
    filled; row: int64[REF] to work in; wanted: the Fact bits some rule asks for.
    """

    cpus: cython.longlong[:, ::1]
    tasks: cython.longlong[:, ::1]
    out: cython.longlong[:, ::1]
    row: cython.longlong[::1]
    nout: cython.Py_ssize_t
    wanted: cython.longlong

    def grow(self, cpus: cython.longlong[:, ::1], tasks: cython.longlong[:, ::1]) -> None:
        """Go on with longer tables (the old rows copied by the caller)."""
        self.cpus = cpus
        self.tasks = tasks

    def take(self) -> int:
        """How many rows ``out`` holds; it counts as empty afterwards."""
        count = self.nout
        self.nout = 0
        return count

    def run(
        self,
        start: cython.Py_ssize_t,
        first: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        ts_: cython.longlong[::1],
        cpu_: cython.int[::1],
        pid_: cython.int[::1],
        kind_: cython.uchar[::1],
        event_: cython.int[::1],
        op_: cython.longlong[:, ::1],
        facts: cython.longlong[:, ::1],
    ) -> int:
        """Go over rows ``first`` to ``stop``; facts row 0 is row ``start``.

        Returns the first row not done: fewer than asked when ``out`` could overflow (then
        ``take``), or whatever else a loop fills.
        """
        done: cython.longlong
        with cython.nogil:
            done = self._run(start, first, stop, ts_, cpu_, pid_, kind_, event_, op_, facts)
        return done

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-99, check=True)
    def _run(
        self,
        start: cython.Py_ssize_t,
        first: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        ts_: cython.longlong[::1],
        cpu_: cython.int[::1],
        pid_: cython.int[::1],
        kind_: cython.uchar[::1],
        event_: cython.int[::1],
        op_: cython.longlong[:, ::1],
        facts: cython.longlong[:, ::1],
    ) -> cython.longlong:
        """Of the loop that is one of these; alone it has nothing to look for."""
        return stop

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def keep(
        self, table: cython.longlong[:, ::1], at: cython.Py_ssize_t, column: cython.Py_ssize_t
    ) -> cython.void:
        """Row ``at`` of a table keeps ``row``."""
        j: cython.Py_ssize_t
        for j in range(REF):
            table[at, column + j] = self.row[j]
