"""Every directory of sample_traces against its expected.json; a new case needs no code here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fputrace
from fputrace.findings import Severity, Verdict

if TYPE_CHECKING:
    from fputrace.findings import Analysis

SAMPLES = Path(__file__).parent.parent / "sample_traces"
KEYS = {"kernel", "generation", "candidates", "clean", "lost", "findings", "forced", "recordings"}
TEXTS = {"README.md", "expected.json"}
SIDECAR = ".fputrace.json"
CASES = sorted(path for path in SAMPLES.iterdir() if path.is_dir())
RECORDINGS = [
    (case, recording)
    for case in CASES
    for recording in sorted(case.iterdir())
    if recording.name not in TEXTS and not recording.name.endswith(SIDECAR)
]


def expected_of(case: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((case / "expected.json").read_text())
    return loaded


def check_findings(analysis: Analysis, expected: dict[str, Any]) -> None:
    for code, want in expected.items():
        verdicts = want["verdict"].split("|")
        found = [f for f in analysis.findings if f.code == code and f.verdict.value in verdicts]
        assert found, f"no {code} with verdict {want['verdict']}"
        total = sum(finding.count for finding in found)
        assert want["min"] <= total <= want.get("max", total), (code, total)


@pytest.mark.parametrize(
    ("case", "recording"), RECORDINGS, ids=[f"{c.name}-{r.name}" for c, r in RECORDINGS]
)
def test_recording(case: Path, recording: Path) -> None:
    expected = expected_of(case)
    expected |= expected.get("recordings", {}).get(recording.name, {})
    analysis = fputrace.analyze(str(recording))
    generation = analysis.generation
    assert analysis.trace.kernel == expected["kernel"]
    if "candidates" in expected:
        assert not generation.decided
        assert list(generation.candidates) == expected["candidates"]
    else:
        assert generation.decided, generation.candidates
        assert generation.code == expected["generation"]
    lost = expected.get("lost", [0, 0])
    assert lost[0] <= sum(loss.count or 0 for loss in analysis.losses) <= lost[1]
    check_findings(analysis, expected["findings"])
    accused = [
        finding.message
        for finding in analysis.findings
        if finding.severity is Severity.ERROR and finding.verdict is Verdict.CONFIRMED
    ]
    assert not (expected["clean"] and accused), accused


@pytest.mark.parametrize(
    ("case", "code"),
    [(case, code) for case in CASES for code in expected_of(case).get("forced", {})],
    ids=lambda value: getattr(value, "name", value),
)
def test_forced_generation(case: Path, code: str) -> None:
    for recording in (path for path in case.iterdir() if path.name not in TEXTS):
        analysis = fputrace.analyze(str(recording), generation=code)
        assert analysis.generation.forced
        assert analysis.generation.code == code
        check_findings(analysis, expected_of(case)["forced"][code])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_is_complete(case: Path) -> None:
    """A typing error in expected.json must not pass as "nothing expected"."""
    expected = expected_of(case)
    assert set(expected) <= KEYS
    assert set(expected) >= {"kernel", "generation", "clean", "findings"}
    for findings in (expected["findings"], *expected.get("forced", {}).values()):
        for code, want in findings.items():
            assert code.startswith("FPU")
            assert set(want) <= {"verdict", "min", "max"}
    for name, different in expected.get("recordings", {}).items():
        assert (case / name).is_file()
        assert set(different) <= KEYS - {"recordings", "forced"}
    readme = (case / "README.md").read_text()
    assert readme.startswith(f"# {case.name}\n")
    for word in ("Origin:", "Kernel:", "Recorded:", "What is true"):
        assert word in readme
    assert len(list(case.iterdir())) > len(TEXTS), "no recording"
