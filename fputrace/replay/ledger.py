# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What each task's saves and restores sum up to, and the events of one KVM_RUN as an example.

Kept by :mod:`fputrace.replay.costs`, which says what was moved and why.
"""

from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.replay import layout
from fputrace.replay.layout import CostCpu, CostOp, CostStep, CostSum, CostTask, CostWhy

# Compiled, these are C constants of the .pxd beside this file (fputrace/replay/pxd.py).
if not cython.compiled:
    REF = layout.REF
    LEGACY = 3
    C_REF_SWITCH = int(CostCpu.REF_SWITCH)
    P_IN = int(CostStep.IN)
    P_LOAD = int(CostStep.LOAD)
    S_IDLE_RESTORES = int(CostSum.IDLE_RESTORES)
    S_IDLE_RESTORE_BYTES = int(CostSum.IDLE_RESTORE_BYTES)
    S_IDLE_SAVES = int(CostSum.IDLE_SAVES)
    S_IDLE_SAVE_BYTES = int(CostSum.IDLE_SAVE_BYTES)
    S_IDLE_SWAPS = int(CostSum.IDLE_SWAPS)
    S_KVMISH = int(CostSum.KVMISH)
    S_OPS = int(CostSum.OPS)
    S_PID = int(CostSum.PID)
    S_SERIAL = int(CostSum.SERIAL)
    S_STEP = int(CostSum.STEP)
    S_STEPS = int(CostSum.STEPS)
    S_VCPU = int(CostSum.VCPU)
    S_WIDTH = int(CostSum.WIDTH)
    S_XCOMP = int(CostSum.XCOMP)
    S_X_GUEST = int(CostSum.X_GUEST)
    S_X_USER = int(CostSum.X_USER)
    T_KVMISH = int(CostTask.KVMISH)
    T_PID = int(CostTask.PID)
    T_REF_ACT = int(CostTask.REF_ACT)
    T_RUN_RESTORES = int(CostTask.RUN_RESTORES)
    T_RUN_RESTORE_BYTES = int(CostTask.RUN_RESTORE_BYTES)
    T_RUN_SAVES = int(CostTask.RUN_SAVES)
    T_RUN_SAVE_BYTES = int(CostTask.RUN_SAVE_BYTES)
    T_SERIAL = int(CostTask.SERIAL)
    T_SUM = int(CostTask.SUM)
    T_VCPU = int(CostTask.VCPU)
    T_WHY = int(CostTask.WHY)
    T_WIDTH = int(CostTask.WIDTH)
    T_X_GUEST = int(CostTask.X_GUEST)
    T_X_USER = int(CostTask.X_USER)
    W_PENDING = int(CostWhy.PENDING)
    X_ASSUMED = int(CostOp.ASSUMED)
    X_RESTORES = int(CostOp.RESTORES)
    X_RESTORES_INFERRED = int(CostOp.RESTORES_INFERRED)
    X_RESTORES_REDUNDANT = int(CostOp.RESTORES_REDUNDANT)
    X_RESTORE_BYTES = int(CostOp.RESTORE_BYTES)
    X_RESTORE_BYTES_REDUNDANT = int(CostOp.RESTORE_BYTES_REDUNDANT)
    X_SAVES = int(CostOp.SAVES)
    X_SAVES_INFERRED = int(CostOp.SAVES_INFERRED)
    X_SAVES_REDUNDANT = int(CostOp.SAVES_REDUNDANT)
    X_SAVE_BYTES = int(CostOp.SAVE_BYTES)
    X_SAVE_BYTES_REDUNDANT = int(CostOp.SAVE_BYTES_REDUNDANT)
    X_WIDTH = int(CostOp.WIDTH)


def widths() -> tuple[int, int]:
    """Columns this was built for: a task's, a row of sums."""
    return int(T_WIDTH), int(S_WIDTH)


@cython.final
@cython.cclass
class Ledger:
    """The sums, and whose they are.

    tasks: int64[cap, CostTask.WIDTH], the follower's; sums: int64[rows, CostSum.WIDTH]; row:
    int64[REF], the event at hand; sizes: int64[64], bytes of each component, 0 standing for x87
    and SSE together and 1 for the header.
    """

    tasks: cython.longlong[:, ::1]
    sums: cython.longlong[:, ::1]
    row: cython.longlong[::1]
    sizes: cython.longlong[::1]
    nsums: cython.Py_ssize_t
    last_mask: cython.longlong
    last_bytes: cython.longlong

    def __init__(
        self,
        tasks: cython.longlong[:, ::1],
        sums: cython.longlong[:, ::1],
        row: cython.longlong[::1],
        sizes: cython.longlong[::1],
    ) -> None:
        self.tasks = tasks
        self.sums = sums
        self.row = row
        self.sizes = sizes
        self.nsums = 1
        self.last_mask = -1
        self.last_bytes = 0

    def grow(self, tasks: cython.longlong[:, ::1]) -> None:
        """Go on with a longer table of tasks."""
        self.tasks = tasks

    def grow_sums(self, sums: cython.longlong[:, ::1]) -> None:
        """Go on with a longer table of sums (the old rows copied by the caller)."""
        self.sums = sums

    def used(self) -> int:
        """How many rows of ``sums`` are in use."""
        return self.nsums

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def full(self) -> cython.bint:
        """Whether ``sums`` could overflow at the next event: then ``grow_sums``."""
        return self.nsums > self.sums.shape[0] - 4

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def sum_of(self, s: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Task s's row of sums, made when it is first needed."""
        r: cython.Py_ssize_t = self.tasks[s, T_SUM]
        if r == 0:
            r = self.nsums
            self.nsums += 1
            self.tasks[s, T_SUM] = r
        self.sums[r, S_PID] = self.tasks[s, T_PID]
        self.sums[r, S_SERIAL] = self.tasks[s, T_SERIAL]
        self.sums[r, S_VCPU] = self.tasks[s, T_VCPU]
        self.sums[r, S_KVMISH] = self.tasks[s, T_KVMISH]
        return r

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def moves(self, mask: cython.longlong) -> cython.longlong:
        """Bytes that a save or a restore of these components touches."""
        bit: cython.Py_ssize_t
        total: cython.longlong
        if mask != self.last_mask:
            total = self.sizes[1]
            if mask & LEGACY:
                total += self.sizes[0]
            for bit in range(2, 63):
                if (mask >> bit) & 1:
                    total += self.sizes[bit]
            self.last_mask = mask
            self.last_bytes = total
        return self.last_bytes

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def op(
        self,
        s: cython.Py_ssize_t,
        why: cython.Py_ssize_t,
        restore: cython.bint,
        guest: cython.bint,
        inferred: cython.bint,
    ) -> cython.longlong:
        """One save or restore of task s's user or guest image; returns the bytes it moved."""
        r: cython.Py_ssize_t = self.sum_of(s)
        at: cython.Py_ssize_t = S_OPS + why * X_WIDTH
        moved: cython.longlong
        mask: cython.longlong = self.tasks[s, T_X_GUEST if guest else T_X_USER]
        if mask == 0:
            self.sums[r, at + X_ASSUMED] += 1
            mask = self.tasks[s, T_X_USER if guest else T_X_GUEST]
        moved = self.moves(mask - 1 if mask else LEGACY)
        if restore:
            self.sums[r, at + X_RESTORES] += 1
            self.sums[r, at + X_RESTORES_INFERRED] += inferred
            self.sums[r, at + X_RESTORE_BYTES] += moved
        else:
            self.sums[r, at + X_SAVES] += 1
            self.sums[r, at + X_SAVES_INFERRED] += inferred
            self.sums[r, at + X_SAVE_BYTES] += moved
        return moved

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def redundant(
        self,
        s: cython.Py_ssize_t,
        why: cython.Py_ssize_t,
        restored: cython.longlong,
        saved: cython.longlong,
    ) -> cython.void:
        """A restore and the save that followed it, with nothing between that used the image; each
        by the bytes it moved, -1 when it was not done.
        """
        at: cython.Py_ssize_t = S_OPS + why * X_WIDTH
        r: cython.Py_ssize_t = self.sum_of(s)
        if restored >= 0:
            self.sums[r, at + X_RESTORES_REDUNDANT] += 1
            self.sums[r, at + X_RESTORE_BYTES_REDUNDANT] += restored
        if saved >= 0:
            self.sums[r, at + X_SAVES_REDUNDANT] += 1
            self.sums[r, at + X_SAVE_BYTES_REDUNDANT] += saved

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def add(
        self, s: cython.Py_ssize_t, why: cython.Py_ssize_t, what: cython.Py_ssize_t
    ) -> cython.void:
        """One more TIMES or ELIDED."""
        self.sums[self.sum_of(s), S_OPS + why * X_WIDTH + what] += 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def decide(self, s: cython.Py_ssize_t, why: cython.Py_ssize_t) -> cython.void:
        """Task s slept, and it is known why: what was counted as pending moves there."""
        j: cython.Py_ssize_t
        r: cython.Py_ssize_t
        if self.tasks[s, T_WHY] != W_PENDING:
            return
        self.tasks[s, T_WHY] = why
        r = self.sum_of(s)
        for j in range(X_WIDTH):
            self.sums[r, S_OPS + why * X_WIDTH + j] += self.sums[r, S_OPS + W_PENDING * X_WIDTH + j]
            self.sums[r, S_OPS + W_PENDING * X_WIDTH + j] = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def step(
        self,
        s: cython.Py_ssize_t,
        after: cython.longlong,
        now: cython.longlong,
        column: cython.Py_ssize_t,
    ) -> cython.void:
        """The KVM_RUN that is kept as an example goes on by ``row``, if it stands at ``after``."""
        j: cython.Py_ssize_t
        r: cython.Py_ssize_t = self.sum_of(s)
        if self.sums[r, S_STEP] == after:
            self.sums[r, S_STEP] = now
            for j in range(REF):
                self.sums[r, S_STEPS + column * REF + j] = self.row[j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def step_act(
        self, s: cython.Py_ssize_t, at: cython.longlong, column: cython.Py_ssize_t
    ) -> cython.void:
        """The same for the activation that task s keeps."""
        j: cython.Py_ssize_t
        r: cython.Py_ssize_t = self.sum_of(s)
        if self.sums[r, S_STEP] == at and self.sums[r, S_STEPS + column * REF + 3] == 0:
            for j in range(REF):
                self.sums[r, S_STEPS + column * REF + j] = self.tasks[s, T_REF_ACT + j]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def step_anew(self, s: cython.Py_ssize_t) -> cython.void:
        """KVM_RUN begins: it becomes the example unless there is a whole one."""
        j: cython.Py_ssize_t
        r: cython.Py_ssize_t = self.sum_of(s)
        if self.sums[r, S_STEP] < 4:
            self.sums[r, S_STEP] = 0
            for j in range(S_STEPS, S_WIDTH):
                self.sums[r, j] = 0
            self.step(s, 0, 1, P_LOAD)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def idled(self, s: cython.Py_ssize_t) -> cython.void:
        """A KVM_RUN of task s never entered the guest: what its swaps moved, nothing used."""
        r: cython.Py_ssize_t = self.sum_of(s)
        self.sums[r, S_IDLE_SWAPS] += 1
        self.sums[r, S_IDLE_SAVES] += self.tasks[s, T_RUN_SAVES]
        self.sums[r, S_IDLE_RESTORES] += self.tasks[s, T_RUN_RESTORES]
        self.sums[r, S_IDLE_SAVE_BYTES] += self.tasks[s, T_RUN_SAVE_BYTES]
        self.sums[r, S_IDLE_RESTORE_BYTES] += self.tasks[s, T_RUN_RESTORE_BYTES]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def images(self, s: cython.Py_ssize_t) -> cython.void:
        """What components task s's images held when it was saved by ``row``."""
        r: cython.Py_ssize_t = self.sum_of(s)
        self.sums[r, S_XCOMP] = self.row[8]
        self.sums[r, S_X_USER] = self.tasks[s, T_X_USER]
        self.sums[r, S_X_GUEST] = self.tasks[s, T_X_GUEST]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def close(self, s: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The task of row s is gone; returns its row of sums for the next one, 0 if it is kept."""
        j: cython.Py_ssize_t
        r: cython.Py_ssize_t = self.tasks[s, T_SUM]
        if r == 0 or self.tasks[s, T_KVMISH]:
            return 0
        # What ended and was no vCPU is summed up together.
        for j in range(S_OPS, S_STEPS):
            self.sums[0, j] += self.sums[r, j]
        for j in range(S_WIDTH):
            self.sums[r, j] = 0
        return r

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def step_in(
        self, s: cython.Py_ssize_t, cpus: cython.longlong[:, ::1], c: cython.Py_ssize_t
    ) -> cython.void:
        """Task s came in by CPU c's sched_switch: the KVM_RUN kept as an example goes on."""
        j: cython.Py_ssize_t
        r: cython.Py_ssize_t = self.tasks[s, T_SUM]
        if r and self.sums[r, S_STEP] == 2:
            self.sums[r, S_STEP] = 3
            for j in range(REF):
                self.sums[r, S_STEPS + P_IN * REF + j] = cpus[c, C_REF_SWITCH + j]
