"""Places in the arrays that :mod:`fputrace.lines.textwalk` and its callers share."""

from __future__ import annotations

from typing import Any

OTHER = 0
"""``Kind.OTHER``, which costs an import of numpy (a test compares)."""

# What a call ends with.
NEED_CHUNK, ROWS_FULL, ASK, CHANGED = range(4)

# geometry: the form of the lines.
BRACKET, DASH, TICKS = range(3)
GEOMETRY = 3

# state: where the walk is.  The buffer holds END bytes of whole lines that stand at BASE in the
# file.  AT is an offset in the buffer, LINE the number of the line there (from
# 1); COLUMN is where the last line had its CPU.  TIME is the latest time, BACK how many events went
# behind it, BACK_LINE the first of them.  ROW rows are written, EVENTS were counted, CHANGES
# changes of comms are noted.  From P_TS on: what stands before the latest event's name.
AT, LINE, COLUMN, TIME, BACK, BACK_LINE, ROW, EVENTS, CHANGES = range(9)
P_TS, P_CPU, P_PID, P_COMM, P_COMM_END, P_FLAGS, P_FLAGS_END = range(9, 16)
# For the first look: whether it may go by the columns of the line before (QUICK).  POINT is where
# that one had the point of its time, 0 for not known.
QUICK, POINT = 16, 17
BASE, END = 18, 19
# The value of the line's flags, its event's number and kind, and where its tail may be kept.
P_VALUE, P_EVENT, P_KIND, P_SLOT = 20, 21, 22, 23
# Where its time has its point (-1: it has none), and where what is behind its colon begins.
P_POINT, P_TAIL = 24, 25
# The seconds of the line before: bytes from the head to the point, those bytes, and nanoseconds.
GAP, SECONDS_TEXT, SECONDS = 26, 27, 28
# For the first look: bytes from the point of a time to behind the blank after its colon, how many
# CPUs had an event since the last segment, numbers written to the log, and whether to stop soon.
FRACTION, ACTIVE, LOGGED, HALT = 29, 30, 31, 32
STATE = 33

UNREAD = -(1 << 62)
"""A time that was not read yet."""

USUAL_COLUMN = 25
"""Where a CPU stands at most when nothing stands before the comm."""

# cpus: for each CPU its last and first event since the last segment: one more than the offset in
# the file (0: none), and the time.
LAST_AT, LAST_TS, FIRST_AT, FIRST_TS = range(4)
CPU = 4

LARGEST_CPU = 65535

# log: segments of lines that are events.  Each is the place of the line behind it, which is no
# event for sure (-1: none), how many events, how many CPUs, and for each of these CPU_SEEN numbers:
# its number, and offset and time of its first event and of its last.
SEGMENT = 3
CPU_SEEN = 5
LOG_ROOM = 1 << 15
"""Numbers in the log that end a look; the last two segments may need LARGEST_SEGMENT more each."""
LARGEST_SEGMENT = SEGMENT + CPU_SEEN * (LARGEST_CPU + 1)
LARGEST_SECONDS = 9_000_000_000

PADDING = 320
"""Bytes behind the text in its buffer."""

# names: an open hash table, NAME numbers a slot: where the event's name (its colon included)
# stands in the pool and its length (0: a free slot), its number, and where its first program
# begins (-1: its arguments do not matter).
NAME_SLOTS = 4096
NAME = 4
MOST_PROBES = 16

# flags: an open hash table of columns of flags: place and length in the pool, value.
FLAG_SLOTS = 256
FLAG = 3

# comms: what each pid was called last, in a cache by pid: its pid and the length of its comm; the
# comms themselves are COMM_ROOM bytes each.  A change is a pid and the comm's place and length.
COMM_SLOTS = 4096
COMM = 2
COMM_ROOM = 16
CHANGE = 3
MOST_CHANGES = 1024
COMM_BYTES = 15
LEAST_TICKS = 10

# memo: what lines not long ago said.  First the heads: a length (0: a free slot), the column of the
# CPU, pid, CPU, where comm and its end stand, the flags' value, two words of the comm with zeros
# behind it, its last tail, and from the tenth place on the bytes.  Then the tails: a length, the
# event's number, kind, four operands, and from the eighth place on the bytes.  Then, by a hash of a
# head and a tail, the tail that it had after that one the last time (0: none); it may be another's
# by now.
HEAD_SLOTS = 512
HEAD_BYTES = 64
HEAD = 10 + HEAD_BYTES // 8
TAIL_SLOTS = 4096
TAIL_BYTES = 192
TAIL = 8 + TAIL_BYTES // 8
TAILS = slice(HEAD_SLOTS * HEAD, HEAD_SLOTS * HEAD + TAIL_SLOTS * TAIL, TAIL)
"""The lengths of all tails: zero, they are forgotten."""
NEXTS, NEXT_BITS = TAILS.stop, 14
MEMO = NEXTS + (1 << NEXT_BITS)

# programs: what arguments look like, STEP numbers a step: what to do and three numbers for it.  The
# first step of a program is its kind and where the event's next program begins (-1: none).
STEP = 4
(
    OP_LITERAL,  # place and length in the pool
    OP_DEC,  # slot of the operand, -1 to drop it; 1: the value is its negative; 1: blanks before it
    OP_HEX,  # slot
    OP_NUMBER,  # slot; hexadecimal with 0x, decimal without
    OP_WORD,  # up to a blank
    OP_FREE,  # -; 1: the last one; up to the literal in the next step
    OP_TOKEN,  # slot, table of words; letters, digits, _ | and +
    OP_NAMED,  # slot, table of words; up to the literal in the next step
    OP_SET,  # slot, value
    OP_REST,  # whatever follows
    OP_END,  # blanks and the end of the line
) = range(11)

# tables of words: a count, and TABLE_ROOM words each: place and length in the pool, and value.
TABLE_ROOM = 32
TABLE = 1 + 3 * TABLE_ROOM

POOL = 1 << 16
MOST_STEPS = 1 << 13
MOST_TABLES = 64


def view(array: Any) -> memoryview:
    """An array as the loops take it: plain Python gets plain integers out of it."""
    return memoryview(array)
