"""docs/bugs/raw-save.md: what 5f409e20b794 made of kvm_put_guest_fpu() in 5.2."""

from __future__ import annotations

from pathlib import Path

import fputrace
from tests.bugs.claims import page, said
from tests.rules.scenario import HOG, VCPU, Story, confirmed, tell

BUG = page("raw-save")


def preempted_before_the_put(s: Story) -> None:
    """Two preemptions: one inside the run loop (the bug of 5.0), one between the last VM exit and
    kvm_put_guest_fpu(), which copies the CPU's registers as they are (5.2.1: arch/x86/kvm/x86.c).
    """
    s.begin(HOG)
    s.switch(VCPU)
    s.restore()
    s.run_guest()
    for last in (False, True):
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        if s.generation == "G4b":
            s.restore()  # kvm_sched_in() -> kvm_arch_vcpu_load() -> switch_fpu_return()
        if not last:
            s.enter()
            s.leave()
    s.event("sched_migrate_task", pid=HOG.pid)
    s.return_to_vmm()
    s.switch(HOG)
    s.restore()


def test_before(tmp_path: Path) -> None:
    analysis = tell(preempted_before_the_put, "G4a", tmp_path)
    assert said(analysis) == BUG.tracepoints == BUG.probes
    assert confirmed(analysis, "FPU111") == 1


def test_before_without_the_bug_of_5_0(tmp_path: Path) -> None:
    """5.2.4 has the VMM's image back in a buffer of its own, and the raw save still."""
    assert said(tell(preempted_before_the_put, "G4x", tmp_path)) == {"FPU111": "confirmed"}


def test_after_the_reload_at_sched_in(tmp_path: Path) -> None:
    assert said(tell(preempted_before_the_put, "G4b", tmp_path)) == {}


def test_after(tmp_path: Path) -> None:
    for release in ("5.4.19", "5.5.3", "5.10.0"):
        assert said(tell(preempted_before_the_put, "G4c", tmp_path, kernel=release)) == {}


def test_recording_before(samples: Path) -> None:
    analysis = fputrace.analyze(samples / "5.2.1-pinned" / "trace.dat")
    assert said(analysis).keys() == BUG.tracepoints.keys()
