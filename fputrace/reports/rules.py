"""``rules`` and ``explain``: the catalogue, and the page of one rule.

A page is the docstring of the rule's module: Markdown that begins ``# FPU101 its-name``.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import cleandoc
from typing import TYPE_CHECKING

from fputrace.generation import GENERATIONS
from fputrace.plain import PlainTuple
from fputrace.reports import palette
from fputrace.reports.escape import clean, dumps

if TYPE_CHECKING:
    from rich.console import RenderableType


class RuleRow(PlainTuple):
    """What the catalogue shows of a rule; ``generations`` empty means all."""

    code: str
    name: str
    severity: str
    generations: tuple[str, ...]
    events: tuple[str, ...]


def rules_rich(rules: Iterable[RuleRow]) -> RenderableType:
    """A table of the rules; what each needs stands under its name."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    table = list(rules)
    name = max((len(rule.name) for rule in table), default=0)
    lines: list[RenderableType] = []
    for rule in table:
        lines.append(
            Text.assemble(
                (f"{rule.code}  ", palette.SEVERITIES.get(rule.severity, "")),
                (f"{rule.name:{name}}  ", "bold"),
                f"{rule.severity:11}  {_generations(rule)}",
            )
        )
        if rule.events:
            needs = Text(", ".join(_short(event) for event in rule.events), "dim")
            lines.append(Padding(needs, (0, 0, 0, len(rule.code) + 2), expand=False))
    return Group(*lines)


def rules_text(rules: Iterable[RuleRow]) -> str:
    """Plain ASCII of at most 72 columns; ends with a newline."""
    from fputrace.reports.text_report import paragraph

    lines = []
    for rule in rules:
        told = f"{rule.code} {rule.name} ({rule.severity}; generations: {_generations(rule)})"
        lines += paragraph(told, "", "  ")
        if rule.events:
            needs = [event.replace("|", " or ") for event in rule.events]
            lines += paragraph(f"needs {', '.join(needs)}", "    ", "      ")
    return "\n".join(lines) + "\n"


def rules_json(rules: Iterable[RuleRow]) -> str:
    """A JSON array of objects with the fields of :class:`RuleRow`; ends with a newline."""
    return dumps([rule._asdict() for rule in rules])


def explain_rich(page: str) -> RenderableType:
    """The page laid out for a terminal."""
    from fputrace.reports.page import Page

    return Page(cleandoc(page))


def explain_text(page: str) -> str:
    """The page as it is written, for a pipe or a terminal that has only ASCII."""
    lines = (clean(line, ascii_only=True) for line in cleandoc(page).splitlines())
    return "\n".join(lines) + "\n"


def _generations(rule: RuleRow) -> str:
    """``G1 G3 G4a-G6``: runs of neighbours by their ends."""
    places = sorted(GENERATIONS.index(code) for code in rule.generations)
    if len(places) in (0, len(GENERATIONS)):
        return "all"
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return " ".join(
        GENERATIONS[run[0]] + (f"-{GENERATIONS[run[-1]]}" if len(run) > 1 else "") for run in runs
    )


def _short(event: str) -> str:
    """Without the system; ``|`` between events of which one is enough."""
    return " or ".join(name.rpartition(":")[2] for name in event.split("|"))
