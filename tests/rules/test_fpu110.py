"""FPU110: the VMM runs in user mode on its guest's registers."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from tests.rules.scenario import (
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
NEEDS = ("kvm_fpu", "sched_switch", "sys_enter|page_fault_user")


def no_put(s: Story) -> None:
    """KVM_RUN returns to the VMM without kvm_put_guest_fpu(); two syscalls show user mode."""
    s.begin(VCPU)
    s.run_guest()
    s.moment()
    s.event("kvm_userspace_exit", reason=2)
    s.event("sys_enter", id=0)
    s.event("sys_enter", id=1)
    s.afterwards()
    s.return_to_vmm()
    s.run_guest()
    s.return_to_vmm()
    s.switch(KTHREAD)


def put_first(s: Story) -> None:
    """In G1 kvm_userspace_exit comes before the put: no proof of user mode."""
    s.begin(VCPU)
    for _ in range(2):
        s.event("sys_enter", id=16)
        s.run_guest()
        s.return_to_vmm()
        s.event("sys_exit", id=16)
        s.event("page_fault_user", address=0x1000)
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_put, generation, tmp_path)
    assert accused(analysis) == [("FPU110", "confirmed", VCPU.pid, 1)], "a stay counts once"


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent(generation: str, tmp_path: Path) -> None:
    analysis = tell(put_first, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU110")


def test_clean_recording_with_user_mode_events(samples: Path) -> None:
    analysis = fputrace.analyze(samples / "6.12-storm-usermode" / "trace.dat")
    assert answered(analysis, "FPU110")
    assert of(analysis, "FPU110") == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(no_put, generation, tmp_path, "FPU110", NEEDS)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(no_put, generation, tmp_path, "FPU110") is None


@pytest.mark.parametrize("generation", GENERATIONS)
def test_possible_when_no_kvm_fpu_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_put, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU110"), possible(analysis, "FPU110")) == (0, 1)
