"""``fputrace explain``: the pages of rules."""

from __future__ import annotations

import argparse

from fputrace.arguments import Offer, add_output
from fputrace.errors import UsageError, closest
from fputrace.screen import Screen
from fputrace.verbs.inputs import RULES_HINT, show_all


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    explain = offer("explain", run, "what a finding means, and when it can be wrong")
    explain.add_argument("codes", metavar="CODE", nargs="+", help="FPU101, or its name")
    add_output(explain)


def run(args: argparse.Namespace) -> int:
    """The pages of rules."""
    from fputrace.reports.rules import explain_rich, explain_text

    screen = Screen(args.output, args.color)
    make = explain_rich if screen.wants_rich else explain_text
    show_all(screen, [make(_page_of(word)) for word in args.codes])
    return 0


def _page_of(word: str) -> str:
    """The page of a rule, by code or name."""
    from fputrace.rules import PAGES

    for page in PAGES:
        if word.casefold() in (page.RULE.code.casefold(), page.RULE.name):
            return page.__doc__ or ""
    known = [name for page in PAGES for name in (page.RULE.code, page.RULE.name)]
    raise UsageError(f"there is no rule {word!r}{closest(word, known)}", hint=RULES_HINT)
