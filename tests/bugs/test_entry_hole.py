"""docs/bugs/entry-hole.md: bug 206215, a softirq's FPU use between vcpu_load() and VM entry."""

from __future__ import annotations

from pathlib import Path

from fputrace.findings import Status
from tests.bugs.claims import page, said
from tests.rules.probed import ProbedStory, tell_probed
from tests.rules.scenario import HOG, KTHREAD, VCPU, row

BUG = page("entry-hole")


def softirq_before_entry(s: ProbedStory) -> None:
    """kernel_fpu_begin() sets TIF_NEED_FPU_LOAD after kvm_arch_vcpu_load() reloaded;
    vcpu_enter_guest() of 5.3.1 only warns of it, since 2620fe268e80 it reloads.
    """
    s.switch(KTHREAD)
    s.begin(VCPU)
    s.run_guest()
    s.kernel_fpu()
    s.enter(reload=s.generation != "G4b")
    s.leave()
    s.switch(HOG, save=s.generation != "G4b")
    s.restore()
    s.switch(VCPU)
    s.restore()
    s.enter()
    s.return_to_vmm()
    s.switch(HOG)
    s.restore()
    s.switch(KTHREAD)


def softirq_before_the_put(s: ProbedStory) -> None:
    """kvm_put_guest_fpu() saves what the softirq left (until kvm_save_current_fpu())."""
    s.switch(KTHREAD)
    s.begin(VCPU)
    s.run_guest()
    s.kernel_fpu()
    s.return_to_vmm()
    s.switch(HOG)
    s.restore()
    s.switch(KTHREAD)


def test_before(tmp_path: Path) -> None:
    entry = tell_probed(softirq_before_entry, "G4b", tmp_path)
    put = tell_probed(softirq_before_the_put, "G4b", tmp_path)
    assert {**said(entry), **said(put)} == BUG.probes


def test_before_without_the_probes(tmp_path: Path) -> None:
    unset = ["save", "begin", "begun", "end"]
    entry = tell_probed(softirq_before_entry, "G4b", tmp_path, unset=unset)
    assert said(entry) == {}
    assert row(entry, "FPU112").status is Status.NOT_DECIDABLE
    put = tell_probed(softirq_before_the_put, "G4b", tmp_path, unset=unset)
    assert said(put) == BUG.tracepoints


def test_after(tmp_path: Path) -> None:
    for story in (softirq_before_entry, softirq_before_the_put):
        for release in ("5.4.19", "5.5.3", "5.10.0"):
            assert said(tell_probed(story, "G4c", tmp_path, kernel=release)) == {}
