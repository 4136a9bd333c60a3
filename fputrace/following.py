"""One pass over a trace with one model: replay, what follows the events, rules.

Replay gives the state before each event; a follower reads events and state and hands rows of facts
to the rules: one for what tracepoints show, one more for what probes add, once there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fputrace.checking import Collector, Shown, Window
from fputrace.events import Kind
from fputrace.plain import PlainTuple
from fputrace.pricing import Pricing
from fputrace.replay import Replay, costs, judge, ledger, lives, probed, sections, swaps, view
from fputrace.replay.layout import (
    REF,
    CostCpu,
    CostSum,
    CostTask,
    JudgeCpu,
    JudgeTask,
    LivesTask,
    Out,
    ProbedCpu,
    ProbedTask,
    SectionCpu,
    SectionTask,
    Seen,
    SwapTask,
    Told,
)
from fputrace.replay.model import TABLES
from fputrace.replay.roles import Roles
from fputrace.replay.spans import Excerpts
from fputrace.timeline import Fact, Spans

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock, Trace
    from fputrace.findings import Rule

_OUT_ROWS = 4096
_ROWS_AT_ONCE = 16384  # that the rules judge together
_SPANS_A_WITNESS = 400
_ROWS_BESIDE = 1024
_PARKS = frozenset({"G1", "G3", "G4a"})  # the VMM's image is in thread.fpu while the guest runs
_RAW = frozenset({"G4a", "G4x", "G4b"})  # KVM's swap saves whatever TIF_NEED_FPU_LOAD says
_POINTER = frozenset({"G5", "G6"})  # fpu->fpstate is the guest's while it is loaded
_NO_UNLOAD = Fact.LOAD_TWICE | Fact.USER_LOADED  # rest on a kvm_fpu unload that is absent
_NO_LOAD = Fact.UNLOAD_TWICE | Fact.ENTRY_NOT_LOADED
_EXITS = "kvm:kvm_userspace_exit"
_EXECS = "sched:sched_process_exec"
_GONE = 4096  # tasks remembered that are gone: a block has no more
_BIRTHS = 256  # forks whose child has not been seen yet
_IN_INTERRUPT = 0x18  # TRACE_FLAG_HARDIRQ and _SOFTIRQ of common_flags (linux/trace_events.h)
_LONG_SECTION_NS = 50_000  # of kernel FPU use: softirqs or preemption wait as long (FPU303)


class Known(PlainTuple):
    """What a trace tells before a pass, while which its reader adds to what it tells.

    ``exits``: kvm_userspace_exit is recorded, without which nothing tells that KVM_RUN went on;
    ``execs``: sched_process_exec is; ``by_name``: of some probe only its event's name says on which
    function it sits.
    """

    exits: bool
    execs: bool
    by_name: bool

    @classmethod
    def of(cls, trace: Trace) -> Known:
        """As it is now, when nobody reads the trace."""
        return cls(
            bool(trace.counts.get(_EXITS)) or _EXITS in trace.formats,
            _EXECS in trace.formats,
            any(how == "name" for _function, how in trace.probes.values()),
        )

    def told_by(self, trace: Trace, shown: Collection[str]) -> Known:
        """And what its first block tells, which shows these events: many readers learn as they go.

        However far the reader is ahead, for it has told of these before it gave the block.
        """
        by_name = any(how == "name" for name in shown for how in trace.probes.get(name, ())[1:])
        return Known(
            self.exits or _EXITS in shown,
            self.execs or _EXECS in shown,
            self.by_name or by_name,
        )


class Follower:
    """A loop over events and facts with its tables: a row a CPU, a row a task, rows for rules."""

    AGAIN: ClassVar[Mapping[str, int]] = {}
    """Kind of event -> column of ``cpus`` with the time a CPU last showed it."""

    def __init__(self, cpus: tuple[int, int], tasks: tuple[int, int]) -> None:
        self.cpus = np.zeros(cpus, dtype=np.int64)
        self.tasks = np.zeros(tasks, dtype=np.int64)
        self.out = np.zeros((_OUT_ROWS, Out.WIDTH), dtype=np.int64)
        self.row = np.zeros(REF, dtype=np.int64)
        self.loop: Any = None

    def make_room(self) -> None:
        """Called when the loop stopped: room for whatever else than ``out`` was full."""

    def fit(self, cpus: int, tasks: int) -> None:
        """Go on with room for that many CPUs and tasks."""
        if cpus > len(self.cpus) or tasks > len(self.tasks):
            self.cpus = _longer(self.cpus, cpus)
            self.tasks = _longer(self.tasks, tasks)
            self.loop.grow(view(self.cpus), view(self.tasks))


class Judged(Follower):
    """What tracepoints show (:mod:`fputrace.replay.judge`)."""

    AGAIN: ClassVar[Mapping[str, int]] = {
        "regs_activated": JudgeCpu.LAST_ACT_TS,
        "x86_fpu": JudgeCpu.LAST_ACT_TS,
        "regs_deactivated": JudgeCpu.LAST_SAVE_TS,
        "kvm_fpu": JudgeCpu.LAST_KVM_FPU_TS,
    }

    TOLD: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "regs_activated": (Told.RESTORE,),
        # A save of its own and its predecessor's tail: no filter of tasks leaves it out, though all
        # its restores may have been elided.
        "x86_fpu": (Told.RESTORE, Told.SAVE | Told.TAIL),
        "regs_deactivated": (Told.SAVE,),
        "kvm_fpu": (Told.KVM_FPU,),
        "kvm_entry": (Told.KVM_ENTRY,),
    }
    """Kind of event -> bits, the whole of one of which says that it is recorded of a task."""

    def __init__(self, owner: Pass, candidates: Sequence[str]) -> None:
        machine = owner.machine
        super().__init__((machine.cpu_rows, JudgeCpu.WIDTH), (machine.task_rows, JudgeTask.WIDTH))
        self.gone = np.zeros((_GONE, 2), dtype=np.int64)
        model = TABLES[candidates[0]]
        self.loop = judge.Judge(
            view(self.cpus),
            view(self.tasks),
            view(owner.evidence),
            view(self.out),
            view(self.gone),
            owner.collector.wanted,
            model.eager,
            any(TABLES[code].reload_after_entry for code in candidates),
            model.out_save_flag,
            owner.known.exits,
        )

    def told(self, kind: str) -> NDArray[np.int64]:
        """Serials of the tasks that kind of event is recorded of, ascending."""
        known = self.tasks[:, [JudgeTask.SERIAL, JudgeTask.TOLD]]
        known = np.concatenate([known, self.gone])
        enough = [(known[:, 1] & bits) == bits for bits in self.TOLD[kind]]
        return np.sort(known[np.logical_or.reduce(enough), 0])


class Followed(Follower):
    """What probes show (:mod:`fputrace.replay.probed`)."""

    AGAIN: ClassVar[Mapping[str, int]] = {
        "save probe": ProbedCpu.LAST_SAVE,
        "restore probe": ProbedCpu.LAST_RESTORE,
    }

    def __init__(self, owner: Pass) -> None:
        machine, candidates = owner.machine, owner.candidates
        super().__init__((machine.cpu_rows, ProbedCpu.WIDTH), (machine.task_rows, ProbedTask.WIDTH))
        self.trace = owner.trace
        self.roles = Roles(owner.trace)
        self.by_name = owner.known.by_name
        self.in_interrupts = False
        self.loop = probed.Probed(
            view(self.cpus),
            view(self.tasks),
            view(self.out),
            view(self.row),
            view(self.roles.table),
            owner.collector.wanted,
            TABLES[candidates[0]].eager,
            bool(_PARKS & set(candidates)),
            any(TABLES[code].reload_after_entry for code in candidates),
            owner.known.execs,
        )

    def learn(self, block: EventBlock, start: int, facts: NDArray[np.int64]) -> None:
        """What the next rows tell of the probes themselves, before they are judged by it."""
        self.roles.learn(block, start, facts, len(self.trace.event_names))
        section = (block.kind == Kind.PROBE_KFPU_BEGIN) | (block.kind == Kind.PROBE_SAVE)
        self.in_interrupts |= bool((block.flags[section] & _IN_INTERRUPT).any())
        self.loop.know(view(self.roles.table), self.by_name)


class Sectioned(Follower):
    """Kernel FPU sections (:mod:`fputrace.replay.sections`)."""

    def __init__(self, owner: Pass) -> None:
        machine = owner.machine
        widths = (machine.cpu_rows, SectionCpu.WIDTH), (machine.task_rows, SectionTask.WIDTH)
        super().__init__(*widths)
        self.loop = sections.Sections(
            view(self.cpus),
            view(self.tasks),
            view(self.out),
            view(self.row),
            owner.collector.wanted,
            _LONG_SECTION_NS,
        )


def _watched(kinds: Sequence[Kind]) -> NDArray[np.uint8]:
    watched = np.zeros(256, dtype=np.uint8)
    watched[list(kinds)] = 1
    return watched


class Lived(Follower):
    """What forks, execs, signals and debuggers show (:mod:`fputrace.replay.lives`)."""

    WATCHED = (
        Kind.REGS_ACTIVATED,
        Kind.REGS_DEACTIVATED,
        Kind.DROPPED,
        Kind.ACTIVATE_STATE,
        Kind.COPY_SRC,
        Kind.COPY_DST,
        Kind.XSTATE_CHECK_FAILED,
        Kind.KVM_ENTRY,
        Kind.KVM_MSR,
        Kind.SCHED_PROCESS_FORK,
        Kind.SCHED_PROCESS_EXEC,
        Kind.SCHED_PROCESS_EXIT,
        Kind.SCHED_PROCESS_FREE,
        Kind.SYS_ENTER,
        Kind.PAGE_FAULT_USER,
        Kind.SIGNAL_DELIVER,
        Kind.PROBE_PTRACE_WRITE,
    )

    def __init__(self, owner: Pass) -> None:
        machine = owner.machine
        super().__init__((machine.cpu_rows, 1), (machine.task_rows, LivesTask.WIDTH))
        lazy = owner.candidates[0] == "G0"
        watched = _watched(self.WATCHED)
        watched[Kind.SCHED_SWITCH] = lazy
        self.trace = owner.trace
        self.loop = lives.Lives(
            view(self.tasks),
            view(self.out),
            view(self.row),
            view(np.zeros((_BIRTHS, 2 + REF), dtype=np.int64)),
            view(watched),
            owner.collector.wanted,
            lazy,
        )


class Swapped(Follower):
    """KVM_RUNs as a whole (:mod:`fputrace.replay.swaps`)."""

    AGAIN: ClassVar[Mapping[str, int]] = {"kvm_entry": 0}
    WATCHED = (
        Kind.REGS_DEACTIVATED,
        Kind.KVM_FPU,
        Kind.KVM_ENTRY,
        Kind.KVM_USERSPACE_EXIT,
    )

    def __init__(self, owner: Pass) -> None:
        machine = owner.machine
        super().__init__((machine.cpu_rows, 1), (machine.task_rows, SwapTask.WIDTH))
        self.loop = swaps.Swaps(
            view(self.cpus),
            view(self.tasks),
            view(self.out),
            view(self.row),
            view(_watched(self.WATCHED)),
            owner.collector.wanted,
        )


class Counted(Follower):
    """Every save and restore (:mod:`fputrace.replay.costs`); ``sums`` as layout.CostSum has it."""

    WATCHED = (
        Kind.REGS_ACTIVATED,
        Kind.REGS_DEACTIVATED,
        Kind.AFTER_SAVE,
        Kind.COPY_DST,
        Kind.KVM_FPU,
        Kind.KVM_ENTRY,
        Kind.KVM_USERSPACE_EXIT,
        Kind.KVM_VCPU_WAKEUP,
        Kind.SCHED_SWITCH,
        Kind.SCHED_PROCESS_EXEC,
        Kind.SYS_ENTER,
        Kind.PAGE_FAULT_USER,
        Kind.SIGNAL_DELIVER,
        Kind.PROBE_KFPU_BEGIN,
    )

    def __init__(self, owner: Pass, sizes: NDArray[np.int64]) -> None:
        machine = owner.machine
        super().__init__((machine.cpu_rows, CostCpu.WIDTH), (machine.task_rows, CostTask.WIDTH))
        self.sums = np.zeros((256, CostSum.WIDTH), dtype=np.int64)
        first = owner.candidates[0]
        self.book = ledger.Ledger(view(self.tasks), view(self.sums), view(self.row), view(sizes))
        self.loop = costs.Costs(
            view(self.cpus),
            view(self.tasks),
            self.book,
            view(self.out),
            view(self.row),
            view(_watched(self.WATCHED)),
            owner.collector.wanted,
            TABLES[first].eager,
            first in _RAW,
            first in _POINTER,
            owner.known.exits,
        )

    def make_room(self) -> None:
        """Room for the sums of more tasks."""
        if self.book.used() > len(self.sums) - 8:
            self.sums = _longer(self.sums, 2 * len(self.sums))
            self.book.grow_sums(view(self.sums))


class Pass:
    """One pass over a trace with one model: rules checked, evidence counted."""

    def __init__(
        self,
        trace: Trace,
        candidates: Sequence[str],
        known: Known,
        rules: Sequence[Rule],
        pricing: Pricing,
        counting: bool = False,
        window: Window = (None, None),
    ) -> None:
        self.trace = trace
        self.candidates = tuple(candidates)
        self.known = known
        self.collector = Collector(rules, candidates, pricing, window)
        self.parents: dict[int, int] = {}
        self._execs: set[int] = set()
        self.machine = Replay(trace, candidates[0])
        self.evidence = np.zeros(Seen.WIDTH, dtype=np.int64)
        self._judged = Judged(self, candidates)
        self._lived = Lived(self)
        self._swapped = Swapped(self)
        self.counted = Counted(self, pricing.sizes) if counting else None
        self._probed: Followed | None = None
        self._sectioned: Sectioned | None = None
        self._rows: list[NDArray[np.int64]] = []
        self._waiting_rows = 0
        self._latest: EventBlock | None = None

    @property
    def seen(self) -> dict[str, int]:
        """Evidence for the generation, by the names of replay.layout.Seen."""
        return {s.name: int(self.evidence[s]) for s in Seen if s is not Seen.WIDTH}

    @property
    def shown(self) -> Shown:
        """What rules ask of this pass.  Kept, it would be a cycle, and the pass outlive its use."""
        return Shown(self._last_seen, self._told)

    @property
    def fpstates(self) -> bool:
        """Whether the probes told to which buffer a save went."""
        return self._probed is not None and self._probed.roles.fpstates

    def unseen(self, facts: Fact) -> str:
        """Why the lack of the event on which ``facts`` rest proves nothing here; or ""."""
        loads = self.evidence[Seen.KVM_FPUS] - self.evidence[Seen.UNLOADS]
        if facts & _NO_UNLOAD and not self.evidence[Seen.UNLOADS]:
            return "no kvm_fpu unload was seen of any task: a filter may leave them out"
        if facts & _NO_LOAD and not loads:
            return "no kvm_fpu load was seen of any task: a filter may leave them out"
        if self._probed is None or not facts & (Fact.OUT_NOT_SAVED_LOADED | Fact.SWAP_NOT_SAVED):
            return ""
        if self._probed.loop.interrupted():
            return "the probe of the save was off for a while"
        if self._probed.in_interrupts and facts & Fact.OUT_NOT_SAVED_LOADED:
            # kprobes_inc_nmissed_count(): neither its begin nor its save is recorded.
            return (
                "interrupts use the FPU on this machine, and a kprobe that is hit while another "
                "one's handler runs leaves no record"
            )
        return ""

    @property
    def gaps(self) -> tuple[int, int]:
        """Undeclared holes found: gaps of a CPU, and tasks two CPUs claimed at once."""
        return self.machine.gaps

    @property
    def silent(self) -> list[int]:
        """CPUs that the recording lists and that have shown no event."""
        return self.machine.silent

    def feed(self, block: EventBlock) -> None:
        """Replay and check one block."""
        self._fill()
        self._latest = block
        rows = len(block)
        columns = self.machine.columns(block)
        start = 0
        # Probes are followed from the first block on that has records of any.
        if self._probed is None and rows and int(block.kind.max()) >= Kind.PROBE_SAVE:
            self._probed = Followed(self)
            self._sectioned = Sectioned(self)
        followers = self._followers()
        fitted = 0  # tasks that every follower has room for
        for follower in followers:
            follower.loop.read(*columns)
        while start < rows:
            facts = self.machine.part(block, start)
            stop = start + len(facts)
            if self._probed is not None and self._sectioned is not None:
                self._probed.learn(block, start, facts)
                self._lived.loop.know(self._probed.by_name)
                self._sectioned.loop.know(self._probed.by_name, view(block.flags))
            for follower in followers:
                if fitted != self.machine.task_rows:
                    follower.fit(self.machine.cpu_rows, self.machine.task_rows)
                done = follower.loop.run(start, stop)
                while done < stop:
                    self._collect(follower)
                    done = follower.loop.run(done, stop)
            fitted = self.machine.task_rows
            start = stop
        for follower in followers:
            self._collect(follower)
        self._check()
        self._family(block)

    def finish(self) -> None:
        """End of the trace: what still waits is settled as it stands."""
        self._fill()
        for follower in self._followers():
            while not follower.loop.finish():
                self._collect(follower)
            self._collect(follower)
        self._check()
        self.collector.fill(lambda _first, _last: ())

    def _followers(self) -> list[Follower]:
        always: list[Follower] = [self._judged, self._lived, self._swapped]
        some = (self._probed, self._sectioned, self.counted)
        return [*always, *(one for one in some if one is not None)]

    def _collect(self, follower: Follower) -> None:
        """Keep a follower's rows; the rules see them together, which costs once a block."""
        count = follower.loop.take()
        if count:
            self._rows.append(follower.out[:count].copy())
            self._waiting_rows += count
        if self._waiting_rows > _ROWS_AT_ONCE:
            self._check()
        follower.make_room()

    def _check(self) -> None:
        if self._rows or self.collector.waiting:
            self._rows.append(np.zeros((0, Out.WIDTH), dtype=np.int64))
            self.collector.add(np.concatenate(self._rows), self.shown)
        self._rows.clear()
        self._waiting_rows = 0

    def _fill(self) -> None:
        """Spans for the witnesses found in the latest block, once it is known to count."""
        if self._latest is not None and self.collector.unfilled:
            facts = self.machine.facts(self._latest)
            self.collector.fill(_around(Excerpts(self._latest, facts, self.machine.cpu_rows)))

    def _last_seen(self, what: str) -> NDArray[np.int64]:
        """Time at which each CPU last showed a kind of event, int64[cpus]; 0 never."""
        columns = []
        for kind in what.split("+"):
            if kind in Judged.AGAIN:
                columns.append(self._judged.cpus[:, Judged.AGAIN[kind]])
            elif kind in Swapped.AGAIN:
                columns.append(self._swapped.cpus[:, Swapped.AGAIN[kind]])
            elif self._probed is not None:
                columns.append(self._probed.cpus[:, Followed.AGAIN[kind]])
            else:
                columns.append(np.zeros(len(self._judged.cpus), dtype=np.int64))
        seen: NDArray[np.int64] = np.minimum.reduce(columns)
        return seen

    def _told(self, what: str) -> NDArray[np.int64] | None:
        """Serials of the tasks that kind of event was seen of, ascending; None where not asked."""
        asked = [kind for kind in what.split("+") if kind in Judged.TOLD]
        return self._judged.told(asked[0]) if asked else None

    def _family(self, block: EventBlock) -> None:
        """Who forked whom, and who became a program of its own."""
        forks = _rows_of(block, Kind.SCHED_PROCESS_FORK)
        for child, parent in zip(
            block.op[forks, 1].tolist(), block.pid[forks].tolist(), strict=True
        ):
            self.parents[child] = parent
            self._execs.discard(child)
        execs = _rows_of(block, Kind.SCHED_PROCESS_EXEC)
        self._execs.update(block.op[execs, 0].tolist())

    def vm_of(self, pid: int) -> tuple[int | None, str | None]:
        """(tgid, VM) of a vCPU thread where the trace tells it.

        A thread that was forked in the trace and never executed a program belongs to its parent's
        process; the GUEST option of trace.dat names the VM.
        """
        guest = self.trace.guests.get(pid)
        tgid = self.parents.get(pid) if pid not in self._execs else None
        if guest is not None:
            return tgid, guest[0]
        if tgid is None:
            return None, None
        return tgid, f"{self.trace.comms.get(tgid, '<...>')} ({tgid})"


def _rows_of(block: EventBlock, kind: Kind) -> NDArray[np.intp]:
    """Where a kind of event stands that most blocks have none of."""
    if kind not in block.kind.tobytes():  # a few microseconds
        return np.zeros(0, dtype=np.intp)
    # Compared with a Kind, numpy makes integers of eight bytes of the column first.
    return np.flatnonzero(block.kind == int(kind))


def _around(excerpts: Excerpts) -> Callable[[int, int], Spans]:
    """Spans of the block just replayed, for the witnesses found in it.

    Of a block that shows hundreds of spans for each of a few witnesses, only the rows near them are
    looked at.
    """

    def around(first: int, last: int) -> Spans:
        margin = max(1000, (last - first) // 10)
        return Spans(
            excerpts.between(first - margin, last + margin, _ROWS_BESIDE, _SPANS_A_WITNESS)
        )

    return around


def _longer(table: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    grown = np.zeros((max(rows, len(table)), table.shape[1]), dtype=np.int64)
    grown[: len(table)] = table
    return grown
