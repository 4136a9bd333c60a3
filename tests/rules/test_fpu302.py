"""FPU302: switched out inside a section.  The fault itself: test_probed.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.probed import ProbedStory, tell_probed
from tests.rules.scenario import HOG, KTHREAD, OTHER, accused


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
