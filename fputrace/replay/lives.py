# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What happens to a task's registers at fork, exec, a signal, and by a debugger's hand.

A third reader of events and facts, of the build of :mod:`fputrace.replay.judge`.  Each of these
makes a restore due before user mode, and from 5.2 on a restore that cannot be elided always prints
regs_activated: a new task starts with last_cpu = -1 (fpu_clone()), exec resets the state
(fpu_flush_thread()), a debugger's write invalidates it (fpu_force_restore()), a handler starts on
initial registers (fpu__clear_user_states(); all arch/x86/kernel/fpu/core.c, signal.c).
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import Before, LivesTask, Out
from fputrace.timeline import Fact

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    from fputrace.replay.reader import Reader

    REF = layout.REF
    LIVES_SHIFT = layout.LIVES_SHIFT
    KVM_LOADED = layout.KVM_LOADED
    WIN_OPEN = int(layout.Win.OPEN)
    KTHREADD = 2
    MSR_IA32_XFD = 0x1C4
    T_ACTED = int(LivesTask.ACTED)
    T_CHILD = int(LivesTask.CHILD)
    T_EXCUSED = int(LivesTask.EXCUSED)
    T_EXEC = int(LivesTask.EXEC)
    T_F = int(LivesTask.F)
    T_F_KNOWN = int(LivesTask.F_KNOWN)
    T_IN_USE = int(LivesTask.IN_USE)
    T_KNOW = int(LivesTask.KNOW)
    T_KTHREAD = int(LivesTask.KTHREAD)
    T_PID = int(LivesTask.PID)
    T_REF_BIRTH = int(LivesTask.REF_BIRTH)
    T_REF_CAUSE = int(LivesTask.REF_CAUSE)
    T_REF_IN_USE = int(LivesTask.REF_IN_USE)
    T_SERIAL = int(LivesTask.SERIAL)
    T_SIGNAL = int(LivesTask.SIGNAL)
    T_SWITCHED_OFF = int(LivesTask.SWITCHED_OFF)
    T_SYS = int(LivesTask.SYS)
    T_VCPU = int(LivesTask.VCPU)
    T_WIDTH = int(LivesTask.WIDTH)
    T_WRITTEN = int(LivesTask.WRITTEN)
    T_XFD = int(LivesTask.XFD)
    T_XFD_KNOWN = int(LivesTask.XFD_KNOWN)
    B_WIDTH = int(Before.WIDTH)
    O_WIDTH = int(Out.WIDTH)
    F_BY_NAME = int(Fact.BY_NAME) >> layout.LIVES_SHIFT
    F_CHILD_SAVED = int(Fact.CHILD_SAVED) >> layout.LIVES_SHIFT
    F_CHILD_USER = int(Fact.CHILD_USER) >> layout.LIVES_SHIFT
    F_EXEC_USER = int(Fact.EXEC_USER) >> layout.LIVES_SHIFT
    F_EXEC_USER_EARLY = int(Fact.EXEC_USER_EARLY) >> layout.LIVES_SHIFT
    F_KTHREAD_ACTIVE = int(Fact.KTHREAD_ACTIVE) >> layout.LIVES_SHIFT
    F_LAZY = int(Fact.LAZY) >> layout.LIVES_SHIFT
    F_PTRACE_LOST = int(Fact.PTRACE_LOST) >> layout.LIVES_SHIFT
    F_SIGFRAME = int(Fact.SIGFRAME) >> layout.LIVES_SHIFT
    F_SIGNAL_USER = int(Fact.SIGNAL_USER) >> layout.LIVES_SHIFT
    F_XFD_SET = int(Fact.XFD_SET) >> layout.LIVES_SHIFT
    K_ACTIVATE_STATE = int(Kind.ACTIVATE_STATE)
    K_COPY_DST = int(Kind.COPY_DST)
    K_COPY_SRC = int(Kind.COPY_SRC)
    K_DROPPED = int(Kind.DROPPED)
    K_KVM_ENTRY = int(Kind.KVM_ENTRY)
    K_KVM_MSR = int(Kind.KVM_MSR)
    K_PAGE_FAULT_USER = int(Kind.PAGE_FAULT_USER)
    K_PROBE_PTRACE_WRITE = int(Kind.PROBE_PTRACE_WRITE)
    K_REGS_ACTIVATED = int(Kind.REGS_ACTIVATED)
    K_REGS_DEACTIVATED = int(Kind.REGS_DEACTIVATED)
    K_SCHED_PROCESS_EXEC = int(Kind.SCHED_PROCESS_EXEC)
    K_SCHED_PROCESS_EXIT = int(Kind.SCHED_PROCESS_EXIT)
    K_SCHED_PROCESS_FREE = int(Kind.SCHED_PROCESS_FREE)
    K_SCHED_PROCESS_FORK = int(Kind.SCHED_PROCESS_FORK)
    K_SCHED_SWITCH = int(Kind.SCHED_SWITCH)
    K_SIGNAL_DELIVER = int(Kind.SIGNAL_DELIVER)
    K_SYS_ENTER = int(Kind.SYS_ENTER)
    K_XSTATE_CHECK_FAILED = int(Kind.XSTATE_CHECK_FAILED)
    B_F = int(Before.F)
    B_F_KNOWN = int(Before.F_KNOWN)
    B_KVM = int(Before.KVM)
    B_SERIAL = int(Before.SERIAL)
    B_SLOT = int(Before.SLOT)
    B_SUBJECT = int(Before.SUBJECT)
    B_TASK_KNOW = int(Before.TASK_KNOW)
    B_WIN = int(Before.WIN)
    O_CAUSE = int(Out.CAUSE)
    O_COUNT = int(Out.COUNT)
    O_EVENT = int(Out.EVENT)
    O_FACTS = int(Out.FACTS)
    O_OWNER = int(Out.OWNER)
    O_SERIAL = int(Out.SERIAL)
    O_SUBJECT = int(Out.SUBJECT)
    O_VCPU = int(Out.VCPU)


def widths() -> tuple[int, int, int]:
    """Columns this loop was built for: a task's, a facts and an out row."""
    return int(T_WIDTH), int(B_WIDTH), int(O_WIDTH)


@cython.final
@cython.cclass
class Lives(Reader):
    """What spans events, carried from call to call.

    tasks: int64[cap, LivesTask.WIDTH], rows as the ownership loop numbers them; out: int64[rows,
    Out.WIDTH]; row: int64[REF] to work in; born: int64[many, 2 + REF], the last forks; watched:
    uint8[256], the kinds of event that matter here; wanted: the Fact bits some rule asks for;
    lazy: kernels before 4.14, which may load registers by use.
    """

    born: cython.longlong[:, ::1]
    watched: cython.uchar[::1]
    nborn: cython.Py_ssize_t
    mark: cython.longlong
    lazy: cython.bint

    def __init__(
        self,
        tasks: cython.longlong[:, ::1],
        out: cython.longlong[:, ::1],
        row: cython.longlong[::1],
        born: cython.longlong[:, ::1],
        watched: cython.uchar[::1],
        wanted: int,
        lazy: bool,
    ) -> None:
        self.tasks = tasks
        self.out = out
        self.row = row
        self.born = born
        self.watched = watched
        self.nout = 0
        self.nborn = 0
        self.wanted = wanted >> LIVES_SHIFT
        self.mark = 0
        self.lazy = lazy

    def know(self, by_name: bool) -> None:
        """Whether only names say which functions the probes sit on."""
        self.mark = F_BY_NAME if by_name else 0

    def finish(self) -> bool:
        """End of the trace: what still waits stays open. Call until it returns True."""
        s: cython.Py_ssize_t
        for s in range(self.tasks.shape[0]):
            if self.tasks[s, T_SWITCHED_OFF]:
                if self.nout >= self.out.shape[0]:
                    return False
                self.never_loaded(s)
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def never_loaded(self, s: cython.Py_ssize_t) -> cython.void:
        """Task s was not seen to load the image whose components its guest switched off."""
        j: cython.Py_ssize_t
        for j in range(REF):
            self.row[j] = self.tasks[s, T_REF_IN_USE + j]
        self.emit(F_XFD_SET, s, T_REF_CAUSE)
        self.tasks[s, T_SWITCHED_OFF] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def emit(
        self, facts: cython.longlong, s: cython.Py_ssize_t, cause: cython.Py_ssize_t
    ) -> cython.void:
        """An out row about task s, shown by ``row``; ``cause``: what made a restore due."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.nout
        if not facts & self.wanted:
            return
        self.nout += 1
        if facts & F_PTRACE_LOST:
            facts |= self.mark
        self.out[n, O_FACTS] = facts << LIVES_SHIFT
        self.out[n, O_SUBJECT] = self.tasks[s, T_PID]
        self.out[n, O_SERIAL] = self.tasks[s, T_SERIAL]
        self.out[n, O_VCPU] = self.tasks[s, T_VCPU] - 1
        self.out[n, O_COUNT] = 1
        self.out[n, O_OWNER] = -1
        for j in range(REF):
            self.out[n, O_EVENT + j] = self.row[j]
            self.out[n, O_CAUSE + j] = self.tasks[s, cause + j] if cause >= 0 else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_task(
        self, s: cython.Py_ssize_t, f: cython.Py_ssize_t, facts: cython.longlong[:, ::1]
    ) -> cython.void:
        """Drop what was followed of row s when its task changed or was out of sight."""
        j: cython.Py_ssize_t
        k: cython.Py_ssize_t
        for j in range(T_WIDTH):
            self.tasks[s, j] = 0
        self.tasks[s, T_SERIAL] = facts[f, B_SERIAL]
        self.tasks[s, T_KNOW] = facts[f, B_TASK_KNOW]
        self.tasks[s, T_PID] = facts[f, B_SUBJECT]
        # Both are set when a task is new; later holes, which may hide its first restore, part them.
        if facts[f, B_SERIAL] != facts[f, B_TASK_KNOW]:
            return
        for j in range(self.born.shape[0]):
            if self.born[j, 0] == self.tasks[s, T_PID] and self.tasks[s, T_PID] > 0:
                self.tasks[s, T_CHILD] = 1
                self.tasks[s, T_KTHREAD] = self.born[j, 1] == KTHREADD
                for k in range(REF):
                    self.tasks[s, T_REF_BIRTH + k] = self.born[j, 2 + k]
                self.born[j, 0] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def written(self, first: cython.Py_ssize_t) -> cython.void:
        """A debugger writes the registers of whoever's fpu is among the probe's arguments."""
        s: cython.Py_ssize_t
        j: cython.Py_ssize_t
        k: cython.Py_ssize_t
        for s in range(self.tasks.shape[0]):
            if self.tasks[s, T_F_KNOWN]:
                for j in range(first, first + 4):
                    if self.row[j] == self.tasks[s, T_F]:
                        self.tasks[s, T_WRITTEN] = 1
                        for k in range(REF):
                            self.tasks[s, T_REF_CAUSE + k] = self.row[k]

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
        tasks: cython.longlong[:, ::1] = self.tasks
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        s: cython.Py_ssize_t
        n: cython.Py_ssize_t
        kind: cython.Py_ssize_t
        bits: cython.longlong
        tail: cython.bint
        kthread: cython.bint
        row: cython.longlong[::1] = self.row
        watched: cython.uchar[::1] = self.watched
        room: cython.Py_ssize_t = self.out.shape[0] - 16

        for i in range(first, stop):
            kind = kind_[i]
            if not watched[kind]:
                continue
            if self.nout > room:
                return i
            s = facts[i, B_SLOT]
            if tasks[s, T_KNOW] != facts[i, B_TASK_KNOW]:
                self.fresh_task(s, i, facts)
            tasks[s, T_F_KNOWN] = facts[i, B_F_KNOWN]
            tasks[s, T_F] = facts[i, B_F]
            if kind == K_KVM_ENTRY:
                # What was saved was still in the registers, or loading it did no harm.
                tasks[s, T_VCPU] = op_[i, 0] + 1
                tasks[s, T_IN_USE] = 0
                tasks[s, T_SWITCHED_OFF] = 0
                continue
            tail = facts[i, B_WIN] == WIN_OPEN
            kthread = tasks[s, T_KTHREAD] or tasks[s, T_PID] == 0
            if kind != K_REGS_ACTIVATED or (not tail and (kthread or self.lazy)):
                row[0] = ts_[i]
                row[1] = cpu_[i]
                row[2] = pid_[i]
                row[3] = kind
                row[4] = event_[i]
                for j in range(4):
                    row[5 + j] = op_[i, j]

            if kind == K_REGS_ACTIVATED:
                if not tail and kthread:
                    self.emit(F_KTHREAD_ACTIVE, s, T_REF_BIRTH)
                if self.lazy and not tail and not tasks[s, T_EXCUSED]:
                    self.emit(F_LAZY, s, -1)
                tasks[s, T_CHILD] = 0
                tasks[s, T_EXEC] = 0
                tasks[s, T_SIGNAL] = 0
                tasks[s, T_WRITTEN] = 0
                tasks[s, T_ACTED] = 1
                tasks[s, T_IN_USE] = 0
                tasks[s, T_SWITCHED_OFF] = 0
            elif kind == K_REGS_DEACTIVATED:
                if tail:
                    if tasks[s, T_CHILD]:
                        self.emit(F_CHILD_SAVED, s, T_REF_BIRTH)
                        tasks[s, T_CHILD] = 0
                    if tasks[s, T_WRITTEN]:
                        self.emit(F_PTRACE_LOST, s, T_REF_CAUSE)
                        tasks[s, T_WRITTEN] = 0
                    if (
                        facts[i, B_KVM] == KVM_LOADED
                        and tasks[s, T_XFD_KNOWN]
                        and row[7] & tasks[s, T_XFD]
                    ):
                        self.emit(F_XFD_SET, s, T_REF_CAUSE)
                    if facts[i, B_KVM] == KVM_LOADED and row[7] > 0:
                        tasks[s, T_IN_USE] = row[7]
                        for j in range(REF):
                            tasks[s, T_REF_IN_USE + j] = row[j]
                else:
                    # An exit's or an exec's: whatever comes, these registers are gone.
                    tasks[s, T_CHILD] = 0
                    tasks[s, T_EXCUSED] = 1
            elif kind == K_SYS_ENTER or kind == K_PAGE_FAULT_USER:
                bits = 0
                j = T_REF_CAUSE
                if tasks[s, T_CHILD]:
                    bits |= F_CHILD_USER
                    j = T_REF_BIRTH
                if tasks[s, T_EXEC]:
                    bits |= F_EXEC_USER
                    if tasks[s, T_EXEC] == 2:
                        bits |= F_EXEC_USER_EARLY
                if tasks[s, T_SIGNAL]:
                    bits |= F_SIGNAL_USER
                if tasks[s, T_WRITTEN] > (kind == K_SYS_ENTER):
                    bits |= F_PTRACE_LOST
                if bits:
                    self.emit(bits, s, j)
                tasks[s, T_CHILD] = 0
                tasks[s, T_EXEC] = 0
                tasks[s, T_SIGNAL] = 0
                # Debuggers stop a task at its system call before sys_enter is printed: no proof
                # yet that it went on to user mode, but the next one is.
                tasks[s, T_WRITTEN] = 2 if tasks[s, T_WRITTEN] == 1 and kind == K_SYS_ENTER else 0
                if kind == K_SYS_ENTER:
                    tasks[s, T_SYS] = 1
                    tasks[s, T_ACTED] = 0
            elif kind == K_SCHED_PROCESS_FORK:
                n = self.nborn
                self.born[n, 0] = row[6]
                self.born[n, 1] = row[2]
                for j in range(REF):
                    self.born[n, 2 + j] = row[j]
                self.nborn = n + 1 if n + 1 < self.born.shape[0] else 0
                tasks[s, T_EXCUSED] = 1
            elif kind == K_SCHED_PROCESS_FREE:
                # Its number may be another's next, whose fork a hole may hide.
                for j in range(self.born.shape[0]):
                    if self.born[j, 0] == row[5]:
                        self.born[j, 0] = 0
            elif kind == K_SCHED_PROCESS_EXEC:
                tasks[s, T_CHILD] = 0
                tasks[s, T_KTHREAD] = 0
                tasks[s, T_EXCUSED] = 1
                # By a thread that is not the leader: what it did before had another pid.
                tasks[s, T_EXEC] = 1
                if row[5] == row[6] and tasks[s, T_SYS] and not tasks[s, T_ACTED]:
                    tasks[s, T_EXEC] = 2
                self.cause(s)
            elif kind == K_SIGNAL_DELIVER:
                tasks[s, T_EXCUSED] = 1
                if row[6] != 0 and row[6] != 1:  # SIG_DFL, SIG_IGN
                    tasks[s, T_SIGNAL] = 1
                    self.cause(s)
            elif kind == K_KVM_MSR:
                if row[5] and row[6] == MSR_IA32_XFD:
                    tasks[s, T_XFD_KNOWN] = 1
                    tasks[s, T_XFD] = row[7]
                    tasks[s, T_SWITCHED_OFF] = tasks[s, T_IN_USE] & row[7]
                    self.cause(s)
            elif kind == K_SCHED_PROCESS_EXIT:
                if tasks[s, T_SWITCHED_OFF]:
                    self.never_loaded(s)
            elif kind == K_XSTATE_CHECK_FAILED:
                self.emit(F_SIGFRAME, s, -1)
            elif kind == K_PROBE_PTRACE_WRITE:
                self.written(5)
            elif kind == K_SCHED_SWITCH:
                tasks[s, T_EXCUSED] = 0
            else:
                # dropped, activate_state, copy_src, copy_dst
                tasks[s, T_EXCUSED] = 1
        return stop

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def cause(self, s: cython.Py_ssize_t) -> cython.void:
        """``row`` makes a restore of task s due."""
        j: cython.Py_ssize_t
        for j in range(REF):
            self.tasks[s, T_REF_CAUSE + j] = self.row[j]
