"""Places in the arrays that :mod:`fputrace.parsers.textwalk` and its callers share."""

from __future__ import annotations

# What a call ends with.
NEED_CHUNK, ROWS_FULL, ASK, WAITED_FOR = range(4)

# geometry: the form of the lines.
BRACKET, DASH, TICKS = range(3)
GEOMETRY = 3

# state: where the walk is.  AT is an offset in the buffer, LINE the number of the line there (from
# 1); COLUMN is where the last line had its CPU.  TIME is the latest time, BACK how many events went
# behind it, BACK_LINE the first of them.  ROW rows are written, EVENTS were counted, CHANGES
# changes of comms are noted.  From P_TS on: what stands before the latest event's name.
AT, LINE, COLUMN, TIME, BACK, BACK_LINE, ROW, EVENTS, CHANGES = range(9)
P_TS, P_CPU, P_PID, P_COMM, P_COMM_END, P_FLAGS, P_FLAGS_END = range(9, 16)
STATE = 16

# cpus: for each CPU its last and first event (offset in the file, -1 for none, and time), and
# whether somebody waits for its next one.
LAST_AT, LAST_TS, FIRST_AT, FIRST_TS, WAITING = range(5)
CPU = 5

LARGEST_CPU = 65535
LARGEST_SECONDS = 9_000_000_000

PADDING = 320
"""Bytes behind the text in its buffer."""

# names: an open hash table, NAME numbers a slot: the name's place and length in the pool (length
# 0: free), its number, its kind, and where its first program begins (-1: its arguments do not
# matter).
NAME_SLOTS = 8192
NAME = 5

# flags: an open table of (column of up to 8 bytes as a number, value); 0 is free.
FLAG_SLOTS = 256

# comms: a cache of (pid, 16 bytes as two numbers), by pid.
COMM_SLOTS = 4096
COMM = 3
CHANGE = 3  # pid, and where the comm stands in the buffer
MOST_CHANGES = 1024
COMM_BYTES = 15
LEAST_TICKS = 10

# programs: what arguments look like, STEP numbers a step: what, and three operands.
# The first step of a program is (kind, where the next program begins or -1, 0, 0).
STEP = 4
(
    OP_LITERAL,  # place and length in the pool
    OP_DEC,  # slot of the operand, -1 to drop it; 1: its negative; 1: blanks may stand before it
    OP_HEX,  # slot
    OP_PTR,  # slot
    OP_WORD,  # up to a blank
    OP_FREE,  # up to the literal that follows, most bytes
    OP_TABLE,  # slot, place of a table of words in the pool, 1: up to the literal that follows
    OP_SET,  # slot, value
    OP_REST,  # whatever follows
    OP_END,
) = range(10)
