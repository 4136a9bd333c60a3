"""The pages of the rules, and the catalogue they make."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import fputrace
from fputrace.findings import Rule, TraceRule
from fputrace.generation import GENERATIONS
from fputrace.rules import PAGES, RULES, TRACE_RULES
from tests.conftest import SAMPLES

HEADINGS = [
    "What",
    "Why it matters",
    "Generations",
    "Events needed",
    "Example",
    "When it can be wrong",
    "References",
]
EVENT_LINE = re.compile(r"^    (\d+\.\d{9}) \[(\d{3})\] +(.+)-(\d+) (\w+:\w+) ?(.*)$", re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.RULE.code)


def section(page: ModuleType, heading: str) -> str:
    text = page.__doc__ or ""
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0].strip()


@every_page
def test_form(page: ModuleType) -> None:
    text = page.__doc__ or ""
    assert text.splitlines()[0] == f"# {page.RULE.code} {page.RULE.name}"
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    for heading in HEADINGS:
        assert len(section(page, heading)) > len("None."), heading
    assert max(len(line) for line in text.splitlines()) <= 100


@every_page
def test_nothing_left_to_write_and_nothing_a_reader_lacks(page: ModuleType) -> None:
    text = page.__doc__ or ""
    for word in ("EXAMPLE", "TODO", "FIXME", "XXX", "Reference ", "Trace formats "):
        assert word not in text
    assert re.search(r"\b[A-F]\.\d", text) is None, "a section of a document nobody has"


@every_page
def test_events_needed_are_the_rules_own(page: ModuleType) -> None:
    if isinstance(page.RULE, Rule):
        told = section(page, "Events needed")
        for need in page.RULE.needs:
            wanted = [event.removeprefix("probe:") for event in need.split("|")]
            assert all(event in told for event in wanted), need
        for event in page.RULE.excuses:
            assert event in told, event


@every_page
def test_example_is_in_the_recording_it_names(page: ModuleType) -> None:
    """Event lines of an example are what the witness of a finding shows."""
    example = section(page, "Example")
    lines = EVENT_LINE.findall(example)
    if not lines:
        assert re.search(r"no recording [\w ]*shows it|sample_traces/", example, re.IGNORECASE)
        return
    case = re.search(r"sample_traces/([\w.-]+\w)", example)
    assert case is not None
    analysis = fputrace.analyze(SAMPLES / case[1] / "trace.dat", costs=True)
    shown = {
        (f"{event.ns / 1e9:.9f}", f"{event.cpu:03}", event.comm, str(event.pid), event.name)
        for finding in analysis.findings
        if finding.code == page.RULE.code
        for witness in finding.witnesses
        for event in witness.events
        if not event.inferred
    }
    assert {line[:5] for line in lines} <= shown


def test_every_example_names_a_case_that_exists() -> None:
    for page in PAGES:
        for case in re.findall(r"sample_traces/([\w.-]+\w)", page.__doc__ or ""):
            assert (SAMPLES / case / "trace.dat").is_file(), (page.RULE.code, case)


def test_codes_are_unique() -> None:
    rules: tuple[Rule | TraceRule, ...] = (*RULES, *TRACE_RULES)
    codes = [rule.code for rule in rules]
    names = [rule.name for rule in rules]
    assert max(Counter(codes).values()) == 1
    assert max(Counter(names).values()) == 1
    assert [page.RULE.code for page in PAGES] == sorted(page.RULE.code for page in PAGES)
    assert all(isinstance(page.RULE, (Rule, TraceRule)) for page in PAGES)


def test_file_is_named_after_its_code_and_a_test_speaks_of_it() -> None:
    tests = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    for page in PAGES:
        assert page.__name__.rpartition(".")[2] == page.RULE.code.lower()
        assert any(f'"{page.RULE.code}"' in test for test in tests), page.RULE.code


def test_scenarios_that_pages_name_are_there() -> None:
    for page in PAGES:
        for path in re.findall(r"tests/rules/[\w.]+", page.__doc__ or ""):
            assert (Path(__file__).parents[2] / path.rstrip(".")).is_file(), page.RULE.code


def test_generations_are_known() -> None:
    for rule in RULES:
        routes = [route.generations for route in rule.routes]
        for codes in (rule.generations, rule.by_design, rule.core, *routes):
            assert codes <= set(GENERATIONS), rule.code
        for codes in (rule.by_design, *routes):
            assert codes <= rule.generations, rule.code
        # A rule with routes has one in every generation it holds in.
        assert not routes or frozenset().union(*routes) == rule.generations, rule.code
        assert rule.core <= rule.generations


def test_coverage_lists_the_catalogue_once(sample: Path) -> None:
    rules: tuple[Rule | TraceRule, ...] = (*RULES, *TRACE_RULES)
    catalogue = {rule.code for rule in rules}
    listed = [row.code for row in fputrace.analyze(sample).coverage]
    assert listed == sorted(catalogue)
