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
    cdef long long _run(self, Py_ssize_t start, Py_ssize_t first, Py_ssize_t stop, long long[::1] ts_, int[::1] cpu_, int[::1] pid_, unsigned char[::1] kind_, int[::1] event_, long long[:, ::1] op_, long long[:, ::1] facts) except? -99 nogil
    cdef void keep(self, long long[:, ::1] table, Py_ssize_t at, Py_ssize_t column) noexcept nogil
