"""What trace-cmd and perf print of a recording, read back: never more than the recording tells."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Analysis
from tests.conftest import SAMPLES
from tests.tools import text_of, trace_cmd

REPORTS = ("", "-t", "-R", "-R -t", "-l", "-R -l", "--ts-diff", "-l -t --ts-diff")
SCRIPTS = (
    "",
    "--ns",
    "--show-lost-events",
    "--ns --show-lost-events -F comm,tid,cpu,time,event,trace",
    "-F comm,pid,tid,cpu,time,event,trace",
    "-F comm,pid,cpu,time,event,trace",
    "-L",
    "-L --ns --show-lost-events",
    "--reltime",
    "--header --show-task-events",
    "--ns --deltatime",
    "-F +ip,+sym",
)
PERF = sorted(path.parent.name for path in SAMPLES.glob("*/perf.data"))


def findings(analysis: Analysis) -> tuple[Counter[str], Counter[str]]:
    """(confirmed, all) counts of what is found about the kernel, by code."""
    confirmed: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for finding in analysis.findings:
        if finding.code < "FPU9":
            found[finding.code] += finding.count
            if finding.verdict == "confirmed":
                confirmed[finding.code] += finding.count
    return confirmed, found


def assert_not_stronger(text: Analysis, binary: Analysis) -> None:
    sure, found = findings(binary)
    text_sure, text_found = findings(text)
    assert text_sure <= sure
    # A text that hides losses, or does not tell which kernel it was, leaves more readings open.
    hidden = bool(binary.trace.losses) and not text.trace.losses
    if not hidden and text.generation.candidates == binary.generation.candidates:
        assert text_found <= found
    assert set(binary.generation.candidates) <= set(text.generation.candidates)
    if text.generation.candidates != binary.generation.candidates:
        return
    ranks = ["not-applicable", "not-decidable", "partly", "checked"]
    known = {row.code: ranks.index(row.status.value) for row in binary.coverage}
    for row in text.coverage:
        if row.code < "FPU9":
            assert ranks.index(row.status.value) <= max(known[row.code], 1), row.code


def analyze(path: Path, kernel: str | None = None) -> Analysis:
    analysis = fputrace.analyze(str(path), kernel=kernel)
    analysis.trace.close()
    return analysis


@pytest.mark.skipif(not trace_cmd.INSTALLED, reason=trace_cmd.MISSING)
def test_trace_cmd_report(quick_sample: Path, tmp_path: Path) -> None:
    binary = analyze(quick_sample)
    for options in REPORTS:
        said = trace_cmd.run("report", *options.split(), "-i", quick_sample)
        path = tmp_path / "report.txt"
        path.write_text(said, encoding="utf-8", errors="surrogateescape")
        assert_not_stronger(analyze(path), binary)
        text = analyze(path, binary.trace.kernel)
        assert_not_stronger(text, binary)
        assert sum(text.trace.counts.values()) == sum(binary.trace.counts.values())
        lost = [sum(loss.count or 0 for loss in one.trace.losses) for one in (text, binary)]
        assert lost[0] == lost[1]
        if not binary.trace.probes:  # their functions are known from kallsyms, which no text has
            assert set(findings(text)[1]) == set(findings(binary)[1]), options
        assert text.trace.unusable == {}


@pytest.mark.skipif(not text_of.PERF_INSTALLED, reason=text_of.PERF_MISSING)
@pytest.mark.parametrize("case", PERF)
def test_perf_script(case: str, tmp_path: Path) -> None:
    binary = analyze(SAMPLES / case / "perf.data")
    for options in SCRIPTS:
        command = ["perf", "script", *options.split(), "-i", str(SAMPLES / case / "perf.data")]
        path = tmp_path / "script.txt"
        path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
        assert_not_stronger(analyze(path), binary)
        text = analyze(path, binary.trace.kernel)
        assert_not_stronger(text, binary)
        if "--show-lost-events" in options:
            lost = [sum(loss.count or 0 for loss in one.trace.losses) for one in (text, binary)]
            assert lost[0] == lost[1]
        assert not text.trace.losses_known
