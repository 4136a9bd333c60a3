"""docs/bugs/double-save.md: two saves and two restores at every sched-out of a vCPU."""

from __future__ import annotations

from pathlib import Path

import fputrace
from tests.bugs.claims import page, said
from tests.rules.scenario import HOG, VCPU, Story, confirmed, tell

BUG = page("double-save")


def preempted_in_kvm_run(s: Story) -> None:
    """kvm_sched_out() -> kvm_arch_vcpu_put() -> kvm_put_guest_fpu(), then switch_fpu_prepare()
    (4.14.5: virt/kvm/kvm_main.c, arch/x86/kvm/x86.c, arch/x86/include/asm/fpu/internal.h); since
    f775b13eedee kvm_arch_vcpu_put() leaves the FPU alone.
    """
    s.begin(HOG)
    s.switch(VCPU)
    s.run_guest()
    if s.generation == "G1":
        s.schedule(HOG)
        s.put()
        s.switch_to(HOG)
        s.switch(VCPU)
        s.load()
    else:
        s.switch(HOG)
        s.switch(VCPU)
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.switch(HOG)


def test_before(tmp_path: Path) -> None:
    analysis = tell(preempted_in_kvm_run, "G1", tmp_path)
    assert said(analysis) == BUG.tracepoints == BUG.probes
    assert confirmed(analysis, "FPU201") == 1


def test_after(tmp_path: Path) -> None:
    for release in ("4.14.94", "4.15.0", "4.19.0"):
        assert said(tell(preempted_in_kvm_run, "G2", tmp_path, kernel=release)) == {}


def test_recordings_before_and_after(samples: Path) -> None:
    assert said(fputrace.analyze(samples / "4.14.5-pinned" / "trace.dat")) == BUG.tracepoints
    assert said(fputrace.analyze(samples / "4.14.177-pinned" / "trace.dat")) == {}
