"""FPU905: events carry a flag that the kernel of this generation cannot print."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from tests.rules.scenario import HOG, OTHER, Story, of, tell


def one_flag_turned(s: Story) -> None:
    """Three switch-out saves: the last prints what the others' kernel never does."""
    s.begin(OTHER)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    s.restore()
    s.schedule(HOG)
    s.fpu("regs_deactivated", flag=int(s.generation != "G6"))
    s.switch_to(HOG, save=False)
    s.restore()


def activated_without_state(s: Story) -> None:
    s.begin(OTHER)
    s.fpu("regs_activated", flag=0)
    s.switch(HOG)


def as_printed(s: Story) -> None:
    s.begin(OTHER)
    for to in (HOG, OTHER, HOG):
        s.switch(to)
        if not s.eager:
            s.restore()


@pytest.mark.parametrize("generation", ["G4a", "G4c", "G5", "G6"])
def test_fires(generation: str, tmp_path: Path) -> None:
    (finding,) = of(tell(one_flag_turned, generation, tmp_path), "FPU905")
    assert finding.message.startswith(f"1 events carry a flag that {generation} cannot print")


@pytest.mark.parametrize("generation", ["G1", "G2", "G3"])
def test_fires_in_eager_kernels(generation: str, tmp_path: Path) -> None:
    assert len(of(tell(activated_without_state, generation, tmp_path), "FPU905")) == 1


@pytest.mark.parametrize("generation", ["G1", "G2", "G3", "G4a", "G4c", "G5", "G6"])
def test_silent(generation: str, tmp_path: Path) -> None:
    assert of(tell(as_printed, generation, tmp_path), "FPU905") == []


def test_recordings_are_silent(sample: Path) -> None:
    assert of(fputrace.analyze(sample), "FPU905") == []
