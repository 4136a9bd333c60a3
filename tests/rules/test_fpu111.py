"""FPU111: KVM saves registers that TIF_NEED_FPU_LOAD called stale."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Status
from tests.rules.scenario import (
    HOG,
    IDLE,
    KTHREAD,
    VCPU,
    Story,
    Telling,
    answered,
    check_evidence,
    confirmed,
    of,
    possible,
    row,
    tell,
    verdict_over_a_hole,
)

RAW = ("G4a", "G4x", "G4b")
NO_RELOAD = ("G4a", "G4x")  # at sched-in
HONOURED = ("G4c", "G4d", "G5", "G6")
NEEDS = ("x86_fpu_regs_activated", "kvm_fpu", "sched_switch")


def raw_put(s: Story) -> None:
    """5.2-5.4.18: a vCPU is preempted on its way out of KVM_RUN, another task uses the CPU, and
    kvm_put_guest_fpu() saves that task's registers as the guest's.
    """
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    s.restore()
    s.moment()
    s.switch(VCPU)
    s.event("kvm_exit")  # printed late, after preempt_enable() (Intel before 5.8)
    s.put()
    s.event("kvm_userspace_exit", reason=2)
    s.afterwards()
    s.switch(HOG)
    s.restore()


def raw_put_elsewhere(s: Story) -> None:
    """The same after a migration to a CPU whose registers nobody is known to have."""
    s.begin(HOG, 1)
    s.begin(VCPU, 0)
    s.run_guest(0)
    s.switch(IDLE, 0)
    s.switch(IDLE, 1)
    s.switch(VCPU, 1)
    s.event("kvm_exit", 1)
    s.put(1)
    s.event("kvm_userspace_exit", 1, reason=2)
    s.switch(HOG, 1)
    s.restore(1)
    s.switch(HOG, 0)


def only_the_flag(s: Story) -> None:
    """A kernel thread ran in between; whether it used the registers is not seen."""
    s.begin(VCPU)
    s.run_guest()
    s.switch(KTHREAD)
    s.switch(VCPU)
    s.event("kvm_exit")
    s.put()
    s.event("kvm_userspace_exit", reason=2)
    s.switch(HOG)
    s.restore()


def reloaded_at_sched_in(s: Story) -> None:
    """G4b: kvm_sched_in() -> kvm_arch_vcpu_load() -> switch_fpu_return(), then a put in order.

    The put's activation may be the thread's next event: it prints load: 0.
    """
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.restore()
    s.put()
    s.event("kvm_userspace_exit", reason=2)
    s.switch(HOG)
    s.restore()


def reloaded_by_kernel_fpu_users(s: Story) -> None:
    """No preemption: the registers are live, the swap prints load: 0."""
    s.begin(VCPU)
    for _ in range(3):
        s.run_guest()
        s.return_to_vmm()
    s.switch(HOG)
    s.restore()


@pytest.mark.parametrize("generation", NO_RELOAD)
def test_fires(generation: str, tmp_path: Path) -> None:
    analysis = tell(raw_put, generation, tmp_path)
    assert analysis.generation.code == generation
    assert (confirmed(analysis, "FPU111"), possible(analysis, "FPU111")) == (1, 0)
    assert "acquired by another task" in of(analysis, "FPU111")[0].message


@pytest.mark.parametrize("generation", NO_RELOAD)
def test_fires_on_another_cpu(generation: str, tmp_path: Path) -> None:
    assert confirmed(tell(raw_put_elsewhere, generation, tmp_path, cpus=2), "FPU111") == 1


@pytest.mark.parametrize("generation", NO_RELOAD)
def test_the_flag_alone_is_no_proof(generation: str, tmp_path: Path) -> None:
    analysis = tell(only_the_flag, generation, tmp_path)
    assert (confirmed(analysis, "FPU111"), possible(analysis, "FPU111")) == (0, 1)
    assert "nobody may have used the registers" in of(analysis, "FPU111")[0].message


def test_recording(samples: Path) -> None:
    analysis = fputrace.analyze(samples / "5.2.1-pinned" / "trace.dat")
    assert 20 <= confirmed(analysis, "FPU111") + possible(analysis, "FPU111") <= 40


@pytest.mark.parametrize("generation", HONOURED)
@pytest.mark.parametrize("story", [raw_put, only_the_flag])
def test_not_where_kvm_save_current_fpu_looks_at_the_flag(
    story: Telling, generation: str, tmp_path: Path
) -> None:
    analysis = tell(story, generation, tmp_path)
    assert of(analysis, "FPU111") == []
    assert row(analysis, "FPU111").status is Status.NOT_APPLICABLE


def test_g4b_activation_at_switch_in_is_no_swap(tmp_path: Path) -> None:
    """Without kvm_exit the reload of kvm_arch_vcpu_load() may stand right before a late kvm_fpu:
    the swap was done, the thread preempted in preempt_enable(), and then the event printed.
    """

    def story(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.fpu("regs_activated", flag=0)  # the put's swap
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.restore()
        s.event("kvm_fpu", load=0)
        s.event("kvm_userspace_exit", reason=2)
        s.switch(HOG)
        s.restore()

    assert of(tell(story, "G4b", tmp_path), "FPU111") == []


def test_g4b_reload_may_follow_an_interrupt(tmp_path: Path) -> None:
    """finish_task_switch() turns interrupts on before the sched-in notifiers run: what they print
    comes before the reload, and the late kvm_fpu after it.
    """

    def story(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.fpu("regs_activated", flag=0)  # the put's swap
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.event("sched_migrate_task", pid=HOG.pid, orig_cpu=0, dest_cpu=1)
        s.restore()
        s.event("kvm_fpu", load=0)
        s.event("kvm_userspace_exit", reason=2)
        s.switch(HOG)
        s.restore()

    assert of(tell(story, "G4b", tmp_path), "FPU111") == []


def test_g4b_swap_after_the_reload(tmp_path: Path) -> None:
    """The kernel used the registers after the reload at sched-in: only the flag tells."""

    def story(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.restore()
        s.event("kvm_exit")
        s.fpu("regs_activated", flag=1)  # the put's swap, TIF_NEED_FPU_LOAD set by a softirq
        s.event("kvm_fpu", load=0)
        s.event("kvm_userspace_exit", reason=2)
        s.switch(HOG)
        s.restore()

    analysis = tell(story, "G4b", tmp_path)
    assert (confirmed(analysis, "FPU111"), possible(analysis, "FPU111")) == (0, 1)


@pytest.mark.parametrize("generation", RAW)
@pytest.mark.parametrize("story", [reloaded_at_sched_in, reloaded_by_kernel_fpu_users])
def test_silent(story: Telling, generation: str, tmp_path: Path) -> None:
    analysis = tell(story, generation, tmp_path)
    assert of(analysis, "FPU111") == []
    assert answered(analysis, "FPU111")


@pytest.mark.parametrize("generation", NO_RELOAD)
def test_needs_its_evidence(generation: str, tmp_path: Path) -> None:
    check_evidence(raw_put, generation, tmp_path, "FPU111", NEEDS)


@pytest.mark.parametrize("generation", RAW)
def test_not_confirmed_over_a_hole(generation: str, tmp_path: Path) -> None:
    verdict_over_a_hole(raw_put, generation, tmp_path, "FPU111")


@pytest.mark.parametrize("generation", NO_RELOAD)
def test_possible_when_no_activation_shows_again(generation: str, tmp_path: Path) -> None:
    analysis = tell(raw_put, generation, tmp_path, ends=True)
    assert (confirmed(analysis, "FPU111"), possible(analysis, "FPU111")) == (0, 1)
