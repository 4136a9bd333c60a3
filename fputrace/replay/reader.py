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
    filled; row: int64[REF] to work in; wanted: the Fact bits some rule asks for; ts to facts: a
    block's columns, held from ``read`` to ``read``: to take them anew for every part of a block
    costs some of them as much as their loop.
    """

    cpus: cython.longlong[:, ::1]
    tasks: cython.longlong[:, ::1]
    out: cython.longlong[:, ::1]
    row: cython.longlong[::1]
    nout: cython.Py_ssize_t
    wanted: cython.longlong
    ts: cython.longlong[::1]
    cpu: cython.int[::1]
    pid: cython.int[::1]
    kind: cython.uchar[::1]
    event: cython.int[::1]
    op: cython.longlong[:, ::1]
    facts: cython.longlong[:, ::1]

    def grow(self, cpus: cython.longlong[:, ::1], tasks: cython.longlong[:, ::1]) -> None:
        """Go on with longer tables (the old rows copied by the caller)."""
        self.cpus = cpus
        self.tasks = tasks

    def take(self) -> int:
        """How many rows ``out`` holds; it counts as empty afterwards."""
        count = self.nout
        self.nout = 0
        return count

    def read(
        self,
        ts: cython.longlong[::1],
        cpu: cython.int[::1],
        pid: cython.int[::1],
        kind: cython.uchar[::1],
        event: cython.int[::1],
        op: cython.longlong[:, ::1],
        facts: cython.longlong[:, ::1],
    ) -> None:
        """The columns of the block whose rows come next; ``facts``: what was known before each."""
        self.ts = ts
        self.cpu = cpu
        self.pid = pid
        self.kind = kind
        self.event = event
        self.op = op
        self.facts = facts

    def run(self, first: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Go over rows ``first`` to ``stop`` of the block, whose facts are there by now.

        Returns the first row not done: fewer than asked when ``out`` could overflow (then
        ``take``), or whatever else a loop fills.
        """
        done: cython.longlong
        with cython.nogil:
            done = self._run(first, stop)
        return done

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-99, check=True)
    def _run(self, first: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.longlong:
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
