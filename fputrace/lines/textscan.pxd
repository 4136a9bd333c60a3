# Constants of textlayout.py: tests/parsers/test_textwalk.py compares.
cdef enum:
    ACTIVE = 30
    ASK = 2
    AT = 0
    BASE = 18
    BRACKET = 0
    COLUMN = 2
    CPU = 4
    CPU_SEEN = 5
    END = 19
    EVENTS = 7
    FIRST_AT = 2
    FIRST_TS = 3
    FRACTION = 29
    LAST_AT = 0
    LAST_TS = 1
    LOGGED = 31
    LOG_ROOM = 32768
    NEED_CHUNK = 0
    P_CPU = 10
    P_POINT = 24
    P_TAIL = 25
    P_TS = 9
    POINT = 17
    QUICK = 16
    SEGMENT = 3
    USUAL_COLUMN = 25
