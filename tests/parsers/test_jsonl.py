"""JSON lines: what damage and hostile lines do."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.convert import convert_trace
from fputrace.errors import FormatError, TraceError
from fputrace.events import ABSENT, Kind, Loss, Trace
from fputrace.findings import Severity, Verdict
from fputrace.metadata import to_plain
from fputrace.parsers import jsonl, open_trace
from tests.parsers.rows import read_all

LOAD = {"pid": 7, "flags": 1, "event": "kvm:kvm_fpu", "fields": {"load": 1}}


def head(**about: Any) -> dict[str, Any]:
    trace = Trace("", "made", cpus=[0, 1])
    trace.event_names, trace.event_kinds = ["kvm:kvm_fpu"], [Kind.KVM_FPU]
    return {**to_plain(trace), **about}


def made(path: Path, lines: Iterable[dict[str, Any] | bytes], **about: Any) -> Path:
    """A file with these rows and no checksum."""
    whole = [{"fputrace": head(**about)}, *lines]
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line, separators=(",", ":")).encode())
        + b"\n"
        for line in whole
    )
    path.write_bytes(data)
    return path


def signed(path: Path) -> Path:
    """The file with an end and a right checksum."""
    data = path.read_bytes() + b'{"end":{}'
    path.write_bytes(data + b',"crc32":%d}\n' % zlib.crc32(data))
    return path


def row(ts: int, cpu: int = 0, **others: Any) -> dict[str, Any]:
    return {"ts": ts, "cpu": cpu, **LOAD, **others}


def end(ts: int, cpu: int = 0) -> dict[str, Any]:
    return {"ts": ts, "cpu": cpu, "mark": "CPU_END"}


def losses_of(path: Path) -> list[Loss]:
    return read_all(path).trace.losses


@pytest.fixture(scope="module")
def converted(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording with confirmed findings, cut from a sample to be read often."""
    whole = tmp_path_factory.mktemp("jsonl") / "whole"
    with open_trace(samples / "6.1-stale-owner" / "trace.dat") as trace:
        convert_trace(trace, "jsonl", str(whole))
    lines = whole.read_bytes().splitlines(keepends=True)
    ends = [b'{"ts":%d,"cpu":%d,"mark":"CPU_END"}\n' % (1 << 62, cpu) for cpu in (0, 1)]
    whole.write_bytes(b"".join(lines[:9000] + ends))
    return signed(whole).read_bytes()


def accusations(path: Path) -> list[str]:
    analysis = fputrace.analyze(str(path))
    analysis.trace.close()
    return [
        finding.code
        for finding in analysis.findings
        if finding.severity is not Severity.TRACE and finding.verdict is Verdict.CONFIRMED
    ]


def test_whole(converted: bytes, tmp_path: Path) -> None:
    path = tmp_path / "whole"
    path.write_bytes(converted)
    assert "FPU102" in accusations(path)
    assert not losses_of(path)


def test_truncated_is_damaged_or_an_error(converted: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    places = random.Random(1).sample(range(len(converted)), 12)
    for place in (*places, len(converted) - 1, len(converted) - 8):
        path.write_bytes(converted[:place])
        try:
            losses = losses_of(path)
        except TraceError:
            continue
        assert any(loss.severity == "damaged" and not loss.placed for loss in losses), place
        assert not accusations(path)


def test_flipped_is_damaged_or_an_error(converted: bytes, tmp_path: Path) -> None:
    path = tmp_path / "flipped"
    dice = random.Random(2)
    for _ in range(12):
        data = bytearray(converted)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        try:
            losses = losses_of(path)
        except TraceError:
            continue
        assert any(loss.severity == "damaged" for loss in losses)
        assert not accusations(path)


def test_a_line_that_is_no_row_is_a_hole_on_every_cpu(tmp_path: Path) -> None:
    path = made(tmp_path / "x", [row(10), row(20, 1), b"{junk", row(30), b"{", row(40, 1), row(50)])
    read = read_all(path)
    assert [(one.ts, one.cpu) for one in read.rows] == [(10, 0), (20, 1), (30, 0), (40, 1), (50, 0)]
    assert read.marks == [
        (10, 0, Kind.LOSS),
        (20, 1, Kind.LOSS),
        (30, 0, Kind.LOSS_END),
        (30, 0, Kind.LOSS),
        (40, 1, Kind.LOSS_END),
        (40, 1, Kind.LOSS),
        (40, 1, Kind.CPU_END),
        (50, 0, Kind.LOSS_END),
        (50, 0, Kind.LOSS),
        (50, 0, Kind.CPU_END),
    ]
    holes = [(loss.cpu, loss.after_ns, loss.before_ns) for loss in read.trace.losses if loss.placed]
    assert holes == [(0, 10, 30), (1, 20, 40), (0, 30, 50), (1, 40, None), (0, 50, None)]
    assert all(loss.severity == "damaged" for loss in read.trace.losses)
    assert not read.trace.losses[-1].placed
    assert "line 4 is no row" in read.trace.notes[1]


BAD = {
    "no object": b"[1]",
    "two objects": b"{}{}",
    "no UTF-8": b'{"ts":1,"cpu":"\xff"}',
    "NaN": b'{"ts":NaN}',
    "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000,
    "many digits": b'{"ts":%b}' % (b"9" * 100_000),
    "empty": b"",
    "no time": {"cpu": 0, **LOAD},
    "time of 65 bits": row(1 << 63),
    "time as float": row(20.5),  # type: ignore[arg-type]
    "time goes back": row(5),
    "CPU of nobody": row(20, 65536),
    "CPU below": row(20, -1),
    "CPU as bool": row(20, True),
    "pid beyond": row(20, pid=1 << 31),
    "flags beyond": row(20, flags=1 << 16),
    "event a number": row(20, event=7),
    "fields a list": row(20, fields=[1]),
    "field of 65 bits": row(20, fields={"load": 1 << 64}),
    "field null": row(20, fields={"load": None}),
    "field float": row(20, fields={"load": 1.5}),
    "field nested": row(20, fields={"load": [[1]]}),
    "field an object": row(20, fields={"load": {}}),
    "op too long": row(20, op=[1, 2, 3, 4, 5]),
    "op no list": row(20, op="1"),
    "op unsigned": row(20, op=[1 << 63]),
    "kind unknown": row(20, kind="KVM"),
    "kind a mark": row(20, kind="LOSS"),
    "mark unknown": {"ts": 20, "cpu": 0, "mark": "KVM_FPU"},
    "mark no text": {"ts": 20, "cpu": 0, "mark": ["LOSS"]},
    "LOSS of text": {"ts": 20, "cpu": 0, "mark": "LOSS", "lost": "1"},
    "too long": b" " * (jsonl.LARGEST_LINE + 1),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_hostile_lines_are_holes(bad: Any, tmp_path: Path) -> None:
    read = read_all(made(tmp_path / "x", [row(10), bad, row(30)]))
    assert [one.ts for one in read.rows] == [10, 30]
    first = read.trace.losses[0]
    assert (first.after_ns, first.before_ns) == (10, 30)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_hostile_lines_with_a_checksum_are_errors(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 3 is no row: "):
        read_all(signed(made(tmp_path / "x", [row(10), bad, row(30)])))


def test_a_cpu_without_its_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="CPU 1 has no CPU_END"):
        read_all(signed(made(tmp_path / "x", [row(10, 1), row(20), end(20)])))


def test_only_hostile_lines(tmp_path: Path) -> None:
    lines = [b"x" * (1 << 20)] * 40  # more than a block's bytes without a row
    read = read_all(made(tmp_path / "x", lines))
    assert not read.rows and not read.marks
    assert "32 more lines are no rows" in read.trace.notes[-1]


HEADS: dict[str, dict[str, Any]] = {
    "newer": {"schema_version": 2},
    "no version": {"schema_version": None},
    "cpus": {"cpus": "0"},
    "cpu": {"cpus": [-1]},
    "flag": {"clock_global": 1},
    "kind": {"events": [["kvm:kvm_fpu", "NOTHING"]]},
    "pair": {"events": [["kvm:kvm_fpu"]]},
    "probes": {"probes": {"a": ["b"]}},
    "symbols": {"symbols": {"a": 1}},
    "guests": {"guests": {"x": ["vm", 1]}},
    "enabled": {"enabled": 3},
    "notes": {"notes": [1]},
}


@pytest.mark.parametrize("about", HEADS.values(), ids=HEADS)
def test_a_head_that_cannot_be_is_an_error(about: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 1: ") as caught:
        open_trace(made(tmp_path / "x", [row(10)], **about))
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    [{"format": {"system": "kvm"}}, {"comms": {"x": "y"}}, {"comms": [1]}, {"loss": {"cpu": 0}}],
    ids=json.dumps,
)
def test_a_head_line_that_cannot_be_is_an_error(line: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 2: "):
        open_trace(made(tmp_path / "x", [line, row(10)]))


def test_operands_come_from_fields_or_from_op(tmp_path: Path) -> None:
    switch = {"prev_pid": 1, "prev_state": "0x8000000000000000", "next_pid": "many"}
    lines = [
        row(10, fields={"load": 0}),
        row(20, fields={"load": "no"}, op=[1, None]),
        row(30, event="sched:sched_switch", kind="SCHED_SWITCH", fields=switch),
        row(40, event="other:other", fields={"load": 1}),
        end(40),
    ]
    with open_trace(signed(made(tmp_path / "x", lines))) as trace:
        assert not trace.notes
        (block,) = trace.blocks()
        assert trace.event_names == ["kvm:kvm_fpu", "sched:sched_switch", "other:other"]
        assert block.op[:, 0].tolist() == [0, 1, 1, ABSENT, ABSENT]
        assert block.op[2].tolist() == [1, -(1 << 63), ABSENT, ABSENT]
        assert block.kind[:4].tolist() == [30, 30, 40, 0]
        assert block.fields_of(1) == {"load": "no"}
        assert block.fields_of(4) == {}


def test_more_behind_the_end_is_damage(tmp_path: Path) -> None:
    path = signed(made(tmp_path / "x", [row(10), end(10)]))
    assert not losses_of(path)
    for more in (path.read_bytes(), b"x", b"\n"):
        twice = tmp_path / "twice"
        twice.write_bytes(path.read_bytes() + more)
        assert losses_of(twice)[-1].severity == "damaged"


def test_the_head_alone_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"fputrace":' + json.dumps(head()).encode() + b"}\n")
    with pytest.raises(FormatError, match="breaks off before its events"):
        open_trace(path)
