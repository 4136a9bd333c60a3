"""``fputrace calibrate``: what saves and restores cost on this machine."""

from __future__ import annotations

import argparse
import errno
import os

from fputrace.arguments import Offer

_EPILOG = """\
examples:
  fputrace calibrate                         for: fputrace analyze --costs --prices calibrated
  fputrace calibrate -o here.json            for: fputrace analyze --costs --prices here.json
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    parser = offer(
        "calibrate",
        run,
        "measure what saving and restoring registers costs on this machine",
        _EPILOG,
    )
    parser.add_argument(
        "-o",
        dest="output",
        metavar="FILE",
        help="store it there (default: where analyze --prices calibrated finds it)",
    )


def run(args: argparse.Namespace) -> int:
    """A table of what was measured; stored for ``analyze --prices``."""
    from fputrace.calibrate import calibrate as measure
    from fputrace.calibrate import document, table
    from fputrace.pricefile import default_path
    from fputrace.screen import Screen, say, write_file

    path = args.output or default_path()
    folder = os.path.dirname(path) or os.curdir
    if args.output and not os.path.isdir(folder):
        # Before the seconds that measuring takes.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    found = measure()
    os.makedirs(folder, exist_ok=True)  # the default one
    write_file(path, document(found))
    Screen(None, "never").show(table(found))
    if not args.quiet:
        name = args.output or "calibrated"
        say(f"stored as {path}", f"fputrace analyze --costs --prices {name} uses it")
    return 0
