"""``fputrace info``: what a recording holds and says about itself."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fputrace.arguments import Offer, add_input, add_output
from fputrace.errors import TraceError
from fputrace.screen import Screen, say
from fputrace.verbs.inputs import progress_of, reading, show_all, traces_of, what_failed

if TYPE_CHECKING:
    from rich.console import RenderableType


_EPILOG = """\
examples:
  fputrace info trace.dat                    kernel, clock, events, losses, probes
  fputrace info perf.data --format json
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    info = offer("info", run, "what a recording holds and says about itself", _EPILOG)
    add_input(info)
    info.set_defaults(sha256=False)
    add_output(info, ("rich", "text", "json"))


def run(args: argparse.Namespace) -> int:
    """What each TRACE holds and says about itself."""
    import fputrace
    from fputrace.reports import info

    screen = Screen(args.output, args.color)
    shown = args.format or ("rich" if screen.wants_rich else "text")
    parts: list[str | RenderableType] = []
    unreadable = False
    for path in traces_of(args):
        try:
            with ExitStack() as bar:
                progress = progress_of(args, bar)
                trace = fputrace.open(path, progress=progress, **reading(args))
                bar.callback(trace.close)
                for _ in trace.blocks():
                    if progress:
                        progress(trace)
        except (TraceError, OSError) as error:
            say(*what_failed(error, path))
            unreadable = True
            continue
        if shown == "rich":
            parts.append(info.info_rich(trace, screen.ascii))
        else:
            parts.append(info.info_json(trace) if shown == "json" else info.info_text(trace))
    show_all(screen, parts)
    return 2 if unreadable else 0
