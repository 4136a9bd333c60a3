"""``fputrace at``: who held the registers of each CPU at a time, and where every image was."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fputrace.arguments import (
    DEFAULT_TRACES,
    Offer,
    add_model,
    add_output,
    add_reading,
    ask_all,
    cpu_list,
    moment,
    numbers,
    positive,
)
from fputrace.errors import UsageError
from fputrace.screen import Screen
from fputrace.verbs.inputs import analyses_of, in_clock, show_all

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fputrace.findings import Analysis
    from fputrace.moment import Moment

_EPILOG = """\
examples:
  fputrace at trace.dat 3.303134            every CPU and image at that time
  fputrace at oops.txt end --cpu 1          CPU 1 as its last event left it

TIME is in seconds of the trace's clock, as the reports print it; `end` is the last event of all.
What an event at TIME did counts, and `*` marks it in the list of events. A TIME with six decimals
stands for every event that a report prints with it.
"""

_EVENTS = 5
_DECIMALS, _ROUNDED = 6, 500
"""Times as ``outline.Clock.at`` prints them, and the ns on either side that are printed alike."""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    at = offer("at", run, "who held the FPU registers of each CPU at a time", _EPILOG)
    at.add_argument(
        "trace",
        metavar="TRACE",
        nargs="?",
        help="a recording of any known format; - is stdin "
        f"(default: {', then '.join(DEFAULT_TRACES)} in this folder)",
    )
    at.add_argument("moment", metavar="TIME", type=moment, help="seconds, or end")
    at.add_argument("--cpu", metavar="LIST", type=cpu_list, help="show these CPUs, 0-3,7")
    at.add_argument("--pid", metavar="LIST", type=numbers, help="show these tasks")
    at.add_argument(
        "--events",
        metavar="N",
        type=positive,
        default=_EVENTS,
        help=f"events of each CPU to show before and after (default: {_EVENTS})",
    )
    add_reading(at)
    add_model(at)
    add_output(at, ("rich", "text", "json"))
    ask_all(at)
    at.set_defaults(time=None)


def run(args: argparse.Namespace) -> int:
    """One moment of a trace."""
    from fputrace.reports.at import About, MomentView, moment_json, moment_text
    from fputrace.reports.outline import clock_of

    args.traces = [] if args.trace is None else [args.trace]
    screen = Screen(args.output, args.color)
    shown = args.format or ("rich" if screen.wants_rich else "text")
    with ExitStack() as stack:
        analyses, unreadable = analyses_of(args, stack, drawing=True)
        if unreadable:
            return 2
        (analysis,) = analyses
        trace = analysis.trace
        when, asked = _time(args, analysis)
        found = _chosen(analysis.timeline.at(when, args.events), args)
        if asked is not None and found.last_ns is not None and found.last_ns >= asked:
            # The event that is printed with this time, not the end of what is rounded to it.
            found = found._replace(ns=found.last_ns)
        elif asked is not None:
            found = found._replace(ns=asked + _ROUNDED)
        about = About(
            trace.path,
            trace.kernel,
            clock_of(trace),
            (trace.first_ns or 0, trace.last_ns or 0),
            trace.comms,
            args.verbose or args.pid is not None,
        )
        if shown == "json":
            screen.show(moment_json(found, about))
        elif shown == "rich":
            parts: list[str | RenderableType] = [MomentView(found, about, screen.ascii)]
            show_all(screen, parts)
        else:
            screen.show(moment_text(found, about))
    return 0


def _time(args: argparse.Namespace, analysis: Analysis) -> tuple[int | None, int | None]:
    """TIME in ns, None for the end, and where what is rounded to TIME begins, None if nothing is.

    Raises UsageError when the trace has no such time.
    """
    from fputrace.reports.outline import clock_of

    trace = analysis.trace
    if trace.first_ns is None or trace.last_ns is None:
        raise UsageError(
            f"{trace.path}: holds no events, so there is no moment to show",
            hint=f"fputrace info {trace.path} lists the events it holds.",
        )
    if args.moment is None:
        return None, None
    window = in_clock((args.moment, None), trace)
    assert window is not None and window[0] is not None
    first = last = window[0]
    rounded = trace.clock_in_ns and args.moment.as_tuple().exponent == -_DECIMALS
    if rounded:
        first, last = first - _ROUNDED, last + _ROUNDED - 1
    clock = clock_of(trace)
    if last < trace.first_ns or first > trace.last_ns:
        side = "before" if last < trace.first_ns else "after"
        raise UsageError(
            f"{trace.path}: TIME {args.moment} is {side} the trace, which is from "
            f"{clock.at(trace.first_ns)} to {clock.at(trace.last_ns)}",
            hint="`end` is the last event.",
        )
    return last, first if rounded else None


def _chosen(found: Moment, args: argparse.Namespace) -> Moment:
    """The CPUs and tasks asked for; of chosen CPUs, the tasks whose images they are about."""
    cpus = [cpu for cpu in found.cpus if args.cpu is None or cpu.cpu in args.cpu]
    tasks = found.tasks
    if args.pid is not None:
        tasks = tuple(task for task in tasks if task.pid in args.pid)
        cpus = [c for c in cpus if args.cpu is not None or {c.pid, c.leaving, c.owner} & args.pid]
    elif args.cpu is not None:
        here = {pid for cpu in cpus for pid in (cpu.pid, cpu.leaving, cpu.owner)}
        tasks = tuple(task for task in tasks if task.pid in here or task.last_cpu in args.cpu)
    return found._replace(cpus=tuple(cpus), tasks=tasks)
