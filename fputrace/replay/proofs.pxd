# Written by python -m fputrace.replay.pxd from the .py beside it.
from fputrace.replay.reader cimport Reader
cdef enum:
    REF = 9
    C_REF_OWN = 25
    C_REF_SWITCH = 34
    C_WIDTH = 43
    T_PENDING = 12
    T_PID = 2
    T_REF_ACT = 59
    T_REF_ENTRY = 32
    T_REF_IN = 41
    T_REF_KVM = 14
    T_REF_OUT = 50
    T_REF_SAVE = 23
    T_SERIAL = 0
    T_VCPU = 3
    T_WIDTH = 68
    O_ACTED = 69
    O_COUNT = 4
    O_ENTRY = 60
    O_EVENT = 6
    O_FACTS = 0
    O_IN = 33
    O_KVM = 42
    O_NEXT = 78
    O_OWN = 15
    O_OWNER = 5
    O_SAVE = 51
    O_SERIAL = 2
    O_SUBJECT = 1
    O_SWITCH = 24
    O_VCPU = 3
    O_WIDTH = 132

cdef class Proofs(Reader):
    cdef Py_ssize_t emit(self, long long facts, Py_ssize_t c, Py_ssize_t s, long long owner) noexcept nogil
    cdef Py_ssize_t emit_task(self, long long facts, Py_ssize_t c, Py_ssize_t s, long long owner, Py_ssize_t column) noexcept nogil
    cdef void emit_switch(self, long long facts, Py_ssize_t c, Py_ssize_t s) noexcept nogil
    cdef Py_ssize_t settle(self, long long fact, Py_ssize_t c, Py_ssize_t s, long long owner) noexcept nogil
