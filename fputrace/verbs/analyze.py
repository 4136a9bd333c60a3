"""``fputrace analyze``: findings of every TRACE, with their proof."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fputrace import __version__
from fputrace.arguments import (
    DEFAULT_TRACES,
    STATUS_TABLE,
    Offer,
    add_costs,
    add_input,
    add_model,
    add_output,
    add_plugins,
    add_rules,
    add_view,
    add_vm_view,
)
from fputrace.errors import UsageError
from fputrace.screen import Screen, say
from fputrace.verbs.inputs import analyses_of, check_codes, plugins_of, prepare

if TYPE_CHECKING:
    from fputrace.config import Config
    from fputrace.findings import Analysis

RECORD = """\
trace-cmd record -C mono -b 20000 -e x86_fpu -e kvm:kvm_fpu -e kvm:kvm_entry \\
  -e kvm:kvm_exit -e kvm:kvm_userspace_exit -e sched:sched_switch \\
  -e sched:sched_migrate_task -e sched:sched_process_fork -e sched:sched_process_exec \\
  -e sched:sched_process_exit -e sched:sched_process_free"""
"""What to record always: ``coverage.BASE_EVENTS``, which costs an import (a test compares)."""

FORMATS = ("rich", "text", "markdown", "html", "json", "jsonl", "sarif", "junit")
"""``analyze --format``."""

_RECORD_LINES = "\n".join(f"  {line}" for line in RECORD.splitlines())
_ANALYZE_EPILOG = f"""examples:
  fputrace analyze                           ./{DEFAULT_TRACES[0]}, else ./{DEFAULT_TRACES[1]}
  fputrace analyze before.dat after.dat --format json -o findings.json
  fputrace analyze trace.dat --select FPU1 --time 12.5,13
  ssh host cat trace.dat | fputrace analyze - --fail-on performance

record with:
{_RECORD_LINES}

{STATUS_TABLE}
  --strict: 3 for every selected error rule, not only the core ones; --exit-zero: 0 for 1 and 3
"""


def add(offer: Offer) -> None:
    """The arguments of the verb."""
    analyze = offer("analyze", run, "find what went wrong, and prove it", _ANALYZE_EPILOG)
    add_input(analyze)
    add_model(analyze)
    add_vm_view(add_view(analyze))
    rules = add_rules(analyze)
    output = add_output(analyze, FORMATS)
    output.add_argument("--sha256", action="store_true", help="name the inputs by their hash too")
    add_costs(analyze)
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
    add_plugins(rules)


def run(args: argparse.Namespace) -> int:
    """Findings of every TRACE, with their proof."""
    from fputrace import baseline
    from fputrace.analysis import exit_status
    from fputrace.reports import TELL_UNREAD, Options, render

    args.plugins = plugins_of(args.plugins)
    of_file = args.generation is None
    config = _configured(args)
    check_codes(args.select or (), args.ignore or (), args.plugins, args.costs)
    known = baseline.read(args.baseline) if args.baseline else {}
    screen = Screen(args.output, args.color)
    with ExitStack() as stack:
        try:
            analyses, unreadable = analyses_of(args, stack)
        except UsageError as error:
            raise _placed(error, config.path) if of_file and config.generation else error from None
        if not analyses and args.format not in TELL_UNREAD:
            return 2
        analyses = [_without_ignored(analysis, config) for analysis in analyses]
        found = analyses
        if args.baseline:
            analyses = [baseline.apply(one, known, args.baseline) for one in analyses]
        judged = analyses
        if args.write_baseline:
            # With --baseline what that knows stays known, though it is not among the findings.
            written = baseline.union(known, baseline.gather(found))
            number = baseline.write(args.write_baseline, written)
            if not args.quiet:
                say(f"{args.write_baseline}: {number} known findings")
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
        options = Options(
            args.verbose,
            screen.ascii,
            status,
            __version__,
            args.line,
            unread=tuple(unreadable),
        )
        prepare(name, analyses, args)
        screen.show(render(name, analyses, options))
    return status


def _configured(args: argparse.Namespace) -> Config:
    """The configuration in force; ``args`` get what it says and the command line does not."""
    from fputrace.config import Config, find

    config = Config() if args.no_config else find(args.config)
    places = (f"{config.path}: select", f"{config.path}: ignore")
    selected = config.select if args.select is None else None
    check_codes(selected or (), config.ignore, args.plugins, args.costs, places)
    for option in ("fail_on", "generation", "kernel"):
        if getattr(args, option) is None:
            setattr(args, option, getattr(config, option))
    if selected is not None:
        args.select = list(selected)
    args.fail_on_confirmed = args.fail_on_confirmed or bool(config.fail_on_confirmed)
    args.strict = args.strict or bool(config.strict)
    if config.path and args.verbose:
        say(f"{config.path}: {'; '.join(config.said()) or 'no options'}")
    return config


def _placed(error: UsageError, path: str) -> UsageError:
    """An error about ``--generation`` that nobody gave: the file at ``path`` did."""
    return UsageError(
        error.message.replace("--generation", f"{path}: generation", 1),
        hint=error.hint.replace("--generation", f"generation in {path}"),
    )


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
