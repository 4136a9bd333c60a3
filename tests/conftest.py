"""Fixtures shared by all tests: the recordings in ``sample_traces`` and trace-cmd as an oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "sample_traces"
SAMPLE_CASES = sorted(path.parent.name for path in SAMPLES.glob("*/trace.dat"))


@pytest.fixture(params=SAMPLE_CASES)
def sample(request: pytest.FixtureRequest) -> Path:
    """Each ``sample_traces/*/trace.dat`` in turn."""
    return SAMPLES / str(request.param) / "trace.dat"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with the recordings."""
    return SAMPLES
