"""The command line: arguments in, exit status out.

argparse and exit codes live here and nowhere else; what a verb does with its arguments is in
:mod:`fputrace.verbs`.  stdout is the result, stderr the talk.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from decimal import Decimal
from textwrap import indent
from typing import TYPE_CHECKING, NoReturn

from fputrace import __version__, verbs, verbs_calibrate
from fputrace.errors import FputraceError, closest
from fputrace.reports.escape import clean
from fputrace.screen import say
from fputrace.verbs import DEFAULT_TRACES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_STATUSES = (
    (0, "nothing found at or above --fail-on (default: error)"),
    (1, "findings at or above --fail-on; `possible` ones count, unless --fail-on-confirmed"),
    (2, "wrong usage, or an input that cannot be read"),
    (3, "nothing found, but losses, damage or missing events kept a core rule from being checked"),
)
"""Exit status -> what it says; the README's table and the help are made from it."""

RECORD = """\
trace-cmd record -C mono -b 20000 -e x86_fpu -e kvm:kvm_fpu -e kvm:kvm_entry \\
  -e kvm:kvm_exit -e kvm:kvm_userspace_exit -e sched:sched_switch \\
  -e sched:sched_migrate_task -e sched:sched_process_fork -e sched:sched_process_exec \\
  -e sched:sched_process_exit -e sched:sched_process_free"""
"""What to record always: ``coverage.BASE_EVENTS``, which costs an import (a test compares)."""

FORMATS = ("rich", "text", "markdown", "json")
"""``analyze --format``."""

_STATUS_TABLE = "exit status:\n" + "\n".join(f"  {n}  {text}" for n, text in EXIT_STATUSES)

_TOP_EPILOG = f"""examples:
  fputrace analyze trace.dat                 what went wrong, with the proof of each finding
  fputrace timeline trace.dat --cpu 0-1      who held the FPU registers of each CPU, when
  fputrace explain FPU101                    what a finding means

{_STATUS_TABLE}
"""

_ANALYZE_EPILOG = f"""examples:
  fputrace analyze                           ./{DEFAULT_TRACES[0]}, else ./{DEFAULT_TRACES[1]}
  fputrace analyze a.dat b.dat --format json -o findings.json
  fputrace analyze trace.dat --select FPU1 --time 12.5,13
  ssh host cat trace.dat | fputrace analyze - --fail-on performance

record with:
{indent(RECORD, "  ")}

{_STATUS_TABLE}
  --strict: 3 for every selected error rule, not only the core ones; --exit-zero: 0 for 1 and 3
"""

_CONVERT_EPILOG = """\
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


_RECORD_EPILOG = """\
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


class _Parser(argparse.ArgumentParser):
    """Errors in two lines: what is wrong with the closest that exists, and where help is."""

    def error(self, message: str) -> NoReturn:
        bad = re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", message)
        if bad:
            known = re.findall(r"[\w.-]+", bad[2])
            message = f"{message[: bad.start()]}'{bad[1]}' is not known{closest(bad[1], known)}"
        # What it quotes may be the name of a file.
        self.exit(2, f"fputrace: {clean(message)}\n  {self.prog} --help lists what there is\n")


class _Verb(_Parser):
    """Options may stand before, between and after the positional arguments."""

    _mixing = False

    def parse_known_args(  # type: ignore[override]  # typeshed has it generic in the namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        # argparse's intermixed parsing calls this method for its parts.
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            found, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False
        if unknown:
            # TRACEs behind an unknown option are left over too; the option is what is wrong.
            unknown = [word for word in unknown if word.startswith("-")] or unknown
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def _cpu_list(text: str) -> frozenset[int]:
    """``0-3,7`` as the kernel writes lists of CPUs."""
    cpus: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= 1 << 20:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of CPUs such as 0-3,7")
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 70,72") from None


def _time_range(text: str) -> tuple[Decimal | None, Decimal | None]:
    """``A,B`` in seconds, as perf's --time; an empty side is the trace's own end."""
    sides = [side.strip() for side in text.split(",")]
    # Plain decimals only: what Decimal takes besides (NaN, 1e999999999) is no time.
    if len(sides) != 2 or not all(re.fullmatch(r"-?\d{0,12}(\.\d*)?", side) for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no pair of seconds such as 12.5,13 or 12.5, or ,13"
        )
    start, end = (Decimal(side) if re.search(r"\d", side) else None for side in sides)
    if start is not None and end is not None and start > end:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    return start, end


def _codes(text: str) -> list[str]:
    return [part.strip().upper() for part in text.split(",") if part.strip()]


def _width(text: str) -> int:
    if not text.isdecimal() or not 20 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no width from 20 to 10000 columns")
    return int(text)


def _gib(text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GiB such as 64")
    return float(text)


def _add_input(parser: _Parser) -> None:
    parser.add_argument(
        "traces",
        metavar="TRACE",
        nargs="*",
        help="recordings of any known format, packed or not, archives, folders; - is stdin "
        f"(default: {', then '.join(DEFAULT_TRACES)} in this folder)",
    )
    group = parser.add_argument_group("reading")
    group.add_argument("--format-in", metavar="NAME", help="what TRACE is, instead of looking")
    group.add_argument("--member", metavar="NAME", help="which recording of an archive or a folder")
    group.add_argument(
        "--max-unpacked",
        metavar="GIB",
        type=_gib,
        help="unpack up to this (default: 0.25, beyond that 1000 times the input, at most 32)",
    )
    group.add_argument(
        "--reader", choices=["tracecmd"], help="read trace.dat through trace-cmd's Python bindings"
    )
    group.add_argument("--instance", metavar="NAME", help="the ftrace instance (default: the top)")
    group.add_argument(
        "--clock", metavar="NAME", help="the trace clock, where TRACE lacks it: mono"
    )


def _add_model(parser: _Parser) -> None:
    group = parser.add_argument_group("the kernel")
    group.add_argument("--kernel", metavar="RELEASE", help="its release, where TRACE lacks it")
    group.add_argument(
        "--generation", metavar="G", help="judge by this model of FPU ownership (G4a), as if proven"
    )


def _add_view(parser: _Parser) -> argparse._ArgumentGroup:
    group = parser.add_argument_group(
        "what is shown", "the whole trace is replayed all the same, so nothing is judged on a part"
    )
    group.add_argument("--cpu", metavar="LIST", type=_cpu_list, help="CPUs, 0-3,7")
    group.add_argument(
        "--time", metavar="A,B", type=_time_range, help="from A to B, seconds of the trace's clock"
    )
    group.add_argument("--pid", metavar="LIST", type=_numbers, help="tasks")
    return group


def _add_vm_view(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--vcpu", metavar="LIST", type=_numbers, help="vCPUs, by vcpu_id")
    group.add_argument("--vm", metavar="TGID", type=int, help="one virtual machine")


def _add_output(parser: _Parser, formats: Sequence[str] = ()) -> argparse._ArgumentGroup:
    group = parser.add_argument_group("output")
    if formats:
        group.add_argument(
            "--format",
            choices=formats,
            help="default: rich on a terminal, else text",
        )
    group.add_argument("-o", dest="output", metavar="FILE", help="write the result there")
    group.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="auto: on a terminal, and as NO_COLOR and FORCE_COLOR say",
    )
    return group


def _add_plugins(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--plugin",
        dest="plugins",
        metavar="NAME",
        action="append",
        default=[],
        help="a rule of another package (its entry point in fputrace.rules); runs its code",
    )


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds such as 10")
    return float(text)


def _add_record(parser: _Parser) -> None:
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
    whose.add_argument("--pid", metavar="P", type=_positive, help="user mode of this process only")
    whose.add_argument(
        "--vm", metavar="QEMU_PID", type=_positive, help="user mode of its vCPU threads only"
    )
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="stop after this long")
    parser.add_argument(
        "--buffer-mb",
        metavar="N",
        type=_positive,
        help="ring buffer of each CPU (default: 64, less where memory is short)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only print the commands; without --with a script that needs nothing but a shell",
    )
    parser.add_argument("--tracefs", help=argparse.SUPPRESS)


def build_parser() -> argparse.ArgumentParser:
    """Every verb and option there is."""
    talk = _Verb(add_help=False, allow_abbrev=False)
    talk.add_argument("-q", "--quiet", action="store_true", help="no progress, no notices")
    talk.add_argument("-v", "--verbose", action="store_true", help="everything, not a selection")
    parser = _Parser(
        prog="fputrace",
        description="Finds floating-point state gone wrong under KVM in recordings of a kernel.",
        epilog=_TOP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fputrace {__version__}")
    offered = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", parser_class=_Verb)

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str = ""
    ) -> _Parser:
        made = offered.add_parser(
            name,
            parents=[talk],
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        made.set_defaults(run=run)
        return made

    analyze = verb("analyze", verbs.analyze, "find what went wrong, and prove it", _ANALYZE_EPILOG)
    _add_input(analyze)
    _add_model(analyze)
    _add_vm_view(_add_view(analyze))
    rules = analyze.add_argument_group(
        "rules", "codes or their beginnings: FPU1 is FPU101, FPU102, ..."
    )
    rules.add_argument("--select", metavar="CODES", type=_codes, action="extend", help="only these")
    rules.add_argument("--ignore", metavar="CODES", type=_codes, action="extend", help="not these")
    output = _add_output(analyze, FORMATS)
    output.add_argument("--sha256", action="store_true", help="name the inputs by their hash too")
    costs = analyze.add_argument_group("costs", "estimates; docs/costs.md says how they come about")
    costs.add_argument(
        "--costs",
        action="store_true",
        help="what saves and restores cost each task; also asks FPU203 to FPU207",
    )
    costs.add_argument(
        "--prices",
        metavar="FILE",
        help="ns of a save and a restore: JSON, or a name: default, zen5, calibrated",
    )
    costs.add_argument(
        "--cpuid", metavar="FILE", help="bytes of each xstate component: JSON, a sidecar has them"
    )
    status = analyze.add_argument_group("exit status")
    status.add_argument(
        "--fail-on", choices=["error", "performance", "never"], help="default: error"
    )
    status.add_argument(
        "--fail-on-confirmed", action="store_true", help="`possible` does not count"
    )
    status.add_argument(
        "--strict", action="store_true", help="3 when any selected error rule could not be checked"
    )
    status.add_argument("--exit-zero", action="store_true", help="0 instead of 1 and 3")
    known = analyze.add_argument_group("what is known", "docs/config.md has more")
    config = known.add_mutually_exclusive_group()
    config.add_argument(
        "--config",
        metavar="FILE",
        help="options from there (default: fputrace.toml, or [tool.fputrace] of pyproject.toml)",
    )
    config.add_argument("--no-config", action="store_true", help="from no file")
    known.add_argument("--baseline", metavar="FILE", help="leave out what FILE knows, and count it")
    known.add_argument(
        "--write-baseline", metavar="FILE", help="what is found is known from now on"
    )
    _add_plugins(rules)

    timeline = verb("timeline", verbs.timeline, "draw who held the FPU registers of each CPU, when")
    _add_input(timeline)
    _add_model(timeline)
    _add_view(timeline)
    _add_output(timeline)
    timeline.set_defaults(select=None, ignore=None, sha256=False, vcpu=None, vm=None, plugins=())
    timeline.set_defaults(costs=False, prices=None, cpuid=None)
    timeline.add_argument("--width", metavar="COLUMNS", type=_width, help="default: the terminal's")

    info = verb("info", verbs.info, "what a recording holds and says about itself")
    _add_input(info)
    info.set_defaults(sha256=False)
    _add_output(info, ("rich", "text", "json"))

    convert = verb(
        "convert",
        verbs.convert,
        "write a recording as JSON lines, Parquet tables or text",
        _CONVERT_EPILOG,
    )
    _add_input(convert)
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

    _add_record(
        verb("record", verbs.record, "record what the rules need, on this kernel", _RECORD_EPILOG)
    )

    calibrate = verb(
        "calibrate",
        verbs_calibrate.calibrate,
        "measure what saving and restoring registers costs on this machine",
    )
    calibrate.add_argument(
        "-o",
        dest="output",
        metavar="FILE",
        help="store it there (default: where analyze --prices calibrated finds it)",
    )

    catalogue = verb("rules", verbs.rules, "list the rules")
    _add_plugins(catalogue)
    _add_output(catalogue, ("rich", "text", "json"))

    explain = verb("explain", verbs.explain, "what a finding means, and when it can be wrong")
    explain.add_argument("codes", metavar="CODE", nargs="+", help="FPU101, or its name")
    _add_output(explain)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result goes to stdout, and the exit status is returned."""
    # numpy's BLAS starts a thread for each core when it is loaded; nothing here uses them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    no_stdout = _open_closed_streams()
    parser = build_parser()
    words = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if words[:1] == ["record"] and "--" in words:
        # What is COMMAND's own is no option of ours, and argparse drops a "--" of it.
        command = words[words.index("--") + 1 :]
        del words[words.index("--") :]
    args = parser.parse_args(words)
    args.command = command
    if args.verb is None:
        print(parser.format_help(), end="", file=sys.stderr)  # noqa: T201
        return 2
    if no_stdout and args.output is None:
        say("standard output is closed", "-o FILE writes the result to a file")
        return 2
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except FputraceError as error:
        say(error.message, error.hint)
        return 2
    except BrokenPipeError:
        # Whoever read us has seen enough.
        _drop_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        say(f"{error.filename or 'standard output'}: {error.strerror or error}")
        if error.filename is None:
            _drop_stdout()
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _open_closed_streams() -> bool:
    """Let stdout and stderr be /dev/null where the caller closed them; True without a stdout.

    Python makes them None then, and the next file opened would get their number.
    """
    closed = sys.stdout is None
    if closed:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return closed


def _drop_stdout() -> None:
    """What stdout still holds is lost: Python must not complain again when it closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
