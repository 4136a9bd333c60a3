"""Stop the replay at a time: what was known then of every CPU and every task.

Each call is a pass over the trace, so that memory depends on CPUs and tasks.  What the model does
not keep is when something became so; that is followed here beside the replay, and so is why a CPU
was lost sight of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fputrace.ahead import ahead
from fputrace.checking import Naming, event_of
from fputrace.events import Kind, Loss
from fputrace.homes import homes_of
from fputrace.moment import CpuMoment, Moment, Place, TaskMoment, Why
from fputrace.plain import PlainTuple, changed
from fputrace.replay import Replay
from fputrace.replay.layout import (
    KVM_LOADED,
    LAST_UNKNOWN,
    NO_PID,
    Cpu,
    Image,
    Own,
    Ref,
    Task,
    Win,
)
from fputrace.replay.model import TABLES
from fputrace.timeline import IMAGES
from fputrace.watching import Last, Near, Watch, since_or_none

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock, Trace
    from fputrace.findings import WitnessEvent


def freeze(
    trace: Trace,
    candidates: Sequence[str],
    ns: int | None,
    *,
    comms: Mapping[int, str],
    losses: Sequence[Loss],
    around: int,
) -> Moment:
    """What was known after the last event at or before ``ns``; None: after the last of all.

    At the end a CPU whose data ended earlier is as its last event left it: whoever reads the
    trace of a crash wants that, and it is called inferred.  Any time before, such a CPU is unknown.
    ``around``: how many events of each CPU before and after to give.  ``comms`` and ``losses`` are
    those of a pass that has ended.  Raises ReadError when the file fails meanwhile.
    """
    machine = Replay(trace, candidates[0])
    watch = Watch()
    near = Near(around)
    last: dict[int, int] = {}
    before: int | None = None
    for whole in ahead(trace.blocks()):
        block = whole if ns is not None else _open_ended(whole, last)
        stop = len(block) if ns is None else int(np.searchsorted(block.ts, ns, side="right"))
        start = 0
        while start < stop:
            facts = machine.part(block, start, stop)
            watch.see(block, start, facts)
            start += len(facts)
        near.add(block, stop)
        before = int(block.ts[stop - 1]) if stop else before
    cpus, tasks = machine.state()
    at = max(last.values(), default=0) if ns is None else ns
    ended = {cpu: end for cpu, end in last.items() if end < at}
    about = _About(trace, tuple(candidates), at, before, ns is None, comms, losses, ended)
    return _Frozen(about, watch, near, cpus).moment(tasks)


class _About(PlainTuple):
    """What is asked, and of what.  ``ended``: CPUs that ended before the end, and when."""

    trace: Trace
    candidates: tuple[str, ...]
    ns: int
    last_ns: int | None
    at_end: bool
    comms: Mapping[int, str]
    losses: Sequence[Loss]
    ended: Mapping[int, int]


def _open_ended(block: EventBlock, last: dict[int, int]) -> EventBlock:
    """The block without its CPU_END marks; ``last``: the time of each CPU's last row so far."""
    for cpu in np.unique(block.cpu).tolist():
        last[cpu] = int(block.ts[np.flatnonzero(block.cpu == cpu)[-1]])
    keep = block.kind != Kind.CPU_END
    if keep.all():
        return block
    columns = ("ts", "cpu", "pid", "kind", "flags", "event", "op")
    return changed(block, **{name: getattr(block, name)[keep] for name in columns})


class _Frozen:
    """What is known, put together."""

    def __init__(self, about: _About, watch: Watch, near: Near, cpus: NDArray[np.int64]) -> None:
        self.about = about
        self.trace, self.comms, self.losses = about.trace, about.comms, about.losses
        self.eager = TABLES[about.candidates[0]].eager
        self.watch = watch
        self.near = near
        self.rows = cpus
        self.naming = Naming(self.comms, self.trace.event_names, self.trace.formats)
        self.homes = homes_of(about.candidates)
        self.seen = {cpu: watch.now(cpu, cpus[cpu], about.ns) for cpu in self._numbers()}
        self.runs: dict[int, int] = {}
        self.leaves: dict[int, int] = {}

    def _numbers(self) -> list[int]:
        return sorted({*self.trace.cpus, *self.watch.cpus} & set(range(len(self.rows))))

    def comm(self, pid: int) -> str:
        """The name of a task, "" of nobody."""
        if pid < 0:
            return ""
        return self.comms.get(pid, "<...>") if pid else "<idle>"

    def moment(self, rows: NDArray[np.int64]) -> Moment:
        """All of it; ``rows``: the tasks' (``layout.Task``)."""
        cpus = tuple(self._cpu(cpu) for cpu in self._numbers())
        for cpu in cpus:
            self.runs[cpu.pid] = cpu.cpu
            self.leaves[cpu.leaving] = cpu.cpu
        told = (
            (rows[:, Task.F_KNOWN] != 0)
            | (rows[:, Task.LAST] != LAST_UNKNOWN)
            | (rows[:, Task.KVMISH] != 0)
        )
        owners = {cpu.owner for cpu in cpus}
        tasks = [self._task(row, owners) for row in rows[told & (rows[:, Task.PID] > 0)].tolist()]
        notes = []
        if not self.trace.losses_known:
            notes.append("This form of recording does not tell losses.")
        if any(not loss.placed for loss in self.losses):
            notes.append("Events were lost at places nobody recorded.")
        if not self.trace.clock_global and len(self.trace.cpus) > 1:
            notes.append("The clock is not the same on all CPUs: their order is not certain.")
        return Moment(
            self.about.ns,
            self.about.last_ns,
            self.about.at_end,
            self.about.candidates,
            cpus,
            tuple(sorted(tasks, key=lambda task: (not task.shown, task.pid))),
            tuple(notes),
        )

    # -- CPUs ---------------------------------------------------------------------------------

    def _cpu(self, cpu: int) -> CpuMoment:
        row, seen = self.rows[cpu], self.seen[cpu]
        pid = -1 if row[Cpu.CUR] == NO_PID else int(row[Cpu.CUR])
        since, leaving = int(row[Cpu.STAY_START]), -1
        if row[Cpu.WIN] == Win.OPEN:
            pid, since = int(row[Cpu.NEXT]), int(row[Cpu.WIN_TS])
            leaving = -1 if row[Cpu.PREV] == NO_PID else int(row[Cpu.PREV])
        owner, image = int(row[Cpu.OWN_PID]), int(row[Cpu.IMAGE])
        certainty, why = self._certainty(cpu, pid, owner, image)
        if image == Image.USER_INFERRED:
            image = int(Image.USER)
        return CpuMoment(
            cpu=cpu,
            pid=pid,
            comm=self.comm(pid),
            since_ns=since_or_none(since),
            leaving=leaving,
            leaving_comm=self.comm(leaving),
            owner=owner,
            owner_comm=self.comm(owner) if owner > 0 else "",
            owner_since_ns=since_or_none(seen.owner_since) if owner >= 0 else None,
            token=int(row[Cpu.OWN]) if row[Cpu.OWN_STATE] == Own.TOKEN else None,
            image=IMAGES[image],
            image_since_ns=since_or_none(seen.image_since),
            certainty=certainty,
            why=why,
            before=self._events(self.near.before.get(cpu, ())),
            after=self._events(self.near.after.get(cpu, ())),
        )

    def _certainty(self, cpu: int, pid: int, owner: int, image: int) -> tuple[str, Why | None]:
        state = self.rows[cpu, Cpu.OWN_STATE]
        if image == Image.UNKNOWN:
            if state == Own.NULL:
                return "unknown", Why("nobody", since_or_none(self.seen[cpu].owner_since))
            if state == Own.TOKEN and owner > 0:
                return "unknown", Why("kvm-unknown", pid=owner, comm=self.comm(owner))
            return "unknown", self._blindness(cpu)
        if pid < 0:
            return "unknown", self._blindness(cpu)
        if image == Image.USER_INFERRED:
            return "inferred", Why("no-kvm", pid=owner, comm=self.comm(owner))
        if owner != pid:
            return "inferred", Why("another-runs", pid=pid, comm=self.comm(pid))
        if self.rows[cpu, Cpu.WIN] == Win.UNKNOWN:
            return "inferred", Why("no-switch")
        if cpu in self.about.ended:
            return "inferred", Why("ended", self.about.ended[cpu])
        return "known", None

    def _blindness(self, cpu: int) -> Why:
        """Why this CPU's state is unknown now."""
        row, lost = self.rows[cpu], self.seen[cpu].lost
        if not row[Cpu.SEEN] and lost is None:
            later = self.near.after.get(cpu)
            return Why("not-seen", None, later[0][Ref.TS] if later else None)
        if lost is None:
            return Why("start")
        if lost.reason != "after-lost":
            return lost
        hole = self._hole(cpu, lost.ns)
        return hole._replace(reason="lost") if row[Cpu.BLIND] else hole

    def _hole(self, cpu: int, mark: int | None) -> Why:
        """The loss that this mark of the CPU stands for."""
        mine = [loss for loss in self.losses if loss.cpu in (cpu, None) and loss.placed]
        for loss in mine:
            if loss.after_ns == mark or (loss.after_ns is None and loss.before_ns == mark):
                return Why("after-lost", loss.after_ns, loss.before_ns, loss.count)
        return Why("after-lost", mark)

    def _events(
        self, refs: Sequence[tuple[int, ...]] | deque[tuple[int, ...]]
    ) -> tuple[WitnessEvent, ...]:
        return tuple(event_of(ref, "", self.naming) for ref in refs)

    # -- tasks --------------------------------------------------------------------------------

    def _task(self, row: list[int], owners: set[int]) -> TaskMoment:
        pid = row[Task.PID]
        kvm, tif = row[Task.KVM], row[Task.TIF]
        vcpu = bool(row[Task.KVMISH])
        cpu = self.runs.get(pid, -1)
        there = self.leaves.get(pid)
        if cpu < 0 and there is not None and self.rows[there, Cpu.WIN_BLIND]:
            # It may be on a CPU that cannot be seen, and have loaded or put its guest there.
            kvm = tif = -1
            row = [*row[: Task.LAST], LAST_UNKNOWN, *row[Task.LAST + 1 :]]
        loaded = None if kvm < 0 else kvm == KVM_LOADED
        entered = self.watch.entered.get(pid)
        now = self._live(row, self.homes.guest_out if loaded else self.homes.own)
        guest: Place | None = None
        if vcpu and loaded is None:
            unknown = Place("unknown", -1, None, "unknown", Why("kvm-unknown"))
            user = guest = unknown
        elif vcpu and loaded:
            user, guest = self._parked(row), now
        else:
            user = now
            if kvm < 0 and user.certainty == "known":
                user = user._replace(certainty="inferred", why=Why("no-kvm"))
            if vcpu:
                swapped = self._of(self.watch.swapped, row)
                guest = self._memory(self.homes.guest, swapped.ns if swapped else None)
        user, guest = self._still(user, cpu), guest and self._still(guest, cpu)
        return TaskMoment(
            pid=pid,
            comm=self.comm(pid),
            cpu=cpu,
            token=row[Task.F] if row[Task.F_KNOWN] else None,
            last_cpu=None if row[Task.LAST] == LAST_UNKNOWN else row[Task.LAST],
            tif=None if tif < 0 or self.eager else bool(tif),
            loaded=loaded if vcpu else None,
            vcpu=entered.value if entered and entered.serial == row[Task.SERIAL] else None,
            user=user,
            guest=guest,
            shown=vcpu or cpu >= 0 or pid in self.leaves or pid in owners,
        )

    def _of(self, kept: dict[int, Last], row: list[int]) -> Last | None:
        """What is kept of this task, if nothing about it was forgotten since."""
        last = kept.get(row[Task.PID])
        return last if last and last.know == row[Task.KNOW] else None

    def _still(self, place: Place, cpu: int) -> Place:
        """Known no more where a CPU went on unseen; ``cpu``: where the task runs."""
        ended = self.about.ended
        if place.certainty != "known" or not ended or (cpu >= 0 and cpu not in ended):
            return place
        why = (
            Why("ended", ended[cpu]) if cpu in ended else Why("another-ended", min(ended.values()))
        )
        return place._replace(certainty="inferred", why=place.why or why)

    def _memory(self, home: str, since: int | None, copy: int = -1) -> Place:
        """An image in memory; where, all candidates must agree on."""
        if " or " in home:
            return Place(home, -1, since, "inferred", Why("undecided"), copy)
        return Place(home, -1, since, "known", None, copy)

    def _parked(self, row: list[int]) -> Place:
        """The VMM's own image while its guest is loaded."""
        swapped = self._of(self.watch.swapped, row)
        since = swapped.ns if swapped else None
        over = self._of(self.watch.saved_guest, row)
        home = self.homes.parked
        if home == self.homes.guest_out and over and (since is None or over.ns > since):
            # kvm_fpu comes late: only a VM entry after the save shows whose registers these were.
            entered = self._of(self.watch.entered, row)
            proven = entered is not None and entered.ns > over.ns
            certainty = "known" if proven else "inferred"
            return Place(home, -1, over.ns, certainty, Why("overwritten", over.ns))
        return self._memory(home, since)

    def _live(self, row: list[int], home: str) -> Place:
        """The image that is in the registers when the task has them; ``home``: where when not."""
        pid = row[Task.PID]
        saved, restored = self._of(self.watch.saved, row), self._of(self.watch.restored, row)
        if pid in self.runs:
            return self._running(row, home, self.runs[pid], restored)
        if pid in self.leaves:
            there = self.leaves[pid]
            if saved is None or saved.ns < self.rows[there, Cpu.WIN_TS]:
                since = self.seen[there].image_since
                return Place("registers", there, since_or_none(since), "inferred", Why("switching"))
            if self.rows[there, Cpu.WIN_BLIND]:
                return Place(home, -1, saved.ns, "inferred", Why("another-blind"))
        last = row[Task.LAST]
        copy = last if last >= 0 and self._owns(row, last) else -1
        if saved and (restored is None or saved.ns >= restored.ns):
            return self._memory(home, saved.ns, copy)
        if not self.eager and row[Task.TIF] == 1:
            return self._memory(home, None, copy)
        if restored:
            return Place(home, -1, None, "inferred", Why("no-save", restored.ns), copy)
        if last == -1:
            return self._memory(home, None)
        return Place("unknown", -1, None, "unknown", Why("not-told"))

    def _running(self, row: list[int], home: str, cpu: int, restored: Last | None) -> Place:
        owns = self._owns(row, cpu)
        owner = int(self.rows[cpu, Cpu.OWN_PID])
        since = since_or_none(self.seen[cpu].image_since)
        arriving = self.rows[cpu, Cpu.WIN] == Win.OPEN
        if self.eager and arriving and not owns:
            return Place(home, -1, None, "inferred", Why("arriving"))
        # The flag is set when a task is switched in or out; what it was before says nothing now.
        if self.eager or (row[Task.TIF] == 0 and not arriving):
            if owns and self.rows[cpu, Cpu.WIN] == Win.UNKNOWN:
                return Place("registers", cpu, since, "inferred", Why("no-switch"))
            if owns:
                return Place("registers", cpu, since, "known", None)
            if self.rows[cpu, Cpu.OWN_STATE] == Own.UNKNOWN:
                return Place("registers", cpu, None, "inferred", Why("owner-unknown"))
            if self.rows[cpu, Cpu.OWN_STATE] == Own.NULL:
                return Place("unknown", -1, None, "unknown", Why("nobody", since))
            why = Why("taken", since, pid=owner, comm=self.comm(owner))
            return Place("unknown", -1, None, "unknown", why)
        if row[Task.TIF] < 0 and not arriving:
            return Place("unknown", -1, None, "unknown", Why("not-told"))
        saved = self._of(self.watch.saved, row)
        at = saved.ns if saved and (restored is None or saved.ns >= restored.ns) else None
        if owns and row[Task.LAST] == cpu:
            return Place(home, -1, at, "inferred", Why("elided"), cpu)
        return self._memory(home, at)

    def _owns(self, row: list[int], cpu: int) -> bool:
        """Whether this task was the last to acquire the registers of that CPU."""
        if cpu >= len(self.rows):
            return False
        there = self.rows[cpu]
        if there[Cpu.OWN_STATE] != Own.TOKEN:
            return False
        if row[Task.F_KNOWN]:
            return bool(there[Cpu.OWN] == row[Task.F])
        return bool(there[Cpu.OWN_PID] == row[Task.PID])
