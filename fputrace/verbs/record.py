"""``fputrace record``: a recording of what the rules need."""

from __future__ import annotations

import argparse

from fputrace.arguments import Offer, positive, seconds
from fputrace.screen import say

_EPILOG = """\
examples:
  sudo fputrace record --seconds 10              everything but probes
  sudo fputrace record --probes --vm $(pidof qemu-system-x86_64) --seconds 10
  sudo fputrace record --probes --kfpu -- ./workload
  fputrace record --dry-run > record.sh          for a machine without fputrace

It uses an ftrace instance and probes of its own and takes both away again; docs/record.md has more.

exit status:
  0  recorded, nothing lost
  2  wrong usage, or it could not be recorded
  3  recorded, but events were lost
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    parser = offer("record", run, "record what the rules need, on this kernel", _EPILOG)
    parser.usage = "fputrace record [OPTION]... [-- COMMAND [ARG]...]"
    parser.add_argument(
        "-o", dest="output", metavar="FILE", help="default: trace.dat, perf.data or fputrace.tar"
    )
    parser.add_argument(
        "--with",
        dest="recorder",
        choices=("trace-cmd", "perf", "tracefs"),
        help="who records (default: trace-cmd where it is installed, else tracefs alone)",
    )
    parser.add_argument("--probes", action="store_true", help="where saves and restores go, too")
    parser.add_argument(
        "--kfpu", action="store_true", help="the kernel's own use of the FPU, too; can be frequent"
    )
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--pid", metavar="P", type=positive, help="user mode of this process only")
    whose.add_argument(
        "--vm", metavar="QEMU_PID", type=positive, help="user mode of its vCPU threads only"
    )
    parser.add_argument("--seconds", metavar="N", type=seconds, help="stop after this long")
    parser.add_argument(
        "--buffer-mb",
        metavar="N",
        type=positive,
        help="ring buffer of each CPU (default: 64, less where memory is short)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only print the commands; without --with a script that needs nothing but a shell",
    )
    parser.add_argument("--tracefs", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """A recording of what the rules need, or the commands that make one."""
    from fputrace.record.verb import asked, record_command, shown

    def talk(message: str) -> None:
        if not args.quiet:
            say(message)

    if args.dry_run:
        what = asked(args)
        for note in (*what.notes, *what.plan.missing):
            talk(note)
        print(shown(what), end="")  # noqa: T201
        return 0

    def counted(path: str) -> tuple[dict[str, int], int, float] | None:
        """Events by name, holes, and seconds that a recording spans; None if it cannot be read."""
        try:
            import fputrace

            # A host may be fit for recording but not for numpy, which dislikes its CPU, say.
            with fputrace.open(path) as trace:
                for _ in trace.blocks():
                    pass
        except (ImportError, RuntimeError) as error:
            talk(f"not read back: {str(error).strip().splitlines()[0]}")
            return None
        span = (trace.last_ns or 0) - (trace.first_ns or 0)
        return trace.counts, len(trace.losses), span / 1e9

    return record_command(asked(args), talk, counted)
