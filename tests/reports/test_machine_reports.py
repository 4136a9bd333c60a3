"""jsonl, sarif and junit: what other programs read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import fputrace
from fputrace.cli import main
from fputrace.errors import TraceError
from fputrace.findings import Analysis, LooksLike, Severity, Suppressed, Verdict
from fputrace.knownbugs import KNOWN_BUGS
from fputrace.reports import Options, Unread, render
from fputrace.reports.sarif_report import MOST_RESULTS, MOST_STEPS
from tests.reports.cases import (
    HOSTILE_NAMES,
    analysis,
    double_save,
    guest_in_thread_fpu,
    hostile,
    trace,
)
from tests.reports.schemas import junit_errors, sarif_errors

UNREAD = Unread("gone.dat", "gone.dat at byte 0 (0x0): no recording", "Record with trace-cmd.")


def sarif(*analyses: Analysis, **options: Any) -> Any:
    text = str(render("sarif", analyses, Options(version="1", **options)))
    assert text.isascii()
    assert sarif_errors(text) == []
    (run,) = json.loads(text)["runs"]
    return run


def junit(*analyses: Analysis, **options: Any) -> ET.Element:
    text = str(render("junit", analyses, Options(version="1", **options)))
    assert text.isascii()
    assert junit_errors(text) == []
    return ET.fromstring(text)


def case(suite: ET.Element, code: str) -> ET.Element:
    (found,) = [one for one in suite.iter("testcase") if one.get("name", "").startswith(code)]
    return found


def test_schemas_refuse() -> None:
    assert sarif_errors(json.dumps({"version": "2.1.0", "runs": [{}]}))
    assert sarif_errors(json.dumps({"version": "2.0.0", "runs": []}))
    assert junit_errors('<testsuites><testsuite name="x" tests="1"/></testsuites>')


def test_jsonl_is_a_finding_a_line() -> None:
    two = analysis(double_save(), guest_in_thread_fpu())
    text = str(render("jsonl", [two, analysis(), two], Options(version="1")))
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["code"] for line in lines] == ["FPU101", "FPU201"] * 2
    assert lines[0]["path"] == two.trace.path
    assert (lines[0]["kernel"], lines[0]["generation"]) == ("4.14.5", "G1")
    assert render("jsonl", [analysis()], Options()) == ""


def test_sarif_result() -> None:
    run = sarif(analysis(double_save(), guest_in_thread_fpu()), exit_status=1)
    assert [result["ruleId"] for result in run["results"]] == ["FPU101", "FPU201"]
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    first = run["results"][0]
    rule = run["tool"]["driver"]["rules"][first["ruleIndex"]]
    assert rule["id"] == "FPU101"
    assert "## What" in rule["help"]["markdown"]
    (place,) = first["locations"]
    assert [(at["kind"], at["name"]) for at in place["logicalLocations"]] == [
        ("task", "CPU 1/KVM-93"),
        ("vcpu", "vCPU 1"),
        ("cpu", "CPU 0-1"),
    ]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == (
        "sample_traces/4.14.5-pinned/trace.dat"
    )
    (flow,) = first["codeFlows"]
    steps = flow["threadFlows"][0]["locations"]
    assert len(steps) == len(guest_in_thread_fpu().witnesses[0].events)
    assert [step["properties"]["inferred"] for step in steps].count(True) == 1
    assert run["invocations"][0]["exitCode"] == 1


def test_sarif_fingerprints_survive_another_run() -> None:
    old = sarif(analysis(guest_in_thread_fpu()))["results"][0]
    new = sarif(analysis(guest_in_thread_fpu(Verdict.POSSIBLE, pid=4711)))["results"][0]
    assert old["partialFingerprints"] == new["partialFingerprints"]
    twice = sarif(analysis(guest_in_thread_fpu(), guest_in_thread_fpu(pid=5)))["results"]
    lines = [one["partialFingerprints"]["primaryLocationLineHash"] for one in twice]
    assert len(set(lines)) == 2


def test_sarif_undecided_unread_and_suppressed() -> None:
    known = Suppressed("FPU201", "known, in known.json", 1, 88, (double_save(),))
    made = dataclasses.replace(analysis(guest_in_thread_fpu()), suppressed=(known,))
    run = sarif(made, unread=(UNREAD,), exit_status=2)
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    (notice,) = invocation["toolExecutionNotifications"]
    assert "gone.dat at byte 0" in notice["message"]["text"]
    assert {
        notice["associatedRule"]["id"] for notice in invocation["toolConfigurationNotifications"]
    } == {"FPU105", "FPU110"}
    assert [len(one["suppressions"]) for one in run["results"]] == [0, 1]
    assert run["results"][1]["suppressions"][0]["justification"] == "known, in known.json"


def test_sarif_within_githubs_limits() -> None:
    many = [guest_in_thread_fpu(pid=pid) for pid in range(MOST_RESULTS)]
    run = sarif(analysis(double_save(), *(dataclasses.replace(one, witnesses=()) for one in many)))
    assert len(run["results"]) == MOST_RESULTS
    assert {one["ruleId"] for one in run["results"]} == {"FPU101"}
    (notice,) = run["invocations"][0]["toolExecutionNotifications"]
    assert "1 result left out" in notice["message"]["text"]
    long = guest_in_thread_fpu()
    long.witnesses *= MOST_STEPS
    (result,) = sarif(analysis(long))["results"]
    steps = [step for flow in result["codeFlows"] for step in flow["threadFlows"][0]["locations"]]
    assert MOST_STEPS - 10 < len(steps) <= MOST_STEPS


@pytest.mark.parametrize(
    ("path", "uri", "base"),
    [
        ("a b/#1.dat", "a%20b/%231.dat", "%SRCROOT%"),
        ("/nowhere/trace.dat", "nowhere/trace.dat", "ROOT"),
        ("caf\udce9.dat", "caf%E9.dat", "%SRCROOT%"),
    ],
)
def test_sarif_uri(path: str, uri: str, base: str) -> None:
    run = sarif(analysis(double_save(), trace=trace(path=path)))
    location = run["artifacts"][0]["location"]
    assert (location["uri"], location["uriBaseId"]) == (uri, base)


def test_sarif_below_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = sarif(analysis(trace=trace(path=str(tmp_path / "x" / "trace.dat"))))
    assert run["artifacts"][0]["location"]["uri"] == "x/trace.dat"


def test_known_bug_is_named() -> None:
    finding = guest_in_thread_fpu()
    bugs = {bug.id: bug for bug in KNOWN_BUGS}
    finding.known = (LooksLike(bugs["guest-over-user-image"]),)
    (result,) = sarif(analysis(finding))["results"]
    assert "Looks like 240c35a3783a" in result["message"]["text"]
    assert result["properties"]["knownBugs"] == ["guest-over-user-image"]
    failure = case(junit(analysis(finding)), "FPU101").find("failure")
    assert failure is not None
    assert "looks like 240c35a3783a" in (failure.text or "")
    line = json.loads(str(render("jsonl", [analysis(finding)], Options())))
    assert line["known"][0]["commit"] == "240c35a3783a"


def test_junit_cases() -> None:
    root = junit(analysis(guest_in_thread_fpu()))
    (suite,) = root
    names = ("tests", "failures", "errors", "skipped")
    assert [suite.get(name) for name in names] == ["6", "1", "0", "3"]
    failure = case(suite, "FPU101").find("failure")
    assert failure is not None
    assert failure.get("type") == "error-confirmed"
    assert "(inferred)" in (failure.text or "")
    assert len(case(suite, "FPU102")) == 0
    undecided = case(suite, "FPU105").find("skipped")
    assert undecided is not None
    assert undecided.get("type") == "not-decidable"
    assert "raw_syscalls:sys_enter" in undecided.get("message", "")
    assert case(suite, "FPU112").find("system-out") is not None


def test_junit_known_and_about_the_trace() -> None:
    known = Suppressed("FPU101", "known, in known.json", 1, 88, (double_save(),))
    about = dataclasses.replace(guest_in_thread_fpu(), code="FPU102", severity=Severity.TRACE)
    made = dataclasses.replace(analysis(about), suppressed=(known,))
    (suite,) = junit(made)
    assert suite.get("failures") == "0"
    skipped = case(suite, "FPU101").find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "88 times: known, in known.json"
    assert case(suite, "FPU102").find("skipped") is not None


def test_junit_unread() -> None:
    root = junit(unread=(UNREAD,))
    assert (root.get("tests"), root.get("errors")) == ("1", "1")
    error = root.find(".//error")
    assert error is not None
    assert error.text == "gone.dat at byte 0 (0x0): no recording. Record with trace-cmd."


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(name: str) -> None:
    """Valid whatever a trace is called, and nothing in it that a terminal or a page would obey."""
    made = [hostile(name)]
    run = sarif(*made, unread=(Unread(name, name, name),))
    texts = [run["results"][0]["message"]["text"]]
    texts += [one["name"] for one in run["results"][0]["locations"][0]["logicalLocations"]]
    root = junit(*made, unread=(Unread(name, name, name),))
    texts += [text for element in root.iter() for text in element.attrib.values()]
    for text in texts:
        assert text.isprintable()
        assert "](" not in text
    (line,) = str(render("jsonl", made, Options())).splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert list(json.loads(line)["witnesses"][0]["events"][0]["fields"])


def test_made_even_when_nothing_could_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.dat"
    bad.write_bytes(b"no recording")
    with pytest.raises(TraceError):
        fputrace.analyze(str(bad))
    for verb in ("analyze", "report"):
        for name, errors in (("sarif", sarif_errors), ("junit", junit_errors)):
            assert main([verb, str(bad), "--format", name]) == 2
            assert errors(capsys.readouterr().out) == []
        assert main([verb, str(bad), "--format", "jsonl"]) == 2
        assert capsys.readouterr().out == ""
