"""Every report of every recording in ``sample_traces``."""

from __future__ import annotations

import io
import json
from importlib.resources import files
from pathlib import Path

from jsonschema import Draft202012Validator
from rich.console import Console

import fputrace
from fputrace.reports import Options, render
from fputrace.reports.outline import RECORD_WORDS, sorted_findings
from tests.reports.schemas import junit_errors, sarif_errors


def test_reports(sample: Path) -> None:
    analysis = fputrace.analyze(str(sample))
    text = str(render("text", [analysis], Options(verbose=True)))
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 72
    titles = {f"{found.code} {found.name}: {found.verdict.value}" for found in analysis.findings}
    file = io.StringIO()
    Console(file=file, width=80, color_system=None, highlight=False).print(
        render("rich", [analysis], Options())
    )
    rich, _, _ = file.getvalue().partition(RECORD_WORDS)
    assert max(map(len, rich.splitlines())) <= 80
    markdown = str(render("markdown", [analysis], Options()))
    assert len(str(render("text", [analysis], Options()))) < 64 * 1024
    for title in titles:
        assert title in text
        assert title in rich
        assert title in markdown
    if not titles:
        assert "Nothing is wrong as far as this trace can tell" in " ".join(text.split())
    schema = json.loads((files("fputrace.reports") / "analyze.schema.json").read_text())
    made = json.loads(str(render("json", [analysis], Options(version="0"))))
    assert not [error.message for error in Draft202012Validator(schema).iter_errors(made)]
    lines = str(render("jsonl", [analysis], Options(version="0"))).splitlines()
    assert [json.loads(line)["code"] for line in lines] == [
        finding["code"] for finding in made["traces"][0]["findings"]
    ]
    assert not sarif_errors(str(render("sarif", [analysis], Options(version="0"))))
    junit = str(render("junit", [analysis], Options(version="0")))
    assert not junit_errors(junit)
    counts = [finding.count for finding in sorted_findings(analysis.findings)]
    assert [finding["count"] for finding in made["traces"][0]["findings"]] == counts
