"""FPU201: the VMM's image is restored and saved again in one switch-out."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Severity
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    VCPU,
    Story,
    answered,
    check_evidence,
    confirmed,
    of,
    possible,
    tell,
    verdict_over_a_hole,
)

GENERATIONS = ("G1", *DEFERRED)
NEEDS = ("x86_fpu_regs_deactivated", "kvm_fpu", "sched_switch")


def put_at_sched_out(s: Story) -> None:
    """kvm_sched_out() -> kvm_arch_vcpu_put() -> kvm_put_guest_fpu(), then switch_fpu_prepare();
    G1's own design, a regression in any later kernel.
    """
    s.begin(VCPU)
    s.run_guest()
    s.schedule(HOG)
    s.moment()
    s.put()
    s.switch_to(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    s.run_guest()
    s.return_to_vmm()
    s.switch(HOG)


def put_before_the_switch(s: Story) -> None:
    """KVM_RUN has ended; the thread is preempted on its way to user mode."""
    s.begin(VCPU)
    s.run_guest()
    s.return_to_vmm()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    if not s.eager:
        s.restore()
    s.run_guest()
    s.return_to_vmm()
    s.switch(HOG)


def put_without_a_save(s: Story) -> None:
    """The put came late and TIF_NEED_FPU_LOAD is set: the switch saves nothing."""
    s.begin(VCPU)
    s.run_guest()
    s.schedule(HOG)
    s.event("kvm_fpu", load=0)
    s.switch_to(HOG, save=False)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    if not s.eager:
        s.restore()
    s.run_guest()
    s.return_to_vmm()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(put_at_sched_out, generation, tmp_path)
    assert analysis.generation.code == generation
    (finding,) = of(analysis, "FPU201")
    assert (finding.verdict.value, finding.count, finding.pid) == ("confirmed", 1, VCPU.pid)
    assert finding.severity is Severity.PERFORMANCE
    assert ("by design" in finding.message) == (generation == "G1")


def test_price_is_of_both_halves(tmp_path: Path) -> None:
    """The switch-in restored the image that the next load saves: two restores, two saves."""
    generation = "G1"
    (both,) = of(tell(put_at_sched_out, generation, tmp_path), "FPU201")

    def out_half(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.schedule(HOG)
        s.put()
        s.switch_to(HOG)
        s.switch(HOG)

    (one,) = of(tell(out_half, generation, tmp_path), "FPU201")
    assert both.cost is not None
    assert one.cost is not None
    assert (both.cost.bytes, both.cost.ns) == (2 * one.cost.bytes, 2 * one.cost.ns)


@pytest.mark.parametrize(
    ("case", "least", "most"), [("4.14.5-pinned", 80, 100), ("6.1-put-at-sched-out", 10, 30)]
)
def test_recordings(case: str, least: int, most: int, samples: Path) -> None:
    analysis = fputrace.analyze(samples / case / "trace.dat")
    assert least <= confirmed(analysis, "FPU201") <= most
    assert not possible(analysis, "FPU201")


@pytest.mark.parametrize("case", ["4.14.5-pinned", "6.1-put-at-sched-out"])
def test_costs_what_the_books_call_redundant(case: str, samples: Path) -> None:
    """A restore that was skipped, as some are here, costs nothing."""
    analysis = fputrace.analyze(samples / case / "trace.dat", costs=True)
    assert analysis.costs is not None
    books = {task.pid: task.total for task in analysis.costs.tasks}
    found = of(analysis, "FPU201")
    assert found
    for finding in found:
        total = books[finding.pid or 0]
        assert finding.cost is not None
        assert (finding.cost.bytes, finding.cost.ns) == (total.bytes_redundant, total.ns_redundant)
    if case == "4.14.5-pinned":
        total = books[found[0].pid or 0]
        assert total.saves.redundant > total.restores.redundant > found[0].count


@pytest.mark.parametrize("generation", GENERATIONS)
def test_silent_outside_the_window(generation: str, tmp_path: Path) -> None:
    analysis = tell(put_before_the_switch, generation, tmp_path)
    assert of(analysis, "FPU201") == []
    assert answered(analysis, "FPU201")


@pytest.mark.parametrize("generation", DEFERRED)
def test_silent_without_a_save(generation: str, tmp_path: Path) -> None:
    assert of(tell(put_without_a_save, generation, tmp_path), "FPU201") == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(put_at_sched_out, generation, tmp_path, "FPU201", NEEDS)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_not_confirmed_over_a_hole(generation: str, tmp_path: Path) -> None:
    verdict_over_a_hole(put_at_sched_out, generation, tmp_path, "FPU201")


def test_one_cpu_is_enough(tmp_path: Path) -> None:
    """Proven by the order on one CPU: a clock that is not global does not weaken it."""

    def story(s: Story) -> None:
        s.begin(HOG, 1)
        put_at_sched_out(s)
        s.event("kvm_exit", 1)

    analysis = tell(story, "G1", tmp_path, cpus=2, clock="local")
    assert confirmed(analysis, "FPU201") == 1
