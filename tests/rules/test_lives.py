"""Faults at fork, exec, signals and by a debugger's hand, and their innocent neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.findings import Status
from tests.rules.probed import ADDRESSES, BASE, ProbedStory, tell_probed
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    KTHREAD,
    OTHER,
    VCPU,
    Story,
    Task,
    Telling,
    accused,
    of,
    row,
    tell,
)
from tests.writers import EventSpec

CHILD = Task(201, "child", 0xFFFF8880B7D40880)
NEW_KTHREAD = Task(202, "kworker/9:1", 0xFFFF8880B7D50880)
MSR = EventSpec("kvm", "kvm_msr", ("u32 write", "u32 ecx", "u64 data", "u8 exc"))


def settles(s: Story) -> None:
    """Everything shows again afterwards."""
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.restore()
    s.switch(KTHREAD)


def born(s: Story) -> None:
    """OTHER forks CHILD (fpu_clone())."""
    s.begin(HOG)
    s.switch(OTHER)
    s.restore()
    s.fpu("copy_dst", flag=0, of=CHILD)
    s.event("sched_process_fork", parent_pid=OTHER.pid, child_pid=CHILD.pid, child_comm="child")


def child_saved(s: Story) -> None:
    """ret_from_fork() without switch_fpu_return(): the child keeps what it finds."""
    born(s)
    s.switch(CHILD)
    s.moment()
    s.event("sched_migrate_task", pid=KTHREAD.pid)
    s.switch(HOG, save=True)
    s.restore()
    s.switch(CHILD)
    s.restore()  # its activations are recorded
    s.switch(OTHER)
    s.restore()
    s.switch(KTHREAD)


def child_in_user_mode(s: Story) -> None:
    born(s)
    s.switch(CHILD)
    s.moment()
    s.event("sys_enter", id=1)
    s.switch(HOG, save=False)
    s.restore()
    s.switch(CHILD)
    s.restore()  # its events are recorded
    settles(s)


def exec_leaks(s: Story) -> None:
    """No restore between fpu_flush_thread() and user mode of the new program."""
    s.begin(HOG)
    s.switch(OTHER)
    s.restore()
    s.event("sys_enter", id=59)
    s.event("sched_process_exec", pid=OTHER.pid, old_pid=OTHER.pid)
    s.moment()
    s.event("sys_exit", id=59)
    s.event("page_fault_user", address=1)
    settles(s)


def handler_not_cleared(s: Story) -> None:
    """handle_signal() without fpu__clear_user_states()."""
    s.begin(HOG)
    s.switch(OTHER)
    s.restore()
    s.event("signal_deliver", sig=14, sa_handler=0x401000)
    s.moment()
    s.event("sys_enter", id=15)
    settles(s)


def kthread_owns(s: Story) -> None:
    """A thread of kthreadd's restores registers that it does not have."""
    s.begin(HOG)
    s.schedule(Task(2, "kthreadd", 0))
    s.switch_to(Task(2, "kthreadd", 0))
    s.event("sched_process_fork", parent_pid=2, child_pid=NEW_KTHREAD.pid, child_comm="kworker")
    s.switch(NEW_KTHREAD)
    s.moment()
    s.restore()
    s.switch(HOG, save=False)
    s.restore()
    settles(s)


def sigframe(s: Story) -> None:
    s.begin(HOG)
    s.switch(OTHER)
    s.restore()
    s.fpu("xstate_check_failed", flag=0)
    settles(s)


def xfd(s: Story) -> None:
    s.begin(HOG)
    s.begin(VCPU)
    s.run_guest()
    s.event("kvm_msr", write=1, ecx=0x1C4, data=1 << 2)
    s.enter()
    s.moment()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.enter()
    s.return_to_vmm()
    settles(s)


FAULTS = [
    (child_saved, "FPU114", CHILD, "confirmed"),
    (child_in_user_mode, "FPU114", CHILD, "confirmed"),
    (exec_leaks, "FPU115", OTHER, "confirmed"),
    (handler_not_cleared, "FPU116", OTHER, "possible"),
    (kthread_owns, "FPU117", NEW_KTHREAD, "confirmed"),
    (sigframe, "FPU120", OTHER, "confirmed"),
]
NAMES = [story.__name__ for story, *_ in FAULTS]


@pytest.mark.parametrize("generation", DEFERRED)
@pytest.mark.parametrize(("story", "code", "task", "verdict"), FAULTS, ids=NAMES)
def test_fires(
    story: Telling, code: str, task: Task, verdict: str, generation: str, tmp_path: Path
) -> None:
    analysis = tell(story, generation, tmp_path)
    assert (code, verdict, task.pid, 1) in accused(analysis)
    assert {found for found, *_ in accused(analysis)} <= {code, "FPU104", "FPU105"}


@pytest.mark.parametrize("generation", ["G5", "G6"])
def test_xfd(generation: str, tmp_path: Path) -> None:
    analysis = tell(xfd, generation, tmp_path, extra_events=[MSR])
    assert accused(analysis) == [("FPU119", "possible", VCPU.pid, 1)]
    unseen = tell(xfd, generation, tmp_path, without=["kvm_msr"])
    assert row(unseen, "FPU119").status is Status.NOT_DECIDABLE


@pytest.mark.parametrize("generation", ["G4c", "G5", "G6"])
@pytest.mark.parametrize(("story", "code", "_task", "_verdict"), FAULTS[:5], ids=NAMES[:5])
def test_nothing_is_proven_over_a_hole(
    story: Telling, code: str, _task: Task, _verdict: str, generation: str, tmp_path: Path
) -> None:
    analysis = tell(story, generation, tmp_path, hole=True)
    assert analysis.losses
    assert all(f.verdict.value == "possible" for f in of(analysis, code))


EVIDENCE = [
    (child_saved, "FPU114", "sched_process_fork"),
    (child_saved, "FPU114", "x86_fpu_regs_activated"),
    (exec_leaks, "FPU115", "sched_process_exec"),
    (handler_not_cleared, "FPU116", "signal_deliver"),
    (kthread_owns, "FPU117", "sched_process_fork"),
    (kthread_owns, "FPU117", "sched_process_exec"),
    (sigframe, "FPU120", "x86_fpu_xstate_check_failed"),
]


@pytest.mark.parametrize(("story", "code", "event"), EVIDENCE)
def test_without_its_evidence(story: Telling, code: str, event: str, tmp_path: Path) -> None:
    analysis = tell(story, "G5", tmp_path, without=[event])
    assert of(analysis, code) == []
    assert row(analysis, code).status is Status.NOT_DECIDABLE


def forks_and_execs(s: Story) -> None:
    """As every shell does it, with all the restores that are due."""
    born(s)
    s.switch(CHILD)
    s.restore()
    s.event("sys_enter", id=59)
    s.event("sched_process_exec", pid=CHILD.pid, old_pid=CHILD.pid)
    s.restore()
    s.event("page_fault_user", address=1)
    s.event("signal_deliver", sig=14, sa_handler=0x401000)
    s.restore()
    s.event("sys_enter", id=15)
    s.event("signal_deliver", sig=17, sa_handler=1)  # SIG_IGN: no handler
    s.event("sys_enter", id=60)
    s.event("sched_process_exit", pid=CHILD.pid)
    s.drop()
    s.switch(HOG, save=False)
    s.restore()
    settles(s)


def child_dies_at_once(s: Story) -> None:
    """An exit's deactivation is none of a switch."""
    born(s)
    s.switch(CHILD)
    s.drop()
    s.switch(HOG, save=False)
    s.restore()
    settles(s)


@pytest.mark.parametrize("generation", DEFERRED)
@pytest.mark.parametrize("story", [forks_and_execs, child_dies_at_once])
def test_silent(story: Telling, generation: str, tmp_path: Path) -> None:
    assert accused(tell(story, generation, tmp_path)) == []


def test_a_flush_before_the_exec_is_printed_is_enough(tmp_path: Path) -> None:
    """fpu__clear() loads initial registers before sched_process_exec (until 5.13)."""

    def story(s: Story) -> None:
        s.begin(HOG)
        s.switch(OTHER)
        s.restore()
        s.event("sys_enter", id=59)
        s.restore()
        s.event("sched_process_exec", pid=OTHER.pid, old_pid=OTHER.pid)
        s.event("page_fault_user", address=1)
        settles(s)

    for generation in ("G4a", "G4b", "G4c", "G4d"):
        assert of(tell(story, generation, tmp_path), "FPU115") == []


def debugger(s: ProbedStory, *, restored: bool) -> None:
    """HOG's debugger writes OTHER's registers."""
    s.begin(HOG)
    s.switch(OTHER)
    s.restore()
    s.switch(HOG)
    s.restore()
    s.event("write", __probe_ip=ADDRESSES["fpu_force_restore"] + 4, target=OTHER.fpu)
    s.switch(OTHER)
    if restored:
        s.restore()
    s.event("sched_migrate_task", pid=KTHREAD.pid)
    s.switch(HOG, save=True)
    s.restore()
    settles(s)


@pytest.mark.parametrize("restored", [True, False])
@pytest.mark.parametrize("generation", DEFERRED)
def test_what_a_debugger_wrote(generation: str, restored: bool, tmp_path: Path) -> None:
    ADDRESSES["fpu_force_restore"] = BASE + 0x8000
    probe = EventSpec("mine", "write", ("unsigned long __probe_ip", "u64 target"))

    def story(s: ProbedStory) -> None:
        s.writer.kallsyms += f"{ADDRESSES['fpu_force_restore']:x} T fpu_force_restore\n"
        debugger(s, restored=restored)

    analysis = tell_probed(story, generation, tmp_path, more=[probe])
    expected = [] if restored else [("confirmed", OTHER.pid, 1)]
    assert [(f.verdict.value, f.pid, f.count) for f in of(analysis, "FPU118")] == expected


def test_lazily_loaded_registers(tmp_path: Path) -> None:
    """4.13 and older: an activation in the middle of a stay."""

    def story(s: Story) -> None:
        s.begin(HOG)
        s.event("sched_migrate_task", pid=KTHREAD.pid)
        s.fpu("regs_activated", flag=1)
        s.switch(OTHER)
        s.event("sys_enter", id=1)
        s.switch(KTHREAD)

    analysis = tell(story, "G1", tmp_path, kernel="4.9.0")
    assert analysis.generation.code == "G0"
    assert [f.verdict.value for f in of(analysis, "FPU121")] == ["possible"]
