"""``analyze`` as plain text for a mailing list: ASCII, no tabs, lines of at most 72 columns.

The one exception to the width is the ``record`` command, whose words are never broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from fputrace.reports import costs, lanes, outline
from fputrace.reports.command import command_lines
from fputrace.reports.escape import clean
from fputrace.reports.steps import Step, proof_steps

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Analysis, Finding, Witness
    from fputrace.pricing import TraceCosts
    from fputrace.reports import Options

WIDTH = 72

_UNIT = re.compile(r"(\d) (s|ms|us)\b")
"""A number stays on one line with its unit."""


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The report of every trace, one under the other; ends with a newline."""
    return "\n\n".join("\n".join(_lines(a, options.verbose)) for a in analyses) + "\n"


def attachment(analyses: Sequence[Analysis], options: Options) -> str:
    """The same with nothing left out."""
    whole = options._replace(verbose=True, max_lines=None, attach=None)
    return "\n\n".join("\n".join(_lines(a, whole.verbose)) for a in analyses) + "\n"


def _lines(analysis: Analysis, verbose: bool) -> Iterator[str]:
    yield from rows(outline.head(analysis))
    for note in outline.notes(analysis):
        yield ""
        yield from paragraph(f"Note: {note}")
    yield ""
    yield from paragraph(outline.verdict_line(analysis))
    groups = outline.groups(analysis.findings, verbose)
    legend = lanes.legend(outline.shown_witnesses(groups, verbose))
    for group in groups:
        yield from _heading(outline.HEADINGS[group.severity], "=")
        for index, finding in enumerate(group.proved):
            yield from [""] * (index > 0)
            yield from _finding(finding, analysis, verbose, legend)
            legend = "" if finding.witnesses else legend
        for finding in group.listed:
            yield from paragraph(outline.one_line(finding, analysis.windowed), "", "  ")
        if group.hidden:
            yield f"and {outline.number(group.hidden)} more, shown with -v"
    if analysis.costs:
        yield from _heading(costs.HEADING, "=")
        yield from _costs(analysis.costs, outline.clock_of(analysis.trace), verbose)
    yield from _heading("Coverage", "=")
    yield from coverage(analysis, verbose)
    for words, command in outline.recordings(analysis):
        yield ""
        yield words
        yield ""
        for line in command_lines(command, WIDTH - 2):
            yield f"  {clean(line, ascii_only=True)}"


def _finding(finding: Finding, analysis: Analysis, verbose: bool, legend: str) -> Iterator[str]:
    trace, clock = analysis.trace, outline.clock_of(analysis.trace)
    yield from paragraph(outline.title(finding, analysis.windowed))
    yield from rows(outline.facts(finding, clock), "  ")
    yield ""
    yield from paragraph(finding.message, "  ")
    shown = finding.witnesses if verbose else finding.witnesses[:1]
    for index, witness in enumerate(shown):
        yield ""
        yield from paragraph(outline.proof_title(finding, index, clock), "  ")
        yield ""
        yield from proof(witness, trace, finding.code in outline.CHAINS, "" if index else legend)
    more = outline.more_proofs(finding, len(shown))
    if more:
        yield ""
        yield f"  {more}"


def _costs(found: TraceCosts, clock: outline.Clock, verbose: bool) -> Iterator[str]:
    for line in costs.summary(found):
        yield from _about(line)
    for table in costs.tables(found, clock, verbose):
        yield ""
        yield from _about(table.title)
        yield ""
        yield from (f"  {line}" for line in costs.plain(table, WIDTH - 2))
        if table.notes:
            yield ""
        for line in table.notes:
            yield from _about(line)


def _about(text: str) -> list[str]:
    return paragraph(costs.approximate(text))


def proof(
    witness: Witness, trace: Trace, chain: bool, legend: str, indent: str = "  "
) -> Iterator[str]:
    """A proof: the drawing, a legend if one is given, and the steps."""
    drawn = lanes.draw(witness, WIDTH - len(indent))
    for line in drawn:
        yield indent + "".join(text for text, _ in line).rstrip()
    if drawn:
        yield ""
        if legend:
            yield from paragraph(legend, indent)
            yield ""
    yield from step_lines(proof_steps(witness, trace), chain, WIDTH, indent)


def step_lines(steps: Sequence[Step], chain: bool, width: int, indent: str) -> Iterator[str]:
    """The steps of a proof: number, time, CPU, task and event; below, what each proves."""
    times = max((len(step.time) for step in steps), default=0)
    for step in steps:
        arrow = ("-> " if step.number > 1 else "   ") if chain else ""
        lead = f"{indent}{arrow}{step.number:2} "
        below = " " * (len(lead) + 2)
        if step.inferred:
            yield from paragraph(f"{'':{times}} {step.name} (inferred)", lead, below, width)
        else:
            event = f"{step.name}: {step.fields}" if step.fields else step.name
            text = f"{step.time:>{times}} [{step.cpu:03}] {step.task}: {event}"
            yield from paragraph(text, lead, below + " " * 6, width)
        yield from paragraph(step.role, below, below, width)


def coverage(analysis: Analysis, verbose: bool) -> Iterator[str]:
    """Coverage in a few lines, or rule by rule."""
    if not verbose:
        yield from rows(outline.coverage_lines(analysis))
        return
    for row in outline.coverage(analysis):
        yield from paragraph(f"{row.code} {row.name}: {outline.STATUS_WORDS[row.status]}", "", "  ")
        missing = [f"missing {outline.missing(row)}"] if row.missing else []
        for line in [*missing, *([row.why] if row.why else [])]:
            yield from paragraph(line, "  ", "    ")


def rows(chosen: Iterable[outline.Row], indent: str = "") -> Iterator[str]:
    """Labelled values, the values aligned."""
    table = list(chosen)
    column = max((len(row.label) for row in table), default=0) + 2
    for label, lines in table:
        lead = f"{indent}{label}:".ljust(len(indent) + column)
        for line in lines:
            hang = "  " if line.startswith("- ") else ""
            yield from paragraph(line, lead, " " * len(lead) + hang)
            lead = " " * len(lead)


def paragraph(text: str, first: str = "", rest: str | None = None, width: int = WIDTH) -> list[str]:
    """``text`` made harmless and wrapped; ``first`` and ``rest`` stand before its lines."""
    lines = wrap(
        _UNIT.sub("\\1\xa0\\2", clean(text, ascii_only=True)),
        width,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    )
    return [line.replace("\xa0", " ") for line in lines]


def _heading(text: str, line: str) -> list[str]:
    return ["", text, line * len(text), ""]
