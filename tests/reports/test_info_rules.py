from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest
from rich.console import Console, RenderableType

from fputrace.events import Loss
from fputrace.reports.info import info_json, info_rich, info_text
from fputrace.reports.rules import (
    RuleRow,
    explain_rich,
    explain_text,
    rules_json,
    rules_rich,
    rules_text,
)
from tests.reports.cases import HOSTILE_NAMES, trace

TRACE = trace(
    host="box",
    losses=[
        Loss(0, 3_000_000_000, 3_100_000_000, 12, "page at 0x3000"),
        Loss(0, 4_000_000_000, 4_100_000_000, 30, "page at 0x4000"),
        Loss(1, None, None, None, "CPUSTAT"),
    ],
    notes=["The file ends early."],
    instances=["storm"],
    unusable={"x86_fpu:x86_fpu_dropped": ["load_fpu"]},
    guests={74: ("vm1", 0)},
    clock_global=False,
)
RULES = [
    RuleRow(
        "FPU101",
        "guest-state-in-thread-fpu",
        "error",
        ("G1", "G3", "G4a", "G4x"),
        ("kvm:kvm_fpu", "sched:sched_switch", "x86_fpu:x86_fpu_regs_deactivated"),
    ),
    RuleRow("FPU901", "events-lost", "trace", (), ()),
]
PAGE = """# FPU101 guest-state-in-thread-fpu

    ## What

    The guest's registers are saved into `current->thread.fpu`.

    ## Example

        kvm_fpu: load
    """


def drawn(renderable: RenderableType, width: int = 80, color: bool = False) -> str:
    file = io.StringIO()
    system = "256" if color else None
    Console(file=file, width=width, force_terminal=color, color_system=system).print(renderable)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("text", [info_text(TRACE), drawn(info_rich(TRACE))])
def test_info(text: str) -> None:
    text = re.sub(r"\s+", " ", text)
    for part in (
        "sample_traces/4.14.5-pinned/trace.dat",
        "Host",
        "box",
        "local (not the same on all CPUs)",
        "42 events, and more that nobody counted, in 3 places",
        "CPU 0: 42 events in 2 places, the first after 3.000000 s",
        "CPU 1: an unknown number of events in 1 place",
        "x86_fpu:x86_fpu_dropped cannot be used: it lacks load_fpu",
        "74 is vCPU 0 of vm1",
        "storm",
        "The file ends early.",
        "10,121 in all",
        "6,092 sched:sched_switch",
    ):
        assert part in text, part


def test_info_json() -> None:
    made = json.loads(info_json(TRACE))
    assert made["cpus"] == [0, 1]
    assert made["events"] == 10_121
    assert made["losses"][2] == {
        "cpu": 1, "after_ns": None, "before_ns": None, "count": None, "where": "CPUSTAT",
    }  # fmt: skip
    assert made["unusable"] == {"x86_fpu:x86_fpu_dropped": ["load_fpu"]}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_info_of_a_hostile_recording(name: str) -> None:
    hostile = trace(
        path=name, host=name, kernel=name, clock=name, counts={name: 1}, notes=[name],
        instances=[name], guests={1: (name, 0)}, losses=[Loss(None, None, None, None, name)],
    )  # fmt: skip
    text = info_text(hostile)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 72
    for shown in (text, drawn(info_rich(hostile))):
        assert all(c.isprintable() or c == "\n" for c in shown)
    made = info_json(hostile)
    made.encode("ascii")
    json.dumps(json.loads(made)).encode()


def test_rules() -> None:
    assert rules_text(RULES).splitlines() == [
        "FPU101 guest-state-in-thread-fpu (error; generations: G1 G3-G4x)",
        "    needs kvm:kvm_fpu, sched:sched_switch,",
        "      x86_fpu:x86_fpu_regs_deactivated",
        "FPU901 events-lost (trace; generations: all)",
    ]
    table = drawn(rules_rich(RULES))
    assert re.search(r"^FPU101 +guest-state-in-thread-fpu +error +G1 G3-G4x", table, re.MULTILINE)
    assert "\n        kvm_fpu, sched_switch, x86_fpu_regs_deactivated" in table
    assert json.loads(rules_json(RULES))[1] == {
        "code": "FPU901", "name": "events-lost", "severity": "trace", "generations": [],
        "events": [],
    }  # fmt: skip


def test_explain() -> None:
    assert explain_text(PAGE).splitlines() == [
        "# FPU101 guest-state-in-thread-fpu",
        "",
        "## What",
        "",
        "The guest's registers are saved into `current->thread.fpu`.",
        "",
        "## Example",
        "",
        "    kvm_fpu: load",
    ]
    shown = drawn(explain_rich(PAGE), width=200)
    assert shown.startswith("FPU101 guest-state-in-thread-fpu ")
    assert "The guest's registers are saved into current->thread.fpu." in shown
    assert "kvm_fpu: load" in shown
    assert "\x1b[1m" in drawn(explain_rich(PAGE), color=True)


def test_explain_in_ascii() -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as file:
        Console(file=file, width=80).print(explain_rich("# FPU101 x\n\n- caf\u00e9"))
        file.flush()
        assert raw.getvalue() == b"# FPU101 x\n\n- caf\\xe9\n"


def test_explain_needs_no_numpy() -> None:
    code = (
        "import sys; from fputrace.reports.rules import explain_rich, explain_text; "
        "explain_text('# x'); explain_rich('# x'); "
        "print([m for m in ('numpy', 'pandas', 'networkx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
