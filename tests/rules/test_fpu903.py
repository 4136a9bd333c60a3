"""FPU903: the recording fits more than one generation."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from tests.rules.scenario import RELEASES, VCPU, Story, of, tell


def short(s: Story) -> None:
    s.begin(VCPU)
    s.run_guest()
    s.return_to_vmm()


def test_recording(samples: Path) -> None:
    path = samples / "4.14.0-rc8-pinned" / "trace.dat"
    (finding,) = of(fputrace.analyze(path), "FPU903")
    assert "G2 (" in finding.message
    assert "G3 (" in finding.message
    assert "--generation" in finding.message
    assert of(fputrace.analyze(path, generation="G3"), "FPU903") == []
    assert of(fputrace.analyze(path, kernel="4.19.1"), "FPU903") == []


@pytest.mark.parametrize(
    ("generation", "kernel"), [("G3", "5.0.0-rc1"), ("G4a", "5.2.0+"), ("G4c", "5.5.0-rc3+")]
)
def test_fires_for_a_release_that_is_no_bound(generation: str, kernel: str, tmp_path: Path) -> None:
    analysis = tell(short, generation, tmp_path, kernel=kernel)
    (finding,) = of(analysis, "FPU903")
    assert not analysis.generation.decided
    assert all(f"{code} (" in finding.message for code in analysis.generation.candidates)


@pytest.mark.parametrize("generation", [code for code in RELEASES if code != "G2x"])
def test_silent_for_an_upstream_release(generation: str, tmp_path: Path) -> None:
    assert of(tell(short, generation, tmp_path), "FPU903") == []
