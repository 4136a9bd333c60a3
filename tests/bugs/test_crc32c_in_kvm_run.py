"""docs/bugs/crc32c-in-kvm-run.md: kernel_fpu_begin() inside KVM_RUN."""

from __future__ import annotations

from pathlib import Path

from fputrace.findings import Status
from tests.bugs.claims import page, said
from tests.rules.probed import ProbedStory, tell_probed
from tests.rules.scenario import HOG, VCPU, row

BUG = page("crc32c-in-kvm-run")


def page_fault_exit(s: ProbedStory) -> None:
    """handle_exit() -> get_user_pages() -> reclaim -> dm-bufio -> crc32c: __kernel_fpu_begin()
    saves to current->thread.fpu (4.14.5: arch/x86/kernel/fpu/core.c).
    """
    s.begin(HOG)
    s.switch(VCPU)
    s.run_guest()
    s.kernel_fpu()
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.switch(HOG)
    s.switch(VCPU)


def test_before(tmp_path: Path) -> None:
    assert said(tell_probed(page_fault_exit, "G1", tmp_path)) == BUG.probes


def test_before_without_the_probe(tmp_path: Path) -> None:
    """Nothing is found, and the coverage says what that is worth."""
    analysis = tell_probed(page_fault_exit, "G1", tmp_path, unset=["begin", "begun", "end"])
    assert said(analysis) == BUG.tracepoints == {}
    found = row(analysis, "FPU101")
    assert found.status is Status.PARTLY
    assert "kernel_fpu_begin() inside KVM_RUN saves there too" in found.why


def test_after(tmp_path: Path) -> None:
    for release in ("4.14.94", "4.15.0", "4.19.0"):
        assert said(tell_probed(page_fault_exit, "G2", tmp_path, kernel=release)) == {}
