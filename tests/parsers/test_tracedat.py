"""Opening a recording: what it says of itself, and what is said when it cannot be opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fputrace.errors import FormatError, ReadError, TraceError, UsageError
from fputrace.events import ABSENT, Kind, Trace
from fputrace.parsers import FORMATS, open_trace
from fputrace.parsers.clocks import Correction, Shift, parse_offset, parse_time_shift
from tests.conftest import SAMPLES
from tests.parsers.rows import read_all
from tests.writers import Compression, TraceWriter

FORMS: list[tuple[int, Compression]] = [(6, "none"), (7, "none"), (7, "zstd"), (7, "zlib")]


def tick(w: TraceWriter, cpu: int, ts: int, load: int = 1) -> None:
    w.event(cpu, ts, 7, "kvm_fpu", load=load)


def small() -> TraceWriter:
    w = TraceWriter("6.12.1", cpus=2)
    for ts in (100, 200):
        tick(w, 0, ts)
        tick(w, 1, ts + 50)
    return w


# --- what cannot be opened ----------------------------------------------------------------------


def error_of(path: Path | str) -> TraceError:
    with pytest.raises(TraceError) as caught:
        open_trace(path)
    return caught.value


def test_a_missing_file_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.dat").write_bytes(b"")
    error = error_of(tmp_path / "trace.dat")
    assert "there is no such file" in str(error)
    assert "mine.dat" in error.hint


def test_an_empty_directory_an_empty_file_and_a_nul_in_the_name(tmp_path: Path) -> None:
    assert "no recording is in it" in str(error_of(tmp_path))
    (tmp_path / "empty").write_bytes(b"")
    assert "the file is empty" in str(error_of(tmp_path / "empty"))
    assert "cannot be opened" in str(error_of("a\0b"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "may not be read" in str(error_of(path))


def test_versions_and_word_sizes_nobody_has(tmp_path: Path) -> None:
    data = small().file().to_bytes(7, "none", 1)
    path = tmp_path / "trace.dat"
    path.write_bytes(data.replace(b"tracing7\0", b"tracing8\0"))
    assert "version '8'" in str(error_of(path))
    path.write_bytes(data[:12] + b"\0\x07" + data[14:])
    assert error_of(path).offset == 12
    path.write_bytes(data[:12] + b"\x02\x08" + data[14:])
    assert error_of(path).offset == 12


def test_options_that_cannot_be(tmp_path: Path) -> None:
    path = small().write(tmp_path / "trace.dat")
    with pytest.raises(UsageError, match="no format 'perf'"):
        open_trace(path, format_in="perf")
    with pytest.raises(UsageError, match="no reader 'x'"):
        open_trace(path, reader="x")
    with pytest.raises(UsageError, match="no instance 'x'"):
        open_trace(path, instance="x")


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=1)
    for i in range(60_000):
        tick(w, 0, 1000 + i)
    path = w.write(tmp_path / "trace.dat")
    with open_trace(path) as trace:
        os.truncate(path, path.stat().st_size - 600_000)
        with pytest.raises(ReadError, match="shrunk") as caught:
            list(trace.blocks())
        assert caught.value.offset is not None
        assert caught.value.path == str(path)


def test_a_closed_trace_says_so(tmp_path: Path) -> None:
    trace = open_trace(small().write(tmp_path / "trace.dat"))
    trace.close()
    with pytest.raises(ValueError, match="closed"):
        trace.blocks()
    trace.close()


# --- where it comes from ------------------------------------------------------------------------

PROGRAM = """
import sys
from fputrace.parsers import open_trace
with open_trace("-") as trace:
    print(trace.path, sum(len(block) for block in trace.blocks()))
"""


@pytest.mark.parametrize("pipe", [True, False], ids=["pipe", "file"])
def test_standard_input(tmp_path: Path, pipe: bool) -> None:
    path = small().write(tmp_path / "trace.dat")
    command = [sys.executable, "-c", PROGRAM]
    if pipe:
        ran = subprocess.run(command, check=True, capture_output=True, input=path.read_bytes())
    else:
        with path.open("rb") as stream:
            ran = subprocess.run(command, check=True, capture_output=True, stdin=stream)
    assert ran.stdout == b"standard input 6\n"


def test_the_format_is_found_by_content(tmp_path: Path) -> None:
    path = small().write(tmp_path / "perf.data")
    assert FORMATS[-1].name == "text"
    with open_trace(path) as found, open_trace(path, format_in="trace.dat") as forced:
        assert found.format == forced.format == "trace.dat v7"


# --- what it says of itself ---------------------------------------------------------------------


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_metadata(tmp_path: Path, version: int, compression: Compression) -> None:
    w = TraceWriter("6.1.0-50-amd64", cpus=[0, 3, 8], clock="boot", comms={1: "a b", 7: "qemu"})
    tick(w, 3, 100)
    w.guest("vm", 77, {0: 500, 1: 501})
    with open_trace(w.write(tmp_path / "trace.dat", version, compression)) as trace:
        suffix = "" if compression == "none" else f" {compression}"
        assert trace.format == f"trace.dat v{version}{suffix}"
        assert (trace.kernel, trace.host) == ("6.1.0-50-amd64", "host")
        assert (trace.clock, trace.clock_global, trace.clock_in_ns) == ("boot", True, True)
        assert set(trace.cpus) >= {0, 3, 8}
        assert trace.comms == {0: "<idle>", 1: "a b", 7: "qemu"}
        assert trace.guests == {500: ("vm", 0), 501: ("vm", 1)}
        assert trace.formats["kvm:kvm_fpu"].name == "kvm_fpu"
        assert trace.event_kinds[trace.event_names.index("kvm:kvm_fpu")] is Kind.KVM_FPU
        assert (trace.has_kallsyms, trace.is_guest, trace.notes) == (False, False, [])


@pytest.mark.parametrize(
    ("clock", "is_global", "in_ns"),
    [
        ("local", False, True),
        ("global", True, True),
        ("mono_raw", True, True),
        ("perf", True, True),
        ("x86-tsc", True, False),
        ("counter", True, False),
        ("ppc-tb", False, True),
    ],
)
def test_clocks(tmp_path: Path, clock: str, is_global: bool, in_ns: bool) -> None:
    w = TraceWriter("6.12.1", clock=clock)
    tick(w, 0, 100)
    for version in (6, 7):
        with open_trace(w.write(tmp_path / "trace.dat", version)) as trace:
            assert (trace.clock, trace.clock_global, trace.clock_in_ns) == (clock, is_global, in_ns)


def test_cycles_become_ns(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", clock="x86-tsc", cpus=1)
    cycles = [1000, 10**12, (1 << 58) + 12345]
    for ts in cycles:
        tick(w, 0, ts)
    w.tsc2nsec(1398101333, 32)
    mine = read_all(w.write(tmp_path / "trace.dat"))
    assert mine.trace.clock_in_ns
    assert [row.ts for row in mine.rows] == [ts * 1398101333 >> 32 for ts in cycles]


def test_date_and_offset_are_added(tmp_path: Path) -> None:
    w = small()
    w.date(5)
    w.offset(-30)
    w.loss(0, 3)
    tick(w, 0, 900)
    mine = read_all(w.write(tmp_path / "trace.dat"))
    assert [row.ts for row in mine.rows] == [5070, 5120, 5170, 5220, 5870]
    assert [loss[:4] for loss in mine.trace.losses] == [(0, 5170, 5870, 3)]
    assert (mine.trace.first_ns, mine.trace.last_ns) == (5070, 5870)


def test_a_guest_is_moved_to_its_hosts_time(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=2)
    for ts in (50, 150, 250):
        tick(w, 0, ts)
        tick(w, 1, ts)
    w.time_shift(
        9,
        {0: [(100, 1000, 1), (200, 2000, 1)], 1: [(0, -20, 1)]},
        interpolate=True,
        fractions={0: [0, 0], 1: [0]},
    )
    mine = read_all(w.write(tmp_path / "trace.dat"))
    assert mine.trace.is_guest
    assert [(row.ts, row.cpu) for row in mine.rows] == [
        (30, 1),
        (130, 1),
        (230, 1),
        (551, 0),  # -499.5 is cut, as C does
        (1650, 0),
        (2750, 0),
    ]


def test_corrections_in_whole_numbers() -> None:
    correction = Correction(shifts=[[Shift(0, 5, 3 << 32, 32), Shift(10, 7, 1, 0)]])
    ts = np.array([4, 1 << 40], dtype=np.int64)
    correction.apply(ts, 0)
    assert ts.tolist() == [17, 3 * (1 << 40) + 5]
    assert not correction.applies(1)
    assert parse_offset(b"0x10\0") == 16
    assert parse_offset(b"-5") == -5
    assert parse_offset(b"five") is None
    assert parse_offset(b"9" * 30) is None
    assert parse_time_shift(b"\0" * 15, False) is None
    assert parse_time_shift(b"\0" * 12 + b"\xff\xff\xff\xff", False) is None


def test_an_instance_is_read_by_name(tmp_path: Path) -> None:
    w = small()
    w.instance("vm", clock="boot")
    w.event(1, 170, 9, "kvm_fpu", load=0, instance="vm")
    for version in (6, 7):
        path = w.write(tmp_path / "trace.dat", version)
        with open_trace(path) as top:
            assert top.instances == ["vm"]
            assert top.clock == "mono"
        with open_trace(path, instance="vm") as trace:
            (block,) = trace.blocks()
            assert block.ts.tolist() == [170, 170]
            assert block.kind.tolist() == [Kind.KVM_FPU, Kind.CPU_END]
            assert trace.clock == "boot"


# --- names, operands, probes --------------------------------------------------------------------


def test_comms_follow_the_events(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=2, comms={10: "saved", 20: "stays"})
    w.event(0, 100, 1, "sched_switch", prev_pid=1, prev_comm="one", next_pid=2, next_comm="two")
    w.event(1, 150, 1, "sched_process_fork", parent_pid=1, child_pid=3, child_comm="child")
    w.event(1, 200, 3, "sched_process_exec", filename="/usr/bin/a-name-longer-than-that", pid=3)
    w.event(0, 300, 2, "sched_switch", prev_pid=2, prev_comm="deux", next_pid=10, next_comm="new")
    w.event(1, 250, 3, "sched_switch", prev_pid=3, prev_comm="a-name-longer-t", next_pid=2,
            next_comm="too late")  # fmt: skip
    mine = read_all(w.write(tmp_path / "trace.dat"))
    assert mine.trace.comms == {
        0: "<idle>",
        1: "one",
        2: "deux",
        3: "a-name-longer-t",
        10: "new",
        20: "stays",
    }


def test_an_event_without_a_needed_field_counts_as_not_recorded(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=1)
    w.event(0, 100, 7, "kvm_userspace_exit", errno=-4)
    path = w.write(tmp_path / "trace.dat")
    path.write_bytes(path.read_bytes().replace(b"__u32 reason;", b"__u32 season;"))
    with open_trace(path) as trace:
        (block,) = trace.blocks()
        assert trace.unusable == {"kvm:kvm_userspace_exit": ["reason"]}
        assert block.kind.tolist() == [Kind.OTHER, Kind.CPU_END]
        assert block.op[0].tolist() == [ABSENT] * 4
        assert trace.counts == {"kvm:kvm_userspace_exit": 1}


def test_probes_by_their_address(samples: Path) -> None:
    with open_trace(samples / "6.12-kfpu-probes" / "trace.dat") as trace:
        kinds: dict[str, set[int]] = {}
        for block in trace.blocks():
            for index in np.unique(block.event[block.event >= 0]):
                found = block.kind[block.event == index]
                kinds.setdefault(trace.event_names[index], set()).update(found.tolist())
        assert trace.probes["fpu:save"] == ("save_fpregs_to_fpstate", "kallsyms")
        assert trace.probes["fpu:kernel_fpu_begin"] == ("kernel_fpu_begin_mask", "kallsyms")
        assert kinds["fpu:save"] == {Kind.PROBE_SAVE}
        assert kinds["fpu:restore"] == {Kind.PROBE_RESTORE}
        assert kinds["fpu:swap"] == {Kind.PROBE_SWAP}
        assert kinds["fpu:kernel_fpu_end"] == {Kind.PROBE_KFPU_END}
        assert trace.symbols["kernel_fpu_end"] > 1 << 63


def test_the_function_tracer_gives_each_function_its_kind(samples: Path) -> None:
    with open_trace(samples / "6.12-pinned-function" / "trace.dat") as trace:
        kinds: set[int] = set()
        for block in trace.blocks():
            mine = block.event == trace.event_names.index("ftrace:function")
            kinds.update(block.kind[mine].tolist())
        assert kinds == {
            Kind.PROBE_KFPU_BEGIN,
            Kind.PROBE_KFPU_END,
            Kind.PROBE_SWAP,
            Kind.PROBE_SWITCH_FPU_RETURN,
        }
        functions, evidence = trace.probes["ftrace:function"]
        assert evidence == "kallsyms"
        assert "fpu_swap_kvm_fpstate" in functions


# --- damaged and truncated ----------------------------------------------------------------------


def rows_of(trace: Trace) -> list[tuple[int, int, int]]:
    return [
        (int(ts), int(cpu), int(event))
        for block in trace.blocks()
        for ts, cpu, event in zip(block.ts, block.cpu, block.event, strict=True)
        if event >= 0
    ]


@pytest.mark.parametrize("keep", [0.5, 0.8, 0.97])
def test_the_end_is_missing_and_the_table_with_it(
    samples: Path, tmp_path: Path, keep: float
) -> None:
    """What is there of a v7 file is read, each CPU's events up to where the file breaks off."""
    path = samples / "6.1-storm-lost" / "trace.dat"
    with open_trace(path) as trace:
        whole = rows_of(trace)
    data = path.read_bytes()
    start = 952_000  # where the pages begin in this sample
    cut = tmp_path / "trace.dat"
    cut.write_bytes(data[: start + int((len(data) - start) * keep)])
    with open_trace(cut) as trace:
        rows = rows_of(trace)
        assert trace.cpus == [0, 1]
        for cpu in (0, 1):
            mine = [row for row in rows if row[1] == cpu]
            assert mine == [row for row in whole if row[1] == cpu][: len(mine)]
        assert len(rows) > len(whole) * keep * 0.6
        assert any(loss.severity == "damaged" for loss in trace.losses)
        assert any("end of the file is missing" in note for note in trace.notes)


def test_a_file_cut_before_its_events_is_an_error(samples: Path, tmp_path: Path) -> None:
    data = (samples / "4.14.5-pinned" / "trace.dat").read_bytes()
    cut = tmp_path / "trace.dat"
    for size in (11, 100, 5000, 480_000):
        cut.write_bytes(data[:size])
        error = error_of(cut)
        assert isinstance(error, FormatError)
        assert str(cut) in str(error)


def test_a_v6_file_keeps_every_whole_page(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=1, page_size=512)
    for i in range(100):
        tick(w, 0, 1000 + i)
    whole = w.write(tmp_path / "whole.dat", 6)
    with open_trace(whole) as trace:
        rows = rows_of(trace)
    per_page = [row[0] for row in rows]
    cut = tmp_path / "cut.dat"
    cut.write_bytes(whole.read_bytes()[:-700])
    with open_trace(cut) as trace:
        kept = [row[0] for row in rows_of(trace)]
        assert kept == per_page[: len(kept)]
        assert len(kept) >= len(rows) // 2
        (loss,) = trace.losses
        assert (loss.after_ns, loss.before_ns, loss.severity) == (kept[-1], None, "damaged")
        assert f"{cut} at byte" in trace.notes[0]


def test_a_broken_chunk_is_a_hole(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=1, page_size=512)
    for i in range(2000):
        tick(w, 0, 1000 + i)
    path = w.write(tmp_path / "trace.dat", 7, "zlib")
    data = bytearray(path.read_bytes())
    with open_trace(path) as trace:
        rows = [row[0] for row in rows_of(trace)]
    # The second chunk's data: two bytes in the middle of its stream.
    streams = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\x78\x9c"]
    streams = [at for at in streams if int.from_bytes(data[at - 4 : at], "little") == 5120]
    data[streams[1] + 40] ^= 0xFF
    path.write_bytes(data)
    with open_trace(path) as trace:
        kept = [row[0] for row in rows_of(trace)]
        assert set(kept) < set(rows)
        assert kept[-1] == rows[-1]
        assert len(rows) - len(kept) <= 2000 // 3
        (loss,) = trace.losses
        assert loss.severity == "damaged"
        assert "does not decompress" in loss.where
        assert loss.before_ns is not None
        assert loss.after_ns == max(ts for ts in kept if ts < loss.before_ns)


def test_samples_are_whole(sample: Path) -> None:
    with open_trace(sample) as trace:
        rows = sum(len(block) for block in trace.blocks())
        assert sum(trace.counts.values()) <= rows
        assert trace.notes == []
        assert trace.unusable == {}
        assert trace.clock == "mono"
        assert all(loss.severity == "lost" for loss in trace.losses)
        assert SAMPLES in sample.parents
