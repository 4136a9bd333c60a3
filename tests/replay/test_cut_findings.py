"""Pages taken out of a recording never make an accusation, and every hole is told once.

The default run takes each sample with three sets of pages removed; ``-m long`` with 25.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Analysis, Severity, Verdict
from tests.conftest import SAMPLE_CASES, SAMPLES
from tests.tools.cut_pages import cut_pages
from tests.tools.records import lost_before, shape_of
from tests.writers import container

ABOUT_THE_TRACE = Severity.TRACE
"""FPU9xx: of course a cut recording has more losses."""


def confirmed(analysis: Analysis) -> Counter[tuple[str, int | None]]:
    """How often each rule is confirmed of each task."""
    counts: Counter[tuple[str, int | None]] = Counter()
    for finding in analysis.findings:
        if finding.verdict is Verdict.CONFIRMED and finding.severity is not ABOUT_THE_TRACE:
            counts[finding.code, finding.pid] += finding.count
    return counts


@functools.lru_cache(maxsize=1)
def whole(case: str) -> Analysis:
    return fputrace.analyze(SAMPLES / case / "trace.dat")


def flagged_pages(path: Path) -> int:
    """Pages before which the kernel says that events were lost."""
    trace = container.read(path)
    shape = shape_of(trace)
    return sum(
        lost_before(page, shape) != 0
        for buffer in trace.buffers
        for pages in buffer.cpus.values()
        for page in pages
    )


def check(tmp_path: Path, case: str, seed: int) -> None:
    target = tmp_path / "trace.dat"
    assert cut_pages(SAMPLES / case / "trace.dat", target, seed=seed)
    cut = fputrace.analyze(target)
    holes = [loss.where for loss in cut.losses if loss.where.startswith("page")]
    assert len(holes) == len(set(holes)) == flagged_pages(target)
    assert cut.generation.code in (None, whole(case).generation.code)
    more = confirmed(cut) - confirmed(whole(case))
    assert not more, f"seed {seed}: {dict(more)} confirmed only without the pages"


@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_nothing_is_confirmed_that_the_whole_recording_does_not(tmp_path: Path, case: str) -> None:
    check(tmp_path, case, 0)


@pytest.mark.long
@pytest.mark.parametrize("case", SAMPLE_CASES)
def test_nothing_is_confirmed_with_any_pages_removed(tmp_path: Path, case: str) -> None:
    for seed in range(1, 25):
        check(tmp_path, case, seed)
