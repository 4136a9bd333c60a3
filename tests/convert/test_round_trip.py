"""Every sample converted and read back: the same rows, the same findings, the same bytes again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fputrace
from fputrace.convert import convert_trace
from fputrace.events import Trace
from fputrace.parsers import open_trace
from fputrace.reports.json_report import analyze_json

SAMPLES = Path(__file__).parent.parent.parent / "sample_traces"
RECORDINGS = sorted(
    path
    for path in SAMPLES.glob("*/*")
    if path.name in ("trace.dat", "perf.data", "trace.txt") or path.name.startswith("perf.data")
)
OWN = {"path", "format", "total_bytes", "read_bytes", "_blocks", "_close"}
"""What is about the file itself."""
ABOUT = [field.name for field in dataclasses.fields(Trace) if field.name not in OWN]


@pytest.fixture(params=RECORDINGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def recording(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def convert(source: Path, to: str, output: Path) -> Path:
    with open_trace(source) as trace:
        convert_trace(trace, to, str(output))
    return output


def report_of(path: Path) -> Any:
    """The JSON report but for what names the file itself."""
    analysis = fputrace.analyze(str(path))
    (report,) = json.loads(analyze_json([analysis], 0, ""))["traces"]
    analysis.trace.close()
    for key in ("path", "format", "sha256"):
        del report[key]
    return report


def assert_same_rows(one: Trace, other: Trace) -> None:
    """Every column, every name, every row's fields, and what the traces say at the end."""
    columns = ("ts", "cpu", "pid", "kind", "flags", "op")
    left, right = list(one.blocks()), list(other.blocks())
    for column in columns:
        a = np.concatenate([getattr(block, column) for block in left])
        b = np.concatenate([getattr(block, column) for block in right])
        np.testing.assert_array_equal(a, b, err_msg=column)
    fields = [
        [
            (block.names[block.event[row]] if block.event[row] >= 0 else "", block.fields_of(row))
            for block in blocks
            for row in range(len(block))
        ]
        for blocks in (left, right)
    ]
    assert fields[0] == fields[1]
    for name in ABOUT:
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("to", ["jsonl"])
def test_same_findings_and_rows(recording: Path, to: str, tmp_path: Path) -> None:
    converted = convert(recording, to, tmp_path / "converted")
    assert report_of(converted) == report_of(recording)
    with open_trace(recording) as original, open_trace(converted) as copy:
        assert copy.format == f"{to} ({original.format})"
        assert_same_rows(original, copy)


@pytest.mark.parametrize("to", ["jsonl"])
def test_converted_again_is_the_same(recording: Path, to: str, tmp_path: Path) -> None:
    direct = convert(recording, "jsonl", tmp_path / "direct")
    between = convert(recording, to, tmp_path / "between")
    again = convert(between, "jsonl", tmp_path / "again")
    assert again.read_bytes() == direct.read_bytes()
