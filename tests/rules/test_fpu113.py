"""FPU113: one task's registers are acquired on two CPUs at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.scenario import (
    DEFERRED,
    HOG,
    IDLE,
    OTHER,
    VCPU,
    Story,
    answered,
    check_evidence,
    confirmed,
    of,
    possible,
    tell,
)

GENERATIONS = ("G1", "G2", "G3", *DEFERRED)
NEEDS = ("x86_fpu_regs_activated", "sched_switch")


def both_cpus_run_it(s: Story) -> None:
    """CPU 1 switches to the task that CPU 0 never switched out, and CPU 0 goes on with it."""
    s.begin(OTHER, 1)
    s.begin(VCPU, 0)
    s.load(0)
    s.switch(VCPU, 1)
    if not s.eager:
        s.restore(1)
    s.event("kvm_exit", 0, VCPU.pid)
    s.switch(HOG, 1)
    if not s.eager:
        s.restore(1)


def perf_ends_cpu_by_cpu(s: Story) -> None:
    """CPU 0 is not recorded any more when the task moves to CPU 1."""
    s.begin(OTHER, 1)
    s.begin(VCPU, 0)
    s.load(0)
    s.switch(VCPU, 1)
    if not s.eager:
        s.restore(1)
    s.switch(HOG, 1)
    if not s.eager:
        s.restore(1)


def migrated(s: Story) -> None:
    s.begin(OTHER, 1)
    s.begin(VCPU, 0)
    s.run_guest(0)
    s.switch(IDLE, 0)
    s.switch(VCPU, 1)
    s.enter(1)
    s.leave(1)
    s.switch(HOG, 0)
    s.switch(OTHER, 1)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(both_cpus_run_it, generation, tmp_path, cpus=2)
    assert (confirmed(analysis, "FPU113"), possible(analysis, "FPU113")) == (1, 0)
    assert of(analysis, "FPU113")[0].pid == VCPU.pid


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_when_the_first_cpu_is_not_seen_to_go_on(generation: str, tmp_path: Path) -> None:
    assert of(tell(perf_ends_cpu_by_cpu, generation, tmp_path, cpus=2), "FPU113") == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent(generation: str, tmp_path: Path) -> None:
    analysis = tell(migrated, generation, tmp_path, cpus=2)
    assert of(analysis, "FPU113") == []
    assert answered(analysis, "FPU113")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(migrated, generation, tmp_path, "FPU113", NEEDS, cpus=2)


def test_local_clock_makes_it_possible(tmp_path: Path) -> None:
    analysis = tell(both_cpus_run_it, "G5", tmp_path, cpus=2, clock="local")
    assert (confirmed(analysis, "FPU113"), possible(analysis, "FPU113")) == (0, 1)
