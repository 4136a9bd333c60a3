"""``fputrace diff``: two recordings compared, for the same work."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fputrace import __version__
from fputrace.arguments import Offer, add_plugins, add_reading, add_rules, release
from fputrace.errors import UsageError
from fputrace.screen import Screen
from fputrace.verbs.inputs import analyses_of, check_codes, plugins_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fputrace.compare import Comparison
    from fputrace.findings import Analysis, Rule

FORMATS = ("text", "markdown", "json")
"""``diff --format``."""

_EPILOG = """\
examples:
  fputrace diff before.dat after.dat
  fputrace diff before.dat after.dat --format markdown -o change.md
  fputrace diff known-good.dat trace.dat --fail-on new

exit status:
  0  compared, and nothing that --fail-on asks for was found
  1  --fail-on new: a finding that OLD does not have, or only as possible;
     --fail-on more: the same, or one that became more frequent
  2  wrong usage, or an input that cannot be read
  3  --fail-on new or more: nothing of that, but the two cannot be compared, or losses, damage or
     missing events kept a core rule from being checked in NEW
docs/diff.md says what is compared, and how.
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    diff = offer("diff", run, "compare two recordings: what is gone, new or changed", _EPILOG)
    diff.add_argument("old", metavar="OLD", help="a recording of any known format; - is stdin")
    diff.add_argument("new", metavar="NEW", help="another one")
    add_reading(diff)
    kernels = diff.add_argument_group("the kernels")
    for side in ("old", "new"):
        kernels.add_argument(
            f"--{side}-kernel",
            metavar="RELEASE",
            type=release,
            help=f"the release, where {side.upper()} lacks it",
        )
        kernels.add_argument(
            f"--{side}-generation", metavar="G", help=f"judge {side.upper()} by this model (G4a)"
        )
    rules = add_rules(diff)
    add_plugins(rules)
    rules.add_argument(
        "--costs", action="store_true", help="also compare FPU203 to FPU207: normal costs"
    )
    diff.add_argument(
        "--prices", metavar="FILE", help="ns of a save and a restore, as for analyze --costs"
    )
    diff.add_argument("--cpuid", metavar="FILE", help="bytes of each xstate component: JSON")
    output = diff.add_argument_group("output")
    output.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    output.add_argument(
        "-o",
        dest="output",
        metavar="FILE",
        help="write the result there, packed when FILE ends in .gz",
    )
    output.add_argument("--sha256", action="store_true", help="JSON: name the inputs by their hash")
    diff.add_argument(
        "--fail-on", choices=["never", "new", "more"], default="never", help="default: never"
    )
    diff.set_defaults(color="never", cpu=None, time=None, pid=None, vcpu=None, vm=None)


def run(args: argparse.Namespace) -> int:
    """OLD and NEW side by side."""
    from fputrace.compare import compare
    from fputrace.reports.diff import markdown_text, text
    from fputrace.reports.diff_json import diff_json

    if args.old == args.new == "-":
        raise UsageError("OLD and NEW are both standard input", hint="Name a file for one of them.")
    args.plugins = plugins_of(args.plugins)
    check_codes(args.select or (), args.ignore or (), args.plugins, args.costs)
    screen = Screen(args.output, "never")
    with ExitStack() as stack:
        sides = [_analysed(args, side, stack) for side in ("old", "new")]
        old, new = sides
        if old is None or new is None:
            return 2
        found = compare(old, new)
        status = _status(found, new, args)
        if args.format == "json":
            screen.show(diff_json(found, old, new, status, __version__))
        else:
            make = markdown_text if args.format == "markdown" else text
            screen.show(make(found, old, new, args.verbose))
    return status


def _analysed(args: argparse.Namespace, side: str, stack: ExitStack) -> Analysis | None:
    """OLD or NEW; None where it cannot be read (stderr has said why)."""
    mine = argparse.Namespace(**vars(args))
    mine.traces = [getattr(args, side)]
    mine.kernel = getattr(args, f"{side}_kernel")
    mine.generation = getattr(args, f"{side}_generation")
    mine.costs = True
    if not args.costs:
        mine.ignore = [*(args.ignore or ()), *_normal_costs(args.plugins)]
    analyses, _unreadable = analyses_of(mine, stack, again=side == "new")
    return analyses[0] if analyses else None


def _normal_costs(plugins: Sequence[Rule]) -> list[str]:
    """Codes of rules about what is a normal cost and no finding."""
    from fputrace.rules import RULES

    return [rule.code for rule in (*RULES, *plugins) if rule.costs_only]


def _status(found: Comparison, new: Analysis, args: argparse.Namespace) -> int:
    from fputrace.analysis import exit_status
    from fputrace.compare import Change

    if args.fail_on == "never":
        return 0
    worse = {Change.NEW, Change.MORE} if args.fail_on == "more" else {Change.NEW}
    if worse & {row.change for row in found.findings}:
        return 1
    if found.verdict == "incomparable":
        return 3
    return exit_status([new], fail_on="never", select=args.select, ignore=args.ignore)
