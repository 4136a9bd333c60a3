"""Normal costs and what costs for nothing: FPU202 to FPU208, and their innocent neighbours."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.findings import Analysis, Severity, Status
from fputrace.replay.layout import STICKY_SAVES
from tests.rules.probed import ProbedStory
from tests.rules.scenario import (
    DEFERRED,
    HOG,
    IDLE,
    KTHREAD,
    OTHER,
    RELEASES,
    VCPU,
    Story,
    Telling,
    of,
    row,
)

ALL = tuple(RELEASES)
SINCE_4_15 = tuple(code for code in RELEASES if code != "G1")
AVX512 = 0xE7


def told(
    story: Telling,
    generation: str,
    folder: Path,
    *,
    costs: bool = True,
    kind: Callable[..., Story] = Story,
    **how: Any,
) -> Analysis:
    one = kind(generation, **how)
    story(one)
    return fputrace.analyze(one.write(folder / "trace.dat"), costs=costs)


def said(analysis: Analysis, code: str) -> list[tuple[str, int | None, int]]:
    return [(f.verdict.value, f.pid, f.count) for f in of(analysis, code)]


def undecided(
    story: Telling, generation: str, folder: Path, code: str, needs: Collection[str], cpus: int = 1
) -> None:
    """Without any of ``needs`` the rule answers nothing."""
    for name in needs:
        analysis = told(story, generation, folder, without=[name], cpus=cpus)
        assert row(analysis, code).status is Status.NOT_DECIDABLE, name
        assert of(analysis, code) == [], name


def over_a_hole(story: Telling, generation: str, folder: Path, code: str) -> None:
    """When events are lost in the midst of the story, nothing of it is confirmed."""
    analysis = told(story, generation, folder, hole=True)
    assert sum(loss.count or 0 for loss in analysis.losses) > 0, "the story has no moment()"
    assert row(analysis, code).status in (Status.PARTLY, Status.NOT_DECIDABLE)
    assert "confirmed" not in [verdict for verdict, _pid, _count in said(analysis, code)]


# --- FPU202, FPU203 --------------------------------------------------------------------------


def runs(s: Story) -> None:
    """KVM_RUN as usual: entered, then back to the VMM."""
    s.run_guest()
    s.return_to_vmm()


def for_nothing(s: Story) -> None:
    """KVM_RUN finds a signal pending: -EINTR before the first entry."""
    s.begin(VCPU)
    runs(s)
    s.load()
    s.moment()
    s.return_to_vmm()
    runs(s)
    s.afterwards()


@pytest.mark.parametrize("generation", SINCE_4_15)
def test_swap_without_entry(generation: str, tmp_path: Path) -> None:
    analysis = told(for_nothing, generation, tmp_path, costs=False)
    assert said(analysis, "FPU202") == [("confirmed", VCPU.pid, 1)]
    (finding,) = of(analysis, "FPU202")
    assert finding.severity is Severity.PERFORMANCE
    assert finding.cost is not None
    # Nothing tells the components: no switch-out save was seen.
    assert (finding.cost.bytes, finding.cost.ns) == (4 * 576, 2 * 60 + 2 * 150)


def test_swap_without_entry_rests_on_entries_before_and_after(tmp_path: Path) -> None:
    def at_the_end(s: Story) -> None:
        s.begin(VCPU)
        runs(s)
        s.load()
        s.return_to_vmm()

    def at_the_start(s: Story) -> None:
        s.begin(VCPU)
        s.load()
        s.return_to_vmm()
        runs(s)

    for story in (at_the_end, at_the_start):
        assert said(told(story, "G5", tmp_path), "FPU202") == [("possible", VCPU.pid, 1)]
    over_a_hole(for_nothing, "G5", tmp_path, "FPU202")


@pytest.mark.parametrize("generation", ALL)
def test_system_calls_that_load_and_put_are_no_kvm_run(generation: str, tmp_path: Path) -> None:
    def get_msrs(s: Story) -> None:
        s.begin(VCPU)
        runs(s)
        s.load()
        s.put()
        s.load()
        s.put()
        runs(s)

    analysis = told(get_msrs, generation, tmp_path)
    assert said(analysis, "FPU202") == []
    assert said(analysis, "FPU203") == [("confirmed", VCPU.pid, 2)]


def test_a_switch_out_within_kvm_run_is_none(tmp_path: Path) -> None:
    """Until 4.14.93 the guest is put there and loaded again before the next entry."""

    def preempted(s: Story) -> None:
        s.begin(VCPU)
        s.run_guest()
        s.schedule(HOG)
        s.put()
        s.switch_to(HOG)
        s.switch(VCPU)
        s.run_guest()
        s.return_to_vmm()

    assert said(told(preempted, "G1", tmp_path), "FPU203") == [("confirmed", VCPU.pid, 1)]


@pytest.mark.parametrize("code", ["FPU202", "FPU203"])
def test_without_evidence_of_runs(code: str, tmp_path: Path) -> None:
    undecided(for_nothing, "G5", tmp_path, code, ("kvm_fpu", "kvm_entry", "kvm_userspace_exit"))


@pytest.mark.parametrize("generation", ALL)
def test_exits_to_the_vmm(generation: str, tmp_path: Path) -> None:
    def three(s: Story) -> None:
        s.begin(VCPU)
        for _ in range(3):
            runs(s)

    analysis = told(three, generation, tmp_path)
    assert said(analysis, "FPU203") == [("confirmed", VCPU.pid, 3)]
    (finding,) = of(analysis, "FPU203")
    assert finding.cost is not None
    assert finding.cost.ns == 3 * 420


def test_normal_costs_are_asked_with_costs_only(tmp_path: Path) -> None:
    analysis = told(for_nothing, "G5", tmp_path, costs=False)
    for code in ("FPU203", "FPU204", "FPU205", "FPU206", "FPU207"):
        assert row(analysis, code).status is Status.NOT_APPLICABLE
        assert "--costs" in row(analysis, code).why
        assert of(analysis, code) == []
    assert analysis.costs is None


# --- FPU204 ----------------------------------------------------------------------------------


def softirq(s: Story) -> None:
    """kernel_fpu_begin() in a softirq over HOG: TIF_NEED_FPU_LOAD, and a reload on the way back."""
    s.begin(HOG)
    s.moment()
    if isinstance(s, ProbedStory):
        s.probe("begin")
        s.probe("end")
    s.restore()
    s.switch(OTHER)
    s.restore()


@pytest.mark.parametrize("generation", DEFERRED)
def test_reload_after_kernel_fpu(generation: str, tmp_path: Path) -> None:
    analysis = told(softirq, generation, tmp_path)
    assert said(analysis, "FPU204") == [("possible", HOG.pid, 1)]
    assert "something had invalidated" in of(analysis, "FPU204")[0].message
    over_a_hole(softirq, generation, tmp_path, "FPU204")


@pytest.mark.parametrize("generation", ["G4d", "G5", "G6"])
def test_a_probe_saw_the_kernel_use_them(generation: str, tmp_path: Path) -> None:
    analysis = told(softirq, generation, tmp_path, kind=ProbedStory)
    assert said(analysis, "FPU204") == [("confirmed", HOG.pid, 1)]
    assert "the kernel itself" in of(analysis, "FPU204")[0].message


def test_reloads_that_others_explain(tmp_path: Path) -> None:
    def explained(s: Story) -> None:
        s.begin(HOG)
        s.switch(OTHER)
        s.restore()
        s.switch(HOG)
        s.restore()  # somebody else had acquired them
        s.event("signal_deliver", sig=14, sa_handler=0x401000)
        s.restore()  # a handler's frame
        s.event("sched_process_exec", pid=HOG.pid, old_pid=HOG.pid)
        s.restore()  # a new program
        s.switch(VCPU)
        s.restore()
        runs(s)

    analysis = told(explained, "G5", tmp_path)
    assert said(analysis, "FPU204") == []
    undecided(softirq, "G5", tmp_path, "FPU204", ("x86_fpu_regs_activated", "sched_switch"))


# --- FPU205, FPU207 --------------------------------------------------------------------------


def moved(s: Story) -> None:
    """HOG is saved on CPU 0 and restored on CPU 1."""
    s.switch(KTHREAD, 1)
    s.begin(HOG)
    s.switch(OTHER)
    if not s.eager:
        s.restore()
    s.moment()
    s.switch(HOG, 1)
    if not s.eager:
        s.restore(1)
    s.switch(KTHREAD, 1)
    s.switch(IDLE, 1)
    s.switch(KTHREAD)


def stayed(s: Story) -> None:
    """HOG makes room for a kernel thread: nothing is restored when it comes back."""
    s.begin(HOG)
    s.switch(KTHREAD)
    s.moment()
    s.switch(HOG)
    s.switch(OTHER, save=True)
    s.afterwards()
    if not s.eager:
        s.restore()
    s.switch(KTHREAD)


@pytest.mark.parametrize("generation", ALL)
def test_restored_elsewhere(generation: str, tmp_path: Path) -> None:
    analysis = told(moved, generation, tmp_path, cpus=2)
    assert said(analysis, "FPU205") == [("confirmed", HOG.pid, 1)]
    assert of(analysis, "FPU205")[0].cost is not None
    assert said(told(stayed, generation, tmp_path), "FPU205") == []
    needs = ("x86_fpu_regs_activated", "x86_fpu_regs_deactivated", "sched_switch")
    undecided(moved, generation, tmp_path, "FPU205", needs, cpus=2)


@pytest.mark.parametrize("generation", ALL)
def test_a_save_nobody_read(generation: str, tmp_path: Path) -> None:
    verdict = "confirmed" if generation in DEFERRED else "possible"
    assert said(told(stayed, generation, tmp_path), "FPU207") == [(verdict, HOG.pid, 1)]
    assert said(told(moved, generation, tmp_path, cpus=2), "FPU207") == []
    if generation in DEFERRED:
        at_the_end = told(stayed, generation, tmp_path, ends=True)
        assert said(at_the_end, "FPU207") == [("possible", HOG.pid, 1)]
    needs = ("x86_fpu_regs_activated", "x86_fpu_regs_deactivated", "sched_switch")
    undecided(stayed, generation, tmp_path, "FPU207", needs)


# --- FPU206 ----------------------------------------------------------------------------------


def halted(s: Story, *, state: int = 1, waited: int = 1) -> None:
    """kvm_vcpu_halt(): the thread sleeps until an interrupt comes."""
    s.begin(VCPU)
    s.run_guest()
    s.schedule(HOG, state=state)
    s.switch_to(HOG)
    s.moment()
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    s.event("kvm_vcpu_wakeup", ns=5000, waited=waited, valid=1)
    s.enter()
    s.leave()


@pytest.mark.parametrize("generation", SINCE_4_15)
def test_halt(generation: str, tmp_path: Path) -> None:
    analysis = told(halted, generation, tmp_path)
    assert said(analysis, "FPU206") == [("confirmed", VCPU.pid, 1)]
    assert analysis.costs is not None
    (vcpu,) = [task for task in analysis.costs.tasks if task.pid == VCPU.pid]
    causes = {cause.why: cause for cause in vcpu.by_why}
    assert (causes["halt"].times, causes["halt"].saves.done) == (1, 1)
    assert "sleep" not in causes
    needs = ("x86_fpu_regs_deactivated", "sched_switch", "kvm_vcpu_wakeup")
    undecided(halted, generation, tmp_path, "FPU206", needs)
    over_a_hole(halted, generation, tmp_path, "FPU206")


@pytest.mark.parametrize(("state", "waited", "why"), [(256, 1, "preempted"), (1, 0, "sleep")])
def test_no_halt(state: int, waited: int, why: str, tmp_path: Path) -> None:
    """Preempted while it polled; asleep for another reason, and polling found the interrupt."""
    analysis = told(lambda s: halted(s, state=state, waited=waited), "G5", tmp_path)
    assert said(analysis, "FPU206") == []
    assert analysis.costs is not None
    (vcpu,) = [task for task in analysis.costs.tasks if task.pid == VCPU.pid]
    assert {cause.why for cause in vcpu.by_why} >= {why}


# --- FPU208 ----------------------------------------------------------------------------------


def with_avx512(saves: int, clear_at: int = -1) -> Telling:
    def story(s: Story) -> None:
        s.begin(HOG)
        for number in range(saves):
            s.schedule(KTHREAD)
            mask = 0x7 if number == clear_at else AVX512
            flag = 1 if s.eager or s.generation == "G6" else 0
            s.event("x86_fpu_regs_deactivated", fpu=HOG.fpu, flag=flag, xfeatures=mask)
            s.switch_to(KTHREAD, save=False)
            s.switch(HOG)
            if not s.eager:
                s.restore()

    return story


@pytest.mark.parametrize("generation", ALL)
def test_avx512_stays_in_use(generation: str, tmp_path: Path) -> None:
    analysis = told(with_avx512(STICKY_SAVES + 6), generation, tmp_path, costs=False)
    assert said(analysis, "FPU208") == [("possible", HOG.pid, STICKY_SAVES + 6)]
    cost = of(analysis, "FPU208")[0].cost
    assert cost is not None
    assert cost.bytes == 2 * 1600 * (STICKY_SAVES + 6)


def test_avx512_now_and_then(tmp_path: Path) -> None:
    for story in (with_avx512(STICKY_SAVES - 1), with_avx512(STICKY_SAVES + 20, clear_at=40)):
        assert said(told(story, "G5", tmp_path), "FPU208") == []
    needs = ("x86_fpu_regs_deactivated", "sched_switch")
    undecided(with_avx512(STICKY_SAVES), "G5", tmp_path, "FPU208", needs)
