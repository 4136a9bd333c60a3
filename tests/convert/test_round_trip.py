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
from tests.conftest import FEW_CASES, unless_long

SAMPLES = Path(__file__).parent.parent.parent / "sample_traces"
RECORDINGS = sorted(
    path
    for path in SAMPLES.glob("*/*")
    if path.name in ("trace.dat", "perf.data", "trace.txt") or path.name.startswith("perf.data")
)
OWN = {"path", "format", "total_bytes", "read_bytes", "_blocks", "_close", "_plan"}
"""What is about the file itself."""
ABOUT = [field.name for field in dataclasses.fields(Trace) if field.name not in OWN]


@pytest.fixture(params=[unless_long(path, FEW_CASES) for path in RECORDINGS])
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


def assert_same(one: Trace, other: Trace) -> None:
    """Every column, each row's name, some rows' fields, and what the traces say at the end."""
    left, right = list(one.blocks()), list(other.blocks())
    assert bool(left) == bool(right)
    for column in ("ts", "cpu", "pid", "kind", "flags", "op") if left else ():
        expected, found = (
            np.concatenate([getattr(block, column) for block in side]) for side in (left, right)
        )
        np.testing.assert_array_equal(found, expected, err_msg=column)
    a, b = (
        [
            (block.names[event], block.fields_of(row) if row % 11 == 0 else None)
            for block in side
            for row, event in enumerate(block.event.tolist())
            if event >= 0
        ]
        for side in (left, right)
    )
    assert a == b
    for name in ABOUT:
        assert getattr(one, name) == getattr(other, name), name


def test_round_trip(recording: Path, tmp_path: Path) -> None:
    expected = report_of(recording)
    direct = convert(recording, "jsonl", tmp_path / "direct.jsonl")
    tables = convert(recording, "parquet", tmp_path / "tables")
    for form, converted in (("jsonl", direct), ("parquet", tables)):
        assert report_of(converted) == expected
        with open_trace(recording) as original, open_trace(converted) as copy:
            assert copy.format == f"{form} ({original.format})"
            assert_same(original, copy)
        again = convert(converted, "jsonl", tmp_path / f"again-from-{form}")
        assert again.read_bytes() == direct.read_bytes()
