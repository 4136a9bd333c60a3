"""Faults that only probes show, each a step left out, and their innocent neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Status
from tests.rules.probed import ProbedStory, ProbedTelling, tell_probed
from tests.rules.scenario import HOG, KTHREAD, OTHER, VCPU, accused, of, row

GENERATIONS = ("G5", "G6")


def runs(s: ProbedStory, times: int = 2) -> None:
    """KVM_RUN a few times with preemptions: roles and buffers become known."""
    s.switch(KTHREAD)
    s.begin(VCPU)
    for _ in range(times):
        s.run_guest()
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.enter()
        s.return_to_vmm()


def settles(s: ProbedStory) -> None:
    """Afterwards everything shows again."""
    runs(s)
    s.switch(HOG)
    s.restore()
    s.switch(KTHREAD)


def no_user_restore(s: ProbedStory) -> None:
    """fpu_swap_kvm_fpstate(..., false) does not restore the VMM's image."""
    runs(s)
    s.run_guest()
    s.moment()
    s.swap(0, restore=False)
    s.event("kvm_userspace_exit", reason=2)
    settles(s)


def swap_without_save(s: ProbedStory) -> None:
    """fpu_swap_kvm_fpstate(..., true) does not save the VMM's live registers."""
    runs(s)
    s.moment()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.restore()
    s.swap(1, save=False)
    s.enter()
    s.return_to_vmm()
    settles(s)


def no_pointer_swap(s: ProbedStory) -> None:
    """fpu_swap_kvm_fpstate() leaves fpu->fpstate at the thread's own buffer."""
    runs(s)
    s.swap(1, pointer=False)
    s.enter()
    s.moment()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.enter()
    s.return_to_vmm()
    settles(s)


def skipped_save(s: ProbedStory) -> None:
    """switch_fpu() does not save a vCPU thread whose guest is loaded."""
    runs(s)
    s.run_guest()
    s.moment()
    s.switch(HOG, save=False)
    s.restore()
    s.switch(VCPU)
    s.enter()
    s.return_to_vmm()
    settles(s)


def kernel_fpu_keeps_owner(s: ProbedStory) -> None:
    """kernel_fpu_begin_mask() leaves the owner and last_cpu as they are: nothing is restored."""
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.kernel_fpu(keeps_owner=True)
    s.moment()
    s.switch(HOG)
    s.restore()
    settles(s)


def entry_after_kernel_fpu(s: ProbedStory) -> None:
    """vcpu_enter_guest() does not call switch_fpu_return() after a section."""
    runs(s)
    s.run_guest()
    s.kernel_fpu()
    s.moment()
    s.enter(reload=False)
    s.leave()
    s.restore()
    s.return_to_vmm()
    settles(s)


def nested(s: ProbedStory) -> None:
    """kernel_fpu_begin_mask() inside a section."""
    runs(s)
    s.probe("begin")
    s.probe("begun")
    s.moment()
    s.probe("begin")
    s.probe("begun")
    s.probe("end")
    s.probe("end")
    s.restore()
    settles(s)


def slept(s: ProbedStory) -> None:
    """schedule() inside a section."""
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.probe("begin")
    s.probe("begun")
    s.moment()
    s.switch(HOG, save=False)
    s.restore()
    s.switch(OTHER)
    s.probe("end")
    s.restore()
    s.switch(HOG)
    s.restore()
    settles(s)


def long(s: ProbedStory) -> None:
    """A section of more than 50 us."""
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.probe("begin")
    s.moment()
    for _ in range(60):
        s.event("sched_migrate_task", pid=KTHREAD.pid)
    s.probe("end")
    s.restore()
    s.switch(HOG)
    s.restore()
    settles(s)


FAULTS = [
    (no_user_restore, "FPU110", VCPU, ("swap", "restore")),
    (swap_without_save, "FPU107", VCPU, ("swap", "save")),
    (no_pointer_swap, "FPU101", VCPU, ("swap", "save", "restore")),
    (skipped_save, "FPU107", VCPU, ("save",)),
    (kernel_fpu_keeps_owner, "FPU105", OTHER, ("begin", "end")),
    (entry_after_kernel_fpu, "FPU112", VCPU, ("begin", "end")),
    (nested, "FPU301", VCPU, ("begin", "end")),
    (slept, "FPU302", OTHER, ("begin", "end")),
    (long, "FPU303", OTHER, ("begin", "end")),
]
NAMES = [story.__name__ for story, *_ in FAULTS]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("story", "code", "task", "_probes"), FAULTS, ids=NAMES)
def test_fires(
    story: ProbedTelling, code: str, task: object, _probes: object, generation: str, tmp_path: Path
) -> None:
    analysis = tell_probed(story, generation, tmp_path)
    assert accused(analysis) == [(code, "confirmed", getattr(task, "pid", 0), 1)]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("story", "code", "_task", "probes"), FAULTS, ids=NAMES)
def test_needs_its_probes(
    story: ProbedTelling,
    code: str,
    _task: object,
    probes: tuple[str, ...],
    generation: str,
    tmp_path: Path,
) -> None:
    """Without a probe it needs: nothing found, and the coverage says that it could not be."""
    for probe in probes:
        analysis = tell_probed(story, generation, tmp_path, unset=[probe])
        assert of(analysis, code) == [], probe
        assert row(analysis, code).status in (Status.NOT_DECIDABLE, Status.PARTLY), probe


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(("story", "code", "_task", "_probes"), FAULTS, ids=NAMES)
def test_nothing_over_a_hole(
    story: ProbedTelling, code: str, _task: object, _probes: object, generation: str, tmp_path: Path
) -> None:
    analysis = tell_probed(story, generation, tmp_path, hole=True)
    assert sum(loss.count or 0 for loss in analysis.losses) > 0
    assert all(finding.verdict.value == "possible" for finding in of(analysis, code))


def sections_of_a_thread_and_of_softirqs(s: ProbedStory) -> None:
    """Sections everywhere, each followed by the restore that is due."""
    runs(s)
    s.run_guest()
    s.kernel_fpu()
    s.enter()  # reloads
    s.kernel_fpu()
    s.switch(HOG)  # nothing live: nothing saved
    s.restore()
    s.kernel_fpu()
    s.switch(KTHREAD)
    s.kernel_fpu()
    s.switch(VCPU)
    s.enter()
    s.return_to_vmm()
    settles(s)


def put_with_the_flag_set(s: ProbedStory) -> None:
    """With TIF_NEED_FPU_LOAD set a swap owes no save."""
    runs(s)
    s.kernel_fpu()
    s.load()
    s.enter()
    s.kernel_fpu()
    s.put()
    s.event("kvm_userspace_exit", reason=2)
    settles(s)


def execs(s: ProbedStory) -> None:
    """fpu_flush_thread() throws the registers away long before sched_process_exec is printed."""
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.switch(HOG, save=False)
    s.restore()
    s.switch(OTHER)
    s.event("sched_process_exec", pid=OTHER.pid, old_pid=OTHER.pid)
    s.restore()
    s.switch(HOG)
    s.restore()
    settles(s)


def forks(s: ProbedStory) -> None:
    """fpu_clone() saves the parent's registers to the child's fpstate."""
    runs(s)
    s.save_to(OTHER, s.own(OTHER))
    s.event("x86_fpu_copy_dst", fpu=OTHER.fpu, flag=0, xfeatures=7)
    s.run_guest()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.enter()
    s.return_to_vmm()
    settles(s)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    "story", [runs, sections_of_a_thread_and_of_softirqs, put_with_the_flag_set, execs, forks]
)
def test_silent(story: ProbedTelling, generation: str, tmp_path: Path) -> None:
    assert accused(tell_probed(story, generation, tmp_path)) == []


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_plain_switch_out_without_a_save_is_possible(generation: str, tmp_path: Path) -> None:
    """An exec that was killed before it was printed looks the same."""

    def story(s: ProbedStory) -> None:
        runs(s)
        s.switch(OTHER)
        s.restore()
        s.switch(HOG, save=False)
        s.restore()
        s.switch(OTHER)
        s.restore()
        s.switch(HOG)
        s.restore()
        settles(s)

    assert accused(tell_probed(story, generation, tmp_path)) == [
        ("FPU107", "possible", OTHER.pid, 1)
    ]


@pytest.mark.parametrize(("story", "code"), [(nested, "FPU301"), (slept, "FPU302")])
def test_without_the_begin_s_return_nesting_is_possible(
    story: ProbedTelling, code: str, tmp_path: Path
) -> None:
    """Between the probe and the section it belongs to a softirq's section fits."""
    analysis = tell_probed(story, "G5", tmp_path, unset=["begun"])
    verdicts = [(c, verdict) for c, verdict, *_ in accused(analysis)]
    # prev_state of the sleeper is TASK_RUNNING with the preempted bit: it may have been preempted.
    assert verdicts == [(code, "possible")]


@pytest.mark.parametrize(("story", "code", "task", "_probes"), FAULTS[:6], ids=NAMES[:6])
def test_names_alone_prove_nothing(
    story: ProbedTelling, code: str, task: object, _probes: object, tmp_path: Path
) -> None:
    """Without kallsyms an event's name says what its probe sits on: anybody may call it so."""

    def renamed(s: ProbedStory) -> None:
        s.writer.kallsyms = ""
        story(s)

    analysis = tell_probed(renamed, "G5", tmp_path)
    assert all(finding.verdict.value == "possible" for finding in of(analysis, code))


def test_the_own_fpstate_of_a_recorded_fault(samples: Path) -> None:
    analysis = fputrace.analyze(samples / "6.1-no-pointer-swap" / "trace.dat")
    assert {(f.code, f.verdict.value) for f in analysis.findings} == {("FPU101", "confirmed")}
