# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Saves and restores: how many each task had done, why, and which of them nothing ever used.

A reader of events and facts, of the build of :mod:`fputrace.replay.judge`.  An event that prints a
save or a restore is counted as it is; KVM's swaps print one event (``kvm_fpu``) for a save and a
restore, which are counted as inferred where no event of their own shows them (kvm_load_guest_fpu(),
kvm_put_guest_fpu() in arch/x86/kvm/x86.c; docs/costs.md has the steps of each generation).
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import (
    Before,
    CostCpu,
    CostOp,
    CostStep,
    CostSum,
    CostTask,
    CostWhy,
    Out,
)
from fputrace.timeline import Fact

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    from fputrace.replay.ledger import Ledger
    from fputrace.replay.reader import Reader

    REF = layout.REF
    COSTS_SHIFT = layout.COSTS_SHIFT
    KVM_LOADED = layout.KVM_LOADED
    WIN_OPEN = int(layout.Win.OPEN)
    OWN_TOKEN = int(layout.Own.TOKEN)
    LAST_INVALID = layout.LAST_INVALID
    TASK_REPORT_MAX = 0x100
    B_CPU_KNOW = int(Before.CPU_KNOW)
    B_F_KNOWN = int(Before.F_KNOWN)
    B_KVM = int(Before.KVM)
    B_LAST = int(Before.LAST)
    B_OWN = int(Before.OWN)
    B_OWN_STATE = int(Before.OWN_STATE)
    B_SERIAL = int(Before.SERIAL)
    B_SLOT = int(Before.SLOT)
    B_SUBJECT = int(Before.SUBJECT)
    B_TASK_KNOW = int(Before.TASK_KNOW)
    B_TIF = int(Before.TIF)
    B_WIDTH = int(Before.WIDTH)
    B_WIN = int(Before.WIN)
    C_KFPU = int(CostCpu.KFPU)
    C_KNOW = int(CostCpu.KNOW)
    C_REF_SWITCH = int(CostCpu.REF_SWITCH)
    C_SWITCHING = int(CostCpu.SWITCHING)
    C_SW_BYTES = int(CostCpu.SW_BYTES)
    C_SW_UNLOADED = int(CostCpu.SW_UNLOADED)
    C_WIDTH = int(CostCpu.WIDTH)
    F_HALT_SWAP = int(Fact.HALT_SWAP) >> layout.COSTS_SHIFT
    F_KFPU_RELOAD = int(Fact.KFPU_RELOAD) >> layout.COSTS_SHIFT
    F_KFPU_RELOAD_PROBED = int(Fact.KFPU_RELOAD_PROBED) >> layout.COSTS_SHIFT
    F_MIGRATED_RELOAD = int(Fact.MIGRATED_RELOAD) >> layout.COSTS_SHIFT
    F_SAVE_UNUSED = int(Fact.SAVE_UNUSED) >> layout.COSTS_SHIFT
    F_SAVE_UNUSED_OPEN = int(Fact.SAVE_UNUSED_OPEN) >> layout.COSTS_SHIFT
    K_AFTER_SAVE = int(Kind.AFTER_SAVE)
    K_COPY_DST = int(Kind.COPY_DST)
    K_KVM_ENTRY = int(Kind.KVM_ENTRY)
    K_KVM_FPU = int(Kind.KVM_FPU)
    K_KVM_USERSPACE_EXIT = int(Kind.KVM_USERSPACE_EXIT)
    K_KVM_VCPU_WAKEUP = int(Kind.KVM_VCPU_WAKEUP)
    K_PAGE_FAULT_USER = int(Kind.PAGE_FAULT_USER)
    K_PROBE_KFPU_BEGIN = int(Kind.PROBE_KFPU_BEGIN)
    K_PROBE_SAVE = int(Kind.PROBE_SAVE)
    K_REGS_ACTIVATED = int(Kind.REGS_ACTIVATED)
    K_REGS_DEACTIVATED = int(Kind.REGS_DEACTIVATED)
    K_SCHED_PROCESS_EXEC = int(Kind.SCHED_PROCESS_EXEC)
    K_SCHED_SWITCH = int(Kind.SCHED_SWITCH)
    K_SIGNAL_DELIVER = int(Kind.SIGNAL_DELIVER)
    K_SYS_ENTER = int(Kind.SYS_ENTER)
    O_CAUSE = int(Out.CAUSE)
    O_COUNT = int(Out.COUNT)
    O_EVENT = int(Out.EVENT)
    O_FACTS = int(Out.FACTS)
    O_OWNER = int(Out.OWNER)
    O_SAVE = int(Out.SAVE)
    O_SERIAL = int(Out.SERIAL)
    O_SUBJECT = int(Out.SUBJECT)
    O_SWITCH = int(Out.SWITCH)
    O_VCPU = int(Out.VCPU)
    O_WIDTH = int(Out.WIDTH)
    P_IN_ACT = int(CostStep.IN_ACT)
    P_LOAD_ACT = int(CostStep.LOAD_ACT)
    P_OUT = int(CostStep.OUT)
    P_OUT_SAVE = int(CostStep.OUT_SAVE)
    P_PUT = int(CostStep.PUT)
    P_PUT_ACT = int(CostStep.PUT_ACT)
    P_RELOAD = int(CostStep.RELOAD)
    S_WIDTH = int(CostSum.WIDTH)
    T_ACT = int(CostTask.ACT)
    T_ACT_EXCUSED = int(CostTask.ACT_EXCUSED)
    T_ACT_FIRST = int(CostTask.ACT_FIRST)
    T_ACT_FLAG = int(CostTask.ACT_FLAG)
    T_ACT_KFPU = int(CostTask.ACT_KFPU)
    T_ACT_KVM = int(CostTask.ACT_KVM)
    T_ACT_LAST = int(CostTask.ACT_LAST)
    T_ACT_TIF = int(CostTask.ACT_TIF)
    T_ACT_VALID = int(CostTask.ACT_VALID)
    T_CAME = int(CostTask.CAME)
    T_ENTERED = int(CostTask.ENTERED)
    T_EXCUSED = int(CostTask.EXCUSED)
    T_EXITED = int(CostTask.EXITED)
    T_KNOW = int(CostTask.KNOW)
    T_KSAVED = int(CostTask.KSAVED)
    T_KVMISH = int(CostTask.KVMISH)
    T_PID = int(CostTask.PID)
    T_PUT_AT_OUT = int(CostTask.PUT_AT_OUT)
    T_QUIET = int(CostTask.QUIET)
    T_REF_ACT = int(CostTask.REF_ACT)
    T_REF_SAVE = int(CostTask.REF_SAVE)
    T_REF_SWITCH = int(CostTask.REF_SWITCH)
    T_RUN = int(CostTask.RUN)
    T_RUN_RESTORES = int(CostTask.RUN_RESTORES)
    T_RUN_RESTORE_BYTES = int(CostTask.RUN_RESTORE_BYTES)
    T_RUN_SAVES = int(CostTask.RUN_SAVES)
    T_RUN_SAVE_BYTES = int(CostTask.RUN_SAVE_BYTES)
    T_SAVED_CPU = int(CostTask.SAVED_CPU)
    T_SERIAL = int(CostTask.SERIAL)
    T_STAY_ACTED = int(CostTask.STAY_ACTED)
    T_STAY_BYTES = int(CostTask.STAY_BYTES)
    T_STAY_RELOADED = int(CostTask.STAY_RELOADED)
    T_SUM = int(CostTask.SUM)
    T_VCPU = int(CostTask.VCPU)
    T_WHY = int(CostTask.WHY)
    T_WHY_LAST = int(CostTask.WHY_LAST)
    T_WIDTH = int(CostTask.WIDTH)
    T_X_GUEST = int(CostTask.X_GUEST)
    T_X_USER = int(CostTask.X_USER)
    W_BLOCKED = int(CostWhy.BLOCKED)
    W_HALTED = int(CostWhy.HALTED)
    W_KERNEL = int(CostWhy.KERNEL)
    W_OTHER = int(CostWhy.OTHER)
    W_PENDING = int(CostWhy.PENDING)
    W_PREEMPTED = int(CostWhy.PREEMPTED)
    W_RUN = int(CostWhy.RUN)
    W_YIELDED = int(CostWhy.YIELDED)
    X_ELIDED = int(CostOp.ELIDED)
    X_TIMES = int(CostOp.TIMES)


def widths() -> tuple[int, int, int, int, int]:
    """Columns this loop was built for: a CPU's, a task's, a facts, an out row; a row of sums."""
    return int(C_WIDTH), int(T_WIDTH), int(B_WIDTH), int(O_WIDTH), int(S_WIDTH)


@cython.final
@cython.cclass
class Costs(Reader):
    """What spans events, carried from call to call.

    cpus: int64[ncpu, CostCpu.WIDTH]; tasks: int64[cap, CostTask.WIDTH], rows as the ownership loop
    numbers them; book: the sums, with the same tasks and row; out: int64[rows, Out.WIDTH]; row:
    int64[REF] to work in; watched: uint8[256], the kinds of event that matter; wanted: the Fact
    bits some rule asks for; eager: restores at switch-in; raw: KVM's swap saves whatever
    TIF_NEED_FPU_LOAD says; pointer: an activation's xfeatures are of the image just swapped in;
    exits: returns to the VMM are recorded.
    """

    book: Ledger
    watched: cython.uchar[::1]
    eager: cython.bint
    raw: cython.bint
    pointer: cython.bint
    exits: cython.bint
    probed: cython.bint

    def __init__(
        self,
        cpus: cython.longlong[:, ::1],
        tasks: cython.longlong[:, ::1],
        book: Ledger,
        out: cython.longlong[:, ::1],
        row: cython.longlong[::1],
        watched: cython.uchar[::1],
        wanted: int,
        eager: bool,
        raw: bool,
        pointer: bool,
        exits: bool,
    ) -> None:
        self.cpus = cpus
        self.tasks = tasks
        self.book = book
        self.out = out
        self.row = row
        self.watched = watched
        self.nout = 0
        self.wanted = wanted >> COSTS_SHIFT
        self.eager = eager
        self.raw = raw
        self.pointer = pointer
        self.exits = exits
        self.probed = False

    def grow(self, cpus: cython.longlong[:, ::1], tasks: cython.longlong[:, ::1]) -> None:
        """Go on with longer tables, the ledger's too (the old rows copied by the caller)."""
        Reader.grow(self, cpus, tasks)
        self.book.grow(tasks)

    def finish(self) -> bool:
        """End of the trace: an activation that still waits was no part of a swap.

        Call until it returns True, each time with room in ``out`` and the ledger.
        """
        s: cython.Py_ssize_t
        for s in range(self.tasks.shape[0]):
            if self.nout > self.out.shape[0] - 4 or self.book.full():
                return False
            if self.tasks[s, T_ACT]:
                self.reloaded(s)
        return True

    # -- rows for the rules -------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def emit(
        self,
        facts: cython.longlong,
        s: cython.Py_ssize_t,
        count: cython.longlong,
        cause: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        """An out row about task s, shown by ``row``; ``cause``: column of the event it goes back
        to.  Returns its number, -1 when no rule asks.
        """
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.nout
        if not facts & self.wanted:
            return -1
        self.nout += 1
        self.out[n, O_FACTS] = facts << COSTS_SHIFT
        self.out[n, O_SUBJECT] = self.tasks[s, T_PID]
        self.out[n, O_SERIAL] = self.tasks[s, T_SERIAL]
        self.out[n, O_VCPU] = self.tasks[s, T_VCPU] - 1
        self.out[n, O_COUNT] = count
        self.out[n, O_OWNER] = -1
        for j in range(REF):
            self.out[n, O_EVENT + j] = self.row[j]
            self.out[n, O_SWITCH + j] = self.tasks[s, T_REF_SWITCH + j]
            self.out[n, O_SAVE + j] = self.tasks[s, T_REF_SAVE + j]
            self.out[n, O_CAUSE + j] = self.tasks[s, cause + j]
        return n

    # -- what was followed --------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_task(
        self, s: cython.Py_ssize_t, f: cython.Py_ssize_t, facts: cython.longlong[:, ::1]
    ) -> cython.void:
        """Drop what was followed of row s when its task changed or was out of sight."""
        j: cython.Py_ssize_t
        r: cython.Py_ssize_t
        if self.tasks[s, T_ACT]:
            self.reloaded(s)
        if self.tasks[s, T_SERIAL] != facts[f, B_SERIAL]:
            r = self.book.close(s)
            for j in range(T_WIDTH):
                self.tasks[s, j] = 0
            self.tasks[s, T_SUM] = r
        for j in range(T_X_USER):
            self.tasks[s, j] = 0
        self.tasks[s, T_SERIAL] = facts[f, B_SERIAL]
        self.tasks[s, T_KNOW] = facts[f, B_TASK_KNOW]
        self.tasks[s, T_PID] = facts[f, B_SUBJECT]
        if self.tasks[s, T_WHY] == W_PENDING:
            self.book.decide(s, W_BLOCKED)
        self.tasks[s, T_WHY] = W_OTHER
        self.tasks[s, T_WHY_LAST] = W_OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_cpu(self, c: cython.Py_ssize_t, know: cython.longlong) -> cython.void:
        """Drop what was followed of CPU c when it was out of sight."""
        j: cython.Py_ssize_t
        for j in range(C_WIDTH):
            self.cpus[c, j] = 0
        self.cpus[c, C_KNOW] = know

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def came_in(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t) -> cython.void:
        """The incoming task s speaks for the first time: the switch on CPU c is over."""
        self.cpus[c, C_SWITCHING] = 0
        self.tasks[s, T_CAME] = 1
        self.book.step_in(s, self.cpus, c)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def reloaded(self, s: cython.Py_ssize_t) -> cython.void:
        """The activation of task s that waited was no swap (5.2 on)."""
        j: cython.Py_ssize_t
        facts: cython.longlong = 0
        why: cython.Py_ssize_t = W_OTHER
        guest: cython.bint = self.tasks[s, T_ACT_KVM] == KVM_LOADED
        n: cython.Py_ssize_t
        self.tasks[s, T_ACT] = 0
        if self.tasks[s, T_ACT_FLAG] and not self.tasks[s, T_ACT_EXCUSED]:
            if self.tasks[s, T_REF_ACT + 7] >= 0:
                self.tasks[s, T_X_GUEST if guest else T_X_USER] = self.tasks[s, T_REF_ACT + 7] + 1
            if self.tasks[s, T_ACT_VALID]:
                why = W_KERNEL
                self.book.add(s, W_KERNEL, X_TIMES)
                facts = F_KFPU_RELOAD_PROBED if self.tasks[s, T_ACT_KFPU] else F_KFPU_RELOAD
                # In the midst of a stay the registers were live: they were saved first.
                if (
                    not self.probed
                    and not self.tasks[s, T_ACT_FIRST]
                    and self.tasks[s, T_ACT_TIF] == 0
                ):
                    self.book.op(s, W_KERNEL, False, guest, True)
            elif self.tasks[s, T_ACT_FIRST] and self.tasks[s, T_ACT_LAST] != LAST_INVALID:
                why = self.tasks[s, T_WHY]
                if self.tasks[s, T_ACT_LAST] >= 0 and (
                    self.tasks[s, T_ACT_LAST] != self.tasks[s, T_REF_ACT + 1]
                ):
                    facts = F_MIGRATED_RELOAD
        self.tasks[s, T_STAY_BYTES] = self.book.op(s, why, True, guest, False)
        self.tasks[s, T_STAY_RELOADED] = self.tasks[s, T_ACT_FLAG]
        self.book.step_act(s, 3, P_IN_ACT)
        n = self.emit(facts, s, 1, T_REF_SAVE)
        if n >= 0:
            for j in range(REF):
                self.out[n, O_EVENT + j] = self.tasks[s, T_REF_ACT + j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def activated(
        self,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
        tail: cython.bint,
        valid: cython.bint,
        last: cython.longlong,
        tif: cython.longlong,
        kvm: cython.longlong,
    ) -> cython.void:
        """regs_activated of task s on CPU c."""
        guest: cython.bint = kvm == KVM_LOADED
        mask: cython.longlong = self.row[7]
        if self.eager:
            if mask >= 0:
                self.tasks[s, T_X_GUEST if guest else T_X_USER] = mask + 1
            if not tail:
                self.book.op(s, W_OTHER, True, guest, False)
            elif valid:
                # switch_fpu_finish() prints it whether or not it had to restore.
                self.book.add(s, self.tasks[s, T_WHY], X_ELIDED)
                self.tasks[s, T_STAY_RELOADED] = 2
                if self.tasks[s, T_SAVED_CPU] == c + 1:
                    self.emit(F_SAVE_UNUSED_OPEN, s, 1, T_REF_SAVE)
            else:
                self.tasks[s, T_STAY_BYTES] = self.book.op(
                    s, self.tasks[s, T_WHY], True, guest, False
                )
                self.tasks[s, T_STAY_RELOADED] = 1
                if last >= 0 and last != c:
                    self.emit(F_MIGRATED_RELOAD, s, 1, T_REF_SAVE)
            if tail:
                self.keep(self.tasks, s, T_REF_ACT)
                self.book.step_act(s, 2, P_IN_ACT)
        else:
            self.keep(self.tasks, s, T_REF_ACT)
            self.tasks[s, T_ACT] = 1
            self.tasks[s, T_ACT_FLAG] = self.row[6]
            self.tasks[s, T_ACT_VALID] = valid
            self.tasks[s, T_ACT_LAST] = last
            self.tasks[s, T_ACT_FIRST] = not self.tasks[s, T_STAY_ACTED]
            self.tasks[s, T_ACT_TIF] = tif
            self.tasks[s, T_ACT_KVM] = kvm
            self.tasks[s, T_ACT_EXCUSED] = self.tasks[s, T_EXCUSED]
            self.tasks[s, T_ACT_KFPU] = self.cpus[c, C_KFPU]
        self.tasks[s, T_STAY_ACTED] = 1
        self.tasks[s, T_EXCUSED] = 0
        self.tasks[s, T_KSAVED] = 0
        self.cpus[c, C_KFPU] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def saved(
        self, c: cython.Py_ssize_t, s: cython.Py_ssize_t, mine: cython.bint, kvm: cython.longlong
    ) -> cython.void:
        """regs_deactivated of task s in its switch window."""
        guest: cython.bint = kvm == KVM_LOADED
        mask: cython.longlong = self.row[7]
        moved: cython.longlong
        if mask >= 0:
            self.tasks[s, T_X_GUEST if guest else T_X_USER] = mask + 1
        if (
            not self.eager
            and mine
            and self.tasks[s, T_QUIET]
            and self.tasks[s, T_SAVED_CPU] == c + 1
        ):
            # TIF_NEED_FPU_LOAD was clear, and nothing was restored: the registers were still good.
            self.book.add(s, self.tasks[s, T_WHY_LAST], X_ELIDED)
            self.emit(F_SAVE_UNUSED, s, 1, T_REF_SAVE)
        moved = self.book.op(s, self.tasks[s, T_WHY], False, guest, False)
        if self.cpus[c, C_SW_UNLOADED]:
            self.book.redundant(s, self.tasks[s, T_WHY], self.cpus[c, C_SW_BYTES], moved)
        self.book.images(s)
        self.keep(self.tasks, s, T_REF_SAVE)
        self.tasks[s, T_SAVED_CPU] = c + 1
        self.book.step(s, 2, 2, P_OUT_SAVE)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ran(self, s: cython.Py_ssize_t) -> cython.void:
        """KVM_RUN of task s is over and the guest is put: did it ever enter the guest?"""
        self.tasks[s, T_RUN] = 0
        self.tasks[s, T_EXITED] = 0
        if not self.tasks[s, T_ENTERED]:
            # The guest's image was restored and saved unused, and the user's moved for it.
            self.book.idled(s)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def swap(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t, tail: cython.bint) -> cython.void:
        """kvm_fpu of task s: what kvm_load_guest_fpu() or kvm_put_guest_fpu() saved and restored.

        From 5.2 on its fpregs_mark_activate() printed the restore; the save is left out when
        TIF_NEED_FPU_LOAD said that memory has it already (kvm_save_current_fpu(), 5.4.19 on).
        """
        load: cython.bint = self.row[5] != 0
        shown: cython.bint = self.tasks[s, T_ACT] != 0
        flag: cython.bint = self.tasks[s, T_ACT_FLAG] != 0
        again: cython.bint = load and self.tasks[s, T_PUT_AT_OUT] != 0
        does_save: cython.bint = self.eager or (shown and (self.raw or not flag))
        does_restore: cython.bint = self.eager or shown
        why: cython.Py_ssize_t = self.tasks[s, T_WHY] if again or tail else W_RUN
        out_bytes: cython.longlong = -1
        in_bytes: cython.longlong = -1
        if does_save:
            out_bytes = self.book.op(s, why, False, not load, True)
        if shown and self.pointer and self.tasks[s, T_REF_ACT + 7] >= 0:
            self.tasks[s, T_X_GUEST if load else T_X_USER] = self.tasks[s, T_REF_ACT + 7] + 1
        if does_restore:
            in_bytes = self.book.op(s, why, True, load, self.eager)
        self.tasks[s, T_ACT] = 0
        if load:
            if again:
                if self.exits and out_bytes >= 0 and self.tasks[s, T_STAY_RELOADED]:
                    self.book.redundant(
                        s,
                        why,
                        self.tasks[s, T_STAY_BYTES] if self.tasks[s, T_STAY_RELOADED] == 1 else -1,
                        out_bytes,
                    )
                self.book.step(s, 3, 3, P_RELOAD)
            else:
                self.book.add(s, W_RUN, X_TIMES)
                self.book.step_anew(s)
                if shown:
                    self.book.step_act(s, 1, P_LOAD_ACT)
                self.tasks[s, T_RUN_SAVES] = out_bytes >= 0
                self.tasks[s, T_RUN_RESTORES] = in_bytes >= 0
                self.tasks[s, T_RUN_SAVE_BYTES] = out_bytes if out_bytes >= 0 else 0
                self.tasks[s, T_RUN_RESTORE_BYTES] = in_bytes if in_bytes >= 0 else 0
        elif tail:
            self.cpus[c, C_SW_UNLOADED] = 1
            self.cpus[c, C_SW_BYTES] = in_bytes
        else:
            self.tasks[s, T_RUN_SAVES] += out_bytes >= 0
            self.tasks[s, T_RUN_RESTORES] += in_bytes >= 0
            self.tasks[s, T_RUN_SAVE_BYTES] += out_bytes if out_bytes >= 0 else 0
            self.tasks[s, T_RUN_RESTORE_BYTES] += in_bytes if in_bytes >= 0 else 0
            self.book.step(s, 3, 4, P_PUT)
            if shown:
                self.book.step_act(s, 4, P_PUT_ACT)
        self.tasks[s, T_STAY_RELOADED] = 0

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
        why: cython.longlong
        own: cython.longlong
        last: cython.longlong
        kvm: cython.longlong
        tail: cython.bint
        soft: cython.bint
        mine: cython.bint
        row: cython.longlong[::1] = self.row
        room: cython.Py_ssize_t = self.out.shape[0] - 16

        for i in range(first, stop):
            kind = kind_[i]
            if not self.watched[kind]:
                continue
            if self.nout > room or self.book.full():
                return i
            c = cpu_[i]
            s = facts[i, B_SLOT]
            if self.cpus[c, C_KNOW] != facts[i, B_CPU_KNOW]:
                self.fresh_cpu(c, facts[i, B_CPU_KNOW])
            if self.tasks[s, T_KNOW] != facts[i, B_TASK_KNOW]:
                self.fresh_task(s, i, facts)
            tail = facts[i, B_WIN] == WIN_OPEN
            kvm = facts[i, B_KVM]
            soft = kind >= K_PROBE_SAVE
            row[0] = ts_[i]
            row[1] = c
            row[2] = pid_[i]
            row[3] = kind
            row[4] = event_[i]
            for j in range(4):
                row[5 + j] = op_[i, j]
            if self.cpus[c, C_SWITCHING] and not tail:
                self.came_in(c, s)
            if self.tasks[s, T_ACT] and not soft and kind != K_KVM_FPU:
                # A swap's kvm_fpu comes late, a preemption may lie before it; what a swap prints
                # has the flag clear unless the registers were stale.
                if (
                    self.tasks[s, T_ACT_FLAG]
                    or not self.tasks[s, T_KVMISH]
                    or kind == K_REGS_ACTIVATED
                    or kind == K_SYS_ENTER
                    or kind == K_PAGE_FAULT_USER
                ):
                    self.reloaded(s)
                else:
                    self.tasks[s, T_ACT] = 2

            if kind == K_KVM_ENTRY:
                self.tasks[s, T_ENTERED] = 1
                self.tasks[s, T_VCPU] = row[5] + 1
                self.tasks[s, T_KVMISH] = 1
                self.book.decide(s, W_BLOCKED)
            elif kind == K_KVM_FPU:
                self.tasks[s, T_KVMISH] = 1
                self.swap(c, s, tail)
                if row[5]:
                    if not self.tasks[s, T_PUT_AT_OUT]:
                        self.tasks[s, T_RUN] = 1
                        self.tasks[s, T_ENTERED] = 0
                        self.tasks[s, T_EXITED] = 0
                elif not tail and self.tasks[s, T_RUN] == 1:
                    if self.tasks[s, T_EXITED]:
                        self.ran(s)
                    else:
                        self.tasks[s, T_RUN] = 2
                self.tasks[s, T_PUT_AT_OUT] = tail and not row[5]
            elif kind == K_KVM_USERSPACE_EXIT:
                self.tasks[s, T_PUT_AT_OUT] = 0
                if self.tasks[s, T_RUN] == 2:
                    self.ran(s)
                elif self.tasks[s, T_RUN] == 1:
                    self.tasks[s, T_EXITED] = 1
                self.book.decide(s, W_BLOCKED)
            elif kind == K_REGS_DEACTIVATED:
                if tail:
                    own = facts[i, B_OWN_STATE]
                    mine = own == OWN_TOKEN and facts[i, B_OWN] == row[5]
                    self.saved(c, s, mine, kvm)
            elif kind == K_REGS_ACTIVATED:
                last = facts[i, B_LAST]
                own = facts[i, B_OWN_STATE]
                mine = own == OWN_TOKEN and facts[i, B_OWN] == row[5] and last == c
                self.activated(c, s, tail, mine, last, facts[i, B_TIF], kvm)
            elif kind == K_SCHED_SWITCH:
                self.tasks[s, T_WHY_LAST] = self.tasks[s, T_WHY]
                if row[6] >= TASK_REPORT_MAX:
                    why = W_PREEMPTED
                elif row[6] == 0:
                    why = W_YIELDED
                else:
                    why = W_PENDING if self.tasks[s, T_KVMISH] else W_BLOCKED
                if why != W_PENDING:
                    self.book.decide(s, W_BLOCKED)
                    self.tasks[s, T_WHY_LAST] = self.tasks[s, T_WHY]
                self.tasks[s, T_WHY] = why
                # Kernel threads and idle have no registers that anybody would save.
                if self.tasks[s, T_PID] > 0 and (facts[i, B_F_KNOWN] or self.tasks[s, T_KVMISH]):
                    self.book.add(s, why, X_TIMES)
                    if kvm == KVM_LOADED:
                        self.book.step(s, 1, 2, P_OUT)
                self.cpus[c, C_SWITCHING] = 1
                self.cpus[c, C_SW_UNLOADED] = 0
                self.cpus[c, C_SW_BYTES] = -1
                for j in range(REF):
                    self.cpus[c, C_REF_SWITCH + j] = row[j]
                self.keep(self.tasks, s, T_REF_SWITCH)
                self.tasks[s, T_QUIET] = self.tasks[s, T_CAME] and not self.tasks[s, T_STAY_ACTED]
                self.tasks[s, T_CAME] = 0
                self.tasks[s, T_STAY_ACTED] = 0
                self.tasks[s, T_STAY_RELOADED] = 0
            elif kind == K_KVM_VCPU_WAKEUP:
                if row[6] != 0 and self.tasks[s, T_WHY] == W_PENDING:
                    if self.tasks[s, T_SAVED_CPU]:
                        self.emit(F_HALT_SWAP, s, 1, T_REF_SAVE)
                    self.book.decide(s, W_HALTED)
            elif kind == K_SYS_ENTER or kind == K_PAGE_FAULT_USER:
                self.tasks[s, T_PUT_AT_OUT] = 0
            elif kind == K_SCHED_PROCESS_EXEC:
                self.tasks[s, T_EXCUSED] = 1
            elif kind == K_SIGNAL_DELIVER:
                self.tasks[s, T_EXCUSED] = 1
                if row[6] != 0 and row[6] != 1:  # SIG_DFL, SIG_IGN
                    self.book.op(s, W_OTHER, False, False, True)
            elif kind == K_COPY_DST:
                # fpu_clone(): a save into the child, or a copy when memory has it already.
                if self.eager or row[6] == 0:
                    self.book.op(s, W_OTHER, False, False, False)
            elif kind == K_AFTER_SAVE:
                if self.eager or row[6] == 0:
                    self.book.op(s, W_OTHER, False, kvm == KVM_LOADED, False)
            elif kind == K_PROBE_KFPU_BEGIN:
                self.probed = True
                self.cpus[c, C_KFPU] = 1
                if facts[i, B_F_KNOWN] and self.tasks[s, T_PID] > 0:
                    if self.eager:
                        self.book.add(s, W_KERNEL, X_TIMES)
                        self.book.op(s, W_KERNEL, False, kvm == KVM_LOADED, True)
                        self.book.op(s, W_KERNEL, True, kvm == KVM_LOADED, True)
                    elif facts[i, B_TIF] == 0 and not self.tasks[s, T_KSAVED]:
                        # It saves and sets TIF_NEED_FPU_LOAD; the next one finds it set.
                        self.book.op(s, W_KERNEL, False, kvm == KVM_LOADED, True)
                        self.tasks[s, T_KSAVED] = 1
        return stop
