"""What each verb of the command line does: arguments in, a result on stdout, the exit status out.

What a verb needs is imported when it runs, so that ``fputrace --help`` costs no more than Python
itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fputrace import __version__
from fputrace.errors import TraceError, UsageError, closest
from fputrace.screen import Progress, Screen, say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from fputrace.config import Config
    from fputrace.events import Trace
    from fputrace.findings import Analysis, Rule
    from fputrace.lanes import LaneGrid

DEFAULT_TRACES = ("trace.dat", "perf.data")
"""What is read when no TRACE is given: the first of these in the current folder."""

_RULES_HINT = "fputrace rules lists them"


def _notice_plain_loops(args: argparse.Namespace) -> None:
    from fputrace.nocython import uncompiled

    if not args.quiet and uncompiled():
        say(
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
    paths = args.traces or _default_traces()
    for path in paths:
        if args.output and _is_same(path, args.output):
            raise UsageError(
                f"-o {args.output} is the recording itself, which would be lost",
                hint="Name another file.",
            )
    return paths


def _is_same(path: str, output: str) -> bool:
    try:
        there = os.path.isfile(output) or os.path.isdir(output)
        return path != "-" and there and os.path.samefile(path, output)
    except OSError:  # a TRACE that is not there is told of when it is opened
        return False


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
                    plugins=args.plugins,
                    sha256=args.sha256,
                    costs=args.costs,
                    prices=args.prices,
                    cpuid=args.cpuid,
                    progress=_progress(args, bar),
                    **_reading(args),
                )
        except (TraceError, OSError) as error:
            say(*_what_failed(error, path))
            unreadable = True
            continue
        stack.callback(analysis.trace.close)
        notices = list(_absent(args, analysis))
        empty = drawing and any(nothing for _, nothing in notices)
        for notice, nothing in notices:
            if (nothing and drawing) or not (empty or args.quiet):
                say(f"{path}: {notice}")
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


def analyze(args: argparse.Namespace) -> int:
    """Findings of every TRACE, with their proof."""
    from fputrace import baseline
    from fputrace.analysis import exit_status
    from fputrace.reports import Options, render

    config = _configured(args)
    args.plugins = _plugins(args.plugins)
    _check_codes(args.select or (), args.ignore or (), args.plugins, args.costs)
    _check_codes((), config.ignore, args.plugins)
    known = baseline.read(args.baseline) if args.baseline else {}
    screen = Screen(args.output, args.color)
    with ExitStack() as stack:
        analyses, unreadable = _analyses(args, stack)
        if not analyses:
            return 2
        analyses = [_without_ignored(analysis, config) for analysis in analyses]
        if args.baseline:
            analyses = [baseline.apply(one, known, args.baseline) for one in analyses]
        judged = analyses
        if args.write_baseline:
            number = baseline.write(args.write_baseline, analyses)
            if not args.quiet:
                say(f"{args.write_baseline}: {number} known findings")
            written = baseline.gather(analyses)
            judged = [baseline.apply(one, written, args.write_baseline) for one in analyses]
        status = exit_status(
            judged,
            fail_on=args.fail_on or "error",
            fail_on_confirmed=args.fail_on_confirmed,
            strict=args.strict,
            exit_zero=args.exit_zero,
            select=args.select,
            ignore=[*(args.ignore or ()), *config.ignore],
        )
        status = 2 if unreadable else status
        name = args.format or ("rich" if screen.wants_rich else "text")
        options = Options(args.verbose, screen.ascii, status, __version__)
        screen.show(render(name, analyses, options))
    return status


def _configured(args: argparse.Namespace) -> Config:
    """The configuration in force; ``args`` get what it says and the command line does not."""
    from fputrace.config import Config, find

    config = Config() if args.no_config else find(args.config)
    for option in ("fail_on", "generation", "kernel"):
        if getattr(args, option) is None:
            setattr(args, option, getattr(config, option))
    if args.select is None and config.select is not None:
        args.select = list(config.select)
    args.fail_on_confirmed = args.fail_on_confirmed or bool(config.fail_on_confirmed)
    args.strict = args.strict or bool(config.strict)
    if config.path and args.verbose:
        say(f"{config.path}: {'; '.join(config.said()) or 'no options'}")
    return config


def _without_ignored(analysis: Analysis, config: Config) -> Analysis:
    """The analysis as the configuration wants it shown, which its notes and counts tell."""
    from fputrace.baseline import suppress

    options = [text for text in config.said() if not text.startswith("ignore ")]
    if options:
        analysis.notes.append(f"Options from {config.path}: {'; '.join(options)}.")
    for code, reason in config.ignore.items():
        analysis = suppress(
            analysis,
            lambda finding, code=code: finding.code.startswith(code),
            f"{reason} (ignore in {config.path})",
        )
    return analysis


def _plugins(names: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of these plugins; none costs no import."""
    if not names:
        return ()
    from fputrace.plugins import load

    return load(names)


def timeline(args: argparse.Namespace) -> int:
    """Who held the registers of each CPU, drawn."""
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


def info(args: argparse.Namespace) -> int:
    """What each TRACE holds and says about itself."""
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
            say(*_what_failed(error, path))
            unreadable = True
            continue
        if shown == "rich":
            parts.append(info.info_rich(trace, screen.ascii))
        else:
            parts.append(info.info_json(trace) if shown == "json" else info.info_text(trace))
    _show_all(screen, parts)
    return 2 if unreadable else 0


def convert(args: argparse.Namespace) -> int:
    """One TRACE in another form."""
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


def record(args: argparse.Namespace) -> int:
    """A recording of what the rules need, or the commands that make one."""
    from fputrace.record.verb import asked, record_command, shown

    if args.dry_run:
        print(shown(asked(args)), end="")  # noqa: T201
        return 0

    def talk(message: str) -> None:
        if not args.quiet:
            say(message)

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


def rules(args: argparse.Namespace) -> int:
    """The catalogue."""
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
        for rule in (*RULES, *_plugins(args.plugins))
    ] + [report.RuleRow(rule.code, rule.name, rule.severity.value, (), ()) for rule in TRACE_RULES]
    screen = Screen(args.output, args.color)
    shown = args.format or ("rich" if screen.wants_rich else "text")
    make = {"rich": report.rules_rich, "text": report.rules_text, "json": report.rules_json}[shown]
    screen.show(make(rows))
    return 0


def explain(args: argparse.Namespace) -> int:
    """The pages of rules."""
    from fputrace.reports.rules import explain_rich, explain_text

    screen = Screen(args.output, args.color)
    make = explain_rich if screen.wants_rich else explain_text
    _show_all(screen, [make(_page_of(word)) for word in args.codes])
    return 0


def _page_of(word: str) -> str:
    """The page of a rule, by code or name."""
    from fputrace.rules import PAGES

    for page in PAGES:
        if word.casefold() in (page.RULE.code.casefold(), page.RULE.name):
            return page.__doc__ or ""
    known = [name for page in PAGES for name in (page.RULE.code, page.RULE.name)]
    raise UsageError(f"there is no rule {word!r}{closest(word, known)}", hint=_RULES_HINT)


def _check_codes(
    select: Iterable[str],
    ignore: Iterable[str],
    plugins: Sequence[Rule] = (),
    costs: bool = False,
) -> None:
    """Raise UsageError for a code with which no code of the catalogue begins.

    And for a selected one that is not asked without --costs: silence would read as a pass.
    """
    from fputrace.rules import PAGES

    known = {page.RULE.code: getattr(page.RULE, "costs_only", False) for page in PAGES}
    known.update({rule.code: rule.costs_only for rule in plugins})
    for word in (*select, *ignore):
        if not any(code.startswith(word) for code in known):
            raise UsageError(
                f"no rule begins with {word!r}{closest(word, known)}", hint=_RULES_HINT
            )
    for word in select:
        if not costs and all(only for code, only in known.items() if code.startswith(word)):
            raise UsageError(f"{word} is a normal cost and no finding", hint="add --costs")
