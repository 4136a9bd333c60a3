"""FPU103: the guest is entered while its FPU is not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.scenario import (
    HOG,
    KTHREAD,
    RELEASES,
    VCPU,
    Story,
    Telling,
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


def entered_after_the_put(s: Story) -> None:
    """kvm_load_guest_fpu() is left out of the second KVM_RUN."""
    s.begin(VCPU)
    s.run_guest()
    s.return_to_vmm()
    s.moment()
    s.enter()
    s.leave()
    s.afterwards()
    s.run_guest()
    s.return_to_vmm()
    s.switch(KTHREAD)


def two_runs(s: Story) -> None:
    s.begin(VCPU)
    for _ in range(2):
        s.run_guest()
        s.enter()
        s.leave()
        s.return_to_vmm()
    s.switch(KTHREAD)


def never_loaded(s: Story) -> None:
    """A vCPU thread forked in the recording enters its guest without any load."""
    s.begin(HOG)
    s.event("sys_enter", id=16)
    s.event("kvm_fpu", load=1)  # a VM of the parent's own: kvm_fpu is being recorded
    s.event("kvm_fpu", load=0)
    s.fpu("copy_dst", flag=0, of=VCPU)
    s.event("sched_process_fork", parent_pid=HOG.pid, child_pid=VCPU.pid)
    s.switch(VCPU)
    if not s.eager:
        s.restore()
    s.event("sys_enter", id=16)  # ioctl(KVM_RUN)
    s.enter()
    s.leave()
    s.run_guest()
    s.return_to_vmm()


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("story", [entered_after_the_put, never_loaded])
def test_fires(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert analysis.generation.code == generation
    assert accused(analysis) == [("FPU103", "confirmed", VCPU.pid, 1)]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent(generation: str, tmp_path: Path) -> None:
    analysis = tell(two_runs, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU103")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_where_the_state_is_unknown(generation: str, tmp_path: Path) -> None:
    """The recording begins inside KVM_RUN."""

    def story(s: Story) -> None:
        s.begin(VCPU)
        s.enter()
        s.leave()
        s.return_to_vmm()

    assert of(tell(story, generation, tmp_path), "FPU103") == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_possible_when_no_kvm_fpu_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(entered_after_the_put, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU103"), possible(analysis, "FPU103")) == (0, 1)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    needs = ("kvm_fpu", "kvm_entry", "sched_switch")
    check_evidence(entered_after_the_put, generation, tmp_path, "FPU103", needs)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(entered_after_the_put, generation, tmp_path, "FPU103") is None
