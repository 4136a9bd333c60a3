"""FPU302: switched out inside a section.  The fault itself: test_probed.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.probed import ProbedStory, tell_probed
from tests.rules.scenario import HOG, KTHREAD, OTHER, Task, accused

BH_OFF = 0x80
NEED_RESCHED = 0x04


@pytest.mark.parametrize(
    ("state", "verdict"), [(0, "possible"), (0x100, "possible"), (1, "confirmed"), (2, "confirmed")]
)
def test_a_task_that_blocks_was_not_preempted(state: int, verdict: str, tmp_path: Path) -> None:
    """Without the begin's return: a preemption fits between the probe and the section."""

    def story(s: ProbedStory) -> None:
        s.switch(KTHREAD)
        s.begin(OTHER)
        s.probe("begin")
        s.schedule(HOG, state=state)
        s.switch_to(HOG, save=False)
        s.restore()
        s.switch(OTHER)
        s.probe("end")
        s.restore()
        s.switch(HOG)
        s.restore()
        s.switch(KTHREAD)

    analysis = tell_probed(story, "G5", tmp_path, unset=["begun"])
    assert ("FPU302", verdict, OTHER.pid, 1) in accused(analysis)


def preempted(
    s: ProbedStory, *, flags: int = 0, depth: int = 0, normal: int = 2, state: int = 256
) -> None:
    """A preemption after the begin's probe, by a kernel whose switches count ``normal``."""

    def away(to: Task, **common: int) -> None:
        s.schedule(to, common_preempt_count=normal, **common)
        s.switch_to(to)

    away(KTHREAD)
    away(OTHER)
    s.restore()
    s.probe("begin")
    s.schedule(HOG, state=state, common_flags=flags, common_preempt_count=depth)
    s.switch_to(HOG)
    s.restore()
    away(OTHER)
    s.probe("begun")
    s.probe("end")
    s.restore()
    away(HOG)
    s.restore()
    away(KTHREAD)


@pytest.mark.parametrize(
    ("depth", "flags", "found"),
    [
        (2, 0, []),  # preemption was on when it came: kernel_fpu_begin_mask() had not begun
        (2, NEED_RESCHED, []),
        (3, 0, ["possible"]),  # preempt_disable() of the section
        (2, BH_OFF, ["possible"]),  # local_bh_disable() of fpregs_lock(), from 6.16 on
        (0x12, 0, []),  # the upper half counts migrate_disable()
    ],
)
def test_flags_tell_a_preemption_before_the_section(
    depth: int, flags: int, found: list[str], tmp_path: Path
) -> None:
    """Recorded on Debian's 7.2: kfpuload was preempted where a kprobe on the begin returns."""
    analysis = tell_probed(
        lambda s: preempted(s, depth=depth, flags=flags), "G6", tmp_path, unset=["begun"]
    )
    assert [verdict for code, verdict, *_ in accused(analysis) if code == "FPU302"] == found


@pytest.mark.parametrize("normal", [0, 2])
def test_a_begin_that_did_not_return_began_nothing(normal: int, tmp_path: Path) -> None:
    """Once returns are recorded; ``normal`` 0: a kernel that does not count preemption."""

    def story(s: ProbedStory) -> None:
        s.switch(KTHREAD)
        s.begin(OTHER)
        s.kernel_fpu()
        preempted(s, normal=normal, depth=normal + 1)

    assert accused(tell_probed(story, "G6", tmp_path)) == []


def test_a_section_that_began_is_confirmed_whatever_flags_say(tmp_path: Path) -> None:
    def story(s: ProbedStory) -> None:
        s.switch(KTHREAD)
        s.begin(OTHER)
        s.probe("begin")
        s.probe("begun")
        s.schedule(HOG, common_preempt_count=2)
        s.switch_to(HOG, save=False)
        s.restore()
        s.switch(OTHER)
        s.probe("end")
        s.restore()
        s.switch(HOG)
        s.restore()
        s.switch(KTHREAD)

    assert ("FPU302", "confirmed", OTHER.pid, 1) in accused(tell_probed(story, "G6", tmp_path))
