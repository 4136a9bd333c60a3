# Constants of textlayout.py: tests/parsers/test_textwalk.py compares.
cdef enum:
    AT = 0
    BASE = 18
    END = 19
    HALT = 32


cdef long long newline(const unsigned char* d, long long at, long long end) noexcept nogil
cdef bint next_chunk(
    int fd, unsigned char* d, long long room, long long stop, long long* s
) noexcept nogil
