# What a loop may tell the processor, which changes no result.
cdef extern from *:
    # GCC and clang; any address will do.
    void prefetch "__builtin_prefetch" (const void* address) nogil
