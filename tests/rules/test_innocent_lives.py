"""What forks, debuggers and numbers used again do without fault: nothing of it is proven."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.probed import ADDRESSES, BASE, ProbedStory, tell_probed
from tests.rules.scenario import HOG, OTHER, Story, Task, accused, of, tell
from tests.rules.test_lives import CHILD, born, settles
from tests.writers import EventSpec

KTHREADD = Task(2, "kthreadd", 0)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("generation", ["G4c", "G5", "G6"])
def test_a_debugger_at_a_system_call(generation: str, again: bool, tmp_path: Path) -> None:
    """PTRACE_SYSCALL stops in syscall_trace_enter(), before trace_sys_enter()."""
    ADDRESSES["fpu_force_restore"] = BASE + 0x8000
    probe = EventSpec("mine", "write", ("unsigned long __probe_ip", "u64 target"))

    def story(s: ProbedStory) -> None:
        s.writer.kallsyms += f"{ADDRESSES['fpu_force_restore']:x} T fpu_force_restore\n"
        s.begin(HOG)
        s.switch(OTHER)
        s.restore()
        s.event("sys_enter", id=1)
        s.event("sys_exit", id=1)
        s.switch(HOG)  # stopped at its next call
        s.restore()
        s.event("write", __probe_ip=ADDRESSES["fpu_force_restore"] + 4, target=OTHER.fpu)
        s.switch(OTHER)
        s.event("sys_enter", id=1)
        s.event("sys_exit", id=1)
        if again:
            s.event("sys_enter", id=1)
        s.restore()
        s.switch(HOG)
        s.restore()
        settles(s)

    analysis = tell_probed(story, generation, tmp_path, more=[probe])
    assert [f.verdict.value for f in of(analysis, "FPU118")] == ["confirmed"] * again


@pytest.mark.parametrize("generation", ["G4c", "G5", "G6"])
def test_a_number_used_again_behind_a_hole(generation: str, tmp_path: Path) -> None:
    """A kernel thread was freed in sight; the fork of the user task with its number was lost."""

    def story(s: Story) -> None:
        s.begin(HOG)
        s.switch(KTHREADD)
        s.event("sched_process_fork", parent_pid=2, child_pid=CHILD.pid, child_comm="kworker")
        s.event("sched_process_free", pid=CHILD.pid)
        s.moment()
        s.switch(HOG)
        s.restore()
        s.switch(CHILD)
        s.restore()
        s.switch(HOG)
        s.restore()
        settles(s)

    analysis = tell(story, generation, tmp_path, hole=True)
    assert analysis.losses
    assert accused(analysis) == []


def test_a_child_that_is_the_first_of_its_number_still_counts(tmp_path: Path) -> None:
    def story(s: Story) -> None:
        born(s)
        s.switch(CHILD)
        s.event("sys_enter", id=1)
        s.switch(HOG, save=False)
        s.restore()
        s.switch(CHILD)
        s.restore()
        settles(s)

    assert [f.verdict.value for f in of(tell(story, "G5", tmp_path), "FPU114")] == ["confirmed"]
