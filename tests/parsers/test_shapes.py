"""The table of texts against trace-cmd, perf and the binary readers, and against hostile texts."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fputrace.events import ABSENT, KINDS, Kind
from fputrace.metadata import OPERANDS, operands_of
from fputrace.parsers import open_trace
from fputrace.parsers.shapes import (
    FREE,
    all_shapes,
    match_args,
    parts_of,
    raw_fields,
    shapes_of,
)
from fputrace.parsers.words import (
    EXIT_REASONS,
    VMX_FLAGS,
    plugin_state_number,
    state_number,
    state_word,
    symbol_number,
)
from tests.tools import text_of, trace_cmd
from tests.tools.trace_cmd import Event

SHAPES = all_shapes()
SAMPLES = Path(__file__).parents[2] / "sample_traces"
PERF = sorted(SAMPLES.glob("*/perf.data"))

LEFT_OUT = {
    # What a text leaves out that the record has; everything else must be told, and be equal.
    ("trace-cmd", Kind.SCHED_SWITCH): {"prev_state"},  # R and R+ look the same
    ("kernel", Kind.KVM_EXIT): {"vcpu_id"},  # trace-cmd's text is that of 4.14's kernel
}


# -- every event of real recordings ---------------------------------------------------------------


class Row:
    """An event as a binary reader gives it."""

    def __init__(self, ts: int, pid: int, name: str, kind: Kind, op: tuple[int, ...]) -> None:
        self.ts, self.pid, self.name, self.kind, self.op = ts, pid, name, kind, op


def rows_of(path: Path) -> dict[int, list[Row]]:
    """CPU -> its events in order."""
    rows: dict[int, list[Row]] = {}
    with open_trace(path) as trace:
        for block in trace.blocks():
            for i in range(len(block)):
                if block.event[i] >= 0:
                    row = Row(
                        int(block.ts[i]),
                        int(block.pid[i]),
                        block.names[block.event[i]],
                        Kind(block.kind[i]),
                        tuple(block.op[i].tolist()),
                    )
                    rows.setdefault(int(block.cpu[i]), []).append(row)
    return rows


def compare(path: Path, events: Iterable[Event], lacks: tuple[Kind, ...] = ()) -> Counter[str]:
    """Every event of a text with the one the binary reader has; counts texts by who prints so.

    ``lacks``: kinds of events that the text may lack (counted under "lacks").
    """
    rows = rows_of(path)
    place: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for event in events:
        row = rows[event.cpu][place[event.cpu]]
        while row.ts < event.ns and row.kind in lacks:
            seen["lacks"] += 1
            place[event.cpu] += 1
            row = rows[event.cpu][place[event.cpu]]
        place[event.cpu] += 1
        assert row.ts == event.ns, event
        assert row.pid == event.pid or event.pid == -1, event  # perf's tasks already reaped
        assert row.name.rpartition(":")[2] == event.name.rpartition(":")[2], event
        if row.name.rpartition(":")[0] in {spec.system for spec in KINDS}:
            seen[compare_operands(row, event)] += 1
    assert place == {cpu: len(known) for cpu, known in rows.items()}
    return seen


def compare_operands(row: Row, event: Event) -> str:
    found = match_args(row.name, event.text)
    assert found is not None, event
    shape, fields = found
    assert shape.kind == row.kind, event
    names = OPERANDS[row.kind]
    told = operands_of(names, fields)
    for aliases, has, tells in zip(names, row.op, told, strict=False):
        if tells != ABSENT:
            assert tells == has, (event, aliases)
        elif has != ABSENT:
            assert set(aliases) & LEFT_OUT[shape.by, row.kind], (event, aliases)
    return shape.by


@pytest.mark.skipif(not trace_cmd.INSTALLED, reason=trace_cmd.MISSING)
def test_report(quick_sample: Path) -> None:
    seen = compare(quick_sample, text_of.events_of(text_of.trace_cmd_report(quick_sample)))
    assert set(seen) == {"kernel", "trace-cmd"}


@pytest.mark.skipif(not trace_cmd.INSTALLED, reason=trace_cmd.MISSING)
def test_raw_report(quick_sample: Path) -> None:
    report = text_of.trace_cmd_report(quick_sample, "-R")
    seen = compare(quick_sample, text_of.events_of(report))
    # comm=sh pid=1 prio=120 is the kernel's text as well.
    assert set(seen) == {"raw", "kernel"}


@pytest.mark.skipif(not text_of.PERF_INSTALLED, reason=text_of.PERF_MISSING)
@pytest.mark.parametrize("path", PERF, ids=lambda path: path.parent.name)
def test_perf_script(path: Path) -> None:
    # perf script drops samples of interrupts that came while a guest ran: their cpumode is the
    # guest's, and it knows no such machine (tools/perf/util/session.c).
    lacks = (Kind.SCHED_MIGRATE_TASK, Kind.SCHED_PROCESS_FREE)
    seen = compare(path, text_of.events_of(text_of.perf_script(path)), lacks)
    assert seen.pop("lacks", 0) < 10
    assert set(seen) == {"kernel"}


# -- other kernels' and tools' texts --------------------------------------------------------------

CASES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    # Event, text, who prints it, fields.
    ("x86_fpu_regs_activated", "x86/fpu: ffff888245f868c0 load: 1 xfeatures: 2 xcomp_bv: 80000007",
     "kernel", {"fpu": 0xFFFF888245F868C0, "load_fpu": 1, "xfeatures": 2, "xcomp_bv": 0x80000007}),
    ("x86_fpu_dropped", "x86/fpu: (____ptrval____) load: 0 xfeatures: 0 xcomp_bv: 0",
     "kernel", {"fpu": None, "load_fpu": 0, "xfeatures": 0, "xcomp_bv": 0}),
    ("x86_fpu_dropped", "x86/fpu: (null) load: 0 xfeatures: 0 xcomp_bv: 0",
     "kernel", {"fpu": 0, "load_fpu": 0, "xfeatures": 0, "xcomp_bv": 0}),
    ("x86_fpu_before_save",
     ("x86/fpu: ffff88003d4a8bc0 fpregs_active: 1 fpstate_active: 1 counter: 3 xfeatures: 7 "
     "xcomp_bv: 0"), "kernel",
     {"fpu": 0xFFFF88003D4A8BC0, "fpregs_active": 1, "fpstate_active": 1, "counter": 3,
      "xfeatures": 7, "xcomp_bv": 0}),
    ("x86_fpu_after_save", "x86/fpu: ffff88003d4a8bc0 load: 1 xfeatures: 7 xcomp_bv: 0 new: 1",
     "kernel", {"fpu": 0xFFFF88003D4A8BC0, "load_fpu": 1}),
    ("kvm_fpu", "unload", "kernel", {"load": 0}),
    ("kvm_entry", "vcpu 3", "kernel", {"vcpu_id": 3}),
    ("kvm_entry", "vcpu 3, rip 0xfff0[immediate exit]", "kernel",
     {"vcpu_id": 3, "rip": 0xFFF0, "immediate_exit": 1}),
    ("kvm_entry", "vcpu 3, rip 0x1 intr_info 0x800000ec error_code 0x00000000[immediate exit]",
     "kernel", {"vcpu_id": 3, "rip": 1, "intr_info": 0x800000EC, "error_code": 0,
                "immediate_exit": 1}),
    ("kvm_entry", "vcpu 3, rip 0x1 tdx 7", "kernel", {"vcpu_id": 3, "rip": 1}),
    ("kvm_entry", "vcpu 0<CANT FIND FIELD rip>vcpu 0", "trace-cmd", {"vcpu_id": 0}),
    ("kvm_exit", "reason EXTERNAL_INTERRUPT rip 0xffffffff81a info 0 800000ec", "kernel",
     {"exit_reason": 1, "guest_rip": 0xFFFFFFFF81A, "info1": 0, "info2": 0x800000EC}),
    ("kvm_exit", "vcpu 1 reason DE excp rip 0x1 info 0 0", "kernel",
     {"vcpu_id": 1, "exit_reason": 0x40, "guest_rip": 1, "info1": 0, "info2": 0}),
    ("kvm_exit", ("vcpu 1 reason EPT_VIOLATION FAILED_VMENTRY rip 0x1 info1 0x0000000000000182 "
     "info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000 "
     "requests 0x0000000000000004"), "kernel",
     {"vcpu_id": 1, "exit_reason": 0x80000030, "guest_rip": 1, "info1": 0x182, "info2": 0,
      "intr_info": 0, "error_code": 0, "requests": 4}),
    ("kvm_exit", "vcpu 1 reason 0x4f rip 0x1 info 0 0", "kernel",
     {"vcpu_id": 1, "exit_reason": 0x4F, "guest_rip": 1, "info1": 0, "info2": 0}),
    ("kvm_exit", "vcpu 1 reason SOMETHING_NEW rip 0x1 and more", "kernel",
     {"vcpu_id": 1, "exit_reason": None, "guest_rip": 1}),
    ("kvm_userspace_exit", "reason KVM_EXIT_IO (2)", "kernel", {"reason": 2, "errno": 0}),
    ("kvm_userspace_exit", "reason restart (4)", "kernel", {"errno": -4}),
    ("kvm_userspace_exit", "reason error (14)", "kernel", {"errno": -14}),
    ("kvm_msr", "msr_write 1c4 = 0x40000", "kernel",
     {"write": 1, "ecx": 0x1C4, "data": 0x40000, "exception": 0}),
    ("kvm_msr", "msr_read 1c5 = 0x0 (#GP)", "kernel",
     {"write": 0, "ecx": 0x1C5, "data": 0, "exception": 1}),
    ("kvm_vcpu_wakeup", "wait time 81233 ns, polling valid", "kernel",
     {"waited": 1, "ns": 81233, "valid": 1}),
    ("sched_switch", ("prev_comm=a ==> b prev_pid=7 prev_prio=-1 prev_state=D|K ==> next_comm= "
     "next_pid=0 next_prio=120"), "kernel",
     {"prev_comm": "a ==> b", "prev_pid": 7, "prev_prio": -1, "prev_state": 130, "next_comm": "",
      "next_pid": 0, "next_prio": 120}),
    ("sched_switch", "a:1 [2] S:7 [120] S ==> b: c:8 [0]", "trace-cmd",
     {"prev_comm": "a:1 [2] S", "prev_pid": 7, "prev_prio": 120, "prev_state": 1,
      "next_comm": "b: c", "next_pid": 8, "next_prio": 0}),
    ("sched_process_exec", "filename=/tmp/x pid=1 old_pid=2 pid=8 old_pid=8", "kernel",
     {"filename": "/tmp/x pid=1 old_pid=2", "pid": 8, "old_pid": 8}),
    ("sys_exit", "NR 0 = -512", "kernel", {"id": 0, "ret": -512}),
    ("syscalls:sys_enter_read", "fd: 0x00000003, buf: 0x7f, count: 0x1", "kernel", {}),
    ("syscalls:sys_enter_read", "__syscall_nr=0 fd=0x3 buf=0x7f", "raw", {"__syscall_nr": 0}),
    ("syscalls:sys_exit_read", "0xfffffffffffffe00", "kernel", {"ret": 0xFFFFFFFFFFFFFE00}),
    ("page_fault_user", "address=0x7f00 ip=0x40ebf0 error_code=0x14", "kernel",
     {"address": 0x7F00, "ip": 0x40EBF0, "error_code": 0x14}),
    ("page_fault_user", "address=vdso_data ip=do_it error_code=0x5", "kernel",
     {"error_code": 5}),
    ("signal_deliver", "sig=14 errno=0 code=128 sa_handler=401a36 sa_flags=14000000", "kernel",
     {"sig": 14, "errno": 0, "code": 128, "sa_handler": 0x401A36, "sa_flags": 0x14000000}),
    ("cpuhp_enter", "cpu: 0001 target:  16 step:  15 (cache_ap_offline)", "kernel",
     {"cpu": 1, "target": 16, "idx": 15, "fun": "cache_ap_offline"}),
    ("suspend_resume", "machine_suspend[1] begin", "kernel",
     {"action": "machine_suspend", "val": 1, "start": 1}),
    # tracefs with the option `fields`; before June 2023 the last field came first.
    ("x86_fpu_dropped", ("fpu=0xffff888245f868c0 (-131381463910208) load_fpu=(0) xfeatures=0x7 (7) "
     "xcomp_bv=0x0 (0)"), "fields",
     {"fpu": 0xFFFF888245F868C0, "load_fpu": 0, "xfeatures": 7, "xcomp_bv": 0}),
    ("sched_switch", ("next_prio=0x78 (120) next_pid=0x2 (2) next_comm=b prev_state=0x100 (256) "
     "prev_prio=0x78 (120) prev_pid=0x1 (1) prev_comm=a b"), "fields",
     {"next_prio": 120, "next_pid": 2, "next_comm": "b", "prev_state": 256, "prev_prio": 120,
      "prev_pid": 1, "prev_comm": "a b"}),
    ("sys_enter", "id=59 args=ARRAY[40, f9]", "raw", {"id": 59, "args": "ARRAY[40, f9]"}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "text", "by", "fields"), CASES)
def test_texts(name: str, text: str, by: str, fields: dict[str, Any]) -> None:
    found = match_args(name, text)
    assert found is not None
    shape, told = found
    assert (shape.by, told) == (by, fields)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kvm_fpu", "reload"),
        ("kvm_fpu", ""),
        ("kvm_entry", "vcpu x"),
        ("kvm_exit", "reason CPUID"),
        ("x86_fpu_dropped", "x86/fpu: ffffffffffffffff0 load: 1 xfeatures: 0 xcomp_bv: 0"),
        ("sched_migrate_task", "comm=a pid=1 prio=120 orig_cpu=1"),
        ("sched_migrate_task", "comm=a pid=99999999999999999999 prio=1 orig_cpu=1 dest_cpu=0"),
        ("sched_switch", "prev_comm=a prev_pid=1 prev_prio=120 prev_state=S next_pid=0"),
        ("sched_wakeup", "comm=a pid=1 prio=120 target_cpu=000"),
        ("evil:kvm_fpu", "load"),
    ],
)
def test_other_texts(name: str, text: str) -> None:
    assert match_args(name, text) is None


# -- the table itself -----------------------------------------------------------------------------


def test_every_kind_has_texts() -> None:
    kinds = {spec.kind for spec in KINDS}
    assert {shape.kind for shape in SHAPES} == kinds
    for spec in KINDS:
        for name in spec.names:
            assert {"kernel", "raw"} <= {shape.by for shape in shapes_of(name)}
            assert shapes_of(f"{spec.system}:{name}") == shapes_of(name)


def test_a_free_field_ends_at_a_literal() -> None:
    """What the time of a match rests on."""
    for shape in SHAPES:
        parts = parts_of(shape.template)
        for part, follower in itertools.pairwise(parts):
            assert part.type not in FREE or not follower.type, shape
            assert part.type or not follower.text.startswith(part.text), shape
        # A word may be as long as the text: behind a free field it would be read again and again.
        types = [part.type for part in parts]
        assert not (FREE & set(types) and "word" in types), shape


def test_required_operands_are_told() -> None:
    """By every text but those that are known to leave one out."""
    silent = {"kvm_userspace_exit", "page_fault_user", "sys_enter_*", "sys_exit_*"}
    for spec in KINDS:
        for shape in (shape for name in spec.names for shape in shapes_of(name)):
            told = {part.text for part in parts_of(shape.template)} | set(shape.constants)
            lacks = [op for op in spec.operands if op.required and not told & set(op.fields)]
            assert not lacks or shape.name in silent, shape


VALUES: dict[str, st.SearchStrategy[str]] = {
    "dec": st.integers(-(1 << 31), (1 << 32) - 1).map(str),
    "neg": st.integers(0, 4095).map(str),
    "hex": st.integers(0, (1 << 64) - 1).map("{:x}".format),
    "ptr": st.integers(0, (1 << 64) - 1).map("0x{:x}".format),
    "word": st.text("abc_+0x", min_size=1, max_size=9),
    "state": st.integers(0, 511).map(state_word),
    "plugin_state": st.sampled_from(["S", "D", "R", "x|W", "Z"]),
    "comm": st.text("ab/-:[]=>", max_size=15),
    "rest": st.text("ab:[]=>", min_size=1, max_size=15),
    "sym": st.sampled_from(sorted(EXIT_REASONS)),
}


@given(st.data())
def test_what_a_shape_writes_is_read(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    text = ""
    for part in parts_of(shape.template):
        if not part.type:
            text += part.text
        elif part.type == "one":
            text += data.draw(st.sampled_from(sorted(shape.symbols[part.text])))
        else:
            text += data.draw(VALUES[part.type])
    found = match_args(shape.name.replace("*", "x"), text)
    assert found is not None
    assert found[0].kind == shape.kind


@given(st.sampled_from([shape.name for shape in SHAPES]), st.text(max_size=300))
def test_any_text_is_matched_or_not(name: str, text: str) -> None:
    found = match_args(name.replace("*", "x"), text)
    assert found is None or found[0].name == name
    assert isinstance(raw_fields(text), dict)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sched_switch", " prev_pid=1 prev_prio=1 prev_state=R ==> next_comm=" * 20_000),
        ("sched_switch", "prev_comm=" + " prev_pid=1 prev_prio=1 prev_state=R ==> " * 20_000),
        ("sched_switch", "a:1 [1] R ==> " * 100_000),
        ("sched_switch", "prev_comm=" + " prev_pid=" * 100_000),
        ("sched_process_exec", "filename=" + " pid=1 old_pid=" * 100_000),
        ("kvm_exit", "reason " + " rip 0x" * 100_000),
        ("kvm_exit", "vcpu 0 reason " + " rip 0x1 info1 0x1" * 50_000),
        ("kvm_entry", "vcpu " + "9" * 1_000_000),
        ("page_fault_user", "address=" + "a" * 1_000_000),
        ("suspend_resume", "[1] " * 200_000),
        ("cpuhp_enter", "cpu:" + " " * 1_000_000),
    ],
)
def test_time_grows_with_the_text(name: str, text: str) -> None:
    start = time.process_time()
    match_args(name, text)
    raw_fields(text)
    assert time.process_time() - start < 2


# -- words and raw fields -------------------------------------------------------------------------


def test_states() -> None:
    assert [state_number(word) for word in ("R", "R+", "S", "D|K", "X", "I")] == [
        0, 256, 1, 130, 16, 128,
    ]  # fmt: skip
    assert [state_number(word) for word in ("", "+", "Q", "S|", "S|Q")] == [None] * 5
    assert [plugin_state_number(word) for word in ("R", "S", "Z", "W", "Q")] == [
        None, 1, 16, 128, None,
    ]  # fmt: skip


@given(st.integers(0, 511))
def test_states_back(state: int) -> None:
    assert state_number(state_word(state)) == state


def test_reasons() -> None:
    assert EXIT_REASONS["PREEMPTION_TIMER"] == 52
    assert EXIT_REASONS["PENDING_INTERRUPT"] == EXIT_REASONS["INTERRUPT_WINDOW"] == 7
    assert EXIT_REASONS["EXIT_NPF"] == EXIT_REASONS["npf"] == 0x400
    assert symbol_number(EXIT_REASONS, "0x") is None
    assert symbol_number(EXIT_REASONS, "0x1_0") is None
    assert symbol_number(EXIT_REASONS, "CPUID OTHER") is None


def test_reasons_are_the_formats(sample: Path) -> None:
    """Every number and word in the print format of the recording's own kernel."""
    with open_trace(sample) as trace:
        print_fmt = trace.formats["kvm:kvm_exit"].print_fmt
    pairs = re.findall(r"\{ (0x[0-9a-f]+(?: \+ \d+)?|\d+)(?:ull)?, \"([^\"]+)\" \}", print_fmt)
    assert len(pairs) > 100
    for number, word in pairs:
        if word not in VMX_FLAGS:
            assert EXIT_REASONS[word] == sum(int(part, 0) for part in number.split(" + "))


def test_raw_fields() -> None:
    assert raw_fields(
        "__probe_ip=ffffffff84e4ee34 mask=0x60cff n=-3 comm=a b=c d arr=ARRAY[1, 2]"
    ) == {
        "__probe_ip": 0xFFFFFFFF84E4EE34,
        "mask": 0x60CFF,
        "n": -3,
        "comm": "a",
        "b": "c d",
        "arr": "ARRAY[1, 2]",
    }
    assert raw_fields("a=0x10 (16) b=1 a=2 c=") == {"a": 16, "b": 1, "c": ""}
    assert raw_fields("no fields here") == {}
