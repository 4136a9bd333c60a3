"""Where things are in the arrays that the hot loops share with their callers.

Apart from `ringbuffer` because a compiled module's C constants cannot be imported.
"""

from __future__ import annotations

from typing import Final

# How `walk` ends.
NEED_CHUNK: Final = 0  # no whole page left
ROWS_FULL: Final = 1  # no room for an event and two marks
ASK: Final = 2  # the record at state[NEXT] needs a decision of the caller
REPORTS_FULL: Final = 3

# How `merge` ends, when not with the number of a slot that needs rows.
BLOCK_FULL: Final = -1
ALL_DONE: Final = -2

# One CPU's state between calls of `walk`.
PAGE: Final = 0  # offset of the current page in the chunk
NEXT: Final = 1  # offset of the next record in the chunk; -1: page not opened yet
END: Final = 2  # where that page's data ends
TIME: Final = 3  # running time inside the page
LAST: Final = 4  # time of the last event; -1: none yet
LIMIT: Final = 5  # no event of this page can be later; -1: not known
PEEK: Final = 6  # base time of the page after the chunk; -1: not known
PEEK2: Final = 23  # and of the page after that
SUSPECT: Final = 24  # the next page contradicts the last, and nobody knows which is right
LOST: Final = 7  # events are missing before the next event
LOST_COUNT: Final = 8  # how many; -1: somebody did not say
LOST_AT: Final = 9  # page that said so, in bytes of this CPU's data
BAD: Final = 10  # pages (or parts) that could not be used since the last event
BAD_AT: Final = 11  # first of them, in bytes of this CPU's data
BAD_WHY: Final = 12  # one of the reasons below
SEEN: Final = 13  # as LAST, but not held when the clock goes back
BACK: Final = 22  # events whose time was before their predecessor's
BACK_AT: Final = 14  # page of the first
BASE: Final = 15  # bytes of this CPU's data before the chunk
ASKED: Final = 16  # event id the caller is asked about
WHERE: Final = 17  # and offset of the record's payload in the chunk
LENGTH: Final = 18  # and its length
ROW: Final = 19  # rows written end here
REPORTS: Final = 20  # reports written
CHANGES: Final = 21  # comm changes written
ENTRY: Final = 25  # next entry, where a chunk has entries and no pages
THROTTLED: Final = 26  # between THROTTLE and UNTHROTTLE of perf
THROTTLED_AT: Final = 27
STATE: Final = 28

# What is the same for a whole buffer.
PAGE_SIZE: Final = 0
TIME_OFF: Final = 1
COMMIT_OFF: Final = 2
LONG: Final = 3  # size of the kernel's long
DATA_OFF: Final = 4
SWAP: Final = 5  # the recording's byte order is not this machine's
BIG: Final = 6  # the recording is big-endian
TYPE_OFF: Final = 7
PID_OFF: Final = 8
FLAGS_OFF: Final = 9
COUNT_OFF: Final = 10  # common_preempt_count
HEAD: Final = 11  # bytes every record must have: the common fields
SLACK: Final = 12  # how far events may lie after the next page's base (clocks that jump)
TYPE_SIZE: Final = 13
USUAL: Final = 14  # little-endian as this machine, and the common fields are formats.Common()
GEOMETRY: Final = 15

# One event's row of the table: kind, need, ip field, two (pid, comm) pairs, four operands.
KIND: Final = 0
NEED: Final = 1  # bytes a record must have for its required operands
IP_OFF: Final = 2  # field that tells which function a probe sits on; -1: no probe
IP_SIZE: Final = 3
COMM_PID: Final = 4  # offset of a pid, -1: this event tells no comm
COMM_OFF: Final = 5
COMM_SIZE: Final = 6
COMM_PID2: Final = 7
COMM_OFF2: Final = 8
FULL: Final = 9  # bytes a record has that has all operands
REACH: Final = 10  # bytes from its beginning to behind the eight that begin with its last operand
OPERAND: Final = 11  # then for each of four: offset, size (0: absent), and what makes its value of
# the word that begins there: ((word & MASK) ^ FLIP) - LESS, signed or not, absent or not
MASK: Final = 2
FLIP: Final = 3
LESS: Final = 4
OPERAND_SIZE: Final = 5
TABLE: Final = 31

# Why a page cannot be used.
WHY_TIME: Final = 1
WHY_LENGTH: Final = 2
WHY_RECORD: Final = 3
WHY_SHORT: Final = 4
WHY_CHUNK: Final = 5
WHY_SAMPLE: Final = 6
WHY_WILD: Final = 7

# One report: a LOSS row and what led to it.
REPORT: Final = 8  # row, lost, count, lost at, bad, bad at, why, whether an event is before it
BEFORE_NOTHING: Final = 2  # in the place of that: there is an event before it and none behind

CHANGE: Final = 3  # one comm change: pid, offset of the comm in the chunk, row

LATEST: Final = 1 << 62  # times from here on are garbage
COMMS: Final = 1024  # entries of the comm cache
