"""The other hot loop of the reader: the rows of all CPUs into one order.

A Python file in Cython's pure-Python mode, as ``ringbuffer.py``.  Order: time, then CPU, then the
order in the file.  A heap, so that 256 CPUs cost little more than two.
"""

# The annotations are C types, which mypy cannot read.
# mypy: ignore-errors
from __future__ import annotations

try:
    import cython
except ImportError:
    from fputrace import nocython as cython

from fputrace.parsers import layout

BLOCK_FULL = cython.declare(cython.longlong, layout.BLOCK_FULL)
ALL_DONE = cython.declare(cython.longlong, layout.ALL_DONE)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(-1, check=True)
@cython.boundscheck(False)
@cython.wraparound(False)
def _before(
    ts: cython.longlong[::1], head: cython.longlong[::1], a: cython.longlong, b: cython.longlong
) -> cython.longlong:
    """Whether slot a's next row comes before slot b's: by time, then by CPU."""
    x: cython.longlong = ts[head[a]]
    y: cython.longlong = ts[head[b]]
    return x < y or (x == y and a < b)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(-1, check=True)
@cython.boundscheck(False)
@cython.wraparound(False)
def _sift(
    heap: cython.longlong[::1],
    n: cython.longlong,
    i: cython.longlong,
    ts: cython.longlong[::1],
    head: cython.longlong[::1],
) -> cython.longlong:
    """Move the slot at heap[i] down to where it belongs."""
    slot: cython.longlong = heap[i]
    child: cython.longlong = 2 * i + 1
    while child < n:
        if child + 1 < n and _before(ts, head, heap[child + 1], heap[child]):
            child += 1
        if not _before(ts, head, heap[child], slot):
            break
        heap[i] = heap[child]
        i = child
        child = 2 * i + 1
    heap[i] = slot
    return 0


@cython.boundscheck(False)
@cython.wraparound(False)
def heapify(
    heap: cython.longlong[::1],
    n: cython.longlong,
    ts: cython.longlong[::1],
    head: cython.longlong[::1],
) -> cython.longlong:
    """Order the first n slots of the heap by their next rows."""
    i: cython.longlong
    for i in range(n // 2 - 1, -1, -1):
        _sift(heap, n, i, ts, head)
    return 0


@cython.wraparound(False)
def tally(event: cython.const[cython.int][::1], counts: cython.longlong[::1]) -> None:
    """Add to ``counts[i + 1]`` how many rows are of event i; -1 is none.

    Raises IndexError for a number that ``counts`` has no place for.
    """
    i: cython.Py_ssize_t
    rows: cython.Py_ssize_t = len(event)
    with cython.nogil:
        for i in range(rows):
            counts[event[i] + 1] += 1


def merge(
    heap: cython.longlong[::1],
    count: cython.longlong[::1],
    head: cython.longlong[::1],
    tail: cython.longlong[::1],
    cpus: cython.int[::1],
    ts: cython.longlong[::1],
    pid: cython.int[::1],
    kind: cython.uchar[::1],
    flags: cython.ushort[::1],
    event: cython.int[::1],
    op: cython.longlong[::1],
    raw: cython.longlong[::1],
    out_ts: cython.longlong[::1],
    out_cpu: cython.int[::1],
    out_pid: cython.int[::1],
    out_kind: cython.uchar[::1],
    out_flags: cython.ushort[::1],
    out_event: cython.int[::1],
    out_op: cython.longlong[::1],
    out_raw: cython.longlong[::1],
    counts: cython.longlong[::1],
) -> int:
    """Copy rows of all slots in global order until a slot is empty or the block is full.

    Slot s owns rows ``head[s]`` to ``tail[s]`` of the columns and stands for CPU ``cpus[s]``
    (ascending).  ``count[0]`` slots are in the heap, ``count[1]`` rows are in the block.  The slot
    on top may have got new rows since the last call, or have none for good.  ``counts[i + 1]``
    grows by the rows of the event i.
    """
    done: cython.longlong
    with cython.nogil:
        done = _merge(
            heap,
            count,
            head,
            tail,
            cpus,
            ts,
            pid,
            kind,
            flags,
            event,
            op,
            raw,
            out_ts,
            out_cpu,
            out_pid,
            out_kind,
            out_flags,
            out_event,
            out_op,
            out_raw,
            counts,
        )
    return done


@cython.cfunc
@cython.nogil
@cython.exceptval(-99, check=True)
@cython.boundscheck(False)
@cython.wraparound(False)
def _merge(
    heap: cython.longlong[::1],
    count: cython.longlong[::1],
    head: cython.longlong[::1],
    tail: cython.longlong[::1],
    cpus: cython.int[::1],
    ts: cython.longlong[::1],
    pid: cython.int[::1],
    kind: cython.uchar[::1],
    flags: cython.ushort[::1],
    event: cython.int[::1],
    op: cython.longlong[::1],
    raw: cython.longlong[::1],
    out_ts: cython.longlong[::1],
    out_cpu: cython.int[::1],
    out_pid: cython.int[::1],
    out_kind: cython.uchar[::1],
    out_flags: cython.ushort[::1],
    out_event: cython.int[::1],
    out_op: cython.longlong[::1],
    out_raw: cython.longlong[::1],
    counts: cython.longlong[::1],
) -> cython.longlong:
    n: cython.longlong = count[0]
    out: cython.longlong = count[1]
    room: cython.longlong = out_ts.shape[0]
    top: cython.longlong
    rival: cython.longlong
    row: cython.longlong
    stop: cython.longlong
    when: cython.longlong
    i: cython.longlong
    status: cython.longlong = ALL_DONE
    while n > 0:
        top = heap[0]
        if head[top] == tail[top]:
            n -= 1
            heap[0] = heap[n]
        _sift(heap, n, 0, ts, head)
        if n == 0:
            break
        top = heap[0]
        # Everything of this slot up to the next-best slot's row goes out in one run.
        when = 0
        rival = -1
        if n > 1:
            rival = heap[1]
            if n > 2 and _before(ts, head, heap[2], rival):
                rival = heap[2]
            when = ts[head[rival]]
        row = head[top]
        stop = tail[top]
        if stop - row > room - out:
            stop = row + room - out
        while row < stop:
            if rival >= 0 and (ts[row] > when or (ts[row] == when and rival < top)):
                break
            out_ts[out] = ts[row]
            out_cpu[out] = cpus[top]
            out_pid[out] = pid[row]
            out_kind[out] = kind[row]
            out_flags[out] = flags[row]
            out_event[out] = event[row]
            counts[event[row] + 1] += 1
            out_raw[out] = raw[row]
            for i in range(4):
                out_op[out * 4 + i] = op[row * 4 + i]
            out += 1
            row += 1
        head[top] = row
        if row == tail[top]:
            status = top
            break
        if out == room:
            status = BLOCK_FULL
            break
    count[0] = n
    count[1] = out
    return status
