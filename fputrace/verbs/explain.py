"""``fputrace explain``: the pages of rules."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from fputrace.arguments import Offer, add_output, add_plugins
from fputrace.errors import UsageError, closest
from fputrace.screen import Screen
from fputrace.verbs.inputs import RULES_HINT, plugins_of, show_all

_EPILOG = """\
examples:
  fputrace explain FPU101
  fputrace explain double-save FPU102
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    explain = offer("explain", run, "what a finding means, and when it can be wrong", _EPILOG)
    explain.add_argument("codes", metavar="CODE", nargs="+", help="FPU101, or its name")
    add_plugins(explain)
    add_output(explain)


def run(args: argparse.Namespace) -> int:
    """The pages of rules."""
    from fputrace.reports.rules import explain_rich, explain_text

    known = _pages(args.plugins)
    screen = Screen(args.output, args.color)
    make = explain_rich if screen.wants_rich else explain_text
    show_all(screen, [make(_page_of(word, known)) for word in args.codes])
    return 0


def _pages(plugins: Sequence[str]) -> dict[str, str]:
    """Code and name of each rule -> its page."""
    from fputrace.rules import PAGES

    pages: dict[str, str] = {}
    for module in PAGES:
        pages[module.RULE.code] = pages[module.RULE.name] = module.__doc__ or ""
    for name, rule in zip(dict.fromkeys(plugins), plugins_of(plugins), strict=True):
        from fputrace.plugins import page

        pages[rule.code] = pages[rule.name] = page(name)
    return pages


def _page_of(word: str, known: Mapping[str, str]) -> str:
    """The page of a rule, by code or name."""
    for name, page in known.items():
        if word.casefold() == name.casefold():
            return page
    raise UsageError(f"there is no rule {word!r}{closest(word, list(known))}", hint=RULES_HINT)
