"""``fputrace diff``: what changed, for the same work, and what cannot be told."""

from __future__ import annotations

import dataclasses
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import fputrace
from fputrace.cli import main
from fputrace.compare import Amount, Change, Comparison, Work, compare, direction, work_of
from fputrace.events import Kind, Loss
from fputrace.findings import Analysis, Findings, Verdict
from fputrace.reports.diff import WIDTH, figure, markdown_text, text
from fputrace.reports.diff_json import diff_json
from tests.conftest import QUICK_CASES, SAMPLES
from tests.reports.cases import HOSTILE_NAMES

EAGER, PATCHED, FEARED = "4.14.5-pinned", "4.14.177-pinned", "4.14.0-rc8-pinned"
NORMAL = ["FPU203", "FPU204", "FPU205", "FPU206", "FPU207"]


def path_of(case: str) -> str:
    return str(next(p for p in sorted((SAMPLES / case).iterdir()) if p.stem in ("trace", "perf")))


def analysed(case: str, **options: Any) -> Analysis:
    return fputrace.analyze(path_of(case), costs=True, ignore=NORMAL, **options)


@pytest.fixture(scope="module")
def eager() -> Analysis:
    return analysed(EAGER)


@pytest.fixture(scope="module")
def patched() -> Analysis:
    return analysed(PATCHED)


@pytest.fixture(scope="module")
def feared() -> Analysis:
    return analysed(FEARED)


def changes(found: Comparison) -> dict[str, Change]:
    return {row.code: row.change for row in found.findings}


def without(analysis: Analysis, **changed: Any) -> Analysis:
    return dataclasses.replace(analysis, **changed)


@pytest.mark.parametrize("case", QUICK_CASES)
def test_a_trace_and_itself(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = path_of(case)
    assert main(["diff", path, path, "--format", "json", "--fail-on", "more", "--costs"]) in (0, 3)
    made = json.loads(capsys.readouterr().out)
    assert made["empty"] is True
    assert made["verdict"] == "same"
    assert {row["change"] for row in made["findings"] + made["measures"]} <= {"same"}
    assert main(["diff", path, path, "--costs"]) == 0
    out = capsys.readouterr().out
    assert "\nNothing differs.\n" in out
    assert "----" not in out


def test_the_patch_of_2017(eager: Analysis, patched: Analysis) -> None:
    """f775b13eedee took the second save away, and each switch-out costs less than half."""
    found = compare(eager, patched)
    assert changes(found) == {"FPU201": Change.GONE}
    assert found.verdict == "better"
    (row,) = found.findings
    assert (row.old.seen, row.old.confirmed, row.unit) == (89, 89, "sched-out")
    rates = row.old.rates(found.old_work)
    assert rates["sched-out"] == pytest.approx(89 / 110)
    assert rates["vCPU"] == pytest.approx(44.5)
    assert any("f775b13eedee" in sentence for sentence in row.known)
    measures = {(row.group, row.name): row for row in found.measures}
    saves = measures["vCPU threads, around a sched-out", "saves redundant"]
    assert (saves.change, saves.new.rate) == (-1, 0)
    assert saves.old.rate == pytest.approx(1.518, abs=0.001)
    assert found.comparable == "in part"
    assert any("97 sched-outs a second in OLD, 1,139 in NEW" in one.text for one in found.remarks)
    back = compare(patched, eager)
    assert (back.verdict, changes(back)) == ("worse", {"FPU201": Change.NEW})


def test_the_fear_of_2017(eager: Analysis, feared: Analysis) -> None:
    """What was feared of it is possible in the constructed kernel, and new against 4.14.5."""
    found = compare(eager, feared)
    assert changes(found) == {"FPU101": Change.NEW, "FPU201": Change.GONE}
    assert found.verdict == "mixed"
    assert found.findings[0].new.confirmed == 0


def test_what_new_cannot_show_is_not_gone(feared: Analysis, patched: Analysis) -> None:
    """G2 saves there by design: tracepoints cannot tell, so nothing is said to be mended."""
    found = compare(feared, patched)
    assert changes(found) == {"FPU101": Change.UNTOLD}
    assert found.verdict == "untold"
    assert found.findings[0].why.startswith("NEW cannot tell: a guest's image in thread.fpu is")


def test_too_short_to_have_shown_it(eager: Analysis) -> None:
    few = Findings(
        dataclasses.replace(one, count=1) for one in eager.findings if one.code == "FPU201"
    )[:1]
    found = compare(without(eager, findings=Findings(few)), without(eager, findings=Findings()))
    (row,) = found.findings
    assert row.change is Change.UNTOLD
    assert "too short" in row.why
    (row,) = compare(without(eager, findings=Findings()), without(eager, findings=few)).findings
    assert row.change is Change.NEW
    assert "OLD is too short" in row.why


def test_proof_of_what_was_possible_is_new(eager: Analysis) -> None:
    maybe = Findings(
        dataclasses.replace(one, verdict=Verdict.POSSIBLE)
        for one in eager.findings
        if one.code == "FPU201"
    )
    unsure = without(eager, findings=maybe)
    assert changes(compare(unsure, eager)) == {"FPU201": Change.NEW}
    (row,) = compare(eager, unsure).findings
    assert (row.change, row.why) == (Change.SAME, "confirmed in OLD, only possible in NEW")


def test_rates_not_counts(eager: Analysis) -> None:
    """The same run for twice as long has twice the count and no change."""
    old = Amount(89, 110, 89)
    assert direction(old, Amount(178, 220, 178)) == 0
    assert direction(old, Amount(89, 220, 89)) == -1
    assert direction(old, Amount(100, 110, 100)) == 0
    assert direction(Amount(100_000, 100, 100_000), Amount(103_000, 100, 103_000)) == 0
    assert direction(Amount(0, 100, 0), Amount(2, 100, 2)) == 0
    assert direction(Amount(0, 100, 0), Amount(20, 100, 20)) == 1
    assert direction(old, Amount(89, 0, 89)) == 0
    more = Findings(dataclasses.replace(one, count=one.count * 3) for one in eager.findings)
    found = compare(eager, without(eager, findings=more))
    assert changes(found)["FPU201"] is Change.MORE
    assert found.verdict == "worse"
    assert compare(without(eager, findings=more), eager).verdict == "better"


def test_halves_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One kernel, one workload, 721 sched-outs and 416: no finding differs."""
    whole = str(SAMPLES / "5.2.1-pinned" / "trace.dat")
    halves = []
    for number, window in enumerate(("3.1,3.75", "3.75,4.4")):
        halves.append(str(tmp_path / f"{number}.dat"))
        assert main(["cut", whole, halves[-1], "--time", window, "-q"]) == 0
    assert main(["diff", *halves, "--fail-on", "more", "--format", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["verdict"] == "same"
    rows = {row["code"]: row for row in made["findings"]}
    assert rows["FPU101"]["change"] == "same"
    counts = [rows["FPU101"][side]["count"] for side in ("old", "new")]
    assert counts[0] > 1.4 * counts[1]
    assert "they are of one recording" in str(made["remarks"])


def test_what_keeps_them_apart(eager: Analysis, patched: Analysis) -> None:
    lossy = without(eager, losses=[Loss(0, 1, 2, 3, "page")])
    assert "NEW lost events" in str(compare(eager, lossy).remarks)
    empty = dataclasses.replace(patched.trace, counts={})
    found = compare(eager, without(patched, trace=empty, findings=Findings()))
    assert (found.comparable, found.verdict) == ("no", "incomparable")
    ticks = dataclasses.replace(patched.trace, clock_in_ns=False)
    found = compare(eager, without(patched, trace=ticks))
    assert found.new_work.seconds is None
    assert "a clock that counts no ns" in str(found.remarks)
    assert all(row.change == 0 for row in found.measures if row.unit == "second")
    brief = dataclasses.replace(patched.trace, last_ns=(patched.trace.first_ns or 0) + 50_000_000)
    texts = [one.text for one in compare(eager, without(patched, trace=brief)).remarks]
    assert "NEW is 0.050 s long: rates say little." in texts
    assert any("what is rare shows in the longer one only" in one for one in texts)
    no_vcpu = without(patched, costs=dataclasses.replace(patched, costs=None).costs)
    texts = [one.text for one in compare(eager, no_vcpu).remarks]
    assert "No vCPU ran in NEW: nothing of KVM can be compared." in texts


@pytest.mark.parametrize("case", [EAGER, PATCHED])
def test_work_is_what_the_events_say(case: str) -> None:
    analysis = analysed(case)
    work = work_of(analysis)
    vcpus = {pid for pid, comm in analysis.trace.comms.items() if comm.startswith("CPU ")}
    outs = 0
    for block in analysis.trace.blocks():
        switches = block.kind == int(Kind.SCHED_SWITCH)
        outs += int(np.isin(block.pid[switches], list(vcpus)).sum())
    assert (work.outs, work.vcpus) == (outs, len(vcpus))
    # The first and the last may be cut off by the recording's ends.
    exits = analysis.trace.counts["kvm:kvm_userspace_exit"]
    assert abs(work.runs - exits) <= exits // 100
    assert work.entries == analysis.trace.counts["kvm:kvm_entry"]


def test_units() -> None:
    work = Work(None, 110, 1000, 3661, 2)
    units = ("second", "sched-out", "KVM_RUN", "VM entry", "vCPU")
    assert [work.of(unit) for unit in units] == [0, 110, 1000, 3661, 2]


@pytest.mark.parametrize("cases", [(EAGER, PATCHED), (EAGER, FEARED), (PATCHED, "7.2-storm")])
def test_reports(cases: tuple[str, str]) -> None:
    old, new = map(analysed, cases)
    found = compare(old, new)
    for verbose in (False, True):
        plain = text(found, old, new, verbose)
        assert plain.isascii()
        assert max(map(len, plain.splitlines())) <= WIDTH
        marked = markdown_text(found, old, new, verbose)
        for row in found.findings:
            assert f"{row.change.value.upper()} {row.code}" in plain
            assert f"{row.change.value.upper()} {row.code}" in marked
    assert text(found, old, new, True).count("\n") > text(found, old, new).count("\n")
    check(diff_json(found, old, new, 0, "1"))


def check(made: str) -> Any:
    schema = json.loads((files("fputrace.reports") / "diff.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    document = json.loads(made)
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(document)]
    assert not errors
    return document


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(name: str, eager: Analysis, patched: Analysis) -> None:
    trace = dataclasses.replace(
        eager.trace, path=name, kernel=name, counts={**eager.trace.counts, name: 1}, trace_id=None
    )
    bad = Findings(dataclasses.replace(one, comm=name) for one in eager.findings)
    coverage = [dataclasses.replace(row, why=name) for row in eager.coverage]
    hostile = without(eager, trace=trace, findings=bad, coverage=coverage)
    for old, new in ((hostile, patched), (patched, hostile)):
        found = compare(old, new)
        plain = text(found, old, new)
        assert plain.isascii()
        assert plain.replace("\n", "").isprintable()
        assert max(map(len, plain.splitlines())) <= WIDTH
        marked = markdown_text(found, old, new)
        assert marked.replace("\n", "").isprintable()
        assert "<" not in marked
        for line in marked.splitlines():
            assert line[:2] in ("", "##", "| ", "- ", "**") or line[0].isalnum() or line[0] == "≈"
        made = diff_json(found, old, new, 0, "1")
        assert made.isascii()
        check(made)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([EAGER, PATCHED], 0),
        ([EAGER, PATCHED, "--fail-on", "new"], 0),
        ([PATCHED, EAGER], 0),
        ([PATCHED, EAGER, "--fail-on", "new"], 1),
        ([PATCHED, EAGER, "--fail-on", "new", "--select", "FPU1"], 0),
        ([EAGER, FEARED, "--fail-on", "more"], 1),
        ([FEARED, EAGER, "--fail-on", "new", "--old-generation", "G3"], 1),
        ([FEARED, EAGER, "--old-generation", "G5"], 2),
        ([EAGER, "gone"], 2),
    ],
)
def test_exit_status(words: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [path_of(word) if word[0].isdigit() else word for word in words]
    assert main(["diff", *paths]) == status
    out, err = capsys.readouterr()
    assert bool(out) == (status != 2)
    assert bool(err) == (status == 2)


def test_nothing_new_where_nothing_could_be_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording without the events of the core rules is no proof that nothing is new."""
    path = path_of("6.12-pipe-lost")
    blind = tmp_path / "blind.txt"
    lines = Path(path).read_text().splitlines(keepends=True)
    blind.write_text("".join(line for line in lines if "x86_fpu" not in line))
    assert main(["diff", path, str(blind), "--fail-on", "new"]) == 3
    assert "Only OLD can answer" in capsys.readouterr().out


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "-", "-"]) == 2
    assert "both standard input" in capsys.readouterr().err
    for words in ([], ["one.dat"], ["one.dat", "two.dat", "three.dat"]):
        with pytest.raises(SystemExit) as left:
            main(["diff", *words])
        assert left.value.code == 2
        capsys.readouterr()


def test_figures() -> None:
    values = (None, 0.0, 0.00012, 0.0123, 1.5, 12.345, 123.4, 1234567.0)
    shown = ("-", "0", "1.2e-04", "0.012", "1.50", "12.35", "123", "1,234,567")
    assert tuple(map(figure, values)) == shown
