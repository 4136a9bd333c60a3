"""FPU105: user mode is reached with another task's registers."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Status
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    KTHREAD,
    OTHER,
    Story,
    Telling,
    accused,
    answered,
    check_evidence,
    confirmed,
    of,
    possible,
    row,
    tell,
    verdict_over_a_hole,
)

NEEDS = ("x86_fpu_regs_activated", "sched_switch", "page_fault_user|sys_enter")


def no_switch_fpu_return(s: Story) -> None:
    """exit_to_user_mode does not call switch_fpu_return(); user mode then faults twice."""
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.moment()
    s.switch(OTHER)
    s.event("page_fault_user", address=0x1000)
    s.event("page_fault_user", address=0x2000)
    s.afterwards()
    s.switch(HOG, save=False)
    s.restore()


def syscalls(s: Story) -> None:
    """The same, shown by a syscall: the second one of the stay, since user mode lies between."""
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.event("sys_exit", id=0)
    s.event("sys_enter", id=1)
    s.switch(HOG, save=False)
    s.restore()


def first_syscall_of_the_stay(s: Story) -> None:
    """Preempted between the syscall's entry and its tracepoint: user mode was on the other stay."""
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.event("sys_enter", id=1)
    s.restore()
    s.switch(HOG)
    s.restore()


def restored_first(s: Story) -> None:
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.event("sys_exit", id=0)
    s.restore()
    s.event("page_fault_user", address=0x1000)
    s.event("sys_enter", id=1)
    s.switch(HOG)
    s.restore()


def elided(s: Story) -> None:
    """A kernel thread ran in between, the registers are still valid."""
    s.begin(OTHER)
    s.switch(KTHREAD)
    s.switch(OTHER)
    s.event("page_fault_user", address=0x1000)
    s.switch(HOG, save=True)
    s.restore()


def exec_pending(s: Story) -> None:
    """A fault of the loader while exec has thrown the registers away (fpu_flush_thread())."""
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.event("sched_process_exec", pid=OTHER.pid)
    s.event("page_fault_user", address=0x1000)
    s.restore()
    s.switch(HOG)
    s.restore()


@pytest.mark.parametrize("generation", DEFERRED)
@pytest.mark.parametrize("story", [no_switch_fpu_return, syscalls])
def test_fires(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert accused(analysis) == [("FPU105", "confirmed", OTHER.pid, 1)], "a stay counts once"
    assert "fphog (91)" in of(analysis, "FPU105")[0].message


@pytest.mark.parametrize("generation", DEFERRED)
@pytest.mark.parametrize("story", [first_syscall_of_the_stay, restored_first, elided, exec_pending])
def test_silent(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU105")


def test_clean_recording_with_user_mode_events(samples: Path) -> None:
    analysis = fputrace.analyze(samples / "6.12-storm-usermode" / "trace.dat")
    assert answered(analysis, "FPU105")
    assert of(analysis, "FPU105") == []


@pytest.mark.parametrize("generation", ["G1", "G2", "G3"])
def test_not_a_rule_of_eager_kernels(generation: str, tmp_path: Path) -> None:
    analysis = tell(restored_first, generation, tmp_path)
    assert row(analysis, "FPU105").status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("generation", DEFERRED)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(no_switch_fpu_return, generation, tmp_path, "FPU105", NEEDS)


@pytest.mark.parametrize("generation", DEFERRED)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(no_switch_fpu_return, generation, tmp_path, "FPU105") is None


@pytest.mark.parametrize("generation", DEFERRED)
def test_possible_when_no_activation_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_switch_fpu_return, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU105"), possible(analysis, "FPU105")) == (0, 1)
