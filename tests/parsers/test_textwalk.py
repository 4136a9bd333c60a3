"""The compiled walk over lines against plain Python that reads one line at a time."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fputrace.events import ABSENT, Kind
from fputrace.lines import textchunk, textlayout, textmemo, textprefix, textscan, textwalk
from fputrace.parsers import textindex, textlook, textpass
from fputrace.parsers.shapes import Part, Shape, parts_of, shapes_of
from fputrace.parsers.text import open_text
from fputrace.parsers.textlines import FORMS as FORMS_OF_LINES
from fputrace.parsers.textlines import Form
from tests.conftest import SAMPLES
from tests.parsers.test_ringbuffer import uncompiled
from tests.tools import text_of, trace_cmd
from tests.writers import text

COLUMNS = ("ts", "cpu", "pid", "kind", "flags", "event", "op")
TEXTS = sorted(SAMPLES.glob("*/trace.txt"))
MOST = [4000, pytest.param(12000, marks=pytest.mark.long)]
"""Lines of a report; one line at a time takes seconds."""


def open_bytes(data: bytes, folder: Path) -> Any:
    path = folder / "trace.txt"
    path.write_bytes(data)
    return open_path(path)


def open_path(path: Path) -> Any:
    import os

    return open_text(os.open(path, os.O_RDONLY), str(path))


def everything(path: Path) -> dict[str, Any]:
    """All that a pass gives, for comparison."""
    with open_path(path) as trace:
        blocks = list(trace.blocks())
        told: dict[str, Any] = {
            name: [getattr(block, name).tolist() for block in blocks] for name in COLUMNS
        }
        told["fields"] = [blocks[0].fields_of(row) for row in range(0, len(blocks[0]), 97)]
        for about in ("comms", "counts", "losses", "notes", "limits", "unusable", "cpus",
                      "formats", "probes", "event_names", "first_ns", "last_ns"):  # fmt: skip
            told[about] = getattr(trace, about)
        return told


def line_by_line(_fd: int, _stop: int, _d: Any, _g: Any, s: Any, *_tables: Any) -> int:
    """A walk, or a look, that is sure of nothing."""
    ended = s[textlayout.AT] >= s[textlayout.END]
    return textlayout.NEED_CHUNK if ended else textlayout.ASK


def in_plain_python(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    with monkeypatch.context() as patch:
        patch.setattr(textwalk, "walk", line_by_line)
        patch.setattr(textscan, "index", line_by_line)
        return everything(path)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for about, value in one.items():
        assert value == other[about], about


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.parent.name)
def test_every_line_of_the_samples(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same(everything(path), in_plain_python(path, monkeypatch))


@pytest.mark.skipif(not trace_cmd.INSTALLED, reason=trace_cmd.MISSING)
@pytest.mark.parametrize("options", ["", "-t", "-R", "-l", "--ts-diff"])
@pytest.mark.parametrize(
    "case", ["4.14.177-pinned", "5.10-pinned", "6.12-kfpu-probes", "6.12-pinned-function",
             "6.12-storm-usermode"]
)  # fmt: skip
@pytest.mark.parametrize("most", MOST)
def test_every_line_of_trace_cmd_report(
    case: str, options: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = trace_cmd.run("report", *options.split(), "-i", SAMPLES / case / "trace.dat")
    path = tmp_path / "report.txt"
    lines = said.encode("utf-8", "surrogateescape").splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:most]))
    assert_same(everything(path), in_plain_python(path, monkeypatch))


@pytest.mark.skipif(not text_of.PERF_INSTALLED, reason=text_of.PERF_MISSING)
@pytest.mark.parametrize(
    "options",
    ["", "--ns --show-lost-events -F comm,tid,cpu,time,event,trace",
     "-F comm,pid,tid,cpu,time,event,trace", "-L"],
)  # fmt: skip
@pytest.mark.parametrize("case", ["5.2.1-pinned", "6.12-perf-lost"])
@pytest.mark.parametrize("most", MOST)
def test_every_line_of_perf_script(
    case: str, options: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["perf", "script", *options.split(), "-i", str(SAMPLES / case / "perf.data")]
    said = subprocess.run(command, capture_output=True, check=True).stdout
    path = tmp_path / "script.txt"
    path.write_bytes(b"".join(said.splitlines(keepends=True)[:most]))
    assert_same(everything(path), in_plain_python(path, monkeypatch))


def patch_loops(monkeypatch: pytest.MonkeyPatch, load: Callable[[ModuleType], ModuleType]) -> None:
    # The other two take the plain ones' functions.
    monkeypatch.setitem(sys.modules, textchunk.__name__, load(textchunk))
    monkeypatch.setitem(sys.modules, textprefix.__name__, load(textprefix))
    monkeypatch.setitem(sys.modules, textmemo.__name__, load(textmemo))
    walk, scan = load(textwalk), load(textscan)
    monkeypatch.setattr(textpass, "textwalk", walk)
    monkeypatch.setattr(textlook, "textscan", scan)


@pytest.mark.parametrize("cython", [True, False], ids=["with-cython", "without"])
def test_uncompiled_gives_the_same(
    cython: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (SAMPLES / "6.12-pipe-lost" / "trace.txt").read_bytes().splitlines(keepends=True)
    path = tmp_path / "trace.txt"
    path.write_bytes(b"".join(lines[:3000]) + lines[28161] + b"".join(lines[29200:29400]))
    compiled = everything(path)
    patch_loops(monkeypatch, lambda loop: uncompiled(monkeypatch, loop, cython))
    assert_same(compiled, everything(path))


@pytest.mark.parametrize("stretch", [1, 700, 40_000, 1_000_000])
@pytest.mark.parametrize("chunk", [2_000, 1 << 18])
def test_two_threads_see_what_one_sees(
    stretch: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (SAMPLES / "6.12-pipe-lost" / "trace.txt").read_bytes().splitlines(keepends=True)
    some = [*lines[27_500:28_500], b"x" * 5_000 + b"\n", b"no event\n", *lines[28_500:29_500]]
    path = tmp_path / "trace.txt"
    path.write_bytes(b"".join(some) + lines[0][:-20])
    one = everything(path)
    monkeypatch.setattr(textindex, "STRETCH", stretch)
    monkeypatch.setattr(textindex, "ALONE", 0)
    monkeypatch.setattr(textindex, "CHUNK", chunk)
    monkeypatch.setattr(textlook, "CHUNK", chunk)
    assert_same(one, everything(path))


@pytest.mark.parametrize("name", ["textchunk", "textmemo", "textprefix", "textscan", "textwalk"])
def test_constants_of_the_c_compiler(name: str) -> None:
    assert textlayout.OTHER == Kind.OTHER
    folder = Path(str(textlayout.__file__)).parent
    for line in (folder / f"{name}.pxd").read_text().splitlines():
        constant, equals, value = line.strip().partition(" = ")
        if equals:
            assert getattr(textlayout, constant) == int(value), constant


# Made-up lines

COMMS = st.one_of(
    st.sampled_from(
        ["sh", "<idle>", "CPU 0/KVM", "kworker/0:1-ev", "a b", "x-1 [000] 1.0:", "==> y",
         "-", "a prev_pid=5", ":5 [1] R ==> b", "[001]", "1", "a: ", "(x)", "é"]
    ),
    st.text(
        st.characters(codec="utf-8", exclude_characters="\n\r\x00"), min_size=1, max_size=15
    ).filter(lambda comm: len(comm.encode()) <= 15 and comm.strip() and comm == comm.strip()),
)  # fmt: skip
FORMS: Sequence[Callable[[text.TextEvent, int], str]] = (
    text.ftrace,
    lambda event, digits: text.ftrace(event, digits, with_tgid=True),
    text.report,
    lambda event, digits: text.report(event, digits, flags=True),
    text.report_latency,
)
ARGS = st.one_of(
    st.tuples(st.integers(0, 1), st.integers(0, 2**64 - 1)).map(
        lambda v: ("x86_fpu_regs_activated", text.fpu_args(f"{v[1]:016x}", v[0]))
    ),
    st.tuples(COMMS, COMMS, st.sampled_from(["R", "S", "R+", "D", "I"])).map(
        lambda v: ("sched_switch", text.switch_args((v[0], 7, v[2]), (v[1], 9)))
    ),
    st.integers(0, 300).map(lambda v: ("kvm_entry", f"vcpu {v}, rip 0xffffffff81000000")),
    st.sampled_from(
        [("kvm_fpu", "load"), ("kvm_fpu", "unload"), ("kvm_userspace_exit", "reason error (-4)"),
         ("some_event", "a=1 b=two"), ("tracing_mark_write", "x-1 [000] 1.000000: kvm_fpu: load")]
    ),
)  # fmt: skip
EVENTS = st.builds(
    lambda cpu, pid, comm, named, flags: text.TextEvent(
        cpu, 0, pid, comm, named[0], named[1], flags
    ),
    st.integers(0, 300),
    st.integers(1, 4194304),
    COMMS,
    ARGS,
    st.sampled_from(["d..2.", ".....", "dNh1.", "DNs2a"]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    events=st.lists(EVENTS, min_size=3, max_size=30),
    form=st.sampled_from(FORMS),
    digits=st.sampled_from([6, 9]),
)
def test_what_is_written_is_read(
    events: list[text.TextEvent],
    form: Callable[[text.TextEvent, int], str],
    digits: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = [*events, *events]  # what was read once is remembered
    placed = [event._replace(ns=5 * 10**9 + i * 7000) for i, event in enumerate(again)]
    plain_lines = [text.TextEvent(0, 10**9, 1, "sh", "kvm_fpu", "load")] * 60
    lines = [form(event, digits) for event in [*plain_lines, *placed]]
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of(lines))
    told = everything(path)
    assert_same(told, in_plain_python(path, monkeypatch))
    rows = [(cpu, pid) for cpus, pids in zip(told["cpu"], told["pid"], strict=True)
            for cpu, pid in zip(cpus, pids, strict=True) if pid != -1]  # fmt: skip
    assert rows[60:] == [(event.cpu, event.pid) for event in placed]
    stamps = [ts for part, pids in zip(told["ts"], told["pid"], strict=True)
              for ts, pid in zip(part, pids, strict=True) if pid != -1]  # fmt: skip
    assert stamps[60:] == [event.ns for event in placed]


@pytest.mark.parametrize("form", FORMS_OF_LINES, ids=lambda form: f"{form.name}-{form.ticks}")
def test_every_form_of_line(form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, name = ("sh-163", "kvm_fpu") if form.dash else ("sh  163", "kvm:kvm_fpu")
    cpu = " [001]" if form.bracket else " 1d..2." if form.dash else " 1"
    times = [5_000_000_000 + 7000 * i for i in range(300)]
    stamps = [f"{ns:>14}" if form.ticks else f"{ns // 10**9}.{ns % 10**9:09}" for ns in times]
    path = tmp_path / "trace.txt"
    path.write_text("".join(f"{task}{cpu} {stamp}: {name}: load\n" for stamp in stamps))
    told = everything(path)
    assert_same(told, in_plain_python(path, monkeypatch))
    events = [pid != -1 for pid in told["pid"][0]]  # the others are marks
    assert [*compress(told["ts"][0], events)] == times
    assert {*compress(told["cpu"][0], events)} == {1}
    assert {*compress(told["pid"][0], events)} == {163}


KERNELS_SWITCH = (
    "prev_comm={} prev_pid=5 prev_prio=120 prev_state=R ==> next_comm={} next_pid=6 next_prio=120{}"
)
PIECES = st.lists(
    st.sampled_from(
        [":", "a", "1", ":1", ": 1", ":-1", ":12345678901234567890", " [2]", ":1 [2]", " R ==> ",
         "R", " Q ==> ", ":1 [2] R ==> b", "[", " ", " prev_pid=1", " prev_pid=1 prev_prio=2", "=",
         "é", " next_pid=", ":1" * 70]
    ),
    max_size=6,
).map("".join)  # fmt: skip


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.lists(st.tuples(PIECES, PIECES, PIECES), min_size=1, max_size=20))
def test_a_name_ends_where_plain_python_ends_it(
    names: list[tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [("sh", "a", ""), ("kworker/0:1", "b", ""), *names]
    texts = [
        form.format(*three)
        for three in named
        for form in ("{}:5 [120] R ==> {}:6 [120]{}", KERNELS_SWITCH)
    ]
    events = [
        text.TextEvent(0, 5 * 10**9 + i * 7000, 5, "sh", "sched_switch", args)
        for i, args in enumerate([*texts, *texts])
    ]
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of([text.report(event, 6) for event in events]))
    assert_same(everything(path), in_plain_python(path, monkeypatch))


@pytest.mark.parametrize("distinct", [3, 40, 1500])
def test_what_came_after_an_event_the_last_time_is_no_more_than_a_guess(
    distinct: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1500 take each other's places; of some the text is the beginning of another's.
    choice = random.Random(distinct)
    tails = [
        ("x86_fpu_regs_activated", text.fpu_args(f"{1 << n % 60:x}", n & 1)) if n % 3 else
        ("kvm_entry", f"vcpu 0, rip 0x{n // 60 or ''}{'1' * (1 + n // 3 % 9)}")
        for n in range(distinct)
    ]  # fmt: skip
    told: list[tuple[str, str]] = []
    for _ in range(1200):
        at = choice.randrange(distinct)
        told += tails[at : at + choice.randrange(1, 6)]
    events = [
        text.TextEvent(at % 2, 5 * 10**9 + at * 7000, 5 + at % 3, "sh", *named)
        for at, named in enumerate(told)
    ]
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of([text.ftrace(event, 6) for event in events]))
    assert_same(everything(path), in_plain_python(path, monkeypatch))


# What each type of a row may hold, and what it may not.
FIELDS = {
    "dec": ["5", "120", "-1", "007", " 6", "1234567890123456789", "x", ""],
    "neg": ["4", "-4"],
    "hex": ["ff", "0", "ffffffff81000000", "10000000000000000", "0x1", "g"],
    "ptr": ["0xffff888000000000", "(null)", "(efault)", "x"],
    "word": ["KVM_EXIT_IO", "restart", "0x7f", "a\xa0b", "a b"],
    "state": ["R", "S", "Q", "R5", "x" * 33, "120"],
    "plugin_state": ["R", "W", "Q", "R5", "x" * 33],
}
FREE_TEXTS = [
    "sh", "kworker/0:1", "a: [] R5 ==> x", ":6 [6] R5 ==> ", "a prev_pid=5", " prev_pid=x" * 70,
    "X prev_pid=1 prev_prio=2 prev_state=3 next_comm=Y", "", "é", "a\xa0", "rip 0x1 rip 0x2", "io",
]  # fmt: skip


def texts_of(name: str) -> st.SearchStrategy[tuple[str, str]]:
    """The event with the text of one of its rows, or nearly so."""

    def piece(shape: Shape, part: Part) -> st.SearchStrategy[str]:
        if not part.type:
            return st.just(part.text)
        words = [*shape.symbols.get(part.text, {})][:5]
        return st.sampled_from(FIELDS.get(part.type) or words or FREE_TEXTS)

    def row(shape: Shape) -> st.SearchStrategy[str]:
        return st.tuples(*(piece(shape, part) for part in parts_of(shape.template))).map("".join)

    behind = st.sampled_from(["", "", "", " ", "\r", "\xa0", " x", "\x1c"])
    rows = st.sampled_from(shapes_of(name)).flatmap(row)
    return st.tuples(rows, behind).map(lambda texts: (name, "".join(texts)))


# Of each the usual text: an event that can be read in no line is read in none.
USUAL = {
    "sched_switch": text.switch_args(("sh", 5, "R"), ("b", 6)),
    "sched_process_fork": "comm=sh pid=5 child_comm=sh child_pid=6",
    "kvm_userspace_exit": "reason KVM_EXIT_IO (2)",
    "kvm_exit": "vcpu 0 reason MSR_WRITE rip 0x1 info 1 2",
    "page_fault_user": "address=a ip=b error_code=0x6",
    "x86_fpu_dropped": text.fpu_args("ffff888000000000", 1),
    "suspend_resume": "s[1] begin",
    "sys_enter_read": "fd: 0x3",
}


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    named=st.sampled_from(sorted(USUAL)).flatmap(
        lambda name: st.lists(texts_of(name), min_size=1, max_size=20)
    )
)
def test_rows_of_an_event_are_told_apart(
    named: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its rows the walk has learned so far."""
    usual = (named[0][0], USUAL[named[0][0]])
    events = [
        text.TextEvent(0, 5 * 10**9 + i * 7000, 5, "sh", name, args)
        for i, (name, args) in enumerate([usual, *named, *named])
    ]
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of([text.report(event, 6) for event in events]))
    assert_same(everything(path), in_plain_python(path, monkeypatch))


def test_an_exit_with_an_error_is_none_with_a_reason(tmp_path: Path) -> None:
    exits = ["reason KVM_EXIT_IO (2)", "reason restart (4)", "reason error (22)"]
    events = [
        text.TextEvent(0, 5 * 10**9 + i * 7000, 5, "sh", "kvm_userspace_exit", args)
        for i, args in enumerate([*exits, *exits])
    ]
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of([text.report(event, 6) for event in events]))
    ops = [row[:2] for block in everything(path)["op"] for row in block][:6]
    assert ops == [[2, 0], [ABSENT, -4], [ABSENT, -22]] * 2


def test_names_with_colons_are_asked_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what teaches nothing new does not make the walk forget."""
    asked = []
    ask = textpass.Pass._ask

    def noted(self: textpass.Pass) -> None:
        asked.append(self.plan.programs.learned)
        ask(self)

    monkeypatch.setattr(textpass.Pass, "_ask", noted)
    switches = ["kworker/0:1:7 [120] W ==> sh:9 [120]", "sh:9 [120] R ==> kworker/u8:3-ev:44 [120]"]
    unread = "sh:9 [120] R ==> nobody"
    events = [
        text.TextEvent(0, 5 * 10**9 + i * 7000, 9, "sh", "sched_switch", args)
        for i, args in enumerate([*switches * 200, *[unread, *switches] * 20])
    ]
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of([text.report(event, 6) for event in events]))
    everything(path)
    assert len(asked) <= 2 + 20
    assert asked[2:] == [asked[2]] * len(asked[2:])


@pytest.mark.parametrize("digits", [6, 9])
@pytest.mark.parametrize("flags", [False, True])
def test_lines_that_are_almost_those_before(
    flags: bool, digits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of a line is not taken for another that only begins or ends so."""
    usual = text.TextEvent(0, 9_999_999_000, 7, "sh", "kvm_entry", "vcpu 0, rip 0x1", "d..2.")
    odd = [
        usual._replace(ns=10_000_000_000),  # a digit more
        usual._replace(ns=9_998_000_000),  # back
        usual._replace(ns=11_000_000_000, comm="zsh"),  # the same task by another name
        usual._replace(ns=11_000_000_000, comm="sh -"),
        usual._replace(ns=11_000_000_000, pid=7 + textlayout.COMM_SLOTS),
        usual._replace(ns=11_000_000_000, cpu=1001),
        usual._replace(ns=11_000_000_000, args="vcpu 0, rip 0x12"),
        usual._replace(ns=123_456_789_000_000_000),
    ]
    lines = []
    for event in odd:
        for one in (usual, usual, event, event, usual):
            lines.append(text.report(one, digits, flags=flags))
            lines.append(lines[-1].replace(": kvm", ": (+5) kvm"))
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of(lines))
    assert_same(everything(path), in_plain_python(path, monkeypatch))


@given(data=st.binary(max_size=400), cut=st.integers(0, 2000))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_between_lines(
    data: bytes, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (SAMPLES / "6.12-pipe-lost" / "trace.txt").read_bytes()[:6000].splitlines(True)
    middle = b"".join(lines[:30])
    path = tmp_path / "trace.txt"
    path.write_bytes(b"".join(lines[:20]) + middle[:cut] + data + middle[cut:])
    assert_same(everything(path), in_plain_python(path, monkeypatch))


def test_bad_literals_do_not_run_over_the_buffer(tmp_path: Path) -> None:
    lines = [text.ftrace(text.TextEvent(0, 10**9, 1, "sh", *named))
             for named in (("kvm_fpu", "load"), ("kvm_entry", "vcpu 0, rip 0x1"))]  # fmt: skip
    with open_bytes(text.text_of(lines * 3)[:-9], tmp_path) as trace:
        kinds = np.concatenate([block.kind for block in trace.blocks()]).tolist()
    assert kinds.count(30) == 3
    assert [loss.severity for loss in trace.losses] == ["damaged"]


class _Exact(bytes):
    """Bytes with none before them: C has no index from the end."""

    def __getitem__(self, at: Any) -> Any:
        assert isinstance(at, slice) or at >= 0
        return super().__getitem__(at)


@pytest.mark.parametrize(
    ("line", "bracket", "dash"),
    [
        (b") [000] d... 1.000000: foo: x\n", 1, 1),
        (b"[000] d... 1.000000: foo: x\n", 1, 1),
        (b":x\n", 0, 0),
        (b" : 1.000000: x\n", 0, 1),
        # Where it has its CPU the next line's is sought first.
        (b" " * 400 + b"sh-1 [000] d... 1.000000: foo: x\n", 1, 1),
        (b" " * 400 + b"sh-1 0d... 1.000000: foo: x\n", 0, 1),
    ],
)
def test_no_line_is_read_beyond_its_buffer(
    line: bytes, bracket: int, dash: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry, state = [0] * textlayout.GEOMETRY, [0] * textlayout.STATE
    geometry[textlayout.BRACKET], geometry[textlayout.DASH] = bracket, dash
    plain: Any = uncompiled(monkeypatch, textprefix, False)
    assert plain.prefix(_Exact(line + bytes(textlayout.PADDING)), 0, geometry, state) == -1
    assert state[textlayout.COLUMN] == 0


def test_a_line_far_behind_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = text.TextEvent(0, 10**9, 7, "sh", "kvm_entry", "vcpu 0, rip 0x1", "d..2.")
    lines = [text.report(usual, 6, flags=True)] * 4
    lines += [" " * 3000 + lines[0], "x" * 900, *lines, "x"]
    path = tmp_path / "trace.txt"
    path.write_bytes(text.text_of(lines))
    monkeypatch.setattr(textlook, "CHUNK", 4096)
    told = everything(path)
    assert sum(map(len, told["ts"])) == 9
    assert_same(told, in_plain_python(path, monkeypatch))
