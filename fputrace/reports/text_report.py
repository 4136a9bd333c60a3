"""``analyze`` as plain text for a mailing list: ASCII, no tabs, lines of at most 72 columns.

The one exception to the width is the ``record`` command, whose words are never broken.  What
matters most comes first, and what is too long is left out from the end of the findings: who
receives it learns what is missing, and the sender where it can be had.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING

from fputrace.findings import Verdict, in_words
from fputrace.reports import costs, lanes, outline, summary
from fputrace.reports.chain import chain_lines, overwritten
from fputrace.reports.command import command_lines
from fputrace.reports.escape import clean
from fputrace.reports.fitting import Block, Limit, Part, characters, fit
from fputrace.reports.steps import Step, proof_steps

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Analysis, Finding, Witness
    from fputrace.pricing import TraceCosts
    from fputrace.reports import Options

WIDTH = 72
MAX_BYTES = 64 * 1024
"""What mailing lists and bug trackers take; no report is longer unless it was asked for."""

_UNIT = re.compile(r"(\d) (s|ms|us)\b")
"""A number stays on one line with its unit."""


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The report of every trace, one under the other; ends with a newline."""
    titled = len(analyses) > 1
    parts = [_part(analysis, options, titled, index) for index, analysis in enumerate(analyses)]
    if options.max_lines is not None:
        limit = Limit(options.max_lines, len, _notice(options), by_line=True)
        lines = fit(parts, limit)[: options.max_lines]
    elif options.verbose:
        lines = [line for part in parts for line in part.lines]
    else:
        lines = fit(parts, Limit(MAX_BYTES, characters, _notice(options), by_line=True))
    return "\n".join(lines) + "\n"


def attachment(analyses: Sequence[Analysis], options: Options) -> str:
    """The same with nothing left out."""
    return report(analyses, options._replace(verbose=True, max_lines=None, attach=None))


def _notice(options: Options) -> Callable[[int, int], Block]:
    where = (
        f"the whole report is in {options.attach}"
        if options.attach
        else "fputrace report --attach FILE writes the whole report to FILE"
    )

    def notice(lines: int, findings: int) -> Block:
        return ["", *paragraph(f"[Left out: {outline.number(lines)} lines; {where}]")]

    return notice


def _part(analysis: Analysis, options: Options, titled: bool, index: int) -> Part:
    """The blocks of one trace; with the name of its file where there are several."""
    name = paragraph(summary.file_name(analysis.trace.path))
    above = ["", ""] * (index > 0)
    above += [*name, "#" * max(map(len, name)), ""] if titled else []
    head = [[*above, *paragraph(summary.summary(analysis)), "", *rows(summary.kernel(analysis))]]
    head += [["", *paragraph(f"Note: {note}")] for note in outline.notes(analysis)]
    tail = [[*_heading("Coverage", "="), *coverage(analysis, options.verbose)]]
    for words, command in outline.recordings(analysis):
        lines = command_lines(clean(command, ascii_only=True), WIDTH - 2)
        tail.append(["", words, "", *(f"  {line}" for line in lines)])
    tail.append([*_heading("Losses", "="), *rows(summary.holes(analysis))])
    tail.append([*_heading("Provenance", "="), *_provenance(analysis, options)])
    return Part(head, list(_body(analysis, options.verbose)), tail)


def _body(analysis: Analysis, verbose: bool) -> Iterator[Block]:
    groups = outline.groups(analysis.findings, verbose)
    legend = lanes.legend(outline.shown_witnesses(groups, verbose))
    told: set[str] = set()
    for group in groups:
        heading = _heading(outline.HEADINGS[group.severity], "=")
        for finding in group.proved:
            yield [*heading, *_finding(finding, analysis, verbose, legend, told)]
            legend = "" if finding.witnesses else legend
            heading = [""]
        listed = [outline.one_line(finding, analysis.windowed) for finding in group.listed]
        if group.hidden:
            listed.append(f"and {outline.number(group.hidden)} more, shown with -v")
        if listed:
            yield [*heading, *(row for line in listed for row in paragraph(line, "", "  "))]
    if analysis.costs:
        yield [
            *_heading(costs.HEADING, "="),
            *_costs(analysis.costs, outline.clock_of(analysis.trace), verbose),
        ]


def _finding(
    finding: Finding, analysis: Analysis, verbose: bool, legend: str, told: set[str]
) -> Iterator[str]:
    """A finding with its proofs; ``told``: the chains and bugs already shown."""
    trace, clock = analysis.trace, outline.clock_of(analysis.trace)
    yield from paragraph(outline.title(finding, analysis.windowed))
    yield from rows(outline.facts(finding, clock), "  ")
    for like in finding.known:
        yield ""
        yield from paragraph(like.sentence, "  ")
        if like.bug.id not in told:
            for commit in like.commits:
                yield from paragraph(f"- {commit}", "  ", "    ")
            told.add(like.bug.id)
    yield ""
    yield from paragraph(finding.message, "  ")
    shown = outline.shown_proofs(finding, verbose)
    for place, index in enumerate(shown):
        witness = finding.witnesses[index]
        yield ""
        yield from paragraph(outline.proof_title(finding, index, clock, len(shown) == 1), "  ")
        yield ""
        yield from proof(witness, trace, finding.code in outline.CHAINS, "" if place else legend)
        yield from _calls(witness, finding.verdict is Verdict.CONFIRMED, told)
    more = outline.more_proofs(finding, len(shown))
    if more:
        yield ""
        yield f"  {more}"


def _calls(witness: Witness, sure: bool, told: set[str]) -> Iterator[str]:
    """The chain of calls, unless it is one that was drawn before, and what it overwrote."""
    calls = [f"    {line}" for line in chain_lines(witness, WIDTH - 4)]
    drawn = "\n".join(calls)
    title = "Calls" if sure else "Calls, if it is so"
    if drawn:
        yield ""
        yield f"  {title}: as above, by the same steps." if drawn in told else f"  {title}:"
    if drawn and drawn not in told:
        yield ""
        yield from calls
        told.add(drawn)
    buffers = overwritten(witness, sure)
    if buffers:
        yield ""
        yield from rows(buffers, "  ")


def _provenance(analysis: Analysis, options: Options) -> Iterator[str]:
    for row in summary.provenance(analysis, options.version, options.command):
        if row.label == "SHA-256" and analysis.sha256:
            yield "SHA-256:"  # and its 64 digits fit no line with a label
            yield f"  {analysis.sha256}"
        elif row.label == "Command":
            yield "Command:"
            lines = command_lines(clean(options.command, ascii_only=True), WIDTH - 2)
            yield from (f"  {line}" for line in lines)
        else:
            yield from rows([row])


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


def step_lines(
    steps: Sequence[Step], chain: bool, width: int, indent: str, ascii_only: bool = True
) -> Iterator[str]:
    """The steps of a proof: number, time, CPU, task and event; below, what each proves."""
    lines = partial(paragraph, width=width, ascii_only=ascii_only)
    times = max((len(step.time) for step in steps), default=0)
    for step in steps:
        arrow = ("-> " if step.number > 1 else "   ") if chain else ""
        lead = f"{indent}{arrow}{step.number:2} "
        below = " " * (len(lead) + 2)
        if step.inferred:
            yield from lines(f"{'':{times}} {step.name} (inferred)", lead, below)
        else:
            event = f"{step.name}: {step.fields}" if step.fields else step.name
            text = f"{step.time:>{times}} [{step.cpu:03}] {step.task}: {event}"
            yield from lines(text, lead, below + " " * 6)
        yield from lines(step.role, below, below)


def coverage(analysis: Analysis, verbose: bool) -> Iterator[str]:
    """Coverage in a few lines, or rule by rule."""
    if not verbose:
        yield from rows(outline.coverage_lines(analysis))
        return
    for row in outline.coverage(analysis):
        yield from paragraph(f"{row.code} {row.name}: {outline.STATUS_WORDS[row.status]}", "", "  ")
        missing = [f"missing {in_words(row.missing)}"] if row.missing else []
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


def paragraph(
    text: str,
    first: str = "",
    rest: str | None = None,
    width: int = WIDTH,
    ascii_only: bool = True,
) -> list[str]:
    """``text`` made harmless and wrapped; ``first`` and ``rest`` stand before its lines."""
    lines = wrap(
        _UNIT.sub("\\1\xa0\\2", clean(text, ascii_only)),
        width,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    )
    return [line.replace("\xa0", " ") for line in lines]


def _heading(text: str, line: str) -> list[str]:
    return ["", text, line * len(text), ""]
