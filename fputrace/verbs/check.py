"""``fputrace check``: whether a trace shows what one rule looks for, for ``git bisect run``."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from fputrace.arguments import Offer, add_input, add_model, add_output, add_plugins, ask_all
from fputrace.errors import UsageError, closest
from fputrace.screen import Screen
from fputrace.verbs.inputs import RULES_HINT, analyses_of, plugins_of

_EPILOG = """\
examples:
  fputrace check trace.dat --rule FPU101
  git bisect run sh -c './boot-and-record trace.dat && fputrace check trace.dat --rule FPU201'

exit status, as git bisect run wants it:
  0    absent: nothing was found, and the trace could have shown it (checked, or checked in part)
  1    present: found in a TRACE, confirmed or possible
  125  not decidable: events are missing, the rule does not apply, a TRACE cannot be read, or the
       command is wrong; stderr says so where it is an error
docs/diff.md has a recipe.
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    check = offer("check", run, "whether a trace shows what one rule looks for", _EPILOG)
    # To git bisect, 2 would be one more way to be bad.
    check.set_defaults(trouble=125, cpu=None, time=None, pid=None)
    ask_all(check)
    check.add_argument("--rule", metavar="CODE", required=True, help="FPU101, or its name")
    check.add_argument(
        "--confirmed-only", action="store_true", help="what is only `possible` decides nothing"
    )
    check.add_argument(
        "--strict", action="store_true", help="nor does a rule that was checked only in part"
    )
    add_plugins(check)
    add_input(check)
    add_model(check)
    add_output(check)


def run(args: argparse.Namespace) -> int:
    """One sentence a TRACE, and the answer as exit status; whatever goes wrong is no answer."""
    from fputrace.presence import Answer, overall, presence
    from fputrace.reports.check import sentence

    args.plugins = plugins_of(args.plugins)
    code, args.costs = _rule(args)
    args.select = [code]
    screen = Screen(args.output, args.color)
    with ExitStack() as stack:
        analyses, unreadable = analyses_of(args, stack)
        found = [
            presence(one, code, confirmed_only=args.confirmed_only, strict=args.strict)
            for one in analyses
        ]
        if found:
            pairs = zip(analyses, found, strict=True)
            screen.show("".join(sentence(one, told, screen.ascii) for one, told in pairs))
        return overall([one.answer for one in found] + [Answer.NOT_DECIDABLE for _ in unreadable])


def _rule(args: argparse.Namespace) -> tuple[str, bool]:
    """The code of the rule that was asked for, by code or name, and whether costs have to be."""
    from fputrace.rules import PAGES

    known = [*(page.RULE for page in PAGES), *args.plugins]
    for rule in known:
        if args.rule.casefold() in (rule.code.casefold(), rule.name):
            return rule.code, getattr(rule, "costs_only", False)
    names = [rule.name if "-" in args.rule else rule.code for rule in known]
    raise UsageError(
        f"--rule: there is no rule {args.rule!r}{closest(args.rule, names)}", hint=RULES_HINT
    )
