"""Every report of every recording in ``sample_traces``: within its form and its length."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

import fputrace
from fputrace.findings import Analysis
from fputrace.overview import overview
from fputrace.reports import REPORTS, Options, render
from fputrace.reports.outline import RECORD_WORDS, sorted_findings
from tests.conftest import SAMPLES, unless_long
from tests.reports.schemas import junit_errors, sarif_errors

OPTIONS = Options(version="0", command="fputrace report trace.dat")


def titles(found: Analysis) -> set[str]:
    return {f"{one.code} {one.name}: {one.verdict.value}" for one in found.findings}


def rich(_: str, found: Analysis) -> None:
    file = io.StringIO()
    Console(file=file, width=80, color_system=None, highlight=False).print(
        render("rich", [found], OPTIONS)
    )
    shown, _, _ = file.getvalue().partition(RECORD_WORDS)
    assert max(map(len, shown.splitlines())) <= 80
    assert all(title in shown for title in titles(found))


def text(made: str, found: Analysis) -> None:
    assert len(made) < 64 * 1024
    whole = str(render("text", [found], OPTIONS._replace(verbose=True)))
    for one in (made, whole):
        assert one.isascii()
        assert max(map(len, one.splitlines())) <= 72
        assert all(title in one for title in titles(found))
        assert f"SHA-256:\n  {found.sha256}\nTool: fputrace 0\n" in one
    if not titles(found):
        assert "Nothing is wrong as far as this trace can tell" in " ".join(made.split())


def markdown(made: str, found: Analysis) -> None:
    assert len(made) < 60_000
    assert all(title in made for title in titles(found))
    assert made.count("<details>") == made.count("</details>")
    proved = sum(bool(one.witnesses) for one in found.findings)
    assert len(re.findall(r"^```mermaid$", made, re.MULTILINE)) == proved


def json_document(made: str, found: Analysis) -> None:
    schema = json.loads((files("fputrace.reports") / "analyze.schema.json").read_text())
    document = json.loads(made)
    assert not [e.message for e in Draft202012Validator(schema).iter_errors(document)]
    counts = [one.count for one in sorted_findings(found.findings)]
    assert [one["count"] for one in document["traces"][0]["findings"]] == counts


def json_lines(made: str, found: Analysis) -> None:
    lines = [json.loads(line) for line in made.splitlines()]
    assert len([line for line in lines if "code" in line]) == len(found.findings)


def sarif(made: str, found: Analysis) -> None:
    assert not sarif_errors(made)


def junit(made: str, found: Analysis) -> None:
    assert not junit_errors(made)


def html(made: str, found: Analysis) -> None:
    assert len(made) < 8 * 1024 * 1024
    assert all(one.name in made for one in found.findings)


CHECKS: dict[str, Callable[[str, Analysis], None]] = {
    "rich": rich,
    "text": text,
    "markdown": markdown,
    "html": html,
    "json": json_document,
    "jsonl": json_lines,
    "sarif": sarif,
    "junit": junit,
}


FORMS = ("trace.dat", "perf.data", "trace.txt")
RECORDINGS = [
    unless_long(next(path for path in map(case.joinpath, FORMS) if path.exists()))
    for case in sorted(path.parent for path in SAMPLES.glob("*/expected.json"))
]
"""One of every case, of whatever form."""


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_report(recording: Path) -> None:
    found = fputrace.analyze(recording, sha256=True)
    found.overview = overview(found)
    assert set(CHECKS) == set(REPORTS)
    for name, check in CHECKS.items():
        made = render(name, [found], OPTIONS)
        check(made if isinstance(made, str) else "", found)
        again = render(name, [found], OPTIONS)
        assert made == again or not isinstance(made, str), name


def chain_of(made: str) -> list[tuple[str, str]]:
    """Function and mark of the first chain of calls in a text report."""
    lines = made[made.index("\n  Calls:\n") :].splitlines()[3:]
    calls: list[tuple[str, str]] = []
    for line in lines:
        if not line:
            break
        if match := re.fullmatch(r" {4}( *)(\w+\(\)) +(\(inferred\)|<-- evidence: \d+)", line):
            calls.append((match[2], match[3]))
    return calls


def of(names: Sequence[str], calls: list[tuple[str, str]]) -> list[str]:
    marks = dict(calls)
    return [marks[f"{name}()"] for name in names]


def test_the_second_diagram_is_in_the_report_of_5_2_1(samples: Path) -> None:
    """Guest registers of a preempted vCPU saved over QEMU's state in current->thread.fpu."""
    found = fputrace.analyze(samples / "5.2.1-pinned" / "trace.dat", sha256=True)
    made = str(render("text", [found], OPTIONS))
    calls = chain_of(made)
    order = ("kvm_load_guest_fpu", "__schedule", "switch_fpu_prepare", "vcpu_enter_guest")
    assert of(order, calls) == [f"<-- evidence: {number}" for number in (1, 2, 4, 5)]
    quiet = ("context_switch", "prepare_task_switch", "fire_sched_out_preempt_notifiers")
    more = ("kvm_sched_out", "kvm_arch_vcpu_put", "switch_to", "__switch_to", "kvm_put_guest_fpu")
    assert set(of([*quiet, *more], calls)) == {"(inferred)"}
    assert re.search(r"^ +1 .* kvm_fpu: load$", made, re.MULTILINE)
    assert re.search(r"^  -> +4 .* x86_fpu_regs_deactivated:$", made, re.MULTILINE)
    flat = " ".join(made.split())
    assert (
        "Overwritten: current->thread.fpu (fpu=0xffff8880b7cb0880) held the VMM's registers, "
        "gets the guest's Read next by: kvm_put_guest_fpu(), when KVM_RUN ends" in flat
    )
    assert "looks like 240c35a3783a; affected 5.0, 5.1 up to 5.1.20, 5.2 up to 5.2.3; " in flat
    assert "fixed by ec269475cba7 in 5.3-rc2, 5.2.4 and 5.1.21" in flat


def test_the_first_diagram_is_in_the_report_of_4_14_5(samples: Path) -> None:
    """QEMU's registers loaded by kvm_sched_out() and saved again by the switch."""
    found = fputrace.analyze(samples / "4.14.5-pinned" / "trace.dat", sha256=True)
    made = str(render("text", [found], OPTIONS))
    calls = chain_of(made)
    names = [name for name, _ in calls]
    assert names == [
        f"{name}()"
        for name in (
            "__schedule",
            "context_switch",
            "prepare_task_switch",
            "fire_sched_out_preempt_notifiers",
            "kvm_sched_out",
            "kvm_arch_vcpu_put",
            "kvm_put_guest_fpu",
            "switch_to",
            "__switch_to",
            "switch_fpu_prepare",
            "switch_fpu_finish",
        )
    ]
    shown = ("__schedule", "kvm_put_guest_fpu", "switch_fpu_prepare")
    assert of(shown, calls) == [f"<-- evidence: {number}" for number in (1, 3, 4)]
    assert "looks like the design that f775b13eedee replaced" in " ".join(made.split())
