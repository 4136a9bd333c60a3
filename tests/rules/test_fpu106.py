"""FPU106: registers saved for a task that nothing restored since its switch-in (4.14-5.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.findings import Status
from tests.rules.scenario import (
    HOG,
    KTHREAD,
    OTHER,
    Story,
    Telling,
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


def no_switch_fpu_finish(s: Story) -> None:
    """__switch_to() leaves switch_fpu_finish() out; switch_fpu_prepare() saves all the same.

    A restore is printed under the pid of the task before: HOG's was seen, no filter hides them.
    """
    s.begin(OTHER)
    s.switch(HOG)
    s.switch(OTHER)
    s.switch(HOG)
    s.switch(OTHER, restore=False)
    s.moment()
    s.switch(KTHREAD)
    s.afterwards()
    s.switch(HOG)


def every_switch_restores(s: Story) -> None:
    """switch_fpu_finish() -> fpregs_activate() prints even where the XRSTOR was skipped."""
    s.begin(OTHER)
    for to in (HOG, KTHREAD, OTHER, KTHREAD, OTHER):
        s.switch(to)


def first_use(s: Story) -> None:
    """A task without FPU state gets some: fpu__initialize() prints init_ and activate_state."""
    s.begin(HOG)
    s.switch(OTHER, restore=False)
    s.fpu("init_state", flag=0)
    s.fpu("activate_state", flag=0)
    s.switch(HOG)
    s.switch(OTHER)


def signal(s: Story) -> None:
    """fpu__clear() at signal delivery: drop, initialize, activate."""
    s.begin(OTHER)
    s.switch(HOG)
    s.switch(OTHER)
    s.event("signal_deliver", sig=10)
    s.drop()
    s.fpu("init_state", flag=0)
    s.fpu("activate_state", flag=0)
    s.fpu("regs_activated", flag=1)
    s.switch(HOG)
    s.switch(OTHER)


@pytest.mark.parametrize("generation", EAGER)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_switch_fpu_finish, generation, tmp_path)
    assert accused(analysis) == [("FPU106", "confirmed", OTHER.pid, 1)]
    assert "what fphog (91) had loaded" in of(analysis, "FPU106")[0].message


@pytest.mark.parametrize("generation", EAGER)
@pytest.mark.parametrize("story", [every_switch_restores, first_use, signal])
def test_silent(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU106")


def test_elided_restores_are_normal_from_5_2_on(tmp_path: Path) -> None:
    def story(s: Story) -> None:
        s.begin(OTHER)
        s.switch(KTHREAD)
        s.switch(OTHER)
        s.switch(HOG, save=True)
        s.restore()

    analysis = tell(story, "G5", tmp_path)
    assert accused(analysis) == []
    assert row(analysis, "FPU106").status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("generation", EAGER)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(no_switch_fpu_finish, generation, tmp_path, "FPU106", NEEDS)


@pytest.mark.parametrize("generation", EAGER)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(no_switch_fpu_finish, generation, tmp_path, "FPU106") is None


@pytest.mark.parametrize("generation", EAGER)
def test_possible_when_no_activation_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_switch_fpu_finish, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU106"), possible(analysis, "FPU106")) == (0, 1)
