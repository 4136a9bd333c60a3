"""FPU904: the clock is not the same on all CPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from tests.rules.scenario import HOG, OTHER, Story, of, tell


def on_two_cpus(s: Story) -> None:
    s.begin(OTHER, 0)
    s.begin(HOG, 1)


def on_one_cpu(s: Story) -> None:
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()


@pytest.mark.parametrize("clock", ["local", "clock_of_nobody"])
def test_fires(clock: str, tmp_path: Path) -> None:
    (finding,) = of(tell(on_two_cpus, "G5", tmp_path, cpus=2, clock=clock), "FPU904")
    assert repr(clock) in finding.message


@pytest.mark.parametrize("clock", ["mono", "global", "boot", "counter"])
def test_silent_with_a_global_clock(clock: str, tmp_path: Path) -> None:
    assert of(tell(on_two_cpus, "G5", tmp_path, cpus=2, clock=clock), "FPU904") == []


def test_silent_on_one_cpu(tmp_path: Path) -> None:
    assert of(tell(on_one_cpu, "G5", tmp_path, clock="local"), "FPU904") == []


def test_recordings_are_made_with_a_global_clock(sample: Path) -> None:
    assert of(fputrace.analyze(sample), "FPU904") == []
