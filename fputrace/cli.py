"""The command line: arguments in, exit status out.

argparse and exit codes live here and nowhere else.  stdout is the result, stderr the talk.  What a
verb needs is imported when it runs, so that ``fputrace --help`` costs no more than Python itself.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from contextlib import ExitStack
from decimal import Decimal
from textwrap import indent
from typing import TYPE_CHECKING, Any, NoReturn

from fputrace import __version__
from fputrace.errors import FputraceError, TraceError, UsageError
from fputrace.reports.escape import clean
from fputrace.screen import Progress, Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from fputrace.events import Trace
    from fputrace.findings import Analysis
    from fputrace.lanes import LaneGrid

DEFAULT_TRACES = ("trace.dat", "perf.data")
"""What is read when no TRACE is given: the first of these in the current folder."""

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

_RULES_HINT = "fputrace rules lists them"

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


def closest(word: str, known: Iterable[str]) -> str:
    """The closest names that exist for an unknown word; all of them when none is close."""
    import difflib

    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=3, cutoff=0.5)
    if found:
        return "; the closest that exist: " + ", ".join(by_fold[name] for name in found)
    return "; there are: " + ", ".join(by_fold.values())


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
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", parser_class=_Verb)

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str = ""
    ) -> _Parser:
        made = verbs.add_parser(
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

    analyze = verb("analyze", _analyze, "find what went wrong, and prove it", _ANALYZE_EPILOG)
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
    status = analyze.add_argument_group("exit status")
    status.add_argument("--fail-on", choices=["error", "performance", "never"], default="error")
    status.add_argument(
        "--fail-on-confirmed", action="store_true", help="`possible` does not count"
    )
    status.add_argument(
        "--strict", action="store_true", help="3 when any selected error rule could not be checked"
    )
    status.add_argument("--exit-zero", action="store_true", help="0 instead of 1 and 3")

    timeline = verb("timeline", _timeline, "draw who held the FPU registers of each CPU, when")
    _add_input(timeline)
    _add_model(timeline)
    _add_view(timeline)
    _add_output(timeline)
    timeline.set_defaults(select=None, ignore=None, sha256=False, vcpu=None, vm=None)
    timeline.add_argument("--width", metavar="COLUMNS", type=_width, help="default: the terminal's")

    info = verb("info", _info, "what a recording holds and says about itself")
    _add_input(info)
    info.set_defaults(sha256=False)
    _add_output(info, ("rich", "text", "json"))

    convert = verb(
        "convert",
        _convert,
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
        verb("record", _record, "record what the rules need, on this kernel", _RECORD_EPILOG)
    )

    _add_output(verb("rules", _rules, "list the rules"), ("rich", "text", "json"))

    explain = verb("explain", _explain, "what a finding means, and when it can be wrong")
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
        _say("standard output is closed", "-o FILE writes the result to a file")
        return 2
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except FputraceError as error:
        _say(error.message, error.hint)
        return 2
    except BrokenPipeError:
        # Whoever read us has seen enough.
        _drop_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _say(f"{error.filename or 'standard output'}: {error.strerror or error}")
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


def _say(message: str, hint: str = "") -> None:
    """Talk to the user; a hint may have several lines.  Both may quote a file and its name."""
    lines = [clean(message), *(f"  {clean(line)}" for line in hint.splitlines())]
    print("fputrace:", "\n".join(lines), file=sys.stderr)  # noqa: T201


def _notice_plain_loops(args: argparse.Namespace) -> None:
    from fputrace.nocython import uncompiled

    if not args.quiet and uncompiled():
        _say(
            "running without its compiled loops, which is slow; to have them:",
            "apt install gcc python3-dev, then install fputrace again",
        )


# Traces


def _default_traces() -> list[str]:
    for name in DEFAULT_TRACES:
        if os.path.exists(name):
            return [name]
    raise UsageError(
        f"no TRACE given, and neither {' nor '.join(DEFAULT_TRACES)} is in this folder",
        hint="fputrace analyze --help shows how to record one",
    )


def _traces(args: argparse.Namespace) -> list[str]:
    """Every TRACE, before any of them is read."""
    if "-" in args.traces:
        if sys.stdin is None or sys.stdin.isatty():
            what = "closed" if sys.stdin is None else "a terminal"
            raise UsageError(f"TRACE is - but standard input is {what}", hint="Name a file.")
        if args.sha256:
            raise UsageError("--sha256 needs a file: standard input can be read only once")
    if args.sha256 and any(os.path.isdir(path) for path in args.traces):
        raise UsageError("--sha256 needs a file: a folder has no hash")
    return args.traces or _default_traces()


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    """The options of :func:`_add_input`, as ``fputrace.open`` takes them."""
    return {
        "instance": args.instance,
        "reader": args.reader,
        "format_in": args.format_in,
        "member": args.member,
        "clock": args.clock,
        "max_unpacked": args.max_unpacked,
    }


def _progress(args: argparse.Namespace, stack: ExitStack) -> Progress | None:
    return None if args.quiet or not sys.stderr.isatty() else Progress(stack)


def _analyses(
    args: argparse.Namespace, stack: ExitStack, drawing: bool = False
) -> tuple[list[Analysis], bool]:
    """Every TRACE analysed; the flag says that one could not be read (stderr says why).

    Nor, for a drawing, one that has nothing of the chosen CPUs or times.
    """
    from fputrace.analysis import analyze, filter_view
    from fputrace.relatives import relations

    _notice_plain_loops(args)
    done: list[Analysis] = []
    unreadable = False
    for path in _traces(args):
        try:
            with ExitStack() as bar:
                analysis = analyze(
                    path,
                    generation=args.generation,
                    kernel=args.kernel,
                    select=args.select,
                    ignore=args.ignore,
                    sha256=args.sha256,
                    progress=_progress(args, bar),
                    **_reading(args),
                )
        except (TraceError, OSError) as error:
            _say(*_what_failed(error, path))
            unreadable = True
            continue
        stack.callback(analysis.trace.close)
        notices = list(_absent(args, analysis))
        empty = drawing and any(nothing for _, nothing in notices)
        for notice, nothing in notices:
            if (nothing and drawing) or not (empty or args.quiet):
                _say(f"{path}: {notice}")
        if empty:
            unreadable = True
            continue
        window = _in_clock(args.time, analysis.trace)
        done.append(filter_view(analysis, args.cpu, window, args.pid, args.vcpu, args.vm))
    for analysis, said in zip(done, relations([one.trace for one in done]), strict=True):
        analysis.notes.extend(said)
    return done, unreadable


def _absent(args: argparse.Namespace, analysis: Analysis) -> Iterator[tuple[str, bool]]:
    """A sentence for each option that names what this trace does not have.

    The flag says that no event is of those CPUs or times.
    """
    from fputrace.reports.outline import clock_of, cpu_list

    trace = analysis.trace
    cpus = (args.cpu or set()) - set(trace.cpus)
    if cpus and trace.cpus:
        missing = f"--cpu: there is no CPU {cpu_list(cpus)}, only {cpu_list(trace.cpus)}"
        yield missing, cpus == args.cpu
    low, high = _in_clock(args.time, trace) or (None, None)
    if trace.first_ns is not None and trace.last_ns is not None:
        before = high is not None and high < trace.first_ns
        if before or (low is not None and low > trace.last_ns):
            clock = clock_of(trace)
            yield (
                (
                    f"--time: the window is {'before' if before else 'after'} the trace, which is "
                    f"from {clock.at(trace.first_ns)} to {clock.at(trace.last_ns)}"
                ),
                True,
            )
    for pid in sorted((args.pid or set()) - trace.comms.keys()):
        yield f"--pid: the trace names no task {pid}", False
    # Nothing but findings tells which vCPU and VM a task is of.
    wanted = (
        ("--vcpu", "vCPU", args.vcpu or set(), {f.vcpu for f in analysis.findings}),
        (
            "--vm",
            "VM",
            set() if args.vm is None else {args.vm},
            {f.tgid for f in analysis.findings},
        ),
    )
    for option, what, numbers, found in wanted:
        known = {number for number in found if number is not None}
        if known and numbers - known:
            yield (
                (
                    f"{option}: no finding is of {what} {cpu_list(numbers - known)}; the findings "
                    f"that tell are of {what} {cpu_list(known)}"
                ),
                False,
            )


def _what_failed(error: TraceError | OSError, path: str) -> tuple[str, str]:
    """An error of reading ``path`` and a hint; the system's own errors may not name the file."""
    if isinstance(error, OSError):
        return f"{error.filename or path}: {error.strerror or error}", ""
    return error.message, error.hint


def _in_clock(
    window: tuple[Decimal | None, Decimal | None] | None, trace: Trace
) -> tuple[int | None, int | None] | None:
    """Seconds in ns; for a clock that does not count ns, its own unit."""
    if window is None:
        return None
    unit = 1_000_000_000 if trace.clock_in_ns else 1
    start, end = (None if side is None else int(side * unit) for side in window)
    return start, end


# The verbs


def _analyze(args: argparse.Namespace) -> int:
    from fputrace.analysis import exit_status
    from fputrace.reports import Options, render

    _check_codes(args.select or (), args.ignore or ())
    screen = Screen(args.output, args.color)
    with ExitStack() as stack:
        analyses, unreadable = _analyses(args, stack)
        if not analyses:
            return 2
        status = exit_status(
            analyses,
            fail_on=args.fail_on,
            fail_on_confirmed=args.fail_on_confirmed,
            strict=args.strict,
            exit_zero=args.exit_zero,
            select=args.select,
            ignore=args.ignore,
        )
        status = 2 if unreadable else status
        name = args.format or ("rich" if screen.wants_rich else "text")
        options = Options(args.verbose, screen.ascii, status, __version__)
        screen.show(render(name, analyses, options))
    return status


def _timeline(args: argparse.Namespace) -> int:
    import shutil

    from fputrace.lanes import LaneGrid
    from fputrace.reports.outline import clock_of
    from fputrace.reports.timeline import TimelineView, cells_for, timeline_text

    screen = Screen(args.output, args.color)
    width = args.width or shutil.get_terminal_size().columns
    parts: list[str | RenderableType] = []
    with ExitStack() as stack:
        analyses, unreadable = _analyses(args, stack, drawing=True)
        for analysis in analyses:
            trace = analysis.trace
            cpus = [cpu for cpu in trace.cpus if args.cpu is None or cpu in args.cpu]
            if trace.first_ns is None or trace.last_ns is None or not cpus:
                grid = LaneGrid(0, 0, (), ())
            else:
                start, end = _in_clock(args.time, trace) or (None, None)
                grid = analysis.timeline.lanes(
                    trace.first_ns if start is None else start,
                    trace.last_ns if end is None else end,
                    cells_for(width, cpus),
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
                parts.append(timeline_text(*drawing, width, True, *about))
    _show_all(screen, parts, width)
    return 2 if unreadable else 0


def _lanes_of(grid: LaneGrid, owners: Collection[int]) -> LaneGrid:
    """The CPUs on which one of these tasks holds registers."""
    kept = [
        (cpu, lane)
        for cpu, lane in zip(grid.cpus, grid.cells, strict=True)
        if any(cell.owner in owners for cell in lane)
    ]
    return grid._replace(cpus=tuple(cpu for cpu, _ in kept), cells=tuple(lane for _, lane in kept))


def _info(args: argparse.Namespace) -> int:
    import fputrace
    from fputrace.reports import info

    screen = Screen(args.output, args.color)
    shown = args.format or ("rich" if screen.wants_rich else "text")
    parts: list[str | RenderableType] = []
    unreadable = False
    for path in _traces(args):
        try:
            with ExitStack() as bar:
                progress = _progress(args, bar)
                trace = fputrace.open(path, progress=progress, **_reading(args))
                bar.callback(trace.close)
                for _ in trace.blocks():
                    if progress:
                        progress(trace)
        except (TraceError, OSError) as error:
            _say(*_what_failed(error, path))
            unreadable = True
            continue
        if shown == "rich":
            parts.append(info.info_rich(trace, screen.ascii))
        else:
            parts.append(info.info_json(trace) if shown == "json" else info.info_text(trace))
    _show_all(screen, parts)
    return 2 if unreadable else 0


def _convert(args: argparse.Namespace) -> int:
    import fputrace
    from fputrace.convert import convert_trace

    paths = _traces(args)
    if len(paths) > 1:
        raise UsageError(
            f"convert writes one recording, and {len(paths)} were given",
            hint="Convert them one by one, each with its own -o.",
        )
    _notice_plain_loops(args)
    with ExitStack() as bar:
        progress = _progress(args, bar)
        trace = bar.enter_context(fputrace.open(paths[0], progress=progress, **_reading(args)))
        convert_trace(trace, args.to, args.output, force=args.force, progress=progress)
    return 0


def _record(args: argparse.Namespace) -> int:
    from fputrace.record.verb import asked, record_command, shown

    if args.dry_run:
        print(shown(asked(args)), end="")  # noqa: T201
        return 0

    def talk(message: str) -> None:
        if not args.quiet:
            _say(message)

    def counted(path: str) -> tuple[dict[str, int], int, float]:
        """The events of what was recorded, the holes in it and how many seconds it spans."""
        import fputrace

        with fputrace.open(path) as trace:
            for _ in trace.blocks():
                pass
            span = (trace.last_ns or 0) - (trace.first_ns or 0)
            return trace.counts, len(trace.losses), span / 1e9

    return record_command(asked(args), talk, counted)


def _show_all(
    screen: Screen, parts: Sequence[str | RenderableType], width: int | None = None
) -> None:
    """All text, or all renderables: one under the other with a line between."""
    if not parts:
        return
    if all(isinstance(part, str) for part in parts):
        screen.show("\n".join(str(part) for part in parts))
        return
    from rich.console import Group

    lines = [line for part in parts for line in ("", part)]
    screen.show(Group(*lines[1:]), width)


def _rules(args: argparse.Namespace) -> int:
    from fputrace.generation import GENERATIONS
    from fputrace.reports import rules as report
    from fputrace.rules import RULES, TRACE_RULES

    rows = [
        report.RuleRow(
            rule.code,
            rule.name,
            rule.severity.value,
            tuple(code for code in GENERATIONS if code in rule.generations)
            if rule.generations != set(GENERATIONS)
            else (),
            rule.needs,
        )
        for rule in RULES
    ] + [report.RuleRow(rule.code, rule.name, rule.severity.value, (), ()) for rule in TRACE_RULES]
    screen = Screen(args.output, args.color)
    shown = args.format or ("rich" if screen.wants_rich else "text")
    make = {"rich": report.rules_rich, "text": report.rules_text, "json": report.rules_json}[shown]
    screen.show(make(rows))
    return 0


def _explain(args: argparse.Namespace) -> int:
    from fputrace.reports.rules import explain_rich, explain_text

    screen = Screen(args.output, args.color)
    make = explain_rich if screen.wants_rich else explain_text
    _show_all(screen, [make(_page_of(word)) for word in args.codes])
    return 0


def _page_of(word: str) -> str:
    """The page of a rule, by code or name."""
    from fputrace.rules import PAGES, UNCHECKED

    for page in PAGES:
        if word.casefold() in (page.RULE.code.casefold(), page.RULE.name):
            return page.__doc__ or ""
    for code, name in UNCHECKED:
        if word.casefold() in (code.casefold(), name):
            raise UsageError(f"{code} {name} is not checked by this version", hint=_RULES_HINT)
    known = [name for page in PAGES for name in (page.RULE.code, page.RULE.name)]
    raise UsageError(f"there is no rule {word!r}{closest(word, known)}", hint=_RULES_HINT)


def _check_codes(select: Iterable[str], ignore: Iterable[str]) -> None:
    """Raise UsageError for a code with which no code of the catalogue begins.

    And for a selected one that no rule of this version can answer: silence would read as a pass.
    """
    from fputrace.rules import PAGES, UNCHECKED

    checked = [page.RULE.code for page in PAGES]
    known = checked + [code for code, _ in UNCHECKED]
    for word in (*select, *ignore):
        if not any(code.startswith(word) for code in known):
            raise UsageError(
                f"no rule begins with {word!r}{closest(word, known)}", hint=_RULES_HINT
            )
    for word in select:
        if not any(code.startswith(word) for code in checked):
            raise UsageError(f"{word} is not checked by this version", hint=_RULES_HINT)
