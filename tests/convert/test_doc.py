"""What docs/convert.md says of the forms, run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fputrace.convert import convert_trace
from fputrace.parsers import arrow, jsonl, open_trace

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

DOC = (Path(__file__).parent.parent.parent / "docs" / "convert.md").read_text()


@pytest.fixture
def tables(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with open_trace(samples / "6.1-storm-lost" / "trace.dat") as trace:
        convert_trace(trace, "parquet", str(tmp_path / "tables"))
        convert_trace(trace, "jsonl", str(tmp_path / "lines"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python(tables: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.S)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["busiest"].sum() == len(names["switches"]) > 1000
    assert names["both"].common_ts.is_monotonic_increasing


def test_columns(tables: Path) -> None:
    for schema in (
        arrow.event_schema(None)[0],
        arrow.losses_schema(),
        arrow.marks_schema(),
        arrow.metadata_schema(),
    ):
        assert all(f"`{name}`" in DOC for name in schema.names), schema.names
    assert {path.name for path in (tables / "tables").iterdir()} >= set(
        re.findall(r"^\| `(\w+\.parquet)`", DOC, re.M)
    )
    assert f"{arrow.CHUNK_ROWS:,} rows" in DOC
    assert f"no line above {jsonl.LARGEST_LINE >> 20} MiB" in DOC


def test_kinds_of_lines(tables: Path) -> None:
    lines = [json.loads(line) for line in (tables / "lines").read_text().splitlines()]
    found = list(dict.fromkeys(next(iter(line)) for line in lines))
    assert found == re.findall(r'^\| `\{"(\w+)": ', DOC, re.M)
    keys = {key for line in lines if "ts" in line for key in line}
    assert all(f"`{key}`" in DOC or f'"{key}"' in DOC for key in keys), keys
