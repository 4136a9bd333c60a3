"""FPU112: VM entry on what a kernel FPU section left.  The fault itself: test_probed.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.findings import Status
from tests.rules.probed import ProbedStory, tell_probed
from tests.rules.scenario import HOG, KTHREAD, LATE_RELOAD, VCPU, accused, of, row

KERNELS = [*LATE_RELOAD, "G4b", "G4d"]


def section_in_the_run_loop(s: ProbedStory, *, reload: bool) -> None:
    s.switch(KTHREAD)
    s.begin(VCPU)
    s.run_guest()
    s.kernel_fpu()
    s.enter(reload=reload)
    s.leave()
    if not reload:
        s.restore()
    s.enter()
    s.return_to_vmm()
    s.switch(HOG)
    s.restore()
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", KERNELS)
def test_the_late_reload_is_awaited(generation: str, tmp_path: Path) -> None:
    def story(s: ProbedStory) -> None:
        section_in_the_run_loop(s, reload=True)

    analysis = tell_probed(story, generation, tmp_path)
    assert of(analysis, "FPU112") == []
    assert row(analysis, "FPU112").status is Status.CHECKED


@pytest.mark.parametrize("generation", KERNELS)
def test_fires_before_5_16(generation: str, tmp_path: Path) -> None:
    """e751732486eb: nothing reloads in vcpu_enter_guest()."""

    def story(s: ProbedStory) -> None:
        section_in_the_run_loop(s, reload=False)

    analysis = tell_probed(story, generation, tmp_path)
    assert ("FPU112", "confirmed", VCPU.pid, 1) in accused(analysis)
