"""``fputrace convert``: one TRACE in another form."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from fputrace.arguments import Offer, add_input
from fputrace.errors import UsageError
from fputrace.verbs.inputs import notice_plain_loops, progress_of, reading, traces_of

_EPILOG = """\
examples:
  fputrace convert trace.dat --to jsonl -o trace.jsonl.zst
  fputrace convert perf.data --to jsonl | jq -c 'select(.event == "kvm:kvm_fpu")'
  fputrace convert trace.dat --to parquet -o tables    pandas, DuckDB and Spark read it
  fputrace convert trace.dat --to text | less          as trace-cmd report shows it

fputrace analyze reads all of them; jsonl and parquet give the findings of the original.

exit status:
  0  written
  2  wrong usage, an input that cannot be read, or an output that cannot be written
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    convert = offer(
        "convert",
        run,
        "write a recording as JSON lines, Parquet tables or text",
        _EPILOG,
    )
    add_input(convert)
    output = convert.add_argument_group("output")
    output.add_argument("--to", choices=("jsonl", "parquet", "text"), required=True)
    output.add_argument(
        "-o",
        dest="output",
        metavar="FILE",
        help="a file, compressed when it ends in .gz or .zst (default: standard output); "
        "for parquet a folder",
    )
    output.add_argument(
        "--force", action="store_true", help="replace the tables that are in the folder already"
    )
    convert.set_defaults(sha256=False)


def run(args: argparse.Namespace) -> int:
    """One TRACE in another form."""
    import fputrace
    from fputrace.convert import convert_trace

    paths = traces_of(args)
    if len(paths) > 1:
        raise UsageError(
            f"convert writes one recording, and {len(paths)} were given",
            hint="Convert them one by one, each with its own -o.",
        )
    notice_plain_loops(args)
    with ExitStack() as bar:
        progress = progress_of(args, bar)
        trace = bar.enter_context(fputrace.open(paths[0], progress=progress, **reading(args)))
        convert_trace(trace, args.to, args.output, force=args.force, progress=progress)
    return 0
