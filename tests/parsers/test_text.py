"""Text as a file: what it tells of losses, where it ends, what it hides, and what is no text."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import fputrace
from fputrace.errors import FormatError
from fputrace.events import ABSENT, Kind, Loss, Trace
from fputrace.parsers.text import open_text
from tests.conftest import SAMPLES
from tests.writers import text
from tests.writers.text import TextEvent, ftrace, perf, report, switch_args

MS = 10**6
LOAD = [TextEvent(i % 2, 10**9 + i * MS, 70 + i % 2, f"CPU {i % 2}/KVM", "kvm_fpu", "load")
        for i in range(8)]  # fmt: skip
LINES = [ftrace(event) for event in LOAD]


def open_lines(lines: list[str], folder: Path, *, end: bytes = b"", clock: str = "") -> Trace:
    path = folder / "trace.txt"
    path.write_bytes(text.text_of(lines) + end)
    return open_text(os.open(path, os.O_RDONLY), str(path), clock=clock or None)


def rows(trace: Trace) -> list[tuple[int, int, Kind]]:
    return [
        (int(cpu), int(ts), Kind(kind))
        for block in trace.blocks()
        for cpu, ts, kind in zip(block.cpu, block.ts, block.kind, strict=True)
    ]


def test_the_truth_of_the_samples() -> None:
    wanted = {
        "5.10-pinned": (("G4c",), {"FPU904"}, 0),
        "6.1-pinned": (("G4c", "G4d", "G5"), {"FPU903", "FPU904"}, 0),
        "6.12-pipe-lost": (("G4d", "G5"), {"FPU901", "FPU903", "FPU904"}, 10191),
    }
    for case, (candidates, codes, lost) in wanted.items():
        with fputrace.analyze(str(SAMPLES / case / "trace.txt")).trace:
            pass
        analysis = fputrace.analyze(str(SAMPLES / case / "trace.txt"))
        assert analysis.generation.candidates == candidates
        assert {finding.code for finding in analysis.findings} == codes
        assert sum(loss.count or 0 for loss in analysis.trace.losses) == lost
        analysis.trace.close()


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("CPU:1 [LOST 12 EVENTS]", 12),
        ("CPU:1 [LOST EVENTS]", None),
        ("          CPU:1 [12 EVENTS DROPPED]", 12),
        ("CPU:1 [EVENTS DROPPED]", None),
    ],
)
def test_a_loss_lies_between_two_events_of_its_cpu(
    line: str, count: int | None, tmp_path: Path
) -> None:
    with open_lines([*LINES[:4], LINES[4], line, *LINES[5:]], tmp_path) as trace:
        found = rows(trace)
    first, second = LOAD[3].ns, LOAD[5].ns
    assert trace.losses == [Loss(1, first, second, count, f"line 6: {line.strip()}")]
    place = found.index((1, first, Kind.LOSS))
    assert found[place - 1] == (1, first, Kind.KVM_FPU)
    assert found[place + 1] == (0, LOAD[4].ns, Kind.KVM_FPU)
    assert found[place + 2] == (1, second, Kind.LOSS_END)
    assert trace.losses_known


def test_a_cpu_whose_buffer_begins_late(tmp_path: Path) -> None:
    line = "##### CPU 1 buffer started ####"
    with open_lines([LINES[0], LINES[2], line, *LINES[3:]], tmp_path) as trace:
        rows(trace)
        assert trace.losses == [Loss(1, None, LOAD[3].ns, None, f"line 3: {line}")]


def header(held: int, written: int) -> list[str]:
    return ["# tracer: nop", "#", f"# entries-in-buffer/entries-written: {held}/{written}   #P:4"]


def test_what_was_overwritten_is_a_loss_before_the_first_event(tmp_path: Path) -> None:
    with open_lines([*header(8, 108), *LINES], tmp_path) as trace:
        found = rows(trace)
        (loss,) = trace.losses
        assert (loss.cpu, loss.after_ns, loss.before_ns, loss.count) == (None, None, 10**9, 100)
        assert found[0][2] is Kind.LOSS
        assert trace.cpus == [0, 1, 2, 3]
        assert trace.format == "tracefs text"


def test_fewer_events_than_the_header_tells_are_a_damage_without_a_place(tmp_path: Path) -> None:
    with open_lines([*header(20, 20), *LINES], tmp_path) as trace:
        rows(trace)
        (loss,) = trace.losses
        assert (loss.count, loss.placed, loss.severity) == (12, False, "damaged")
        assert any("truncated" in note for note in trace.notes)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_last_line_without_an_end_is_no_event(cut: int, tmp_path: Path) -> None:
    with open_lines(LINES, tmp_path, end=LINES[0][:-cut].encode()) as trace:
        found = rows(trace)
        assert sum(kind is Kind.KVM_FPU for _, _, kind in found) == 8
        assert {loss.severity for loss in trace.losses} == {"damaged"}
        assert {loss.cpu for loss in trace.losses} == {0, 1}
        assert any("line 9" in note for note in trace.notes)


def test_every_cpu_ends_behind_its_last_event(tmp_path: Path) -> None:
    with open_lines(LINES[:5], tmp_path) as trace:
        assert [(cpu, kind) for cpu, _, kind in rows(trace)][-4:] == [
            (1, Kind.KVM_FPU), (1, Kind.CPU_END), (0, Kind.KVM_FPU), (0, Kind.CPU_END),
        ]  # fmt: skip


def test_times_that_go_back_are_held(tmp_path: Path) -> None:
    with open_lines([*LINES[:4], LINES[1], *LINES[4:]], tmp_path, clock="mono") as trace:
        known = [trace.clock_global]
        stamps = [ts for _, ts, _ in rows(trace)]
        assert stamps == sorted(stamps)
        assert [*known, trace.clock_global] == [True, False]
        assert "line 5" in trace.notes[-1]


def test_an_unknown_clock_orders_no_cpus(tmp_path: Path) -> None:
    with open_lines(LINES, tmp_path) as trace:
        assert (trace.clock, trace.clock_global, trace.clock_in_ns) == (None, False, True)
        assert any("clock" in limit for limit in trace.limits)
    with open_lines(["# clock: mono", *LINES], tmp_path) as trace:
        assert (trace.clock, trace.clock_global) == ("mono", True)


@pytest.mark.parametrize(
    "line",
    [
        "[    0.000000] Linux version 6.1.0-13-amd64 (debian-kernel@lists.debian.org)",
        "# uname: Linux box 6.1.0-13-amd64 #1 SMP",
        "Linux box 6.1.0-13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 x86_64 GNU/Linux",
        "CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-13-amd64 #1  Debian 6.1.55-1",
    ],
)
def test_a_release_between_the_events(line: str, tmp_path: Path) -> None:
    with open_lines([*LINES, line, *LINES[6:]], tmp_path) as trace:
        assert trace.kernel == "6.1.0-13-amd64"


def test_hashed_pointers(tmp_path: Path) -> None:
    args = text.fpu_args("00000000b1786cd1", 0)
    hashed = [ftrace(event._replace(name="x86_fpu_dropped", args=args)) for event in LOAD]
    with open_lines(hashed, tmp_path) as trace:
        assert trace.pointers_hashed
        assert next(trace.blocks()).op[0].tolist() == [0xB1786CD1, 0, 0x207, 0]


def test_a_lost_identity_is_said_and_not_guessed(tmp_path: Path) -> None:
    args = text.fpu_args("(____ptrval____)", 0)
    lost = [ftrace(event._replace(name="x86_fpu_dropped", args=args)) for event in LOAD]
    with open_lines([*LINES, *lost], tmp_path) as trace:
        assert {kind for _, _, kind in rows(trace)} >= {Kind.OTHER, Kind.KVM_FPU}
        assert trace.unusable == {"x86_fpu:x86_fpu_dropped": ["fpu"]}


def test_a_known_event_in_unknown_words_is_a_hole(tmp_path: Path) -> None:
    broken = ftrace(LOAD[4]._replace(args="lo"))
    with open_lines([*LINES[:4], broken, *LINES[5:]], tmp_path) as trace:
        found = rows(trace)
        at = LOAD[4].ns
        assert (0, at, Kind.LOSS) in found
        assert found[found.index((0, at, Kind.LOSS)) + 1] == (0, at, Kind.LOSS_END)
        assert [loss.severity for loss in trace.losses] == ["damaged"]
        assert trace.unusable == {}


def test_functions_and_probes(tmp_path: Path) -> None:
    task = TextEvent(0, 10**9, 7, "sh", "", "")
    begin = "kernel_fpu_begin_mask"
    lines = [
        *LINES,
        ftrace(task._replace(ns=2 * 10**9)).replace(": : ", ": kernel_fpu_end <-aesni_encrypt"),
        ftrace(task._replace(ns=3 * 10**9, name="mine", args=f"({begin}+0x0/0x90) mask=0x2")),
        ftrace(task._replace(ns=4 * 10**9, name="back", args=f"(aesni+0x1 <- {begin})")),
    ]  # fmt: skip
    with open_lines(lines, tmp_path) as trace:
        (block,) = trace.blocks()
        kinds = [Kind(kind) for kind in block.kind if kind >= Kind.PROBE_SAVE]
        assert kinds[:2] == [Kind.PROBE_KFPU_END, Kind.PROBE_KFPU_BEGIN]
        row = int(np.flatnonzero(block.kind == Kind.PROBE_KFPU_BEGIN)[0])
        assert block.op[row].tolist() == [2, ABSENT, ABSENT, ABSENT]
        assert block.fields_of(row)["mask"] == 2
        assert trace.probes["mine"] == ("kernel_fpu_begin_mask", "kallsyms")
        assert trace.probes["ftrace:function"] == ("kernel_fpu_end", "name")


@pytest.mark.parametrize("order", [[0, 1], [1, 0], [2, 1], [1, 2]])
def test_a_probe_is_known_no_better_than_its_least_record(order: list[int], tmp_path: Path) -> None:
    """Two of one name: where one address has no symbol, a name is all there is."""
    task = TextEvent(0, 2 * 10**9, 7, "sh", "p_save_fpregs_to_fpstate", "")
    symbols = ["save_fpregs_to_fpstate+0x0/0x90", "ffffffff81234560", "copy_fpregs_to_fpstate+0x0"]
    lines = [ftrace(task._replace(args=f"({symbols[one]})")) for one in order]
    with open_lines([*LINES, *lines], tmp_path) as trace:
        list(trace.blocks())
        assert trace.probes["p_save_fpregs_to_fpstate"][1] == "name"


def test_only_one_buffer_is_read(tmp_path: Path) -> None:
    lines = [report(event) for event in LOAD]
    other = [report(event, buffer="inst1:   ") for event in LOAD]
    with open_lines(
        [line for pair in zip(lines, other, strict=True) for line in pair], tmp_path
    ) as trace:
        assert sum(kind is Kind.KVM_FPU for _, _, kind in rows(trace)) == 8
        assert trace.instances == ["inst1"]
        assert any("inst1" in note for note in trace.notes)
    with open_lines([*other, *lines], tmp_path) as trace:
        assert sum(kind is Kind.KVM_FPU for _, _, kind in rows(trace)) == 8
    with open_lines(other, tmp_path) as trace:
        assert sum(kind is Kind.KVM_FPU for _, _, kind in rows(trace)) == 8
        assert trace.comms[71] == "CPU 1/KVM"


@pytest.mark.parametrize(
    "said",
    ["PERF_RECORD_LOST lost 6", "PERF_RECORD_LOST     lost    6  ", "  PERF_RECORD_LOST\tlost 6"],
)
def test_perf_script_is_not_believed_to_be_complete(said: str, tmp_path: Path) -> None:
    lines = [perf(event, system="kvm") for event in LOAD]
    with open_lines(lines, tmp_path) as trace:
        rows(trace)
        assert trace.format == "perf script"
        assert not trace.losses_known
        assert trace.counts == {"kvm:kvm_fpu": 8}
    lost = f"              sh   214 [001]     1.005500: {said}"
    with open_lines([*lines[:6], lost, *lines[6:]], tmp_path) as trace:
        rows(trace)
        (loss,) = trace.losses
        assert (loss.cpu, loss.after_ns, loss.before_ns, loss.count) == (
            1,
            LOAD[5].ns,
            LOAD[7].ns,
            6,
        )


@pytest.mark.parametrize("shown", [71, 70, -1], ids=["thread", "process", "gone"])
def test_processes_instead_of_threads_are_told(shown: int, tmp_path: Path) -> None:
    args = switch_args(("CPU 1/KVM", 71, "S"), ("sh", 5))
    switch = perf(TextEvent(1, 2 * 10**9, shown, "CPU 1/KVM", "sched_switch", args), system="sched")
    with open_lines([*(perf(event, system="kvm") for event in LOAD), switch], tmp_path) as trace:
        for _ in range(2):
            rows(trace)
            assert sum("-F tid" in limit for limit in trace.limits) == (shown == 70)


def test_lines_nobody_understands_are_counted_and_shown(tmp_path: Path) -> None:
    with open_lines([*LINES, "what \x1b[31mis this", "and this", *LINES[7:]], tmp_path) as trace:
        (note,) = [note for note in trace.notes if "no events" in note]
        assert note.startswith("2 lines")
        assert "line 9" in note
        assert "\x1b" not in note


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"hello\nworld\n", "hello"),
        (b"# tracer: nop\n#\n", "tracer"),
        (b"   perf   85     3.161933:   sched:sched_switch: prev_comm=perf\n" * 3, "CPU"),
        (b" 0)               |  sys_read() {\n 0)   0.5 us    |    fput();\n", "function_graph"),
        (b"\xff" * 1000, "\\xff"),
        (b"\xff\x01" * 1000, "binary"),
        (b"# fputrace\n| a | b() |\n{}\n", "trace-cmd report -R -t"),
        (b"# tracer: nop\n#\n", "The ring buffer was empty"),
        (LINES[0].encode(), "kvm_fpu"),
    ],
)
def test_text_without_an_event_is_an_error(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="expected lines") as caught:
        open_text(os.open(path, os.O_RDONLY), str(path))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_long_line_between_others(tmp_path: Path) -> None:
    with open_lines(
        [*LINES[:4], "x" * 700_000, *LINES[4:], "CPU:1 [LOST 2 EVENTS]"], tmp_path
    ) as trace:
        assert sum(kind is Kind.KVM_FPU for _, _, kind in rows(trace)) == 8
        assert trace.losses[0].where == "line 10: CPU:1 [LOST 2 EVENTS]"


def test_integer_times(tmp_path: Path) -> None:
    lines = [ftrace(event._replace(ns=123456789000 + i), 0) for i, event in enumerate(LOAD)]
    with open_lines(lines, tmp_path) as trace:
        assert rows(trace)[0][1] == 123456789000
        assert not trace.clock_in_ns
