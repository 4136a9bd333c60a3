# Eight bytes of a text at once.  It stands here and in no .py: C inlines what a .pxd holds.
from libc.string cimport memcpy


# Those at `at`; the first is the lowest only where the machine is little-endian (WIDE).
cdef inline unsigned long long load(const unsigned char* d, long long at) noexcept nogil:
    cdef unsigned long long word
    memcpy(&word, &d[at], 8)
    return word
