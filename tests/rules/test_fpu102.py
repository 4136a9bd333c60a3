"""FPU102: the guest is entered with registers that are not the vCPU thread's."""

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
    LATE_RELOAD,
    VCPU,
    Story,
    Telling,
    accused,
    answered,
    check_evidence,
    confirmed,
    possible,
    row,
    tell,
    verdict_over_a_hole,
)
from tests.writers import EventSpec

GENERATIONS = ("G2", "G3", *DEFERRED)
NEEDS = (
    "x86_fpu_regs_activated",
    "x86_fpu_regs_deactivated",
    "kvm_entry",
    "sched_switch",
)


def no_reload(s: Story) -> None:
    """The hog uses the CPU in between; switch_fpu_finish() (switch_fpu_return() from 5.2 on)
    is left out when the vCPU comes back.
    """
    s.begin(VCPU)
    if s.eager:  # the vCPU's restore is printed under HOG's pid: no filter hides those
        s.switch(HOG)
        s.switch(VCPU)
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.moment()
    s.switch(VCPU, restore=False)
    s.enter(reload=False)
    s.leave()
    s.afterwards()
    s.switch(HOG, save=False)
    if not s.eager:
        s.restore()


def reloaded(s: Story) -> None:
    """The same with the reload where each kernel does it."""
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    if s.generation == "G4b":
        s.restore()  # kvm_sched_in() -> kvm_arch_vcpu_load() -> switch_fpu_return()
    s.enter()
    s.leave()
    s.switch(HOG)
    if not s.eager:
        s.restore()


def elided(s: Story) -> None:
    """A kernel thread ran in between: the registers are still the guest's, nothing is printed."""
    s.begin(VCPU)
    s.run_guest()
    s.switch(KTHREAD)
    s.switch(VCPU)
    s.enter()
    s.leave()
    s.switch(HOG)
    if not s.eager:
        s.restore()


def entered_elsewhere(s: Story) -> None:
    """Saved on CPU 0, entered on CPU 1 without switch_fpu_return(), while CPU 1 holds nobody's."""
    s.begin(HOG, 1)
    s.begin(VCPU, 0)
    s.run_guest(0)
    s.switch(IDLE, 0)
    s.switch(IDLE, 1)
    s.switch(VCPU, 1, restore=False)
    s.enter(1, reload=False)
    s.leave(1)
    s.switch(HOG, 1, save=False)
    if not s.eager:
        s.restore(1)
    s.switch(HOG, 0)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_reload, generation, tmp_path)
    assert analysis.generation.code == generation
    assert ("FPU102", "confirmed", VCPU.pid, 1) in accused(analysis)
    (message,) = [f.message for f in analysis.findings if f.code == "FPU102"]
    assert "fphog (91)" in message


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fires_on_another_cpu(generation: str, tmp_path: Path) -> None:
    assert confirmed(tell(entered_elsewhere, generation, tmp_path, cpus=2), "FPU102") == 1


@pytest.mark.parametrize(
    ("case", "least", "most"), [("6.1-no-reload-at-entry", 250, 320), ("6.1-stale-owner", 15, 25)]
)
def test_recordings(case: str, least: int, most: int, samples: Path) -> None:
    analysis = fputrace.analyze(samples / case / "trace.dat")
    assert least <= confirmed(analysis, "FPU102") <= most
    assert not possible(analysis, "FPU102")


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("story", [reloaded, elided])
def test_silent(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert [found for found in accused(analysis) if found[0] != "FPU101"] == []
    assert answered(analysis, "FPU102")


@pytest.mark.parametrize("generation", LATE_RELOAD)
def test_probe_event_does_not_settle_a_late_reload(generation: str, tmp_path: Path) -> None:
    def story(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.event("kvm_entry", vcpu_id=1)
        s.event("cond_resched")  # any event the model does not know
        s.restore()
        s.leave()
        s.switch(HOG)
        s.restore()

    told = Story(generation, extra_events=[EventSpec("sched", "cond_resched", ("int x",))])
    story(told)
    analysis = fputrace.analyze(told.write(tmp_path / "trace.dat"))
    assert not confirmed(analysis, "FPU102") + possible(analysis, "FPU102")


@pytest.mark.parametrize("generation", LATE_RELOAD)
def test_emulator_reloads_do_not_hide_the_late_one(generation: str, tmp_path: Path) -> None:
    """emulator_get_fpu() -> switch_fpu_return() prints a reload that kvm_entry may follow, as in
    later kernels: that says nothing against a late reload.
    """

    def story(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        for by_the_emulator in (True, True, True, True, False):
            s.switch(HOG)
            s.restore()
            s.switch(VCPU)
            if by_the_emulator:
                s.restore()
            s.enter()
            s.leave()
        s.switch(HOG)
        s.restore()

    analysis = tell(story, generation, tmp_path)
    assert analysis.generation.code == generation
    assert [found for found in accused(analysis) if found[0] != "FPU101"] == []


def test_not_a_rule_of_g1(tmp_path: Path) -> None:
    analysis = tell(no_reload, "G1", tmp_path)
    assert row(analysis, "FPU102").status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("generation", ["G2", "G4a", "G5"])
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(no_reload, generation, tmp_path, "FPU102", NEEDS)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_over_a_hole(generation: str, tmp_path: Path) -> None:
    assert verdict_over_a_hole(no_reload, generation, tmp_path, "FPU102") is None


@pytest.mark.parametrize("generation", GENERATIONS)
def test_possible_when_no_activation_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(no_reload, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU102"), possible(analysis, "FPU102")) == (0, 1)
    (message,) = [f.message for f in analysis.findings if f.code == "FPU102"]
    assert "switched off" in message
