"""``fputrace rules``: the catalogue."""

from __future__ import annotations

import argparse

from fputrace.arguments import Offer, add_output, add_plugins
from fputrace.screen import Screen
from fputrace.verbs.inputs import plugins_of

_EPILOG = """\
examples:
  fputrace rules                             every rule in a line
  fputrace rules --format json
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    catalogue = offer("rules", run, "list the rules", _EPILOG)
    add_plugins(catalogue)
    add_output(catalogue, ("rich", "text", "json"))


def run(args: argparse.Namespace) -> int:
    """The catalogue."""
    from fputrace.generation import GENERATIONS
    from fputrace.reports import rules as report
    from fputrace.rules import RULES, TRACE_RULES

    rows = [
        report.RuleRow(
            rule.code,
            rule.name,
            rule.severity.value,
            tuple(code for code in GENERATIONS if code in rule.generations)
            if rule.generations != set(GENERATIONS)
            else (),
            rule.needs,
        )
        for rule in (*RULES, *plugins_of(args.plugins))
    ] + [report.RuleRow(rule.code, rule.name, rule.severity.value, (), ()) for rule in TRACE_RULES]
    screen = Screen(args.output, args.color)
    shown = args.format or ("rich" if screen.wants_rich else "text")
    make = {"rich": report.rules_rich, "text": report.rules_text, "json": report.rules_json}[shown]
    screen.show(make(rows))
    return 0
