"""``rules`` and ``explain``: the catalogue, and the page of one rule.

A page is the docstring of the rule's module: Markdown that begins ``# FPU101 its-name``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from inspect import cleandoc
from typing import TYPE_CHECKING, NamedTuple

from fputrace.reports import outline, palette
from fputrace.reports.escape import clean

if TYPE_CHECKING:
    from rich.console import RenderableType


class RuleRow(NamedTuple):
    """What the catalogue shows of a rule; ``generations`` empty means all."""

    code: str
    name: str
    severity: str
    generations: tuple[str, ...]
    events: tuple[str, ...]


def rules_rich(rules: Iterable[RuleRow]) -> RenderableType:
    """A table of the rules; what each needs stands under its name."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("code", no_wrap=True)
    table.add_column("name, and the events it needs", overflow="fold")
    table.add_column("severity", no_wrap=True)
    table.add_column("generations")
    for rule in rules:
        needs = Text(", ".join(event.partition(":")[2] or event for event in rule.events), "dim")
        table.add_row(
            Text(rule.code, palette.SEVERITIES.get(rule.severity, "")),
            Group(Text(rule.name, "bold"), *([needs] if rule.events else [])),
            Text(rule.severity),
            Text(_generations(rule)),
        )
    return table


def rules_text(rules: Iterable[RuleRow]) -> str:
    """Plain ASCII of at most 72 columns; ends with a newline."""
    from fputrace.reports.text_report import paragraph

    lines = []
    for rule in rules:
        told = f"{rule.code} {rule.name} ({rule.severity}; generations: {_generations(rule)})"
        lines += paragraph(told, "", "  ")
        if rule.events:
            lines += paragraph(f"needs {outline.either(rule.events, 'and')}", "    ", "      ")
    return "\n".join(lines) + "\n"


def rules_json(rules: Iterable[RuleRow]) -> str:
    """A JSON array of objects with the fields of :class:`RuleRow`; ends with a newline."""
    return json.dumps([rule._asdict() for rule in rules], indent=1) + "\n"


def explain_rich(page: str) -> RenderableType:
    """The page laid out for a terminal."""
    from fputrace.reports.page import Page

    return Page(cleandoc(page))


def explain_text(page: str) -> str:
    """The page as it is written, for a pipe or a terminal that has only ASCII."""
    lines = (clean(line, ascii_only=True) for line in cleandoc(page).splitlines())
    return "\n".join(lines) + "\n"


def _generations(rule: RuleRow) -> str:
    return " ".join(rule.generations) or "all"
