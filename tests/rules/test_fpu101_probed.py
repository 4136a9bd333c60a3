"""FPU101 by a kernel FPU section: kernel_fpu_begin() saves to thread.fpu as a switch does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.probed import ProbedStory, tell_probed
from tests.rules.scenario import HOG, KTHREAD, VCPU, accused, of


def section_in_kvm_run(s: ProbedStory) -> None:
    """The crc32c under get_user_pages() that f775b13eedee's message tells of."""
    s.switch(KTHREAD)
    s.begin(VCPU)
    s.run_guest()
    s.kernel_fpu()
    s.enter()
    s.return_to_vmm()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", ["G1", "G3", "G4a"])
def test_where_thread_fpu_is_the_vmms_own(generation: str, tmp_path: Path) -> None:
    analysis = tell_probed(section_in_kvm_run, generation, tmp_path)
    assert ("FPU101", "confirmed", VCPU.pid, 1) in accused(analysis)


@pytest.mark.parametrize("generation", ["G2", "G4x", "G4b", "G4c", "G4d"])
def test_by_design_elsewhere(generation: str, tmp_path: Path) -> None:
    assert of(tell_probed(section_in_kvm_run, generation, tmp_path), "FPU101") == []


@pytest.mark.parametrize("generation", ["G1", "G3", "G4a"])
def test_open_until_the_guest_is_entered_again(generation: str, tmp_path: Path) -> None:
    """The swap-out may have been done, with its kvm_fpu still to come."""

    def story(s: ProbedStory) -> None:
        s.switch(KTHREAD)
        s.begin(VCPU)
        s.run_guest()
        s.kernel_fpu()
        s.put()
        s.event("kvm_userspace_exit", reason=2)
        s.switch(HOG)
        s.switch(KTHREAD)

    analysis = tell_probed(story, generation, tmp_path)
    assert [(f.verdict.value, f.count) for f in of(analysis, "FPU101")] == [("possible", 1)]
