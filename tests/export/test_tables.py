"""The Parquet tables, read back with pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fputrace
from fputrace import cli
from fputrace.export import Window, export

pq: Any = pytest.importorskip("pyarrow.parquet")


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """A table, row by row."""
    table: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return table


@pytest.fixture(scope="module")
def exported(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """An analysis and its tables."""
    folder = tmp_path_factory.mktemp("export") / "tables"
    analysis = fputrace.analyze(str(samples / "5.2.1-pinned" / "trace.dat"))
    export(analysis, "parquet", str(folder), Window())
    return analysis, folder


def test_spans_are_the_timeline(exported: tuple[Any, Path]) -> None:
    analysis, folder = exported
    frame = analysis.timeline.spans()
    told = pq.read_table(folder / "spans.parquet").to_pandas()
    told = told.sort_values(["cpu", "start_ns"], ignore_index=True)
    assert len(frame) == len(told) > 1000
    for name in ("cpu", "start_ns", "end_ns", "pid", "owner"):
        assert np.array_equal(frame[name], told[name]), name
    for name in ("image", "certainty"):
        assert list(frame[name].astype(str)) == list(told[name].astype(str)), name
    comms = analysis.trace.comms
    assert {comms.get(pid, "") for pid in told["owner"]} == set(told["owner_comm"])


def test_events_are_all_there_with_their_fields(exported: tuple[Any, Path]) -> None:
    analysis, folder = exported
    told = rows(folder, "events")
    blocks = list(analysis.trace.blocks())
    assert len(told) == sum(int((block.pid >= 0).sum()) for block in blocks)
    times = np.concatenate([block.ts[block.pid >= 0] for block in blocks])
    assert [row["common_ts"] for row in told] == times.tolist()
    saved = next(row for row in told if row["event"] == "x86_fpu:x86_fpu_regs_deactivated")
    assert saved["fpu"] > 1 << 63, "a kernel pointer, unsigned"
    assert saved["next_pid"] is None
    switch = next(row for row in told if row["event"] == "sched:sched_switch")
    assert switch["next_pid"] >= 0
    assert switch["fpu"] is None


def test_findings_with_their_evidence(exported: tuple[Any, Path]) -> None:
    analysis, folder = exported
    told = rows(folder, "findings")
    assert [(row["code"], row["verdict"], row["count"]) for row in told] == [
        (f.code, f.verdict.value, f.count) for f in analysis.findings
    ]
    steps = rows(folder, "evidence")
    for row in told:
        finding = analysis.findings[row["finding"]]
        mine = [step for step in steps if step["finding"] == row["finding"]]
        assert [step["ns"] for step in mine] == [
            event.ns for witness in finding.witnesses for event in witness.events
        ]


def test_a_window(samples: Path, tmp_path: Path) -> None:
    trace = str(samples / "5.2.1-pinned" / "trace.dat")
    command = ["export", trace, "--to", "parquet", "-o", str(tmp_path / "t"), "-q"]
    assert cli.main([*command, "--time", "3.5,3.6", "--cpu", "1"]) == 0
    events = rows(tmp_path / "t", "events")
    assert {row["common_cpu"] for row in events} == {1}
    assert all(3_500_000_000 <= row["common_ts"] <= 3_600_000_000 for row in events)
    assert {row["cpu"] for row in rows(tmp_path / "t", "spans")} == {1}
    assert cli.main([*command, "--force"]) == 0


@pytest.mark.parametrize(
    ("there", "force", "told"),
    [("mail.txt", True, "something else"), ("spans.parquet", False, "--force replaces it")],
)
def test_a_folder_of_others_stays(
    samples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    there: str,
    force: bool,
    told: str,
) -> None:
    (tmp_path / there).write_text("mine")
    trace = str(samples / "4.14.5-pinned" / "trace.dat")
    command = ["export", trace, "--to", "parquet", "-o", str(tmp_path), "-q"]
    assert cli.main(command + ["--force"] * force) == 2
    assert told in capsys.readouterr().err
    assert (tmp_path / there).read_text() == "mine"


def test_tables_need_a_folder(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = str(samples / "4.14.5-pinned" / "trace.dat")
    assert cli.main(["export", trace, "--to", "parquet", "-q"]) == 2
    assert "-o FOLDER" in capsys.readouterr().err
