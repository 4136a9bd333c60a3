"""Made recordings for the replay: anything at all, and what a small model kernel would print.

``anything()`` is a Hypothesis strategy for rows that may contradict themselves in every way.
``Kernel`` schedules a few tasks on a few CPUs, moves their FPU state as its generation does, prints
what that kernel prints, and remembers the truth; ``lose()`` then takes events out, with the marks a
reader leaves in their place.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from fputrace.events import ABSENT, EventBlock, Kind, Trace
from tests.oracles.naive_replay import EAGER, SET_AT_SWITCH_OUT

MARKS = (Kind.LOSS, Kind.LOSS_END, Kind.CPU_END)


class Row(NamedTuple):
    """One row of an EventBlock."""

    ts: int
    cpu: int
    pid: int
    kind: Kind
    op: tuple[int, int, int, int] = (0, 0, 0, 0)


def trace_of(rows: Sequence[Row], cpus: Sequence[int], block_rows: int = 7) -> Trace:
    """A Trace with these rows, in blocks so small that state must be carried over."""

    def block(part: Sequence[Row]) -> EventBlock:
        return EventBlock(
            ts=np.array([r.ts for r in part], np.int64),
            cpu=np.array([r.cpu for r in part], np.int32),
            pid=np.array([r.pid for r in part], np.int32),
            kind=np.array([r.kind for r in part], np.uint8),
            flags=np.zeros(len(part), np.uint16),
            event=np.array([-1 if r.kind in MARKS else r.kind for r in part], np.int32),
            op=np.array([r.op for r in part], np.int64).reshape(len(part), 4),
            names=[],
            fields_of=no_fields,
        )

    def blocks(_trace: Trace) -> Iterator[EventBlock]:
        for start in range(0, len(rows), block_rows):
            yield block(rows[start : start + block_rows])

    return Trace(path="made", format="made", cpus=list(cpus), _blocks=blocks)


def no_fields(_row: int) -> dict[str, Any]:
    """Made rows have operands only."""
    return {}


# ----- anything

PIDS = (0, 1, 2, 3, 4)
STRAY_PIDS = (4194304, 4194305, 2**31 - 1)
TOKENS = (-1, -2, -3, -4, -5)  # kernel addresses, as their two's complement
KINDS = (
    *(Kind.SCHED_SWITCH,) * 6,
    *(Kind.REGS_ACTIVATED,) * 4,
    *(Kind.REGS_DEACTIVATED,) * 4,
    *(Kind.KVM_FPU,) * 3,
    *(Kind.DROPPED, Kind.COPY_DST, Kind.SCHED_PROCESS_FORK, Kind.SCHED_PROCESS_EXEC) * 2,
    *Kind,
)
FOLLOWERS = {
    # What the same task often prints next.
    Kind.SCHED_SWITCH: (Kind.REGS_DEACTIVATED, Kind.REGS_ACTIVATED, Kind.KVM_FPU),
    Kind.REGS_DEACTIVATED: (Kind.DROPPED, Kind.REGS_ACTIVATED),
    Kind.REGS_ACTIVATED: (Kind.KVM_FPU, Kind.REGS_DEACTIVATED),
    Kind.COPY_DST: (Kind.SCHED_PROCESS_FORK, Kind.DROPPED),
}


@st.composite
def anything(draw: st.DrawFn) -> tuple[list[Row], list[int], int]:
    """Rows, the CPUs the recording lists, and how many rows make a block."""
    chance = random.Random(draw(st.integers(0, 2**64)))
    moves = draw(st.lists(st.integers(0, 2**32), max_size=80))
    tidy = draw(st.sampled_from([0.5, 0.9, 1.0]))
    listed = draw(st.sampled_from([[0, 1, 2], [0, 1], [0], [1, 5], []]))
    rows: list[Row] = []
    running = dict.fromkeys(range(4), 0)
    leaving = dict(running)
    ts = 0
    for move in moves:
        chance.seed(move)
        ts += chance.choice([0, 1, 1, 5])
        cpu = chance.choice([0, 0, 1, 1, 2, 3])
        kind = chance.choice(KINDS)
        pid = chance.choice([running[cpu]] * 3 + [leaving[cpu]])
        if rows and rows[-1].kind in FOLLOWERS and chance.random() < 0.4:
            cpu = rows[-1].cpu
            pid = rows[-1].pid
            kind = chance.choice(FOLLOWERS[rows[-1].kind])
        elif kind in MARKS:
            rows.append(Row(ts, cpu, -1, kind))
            continue
        if chance.random() > tidy:
            pid = chance.choice([*PIDS, *STRAY_PIDS])
        rows.append(Row(ts, cpu, pid, kind, any_operands(chance, tidy, kind, pid)))
        if kind == Kind.SCHED_SWITCH:
            leaving[cpu], running[cpu] = pid, rows[-1].op[2]
        elif kind == Kind.SCHED_PROCESS_EXEC and pid == running[cpu]:
            running[cpu] = rows[-1].op[0]
    return rows, listed, draw(st.integers(1, 9))


def any_operands(
    chance: random.Random, tidy: float, kind: Kind, pid: int
) -> tuple[int, int, int, int]:
    token = TOKENS[pid % len(TOKENS)] if chance.random() < tidy else chance.choice(TOKENS)
    other = chance.choice(PIDS if chance.random() < tidy else (*STRAY_PIDS, -1, -7, *PIDS))
    if kind == Kind.SCHED_SWITCH:
        prev = pid if chance.random() < tidy else other
        return (prev, 0, chance.choice(PIDS) if chance.random() < tidy else other, 0)
    if kind == Kind.SCHED_PROCESS_FORK:
        return (pid, other, 0, 0)
    if kind == Kind.SCHED_PROCESS_EXEC:
        return (chance.choice([pid, pid, other]), chance.choice([pid, *PIDS]), 0, 0)
    if kind == Kind.SCHED_PROCESS_FREE:
        return (other, 0, 0, 0)
    if kind == Kind.KVM_FPU:
        return (chance.choice([0, 1]), 0, 0, 0)
    if kind == Kind.CPUHP:
        return (chance.choice([0, 1, 2, 9, 2**32 - 1]), 0, 0, 0)
    return (token, chance.choice([0, 1]), chance.choice([0, 7, ABSENT]), ABSENT)


# ----- a kernel


RELOAD_AFTER_ENTRY = ("G4a", "G4x", "G4c")
"""``vcpu_enter_guest()`` prints ``kvm_entry`` before it reloads the registers."""

VENDORS = ("at once", "several", "late", "no exits", "neither")
"""How a back end prints kvm_exit: in its run loop, several to an entry (Intel 5.8 to 5.10), after
preemption is on again (Intel up to 5.7, AMD up to 6.4), not at all; "neither" prints no kvm_entry
either (PVM)."""


class Truth(NamedTuple):
    """What really is, before one event: the owner (0 for NULL), and the subject's own state."""

    own: int
    fpu: int
    last: int
    kvm: bool


@dataclass
class TrueTask:
    fpu: int
    last: int = -1
    tif: bool = True
    kvm: bool = False
    alive: bool = True
    exits: int = 0
    """kvm_exit events that are still to be printed."""


@dataclass
class Kernel:
    """Tasks 1… on CPUs 0…, one step of one CPU at a time; ``rows`` and ``truth`` grow together."""

    generation: str
    chance: random.Random
    cpus: int = 3
    rows: list[Row] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    tasks: dict[int, TrueTask] = field(default_factory=dict)
    ts: int = 0
    born: int = 2

    def __post_init__(self) -> None:
        self.deferred = self.generation not in EAGER
        self.current = [0] * self.cpus
        self.own = [0] * self.cpus
        self.dead: list[int] = []
        self.vendor = self.chance.choice(VENDORS)
        self.tasks[0] = TrueTask(fpu=0)
        for _ in range(self.chance.choice([2, 3, 5])):
            self.new_task()

    def new_task(self) -> int:
        self.born += 1
        pid = self.born
        # A freed struct fpu is handed out again.
        used = {task.fpu for task in self.tasks.values()}
        token = next(-n for n in range(1, 1000) if -n not in used)
        self.tasks[pid] = TrueTask(fpu=token)
        return pid

    def emit(self, cpu: int, kind: Kind, *op: int, of: int | None = None) -> None:
        """``of`` is the subject where it is not ``current``."""
        pid = self.current[cpu]
        subject = self.tasks[pid if of is None else of]
        self.truth.append(Truth(self.own[cpu], subject.fpu, subject.last, subject.kvm))
        # Events of one CPU may have the same time; those of two are in the order of their times.
        same = bool(self.rows) and self.rows[-1].cpu == cpu
        self.ts += self.chance.choice([0 if same else 1, 1, 1, 3])
        one, two, three, four = (*op, 0, 0, 0, 0)[:4]
        self.rows.append(Row(self.ts, cpu, pid, kind, (one, two, three, four)))

    def fpu_event(self, cpu: int, kind: Kind, token: int, of: int | None = None) -> None:
        flag = self.tasks[self.current[cpu]].tif if self.deferred else True
        self.emit(cpu, kind, token, int(flag), self.chance.choice([0, 7]), of=of)

    def step(self) -> None:
        cpu = self.chance.randrange(self.cpus)
        pid = self.current[cpu]
        if pid == 0:
            self.choose(cpu, [(self.switch, 8), (self.other, 2), (self.free, 1)])
            return
        if self.tasks[pid].exits:
            # Between preempt_enable() and the vendor's handle_exit().
            late = [(self.exits, 4), (self.switch, 4), (self.kernel_fpu, 1), (self.other, 1)]
            self.choose(cpu, late)
            return
        moves = [
            (self.switch, 6),
            (self.other, 2),
            (self.use, 4),
            (self.kvm_run, 4),
            (self.signal, 1),
            (self.fork, 1),
            (self.exec, 1),
            (self.exit, 1),
            (self.kernel_fpu, 2),
            (self.free, 1),
            (self.dump, 1),
        ]
        self.choose(cpu, moves)

    def choose(self, cpu: int, moves: Sequence[tuple[Any, int]]) -> None:
        names, weights = zip(*moves, strict=True)
        self.chance.choices(names, weights)[0](cpu)

    def activate(self, cpu: int, pid: int) -> None:
        """``fpregs_activate()``, and in deferred kernels what always follows it."""
        task = self.tasks[pid]
        self.fpu_event(cpu, Kind.REGS_ACTIVATED, task.fpu, of=pid)
        self.own[cpu] = task.fpu
        task.last = cpu
        task.tif = False

    def switch(self, cpu: int, final: bool = False) -> None:
        prev = self.current[cpu]
        waiting = [
            pid for pid, task in self.tasks.items() if task.alive and pid not in self.current
        ]
        incoming = self.chance.choice([0, *waiting] if prev else waiting or [0])
        if incoming == prev:
            return
        self.emit(cpu, Kind.SCHED_SWITCH, prev, 0, incoming)
        task = self.tasks[prev]
        if self.deferred:
            if prev and not task.tif:
                if self.generation in SET_AT_SWITCH_OUT:
                    task.tif = True
                self.fpu_event(cpu, Kind.REGS_DEACTIVATED, task.fpu)
                task.last = cpu
        else:
            if self.generation == "G1" and task.kvm:
                self.emit(cpu, Kind.KVM_FPU, 0)
                task.kvm = False
            if prev and not final:
                self.fpu_event(cpu, Kind.REGS_DEACTIVATED, task.fpu)
                task.last = cpu
            if incoming:
                self.activate(cpu, incoming)
        self.current[cpu] = incoming
        if self.deferred and self.generation not in SET_AT_SWITCH_OUT:
            self.tasks[incoming].tif = True

    def other(self, cpu: int) -> None:
        self.emit(cpu, self.chance.choice([Kind.OTHER, Kind.SCHED_MIGRATE_TASK]))

    def reload(self, cpu: int) -> None:
        """``switch_fpu_return()``: silent when the registers still are this task's."""
        task = self.tasks[self.current[cpu]]
        if self.deferred and task.tif:
            if self.own[cpu] == task.fpu and task.last == cpu:
                task.tif = False
            else:
                self.activate(cpu, self.current[cpu])

    def use(self, cpu: int) -> None:
        """Guest or user mode."""
        task = self.tasks[self.current[cpu]]
        entry = task.kvm and self.vendor != "neither"
        if entry and self.generation in RELOAD_AFTER_ENTRY:
            self.emit(cpu, Kind.KVM_ENTRY)
        self.reload(cpu)
        if entry and self.generation not in RELOAD_AFTER_ENTRY:
            self.emit(cpu, Kind.KVM_ENTRY)
        elif not task.kvm and self.chance.random() < 0.5:
            self.emit(cpu, Kind.SYS_ENTER)
        if entry and self.vendor in ("at once", "several", "late"):
            task.exits = self.chance.choice([1, 2, 3]) if self.vendor == "several" else 1
            if self.vendor != "late":
                self.exits(cpu)

    def exits(self, cpu: int) -> None:
        """What is to be printed of a VM exit, wherever the thread is by now."""
        task = self.tasks[self.current[cpu]]
        for _ in range(task.exits):
            self.emit(cpu, Kind.KVM_EXIT)
        task.exits = 0

    def kvm_run(self, cpu: int) -> None:
        pid = self.current[cpu]
        if self.deferred:
            self.activate(cpu, pid)
        load = not self.tasks[pid].kvm
        self.emit(cpu, Kind.KVM_FPU, int(load))
        self.tasks[pid].kvm = load

    def signal(self, cpu: int) -> None:
        self.emit(cpu, Kind.SIGNAL_DELIVER, 11)
        if not self.tasks[self.current[cpu]].kvm:
            self.activate(cpu, self.current[cpu])

    def fork(self, cpu: int) -> None:
        if self.tasks[self.current[cpu]].kvm:
            return
        parent = self.tasks[self.current[cpu]].fpu
        child = self.new_task()
        if self.chance.random() < 0.8:
            self.fpu_event(cpu, Kind.COPY_SRC, parent)
            self.fpu_event(cpu, Kind.COPY_DST, self.tasks[child].fpu)
            if self.chance.random() < 0.2:
                self.fpu_event(cpu, Kind.DROPPED, self.tasks[child].fpu)
                del self.tasks[child]
                return
        self.emit(cpu, Kind.SCHED_PROCESS_FORK, self.current[cpu], child)

    def exec(self, cpu: int) -> None:
        old = self.current[cpu]
        if self.tasks[old].kvm:
            return
        pid = old
        idle = [p for p in self.tasks if p and p not in self.current and p not in self.dead]
        if idle and self.chance.random() < 0.5:
            # de_thread(): the leader, dead by now, gives its pid away.
            pid = self.chance.choice(idle)
            self.tasks[pid] = self.tasks.pop(old)
            self.current[cpu] = pid
        task = self.tasks[pid]
        task.tif = self.deferred
        if self.deferred:
            task.last = -1
            self.own[cpu] = 0
        else:
            self.activate(cpu, pid)
        self.emit(cpu, Kind.SCHED_PROCESS_EXEC, pid, old)

    def exit(self, cpu: int) -> None:
        pid = self.current[cpu]
        task = self.tasks[pid]
        if task.kvm or sum(t.alive for t in self.tasks.values()) < 4:
            return
        self.emit(cpu, Kind.SCHED_PROCESS_EXIT, pid)
        if not (self.generation in SET_AT_SWITCH_OUT and task.tif):
            self.fpu_event(cpu, Kind.REGS_DEACTIVATED, task.fpu)
            self.own[cpu] = 0
            self.fpu_event(cpu, Kind.DROPPED, task.fpu)
        task.alive = False
        self.switch(cpu, final=True)
        self.dead.append(pid)

    def free(self, cpu: int) -> None:
        if self.dead:
            pid = self.dead.pop(0)
            self.emit(cpu, Kind.SCHED_PROCESS_FREE, pid)
            del self.tasks[pid]

    def kernel_fpu(self, cpu: int) -> None:
        """``kernel_fpu_begin()``: nothing to see."""
        if self.deferred:
            self.tasks[self.current[cpu]].tif = True
            self.own[cpu] = 0

    def dump(self, cpu: int) -> None:
        task = self.tasks[self.current[cpu]]
        self.fpu_event(cpu, Kind.BEFORE_SAVE, task.fpu)
        self.fpu_event(cpu, Kind.AFTER_SAVE, task.fpu)


class Cut(NamedTuple):
    """Rows with marks, and for each event among them its index in what was cut."""

    rows: list[Row]
    events: list[int]


def lose(rows: Sequence[Row], chance: random.Random, holes: int) -> Cut:
    """Take up to ``holes`` runs of events out of CPUs, and put the marks a reader makes.

    LOSS stands right behind the CPU's event before the hole, LOSS_END right before the next one;
    a CPU whose first events went begins late, and one whose last events went ends early.
    """
    gone: set[int] = set()
    by_cpu: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_cpu.setdefault(row.cpu, []).append(index)
    for _ in range(holes):
        own = by_cpu[chance.choice(sorted(by_cpu))]
        start = chance.randrange(len(own))
        gone.update(own[start : start + chance.choice([1, 2, 5, 20])])
    made: list[Row] = []
    events: list[int] = []
    # Marks go before the rows of the same place: (index of the row, order) -> mark.
    before: dict[int, list[Row]] = {}
    after: dict[int, list[Row]] = {}
    for cpu, own in by_cpu.items():
        kept = [index for index in own if index not in gone]
        for left, right in itertools.pairwise(kept):
            if own.index(right) - own.index(left) > 1:
                after.setdefault(left, []).append(Row(rows[left].ts, cpu, -1, Kind.LOSS))
                before.setdefault(right, []).append(Row(rows[right].ts, cpu, -1, Kind.LOSS_END))
        if kept:
            end = Row(rows[kept[-1]].ts, cpu, -1, Kind.CPU_END)
            after.setdefault(kept[-1], []).append(end)
    for index, row in enumerate(rows):
        if index in gone:
            continue
        made += before.get(index, [])
        made.append(row)
        events.append(index)
        made += after.get(index, [])
    return Cut(made, events)
