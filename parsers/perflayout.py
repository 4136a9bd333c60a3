"""Where things are in the arrays that the loops of the perf.data reader share with their callers.

Apart from `perfloop` because a compiled module's C constants cannot be imported.
"""

from __future__ import annotations

from typing import Final

# What is the same for a whole recording.
BIG: Final = 0  # the recording is big-endian
FAST: Final = 1  # the recording and this machine are little-endian
ID_AT: Final = 2  # where in a sample the id of its event is; -1: all samples have one layout
ID_FROM_END: Final = 3  # the same in other records, from their end; 0: they have none
ID_MASK: Final = 4  # of the hash table of ids: pairs (id, layout), layout -1 where free

GUEST: Final = -2  # in the place of a layout: an event of a guest, which `perf inject` put in

# One event's sample layout, by its sample_type.
NEED: Final = 0  # bytes a sample must have for the fields of fixed size
TIME_AT: Final = 1
CPU_AT: Final = 2
READ_AT: Final = 3  # where the fields of variable size begin: READ, CALLCHAIN, RAW
READ_FORMAT: Final = 4  # read_format where samples have READ, else -1
CHAIN: Final = 5  # samples have a CALLCHAIN
TRAILER: Final = 6  # bytes of the trailer (sample_id_all) of other records
CPU_FROM_END: Final = 7  # where in it the CPU is, from the end; 0: it has none
WANTED: Final = 8  # a tracepoint whose samples have TIME, CPU and RAW
PLAIN: Final = 9  # nothing of variable size stands in front of RAW
LAYOUT: Final = 10

# State of `scan`.
AT: Final = 0  # next record in the window
COUNT: Final = 1  # entries written
ASKED: Final = 2  # CPU that a status is about
SPECIALS: Final = 3  # records for the caller
GUESTS: Final = 4  # samples of guests
STRAYS: Final = 5  # samples that nobody can read
SCAN: Final = 6

# How `scan` ends.
WINDOW_END: Final = 0  # no whole record left
BROKEN: Final = 1  # a record that cannot be
NEW_CPU: Final = 2  # a CPU without a slot
FULL: Final = 3  # no room for another entry
STOP: Final = 4  # a record with more behind it than its size says
STRAY: Final = 5  # a record that cannot be read, and whose CPU is not known

# An entry is a time, a place in the granule and a size: a sample's RAW, or one of these sizes.
LOST: Final = -1  # the time is the number of events
THROTTLE: Final = -2
UNTHROTTLE: Final = -3
BAD: Final = -4  # a sample that cannot be read
WILD: Final = -5  # a sample whose time fits neither neighbour

# What `group` says of a slot.
FIRST: Final = 0  # its first entry; the next slot's is behind its last
EARLIEST: Final = 1
LATEST_SEEN: Final = 2
DISORDER: Final = 3  # a time is before its predecessor's, or an entry is BAD
GROUP: Final = 4

# A place in a recording is one number, the same for all its files: the number of the segment, and
# behind it the offset in the segment's file.
SEGMENT_SHIFT: Final = 48
OFFSET: Final = (1 << SEGMENT_SHIFT) - 1

LARGEST_RAW: Final = 1 << 14
"""Twice what the kernel makes (include/linux/trace_events.h, PERF_MAX_TRACE_SIZE)."""
