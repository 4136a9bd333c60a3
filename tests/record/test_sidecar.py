"""What lies beside a recording: what it strengthens, and what a hostile one cannot do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.events import ProbeDefinition, Trace
from fputrace.parsers.sidecar import add_sidecar, parse_definitions
from fputrace.record import sidecar
from tests.conftest import SAMPLES
from tests.record.fake import make
from tests.writers import TraceWriter

SAMPLE = SAMPLES / "6.12-kfpu-probes" / "trace.dat"
PLAIN = SAMPLES / "6.12-perf-lost" / "perf.data"


def test_definitions_as_the_kernel_lists_them() -> None:
    lines = """\
p:fputrace_9/save save_fpregs_to_fpstate fpu=%di:x64 fpstate=+16(%di):x64
r64:g/back kernel_fpu_begin_mask.constprop.0 a=$retval:x64
p:probe/kernel_fpu_end kernel_fpu_end+4
p:probe/inside kernel_fpu_end+400
f:grp/swap fpu_swap_kvm_fpstate%return on=$arg2:u8
p:kvm/load kvm:kvm_load_guest_fpu vcpu=%di
p:g/other schedule fpu=%di:x64
nonsense
p:g/text save_fpregs_to_fpstate what
""".splitlines()
    assert parse_definitions(lines) == {
        "fputrace_9:save": ProbeDefinition(
            "save_fpregs_to_fpstate", False, {"fpu": "%di", "fpstate": "+16(%di)"}
        ),
        "g:back": ProbeDefinition("kernel_fpu_begin_mask", True, {}),
        "probe:kernel_fpu_end": ProbeDefinition("kernel_fpu_end", False, {}),
        "grp:swap": ProbeDefinition("fpu_swap_kvm_fpstate", True, {"on": "$arg2"}),
        "kvm:load": ProbeDefinition("kvm_load_guest_fpu", False, {"vcpu": "%di"}),
        "g:text": ProbeDefinition("save_fpregs_to_fpstate", False, {}),
    }


def beside(tmp_path: Path, sample: Path, **facts: Any) -> Path:
    path = tmp_path / sample.name
    shutil.copy(sample, path)
    sidecar.write(str(path) + sidecar.SUFFIX, str(path), facts)
    return path


def test_what_a_recorder_writes_is_read(tmp_path: Path) -> None:
    make(tmp_path)
    tasks = [list(task) for task in sidecar.tasks(str(tmp_path / "proc"))]
    path = beside(
        tmp_path,
        PLAIN,
        tasks=tasks,
        probes=["p:fputrace_1/x kernel_fpu_end"],
        misses={"x": 3},
        xsave_components={"2": {"size": 256, "offset": 576, "flags": 0}},
    )
    with fputrace.open(path) as trace:
        for _ in trace.blocks():
            pass
        assert trace.sidecar is not None
        assert trace.sidecar.kthreads == {2}
        assert trace.sidecar.xsave_sizes == {2: 256}
        assert "fputrace_1:x" in trace.sidecar.probes
        assert trace.comms[80] == "worker"
        # Hits that were missed are events that are missing, nobody knows where.
        missed = [loss for loss in trace.losses if "missed" in loss.where]
        assert [(loss.count, loss.placed) for loss in missed] == [(3, False)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not used"),
        ("{", "not used"),
        ("[" * 100_000, "damaged"),
        ("[]", "damaged"),
        ('{"fputrace_sidecar": 1}', "damaged"),
        ('{"fputrace_sidecar": 1, "recording": {"bytes": 1, "head_sha256": "x"}}', "other bytes"),
        ('{"fputrace_sidecar": 1, "recording": 7}', "damaged"),
        ("9" * 10_000, "not used"),
    ],
)
def test_hostile_bytes(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "trace.dat"
    shutil.copy(PLAIN, path)
    Path(str(path) + sidecar.SUFFIX).write_text(text)
    with fputrace.open(path) as trace:
        assert trace.sidecar is None
        assert any(why in note for note in trace.notes)


@pytest.mark.parametrize(
    "facts",
    [
        {"probes": {"a": 1}},
        {"probes": [None, 7, "p:a/b " + "x" * 100_000]},
        {"tasks": [[1, 2]]},
        {"tasks": [["1", 2, 3, 4], [1 << 80, 1, "x", "y"]]},
        {"xsave_components": {"2": 7}},
        {"xsave_components": {"two": {"size": 1}}},
        {"xsave_components": {"2": {"size": -1}, "3": {"size": 1 << 70}}},
        {"misses": [1]},
        {"misses": {"a": "b", "c": -5, "d": 1 << 90}},
    ],
)
def test_hostile_facts(tmp_path: Path, facts: dict[str, Any]) -> None:
    with fputrace.open(beside(tmp_path, PLAIN, **facts)) as trace:
        assert trace.losses == []
        known = trace.sidecar
        assert known is None or (known.probes == {} and known.xsave_sizes == {})


def test_one_of_another_recording_is_not_believed(tmp_path: Path) -> None:
    path = beside(tmp_path, PLAIN, tasks=[])
    with path.open("ab") as stream:
        stream.write(b"x")
    trace = Trace(str(path), "perf.data")
    add_sidecar(trace, str(path))
    assert trace.sidecar is None
    assert trace.notes == [f"{path}{sidecar.SUFFIX} is not used: it belongs to other bytes"]


def test_kallsyms_win_over_a_definition(tmp_path: Path) -> None:
    """Every probe is said to sit on another function than it does."""
    with fputrace.open(SAMPLE) as trace:
        for _ in trace.blocks():
            pass
        real = dict(trace.probes)
    assert real
    lies = [f"p:{event.replace(':', '/')} kernel_fpu_end" for event in real]
    with fputrace.open(beside(tmp_path, SAMPLE, probes=lies)) as trace:
        for _ in trace.blocks():
            pass
        assert dict(trace.probes) == real


def test_lies_about_arguments_confirm_nothing(tmp_path: Path) -> None:
    """The mask is said to be the fpstate, and the fpstate to be the fpu."""
    with fputrace.open(SAMPLE) as trace:
        for _ in trace.blocks():
            pass
        made = {function: event for event, (function, _how) in trace.probes.items()}
    restore, save = "restore_fpregs_from_fpstate", "save_fpregs_to_fpstate"
    at = {function: event.replace(":", "/") for function, event in made.items()}
    lies = [
        f"p:{at[restore]} {restore} mask=%di:x64 fpstate=%si:x64",
        f"p:{at[save]} {save} fpstate=%di:x64 fpu=+16(%di):x64",
    ]
    told = fputrace.analyze(beside(tmp_path, SAMPLE, probes=lies))
    assert told.trace.sidecar is not None and len(told.trace.sidecar.probes) == 2
    assert not [f for f in told.findings if f.verdict == "confirmed" and f.severity == "error"]


def test_json_is_ascii(tmp_path: Path) -> None:
    path = beside(tmp_path, PLAIN, tasks=[[1, 1, "näme\x1b[2J", 0]])
    raw = Path(str(path) + sidecar.SUFFIX).read_bytes()
    assert raw.isascii() and b"\x1b" not in raw
    assert json.loads(raw)["tasks"][0][2] == "näme\x1b[2J"


def test_the_clock_of_an_instance(tmp_path: Path) -> None:
    """trace-cmd names the top buffer's clock; fputrace record knows which one it chose."""
    writer = TraceWriter("6.12.1", cpus=1, clock="local")
    writer.instance("fputrace-1")
    writer.event(0, 100, 9, "kvm_fpu", load=0, instance="fputrace-1")
    path = writer.write(tmp_path / "trace.dat", 7)
    with fputrace.open(path) as trace:
        assert (trace.clock, trace.clock_global) == ("local", False)
    for recorder, clock, expected in (
        ("trace-cmd", "mono", "mono"),
        ("trace-cmd", "counter", "local"),
        ("perf", "mono", "local"),
        ("trace-cmd", ["mono"], "local"),
    ):
        facts = {"recorder": recorder, "clock": clock}
        sidecar.write(str(path) + sidecar.SUFFIX, str(path), facts)
        with fputrace.open(path) as trace:
            assert trace.clock == expected
            assert trace.clock_global == (expected == "mono")
