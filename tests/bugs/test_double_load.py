"""docs/bugs/double-load.md: the 4.14.94 backport."""

from __future__ import annotations

from pathlib import Path

import fputrace
from tests.bugs.claims import page, said
from tests.rules.scenario import KTHREAD, VCPU, Story, confirmed, tell

BUG = page("double-load")
RUNS = 3


def kvm_runs(s: Story) -> None:
    """kvm_arch_vcpu_ioctl_run() of 4.14.94: 5663d8f9bbe4's load at its start, and one more from
    f775b13eedee; kvm_put_guest_fpu() twice at its end.
    """
    s.begin(VCPU)
    for _ in range(RUNS):
        if s.generation == "G2x":
            s.load()
        s.run_guest()
        if s.generation == "G2x":
            s.put()
        s.return_to_vmm()
    s.switch(KTHREAD)


def test_before(tmp_path: Path) -> None:
    analysis = tell(kvm_runs, "G2x", tmp_path)
    assert said(analysis) == BUG.tracepoints == BUG.probes
    assert (confirmed(analysis, "FPU108"), confirmed(analysis, "FPU109")) == (RUNS, RUNS)
    assert set(analysis.generation.candidates) <= {"G2", "G2x"}


def test_after(tmp_path: Path) -> None:
    assert said(tell(kvm_runs, "G2", tmp_path, kernel="4.14.177")) == {}


def test_recording_after(samples: Path) -> None:
    assert said(fputrace.analyze(samples / "4.14.177-pinned" / "trace.dat")) == {}
