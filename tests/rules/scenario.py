"""Small made recordings that read like the kernel's story, for the tests of the rules.

A story is a function that is told to a :class:`Story`: tasks are switched, restored, saved, the
guest is loaded and entered, each step printing what that step prints in the kernel generation at
hand (arch/x86/include/asm/fpu, arch/x86/kvm/x86.c).  Steps the kernel would not leave out are
left out by saying so (``save=False``, ``restore=False``): that is the fault to be found.
:func:`tell` writes the story as a trace.dat and analyses it.

    def story(s: Story) -> None:
        s.begin(VCPU)           # every variable of the vCPU thread becomes known
        s.run_guest()           # KVM_RUN begins, the guest is entered
        s.switch(HOG)           # preempted
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import fputrace
from fputrace.findings import Analysis, Coverage, Finding, Status, Verdict
from fputrace.generation import EAGER
from fputrace.rules import RULES
from tests.writers import EventSpec, TraceWriter

RELEASES = {
    "G1": "4.14.5",
    "G2": "4.19.0",
    "G2x": "4.14.94",
    "G3": "5.0.1",
    "G4a": "5.2.1",
    "G4x": "5.2.4",
    "G4b": "5.3.1",
    "G4c": "5.10.0",
    "G4d": "5.15.0",
    "G5": "6.12.0",
    "G6": "7.2.0",
}
"""An upstream release of each generation: it decides (fputrace/generation.py)."""

DEFERRED = tuple(code for code in RELEASES if code not in EAGER)
LATE_RELOAD = ("G4a", "G4x", "G4c")
"""Where vcpu_enter_guest() reloads after it printed kvm_entry."""


class Task(NamedTuple):
    """A thread: pid, comm and its ``struct fpu *`` (0: a kernel thread, it has no FPU state)."""

    pid: int
    comm: str
    fpu: int


IDLE = Task(0, "swapper/0", 0)
VCPU = Task(94, "CPU 1/KVM", 0xFFFF8880B7CB0880)
HOG = Task(91, "fphog", 0xFFFF8880B7C18880)
OTHER = Task(97, "make", 0xFFFF8880B7C20880)
KTHREAD = Task(24, "kworker/0:1", 0)
COMMS = {task.pid: task.comm for task in (VCPU, HOG, OTHER, KTHREAD)}

AFTER = 0x217
"""xfeatures that the events print."""


class Story:
    """A recording in the making.

    generation : whose events are printed.
    without : names of events that were not enabled (no format, no event).
    hole : whether the recorder loses events where the story says :meth:`moment`.
    ends : whether the recording stops where the story says :meth:`afterwards`.
    """

    def __init__(
        self,
        generation: str,
        *,
        cpus: int = 1,
        without: Collection[str] = (),
        hole: bool = False,
        ends: bool = False,
        kernel: str | None = None,
        clock: str = "mono",
        extra_events: Collection[EventSpec] = (),
    ):
        self.generation = generation
        self.eager = generation in EAGER
        self.over = False
        self._without = frozenset(without)
        self._hole, self._ends = hole, ends
        self._now = 1_000_000
        self._cpus = range(cpus)
        self._current = dict.fromkeys(self._cpus, IDLE)
        self._owner = dict.fromkeys(self._cpus, 0)
        self._last: dict[Task, int] = {}
        self._live: set[Task] = set()
        self.writer = TraceWriter(
            kernel or RELEASES[generation],
            cpus=cpus,
            comms=COMMS,
            without=self._without,
            clock=clock,
            extra_events=extra_events,
        )

    # --- events --------------------------------------------------------------------------------

    def event(self, name: str, cpu: int = 0, by: int | None = None, /, **fields: Any) -> None:
        """One event of the current task (or of pid ``by``), a microsecond after the one before."""
        if self.over:
            return
        self._now += 1000
        if name in self._without:
            return
        who = self._current[cpu].pid if by is None else by
        self.writer.event(cpu, self._now, who, name, **fields)

    def fpu(
        self,
        name: str,
        cpu: int = 0,
        *,
        flag: int,
        of: Task | None = None,
    ) -> None:
        """An ``x86_fpu_`` event about the current task's fpu, or ``of`` another's."""
        task = of or self._current[cpu]
        self.event(f"x86_fpu_{name}", cpu, fpu=task.fpu, flag=flag, xfeatures=AFTER)

    def moment(self, cpu: int = 0) -> None:
        """Between the evidence: with ``hole``, the recorder loses events here."""
        if self._hole and not self.over:
            self.writer.loss(cpu, count=7)

    def afterwards(self) -> None:
        """The evidence is complete; with ``ends``, the recording stops here."""
        self.over = self.over or self._ends

    # --- the scheduler -------------------------------------------------------------------------

    def begin(self, task: Task, cpu: int = 0) -> None:
        """``task`` comes from idle with its registers restored: everything about it is known."""
        self.switch(task, cpu)
        if not self.eager:
            self.restore(cpu)

    def switch(
        self, to: Task, cpu: int = 0, *, save: bool | None = None, restore: bool = True
    ) -> None:
        """__schedule(): sched_switch, then __switch_to()'s FPU work.

        ``save``: switch_fpu_prepare() (switch_fpu() from 6.16 on) saves the outgoing task; by
        default when its registers are live.  ``restore``: switch_fpu_finish() restores the
        incoming one, in eager kernels, printing the outgoing pid.
        """
        self.schedule(to, cpu)
        self.switch_to(to, cpu, save=save, restore=restore)

    def schedule(self, to: Task, cpu: int = 0, *, state: int = 256, **common: int) -> None:
        """The sched_switch alone: what follows lies in the switch window, under the old pid.

        ``common``: ``common_flags`` and ``common_preempt_count`` of its record.
        """
        prev = self._current[cpu]
        self.event(
            "sched_switch",
            cpu,
            prev_pid=prev.pid,
            prev_comm=prev.comm,
            prev_state=state,
            next_pid=to.pid,
            next_comm=to.comm,
            **common,
        )

    def switch_to(
        self, to: Task, cpu: int = 0, *, save: bool | None = None, restore: bool = True
    ) -> None:
        """__switch_to(): the rest of :meth:`switch`."""
        prev = self._current[cpu]
        if save is None:
            save = bool(prev.fpu) if self.eager else prev in self._live
        if save:
            flag = 1 if self.eager or self.generation == "G6" else 0
            self.fpu("regs_deactivated", cpu, flag=flag)
        self._live.discard(prev)
        if self.eager and to.fpu and restore:
            self.fpu("regs_activated", cpu, flag=1, of=to)
            self._acquire(to, cpu)
        self._current[cpu] = to

    def migrate(self, task: Task, to: int) -> None:
        """``task``, switched out before, is idle CPU ``to``'s next."""
        self.switch(task, to)

    # --- the registers -------------------------------------------------------------------------

    def restore(self, cpu: int = 0) -> None:
        """switch_fpu_return(): TIF_NEED_FPU_LOAD was set, registers are loaded (5.2 on)."""
        self.fpu("regs_activated", cpu, flag=1)
        self._acquire(self._current[cpu], cpu)

    def drop(self, cpu: int = 0) -> None:
        """fpu__drop() of the current task: exit, and until 5.7 exec and signal delivery."""
        pending = self._current[cpu] not in self._live
        self.fpu("regs_deactivated", cpu, flag=int(self.eager or pending))
        self.fpu("dropped", cpu, flag=int(not self.eager and pending))
        self._owner[cpu] = 0

    def _acquire(self, task: Task, cpu: int) -> None:
        self._owner[cpu] = task.fpu
        self._last[task] = cpu
        self._live.add(task)

    # --- KVM -----------------------------------------------------------------------------------

    def load(self, cpu: int = 0) -> None:
        """kvm_load_guest_fpu(): from 5.2 on fpregs_mark_activate() prints the swap."""
        self._swap(1, cpu)

    def put(self, cpu: int = 0) -> None:
        """kvm_put_guest_fpu()."""
        self._swap(0, cpu)

    def _swap(self, load: int, cpu: int) -> None:
        task = self._current[cpu]
        if not self.eager:
            self.fpu("regs_activated", cpu, flag=int(task not in self._live))
            self._acquire(task, cpu)
        self.event("kvm_fpu", cpu, load=load)

    def enter(self, cpu: int = 0, *, reload: bool = True) -> None:
        """vcpu_enter_guest(): the reload that is due, where the generation does it, and kvm_entry.

        A restore is elided when the CPU still holds the task's registers (fpregs_state_valid()).
        """
        task = self._current[cpu]
        valid = self._owner[cpu] == task.fpu and self._last.get(task) == cpu
        due = not self.eager and task not in self._live and not valid and reload
        if due and self.generation not in LATE_RELOAD:
            self.restore(cpu)
        self.event("kvm_entry", cpu, vcpu_id=1)
        if due and self.generation in LATE_RELOAD:
            self.restore(cpu)
        self._live.add(task)

    def leave(self, cpu: int = 0) -> None:
        """A VM exit that KVM handles itself."""
        self.event("kvm_exit", cpu)

    def run_guest(self, cpu: int = 0) -> None:
        """KVM_RUN begins, the guest runs and exits once."""
        self.load(cpu)
        self.enter(cpu)
        self.leave(cpu)

    def return_to_vmm(self, cpu: int = 0) -> None:
        """KVM_RUN ends: until 4.14.93 the put follows kvm_userspace_exit."""
        if self.generation == "G1":
            self.event("kvm_userspace_exit", cpu, reason=2)
            self.put(cpu)
        else:
            self.put(cpu)
            self.event("kvm_userspace_exit", cpu, reason=2)

    def write(self, path: Path) -> Path:
        """The recording, as trace.dat."""
        return self.writer.write(path)


Telling = Callable[[Story], None]


def tell(
    story: Telling, generation: str, folder: Path, *, forced: str | None = None, **how: Any
) -> Analysis:
    """Write ``story`` as this generation's kernel prints it, and analyse it; ``how``: Story's."""
    told = Story(generation, **how)
    story(told)
    return fputrace.analyze(told.write(folder / "trace.dat"), generation=forced)


# --- what an analysis says -------------------------------------------------------------------


def accused(analysis: Analysis) -> list[tuple[str, str, int | None, int]]:
    """(code, verdict, pid, count) of every finding that is not about the recording."""
    return [
        (f.code, f.verdict.value, f.pid, f.count)
        for f in analysis.findings
        if not f.code.startswith("FPU9")
    ]


def of(analysis: Analysis, code: str) -> list[Finding]:
    """Findings of one rule."""
    return [finding for finding in analysis.findings if finding.code == code]


def confirmed(analysis: Analysis, code: str) -> int:
    """How many occurrences of a rule are confirmed."""
    return sum(f.count for f in of(analysis, code) if f.verdict is Verdict.CONFIRMED)


def possible(analysis: Analysis, code: str) -> int:
    """How many occurrences of a rule are only possible."""
    return sum(f.count for f in of(analysis, code) if f.verdict is Verdict.POSSIBLE)


def row(analysis: Analysis, code: str) -> Coverage:
    """The coverage row of a rule."""
    (found,) = [found for found in analysis.coverage if found.code == code]
    return found


def answered(analysis: Analysis, code: str) -> bool:
    """Whether the recording answers a rule as far as tracepoints can."""
    (rule,) = [rule for rule in RULES if rule.code == code]
    found = row(analysis, code)
    # Ways that only probes open, or another event than the story has.
    closed = [route.shows for route in rule.routes if route.shows]
    limits = [why.partition(" (")[0] for why in found.why.split("; ")]
    return found.status is Status.CHECKED or (
        found.status is Status.PARTLY and all(why in closed for why in limits)
    )


def check_evidence(
    story: Telling,
    generation: str,
    folder: Path,
    code: str,
    needs: Collection[str],
    cpus: int = 1,
) -> None:
    """Without any one of ``needs`` (names of events) the rule is not decidable, and proves nothing.

    Without what could excuse it (``Rule.excuses``) what it finds is possible only.
    """
    whole = confirmed(tell(story, generation, folder, cpus=cpus), code)
    for name in needs:
        analysis = tell(story, generation, folder, cpus=cpus, without=name.split("|"))
        found = row(analysis, code)
        assert found.status is Status.NOT_DECIDABLE, (name, found)
        assert any(name.split("|")[0] in missing for missing in found.missing), (name, found)
        assert of(analysis, code) == [], name
    (rule,) = [rule for rule in RULES if rule.code == code]
    for event in rule.excuses:
        analysis = tell(story, generation, folder, cpus=cpus, without=[event.partition(":")[2]])
        assert (confirmed(analysis, code), possible(analysis, code)) == (0, whole), event
        assert event in row(analysis, code).why
        assert row(analysis, code).status is Status.PARTLY


def verdict_over_a_hole(story: Telling, generation: str, folder: Path, code: str) -> Verdict | None:
    """What is said of the story when events are lost in its midst: never ``confirmed``."""
    analysis = tell(story, generation, folder, hole=True)
    assert sum(loss.count or 0 for loss in analysis.losses) > 0, "the story has no moment()"
    assert row(analysis, code).status in (Status.PARTLY, Status.NOT_DECIDABLE)
    found = {finding.verdict for finding in of(analysis, code)}
    assert Verdict.CONFIRMED not in found
    return found.pop() if found else None
