"""What KVM's vendor modules print of VM exits, and where: none of it accuses, nor hides a fault.

* Intel up to 5.7: ``vmx_handle_exit()`` prints kvm_exit, after vcpu_enter_guest() turned preemption
  on: the thread may have been switched out since, and be on another CPU (arch/x86/kvm/vmx).
* Intel 5.8 to 5.10: ``vmx_vcpu_run()`` prints it with interrupts off, and goes back to the guest
  by itself (``reenter_guest``): several kvm_exit to a kvm_entry.
* AMD up to 6.4: ``svm_handle_exit()``, as late as Intel's was (arch/x86/kvm/svm).
* PVM and others out of tree: neither kvm_entry nor kvm_exit, though their formats are there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import fputrace
from fputrace.analysis import exit_status
from fputrace.findings import Analysis, Status
from tests.rules.probed import ProbedStory
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    IDLE,
    OTHER,
    RELEASES,
    VCPU,
    Story,
    Task,
    accused,
    answered,
    confirmed,
    possible,
    row,
    tell,
)
from tests.rules.test_probed import no_pointer_swap

INTEL_LATE = {  # up to 5.7
    "G1": "4.14.5",
    "G2": "4.19.0",
    "G3": "5.0.1",
    "G4a": "5.2.1",
    "G4x": "5.2.4",
    "G4b": "5.3.1",
    "G4c": "5.7.14",
}
AMD_LATE = {**INTEL_LATE, "G4c": "5.10.0", "G4d": "5.15.0", "G5": "6.4.0"}
INTEL_SEVERAL = {"G4c": "5.8.1"}
ALL = tuple(code for code in RELEASES if code != "G2x")
BY_ITSELF = {
    # What these kernels do wrong whenever a vCPU is switched out inside KVM_RUN.
    "G1": {("FPU201", "confirmed")},
    "G3": {("FPU101", "confirmed")},
    "G4a": {("FPU101", "confirmed")},
}
KERNELS = sorted({*INTEL_LATE.items(), *AMD_LATE.items()})

late = pytest.mark.parametrize(("generation", "release"), KERNELS)


def said(analysis: Analysis) -> set[tuple[str, str]]:
    return {(code, verdict) for code, verdict, *_ in accused(analysis)}


def out(s: Story, to: Task, cpu: int = 0) -> None:
    """The vCPU thread is switched out inside KVM_RUN: G1 puts its guest first."""
    s.schedule(to, cpu)
    if s.generation == "G1":
        s.put(cpu)
    s.switch_to(to, cpu)


def back(s: Story, cpu: int) -> None:
    """And in again: G4b reloads in kvm_arch_vcpu_load(), G1 loads in vcpu_enter_guest()."""
    s.switch(VCPU, cpu)
    if s.generation == "G4b":
        s.restore(cpu)


def again(s: Story, cpu: int, *, reload: bool = True) -> None:
    """The next turn of vcpu_enter_guest()."""
    if s.generation == "G1":
        s.load(cpu)
    s.enter(cpu, reload=reload)


def ends(s: Story, cpu: int) -> None:
    """KVM_RUN is over, and both CPUs show their registers and kvm_fpu again."""
    s.return_to_vmm(cpu)
    for other in (0, 1):
        s.switch(IDLE, other)
    for other in (0, 1):
        for task in (OTHER, HOG):
            s.switch(task, other)
            if not s.eager:
                s.restore(other)
        s.switch(IDLE, other)


def begins(s: Story) -> None:
    """Both CPUs and the vCPU thread are known; the guest is entered on CPU 0."""
    s.begin(OTHER, 1)
    s.switch(IDLE, 1)
    s.begin(HOG, 0)
    s.switch(IDLE, 0)
    s.begin(VCPU, 0)
    s.load(0)
    s.enter(0)


def exit_printed_elsewhere(s: Story) -> None:
    """Preempted in preempt_enable() after the VM exit, migrated: kvm_exit comes from CPU 1."""
    begins(s)
    out(s, HOG)
    if not s.eager:
        s.restore()
    back(s, 1)
    s.event("kvm_exit", 1)
    again(s, 1)
    s.event("kvm_exit", 1)
    ends(s, 1)


def exit_printed_after_the_switch(s: Story) -> None:
    """The same on one CPU."""
    begins(s)
    out(s, HOG)
    if not s.eager:
        s.restore()
    back(s, 0)
    s.event("kvm_exit")
    again(s, 0)
    s.event("kvm_exit")
    ends(s, 0)


def exit_missing(s: Story) -> None:
    """A failed VM entry prints no kvm_exit (vmx_vcpu_run(): vmx->fail)."""
    begins(s)
    s.enter()
    s.enter()
    s.event("kvm_exit")
    ends(s, 0)


def exits_without_entry(s: Story) -> None:
    """vmx_vcpu_run() of 5.8: exit_fastpath EXIT_FASTPATH_REENTER_GUEST."""
    begins(s)
    for _ in range(3):
        s.event("kvm_exit")
    again(s, 0)
    for _ in range(2):
        s.event("kvm_exit")
    ends(s, 0)


@late
@pytest.mark.parametrize(
    "story", [exit_printed_elsewhere, exit_printed_after_the_switch, exit_missing]
)
def test_a_late_exit_accuses_nobody(
    story: Callable[[Story], None], generation: str, release: str, tmp_path: Path
) -> None:
    analysis = tell(story, generation, tmp_path, cpus=2, kernel=release)
    assert analysis.generation.code == generation
    preempted = story is not exit_missing
    assert said(analysis) == (BY_ITSELF.get(generation, set()) if preempted else set())
    assert not analysis.losses
    for code in ("FPU102", "FPU103", "FPU108", "FPU109"):
        if row(analysis, code).status is not Status.NOT_APPLICABLE:
            assert answered(analysis, code), code


@pytest.mark.parametrize(("generation", "release"), sorted(INTEL_SEVERAL.items()))
def test_several_exits_accuse_nobody(generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(exits_without_entry, generation, tmp_path, cpus=2, kernel=release)
    assert said(analysis) == set()
    assert answered(analysis, "FPU102")


@pytest.mark.parametrize(("generation", "release"), [k for k in KERNELS if k[0] != "G1"])
def test_a_missing_restore_is_found_behind_a_late_exit(
    generation: str, release: str, tmp_path: Path
) -> None:
    """The entry on the other CPU finds what OTHER left there."""

    def story(s: Story) -> None:
        if s.eager:  # the vCPU's restore is printed under OTHER's pid: no filter hides those
            s.begin(OTHER, 1)
            s.switch(HOG, 1)
        begins(s)
        s.switch(HOG)
        if not s.eager:
            s.restore()
        s.switch(OTHER, 1)
        if not s.eager:
            s.restore(1)
        s.switch(VCPU, 1, restore=False)
        s.event("kvm_exit", 1)
        s.enter(1, reload=False)
        s.event("kvm_exit", 1)
        ends(s, 1)

    analysis = tell(story, generation, tmp_path, cpus=2, kernel=release)
    assert confirmed(analysis, "FPU102") == 1


@pytest.mark.parametrize(("generation", "release"), sorted(INTEL_SEVERAL.items()))
def test_an_entry_counts_once_however_many_exits_it_has(
    generation: str, release: str, tmp_path: Path
) -> None:
    def story(s: Story) -> None:
        begins(s)
        s.event("kvm_exit")
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.enter(reload=False)
        for _ in range(4):
            s.event("kvm_exit")
        s.restore()
        ends(s, 0)

    analysis = tell(story, generation, tmp_path, cpus=2, kernel=release)
    assert (confirmed(analysis, "FPU102"), possible(analysis, "FPU102")) == (1, 0)


# A back end without kvm_entry and kvm_exit

ENTRY_RULES = ("FPU102", "FPU103")


class Silent(Story):
    """Its events are described, as KVM's always are, and never printed."""

    def event(self, name: str, cpu: int = 0, by: int | None = None, /, **fields: object) -> None:
        if name not in ("kvm_entry", "kvm_exit"):
            super().event(name, cpu, by, **fields)


class SilentProbed(ProbedStory, Silent):
    """The same with probes."""


def analysed(story: Callable[[Story], None], generation: str, folder: Path) -> Analysis:
    told = Silent(generation, cpus=2)
    story(told)
    return fputrace.analyze(told.write(folder / "trace.dat"))


@pytest.mark.parametrize("generation", ALL)
def test_no_entries_make_the_entry_rules_not_decidable(generation: str, tmp_path: Path) -> None:
    analysis = analysed(exit_printed_elsewhere, generation, tmp_path)
    assert said(analysis) <= {("FPU201", "confirmed")}
    for code in ENTRY_RULES:
        found = row(analysis, code)
        if found.status is not Status.NOT_APPLICABLE:
            assert found.status is Status.NOT_DECIDABLE, code
            assert found.missing == ("kvm:kvm_entry",), code
    assert any("PVM" in note for note in analysis.notes)
    assert exit_status([analysis]) == 3


def loaded_twice(s: Story) -> None:
    begins(s)
    s.load()
    ends(s, 0)


def put_twice(s: Story) -> None:
    begins(s)
    s.put()
    ends(s, 0)


def user_mode_while_loaded(s: Story) -> None:
    begins(s)
    s.event("sys_enter", id=16)
    ends(s, 0)


def foreign_registers(s: Story) -> None:
    """FPU104: saved as the vCPU's although HOG acquired them."""
    begins(s)
    if s.eager:  # HOG prints another one's restore once: no filter hides what it would print
        s.switch(HOG)
        s.switch(VCPU)
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU, restore=False)
    s.switch(HOG, save=True)
    if not s.eager:
        s.restore()
    back(s, 0)
    if not s.eager and s.generation != "G4b":
        s.restore()
    ends(s, 0)


def put_at_sched_out(s: Story) -> None:
    begins(s)
    s.schedule(HOG)
    s.put()
    s.switch_to(HOG)
    if not s.eager:
        s.restore()
    back(s, 0)
    s.load()
    ends(s, 0)


REST = [
    (loaded_twice, "FPU108", ALL),
    (put_twice, "FPU109", ALL),
    (user_mode_while_loaded, "FPU110", ALL),
    (foreign_registers, "FPU104", DEFERRED),
    (foreign_registers, "FPU106", ("G2", "G3")),
    (put_at_sched_out, "FPU201", ("G1", *DEFERRED)),
]


@pytest.mark.parametrize(
    ("story", "code", "generation"),
    [(story, code, generation) for story, code, generations in REST for generation in generations],
)
def test_the_rest_works_without_entries(
    story: Callable[[Story], None], code: str, generation: str, tmp_path: Path
) -> None:
    assert confirmed(analysed(story, generation, tmp_path), code) == 1


@pytest.mark.parametrize("generation", ["G5", "G6"])
def test_probes_work_without_entries(generation: str, tmp_path: Path) -> None:
    """FPU101 by the buffer a save goes to; FPU112 needs an entry."""
    told = SilentProbed(generation)
    no_pointer_swap(told)
    analysis = fputrace.analyze(told.write(tmp_path / "trace.dat"))
    assert said(analysis) == {("FPU101", "confirmed")}
    assert row(analysis, "FPU112").status is Status.NOT_DECIDABLE
