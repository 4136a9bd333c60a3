from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fputrace import reports
from fputrace.events import Loss
from fputrace.findings import Analysis, GenerationResult, Verdict
from fputrace.reports.json_report import analyze_json
from tests.reports.cases import (
    HOSTILE,
    HOSTILE_NAMES,
    analysis,
    double_save,
    guest_in_thread_fpu,
    hostile,
    trace,
)


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads((files("fputrace.reports") / "analyze.schema.json").read_text())


def document(*analyses: Analysis, status: int = 0) -> Any:
    return json.loads(analyze_json(analyses, status, "0.1.0"))


def check(schema: Any, made: Any) -> None:
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(made)]
    assert not errors


def test_schema_is_a_schema(schema: Any) -> None:
    Draft202012Validator.check_schema(schema)


def test_schema_is_strict(schema: Any) -> None:
    """Every object names all its keys or maps names to values of one kind; none is open."""
    seen = 0

    def walk(node: Any) -> None:
        nonlocal seen
        if isinstance(node, dict):
            if node.get("type") == "object":
                seen += 1
                assert node["additionalProperties"] is False or node["additionalProperties"]
                # Only a configuration or a baseline makes this one.
                always = set(node.get("properties", {})) - {"suppressed"}
                assert set(node.get("required", [])) == always
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(schema)
    assert seen >= 10


def test_valid(schema: Any) -> None:
    made = document(
        analysis(double_save(), guest_in_thread_fpu()),
        analysis(
            guest_in_thread_fpu(Verdict.POSSIBLE),
            generation=GenerationResult(None, False, False, ("G2", "G2x", "G3"), ()),
            losses=[Loss(None, None, None, None, "CPUSTAT"), Loss(0, 1, 2, 3, "page")],
            sha256="0" * 64,
            record=None,
        ),
        analysis(trace=trace(first_ns=None, last_ns=None, counts={}, cpus=[], clock=None)),
        status=1,
    )
    check(schema, made)
    assert made["exit_status"] == 1
    assert [len(t["findings"]) for t in made["traces"]] == [2, 1, 0]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(schema: Any, name: str) -> None:
    text = analyze_json([hostile(name)], 1, "0.1.0")
    assert text.isascii()
    made = json.loads(text)
    check(schema, made)
    comm = made["traces"][0]["findings"][0]["comm"]
    comm.encode()
    if name.isprintable() or name == HOSTILE:
        assert comm == name


def test_values() -> None:
    made = document(analysis(double_save(), guest_in_thread_fpu()))
    assert list(made) == ["schema_version", "tool", "traces", "exit_status"]
    found = made["traces"][0]
    assert (found["cpus"], found["events"]) == (2, 10_121)
    assert [f["code"] for f in found["findings"]] == ["FPU101", "FPU201"]
    finding = found["findings"][1]
    assert finding["cost"] == {"bytes": 88 * 832, "ns": 25_520}
    events = finding["witnesses"][0]["events"]
    assert [event["name"] for event in events] == [
        "sched:sched_switch",
        "kvm:kvm_fpu",
        "x86_fpu:x86_fpu_regs_deactivated",
        "x86_fpu:x86_fpu_regs_activated",
    ]
    assert events[1]["fields"] == {"load": 0}
    assert events[2]["fields"] == {"fpu": "0xffff8880b7cae880", "load_fpu": 0, "xfeatures": 0x217}


def test_render_is_the_same() -> None:
    options = reports.Options(exit_status=3, version="9")
    assert reports.render("json", [analysis()], options) == analyze_json([analysis()], 3, "9")


def test_breaking_the_schema_is_seen(schema: Any) -> None:
    made = document(analysis(double_save()))
    made["traces"][0]["findings"][0]["vm"] = "VM 70"
    with pytest.raises(AssertionError, match="vm"):
        check(schema, made)
