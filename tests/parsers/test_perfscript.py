"""``perf script`` with --deltatime, or with the place in the code: read as without."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import fputrace
from fputrace.events import Kind, Trace
from fputrace.parsers.perfscript import read_script
from fputrace.parsers.text import open_text
from tests.conftest import SAMPLES
from tests.tools import text_of
from tests.writers.text import TextEvent, fpu_args, perf, switch_args

US = 1000
EVENTS = [
    TextEvent(i % 2, 10**9 + (i * 7 + i % 3) * US, 70 + i % 2, f"CPU {i % 2}/KVM", *named)
    for i, named in enumerate(
        [
            ("kvm_fpu", "load"),
            ("sched_switch", switch_args(("sh", 70, "S"), ("CPU 1/KVM", 71))),
            ("x86_fpu_regs_activated", fpu_args("ffff8a2d81fac8c0", 0)),
        ]
        * 20
    )
]
PLACES = (
    " ffffffffb72b6aa9 __schedule",
    " ffffffffb663ceba fpregs_restore_userregs+0x12 ([kernel.kallsyms])",
    "     7f0011223344 [unknown] (/usr/bin/sh (deleted))",
    " ffffffffb72b6aa9",
)


def lines_of(events: list[TextEvent], digits: int = 6, place: str = "") -> list[str]:
    return [perf(event, digits) + place for event in events]


def deltas(events: list[TextEvent]) -> list[TextEvent]:
    before = [events[0], *events]
    return [now._replace(ns=now.ns - then.ns) for now, then in zip(events, before, strict=False)]


def read(lines: list[str], folder: Path, end: str = "\n") -> Trace:
    path = folder / "script.txt"
    path.write_text("\n".join(lines) + end)
    return open_text(os.open(path, os.O_RDONLY), str(path))


def rows(trace: Trace) -> list[tuple[int, int, int, int, list[int]]]:
    with trace:
        return [
            (int(ts), int(cpu), int(pid), int(kind), op.tolist())
            for block in trace.blocks()
            for ts, cpu, pid, kind, op in zip(
                block.ts, block.cpu, block.pid, block.kind, block.op, strict=True
            )
        ]


@pytest.mark.parametrize("digits", [6, 9])
def test_differences_are_summed_up(digits: int, tmp_path: Path) -> None:
    plain = rows(read(lines_of(EVENTS, digits), tmp_path))
    trace = read(lines_of(deltas(EVENTS), digits), tmp_path)
    assert any("--deltatime" in limit for limit in trace.limits)
    assert not trace.notes
    assert rows(trace) == [(ts - 10**9, *rest) for ts, *rest in plain]


@pytest.mark.parametrize("place", PLACES)
def test_the_place_in_the_code_is_left_out(place: str, tmp_path: Path) -> None:
    lines = lines_of(EVENTS)
    plain = rows(read(lines, tmp_path))
    assert Kind.SCHED_SWITCH in {kind for _ts, _cpu, _pid, kind, _op in plain}
    assert rows(read([line + place for line in lines], tmp_path)) == plain


def test_losses_keep_their_count_and_place(tmp_path: Path) -> None:
    events = deltas([*EVENTS[:30], EVENTS[30]._replace(cpu=1), *EVENTS[30:]])
    lines = lines_of(events, place=PLACES[0])
    lines[30] = perf(events[30]).split(": ")[0] + ": PERF_RECORD_LOST lost 12"
    trace = read(lines, tmp_path)
    rows(trace)
    (loss,) = trace.losses
    assert (loss.cpu, loss.count) == (1, 12)
    assert loss.after_ns == EVENTS[29].ns - 10**9
    assert "line 31" in loss.where


def test_a_cut_end_stays_one(tmp_path: Path) -> None:
    trace = read(lines_of(deltas(EVENTS)), tmp_path, end="\n" + perf(EVENTS[0])[:-9])
    rows(trace)
    assert {loss.severity for loss in trace.losses} == {"damaged"}


@pytest.mark.parametrize(
    "events",
    [
        EVENTS,
        [event for event in EVENTS if event.name.startswith("x86_fpu")],
        [event._replace(ns=event.ns - 10**9) for event in EVENTS],  # --reltime
    ],
    ids=["usual", "ends-with-numbers", "reltime"],
)
def test_the_usual_form_is_left_alone(events: list[TextEvent], tmp_path: Path) -> None:
    path = tmp_path / "script.txt"
    path.write_text("\n".join(lines_of(events)) + "\n")
    with path.open("rb") as file:
        assert read_script(file.fileno(), "x") is None


@pytest.mark.skipif(not text_of.PERF_INSTALLED, reason=text_of.PERF_MISSING)
def test_what_perf_prints_gives_the_same_findings(tmp_path: Path) -> None:
    path = tmp_path / "script.txt"
    found = []
    for options in ("", "--deltatime", "-F +ip,+sym,+symoff,+dso"):
        command = ["perf", "script", "--ns", "--show-lost-events", *options.split(), "-i"]
        said = subprocess.run(
            [*command, SAMPLES / "6.12-perf-lost" / "perf.data"], capture_output=True, check=True
        ).stdout
        path.write_bytes(said)
        analysis = fputrace.analyze(path, kernel="6.12")
        analysis.trace.close()
        first = analysis.trace.first_ns or 0
        found.append(
            (
                analysis.trace.counts,
                [(loss.cpu, loss.count, (loss.after_ns or first) - first)
                 for loss in analysis.losses],
                [(f.code, f.verdict, f.pid, f.count, f.first_ns and f.first_ns - first)
                 for f in analysis.findings],
            )
        )  # fmt: skip
    assert found[0][1]
    assert found[1] == found[0]
    assert found[2] == found[0]
