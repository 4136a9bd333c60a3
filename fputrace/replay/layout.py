"""Where the replay keeps what: columns of its state arrays, bits of its facts, rows it hands out.

The compiled loop works on plain int64 arrays; these classes are the only place that numbers their
columns.  They are enums only where a value has to say its name: three hundred members of enums take
4 ms to make.  A *reference* is one event kept for a proof: ``REF`` int64 values in the order of
:class:`Ref`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from fputrace.pricing import STICKY_BITS
from fputrace.timeline import CERTAINTIES, SPAN_COLUMNS, Col, Fact

PID_MAX = 4 * 1024 * 1024
"""PID_MAX_LIMIT of a 64-bit kernel (include/linux/threads.h); a pid beyond it is nobody."""

NO_PID = -(1 << 40)
"""``cur`` is unknown."""

FAR_PAST = -(1 << 62)
FAR_FUTURE = 1 << 62
"""Before any time a trace can hold."""


class Ref(IntEnum):
    """One kept event."""

    TS = 0
    CPU = 1
    PID = 2
    KIND = 3
    EVENT = 4
    OP0 = 5
    OP1 = 6
    OP2 = 7
    OP3 = 8


REF = len(Ref)


class Win(IntEnum):
    """State of a CPU's switch window (docs/model.md)."""

    NONE = 0
    OPEN = 1
    UNKNOWN = 2


class Own(IntEnum):
    """What is known of ``fpu_fpregs_owner_ctx``."""

    UNKNOWN = 0
    NULL = 1
    TOKEN = 2


class Image(IntEnum):
    """Whose image the registers of a CPU hold."""

    UNKNOWN = 0
    USER = 1
    GUEST = 2
    KERNEL = 3
    INIT = 4
    USER_INFERRED = 5  # its kvm state is unknown, but no KVM event of the task was ever seen


LAST_UNKNOWN = -2
LAST_INVALID = -1
KVM_OUT, KVM_LOADED = 0, 1


class Before:
    """Columns of the facts table: what is known before each event, for its CPU and its subject.

    Row i of the table is event i of the part replayed; see docs/model.md for the values.  Those up
    to SUBJECT are the first of :class:`Cpu`, the others the first of :class:`Task`: the ownership
    loop copies both as they lie.
    """

    CUR = 0
    WIN = 1
    OWN = 2
    OWN_STATE = 3
    OWN_PID = 4  # pid of the task that acquired ``OWN``; 0 NULL, -1 unknown
    IMAGE = 5
    CPU_KNOW = 6  # changes whenever this CPU was out of sight
    SLOT = 7  # the subject's row in per-task tables
    SUBJECT = 8
    F = 9
    F_KNOWN = 10
    LAST = 11
    TIF = 12
    KVM = 13
    SERIAL = 14  # grows with every new task: tells users of a row apart
    TASK_KNOW = 15  # changes whenever something about the subject was forgotten
    WIDTH = 16


class OpenSpan(Col):
    """Columns of a CPU's open span: those of a span table, and whether there is one."""

    LIVE = len(SPAN_COLUMNS)  # 0 none, 1 open, 2 open and it gets no more rows
    WIDTH = LIVE + 1


INFERRED, KNOWN = CERTAINTIES.index("inferred"), CERTAINTIES.index("known")


class Cpu:
    """Columns of a CPU's row in the ownership loop; the first are as :class:`Before` has them."""

    CUR = 0
    WIN = 1
    OWN = 2
    OWN_STATE = 3
    OWN_PID = 4
    IMAGE = 5
    KNOW = 6
    SLOT = 7  # the last event's subject
    SEEN = 8
    BLIND = 9
    PREV = 10
    NEXT = 11
    WIN_TS = 12
    WIN_BLIND = 13
    STAY_START = 14
    PREV_TS = 15
    DROP_F = 16
    DROP_PID = 17
    DROP_ARMED = 18
    WIN_SAVED = 19  # regs_deactivated in this window
    WIDTH = 20


class Task:
    """Columns of a task's row in the ownership loop; the first are as :class:`Before` has them."""

    PID = 0
    F = 1
    F_KNOWN = 2
    LAST = 3
    TIF = 4
    KVM = 5
    SERIAL = 6
    KNOW = 7
    EPOCH = 8
    WAIT = 9
    WAIT_KNOWN = 10
    HOME = 11  # CPU on which it is cur, prev or next; -1 none
    KVMISH = 12  # a KVM event of this task was seen
    WIDTH = 13


class JudgeCpu:
    """Columns of a CPU's row in the judge; those before TWO_SLOT start anew after a hole."""

    KNOW = 0
    SWITCHING = 1  # a switch window is open
    SW_SLOT = 2  # its prev's row
    SW_SERIAL = 3
    SW_LOADED = 4  # prev's guest was loaded at the sched_switch
    SW_SAVED = 5  # regs_deactivated of prev seen in this window
    SW_UNLOADED = 6  # kvm_fpu unload of prev seen in this window
    SW_ACTED = 7  # eager: regs_activated for next seen in this window
    STAY_KNOWN = 8
    STAY_ACTED = 9  # regs_activated of cur since its switch-in
    STAY_INIT = 10  # activate_state of cur since its switch-in
    STAY_SYS = 11  # sys_enter or sys_exit of cur since its switch-in
    STAY_REPORTED = 12  # Fact bits already handed out for this stay
    SW_SHOWN = 13  # this CPU showed activations and saves before this window: they are recorded
    STAY_SHOWN = 14  # it did before this stay
    ENTRY_BITS = 15  # verdict on a kvm_entry that waits for a late reload
    ENTRY_SLOT = 16
    STAY_TOLD = 17  # cur's switch-in: 1 its prev's save was seen, 2 its prev prints activations
    TWO_SLOT = 18  # row of the task whose activation elsewhere waits for this CPU's next event
    TWO_PID = 19
    LAST_PID = 20
    LAST_KIND = 21
    LAST_ACT_TS = 22  # from 5.2 on one that prints load_fpu 1
    LAST_KVM_FPU_TS = 23
    LAST_SAVE_TS = 24
    REF_OWN = 25  # the last acquisition
    REF_SWITCH = REF_OWN + REF  # the last sched_switch
    WIDTH = REF_SWITCH + REF


class JudgeTask:
    """Columns of a task's row in the judge."""

    SERIAL = 0
    KNOW = 1
    PID = 2
    VCPU = 3  # vCPU id + 1 of its last kvm_entry, 0 none
    DEAD = 4  # dropped and not activated since
    EXEC = 5  # sched_process_exec and not activated since
    PREV_KIND = 6
    ACT_FLAG = 7  # flag of its last activation
    ACT_BITS = 8  # what that activation found: Fact.RAW_* candidates
    ACT_CPU = 9
    ACT_FRESH = 10  # no sched_switch of it since
    PUT_AT_OUT = 11  # guest unloaded in the last switch window, user image not used since
    PENDING = 12  # switch-outs with the guest loaded that wait for a kvm_entry
    TOLD = 13  # Told bits
    REF_KVM = 14  # its last kvm_fpu
    REF_SAVE = REF_KVM + REF  # its last switch-out save
    REF_ENTRY = REF_SAVE + REF  # its last kvm_entry
    REF_IN = REF_ENTRY + REF  # the sched_switch that brought it in
    REF_OUT = REF_IN + REF  # the sched_switch of its last switch-out save
    REF_ACT = REF_OUT + REF  # its last activation
    WIDTH = REF_ACT + REF


class Told(IntFlag):
    """What was ever seen of a task: filters leave out whole tasks, or what they do not choose."""

    RESTORE = 1  # its regs_activated; from 5.2 on one that prints load_fpu 1
    SAVE = 2  # its switch-out save
    TAIL = 4  # the save of the task before it, in the window of its switch-in
    PRINTS = 8  # eager: under its pid another's regs_activated, in its tail
    KVM_FPU = 16
    KVM_ENTRY = 32


class ProbedCpu:
    """Columns of a CPU's row in the follower of probes; those before LAST_SAVE start anew after a
    hole.
    """

    KNOW = 0
    DEPTH = 1  # kernel FPU sections begun here and not ended
    BEGIN_PID = 2  # who began the innermost one
    BEGIN_WHOLE = 3  # it began in sight, and no sched_switch since
    STALE = 4  # a section ended here, and nobody acquired the registers since
    STAY_LIVE = 5  # regs_activated of cur since its switch-in, no section, drop or exec since
    STAY_SYS = 6  # sys_enter or sys_exit of cur since its switch-in, and since STALE
    STAY_REPORTED = 7  # Fact bits already handed out for this stay
    SWITCHING = 8  # a switch window is open
    SW_SLOT = 9  # its prev's row
    SW_SERIAL = 10
    SW_LIVE = 11  # prev's registers were live at the sched_switch
    SW_LOADED = 12  # and its guest's were in them
    SW_SAVED = 13  # prev was saved in this window, by event or by probe
    SW_SHOWN = 14  # both had been seen here before this window opened
    ENTRY_WAITS = 15  # a kvm_entry on stale registers waits for a late reload
    ENTRY_SLOT = 16
    SHOWN = 17  # seen here: 1 a switch-out save's event, 2 its probe, 4 a restore's probe
    PREV_KIND = 18
    PREV_EVENT = 19
    SAVES = 20  # the last switch-out save hit the save's probe: 1; one did, the last did not: 2
    REF_BEGIN = 21  # the innermost begin
    REF_END = REF_BEGIN + REF  # the last end
    REF_SWITCH = REF_END + REF  # the last sched_switch
    REF_ENTRY = REF_SWITCH + REF  # the kvm_entry that waits
    LAST_SAVE = REF_ENTRY + REF  # time of the last save probe
    LAST_RESTORE = LAST_SAVE + 1  # time of the last restore probe
    WIDTH = LAST_RESTORE + 1


class ProbedTask:
    """Columns of a task's row in the follower of probes."""

    SERIAL = 0
    KNOW = 1
    PID = 2
    VCPU = 3  # vCPU id + 1 of its last kvm_entry, 0 none
    KVM = 4  # guest loaded, by the swaps' activations: 0 unknown, 1 OUT, 2 LOADED
    KVM_SURE = 5  # its last change was seen whole: swap probe, activation
    SWAP = 6  # inside fpu_swap_kvm_fpstate(): 0 no, 1 in, 2 out, 3 direction not known
    SAVE_SEEN = 7  # a swap of its own hit the save's probe
    SWAP_SAVED = 8  # save probes since
    SWAP_RESTORED = 9  # restore probes since
    OWN_KNOWN = 10
    OWN_FPSTATE = 11  # where its saves go while the guest is out
    GUEST_KNOWN = 12
    GUEST_FPSTATE = 13  # where they go while it is loaded
    DEAD = 14  # dropped and not activated since
    EXEC = 15  # sched_process_exec and not activated since
    LOADING = 16  # inside kvm_load_guest_fpu(), no save yet: 1; its first save went to F: 2
    PARKED = 17  # the VMM's image was saved to thread.fpu when the guest was loaded
    PENDING = 18  # kernel FPU sections with the guest loaded that wait for a kvm_entry
    UNSAVED = 19  # switched out without a save, which a coming exec would excuse
    UNSAVED_CPU = 20
    IN_RESTORED = 21  # its last swap-in hit the restore's probe
    OWN_MAYBE = 22  # where the save of a swap went whose direction is not known yet, 0 none
    REF_SWAP = 23  # its last swap probe
    REF_SAVED = REF_SWAP + REF  # its last save probe
    REF_KVM = REF_SAVED + REF  # its last kvm_fpu
    REF_ACT = REF_KVM + REF  # its last activation
    REF_IN = REF_ACT + REF  # the sched_switch that brought it in
    REF_PENDING = REF_IN + REF  # the last of PENDING
    REF_UNSAVED = REF_PENDING + REF  # the sched_switch of UNSAVED
    WIDTH = REF_UNSAVED + REF


class SectionCpu:
    """Columns of a CPU's row in the follower of kernel FPU sections."""

    KNOW = 0
    DEPTH = 1  # sections begun here and not ended
    BEGIN_PID = 2  # who began the innermost one
    BEGIN_SURE = 3  # its kernel_fpu_begin*() has returned
    BEGIN_WHOLE = 4  # it began in sight, and no sched_switch since
    NESTED = 5  # a section began inside one that had begun for sure: its end is awaited
    BEGIN_FLAGS = 6  # the innermost begin's
    SHALLOW = 7  # the least preempt_count of a sched_switch; 0: none yet, or it is not kept
    PREV_KIND = 8
    PREV_EVENT = 9
    REF_BEGIN = 10  # the innermost begin; the outermost one while NESTED
    REF_NESTED = REF_BEGIN + REF  # the begin of NESTED
    WIDTH = REF_NESTED + REF


class SectionTask:
    """Columns of a task's row in the follower of kernel FPU sections."""

    SERIAL = 0
    KNOW = 1
    PID = 2
    VCPU = 3  # vCPU id + 1 of its last kvm_entry, 0 none
    SLEPT = 4  # switched out inside a section, whose end is awaited
    REF_SLEPT = 5  # the sched_switch of SLEPT
    REF_SLEPT_IN = REF_SLEPT + REF  # the begin of its section
    WIDTH = REF_SLEPT_IN + REF


class LivesTask:
    """Columns of a task's row in the follower of tasks' lives."""

    SERIAL = 0
    KNOW = 1
    PID = 2
    VCPU = 3  # vCPU id + 1 of its last kvm_entry, 0 none
    CHILD = 4  # forked in sight, and no registers loaded since
    KTHREAD = 5  # forked by kthreadd in sight, and no exec since
    SYS = 6  # a sys_enter was seen
    ACTED = 7  # registers loaded since the last sys_enter
    EXEC = 8  # sched_process_exec, and no registers loaded since: 1, nor since the sys_enter: 2
    SIGNAL = 9  # a handler's signal_deliver, and no registers loaded since
    WRITTEN = 10  # a debugger wrote its registers, none were loaded since: 1, nor at a sys_enter: 2
    F_KNOWN = 11
    F = 12
    XFD_KNOWN = 13
    XFD = 14  # MSR_IA32_XFD of its guest, as last written in sight
    EXCUSED = 15  # drop, exec, signal, fork or first use since its switch-in (G0)
    IN_USE = 16  # components in its guest's image in memory: saved, and not loaded since
    SWITCHED_OFF = 17  # those of them that a write to MSR_IA32_XFD switched off meanwhile
    REF_BIRTH = 18  # its sched_process_fork, by the parent
    REF_CAUSE = REF_BIRTH + REF  # the exec, signal, write or MSR write
    REF_IN_USE = REF_CAUSE + REF  # the save
    WIDTH = REF_IN_USE + REF


class SwapTask:
    """Columns of a task's row in the follower of KVM_RUNs; those before SERIAL start anew when the
    task was out of sight.
    """

    KNOW = 0
    PUT_AT_OUT = 1  # guest unloaded in the last switch window: this KVM_RUN goes on
    RUN = 2  # KVM_RUN: 1 the guest was loaded in sight, 2 put again, 0 neither
    RUN_CPU = 3
    RUN_SURE = 4  # that CPU had shown a kvm_entry before
    ENTERED = 5  # kvm_entry since the load
    EXITED = 6  # kvm_userspace_exit before the put (4.14)
    STICKY_USER = 7  # saves in a row with a component in use that is rarely left unused
    STICKY_GUEST = 8
    SERIAL = 9
    PID = 10
    VCPU = 11  # vCPU id + 1 of its last kvm_entry, 0 none
    REF_LOAD = 12  # the kvm_fpu that began KVM_RUN
    REF_KVM = REF_LOAD + REF  # its last kvm_fpu
    REF_SAVE = REF_KVM + REF  # its last switch-out save
    WIDTH = REF_SAVE + REF


class CostCpu:
    """Columns of a CPU's row in the follower of costs; all start anew after a hole."""

    KNOW = 0
    SWITCHING = 1  # the incoming task has not been seen yet
    SW_UNLOADED = 2  # the guest was unloaded in this switch window
    SW_BYTES = 3  # what restoring the VMM's image in it moved, -1 nothing
    KFPU = 4  # a kernel FPU section was begun here since the last activation
    REF_SWITCH = 5  # the last sched_switch
    WIDTH = REF_SWITCH + REF


class CostTask:
    """Columns of a task's row in the follower of costs; those before X_USER start anew when the
    task was out of sight.
    """

    KNOW = 0
    CAME = 1  # its last switch-in was in sight
    STAY_ACTED = 2  # registers loaded since
    STAY_RELOADED = 3  # the user image was: 1 restored, 2 its restore was elided, 0 neither
    STAY_BYTES = 4  # what that moved
    SAVED_CPU = 5  # CPU + 1 of its last switch-out save, 0 none
    PUT_AT_OUT = 6  # guest unloaded in the last switch window, the VMM's image not used since
    EXCUSED = 7  # exec or a signal, and not activated since
    RUN = 8  # KVM_RUN: 1 the guest was loaded in sight, 2 put again, 0 neither
    ENTERED = 9  # kvm_entry since the load
    EXITED = 10  # kvm_userspace_exit before the put (4.14)
    RUN_SAVES = 11  # done by the swaps of this KVM_RUN
    RUN_RESTORES = 12
    RUN_SAVE_BYTES = 13
    RUN_RESTORE_BYTES = 14
    ACT = 15  # an activation waits: 1 for the task's next event, 2 for a kvm_fpu only
    ACT_FLAG = 16  # load_fpu it printed
    ACT_VALID = 17  # the registers had been the task's, as far as events tell
    ACT_LAST = 18  # CPU where they had been before
    ACT_FIRST = 19  # the first since switch-in
    ACT_TIF = 20  # TIF_NEED_FPU_LOAD before it, as far as events tell
    ACT_KVM = 21  # the guest was loaded
    ACT_EXCUSED = 22
    ACT_KFPU = 23  # a probe saw kernel FPU use on this CPU since the last activation
    KSAVED = 24  # a kernel FPU section saved its registers, and they were not loaded since
    QUIET = 25  # in its last stay, seen from its switch-in on, nothing was loaded
    X_USER = 26  # xfeatures + 1 of its user image as last seen, 0 never
    X_GUEST = 27
    SERIAL = 28
    PID = 29
    VCPU = 30  # vCPU id + 1 of its last kvm_entry, 0 none
    KVMISH = 31  # kvm_fpu or kvm_entry was seen
    SUM = 32  # its row of sums, 0 none yet
    WHY = 33  # CostWhy of its last switch-out
    WHY_LAST = 34  # and of the one before
    REF_SWITCH = 35  # the sched_switch of its last switch-out
    REF_SAVE = REF_SWITCH + REF  # its last switch-out save
    REF_ACT = REF_SAVE + REF  # the activation that waits
    WIDTH = REF_ACT + REF


class CostWhy(IntEnum):
    """Why registers were moved."""

    OTHER = 0  # fork, exec, signals, first use, core dumps
    PREEMPTED = 1  # switched out while it wanted to run
    YIELDED = 2  # switched out running by its own call: cond_resched() and the like
    HALTED = 3  # its vCPU waited for an interrupt: kvm_vcpu_wakeup says so
    BLOCKED = 4  # asleep in any other way
    PENDING = 5  # asleep: the next events tell whether the vCPU was halted
    RUN = 6  # KVM_RUN begins or ends
    KERNEL = 7  # the kernel itself used the registers meanwhile
    WIDTH = 8


class CostOp(IntEnum):
    """What is counted for each :class:`CostWhy`."""

    TIMES = 0
    SAVES = 1
    RESTORES = 2
    ELIDED = 3  # restores that were due and skipped: the registers still held the image
    SAVES_INFERRED = 4  # of SAVES: by the generation's steps, no event of its own
    RESTORES_INFERRED = 5
    SAVES_REDUNDANT = 6
    RESTORES_REDUNDANT = 7
    SAVE_BYTES = 8
    RESTORE_BYTES = 9
    SAVE_BYTES_REDUNDANT = 10
    RESTORE_BYTES_REDUNDANT = 11
    ASSUMED = 12  # saves and restores of an image whose xfeatures no event had told
    WIDTH = 13


class CostStep(IntEnum):
    """Events kept of the first KVM_RUN that was switched out and in again."""

    LOAD = 0
    LOAD_ACT = 1
    OUT = 2
    OUT_SAVE = 3
    IN = 4
    IN_ACT = 5
    RELOAD = 6  # the kvm_fpu that loads the guest again (4.14)
    PUT = 7
    PUT_ACT = 8
    WIDTH = 9


class CostSum:
    """Columns of a row of sums; row 0 is of all tasks that ended and were no vCPU."""

    PID = 0
    SERIAL = 1
    VCPU = 2
    KVMISH = 3
    STEP = 4  # how far STEPS is filled: 0 nothing, 1 loaded, 2 out, 3 in, 4 put
    X_USER = 5
    X_GUEST = 6
    XCOMP = 7  # xcomp_bv as last saved
    IDLE_SWAPS = 8  # KVM_RUNs without a kvm_entry, and what their swaps moved
    IDLE_SAVES = 9
    IDLE_RESTORES = 10
    IDLE_SAVE_BYTES = 11
    IDLE_RESTORE_BYTES = 12
    OPS = 13  # CostOp for each CostWhy
    STEPS = OPS + CostWhy.WIDTH * CostOp.WIDTH
    WIDTH = STEPS + CostStep.WIDTH * REF


class Role(IntEnum):
    """What an argument that a probe fetched is; found from its values (fputrace.replay.roles)."""

    NONE = 0
    FPU = 1  # struct fpu * of the task
    FPSTATE = 2  # struct fpstate *


PROBED_SHIFT = 23
"""The follower of probes counts Fact bits from here on: C has 32 bits for a constant."""

LIVES_SHIFT = 40
"""The follower of tasks' lives counts them from here on."""

COSTS_SHIFT = 50
"""The follower of costs counts them from here on."""

STICKY = STICKY_BITS
"""For the loops."""

STICKY_SAVES = 64
"""So many saves in a row that hold one of them look like nobody cleared it."""

ONCE_A_STAY = (
    Fact.CLEAR_FOREIGN | Fact.CLEAR_ELSEWHERE,
    Fact.USER_FOREIGN,
    Fact.USER_LOADED,
    Fact.KERNEL_SAVED | Fact.KERNEL_USER,
)
"""Facts counted once for a task's stay on a CPU, however many events show them."""


class Act(IntFlag):
    """Effects of an event: what a generation's transition table is made of (docs/model.md)."""

    LEARN_F = 1 << 0
    OWN_F = 1 << 1
    LAST_HERE = 1 << 2
    TIF_0 = 1 << 3
    TIF_1 = 1 << 4
    TIF_FLAG = 1 << 5
    IMAGE_BY_KVM = 1 << 6
    IMAGE_UNKNOWN = 1 << 7
    IMAGE_KERNEL = 1 << 8
    SUBJECT_NEXT = 1 << 9
    ARM_DROP = 1 << 10
    DROP = 1 << 11
    CHILD_TOKEN = 1 << 12
    KVM_SET = 1 << 13
    IMAGE_ALWAYS = 1 << 14
    IMAGE_IF_OWNER = 1 << 15
    SWITCH = 1 << 16
    FORK = 1 << 17
    EXEC = 1 << 18
    FREE = 1 << 19
    GAP_CPU = 1 << 20
    GAP_ALL = 1 << 21
    KVMISH = 1 << 22


class Seen(IntEnum):
    """What the replay counts for the decision on the generation."""

    OUT_SAVE_FLAG_0 = 0
    OUT_SAVE_FLAG_1 = 1
    UNLOAD_IN_WINDOW = 2
    OUT_WHILE_LOADED = 3
    USER_EXIT_WHILE_LOADED = 4
    USER_EXIT_WHILE_OUT = 5
    RELOAD_AFTER_ENTRY = 6
    RELOAD_BEFORE_ENTRY = 7
    DOUBLE_LOAD = 8
    ENTRIES = 9
    EXITS = 10
    KVM_FPUS = 11
    UNLOADS = 12  # of these
    WIDTH = 13


class Out:
    """A row handed to the rules."""

    FACTS = 0
    SUBJECT = 1
    SERIAL = 2
    VCPU = 3
    COUNT = 4  # occurrences this row stands for
    OWNER = 5  # pid of the last acquirer on this CPU, 0 NULL, -1 unknown
    EVENT = 6  # the event that shows the facts
    OWN = EVENT + REF
    SWITCH = OWN + REF
    IN = SWITCH + REF
    KVM = IN + REF
    SAVE = KVM + REF
    ENTRY = SAVE + REF
    ACTED = ENTRY + REF
    NEXT = ACTED + REF  # the event that settled it, all zero when none had to
    BEGIN = NEXT + REF  # of a kernel FPU section; this and the following: by probes only
    END = BEGIN + REF
    SWAP = END + REF  # the task's last fpu_swap_kvm_fpstate()
    SAVED = SWAP + REF  # its last save by probe
    CAUSE = SAVED + REF  # what made a restore due: fork, exec, signal, a debugger
    WIDTH = CAUSE + REF
