"""FPU101: a switch-out saves the guest's registers where the VMM's image lives."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Status
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    VCPU,
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

BY_DESIGN = ("G2", "G4x", "G4b", "G4c", "G4d", "G5", "G6")
NEEDS = ("x86_fpu_regs_deactivated", "kvm_fpu", "kvm_entry", "sched_switch")


def preempted_in_kvm_run(s: Story) -> None:
    """Rik van Riel's and Wanpeng Li's case of November 2017: a vCPU preempted between
    kvm_load_guest_fpu() and kvm_put_guest_fpu(), then resumed.
    """
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.moment()
    s.switch(VCPU)
    if s.generation == "G4b":
        s.restore()  # kvm_sched_in() -> kvm_arch_vcpu_load()
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.switch(HOG)
    if not s.eager:
        s.restore()


def put_left_out_once(s: Story) -> None:
    """4.14.5 puts the guest in kvm_sched_out() -> kvm_arch_vcpu_put(); here once it does not."""
    s.begin(VCPU)
    for forgotten in (False, False, True):
        s.run_guest()
        s.schedule(HOG)
        if not forgotten:
            s.put()
        s.switch_to(HOG)
        s.switch(VCPU)
    s.enter()
    s.leave()
    s.return_to_vmm()


def swapped_out_before_its_event(s: Story) -> None:
    """From 4.15 on kvm_fpu follows preempt_enable(): the put was done, the thread preempted, and
    only then kvm_fpu unload printed.  Or the guest was still loaded.  Nothing tells.
    """
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    s.event("kvm_fpu", load=0)
    s.switch(HOG)
    if not s.eager:
        s.restore()


@pytest.mark.parametrize("generation", ["G3", "G4a"])
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(preempted_in_kvm_run, generation, tmp_path)
    assert analysis.generation.code == generation
    assert ("FPU101", "confirmed", VCPU.pid, 1) in accused(analysis)


def test_fires_in_g1_where_the_put_is_missing(tmp_path: Path) -> None:
    analysis = tell(put_left_out_once, "G1", tmp_path)
    assert analysis.generation.code == "G1"
    assert confirmed(analysis, "FPU101") == 1


def test_recording_of_5_2_1(samples: Path) -> None:
    analysis = fputrace.analyze(samples / "5.2.1-pinned" / "trace.dat")
    assert 900 <= confirmed(analysis, "FPU101") <= 1100
    witness = of(analysis, "FPU101")[0].witnesses[0]
    shown = [event.name.partition(":")[2] for event in witness.events if not event.inferred]
    assert shown == ["kvm_fpu", "sched_switch", "x86_fpu_regs_deactivated", "kvm_entry"]
    assert [event.pid for event in witness.events] == [94] * len(witness.events)


@pytest.mark.parametrize("generation", BY_DESIGN)
def test_by_design(generation: str, tmp_path: Path) -> None:
    analysis = tell(preempted_in_kvm_run, generation, tmp_path)
    assert analysis.generation.code == generation
    assert of(analysis, "FPU101") == []
    found = row(analysis, "FPU101")
    assert found.status is Status.NOT_DECIDABLE
    assert any("probe:save_fpregs_to_fpstate" in need for need in found.missing)


@pytest.mark.parametrize("case", ["5.10-pinned", "4.14.177-pinned", "6.12-storm", "7.2-storm"])
def test_by_design_in_recordings(case: str, samples: Path) -> None:
    analysis = fputrace.analyze(samples / case / "trace.dat")
    assert of(analysis, "FPU101") == []
    assert row(analysis, "FPU101").status is Status.NOT_DECIDABLE


def test_g1_as_designed_is_silent(tmp_path: Path) -> None:
    def story(s: Story) -> None:
        s.begin(VCPU)
        for _ in range(3):
            s.run_guest()
            s.schedule(HOG)
            s.put()
            s.switch_to(HOG)
            s.switch(VCPU)
        s.run_guest()
        s.return_to_vmm()

    analysis = tell(story, "G1", tmp_path)
    assert analysis.generation.code == "G1"
    assert of(analysis, "FPU101") == []
    assert answered(analysis, "FPU101")


@pytest.mark.parametrize("generation", ["G3", "G4a"])
def test_possible_when_the_put_may_have_been_done(generation: str, tmp_path: Path) -> None:
    analysis = tell(swapped_out_before_its_event, generation, tmp_path)
    assert (confirmed(analysis, "FPU101"), possible(analysis, "FPU101")) == (0, 1)
    assert "swap-out may have been done already" in of(analysis, "FPU101")[0].message


@pytest.mark.parametrize(
    ("generation", "kernel", "other"), [("G3", "4.14.0-rc8+", "G2"), ("G4a", "5.2.0-rc4+", "G4x")]
)
def test_undecided_generation(generation: str, kernel: str, other: str, tmp_path: Path) -> None:
    """G2 and G3 print the same events, and so do G4a and G4x."""
    analysis = tell(preempted_in_kvm_run, generation, tmp_path, kernel=kernel)
    assert analysis.generation.code is None
    assert {generation, other} <= set(analysis.generation.candidates)
    assert (confirmed(analysis, "FPU101"), possible(analysis, "FPU101")) == (0, 1)
    assert f"may be {other}" in of(analysis, "FPU101")[0].message
    assert row(analysis, "FPU101").status is Status.PARTLY
    forced = tell(preempted_in_kvm_run, generation, tmp_path, kernel=kernel, forced=generation)
    assert confirmed(forced, "FPU101") == 1


def test_undecided_recording(samples: Path) -> None:
    path = samples / "4.14.0-rc8-pinned" / "trace.dat"
    undecided = fputrace.analyze(path)
    assert not confirmed(undecided, "FPU101")
    assert 250 <= possible(undecided, "FPU101") <= 320
    assert all("may be G2, where this is normal" in f.message for f in of(undecided, "FPU101"))
    forced = fputrace.analyze(path, generation="G3")
    assert 250 <= confirmed(forced, "FPU101") <= 320
    assert not of(fputrace.analyze(path, generation="G2"), "FPU101")


@pytest.mark.parametrize("generation", ["G3", "G4a"])
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(preempted_in_kvm_run, generation, tmp_path, "FPU101", NEEDS)


@pytest.mark.parametrize("generation", ["G3", "G4a"])
def test_not_confirmed_over_a_hole(generation: str, tmp_path: Path) -> None:
    verdict_over_a_hole(preempted_in_kvm_run, generation, tmp_path, "FPU101")


def test_by_design_generations_are_all_but_the_bugs() -> None:
    assert set(BY_DESIGN) | {"G4a"} >= set(DEFERRED)
