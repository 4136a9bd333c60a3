"""Samples taken out of perf.data and lines out of texts accuse nobody.

As tests/replay/test_cut_findings.py does with pages of trace.dat: what is left confirms nothing
that the whole recording does not.  The default run takes one set of holes, ``-m long`` twelve.
"""

from __future__ import annotations

import functools
import io
from collections import Counter
from pathlib import Path

import pytest

import fputrace
from fputrace.convert.text import write_text
from fputrace.findings import Analysis
from fputrace.parsers import open_trace
from tests.conftest import QUICK_CASES, SAMPLE_CASES, SAMPLES
from tests.fuzz.cutting import read_perf
from tests.fuzz.losing import lose_lines, lose_samples, lose_silently
from tests.replay.test_cut_findings import confirmed

PERF_CASES = ("5.2.1-pinned", "5.10-pinned", "6.12-perf-lost")
TEXT_CASES = ("5.10-pinned", "6.1-pinned", "6.12-pipe-lost")
QUICK_OR_LONG = [
    pytest.param(case, marks=() if case in QUICK_CASES else pytest.mark.long)
    for case in SAMPLE_CASES
]
LONG = [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 12))]


def of(path: Path, data: bytes) -> Analysis:
    path.write_bytes(data)
    return fputrace.analyze(path)


def more(cut: Analysis, whole: Analysis) -> Counter[tuple[str, int | None]]:
    """What the cut recording confirms that the whole one does not, or confirms more often."""
    return confirmed(cut) - confirmed(whole)


@pytest.mark.parametrize("seed", LONG)
@pytest.mark.parametrize("case", PERF_CASES)
def test_perf_without_samples(tmp_path: Path, case: str, seed: int) -> None:
    perf = read_perf(SAMPLES / case / "perf.data")
    whole = of(tmp_path / "perf.data", perf.file())
    for form in ("file", "pipe"):
        less = lose_samples(perf, seed)
        cut = of(tmp_path / "perf.data", less.pipe() if form == "pipe" else less.file())
        assert len(cut.losses) > len(whole.losses)
        assert not more(cut, whole)


@pytest.mark.parametrize("seed", LONG)
@pytest.mark.parametrize("case", TEXT_CASES)
def test_trace_without_lines(tmp_path: Path, case: str, seed: int) -> None:
    text = (SAMPLES / case / "trace.txt").read_bytes()
    whole = of(tmp_path / "trace.txt", text)
    cut = of(tmp_path / "trace.txt", lose_lines(text, seed))
    assert len(cut.losses) > len(whole.losses)
    assert not more(cut, whole)


@functools.lru_cache(maxsize=1)
def report(case: str) -> bytes:
    """A trace.dat as ``trace-cmd report`` shows it: the converter's text without what it adds."""
    out = io.BytesIO()
    with open_trace(SAMPLES / case / "trace.dat") as trace:
        write_text(trace, out)
    lines = out.getvalue().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"#"))


@pytest.mark.parametrize("seed", LONG)
@pytest.mark.parametrize("case", QUICK_OR_LONG)
def test_report_without_lines(tmp_path: Path, case: str, seed: int) -> None:
    whole = of(tmp_path / "trace.txt", report(case))
    cut = of(tmp_path / "trace.txt", lose_lines(report(case), seed, how=b"%d EVENTS DROPPED"))
    assert len(cut.losses) > len(whole.losses)
    assert not more(cut, whole)


@pytest.mark.parametrize("seed", LONG)
@pytest.mark.parametrize("name", ["perf-script-default.txt", "perf-script.txt"])
def test_a_form_that_hides_losses_confirms_nothing(tmp_path: Path, name: str, seed: int) -> None:
    """perf script without --show-lost-events, and lines gone that nobody tells of."""
    text = (Path(__file__).parent / "seeds" / name).read_bytes()
    shown = [line for line in lose_silently(text, seed, 4) if b"PERF_RECORD_LOST" not in line]
    cut = of(tmp_path / "script.txt", b"".join(shown))
    assert not cut.trace.losses_known
    assert not confirmed(cut)
