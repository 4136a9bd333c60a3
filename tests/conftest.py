"""Fixtures shared by all tests: the recordings in ``sample_traces`` and trace-cmd as an oracle."""

from __future__ import annotations

import signal
from collections.abc import Collection
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "sample_traces"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background ignores it, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLE_CASES = sorted(path.parent.name for path in SAMPLES.glob("*/trace.dat"))

QUICK_CASES = (
    "4.14.5-pinned",
    "5.2.1-pinned",
    "5.10-pinned",
    "6.1-storm-lost",
    "6.12-kfpu-probes",
    "6.12-perf-lost",
    "6.12-pipe-lost",
)
"""Kernels of every kind, recordings of every form, losses, probes: what takes seconds a recording
tries these; the others, 7.2-storm with its 110,000 events among them, are marked long."""

FEW_CASES = ("5.2.1-pinned", "5.10-pinned", "6.1-storm-lost")
"""Every form, findings, losses: for what takes longer still."""


def unless_long(path: Path, quick: Collection[str] = QUICK_CASES) -> object:
    """A recording as a parameter, marked long when its case is not of ``quick``."""
    case = path.parent.name
    marks = () if case in quick else (pytest.mark.long,)
    return pytest.param(path, marks=marks, id=f"{case}-{path.name}")


@pytest.fixture(params=[unless_long(SAMPLES / case / "trace.dat") for case in SAMPLE_CASES])
def quick_sample(request: pytest.FixtureRequest) -> Path:
    """As ``sample``, for tests that take seconds: most are marked long."""
    path: Path = request.param
    return path


@pytest.fixture(params=SAMPLE_CASES)
def sample(request: pytest.FixtureRequest) -> Path:
    """Each ``sample_traces/*/trace.dat`` in turn."""
    return SAMPLES / str(request.param) / "trace.dat"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with the recordings."""
    return SAMPLES
