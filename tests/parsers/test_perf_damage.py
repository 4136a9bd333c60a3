"""Damaged perf.data: a result that says so, or a typed error; never anything else."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from fputrace.errors import FormatError, TraceError
from fputrace.parsers import open_trace, perfindex
from tests.parsers.rows import Pass, read_all
from tests.parsers.test_perfdata import FORMS, fill, small_granules
from tests.writers.perf import IDENTIFIER, RAW, Form, PerfWriter


def small(form: Form = "file", events: int = 60, id_index: bool = True) -> bytes:
    w = fill(PerfWriter("5.10.1", id_index=id_index), events)
    w.lost(0, 5, 5000)
    w.event(0, 5000, 40, "kvm_fpu", load=1)
    return w.to_bytes(form)


def read(path: Path, data: bytes) -> Pass | None:
    """The rows, None for a typed error that names the file."""
    path.write_bytes(data)
    try:
        return read_all(path)
    except TraceError as error:
        assert str(path) in str(error)
        return None


def looks_complete(mine: Pass) -> bool:
    damaged = [loss for loss in mine.trace.losses if loss.severity == "damaged"]
    return not damaged or not mine.trace.notes


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_truncated_anywhere(tmp_path: Path, form: Form, index: bool) -> None:
    data = small(form, id_index=index)
    whole = read(tmp_path / "whole", data)
    assert whole is not None
    path = tmp_path / "perf.data"
    ends = record_ends(data) if "pipe" in form else set()
    for cut in sorted({*range(0, len(data), 67), *range(len(data) - 40, len(data))}):
        mine = read(path, data[:cut])
        if mine is None or cut in ends:
            continue
        assert looks_complete(mine) is False, cut
        assert {row[:5] for row in mine.rows} <= {row[:5] for row in whole.rows}


def record_ends(data: bytes) -> set[int]:
    """Where a pipe may end without anybody knowing."""
    at, ends = 16, {16}
    while at < len(data):
        kind, _, size = struct.unpack_from("<IHH", data, at)
        at += size + (struct.unpack_from("<I", data, at + 8)[0] if kind == 66 else 0)
        ends.add(at)
    return ends


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bytes(tmp_path: Path, form: Form) -> None:
    data = small(form)
    chance = random.Random(form)
    path = tmp_path / "perf.data"
    for _ in range(250):
        hurt = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 20))):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        read(path, bytes(hurt))


@pytest.mark.parametrize("form", ["file", "zstd"])
def test_flipped_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    """Of the records only, so that the header does not hide what happens to them."""
    small_granules(monkeypatch, 2048)
    data = small(form, 200)
    (start, size) = struct.unpack_from("<2Q", data, 40)
    chance = random.Random(7)
    path = tmp_path / "perf.data"
    for _ in range(250):
        hurt = bytearray(data)
        hurt[start + chance.randrange(size)] ^= 1 << chance.randrange(8)
        mine = read(path, bytes(hurt))
        assert mine is not None or form == "zstd"


def broken(tmp_path: Path, change: bytes, within: int, form: str = "<I") -> Pass:
    """The 30th record of small(), with other bytes at `within` of it."""
    w = fill(PerfWriter("5.10.1"), 60)
    cpu, record = w.records[30]
    w.records[30] = (cpu, record[:within] + change + record[within + len(change) :])
    mine = read(tmp_path / "perf.data", w.to_bytes())
    assert mine is not None
    return mine


def test_a_sample_of_no_event(tmp_path: Path) -> None:
    mine = broken(tmp_path, b"\xff" * 8, 8)
    assert len(mine.rows) == 119
    # Nobody knows whose it was: each CPU may have lost it.
    assert sorted((loss.cpu or 0, loss.severity) for loss in mine.trace.losses) == [
        (0, "damaged"),
        (1, "damaged"),
    ]
    assert len(mine.trace.notes) == 1
    assert "a sample that cannot be read" in mine.trace.notes[0]


def test_a_record_beyond_its_sample(tmp_path: Path) -> None:
    mine = broken(tmp_path, struct.pack("<I", 5000), 56)
    assert len(mine.rows) == 119
    assert [(loss.cpu, loss.severity) for loss in mine.trace.losses] == [(1, "damaged")]


def test_a_cpu_that_is_not_there(tmp_path: Path) -> None:
    mine = broken(tmp_path, struct.pack("<I", 77), 40)
    assert len(mine.rows) == 119
    assert {loss.cpu for loss in mine.trace.losses} == {0, 1}


def test_damage_while_throttled(tmp_path: Path) -> None:
    w = PerfWriter(cpus=1)
    w.event(0, 100, 1, "kvm_fpu", load=1)
    w.throttle(0, 150, "sched_switch")
    for ts in (200, 300, 400, 500):
        w.event(0, ts, 1, "kvm_fpu", load=1)
    cpu, record = w.records[4]
    w.records[4] = (cpu, record[:56] + struct.pack("<I", 5000) + record[60:])
    mine = read(tmp_path / "perf.data", w.to_bytes())
    assert mine is not None
    assert [row.ts for row in mine.rows] == [100, 200, 300, 500]
    assert [(*loss[:4], loss.severity) for loss in mine.trace.losses] == [
        (0, 100, None, None, "lost"),
        (0, 300, 500, None, "damaged"),
    ]


@pytest.mark.parametrize("time", [0, 1 << 40, (1 << 63) + 5, 1 << 62])
def test_a_wild_time(tmp_path: Path, time: int) -> None:
    w = PerfWriter(cpus=1)
    base = 10**11
    for number in range(100):
        w.event(0, base + number, 7, "kvm_fpu", load=1)
    cpu, record = w.records[50]
    w.records[50] = (cpu, record[:32] + struct.pack("<Q", time) + record[40:])
    mine = read(tmp_path / "perf.data", w.to_bytes())
    assert mine is not None
    assert [row.ts for row in mine.rows] == [base + n for n in range(100) if n != 50]
    assert [loss[:4] for loss in mine.trace.losses] == [(0, base + 49, base + 51, None)]
    assert mine.trace.losses[0].severity == "damaged"


def test_the_clock_went_back(tmp_path: Path) -> None:
    w = PerfWriter(cpus=1)
    for base in (10**12, 10**11):
        for number in range(50):
            w.event(0, base + number, 7, "kvm_fpu", load=1)
    mine = read(tmp_path / "perf.data", w.to_bytes())
    assert mine is not None
    times = [row.ts for row in mine.rows]
    assert times == sorted(times)
    assert mine.trace.clock_global is False or looks_complete(mine) is False


def test_a_record_without_size_ends_it(tmp_path: Path) -> None:
    mine = broken(tmp_path, b"\0\0", 6)
    assert len(mine.rows) == 30
    assert {(loss.cpu, loss.severity) for loss in mine.trace.losses} == {
        (0, "damaged"),
        (1, "damaged"),
    }
    assert all(loss.before_ns is None for loss in mine.trace.losses)


def test_too_many_that_nobody_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = fill(PerfWriter(), 400)
    w.records = [
        (cpu, record[:8] + b"\xff" * 8 + record[16:] if record[:1] == b"\x09" else record)
        for cpu, record in w.records
    ]
    data = w.to_bytes()
    small_granules(monkeypatch)
    mine = read(tmp_path / "perf.data", data)
    assert mine is not None
    assert mine.rows == []
    assert any("more than 256" in note for note in mine.trace.notes)
    assert perfindex._MOST_STRAYS == 256


def test_a_large_record_is_damage(tmp_path: Path) -> None:
    w = PerfWriter(cpus=1, sample_types={"kvm_fpu": IDENTIFIER | 0x86 | RAW})
    w.event(0, 1, 7, "kvm_fpu", load=1)
    raw = struct.pack("<I", 30004) + bytes(30004)
    body = struct.pack("<QiiQII", w.id_of("kvm_fpu", 0), 7, 7, 2, 0, 0) + raw
    w.record(0, 9, body)
    w.event(0, 3, 7, "kvm_fpu", load=1)
    mine = read(tmp_path / "perf.data", w.to_bytes())
    assert mine is not None
    assert [row.ts for row in mine.rows] == [1, 3]
    assert [loss[:4] for loss in mine.trace.losses] == [(0, 1, 3, None)]


@pytest.mark.parametrize("form", ["zstd", "zstd2"])
def test_corrupt_compression(tmp_path: Path, form: Form) -> None:
    data = bytearray(small(form, 300))
    at = data.rindex(struct.pack("<I", 81 if form == "zstd" else 83))
    data[at + 16 : at + 60] = b"\xaa" * 44
    mine = read(tmp_path / "perf.data", bytes(data))
    assert mine is not None
    assert mine.rows
    assert looks_complete(mine) is False
    assert "unpacked data" in mine.trace.notes[0]


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fputrace.parsers.unpack.FREE_BYTES", 10000)
    monkeypatch.setattr("fputrace.parsers.unpack.RATIO", 2)
    path = tmp_path / "perf.data"
    path.write_bytes(small("zstd", 600))
    with pytest.raises(FormatError, match="unpacks to more"):
        open_trace(path)
