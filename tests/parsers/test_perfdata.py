"""perf.data in all its forms: what is written is what is read, and losses stand where they were."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from fputrace.errors import FormatError, TraceError
from fputrace.events import Kind, Loss
from fputrace.parsers import open_trace, perfindex
from tests.parsers.rows import Pass, read_all
from tests.tools import perf_script
from tests.writers.perf import (
    ADDR,
    CALLCHAIN,
    CPU,
    ENABLED,
    FREQ,
    GROUP,
    ID,
    IDENTIFIER,
    IP,
    PERIOD,
    RAW,
    READ,
    READ_ID,
    READ_LOST,
    RUNNING,
    STREAM_ID,
    TID,
    TIME,
    USUAL,
    Form,
    PerfWriter,
)

FORMS: tuple[Form, ...] = ("file", "pipe", "zstd", "zstd2", "zstd pipe")


def fill(w: PerfWriter, events: int = 300, **how: Any) -> PerfWriter:
    """Events of two CPUs, in rounds of 20: what each has."""
    for start in range(0, events, 20):
        for cpu in w.cpus:
            for number in range(start, start + 20):
                ts = 1000 + number * 10 + cpu
                if number % 3:
                    w.event(cpu, ts, 40 + cpu, "kvm_fpu", load=number & 1, **how)
                else:
                    switch: dict[str, Any] = {"prev_pid": 40 + cpu, "next_comm": "swapper", **how}
                    w.event(cpu, ts, 40 + cpu, "sched_switch", **switch)
        w.finished_round()
    return w


def check_filled(mine: Pass, events: int = 300, cpus: int = 2) -> None:
    assert [(row.ts, row.cpu, row.pid) for row in mine.rows] == [
        (1000 + number * 10 + cpu, cpu, 40 + cpu) for number in range(events) for cpu in range(cpus)
    ]
    for number, row in enumerate(mine.rows):
        if number // cpus % 3:
            assert row.fields == {"load": number // cpus & 1}
        else:
            assert row.fields["next_comm"] == "swapper"
    assert mine.trace.losses == []
    assert [kind for *_, kind in mine.marks] == [Kind.CPU_END] * cpus


SAMPLE = 9


@pytest.mark.parametrize("form", ["pipe", "zstd pipe"])
def test_a_pipe_cut_behind_a_sample_is_not_whole(tmp_path: Path, form: Form) -> None:
    w = fill(PerfWriter("5.10.1"))
    while w.records[-1][1][0] != SAMPLE:
        w.records.pop()
    cut = w.to_bytes(form, killed=True)
    if form == "zstd pipe":
        cut = cut[:-8]  # FINISHED_INIT
    path = tmp_path / "perf.data"
    path.write_bytes(cut)
    mine = read_all(path)
    assert {loss.severity for loss in mine.trace.losses} == {"damaged"}
    assert any("middle of a round" in loss.where for loss in mine.trace.losses)


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form(tmp_path: Path, form: Form, endian: Any) -> None:
    w = fill(PerfWriter("5.10.1", endian=endian))
    mine = read_all(w.write(tmp_path / "perf.data", form))
    check_filled(mine)
    trace = mine.trace
    assert (trace.kernel, trace.host, trace.cpus, trace.clock) == ("5.10.1", "box", [0, 1], "mono")
    assert trace.clock_global
    assert trace.losses_known
    assert trace.notes == []
    assert trace.format.startswith("perf.data")
    assert ("zstd" in trace.format, "pipe" in trace.format) == ("zstd" in form, "pipe" in form)


@pytest.mark.skipif(not perf_script.INSTALLED, reason=perf_script.MISSING)
@pytest.mark.parametrize("form", ["file", "pipe", "zstd"])
def test_perf_reads_what_the_writer_writes(tmp_path: Path, form: Form) -> None:
    path = fill(PerfWriter("5.10.1")).write(tmp_path / "perf.data", form)
    said = [item for item in perf_script.script(path) if isinstance(item, perf_script.Event)]
    assert [(item.ns, item.cpu, item.name) for item in said] == [
        (row.ts, row.cpu, row.name) for row in read_all(path).rows
    ]


def test_folder(tmp_path: Path) -> None:
    folder = fill(PerfWriter()).write_folder(tmp_path / "perf.data")
    mine = read_all(folder)
    check_filled(mine)
    assert mine.trace.format == "perf.data directory"
    with pytest.raises(FormatError, match="directory"):
        open_trace(folder / "data")


@pytest.mark.parametrize("attr_size", [64, 72, 80, 96, 104, 112, 120, 128, 136, 256])
@pytest.mark.parametrize("form", ["file", "pipe"])
def test_attributes_of_every_size(tmp_path: Path, attr_size: int, form: Form) -> None:
    w = fill(PerfWriter(attr_size=attr_size))
    mine = read_all(w.write(tmp_path / "perf.data", form))
    check_filled(mine)
    # Without the field the clock is the one with number 0.
    assert mine.trace.clock == ("mono" if attr_size >= 96 else "realtime")


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize(
    "sample_type",
    [
        USUAL | ADDR | STREAM_ID | CALLCHAIN,
        USUAL | READ,
        USUAL | READ | CALLCHAIN | ID,
        ID | TID | TIME | CPU | RAW,
        TIME | CPU | RAW,
        IP | TID | TIME | CPU | RAW | CALLCHAIN,
    ],
)
@pytest.mark.parametrize(
    "read_format", [0, READ_ID | ENABLED | RUNNING, READ_ID | GROUP | READ_LOST | ENABLED]
)
def test_fields_before_the_record(
    tmp_path: Path, sample_type: int, read_format: int, endian: Any
) -> None:
    w = PerfWriter(sample_type=sample_type, read_format=read_format, endian=endian)
    fill(w, chain=(1, 2, 3), values=3)
    check_filled(read_all(w.write(tmp_path / "perf.data")))


@pytest.mark.parametrize("mark", [IDENTIFIER, ID])
def test_events_with_different_samples(tmp_path: Path, mark: int) -> None:
    base = mark | TID | TIME | CPU | RAW
    w = PerfWriter(
        sample_type=base,
        sample_types={"kvm_fpu": base | IP if mark == IDENTIFIER else base | PERIOD | CALLCHAIN},
    )
    fill(w, chain=(7,))
    check_filled(read_all(w.write(tmp_path / "perf.data")))


def test_lost_stands_behind_the_event_before(tmp_path: Path) -> None:
    w = PerfWriter()
    w.event(0, 1000, 1, "kvm_fpu", load=1)
    w.event(1, 1500, 2, "kvm_fpu", load=1)
    w.event(1, 2500, 2, "kvm_fpu", load=0)
    w.finished_round()
    w.lost(0, 12, 9000)
    w.event(0, 8999, 1, "kvm_fpu", load=0)
    w.lost(1, 3, 9500)
    w.comm(1, 5, "late", 9500)
    w.lost(1, 4, 9600)
    mine = read_all(w.write(tmp_path / "perf.data"))
    losses = [loss[:4] for loss in mine.trace.losses]
    assert losses == [(0, 1000, 8999, 12), (1, 2500, None, 7)]
    assert all("record at byte" in loss.where for loss in mine.trace.losses)
    assert mine.marks == [
        (1000, 0, Kind.LOSS),
        (2500, 1, Kind.LOSS),
        (2500, 1, Kind.CPU_END),
        (8999, 0, Kind.LOSS_END),
        (8999, 0, Kind.CPU_END),
    ]
    data = (tmp_path / "perf.data").read_bytes()
    at = int(mine.trace.losses[0].where.rpartition(" ")[2])
    assert struct.unpack_from("<I", data, at) == (2,)


def test_an_interrupt_wrote_first(tmp_path: Path) -> None:
    """Events of an interrupt between taking the time and reserving room are sorted in."""
    w = PerfWriter(cpus=1)
    w.event(0, 100, 1, "kvm_fpu", load=1)
    w.event(0, 210, 1, "kvm_fpu", load=0)
    w.event(0, 220, 1, "kvm_fpu", load=1)
    w.lost(0, 2, 230)
    w.event(0, 205, 1, "sched_switch", prev_pid=1)
    w.event(0, 300, 1, "kvm_fpu", load=0)
    mine = read_all(w.write(tmp_path / "perf.data"))
    assert [row.ts for row in mine.rows] == [100, 205, 210, 220, 300]
    assert [loss[:4] for loss in mine.trace.losses] == [(0, 220, 300, 2)]
    assert mine.trace.clock_global
    assert mine.trace.notes == []


def small_granules(monkeypatch: pytest.MonkeyPatch, size: int = 4096) -> None:
    monkeypatch.setattr(perfindex, "GRANULE", size)
    monkeypatch.setattr(perfindex, "_LEAST_GRANULE", size)
    monkeypatch.setattr(perfindex, "_KEPT", 3 * size)


def test_an_interrupt_between_granules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [1000 + 10 * number for number in range(2000)]
    for at in range(3, 1990, 5):
        times[at], times[at + 1] = times[at + 1], times[at]
    w = PerfWriter(cpus=1)
    for ts in times:
        w.event(0, ts, 1, "kvm_fpu", load=ts // 10 & 1)
    path = w.write(tmp_path / "perf.data")
    small_granules(monkeypatch, 1024)
    mine = read_all(path)
    assert [row.ts for row in mine.rows] == sorted(times)
    assert [row.fields["load"] for row in mine.rows] == [ts // 10 & 1 for ts in sorted(times)]
    assert mine.trace.notes == []


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_small_granules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form, index: bool
) -> None:
    w = fill(PerfWriter(id_index=index), 600)
    w.lost(0, 9, 10**6)
    path = w.write(tmp_path / "perf.data", form)
    small_granules(monkeypatch)
    with open_trace(path) as trace:
        passes = []
        for _ in range(2):
            passes.append([(b.ts.tolist(), b.cpu.tolist()) for b in trace.blocks()])
            assert [loss[:4] for loss in trace.losses] == [(0, 6990, None, 9)]
            assert trace.read_bytes <= trace.total_bytes
        assert passes[0] == passes[1]


def test_a_quiet_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next event is far ahead in the file: what was passed on the way is read again."""
    w = PerfWriter(cpus=3)
    w.event(2, 500, 9, "kvm_fpu", load=1)
    fill_cpus = [(cpu, 1000 + 10 * number + cpu) for number in range(800) for cpu in (0, 1)]
    for cpu, ts in fill_cpus:
        w.event(cpu, ts, 40, "kvm_fpu", load=1)
    w.event(2, 10**6, 9, "kvm_fpu", load=0)
    path = w.write(tmp_path / "perf.data")
    small_granules(monkeypatch)
    mine = read_all(path)
    assert [row.ts for row in mine.rows] == [500, *(ts for _, ts in fill_cpus), 10**6]


def test_throttle_is_one_loss(tmp_path: Path) -> None:
    w = PerfWriter(cpus=1)
    for ts in (100, 200):
        w.event(0, ts, 1, "kvm_fpu", load=1)
    w.throttle(0, 250, "sched_switch")
    for ts in (300, 400):
        w.event(0, ts, 1, "kvm_fpu", load=1)
    w.throttle(0, 450, "sched_switch", on=False)
    for ts in (500, 600):
        w.event(0, ts, 1, "kvm_fpu", load=1)
    mine = read_all(w.write(tmp_path / "perf.data"))
    assert [loss[:4] for loss in mine.trace.losses] == [(0, 200, 500, None)]
    marks = [(ts, kind) for ts, _, kind in mine.marks]
    assert marks[:-1] == [
        (200, Kind.LOSS),
        (300, Kind.LOSS_END),
        (300, Kind.LOSS),
        (400, Kind.LOSS_END),
        (400, Kind.LOSS),
        (500, Kind.LOSS_END),
    ]


def test_lost_samples_repeat_lost(tmp_path: Path) -> None:
    w = PerfWriter(cpus=1)
    w.event(0, 100, 1, "kvm_fpu", load=1)
    w.lost(0, 7, 200)
    w.event(0, 200, 1, "kvm_fpu", load=1)
    w.lost_samples(0, 5, "sched_switch")
    w.lost_samples(0, 2, "kvm_fpu")
    w.lost_samples(0, 1000, "kvm_fpu", misc=1 << 15)  # a filter dropped those
    trace = read_all(w.write(tmp_path / "perf.data")).trace
    assert [loss[:4] for loss in trace.losses] == [(0, 100, 200, 7)]
    assert "sched:sched_switch 5, kvm:kvm_fpu 2" in trace.notes[0]


def test_lost_samples_alone_have_no_place(tmp_path: Path) -> None:
    w = fill(PerfWriter(), 40)
    w.lost_samples(1, 5, "sched_switch")
    trace = read_all(w.write(tmp_path / "perf.data")).trace
    where = "LOST_SAMPLES at the end, which no LOST record told of"
    assert trace.losses == [Loss(1, None, None, 5, where, placed=False)]


def test_guests_are_left_out(tmp_path: Path) -> None:
    w = PerfWriter()
    w.guests.add("sched_switch")
    fill(w, 30)
    trace = read_all(w.write(tmp_path / "perf.data")).trace
    assert trace.counts == {"kvm:kvm_fpu": 52}
    assert trace.notes == [f"{tmp_path}/perf.data: 28 samples are a guest's and left out"]


def test_names_of_tasks(tmp_path: Path) -> None:
    w = PerfWriter(cpus=1)
    w.comm(0, 7, "synthesized")
    w.comm(0, 8, "qemu", 150)
    w.fork(0, 9, 8, 160)
    switch: dict[str, Any] = {"prev_pid": 7, "prev_comm": "from event", "next_pid": 8}
    w.event(0, 100, 7, "sched_switch", **switch)
    trace = read_all(w.write(tmp_path / "perf.data")).trace
    assert {pid: trace.comms[pid] for pid in (0, 7, 8, 9)} == {
        0: "<idle>",
        7: "from event",
        8: "qemu",
        9: "qemu",
    }


def test_common_pid_of_a_task_gone(tmp_path: Path) -> None:
    w = PerfWriter(cpus=1)
    w.event(0, 100, 7, "kvm_fpu", tid=-1, load=1)
    assert read_all(w.write(tmp_path / "perf.data")).rows[0].pid == 7


@pytest.mark.parametrize(
    ("clockid", "name", "everywhere"),
    [
        (0, "realtime", True),
        (1, "mono", True),
        (4, "mono_raw", True),
        (7, "boot", True),
        (11, "tai", True),
        (3, "clockid 3", False),
        (None, "perf", True),
    ],
)
def test_clocks(tmp_path: Path, clockid: int | None, name: str, everywhere: bool) -> None:
    trace = read_all(fill(PerfWriter(clockid=clockid), 20).write(tmp_path / "perf.data")).trace
    assert (trace.clock, trace.clock_global) == (name, everywhere)
    assert any("perf's own clock" in sentence for sentence in trace.limits) == (clockid is None)


def scrambled() -> PerfWriter:
    """Two tasks with a buffer each on one CPU, each written as a whole; and a loss of one."""
    w = PerfWriter(cpus=1, id_index="task")
    for task in range(2):
        for number in range(200):
            w.event(0, 1000 + 20 * number + 10 * task, 40 + task, "kvm_fpu", load=task)
    w.lost(0, 5, 9000)
    w.event(0, 9000, 41, "kvm_fpu", load=1)
    return w


@pytest.mark.parametrize("form", FORMS)
def test_buffers_of_tasks_are_sorted(tmp_path: Path, form: Form) -> None:
    mine = read_all(scrambled().write(tmp_path / "perf.data", form))
    assert [row.ts for row in mine.rows] == [*range(1000, 5000, 10), 9000]
    assert [row.pid for row in mine.rows[:4]] == [40, 41, 40, 41]
    assert [(loss.cpu, loss.count, loss.placed) for loss in mine.trace.losses] == [(None, 5, False)]
    assert any("chosen tasks" in sentence for sentence in mine.trace.limits)
    assert mine.trace.clock_global


def test_too_many_to_sort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fputrace.parsers.perfsort.MOST_SAMPLES", 100)
    with pytest.raises(TraceError, match="100 of one CPU is the most") as raised:
        open_trace(scrambled().write(tmp_path / "perf.data"))
    assert "perf record -a" in raised.value.hint


def test_disorder_without_an_index_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = PerfWriter(cpus=1, id_index=False)
    for block in range(30):
        for task in range(2):
            for number in range(100):
                ts = 10**10 * block + 10**8 * number + task
                w.event(0, ts, 40 + task, "kvm_fpu", load=task)
    small_granules(monkeypatch)
    mine = read_all(w.write(tmp_path / "perf.data"))
    times = [row.ts for row in mine.rows]
    assert len(times) == 6000
    assert times == sorted(times)
    assert mine.trace.clock_global
    assert mine.trace.notes == []


def test_overwrite(tmp_path: Path) -> None:
    w = PerfWriter(backward=True)
    for cpu in (0, 1):
        for ts in range(3000, 1000, -10):
            w.event(cpu, ts + cpu, 40, "kvm_fpu", load=1)
    mine = read_all(w.write(tmp_path / "perf.data"))
    assert [row.ts for row in mine.rows] == sorted(row.ts for row in mine.rows)
    assert len(mine.rows) == 400
    assert not mine.trace.losses_known
    assert any("overwritten" in sentence for sentence in mine.trace.limits)


def test_every_so_many_th_event_proves_nothing(tmp_path: Path) -> None:
    mine = read_all(fill(PerfWriter(period=100), 20).write(tmp_path / "perf.data"))
    assert set(mine.trace.unusable) >= {"kvm:kvm_fpu", "sched:sched_switch"}
    assert set(mine.trace.event_kinds) == {Kind.OTHER}
    assert FREQ == 10


@pytest.mark.parametrize("word", ["--filter", "--filter=pid != 5", "--exclude-perf"])
def test_a_filter_hides_events(tmp_path: Path, word: str) -> None:
    w = fill(PerfWriter(), 20)
    w.cmdline += ["-e", "kvm:kvm_fpu", word]
    trace = read_all(w.write(tmp_path / "perf.data")).trace
    assert not trace.losses_known
    assert any("filter" in sentence for sentence in trace.limits)


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (["-e", "raw_syscalls:sys_enter", "--filter", "common_pid == 5"], True),
        (["-ekvm:kvm_msr", "--filter=ecx == 0x1c4", "-e", "kvm:kvm_fpu"], True),
        (["-e", "raw_syscalls:sys_enter,kvm:kvm_fpu", "--filter", "common_pid == 5"], False),
        (["--event=raw_syscalls:sys_enter", "--filter=id == 1", "--event=x86_fpu:*"], True),
        (["-e", "x86_fpu:*", "--filter", "common_pid == 5"], False),
        (["-a", "--filter", "common_pid == 5"], False),
        (["-e", "kvm:kvm_fpu", "--", "grep", "--filter", "x"], True),
    ],
)
def test_a_filter_is_of_the_event_before_it(words: list[str], known: bool, tmp_path: Path) -> None:
    w = fill(PerfWriter(), 20)
    w.cmdline += words
    assert read_all(w.write(tmp_path / "perf.data")).trace.losses_known is known


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_versions_of_the_formats(tmp_path: Path, version: str) -> None:
    w = fill(PerfWriter(tracing_version=version, kernel=None), 40)
    mine = read_all(w.write(tmp_path / "perf.data"))
    check_filled(mine, 40)
    assert mine.trace.kernel is None
    assert "kvm:kvm_entry" not in mine.trace.formats  # described and not recorded


def test_without_tracepoints(tmp_path: Path) -> None:
    data = bytearray(fill(PerfWriter(events=("sched_switch", "kvm_fpu")), 20).to_bytes())
    at = struct.unpack_from("<Q", data, 24)[0]
    for number in range(2):
        struct.pack_into("<I", data, at + number * 144, 0)  # PERF_TYPE_HARDWARE
    path = tmp_path / "perf.data"
    path.write_bytes(data)
    with pytest.raises(TraceError, match="none of the events") as raised:
        open_trace(path)
    assert "perf record -a" in raised.value.hint


def test_recorder_was_killed(tmp_path: Path) -> None:
    w = fill(PerfWriter(), 20)
    path = tmp_path / "perf.data"
    path.write_bytes(w.to_bytes(killed=True))
    with pytest.raises(FormatError, match="TRACING_DATA") as raised:
        open_trace(path)
    assert "SIGINT" in raised.value.hint
    # With the formats in a record, as in a pipe, the events are there.
    formats = w.tracing_data()
    formats += bytes(-len(formats) % 8)
    whole = PerfWriter()
    whole.records.append((-1, struct.pack("<IHHI", 66, 0, 12, len(formats)) + formats))
    fill(whole)
    path.write_bytes(whole.to_bytes(killed=True))
    mine = read_all(path)
    assert len(mine.rows) == 600
    assert "killed" in mine.trace.notes[0]


def test_an_event_without_cpu(tmp_path: Path) -> None:
    w = fill(PerfWriter(sample_type=IDENTIFIER | TID | TIME | RAW), 20)
    with pytest.raises(TraceError, match="lack"):
        open_trace(w.write(tmp_path / "perf.data"))


def test_no_samples_at_all(tmp_path: Path) -> None:
    for index in (True, False):
        mine = read_all(PerfWriter(id_index=index).write(tmp_path / "perf.data"))
        assert mine.rows == []
        assert mine.marks == []
        assert mine.trace.cpus == [0, 1]


def test_probes_by_name(tmp_path: Path) -> None:
    from tests.writers.formats import EventSpec, Layout

    w = PerfWriter(events=("kvm_fpu",), cpus=1)
    spec = EventSpec("probe", "kernel_fpu_end", ("unsigned long __probe_ip",))
    layout = Layout(spec, 900)
    w.trace.layouts["kernel_fpu_end"] = w.trace.layouts["probe:kernel_fpu_end"] = layout
    w.events.append("kernel_fpu_end")
    w.sample_types["kernel_fpu_end"] = USUAL
    w.event(0, 100, 7, "kernel_fpu_end", __probe_ip=0xFFFFFFFF81001234)
    with open_trace(w.write(tmp_path / "perf.data")) as trace:
        kinds = [kind for block in trace.blocks() for kind in block.kind.tolist()]
    assert kinds == [Kind.PROBE_KFPU_END, Kind.CPU_END]
    assert trace.probes == {"probe:kernel_fpu_end": ("kernel_fpu_end", "name")}
    assert not trace.has_kallsyms
