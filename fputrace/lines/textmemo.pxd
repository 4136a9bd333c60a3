# Constants of textlayout.py: tests/parsers/test_textwalk.py compares.
cdef enum:
    AT = 0
    BASE = 18
    BRACKET = 0
    COLUMN = 2
    COMM = 2
    COMM_ROOM = 16
    COMM_SLOTS = 4096
    END = 19
    GAP = 26
    HEAD_SLOTS = 512
    HEAD_BYTES = 64
    HEAD = 18
    LINE = 1
    NEXTS = 140288
    NEXT_BITS = 14
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
    P_POINT = 24
    P_TAIL = 25
    P_TS = 9
    POINT = 17
    ROW = 6
    SECONDS = 28
    SECONDS_TEXT = 27
    TAIL_SLOTS = 4096
    TAIL_BYTES = 192
    TAIL = 32
    TIME = 3


cdef void keep_head(
    const unsigned char* d, long long line, long long* g, long long* s, long long* memo
) noexcept nogil
cdef long long tail(
    const unsigned char* d,
    long long end,
    long long* s,
    const long long* memo,
    long long* op,
    long long row,
) noexcept nogil
cdef void keep_tail(
    const unsigned char* d,
    long long end,
    long long* s,
    long long* memo,
    const long long* op,
    long long row,
) noexcept nogil
cdef long long recall(
    const unsigned char* d,
    long long* s,
    long long* memo,
    const long long* comms,
    const unsigned char* texts,
    long long* ts,
    int* cpu,
    int* pid,
    unsigned char* kind,
    unsigned short* flag,
    int* event,
    long long* op,
    long long* raw,
    long long rows,
) noexcept nogil
