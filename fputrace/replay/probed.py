# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What probes add to the tracepoints: the kernel's own use of the FPU, the swap, where saves went.

A second reader of events and facts beside :mod:`fputrace.replay.judge`, of the same build; it runs
once a recording holds records of probes.  Which function a probe sits on has become its kind;
what its arguments are is in ``roles``.  From 5.16 on the guest is loaded and put by
fpu_swap_kvm_fpstate() (arch/x86/kernel/fpu/core.c), whose steps are: save, unless
TIF_NEED_FPU_LOAD; fpu->fpstate to the other buffer; restore; fpregs_mark_activate(), which prints
regs_activated.  kvm_fpu is printed later, so the registers change hands at the activation.

kernel_fpu_begin*() saves current's registers when TIF_NEED_FPU_LOAD is clear, sets it, and makes
the CPU nobody's (5.2 on): from a section's end until the next regs_activated on that CPU the
registers are the kernel's leftovers, whoever runs there.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import Before, Out, ProbedCpu, ProbedTask, Role
from fputrace.timeline import Fact

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    from fputrace.replay.reader import Reader

    REF = layout.REF
    KVM_LOADED = layout.KVM_LOADED
    WIN_OPEN = int(layout.Win.OPEN)
    ROLE_FPU = int(Role.FPU)
    ROLE_FPSTATE = int(Role.FPSTATE)
    PROBED_SHIFT = layout.PROBED_SHIFT
    ONCE = int(layout.ONCE_A_STAY[3]) >> layout.PROBED_SHIFT
    C_BEGIN_PID = int(ProbedCpu.BEGIN_PID)
    C_BEGIN_WHOLE = int(ProbedCpu.BEGIN_WHOLE)
    C_DEPTH = int(ProbedCpu.DEPTH)
    C_ENTRY_SLOT = int(ProbedCpu.ENTRY_SLOT)
    C_ENTRY_WAITS = int(ProbedCpu.ENTRY_WAITS)
    C_KNOW = int(ProbedCpu.KNOW)
    C_LAST_RESTORE = int(ProbedCpu.LAST_RESTORE)
    C_LAST_SAVE = int(ProbedCpu.LAST_SAVE)
    C_PREV_EVENT = int(ProbedCpu.PREV_EVENT)
    C_PREV_KIND = int(ProbedCpu.PREV_KIND)
    C_REF_BEGIN = int(ProbedCpu.REF_BEGIN)
    C_REF_END = int(ProbedCpu.REF_END)
    C_REF_ENTRY = int(ProbedCpu.REF_ENTRY)
    C_REF_SWITCH = int(ProbedCpu.REF_SWITCH)
    C_SAVES = int(ProbedCpu.SAVES)
    C_SHOWN = int(ProbedCpu.SHOWN)
    C_STALE = int(ProbedCpu.STALE)
    C_STAY_LIVE = int(ProbedCpu.STAY_LIVE)
    C_STAY_REPORTED = int(ProbedCpu.STAY_REPORTED)
    C_STAY_SYS = int(ProbedCpu.STAY_SYS)
    C_SWITCHING = int(ProbedCpu.SWITCHING)
    C_SW_LIVE = int(ProbedCpu.SW_LIVE)
    C_SW_LOADED = int(ProbedCpu.SW_LOADED)
    C_SW_SAVED = int(ProbedCpu.SW_SAVED)
    C_SW_SERIAL = int(ProbedCpu.SW_SERIAL)
    C_SW_SHOWN = int(ProbedCpu.SW_SHOWN)
    C_SW_SLOT = int(ProbedCpu.SW_SLOT)
    C_WIDTH = int(ProbedCpu.WIDTH)
    T_DEAD = int(ProbedTask.DEAD)
    T_EXEC = int(ProbedTask.EXEC)
    T_GUEST_FPSTATE = int(ProbedTask.GUEST_FPSTATE)
    T_GUEST_KNOWN = int(ProbedTask.GUEST_KNOWN)
    T_IN_RESTORED = int(ProbedTask.IN_RESTORED)
    T_KNOW = int(ProbedTask.KNOW)
    T_KVM = int(ProbedTask.KVM)
    T_KVM_SURE = int(ProbedTask.KVM_SURE)
    T_LOADING = int(ProbedTask.LOADING)
    T_OWN_FPSTATE = int(ProbedTask.OWN_FPSTATE)
    T_OWN_KNOWN = int(ProbedTask.OWN_KNOWN)
    T_OWN_MAYBE = int(ProbedTask.OWN_MAYBE)
    T_PARKED = int(ProbedTask.PARKED)
    T_PENDING = int(ProbedTask.PENDING)
    T_PID = int(ProbedTask.PID)
    T_REF_ACT = int(ProbedTask.REF_ACT)
    T_REF_IN = int(ProbedTask.REF_IN)
    T_REF_KVM = int(ProbedTask.REF_KVM)
    T_REF_PENDING = int(ProbedTask.REF_PENDING)
    T_REF_SAVED = int(ProbedTask.REF_SAVED)
    T_REF_SWAP = int(ProbedTask.REF_SWAP)
    T_SERIAL = int(ProbedTask.SERIAL)
    T_SAVE_SEEN = int(ProbedTask.SAVE_SEEN)
    T_SWAP = int(ProbedTask.SWAP)
    T_SWAP_RESTORED = int(ProbedTask.SWAP_RESTORED)
    T_SWAP_SAVED = int(ProbedTask.SWAP_SAVED)
    T_REF_UNSAVED = int(ProbedTask.REF_UNSAVED)
    T_UNSAVED = int(ProbedTask.UNSAVED)
    T_UNSAVED_CPU = int(ProbedTask.UNSAVED_CPU)
    T_VCPU = int(ProbedTask.VCPU)
    T_WIDTH = int(ProbedTask.WIDTH)
    B_WIDTH = int(Before.WIDTH)
    O_WIDTH = int(Out.WIDTH)
    F_BY_NAME = int(Fact.BY_NAME) >> layout.PROBED_SHIFT
    F_KERNEL_ENTRY = int(Fact.KERNEL_ENTRY) >> layout.PROBED_SHIFT
    F_KERNEL_LOADED_ENTRY = int(Fact.KERNEL_LOADED_ENTRY) >> layout.PROBED_SHIFT
    F_KERNEL_LOADED_OPEN = int(Fact.KERNEL_LOADED_OPEN) >> layout.PROBED_SHIFT
    F_KERNEL_SAVED = int(Fact.KERNEL_SAVED) >> layout.PROBED_SHIFT
    F_KERNEL_USER = int(Fact.KERNEL_USER) >> layout.PROBED_SHIFT
    F_OUT_NOT_SAVED = int(Fact.OUT_NOT_SAVED) >> layout.PROBED_SHIFT
    F_OUT_NOT_SAVED_LOADED = int(Fact.OUT_NOT_SAVED_LOADED) >> layout.PROBED_SHIFT
    F_PARKED_SAVED = int(Fact.PARKED_SAVED) >> layout.PROBED_SHIFT
    F_SAVED_GUEST_OUT = int(Fact.SAVED_GUEST_OUT) >> layout.PROBED_SHIFT
    F_SAVED_OWN_LOADED = int(Fact.SAVED_OWN_LOADED) >> layout.PROBED_SHIFT
    F_SWAP_NOT_RESTORED = int(Fact.SWAP_NOT_RESTORED) >> layout.PROBED_SHIFT
    F_SWAP_NOT_SAVED = int(Fact.SWAP_NOT_SAVED) >> layout.PROBED_SHIFT
    K_CPU_END = int(Kind.CPU_END)
    K_DROPPED = int(Kind.DROPPED)
    K_KVM_ENTRY = int(Kind.KVM_ENTRY)
    K_KVM_FPU = int(Kind.KVM_FPU)
    K_LOSS = int(Kind.LOSS)
    K_LOSS_END = int(Kind.LOSS_END)
    K_OTHER = int(Kind.OTHER)
    K_PAGE_FAULT_USER = int(Kind.PAGE_FAULT_USER)
    K_PROBE_KFPU_BEGIN = int(Kind.PROBE_KFPU_BEGIN)
    K_PROBE_KFPU_END = int(Kind.PROBE_KFPU_END)
    K_PROBE_LOAD_GUEST_FPU = int(Kind.PROBE_LOAD_GUEST_FPU)
    K_PROBE_RESTORE = int(Kind.PROBE_RESTORE)
    K_PROBE_SAVE = int(Kind.PROBE_SAVE)
    K_PROBE_SWAP = int(Kind.PROBE_SWAP)
    K_REGS_ACTIVATED = int(Kind.REGS_ACTIVATED)
    K_REGS_DEACTIVATED = int(Kind.REGS_DEACTIVATED)
    K_SCHED_PROCESS_EXEC = int(Kind.SCHED_PROCESS_EXEC)
    K_SCHED_SWITCH = int(Kind.SCHED_SWITCH)
    K_SYS_ENTER = int(Kind.SYS_ENTER)
    K_SYS_EXIT = int(Kind.SYS_EXIT)
    B_CPU_KNOW = int(Before.CPU_KNOW)
    B_F = int(Before.F)
    B_F_KNOWN = int(Before.F_KNOWN)
    B_KVM = int(Before.KVM)
    B_OWN_PID = int(Before.OWN_PID)
    B_SERIAL = int(Before.SERIAL)
    B_SLOT = int(Before.SLOT)
    B_SUBJECT = int(Before.SUBJECT)
    B_TASK_KNOW = int(Before.TASK_KNOW)
    B_WIN = int(Before.WIN)
    O_ACTED = int(Out.ACTED)
    O_BEGIN = int(Out.BEGIN)
    O_COUNT = int(Out.COUNT)
    O_END = int(Out.END)
    O_EVENT = int(Out.EVENT)
    O_FACTS = int(Out.FACTS)
    O_IN = int(Out.IN)
    O_KVM = int(Out.KVM)
    O_NEXT = int(Out.NEXT)
    O_OWNER = int(Out.OWNER)
    O_SAVED = int(Out.SAVED)
    O_SERIAL = int(Out.SERIAL)
    O_SUBJECT = int(Out.SUBJECT)
    O_SWAP = int(Out.SWAP)
    O_SWITCH = int(Out.SWITCH)
    O_VCPU = int(Out.VCPU)


def widths() -> tuple[int, int, int, int]:
    """Columns this loop was built for: a CPU's, a task's, a facts and an out row."""
    return int(C_WIDTH), int(T_WIDTH), int(B_WIDTH), int(O_WIDTH)


@cython.final
@cython.cclass
class Probed(Reader):
    """What spans events, carried from call to call.

    cpus: int64[ncpu, ProbedCpu.WIDTH]; tasks: int64[cap, ProbedTask.WIDTH], rows as the ownership
    loop numbers them; out: int64[rows, Out.WIDTH]; row: int64[REF] to work in; roles:
    int64[events, 4], a Role for each operand of each event; wanted: the Fact bits some rule asks
    for; eager: kernels before 5.2; parks: the VMM's image is in thread.fpu by design (G1, G3,
    G4a); grace: kvm_entry is printed before a late reload; execs: they are recorded.
    """

    roles: cython.longlong[:, ::1]
    mark: cython.longlong
    begins: cython.bint
    broken: cython.bint
    eager: cython.bint
    parks: cython.bint
    grace: cython.bint
    execs: cython.bint

    def __init__(
        self,
        cpus: cython.longlong[:, ::1],
        tasks: cython.longlong[:, ::1],
        out: cython.longlong[:, ::1],
        row: cython.longlong[::1],
        roles: cython.longlong[:, ::1],
        wanted: int,
        eager: bool,
        parks: bool,
        grace: bool,
        execs: bool,
    ) -> None:
        self.cpus = cpus
        self.tasks = tasks
        self.out = out
        self.row = row
        self.roles = roles
        self.nout = 0
        self.wanted = wanted >> PROBED_SHIFT
        self.mark = 0
        self.begins = False
        self.broken = False
        self.eager = eager
        self.parks = parks
        self.grace = grace
        self.execs = execs

    def know(self, roles: cython.longlong[:, ::1], by_name: bool) -> None:
        """What is known by now of the probes: their arguments, and how their functions."""
        self.roles = roles
        self.mark = F_BY_NAME if by_name else 0

    def interrupted(self) -> bool:
        """Whether the save's probe was off for a while: saves before and after it hit it."""
        return bool(self.broken)

    # -- rows for the rules -------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def emit(
        self,
        facts: cython.longlong,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        """An out row about task s on CPU c, shown by the event in ``row``; -1 if no rule asks."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.nout
        facts &= self.wanted
        if not facts:
            return -1
        self.nout += 1
        self.out[n, O_FACTS] = (facts | self.mark) << PROBED_SHIFT
        self.out[n, O_SUBJECT] = self.tasks[s, T_PID]
        self.out[n, O_SERIAL] = self.tasks[s, T_SERIAL]
        self.out[n, O_VCPU] = self.tasks[s, T_VCPU] - 1
        self.out[n, O_COUNT] = 1
        self.out[n, O_OWNER] = 0
        for j in range(REF):
            self.out[n, O_EVENT + j] = self.row[j]
            self.out[n, O_SWITCH + j] = self.cpus[c, C_REF_SWITCH + j]
            self.out[n, O_BEGIN + j] = self.cpus[c, C_REF_BEGIN + j]
            self.out[n, O_END + j] = self.cpus[c, C_REF_END + j]
            self.out[n, O_IN + j] = self.tasks[s, T_REF_IN + j]
            self.out[n, O_KVM + j] = self.tasks[s, T_REF_KVM + j]
            self.out[n, O_SAVED + j] = self.tasks[s, T_REF_SAVED + j]
            self.out[n, O_SWAP + j] = self.tasks[s, T_REF_SWAP + j]
            self.out[n, O_ACTED + j] = self.tasks[s, T_REF_ACT + j]
            self.out[n, O_NEXT + j] = 0
        return n

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def told(
        self,
        facts: cython.longlong,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
        table: cython.longlong[:, ::1],
        at: cython.Py_ssize_t,
        column: cython.Py_ssize_t,
    ) -> cython.Py_ssize_t:
        """An out row about an earlier event that row ``at`` of a table keeps at ``column``."""
        j: cython.Py_ssize_t
        n: cython.Py_ssize_t = self.emit(facts, c, s)
        if n >= 0:
            for j in range(REF):
                self.out[n, O_EVENT + j] = table[at, column + j]
        return n

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def settle(
        self, fact: cython.longlong, c: cython.Py_ssize_t, s: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Task s's kernel FPU sections with the guest loaded, since its last kvm_entry."""
        n: cython.Py_ssize_t = self.told(fact, c, s, self.tasks, s, T_REF_PENDING)
        if n >= 0:
            self.out[n, O_COUNT] = self.tasks[s, T_PENDING]
        self.tasks[s, T_PENDING] = 0
        return n

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def unsaved(self, s: cython.Py_ssize_t) -> cython.void:
        """No exec excuses task s's switch-out without a save."""
        c: cython.Py_ssize_t = self.tasks[s, T_UNSAVED_CPU]
        if self.execs:
            self.told(F_OUT_NOT_SAVED, c, s, self.tasks, s, T_REF_UNSAVED)
        self.tasks[s, T_UNSAVED] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_task(
        self, s: cython.Py_ssize_t, f: cython.Py_ssize_t, facts: cython.longlong[:, ::1]
    ) -> cython.void:
        """Drop what was followed of row s when its task changed or was out of sight."""
        j: cython.Py_ssize_t
        if self.tasks[s, T_PENDING]:
            self.settle(F_KERNEL_LOADED_OPEN, 0, s)
        if self.tasks[s, T_UNSAVED]:
            self.unsaved(s)
        if self.tasks[s, T_SERIAL] != facts[f, B_SERIAL]:
            for j in range(T_WIDTH):
                self.tasks[s, j] = 0
        self.tasks[s, T_SERIAL] = facts[f, B_SERIAL]
        self.tasks[s, T_KNOW] = facts[f, B_TASK_KNOW]
        self.tasks[s, T_PID] = facts[f, B_SUBJECT]
        # An fpstate stays where it is; DEAD ends with an activation only.
        self.tasks[s, T_KVM] = facts[f, B_KVM] + 1
        self.tasks[s, T_KVM_SURE] = 0
        self.tasks[s, T_SWAP] = 0
        self.tasks[s, T_LOADING] = 0
        self.tasks[s, T_PARKED] = 0
        self.tasks[s, T_SAVE_SEEN] = 0
        self.tasks[s, T_IN_RESTORED] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_cpu(self, c: cython.Py_ssize_t, know: cython.longlong) -> cython.void:
        """Drop what was followed of CPU c when it was out of sight."""
        j: cython.Py_ssize_t
        for j in range(C_LAST_SAVE):
            self.cpus[c, j] = 0
        self.cpus[c, C_KNOW] = know

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def close_window(
        self, c: cython.Py_ssize_t, s: cython.Py_ssize_t, spoke: cython.bint
    ) -> cython.void:
        """The incoming task s speaks for the first time: the switch on CPU c is over."""
        j: cython.Py_ssize_t
        p: cython.Py_ssize_t = self.cpus[c, C_SW_SLOT]
        if (
            self.tasks[p, T_SERIAL] == self.cpus[c, C_SW_SERIAL]
            and not self.eager
            and self.cpus[c, C_SW_LIVE]
            and not self.cpus[c, C_SW_SAVED]
            and self.cpus[c, C_SW_SHOWN]
            and not self.tasks[p, T_DEAD]
            and not self.tasks[p, T_EXEC]
        ):
            # A pid filter records a task's tail only before another chosen task.  A section shows
            # by its begin or its save: where no begin was ever seen, calls may be inlined.
            if self.cpus[c, C_SW_LOADED] and spoke and (self.begins or self.tasks[p, T_SAVE_SEEN]):
                self.told(F_OUT_NOT_SAVED_LOADED, c, p, self.cpus, c, C_REF_SWITCH)
            else:
                self.tasks[p, T_UNSAVED] = 1
                self.tasks[p, T_UNSAVED_CPU] = c
                for j in range(REF):
                    self.tasks[p, T_REF_UNSAVED + j] = self.cpus[c, C_REF_SWITCH + j]
        self.cpus[c, C_SWITCHING] = 0
        self.cpus[c, C_STAY_LIVE] = 0
        self.cpus[c, C_STAY_SYS] = 0
        self.cpus[c, C_STAY_REPORTED] = 0
        for j in range(REF):
            self.tasks[s, T_REF_IN + j] = self.cpus[c, C_REF_SWITCH + j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def argument(self, role: cython.longlong) -> cython.Py_ssize_t:
        """Where in ``row`` the argument of that role is; -1 when its probe has none."""
        j: cython.Py_ssize_t
        event: cython.longlong = self.row[4]
        if 0 <= event < self.roles.shape[0]:
            for j in range(4):
                if self.roles[event, j] == role:
                    return 5 + j
        return -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def saved(
        self,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
        tail: cython.bint,
        f_known: cython.bint,
        f: cython.longlong,
    ) -> cython.longlong:
        """Facts of a save probe of task s on CPU c; ``self.row`` is its event."""
        bits: cython.longlong = 0
        where: cython.longlong
        at: cython.Py_ssize_t = self.argument(ROLE_FPU)
        if self.tasks[s, T_LOADING] == 1 and at >= 0 and f_known:
            self.tasks[s, T_LOADING] = 2 if self.row[at] == f else 3
        if self.tasks[s, T_SWAP]:
            self.tasks[s, T_SWAP_SAVED] = 1
        if at >= 0 and f_known and self.row[at] != f:
            return 0  # a child's, in fpu_clone()
        if not tail:
            # kernel_fpu_begin() saves and sets TIF_NEED_FPU_LOAD; in a swap registers follow.
            self.cpus[c, C_STAY_LIVE] = 0
        at = self.argument(ROLE_FPSTATE)
        if at < 0:
            return 0
        where = self.row[at]
        if self.tasks[s, T_SWAP] == 1 and self.tasks[s, T_KVM_SURE]:
            self.tasks[s, T_OWN_FPSTATE] = where
            self.tasks[s, T_OWN_KNOWN] = 1
        elif self.tasks[s, T_SWAP] == 3:
            self.tasks[s, T_OWN_MAYBE] = where
        elif self.tasks[s, T_SWAP] == 0 and self.tasks[s, T_KVM_SURE]:
            if self.tasks[s, T_KVM] == 2:
                # Without its own known, a first save may well be the one at fault.
                if self.tasks[s, T_OWN_KNOWN] and self.tasks[s, T_OWN_FPSTATE] == where:
                    bits = F_SAVED_OWN_LOADED
                elif self.tasks[s, T_OWN_KNOWN]:
                    self.tasks[s, T_GUEST_FPSTATE] = where
                    self.tasks[s, T_GUEST_KNOWN] = 1
            elif self.tasks[s, T_GUEST_KNOWN] and self.tasks[s, T_GUEST_FPSTATE] == where:
                bits = F_SAVED_GUEST_OUT
            else:
                # fpu->fpstate was changed back; another image may live at the guest's old place.
                self.tasks[s, T_GUEST_KNOWN] = 0
                self.tasks[s, T_OWN_FPSTATE] = where
                self.tasks[s, T_OWN_KNOWN] = 1
        return bits

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def swapped(self, c: cython.Py_ssize_t, s: cython.Py_ssize_t) -> cython.longlong:
        """Facts of the activation that ends task s's swap."""
        bits: cython.longlong = 0
        way: cython.longlong = self.tasks[s, T_SWAP]
        # The flag is TIF_NEED_FPU_LOAD as the swap found it, whatever came before: clear, it owes a
        # save.  That this call of the probed function is not inlined other swaps must have shown.
        if self.row[6] == 0:
            if self.tasks[s, T_SWAP_SAVED]:
                self.tasks[s, T_SAVE_SEEN] = 1
            elif way == 1 and self.tasks[s, T_SAVE_SEEN] and self.cpus[c, C_LAST_SAVE]:
                bits = F_SWAP_NOT_SAVED
        if way == 2:
            if (
                not self.tasks[s, T_SWAP_RESTORED]
                and self.tasks[s, T_IN_RESTORED]  # a confidential guest has none there
                and self.cpus[c, C_LAST_RESTORE]
            ):
                bits = F_SWAP_NOT_RESTORED
        elif way == 1:
            self.tasks[s, T_IN_RESTORED] = self.tasks[s, T_SWAP_RESTORED]
        # Which way an unknown one went its kvm_fpu will say.
        self.tasks[s, T_SWAP] = 4 if way == 3 else 0
        self.tasks[s, T_KVM] = 2 if way == 1 else 1 if way == 2 else 0
        self.tasks[s, T_KVM_SURE] = way != 3
        return bits

    def finish(self) -> bool:
        """End of the trace: what still waits stays open. Call until it returns True."""
        s: cython.Py_ssize_t
        room: cython.Py_ssize_t = self.out.shape[0] - 4
        for s in range(self.tasks.shape[0]):
            if self.nout > room:
                return False
            if self.tasks[s, T_PENDING]:
                self.settle(F_KERNEL_LOADED_OPEN, 0, s)
            if self.tasks[s, T_UNSAVED]:
                self.unsaved(s)
        return True

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
        n: cython.Py_ssize_t
        kind: cython.Py_ssize_t
        op0: cython.longlong
        op1: cython.longlong
        bits: cython.longlong
        tail: cython.bint
        again: cython.bint
        row: cython.longlong[::1] = self.row
        room: cython.Py_ssize_t = self.out.shape[0] - 16

        for i in range(first, stop):
            if self.nout > room:
                return i
            c = cpu_[i]
            kind = kind_[i]
            if self.cpus[c, C_KNOW] != facts[i, B_CPU_KNOW]:
                self.fresh_cpu(c, facts[i, B_CPU_KNOW])
            if kind == K_LOSS or kind == K_LOSS_END or kind == K_CPU_END:
                continue
            s = facts[i, B_SLOT]
            if self.tasks[s, T_KNOW] != facts[i, B_TASK_KNOW]:
                self.fresh_task(s, i, facts)
            tail = facts[i, B_WIN] == WIN_OPEN
            if self.cpus[c, C_SWITCHING] and not tail:
                self.close_window(c, s, kind != K_SCHED_SWITCH)
            op0 = op_[i, 0]
            op1 = op_[i, 1]
            row[0] = ts_[i]
            row[1] = c
            row[2] = pid_[i]
            row[3] = kind
            row[4] = event_[i]
            for j in range(4):
                row[5 + j] = op_[i, j]
            # Two probes on one function (kprobe and function tracer) tell of one call.
            again = self.cpus[c, C_PREV_KIND] == kind and self.cpus[c, C_PREV_EVENT] != event_[i]

            if self.cpus[c, C_ENTRY_WAITS] and kind < K_PROBE_SAVE and kind != K_OTHER:
                n = self.cpus[c, C_ENTRY_SLOT]
                if not (kind == K_REGS_ACTIVATED and n == s):
                    n = self.told(F_KERNEL_ENTRY, c, n, self.cpus, c, C_REF_ENTRY)
                    if n >= 0:
                        for j in range(REF):
                            self.out[n, O_NEXT + j] = row[j]
                self.cpus[c, C_ENTRY_WAITS] = 0

            bits = 0
            if kind == K_REGS_ACTIVATED:
                if self.tasks[s, T_UNSAVED]:
                    self.unsaved(s)
                if self.tasks[s, T_SWAP] and self.tasks[s, T_SWAP] != 4:
                    bits |= self.swapped(c, s)
                if self.tasks[s, T_LOADING]:
                    # With the flag set that save was another's: a switch's, or a section's.
                    self.tasks[s, T_PARKED] = self.tasks[s, T_LOADING] == 2 and op1 == 0
                    self.tasks[s, T_LOADING] = 0
            elif kind == K_REGS_DEACTIVATED:
                if tail:
                    if self.cpus[c, C_STALE] and not self.tasks[s, T_DEAD]:
                        bits |= F_KERNEL_SAVED
                    if self.tasks[s, T_PARKED] and facts[i, B_KVM] == KVM_LOADED:
                        bits |= F_PARKED_SAVED
            elif kind == K_KVM_FPU:
                if self.tasks[s, T_PENDING]:
                    self.settle(F_KERNEL_LOADED_OPEN, c, s)
            elif kind == K_KVM_ENTRY:
                self.tasks[s, T_VCPU] = op0 + 1
                if self.tasks[s, T_PENDING]:
                    n = self.settle(F_KERNEL_LOADED_ENTRY, c, s)
                    if n >= 0:
                        for j in range(REF):
                            self.out[n, O_NEXT + j] = row[j]
                if self.cpus[c, C_STALE]:
                    if self.grace:
                        self.cpus[c, C_ENTRY_WAITS] = 1
                        self.cpus[c, C_ENTRY_SLOT] = s
                        self.keep(self.cpus, c, C_REF_ENTRY)
                    else:
                        bits |= F_KERNEL_ENTRY
            elif kind == K_PAGE_FAULT_USER or kind == K_SYS_ENTER:
                if (
                    self.cpus[c, C_STALE]
                    and not self.tasks[s, T_EXEC]
                    and (kind == K_PAGE_FAULT_USER or self.cpus[c, C_STAY_SYS])
                ):
                    bits |= F_KERNEL_USER
                if kind == K_SYS_ENTER:
                    self.cpus[c, C_STAY_SYS] = 1
            elif kind == K_SYS_EXIT:
                self.cpus[c, C_STAY_SYS] = 1
            elif kind == K_PROBE_SAVE:
                bits |= self.saved(c, s, tail, facts[i, B_F_KNOWN] != 0, facts[i, B_F])

            bits &= self.wanted
            if bits & ONCE:
                # A stay counts once, however many events show it.
                if self.cpus[c, C_STAY_REPORTED]:
                    bits &= ~ONCE
                self.cpus[c, C_STAY_REPORTED] = 1
            if bits:
                self.emit(bits, c, s)
            self.follow(c, s, kind, tail, again, facts[i, B_F_KNOWN] != 0, facts[i, B_F])
            self.cpus[c, C_PREV_KIND] = kind
            self.cpus[c, C_PREV_EVENT] = event_[i]
        return stop

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def follow(
        self,
        c: cython.Py_ssize_t,
        s: cython.Py_ssize_t,
        kind: cython.Py_ssize_t,
        tail: cython.bint,
        again: cython.bint,
        f_known: cython.bint,
        f: cython.longlong,
    ) -> cython.void:
        """What later events are judged by; ``self.row`` is the event."""
        j: cython.Py_ssize_t
        row: cython.longlong[::1] = self.row
        if kind == K_REGS_ACTIVATED:
            self.cpus[c, C_STALE] = 0
            self.cpus[c, C_STAY_LIVE] = not tail
            self.tasks[s, T_DEAD] = 0
            self.tasks[s, T_EXEC] = 0
            self.keep(self.tasks, s, T_REF_ACT)
        elif kind == K_REGS_DEACTIVATED:
            if tail:
                if not self.cpus[c, C_SW_SAVED] and self.cpus[c, C_SAVES]:
                    self.cpus[c, C_SAVES] = 2
                self.cpus[c, C_SW_SAVED] = 1
                self.cpus[c, C_SHOWN] |= 1
        elif kind == K_DROPPED:
            if not tail and (not f_known or f == row[5]):
                self.tasks[s, T_DEAD] = 1
                self.tasks[s, T_UNSAVED] = 0
                self.cpus[c, C_STAY_LIVE] = 0
        elif kind == K_KVM_FPU:
            if self.tasks[s, T_SWAP] == 4:
                self.tasks[s, T_KVM_SURE] = 1
                if row[5]:
                    self.tasks[s, T_IN_RESTORED] = self.tasks[s, T_SWAP_RESTORED]
                    if self.tasks[s, T_OWN_MAYBE]:
                        self.tasks[s, T_OWN_FPSTATE] = self.tasks[s, T_OWN_MAYBE]
                        self.tasks[s, T_OWN_KNOWN] = 1
            elif self.tasks[s, T_SWAP] or self.tasks[s, T_KVM] != (2 if row[5] else 1):
                self.tasks[s, T_KVM_SURE] = 0
            self.tasks[s, T_KVM] = 2 if row[5] else 1
            self.tasks[s, T_SWAP] = 0
            if not row[5]:
                self.tasks[s, T_PARKED] = 0
            self.keep(self.tasks, s, T_REF_KVM)
        elif kind == K_SCHED_PROCESS_EXEC:
            self.execs = True
            self.tasks[s, T_EXEC] = 1
            self.tasks[s, T_UNSAVED] = 0
            self.tasks[s, T_OWN_KNOWN] = 0  # fpstate_reset() gives back a larger one
            self.cpus[c, C_STAY_LIVE] = 0
        elif kind == K_SCHED_SWITCH:
            self.cpus[c, C_SWITCHING] = 1
            self.cpus[c, C_SW_SLOT] = s
            self.cpus[c, C_SW_SERIAL] = self.tasks[s, T_SERIAL]
            self.cpus[c, C_SW_LIVE] = self.cpus[c, C_STAY_LIVE]
            self.cpus[c, C_SW_LOADED] = self.tasks[s, T_KVM] == 2
            self.cpus[c, C_SW_SAVED] = 0
            self.cpus[c, C_SW_SHOWN] = self.cpus[c, C_SHOWN] & 3 == 3
            self.cpus[c, C_DEPTH] = 0
            self.cpus[c, C_BEGIN_WHOLE] = 0
            self.keep(self.cpus, c, C_REF_SWITCH)
        elif kind == K_PROBE_SAVE:
            self.cpus[c, C_LAST_SAVE] = row[0]
            if tail:
                if self.cpus[c, C_SAVES] == 2:
                    self.broken = True
                self.cpus[c, C_SAVES] = 1
                self.cpus[c, C_SW_SAVED] = 1
                self.cpus[c, C_SHOWN] |= 2
            self.keep(self.tasks, s, T_REF_SAVED)
        elif kind == K_PROBE_RESTORE:
            self.cpus[c, C_LAST_RESTORE] = row[0]
            self.tasks[s, T_SWAP_RESTORED] = 1
        elif kind == K_PROBE_SWAP:
            if not again:
                j = self.tasks[s, T_KVM]
                self.tasks[s, T_SWAP] = j if j else 3
                self.tasks[s, T_SWAP_SAVED] = 0
                self.tasks[s, T_SWAP_RESTORED] = 0
                self.tasks[s, T_OWN_MAYBE] = 0
                self.keep(self.tasks, s, T_REF_SWAP)
        elif kind == K_PROBE_LOAD_GUEST_FPU:
            self.tasks[s, T_LOADING] = 1
        elif kind == K_PROBE_KFPU_BEGIN:
            self.begins = True
            if not again:
                if self.parks and self.tasks[s, T_KVM] == 2:
                    # With TIF_NEED_FPU_LOAD set there is nothing in the registers to save.
                    if self.eager or self.cpus[c, C_STAY_LIVE]:
                        self.tasks[s, T_PENDING] += 1
                        self.keep(self.tasks, s, T_REF_PENDING)
                self.cpus[c, C_DEPTH] += 1
                self.cpus[c, C_BEGIN_PID] = row[2]
                self.cpus[c, C_BEGIN_WHOLE] = not tail
                self.cpus[c, C_STAY_LIVE] = 0
                self.keep(self.cpus, c, C_REF_BEGIN)
        elif kind == K_PROBE_KFPU_END:
            if not again and self.cpus[c, C_DEPTH]:
                if (
                    not self.eager
                    and self.cpus[c, C_BEGIN_WHOLE]
                    and self.cpus[c, C_BEGIN_PID] == row[2]
                ):
                    if not self.cpus[c, C_STALE]:
                        # A system call may have been entered before.
                        self.cpus[c, C_STAY_SYS] = 0
                    self.cpus[c, C_STALE] = 1
                    self.keep(self.cpus, c, C_REF_END)
                self.cpus[c, C_DEPTH] -= 1
                self.cpus[c, C_BEGIN_WHOLE] = 0
