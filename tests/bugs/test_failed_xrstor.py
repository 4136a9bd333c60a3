"""docs/bugs/failed-xrstor.md: nothing in a recording can tell it, so nothing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bugs.claims import page, said
from tests.rules.scenario import HOG, OTHER, Story, tell

BUG = page("failed-xrstor")


def sigreturn_fails(s: Story, *, invalidated: bool) -> None:
    """__fpu__restore_sig() of 5.10: copy_user_to_fpregs() faults while the registers are kept
    for HOG, the frame has to be paged in, and HOG comes back (arch/x86/kernel/fpu/signal.c, as in
    the message of d8778e393afa).
    """
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.event("sys_enter", id=15)  # rt_sigreturn: XRSTOR faults, no event
    s.switch(HOG)  # TIF_NEED_FPU_LOAD is set: OTHER is not saved
    if invalidated:
        s.restore()
    s.event("sched_migrate_task", pid=OTHER.pid)
    s.switch(OTHER, save=True)
    s.restore()  # the slow path
    s.switch(HOG)
    s.restore()


def healthy(s: Story) -> None:
    """The same with a system call that leaves the registers alone."""
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.event("sys_enter", id=1)
    s.switch(HOG)
    s.event("sched_migrate_task", pid=OTHER.pid)
    s.switch(OTHER, save=True)
    s.restore()
    s.switch(HOG)
    s.restore()


KERNELS = pytest.mark.parametrize(
    ("generation", "release"), [("G4c", "5.8.0"), ("G4c", "5.10.40"), ("G4d", "5.12.0")]
)


@KERNELS
def test_before(generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: sigreturn_fails(s, invalidated=False), generation, tmp_path, kernel=release
    )
    assert said(analysis) == BUG.tracepoints == BUG.probes == {}


@KERNELS
def test_the_story_is_a_healthy_one(generation: str, release: str, tmp_path: Path) -> None:
    """All that differs is the number of the system call: every system call looks like that."""
    whole = tell(healthy, generation, tmp_path, kernel=release)
    failed = tell(
        lambda s: sigreturn_fails(s, invalidated=False), generation, tmp_path, kernel=release
    )
    assert said(whole) == {}
    assert whole.trace.counts == failed.trace.counts
    assert [row.status for row in whole.coverage] == [row.status for row in failed.coverage]


@pytest.mark.parametrize(
    ("generation", "release"), [("G4c", "5.10.46"), ("G4d", "5.13.0"), ("G5", "6.12.0")]
)
def test_after(generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: sigreturn_fails(s, invalidated=True), generation, tmp_path, kernel=release
    )
    assert said(analysis) == {}
