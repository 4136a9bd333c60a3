"""The trace.dat reader against trace-cmd itself, on every sample and on written files."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fputrace.parsers import open_trace
from tests.conftest import QUICK_CASES, SAMPLES, unless_long
from tests.parsers.rows import Pass, Row, read_all
from tests.tools import trace_cmd
from tests.tools.cut_pages import cut_pages
from tests.tools.repeat_pages import repeat
from tests.tools.trace_cmd import Decoder, Dropped, Event
from tests.writers import PLAIN, RT, Compression, TraceWriter, container

pytestmark = pytest.mark.skipif(not trace_cmd.INSTALLED, reason=trace_cmd.MISSING)
RECORDINGS = sorted(SAMPLES.glob("*/trace.dat"))


def assert_same(path: Path, *, fields: bool = True) -> Pass:
    """Same events per CPU in the same order, same times, fields and losses."""
    decoder = Decoder(container.read(path))
    said: dict[int, list[Event | Dropped]] = defaultdict(list)
    for item in trace_cmd.report(path):
        said[item.cpu].append(item)
    mine = read_all(path, fields)
    per_cpu: dict[int, list[Row]] = defaultdict(list)
    for row in mine.rows:
        per_cpu[row.cpu].append(row)
    holes: list[tuple[int, int | None, int, int | None]] = []
    for cpu, items in said.items():
        events = [item for item in items if isinstance(item, Event)]
        rows = per_cpu.pop(cpu, [])
        assert [(r.ts, r.pid, r.name.partition(":")[2]) for r in rows] == [
            (e.ns, e.pid, e.name) for e in events
        ], f"CPU {cpu}"
        if fields:
            for row, event in zip(rows, events, strict=True):
                assert_fields(row, decoder.values(event), decoder)
        last = None
        lost: Dropped | None = None
        for item in items:
            if isinstance(item, Dropped):
                lost = item
                continue
            if lost is not None:
                holes.append((cpu, last, item.ns, lost.lost))
            last, lost = item.ns, None
    assert not per_cpu
    assert sorted(r.ns for rows in said.values() for r in rows if isinstance(r, Event)) == [
        row.ts for row in mine.rows
    ]
    # A count that only the statistics know is none of trace-cmd's.
    assert Counter(holes) == Counter(
        (c, after, before, None if "statistics" in where else count)
        for c, after, before, count, where, placed, _ in mine.trace.losses
        if placed and not where.startswith("overruns")
    )
    return mine


def assert_fields(row: Row, values: dict[str, Any], decoder: Decoder) -> None:
    got = {name: value for name, value in row.fields.items() if not name.startswith("common_")}
    assert got.keys() == values.keys(), row
    for name, value in values.items():
        mine = got[name]
        if isinstance(mine, str) and mine.startswith("0x"):
            mine = int(mine, 16)  # pointers are hex strings
        if isinstance(value, str) and isinstance(mine, int):
            assert value in decoder.symbols_at(mine), (row, name)
        else:
            assert mine == value, (row, name)


@pytest.mark.parametrize(
    "path", [unless_long(path, (*QUICK_CASES, "7.2-storm")) for path in RECORDINGS]
)
def test_sample_as_recorded(path: Path) -> None:
    mine = assert_same(path)
    assert sum(mine.trace.counts.values()) == len(mine.rows) > 0


def test_sample_converted_to_v6(quick_sample: Path, tmp_path: Path) -> None:
    """trace-cmd's own v6 of the same recording: the same columns, and fields now and then."""
    old = tmp_path / "v6.dat"
    trace_cmd.run("convert", "--file-version", "6", "-i", quick_sample, "-o", old)
    assert_same(old, fields=False)
    with open_trace(quick_sample) as one, open_trace(old) as other:
        assert other.format != one.format
        for a, b in zip(one.blocks(), other.blocks(), strict=True):
            names = [a.names[e] if e >= 0 else "" for e in a.event.tolist()]
            assert names == [b.names[e] if e >= 0 else "" for e in b.event.tolist()]
            for column in ("ts", "cpu", "pid", "kind", "flags", "op"):
                np.testing.assert_array_equal(getattr(a, column), getattr(b, column), column)
            for row in range(0, len(a), 97):
                if a.event[row] >= 0:
                    assert a.fields_of(row) == b.fields_of(row)
        assert [loss[:4] for loss in one.losses] == [loss[:4] for loss in other.losses]
        for about in ("kernel", "clock", "counts"):
            assert getattr(one, about) == getattr(other, about)
        if one.sidecar is None:
            assert one.comms == other.comms
        else:  # it names more tasks than the file
            assert one.comms.items() >= other.comms.items()


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("version", [6, 7])
def test_sample_with_pages_cut(samples: Path, tmp_path: Path, version: int, counts: bool) -> None:
    """Holes of all sizes, counted and not, also before a CPU's first event."""
    for case in ("6.1-storm-lost", "5.2.1-pinned", "4.14.5-pinned"):
        cut = tmp_path / f"{case}.dat"
        removed = cut_pages(
            samples / case / "trace.dat", cut, seed=version, counts=counts, version=version
        )
        mine = assert_same(cut, fields=False)
        assert removed > len(mine.trace.losses) > 5


def test_repeated_sample(samples: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.dat"
    events = repeat(samples / "6.12-storm-usermode" / "trace.dat", long, 40_000)
    mine = assert_same(long, fields=False)
    assert len(mine.rows) == events >= 40_000


FORMS: list[tuple[int, Compression]] = [(6, "none"), (7, "none"), (7, "zstd")]


@pytest.mark.parametrize(("version", "compression"), FORMS)
@pytest.mark.parametrize("long_size", [4, 8])
@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("kernel", ["4.14.5", "5.2.1", "7.2.13"])
def test_written_file(
    tmp_path: Path,
    kernel: str,
    endian: Any,
    long_size: int,
    version: int,
    compression: Compression,
) -> None:
    """Every record shape; this is also what proves the writer."""
    path = every_shape(kernel, endian, long_size).write(
        tmp_path / "trace.dat", version, compression, option_sections=3
    )
    mine = assert_same(path)
    assert [(loss.cpu, loss.count) for loss in mine.trace.losses] == [(0, 12), (0, None)]
    assert mine.trace.kernel == kernel
    assert mine.trace.comms[1] == "CPU 0/KVM"


def every_shape(kernel: str, endian: Any, long_size: int) -> TraceWriter:
    w = TraceWriter(
        kernel,
        comms={1: "CPU 0/KVM", 2: "fphog"},
        endian=endian,
        long_size=long_size,
        cpus=[0, 1, 5],
        common=RT if kernel == "5.2.1" else PLAIN,
    )
    second = 1 << 30
    # trace-cmd does not extend the sign of a 32-bit long.
    state = -1 if long_size == 8 else 1
    w.event(0, 1000, 1, "sched_switch", prev_pid=1, next_pid=2, next_comm="b c", prev_state=state)
    w.event(0, 1000 + second, 1, "kvm_exit", exit_reason=0x400, guest_rip=0x1000)
    w.loss(0, 12)
    w.event(0, 2000 + second, 2, "x86_fpu_regs_activated", fpu=0xB7C18880, flag=1, xfeatures=0x217)
    w.event(0, 2000 + second, 2, "kvm_fpu", load=1, length_word=True)
    w.event(0, 2100 + second, 2, "sched_process_exec", filename="/bin/sh", pid=3, stamp="absolute")
    w.builder(0).discard(2150 + second, 24)
    w.event(0, 2200 + second, 2, "sched_migrate_task", comm="a b", pid=3, stamp="extend")
    w.builder(0).time_only(2250 + second)
    w.event(0, 2260 + second, 2, "sys_enter", id=59, args=[1, 2, 3, 4, 5, 6])
    w.event(0, 2270 + second, 2, "sched_process_exec", filename="/" + "x" * 200, pid=4)
    w.builder(0).pad()
    w.event(0, 2300 + second, 2, "kvm_entry", vcpu_id=7)
    w.loss(0)
    w.event(0, 2400 + second, 2, "kvm_entry", vcpu_id=8)
    w.builder(1).open_page(500)
    w.event(5, 1500, 2, "kvm_entry", vcpu_id=9)
    return w


Sample = tuple[int, int, int]
SHIFTS: dict[str, tuple[dict[int, list[Sample]], dict[int, list[int]] | None]] = {
    "one sample": ({0: [(0, 100, 1)], 1: [(0, -200, 1)]}, None),
    "two samples": ({0: [(0, 100, 1), (1500, 200, 1)], 1: [(0, 200, 1), (5000, 900, 1)]}, None),
    "falling": ({0: [(0, 900, 1), (1500, 200, 1)], 1: [(0, 2, 1), (5000, -1900, 1)]}, None),
    "three": ({cpu: [(t, t // 700, 1) for t in (10, 40_000, 10**9)] for cpu in (0, 1)}, None),
    "scaled": (
        {0: [(0, 100, 3), (1500, 200, 3)], 1: [(0, 200, 5), (5000, 900, 5)]},
        {0: [1, 1], 1: [2, 2]},
    ),
}


def corrected(kind: str) -> TraceWriter:
    """A recording whose times are not those in its pages."""
    what, _, how = kind.partition(": ")
    w = TraceWriter("6.12.1", clock=how if what == "raw" else "mono")
    if what == "offset":
        w.offset(int(how))
    elif what == "date":
        w.date(0x5D0000000)
        w.offset(int(how))
    elif what == "tsc":
        w = TraceWriter("6.12.1", clock="x86-tsc")
        mult, shift = map(int, how.split(">>"))
        w.tsc2nsec(mult, shift, 99)
    elif what in ("shift", "interpolate"):
        samples, fractions = SHIFTS[how]
        w.time_shift(5, samples, interpolate=what == "interpolate", fractions=fractions)
    # Cycles are exact to the ns also where the product needs more than 64 bits; trace-cmd's
    # interpolation is not, so that is tried with shorter times.
    stride = 3_141_592 if what == "interpolate" else 3_141_592_653
    for number in range(200):
        ts = 2000 + number * number * stride + number * 271
        w.event(0, ts, 1, "kvm_entry", vcpu_id=number)
        w.event(1, ts + number % 3, 1, "kvm_entry", vcpu_id=number)
    return w


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize(
    "kind",
    [
        "offset: 123",
        "offset: -500",
        "date: 0",
        "date: 7",
        "tsc: 1048576>>21",
        "tsc: 1431655765>>32",
        "tsc: 2147483647>>31",
        "raw: x86-tsc",
        "raw: counter",
        "raw: boot",
        *(f"{what}: {name}" for what in ("shift", "interpolate") for name in SHIFTS),
    ],
)
def test_corrected_times(tmp_path: Path, kind: str, version: int) -> None:
    path = corrected(kind).write(tmp_path / "trace.dat", version)
    mine = assert_same(path)
    assert len(mine.rows) == 400
    assert mine.trace.clock_in_ns == (kind not in ("raw: x86-tsc", "raw: counter"))


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_instances(tmp_path: Path, version: int, compression: Compression) -> None:
    """trace-cmd prints all buffers together; the reader gives one at a time."""
    w = TraceWriter("6.12.1", cpus=[0, 3])
    w.instance("fpu")
    w.instance("other", clock="boot")
    for number, instance in enumerate(["", "fpu", "other"] * 50):
        w.event(3 * (number % 2), 100 * number, number, "kvm_fpu", load=1, instance=instance)
    path = w.write(tmp_path / "trace.dat", version, compression)
    said = {(e.ns, e.cpu, e.pid) for e in trace_cmd.report(path) if isinstance(e, Event)}
    mine = {name: read_all(path, instance=name) for name in (None, "fpu", "other")}
    assert [len(one.rows) for one in mine.values()] == [50, 50, 50]
    assert {row[:3] for one in mine.values() for row in one.rows} == said
    assert [one.trace.clock for one in mine.values()] == ["mono", "mono", "boot"]
    assert mine[None].trace.instances == ["fpu", "other"]
