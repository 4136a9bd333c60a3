"""Dumps of ftrace's buffer in console logs: what is read, what is said, what is never guessed."""

from __future__ import annotations

import functools
import io
import os
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fputrace.analysis import analyze
from fputrace.convert.text import write_text
from fputrace.errors import FormatError
from fputrace.findings import Analysis, Verdict
from fputrace.parsers import open_trace
from fputrace.parsers.console import read_console
from fputrace.parsers.textlines import begins_plainly
from fputrace.parsers.unknown import refuse_other
from fputrace.parsers.wrapped import Unwrapped, lines_of, unwrap
from fputrace.rules import RULES
from tests.conftest import SAMPLES
from tests.writers import console as writer

PLAIN = writer.plain_lines(SAMPLES / "6.12-pipe-lost" / "trace.txt", 200)
LINES = writer.latency_lines(PLAIN)


def opened(data: bytes) -> tuple[Unwrapped | None, list[str]]:
    """What was unwrapped, and the lines of the copy."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        read = unwrap(file.fileno(), "log")
    if read is None:
        return None, []
    try:
        copy = os.pread(read.fd, 1 << 26, 0)
    finally:
        os.close(read.fd)
    return read, copy.decode().splitlines()


def dumped(data: bytes) -> tuple[Unwrapped, list[str]]:
    read, copy = opened(data)
    assert read is not None
    return read, copy


def events_of(copy: list[str]) -> list[str]:
    return [line for line in copy if not line.startswith("CPU:")]


def holes_of(copy: list[str]) -> int:
    return len(copy) - len(events_of(copy))


def expected(lines: Sequence[str]) -> list[str]:
    """What `trace` would print of these events of the sample, by their places in it."""
    _read, copy = dumped(writer.log(writer.dump(lines), "none"))
    return copy


# --- forms --------------------------------------------------------------------------------------


def test_a_dump_is_the_trace_with_short_names_and_times_from_zero() -> None:
    read, copy = dumped(writer.log(writer.dump(LINES)))
    assert len(copy) == len(PLAIN)
    start = 3_208_785
    for got, was in zip(copy, PLAIN, strict=True):
        head, _, text = was.rstrip("\n").partition(": ")
        comm, _, rest = head.rpartition("-")
        pid, cpu, flags, stamp = rest.split()
        us = int(stamp.replace(".", "")) - start
        shown = f"{us // 10**6:5d}.{us % 10**6:06d}"
        assert got == f"{comm.strip()[:8]:>16}-{pid:<7} {cpu} {flags} {shown}: {text}"
    assert (read.form, read.relative, read.losses_known) == ("console log", True, False)
    assert read.damaged == ""
    assert read.notes == [f"the dump is read from lines 3-202: {len(LINES)} events"]
    assert any("distances" in limit or "microseconds" in limit for limit in read.limits)


@pytest.mark.parametrize("front", writer.FRONTS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
def test_what_stands_in_front_does_not_matter(front: str, end: str) -> None:
    read, copy = dumped(writer.log(writer.dump(LINES), front, end))
    assert copy == expected(LINES)
    assert read.damaged == ""
    assert len(read.notes) == 1


def test_line_numbers_are_those_of_the_log() -> None:
    lines = writer.dump(LINES[:6])
    lines[4:4] = ["usb 1-1: new device", "usb 1-1: no manufacturer"]
    read, copy = dumped(writer.log([*["booting"] * 40, *lines]))
    assert copy == expected(LINES[:6])
    assert [read.line_of(at) for at in range(1, 7)] == [43, 44, 47, 48, 49, 50]
    assert "other lines in between, left out: 2" in read.notes


def test_flags_of_every_width_cpus_and_pids_beyond_their_columns() -> None:
    lines = [
        "     a-b-1        0d..    1us : kvm_fpu: load",
        "[x] y: z-1234567 127dNh2.3ab   22us!: kvm_fpu: unload",
        "   <...>-99      1023D.Z31.12s  333us : kvm_fpu: load",
    ]
    _read, copy = dumped(writer.log(writer.dump(lines)))
    assert copy == [
        "             a-b-1       [000] d..     0.000001: kvm_fpu: load",
        "        [x] y: z-1234567 [127] dNh2.3ab     0.000022: kvm_fpu: unload",
        "           <...>-99      [1023] D.Z31.12s     0.000333: kvm_fpu: load",
    ]


def test_a_clock_that_is_not_in_nanoseconds_has_no_us() -> None:
    lines = ["  <idle>-0         1d..2. 1234: kvm_fpu: load"]
    read, copy = dumped(writer.log(writer.dump(lines)))
    assert copy == ["          <idle>-0       [001] d..2.         1234: kvm_fpu: load"]
    assert "the clock's unit" in read.limits[0]


def test_the_verbose_form_has_absolute_times() -> None:
    columns = "          <idle>       0   1 25 00000002 0000000c [003b9aca] 1.234ms (+0.010ms)"
    _read, copy = dumped(writer.log(writer.dump([f"{columns}: kvm_fpu: load"])))
    assert copy == ["          <idle>-0       [001] d.H2     3.906250: kvm_fpu: load"]


def test_a_latency_format_trace() -> None:
    read, copy = dumped(writer.latency_file(PLAIN, overwritten=7))
    assert copy[:2] == ["# tracer: nop", "# entries-in-buffer/entries-written: 200/207   #P:2"]
    assert copy[2:] == expected(LINES)
    assert (read.form, read.kernel) == ("latency-format trace", "6.1.0-50-amd64")
    assert (read.losses_known, read.damaged) == (True, "")
    assert read.line_of(3) == 10


def test_losses_the_kernel_tells_stay_where_they_are() -> None:
    lines = [*LINES[:2], "CPU:1 [LOST 5335 EVENTS]", *LINES[2:4], "CPU:0 [LOST EVENTS]", LINES[4]]
    _read, copy = dumped(writer.log(writer.dump(lines)))
    assert [line for line in copy if line.startswith("CPU:")] == [lines[2], lines[5]]
    assert copy[2] == "CPU:1 [LOST 5335 EVENTS]"


def test_a_record_of_two_lines_as_rsyslog_writes_it() -> None:
    lines = [*LINES[:2], f"CPU:0 [LOST 7 EVENTS]#012{LINES[2]}", *LINES[3:6]]
    read, copy = dumped(writer.log(writer.dump(lines), "syslog"))
    assert copy == [*expected(LINES[:6])[:2], "CPU:0 [LOST 7 EVENTS]", *expected(LINES[:6])[2:]]
    assert [read.line_of(at) for at in (2, 3, 4, 5)] == [4, 5, 5, 6]


@pytest.mark.parametrize(
    ("line", "release"),
    [
        ("Linux version 6.1.0-50-amd64 (debian-kernel@lists.debian.org) (gcc)", "6.1.0-50-amd64"),
        ("Linux vm 5.10.0-32-amd64 #1 SMP Debian 5.10.223-1 x86_64 GNU/Linux", "5.10.0-32-amd64"),
        ("CPU: 0 PID: 1 Comm: init Not tainted 6.12.9 #1", "6.12.9"),
        (
            "CPU: 5 UID: 0 PID: 62 Comm: x Tainted: G    B   W        N 6.12.0-rc4+ #458",
            "6.12.0-rc4+",
        ),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_the_kernel_release(line: str, release: str, behind: bool) -> None:
    lines = writer.dump(LINES)
    lines = [*lines, line] if behind else [line, *lines]
    read, _copy = dumped(writer.log(lines))
    # What boots after the crash may be another kernel.
    assert read.kernel == (None if behind and "version" in line else release)


def test_the_next_boot_is_not_this_kernel() -> None:
    boot = "Linux version 6.6.1 (x)"
    later = "CPU: 0 PID: 1 Comm: init Not tainted 6.6.1 #1"
    for whole in (writer.dump(LINES), writer.dump(LINES)[:-1]):
        read, _copy = dumped(writer.log(["Linux version 6.1.0 (x)", *whole, boot, later]))
        assert read.kernel == "6.1.0"


# --- what is not whole --------------------------------------------------------------------------


def test_a_cut_head_is_said() -> None:
    read, copy = dumped(writer.log([*LINES[5:], writer.RULE]))
    assert len(copy) == len(LINES) - 5
    assert any("head may be missing" in note for note in read.notes)
    assert read.damaged == ""


def test_an_end_without_its_rule_is_cut() -> None:
    read, copy = dumped(writer.log(writer.dump(LINES)[:-1]))
    assert copy == expected(LINES)
    assert read.damaged == "line 202: the dump breaks off, no closing line follows"


def test_a_file_that_ends_within_a_line_loses_that_event() -> None:
    data = writer.log(writer.dump(LINES)[:-1])
    for cut in (1, 2, 30, 70):
        read, copy = dumped(data[:-cut])
        assert copy == expected(LINES)[:-1]
        assert read.damaged == "line 202: the file breaks off within a line"


def test_a_file_that_ends_within_a_line_behind_the_dump_says_so() -> None:
    read, copy = dumped(writer.log([*writer.dump(LINES), "Kernel panic"])[:-4])
    assert copy == expected(LINES)
    assert read.damaged == ""
    assert read.notes[-1] == "the file breaks off within line 204, behind the dump"


def test_every_cut_of_a_dump_is_damage() -> None:
    data = writer.log(writer.dump(LINES[:12]))
    whole = expected(LINES[:12])
    closing = len(data) - len("[   12.000130] " + writer.RULE + "\n")
    for cut in range(len(data)):
        read, copy = opened(data[:cut])
        events = events_of(copy)
        assert events == whole[: len(events)]
        if read is not None and cut < closing + len("[   12.000130] --------------------"):
            assert read.damaged


def test_a_line_broken_in_two_is_a_hole() -> None:
    data = writer.log(writer.dump(LINES[:12])).replace(b"child_comm=sh", b"child_\ncomm=sh", 1)
    read, copy = dumped(data)
    whole = expected(LINES[:12])
    gone = next(at for at, line in enumerate(LINES) if "child_comm" in line)
    assert events_of(copy) == whole[:gone] + whole[gone + 1 :]
    for cpu in (0, 1):
        behind = next(at for at, line in enumerate(copy) if f"[{cpu:03d}]" in line and at >= gone)
        assert copy[behind - 1] == f"CPU:{cpu} [LOST EVENTS]"
    assert any("broken" in note for note in read.notes)


@pytest.mark.parametrize("left", [7, 12, 20, 27, 33, 40])
def test_a_record_that_is_the_beginning_of_an_event_is_a_hole(left: int) -> None:
    lines = [*LINES[:6], LINES[6][:left], *LINES[7:12]]
    _read, copy = dumped(writer.log(writer.dump(lines)))
    assert holes_of(copy) == 2


def test_two_events_on_one_line_are_a_hole_of_every_cpu() -> None:
    data = writer.log(writer.dump(LINES[:12]))
    lines = data.splitlines(keepends=True)
    lines[8] = lines[8][:60] + lines[9]
    del lines[9]
    _read, copy = dumped(b"".join(lines))
    whole = expected(LINES[:12])
    assert events_of(copy) == whole[:6] + whole[8:]
    assert {line for line in copy if line.startswith("CPU:")} == {
        "CPU:0 [LOST EVENTS]",
        "CPU:1 [LOST EVENTS]",
    }


@pytest.mark.parametrize("noise", [b"\x00", b"\x7f", b"\xff", b"\xef\xbf\xbd", b"\x1b", b"\r"])
def test_noise_in_a_line_makes_it_a_hole(noise: bytes) -> None:
    lines = writer.log(writer.dump(LINES[:12])).splitlines(keepends=True)
    lines[6] = lines[6][:90] + noise + lines[6][91:]
    _read, copy = dumped(b"".join(lines))
    whole = expected(LINES[:12])
    assert events_of(copy) == whole[:4] + whole[5:]
    assert holes_of(copy) == 2


def test_messages_that_were_dropped_are_holes_of_every_cpu() -> None:
    for told in (
        ["** 123 printk messages dropped **"],
        ["systemd-journald[210]: Missed 12 kernel messages"],
    ):
        lines = [*LINES[:6], *told, *LINES[6:12]]
        read, copy = dumped(writer.log(writer.dump(lines)))
        assert holes_of(copy) == 2
        assert "notices of dropped messages inside the dump: 1" in read.notes


def test_the_notice_of_old_kernels_stands_before_the_next_record() -> None:
    lines = writer.log(writer.dump(LINES[:12])).splitlines(keepends=True)
    lines[8] = b"** 5 printk messages dropped ** " + lines[8]
    _read, copy = dumped(b"".join(lines))
    assert events_of(copy) == expected(LINES[:12])
    assert holes_of(copy) == 2


def test_foreign_records_do_no_harm_and_foreign_lines_cost_the_event_before() -> None:
    between = [*LINES[:6], "BUG: soft lockup - CPU#1 stuck for 22s!", *LINES[6:12]]
    assert dumped(writer.log(writer.dump(between)))[1] == expected(LINES[:12])
    lines = writer.log(writer.dump(LINES[:12])).splitlines(keepends=True)
    lines.insert(8, b"[  OK  ] Started Getty on tty1.\n")
    _read, copy = dumped(b"".join(lines))
    events = events_of(copy)
    assert events == expected(LINES[:12])[:5] + expected(LINES[:12])[6:]


def test_time_that_steps_back_is_a_hole_and_never_disorder() -> None:
    lines = writer.dump(LINES[:6] + LINES[2:12])
    read, copy = dumped(writer.log(lines))
    assert any("time steps back" in note for note in read.notes)
    times = [float(line.split(": ")[0].split()[-1]) for line in copy if "CPU:" not in line]
    assert times == sorted(times)
    assert holes_of(copy) == 2


def test_times_never_grow_beyond_what_nanoseconds_can_say() -> None:
    late = [f"  <idle>-0         1d..2. {us}us+: kvm_fpu: load" for us in (9 * 10**14, 5 * 10**14)]
    _read, copy = dumped(writer.log(writer.dump([*LINES[:6], *late, late[1], late[0]])))
    assert len(events_of(copy)) == 9
    assert all(len(line.split(".")[0].split()[-1]) <= 9 for line in events_of(copy)[6:])


def test_an_event_older_than_the_buffer_start_is_a_hole() -> None:
    lines = [
        *LINES[:6],
        "  <idle>-0         1d..2. 18446744073709551us+: kvm_fpu: load",
        *LINES[6:9],
    ]
    _read, copy = dumped(writer.log(writer.dump(lines)))
    assert events_of(copy) == expected(LINES[:9])
    assert any(line.startswith("CPU:") for line in copy)


# --- several, none ------------------------------------------------------------------------------


def test_the_longest_of_several_dumps_is_read_and_the_others_are_named() -> None:
    first, second = LINES[:10], LINES[:40]
    lines = [*writer.dump(first), "panic", *writer.dump(second, "kvm"), *writer.dump(LINES[:5])]
    read, copy = dumped(writer.log(lines))
    assert copy == expected(second)
    assert read.notes[0] == "the dump of the instance kvm is read from lines 17-56: 40 events"
    assert read.notes[1] == (
        "it is the longest of 3 in this file; not read: lines 3-12 (10 events), lines 60-64 "
        "(5 events)"
    )


def test_of_equal_dumps_the_last() -> None:
    lines = [*writer.dump(LINES[:10]), *writer.dump(LINES[20:30])]
    read, _copy = dumped(writer.log(lines))
    assert "lines 16-25" in read.notes[0]


def test_a_dump_that_breaks_off_is_ended_by_the_next() -> None:
    lines = [*writer.dump(LINES[:20])[:-1], *writer.dump(LINES[:10])]
    read, copy = dumped(writer.log(lines))
    assert len(copy) == 20
    assert read.damaged


def test_an_empty_buffer_is_an_error_that_says_so() -> None:
    with pytest.raises(FormatError, match="buffer is empty"):
        opened(writer.log(["Linux version 6.1.0", *writer.dump([])]))
    read, _copy = dumped(writer.log([*writer.dump([]), *writer.dump(LINES)]))
    assert read.kernel is None


def test_one_cpu_alone_is_a_limit_unless_the_machine_has_no_other() -> None:
    alone = [line for line in LINES if line[19] == "1"]
    lines = writer.dump(alone)
    read, _copy = dumped(writer.log(lines))
    assert any("only CPU 1" in limit for limit in read.limits)
    read, _copy = dumped(writer.log(["smp: Brought up 1 node, 1 CPU", *lines]))
    assert not any("only CPU" in limit for limit in read.limits)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("# tracer: function_graph\n#\n 0)   1.234 us    |  schedule();\n", "function_graph"),
        (" 0)               |  vcpu_run() {\n" * 5, "function_graph"),
        ("12 0 1234567890 71 0 1\n" * 5, "raw or hex"),
        ("0000000c 00000000 00000001234567ab \n" * 5, "raw or hex"),
        ("[    3.904860] kvm_fpu: load\n", "tp_printk"),
    ],
)
def test_forms_without_tasks_are_refused_with_what_to_do(text: str, what: str) -> None:
    with pytest.raises(FormatError, match=what) as caught:
        opened(text.encode())
    assert "nop > current_tracer" in caught.value.hint or "dump" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "".join(PLAIN[:5]),
        "# tracer: nop\n#\n" + "".join(PLAIN[:5]),
        "cpus=2\n" + "".join(PLAIN[:5]),
        "Linux vm 6.1.0 #1 SMP\n# tracer: nop\nCPU:1 [LOST 3 EVENTS]\n" + "".join(PLAIN[:5]),
        " CPU 0/KVM  1234 [001]   12.345678: kvm:kvm_fpu: load\n",
        "nothing of the kind\n" * 10,
        "",
    ],
)
def test_other_text_is_left_to_its_reader(text: str) -> None:
    assert opened(text.encode()) == (None, [])


# --- quoted -------------------------------------------------------------------------------------


def test_a_quoted_trace_keeps_its_lines() -> None:
    data = "".join(f"> {line}" for line in PLAIN).encode()
    read, copy = dumped(b"On Monday somebody wrote:\n" + data + b"Thanks!\n")
    # The last line may have been cut where the mail goes on.
    wanted = [line.strip() for line in PLAIN[:-1]]
    assert [line.lstrip() for line in copy] == wanted
    assert (read.form, read.relative, read.losses_known) == ("quoted text", False, False)
    assert read.line_of(1) == 2


@pytest.mark.parametrize(
    "data",
    [
        "Hi,\nthis is it:\n" + "".join(PLAIN),
        "```\n" + "".join(PLAIN) + "```\n",
        "    # tracer: nop\n    #\n" + "".join(f"    {line}" for line in PLAIN),
    ],
)
def test_a_pasted_trace_need_not_be_all_of_it(data: str) -> None:
    read, copy = dumped(data.encode())
    assert len(events_of(copy)) >= len(PLAIN) - 1
    assert (read.form, read.losses_known) == ("quoted text", False)


def test_lines_a_mailer_has_broken_are_holes() -> None:
    lines = [f"> {line}" for line in PLAIN[:12]]
    lines[4] = lines[4].replace("child_comm", "\n> child_comm")
    _read, copy = dumped("".join(lines).encode())
    assert PLAIN[4].strip() not in copy
    assert {line for line in copy if line.startswith("CPU:")} == {
        "CPU:0 [LOST EVENTS]",
        "CPU:1 [LOST EVENTS]",
    }


def test_lines_left_out_of_a_mail_are_holes() -> None:
    quoted = [f"> {line}" for line in PLAIN[:12]]
    for snip, cost in (("[...]\n", 1), ("> \n", 0), ("\n", 0), ("> ... many more\n", 1)):
        _read, copy = dumped("".join([*quoted[:6], snip, *quoted[6:]]).encode())
        assert holes_of(copy) == 2
        assert len(events_of(copy)) == 12 - cost


def test_two_traces_in_one_mail_are_two() -> None:
    quoted = [f"> {line}" for line in PLAIN[:12]]
    read, copy = dumped("".join([*quoted, "And after the patch:\n", *quoted[:11]]).encode())
    assert len(events_of(copy)) == 11
    assert "the longest of 2" in read.notes[1]


def test_call_chains_between_quoted_events_are_no_holes() -> None:
    chain = ">         ffffffff81000000 schedule ([kernel.kallsyms])\n"
    event = "> CPU 0/KVM  1234 [001]   12.{:06d}: kvm:kvm_fpu: load\n"
    text = "".join(event.format(at) + chain * 3 for at in range(4))
    _read, copy = dumped(text.encode())
    assert len(copy) == 4
    assert not any(line.startswith("CPU:") for line in copy)


# --- hostile ------------------------------------------------------------------------------------


@given(st.binary(max_size=2000))
def test_any_bytes_give_a_result_or_a_typed_error(data: bytes) -> None:
    try:
        opened(data.replace(b"\xff", b"-0    1d.. 12us : "))
    except FormatError as error:
        assert error.hint


@given(st.data())
def test_a_damaged_log_shows_no_event_that_was_not_dumped(data: st.DataObject) -> None:
    """Lines lost, joined, split or cut: what is copied are the dump's lines, in their order."""
    log = bytearray(writer.log(writer.dump(LINES[:30])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(log) - 1))
        kind = data.draw(st.sampled_from(["newline", "join", "noise", "cut"]))
        if kind == "newline":
            log[at:at] = b"\n"
        elif kind == "noise":
            log[at:at] = b"\x00"
        elif kind == "cut":
            del log[max(at, 60) :]
        elif (end := log.find(b"\n", at)) >= 0:
            del log[end]
    try:
        _read, copy = opened(bytes(log))
    except FormatError:
        return
    wanted = {line.split(": ", 1)[1].strip() for line in PLAIN[:30]}
    shown = [line.split(": ", 1)[1] for line in copy if not line.startswith("CPU:")]
    assert set(shown[:-1]) <= wanted
    # Cut, then ended: nothing behind the last line tells that it is not whole.
    assert not shown or any(text.startswith(shown[-1]) for text in wanted)


@pytest.mark.parametrize(
    "piece",
    [
        b"Dumping ftrace buffer:\n a-1 0d.. 1us : x: y\n-------------------------\n",
        b"[    1.000000] a-1 0d.. 1us : x: y\n> a-1 [000] d.. 1.000000: x: y\n",
        b"[    1.000000] [    1.000000] ",
        b"-1 0d.. ",
        b"> > > ",
        b" ",
    ],
)
def test_the_time_grows_with_the_length(piece: bytes) -> None:
    """Two megabytes of what could be tried again and again end within the test's patience."""
    data = piece * (2_000_000 // len(piece))
    read, copy = opened(data)
    assert read is None or len(copy) <= len(data)


def test_lines_without_end_are_read_in_bounded_pieces() -> None:
    lines = writer.log(writer.dump(LINES[:12])).splitlines(keepends=True)
    lines.insert(8, b"x" * 3_000_000 + b"\n")
    _read, copy = dumped(b"".join(lines))
    assert len(events_of(copy)) == 11


def test_line_numbers_stay_near_when_there_are_too_many_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fputrace.parsers import wrapped

    monkeypatch.setattr(wrapped, "MAX_RUNS", 16)
    lines = wrapped.LineMap()
    for at in range(1, 1001):
        lines.add(2 * at)
    for at in range(1, 1001):
        assert 2 * at - 128 <= lines(at) <= 2 * at


# --- what comes of it ---------------------------------------------------------------------------

CASES = ("6.1-no-reload-at-entry", "6.1-stale-owner", "5.2.1-pinned")
"""Recordings of broken kernels."""


class Case(NamedTuple):
    """A recording as text: its lines, its kernel, and what was found in it."""

    plain: list[str]
    release: str
    found: Counter[tuple[str, int | None]]
    confirmed: set[tuple[str, int | None]]


def findings(read: Analysis) -> Counter[tuple[str, int | None]]:
    """How often each rule spoke of each task; FPU9xx speak of the recording."""
    count: Counter[tuple[str, int | None]] = Counter()
    for one in read.findings:
        if not one.code.startswith("FPU9"):
            count[one.code, one.pid] += one.count
    return count


def without_absence(found: Counter[tuple[str, int | None]]) -> Counter[tuple[str, int | None]]:
    """What is left where losses are hidden: nothing that rests on an absent event."""
    silent = {rule.code for rule in RULES if rule.rests_on_absence}
    return Counter({key: count for key, count in found.items() if key[0] not in silent})


def confirmed(read: Analysis) -> set[tuple[str, int | None]]:
    """The rules and tasks of which something is certain."""
    sure = (one for one in read.findings if one.verdict is Verdict.CONFIRMED)
    return {(one.code, one.pid) for one in sure if not one.code.startswith("FPU9")}


@functools.cache
def case(name: str) -> Case:
    with open_trace(SAMPLES / name / "trace.dat") as trace:
        out = io.BytesIO()
        write_text(trace, out)
        assert trace.kernel is not None
        release = trace.kernel
    plain = [line for line in out.getvalue().decode().splitlines() if "-" in line[:40]]
    plain = [line for line in plain if not line.startswith("#")][:12_000]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.txt"
        path.write_text("".join(line + "\n" for line in plain))
        read = analyze(path, kernel=release)
    return Case(plain, release, findings(read), confirmed(read))


@pytest.mark.parametrize("name", CASES)
def test_a_dump_gives_the_findings_of_the_text_as_possible(name: str, tmp_path: Path) -> None:
    known = case(name)
    dump = writer.dump(writer.latency_lines(known.plain))
    log = tmp_path / "console.log"
    log.write_bytes(writer.log([f"Linux version {known.release} (x)", *dump]))
    read = analyze(log)
    assert known.found
    assert findings(read) == without_absence(known.found)
    assert read.trace.kernel == known.release
    assert not confirmed(read)


@pytest.mark.parametrize("name", CASES)
def test_a_latency_format_trace_gives_the_findings_of_the_text(name: str, tmp_path: Path) -> None:
    known = case(name)
    path = tmp_path / "trace"
    path.write_bytes(writer.latency_file(known.plain, known.release))
    read = analyze(path)
    assert findings(read) == known.found
    assert confirmed(read) <= known.confirmed


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_log_accuses_nobody_else(name: str, seed: int, tmp_path: Path) -> None:
    """Lines split, joined, noisy or begun by another writer: less is said, never more."""
    known = case(name)
    chance = random.Random(seed)
    damaged = bytearray()
    dump = writer.dump(writer.latency_lines(known.plain))
    for line in writer.log([f"Linux version {known.release} (x)", *dump]).splitlines(True):
        at = chance.randrange(len(line) - 1)
        split = line[:at] + b"\n" + line[at:]
        noisy = line[:at] + b"\xff" + line[at + 1 :]
        damaged += chance.choice([line] * 60 + [split, line[:-1], b"login: " + line, noisy])
    log = tmp_path / "console.log"
    log.write_bytes(damaged)
    read = analyze(log)
    assert read.losses
    assert set(findings(read)) <= set(known.found)
    assert not confirmed(read)


_PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "sh-163",
                "<idle>-0",
                "CPU 0/KVM",
                "kworker/0:1",
                "a-1 2dxx",
                "kernel:",
                "kernel",
                "> ",
                "<6>",
            ),
            *("Nov 23", "2017-11-23", "12:00:01", "[ 1.000001]", "-", " ", "  ", " " * 17, "\t"),
            *("-7", " 207", " 1/2", " [000]", " [001] ", " d..2.", " d:x.", " (123)", " 3.904860:"),
            *(
                " 5us: ",
                " 7:",
                ": ",
                " kvm_fpu: load",
                " x",
                "\x07",
                "\u00e9",
                "#",
                "# ",
                "\x1b[0m",
            ),
            *(
                "x #012 y",
                "\n",
                "\r",
                "Subject: x",
                "{",
                "<html>",
                "TRACE:",
                "CPU:0 [LOST 1 EVENTS]",
            ),
        ]
    ),
    max_size=12,
).map("".join)
_USUAL = st.sampled_from(
    [
        *("     sh-163     [000] d..2.     3.904860: kvm_fpu: load", "# tracer: nop", "#"),
        *("   CPU 0/KVM   216 [001]   112.370880:    kvm:kvm_fpu: load", " a-1 [000] 1.000001: x"),
        *("# a-1  0d..2. 12us+: kvm_fpu: load", "# a-1 [000] 1.000001: x"),
        "# ab 12 0 2 00000000 00000000 [00001f4a] 0.001ms (+0.002ms): x: y",
    ]
)


@given(st.lists(_PIECES | _USUAL, max_size=4))
def test_what_begins_plainly_would_be_found_to_be_plain(lines: list[str]) -> None:
    """The short look says so only where the long one, line by line, comes to the same."""
    head = ("\n".join(lines) + "\n").encode()
    if begins_plainly(head):
        refuse_other(head, "log")
        with tempfile.TemporaryFile() as file:
            file.write(head)
            file.flush()
            assert read_console(lines_of(file.fileno()), "log") is None


def test_the_usual_beginnings_need_no_long_look() -> None:
    """As tracefs, trace-cmd report and perf script print them."""
    for text in (
        (SAMPLES / "6.1-pinned" / "trace.txt").read_bytes()[:4096],
        b"   CPU 0/KVM-216   [001]   112.370880: kvm_fpu: load\n",
        b"       CPU 0/KVM   216 [001]   112.370880:        kvm:kvm_fpu: load\n",
    ):
        assert begins_plainly(text)
    assert not begins_plainly(b"[    1.000001] sh-163 [000] d..2. 3.904860: kvm_fpu: load\n")
    assert not begins_plainly(b"> sh-163 [000] d..2. 3.904860: kvm_fpu: load\n")
    event = b" sh-163 [000] d..2. 3.904860: kvm_fpu: load\n"
    assert begins_plainly(b"# entries-in-buffer/entries-written: 3/3   #P:2\n" + event)
    assert not begins_plainly(b"#a-1  0d..2. 12us+: kvm_fpu: load\n" + event)
