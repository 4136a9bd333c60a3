"""The TRACEs of a command line: found, opened, analysed, with progress and complaints."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from fputrace.arguments import DEFAULT_TRACES
from fputrace.errors import TraceError, UsageError, closest, what_to_do
from fputrace.screen import Progress, Screen, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from decimal import Decimal

    from rich.console import RenderableType

    from fputrace.events import Trace
    from fputrace.findings import Analysis, Rule
    from fputrace.reports import Unread

RULES_HINT = "fputrace rules lists them"


def notice_plain_loops(args: argparse.Namespace) -> None:
    """Say how to get the compiled loops, where they are missing."""
    from fputrace.nocython import uncompiled

    if not args.quiet and uncompiled():
        say(
            "running without its compiled loops, which is slow; to have them:",
            "apt install gcc python3-dev, then install fputrace again",
        )


def _default_traces() -> list[str]:
    for name in DEFAULT_TRACES:
        if os.path.exists(name):
            return [name]
    raise UsageError(
        f"no TRACE given, and neither {' nor '.join(DEFAULT_TRACES)} is in this folder",
        hint="Name a recording; fputrace record makes one, as fputrace record --help shows.",
    )


def traces_of(args: argparse.Namespace) -> list[str]:
    """Every TRACE, before any of them is read."""
    if "-" in args.traces:
        if sys.stdin is None or sys.stdin.isatty():
            what = "closed" if sys.stdin is None else "a terminal"
            raise UsageError(f"TRACE is - but standard input is {what}", hint="Name a file.")
        if args.sha256:
            raise UsageError(
                "--sha256 needs a file: standard input can be read only once",
                hint="Store it in a file first, or leave --sha256 away.",
            )
    if args.sha256 and any(os.path.isdir(path) for path in args.traces):
        raise UsageError(
            "--sha256 needs a file: a folder has no hash",
            hint="Name the file in it, or leave --sha256 away.",
        )
    paths = args.traces or _default_traces()
    for path in paths:
        outputs = (
            (getattr(args, "output_name", "-o"), args.output),
            ("--attach", getattr(args, "attach", None)),
        )
        for option, output in outputs:
            if output and _is_same(path, output):
                raise UsageError(
                    f"{option} {output} is the recording itself, which would be lost",
                    hint="Name another file.",
                )
    return paths


def one_of(args: argparse.Namespace, does: str, hint: str) -> str:
    """The only TRACE of what ``does`` something with one; UsageError where there are several."""
    paths = traces_of(args)
    if len(paths) > 1:
        raise UsageError(f"{does} one recording, and {len(paths)} were given", hint=hint)
    return paths[0]


def _is_same(path: str, output: str) -> bool:
    try:
        there = os.path.isfile(output) or os.path.isdir(output)
        return path != "-" and there and os.path.samefile(path, output)
    except OSError:  # a TRACE that is not there is told of when it is opened
        return False


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """The options of :func:`add_input`, as ``fputrace.open`` takes them."""
    return {
        "instance": args.instance,
        "reader": args.reader,
        "format_in": args.format_in,
        "member": args.member,
        "clock": args.clock,
        "max_unpacked": args.max_unpacked,
    }


def progress_of(args: argparse.Namespace, stack: ExitStack) -> Progress | None:
    """A progress bar that ``stack`` ends, on a terminal."""
    return None if args.quiet or not sys.stderr.isatty() else Progress(stack)


def analyses_of(
    args: argparse.Namespace,
    stack: ExitStack,
    drawing: bool = False,
    hashes: bool = False,
    again: bool = False,
) -> tuple[list[Analysis], list[Unread]]:
    """Every TRACE analysed, and those that could not be read (stderr has said why).

    Nor, for a drawing, one that has nothing of the chosen CPUs or times.  ``hashes``: name what has
    one by its SHA-256, asked for or not.  ``again``: what is true of all of them has been said.
    """
    from fputrace.analysis import analyze, filter_view
    from fputrace.relatives import relations
    from fputrace.reports import Unread

    if not again:
        notice_plain_loops(args)
    done: list[Analysis] = []
    unreadable: list[Unread] = []
    for path in traces_of(args):
        try:
            with ExitStack() as bar:
                analysis = analyze(
                    path,
                    generation=args.generation,
                    kernel=args.kernel,
                    select=args.select,
                    ignore=args.ignore,
                    plugins=args.plugins,
                    sha256=args.sha256 or hashes,
                    costs=args.costs,
                    prices=args.prices,
                    cpuid=args.cpuid,
                    window=partial(in_clock, args.time),
                    progress=progress_of(args, bar),
                    **reading(args),
                )
        except (TraceError, OSError) as error:
            unreadable.append(Unread(path, *what_failed(error, path)))
            say(unreadable[-1].message, unreadable[-1].hint)
            continue
        stack.callback(analysis.trace.close)
        notices = list(_absent(args, analysis))
        empty = drawing and any(nothing for _, nothing in notices)
        for notice, nothing in notices:
            if (nothing and drawing) or not (empty or args.quiet):
                option = notice.partition(":")[0]
                say(f"{path}: {notice}", f"Choose what is there, or leave {option} away.")
        if empty:
            unreadable += [Unread(path, notice) for notice, nothing in notices if nothing]
            continue
        window = in_clock(args.time, analysis.trace)
        done.append(filter_view(analysis, args.cpu, window, args.pid, args.vcpu, args.vm))
    for analysis, said in zip(done, relations([one.trace for one in done]), strict=True):
        analysis.notes.extend(said)
    return done, unreadable


def prepare(name: str, analyses: Sequence[Analysis], args: argparse.Namespace) -> None:
    """What the report ``name`` draws, computed before: one more pass over each trace for "html".

    The other reports need nothing but the analyses.  Raises ReadError when a file fails meanwhile.
    """
    if name != "html":
        return
    from fputrace.overview import overview

    for analysis in analyses:
        window = in_clock(args.time, analysis.trace)
        with ExitStack() as bar:
            analysis.overview = overview(
                analysis, time=window, cpus=args.cpu, progress=progress_of(args, bar)
            )


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
    low, high = in_clock(args.time, trace) or (None, None)
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


def what_failed(error: TraceError | OSError, path: str) -> tuple[str, str]:
    """An error of reading ``path`` and a hint; the system's own errors may not name the file."""
    if isinstance(error, OSError):
        return f"{error.filename or path}: {error.strerror or error}", what_to_do(error)
    return error.message, error.hint


def in_clock(
    window: tuple[Decimal | None, Decimal | None] | None, trace: Trace
) -> tuple[int | None, int | None] | None:
    """Seconds in ns; for a clock that does not count ns, its own unit."""
    if window is None:
        return None
    unit = 1_000_000_000 if trace.clock_in_ns else 1
    start, end = (None if side is None else int(side * unit) for side in window)
    return start, end


def plugins_of(names: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of these plugins; none costs no import."""
    if not names:
        return ()
    from fputrace.plugins import load

    return load(names)


def check_codes(
    select: Iterable[str],
    ignore: Iterable[str],
    plugins: Sequence[Rule] = (),
    costs: bool = False,
    said_in: tuple[str, str] = ("--select", "--ignore"),
) -> None:
    """Raise UsageError for a code with which no code of the catalogue begins.

    And for a selected one that is not asked without --costs: silence would read as a pass.
    ``said_in``: where the two lists stand.
    """
    from fputrace.rules import PAGES

    known = {page.RULE.code: getattr(page.RULE, "costs_only", False) for page in PAGES}
    known.update({rule.code: rule.costs_only for rule in plugins})
    for place, words in zip(said_in, (select, ignore), strict=True):
        for word in words:
            if not any(code.startswith(word) for code in known):
                raise UsageError(
                    f"{place}: no rule begins with {word!r}{closest(word, known)}",
                    hint=RULES_HINT,
                )
    for word in select:
        if not costs and all(only for code, only in known.items() if code.startswith(word)):
            raise UsageError(
                f"{said_in[0]}: {word} is a normal cost and no finding", hint="Add --costs."
            )


def show_all(
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
