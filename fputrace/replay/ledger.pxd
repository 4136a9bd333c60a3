# Written by python -m fputrace.replay.pxd from the .py beside it.
cdef enum:
    REF = 9
    LEGACY = 3
    C_REF_SWITCH = 5
    P_IN = 4
    P_LOAD = 0
    S_IDLE_RESTORES = 10
    S_IDLE_RESTORE_BYTES = 12
    S_IDLE_SAVES = 9
    S_IDLE_SAVE_BYTES = 11
    S_IDLE_SWAPS = 8
    S_KVMISH = 3
    S_OPS = 13
    S_PID = 0
    S_SERIAL = 1
    S_STEP = 4
    S_STEPS = 117
    S_VCPU = 2
    S_WIDTH = 198
    S_XCOMP = 7
    S_X_GUEST = 6
    S_X_USER = 5
    T_KVMISH = 31
    T_PID = 29
    T_REF_ACT = 53
    T_RUN_RESTORES = 12
    T_RUN_RESTORE_BYTES = 14
    T_RUN_SAVES = 11
    T_RUN_SAVE_BYTES = 13
    T_SERIAL = 28
    T_SUM = 32
    T_VCPU = 30
    T_WHY = 33
    T_WIDTH = 62
    T_X_GUEST = 27
    T_X_USER = 26
    W_PENDING = 5
    X_ASSUMED = 12
    X_RESTORES = 2
    X_RESTORES_INFERRED = 5
    X_RESTORES_REDUNDANT = 7
    X_RESTORE_BYTES = 9
    X_RESTORE_BYTES_REDUNDANT = 11
    X_SAVES = 1
    X_SAVES_INFERRED = 4
    X_SAVES_REDUNDANT = 6
    X_SAVE_BYTES = 8
    X_SAVE_BYTES_REDUNDANT = 10
    X_WIDTH = 13

cdef class Ledger:
    cdef long long[:, ::1] tasks
    cdef long long[:, ::1] sums
    cdef long long[::1] row
    cdef long long[::1] sizes
    cdef Py_ssize_t nsums
    cdef long long last_mask
    cdef long long last_bytes
    cdef bint full(self) noexcept nogil
    cdef Py_ssize_t sum_of(self, Py_ssize_t s) noexcept nogil
    cdef long long moves(self, long long mask) noexcept nogil
    cdef long long op(self, Py_ssize_t s, Py_ssize_t why, bint restore, bint guest, bint inferred) noexcept nogil
    cdef void redundant(self, Py_ssize_t s, Py_ssize_t why, long long restored, long long saved) noexcept nogil
    cdef void add(self, Py_ssize_t s, Py_ssize_t why, Py_ssize_t what) noexcept nogil
    cdef void decide(self, Py_ssize_t s, Py_ssize_t why) noexcept nogil
    cdef void step(self, Py_ssize_t s, long long after, long long now, Py_ssize_t column) noexcept nogil
    cdef void step_act(self, Py_ssize_t s, long long at, Py_ssize_t column) noexcept nogil
    cdef void step_anew(self, Py_ssize_t s) noexcept nogil
    cdef void idled(self, Py_ssize_t s) noexcept nogil
    cdef void images(self, Py_ssize_t s) noexcept nogil
    cdef Py_ssize_t close(self, Py_ssize_t s) noexcept nogil
    cdef void step_in(self, Py_ssize_t s, long long[:, ::1] cpus, Py_ssize_t c) noexcept nogil
