"""``fputrace cut``: the piece of a recording around a finding, small enough to send."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fputrace.arguments import Offer, add_in_out, add_model, finding, size, time_range
from fputrace.errors import UsageError
from fputrace.screen import say
from fputrace.verbs.inputs import in_clock, notice_plain_loops, progress_of, reading, traces_of

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Analysis
    from fputrace.rewrite.cut import Piece

_EPILOG = """\
examples:
  fputrace cut trace.dat small.dat --finding FPU101       the first finding FPU101
  fputrace cut trace.dat small.dat --finding FPU101:2     the second one that analyze shows
  fputrace cut trace.dat small.dat --time 3.5,3.6         what happened then

OUT is a trace.dat that trace-cmd, KernelShark and fputrace read.  In a piece around a finding the
finding is the same, with the same verdict; that was tried.  Where something was left out, events
are said to be lost.  Names and pointers are still in it: fputrace redact takes them out.

exit status:
  0  written
  2  wrong usage, an input that cannot be read, nothing to cut, or an output that cannot be written
"""

_ALWAYS = 1 << 62


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    cut = offer("cut", run, "write the piece of a recording around a finding, to send it", _EPILOG)
    add_in_out(cut)
    add_model(cut)
    what = cut.add_argument_group("what is cut").add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--finding",
        metavar="CODE[:N]",
        type=finding,
        help="the Nth finding of a rule, in the order of fputrace analyze (default: the first)",
    )
    what.add_argument(
        "--time", metavar="A,B", type=time_range, help="from A to B, seconds of the trace's clock"
    )
    cut.add_argument(
        "--max-size",
        metavar="BYTES",
        type=size,
        default=1_000_000,
        help="write nothing larger, 500K or 5M (default: 1M, which any bug tracker takes)",
    )


def run(args: argparse.Namespace) -> int:
    """A piece of IN as OUT."""
    from fputrace.convert.output import check_no_terminal, file_output
    from fputrace.rewrite.beside import facts_beside, write_beside
    from fputrace.rewrite.records import plan_of

    args.traces = [args.input]
    (path,) = traces_of(args)
    notice_plain_loops(args)
    with ExitStack() as stack:
        if args.finding:
            trace, piece, said = _around_finding(args, path, stack)
        else:
            trace, piece, said = _of_time(args, path, stack)
        shown = args.output or "standard output"
        if plan_of(trace) is not None:
            check_no_terminal(args.output)
            if args.output and not args.output.endswith((".dat", ".gz", ".zst")):
                said = f"{shown} is a trace.dat: trace-cmd report reads it\n{said}".rstrip()
        with file_output(args.output) as out:
            out.write(piece.data)
        facts = facts_beside(trace, path)
        beside = write_beside(args.output, facts) if facts and args.output else ""
        if not args.quiet:
            events = sum(trace.counts.values())
            say(
                f"{shown}: {len(piece.data):,} bytes, {piece.events:,} of {events:,} events",
                said + (f"\n{beside} belongs to it" if beside else ""),
            )
    return 0


def _around_finding(
    args: argparse.Namespace, path: str, stack: ExitStack
) -> tuple[Trace, Piece, str]:
    from fputrace.analysis import analyze
    from fputrace.reports.outline import clock_of
    from fputrace.rewrite.beside import facts_beside
    from fputrace.rewrite.search import cut_finding, finding_of

    model = {"generation": args.generation, "kernel": args.kernel}
    with ExitStack() as bar:
        progress = progress_of(args, bar)
        analysis = analyze(path, progress=progress, **model, **reading(args))
        stack.callback(analysis.trace.close)
        found = finding_of(analysis, *args.finding)

        def judge(piece: str) -> Analysis:
            return analyze(piece, **model)

        facts = facts_beside(analysis.trace, path)
        cut = cut_finding(analysis, found, judge, args.max_size, facts=facts, progress=progress)
    clock = clock_of(analysis.trace)
    times = f"{clock.at(cut.start)} to {clock.at(cut.end)}"
    return analysis.trace, cut.piece, f"{times}; {found.code} is {found.verdict.value} in it too"


def _of_time(args: argparse.Namespace, path: str, stack: ExitStack) -> tuple[Trace, Piece, str]:
    import fputrace
    from fputrace.rewrite.cut import SMALLER, read_window

    with ExitStack() as bar:
        progress = progress_of(args, bar)
        trace = stack.enter_context(fputrace.open(path, progress=progress, **reading(args)))
        start, end = in_clock(args.time, trace) or (None, None)
        start = -_ALWAYS if start is None else start
        end = _ALWAYS if end is None else end
        window = read_window(trace, start, end, args.max_size, progress)
    piece = window.piece(start, end)
    if not piece.events:
        raise UsageError(
            f"{path}: no event is in that time",
            hint=f"fputrace info {path} shows from when to when it is.",
        )
    if len(piece.data) > args.max_size:
        raise UsageError(
            f"{path}: that piece has {len(piece.data):,} bytes, more than {args.max_size:,}",
            hint=SMALLER,
        )
    return trace, piece, ""
