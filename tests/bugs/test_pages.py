"""The pages of docs/bugs: one form, rules that exist, a test each, and a table made of them."""

from __future__ import annotations

import re

import pytest

from fputrace.generation import GENERATIONS
from fputrace.rules import RULES
from tests.bugs.claims import GENERATE, ROOT, page

FOLDER = ROOT / "docs" / "bugs"
BUGS: tuple[str, ...] = GENERATE["BUGS"]
HEAD = ["title", "introduced", "fixed", "kernels", "generations", "tracepoints", "probes", "proof"]
HEADINGS = ["What went wrong", "What a trace shows", "After the fix"]

every_bug = pytest.mark.parametrize("name", BUGS)


def test_every_page_is_in_the_table() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == set(BUGS)


def test_the_table_is_made_of_the_pages() -> None:
    text = (FOLDER / "README.md").read_text()
    assert GENERATE["filled"](text) == text, "python docs/generate.py renews it"
    assert text.count("\n| [") == len(BUGS)


@every_bug
def test_form(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    assert list(GENERATE["bug_head"](name)) == HEAD
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    for body in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert len(body.split()) > 10


@every_bug
def test_claims_are_of_rules_that_hold_there(name: str) -> None:
    claims = page(name)
    rules = {rule.code: rule for rule in RULES}
    # Hidden by a probe's absence, never by its presence.
    assert set(claims.tracepoints) <= set(claims.probes)
    assert claims.generations <= set(GENERATIONS)
    for code in claims.probes:
        assert claims.generations & rules[code].generations, code
    if not claims.tracepoints:
        assert GENERATE["bug_head"](name)["tracepoints"] == "nothing"


@every_bug
def test_a_test_of_its_own_speaks_of_it(name: str) -> None:
    proof = GENERATE["bug_head"](name)["proof"]
    path = ROOT / "tests" / "bugs" / f"test_{name.replace('-', '_')}.py"
    assert f"(../../tests/bugs/{path.name})" in proof
    text = path.read_text()
    assert f'page("{name}")' in text
    assert "def test_before" in text
    assert "def test_after" in text


@every_bug
def test_recordings_that_pages_name_are_there(name: str) -> None:
    text = (FOLDER / f"{name}.md").read_text()
    for case in re.findall(r"sample_traces/([\w.-]+\w)", text):
        assert (ROOT / "sample_traces" / case).is_dir(), case
