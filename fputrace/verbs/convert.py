"""``fputrace convert``: one TRACE in another form."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from fputrace.arguments import Offer, add_form, add_input
from fputrace.verbs.inputs import notice_plain_loops, one_of, progress_of, reading

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
    add_form(convert, ("jsonl", "parquet", "text"))
    convert.set_defaults(sha256=False)


def run(args: argparse.Namespace) -> int:
    """One TRACE in another form."""
    import fputrace
    from fputrace.convert import convert_trace

    path = one_of(args, "convert writes", "Convert them one by one, each with its own -o.")
    notice_plain_loops(args)
    with ExitStack() as bar:
        progress = progress_of(args, bar)
        trace = bar.enter_context(fputrace.open(path, progress=progress, **reading(args)))
        convert_trace(trace, args.to, args.output, force=args.force, progress=progress)
    return 0
