# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Kernel FPU sections by their probes: nested, slept in, too long (FPU301 to FPU303).

A reader of events and facts, of the build of :mod:`fputrace.replay.judge`; it runs once a recording
holds records of probes.  What a section leaves in the registers :mod:`fputrace.replay.probed`
follows.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import Before, Out, SectionCpu, SectionTask
from fputrace.timeline import Fact

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    from fputrace.replay.reader import Reader

    REF = layout.REF
    PROBED_SHIFT = layout.PROBED_SHIFT
    BLOCKED = 0x7F
    BH_OFF = 0x80  # TRACE_FLAG_BH_OFF (linux/trace_events.h)
    DEPTH_SHIFT = 8
    DEPTH_MASK = 0xF  # of common_preempt_count: above it migrate_disable() is counted
    B_CPU_KNOW = int(Before.CPU_KNOW)
    B_SERIAL = int(Before.SERIAL)
    B_SLOT = int(Before.SLOT)
    B_SUBJECT = int(Before.SUBJECT)
    B_TASK_KNOW = int(Before.TASK_KNOW)
    B_WIDTH = int(Before.WIDTH)
    B_WIN = int(Before.WIN)
    WIN_OPEN = int(layout.Win.OPEN)
    C_BEGIN_FLAGS = int(SectionCpu.BEGIN_FLAGS)
    C_BEGIN_PID = int(SectionCpu.BEGIN_PID)
    C_BEGIN_SURE = int(SectionCpu.BEGIN_SURE)
    C_BEGIN_WHOLE = int(SectionCpu.BEGIN_WHOLE)
    C_DEPTH = int(SectionCpu.DEPTH)
    C_KNOW = int(SectionCpu.KNOW)
    C_NESTED = int(SectionCpu.NESTED)
    C_PREV_EVENT = int(SectionCpu.PREV_EVENT)
    C_PREV_KIND = int(SectionCpu.PREV_KIND)
    C_REF_BEGIN = int(SectionCpu.REF_BEGIN)
    C_REF_NESTED = int(SectionCpu.REF_NESTED)
    C_SHALLOW = int(SectionCpu.SHALLOW)
    C_WIDTH = int(SectionCpu.WIDTH)
    T_KNOW = int(SectionTask.KNOW)
    T_PID = int(SectionTask.PID)
    T_REF_SLEPT = int(SectionTask.REF_SLEPT)
    T_REF_SLEPT_IN = int(SectionTask.REF_SLEPT_IN)
    T_SERIAL = int(SectionTask.SERIAL)
    T_SLEPT = int(SectionTask.SLEPT)
    T_VCPU = int(SectionTask.VCPU)
    T_WIDTH = int(SectionTask.WIDTH)
    F_BY_NAME = int(Fact.BY_NAME) >> layout.PROBED_SHIFT
    F_NESTED = int(Fact.NESTED) >> layout.PROBED_SHIFT
    F_NESTED_SURE = int(Fact.NESTED_SURE) >> layout.PROBED_SHIFT
    F_SLEPT = int(Fact.SLEPT) >> layout.PROBED_SHIFT
    F_SLEPT_SURE = int(Fact.SLEPT_SURE) >> layout.PROBED_SHIFT
    F_TOO_LONG = int(Fact.TOO_LONG) >> layout.PROBED_SHIFT
    K_CPU_END = int(Kind.CPU_END)
    K_KVM_ENTRY = int(Kind.KVM_ENTRY)
    K_LOSS = int(Kind.LOSS)
    K_LOSS_END = int(Kind.LOSS_END)
    K_PROBE_KFPU_BEGIN = int(Kind.PROBE_KFPU_BEGIN)
    K_PROBE_KFPU_BEGUN = int(Kind.PROBE_KFPU_BEGUN)
    K_PROBE_KFPU_END = int(Kind.PROBE_KFPU_END)
    K_SCHED_SWITCH = int(Kind.SCHED_SWITCH)
    O_BEGIN = int(Out.BEGIN)
    O_COUNT = int(Out.COUNT)
    O_EVENT = int(Out.EVENT)
    O_FACTS = int(Out.FACTS)
    O_SERIAL = int(Out.SERIAL)
    O_SUBJECT = int(Out.SUBJECT)
    O_VCPU = int(Out.VCPU)
    O_WIDTH = int(Out.WIDTH)


def widths() -> tuple[int, int, int, int]:
    """Columns this loop was built for: a CPU's, a task's, a facts and an out row."""
    return int(C_WIDTH), int(T_WIDTH), int(B_WIDTH), int(O_WIDTH)


@cython.final
@cython.cclass
class Sections(Reader):
    """What spans events, carried from call to call.

    cpus: int64[ncpu, SectionCpu.WIDTH]; tasks: int64[cap, SectionTask.WIDTH], rows as the
    ownership loop numbers them; out: int64[rows, Out.WIDTH]; row: int64[REF] to work in; wanted:
    the Fact bits some rule asks for; limit: ns a section may last.
    """

    flags: cython.ushort[::1]
    mark: cython.longlong
    flag: cython.longlong
    limit: cython.longlong
    returns: cython.bint

    def __init__(
        self,
        cpus: cython.longlong[:, ::1],
        tasks: cython.longlong[:, ::1],
        out: cython.longlong[:, ::1],
        row: cython.longlong[::1],
        wanted: int,
        limit: int,
    ) -> None:
        self.cpus = cpus
        self.tasks = tasks
        self.out = out
        self.row = row
        self.nout = 0
        self.wanted = wanted >> PROBED_SHIFT
        self.mark = 0
        self.flag = 0
        self.limit = limit
        self.returns = False

    def know(self, by_name: bool, flags: cython.ushort[::1]) -> None:
        """Whether only the name of an event says by now which function its probe sits on; the
        ``flags`` of the block that follows.
        """
        self.mark = F_BY_NAME if by_name else 0
        self.flags = flags

    def finish(self) -> bool:
        """End of the trace: what still waits stays open. Call until it returns True."""
        s: cython.Py_ssize_t
        for s in range(self.tasks.shape[0]):
            if self.nout > self.out.shape[0] - 4:
                return False
            if self.tasks[s, T_SLEPT]:
                self.slept(F_SLEPT, s)
        return True

    # -- rows for the rules -------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def told(
        self,
        facts: cython.longlong,
        s: cython.Py_ssize_t,
        events: cython.longlong[:, ::1],
        at: cython.Py_ssize_t,
        event: cython.Py_ssize_t,
        begin: cython.Py_ssize_t,
    ) -> cython.void:
        """An out row about task s: row ``at`` of ``events`` keeps the event that shows it and the
        begin of the section in these columns.
        """
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.nout
        facts &= self.wanted
        if not facts:
            return
        self.nout += 1
        for j in range(O_WIDTH):
            self.out[n, j] = 0
        self.out[n, O_FACTS] = (facts | self.mark) << PROBED_SHIFT
        self.out[n, O_SUBJECT] = self.tasks[s, T_PID]
        self.out[n, O_SERIAL] = self.tasks[s, T_SERIAL]
        self.out[n, O_VCPU] = self.tasks[s, T_VCPU] - 1
        self.out[n, O_COUNT] = 1
        for j in range(REF):
            self.out[n, O_EVENT + j] = events[at, event + j]
            self.out[n, O_BEGIN + j] = events[at, begin + j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def shown(
        self, facts: cython.longlong, c: cython.Py_ssize_t, s: cython.Py_ssize_t
    ) -> cython.void:
        """An out row about task s on CPU c, shown by the event in ``row``."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.nout
        self.told(facts, s, self.cpus, c, C_REF_BEGIN, C_REF_BEGIN)
        if self.nout > n:
            for j in range(REF):
                self.out[n, O_EVENT + j] = self.row[j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def nested(
        self, facts: cython.longlong, c: cython.Py_ssize_t, s: cython.Py_ssize_t
    ) -> cython.void:
        """A begin inside a section on CPU c is settled."""
        self.told(facts, s, self.cpus, c, C_REF_NESTED, C_REF_BEGIN)
        self.cpus[c, C_NESTED] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def slept(self, facts: cython.longlong, s: cython.Py_ssize_t) -> cython.void:
        """Task s's switch-out inside a section is settled."""
        self.told(facts, s, self.tasks, s, T_REF_SLEPT, T_REF_SLEPT_IN)
        self.tasks[s, T_SLEPT] = 0

    # -- what was followed --------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_task(
        self, s: cython.Py_ssize_t, f: cython.Py_ssize_t, facts: cython.longlong[:, ::1]
    ) -> cython.void:
        """Drop what was followed of row s when its task changed or was out of sight."""
        j: cython.Py_ssize_t
        if self.tasks[s, T_SLEPT]:
            self.slept(F_SLEPT, s)
        if self.tasks[s, T_SERIAL] != facts[f, B_SERIAL]:
            for j in range(T_WIDTH):
                self.tasks[s, j] = 0
        self.tasks[s, T_SERIAL] = facts[f, B_SERIAL]
        self.tasks[s, T_KNOW] = facts[f, B_TASK_KNOW]
        self.tasks[s, T_PID] = facts[f, B_SUBJECT]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_cpu(self, c: cython.Py_ssize_t, know: cython.longlong) -> cython.void:
        """Drop what was followed of CPU c when it was out of sight."""
        j: cython.Py_ssize_t
        for j in range(C_WIDTH):
            self.cpus[c, j] = 0
        self.cpus[c, C_KNOW] = know

    # -- the loop -----------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-99, check=True)
    def _run(self, first: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.longlong:
        ts_: cython.longlong[::1] = self.ts
        cpu_: cython.int[::1] = self.cpu
        pid_: cython.int[::1] = self.pid
        kind_: cython.uchar[::1] = self.kind
        event_: cython.int[::1] = self.event
        op_: cython.longlong[:, ::1] = self.op
        facts: cython.longlong[:, ::1] = self.facts
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        c: cython.Py_ssize_t
        s: cython.Py_ssize_t
        kind: cython.Py_ssize_t
        again: cython.bint
        row: cython.longlong[::1] = self.row
        room: cython.Py_ssize_t = self.out.shape[0] - 16

        for i in range(first, stop):
            kind = kind_[i]
            if kind == K_LOSS or kind == K_LOSS_END or kind == K_CPU_END:
                continue
            c = cpu_[i]
            # Two probes on one function (kprobe and function tracer) tell of one call.
            again = self.cpus[c, C_PREV_KIND] == kind and self.cpus[c, C_PREV_EVENT] != event_[i]
            if (
                kind != K_SCHED_SWITCH
                and kind != K_KVM_ENTRY
                and kind != K_PROBE_KFPU_BEGIN
                and kind != K_PROBE_KFPU_BEGUN
                and kind != K_PROBE_KFPU_END
            ):
                self.cpus[c, C_PREV_KIND] = kind
                self.cpus[c, C_PREV_EVENT] = event_[i]
                continue
            if self.nout > room:
                return i
            if self.cpus[c, C_KNOW] != facts[i, B_CPU_KNOW]:
                self.fresh_cpu(c, facts[i, B_CPU_KNOW])
                again = False
            s = facts[i, B_SLOT]
            if self.tasks[s, T_KNOW] != facts[i, B_TASK_KNOW]:
                self.fresh_task(s, i, facts)
            row[0] = ts_[i]
            row[1] = c
            row[2] = pid_[i]
            row[3] = kind
            row[4] = event_[i]
            for j in range(4):
                row[5 + j] = op_[i, j]
            self.flag = self.flags[i]
            self.cpus[c, C_PREV_KIND] = kind
            self.cpus[c, C_PREV_EVENT] = event_[i]
            if kind == K_KVM_ENTRY:
                self.tasks[s, T_VCPU] = row[5] + 1
            elif kind == K_SCHED_SWITCH:
                self.switched(c, s)
            elif kind == K_PROBE_KFPU_BEGUN:
                self.returns = True
                if self.cpus[c, C_DEPTH] and self.cpus[c, C_BEGIN_PID] == row[2]:
                    self.cpus[c, C_BEGIN_SURE] = 1
            elif not again:
                if kind == K_PROBE_KFPU_BEGIN:
                    self.begun(c, s, facts[i, B_WIN] == WIN_OPEN)
                else:
                    self.ended(c, s)
        return stop

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def depth(self, flags: cython.longlong) -> cython.longlong:
        """How often preemption was switched off, as the record's flags say."""
        return (flags >> DEPTH_SHIFT) & DEPTH_MASK

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def inside(self, c: cython.Py_ssize_t, outside: cython.longlong) -> cython.bint:
        """Whether the event on CPU c may lie in the section whose begin's probe was hit: an
        interrupt or a preemption fits between the two.

        A section switches preemption or bottom halves off: the event's flags show it, where the
        kernel counts that.  ``outside``: the depth of such an event without a section.
        """
        before: cython.longlong = self.cpus[c, C_BEGIN_FLAGS]
        if self.returns:
            return False  # this begin's return would have been recorded
        if not self.cpus[c, C_SHALLOW]:
            return True
        return self.depth(self.flag) > outside or (self.flag & ~before & BH_OFF) != 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def begun(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t, tail: cython.bint) -> cython.void:
        """kernel_fpu_begin*() was called."""
        j: cython.Py_ssize_t
        if self.tasks[s, T_SLEPT]:
            self.slept(F_SLEPT, s)
        if self.cpus[c, C_DEPTH] and self.cpus[c, C_BEGIN_PID] == self.row[2]:
            if not self.cpus[c, C_BEGIN_SURE]:
                if self.inside(c, self.depth(self.cpus[c, C_BEGIN_FLAGS])):
                    self.shown(F_NESTED, c, s)
            elif not self.cpus[c, C_NESTED]:
                # Two ends will prove that none was left out.
                self.cpus[c, C_NESTED] = 1
                for j in range(REF):
                    self.cpus[c, C_REF_NESTED + j] = self.row[j]
        self.cpus[c, C_DEPTH] += 1
        self.cpus[c, C_BEGIN_PID] = self.row[2]
        self.cpus[c, C_BEGIN_SURE] = 0
        self.cpus[c, C_BEGIN_FLAGS] = self.flag
        self.cpus[c, C_BEGIN_WHOLE] = not tail
        if not self.cpus[c, C_NESTED]:
            for j in range(REF):
                self.cpus[c, C_REF_BEGIN + j] = self.row[j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ended(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t) -> cython.void:
        """kernel_fpu_end() was called."""
        if self.tasks[s, T_SLEPT]:
            self.slept(F_SLEPT_SURE, s)
        if self.cpus[c, C_DEPTH] == 1:
            if self.cpus[c, C_NESTED]:
                self.nested(F_NESTED_SURE, c, s)
            if (
                self.cpus[c, C_BEGIN_WHOLE]
                and self.cpus[c, C_BEGIN_PID] == self.row[2]
                and self.row[0] - self.cpus[c, C_REF_BEGIN] > self.limit
            ):
                self.shown(F_TOO_LONG, c, s)
        if self.cpus[c, C_DEPTH]:
            self.cpus[c, C_DEPTH] -= 1
            self.cpus[c, C_BEGIN_WHOLE] = 0
            self.cpus[c, C_BEGIN_SURE] = 0  # of the outer one nothing is known

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def switched(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t) -> cython.void:
        """Task s is switched out."""
        j: cython.Py_ssize_t
        if self.cpus[c, C_NESTED]:
            self.nested(F_NESTED, c, s)
        if self.cpus[c, C_DEPTH] and self.cpus[c, C_BEGIN_PID] == self.row[2]:
            if self.cpus[c, C_BEGIN_SURE] or self.row[6] & BLOCKED:
                # Its end will prove that none was left out before.
                self.tasks[s, T_SLEPT] = 1
                for j in range(REF):
                    self.tasks[s, T_REF_SLEPT + j] = self.row[j]
                    self.tasks[s, T_REF_SLEPT_IN + j] = self.cpus[c, C_REF_BEGIN + j]
            elif self.inside(c, self.cpus[c, C_SHALLOW]):
                self.shown(F_SLEPT, c, s)
        if not self.cpus[c, C_SHALLOW] or self.depth(self.flag) < self.cpus[c, C_SHALLOW]:
            self.cpus[c, C_SHALLOW] = self.depth(self.flag)
        self.cpus[c, C_DEPTH] = 0
        self.cpus[c, C_BEGIN_WHOLE] = 0
