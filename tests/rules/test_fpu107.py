"""FPU107: live registers given up without a save (4.14-5.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.findings import Status
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    KTHREAD,
    OTHER,
    Story,
    accused,
    answered,
    check_evidence,
    confirmed,
    of,
    possible,
    row,
    tell,
    verdict_over_a_hole,
)

EAGER = ("G1", "G2", "G3")
NEEDS = ("x86_fpu_regs_activated", "x86_fpu_regs_deactivated", "sched_switch")


def no_switch_fpu_prepare(s: Story) -> None:
    """__switch_to() leaves switch_fpu_prepare() out."""
    s.begin(OTHER)
    s.switch(HOG)
    s.switch(OTHER)
    s.moment()
    s.switch(HOG, save=False)
    s.event("sched_migrate_task", pid=KTHREAD.pid)  # the incoming task speaks: window over
    s.afterwards()
    s.switch(OTHER)


def exits(s: Story) -> None:
    """do_exit() -> fpu__drop() clears `initialized`: the last switch-out saves nothing."""
    s.begin(OTHER)
    s.switch(HOG)
    s.switch(OTHER)
    s.event("sched_process_exit", pid=OTHER.pid)
    s.drop()
    s.switch(HOG, save=False)
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", EAGER)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_switch_fpu_prepare, generation, tmp_path)
    assert accused(analysis) == [("FPU107", "confirmed", OTHER.pid, 1)]


@pytest.mark.parametrize("generation", EAGER)
def test_silent_after_a_drop(generation: str, tmp_path: Path) -> None:
    analysis = tell(exits, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU107")


@pytest.mark.parametrize("generation", DEFERRED)
def test_needs_probes_from_5_2_on(generation: str, tmp_path: Path) -> None:
    """kernel_fpu_begin() may have saved, an exec or a failed sigreturn thrown away: no event."""

    def story(s: Story) -> None:
        s.begin(OTHER)
        s.switch(HOG, save=False)
        s.restore()
        s.switch(OTHER)
        s.restore()
        s.switch(KTHREAD)

    analysis = tell(story, generation, tmp_path)
    assert of(analysis, "FPU107") == []
    found = row(analysis, "FPU107")
    assert found.status is Status.NOT_DECIDABLE
    assert any("kernel_fpu_begin" in need for need in found.missing)


@pytest.mark.parametrize("generation", EAGER)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(no_switch_fpu_prepare, generation, tmp_path, "FPU107", NEEDS)


@pytest.mark.parametrize("generation", EAGER)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(no_switch_fpu_prepare, generation, tmp_path, "FPU107") is None


@pytest.mark.parametrize("generation", EAGER)
def test_possible_when_no_save_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_switch_fpu_prepare, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU107"), possible(analysis, "FPU107")) == (0, 1)
