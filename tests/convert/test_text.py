"""Recordings as text: the lines others read, and everything back for this program's own reader."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fputrace
from fputrace.convert.text import harmless, write_text
from fputrace.events import ABSENT, Kind, Trace
from fputrace.parsers import open_trace
from fputrace.parsers.textmeta import Header, shown_names
from fputrace.reports.json_report import analyze_json
from tests.conftest import FEW_CASES, unless_long
from tests.parsers.rows import read_all
from tests.tools import text_of, trace_cmd
from tests.tools.trace_cmd import Event
from tests.writers import EventSpec, TraceWriter

SAMPLES = Path(__file__).parents[2] / "sample_traces"
RECORDINGS = sorted([*SAMPLES.glob("*/trace.dat"), *SAMPLES.glob("*/perf.data")])

NOT_TOLD = {
    # Operands a text has no room for.
    Kind.KVM_USERSPACE_EXIT: {0},  # the reason where errno is negative
}


@pytest.fixture(params=[unless_long(path, FEW_CASES) for path in RECORDINGS])
def recording(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def convert(source: Path, output: Path) -> Path:
    with open_trace(source) as trace, output.open("wb") as out:
        write_text(trace, out)
    return output


def text_from(w: TraceWriter, folder: Path) -> Path:
    return convert(w.write(folder / "trace.dat"), folder / "trace.txt")


def report_of(path: Path) -> Any:
    """The JSON report but for what names the file itself."""
    analysis = fputrace.analyze(str(path))
    (report,) = json.loads(analyze_json([analysis], 0, ""))["traces"]
    analysis.trace.close()
    for key in ("path", "format", "sha256"):
        del report[key]
    for finding in report["findings"]:
        del finding["witnesses"]  # fields that texts show otherwise
    return report


def rows_of(trace: Trace) -> dict[str, Any]:
    blocks = list(trace.blocks())
    columns = ("ts", "cpu", "pid", "kind", "op")
    rows: dict[str, Any] = {
        column: np.concatenate([getattr(block, column) for block in blocks]) for column in columns
    }
    rows["name"] = [block.names[i] if i >= 0 else "" for block in blocks for i in block.event]
    return rows


# -- round trip -----------------------------------------------------------------------------------


def test_same_findings(recording: Path, tmp_path: Path) -> None:
    assert report_of(convert(recording, tmp_path / "text")) == report_of(recording)


def test_same_rows(recording: Path, tmp_path: Path) -> None:
    with open_trace(recording) as original, open_trace(convert(recording, tmp_path / "t")) as copy:
        assert copy.format == f"text ({original.format})"
        one, other = rows_of(original), rows_of(copy)
        for column in ("ts", "cpu", "pid", "kind"):
            np.testing.assert_array_equal(one[column], other[column], err_msg=column)
        assert one["name"] == other["name"]
        told = other["op"] != ABSENT
        np.testing.assert_array_equal(one["op"][told], other["op"][told])
        for row, column in np.argwhere((one["op"] != other["op"]) & ~told):
            kind = Kind(one["kind"][row])
            # A probe's arguments are found by its format; the function tracer's ip is a name.
            assert column in NOT_TOLD.get(kind, set()) or one["name"][row] == "ftrace:function"
        for about in ("kernel", "clock", "clock_global", "cpus", "comms", "counts", "losses",
                      "losses_known", "symbols", "probes", "unusable", "limits", "first_ns",
                      "last_ns", "guests", "instances", "sidecar"):  # fmt: skip
            assert getattr(original, about) == getattr(copy, about), about


def test_converted_again_is_the_same(recording: Path, tmp_path: Path) -> None:
    once = convert(recording, tmp_path / "once")
    assert convert(once, tmp_path / "twice").read_bytes() == once.read_bytes()


# -- what others read -----------------------------------------------------------------------------


def events_in(path: Path) -> list[Event]:
    lines = (line for line in path.read_text("utf-8").split("\n") if line[:2] not in ("CP", "# "))
    return list(text_of.events_of("\n".join(lines)))


SAME_TEXT = re.compile(r"x86_fpu_|kvm_fpu|kvm_userspace_exit|sched_(?!switch)|signal_|page_fault")
"""Events that trace-cmd prints as the kernel does."""


@pytest.mark.skipif(not trace_cmd.INSTALLED, reason=trace_cmd.MISSING)
def test_lines_are_those_of_trace_cmd(quick_sample: Path, tmp_path: Path) -> None:
    mine = events_in(convert(quick_sample, tmp_path / "text"))
    theirs = list(text_of.events_of(text_of.trace_cmd_report(quick_sample)))
    assert len(mine) == len(theirs)
    pairs = (sorted(events, key=lambda event: (event.ns, event.cpu)) for events in (mine, theirs))
    for one, other in zip(*pairs, strict=True):
        assert (one.ns, one.cpu, one.pid, one.name) == (other.ns, other.cpu, other.pid, other.name)
        if SAME_TEXT.match(one.name):
            assert one.text == other.text


@pytest.mark.skipif(not text_of.PERF_INSTALLED, reason=text_of.PERF_MISSING)
@pytest.mark.parametrize("case", ["5.2.1-pinned", "5.10-pinned", "6.12-perf-lost"])
def test_texts_are_those_of_perf(case: str, tmp_path: Path) -> None:
    recording = SAMPLES / case / "perf.data"
    mine = {(e.cpu, e.ns): e for e in events_in(convert(recording, tmp_path / "text"))}
    theirs = list(text_of.events_of(text_of.perf_script(recording)))
    assert len(mine) > 1000
    for other in theirs:
        one = mine[other.cpu, other.ns]
        assert one.text.split() == other.text.split(), other


# -- hostile names --------------------------------------------------------------------------------

NAMES = {
    10: "a\nb",
    11: "\x1b[31mred\x1b[0m",
    12: "x-1     [000]   ",
    13: "-5 [001] 1.000:",
    14: "CPU:0 [EVENTS",
    15: "# end: {}",
    16: "\u202eevil",
    17: " two words ",
    18: "a\\x0ab",
}


def hostile() -> TraceWriter:
    w = TraceWriter("6.12.1", cpus=1, comms=NAMES)
    for ts, (pid, comm) in zip(range(100, 1000, 2), NAMES.items(), strict=False):
        w.event(0, ts, pid, "sched_switch", prev_pid=pid, prev_comm=comm, next_pid=pid + 1)
        name = f"/tmp/x-9 [000] 1.000000001: kvm_fpu: load\n{comm}"
        w.event(0, ts + 1, pid, "sched_process_exec", filename=name, pid=pid, old_pid=pid)
    return w


def test_a_name_forges_no_line(tmp_path: Path) -> None:
    w = hostile()
    text = text_from(w, tmp_path)
    assert len(events_in(text)) == 2 * len(NAMES)
    assert all(line.isprintable() for line in text.read_text("utf-8").split("\n"))
    with open_trace(tmp_path / "trace.dat") as original, open_trace(text) as copy:
        one, other = rows_of(original), rows_of(copy)
        np.testing.assert_array_equal(one["op"], other["op"])
        np.testing.assert_array_equal(one["pid"], other["pid"])
        assert one["name"] == other["name"]
        assert original.comms == copy.comms


def test_harmless() -> None:
    assert harmless("CPU 0/KVM") == "CPU 0/KVM"
    assert harmless("a\n[1]\x9b") == r"a\n\x5b1]\x9b"


def test_names_of_events() -> None:
    names = ["kvm:kvm_fpu", "x:save", "y:save", "kprobes:kvm_exit", "a:odd name", "b:só"]
    assert shown_names(names) == [
        "kvm_fpu", "x:save", "y:save", "kprobes:kvm_exit", r"odd\u0020name", r"s\u00f3",
    ]  # fmt: skip
    assert shown_names(["probes:kvm_fpu", "kvm:kvm_fpu"]) == ["probes:kvm_fpu", "kvm:kvm_fpu"]


# -- losses ---------------------------------------------------------------------------------------


def lossy() -> TraceWriter:
    w = TraceWriter("6.12.1", cpus=2)
    w.loss(0, 3)
    for ts in (100, 200):
        w.event(0, ts, 1, "kvm_fpu", load=1)
    w.loss(0, 12)
    w.event(0, 500, 1, "kvm_fpu", load=0)
    w.loss(0)
    w.event(0, 600, 1, "kvm_fpu", load=1)
    for ts in (150, 700):
        w.event(1, ts, 2, "kvm_fpu", load=1)
    return w


def test_losses_stand_before_the_next_event_of_their_cpu(tmp_path: Path) -> None:
    text = text_from(lossy(), tmp_path)
    lines = [line for line in text.read_text().split("\n") if not line.startswith("#")]
    dropped = {i: line for i, line in enumerate(lines) if line.startswith("CPU:")}
    assert list(dropped.values()) == [
        "CPU:0 [3 EVENTS DROPPED]",
        "CPU:0 [12 EVENTS DROPPED]",
        "CPU:0 [EVENTS DROPPED]",
    ]
    for i, time in zip(dropped, ("0.000000100", "0.000000500", "0.000000600"), strict=True):
        assert f" {time}: " in lines[i + 1]
    with open_trace(tmp_path / "trace.dat") as original, open_trace(text) as copy:
        one, other = rows_of(original), rows_of(copy)
        np.testing.assert_array_equal(one["kind"], other["kind"])
        np.testing.assert_array_equal(one["op"], other["op"])
        assert original.losses == copy.losses


def test_a_cut_text_never_looks_complete(tmp_path: Path) -> None:
    whole = text_from(lossy(), tmp_path).read_bytes()
    first = whole.index(b": kvm_fpu:") + 30
    for end in range(first, len(whole) - 1):
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:end])
        with open_trace(cut) as trace:
            for _ in trace.blocks():
                pass
            assert any(loss.severity == "damaged" for loss in trace.losses), whole[end - 20 : end]
            assert trace.notes


# -- the head -------------------------------------------------------------------------------------


def header_of(lines: Iterable[bytes]) -> Header:
    header = Header()
    for number, line in enumerate(lines, 1):
        if line.startswith(b"# "):
            header.line(line, number)
    return header


@pytest.fixture
def lines(tmp_path: Path) -> list[bytes]:
    return text_from(lossy(), tmp_path).read_bytes().split(b"\n")


def test_header(lines: list[bytes]) -> None:
    header = header_of(lines)
    assert header.any
    assert header.count == 6
    assert header.events["kvm_fpu"] == ("kvm:kvm_fpu", Kind.KVM_FPU)
    trace = Trace("x", "text")
    header.apply(trace)
    assert (trace.kernel, trace.clock, trace.format[:6]) == ("6.12.1", "mono", "text (")
    assert "kvm:kvm_fpu" in trace.formats
    assert len(header.losses) == 3


def test_a_damaged_head_is_said(lines: list[bytes]) -> None:
    for number in range(1, 6):
        for at in range(12, min(len(lines[number]), 400), 7):
            flipped = bytearray(lines[number])
            flipped[at] ^= 1
            header = header_of([*lines[:number], bytes(flipped), *lines[number + 1 :]])
            trace = Trace("x", "text")
            header.apply(trace)
            assert not header.any
            assert trace.notes or header.trace is None


def test_a_head_elsewhere_is_none(lines: list[bytes]) -> None:
    """As text that a task wrote to trace_marker would be."""
    assert not header_of([b"# tracer: nop", b"", *lines]).any
    assert not header_of([lines[0], b"# tracer: nop", *lines[1:]]).any
    moved = header_of([*lines[:4], b"", *lines[4:]])
    assert not moved.any


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[" * 100_000, b"9" * 5000, b"null", b'{"schema_version":99}', b'"\xff"', b"NaN"],
)
def test_odd_heads(value: bytes) -> None:
    header = header_of([b"cpus=1", b"# fputrace: " + value, b"# format: " + value])
    assert not header.any
    assert header.broken


# -- odd recordings -------------------------------------------------------------------------------


def lines_of(w: TraceWriter, folder: Path) -> Iterator[str]:
    for line in text_from(w, folder).read_text("utf-8").split("\n"):
        if line and not line.startswith(("#", "cpus=")):
            yield line


def test_clock_that_is_no_time(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=1, clock="x86-tsc")
    w.event(0, 123456789012, 1, "kvm_fpu", load=1)
    assert list(lines_of(w, tmp_path)) == [
        "           <...>-1     [000]    123456789012: kvm_fpu:              load"
    ]


def arguments(w: TraceWriter, folder: Path) -> list[str]:
    return [line.split(": ", 2)[2].strip() for line in lines_of(w, folder)]


def test_kernels_texts(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=1)
    exit_: dict[str, Any] = {"guest_rip": 1, "vcpu_id": 3, "error_code": 0x182}
    w.event(0, 1, 1, "kvm_exit", exit_reason=0x80000030, isa=1, **exit_)
    w.event(0, 2, 1, "kvm_exit", exit_reason=0x40, isa=2, **exit_)
    w.event(0, 3, 1, "kvm_exit", exit_reason=0x4444, isa=2, **exit_)
    w.event(0, 4, 1, "kvm_entry", vcpu_id=3, rip=0xFFF0, immediate_exit=1)
    w.event(0, 5, 1, "kvm_userspace_exit", reason=10, errno=-4)
    w.event(0, 6, 1, "kvm_userspace_exit", reason=10, errno=-14)
    w.event(0, 7, 1, "kvm_userspace_exit", reason=99, errno=0)
    w.event(0, 8, 1, "sched_switch", prev_comm="a", prev_pid=1, prev_state=0x182, next_comm="b")
    rest = (
        "rip 0x1 info1 0x0000000000000000 info2 0x0000000000000000 intr_info 0x00000000 "
        "error_code 0x00000182"
    )
    assert arguments(w, tmp_path) == [
        f"vcpu 3 reason EPT_VIOLATION FAILED_VMENTRY {rest}",
        f"vcpu 3 reason DE excp {rest}",
        f"vcpu 3 reason 0x4444 {rest}",
        "vcpu 3, rip 0xfff0[immediate exit]",
        "reason restart (4)",
        "reason error (14)",
        "reason 0x63 (99)",
        "prev_comm=a prev_pid=1 prev_prio=0 prev_state=D|I+ ==> next_comm=b next_pid=0 next_prio=0",
    ]


def test_other_events_are_raw(tmp_path: Path) -> None:
    odd = EventSpec(
        "odd", "odd", ("u64 mask", "int n", "char s[8]", "u32 arr[3]"), '"mask=0x%llx", REC->mask'
    )
    w = TraceWriter("6.12.1", cpus=1, extra_events=[odd])
    w.event(0, 1, 1, "odd", mask=0xFFFFFFFFFFFFFFFF, n=-3, s="a\nb", arr=(1, 255, 2))
    assert arguments(w, tmp_path) == [r"mask=0xffffffffffffffff n=-3 s=a\nb arr=ARRAY[1, ff, 2]"]


def test_probes_name_their_function(tmp_path: Path) -> None:
    fields = ("unsigned long __probe_ip", "u64 fpu")
    returned = ("unsigned long __probe_func", "unsigned long __probe_ret_ip", "u64 ret")
    w = TraceWriter(
        "6.12.1",
        cpus=1,
        kallsyms="ffffffff81000040 T save_fpregs_to_fpstate\nffffffff81000100 T kernel_fpu_begin\n",
        extra_events=[
            EventSpec("fpu", "save", fields, '"(%lx) fpu=0x%Lx", REC->__probe_ip, REC->fpu'),
            EventSpec("fpu", "begun", returned),
        ],
    )
    w.event(0, 1, 1, "save", __probe_ip=0xFFFFFFFF81000044, fpu=0xFFFF888000001000)
    w.event(0, 2, 1, "save", __probe_ip=0xFFFFFFFF82000000, fpu=1)
    w.event(0, 3, 1, "begun", __probe_func=0xFFFFFFFF81000100, __probe_ret_ip=0xFFFFFFFF83000000)
    assert arguments(w, tmp_path) == [
        "(save_fpregs_to_fpstate+0x4) fpu=0xffff888000001000",
        "(ffffffff82000000) fpu=0x1",
        "(ffffffff83000000 <- kernel_fpu_begin) ret=0",
    ]
    with open_trace(tmp_path / "trace.dat") as one, open_trace(tmp_path / "trace.txt") as other:
        assert rows_of(one)["kind"].tolist() == rows_of(other)["kind"].tolist()


def test_writing_fails_as_it_does(tmp_path: Path) -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _data: Any) -> int:
            raise OSError(28, "No space left on device")

    with (
        open_trace(lossy().write(tmp_path / "trace.dat")) as trace,
        pytest.raises(OSError, match="space"),
    ):
        write_text(trace, Full())  # type: ignore[arg-type]


def test_a_switch_whose_state_a_text_did_not_tell(tmp_path: Path) -> None:
    """trace-cmd's R is a task that waits or one that was preempted: nobody says more later."""
    idle, task = "swapper/0:0 [120]", "a b:10 [120]"
    path, out = tmp_path / "in.txt", io.BytesIO()
    path.write_text(
        "cpus=1\n"
        f"          <idle>-0     [000]     1.000000100: sched_switch:         {idle} R ==> {task}\n"
        f"             a b-10    [000]     1.000000200: sched_switch:         {task} S ==> {idle}\n"
    )
    with open_trace(path) as trace:
        write_text(trace, out)
    assert f" {idle} R ==> {task}\n".encode() in out.getvalue()
    (tmp_path / "out.txt").write_bytes(out.getvalue())
    old, new = read_all(path), read_all(tmp_path / "out.txt")
    assert [row.fields for row in new.rows] == [row.fields for row in old.rows]
    assert "prev_state" not in new.rows[0].fields
    assert not new.trace.losses
