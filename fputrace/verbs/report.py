"""``fputrace report``: the analysis of every TRACE as a document to send or attach."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack

from fputrace import __version__
from fputrace.arguments import (
    Offer,
    add_costs,
    add_input,
    add_model,
    add_plugins,
    add_rules,
    add_view,
    add_vm_view,
    positive,
)
from fputrace.errors import UsageError
from fputrace.reports import REPORTS
from fputrace.screen import Screen, write_file
from fputrace.verbs.inputs import analyses_of, check_codes, plugins_of, prepare

FORMATS = tuple(name for name in REPORTS if name != "rich")
"""``report --format``."""

_EPILOG = """\
examples:
  fputrace report trace.dat | less                       what to write to a mailing list
  fputrace report trace.dat -o mail.txt --attach all.txt.gz
  fputrace report trace.dat --format markdown -o issue.md

A report names its input by SHA-256, the version of fputrace and the command line, and holds nothing
of when, where or by whom it was made: whoever has the recording gets the same bytes.

exit status:
  0  written, whatever was found (fputrace analyze and fputrace check judge)
  2  wrong usage, an input that cannot be read, or an output that cannot be written
"""


_LEAST = 10
"""``--max-lines``: the summary and what was left out."""


def _lines(text: str) -> int:
    """A number of lines that says something."""
    count = positive(text)
    if count < _LEAST:
        raise argparse.ArgumentTypeError(f"{count} lines hold no report: {_LEAST} or more do")
    return count


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    report = offer("report", run, "write what was found for a mail, a ticket or a tool", _EPILOG)
    add_input(report)
    add_model(report)
    add_vm_view(add_view(report))
    add_plugins(add_rules(report))
    output = report.add_argument_group("output")
    output.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    output.add_argument(
        "-o",
        dest="output",
        metavar="FILE",
        help="write it there, packed when FILE ends in .gz (default: standard output)",
    )
    output.add_argument(
        "--max-lines", metavar="N", type=_lines, help=f"text: no longer than that, {_LEAST} or more"
    )
    output.add_argument(
        "--attach",
        metavar="FILE",
        help="text: write what the report leaves out there, to be attached; packed as with -o",
    )
    add_costs(report)
    report.set_defaults(sha256=False, color="never")


def run(args: argparse.Namespace) -> int:
    """The report of every TRACE."""
    from fputrace.reports import TELL_UNREAD, Options, attachment, render

    if args.format != "text" and (args.max_lines or args.attach):
        raise UsageError(
            f"--max-lines and --attach are for --format text, and this is {args.format}",
            hint="Leave both away: only text can be as short as you like.",
        )
    if (
        args.attach
        and args.output
        and os.path.realpath(args.attach) == os.path.realpath(args.output)
    ):
        raise UsageError(f"-o and --attach both name {args.output}", hint="Name another file.")
    args.plugins = plugins_of(args.plugins)
    check_codes(args.select or (), args.ignore or (), args.plugins, args.costs)
    screen = Screen(args.output, args.color)
    with ExitStack() as stack:
        analyses, unreadable = analyses_of(args, stack, hashes=True)
        if not analyses and args.format not in TELL_UNREAD:
            return 2
        options = Options(
            args.verbose,
            screen.ascii,
            2 if unreadable else 0,
            __version__,
            args.line,
            args.max_lines,
            args.attach,
            tuple(unreadable),
        )
        if args.attach:
            write_file(args.attach, attachment(args.format, analyses, options))
        prepare(args.format, analyses, args)
        screen.show(render(args.format, analyses, options))
    return 2 if unreadable else 0
