# Constants of textlayout.py: tests/parsers/test_textwalk.py compares.
cdef enum:
    BRACKET = 0
    DASH = 1
    TICKS = 2
    COLUMN = 2
    P_TS = 9
    P_POINT = 24
    P_TAIL = 25
    P_CPU = 10
    P_PID = 11
    P_COMM = 12
    P_COMM_END = 13
    P_FLAGS = 14
    P_FLAGS_END = 15
    LARGEST_CPU = 65535
    LARGEST_SECONDS = 9000000000
    COMM_BYTES = 15
    LEAST_TICKS = 10


cdef long long timed(
    const unsigned char* d, long long behind, long long* g, long long* s
) noexcept nogil
cdef long long prefix(
    const unsigned char* d, long long line, long long* g, long long* s
) noexcept nogil
