# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Facts into spans: each CPU's open span, which ends where the state before a row is another.

What is put in and taken out are tables of :mod:`fputrace.replay.spans`.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import Before, Image, OpenSpan

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    INFERRED = layout.INFERRED
    KNOWN = layout.KNOWN
    B_CUR = int(Before.CUR)
    B_IMAGE = int(Before.IMAGE)
    B_OWN_PID = int(Before.OWN_PID)
    B_WIDTH = int(Before.WIDTH)
    I_UNKNOWN = int(Image.UNKNOWN)
    I_USER = int(Image.USER)
    I_USER_INFERRED = int(Image.USER_INFERRED)
    K_REGS_DEACTIVATED = int(Kind.REGS_DEACTIVATED)
    S_BY = int(OpenSpan.BY)
    S_BYTES = int(OpenSpan.BYTES)
    S_CERTAINTY = int(OpenSpan.CERTAINTY)
    S_CPU = int(OpenSpan.CPU)
    S_END = int(OpenSpan.END)
    S_IMAGE = int(OpenSpan.IMAGE)
    S_LIVE = int(OpenSpan.LIVE)
    S_OWNER = int(OpenSpan.OWNER)
    S_PID = int(OpenSpan.PID)
    S_SAVED = int(OpenSpan.SAVED)
    S_START = int(OpenSpan.START)
    S_WIDTH = int(OpenSpan.WIDTH)


def widths() -> tuple[int, int]:
    """Columns this loop was built for: an open span's, and those of a facts row."""
    return int(S_WIDTH), int(B_WIDTH)


@cython.final
@cython.cclass
class SpanLoop:
    """The open spans, carried from call to call, and those that are over.

    cpus: int64[ncpu, OpenSpan.WIDTH], no CPU of a row may lie beyond; done: int64[rows,
    OpenSpan.LIVE], rows of a span table: at most one for each row taken, and by :meth:`finish` one
    for each open span.  Each call fills it anew and returns how many rows it holds.
    """

    cpus: cython.longlong[:, ::1]
    done: cython.longlong[:, ::1]
    ndone: cython.Py_ssize_t
    limited: cython.bint
    after: cython.longlong
    before: cython.longlong

    def __init__(self, cpus: cython.longlong[:, ::1], done: cython.longlong[:, ::1]) -> None:
        self.grow(cpus, done)
        self.limited = False

    def grow(self, cpus: cython.longlong[:, ::1], done: cython.longlong[:, ::1]) -> None:
        """Go on with longer tables (the open spans copied by the caller)."""
        self.cpus = cpus
        self.done = done

    def count(self, cpu_: cython.int[::1]) -> int:
        """How many CPUs these rows are of; no span may be open.

        This is done in less time than it takes to get the GIL back, and so is :meth:`around`.
        """
        found: cython.Py_ssize_t = 0
        i: cython.Py_ssize_t
        cpus: cython.longlong[:, ::1] = self.cpus
        for i in range(cpu_.shape[0]):
            if not cpus[cpu_[i], S_LIVE]:
                cpus[cpu_[i], S_LIVE] = 1
                found += 1
                if found == cpus.shape[0]:
                    break
        for i in range(cpus.shape[0]):
            cpus[i, S_LIVE] = 0
        return found

    def run(
        self,
        ts_: cython.longlong[::1],
        cpu_: cython.int[::1],
        kind_: cython.uchar[::1],
        facts: cython.longlong[:, ::1],
        moved: cython.longlong[::1],
    ) -> int:
        """Take further rows; ``moved``: bytes that each moved, or none at all."""
        self.ndone = 0
        with cython.nogil:
            self._run(0, ts_.shape[0], ts_, cpu_, kind_, facts, moved)
        return self.ndone

    def around(
        self,
        after: cython.longlong,
        before: cython.longlong,
        low: cython.Py_ssize_t,
        high: cython.Py_ssize_t,
        count: cython.Py_ssize_t,
        ts_: cython.longlong[::1],
        cpu_: cython.int[::1],
        kind_: cython.uchar[::1],
        facts: cython.longlong[:, ::1],
        moved: cython.longlong[::1],
    ) -> int:
        """All spans of rows ``low`` to ``high``, and of each CPU's next row on either side.

        Of these, what lies between the times ``after`` and ``before``, at least in part.
        ``count``: how many CPUs all rows are of.  No span may be open, and none is afterwards.
        """
        cpus: cython.longlong[:, ::1] = self.cpus
        i: cython.Py_ssize_t = low
        left: cython.Py_ssize_t = count
        self.ndone = 0
        self.limited = True
        self.after = after
        self.before = before
        while i > 0 and left > 0:
            i -= 1
            if not cpus[cpu_[i], S_LIVE]:
                self._run(i, i + 1, ts_, cpu_, kind_, facts, moved)
                left -= 1
        self._run(low, high, ts_, cpu_, kind_, facts, moved)
        i = high
        left = count
        while i < ts_.shape[0] and left > 0:
            if cpus[cpu_[i], S_LIVE] != 2:
                self._run(i, i + 1, ts_, cpu_, kind_, facts, moved)
                cpus[cpu_[i], S_LIVE] = 2
                left -= 1
            i += 1
        self._finish()
        return self.ndone

    def finish(self) -> int:
        """End the open spans at their CPU's last row."""
        self.ndone = 0
        with cython.nogil:
            self._finish()
        return self.ndone

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _finish(self) -> cython.void:
        c: cython.Py_ssize_t
        for c in range(self.cpus.shape[0]):
            if self.cpus[c, S_LIVE]:
                self.cpus[c, S_LIVE] = 0
                self.cpus[c, S_BY] = 0
                self.over(c)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def over(self, c: cython.Py_ssize_t) -> cython.void:
        """The span of CPU c is over: a row, unless it has no length or nobody asks for its time."""
        n: cython.Py_ssize_t = self.ndone
        j: cython.Py_ssize_t
        image: cython.longlong = self.cpus[c, S_IMAGE]
        if self.cpus[c, S_END] <= self.cpus[c, S_START]:
            return
        if self.limited and (
            self.cpus[c, S_END] <= self.after or self.cpus[c, S_START] >= self.before
        ):
            return
        self.ndone += 1
        for j in range(S_LIVE):
            self.done[n, j] = self.cpus[c, j]
        if image == I_USER_INFERRED:
            self.done[n, S_IMAGE] = I_USER
        if image == I_UNKNOWN or self.cpus[c, S_PID] < 0:
            self.done[n, S_CERTAINTY] = 0
        elif image == I_USER_INFERRED or self.cpus[c, S_OWNER] != self.cpus[c, S_PID]:
            self.done[n, S_CERTAINTY] = INFERRED
        else:
            self.done[n, S_CERTAINTY] = KNOWN

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _run(
        self,
        first: cython.Py_ssize_t,
        stop: cython.Py_ssize_t,
        ts_: cython.longlong[::1],
        cpu_: cython.int[::1],
        kind_: cython.uchar[::1],
        facts: cython.longlong[:, ::1],
        moved: cython.longlong[::1],
    ) -> cython.void:
        cpus: cython.longlong[:, ::1] = self.cpus
        told: cython.bint = moved.shape[0] > 0
        i: cython.Py_ssize_t
        c: cython.Py_ssize_t
        start: cython.longlong
        for i in range(first, stop):
            c = cpu_[i]
            if (
                cpus[c, S_PID] != facts[i, B_CUR]
                or cpus[c, S_OWNER] != facts[i, B_OWN_PID]
                or cpus[c, S_IMAGE] != facts[i, B_IMAGE]
                or not cpus[c, S_LIVE]
            ):
                start = ts_[i]
                if cpus[c, S_LIVE]:
                    self.over(c)
                    # The state before this row held since the CPU's row before.
                    start = cpus[c, S_END]
                cpus[c, S_LIVE] = 1
                cpus[c, S_CPU] = c
                cpus[c, S_START] = start
                cpus[c, S_PID] = facts[i, B_CUR]
                cpus[c, S_OWNER] = facts[i, B_OWN_PID]
                cpus[c, S_IMAGE] = facts[i, B_IMAGE]
                cpus[c, S_SAVED] = 0
                cpus[c, S_BYTES] = 0
            cpus[c, S_END] = ts_[i]
            # The event that ends a span is the last one it was seen before.
            cpus[c, S_BY] = kind_[i]
            if kind_[i] == K_REGS_DEACTIVATED:
                cpus[c, S_SAVED] = 1
            if told:
                cpus[c, S_BYTES] += moved[i]
