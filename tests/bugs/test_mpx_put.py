"""docs/bugs/mpx-put.md: an INIT seen in KVM_GET_MP_STATE (f958bd2314d1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bugs.claims import page, said
from tests.rules.scenario import KTHREAD, VCPU, Story, tell

BUG = page("mpx-put")


def init_in_get_mp_state(s: Story, *, loads: bool) -> None:
    """kvm_arch_vcpu_ioctl_get_mpstate() -> kvm_apic_accept_events() -> kvm_vcpu_reset(), which
    puts the guest, clears MPX and loads it again; since the fix the ioctl loads and puts around
    that on MPX hosts (arch/x86/kvm/x86.c).  The old one leaves the guest loaded.
    """
    s.begin(VCPU)
    s.run_guest()
    s.return_to_vmm()
    if loads:
        s.load()
    s.put()
    s.load()
    if loads:
        s.put()
    s.run_guest()
    s.return_to_vmm()
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", sorted(BUG.generations))
def test_before(generation: str, tmp_path: Path) -> None:
    analysis = tell(lambda s: init_in_get_mp_state(s, loads=False), generation, tmp_path)
    assert said(analysis) == BUG.tracepoints == BUG.probes


def test_before_in_user_mode(tmp_path: Path) -> None:
    """The ioctl returns with the guest loaded; a system call after it shows that."""

    def story(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.return_to_vmm()
        s.put()
        s.load()
        s.event("sys_enter", id=16)
        s.run_guest()
        s.return_to_vmm()
        s.switch(KTHREAD)

    assert said(tell(story, "G2", tmp_path)) == {**BUG.tracepoints, "FPU110": "confirmed"}


@pytest.mark.parametrize(
    ("generation", "release"), [("G4c", "5.4.19"), ("G4c", "5.6.0"), ("G4d", "5.15.0")]
)
def test_after(generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: init_in_get_mp_state(s, loads=True), generation, tmp_path, kernel=release
    )
    assert said(analysis) == {}
