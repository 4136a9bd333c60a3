"""FPU901: the recorder lost events."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Severity, Status
from tests.rules.scenario import HOG, OTHER, Story, of, row, tell


def two_holes(s: Story) -> None:
    s.begin(OTHER)
    s.writer.loss(0, count=12)
    s.switch(HOG)
    s.restore()
    s.writer.loss(0)
    s.switch(OTHER)
    s.restore()


def test_fires(tmp_path: Path) -> None:
    (finding,) = of(tell(two_holes, "G5", tmp_path), "FPU901")
    assert finding.severity is Severity.TRACE
    assert finding.count == 2
    assert finding.message.startswith(
        "12 events and an unknown number in 1 of the places lost in 2 places on CPU 0."
    )


def test_recording(samples: Path) -> None:
    (finding,) = of(fputrace.analyze(samples / "6.1-storm-lost" / "trace.dat"), "FPU901")
    assert finding.count == 6
    assert "26879 events lost in 6 places" in finding.message


def test_loss_at_an_unknown_place(tmp_path: Path) -> None:
    """CPUSTAT counts more than the pages tell."""

    def story(s: Story) -> None:
        s.begin(OTHER)
        s.switch(HOG)
        s.restore()
        s.writer.stats[0] = {"overrun": 30}

    (finding,) = of(tell(story, "G5", tmp_path), "FPU901")
    assert "30 events lost in 1 place " in finding.message
    assert "cannot be placed" in finding.message


def test_what_helps_depends_on_who_lost_them(samples: Path, tmp_path: Path) -> None:
    (finding,) = of(fputrace.analyze(samples / "6.12-perf-lost" / "perf.data"), "FPU901")
    assert "(perf record -m 64M)" in finding.message
    (finding,) = of(fputrace.analyze(samples / "6.12-pipe-lost" / "trace.txt"), "FPU901")
    assert "(trace-cmd record -b)" in finding.message
    lines = (samples / "6.1-pinned" / "trace.txt").read_text().splitlines()[11:400]
    wrapped = [part for line in lines for part in (line[:72], line[72:]) if part]
    mail = tmp_path / "mail"
    mail.write_text("\n".join(["From: a@example.org", "", "I see:", "", *wrapped, ""]))
    (finding,) = of(fputrace.analyze(mail), "FPU901")
    assert finding.message.startswith("an unknown number of events lost in ")
    assert "as an attachment" in finding.message
    assert "larger buffers" not in finding.message


@pytest.mark.parametrize("case", ["5.2.1-pinned", "6.12-storm", "7.2-storm"])
def test_silent(case: str, samples: Path) -> None:
    analysis = fputrace.analyze(samples / case / "trace.dat")
    assert of(analysis, "FPU901") == []
    assert row(analysis, "FPU901").status is Status.CHECKED
