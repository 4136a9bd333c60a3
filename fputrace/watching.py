"""Beside the replay: since when what is so, why a CPU was lost sight of, and the events nearby.

The model keeps none of these; :mod:`fputrace.freeze` follows them up to a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fputrace.events import Kind
from fputrace.moment import Why
from fputrace.plain import PlainTuple
from fputrace.replay.layout import FAR_PAST, KVM_LOADED, REF, Before, Cpu, Ref, Win

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock

_WATCHED = [Before.OWN_PID, Before.IMAGE, Before.CPU_KNOW]


def since_or_none(ns: int) -> int | None:
    """A time that may be before the first event that tells."""
    return None if ns == FAR_PAST else ns


class Last(PlainTuple):
    """The last event of its kind of a task: when, in whose life, and an operand."""

    ns: int
    serial: int
    know: int
    value: int


class Seen:
    """Of one CPU: the state before its last row, and since when."""

    def __init__(self, state: NDArray[np.int64]) -> None:
        self.state = state
        self.ns = FAR_PAST
        self.owner_since = FAR_PAST
        self.image_since = FAR_PAST
        self.lost: Why | None = None
        """Why this CPU was lost sight of, the last time it was."""


class Watch:
    """Since when what is so: follows the replay, part by part."""

    def __init__(self) -> None:
        self.cpus: dict[int, Seen] = {}
        self.saved: dict[int, Last] = {}
        self.restored: dict[int, Last] = {}
        self.swapped: dict[int, Last] = {}
        self.entered: dict[int, Last] = {}
        self.saved_guest: dict[int, Last] = {}
        self.away: list[tuple[int, int]] = []

    def see(self, block: EventBlock, start: int, facts: NDArray[np.int64]) -> None:
        """The next rows, and the state before each."""
        part = slice(start, start + len(facts))
        ts, cpu, kind, op = block.ts[part], block.cpu[part], block.kind[part], block.op[part]
        out = (kind == Kind.REGS_DEACTIVATED) & (facts[:, Before.WIN] == Win.OPEN)
        self._last(self.saved, out, ts, facts, op)
        self._last(self.saved_guest, out & (facts[:, Before.KVM] == KVM_LOADED), ts, facts, op)
        self._last(self.restored, kind == Kind.REGS_ACTIVATED, ts, facts, op)
        self._last(self.swapped, kind == Kind.KVM_FPU, ts, facts, op)
        self._last(self.entered, kind == Kind.KVM_ENTRY, ts, facts, op)
        for row in np.flatnonzero((kind == Kind.CPUHP) | (kind == Kind.SUSPEND_RESUME)).tolist():
            self.away.append((int(ts[row]), int(op[row, 0]) if kind[row] == Kind.CPUHP else -1))
        order = np.argsort(cpu, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(cpu[order])) + 1):
            self._cpu(int(cpu[rows[0]]), ts[rows], kind[rows], facts[rows][:, _WATCHED])

    def _last(
        self,
        kept: dict[int, Last],
        mask: NDArray[np.bool_],
        ts: NDArray[np.int64],
        facts: NDArray[np.int64],
        op: NDArray[np.int64],
    ) -> None:
        rows = np.flatnonzero(mask)
        # The last assignment to a pid holds.
        for pid, row in dict(
            zip(facts[rows, Before.SUBJECT].tolist(), rows.tolist(), strict=True)
        ).items():
            kept[pid] = Last(
                int(ts[row]),
                int(facts[row, Before.SERIAL]),
                int(facts[row, Before.TASK_KNOW]),
                int(op[row, 0]),
            )

    def _cpu(
        self,
        cpu: int,
        ts: NDArray[np.int64],
        kind: NDArray[np.uint8],
        state: NDArray[np.int64],
    ) -> None:
        seen = self.cpus.setdefault(cpu, Seen(state[0]))
        before = np.concatenate([seen.state[None, :], state[:-1]])
        times = np.concatenate([[seen.ns], ts[:-1]])
        owner, image, know = (state != before).T
        # What held before row i holds since the CPU's row i - 1.
        for changed in np.flatnonzero(owner)[-1:].tolist():
            seen.owner_since = int(times[changed])
        for changed in np.flatnonzero(owner | image)[-1:].tolist():
            seen.image_since = int(times[changed])
        for changed in np.flatnonzero(know)[-1:].tolist():
            at = int(ts[changed])
            if kind[changed] == Kind.CPU_END:
                seen.lost = Why("ended", at)
            elif kind[changed] == Kind.LOSS:
                seen.lost = Why("after-lost", at)
            else:
                seen.lost = self._missed(cpu, int(times[changed]), at)
        seen.state, seen.ns = state[-1], int(ts[-1])

    def _missed(self, cpu: int, after: int, before: int) -> Why:
        """Why a CPU was lost sight of where no mark says so."""
        for at, which in self.away:
            if after <= at <= before and which in (-1, cpu):
                return Why("away", at)
        return Why("gap", None if after == FAR_PAST else after, before)

    def now(self, cpu: int, row: NDArray[np.int64], ns: int) -> Seen:
        """Up to date with the state after the last row."""
        state = row[[Cpu.OWN_PID, Cpu.IMAGE, Cpu.KNOW]]
        seen = self.cpus.setdefault(cpu, Seen(state))
        if state[0] != seen.state[0]:
            seen.owner_since = seen.ns
        if (state[:2] != seen.state[:2]).any():
            seen.image_since = seen.ns
        if state[2] != seen.state[2]:
            seen.lost = self._missed(cpu, seen.ns, ns)
        return seen


class Near:
    """The last events of each CPU before, and the first after."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.before: dict[int, deque[tuple[int, ...]]] = {}
        self.after: dict[int, list[tuple[int, ...]]] = {}

    def add(self, block: EventBlock, stop: int) -> None:
        """Rows before row ``stop`` are before."""
        if not self._most:
            return
        told = np.flatnonzero(block.kind != Kind.LOSS_END)
        if not stop:
            full = [cpu for cpu, later in self.after.items() if len(later) == self._most]
            told = told[~np.isin(block.cpu[told], full)]
        order = told[np.argsort(block.cpu[told], kind="stable")]
        for mine in np.split(order, np.flatnonzero(np.diff(block.cpu[order])) + 1):
            if not len(mine):
                continue
            cpu = int(block.cpu[mine[0]])
            split = int(np.searchsorted(mine, stop))
            kept = self.before.setdefault(cpu, deque(maxlen=self._most))
            kept.extend(_tuples(block, mine[max(0, split - self._most) : split]))
            later = self.after.setdefault(cpu, [])
            later.extend(_tuples(block, mine[split : split + self._most - len(later)]))


def refs_of(block: EventBlock, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Rows of a block as references: int64[n, REF], see ``layout.Ref``."""
    table = np.empty((len(rows), REF), dtype=np.int64)
    for column, values in (
        (Ref.TS, block.ts),
        (Ref.CPU, block.cpu),
        (Ref.PID, block.pid),
        (Ref.KIND, block.kind),
        (Ref.EVENT, block.event),
    ):
        table[:, column] = values[rows]
    table[:, Ref.OP0 :] = block.op[rows]
    return table


def _tuples(block: EventBlock, rows: NDArray[np.intp]) -> Iterator[tuple[int, ...]]:
    return (tuple(row) for row in refs_of(block, rows).tolist())
