"""docs/api.md: its examples run, and it names every public attribute."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from pathlib import Path

import pytest

from fputrace import analysis, findings
from fputrace.events import EventBlock, Loss, Trace
from fputrace.lanes import LaneCell, LaneGrid
from fputrace.timeline import Span, Timeline

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "api.md").read_text()


def test_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    examples = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(examples, {}, "docs/api.md", None, None)
    assert len(test.examples) > 15
    said: list[str] = []
    result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)


def public(kind: type) -> set[str]:
    """Names of fields and methods, and what only an instance has."""
    if dataclasses.is_dataclass(kind):
        names = {f.name for f in dataclasses.fields(kind)}
    else:
        names = set(getattr(kind, "_fields", ()))
    if kind is Timeline:
        names = {"start_ns", "end_ns", "cpus"}
    own = {n for n, value in vars(kind).items() if inspect.isfunction(value)}
    return {name for name in names | own if not name.startswith("_")}


@pytest.mark.parametrize(
    "kind",
    [
        Trace,
        EventBlock,
        Loss,
        findings.Analysis,
        findings.GenerationResult,
        findings.Finding,
        findings.Witness,
        findings.WitnessEvent,
        findings.Cost,
        findings.Coverage,
        Span,
        Timeline,
        LaneCell,
        LaneGrid,
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_attribute_is_named(kind: type) -> None:
    names = set(re.findall(r"`(\w+)[^`]*`", TEXT))
    assert public(kind)
    assert public(kind) <= names


def test_every_option_of_analyze_is_named() -> None:
    options = set(inspect.signature(analysis.analyze).parameters) - {"path"}
    assert options <= set(re.findall(r"`(\w+)`", TEXT))
