"""Perfetto recordings, written with Google's own protobuf classes, against the same trace.dat."""

from __future__ import annotations

import random
import re
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fputrace
from fputrace.errors import FormatError, TraceError
from fputrace.events import Kind
from fputrace.findings import Analysis, Severity, Verdict
from fputrace.parsers import open_trace
from fputrace.parsers.pftrace import sniff
from tests.conftest import QUICK_CASES, SAMPLE_CASES, SAMPLES
from tests.parsers.rows import Pass, read_all
from tests.writers.pftrace import PerfettoWriter, pb, varint, write_trace

FORMS: dict[str, dict[str, Any]] = {
    "named": {"typed": ()},
    "described": {"generic": "described", "typed": ()},
    "typed-switch": {"typed": ("sched_switch",)},
    "compact": {"generic": "described", "typed": (), "compact": True},
    "as-perfetto-does": {"compact": True},
}
F = 0xFFFF888000100000


def activated(fpu: int, load: int = 0) -> dict[str, Any]:
    return {"fpu": hex(fpu), "load_fpu": load, "xfeatures": 7, "xcomp_bv": 0}


def switch(prev: int, to: int, state: int = 1) -> dict[str, Any]:
    return {
        "prev_comm": f"task{prev}",
        "prev_pid": prev,
        "prev_prio": 120,
        "prev_state": state,
        "next_comm": f"task{to}",
        "next_pid": to,
        "next_prio": 120,
    }


ACTIVATED, DEACTIVATED = "x86_fpu:x86_fpu_regs_activated", "x86_fpu:x86_fpu_regs_deactivated"
SWITCH = "sched:sched_switch"


def opened(tmp_path: Path, writer: PerfettoWriter, compression: Any = "none") -> Pass:
    path = tmp_path / "trace.pftrace"
    path.write_bytes(writer.to_bytes(compression))
    return read_all(path)


@cache
def conversion(case: str, form: str) -> bytes:
    """A sample as a Perfetto recording, made once for all tests of a process."""
    writer = PerfettoWriter(**FORMS[form])
    with open_trace(SAMPLES / case / "trace.dat") as trace:
        write_trace(writer, trace)
    return writer.to_bytes()


def converted(case: str, folder: Path, form: str) -> Path:
    path = folder / f"{form}.pftrace"
    path.write_bytes(conversion(case, form))
    return path


def errors(analysis: Analysis) -> dict[tuple[str, str], int]:
    """(code, verdict) -> how often, of what is an error."""
    found: dict[tuple[str, str], int] = {}
    for one in analysis.findings:
        if one.severity is Severity.ERROR:
            key = one.code, one.verdict.value
            found[key] = found.get(key, 0) + one.count
    return found


PAIRS: list[Any] = [
    pytest.param(
        case,
        form,
        marks=() if case in QUICK_CASES and form == "as-perfetto-does" else pytest.mark.long,
    )
    for case in SAMPLE_CASES
    for form in FORMS
    if form == "as-perfetto-does" or case in ("6.1-stale-owner", "6.1-storm-lost")
]
PAIRS += [("5.2.1-pinned", form) for form in FORMS if form != "as-perfetto-does"]


@pytest.mark.parametrize(("case", "form"), PAIRS)
def test_findings_are_those_of_the_file_or_weaker(case: str, tmp_path: Path, form: str) -> None:
    whole = fputrace.analyze(SAMPLES / case / "trace.dat")
    analysis = fputrace.analyze(converted(case, tmp_path, form))
    mine, its = errors(analysis), errors(whole)
    for (code, verdict), count in mine.items():
        total = sum(n for (known, _), n in its.items() if known == code)
        assert count <= (its.get((code, verdict), 0) if verdict == "confirmed" else total), code
    assert set(analysis.generation.candidates) >= set(whole.generation.candidates)
    if form != "as-perfetto-does":
        assert mine == its


@pytest.mark.parametrize(
    ("case", "form"),
    [
        ("5.2.1-pinned", "named"),
        ("5.2.1-pinned", "described"),
        ("5.2.1-pinned", "typed-switch"),
        ("6.1-storm-lost", "named"),
        ("6.12-kfpu-probes", "described"),
    ],
)
def test_every_event_is_the_file_s(case: str, tmp_path: Path, form: str) -> None:
    mine = read_all(converted(case, tmp_path, form))
    whole = read_all(SAMPLES / case / "trace.dat")
    assert len(mine.rows) == len(whole.rows)
    for got, row in zip(mine.rows, whole.rows, strict=True):
        assert got[:3] == row[:3]
        assert got.name.split(":")[1] == row.name.split(":")[1]
        for name, value in got.fields.items():
            # An address that no kind of event has is a number in a Perfetto recording.
            if isinstance(row.fields[name], str) and isinstance(value, int):
                assert hex(value) == row.fields[name]
            elif isinstance(value, str) and not value.startswith("0x"):
                assert value == row.fields[name][: len(value)]
            else:
                assert value == row.fields[name], (got, name)
    assert mine.marks == whole.marks
    assert mine.trace.kernel == whole.trace.kernel
    assert mine.trace.cpus == whole.trace.cpus
    placed = [loss[:3] for loss in mine.trace.losses if loss.placed and loss.count is None]
    assert set(placed) <= {loss[:3] for loss in whole.trace.losses}


@pytest.mark.parametrize("case", ["5.2.1-pinned", "6.1-storm-lost"])
def test_compact_switches_are_the_file_s(case: str, tmp_path: Path) -> None:
    mine = read_all(converted(case, tmp_path, "compact"))
    rows = read_all(SAMPLES / case / "trace.dat").rows
    whole = {row[:2]: row for row in rows if row.name == SWITCH}
    got = [row for row in mine.rows if row.name == SWITCH]
    assert len(got) > 10
    for row in got:
        its = whole[row[:2]]
        assert row.pid == its.pid
        for name, value in row.fields.items():
            assert value == its.fields[name], name
    assert mine.trace.notes == []


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_compressed_packets(samples: Path, tmp_path: Path, compression: Any) -> None:
    writer = PerfettoWriter()
    with open_trace(samples / "6.1-put-at-sched-out" / "trace.dat") as trace:
        write_trace(writer, trace)
    plain = opened(tmp_path, writer)
    packed = opened(tmp_path, writer, compression)
    assert packed.rows == plain.rows
    assert packed.marks == plain.marks


def test_what_the_machine_is(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.system("6.1.0-13-amd64", 4)
    writer.names({5: "kthread 5", 6: "a\nb", 7: "much too long for a comm"})
    tree = writer.packet().process_tree
    tree.processes.add(pid=8, cmdline=["/usr/bin/qemu-system-x86_64", "-m", "1"])
    tree.processes.add(pid=5, cmdline=["not", "this"])
    writer.stats(2, {2: {"overrun": 0}})
    stats = writer.packet().ftrace_stats
    stats.unknown_ftrace_events.append("x86_fpu_nonsense")
    writer.bundle(1, [(10, 5, ACTIVATED, activated(F))])
    trace = opened(tmp_path, writer).trace
    assert trace.format == "pftrace"
    assert trace.kernel == "6.1.0-13-amd64"
    assert trace.cpus == [0, 1, 2, 3]
    assert trace.clock == "boot"
    assert trace.clock_global
    names = {5: "kthread 5", 6: "a b", 7: "much too long f", 8: "qemu-system-x86"}
    assert names.items() <= trace.comms.items()
    assert trace.enabled == frozenset()
    assert not trace.formats[ACTIVATED].complete
    assert any("x86_fpu_nonsense" in note for note in trace.notes)
    assert trace.limits


@pytest.mark.parametrize(
    ("clocks", "name", "same"),
    [
        ([2], "global", True),
        ([3], "local", False),
        ([4], "mono_raw", True),
        ([1], None, False),
        ([0, 3], None, False),
    ],
)
def test_the_clock(tmp_path: Path, clocks: list[int], name: str | None, same: bool) -> None:
    writer = PerfettoWriter()
    for number, clock in enumerate(clocks):
        writer.bundle(number, [(10, 5, ACTIVATED, activated(F))], clock=clock)
    trace = opened(tmp_path, writer).trace
    assert (trace.clock, trace.clock_global) == (name, same)


def test_lost_events_are_before_the_bundle(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.bundle(0, [(10, 5, ACTIVATED, activated(F))])
    writer.bundle(1, [(15, 7, ACTIVATED, activated(F + 1))])
    at = len(writer.to_bytes())
    writer.bundle(0, [(20, 5, ACTIVATED, activated(F))], lost=True)
    writer.stats(1, {0: {"overrun": 100, "dropped_events": 2}})
    writer.stats(2, {0: {"overrun": 109, "dropped_events": 5, "commit_overrun": 1}})
    mine = opened(tmp_path, writer)
    assert [mark for mark in mine.marks if mark[2] != Kind.CPU_END] == [
        (10, 0, Kind.LOSS),
        (20, 0, Kind.LOSS_END),
    ]
    placed, unplaced = mine.trace.losses
    assert placed[:4] == (0, 10, 20, 10)
    assert f"packet at byte {at} of CPU 0" in placed.where
    assert (unplaced.cpu, unplaced.count, unplaced.placed) == (0, 3, False)


def test_a_dropped_packet_may_have_been_of_any_cpu(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.packet(previous_packet_dropped=1)
    for cpu in (0, 1):
        writer.bundle(cpu, [(10 + cpu, 5 + cpu, ACTIVATED, activated(F))])
    writer.packet(previous_packet_dropped=1)
    writer.bundle(0, [(20, 5, ACTIVATED, activated(F))])
    other = PerfettoWriter(sequence=7)
    other.packet(previous_packet_dropped=1)
    writer.packets += other.packets
    mine = opened(tmp_path, writer)
    assert [loss[:3] for loss in mine.trace.losses] == [(0, 10, 20), (1, 11, None)]


def test_the_first_compact_switch_of_a_cpu_says_not_who_leaves(tmp_path: Path) -> None:
    """Nor the first behind a loss: the CPU is seen from the first event of who came on."""
    writer = PerfettoWriter(compact=True)
    writer.bundle(
        0,
        [
            (10, 5, SWITCH, switch(5, 6)),
            (11, 5, DEACTIVATED, activated(F)),
            (12, 6, ACTIVATED, activated(F + 1)),
            (13, 6, SWITCH, switch(6, 5)),
            (14, 6, DEACTIVATED, activated(F + 1)),
            (15, 5, SWITCH, switch(5, 6)),
        ],
    )
    writer.bundle(0, [(20, 7, SWITCH, switch(7, 8)), (21, 8, SWITCH, switch(8, 7))], lost=True)
    mine = opened(tmp_path, writer)
    assert [(row.ts, row.pid) for row in mine.rows] == [(12, 6), (13, 6), (14, 6), (15, 5), (21, 8)]
    assert [row.fields["prev_pid"] for row in mine.rows if row.name == SWITCH] == [6, 5, 8]
    assert [loss[:3] for loss in mine.trace.losses] == [(0, 15, 21)]


def test_who_is_seen_first_may_be_leaving(tmp_path: Path) -> None:
    """The recording may begin behind a switch that took it off."""
    writer = PerfettoWriter(compact=True)
    events = [(9, 5, DEACTIVATED, activated(F)), (10, 7, SWITCH, switch(7, 6))]
    writer.bundle(0, [*events, (11, 6, ACTIVATED, activated(F)), (12, 6, SWITCH, switch(6, 5))])
    mine = opened(tmp_path, writer)
    assert [(row.ts, row.pid) for row in mine.rows] == [(9, 5), (11, 6), (12, 6)]
    assert [loss[:3] for loss in mine.trace.losses] == [(0, 9, 11)]


def test_who_leaves_is_who_was_seen_to_run(tmp_path: Path) -> None:
    writer = PerfettoWriter(compact=True)
    exits = {"id": 1, "ret": 0}
    writer.bundle(0, [(9, 5, "raw_syscalls:sys_exit", exits), (10, 5, SWITCH, switch(5, 6))])
    mine = opened(tmp_path, writer)
    assert [(row.ts, row.pid) for row in mine.rows] == [(9, 5), (10, 5)]
    assert mine.rows[1].fields["prev_pid"] == 5
    assert mine.rows[1].fields["prev_state"] == 1
    assert mine.rows[1].fields["next_comm"] == "task6"


def test_an_event_at_the_time_of_a_compact_switch_is_a_hole(tmp_path: Path) -> None:
    """Nothing tells whether it was before or behind."""
    writer = PerfettoWriter(compact=True)
    writer.bundle(
        0,
        [
            (9, 5, "raw_syscalls:sys_exit", {"id": 1, "ret": 0}),
            (10, 5, SWITCH, switch(5, 6)),
            (10, 5, DEACTIVATED, activated(F)),
            (11, 6, ACTIVATED, activated(F + 1)),
        ],
    )
    mine = opened(tmp_path, writer)
    assert [(row.ts, row.pid) for row in mine.rows] == [(9, 5), (10, 5), (11, 6)]
    assert [loss[:3] for loss in mine.trace.losses] == [(0, 9, 10), (0, 10, 11)]
    assert any("very time of a sched_switch" in note for note in mine.trace.notes)


def test_columns_of_different_lengths(tmp_path: Path) -> None:
    writer = PerfettoWriter(compact=True)
    writer.bundle(0, [(9, 5, ACTIVATED, activated(F))])
    bundle = writer.bundle(0, [(10, 5, SWITCH, switch(5, 6)), (12, 6, ACTIVATED, activated(F))])
    bundle.compact_sched.switch_next_pid.append(7)
    mine = opened(tmp_path, writer)
    assert [row.ts for row in mine.rows] == [9]
    assert any("different lengths" in note for note in mine.trace.notes)
    assert {loss.severity for loss in mine.trace.losses} == {"lost", "damaged"}


def test_an_event_without_a_description_is_a_hole(tmp_path: Path) -> None:
    writer = PerfettoWriter(generic="described")
    events = [(ts, 5, ACTIVATED, activated(F)) for ts in (10, 20, 30)]
    for event in events:
        writer.bundle(0, [event])
    del writer.packets[1].ftrace_events.generic_event_descriptors[:]
    mine = opened(tmp_path, writer)
    assert [row.ts for row in mine.rows] == [10, 30]
    assert [loss[:3] for loss in mine.trace.losses] == [(0, 10, 30)]
    assert any("1 events have no description" in note for note in mine.trace.notes)


def test_a_page_that_perfetto_could_not_read_is_a_hole(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    for ts in (10, 20, 30):
        writer.bundle(0, [(ts, 5, ACTIVATED, activated(F))])
    writer.packets[1].ftrace_events.error.add(timestamp=20, status=5)
    mine = opened(tmp_path, writer)
    assert [row.ts for row in mine.rows] == [10, 30]
    assert [loss[:3] for loss in mine.trace.losses] == [(0, 10, 30)]


def test_an_event_perfetto_has_a_message_for_that_nobody_needs(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.bundle(0, [(10, 5, "sched:sched_waking", {"comm": "x", "pid": 7})])
    mine = opened(tmp_path, writer)
    assert [(row.ts, row.pid, row.name) for row in mine.rows] == [(10, 5, "perfetto:event_20")]


def test_x86_fields_of_kvm_events_are_not_made_up(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.bundle(
        0,
        [
            (10, 5, "kvm:kvm_entry", {"vcpu_id": 3, "rip": 5}),
            (11, 5, "kvm:kvm_fpu", {"load": 0}),
        ],
    )
    mine = opened(tmp_path, writer)
    assert mine.trace.unusable == {"kvm:kvm_entry": ["vcpu_id"]}
    assert [row.fields for row in mine.rows] == [{}, {"load": 0}]


def test_a_recording_of_some_tasks_only(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.bundle(0, [(10, 5, ACTIVATED, activated(F))])
    config = writer.packet().trace_config.data_sources.add().config
    config.name = "linux.ftrace"
    config.ftrace_config.ftrace_events.append("x86_fpu/*")
    assert opened(tmp_path, writer).trace.losses_known
    config.ftrace_config.tids_to_trace.append(5)
    trace = opened(tmp_path, writer).trace
    assert not trace.losses_known
    assert any("tids_to_trace" in limit for limit in trace.limits)


def test_another_machine_is_not_this_one(tmp_path: Path) -> None:
    """A recording may hold a guest's packets too; sequences are different then."""
    writer, guest = PerfettoWriter(), PerfettoWriter(sequence=2)
    writer.system("6.1.0", 1)
    writer.bundle(0, [(10, 5, ACTIVATED, activated(F)), (20, 5, ACTIVATED, activated(F))])
    guest.system("5.4.9", 3)
    guest.names({5: "in the guest"})
    for packet_ in guest.packets:
        packet_.machine_id = 77
    writer.packets += guest.packets
    trace = opened(tmp_path, writer).trace
    assert (trace.kernel, trace.cpus) == ("6.1.0", [0])
    assert 5 not in trace.comms


def test_two_data_sources_are_not_mixed(tmp_path: Path) -> None:
    writer, other = PerfettoWriter(), PerfettoWriter(sequence=2)
    writer.bundle(0, [(10, 5, ACTIVATED, activated(F)), (20, 5, ACTIVATED, activated(F))])
    other.bundle(0, [(10, 5, ACTIVATED, activated(F))])
    writer.packets += other.packets
    mine = opened(tmp_path, writer)
    assert [row.ts for row in mine.rows] == [10, 20]
    assert any("1 events of other ftrace data sources" in note for note in mine.trace.notes)


def test_times_far_apart_and_backwards(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    times = [5, 5, 1 << 27, 1 << 40, (1 << 59) + 3, (1 << 61) + 1]
    writer.bundle(0, [(ts, 5, ACTIVATED, activated(F)) for ts in times])
    writer.bundle(1, [(ts, 6, ACTIVATED, activated(F)) for ts in (1000, 900, 1100)], clock=3)
    mine = opened(tmp_path, writer)
    assert [row.ts for row in mine.rows if row.cpu == 0] == times
    assert [row.ts for row in mine.rows if row.cpu == 1] == [1000, 1000, 1100]
    assert any("went back (packet at byte" in note for note in mine.trace.notes)


def test_a_wild_time_is_told_by_its_packet(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.bundle(0, [(1000, 5, ACTIVATED, activated(F))])
    at = len(writer.to_bytes())
    writer.bundle(0, [(1 << 60, 5, ACTIVATED, activated(F))] * 30)
    writer.bundle(0, [(2000 + n, 5, ACTIVATED, activated(F)) for n in range(100)])
    mine = opened(tmp_path, writer)
    damaged = [loss for loss in mine.trace.losses if loss.severity == "damaged"]
    assert damaged
    told = [note for note in mine.trace.notes if "does not fit" in note]
    assert re.search(rf"trace.pftrace, packet at byte ({at}|0) of CPU 0", told[0])
    assert damaged[0].where.startswith("packet at byte")


def test_texts_of_any_length(tmp_path: Path) -> None:
    writer = PerfettoWriter(typed=())
    for length in (0, 1, 100, 600, 9000):
        values = {f"f{i}": "x" * length for i in range(1 if length > 600 else 8)}
        writer.bundle(0, [(length, 5, "some:thing", values)])
    mine = opened(tmp_path, writer)
    assert [len(row.fields["f0"]) for row in mine.rows] == [0, 1, 100, 512, 512]


def small() -> PerfettoWriter:
    writer = PerfettoWriter(generic="described", compact=True)
    writer.system("6.12.1", 2)
    writer.bundle(
        0,
        [
            (9, 5, ACTIVATED, activated(F)),
            (10, 5, SWITCH, switch(5, 6)),
            (11, 5, DEACTIVATED, activated(F)),
            (12, 6, ACTIVATED, activated(F + 1)),
        ],
    )
    writer.bundle(1, [(13, 7, "kvm:kvm_fpu", {"load": 1})])
    writer.bundle(0, [(14, 6, ACTIVATED, activated(F + 1))], lost=True)
    writer.names({5: "five"})
    return writer


def test_sniffing() -> None:
    data = small().to_bytes()
    assert sniff(data)
    assert sniff(data[:40])
    assert sniff(small().to_bytes("deflate"))
    long = PerfettoWriter()
    long.bundle(0, [(n, 5, ACTIVATED, activated(F)) for n in range(1000)])
    assert sniff(long.to_bytes()[:4096])
    for text in (b"", b"\n", b"\n\n\n\n\n\n\n\n\n\n\n\n", b"\n# tracer: nop\n" * 30):
        assert not sniff(text), text
    assert not sniff(b"\n          task-1 [000] 1.0: e: a\n" * 100)


@pytest.mark.parametrize("compression", ["none", "deflate", "zstd"])
def test_a_truncated_file_never_looks_complete(tmp_path: Path, compression: Any) -> None:
    data = small().to_bytes(compression)
    starts = set()
    at = 0
    while at < len(data):
        starts.add(at)
        at += (
            2 + data[at + 1] if data[at + 1] < 128 else 3 + data[at + 1] % 128 + 128 * data[at + 2]
        )
    for size in range(1, len(data)):
        path = tmp_path / "cut.pftrace"
        path.write_bytes(data[:size])
        try:
            mine = read_all(path)
        except TraceError:
            continue
        if size in starts:
            continue  # between two packets: nothing in the file says that there are more
        damaged = [loss for loss in mine.trace.losses if loss.severity == "damaged"]
        assert damaged, size
        assert mine.trace.notes, size
        assert damaged[-1].after_ns == mine.rows[-1].ts


def test_any_flipped_byte(tmp_path: Path) -> None:
    path = tmp_path / "flipped.pftrace"
    for data in (small().to_bytes(), small().to_bytes("deflate")):
        for at in range(len(data)):
            for mask in (0xFF, 0x01):
                path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
                try:
                    read_all(path)
                except TraceError as error:
                    assert str(path) in str(error)


def test_mutated_recordings(tmp_path: Path) -> None:
    data = conversion("6.1-put-at-sched-out", "compact")[:60000]
    random_ = random.Random(7)
    path = tmp_path / "mutated.pftrace"
    for _ in range(40):
        changed = bytearray(data)
        for _ in range(random_.randint(1, 20)):
            changed[random_.randrange(len(changed))] = random_.randrange(256)
        path.write_bytes(changed)
        try:
            mine = read_all(path, fields=False)
        except TraceError:
            continue
        assert mine.rows


def packet(body: bytes) -> bytes:
    return b"\x0a" + varint(len(body)) + body


def test_a_bomb_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fputrace.parsers.unpack.FREE_BYTES", 1 << 20)
    monkeypatch.setattr("fputrace.parsers.unpack.RATIO", 10)
    body = zlib.compress(b"\x0a\x02\x40\x01" * (1 << 20), 9)
    path = tmp_path / "bomb.pftrace"
    path.write_bytes(packet(pb.TracePacket(compressed_packets=body).SerializeToString()))
    with pytest.raises(FormatError, match="fill the disk"):
        open_trace(path)
    with pytest.raises(FormatError, match="no ftrace events"):
        open_trace(path, max_unpacked=0.01)
    path.write_bytes(small().to_bytes("deflate"))
    open_trace(path).close()
    with pytest.raises(FormatError, match="fill the disk"):
        open_trace(path, max_unpacked=1e-9)


def test_packets_in_packets_in_packets(tmp_path: Path) -> None:
    """What is unpacked is not unpacked again: no depth to be had."""
    inner = small().to_bytes()
    for _ in range(3):
        inner = packet(pb.TracePacket(compressed_packets=zlib.compress(inner)).SerializeToString())
    path = tmp_path / "deep.pftrace"
    path.write_bytes(inner)
    with pytest.raises(FormatError, match="no ftrace events"):
        open_trace(path)


def test_pages_that_would_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fputrace.parsers.pftrace._SPOOL_FREE", 1 << 14)
    monkeypatch.setattr("fputrace.parsers.pftrace._SPOOL_RATIO", 1)
    writer = PerfettoWriter()
    for number in range(200):
        writer.bundle(0, [(number, 5, "kvm:kvm_fpu", {"load": 1})], lost=True)
    with pytest.raises(FormatError, match="temporary file"):
        opened(tmp_path, writer)


def test_a_packet_too_large_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fputrace.parsers.pftrace.LARGEST_PACKET", 1000)
    writer = PerfettoWriter()
    writer.bundle(0, [(10, 5, ACTIVATED, activated(F))])
    writer.bundle(0, [(11 + n, 5, ACTIVATED, activated(F)) for n in range(50)])
    writer.bundle(0, [(100, 5, ACTIVATED, activated(F))])
    mine = opened(tmp_path, writer)
    assert [row.ts for row in mine.rows] == [10, 100]
    assert (0, 10, 100) in [loss[:3] for loss in mine.trace.losses]
    assert any("is left out" in note for note in mine.trace.notes)


def test_no_events(tmp_path: Path) -> None:
    writer = PerfettoWriter()
    writer.system("6.1.0", 2)
    path = tmp_path / "x.pftrace"
    path.write_bytes(writer.to_bytes())
    with pytest.raises(FormatError, match=f"{path}.* no ftrace events") as caught:
        open_trace(path)
    assert "x86_fpu/*" in caught.value.hint


_number = st.one_of(st.integers(0, 300), st.integers(0, (1 << 63) - 1))
_values = st.dictionaries(
    st.sampled_from(["fpu", "load_fpu", "xfeatures", "comm", "prev_pid", "next_pid", "x y", ""]),
    st.one_of(_number, st.text(max_size=20)),
    max_size=6,
)
_names = st.sampled_from(
    [ACTIVATED, SWITCH, "kvm:kvm_fpu", "kvm:kvm_entry", "a:b", "sched:sched_process_fork"]
)
_event = st.tuples(st.integers(0, 1 << 61), st.integers(0, (1 << 32) - 1), _names, _values)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(_event, max_size=5), st.booleans()), max_size=6),
    st.sampled_from(["named", "described"]),
)
def test_anything_well_formed_is_read(
    tmp_path_factory: pytest.TempPathFactory, bundles: list[Any], generic: Any
) -> None:
    writer = PerfettoWriter(generic=generic, typed=())
    for cpu, events, lost in bundles:
        writer.bundle(cpu, events, lost=lost)
    path = tmp_path_factory.mktemp("x") / "x.pftrace"
    path.write_bytes(writer.to_bytes())
    total = sum(len(events) for _, events, _ in bundles)
    if not total:
        with pytest.raises(TraceError):
            open_trace(path)
        return
    with open_trace(path) as trace:
        list(trace.blocks())
        # A page whose time is wild is damage, and says so.
        lost = [loss for loss in trace.losses if loss.severity == "damaged"]
        assert sum(trace.counts.values()) == total or lost


def test_verdicts_are_unchanged_by_order_of_packets(tmp_path: Path) -> None:
    """Perfetto writes what the machine is at the end or the beginning, as it comes."""
    path = converted("6.1-stale-owner", tmp_path, "compact")
    trace = pb.Trace.FromString(path.read_bytes())
    rest = [one for one in trace.packet if not one.HasField("ftrace_events")]
    bundles = [one for one in trace.packet if one.HasField("ftrace_events")]
    bundles.sort(key=lambda one: one.ftrace_events.cpu)
    other = tmp_path / "b"
    other.write_bytes(pb.Trace(packet=[*bundles, *reversed(rest)]).SerializeToString())
    assert errors(fputrace.analyze(other)) == errors(fputrace.analyze(path))
    assert ("FPU104", Verdict.CONFIRMED.value) in errors(fputrace.analyze(path))


def test_a_message_ends_where_it_says(tmp_path: Path) -> None:
    """Lengths in the file are not believed."""
    data = small().to_bytes()
    path = tmp_path / "x.pftrace"
    huge = varint((1 << 63) + 5)
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + b"\x0a" + huge + data[at:])
        try:
            read_all(path)
        except TraceError as error:
            assert str(path) in str(error)
    path.write_bytes(packet(b"\x0a" + struct.pack("<B", 127)))
    with pytest.raises(FormatError):
        open_trace(path)
