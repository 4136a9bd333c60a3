# Constants of textlayout.py: tests/parsers/test_textwalk.py compares.
cdef enum:
    BRACKET = 0
    COLUMN = 2
    P_CPU = 10
    P_PID = 11
    P_COMM = 12
    P_COMM_END = 13
    P_FLAGS = 14
    P_FLAGS_END = 15
    P_VALUE = 20
    P_EVENT = 21
    P_KIND = 22
    P_SLOT = 23
    HEAD_SLOTS = 512
    HEAD_BYTES = 64
    HEAD = 16
    TAIL_SLOTS = 1024
    TAIL_BYTES = 128
    TAIL = 24


cdef long long head(
    const unsigned char* d, long long line, long long* g, long long* s, const long long* memo
) noexcept nogil
cdef void keep_head(
    const unsigned char* d, long long line, long long* g, long long* s, long long* memo
) noexcept nogil
cdef long long tail(
    const unsigned char* d,
    long long at,
    long long end,
    long long* s,
    const long long* memo,
    long long* op,
    long long row,
) noexcept nogil
cdef void keep_tail(
    const unsigned char* d,
    long long at,
    long long end,
    long long* s,
    long long* memo,
    const long long* op,
    long long row,
) noexcept nogil
