"""FPU101 by a kernel FPU section: kernel_fpu_begin() saves to thread.fpu as a switch does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.probed import ADDRESSES, BASE, ProbedStory, tell_probed
from tests.rules.scenario import HOG, KTHREAD, VCPU, accused, of
from tests.writers import EventSpec


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


@pytest.mark.parametrize("how", ["preempted", "section"])
@pytest.mark.parametrize("generation", ["G4c", "G4d"])
def test_a_save_before_the_load_takes_hold(generation: str, how: str, tmp_path: Path) -> None:
    """kvm_load_guest_fpu() is entered with preemption and softirqs on.

    What a switch or a section saves to thread.fpu then, kvm_save_current_fpu() copies to user_fpu.
    """
    load = EventSpec("mine", "load", ("unsigned long __probe_ip",))
    ADDRESSES["kvm_load_guest_fpu"] = BASE + 0x9000

    def story(s: ProbedStory) -> None:
        s.writer.kallsyms += f"{ADDRESSES['kvm_load_guest_fpu']:x} t kvm_load_guest_fpu\t[kvm]\n"
        s.switch(KTHREAD)
        s.begin(VCPU)
        for _ in range(4):
            s.event("load", __probe_ip=ADDRESSES["kvm_load_guest_fpu"] + 4)
            if how == "preempted":
                s.switch(HOG)
                s.restore()
                s.switch(VCPU)
            else:
                s.kernel_fpu()
            super(ProbedStory, s)._swap(1, 0)
            s.enter()
            s.switch(HOG)
            s.restore()
            s.switch(VCPU)
            s.enter()
            super(ProbedStory, s)._swap(0, 0)
            s.event("kvm_userspace_exit", reason=2)
            s.switch(HOG)
            s.restore()
            s.switch(VCPU)
            s.restore()
        s.switch(HOG)
        s.restore()
        s.switch(KTHREAD)

    assert of(tell_probed(story, generation, tmp_path, more=[load]), "FPU101") == []
