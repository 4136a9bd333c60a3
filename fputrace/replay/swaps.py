# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""KVM_RUNs as a whole, and components that stay in use: what FPU202, 203 and 208 ask.

A reader of events and facts, of the build of :mod:`fputrace.replay.judge`, for few kinds of event:
it runs always, while :mod:`fputrace.replay.costs` counts every save and restore when asked.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import Before, Out, SwapTask
from fputrace.timeline import Fact

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    from fputrace.replay.reader import Reader

    REF = layout.REF
    COSTS_SHIFT = layout.COSTS_SHIFT
    STICKY = layout.STICKY
    STICKY_SAVES = layout.STICKY_SAVES
    KVM_LOADED = layout.KVM_LOADED
    WIN_OPEN = int(layout.Win.OPEN)
    B_KVM = int(Before.KVM)
    B_SERIAL = int(Before.SERIAL)
    B_SLOT = int(Before.SLOT)
    B_SUBJECT = int(Before.SUBJECT)
    B_TASK_KNOW = int(Before.TASK_KNOW)
    B_WIDTH = int(Before.WIDTH)
    B_WIN = int(Before.WIN)
    F_STICKY = int(Fact.STICKY) >> layout.COSTS_SHIFT
    F_SWAP_NO_ENTRY = int(Fact.SWAP_NO_ENTRY) >> layout.COSTS_SHIFT
    F_SWAP_NO_ENTRY_OPEN = int(Fact.SWAP_NO_ENTRY_OPEN) >> layout.COSTS_SHIFT
    F_USER_EXIT_SWAP = int(Fact.USER_EXIT_SWAP) >> layout.COSTS_SHIFT
    K_KVM_ENTRY = int(Kind.KVM_ENTRY)
    K_KVM_FPU = int(Kind.KVM_FPU)
    K_REGS_DEACTIVATED = int(Kind.REGS_DEACTIVATED)
    O_CAUSE = int(Out.CAUSE)
    O_COUNT = int(Out.COUNT)
    O_EVENT = int(Out.EVENT)
    O_FACTS = int(Out.FACTS)
    O_KVM = int(Out.KVM)
    O_OWNER = int(Out.OWNER)
    O_SAVE = int(Out.SAVE)
    O_SERIAL = int(Out.SERIAL)
    O_SUBJECT = int(Out.SUBJECT)
    O_VCPU = int(Out.VCPU)
    O_WIDTH = int(Out.WIDTH)
    T_ENTERED = int(SwapTask.ENTERED)
    T_EXITED = int(SwapTask.EXITED)
    T_KNOW = int(SwapTask.KNOW)
    T_PID = int(SwapTask.PID)
    T_PUT_AT_OUT = int(SwapTask.PUT_AT_OUT)
    T_REF_KVM = int(SwapTask.REF_KVM)
    T_REF_LOAD = int(SwapTask.REF_LOAD)
    T_REF_SAVE = int(SwapTask.REF_SAVE)
    T_RUN = int(SwapTask.RUN)
    T_RUN_CPU = int(SwapTask.RUN_CPU)
    T_RUN_SURE = int(SwapTask.RUN_SURE)
    T_SERIAL = int(SwapTask.SERIAL)
    T_STICKY_GUEST = int(SwapTask.STICKY_GUEST)
    T_STICKY_USER = int(SwapTask.STICKY_USER)
    T_VCPU = int(SwapTask.VCPU)
    T_WIDTH = int(SwapTask.WIDTH)


def widths() -> tuple[int, int, int]:
    """Columns this loop was built for: a task's, a facts and an out row."""
    return int(T_WIDTH), int(B_WIDTH), int(O_WIDTH)


@cython.final
@cython.cclass
class Swaps(Reader):
    """What spans events, carried from call to call.

    cpus: int64[ncpu, 1], time of each CPU's last kvm_entry, 0 none; tasks: int64[cap,
    SwapTask.WIDTH], rows as the ownership loop numbers them; out: int64[rows, Out.WIDTH]; row:
    int64[REF] to work in; watched: uint8[256], the kinds of event that matter here; wanted: the
    Fact bits some rule asks for.
    """

    watched: cython.uchar[::1]

    def __init__(
        self,
        cpus: cython.longlong[:, ::1],
        tasks: cython.longlong[:, ::1],
        out: cython.longlong[:, ::1],
        row: cython.longlong[::1],
        watched: cython.uchar[::1],
        wanted: int,
    ) -> None:
        self.cpus = cpus
        self.tasks = tasks
        self.out = out
        self.row = row
        self.watched = watched
        self.nout = 0
        self.wanted = wanted >> COSTS_SHIFT

    def finish(self) -> bool:
        """End of the trace: nothing waits here."""
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def emit(
        self,
        facts: cython.longlong,
        s: cython.Py_ssize_t,
        count: cython.longlong,
    ) -> cython.void:
        """An out row about task s, shown by ``row``."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.nout
        if not facts & self.wanted:
            return
        self.nout += 1
        self.out[n, O_FACTS] = facts << COSTS_SHIFT
        self.out[n, O_SUBJECT] = self.tasks[s, T_PID]
        self.out[n, O_SERIAL] = self.tasks[s, T_SERIAL]
        self.out[n, O_VCPU] = self.tasks[s, T_VCPU] - 1
        self.out[n, O_COUNT] = count
        self.out[n, O_OWNER] = -1
        for j in range(REF):
            self.out[n, O_EVENT + j] = self.row[j]
            self.out[n, O_SAVE + j] = self.tasks[s, T_REF_SAVE + j]
            self.out[n, O_KVM + j] = self.tasks[s, T_REF_KVM + j]
            self.out[n, O_CAUSE + j] = self.tasks[s, T_REF_LOAD + j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_task(
        self, s: cython.Py_ssize_t, f: cython.Py_ssize_t, facts: cython.longlong[:, ::1]
    ) -> cython.void:
        """Drop what was followed of row s when its task changed or was out of sight."""
        j: cython.Py_ssize_t
        end: cython.Py_ssize_t = T_SERIAL
        if self.tasks[s, T_SERIAL] != facts[f, B_SERIAL]:
            end = T_WIDTH
        for j in range(end):
            self.tasks[s, j] = 0
        self.tasks[s, T_SERIAL] = facts[f, B_SERIAL]
        self.tasks[s, T_KNOW] = facts[f, B_TASK_KNOW]
        self.tasks[s, T_PID] = facts[f, B_SUBJECT]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ran(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t) -> cython.void:
        """KVM_RUN of task s is over and the guest is put; ``row`` shows the later of both."""
        self.tasks[s, T_RUN] = 0
        self.tasks[s, T_EXITED] = 0
        if self.tasks[s, T_ENTERED]:
            self.emit(F_USER_EXIT_SWAP, s, 1)
        elif (
            # An absent kvm_entry proves something only where the CPU had shown that it records it.
            self.tasks[s, T_RUN_SURE] and self.tasks[s, T_RUN_CPU] == c
        ):
            self.emit(F_SWAP_NO_ENTRY, s, 1)
        else:
            self.emit(F_SWAP_NO_ENTRY_OPEN, s, 1)

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
        cpus: cython.longlong[:, ::1] = self.cpus
        tasks: cython.longlong[:, ::1] = self.tasks
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        c: cython.Py_ssize_t
        s: cython.Py_ssize_t
        kind: cython.Py_ssize_t
        mask: cython.longlong
        tail: cython.bint
        row: cython.longlong[::1] = self.row
        watched: cython.uchar[::1] = self.watched
        room: cython.Py_ssize_t = self.out.shape[0] - 16

        for i in range(first, stop):
            kind = kind_[i]
            if not watched[kind]:
                continue
            if self.nout > room:
                return i
            c = cpu_[i]
            s = facts[i, B_SLOT]
            if tasks[s, T_KNOW] != facts[i, B_TASK_KNOW]:
                self.fresh_task(s, i, facts)
            if kind == K_KVM_ENTRY:
                tasks[s, T_ENTERED] = 1
                tasks[s, T_VCPU] = op_[i, 0] + 1
                cpus[c, 0] = ts_[i]
                continue
            tail = facts[i, B_WIN] == WIN_OPEN
            if kind == K_REGS_DEACTIVATED and not tail:
                continue
            row[0] = ts_[i]
            row[1] = c
            row[2] = pid_[i]
            row[3] = kind
            row[4] = event_[i]
            for j in range(4):
                row[5 + j] = op_[i, j]
            if kind == K_REGS_DEACTIVATED:
                j = T_STICKY_GUEST if facts[i, B_KVM] == KVM_LOADED else T_STICKY_USER
                mask = row[7]
                if mask >= 0 and mask & STICKY:
                    tasks[s, j] += 1
                    if tasks[s, j] == STICKY_SAVES:
                        self.emit(F_STICKY, s, STICKY_SAVES)
                    elif tasks[s, j] > STICKY_SAVES:
                        self.emit(F_STICKY, s, 1)
                else:
                    tasks[s, j] = 0
                for j in range(REF):
                    tasks[s, T_REF_SAVE + j] = row[j]
            elif kind == K_KVM_FPU:
                if row[5]:
                    if not tasks[s, T_PUT_AT_OUT]:
                        tasks[s, T_RUN] = 1
                        tasks[s, T_RUN_CPU] = c
                        tasks[s, T_RUN_SURE] = cpus[c, 0] != 0
                        tasks[s, T_ENTERED] = 0
                        tasks[s, T_EXITED] = 0
                        for j in range(REF):
                            tasks[s, T_REF_LOAD + j] = row[j]
                    tasks[s, T_PUT_AT_OUT] = 0
                else:
                    tasks[s, T_PUT_AT_OUT] = tail
                for j in range(REF):
                    tasks[s, T_REF_KVM + j] = row[j]
                if row[5] == 0 and not tail and tasks[s, T_RUN] == 1:
                    if tasks[s, T_EXITED]:
                        self.ran(c, s)
                    else:
                        tasks[s, T_RUN] = 2
            else:
                # kvm_userspace_exit: before the put until 4.14.93, behind it since.
                tasks[s, T_PUT_AT_OUT] = 0
                if tasks[s, T_RUN] == 2:
                    self.ran(c, s)
                elif tasks[s, T_RUN] == 1:
                    tasks[s, T_EXITED] = 1
        return stop
