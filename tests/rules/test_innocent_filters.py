"""Recordings that a filter thinned out: what it left out is no fault of the kernel.

A filter of tasks (``set_event_pid``) keeps a sched_switch from or to a chosen task, and of all else
what happens while ``ignore_pid`` of that CPU is clear, which each sched_switch sets by the
*incoming* task (kernel/trace/trace_events.c).  A filter of an event looks at its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.findings import Analysis, Status
from tests.rules.scenario import HOG, OTHER, RELEASES, VCPU, Story, Task, accused, row
from tests.rules.test_lives import CHILD

Keep = Callable[[str, int, dict[str, Any]], bool]
"""Event, common_pid and fields -> whether it is recorded."""


class Filtered(Story):
    """A story of which only what ``keep`` chooses is recorded, in order of time."""

    def __init__(self, generation: str, keep: Keep) -> None:
        super().__init__(generation)
        self._keep = keep

    def event(self, name: str, cpu: int = 0, by: int | None = None, /, **fields: Any) -> None:
        """One event, if the filter lets it through."""
        who = self._current[cpu].pid if by is None else by
        if self._keep(name, who, fields):
            super().event(name, cpu, by, **fields)
        else:
            self._now += 1000


def tasks(*chosen: Task) -> Keep:
    """``set_event_pid`` of these tasks, on the one CPU of the story."""
    pids = {task.pid for task in chosen}
    on = {"cpu": 0}

    def keep(name: str, _who: int, fields: dict[str, Any]) -> bool:
        if name != "sched_switch":
            return on["cpu"] in pids
        on["cpu"] = fields["next_pid"]
        return bool({fields["prev_pid"], fields["next_pid"]} & pids)

    return keep


def printed_by(start: str, *chosen: Task) -> Keep:
    """``common_pid == ...`` as the filter of some events."""
    pids = {task.pid for task in chosen}
    return lambda name, who, _fields: who in pids or not name.startswith(start)


def only(event: str, field: str, value: int) -> Keep:
    """``field == value`` as the filter of one event."""
    return lambda name, _who, fields: name != event or fields[field] == value


def told(story: Callable[[Story], None], generation: str, keep: Keep, folder: Path) -> Analysis:
    made = Filtered(generation, keep)
    story(made)
    return fputrace.analyze(made.write(folder / "trace.dat"))


def confirmed(analysis: Analysis) -> set[str]:
    return {code for code, verdict, _pid, _count in accused(analysis) if verdict == "confirmed"}


SHIPPED = {"G1": {"FPU201"}, "G3": {"FPU101"}, "G4a": {"FPU101"}}
"""What 4.14.5, 5.0.1 and 5.2.1 did wrong themselves."""


def on_cpu(s: Story, task: Task) -> None:
    """A switch, and the way back to user mode."""
    s.switch(task)
    if not s.eager:
        s.restore()


def between(s: Story) -> None:
    """OTHER runs between chosen tasks."""
    s.begin(HOG)
    for _ in range(3):
        for task in (VCPU, OTHER, HOG, OTHER, VCPU, HOG):
            on_cpu(s, task)


def forks(s: Story) -> None:
    """HOG forks a child, which goes to user mode as it should."""
    s.begin(HOG)
    on_cpu(s, VCPU)
    on_cpu(s, HOG)
    s.fpu("copy_dst", flag=0, of=CHILD)
    s.event("sched_process_fork", parent_pid=HOG.pid, child_pid=CHILD.pid)
    for _ in range(3):
        on_cpu(s, CHILD)
        for name in ("sys_enter", "sys_exit", "sys_enter"):
            s.event(name, id=1)
        for task in (HOG, VCPU, HOG):
            on_cpu(s, task)


def guests(s: Story) -> None:
    """HOG, which has a VM of its own, forks a vCPU thread; both run guests."""
    s.begin(HOG)
    s.load()
    s.put()
    s.fpu("copy_dst", flag=0, of=VCPU)
    s.event("sched_process_fork", parent_pid=HOG.pid, child_pid=VCPU.pid)
    for _ in range(3):
        on_cpu(s, VCPU)
        s.event("sys_enter", id=16)
        s.run_guest()
        s.schedule(HOG)
        if s.generation == "G1":
            s.put()  # kvm_sched_out()
        s.switch_to(HOG)
        if not s.eager:
            s.restore()
        s.event("sys_enter", id=16)
        s.load()
        s.put()
        s.event("sys_exit", id=16)
        s.switch(VCPU)
        if s.generation == "G1":
            s.load()
        s.enter()
        s.leave()
        s.return_to_vmm()
        s.event("sys_exit", id=16)
        s.event("sys_enter", id=1)
        on_cpu(s, HOG)
        s.event("sys_enter", id=1)


def turns(s: Story) -> None:
    """OTHER gives way to the vCPU thread, or to HOG, which does so."""
    s.begin(HOG)
    for _ in range(3):
        for task in (OTHER, VCPU, OTHER, HOG, VCPU):
            on_cpu(s, task)
            if task is VCPU:
                s.event("sys_enter", id=16)
                s.run_guest()
                s.return_to_vmm()
                s.event("sys_exit", id=16)
    on_cpu(s, OTHER)


FILTERS = {
    "set_event_pid": lambda: tasks(VCPU, HOG),
    "x86_fpu of HOG": lambda: printed_by("x86_fpu", HOG),
    "x86_fpu of VCPU": lambda: printed_by("x86_fpu", VCPU),
    "activations of HOG": lambda: printed_by("x86_fpu_regs_activated", HOG),
    "activations of OTHER": lambda: printed_by("x86_fpu_regs_activated", OTHER),
    "activations of VCPU": lambda: printed_by("x86_fpu_regs_activated", VCPU),
    "kvm_fpu of HOG": lambda: printed_by("kvm_fpu", HOG),
    "kvm_fpu load": lambda: only("kvm_fpu", "load", 1),
    "kvm_fpu unload": lambda: only("kvm_fpu", "load", 0),
    "activations that restore nothing": lambda: only("x86_fpu_regs_activated", "flag", 0),
}
"""A filter as people set it -> a fresh one."""


@pytest.mark.parametrize("story", [between, forks, guests, turns])
@pytest.mark.parametrize("how", FILTERS)
@pytest.mark.parametrize("generation", RELEASES)
def test_a_filter_proves_nothing(
    generation: str, how: str, story: Callable[[Story], None], tmp_path: Path
) -> None:
    analysis = told(story, generation, FILTERS[how](), tmp_path)
    assert confirmed(analysis) <= SHIPPED.get(generation, set()), accused(analysis)


def test_it_is_said_what_may_have_been_left_out(tmp_path: Path) -> None:
    """The same sequence whole is the fault itself, so it is not silent either."""
    (finding,) = told(between, "G5", tasks(VCPU, HOG), tmp_path).findings
    assert (finding.code, finding.pid, finding.verdict.value) == ("FPU104", OTHER.pid, "possible")
    assert "set_event_pid" in finding.message


def test_an_eager_kernel_restored_another_of_that_number(tmp_path: Path) -> None:
    """The number of a thread that ended unseen is a new vCPU thread's, before its first save."""
    again = Task(VCPU.pid, VCPU.comm, VCPU.fpu + 0x10000)

    def story(s: Story) -> None:
        s.begin(HOG)
        for _ in range(2):
            s.switch(VCPU)
            s.run_guest()
            s.return_to_vmm()
            s.switch(HOG)
        s.switch(again)
        s.run_guest()
        s.switch(HOG)

    for generation in ("G2", "G3"):
        assert confirmed(told(story, generation, lambda *_: True, tmp_path)) == set(), generation


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("generation", ["G2", "G4c", "G6"])
def test_a_cpu_that_is_masked(generation: str, version: int, tmp_path: Path) -> None:
    """``tracing_cpumask``: KVM_RUN ends on CPU 1; version 7 lists CPUs with data only."""
    s = Story(generation, cpus=2)
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)  # back from CPU 1
    if not s.eager:
        s.restore()
    s.run_guest()
    s.return_to_vmm()
    s.switch(HOG)
    made = s.writer.file()
    if version == 7:
        del made.buffers[0].cpus[1]
    path = tmp_path / "trace.dat"
    path.write_bytes(made.to_bytes(version))
    analysis = fputrace.analyze(path)
    assert analysis.trace.cpus == [0, 1]
    assert accused(analysis) == []
    said = row(analysis, "FPU108")
    assert said.status is Status.PARTLY
    assert said.why.startswith("CPU 1 showed no event")
