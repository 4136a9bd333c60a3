"""Known findings: what survives another run of a workload, and what is new (docs/config.md)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import fputrace
from fputrace import baseline
from fputrace.analysis import exit_status
from fputrace.cli import main
from fputrace.errors import UsageError
from fputrace.findings import Analysis, Findings, Verdict
from tests.rules.scenario import KTHREAD, VCPU, Story


def made(folder: Path, count: int = 10, pid: int = VCPU.pid, comm: str = "CPU 1/KVM") -> Analysis:
    """``count`` FPU108 of a thread, in a recording whose length grows with them."""
    task = VCPU._replace(pid=pid, comm=comm)
    story = Story("G5")
    story.writer.comms[pid] = comm
    story.begin(task)
    for _ in range(count):
        story.load()
        story.load()
        story.enter()
        story.return_to_vmm()
    story.switch(KTHREAD)
    return fputrace.analyze(story.write(folder / "trace.dat"))


def compared(old: Analysis, new: Analysis) -> Analysis:
    return baseline.apply(new, baseline.gather([old]), "known.json")


def with_finding(analysis: Analysis, **changes: object) -> Analysis:
    (finding,) = analysis.findings
    changed = dataclasses.replace(finding, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(analysis, findings=Findings([changed]))


def test_another_run_is_known(tmp_path: Path) -> None:
    """Other pids, other numbers in names, other times and words."""
    old = made(tmp_path)
    new = with_finding(made(tmp_path, 14, pid=4711, comm="CPU 7/KVM"), message="other words")
    after = compared(old, new)
    assert after.findings == []
    (row,) = after.suppressed
    assert row[:4] == ("FPU108", "known, in known.json", 1, 14)
    assert [finding.count for finding in row.left_out] == [14]
    assert exit_status([new]) == 1
    assert exit_status([after]) == 0


NEW = [
    {"vcpu": 5},
    {"comm": "qemu"},
    {"code": "FPU109"},
    {"count": 1000},
]


@pytest.mark.parametrize("changes", NEW, ids=str)
def test_what_is_new(changes: dict[str, object], tmp_path: Path) -> None:
    old = made(tmp_path)
    after = compared(old, with_finding(old, **changes))
    assert len(after.findings) == 1
    assert after.suppressed == ()


def test_a_stronger_verdict_is_new(tmp_path: Path) -> None:
    proven = made(tmp_path)
    guess = with_finding(proven, verdict=Verdict.POSSIBLE)
    assert len(compared(guess, proven).findings) == 1
    assert compared(proven, guess).findings == []


def test_growth(tmp_path: Path) -> None:
    """Up to three times the rate is the same finding; so few are no rate."""
    old = made(tmp_path)
    (finding,) = old.findings
    for count, known in ((finding.count * 3, True), (finding.count * 3 + 1, False)):
        assert (compared(old, with_finding(old, count=count)).findings == []) is known
    once = with_finding(old, count=1)
    assert compared(once, with_finding(old, count=baseline.FEW)).findings == []
    assert len(compared(once, with_finding(old, count=baseline.FEW + 1)).findings) == 1


def test_workers_of_one_name_count_together(tmp_path: Path) -> None:
    old = made(tmp_path)
    (finding,) = old.findings
    many = [
        dataclasses.replace(finding, comm=f"CPU {n}/KVM", pid=n, count=10, vcpu=finding.vcpu)
        for n in range(4)
    ]
    after = compared(old, dataclasses.replace(old, findings=Findings(many)))
    assert len(after.findings) == len(many)


def test_findings_about_the_recording_stay(tmp_path: Path) -> None:
    story = Story("G5", hole=True)
    story.begin(VCPU)
    story.moment()
    story.switch(KTHREAD)
    analysis = fputrace.analyze(story.write(tmp_path / "trace.dat"))
    assert {f.code for f in compared(analysis, analysis).findings} >= {"FPU901"}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    trace, known = str(tmp_path / "trace.dat"), str(tmp_path / "known.json")
    assert main(["analyze", trace, "-q", "-o", str(tmp_path / "out"), "--no-config"]) == 1
    assert main(["analyze", trace, "-q", "--write-baseline", known]) == 0
    assert "FPU108" in capsys.readouterr().out, "it is shown all the same"
    first = Path(known).read_text()
    assert main(["analyze", trace, "-q", "--write-baseline", known]) == 0
    assert Path(known).read_text() == first
    capsys.readouterr()
    assert main(["analyze", trace, "--format", "json", "--baseline", known]) == 0
    (one,) = json.loads(capsys.readouterr().out)["traces"]
    assert one["findings"] == []
    assert one["suppressed"][0]["reason"] == f"known, in {known}"
    assert main(["analyze", trace, "--format", "text", "-q", "--baseline", known]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 finding is left out as known or ignored, and nothing else was found: " in text
    assert "Nothing is wrong" not in text


def test_a_baseline_that_is_renewed_keeps_what_it_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path)
    trace, known = str(tmp_path / "trace.dat"), str(tmp_path / "known.json")
    assert main(["analyze", trace, "-q", "--write-baseline", known]) == 0
    (row,) = json.loads(Path(known).read_text())["findings"]
    elsewhere = {**row, "comm": "qemu"}
    rarer = {**row, "verdict": "possible", "rate": 0.1}
    Path(known).write_text(
        json.dumps({"fputrace_baseline": 1, "findings": [elsewhere, rarer]}), encoding="utf-8"
    )
    renew = ["analyze", trace, "--format", "json", "--baseline", known, "--write-baseline", known]
    capsys.readouterr()
    for shown in (1, 0):
        assert main(renew) == 0
        said = capsys.readouterr()
        assert f"{known}: 2 known findings" in said.err
        (one,) = json.loads(said.out)["traces"]
        assert len(one["findings"]) == shown, "what was known before is what is left out"
        assert json.loads(Path(known).read_text())["findings"] == [row, elsewhere]


def test_no_other_file_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path)
    trace = tmp_path / "trace.dat"
    before = trace.read_bytes()
    assert main(["analyze", str(trace), "-q", "--write-baseline", str(trace)]) == 2
    assert "is no baseline of fputrace" in capsys.readouterr().err
    assert trace.read_bytes() == before


GOOD = {"code": "FPU108", "comm": "CPU N/KVM", "vcpu": 1, "verdict": "confirmed", "rate": 1.5}
BAD = [
    b"",
    b"\xff",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"fputrace_baseline": 2, "findings": []}',
    b'{"fputrace_baseline": 1}',
    b'{"fputrace_baseline": 1, "findings": {}}',
    *(
        json.dumps({"fputrace_baseline": 1, "findings": [{**GOOD, key: value}]}).encode()
        for key, value in (
            ("code", 1),
            ("comm", None),
            ("vcpu", "1"),
            ("vcpu", True),
            ("verdict", "sure"),
            ("rate", "1"),
            ("more", 1),
        )
    ),
]


@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_any_other_content_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"known\.json"):
        baseline.read(str(path))
