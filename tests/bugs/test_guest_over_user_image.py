"""docs/bugs/guest-over-user-image.md: 240c35a3783a, 5.0.0 to 5.1.20 and 5.2.0 to 5.2.3."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from tests.bugs.claims import page, said
from tests.rules.scenario import HOG, VCPU, Story, of, tell

BUG = page("guest-over-user-image")
RELEASES = [("G3", "5.0.1"), ("G3", "5.1.20"), ("G4a", "5.2.0"), ("G4a", "5.2.3")]
REVERTED = [("G2", "5.1.21"), ("G4x", "5.2.4"), ("G2", "4.20.0"), ("G4b", "5.3.1")]
VENDORS = [("G3", "5.0.0-23-generic"), ("G4a", "5.2.3-arch1-1")]


def preempted_in_kvm_run(s: Story) -> None:
    """switch_fpu_prepare() saves to current->thread.fpu, where kvm_load_guest_fpu() of 5.0.1 and
    5.2.1 left the VMM's registers (arch/x86/kvm/x86.c).
    """
    s.begin(HOG)
    s.switch(VCPU)
    if not s.eager:
        s.restore()
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    if s.generation == "G4b":
        s.restore()  # kvm_arch_vcpu_load()
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.switch(HOG)
    if not s.eager:
        s.restore()


@pytest.mark.parametrize(("generation", "release"), RELEASES)
def test_before(generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(preempted_in_kvm_run, generation, tmp_path, kernel=release)
    assert analysis.generation.code == generation
    assert said(analysis) == BUG.tracepoints == BUG.probes
    assert "current->thread.fpu" in of(analysis, "FPU101")[0].message


@pytest.mark.parametrize(("generation", "release"), REVERTED)
def test_after(generation: str, release: str, tmp_path: Path) -> None:
    assert said(tell(preempted_in_kvm_run, generation, tmp_path, kernel=release)) == {}


@pytest.mark.parametrize(("generation", "release"), VENDORS)
def test_where_a_vendor_may_carry_the_revert(generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(preempted_in_kvm_run, generation, tmp_path, kernel=release)
    assert said(analysis) == {"FPU101": "possible"}
    assert "where this is normal" in of(analysis, "FPU101")[0].message
    forced = tell(preempted_in_kvm_run, generation, tmp_path, kernel=release, forced=generation)
    assert said(forced) == BUG.tracepoints


def test_recording_before(samples: Path) -> None:
    found = said(fputrace.analyze(samples / "5.2.1-pinned" / "trace.dat"))
    assert found["FPU101"] == BUG.tracepoints["FPU101"]
