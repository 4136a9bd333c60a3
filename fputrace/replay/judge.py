# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The loop that turns the state before each event into facts the rules select on.

It reads events beside the facts table of :mod:`fputrace.replay.loop` and follows what spans
several events: a switch window, a task's stay on a CPU, a reload that comes late, a switch-out
that waits for the next kvm_entry.  An event that shows something notable becomes a row of ``out``
(:class:`layout.Out`): its :class:`layout.Fact` bits and the earlier events that prove them.  What
these mean in a generation, and how sure it is, is the rules' business.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.events import Kind
from fputrace.replay import layout
from fputrace.replay.layout import Before, JudgeCpu, JudgeTask, Out, Seen, Told
from fputrace.timeline import Fact

# Compiled, these come from the .pxd beside this file, as C (fputrace/replay/pxd.py).
if not cython.compiled:
    from fputrace.replay.proofs import Proofs

    REF = layout.REF
    LAST_UNKNOWN = layout.LAST_UNKNOWN
    KVM_OUT = layout.KVM_OUT
    KVM_LOADED = layout.KVM_LOADED
    WIN_NONE = int(layout.Win.NONE)
    WIN_OPEN = int(layout.Win.OPEN)
    OWN_NULL = int(layout.Own.NULL)
    OWN_TOKEN = int(layout.Own.TOKEN)
    # What PUT_AT_OUT holds: the guest was put at the switch-out, and the VMM's image since ...
    PUT_OUT = 1  # was not restored
    PUT_RELOADED = 2  # was, or the guest's for the load: its flag tells
    PUT_RESTORED = 3  # was restored, and the load saves it
    PUT_SKIPPED = 4  # was still in the registers, and the load saves it
    ONCE_CLEAR = int(layout.ONCE_A_STAY[0])
    ONCE_FOREIGN = int(layout.ONCE_A_STAY[1])
    ONCE_LOADED = int(layout.ONCE_A_STAY[2])
    C_ENTRY_BITS = int(JudgeCpu.ENTRY_BITS)
    C_ENTRY_SLOT = int(JudgeCpu.ENTRY_SLOT)
    C_KNOW = int(JudgeCpu.KNOW)
    C_LAST_ACT_TS = int(JudgeCpu.LAST_ACT_TS)
    C_LAST_KIND = int(JudgeCpu.LAST_KIND)
    C_LAST_KVM_FPU_TS = int(JudgeCpu.LAST_KVM_FPU_TS)
    C_LAST_PID = int(JudgeCpu.LAST_PID)
    C_LAST_SAVE_TS = int(JudgeCpu.LAST_SAVE_TS)
    C_REF_OWN = int(JudgeCpu.REF_OWN)
    C_REF_SWITCH = int(JudgeCpu.REF_SWITCH)
    C_STAY_ACTED = int(JudgeCpu.STAY_ACTED)
    C_STAY_INIT = int(JudgeCpu.STAY_INIT)
    C_STAY_KNOWN = int(JudgeCpu.STAY_KNOWN)
    C_STAY_REPORTED = int(JudgeCpu.STAY_REPORTED)
    C_STAY_SHOWN = int(JudgeCpu.STAY_SHOWN)
    C_STAY_TOLD = int(JudgeCpu.STAY_TOLD)
    C_SW_SHOWN = int(JudgeCpu.SW_SHOWN)
    C_STAY_SYS = int(JudgeCpu.STAY_SYS)
    C_SWITCHING = int(JudgeCpu.SWITCHING)
    C_SW_ACTED = int(JudgeCpu.SW_ACTED)
    C_SW_LOADED = int(JudgeCpu.SW_LOADED)
    C_SW_SAVED = int(JudgeCpu.SW_SAVED)
    C_SW_SERIAL = int(JudgeCpu.SW_SERIAL)
    C_SW_SLOT = int(JudgeCpu.SW_SLOT)
    C_SW_UNLOADED = int(JudgeCpu.SW_UNLOADED)
    C_TWO_PID = int(JudgeCpu.TWO_PID)
    C_TWO_SLOT = int(JudgeCpu.TWO_SLOT)
    T_ACT_BITS = int(JudgeTask.ACT_BITS)
    T_ACT_CPU = int(JudgeTask.ACT_CPU)
    T_ACT_FLAG = int(JudgeTask.ACT_FLAG)
    T_ACT_FRESH = int(JudgeTask.ACT_FRESH)
    T_DEAD = int(JudgeTask.DEAD)
    T_EXEC = int(JudgeTask.EXEC)
    T_KNOW = int(JudgeTask.KNOW)
    T_PENDING = int(JudgeTask.PENDING)
    T_PID = int(JudgeTask.PID)
    T_PREV_KIND = int(JudgeTask.PREV_KIND)
    T_PUT_AT_OUT = int(JudgeTask.PUT_AT_OUT)
    T_REF_ACT = int(JudgeTask.REF_ACT)
    T_REF_ENTRY = int(JudgeTask.REF_ENTRY)
    T_REF_IN = int(JudgeTask.REF_IN)
    T_REF_KVM = int(JudgeTask.REF_KVM)
    T_REF_OUT = int(JudgeTask.REF_OUT)
    T_REF_SAVE = int(JudgeTask.REF_SAVE)
    T_SERIAL = int(JudgeTask.SERIAL)
    T_TOLD = int(JudgeTask.TOLD)
    T_VCPU = int(JudgeTask.VCPU)
    T_WIDTH = int(JudgeTask.WIDTH)
    C_WIDTH = int(JudgeCpu.WIDTH)
    TOLD_KVM_ENTRY = int(Told.KVM_ENTRY)
    TOLD_KVM_FPU = int(Told.KVM_FPU)
    TOLD_PRINTS = int(Told.PRINTS)
    TOLD_RESTORE = int(Told.RESTORE)
    TOLD_SAVE = int(Told.SAVE)
    TOLD_TAIL = int(Told.TAIL)
    B_WIDTH = int(Before.WIDTH)
    O_WIDTH = int(Out.WIDTH)
    E_WIDTH = int(Seen.WIDTH)
    F_BAD_FLAG = int(Fact.BAD_FLAG)
    F_CLEAR_ELSEWHERE = int(Fact.CLEAR_ELSEWHERE)
    F_CLEAR_FOREIGN = int(Fact.CLEAR_FOREIGN)
    F_ENTRY_ELSEWHERE = int(Fact.ENTRY_ELSEWHERE)
    F_ENTRY_FOREIGN = int(Fact.ENTRY_FOREIGN)
    F_ENTRY_NOT_LOADED = int(Fact.ENTRY_NOT_LOADED)
    F_LIVE_NOT_SAVED = int(Fact.LIVE_NOT_SAVED)
    F_LIVE_NOT_SAVED_QUIET = int(Fact.LIVE_NOT_SAVED_QUIET)
    COSTS_SHIFT = layout.COSTS_SHIFT
    F_LOAD_AFTER_IN = int(Fact.LOAD_AFTER_IN)
    F_LOAD_AFTER_SKIPPED = int(Fact.LOAD_AFTER_SKIPPED) >> layout.COSTS_SHIFT
    F_LOAD_TWICE = int(Fact.LOAD_TWICE)
    F_RAW_ELSEWHERE = int(Fact.RAW_ELSEWHERE)
    F_RAW_FIRST = int(Fact.RAW_FIRST)
    F_RAW_FLAGGED = int(Fact.RAW_FLAGGED)
    F_RAW_FOREIGN = int(Fact.RAW_FOREIGN)
    F_SAVED_LOADED_ENTRY = int(Fact.SAVED_LOADED_ENTRY)
    F_SAVED_LOADED_OPEN = int(Fact.SAVED_LOADED_OPEN)
    F_SAVE_NO_RESTORE = int(Fact.SAVE_NO_RESTORE)
    F_TWO_CPUS = int(Fact.TWO_CPUS)
    F_TWO_CPUS_OPEN = int(Fact.TWO_CPUS_OPEN)
    F_UNLOAD_THEN_SAVE = int(Fact.UNLOAD_THEN_SAVE)
    F_UNLOAD_TWICE = int(Fact.UNLOAD_TWICE)
    F_UNTOLD = int(Fact.UNTOLD) >> layout.COSTS_SHIFT
    F_USER_FOREIGN = int(Fact.USER_FOREIGN)
    F_USER_LOADED = int(Fact.USER_LOADED)
    E_DOUBLE_LOAD = int(Seen.DOUBLE_LOAD)
    E_ENTRIES = int(Seen.ENTRIES)
    E_EXITS = int(Seen.EXITS)
    E_KVM_FPUS = int(Seen.KVM_FPUS)
    E_OUT_SAVE_FLAG_0 = int(Seen.OUT_SAVE_FLAG_0)
    E_OUT_SAVE_FLAG_1 = int(Seen.OUT_SAVE_FLAG_1)
    E_OUT_WHILE_LOADED = int(Seen.OUT_WHILE_LOADED)
    E_RELOAD_AFTER_ENTRY = int(Seen.RELOAD_AFTER_ENTRY)
    E_RELOAD_BEFORE_ENTRY = int(Seen.RELOAD_BEFORE_ENTRY)
    E_UNLOAD_IN_WINDOW = int(Seen.UNLOAD_IN_WINDOW)
    E_UNLOADS = int(Seen.UNLOADS)
    E_USER_EXIT_WHILE_LOADED = int(Seen.USER_EXIT_WHILE_LOADED)
    E_USER_EXIT_WHILE_OUT = int(Seen.USER_EXIT_WHILE_OUT)
    K_ACTIVATE_STATE = int(Kind.ACTIVATE_STATE)
    K_BEFORE_SAVE = int(Kind.BEFORE_SAVE)
    K_CPU_END = int(Kind.CPU_END)
    K_DROPPED = int(Kind.DROPPED)
    K_KVM_ENTRY = int(Kind.KVM_ENTRY)
    K_KVM_EXIT = int(Kind.KVM_EXIT)
    K_KVM_FPU = int(Kind.KVM_FPU)
    K_KVM_USERSPACE_EXIT = int(Kind.KVM_USERSPACE_EXIT)
    K_LOSS = int(Kind.LOSS)
    K_LOSS_END = int(Kind.LOSS_END)
    K_OTHER = int(Kind.OTHER)
    K_PAGE_FAULT_USER = int(Kind.PAGE_FAULT_USER)
    K_PROBE_SAVE = int(Kind.PROBE_SAVE)
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
    B_LAST = int(Before.LAST)
    B_OWN = int(Before.OWN)
    B_OWN_PID = int(Before.OWN_PID)
    B_OWN_STATE = int(Before.OWN_STATE)
    B_SERIAL = int(Before.SERIAL)
    B_SLOT = int(Before.SLOT)
    B_SUBJECT = int(Before.SUBJECT)
    B_TASK_KNOW = int(Before.TASK_KNOW)
    B_WIN = int(Before.WIN)
    O_EVENT = int(Out.EVENT)
    O_NEXT = int(Out.NEXT)


def widths() -> tuple[int, int, int, int, int]:
    """Columns this loop was built for: a CPU's, a task's, a facts, an out row; evidence."""
    return int(C_WIDTH), int(T_WIDTH), int(B_WIDTH), int(O_WIDTH), int(E_WIDTH)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def differs(own_state: cython.longlong, own: cython.longlong, fpu: cython.longlong) -> cython.bint:
    """Whether somebody else than ``fpu``, or nobody, acquired the registers last for sure."""
    return own_state == OWN_NULL or (own_state == OWN_TOKEN and own != fpu)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def put(
    table: cython.longlong[:, ::1],
    at: cython.Py_ssize_t,
    column: cython.Py_ssize_t,
    ts: cython.longlong,
    c: cython.Py_ssize_t,
    p: cython.longlong,
    kind: cython.Py_ssize_t,
    event: cython.longlong,
    op0: cython.longlong,
    op1: cython.longlong,
    op2: cython.longlong,
    op3: cython.longlong,
) -> cython.void:
    """Row ``at`` of a table keeps an event, a reference from ``column`` on.

    Not by way of a row in memory, as :meth:`Reader.keep` has it: most events are kept twice, which
    made judging them a tenth slower.
    """
    table[at, column] = ts
    table[at, column + 1] = c
    table[at, column + 2] = p
    table[at, column + 3] = kind
    table[at, column + 4] = event
    table[at, column + 5] = op0
    table[at, column + 6] = op1
    table[at, column + 7] = op2
    table[at, column + 8] = op3


@cython.final
@cython.cclass
class Judge(Proofs):
    """What spans events, carried from call to call.

    cpus: int64[ncpu, JudgeCpu.WIDTH]; tasks: int64[cap, JudgeTask.WIDTH], rows as the ownership
    loop numbers them; seen: int64[Seen.WIDTH]; out: int64[rows, Out.WIDTH]; gone: int64[many, 2],
    serial and Told bits of the last tasks whose rows are others' now; wanted: the Fact bits some
    rule asks for; grace: kvm_entry is printed before a late reload; out_flag: what ``load_fpu`` a
    switch-out save prints, or -1; exits: kvm_userspace_exit was recorded, which ends a KVM_RUN.
    """

    seen: cython.longlong[::1]
    gone: cython.longlong[:, ::1]
    ngone: cython.Py_ssize_t
    out_flag: cython.longlong
    eager: cython.bint
    grace: cython.bint
    exits: cython.bint

    def __init__(
        self,
        cpus: cython.longlong[:, ::1],
        tasks: cython.longlong[:, ::1],
        seen: cython.longlong[::1],
        out: cython.longlong[:, ::1],
        gone: cython.longlong[:, ::1],
        wanted: int,
        eager: bool,
        grace: bool,
        out_flag: int,
        exits: bool,
    ) -> None:
        self.cpus = cpus
        self.tasks = tasks
        self.seen = seen
        self.out = out
        self.gone = gone
        self.ngone = 0
        self.nout = 0
        self.wanted = wanted
        self.eager = eager
        self.grace = grace
        self.out_flag = out_flag
        self.exits = exits

    # -- what is followed ---------------------------------------------------------------------

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_task(
        self, s: cython.Py_ssize_t, f: cython.Py_ssize_t, facts: cython.longlong[:, ::1]
    ) -> cython.void:
        """Drop what was followed of row s when its task changed or was out of sight."""
        j: cython.Py_ssize_t
        if self.tasks[s, T_PENDING]:
            self.settle(F_SAVED_LOADED_OPEN, 0, s, -1)
        if self.tasks[s, T_SERIAL] != facts[f, B_SERIAL]:
            if self.tasks[s, T_TOLD]:
                # Of the last ones it is kept: proof about them may wait for it.
                self.gone[self.ngone, 0] = self.tasks[s, T_SERIAL]
                self.gone[self.ngone, 1] = self.tasks[s, T_TOLD]
                self.ngone += 1
                if self.ngone == self.gone.shape[0]:
                    self.ngone = 0
            for j in range(T_WIDTH):
                self.tasks[s, j] = 0
        self.tasks[s, T_SERIAL] = facts[f, B_SERIAL]
        self.tasks[s, T_KNOW] = facts[f, B_TASK_KNOW]
        self.tasks[s, T_PID] = facts[f, B_SUBJECT]
        # T_DEAD stays: only another task or an activation ends it, however much was out of sight.
        self.tasks[s, T_PREV_KIND] = 0
        self.tasks[s, T_ACT_BITS] = 0
        self.tasks[s, T_PUT_AT_OUT] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def fresh_cpu(self, c: cython.Py_ssize_t, know: cython.longlong) -> cython.void:
        """Drop what was followed of CPU c when it was out of sight."""
        j: cython.Py_ssize_t
        for j in range(C_KNOW, C_TWO_SLOT):
            self.cpus[c, j] = 0
        self.cpus[c, C_KNOW] = know

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def restored_after_put(
        self,
        s: cython.Py_ssize_t,
        flag: cython.bint,
        tail: cython.bint,
        valid: cython.bint,
    ) -> cython.void:
        """regs_activated of task s, whose guest was put at its switch-out: will the next load save
        an image that was restored for nothing?  As :mod:`fputrace.replay.costs` counts it.
        """
        if self.eager:
            # switch_fpu_finish() prints it whether or not it had to restore.
            if tail:
                self.tasks[s, T_PUT_AT_OUT] = PUT_SKIPPED if valid else PUT_RESTORED
        elif flag:
            self.tasks[s, T_PUT_AT_OUT] = PUT_RELOADED
        elif self.tasks[s, T_PUT_AT_OUT] == PUT_RELOADED:
            # The load's own, with live registers: it saves what had been restored.
            self.tasks[s, T_PUT_AT_OUT] = PUT_RESTORED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def two_cpus(self, c: cython.Py_ssize_t, fact: cython.longlong) -> cython.void:
        """The activation elsewhere of CPU c's task is settled."""
        s: cython.Py_ssize_t = self.cpus[c, C_TWO_SLOT]
        if self.tasks[s, T_PID] == self.cpus[c, C_TWO_PID]:
            self.emit_task(fact, c, s, -1, T_REF_ACT)
        self.cpus[c, C_TWO_PID] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def close_window(
        self, c: cython.Py_ssize_t, s: cython.Py_ssize_t, spoke: cython.bint
    ) -> cython.void:
        """The incoming task s speaks for the first time: the switch on CPU c is over."""
        j: cython.Py_ssize_t
        p: cython.Py_ssize_t = self.cpus[c, C_SW_SLOT]
        told: cython.longlong = self.cpus[c, C_SW_SAVED]
        if self.tasks[p, T_SERIAL] == self.cpus[c, C_SW_SERIAL]:
            if self.tasks[p, T_TOLD] & TOLD_PRINTS:
                told |= 2
            if (
                self.cpus[c, C_SW_LOADED]
                and not self.cpus[c, C_SW_UNLOADED]
                and (self.cpus[c, C_SW_SAVED] or not self.eager)
            ):
                self.seen[E_OUT_WHILE_LOADED] += 1
            if (
                self.eager
                and self.cpus[c, C_STAY_KNOWN]
                and self.cpus[c, C_STAY_SHOWN]
                and self.cpus[c, C_STAY_ACTED]
                and not self.cpus[c, C_SW_SAVED]
                and not self.tasks[p, T_DEAD]
            ):
                # A pid filter records a task's tail only before another chosen task: an incoming
                # one that does nothing but leave again may be an outsider.
                self.emit_switch(F_LIVE_NOT_SAVED if spoke else F_LIVE_NOT_SAVED_QUIET, c, p)
            if self.tasks[p, T_PUT_AT_OUT] or (self.exits and self.cpus[c, C_SW_UNLOADED]):
                self.tasks[p, T_PUT_AT_OUT] = PUT_OUT
        self.cpus[c, C_SWITCHING] = 0
        self.cpus[c, C_STAY_KNOWN] = 1
        self.cpus[c, C_STAY_SHOWN] = self.cpus[c, C_SW_SHOWN]
        self.cpus[c, C_STAY_ACTED] = self.cpus[c, C_SW_ACTED]
        self.cpus[c, C_STAY_TOLD] = told
        if told & 1:
            self.tasks[s, T_TOLD] |= TOLD_TAIL
        self.cpus[c, C_STAY_INIT] = 0
        self.cpus[c, C_STAY_SYS] = 0
        self.cpus[c, C_STAY_REPORTED] = 0
        for j in range(REF):
            self.tasks[s, T_REF_IN + j] = self.cpus[c, C_REF_SWITCH + j]

    def finish(self) -> bool:
        """End of the trace: what still waits stays open. Call until it returns True."""
        c: cython.Py_ssize_t
        s: cython.Py_ssize_t
        room: cython.Py_ssize_t = self.out.shape[0] - 4
        for c in range(self.cpus.shape[0]):
            if self.cpus[c, C_TWO_PID]:
                if self.nout > room:
                    return False
                self.two_cpus(c, F_TWO_CPUS_OPEN)
        for s in range(self.tasks.shape[0]):
            if self.tasks[s, T_PENDING]:
                if self.nout > room:
                    return False
                self.settle(F_SAVED_LOADED_OPEN, 0, s, -1)
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
        cpus: cython.longlong[:, ::1] = self.cpus
        tasks: cython.longlong[:, ::1] = self.tasks
        i: cython.Py_ssize_t
        j: cython.Py_ssize_t
        c: cython.Py_ssize_t
        s: cython.Py_ssize_t
        n: cython.Py_ssize_t
        kind: cython.Py_ssize_t
        ts: cython.longlong
        p: cython.longlong
        op0: cython.longlong
        op1: cython.longlong
        op2: cython.longlong
        op3: cython.longlong
        event: cython.longlong
        own_state: cython.longlong
        own: cython.longlong
        last: cython.longlong
        kvm: cython.longlong
        bits: cython.longlong
        foreign: cython.bint
        skipped: cython.longlong
        untold: cython.longlong = F_UNTOLD
        unlike: cython.bint
        elsewhere: cython.bint
        tail: cython.bint
        soft: cython.bint
        room: cython.Py_ssize_t = self.out.shape[0] - 16

        for i in range(first, stop):
            if self.nout > room:
                return i
            c = cpu_[i]
            kind = kind_[i]
            if cpus[c, C_KNOW] != facts[i, B_CPU_KNOW]:
                self.fresh_cpu(c, facts[i, B_CPU_KNOW])
            if kind == K_LOSS or kind == K_LOSS_END or kind == K_CPU_END:
                if cpus[c, C_TWO_PID]:
                    self.two_cpus(c, F_TWO_CPUS_OPEN)
                cpus[c, C_LAST_PID] = 0
                continue
            ts = ts_[i]
            p = pid_[i]
            op0 = op_[i, 0]
            op1 = op_[i, 1]
            op2 = op_[i, 2]
            op3 = op_[i, 3]
            event = event_[i]
            s = facts[i, B_SLOT]
            if tasks[s, T_KNOW] != facts[i, B_TASK_KNOW]:
                self.fresh_task(s, i, facts)
            tail = facts[i, B_WIN] == WIN_OPEN
            soft = kind == K_OTHER or kind >= K_PROBE_SAVE
            own_state = facts[i, B_OWN_STATE]
            own = facts[i, B_OWN]
            last = facts[i, B_LAST]
            kvm = facts[i, B_KVM]
            if cpus[c, C_SWITCHING] and not tail:
                self.close_window(c, s, kind != K_SCHED_SWITCH)

            # What waited for this CPU's next event.
            if cpus[c, C_ENTRY_BITS] and not soft:
                n = cpus[c, C_ENTRY_SLOT]
                if not (kind == K_REGS_ACTIVATED and n == s):
                    n = self.emit_task(
                        cpus[c, C_ENTRY_BITS], c, n, facts[i, B_OWN_PID], T_REF_ENTRY
                    )
                    if n >= 0:
                        put(self.out, n, O_NEXT, ts, c, p, kind, event, op0, op1, op2, op3)
                cpus[c, C_ENTRY_BITS] = 0
            if cpus[c, C_TWO_PID]:
                self.two_cpus(
                    c,
                    F_TWO_CPUS
                    if cpus[c, C_TWO_PID] == p and kind != K_SCHED_SWITCH
                    else F_TWO_CPUS_OPEN,
                )

            # What this event shows, by the state before it.  ``foreign``: somebody else (or
            # nobody) acquired the registers after F(subject) did; ``unlike``: after the printed
            # fpu did.
            bits = 0
            if kind == K_REGS_ACTIVATED:
                unlike = differs(own_state, own, op0)
                elsewhere = last != LAST_UNKNOWN and last != c
                if self.eager or op1:
                    # From 5.2 on a restore prints 1: a filter may leave out just those.
                    cpus[c, C_LAST_ACT_TS] = ts
                    tasks[s, T_TOLD] |= TOLD_RESTORE
                if self.eager and tail:
                    tasks[cpus[c, C_SW_SLOT], T_TOLD] |= TOLD_PRINTS
                if tasks[s, T_PUT_AT_OUT]:
                    self.restored_after_put(
                        s, op1 != 0, tail, own_state == OWN_TOKEN and own == op0 and last == c
                    )
                if self.eager:
                    if op1 == 0:
                        bits = F_BAD_FLAG
                else:
                    tasks[s, T_ACT_FLAG] = op1
                    tasks[s, T_ACT_BITS] = 0
                    if op1 == 0:
                        if not tasks[s, T_DEAD]:
                            if unlike:
                                bits |= F_CLEAR_FOREIGN
                            if elsewhere:
                                bits |= F_CLEAR_ELSEWHERE
                    else:
                        tasks[s, T_ACT_BITS] = F_RAW_FLAGGED
                        if unlike:
                            tasks[s, T_ACT_BITS] |= F_RAW_FOREIGN
                        if elsewhere:
                            tasks[s, T_ACT_BITS] |= F_RAW_ELSEWHERE
                        if not cpus[c, C_STAY_ACTED] or not cpus[c, C_STAY_KNOWN]:
                            tasks[s, T_ACT_BITS] |= F_RAW_FIRST
                        if tasks[s, T_PREV_KIND] == K_KVM_ENTRY:
                            self.seen[E_RELOAD_AFTER_ENTRY] += 1
                # Two CPUs that both claim to run this task: the other one's next event tells.
                j = tasks[s, T_ACT_CPU]
                if (
                    j >= 0
                    and j != c
                    and tasks[s, T_ACT_FRESH]
                    and tasks[s, T_PID] > 0
                    and cpus[j, C_LAST_PID] == tasks[s, T_PID]
                    and cpus[j, C_LAST_KIND] != K_SCHED_SWITCH
                    and cpus[j, C_REF_OWN + 5] == op0
                    and cpus[j, C_REF_SWITCH] != 0  # its switches are being recorded
                ):
                    cpus[j, C_TWO_PID] = tasks[s, T_PID]
                    cpus[j, C_TWO_SLOT] = s
            elif kind == K_REGS_DEACTIVATED:
                unlike = differs(own_state, own, op0)
                elsewhere = last != LAST_UNKNOWN and last != c
                if tail:
                    tasks[s, T_TOLD] |= TOLD_SAVE
                    for j in range(REF):
                        tasks[s, T_REF_OUT + j] = cpus[c, C_REF_SWITCH + j]
                    if self.eager:
                        if (
                            cpus[c, C_STAY_KNOWN]
                            and cpus[c, C_STAY_SHOWN]
                            and not cpus[c, C_STAY_ACTED]
                            and not cpus[c, C_STAY_INIT]
                        ):
                            bits |= F_SAVE_NO_RESTORE
                            # The restore is printed under the pid of the task before.
                            if cpus[c, C_STAY_TOLD] != 3:
                                bits |= untold << COSTS_SHIFT
                    else:
                        if op1 == 0:
                            self.seen[E_OUT_SAVE_FLAG_0] += 1
                        elif op1 == 1:
                            self.seen[E_OUT_SAVE_FLAG_1] += 1
                        if self.out_flag >= 0 and op1 != self.out_flag:
                            bits |= F_BAD_FLAG
                        if not tasks[s, T_DEAD]:
                            if unlike:
                                bits |= F_CLEAR_FOREIGN
                            if elsewhere:
                                bits |= F_CLEAR_ELSEWHERE
                    if cpus[c, C_SW_UNLOADED]:
                        bits |= F_UNLOAD_THEN_SAVE
                elif (
                    not self.eager
                    and op1 == 0
                    and p > 0  # idle's flag says nothing (fpu_idle_fpregs() of old)
                    and facts[i, B_WIN] == WIN_NONE
                    and not tasks[s, T_DEAD]
                ):
                    # fpu__drop(): exit, and until 5.7 exec and signal delivery.
                    if unlike:
                        bits |= F_CLEAR_FOREIGN
                    if elsewhere:
                        bits |= F_CLEAR_ELSEWHERE
            elif kind == K_KVM_FPU:
                cpus[c, C_LAST_KVM_FPU_TS] = ts
                tasks[s, T_TOLD] |= TOLD_KVM_FPU
                self.seen[E_KVM_FPUS] += 1
                if op0:
                    if kvm == KVM_LOADED:
                        bits |= F_LOAD_TWICE
                        self.seen[E_DOUBLE_LOAD] += 1
                    if tasks[s, T_PUT_AT_OUT] == PUT_RESTORED:
                        bits |= F_LOAD_AFTER_IN
                    elif tasks[s, T_PUT_AT_OUT] == PUT_SKIPPED:
                        skipped = F_LOAD_AFTER_SKIPPED
                        bits |= skipped << COSTS_SHIFT
                else:
                    self.seen[E_UNLOADS] += 1
                    if kvm == KVM_OUT:
                        bits |= F_UNLOAD_TWICE
                    if tail:
                        self.seen[E_UNLOAD_IN_WINDOW] += 1
                        cpus[c, C_SW_UNLOADED] = 1
                tasks[s, T_PUT_AT_OUT] = 0
                if tasks[s, T_PREV_KIND] == K_REGS_ACTIVATED:
                    bits |= tasks[s, T_ACT_BITS]
                if tasks[s, T_PENDING]:
                    self.settle(F_SAVED_LOADED_OPEN, c, s, facts[i, B_OWN_PID])
            elif kind == K_KVM_ENTRY:
                foreign = facts[i, B_F_KNOWN] and differs(own_state, own, facts[i, B_F])
                elsewhere = last != LAST_UNKNOWN and last != c
                self.seen[E_ENTRIES] += 1
                tasks[s, T_TOLD] |= TOLD_KVM_ENTRY
                tasks[s, T_VCPU] = op0 + 1
                if kvm == KVM_OUT:
                    bits |= F_ENTRY_NOT_LOADED
                # Eager, and restored in sight: what is known of it is of another with this number.
                if not (self.eager and cpus[c, C_STAY_ACTED]):
                    if foreign:
                        bits |= F_ENTRY_FOREIGN
                    if elsewhere:
                        bits |= F_ENTRY_ELSEWHERE
                    # The restore is printed under the pid of the task before, if of anybody's.
                    if self.eager and (foreign or elsewhere) and not cpus[c, C_STAY_TOLD] & 2:
                        bits |= untold << COSTS_SHIFT
                if tasks[s, T_PREV_KIND] == K_REGS_ACTIVATED and tasks[s, T_ACT_FLAG]:
                    self.seen[E_RELOAD_BEFORE_ENTRY] += 1
                if tasks[s, T_PENDING] and kvm == KVM_LOADED:
                    n = self.settle(F_SAVED_LOADED_ENTRY, c, s, facts[i, B_OWN_PID])
                    if n >= 0:
                        put(self.out, n, O_NEXT, ts, c, p, kind, event, op0, op1, op2, op3)
                put(tasks, s, T_REF_ENTRY, ts, c, p, kind, event, op0, op1, op2, op3)
                if self.grace and bits & (F_ENTRY_FOREIGN | F_ENTRY_ELSEWHERE):
                    cpus[c, C_ENTRY_BITS] = bits & (F_ENTRY_FOREIGN | F_ENTRY_ELSEWHERE)
                    cpus[c, C_ENTRY_SLOT] = s
                    bits &= ~(F_ENTRY_FOREIGN | F_ENTRY_ELSEWHERE)
            elif kind == K_KVM_EXIT:
                self.seen[E_EXITS] += 1
            elif kind == K_SYS_ENTER or kind == K_PAGE_FAULT_USER:
                foreign = facts[i, B_F_KNOWN] and differs(own_state, own, facts[i, B_F])
                tasks[s, T_PUT_AT_OUT] = 0
                if kvm == KVM_LOADED:
                    bits |= F_USER_LOADED
                if (
                    foreign
                    and not self.eager
                    and not tasks[s, T_EXEC]
                    and (kind == K_PAGE_FAULT_USER or cpus[c, C_STAY_SYS])
                ):
                    bits |= F_USER_FOREIGN
                if kind == K_SYS_ENTER:
                    cpus[c, C_STAY_SYS] = 1
            elif kind == K_SYS_EXIT:
                cpus[c, C_STAY_SYS] = 1
            elif kind == K_KVM_USERSPACE_EXIT:
                tasks[s, T_PUT_AT_OUT] = 0
                if kvm == KVM_LOADED:
                    self.seen[E_USER_EXIT_WHILE_LOADED] += 1
                elif kvm == KVM_OUT:
                    self.seen[E_USER_EXIT_WHILE_OUT] += 1
            elif kind == K_BEFORE_SAVE:
                if not self.eager and op1 == 0 and not tasks[s, T_DEAD]:
                    if differs(own_state, own, op0):
                        bits |= F_CLEAR_FOREIGN
                    if last != LAST_UNKNOWN and last != c:
                        bits |= F_CLEAR_ELSEWHERE
            elif kind == K_ACTIVATE_STATE:
                cpus[c, C_STAY_INIT] = 1

            bits &= self.wanted
            if bits & (ONCE_CLEAR | ONCE_FOREIGN | ONCE_LOADED):
                # A stay counts once for facts that repeat while it lasts.
                if bits & ONCE_CLEAR:
                    if cpus[c, C_STAY_REPORTED] & ONCE_CLEAR:
                        bits &= ~ONCE_CLEAR
                    cpus[c, C_STAY_REPORTED] |= ONCE_CLEAR
                if bits & ONCE_FOREIGN:
                    if cpus[c, C_STAY_REPORTED] & ONCE_FOREIGN:
                        bits &= ~ONCE_FOREIGN
                    cpus[c, C_STAY_REPORTED] |= ONCE_FOREIGN
                if bits & ONCE_LOADED:
                    if cpus[c, C_STAY_REPORTED] & ONCE_LOADED:
                        bits &= ~ONCE_LOADED
                    cpus[c, C_STAY_REPORTED] |= ONCE_LOADED
            if bits:
                n = self.emit(bits, c, s, facts[i, B_OWN_PID])
                if n >= 0:
                    put(self.out, n, O_EVENT, ts, c, p, kind, event, op0, op1, op2, op3)

            # What later events are judged by.
            if kind == K_REGS_ACTIVATED:
                tasks[s, T_DEAD] = 0
                tasks[s, T_EXEC] = 0
                tasks[s, T_ACT_CPU] = c
                tasks[s, T_ACT_FRESH] = 1
                if tail:
                    cpus[c, C_SW_ACTED] = 1
                else:
                    cpus[c, C_STAY_ACTED] = 1
                put(cpus, c, C_REF_OWN, ts, c, p, kind, event, op0, op1, op2, op3)
                put(tasks, s, T_REF_ACT, ts, c, p, kind, event, op0, op1, op2, op3)
            elif kind == K_REGS_DEACTIVATED:
                if tail:
                    cpus[c, C_SW_SAVED] = 1
                    cpus[c, C_LAST_SAVE_TS] = ts
                    if kvm == KVM_LOADED and not tasks[s, T_DEAD]:
                        tasks[s, T_PENDING] += 1
                    put(tasks, s, T_REF_SAVE, ts, c, p, kind, event, op0, op1, op2, op3)
                elif self.eager:
                    # Only fpu__drop() prints one here.  `initialized` is 0 from now on; `dropped`
                    # may come after an interrupt's events.
                    tasks[s, T_DEAD] = 1
                    cpus[c, C_STAY_ACTED] = 0
            elif kind == K_DROPPED:
                # Its own, not that of a child whose fork failed.
                if not tail and (facts[i, B_F_KNOWN] == 0 or facts[i, B_F] == op0):
                    tasks[s, T_DEAD] = 1
                    cpus[c, C_STAY_ACTED] = 0
            elif kind == K_KVM_FPU:
                put(tasks, s, T_REF_KVM, ts, c, p, kind, event, op0, op1, op2, op3)
            elif kind == K_SCHED_SWITCH:
                tasks[s, T_ACT_FRESH] = 0
                cpus[c, C_SWITCHING] = 1
                cpus[c, C_SW_SLOT] = s
                cpus[c, C_SW_SERIAL] = tasks[s, T_SERIAL]
                cpus[c, C_SW_LOADED] = kvm == KVM_LOADED
                cpus[c, C_SW_SAVED] = 0
                cpus[c, C_SW_UNLOADED] = 0
                cpus[c, C_SW_ACTED] = 0
                cpus[c, C_SW_SHOWN] = cpus[c, C_LAST_ACT_TS] != 0 and cpus[c, C_LAST_SAVE_TS] != 0
                put(cpus, c, C_REF_SWITCH, ts, c, p, kind, event, op0, op1, op2, op3)
            elif kind == K_SCHED_PROCESS_EXEC:
                tasks[s, T_EXEC] = 1
            if not soft:
                tasks[s, T_PREV_KIND] = kind
            cpus[c, C_LAST_KIND] = kind
            cpus[c, C_LAST_PID] = p
        return stop
