"""Which image went where: saves and restores between the registers of CPUs and buffers in memory.

One pass counts them, in memory that depends on tasks and CPUs.  A save or restore is what events
show of one: the regs_deactivated of a switch, a regs_activated, and the two halves of a kvm_fpu.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fputrace.ahead import ahead
from fputrace.events import Kind
from fputrace.homes import homes_of
from fputrace.plain import PlainTuple
from fputrace.pricing import bytes_in_use
from fputrace.replay import Replay
from fputrace.replay.layout import KVM_LOADED, KVM_OUT, PID_MAX, Before, Win
from fputrace.replay.model import TABLES

if TYPE_CHECKING:
    import networkx as nx
    from numpy.typing import NDArray

    from fputrace.events import EventBlock, Trace
    from fputrace.findings import Finding

SAVE, RESTORE = 0, 1
_MOVED = ("save", "restore")
_IMAGES = ("unknown", "user", "guest")
_UNKNOWN, _USER, _GUEST = range(3)
_OWN, _PARKED, _AWAY, _OUT, _OPEN = range(5)
"""Buffers: the fields of Homes, and one of two when nobody knows whether the guest is loaded."""

_SWAP_SAVES_STALE = frozenset({"G4a", "G4x", "G4b"})
"""Where KVM saves the registers although TIF_NEED_FPU_LOAD says that they are stale."""

_KVM_KINDS = (Kind.KVM_FPU, Kind.KVM_ENTRY, Kind.KVM_EXIT, Kind.KVM_USERSPACE_EXIT)

# Columns of the rows that are followed.
_TS, _CPU, _PID, _KIND, _KVM, _LOAD, _FLAG, _MASK = range(8)


class Flow(PlainTuple):
    """Saves (or restores) of one image between the registers of a CPU and a buffer of a task.

    ``where``: the buffer by the kernel's name.  ``moved``: "save" or "restore".  ``image``: "user",
    "guest" or "unknown".  ``bytes``: what they moved, as far as events tell.  ``overwrites``: the
    guest's registers went where the VMM's own image lies (FPU101).  ``evidence``: the finding's
    proof is among them.  Times in ns.
    """

    cpu: int
    pid: int
    where: str
    moved: str
    image: str
    count: int  # type: ignore[assignment]  # hides tuple.count(), of no use here
    bytes: int
    first_ns: int
    last_ns: int
    overwrites: bool
    evidence: bool


class Flows(PlainTuple):
    """All of them, and what is known of the tasks: pid -> ``vcpu_id``."""

    flows: tuple[Flow, ...]
    vcpus: Mapping[int, int]


class Part(PlainTuple):
    """What is counted: ``windows`` (ns, ends included; none: everything), CPUs and tasks.

    ``either``: of the CPUs or of the tasks, rather than both.  ``evidence``: (ns, CPU) of a proof.
    """

    windows: Sequence[tuple[int, int]] = ()
    cpus: Collection[int] | None = None
    pids: Collection[int] | None = None
    either: bool = False
    evidence: Collection[tuple[int, int]] = ()


def part_of(finding: Finding) -> Part:
    """From the first to the last event of each proof, on its CPUs or of its tasks."""
    events = [[e for e in one.events if not e.inferred] for one in finding.witnesses]
    shown = [event for one in events for event in one]
    return Part(
        [(min(e.ns for e in one), max(e.ns for e in one)) for one in events if one],
        {event.cpu for event in shown},
        {event.pid for event in shown if event.pid > 0},
        True,
        {(event.ns, event.cpu) for event in shown},
    )


def flows(trace: Trace, candidates: Sequence[str], part: Part) -> Flows:
    """Count the saves and restores of a part of a trace.

    ``candidates``: the generations left; the first is the one replayed by.  Raises ReadError when
    the file fails meanwhile.
    """
    counter = _Counter(candidates, part)
    machine = Replay(trace, candidates[0])
    for block in ahead(trace.blocks()):
        start = 0
        while start < len(block):
            facts = machine.part(block, start)
            counter.see(block, start, facts)
            start += len(facts)
    return counter.finish()


class _Sum:
    """Of one kind of flow."""

    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.first, self.last = 1 << 62, -(1 << 62)
        self.evidence = False

    def add(self, other: _Sum) -> None:
        """Take over another sum."""
        self.count += other.count
        self.bytes += other.bytes
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.evidence |= other.evidence


class _Counter:
    """Rows in, sums out."""

    def __init__(self, candidates: Sequence[str], part: Part) -> None:
        self._eager = TABLES[candidates[0]].eager
        self._saves_stale = bool(_SWAP_SAVES_STALE & set(candidates))
        homes = homes_of(candidates)
        both = " or ".join(dict.fromkeys((homes.own, homes.guest_out)))
        self._wheres = (*homes, both)
        # One buffer may be home to two images: it is the same node all the same.
        self._same = np.array([self._wheres.index(where) for where in self._wheres])
        self._part = part
        self._cpus = None if part.cpus is None else np.array(sorted(part.cpus), dtype=np.int64)
        self._pids = None if part.pids is None else np.array(sorted(part.pids), dtype=np.int64)
        self._proof = np.array(sorted(part.evidence), dtype=np.int64).reshape(-1, 2)
        self._sums: dict[tuple[int, int, int, int, int], _Sum] = {}
        self._waiting = np.zeros((0, 8), dtype=np.int64)
        self._vmish: set[int] = set()
        self._vcpus: dict[int, int] = {}

    def see(self, block: EventBlock, start: int, facts: NDArray[np.int64]) -> None:
        """The next rows, and the state before each."""
        rows = slice(start, start + len(facts))
        kind = block.kind[rows]
        entries = np.flatnonzero(kind == Kind.KVM_ENTRY)
        pids, first = np.unique(facts[entries, Before.SUBJECT], return_index=True)
        numbers = block.op[start + entries[first], 0]
        self._vcpus.update(zip(pids.tolist(), numbers.tolist(), strict=True))
        of_kvm = np.isin(kind, _KVM_KINDS)
        self._vmish.update(np.unique(facts[of_kvm, Before.SUBJECT]).tolist())
        win = facts[:, Before.WIN]
        told = (kind == Kind.REGS_ACTIVATED) & ~(self._eager & (win == Win.UNKNOWN))
        told |= (kind == Kind.REGS_DEACTIVATED) & (win == Win.OPEN)
        told |= kind == Kind.KVM_FPU
        # A pid that no Linux has is nobody.
        told &= (facts[:, Before.SUBJECT] > 0) & (facts[:, Before.SUBJECT] <= PID_MAX)
        chosen = np.flatnonzero(told)
        table = np.empty((len(chosen), 8), dtype=np.int64)
        op = block.op[rows][chosen]
        table[:, _TS], table[:, _CPU] = block.ts[rows][chosen], block.cpu[rows][chosen]
        table[:, _PID], table[:, _KVM] = facts[chosen, Before.SUBJECT], facts[chosen, Before.KVM]
        table[:, _KIND] = kind[chosen]
        table[:, _LOAD], table[:, _FLAG], table[:, _MASK] = op[:, 0], op[:, 1], op[:, 2]
        self._follow(np.concatenate([self._waiting, table]), last=False)

    def finish(self) -> Flows:
        """What still waits, and the sums."""
        self._follow(self._waiting, last=True)
        sums: dict[tuple[int, int, int, int, int], _Sum] = {}
        for (cpu, pid, where, moved, image), one in self._sums.items():
            # A task that prints no KVM event in the whole trace is no vCPU, as far as can be told.
            plain = image == _UNKNOWN and pid not in self._vmish
            key = (cpu, pid, _OWN, moved, _USER) if plain else (cpu, pid, where, moved, image)
            sums.setdefault(key, _Sum()).add(one)
        found = [
            Flow(
                cpu,
                pid,
                self._wheres[where],
                _MOVED[moved],
                _IMAGES[image],
                one.count,
                one.bytes,
                one.first,
                one.last,
                (moved, image) == (SAVE, _GUEST) and self._over_parked(where),
                one.evidence,
            )
            for (cpu, pid, where, moved, image), one in sorted(sums.items())
        ]
        return Flows(tuple(found), self._vcpus)

    def _over_parked(self, where: int) -> bool:
        parked = self._wheres[_PARKED]
        return self._wheres[where] == parked and " or " not in parked

    def _follow(self, table: NDArray[np.int64], last: bool) -> None:
        """Count rows; until the last, a task's trailing activation waits for what follows it."""
        table = table[np.argsort(table[:, _PID], kind="stable")]
        follows = np.zeros(len(table), dtype=bool)
        follows[:-1] = table[1:, _PID] == table[:-1, _PID]
        activated = table[:, _KIND] == Kind.REGS_ACTIVATED
        waits = activated & ~follows if not last and not self._eager else np.zeros_like(activated)
        self._waiting = table[waits]
        # An activation that a kvm_fpu follows is the swap's own: what it restores is the new image.
        swap = np.zeros(len(table), dtype=bool)
        if not self._eager:
            swap[:-1] = activated[:-1] & follows[:-1] & (table[1:, _KIND] == Kind.KVM_FPU)
        after_swap = np.zeros(len(table), dtype=bool)
        after_swap[1:] = swap[:-1]
        stale = np.zeros(len(table), dtype=bool)
        stale[1:] = swap[:-1] & (table[:-1, _FLAG] != 0)
        new = np.zeros(len(table), dtype=np.int64)
        new[:-1] = table[1:, _LOAD] != 0

        plain = activated & ~swap & ~waits
        self._count(table[plain], RESTORE, *self._live(table[plain]))
        out = table[:, _KIND] == Kind.REGS_DEACTIVATED
        self._count(table[out], SAVE, *self._live(table[out]))
        self._count(table[swap], RESTORE, *_swapped(new[swap]))
        fpu = table[:, _KIND] == Kind.KVM_FPU
        silent = fpu & ~after_swap
        self._count(_without_mask(table[silent]), RESTORE, *_swapped(table[silent, _LOAD]))
        saved = fpu & ~(stale & (not self._saves_stale))
        self._count(_without_mask(table[saved]), SAVE, *_swapped(table[saved, _LOAD] == 0))

    def _live(self, table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Image and buffer of what a switch or a reload moves."""
        kvm = table[:, _KVM]
        loaded, out = kvm == KVM_LOADED, kvm == KVM_OUT
        image = np.where(loaded, _GUEST, np.where(out, _USER, _UNKNOWN))
        return image, np.where(loaded, _OUT, np.where(out, _OWN, _OPEN))

    def _count(
        self,
        table: NDArray[np.int64],
        moved: int,
        image: NDArray[np.int64],
        where: NDArray[np.int64],
    ) -> None:
        keep = self._wanted(table)
        table, image, where = table[keep], image[keep], self._same[where[keep]]
        if not len(table):
            return
        mask = table[:, _MASK]
        size = np.where(mask >= 0, bytes_in_use(np.maximum(mask, 0)), 0)
        proof = np.zeros(len(table), dtype=bool)
        for ns, cpu in self._proof.tolist():
            proof |= (table[:, _TS] == ns) & (table[:, _CPU] == cpu)
        # One number for CPU, pid (23 bits), buffer and image: to sort rows of four is slow.
        key = ((table[:, _CPU] << 23 | table[:, _PID]) << 4 | where) << 4 | image
        order = np.argsort(key, kind="stable")
        key, ts = key[order], table[order, _TS]
        first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
        last = np.r_[first[1:], len(key)] - 1
        columns = (
            key[first],
            last - first + 1,
            np.add.reduceat(size[order], first),
            np.minimum.reduceat(ts, first),
            np.maximum.reduceat(ts, first),
            np.logical_or.reduceat(proof[order], first),
        )
        for code, count, moved_bytes, low, high, proven in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            pid, there, what = code >> 8 & (1 << 23) - 1, code >> 4 & 15, code & 15
            one = self._sums.setdefault((code >> 31, pid, there, moved, what), _Sum())
            one.count += count
            one.bytes += moved_bytes
            one.first, one.last = min(one.first, low), max(one.last, high)
            one.evidence |= proven

    def _wanted(self, table: NDArray[np.int64]) -> NDArray[np.bool_]:
        part, keep = self._part, np.ones(len(table), dtype=bool)
        if part.windows:
            keep[:] = False
            for start, end in part.windows:
                keep |= (table[:, _TS] >= start) & (table[:, _TS] <= end)
        of_cpus = keep if self._cpus is None else np.isin(table[:, _CPU], self._cpus)
        of_pids = keep if self._pids is None else np.isin(table[:, _PID], self._pids)
        if part.either:
            return keep & (of_cpus | of_pids)
        return keep & of_cpus & of_pids


def _swapped(guest: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image and buffer of one half of a swap."""
    there = guest != 0
    return np.where(there, _GUEST, _USER), np.where(there, _AWAY, _PARKED)


def _without_mask(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """kvm_fpu has no xfeatures."""
    table = table.copy()
    table[:, _MASK] = -1
    return table


REST = "rest"
"""Node of the tasks that are not shown one by one."""


def ownership_graph(
    found: Flows, comms: Mapping[int, str], most: int | None = None
) -> nx.MultiDiGraph[str]:
    """Registers and buffers as nodes, saves and restores as edges.

    Nodes: ``cpuN`` (``kind`` "registers"; ``cpu``) and ``taskPID.N`` (``kind`` "image"; ``pid``,
    ``comm``, ``where``, ``vcpu`` where it is known).  Edges have the fields of :class:`Flow` but
    what the nodes say.  Beyond the ``most`` busiest tasks all others are one node (``kind`` "rest",
    ``tasks``: how many).
    """
    import networkx as nx

    busy: dict[int, int] = {}
    for flow in found.flows:
        weight = flow.count + ((1 << 40) if flow.evidence or flow.overwrites else 0)
        busy[flow.pid] = busy.get(flow.pid, 0) + weight
    shown = sorted(busy, key=lambda pid: (-busy[pid], pid))[:most]
    wheres = {where: n for n, where in enumerate(dict.fromkeys(f.where for f in found.flows))}
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for cpu in sorted({flow.cpu for flow in found.flows}):
        graph.add_node(f"cpu{cpu}", kind="registers", cpu=cpu)
    for flow in _joined(found.flows, set(shown)):
        if flow.pid < 0:
            node = REST
            graph.add_node(node, kind="rest", tasks=len(busy) - len(shown))
        else:
            node = f"task{flow.pid}.{wheres[flow.where]}"
            told = {"vcpu": found.vcpus[flow.pid]} if flow.pid in found.vcpus else {}
            comm = comms.get(flow.pid, "<...>")
            graph.add_node(node, kind="image", pid=flow.pid, comm=comm, where=flow.where, **told)
        ends = (f"cpu{flow.cpu}", node) if flow.moved == "save" else (node, f"cpu{flow.cpu}")
        graph.add_edge(
            *ends,
            key=f"{flow.moved} {flow.image}",
            moved=flow.moved,
            image=flow.image,
            count=flow.count,
            bytes=flow.bytes,
            first_ns=flow.first_ns,
            last_ns=flow.last_ns,
            overwrites=flow.overwrites,
            evidence=flow.evidence,
        )
    return graph


def _joined(all_flows: Sequence[Flow], shown: Collection[int]) -> Iterator[Flow]:
    """Those of the tasks shown, and of all others one for each CPU, direction and image."""
    rest: dict[tuple[int, str, str], Flow] = {}
    for flow in all_flows:
        if flow.pid in shown:
            yield flow
            continue
        key = (flow.cpu, flow.moved, flow.image)
        known = rest.get(key)
        rest[key] = flow._replace(
            pid=-1,
            where="",
            count=flow.count + (known.count if known else 0),
            bytes=flow.bytes + (known.bytes if known else 0),
            first_ns=min(flow.first_ns, known.first_ns) if known else flow.first_ns,
            last_ns=max(flow.last_ns, known.last_ns) if known else flow.last_ns,
        )
    yield from rest.values()
