"""FPU109: the guest FPU is put although it is not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.scenario import (
    KTHREAD,
    RELEASES,
    VCPU,
    Story,
    Telling,
    accused,
    answered,
    check_evidence,
    tell,
    verdict_over_a_hole,
)

GENERATIONS = tuple(code for code in RELEASES if code != "G2x")


def put_in_get_mp_state(s: Story) -> None:
    """f958bd2314d1: on an MPX host KVM_GET_MP_STATE sees an INIT, and kvm_vcpu_reset() puts a
    guest FPU that no KVM_RUN had loaded.
    """
    s.begin(VCPU)
    s.run_guest()
    s.return_to_vmm()
    s.moment()
    s.put()
    s.load()
    s.put()
    s.switch(KTHREAD)


def get_mp_state_since(s: Story) -> None:
    """After it the ioctl loads and puts by itself, with no KVM_RUN around."""
    s.begin(VCPU)
    s.run_guest()
    s.return_to_vmm()
    s.load()
    s.put()
    s.load()
    s.put()
    s.switch(KTHREAD)


def begins_inside_kvm_run(s: Story) -> None:
    """The first kvm_fpu of a thread is an unload: its load was before the recording."""
    s.begin(VCPU)
    s.leave()
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.run_guest()
    s.return_to_vmm()
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(put_in_get_mp_state, generation, tmp_path)
    assert analysis.generation.code == generation
    assert accused(analysis) == [("FPU109", "confirmed", VCPU.pid, 1)]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("story", [get_mp_state_since, begins_inside_kvm_run])
def test_silent(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU109")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    needs = ("kvm_fpu", "sched_switch")
    check_evidence(put_in_get_mp_state, generation, tmp_path, "FPU109", needs)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(put_in_get_mp_state, generation, tmp_path, "FPU109") is None
