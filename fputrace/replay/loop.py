# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The loop that runs the ownership model over events (docs/model.md).

Cython's pure Python mode: compiled when a C compiler is there, the same file otherwise.  All state
is in int64 arrays whose columns :mod:`fputrace.replay.layout` numbers; what a generation does
with an event is its transition table (:mod:`fputrace.replay.model`), given here as ``table``.
Indices come from checked values only: CPU numbers are checked by the caller, pids by ``slot``.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import Act, Before, Cpu, Task

if cython.compiled:
    from cython.cimports.libc.string import memcpy

NO_PID = cython.declare(cython.longlong, layout.NO_PID)
FAR_PAST = cython.declare(cython.longlong, layout.FAR_PAST)
FAR_FUTURE = cython.declare(cython.longlong, layout.FAR_FUTURE)
# Compiled, these are C constants of the .pxd beside this file (fputrace/replay/pxd.py).
if not cython.compiled:
    PID_MAX = layout.PID_MAX
    LAST_UNKNOWN = layout.LAST_UNKNOWN
    LAST_INVALID = layout.LAST_INVALID
    KVM_OUT = layout.KVM_OUT
    KVM_LOADED = layout.KVM_LOADED
    WIN_NONE = int(layout.Win.NONE)
    WIN_OPEN = int(layout.Win.OPEN)
    WIN_UNKNOWN = int(layout.Win.UNKNOWN)
    OWN_UNKNOWN = int(layout.Own.UNKNOWN)
    OWN_NULL = int(layout.Own.NULL)
    OWN_TOKEN = int(layout.Own.TOKEN)
    IMG_UNKNOWN = int(layout.Image.UNKNOWN)
    IMG_USER = int(layout.Image.USER)
    IMG_GUEST = int(layout.Image.GUEST)
    IMG_KERNEL = int(layout.Image.KERNEL)
    IMG_USER_INFERRED = int(layout.Image.USER_INFERRED)
    IMG_INIT = int(layout.Image.INIT)
    C_BLIND = int(Cpu.BLIND)
    C_CUR = int(Cpu.CUR)
    C_DROP_ARMED = int(Cpu.DROP_ARMED)
    C_DROP_F = int(Cpu.DROP_F)
    C_DROP_PID = int(Cpu.DROP_PID)
    C_IMAGE = int(Cpu.IMAGE)
    C_KNOW = int(Cpu.KNOW)
    C_NEXT = int(Cpu.NEXT)
    C_OWN = int(Cpu.OWN)
    C_OWN_PID = int(Cpu.OWN_PID)
    C_OWN_STATE = int(Cpu.OWN_STATE)
    C_PREV = int(Cpu.PREV)
    C_PREV_TS = int(Cpu.PREV_TS)
    C_SEEN = int(Cpu.SEEN)
    C_SLOT = int(Cpu.SLOT)
    C_STAY_START = int(Cpu.STAY_START)
    C_WIN = int(Cpu.WIN)
    C_WIN_BLIND = int(Cpu.WIN_BLIND)
    C_WIN_SAVED = int(Cpu.WIN_SAVED)
    C_WIDTH = int(Cpu.WIDTH)
    T_WIDTH = int(Task.WIDTH)
    B_WIDTH = int(Before.WIDTH)
    C_WIN_TS = int(Cpu.WIN_TS)
    T_EPOCH = int(Task.EPOCH)
    T_F = int(Task.F)
    T_F_KNOWN = int(Task.F_KNOWN)
    T_HOME = int(Task.HOME)
    T_KNOW = int(Task.KNOW)
    T_KVM = int(Task.KVM)
    T_KVMISH = int(Task.KVMISH)
    T_LAST = int(Task.LAST)
    T_PID = int(Task.PID)
    T_SERIAL = int(Task.SERIAL)
    T_TIF = int(Task.TIF)
    T_WAIT = int(Task.WAIT)
    T_WAIT_KNOWN = int(Task.WAIT_KNOWN)
    A_ARM_DROP = int(Act.ARM_DROP)
    A_CHILD_TOKEN = int(Act.CHILD_TOKEN)
    A_DROP = int(Act.DROP)
    A_EXEC = int(Act.EXEC)
    A_FORK = int(Act.FORK)
    A_FREE = int(Act.FREE)
    A_GAP_ALL = int(Act.GAP_ALL)
    A_GAP_CPU = int(Act.GAP_CPU)
    A_IMAGE_ALWAYS = int(Act.IMAGE_ALWAYS)
    A_IMAGE_IF_OWNER = int(Act.IMAGE_IF_OWNER)
    A_IMAGE_BY_KVM = int(Act.IMAGE_BY_KVM)
    A_IMAGE_KERNEL = int(Act.IMAGE_KERNEL)
    A_IMAGE_UNKNOWN = int(Act.IMAGE_UNKNOWN)
    A_KVMISH = int(Act.KVMISH)
    A_KVM_SET = int(Act.KVM_SET)
    A_LAST_HERE = int(Act.LAST_HERE)
    A_LEARN_F = int(Act.LEARN_F)
    A_OWN_F = int(Act.OWN_F)
    A_SUBJECT_NEXT = int(Act.SUBJECT_NEXT)
    A_SWITCH = int(Act.SWITCH)
    A_TIF_0 = int(Act.TIF_0)
    A_TIF_1 = int(Act.TIF_1)
    A_TIF_FLAG = int(Act.TIF_FLAG)
    # Asked about together: most events have none of these.
    A_TASKS = int(Act.FORK | Act.EXEC | Act.FREE | Act.GAP_CPU | Act.GAP_ALL)
    A_DROPS = int(Act.DROP | Act.ARM_DROP | Act.CHILD_TOKEN)
    A_KVM = int(Act.KVMISH | Act.KVM_SET)
    A_OTHERS = A_TASKS | A_DROPS | A_KVM | int(Act.SWITCH)
    A_UNLIKELY = int(Act.TIF_1 | Act.TIF_FLAG | Act.IMAGE_UNKNOWN | Act.IMAGE_KERNEL)
    K_CPU_END = int(Kind.CPU_END)
    K_KVM_FPU = int(Kind.KVM_FPU)
    K_LOSS = int(Kind.LOSS)
    K_LOSS_END = int(Kind.LOSS_END)
    K_OTHER = int(Kind.OTHER)
    K_PROBE_SAVE = int(Kind.PROBE_SAVE)
    K_REGS_ACTIVATED = int(Kind.REGS_ACTIVATED)
    K_REGS_DEACTIVATED = int(Kind.REGS_DEACTIVATED)
    K_SCHED_PROCESS_EXEC = int(Kind.SCHED_PROCESS_EXEC)
    K_SCHED_SWITCH = int(Kind.SCHED_SWITCH)
    B_CPU_KNOW = int(Before.CPU_KNOW)
    B_CUR = int(Before.CUR)
    B_F = int(Before.F)
    B_F_KNOWN = int(Before.F_KNOWN)
    B_IMAGE = int(Before.IMAGE)
    B_KVM = int(Before.KVM)
    B_LAST = int(Before.LAST)
    B_OWN = int(Before.OWN)
    B_OWN_PID = int(Before.OWN_PID)
    B_OWN_STATE = int(Before.OWN_STATE)
    B_SERIAL = int(Before.SERIAL)
    B_SLOT = int(Before.SLOT)
    B_SUBJECT = int(Before.SUBJECT)
    B_TASK_KNOW = int(Before.TASK_KNOW)
    B_TIF = int(Before.TIF)
    B_WIN = int(Before.WIN)


def widths() -> tuple[int, int, int]:
    """Columns this loop was built for: a CPU's, a task's and a facts row."""
    return int(C_WIDTH), int(T_WIDTH), int(B_WIDTH)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def in_tail(kind: cython.Py_ssize_t) -> cython.bint:
    """Whether an event of the outgoing task may lie in the tail of its switch."""
    return (
        kind == K_REGS_ACTIVATED
        or kind == K_REGS_DEACTIVATED
        or kind == K_KVM_FPU
        or kind == K_OTHER
        or kind >= K_PROBE_SAVE
    )


@cython.final
@cython.cclass
class Ownership:
    """State of all CPUs and tasks, carried from call to call.

    cpus: int64[ncpu, Cpu.WIDTH]; tasks: int64[cap, Task.WIDTH], row 0 is nobody; pids:
    int32[PID_MAX+1], pid -> task row, 0 none; free: int32[cap], rows given back; table:
    int64[256, 3], Act bits by kind and Win; ts to facts: a block's columns, held from ``read`` to
    ``read``.
    """

    cpus: cython.longlong[:, ::1]
    tasks: cython.longlong[:, ::1]
    pids: cython.int[::1]
    free: cython.int[::1]
    table: cython.longlong[:, ::1]
    ncpu: cython.Py_ssize_t
    ntasks: cython.Py_ssize_t
    nfree: cython.Py_ssize_t
    epoch: cython.longlong
    counter: cython.longlong
    nblind: cython.longlong
    gaps: cython.longlong
    clashes: cython.longlong
    shown_act: cython.bint
    shown_kvm: cython.bint
    eager: cython.bint
    tif_in: cython.bint
    ts: cython.longlong[::1]
    cpu: cython.int[::1]
    pid: cython.int[::1]
    kind: cython.uchar[::1]
    op: cython.longlong[:, ::1]
    facts: cython.longlong[:, ::1]

    def __init__(
        self,
        cpus: cython.longlong[:, ::1],
        tasks: cython.longlong[:, ::1],
        pids: cython.int[::1],
        free: cython.int[::1],
        table: cython.longlong[:, ::1],
        eager: bool,
        tif_at_switch_in: bool,
    ) -> None:
        self.cpus = cpus
        self.tasks = tasks
        self.pids = pids
        self.free = free
        self.table = table
        self.ncpu = cpus.shape[0]
        self.ntasks = 0
        self.nfree = 0
        self.epoch = 1
        self.counter = 0
        self.nblind = 0
        self.gaps = 0
        self.clashes = 0
        self.shown_act = False
        self.shown_kvm = False
        self.eager = eager
        self.tif_in = tif_at_switch_in
        k: cython.Py_ssize_t
        for k in range(self.ncpu):
            if self.cpus[k, C_BLIND]:
                self.nblind += 1

    def grow_cpus(self, cpus: cython.longlong[:, ::1]) -> None:
        """Go on with a longer CPU table (the old rows copied by the caller)."""
        self.cpus = cpus
        self.ncpu = cpus.shape[0]

    def grow_tasks(self, tasks: cython.longlong[:, ::1], free: cython.int[::1]) -> None:
        """Go on with longer task tables (the old rows copied by the caller)."""
        self.tasks = tasks
        self.free = free

    def undeclared(self) -> tuple[int, int]:
        """Undeclared holes so far: (events by a task the CPU did not run, tasks that turned up
        elsewhere while a CPU still ran them).
        """
        return self.gaps, self.clashes

    def current_epoch(self) -> int:
        """A task's row of another epoch holds what was known before it was out of sight."""
        return self.epoch

    # -- tasks ------------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def forget(self, s: cython.Py_ssize_t) -> cython.void:
        """Everything about task s is unknown."""
        self.tasks[s, T_F_KNOWN] = 0
        self.tasks[s, T_LAST] = LAST_UNKNOWN
        self.tasks[s, T_TIF] = -1
        self.tasks[s, T_KVM] = -1
        self.tasks[s, T_WAIT_KNOWN] = 0
        self.counter += 1
        self.tasks[s, T_KNOW] = self.counter

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def renew(self, s: cython.Py_ssize_t) -> cython.void:
        """Another task has this pid now."""
        self.forget(s)
        self.tasks[s, T_KVMISH] = 0
        self.tasks[s, T_SERIAL] = self.counter

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def slot(self, pid: cython.longlong) -> cython.Py_ssize_t:
        """Row of a task, made when new, forgotten when it was out of sight meanwhile."""
        s: cython.Py_ssize_t
        if pid < 0 or pid > PID_MAX:
            self.renew(0)
            self.tasks[0, T_PID] = pid
            self.tasks[0, T_HOME] = -1
            return 0
        s = self.pids[pid]
        if s == 0:
            if self.nfree > 0:
                self.nfree -= 1
                s = self.free[self.nfree]
            else:
                self.ntasks += 1
                s = self.ntasks
            self.pids[pid] = cython.cast(cython.int, s)
            self.tasks[s, T_PID] = pid
            self.tasks[s, T_HOME] = -1
            self.tasks[s, T_EPOCH] = self.epoch
            self.renew(s)
        elif self.tasks[s, T_EPOCH] != self.epoch:
            self.forget(s)
            self.tasks[s, T_EPOCH] = self.epoch
        return s

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def keep(self, pid: cython.longlong) -> cython.void:
        """A task held elsewhere stays known over the new epoch."""
        s: cython.Py_ssize_t
        if 0 <= pid <= PID_MAX:
            s = self.pids[pid]
            if s and self.tasks[s, T_EPOCH] == self.epoch - 1:
                self.tasks[s, T_EPOCH] = self.epoch

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_home(self, s: cython.Py_ssize_t) -> cython.bint:
        """Whether some CPU still names this task as its cur, prev or next."""
        k: cython.Py_ssize_t = self.tasks[s, T_HOME]
        p: cython.longlong = self.tasks[s, T_PID]
        if k < 0:
            return False
        if self.cpus[k, C_WIN] == WIN_OPEN:
            return self.cpus[k, C_PREV] == p or self.cpus[k, C_NEXT] == p
        return self.cpus[k, C_CUR] == p

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def arrive(self, s: cython.Py_ssize_t, c: cython.Py_ssize_t) -> cython.void:
        """Task s turns up on CPU c: wherever it was thought to be, it has left."""
        k: cython.Py_ssize_t = self.tasks[s, T_HOME]
        p: cython.longlong = self.tasks[s, T_PID]
        if p <= 0 or s == 0:
            return
        self.tasks[s, T_HOME] = c
        if k == c or k < 0:
            return
        if self.cpus[k, C_WIN] == WIN_OPEN:
            if self.cpus[k, C_NEXT] == p:
                self.lost(k, s)
            elif self.cpus[k, C_PREV] == p:
                self.left(k, s)
                self.cpus[k, C_PREV] = NO_PID
        elif self.cpus[k, C_CUR] == p:
            if self.cpus[k, C_WIN] == WIN_UNKNOWN:
                self.forget(s)
                self.cpus[k, C_CUR] = NO_PID
            else:
                self.lost(k, s)

    # -- blindness --------------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def unknow(self, c: cython.Py_ssize_t) -> cython.void:
        """Everything about CPU c is unknown."""
        self.cpus[c, C_CUR] = NO_PID
        self.cpus[c, C_WIN] = WIN_UNKNOWN
        self.cpus[c, C_OWN_STATE] = OWN_UNKNOWN
        self.cpus[c, C_OWN_PID] = -1
        self.cpus[c, C_IMAGE] = IMG_UNKNOWN
        self.cpus[c, C_STAY_START] = FAR_PAST
        self.cpus[c, C_DROP_ARMED] = 0
        self.counter += 1
        self.cpus[c, C_KNOW] = self.counter

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def blind(self, c: cython.Py_ssize_t, since: cython.longlong) -> cython.void:
        """CPU c was out of sight; tasks held elsewhere since before ``since`` stay known."""
        k: cython.Py_ssize_t
        self.epoch += 1
        for k in range(self.ncpu):
            if k == c or self.cpus[k, C_BLIND] or not self.cpus[k, C_SEEN]:
                continue
            if self.cpus[k, C_WIN] == WIN_OPEN:
                self.cpus[k, C_WIN_BLIND] = 1
                if self.cpus[k, C_STAY_START] <= since:
                    self.keep(self.cpus[k, C_PREV])
                if self.cpus[k, C_WIN_TS] <= since:
                    self.keep(self.cpus[k, C_NEXT])
            elif self.cpus[k, C_WIN] == WIN_NONE and self.cpus[k, C_STAY_START] <= since:
                self.keep(self.cpus[k, C_CUR])
        self.unknow(c)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def lost(self, k: cython.Py_ssize_t, s: cython.Py_ssize_t) -> cython.void:
        """CPU k has an undeclared hole: its task s is elsewhere."""
        self.clashes += self.cpus[k, C_WIN_TS] != FAR_PAST
        self.blind(k, self.cpus[k, C_PREV_TS])
        self.forget(s)
        self.tasks[s, T_EPOCH] = self.epoch

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def away(self, c: cython.Py_ssize_t) -> cython.void:
        """CPU c itself was off: every task may have changed meanwhile."""
        k: cython.Py_ssize_t
        self.epoch += 1
        for k in range(self.ncpu):
            if k != c and self.cpus[k, C_WIN] == WIN_OPEN:
                self.cpus[k, C_WIN_BLIND] = 1
        if 0 <= c < self.ncpu:
            self.unknow(c)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def left(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t) -> cython.void:
        """Task s, prev of c's window, is gone: was all it did on the way out in sight?

        Eager kernels save a loaded guest at every switch-out; no save means no tail was recorded.
        """
        if self.cpus[c, C_WIN_BLIND] or (
            self.eager and self.tasks[s, T_KVM] == KVM_LOADED and not self.cpus[c, C_WIN_SAVED]
        ):
            self.forget(s)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def close_window(self, c: cython.Py_ssize_t) -> cython.void:
        """The incoming task runs: the switch is over."""
        if self.cpus[c, C_PREV] != NO_PID:
            self.left(c, self.slot(self.cpus[c, C_PREV]))
        self.cpus[c, C_CUR] = self.cpus[c, C_NEXT]
        self.cpus[c, C_WIN] = WIN_NONE
        self.cpus[c, C_STAY_START] = self.cpus[c, C_WIN_TS]
        if self.tif_in:
            self.tasks[self.slot(self.cpus[c, C_NEXT]), T_TIF] = 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def mark(self, c: cython.Py_ssize_t, kind: cython.Py_ssize_t) -> cython.void:
        """LOSS, LOSS_END or CPU_END on CPU c."""
        self.cpus[c, C_DROP_ARMED] = 0
        if kind == K_LOSS_END:
            if self.cpus[c, C_BLIND]:
                self.cpus[c, C_BLIND] = 0
                self.nblind -= 1
            return
        self.blind(c, FAR_FUTURE)
        if not self.cpus[c, C_BLIND]:
            self.nblind += 1
        self.cpus[c, C_BLIND] = 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def follow(
        self,
        c: cython.Py_ssize_t,
        p: cython.longlong,
        kind: cython.Py_ssize_t,
        op0: cython.longlong,
        op1: cython.longlong,
    ) -> cython.void:
        """An event of task p tells more than that CPU c still runs it: a switch, or a hole."""
        win: cython.longlong = self.cpus[c, C_WIN]
        gap: cython.bint = kind == K_SCHED_SWITCH and op0 != p
        if win == WIN_OPEN:
            if p == self.cpus[c, C_NEXT]:
                self.close_window(c)
            elif p != self.cpus[c, C_PREV] or not in_tail(kind):
                gap = True
        elif win == WIN_NONE and p != self.cpus[c, C_CUR]:
            if kind == K_SCHED_PROCESS_EXEC and op0 == p and op1 == self.cpus[c, C_CUR]:
                self.cpus[c, C_CUR] = p
            else:
                gap = True
        if gap:
            # Before a CPU's first sched_switch tracing was still being switched on.
            self.gaps += self.cpus[c, C_WIN_TS] != FAR_PAST
            self.blind(c, self.cpus[c, C_PREV_TS])

        # After a hole: whoever prints is current, or the tail of an unseen switch.
        win = self.cpus[c, C_WIN]
        if win == WIN_UNKNOWN:
            if self.cpus[c, C_CUR] != p:
                if self.cpus[c, C_CUR] != NO_PID:
                    self.forget(self.slot(self.cpus[c, C_CUR]))
                    win = WIN_NONE
                self.forget(self.slot(p))
                self.cpus[c, C_CUR] = p
            if not in_tail(kind):
                win = WIN_NONE
            self.cpus[c, C_WIN] = win

    # -- the loop -----------------------------------------------------------------------------

    def read(
        self,
        ts: cython.longlong[::1],
        cpu: cython.int[::1],
        pid: cython.int[::1],
        kind: cython.uchar[::1],
        op: cython.longlong[:, ::1],
        facts: cython.longlong[:, ::1],
    ) -> None:
        """The columns of the block whose rows come next; ``facts``: int64[rows, Before.WIDTH]."""
        self.ts = ts
        self.cpu = cpu
        self.pid = pid
        self.kind = kind
        self.op = op
        self.facts = facts

    def run(self, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> int:
        """Replay rows ``start`` to ``stop`` of the block; returns the first row not done.

        Stops early when the task table could overflow in the next row (then ``grow_tasks``).
        Row i of ``facts`` becomes the state before row i.
        """
        done: cython.longlong
        with cython.nogil:
            done = self._run(start, stop)
        return done

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-99, check=True)
    def _run(self, start: cython.Py_ssize_t, stop: cython.Py_ssize_t) -> cython.longlong:
        ts_: cython.longlong[::1] = self.ts
        cpu_: cython.int[::1] = self.cpu
        pid_: cython.int[::1] = self.pid
        kind_: cython.uchar[::1] = self.kind
        op_: cython.longlong[:, ::1] = self.op
        facts: cython.longlong[:, ::1] = self.facts
        cpus: cython.longlong[:, ::1] = self.cpus
        tasks: cython.longlong[:, ::1] = self.tasks
        table: cython.longlong[:, ::1] = self.table
        i: cython.Py_ssize_t
        c: cython.Py_ssize_t
        s: cython.Py_ssize_t
        sp: cython.Py_ssize_t
        other: cython.Py_ssize_t
        k: cython.Py_ssize_t
        kind: cython.Py_ssize_t
        ts: cython.longlong
        p: cython.longlong
        op0: cython.longlong
        op1: cython.longlong
        act: cython.longlong
        win: cython.longlong
        armed: cython.bint
        room: cython.Py_ssize_t = tasks.shape[0] - 8

        for i in range(start, stop):
            if self.ntasks > room:
                return i
            ts = ts_[i]
            c = cpu_[i]
            kind = kind_[i]
            if kind == K_LOSS or kind == K_LOSS_END or kind == K_CPU_END:
                self.mark(c, kind)
                facts[i, B_CUR] = -1
                facts[i, B_OWN_PID] = -1
                facts[i, B_IMAGE] = IMG_UNKNOWN
                facts[i, B_CPU_KNOW] = cpus[c, C_KNOW]
                continue
            p = pid_[i]
            op0 = op_[i, 0]
            op1 = op_[i, 1]

            # 1. The CPU is in sight.
            if cpus[c, C_BLIND]:
                cpus[c, C_BLIND] = 0
                self.nblind -= 1
            cpus[c, C_SEEN] = 1

            # 2. Continuity.  Row 0 is of no epoch.
            sp = self.pids[p] if 0 <= p <= PID_MAX else 0
            if tasks[sp, T_EPOCH] != self.epoch:
                sp = self.slot(p)
            if tasks[sp, T_HOME] != c:
                self.arrive(sp, c)
            win = cpus[c, C_WIN]
            if win != WIN_NONE or p != cpus[c, C_CUR] or (kind == K_SCHED_SWITCH and op0 != p):
                self.follow(c, p, kind, op0, op1)
                win = cpus[c, C_WIN]
                if tasks[sp, T_EPOCH] != self.epoch:
                    sp = self.slot(p)

            act = table[kind, win]
            s = self.slot(cpus[c, C_NEXT]) if act & A_SUBJECT_NEXT else sp

            cpus[c, C_SLOT] = s
            if cython.compiled:
                memcpy(cython.address(facts[i, 0]), cython.address(cpus[c, 0]), 8 * B_SUBJECT)
                memcpy(
                    cython.address(facts[i, B_SUBJECT]),
                    cython.address(tasks[s, 0]),
                    8 * (B_WIDTH - B_SUBJECT),
                )
            else:
                for k in range(B_SUBJECT):
                    facts[i, k] = cpus[c, k]
                for k in range(B_WIDTH - B_SUBJECT):
                    facts[i, B_SUBJECT + k] = tasks[s, k]
            if cpus[c, C_CUR] == NO_PID:
                facts[i, B_CUR] = -1

            # Effects.
            armed = cpus[c, C_DROP_ARMED]
            cpus[c, C_DROP_ARMED] = 0
            cpus[c, C_PREV_TS] = ts
            if act == 0:
                continue
            if act & A_LEARN_F:
                tasks[s, T_F] = op0
                tasks[s, T_F_KNOWN] = 1
            if act & A_OWN_F:
                cpus[c, C_OWN] = op0
                cpus[c, C_OWN_STATE] = OWN_TOKEN
                cpus[c, C_OWN_PID] = tasks[s, T_PID]
                if act & A_IMAGE_UNKNOWN:  # eager, and whose it is cannot be told
                    cpus[c, C_OWN_PID] = -1
                self.shown_act = True
            if act & A_LAST_HERE:
                tasks[s, T_LAST] = c
                if kind == K_REGS_DEACTIVATED:
                    cpus[c, C_WIN_SAVED] = 1
            if act & A_TIF_0:
                tasks[s, T_TIF] = 0
            if act & A_UNLIKELY:
                if act & A_TIF_1:
                    tasks[s, T_TIF] = 1
                if act & A_TIF_FLAG:
                    tasks[s, T_TIF] = 1 if op1 else 0
                if act & A_IMAGE_UNKNOWN:
                    cpus[c, C_IMAGE] = IMG_UNKNOWN
                if act & A_IMAGE_KERNEL:
                    cpus[c, C_IMAGE] = IMG_KERNEL
            if act & A_IMAGE_BY_KVM:
                if tasks[s, T_KVM] == KVM_LOADED:
                    cpus[c, C_IMAGE] = IMG_GUEST
                elif tasks[s, T_KVM] == KVM_OUT:
                    cpus[c, C_IMAGE] = IMG_INIT if op_[i, 2] == 0 else IMG_USER
                elif tasks[s, T_KVMISH]:
                    cpus[c, C_IMAGE] = IMG_UNKNOWN
                else:
                    cpus[c, C_IMAGE] = IMG_USER_INFERRED
            if not act & A_OTHERS:
                continue
            if act & A_DROPS:
                if act & A_DROP:
                    if armed and cpus[c, C_DROP_F] == op0 and cpus[c, C_DROP_PID] == p:
                        cpus[c, C_OWN_STATE] = OWN_NULL
                        cpus[c, C_OWN_PID] = 0
                        cpus[c, C_IMAGE] = IMG_UNKNOWN
                    if tasks[sp, T_WAIT_KNOWN] and tasks[sp, T_WAIT] == op0:
                        tasks[sp, T_WAIT_KNOWN] = 0
                if act & A_ARM_DROP:
                    cpus[c, C_DROP_ARMED] = 1
                    cpus[c, C_DROP_F] = op0
                    cpus[c, C_DROP_PID] = p
                if act & A_CHILD_TOKEN:
                    tasks[s, T_WAIT] = op0
                    tasks[s, T_WAIT_KNOWN] = 1
            if act & A_KVM:
                if act & A_KVMISH:
                    tasks[s, T_KVMISH] = 1
                if act & A_KVM_SET:
                    self.shown_kvm = True
                    tasks[s, T_KVM] = KVM_LOADED if op0 else KVM_OUT
                    if act & A_IMAGE_ALWAYS or (
                        act & A_IMAGE_IF_OWNER
                        and cpus[c, C_OWN_STATE] == OWN_TOKEN
                        and tasks[s, T_F_KNOWN]
                        and tasks[s, T_F] == cpus[c, C_OWN]
                    ):
                        cpus[c, C_IMAGE] = IMG_GUEST if op0 else IMG_USER
            if act & A_SWITCH:
                self.arrive(self.slot(op_[i, 2]), c)
                cpus[c, C_WIN] = WIN_OPEN
                cpus[c, C_PREV] = p
                cpus[c, C_NEXT] = op_[i, 2]
                cpus[c, C_WIN_TS] = ts
                cpus[c, C_WIN_BLIND] = self.nblind > 0
                cpus[c, C_WIN_SAVED] = 0
            elif act & A_TASKS:
                if act & A_FORK:
                    other = self.slot(op1)
                    self.renew(other)
                    sp = self.slot(p)
                    if self.nblind == 0:
                        if tasks[sp, T_WAIT_KNOWN]:
                            tasks[other, T_F] = tasks[sp, T_WAIT]
                            tasks[other, T_F_KNOWN] = 1
                        # Before an event was ever seen it may not have been switched on yet.
                        if self.shown_act:
                            tasks[other, T_LAST] = LAST_INVALID
                            if not self.eager:
                                tasks[other, T_TIF] = 1
                        if self.shown_kvm:
                            tasks[other, T_KVM] = KVM_OUT
                    tasks[sp, T_WAIT_KNOWN] = 0
                elif act & A_EXEC:
                    s = self.slot(op0)
                    if op0 != op1:
                        other = self.slot(op1)
                        self.arrive(other, c)
                        s = self.slot(op0)
                        other = self.slot(op1)
                        self.renew(s)
                        tasks[s, T_F] = tasks[other, T_F]
                        tasks[s, T_F_KNOWN] = tasks[other, T_F_KNOWN]
                        tasks[s, T_LAST] = tasks[other, T_LAST]
                        tasks[s, T_TIF] = tasks[other, T_TIF]
                        tasks[s, T_KVM] = tasks[other, T_KVM]
                        tasks[s, T_KVMISH] = tasks[other, T_KVMISH]
                        self.renew(other)
                    if not self.eager:
                        tasks[s, T_TIF] = -1
                elif act & A_FREE:
                    other = self.slot(op0)
                    self.renew(other)
                    if other and not self.is_home(other):
                        self.pids[op0] = 0
                        self.free[self.nfree] = cython.cast(cython.int, other)
                        self.nfree += 1
                elif act & A_GAP_CPU:
                    self.away(op0)
                    if op0 == c:
                        cpus[c, C_CUR] = p
                        cpus[c, C_WIN] = WIN_NONE
                elif act & A_GAP_ALL:
                    self.away(-1)
                    for k in range(self.ncpu):
                        self.unknow(k)
                    cpus[c, C_CUR] = p
                    cpus[c, C_WIN] = WIN_NONE
        return stop
