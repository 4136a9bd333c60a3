# Constants of textlayout.py: tests/parsers/test_textwalk.py compares.
cdef enum:
    NEED_CHUNK = 0
    ASK = 2
    WAITED_FOR = 3
    AT = 0
    LINE = 1
    EVENTS = 7
    P_TS = 9
    P_CPU = 10
    LAST_AT = 0
    LAST_TS = 1
    FIRST_AT = 2
    FIRST_TS = 3
    WAITING = 4
    CPU = 5
    QUICK = 16
    POINT = 17
    COLUMN = 2
    BRACKET = 0
    USUAL_COLUMN = 25
    BASE = 18
    END = 19
