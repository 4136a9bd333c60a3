"""The page walk and the merge: every record shape, damage inside a page, both ways of running."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fputrace.events import Kind, Trace
from fputrace.parsers import layout, merge, open_trace, passes, ringbuffer, tracedat
from tests.conftest import SAMPLES
from tests.parsers.rows import Pass, read_all
from tests.tools.plain import plain
from tests.writers import TraceWriter

SECOND = 10**9


def uncompiled(monkeypatch: pytest.MonkeyPatch, loop: ModuleType, cython: bool) -> ModuleType:
    """A loop's source as plain Python; without Cython if so asked."""
    with monkeypatch.context() as patch:
        if not cython:
            patch.setitem(sys.modules, "cython", None)
        return plain(loop)


def columns(path: Path) -> tuple[list[bytes], dict[str, Any]]:
    """Everything a pass gives, for comparison."""
    with open_trace(path) as trace:
        blocks = list(trace.blocks())
        parts = [
            np.concatenate([getattr(block, name) for block in blocks]).tobytes()
            for name in ("ts", "cpu", "pid", "kind", "flags", "event", "op")
        ]
        told = {
            "losses": trace.losses,
            "notes": trace.notes,
            "comms": trace.comms,
            "counts": trace.counts,
            "probes": trace.probes,
            "fields": [blocks[0].fields_of(row) for row in range(0, 2000, 7)],
        }
        return parts, told


@pytest.mark.parametrize("cython", [True, False], ids=["with-cython", "without"])
@pytest.mark.parametrize("case", ["6.1-storm-lost", "6.12-kfpu-probes", "6.12-pinned-function"])
def test_plain_python_gives_the_same(
    case: str, cython: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cython:
        pytest.importorskip("cython", reason="Cython is not installed here")
    path = SAMPLES / case / "trace.dat"
    installed = columns(path)
    for loop in (ringbuffer, merge):
        name = loop.__name__.rpartition(".")[2]
        monkeypatch.setattr(passes, name, uncompiled(monkeypatch, loop, cython))
    assert columns(path) == installed


def tick(w: TraceWriter, cpu: int, ts: int, load: int = 1, **how: Any) -> None:
    w.event(cpu, ts, 7, "kvm_fpu", load=load, **how)


def times(mine: Pass) -> list[int]:
    return [row.ts for row in mine.rows]


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("long_size", [4, 8])
def test_every_record_shape(tmp_path: Path, endian: Any, long_size: int) -> None:
    w = TraceWriter("6.12.1", cpus=1, endian=endian, long_size=long_size, page_size=8192)
    base = 1 << 60  # beyond what an absolute stamp holds: it keeps the page's upper five bits
    tick(w, 0, base + 1)
    tick(w, 0, base + 2, length_word=True)
    w.builder(0).discard(base + 5, 12)
    tick(w, 0, base + 6)
    w.builder(0).time_only(base + 9, "extend")
    tick(w, 0, base + (1 << 40), stamp="extend")
    tick(w, 0, base + (1 << 40) + 7, stamp="absolute")
    w.builder(0).pad()
    tick(w, 0, base + (1 << 40) + 9)
    mine = read_all(w.write(tmp_path / "trace.dat"))
    assert times(mine) == [
        base + 1,
        base + 2,
        base + 6,
        base + (1 << 40),
        base + (1 << 40) + 7,
        base + (1 << 40) + 9,
    ]
    assert mine.trace.losses == []
    assert mine.trace.notes == []


@pytest.mark.parametrize("endian", ["little", "big"])
def test_operands_of_every_size_and_sign(tmp_path: Path, endian: Any) -> None:
    w = TraceWriter("5.2.1", cpus=1, endian=endian)
    fpu, features = 0xFFFF8880B7C18880, (1 << 63) | 5
    w.event(0, 10, -1, "x86_fpu_regs_activated", fpu=fpu, flag=1, xfeatures=features)
    w.event(0, 20, 3, "sched_switch", prev_pid=3, prev_state=-2, next_pid=-5)
    with open_trace(w.write(tmp_path / "trace.dat")) as trace:
        (block,) = trace.blocks()
    assert block.op[0].tolist() == [fpu - (1 << 64), 1, features - (1 << 64), 0]
    assert block.op[1, :3].tolist() == [3, -2, -5]
    assert block.pid[:2].tolist() == [-1, 3]


@pytest.mark.parametrize("case", ["6.1-storm-lost", "6.12-kfpu-probes", "4.14.5-pinned"])
def test_words_give_what_single_fields_give(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head and the operands of a record are taken out of words where that can be done."""
    path = SAMPLES / case / "trace.dat"
    by_words = columns(path)
    usual = passes.geometry_of

    def unusual(*of: Any) -> Any:
        geometry = usual(*of)
        assert geometry[layout.USUAL] == (sys.byteorder == "little")
        geometry[layout.USUAL] = 0
        return geometry

    monkeypatch.setattr(tracedat, "geometry_of", unusual)
    assert columns(path) == by_words


def pages_of(w: TraceWriter, cpu: int = 0) -> list[bytearray]:
    return [bytearray(page) for page in w.builder(cpu).finish()]


def write_pages(w: TraceWriter, path: Path, pages: list[bytearray]) -> Pass:
    w.builder(0).pages[:] = [bytes(page) for page in pages]
    return read_all(w.write(path))


def three_pages() -> tuple[TraceWriter, list[bytearray]]:
    """Events at 1000, 1010, 1020; 2000, …; 3000, … on one page each."""
    w = TraceWriter("6.12.1", cpus=1)
    for page in (1000, 2000, 3000):
        for step in (0, 10, 20):
            tick(w, 0, page + step)
        w.page(0)
    return w, pages_of(w)


ALL = [1000, 1010, 1020, 2000, 2010, 2020, 3000, 3010, 3020]


def u32(page: bytearray, at: int, value: int) -> None:
    struct.pack_into("<I", page, at, value)


def record_size(page: bytearray) -> int:
    return 4 + 4 * (page[16] & 31)


def test_nothing_is_wrong_with_the_three_pages(tmp_path: Path) -> None:
    w, pages = three_pages()
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == ALL
    assert mine.trace.losses == []


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (28 | 10 << 5, None),  # a record of another length, still inside: the next is garbage
        (0 | 10 << 5, "a record does not fit its page"),  # its length word is the event's id
        (1 | 10 << 5, "a record does not fit its page"),  # four bytes hold no common fields
        (2 | 10 << 5, "a record is too short for its event"),
        (30 | 10 << 5, "the time does not fit its neighbours"),
    ],
)
def test_a_bad_record_ends_its_page(tmp_path: Path, word: int, reason: str | None) -> None:
    w, pages = three_pages()
    second = 16 + record_size(pages[1])
    u32(pages[1], second, word)
    if word & 31 == 30:
        u32(pages[1], second + 4, 1 << 20)
    if word & 31 == 0:
        u32(pages[1], second + 4, 1 << 20)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == [1000, 1010, 1020, 2000, 3000, 3010, 3020]
    (loss,) = mine.trace.losses
    assert (loss.cpu, loss.after_ns, loss.before_ns, loss.count) == (0, 2000, 3000, None)
    assert loss.severity == "damaged"
    if reason:
        assert reason in loss.where
    assert [mark for mark in mine.marks if mark[2] != Kind.CPU_END] == [
        (2000, 0, Kind.LOSS),
        (3000, 0, Kind.LOSS_END),
    ]
    assert len(mine.trace.notes) == 1
    assert str(tmp_path / "trace.dat") in mine.trace.notes[0]


@pytest.mark.parametrize("base", [5 * SECOND, 1 << 61, 1 << 63])
@pytest.mark.parametrize("page", [0, 1])
def test_a_page_from_the_future_is_left_out(tmp_path: Path, base: int, page: int) -> None:
    w, pages = three_pages()
    pages.append(bytearray(pages[2]))
    struct.pack_into("<Q", pages[3], 0, 4000)
    struct.pack_into("<Q", pages[page], 0, base)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == [ts for ts in [*ALL, 4000, 4010, 4020] if ts // 1000 != page + 1]
    (loss,) = mine.trace.losses
    assert loss.severity == "damaged"
    assert "the time does not fit its neighbours" in loss.where


def test_a_page_from_the_past_is_left_out(tmp_path: Path) -> None:
    w, pages = three_pages()
    struct.pack_into("<Q", pages[2], 0, 500)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == ALL[:6]
    assert [loss[:4] for loss in mine.trace.losses] == [(0, 2020, None, None)]


@pytest.mark.parametrize("bases", [(1000, 500), (2500, 2000)])
def test_where_nobody_knows_which_page_is_wrong_both_go(
    tmp_path: Path, bases: tuple[int, int]
) -> None:
    w, pages = three_pages()
    for page, base in zip(pages, bases, strict=False):
        struct.pack_into("<Q", page, 0, base)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == ALL[6:]
    assert [loss[:4] for loss in mine.trace.losses] == [(0, None, 3000, None)]


def test_a_page_that_claims_too_much_is_left_out(tmp_path: Path) -> None:
    w, pages = three_pages()
    struct.pack_into("<Q", pages[1], 8, 5000)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == [1000, 1010, 1020, 3000, 3010, 3020]
    assert "more data than it has room for" in mine.trace.losses[0].where
    assert "byte 4096 of CPU 0" in mine.trace.losses[0].where


def test_damage_at_the_end_has_no_event_after_it(tmp_path: Path) -> None:
    w, pages = three_pages()
    struct.pack_into("<Q", pages[2], 8, 5000)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert [loss[:4] for loss in mine.trace.losses] == [(0, 2020, None, None)]
    assert mine.marks == [(2020, 0, Kind.LOSS), (2020, 0, Kind.CPU_END)]


def test_a_cpu_without_one_good_page_leaves_no_marks(tmp_path: Path) -> None:
    w, pages = three_pages()
    for page in pages:
        struct.pack_into("<Q", page, 8, 5000)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert mine.rows == []
    assert mine.marks == []
    assert [loss[:4] for loss in mine.trace.losses] == [(0, None, None, None)]


def test_pages_of_zeros_are_empty(tmp_path: Path) -> None:
    w, pages = three_pages()
    zeros = bytearray(4096)
    mine = write_pages(
        w, tmp_path / "trace.dat", [zeros, pages[0], zeros, pages[1], pages[2], zeros]
    )
    assert times(mine) == ALL
    assert mine.trace.losses == []


def test_a_clock_that_steps_back_holds_the_time(tmp_path: Path) -> None:
    w, pages = three_pages()
    for page, base in zip(pages, (100, 60, 61), strict=True):
        struct.pack_into("<Q", page, 0, base * SECOND)
    first = bytearray(pages[0])
    struct.pack_into("<Q", first, 0, 99 * SECOND)
    mine = write_pages(w, tmp_path / "trace.dat", [first, *pages])
    held = 100 * SECOND + 20
    assert times(mine)[3:] == [100 * SECOND, 100 * SECOND + 10, held] + [held] * 6
    assert mine.trace.losses == []
    assert ["went back" in note for note in mine.trace.notes] == [True]
    assert mine.trace.clock_global is False


def test_a_jumpy_clock_may_step_back_a_little(tmp_path: Path) -> None:
    w, pages = three_pages()
    w.instance_clocks[""] = "local"
    struct.pack_into("<Q", pages[1], 0, 900)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == [1000, 1010, 1020, 1020, 1020, 1020, 3000, 3010, 3020]
    assert mine.trace.losses == []


def test_events_without_a_format_are_counted_by_id(tmp_path: Path) -> None:
    w, pages = three_pages()
    struct.pack_into("<H", pages[1], 20, 60001)
    mine = write_pages(w, tmp_path / "trace.dat", pages)
    assert times(mine) == ALL
    assert mine.trace.counts == {"kvm:kvm_fpu": 8, "unknown:60001": 1}
    assert mine.rows[3].fields == {}
    assert mine.trace.losses == []


@pytest.mark.parametrize("cpus", [1, 2, 3, 9, 40])
def test_cpus_come_in_one_order(tmp_path: Path, cpus: int) -> None:
    w = TraceWriter("6.12.1", cpus=[cpu * 3 for cpu in range(cpus)], page_size=512)
    rng = np.random.default_rng(cpus)
    expected = []
    for cpu in w.cpus:
        for i, ts in enumerate(sorted(rng.integers(1000, 1300, 200).tolist())):
            tick(w, cpu, ts, load=i)
            expected.append((ts, cpu, i))
    mine = read_all(w.write(tmp_path / "trace.dat", 7, "zlib"))
    assert [(row.ts, row.cpu, row.fields["load"]) for row in mine.rows] == sorted(expected)
    assert len(mine.marks) == cpus
    assert mine.trace.cpus == w.cpus


def test_blocks_are_full_and_stay_readable(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=2)
    for i in range(70_000):
        tick(w, i % 2, 1000 + i, load=i)
    with open_trace(w.write(tmp_path / "trace.dat", 7, "zlib")) as trace:
        blocks = list(trace.blocks())
        assert trace.read_bytes == trace.total_bytes
    assert [len(block) for block in blocks] == [65536, 70_000 + 2 - 65536]
    for row in (0, 1, 40_000, 65_535):
        assert blocks[0].fields_of(row) == {"load": row}
    assert blocks[1].fields_of(0) == {"load": 65536}


def test_a_pass_can_be_repeated(tmp_path: Path) -> None:
    w, pages = three_pages()
    struct.pack_into("<Q", pages[1], 8, 5000)
    w.builder(0).pages[:] = [bytes(page) for page in pages]
    with open_trace(w.write(tmp_path / "trace.dat")) as trace:
        first = one_pass(trace)
        assert one_pass(trace) == first
        assert len(trace.losses) == 1
        assert len(trace.notes) == 1


def one_pass(trace: Trace) -> list[tuple[bytes, bytes]]:
    return [(block.ts.tobytes(), block.op.tobytes()) for block in trace.blocks()]
