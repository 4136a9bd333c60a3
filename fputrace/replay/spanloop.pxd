# Written by python -m fputrace.replay.pxd from the .py beside it.
cdef enum:
    INFERRED = 1
    KNOWN = 2
    B_CUR = 0
    B_IMAGE = 5
    B_OWN_PID = 4
    B_WIDTH = 16
    I_UNKNOWN = 0
    I_USER = 1
    I_USER_INFERRED = 5
    K_REGS_DEACTIVATED = 11
    S_BY = 7
    S_BYTES = 9
    S_CERTAINTY = 6
    S_CPU = 0
    S_END = 2
    S_IMAGE = 5
    S_LIVE = 10
    S_OWNER = 4
    S_PID = 3
    S_SAVED = 8
    S_START = 1
    S_WIDTH = 11
