"""The ownership model of ``docs/model.md`` a second time: slow, plain, and from nobody else's code.

Objects and dictionaries, one event at a time, in the order the document tells it.  The compiled
replay must agree with it before every event (``tests/replay/test_against_naive.py``); where the two
differ, one of them or the document is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from fputrace.events import ABSENT, Kind, Trace

Image = Literal["unknown", "user", "guest", "kernel", "init", "user, inferred"]
KvmState = Literal["OUT", "LOADED"]


class Null:
    """The one value ``NULL``: nobody's registers, which is not the same as unknown."""

    def __repr__(self) -> str:
        return "NULL"


NULL: Final = Null()
INVALID: Final = -1
"""``fpu->last_cpu`` of a task whose memory image is the newer one (``(unsigned)-1``)."""
IDLE: Final = 0
"""The pid that every CPU has."""
PID_MAX_LIMIT: Final = 4194304
"""Pids outside 0 to here are nobody."""

EAGER = ("G0", "G1", "G2", "G2x", "G3")
SET_AT_SWITCH_IN = ("G4a", "G4x", "G4b", "G4c", "G4d", "G5")
"""``switch_fpu_finish()`` sets TIF_NEED_FPU_LOAD of the incoming task."""
SET_AT_SWITCH_OUT = ("G6",)
"""``switch_fpu()`` sets it for the outgoing one."""
GENERATIONS = EAGER + SET_AT_SWITCH_IN + SET_AT_SWITCH_OUT

IN_A_TAIL = {
    Kind.REGS_ACTIVATED,
    Kind.REGS_DEACTIVATED,
    Kind.KVM_FPU,
    Kind.OTHER,
    *(kind for kind in Kind if kind.name.startswith("PROBE_")),
}
"""Kinds that ``prev`` can still emit after its ``sched_switch``."""
OF_A_VCPU = {
    Kind.KVM_FPU,
    Kind.KVM_ENTRY,
    Kind.KVM_EXIT,
    Kind.KVM_USERSPACE_EXIT,
    Kind.KVM_VCPU_WAKEUP,
}
"""Kinds that only a vCPU thread emits."""


@dataclass
class Task:
    """What is known of one pid; None is unknown everywhere."""

    fpu: int | None = None
    last: int | None = None
    tif: int | None = None
    kvm: KvmState | None = None
    child_fpu: int | None = None
    """The token of ``copy_dst``, waiting for ``sched_process_fork``."""


@dataclass
class Window:
    """From ``sched_switch`` to the first event of ``next``."""

    prev: int | None
    """None once it was seen on another CPU."""
    next: int
    opened: int
    blind: bool
    saved: bool = False
    """``regs_deactivated`` of ``prev`` was seen in it."""


@dataclass
class Cpu:
    """One CPU; ``window`` is None (no window), a Window, or "unknown"."""

    cur: int | None = None
    window: Window | Literal["unknown"] | None = "unknown"
    own: int | Null | None = None
    image: Image = "unknown"
    blind: bool = False
    stay_start: int | None = None
    """Time of the switch that brought ``cur``; None if that was not seen."""
    last_event: int | None = None
    deactivated: tuple[int, int] | None = None
    """(token, pid) if the row before was ``regs_deactivated`` and not in a tail that was seen."""

    def lose_sight(self) -> None:
        """Nothing is known here any more."""
        self.cur = None
        self.window = "unknown"
        self.own = None
        self.image = "unknown"
        self.stay_start = None
        self.deactivated = None


class NaiveFacts(NamedTuple):
    """The state before one event; None is unknown, ``NULL`` is a NULL owner."""

    ts: int
    cpu: int
    pid: int
    kind: Kind
    cur: int | None
    win: Literal["none", "open", "unknown"]
    own: int | Null | None
    subject: int
    fpu: int | None
    last: int | None
    tif: int | None
    kvm: KvmState | None
    image: Image


@dataclass
class Event:
    """One row, with its operands still by position."""

    ts: int
    cpu: int
    pid: int
    kind: Kind
    op: list[int]


@dataclass
class Replay:
    """The whole machine."""

    generation: str
    cpus: dict[int, Cpu] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    vcpus: set[int] = field(default_factory=set)
    """Pids that have emitted an event of KVM: what a task is, which is never forgotten."""
    activation_shown: bool = False
    kvm_fpu_shown: bool = False
    """Whether one was seen at all: before, it may not have been switched on."""

    @property
    def deferred(self) -> bool:
        return self.generation not in EAGER

    def cpu(self, number: int) -> Cpu:
        return self.cpus.setdefault(number, Cpu())

    def task(self, pid: int) -> Task:
        """The task to change; for a pid that is nobody's, one that is thrown away."""
        if 0 <= pid <= PID_MAX_LIMIT:
            return self.tasks.setdefault(pid, Task())
        return Task()

    def forget(self, pid: int) -> None:
        self.tasks.pop(pid, None)

    # ----- what cannot be seen

    def stays(self, number: int) -> dict[int, int | None]:
        """Who is certainly on this CPU, and since when (None: since before it could be seen)."""
        cpu = self.cpus[number]
        if cpu.window == "unknown":
            return {}
        if cpu.window is None:
            return {} if cpu.cur is None else {cpu.cur: cpu.stay_start}
        stays: dict[int, int | None] = {cpu.window.next: cpu.window.opened}
        if cpu.window.prev is not None:
            stays[cpu.window.prev] = cpu.stay_start
        return stays

    def forget_all_but(self, keep: set[int]) -> None:
        for pid in list(self.tasks):
            if pid not in keep:
                self.forget(pid)

    def mark_windows(self, but: int) -> None:
        """Whoever leaves another CPU now may come to the one that cannot be seen."""
        for number, cpu in self.cpus.items():
            if number != but and isinstance(cpu.window, Window):
                cpu.window.blind = True

    def go_blind(self, number: int) -> None:
        cpu = self.cpu(number)
        cpu.lose_sight()
        cpu.blind = True
        held = {pid for other in self.cpus if other != number for pid in self.stays(other)}
        self.forget_all_but(held)
        self.mark_windows(but=number)

    def gap(self, number: int) -> None:
        """An undeclared hole somewhere after the last event of this CPU."""
        cpu = self.cpus[number]
        before = cpu.last_event
        cpu.lose_sight()
        held = set()
        if before is not None:
            for other in self.cpus:
                if other != number:
                    for pid, since in self.stays(other).items():
                        if since is None or since <= before:
                            held.add(pid)
        self.forget_all_but(held)
        self.mark_windows(but=number)

    def turned_up(self, pid: int, number: int) -> None:
        """``pid`` is on CPU ``number`` now, so it is no longer where it was."""
        if pid == IDLE or not 0 <= pid <= PID_MAX_LIMIT:
            return
        for other, cpu in self.cpus.items():
            if other == number:
                continue
            if cpu.window == "unknown":
                if cpu.cur == pid:
                    self.forget(pid)
                    cpu.cur = None
            elif isinstance(cpu.window, Window) and cpu.window.prev == pid != cpu.window.next:
                self.left(cpu.window)
                cpu.window.prev = None
                cpu.cur = None
            elif pid in self.stays(other):
                self.gap(other)
                self.forget(pid)

    # ----- before an event

    def arrive(self, event: Event) -> None:
        """Find out what must have happened since the last event, and where the event lies."""
        cpu = self.cpu(event.cpu)
        cpu.blind = False
        self.turned_up(event.pid, event.cpu)
        self.check_continuity(event, cpu)
        if event.kind == Kind.SCHED_SWITCH and event.op[0] != event.pid:
            self.gap(event.cpu)
        if cpu.window == "unknown":
            if cpu.cur != event.pid:
                if cpu.cur is not None:
                    cpu.window = None
                    self.forget(cpu.cur)
                self.forget(event.pid)
                cpu.cur = event.pid
                cpu.stay_start = None
            if event.kind not in IN_A_TAIL:
                cpu.window = None

    def check_continuity(self, event: Event, cpu: Cpu) -> None:
        if isinstance(cpu.window, Window):
            if event.pid == cpu.window.next:
                self.close(cpu, cpu.window)
            elif event.pid != cpu.window.prev or event.kind not in IN_A_TAIL:
                self.gap(event.cpu)
        elif cpu.window is None and event.pid != cpu.cur:
            by_other_thread = event.kind == Kind.SCHED_PROCESS_EXEC and (
                event.op[0] == event.pid and event.op[1] == cpu.cur
            )
            if by_other_thread:
                cpu.cur = event.pid
            else:
                self.gap(event.cpu)

    def left(self, window: Window) -> None:
        """``prev`` is gone; was everything it did on the way out in sight?"""
        if window.prev is None:
            return
        task = self.tasks.get(window.prev, Task())
        tail_missing = not self.deferred and task.kvm == "LOADED" and not window.saved
        if window.blind or tail_missing:
            self.forget(window.prev)

    def close(self, cpu: Cpu, window: Window) -> None:
        self.left(window)
        cpu.cur = window.next
        cpu.window = None
        cpu.stay_start = window.opened
        if self.generation in SET_AT_SWITCH_IN:
            self.task(window.next).tif = 1

    def facts(self, event: Event) -> NaiveFacts:
        cpu = self.cpus[event.cpu]
        subject = event.pid
        if (
            isinstance(cpu.window, Window)
            and event.kind == Kind.REGS_ACTIVATED
            and not self.deferred
        ):
            subject = cpu.window.next
        task = self.tasks.get(subject, Task())
        win: Literal["none", "open", "unknown"] = "open"
        if cpu.window is None:
            win = "none"
        elif cpu.window == "unknown":
            win = "unknown"
        return NaiveFacts(
            ts=event.ts,
            cpu=event.cpu,
            pid=event.pid,
            kind=event.kind,
            cur=cpu.cur,
            win=win,
            own=cpu.own,
            subject=subject,
            fpu=task.fpu,
            last=task.last,
            tif=task.tif,
            kvm=task.kvm,
            image=cpu.image,
        )

    # ----- effects

    def apply(self, event: Event) -> None:
        cpu = self.cpus[event.cpu]
        directly_before, cpu.deactivated = cpu.deactivated, None
        match event.kind:
            case Kind.SCHED_SWITCH:
                self.sched_switch(event, cpu)
            case Kind.REGS_ACTIVATED:
                self.regs_activated(event, cpu)
            case Kind.REGS_DEACTIVATED:
                self.regs_deactivated(event, cpu)
            case Kind.DROPPED:
                if directly_before == (event.op[0], event.pid):
                    cpu.own = NULL
                    cpu.image = "unknown"
                self.flag_of_current(event)
                if self.task(event.pid).child_fpu == event.op[0]:
                    self.task(event.pid).child_fpu = None
            case Kind.COPY_SRC | Kind.BEFORE_SAVE | Kind.AFTER_SAVE:
                self.task(event.pid).fpu = event.op[0]
                self.flag_of_current(event)
            case Kind.COPY_DST:
                self.task(event.pid).child_fpu = event.op[0]
                self.flag_of_current(event)
            case Kind.KVM_FPU:
                self.kvm_fpu(event, cpu)
            case Kind.SCHED_PROCESS_FORK:
                self.fork(event.pid, event.op[1])
            case Kind.SCHED_PROCESS_EXEC:
                self.exec(event.cpu, event.op[0], event.op[1])
            case Kind.SCHED_PROCESS_FREE:
                self.forget(event.op[0])
                self.vcpus.discard(event.op[0])
            case Kind.CPUHP:
                self.hotplug([event.op[0]], event)
            case Kind.SUSPEND_RESUME:
                self.hotplug(list(self.cpus), event)
            case Kind.PROBE_KFPU_BEGIN if self.deferred:
                cpu.image = "kernel"
        if event.kind in OF_A_VCPU and 0 <= event.pid <= PID_MAX_LIMIT:
            self.vcpus.add(event.pid)
        cpu.last_event = event.ts

    def flag_of_current(self, event: Event) -> None:
        if self.deferred:
            self.task(event.pid).tif = 1 if event.op[1] else 0

    def sched_switch(self, event: Event, cpu: Cpu) -> None:
        incoming = event.op[2]
        self.turned_up(incoming, event.cpu)
        others_blind = any(o.blind for n, o in self.cpus.items() if n != event.cpu)
        cpu.window = Window(event.pid, incoming, event.ts, others_blind)

    def loaded_image(self, pid: int, xfeatures: int) -> Image:
        kvm = self.task(pid).kvm
        if kvm is None:
            return "unknown" if pid in self.vcpus else "user, inferred"
        if kvm == "LOADED":
            return "guest"
        return "init" if xfeatures == 0 and xfeatures != ABSENT else "user"

    def regs_activated(self, event: Event, cpu: Cpu) -> None:
        token, _flag, xfeatures, _xcomp_bv = event.op
        self.activation_shown = True
        cpu.own = token
        if not self.deferred and isinstance(cpu.window, Window):
            incoming = cpu.window.next
            self.task(incoming).last = event.cpu
            cpu.image = self.loaded_image(incoming, xfeatures)
        elif not self.deferred and cpu.window == "unknown":
            cpu.image = "unknown"
        else:
            task = self.task(event.pid)
            task.fpu = token
            task.last = event.cpu
            if self.deferred:
                task.tif = 0
            cpu.image = self.loaded_image(event.pid, xfeatures)

    def regs_deactivated(self, event: Event, cpu: Cpu) -> None:
        if isinstance(cpu.window, Window):
            cpu.window.saved = True
            task = self.task(event.pid)
            task.fpu = event.op[0]
            task.last = event.cpu
            if self.generation in SET_AT_SWITCH_IN:
                task.tif = 0
            elif self.generation in SET_AT_SWITCH_OUT:
                task.tif = 1
            return
        cpu.deactivated = (event.op[0], event.pid)
        self.flag_of_current(event)

    def kvm_fpu(self, event: Event, cpu: Cpu) -> None:
        self.kvm_fpu_shown = True
        task = self.task(event.pid)
        task.kvm = "LOADED" if event.op[0] else "OUT"
        mine = cpu.own is not None and task.fpu is not None and cpu.own == task.fpu
        if not self.deferred or mine:
            cpu.image = "guest" if event.op[0] else "user"

    def fork(self, parent: int, child: int) -> None:
        self.forget(child)
        self.vcpus.discard(child)
        waiting = self.task(parent).child_fpu
        self.task(parent).child_fpu = None
        if not any(cpu.blind for cpu in self.cpus.values()):
            newborn = self.task(child)
            newborn.fpu = waiting
            if self.activation_shown:
                newborn.last = INVALID
                newborn.tif = 1 if self.deferred else None
            if self.kvm_fpu_shown:
                newborn.kvm = "OUT"

    def exec(self, number: int, pid: int, old_pid: int) -> None:
        if old_pid != pid:
            self.turned_up(old_pid, number)
            self.forget(pid)
            old, new = self.task(old_pid), self.task(pid)
            new.fpu, new.last, new.tif, new.kvm = old.fpu, old.last, old.tif, old.kvm
            self.forget(old_pid)
            self.vcpus.discard(pid)
            if old_pid in self.vcpus:
                self.vcpus.remove(old_pid)
                if 0 <= pid <= PID_MAX_LIMIT:
                    self.vcpus.add(pid)
        if self.deferred:
            self.task(pid).tif = None

    def hotplug(self, away: list[int], event: Event) -> None:
        """These CPUs were away: nothing about them holds, nor about any task."""
        for number in away:
            if number in self.cpus:
                self.cpus[number].lose_sight()
        self.forget_all_but(set())
        for number, cpu in self.cpus.items():
            if number not in away and isinstance(cpu.window, Window):
                cpu.window.blind = True
        if event.cpu in away:
            cpu = self.cpus[event.cpu]
            cpu.cur = event.pid
            cpu.window = None


def replay(trace: Trace, generation: str) -> Iterator[NaiveFacts]:
    """The facts before every event of ``trace`` (marks are consumed), in its order.

    ``generation`` is one of :data:`GENERATIONS`; ValueError for any other.
    """
    if generation not in GENERATIONS:
        raise ValueError(f"no generation {generation!r}")
    machine = Replay(generation)
    for number in trace.cpus:
        machine.cpu(number).blind = True
    for block in trace.blocks():
        columns = (block.ts, block.cpu, block.pid, block.kind, block.op)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for ts, cpu, pid, kind, op in rows:
            event = Event(ts, cpu, pid, Kind(kind), op)
            match event.kind:
                case Kind.LOSS | Kind.CPU_END:
                    machine.go_blind(cpu)
                case Kind.LOSS_END:
                    machine.cpu(cpu).blind = False
                    machine.cpu(cpu).deactivated = None
                case _:
                    machine.arrive(event)
                    yield machine.facts(event)
                    machine.apply(event)
