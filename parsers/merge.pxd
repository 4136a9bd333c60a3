# Constants of layout.py: tests/parsers/test_ringbuffer.py compares.
cdef enum:
    BLOCK_FULL = -1
    ALL_DONE = -2
