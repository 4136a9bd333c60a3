"""FPU303: a section that takes long.  The fault itself: test_probed.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.findings import Severity
from tests.rules.probed import ProbedStory, tell_probed
from tests.rules.scenario import KTHREAD, OTHER, accused, of


@pytest.mark.parametrize(("events", "found"), [(48, 0), (49, 0), (50, 1), (51, 1)])
def test_more_than_50_us(events: int, found: int, tmp_path: Path) -> None:
    """An event a microsecond: the end comes ``events`` + 1 after the begin."""

    def story(s: ProbedStory) -> None:
        s.switch(KTHREAD)
        s.begin(OTHER)
        s.probe("begin")
        for _ in range(events):
            s.event("sched_migrate_task", pid=KTHREAD.pid)
        s.probe("end")
        s.restore()
        s.switch(KTHREAD)

    analysis = tell_probed(story, "G5", tmp_path)
    assert accused(analysis) == [("FPU303", "confirmed", OTHER.pid, 1)] * found
    assert all(f.severity is Severity.PERFORMANCE for f in of(analysis, "FPU303"))
