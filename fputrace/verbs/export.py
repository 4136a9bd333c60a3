"""``fputrace export``: findings and ownership for other tools."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from fputrace.arguments import Offer, add_form, add_input, add_model, add_view, ask_all
from fputrace.verbs.inputs import analyses_of, in_clock, one_of

_EPILOG = """\
examples:
  fputrace export trace.dat --to perfetto -o trace.pftrace     open it at https://ui.perfetto.dev
  fputrace export trace.dat --to perfetto --time 3.2,3.4 -o part.pftrace.gz
  fputrace export trace.dat --to parquet -o tables             for pandas and DuckDB

docs/export.md describes the tracks and the tables, with queries.

exit status:
  0  written
  2  wrong usage, an input that cannot be read, or an output that cannot be written
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    parser = offer("export", run, "write who held which registers, for Perfetto or DuckDB", _EPILOG)
    add_input(parser)
    add_model(parser)
    add_view(parser)
    add_form(parser, ("perfetto", "parquet"))
    ask_all(parser)


def run(args: argparse.Namespace) -> int:
    """The tracks or tables of one TRACE."""
    from fputrace.convert.output import check_no_terminal
    from fputrace.export import Window, export
    from fputrace.screen import say

    one_of(args, "export writes", "Export them one by one, each with its own -o.")
    if args.to == "perfetto":
        check_no_terminal(args.output)  # before the recording is read
    with ExitStack() as stack:
        analyses, unreadable = analyses_of(args, stack, drawing=True)
        if unreadable:
            return 2
        (analysis,) = analyses
        if not analysis.trace.clock_in_ns and not args.quiet:
            say(f"{analysis.trace.path}: its clock does not count ns; times are its own units")
        start, end = in_clock(args.time, analysis.trace) or (None, None)
        window = Window(start, end, args.cpu, args.pid)
        export(analysis, args.to, args.output, window, force=args.force)
    return 0
