"""Copies of a tracefs directory give what the trace.dat of the same run gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import fputrace
from fputrace.errors import FormatError, TraceError, UsageError
from fputrace.events import Trace
from fputrace.findings import Analysis
from fputrace.parsers import open_trace
from fputrace.parsers.text import NO_RELEASE
from fputrace.parsers.tracefs import open_tracefs
from tests.writers import TraceWriter
from tests.writers.container import TraceFile, read
from tests.writers.tracefs import write_tracefs

TEXT = b"""\
# tracer: nop
#
# entries-in-buffer/entries-written: 3/3   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
            qemu-100     [000] d..2.     1.000001: x86_fpu_regs_deactivated: x86/fpu: \
ffff8880b7c18880 load: 0 xfeatures: 7 xcomp_bv: 8000000000000007
            qemu-100     [000] d..2.     1.000002: sched_switch: prev_comm=qemu prev_pid=100 \
prev_prio=120 prev_state=S ==> next_comm=fphog next_pid=200 next_prio=120
           fphog-200     [001] d....     1.000003: x86_fpu_regs_activated: x86/fpu: \
ffff8880b7c19880 load: 0 xfeatures: 7 xcomp_bv: 8000000000000007
"""


def small() -> TraceWriter:
    w = TraceWriter("6.12.1", comms={100: "qemu", 200: "fphog"})
    w.instance("deep")
    w.event(0, 1000, 100, "x86_fpu_regs_activated", fpu=0xFFFF8880B7C18880)
    w.event(0, 2000, 100, "sched_switch", prev_pid=100, next_pid=200, next_comm="fphog")
    w.loss(0, 7)
    w.event(0, 3000, 200, "x86_fpu_regs_activated", fpu=0xFFFF8880B7C19880)
    w.event(1, 2500, 300, "kvm_fpu", load=1)
    w.event(1, 2600, 300, "kvm_fpu", load=0, instance="deep")
    return w


def columns(trace: Trace) -> list[np.ndarray]:
    """Every column of a whole pass, events by name."""
    blocks = list(trace.blocks())
    names = ("ts", "cpu", "pid", "kind", "flags", "op")
    event = np.array([*trace.event_names, ""])[np.concatenate([block.event for block in blocks])]
    return [event, *(np.concatenate([getattr(block, name) for block in blocks]) for name in names)]


@pytest.fixture
def top_buffer(quick_sample: Path) -> Path:
    """A recording of the top buffer, as a copy of tracefs is."""
    if not any(read(quick_sample).buffers[0].cpus.values()):
        pytest.skip("its events are in an instance")
    return quick_sample


def told(analysis: Analysis) -> list[tuple[object, ...]]:
    return [
        (one.code, one.verdict, one.count, one.first_ns, one.last_ns, one.message)
        for one in analysis.findings
    ]


def test_pages_give_what_the_file_gives(top_buffer: Path, tmp_path: Path) -> None:
    made = read(top_buffer)
    folder = write_tracefs(tmp_path / "tracing", made)
    with open_trace(top_buffer) as whole, open_trace(folder) as copy:
        for mine, its in zip(columns(copy), columns(whole), strict=True):
            assert np.array_equal(mine, its)
        assert copy.losses == whole.losses
        for name in ("kernel", "host", "clock", "cpus", "comms", "formats"):
            assert getattr(copy, name) == getattr(whole, name), name
        assert copy.symbols == whole.symbols
        assert copy.has_kallsyms == whole.has_kallsyms
        assert copy.instances == []
        assert copy.format == "tracefs pages"
        assert copy.path == str(folder)


def test_findings_are_those_of_the_file(top_buffer: Path, tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "tracing", read(top_buffer))
    assert told(fputrace.analyze(folder)) == told(fputrace.analyze(top_buffer))


def test_what_was_off_is_not_taken_for_silent(tmp_path: Path) -> None:
    """All formats of a kernel are in such a copy, those of events that were off as well."""
    made = small().file()
    on = {"x86_fpu_regs_activated", "sched_switch"}
    folder = write_tracefs(tmp_path / "t", made, enabled=on)
    with open_trace(folder) as trace:
        named = {"x86_fpu:x86_fpu_regs_activated", "sched:sched_switch"}
        assert trace.enabled == frozenset(named)
        assert len(trace.formats) > 20
    for enable in folder.glob("events/*/*/enable"):
        enable.unlink()
    with open_trace(folder) as trace:
        assert trace.enabled == frozenset()


def test_an_event_that_was_off_excuses_nothing(samples: Path, tmp_path: Path) -> None:
    sample = samples / "6.1-stale-owner" / "trace.dat"
    folder = write_tracefs(tmp_path / "t", read(sample), enabled=())
    verdicts = {(one.code, one.verdict.value) for one in fputrace.analyze(folder).findings}
    whole = {(one.code, one.verdict.value) for one in fputrace.analyze(sample).findings}
    assert {code for code, _ in verdicts} <= {code for code, _ in whole}
    assert {one for one in verdicts if one[1] == "confirmed"} <= whole


def test_an_instance(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "t", small().file(), instance="deep")
    with open_trace(folder) as top, open_trace(folder, instance="deep") as deep:
        assert top.instances == deep.instances == ["deep"]
        list(top.blocks())
        list(deep.blocks())
        assert sum(top.counts.values()) == 4
        assert deep.counts == {"kvm:kvm_fpu": 1}
        assert deep.losses == []
    with pytest.raises(UsageError, match="no instance 'deeper'") as caught:
        open_trace(folder, instance="deeper")
    assert "deep" in caught.value.hint


def test_the_size_of_a_sub_buffer(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=1, page_size=16384)
    for number in range(500):
        w.event(0, 1000 + number, 1, "kvm_fpu", load=number & 1)
    folder = write_tracefs(tmp_path / "t", w.file())
    for header in (True, False):
        with open_trace(folder) as trace:
            list(trace.blocks())
            assert trace.counts == {"kvm:kvm_fpu": 500}
            assert trace.losses == []
        if header:
            (folder / "events/header_page").unlink()
            (folder / "buffer_subbuf_size_kb").write_text("16\n")


UNAMES = {
    "uname": "Linux box 6.9.3-amd64 #1 SMP Debian x86_64 GNU/Linux\n",
    "uname.txt": "6.9.3-amd64\n",
    "proc/version": "Linux version 6.9.3-amd64 (root@build) (gcc 12) #1 SMP\n",
    "../../../proc/version": "Linux version 6.9.3-amd64 (root@build) (gcc 12) #1 SMP\n",
}


@pytest.mark.parametrize("name", UNAMES)
def test_the_kernel(tmp_path: Path, name: str) -> None:
    folder = write_tracefs(tmp_path / "sys/kernel/tracing", small().file())
    (folder / "uname").unlink()
    with open_trace(folder) as trace:
        assert trace.kernel is None
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(UNAMES[name])
    with open_trace(folder) as trace:
        assert trace.kernel == "6.9.3-amd64"
        assert trace.host == ("box" if name == "uname" else None)


def test_a_copy_in_a_folder_of_another_name_takes_nothing_from_beside_it(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "bug-17", small().file())
    (folder / "uname").rename(tmp_path / "uname")
    with open_trace(folder) as trace:
        assert trace.kernel is None


def test_the_text_with_what_the_folder_knows(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "t", small().file(), pages=False, text=TEXT)
    (folder / "saved_cmdlines").write_text("100 qemu\n300 a name\n")
    with open_trace(folder) as trace:
        list(trace.blocks())
        assert trace.format == "tracefs text"
        assert trace.kernel == "6.12.1"
        assert trace.clock == "mono"
        assert trace.clock_global
        assert sum(trace.counts.values()) == 3
        assert trace.comms[300] == "a name"
        assert trace.formats["kvm:kvm_entry"].complete
        assert trace.formats["x86_fpu:x86_fpu_regs_activated"].complete
        assert trace.enabled is not None
        assert "kvm:kvm_entry" in trace.enabled


def test_findings_of_a_real_text_are_those_of_the_file_or_weaker(
    samples: Path, tmp_path: Path
) -> None:
    """Formats, names and the kernel from the folder, the events of the same run from its text."""
    case = samples / "5.10-pinned"
    text = (case / "trace.txt").read_bytes()
    folder = write_tracefs(tmp_path / "t", read(case / "trace.dat"), pages=False, text=text)
    analysis, alone = fputrace.analyze(folder), fputrace.analyze(case / "trace.txt")
    whole = fputrace.analyze(case / "trace.dat")
    assert analysis.trace.kernel == whole.trace.kernel
    assert analysis.generation.candidates == whole.generation.candidates
    assert NO_RELEASE in alone.trace.limits
    assert NO_RELEASE not in analysis.trace.limits
    found = {(one.code, one.verdict.value) for one in analysis.findings}
    assert found <= {(one.code, one.verdict.value) for one in whole.findings}


def test_events_that_a_cpu_dropped_are_in_no_text(tmp_path: Path) -> None:
    w = small()
    w.stats[1] = {"dropped events": 5, "commit overrun": 2}
    folder = write_tracefs(tmp_path / "t", w.file(), pages=False, text=TEXT)
    with open_trace(folder) as trace:
        for _ in range(2):
            list(trace.blocks())
            assert [(loss.cpu, loss.count, loss.placed) for loss in trace.losses] == [(1, 7, False)]


def test_pages_win_over_the_text(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "t", small().file(), text=TEXT)
    with open_trace(folder) as trace:
        assert trace.format == "tracefs pages"


def test_what_was_filtered_is_said(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "t", small().file())
    with open_trace(folder) as trace:
        assert trace.losses_known
    (folder / "set_event_pid").write_text("100\n")
    (folder / "events/sched/sched_switch/filter").write_text("prev_pid > 0\n")
    with open_trace(folder) as trace:
        assert not trace.losses_known
        (said,) = (limit for limit in trace.limits if "filtered" in limit)
        assert "set_event_pid, events/sched/sched_switch/filter" in said


def empty_formats(folder: Path) -> None:
    for form in folder.glob("events/*/*/format"):
        form.write_bytes(b"")


def no_formats(folder: Path) -> None:
    for form in folder.glob("events/*/*/format"):
        form.unlink()


def junk_formats(folder: Path) -> None:
    for form in folder.glob("events/*/*/format"):
        form.write_bytes(b"\xff\0junk")


def no_buffer(folder: Path) -> None:
    for raw in folder.glob("per_cpu/*/trace_pipe_raw"):
        raw.unlink()


def empty_text(folder: Path) -> None:
    no_buffer(folder)
    (folder / "trace").write_bytes(b"")


def text_without_events(folder: Path) -> None:
    no_buffer(folder)
    (folder / "trace").write_bytes(b"# tracer: nop\n#\n# entries-in-buffer/entries-written: 0/0\n")


def half_a_page(folder: Path) -> None:
    for raw in folder.glob("per_cpu/*/trace_pipe_raw"):
        raw.write_bytes(raw.read_bytes()[:2000])


def only_instances(folder: Path) -> None:
    no_buffer(folder)
    (folder / "instances/deep").mkdir(parents=True)


REFUSED = {
    empty_formats: ("events/.* are empty", "cp --parents"),
    no_formats: ("no events/SYSTEM/EVENT/format", "cp --parents"),
    junk_formats: ("none of the .* is the format of an event", "cp --parents"),
    no_buffer: ("neither trace nor per_cpu", "cp --parents"),
    empty_text: ("trace is empty", "cp --parents"),
    text_without_events: ("the ring buffer was empty", "Switch events on"),
    half_a_page: (r"cpu0/trace_pipe_raw at byte 0 .*2000 bytes", "copy it again"),
    only_instances: ("neither trace nor per_cpu", "--instance deep"),
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_what_cannot_be_read_says_why(tmp_path: Path, spoil: object) -> None:
    folder = write_tracefs(tmp_path / "t", small().file())
    assert callable(spoil)
    spoil(folder)
    message, hint = REFUSED[spoil]
    with pytest.raises(FormatError, match=message) as caught:
        open_trace(folder)
    assert hint in caught.value.hint
    assert str(folder) in str(caught.value)


def test_some_empty_formats_are_noted(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "t", small().file())
    (folder / "events/kvm/kvm_exit/format").write_bytes(b"")
    (folder / "events/kvm/kvm_entry/format").write_bytes(b"name kvm_entry\n")
    with open_trace(folder) as trace:
        assert any("1 of the event formats are empty" in note for note in trace.notes)
        assert any("1 event formats cannot be read" in note for note in trace.notes)


def test_damage_is_told_by_file_and_offset(tmp_path: Path) -> None:
    w = TraceWriter("6.12.1", cpus=2)
    for cpu in (0, 1):
        for number in range(900):
            w.event(cpu, 1000 + number, 1, "kvm_fpu", load=number & 1)
    folder = write_tracefs(tmp_path / "t", w.file())
    raw = folder / "per_cpu/cpu1/trace_pipe_raw"
    data = bytearray(raw.read_bytes())
    data[4096 + 8 : 4096 + 12] = b"\xff\xff\xff\x0f"
    raw.write_bytes(bytes(data) + b"tail")
    with open_trace(folder) as trace:
        list(trace.blocks())
        assert f"{raw} at byte 4096 (0x1000) of CPU 1" in trace.notes[0]
        assert f"{raw} at byte {len(data)} " in trace.notes[1]
        assert [loss.severity for loss in trace.losses] == ["damaged", "damaged"]


def test_names_in_format_files_are_no_paths(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "t", small().file())
    (tmp_path / "enable").write_text("1\n")
    for name in ("../../..", "\0", "a/b"):
        text = (folder / "events/kvm/kvm_exit/format").read_text()
        text = "name: " + name + text[text.index("\nID:") :]
        (folder / "events/kvm/kvm_entry/format").write_text(text)
        with open_trace(folder) as trace:
            assert trace.enabled is not None
            assert f"kvm:{name}" in trace.enabled


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A FIFO would wait for ever, a device may never end."""
    folder = write_tracefs(tmp_path / "t", small().file(), pages=False)
    no_buffer(folder)
    os.mkfifo(folder / "trace")
    (folder / "uname").unlink()
    (folder / "uname").symlink_to("/dev/zero")
    (folder / "per_cpu/cpu0/trace_pipe_raw").symlink_to("/dev/zero")
    with pytest.raises(FormatError, match="trace"):
        open_trace(folder)


def test_nothing_is_needed_once_it_is_open(tmp_path: Path) -> None:
    folder = write_tracefs(tmp_path / "t", small().file())
    with open_tracefs(str(folder), "bug.tar.gz", None) as trace:
        folder.rename(tmp_path / "elsewhere")
        list(trace.blocks())
        assert sum(trace.counts.values()) == 4
        assert trace.path == "bug.tar.gz"


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="gone"):
        open_tracefs(str(tmp_path / "gone"), "gone", None)


def whole(trace: TraceFile, folder: Path) -> dict[str, bytes]:
    write_tracefs(folder, trace, text=TEXT)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("enable", "filter")
    }


def test_any_damage_gives_a_result_or_an_error(tmp_path: Path) -> None:
    files = whole(small().file(), tmp_path / "t")
    rare = ("kvm_fpu/format", "regs_activated/format", "sched_switch/format")
    for name, data in files.items():
        if name.endswith("format") and not name.endswith(rare):
            continue
        path = tmp_path / "t" / name
        cuts = [data[:size] for size in {0, 1, 20, len(data) // 2, max(0, len(data) - 1)}]
        cuts += [
            data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            for at in range(0, min(len(data), 120), 3)
        ]
        for cut in cuts:
            path.write_bytes(cut)
            try:
                with open_trace(tmp_path / "t") as trace:
                    list(trace.blocks())
            except TraceError as error:
                assert str(tmp_path / "t") in str(error)
        path.write_bytes(data)
