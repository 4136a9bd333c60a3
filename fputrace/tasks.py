"""What is known of each task over time: the replay's facts, by task instead of by CPU.

A task's state is told by the facts before each of its own events (docs/model.md); it held since
the task's previous one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

STAY_COLUMNS = ("pid", "start_ns", "end_ns", "last", "tif", "kvm")
"""Columns of a table of stays (int64[n, 6]), as :class:`Stay`."""

_PID, _START, _END, _LAST, _TIF, _KVM = range(len(STAY_COLUMNS))

_STATE = slice(_LAST, _KVM + 1)


class Stay(PlainTuple):
    """A stretch of time in which nothing is known to have changed for a task.

    ``last``: ``last_cpu``, -1 invalid, -2 unknown.  ``tif``: TIF_NEED_FPU_LOAD, 1 set, 0 clear, -1
    unknown (before 5.2: always 0 or -1).  ``kvm``: 1 the guest's image is loaded, 0 it is out, -1
    unknown.  Times in ns.
    """

    pid: int
    start_ns: int
    end_ns: int
    last: int
    tif: int
    kvm: int


class StayBuilder:
    """Facts in, stays out, block by block; keeps one open stay per task."""

    def __init__(self) -> None:
        self._open: dict[int, NDArray[np.int64]] = {}

    def add(self, ts: NDArray[np.int64], state: NDArray[np.int64]) -> NDArray[np.int64]:
        """Stays that ended in these rows.

        ``state``: int64[n, 4], the subject's pid and its ``last``, ``tif`` and ``kvm`` *before*
        each row; rows without a subject (pid 0 or less) say nothing.  Returns int64[m, 6].
        """
        told = np.flatnonzero(state[:, 0] > 0)
        if not len(told):
            return _none()
        order = told[np.argsort(state[told, 0], kind="stable")]
        pids = state[order, 0]
        done = []
        for rows in np.split(order, np.flatnonzero(np.diff(pids)) + 1):
            times, states = ts[rows], state[rows, 1:]
            change = np.flatnonzero((states[1:] != states[:-1]).any(axis=1)) + 1
            first = np.concatenate([[0], change])
            table = np.empty((len(first), len(STAY_COLUMNS)), dtype=np.int64)
            table[:, _PID] = pid = int(state[rows[0], 0])
            # The state before row i held since row i - 1 of the same task.
            table[0, _START] = times[0]
            table[1:, _START] = times[first[1:] - 1]
            table[:, _END] = times[np.concatenate([change, [len(rows)]]) - 1]
            table[:, _STATE] = states[first]
            kept = self._open.get(pid)
            if kept is not None:
                if (kept[_STATE] == table[0, _STATE]).all():
                    table[0, _START] = kept[_START]
                else:
                    table[0, _START] = kept[_END]
                    done.append(kept[None, :])
            self._open[pid] = table[-1].copy()
            done.append(table[:-1])
        return _lasting(done)

    def finish(self) -> NDArray[np.int64]:
        """The stays still open, ended at their task's last event."""
        rest = [kept[None, :] for kept in self._open.values()]
        self._open.clear()
        return _lasting(rest)


def as_stays(table: NDArray[np.int64]) -> Iterator[Stay]:
    """A table of stays as values."""
    return (Stay(*row) for row in table.tolist())


def _none() -> NDArray[np.int64]:
    return np.zeros((0, len(STAY_COLUMNS)), dtype=np.int64)


def _lasting(tables: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Together, without stays of no length."""
    table = np.concatenate([_none(), *tables])
    return table[table[:, _END] > table[:, _START]]
