"""Pieces of recordings: the same finding in them, their edges, what cannot be cut."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.cli import main
from fputrace.errors import UsageError
from fputrace.events import Kind
from fputrace.findings import Analysis, Finding, Severity, Verdict
from fputrace.parsers import open_trace
from fputrace.rewrite.cut import read_window
from tests.conftest import SAMPLES, unless_long
from tests.parsers.rows import Row, read_all
from tests.writers import TraceWriter
from tests.writers.container import CPUSTAT, read

CASES = [
    unless_long(path)
    for path in sorted(SAMPLES.glob("*/*.da*"))
    if path.parent.name in ("5.2.1-pinned", "4.14.0-rc8-pinned", "4.14.5-pinned")
    or path.parent.name.startswith("6.1-")
]
"""Recordings with findings."""

CORRUPTION = SAMPLES / "5.2.1-pinned" / "trace.dat"


def cut(*words: str | Path) -> int:
    return main(["cut", *map(str, words)])


def proofs(analysis: Analysis) -> set[tuple[str, int | None]]:
    return {
        (one.code, one.pid)
        for one in analysis.findings
        if one.verdict is Verdict.CONFIRMED and one.severity is not Severity.TRACE
    }


def report(path: Path) -> list[str]:
    """What trace-cmd shows of a file; its complaints end a test."""
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    done = subprocess.run(["trace-cmd", "report", "-t", path], capture_output=True, check=True)
    complaints = done.stderr.replace(b"trace-cmd: No such file or directory\n", b"")
    assert b"rror" not in complaints
    return done.stdout.decode("utf-8", "replace").splitlines()


@pytest.mark.parametrize("path", CASES)
def test_a_finding_is_the_same_in_its_piece(path: Path, tmp_path: Path) -> None:
    """Nothing else is confirmed there, trace-cmd has the events, and it is small."""
    whole = fputrace.analyze(path)
    numbers: dict[str, int] = {}
    located: list[tuple[Finding, int]] = []
    for one in whole.findings:
        numbers[one.code] = numbers.get(one.code, 0) + 1
        if one.severity is not Severity.TRACE:
            located.append((one, numbers[one.code]))
    whole_lines = set(report(path)) if path.suffix == ".dat" else set()
    long = path != CORRUPTION
    for found, number in located if long else located[1:3]:
        out = tmp_path / f"{found.code}-{number}.dat"
        assert cut(path, out, "--finding", f"{found.code}:{number}", "-q") == 0
        assert out.stat().st_size < 100_000
        piece = fputrace.analyze(out)
        assert any(
            (one.code, one.pid, one.verdict) == (found.code, found.pid, found.verdict)
            for one in piece.findings
        )
        assert proofs(piece) <= proofs(whole)
        assert piece.trace.kernel == whole.trace.kernel
        assert piece.trace.clock == whole.trace.clock
        lines = [line for line in report(out)[1:] if "DROPPED" not in line]
        assert len(lines) == sum(piece.trace.counts.values())
        if whole_lines:
            assert set(lines) <= whole_lines


def events_of(path: Path) -> list[Row]:
    return read_all(path).rows


def test_a_piece_has_what_happened_then_and_says_where_it_was_cut(tmp_path: Path) -> None:
    out = tmp_path / "out.dat"
    assert cut(CORRUPTION, out, "--time", "3.35,3.4", "-q") == 0
    trace, rows, marks = read_all(out)
    assert rows == [
        row for row in events_of(CORRUPTION) if 3_350_000_000 <= row.ts <= 3_400_000_000
    ]
    losses = sorted((loss.cpu or 0, loss.count, loss.placed) for loss in trace.losses)
    assert losses == [(0, None, True)] * 2 + [(1, None, True)] * 2
    ends = [Kind.LOSS, Kind.LOSS_END, Kind.LOSS, Kind.CPU_END]
    for cpu in (0, 1):
        assert [kind for _, number, kind in marks if number == cpu] == ends
    assert [line for line in report(out) if "DROPPED" in line] == [
        "CPU:1 [EVENTS DROPPED]",
        "CPU:0 [EVENTS DROPPED]",
    ]


def test_what_is_left_whole_has_no_cut_edges(tmp_path: Path) -> None:
    out = tmp_path / "out.dat"
    assert cut(CORRUPTION, out, "--time", ",", "--max-size", "5M", "-q") == 0
    assert events_of(out) == events_of(CORRUPTION)
    piece, whole = fputrace.analyze(out), fputrace.analyze(CORRUPTION)
    assert piece.losses == []
    shown = [(f.code, f.pid, f.verdict, f.count, f.message) for f in piece.findings]
    assert shown == [(f.code, f.pid, f.verdict, f.count, f.message) for f in whole.findings]
    assert piece.trace.symbols == whole.trace.symbols


def test_a_cpu_without_events_in_the_piece_was_not_idle(tmp_path: Path) -> None:
    writer = TraceWriter("6.12.1", cpus=3)
    for cpu, ts in ((0, 100), (1, 200), (0, 300), (1, 400)):
        writer.event(cpu, ts, 7, "kvm_fpu", load=1)
    path = writer.write(tmp_path / "in.dat")
    assert cut(path, tmp_path / "out.dat", "--time", "0.0000001,0.0000001", "-q") == 0
    with open_trace(tmp_path / "out.dat") as trace:
        assert sum(len(block) for block in trace.blocks()) == 3  # an event, LOSS, CPU_END
        assert {loss.cpu for loss in trace.losses} == {0, 1}, "and CPU 2 had nothing at all"


FORMS = [("little", 8), ("little", 4), ("big", 8), ("big", 4)]


@pytest.mark.parametrize(("endian", "long_size"), FORMS)
@pytest.mark.parametrize("version", [6, 7])
def test_times_losses_and_records_of_every_form(
    tmp_path: Path, endian: Any, long_size: int, version: int
) -> None:
    """Large and small records, times far apart and back, counted losses, corrected clocks."""
    rng = random.Random(7)
    writer = TraceWriter("6.12.1", cpus=2, endian=endian, long_size=long_size, clock="local")
    writer.date(5)
    writer.instance("inner")
    for cpu in (0, 1):
        ts = 1000
        for n in range(300):
            ts += rng.choice((0, 1, 5000, 1 << 27, 1 << 40))
            back = rng.random() < 0.02
            stamp: Any = "absolute" if back or rng.random() < 0.1 else "auto"
            writer.event(cpu, ts - 500 * back, n, "kvm_fpu", load=n % 2, stamp=stamp)
            if rng.random() < 0.03:
                writer.loss(cpu, rng.choice((None, 3, 1000)))
        writer.event(cpu, 5000, 1, "kvm_fpu", load=1, instance="inner")
    path = writer.write(tmp_path / "in.dat", version=version)
    out = tmp_path / "out.dat"
    assert cut(path, out, "--time", ",", "-q", "--instance", "") == 0
    assert read(out).endian == endian
    assert out.read_bytes()[10:12] == b"%d\0" % version
    assert events_of(out) == events_of(path)
    with open_trace(out) as new, open_trace(path) as old:
        for trace in (new, old):
            assert sum(len(block) for block in trace.blocks())
        assert [loss[:4] for loss in new.losses] == [loss[:4] for loss in old.losses]
    assert cut(path, out, "--time", ",", "-q", "--instance", "inner") == 0
    assert len(events_of(out)) == 2


def test_a_loss_that_has_no_place_is_in_every_piece(tmp_path: Path) -> None:
    file = read(CORRUPTION)
    stat = b"CPU: 1\nentries: 0\noverrun: 0\ncommit overrun: 0\ndropped events: 5\n\0"
    file.options = [one for one in file.options if one[0] != CPUSTAT] + [(CPUSTAT, stat)]
    path, out = tmp_path / "in.dat", tmp_path / "out.dat"
    path.write_bytes(file.to_bytes(7, "zstd"))
    assert cut(path, out, "--time", "3.35,3.4", "-q") == 0
    with open_trace(out) as trace:
        assert sum(len(block) for block in trace.blocks())
        assert [(x.cpu, x.count) for x in trace.losses if not x.placed] == [(1, 5)]


def test_output_is_whole_or_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.dat"
    out.write_bytes(b"old")
    kept = shutil.copy(CORRUPTION, tmp_path / "in.dat")
    assert cut(kept, kept, "--time", ",") == 2
    assert "is the recording itself" in capsys.readouterr().err
    for words, said in (
        (("--finding", "FPU102"), "there is no finding FPU102"),
        (("--finding", "FPU111:3"), "there are 2 findings FPU111"),
        (("--time", "1,2"), "no event is in that time"),
        (("--finding", "FPU101", "--max-size", "5K"), "no piece below 5,000 bytes"),
        (("--time", ",", "--max-size", "50K"), "more than 50,000"),
        (("--time", ",", "--max-size", "1K"), "Choose a shorter time"),
    ):
        assert cut(CORRUPTION, out, *words) == 2
        assert said in capsys.readouterr().err
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["in.dat", "out.dat"]
    assert cut(CORRUPTION, "/dev/full", "--time", "3.35,3.4") == 2
    assert "/dev/full" in capsys.readouterr().err


def test_standard_output_and_what_is_said(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cut(CORRUPTION, "-", "--finding", "fpu111:2") == 0
    data, said = capfdbinary.readouterr()
    assert said.startswith(b"fputrace: standard output: ")
    assert b"FPU111 is confirmed in it too" in said
    (tmp_path / "out.dat").write_bytes(data)
    assert events_of(tmp_path / "out.dat")


def test_converted_recordings_stay_what_they_are(tmp_path: Path) -> None:
    """JSON lines give JSON lines; the finding is the same in the piece."""
    lines, out = tmp_path / "lines.jsonl", tmp_path / "out.jsonl"
    assert main(["convert", str(CORRUPTION), "--to", "jsonl", "-o", str(lines)]) == 0
    assert cut(lines, out, "--finding", "FPU111:2", "-q") == 0
    piece = fputrace.analyze(out)
    assert piece.trace.format.startswith("jsonl")
    assert ("FPU111", 93) in proofs(piece)
    assert piece.losses
    assert sum(piece.trace.counts.values()) < 2000


def test_a_text_gives_a_text_whose_edges_are_losses(tmp_path: Path) -> None:
    path, out = SAMPLES / "6.12-pipe-lost" / "trace.txt", tmp_path / "out.txt"
    assert cut(path, out, "--time", "4.2,4.5", "-q") == 0
    trace, rows, _ = read_all(out, ordered=False)
    whole = read_all(path, ordered=False)
    kept = [row for row in whole.rows if 4_200_000_000 <= row.ts <= 4_500_000_000]
    assert [(row.ts, row.cpu, row.name, row.fields) for row in rows] == [
        (row.ts, row.cpu, row.name, row.fields) for row in kept
    ]
    assert not trace.whole_known
    inner = [loss for loss in trace.losses if "cut" not in loss.where]
    assert [loss.count for loss in inner] == [3556, 5335]
    edges = [loss for loss in trace.losses if "cut" in loss.where]
    assert {(loss.cpu, loss.after_ns is None) for loss in edges} == {
        (cpu, before) for cpu in (0, 1) for before in (True, False)
    }
    assert cut(path, out, "--time", ",", "--max-size", "100K", "-q") == 2


def test_no_trace_dat_is_made_of_what_hides_its_losses() -> None:
    with open_trace(CORRUPTION) as trace:
        trace.losses_known = False
        with pytest.raises(UsageError, match="cannot tell which events it lost"):
            read_window(trace, 0, 1 << 60, 1 << 20)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_recordings_give_a_piece_or_an_error(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    whole = read(SAMPLES / "4.14.5-pinned" / "trace.dat")
    good = whole.to_bytes(6 + seed % 2)
    path, out = tmp_path / "in.dat", tmp_path / "out.dat"
    for _ in range(6):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 60)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        out.unlink(missing_ok=True)
        status = cut(path, out, "--time", "4.06,4.07", "-q")
        assert status in (0, 2)
        assert (status == 0) == out.exists()
        if status == 0:
            fputrace.analyze(out).trace.close()
        capsys.readouterr()


def test_a_trace_dat_of_another_name_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    perf = CORRUPTION.with_name("perf.data")
    for name in ("small.data", "small.dat"):
        out = tmp_path / name
        assert cut(perf, out, "--finding", "FPU101") == 0
        said = capsys.readouterr().err
        told = f"{out} is a trace.dat: trace-cmd report reads it" in said
        assert told == (name == "small.data")
        assert "FPU101 is confirmed in it too" in said
    assert read_all(tmp_path / "small.data").trace.format.startswith("trace.dat")
