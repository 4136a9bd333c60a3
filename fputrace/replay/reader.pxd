# Written by python -m fputrace.replay.pxd from the .py beside it.
cdef enum:
    REF = 9

cdef class Reader:
    cdef long long[:, ::1] cpus
    cdef long long[:, ::1] tasks
    cdef long long[:, ::1] out
    cdef long long[::1] row
    cdef Py_ssize_t nout
    cdef long long wanted
    cdef long long[::1] ts
    cdef int[::1] cpu
    cdef int[::1] pid
    cdef unsigned char[::1] kind
    cdef int[::1] event
    cdef long long[:, ::1] op
    cdef long long[:, ::1] facts
    cdef long long _run(self, Py_ssize_t first, Py_ssize_t stop) except? -99 nogil
    cdef void keep(self, long long[:, ::1] table, Py_ssize_t at, Py_ssize_t column) noexcept nogil
