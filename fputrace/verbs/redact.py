"""``fputrace redact``: a recording without the names that are in it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from fputrace.arguments import Offer, add_in_out, kinds
from fputrace.screen import say
from fputrace.verbs.inputs import notice_plain_loops, progress_of, reading, traces_of

_EPILOG = """\
examples:
  fputrace redact trace.dat public.dat
  fputrace redact trace.dat public.dat --keep comm     names of tasks may be known
  fputrace cut trace.dat - --finding FPU101 | fputrace redact - public.dat

OUT has the form of IN (trace.dat, perf.data or text), the same events at the same times, and gives
the same findings.  The same name or address has the same new one wherever it stands.
docs/sharing.md says what is changed and what is not: have a look at OUT before it leaves the house.

exit status:
  0  written
  2  wrong usage, an input that cannot be read, or an output that cannot be written
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    redact = offer("redact", run, "rename tasks, hosts and addresses, to publish it", _EPILOG)
    add_in_out(redact)
    redact.add_argument(
        "--keep",
        metavar="KINDS",
        type=kinds,
        default=(),
        help="leave these as they are: comm (names of tasks), host (of hosts, guests, instances), "
        "pointer (addresses), symbol (functions of modules), text (other text)",
    )


def run(args: argparse.Namespace) -> int:
    """IN as OUT, without its names."""
    import fputrace
    from fputrace.convert.output import check_no_terminal
    from fputrace.rewrite import redact
    from fputrace.rewrite.beside import facts_beside, write_beside
    from fputrace.rewrite.records import plan_of

    args.traces = [args.input]
    (path,) = traces_of(args)
    notice_plain_loops(args)
    with ExitStack() as bar:
        progress = progress_of(args, bar)
        trace = bar.enter_context(fputrace.open(path, progress=progress, **reading(args)))
        if plan_of(trace) is not None:
            check_no_terminal(args.output)
        with _seekable(args.output) as out:
            done = redact(trace, out, args.keep, progress)
        facts = done.facts(facts_beside(trace, path))
        beside = write_beside(args.output, facts) if facts and args.output else ""
    if not args.quiet:
        shown = args.output or "standard output"
        say(f"{shown}: {done.said}", f"{beside} belongs to it" if beside else "")
    return 0


@contextmanager
def _seekable(output: str | None) -> Iterator[IO[bytes]]:
    """A file that can be sought in, and is ``output`` when it is complete."""
    import shutil
    import tempfile

    from fputrace.convert.output import file_output

    plain = output is not None and (os.path.isfile(output) or not os.path.exists(output))
    with file_output(output) as out:
        if plain and output is not None and not output.endswith((".gz", ".zst")):
            yield out
            return
        with tempfile.TemporaryFile(prefix="fputrace-") as file:
            yield file
            file.seek(0)
            shutil.copyfileobj(file, out)
