"""FPU108: the guest FPU is loaded although it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.scenario import (
    HOG,
    KTHREAD,
    RELEASES,
    VCPU,
    Story,
    accused,
    answered,
    check_evidence,
    confirmed,
    of,
    possible,
    tell,
    verdict_over_a_hole,
)

GENERATIONS = tuple(code for code in RELEASES if code != "G2x")


def loaded_twice(s: Story) -> None:
    """The 4.14.94 backport of f775b13eedee: a second kvm_load_guest_fpu() in KVM_RUN."""
    s.begin(VCPU)
    s.load()
    s.moment()
    s.load()
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.switch(KTHREAD)


def init_in_kvm_run(s: Story) -> None:
    """kvm_vcpu_reset(init_event) puts the guest and loads it again: every load has its put."""
    s.begin(VCPU)
    s.run_guest()
    s.put()
    s.load()
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.switch(KTHREAD)


def pid_used_again(s: Story) -> None:
    """A vCPU thread is killed inside KVM_RUN; its pid becomes another VM's vCPU."""
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.event("sched_process_free", pid=VCPU.pid)
    s.fpu("copy_dst", flag=0, of=VCPU)
    s.event("sched_process_fork", parent_pid=HOG.pid, child_pid=VCPU.pid)
    s.switch(VCPU)
    if not s.eager:
        s.restore()
    s.run_guest()
    s.return_to_vmm()
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(loaded_twice, generation, tmp_path)
    assert analysis.generation.code == generation
    assert accused(analysis) == [("FPU108", "confirmed", VCPU.pid, 1)]


def test_4_14_94_as_released(tmp_path: Path) -> None:
    """Two loads, two puts in every KVM_RUN."""

    def story(s: Story) -> None:
        s.begin(VCPU)
        for _ in range(3):
            s.load()
            s.run_guest()
            s.put()
            s.return_to_vmm()
        s.switch(KTHREAD)

    analysis = tell(story, "G2x", tmp_path)
    assert analysis.generation.code in ("G2", "G2x")
    assert confirmed(analysis, "FPU108") == 3
    assert confirmed(analysis, "FPU109") == 3


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent(generation: str, tmp_path: Path) -> None:
    analysis = tell(init_in_kvm_run, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU108")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_for_another_task_of_the_same_pid(generation: str, tmp_path: Path) -> None:
    assert of(tell(pid_used_again, generation, tmp_path), "FPU108") == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(loaded_twice, generation, tmp_path, "FPU108", ("kvm_fpu", "sched_switch"))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(loaded_twice, generation, tmp_path, "FPU108") is None


def test_possible_in_a_trace_with_gaps(tmp_path: Path) -> None:
    """An event of a task that the CPU does not run: a pid filter, or tracing was toggled."""

    def story(s: Story) -> None:
        loaded_twice(s)
        s.event("kvm_exit", 0, HOG.pid)
        s.switch(VCPU)

    analysis = tell(story, "G5", tmp_path)
    assert (confirmed(analysis, "FPU108"), possible(analysis, "FPU108")) == (0, 1)
