"""``fputrace graph``: which images went between registers and memory, as a graph."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fputrace.arguments import Offer, add_input, add_model, add_view, ask_all, finding, positive
from fputrace.errors import UsageError
from fputrace.screen import Screen
from fputrace.verbs.inputs import analyses_of, in_clock, one_of

if TYPE_CHECKING:
    from fputrace.findings import Analysis
    from fputrace.flows import Part

FORMATS = ("dot", "graphml", "json", "mermaid", "svg")
"""``graph --format``."""

_TASKS = 12

_EPILOG = f"""\
examples:
  fputrace graph trace.dat --finding FPU101 --format svg -o fpu101.svg
  fputrace graph trace.dat --time 3.2,3.4 --format mermaid
  fputrace graph trace.dat --format graphml -o trace.graphml

Nodes are the registers of each CPU and the buffers in memory that hold the images of tasks and
guests; edges are saves and restores, with how often, when, and the bytes they moved.  Without
--finding and --time it is the whole trace, the {_TASKS} busiest tasks apart.
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    graph = offer("graph", run, "which images went between registers and memory", _EPILOG)
    add_input(graph)
    add_model(graph)
    view = add_view(graph)
    view.add_argument(
        "--finding",
        metavar="CODE[:N]",
        type=finding,
        help="around the proofs of the Nth finding of a rule, in the order of fputrace analyze",
    )
    view.add_argument(
        "--tasks",
        metavar="N",
        type=positive,
        help=f"the N busiest tasks apart, the rest together (default: {_TASKS}; of a finding, all)",
    )
    output = graph.add_argument_group("output")
    output.add_argument(
        "--format", choices=FORMATS, default="dot", help="default: dot; svg needs Graphviz"
    )
    output.add_argument(
        "-o", dest="output", metavar="FILE", help="write it there (default: standard output)"
    )
    ask_all(graph)
    graph.set_defaults(color="never")


def run(args: argparse.Namespace) -> int:
    """The graph of one TRACE."""
    from fputrace.flows import flows, ownership_graph
    from fputrace.reports.graph import GRAPHS
    from fputrace.reports.outline import clock_of

    one_of(args, "graph draws", "Draw them one by one, each with its own -o.")
    if args.finding and any((args.time, args.cpu, args.pid)):
        raise UsageError(
            "--finding chooses times, CPUs and tasks itself",
            hint="Leave --time, --cpu and --pid away.",
        )
    with ExitStack() as stack:
        analyses, unreadable = analyses_of(args, stack, drawing=True)
        if unreadable:
            return 2
        (analysis,) = analyses
        part, what = _part(args, analysis)
        found = flows(analysis.trace, analysis.generation.candidates, part)
        if not found.flows:
            raise UsageError(
                f"{analysis.trace.path}: {what} shows no save and no restore",
                hint="fputrace info TRACE lists the events it holds.",
            )
        most = args.tasks or (None if args.finding or args.pid else _TASKS)
        graph = ownership_graph(found, analysis.trace.comms, most)
        title = f"{analysis.trace.path}: {what}"
        screen = Screen(args.output, args.color)
        screen.show(GRAPHS[args.format](graph, title, clock_of(analysis.trace)))
    return 0


def _part(args: argparse.Namespace, analysis: Analysis) -> tuple[Part, str]:
    """What of the trace is drawn, and how its title says that."""
    from fputrace.flows import Part, part_of
    from fputrace.reports.outline import clock_of, cpu_list, task
    from fputrace.rewrite.search import finding_of

    if args.finding:
        found = finding_of(analysis, *args.finding)
        whose = f" of {task(found.comm, found.pid)}" if found.pid is not None else ""
        return part_of(found), f"{found.code} {found.name}{whose}, {found.verdict.value}"
    clock = clock_of(analysis.trace)
    start, end = in_clock(args.time, analysis.trace) or (None, None)
    first, last = analysis.trace.first_ns or 0, analysis.trace.last_ns or 0
    low, high = first if start is None else start, last if end is None else end
    words = [f"{clock.at(low)} to {clock.at(high)}" if args.time else "the whole trace"]
    words += [f"CPU {cpu_list(args.cpu)}"] if args.cpu else []
    words += [f"task {cpu_list(args.pid)}"] if args.pid else []
    return Part([(low, high)], args.cpu, args.pid), ", ".join(words)
