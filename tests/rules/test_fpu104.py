"""FPU104: TIF_NEED_FPU_LOAD is clear although another task acquired the registers."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Status
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    IDLE,
    KTHREAD,
    OTHER,
    VCPU,
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

NEEDS = ("x86_fpu_regs_activated", "x86_fpu_regs_deactivated", "sched_switch")


def stale_owner(s: Story) -> None:
    """CVE-2019-19602: gcc 9 kept fpu_fpregs_owner_ctx over a schedule, so switch_fpu_return()
    found the registers valid, cleared TIF_NEED_FPU_LOAD and loaded nothing.
    """
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.moment()
    s.switch(OTHER)
    s.switch(HOG, save=True)  # switch_fpu_prepare(): the flag was clear
    s.afterwards()
    s.restore()
    s.switch(OTHER)


def stale_at_a_signal(s: Story) -> None:
    """The same fault, shown by fpu__clear(): its activation prints load: 0."""
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.fpu("regs_activated", flag=0)
    s.fpu("regs_activated", flag=0)  # the same stay: counted once
    s.switch(HOG, save=True)
    s.restore()


def stale_elsewhere(s: Story) -> None:
    """The task's registers were loaded on CPU 0; CPU 1 saves its own as this task's."""
    s.begin(HOG, 1)
    s.begin(OTHER, 0)
    s.switch(IDLE, 0)
    s.switch(OTHER, 1)
    s.switch(HOG, 1, save=True)
    s.restore(1)
    s.switch(HOG, 0)


def elided(s: Story) -> None:
    """switch_fpu_return() with valid registers prints nothing and clears the flag."""
    s.begin(OTHER)
    s.switch(KTHREAD)
    s.switch(OTHER)
    s.switch(HOG, save=True)
    s.restore()
    s.switch(OTHER)


def dead_task(s: Story) -> None:
    """do_exit() -> fpu__drop() leaves the flag alone: the last switch-out saves once more."""
    s.begin(OTHER)
    s.event("sched_process_exit", pid=OTHER.pid)
    s.drop()
    s.switch(HOG, save=True)
    s.restore()
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", DEFERRED)
@pytest.mark.parametrize("story", [stale_owner, stale_at_a_signal])
def test_fires(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert accused(analysis) == [("FPU104", "confirmed", OTHER.pid, 1)]
    assert "fphog (91)" in of(analysis, "FPU104")[0].message


@pytest.mark.parametrize("generation", DEFERRED)
def test_fires_on_another_cpu(generation: str, tmp_path: Path) -> None:
    assert confirmed(tell(stale_elsewhere, generation, tmp_path, cpus=2), "FPU104") == 1


def test_recording(samples: Path) -> None:
    analysis = fputrace.analyze(samples / "6.1-stale-owner" / "trace.dat")
    assert 15 <= confirmed(analysis, "FPU104") <= 32
    assert {f.comm for f in of(analysis, "FPU104")} >= {"CPU 1/KVM", "fpsleeper"}


@pytest.mark.parametrize("generation", DEFERRED)
@pytest.mark.parametrize("story", [elided, dead_task])
def test_silent(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert accused(analysis) == []
    assert answered(analysis, "FPU104")


@pytest.mark.parametrize("generation", ["G1", "G2", "G3"])
def test_not_a_rule_of_eager_kernels(generation: str, tmp_path: Path) -> None:
    def story(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.switch(HOG)

    assert row(tell(story, generation, tmp_path), "FPU104").status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("generation", DEFERRED)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(stale_owner, generation, tmp_path, "FPU104", NEEDS)


@pytest.mark.parametrize("generation", DEFERRED)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(stale_owner, generation, tmp_path, "FPU104") is None


@pytest.mark.parametrize("generation", DEFERRED)
def test_possible_when_no_activation_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(stale_owner, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU104"), possible(analysis, "FPU104")) == (0, 1)


def test_local_clock_makes_it_possible(tmp_path: Path) -> None:
    """With two CPUs a foreign owner rests on the order between them."""
    analysis = tell(stale_elsewhere, "G5", tmp_path, cpus=2, clock="local")
    assert (confirmed(analysis, "FPU104"), possible(analysis, "FPU104")) == (0, 1)
