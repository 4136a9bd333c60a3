"""What kernels do without fault between the probes: nothing of it may be called proven."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rules.probed import GUEST, ProbedStory, tell_probed
from tests.rules.scenario import HOG, KTHREAD, OTHER, VCPU, Task, accused
from tests.rules.test_probed import runs, settles

SOFTIRQ = 0x10
"""TRACE_FLAG_SOFTIRQ of common_flags (include/linux/trace_events.h)."""

NEW_BUFFER = GUEST + 0x99000


def unseen_section(s: ProbedStory, cpu: int = 0) -> None:
    """A softirq's section while a kprobe's handler runs in the task it interrupts.

    kprobe_ftrace_handler() and optimized_callback() run with interrupts on (since 4.15); a hit
    inside another handler is counted as missed (kprobes_inc_nmissed_count()) and leaves no record.
    """
    task = s._current[cpu]
    s._live.discard(task)
    s._owner[cpu] = 0


def swap_probe_interrupted(s: ProbedStory) -> None:
    """The section comes between the swap's probe and its fpregs_lock(): no save is due."""
    runs(s)
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.restore()
    s.probe("swap", g=GUEST, **{"in": 1})
    unseen_section(s)
    s._guests.add(VCPU)
    s.probe("restore", where=GUEST + VCPU.pid * 0x1000, mask=0x604FF)
    s._swap(1, 0)
    s.enter()
    s.put()
    settles(s)


def saves_inlined_in_the_swap(s: ProbedStory) -> None:
    """A compiler that copies save_fpregs_to_fpstate() into its callers of the same file."""
    for _ in range(3):
        s.switch(KTHREAD)
        s.begin(VCPU)
        s.swap(1, save=False)
        s.enter()
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.enter()
        s.swap(0, save=False)
        s.event("kvm_userspace_exit", reason=2)
    s.switch(HOG)
    s.restore()
    s.switch(KTHREAD)


def restores_inlined_in_the_swap(s: ProbedStory) -> None:
    """The same for restore_fpregs_from_fpstate(), or its .constprop clone."""
    for _ in range(3):
        s.switch(KTHREAD)
        s.begin(VCPU)
        s.swap(1, restore=False)
        s.enter()
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.enter()
        s.swap(0, restore=False)
        s.event("kvm_userspace_exit", reason=2)
    s.switch(HOG)
    s.restore()
    s.switch(KTHREAD)


def confidential_guest(s: ProbedStory) -> None:
    """SEV-ES: no restore at the swap-in, no save at the swap-out (fpstate->is_confidential)."""
    for _ in range(3):
        s.switch(KTHREAD)
        s.begin(VCPU)
        s.swap(1, restore=False)
        s.enter()
        s.switch(HOG)
        s.restore()
        s.switch(VCPU)
        s.enter()
        s.swap(0, save=False)
        s.event("kvm_userspace_exit", reason=2)
    settles(s)


def section_in_kvm_run_without_its_probe(s: ProbedStory) -> None:
    """Nobody probed kernel_fpu_begin(): its save shows all the same."""
    runs(s)
    s.run_guest()
    s.kernel_fpu()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.enter()
    s.return_to_vmm()
    settles(s)


def softirq_between_the_probe_and_its_section(s: ProbedStory) -> None:
    """kernel_fpu_begin()'s probe, a softirq's whole section, a preemption, then the section."""
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.probe("begin")
    s.kernel_fpu()
    s.schedule(HOG, state=256)  # preempted
    s.switch_to(HOG)
    s.restore()
    s.switch(OTHER)
    s.probe("begun")
    s.probe("end")
    s.restore()
    s.switch(HOG)
    s.restore()
    settles(s)


def two_softirqs_before_the_section(s: ProbedStory) -> None:
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.probe("begin")
    s.kernel_fpu()
    s.kernel_fpu()
    s.probe("begun")
    s.probe("end")
    s.restore()
    s.switch(HOG)
    s.restore()
    settles(s)


def ends_not_recorded_for_a_while(s: ProbedStory) -> None:
    """The end's probe was disabled and enabled again."""
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.probe("begin")
    s.save_to(OTHER, s.own(OTHER))
    s.probe("begun")
    unseen_section(s)
    s.restore()
    s.schedule(HOG, state=1)  # sleeps
    s.switch_to(HOG)
    s.restore()
    s.switch(OTHER)
    s.restore()
    s.kernel_fpu()
    s.restore()
    s.probe("begin")
    s.probe("begun")
    unseen_section(s)
    s.restore()
    s.kernel_fpu()
    s.restore()
    s.switch(HOG)
    s.restore()
    settles(s)


def section_between_system_call_and_its_event(s: ProbedStory) -> None:
    """Interrupts are on between the entry of a system call and raw_syscalls:sys_enter."""
    runs(s)
    s.switch(OTHER)
    s.restore()
    s.event("sys_enter", id=1)
    s.event("sys_exit", id=1)
    s.kernel_fpu()
    s.event("sys_enter", id=1)
    s.event("sys_exit", id=1)
    s.restore()
    s.switch(HOG)
    s.restore()
    settles(s)


def saves_not_recorded_for_a_while(s: ProbedStory) -> None:
    """The save's probe was disabled and enabled again; switches go on."""
    runs(s)
    s.switch(HOG)
    s.restore()
    for _ in range(2):
        unprobed_switch(s, VCPU)
        s.restore()
        s.swap(1, save=False)
        s.enter()
        unprobed_switch(s, HOG)
        s.restore()
        unprobed_switch(s, VCPU)
        s.enter()
        s.swap(0, save=False)
        s.event("kvm_userspace_exit", reason=2)
        unprobed_switch(s, HOG)
        s.restore()
    settles(s)


def unprobed_switch(s: ProbedStory, to: Task) -> None:
    s.schedule(to)
    s.switch_to(to, probe=False)


def saved_elsewhere(s: ProbedStory, buffer: int) -> None:
    """VCPU is switched out, and saved to a buffer that it did not have before."""
    s.schedule(HOG)
    s.save_to(VCPU, buffer)
    s.switch_to(HOG, probe=False)
    s.restore()


def own_fpstate_where_the_guest_s_was(s: ProbedStory) -> None:
    """The VM is gone, and the VMM's own fpstate is reallocated (AMX) where its guest's was."""
    runs(s)
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.restore()
    saved_elsewhere(s, GUEST + VCPU.pid * 0x1000)
    settles(s)


def exec_frees_a_larger_fpstate(s: ProbedStory) -> None:
    """fpstate_reset() at an exec frees an AMX task's own buffer; a guest's comes to lie there."""
    runs(s)
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.restore()
    saved_elsewhere(s, NEW_BUFFER)
    s.switch(VCPU)
    s.event("sched_process_exec", pid=VCPU.pid, old_pid=VCPU.pid)
    s.probe("swap", g=GUEST, **{"in": 1})
    s.probe("restore", where=NEW_BUFFER, mask=0x604FF)
    s._swap(1, 0)
    s.enter()
    saved_elsewhere(s, NEW_BUFFER)
    s.switch(VCPU)
    s.put()
    settles(s)


INNOCENT: list[tuple[Callable[[ProbedStory], None], tuple[str, ...]]] = [
    (swap_probe_interrupted, ()),
    (saves_inlined_in_the_swap, ()),
    (restores_inlined_in_the_swap, ()),
    (confidential_guest, ()),
    (section_in_kvm_run_without_its_probe, ("begin", "end", "begun")),
    (section_in_kvm_run_without_its_probe, ()),
    (softirq_between_the_probe_and_its_section, ()),
    (two_softirqs_before_the_section, ()),
    (ends_not_recorded_for_a_while, ()),
    (section_between_system_call_and_its_event, ()),
    (saves_not_recorded_for_a_while, ()),
    (own_fpstate_where_the_guest_s_was, ()),
    (exec_frees_a_larger_fpstate, ()),
]


@pytest.mark.parametrize("generation", ["G5", "G6"])
@pytest.mark.parametrize(
    ("story", "unset"), INNOCENT, ids=[f"{s.__name__}-{'-'.join(u)}" for s, u in INNOCENT]
)
def test_nothing_is_proven(
    story: Callable[[ProbedStory], None],
    unset: tuple[str, ...],
    generation: str,
    tmp_path: Path,
) -> None:
    found = accused(tell_probed(story, generation, tmp_path, unset=unset))
    assert [one for one in found if one[1] == "confirmed"] == []


def unseen_section_in_kvm_run(s: ProbedStory) -> None:
    """Registers saved by a section that left no record: nothing is due at the switch-out."""
    runs(s)
    s.run_guest()
    unseen_section(s)
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.enter()
    s.return_to_vmm()
    settles(s)


@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("generation", ["G5", "G6"])
def test_where_interrupts_use_the_fpu_a_hit_may_be_missed(
    generation: str, interrupts: bool, tmp_path: Path
) -> None:
    def story(s: ProbedStory) -> None:
        unseen_section_in_kvm_run(s)
        if interrupts:
            s.probe("begin", common_flags=SOFTIRQ)
            s.probe("end", common_flags=SOFTIRQ)

    found = accused(tell_probed(story, generation, tmp_path))
    assert found == [("FPU107", "possible" if interrupts else "confirmed", VCPU.pid, 1)]


SECOND = GUEST + 0x500000


def swap_to(s: ProbedStory, load: int, image: int, cpu: int = 0) -> None:
    """fpu_swap_kvm_fpstate() with a guest's buffer that is not the thread's usual one."""
    task = s._current[cpu]
    s.probe("swap", cpu, g=image, **{"in": load})
    if task in s._live:
        s.save_to(task, s.own(task) if load else image, cpu)
    s.probe("restore", cpu, where=image if load else s.own(task), mask=0x604FF)
    s._swap(load, cpu)


def ran_out(s: ProbedStory, image: int, cpu: int = 0) -> None:
    """The current task is preempted by HOG, its registers saved to ``image``."""
    task = s._current[cpu]
    s.schedule(HOG, cpu)
    s.save_to(task, image, cpu)
    s.switch_to(HOG, cpu, probe=False)
    s.restore(cpu)


def one_thread_runs_two_vcpus(s: ProbedStory) -> None:
    """As kvm selftests do: each vCPU has a buffer of its own."""
    runs(s)
    s.switch(HOG)
    s.restore()
    for image in (GUEST + VCPU.pid * 0x1000, SECOND) * 3:
        s.switch(VCPU)
        s.restore()
        swap_to(s, 1, image)
        s.enter()
        ran_out(s, image)
        s.switch(VCPU)
        s.enter()
        swap_to(s, 0, image)
        s.event("kvm_userspace_exit", reason=2)
        ran_out(s, s.own(VCPU))
    s.switch(KTHREAD)
    settles(s)


def two_threads_run_one_vcpu_in_turn(s: ProbedStory) -> None:
    """One buffer, two threads with an image each."""
    runs(s)
    s.switch(HOG)
    s.restore()
    for task in (VCPU, OTHER) * 3:
        s.switch(task)
        s.restore()
        swap_to(s, 1, SECOND)
        s.enter()
        ran_out(s, SECOND)
        s.switch(task)
        s.enter()
        swap_to(s, 0, SECOND)
        s.event("kvm_userspace_exit", reason=2)
        ran_out(s, s.own(task))
    s.switch(KTHREAD)
    settles(s)


def init_and_msr_ioctls(s: ProbedStory) -> None:
    """kvm_vcpu_reset() puts and loads inside KVM_RUN; __msr_io() (6.18 on) loads and puts alone."""
    runs(s)
    s.run_guest()
    s.put()
    s.load()
    s.enter()
    s.return_to_vmm()
    s.load()
    s.put()
    s.load()
    s.kernel_fpu()
    s.put()
    settles(s)


def preempted_everywhere(s: ProbedStory) -> None:
    """Between each probe and what it announces, and between a swap and its kvm_fpu."""
    runs(s)
    s.kernel_fpu()  # the begin's return is recorded
    s.restore()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.restore()
    s.probe("swap", g=GUEST, **{"in": 1})
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s._guests.add(VCPU)
    s.probe("restore", where=GUEST + VCPU.pid * 0x1000, mask=0x604FF)
    s.fpu("regs_activated", flag=1)
    s._acquire(VCPU, 0)
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.event("kvm_fpu", load=1)
    s.enter()
    s.probe("begin")
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.probe("begun")
    s.probe("end")
    s._owner[0] = 0
    s.enter()
    s.probe("swap", g=GUEST, **{"in": 0})
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s._guests.discard(VCPU)
    s.probe("restore", where=s.own(VCPU), mask=0x604FF)
    s.fpu("regs_activated", flag=1)
    s._acquire(VCPU, 0)
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.event("kvm_fpu", load=0)
    s.event("kvm_userspace_exit", reason=2)
    s.restore()
    settles(s)


def moved_between_cpus(s: ProbedStory) -> None:
    """A section on one CPU, then the thread goes on with what another still holds of it."""
    for cpu in (0, 1):
        s.switch(HOG if cpu else OTHER, cpu)
        s.restore(cpu)
    s.switch(KTHREAD, 0)
    s.begin(VCPU, 0)
    s.run_guest(0)
    s.switch(KTHREAD, 0)
    s.switch(VCPU, 1)
    s.kernel_fpu(1)  # TIF_NEED_FPU_LOAD is set: nothing saved, CPU 1 nobody's
    s.switch(HOG, 1)
    s.restore(1)
    s.switch(VCPU, 0)
    s.enter(0)  # CPU 0's registers are still valid: no restore
    s.switch(OTHER, 0)
    s.restore(0)
    s.switch(VCPU, 1)
    s.enter(1)
    s.put(1)
    s.event("kvm_userspace_exit", 1, reason=2)
    s.switch(HOG, 1)
    s.restore(1)


def exec_by_another_thread(s: ProbedStory) -> None:
    """de_thread(): the thread takes its leader's number over (old_pid is its own)."""
    leader = Task(96, "leader", OTHER.fpu)
    runs(s)
    s.switch(OTHER)
    s.restore()
    s._live.discard(OTHER)
    s._current[0] = leader
    s.event("sched_process_exec", pid=leader.pid, old_pid=OTHER.pid)
    s.restore()
    s.event("page_fault_user", address=1)
    s.event("sched_process_exit", pid=leader.pid)
    s.drop()
    s.switch(HOG, save=False)
    s.restore()
    settles(s)


ORDINARY: list[tuple[Callable[[ProbedStory], None], int]] = [
    (one_thread_runs_two_vcpus, 1),
    (two_threads_run_one_vcpu_in_turn, 1),
    (init_and_msr_ioctls, 1),
    (preempted_everywhere, 1),
    (moved_between_cpus, 2),
    (exec_by_another_thread, 1),
]


@pytest.mark.parametrize("generation", ["G5", "G6"])
@pytest.mark.parametrize(("story", "cpus"), ORDINARY, ids=[s.__name__ for s, _ in ORDINARY])
def test_silent(
    story: Callable[[ProbedStory], None], cpus: int, generation: str, tmp_path: Path
) -> None:
    assert accused(tell_probed(story, generation, tmp_path, cpus=cpus)) == []
