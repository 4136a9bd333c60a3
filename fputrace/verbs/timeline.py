"""``fputrace timeline``: who held the FPU registers of each CPU, drawn."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fputrace.arguments import (
    Offer,
    add_input,
    add_model,
    add_output,
    add_view,
    ask_all,
    terminal_columns,
    width,
)
from fputrace.errors import UsageError
from fputrace.screen import Screen
from fputrace.verbs.inputs import analyses_of, in_clock, one_of, progress_of, show_all

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import RenderableType

    from fputrace.lanes import LaneGrid


_EPILOG = """\
examples:
  fputrace timeline trace.dat                       the whole of it, as wide as the terminal
  fputrace timeline trace.dat --time 3.5,3.6 --cpu 0-1
  fputrace timeline trace.dat --pid 94              what one task held
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    timeline = offer("timeline", run, "draw who held the FPU registers of each CPU, when", _EPILOG)
    add_input(timeline)
    add_model(timeline)
    add_view(timeline)
    add_output(timeline)
    ask_all(timeline)
    timeline.add_argument("--width", metavar="COLUMNS", type=width, help="default: the terminal's")
    timeline.add_argument(
        "-i",
        "--interactive",
        action="store_true",
        help="one TRACE on the whole screen: scroll, zoom, jump to findings (? shows the keys)",
    )


def run(args: argparse.Namespace) -> int:
    """Who held the registers of each CPU, drawn."""
    if args.interactive:
        return _page(args)
    from fputrace.lanes import LaneGrid
    from fputrace.reports.outline import clock_of
    from fputrace.reports.timeline import TimelineView, cells_for, timeline_text

    screen = Screen(args.output, args.color)
    columns = args.width or terminal_columns()
    parts: list[str | RenderableType] = []
    with ExitStack() as stack:
        analyses, unreadable = analyses_of(args, stack, drawing=True)
        for analysis in analyses:
            trace = analysis.trace
            cpus = [cpu for cpu in trace.cpus if args.cpu is None or cpu in args.cpu]
            if trace.first_ns is None or trace.last_ns is None or not cpus:
                grid = LaneGrid(0, 0, (), ())
            else:
                start, end = in_clock(args.time, trace) or (None, None)
                grid = analysis.timeline.lanes(
                    trace.first_ns if start is None else start,
                    trace.last_ns if end is None else end,
                    cells_for(columns, cpus),
                    cpus,
                    args.pid,
                )
            if args.pid is not None:
                grid = _lanes_of(grid, args.pid)
            title = trace.path if len(args.traces) > 1 else ""
            drawing = (grid, clock_of(trace), trace.comms)
            about = (title, args.pid is not None)
            if screen.wants_rich:
                parts.append(TimelineView(*drawing, screen.ascii, *about))
            else:
                parts.append(timeline_text(*drawing, columns, True, *about))
    show_all(screen, parts, columns)
    return 2 if unreadable else 0


def _page(args: argparse.Namespace) -> int:
    """One TRACE on the whole screen."""
    from fputrace.overview import overview
    from fputrace.pager import page

    if args.output:
        raise UsageError("--interactive writes nothing that -o could keep", hint="Leave one away.")
    streams = (sys.stdin, sys.stdout)
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise UsageError(
            "--interactive needs a terminal, and input or output is none",
            hint="Without it the drawing is text, which goes through pipes and into files.",
        )
    one_of(args, "--interactive shows", "Name one.")
    with ExitStack() as stack:
        analyses, unreadable = analyses_of(args, stack, drawing=True)
        if unreadable:
            return 2
        (analysis,) = analyses
        with ExitStack() as bar:
            found = overview(analysis, cpus=args.cpu, progress=progress_of(args, bar))
        if found is None:
            raise UsageError(f"{analysis.trace.path}: there is nothing to show: no events in it")
        window = in_clock(args.time, analysis.trace)
        page(analysis, found, window, args.pid, Screen(None, args.color).ascii)
    return 0


def _lanes_of(grid: LaneGrid, owners: Collection[int]) -> LaneGrid:
    """The CPUs on which one of these tasks holds registers."""
    kept = [
        (cpu, lane)
        for cpu, lane in zip(grid.cpus, grid.cells, strict=True)
        if any(cell.owner in owners for cell in lane)
    ]
    return grid._replace(cpus=tuple(cpu for cpu, _ in kept), cells=tuple(lane for _, lane in kept))
