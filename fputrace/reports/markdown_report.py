"""``analyze`` as Markdown for a ticket: what code hosts render, and readable as it is.

Everything from the trace stands escaped in prose, in code spans or in fenced blocks (``escape``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fputrace.reports import costs, lanes, outline
from fputrace.reports.command import command_lines
from fputrace.reports.escape import clean, code, fenced, markdown
from fputrace.reports.steps import Step, proof_steps

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Analysis, Finding, Witness
    from fputrace.pricing import TraceCosts
    from fputrace.reports import Options

_DRAWING_WIDTH = 100
_COMMAND_WIDTH = 90


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The report of every trace, one under the other; ends with a newline."""
    return "\n\n".join("\n".join(_lines(a, options.verbose)) for a in analyses) + "\n"


def _lines(analysis: Analysis, verbose: bool) -> Iterator[str]:
    yield f"## fputrace: {markdown(analysis.trace.path)}"
    yield ""
    yield from _table(("", ""), ((row.label, _cell(row.lines)) for row in outline.head(analysis)))
    for note in outline.notes(analysis):
        yield ""
        yield f"> {markdown(note)}"
    yield ""
    yield f"**{markdown(outline.verdict_line(analysis))}**"
    groups = outline.groups(analysis.findings, verbose)
    legend = lanes.legend(outline.shown_witnesses(groups, verbose))
    for group in groups:
        yield ""
        yield f"### {outline.HEADINGS[group.severity]}"
        for finding in group.proved:
            yield from _finding(finding, analysis, verbose, legend)
            legend = "" if finding.witnesses else legend
        if group.listed or group.hidden:
            yield ""
        for finding in group.listed:
            yield f"- {markdown(outline.one_line(finding, analysis.windowed))}"
        if group.hidden:
            yield f"- and {outline.number(group.hidden)} more, shown with `-v`"
    if analysis.costs:
        yield from _costs(analysis.costs, outline.clock_of(analysis.trace), verbose)
    yield ""
    yield "### Coverage"
    yield ""
    yield from _coverage(analysis, verbose)
    for words, command in outline.recordings(analysis):
        yield ""
        yield words
        yield ""
        lines = command_lines(command, _COMMAND_WIDTH)
        yield fenced("\n".join(clean(line) for line in lines), "sh")


def _finding(finding: Finding, analysis: Analysis, verbose: bool, legend: str) -> Iterator[str]:
    trace, clock = analysis.trace, outline.clock_of(analysis.trace)
    yield ""
    yield f"#### {markdown(outline.title(finding, analysis.windowed))}"
    yield ""
    for label, lines in outline.facts(finding, clock):
        yield f"- {label}: {'; '.join(markdown(line) for line in lines)}"
    yield ""
    yield markdown(finding.message)
    shown = finding.witnesses if verbose else finding.witnesses[:1]
    for index, witness in enumerate(shown):
        yield ""
        yield f"{markdown(outline.proof_title(finding, index, clock))}:"
        yield from _proof(witness, trace, finding.code in outline.CHAINS, "" if index else legend)
    more = outline.more_proofs(finding, len(shown))
    if more:
        yield ""
        yield markdown(more)


def _costs(found: TraceCosts, clock: outline.Clock, verbose: bool) -> Iterator[str]:
    yield ""
    yield f"### {costs.HEADING}"
    yield ""
    yield from (f"- {markdown(line)}" for line in costs.summary(found))
    for table in costs.tables(found, clock, verbose):
        yield ""
        yield f"#### {markdown(table.title)}"
        yield ""
        rows = ([markdown(cell) for cell in row] for row in table.rows)
        yield from _table(table.head, rows)
        for line in table.notes:
            yield ""
            yield markdown(line)


def _proof(witness: Witness, trace: Trace, chain: bool, legend: str) -> Iterator[str]:
    drawn = lanes.draw(witness, _DRAWING_WIDTH)
    if drawn:
        yield ""
        yield fenced("\n".join("".join(text for text, _ in line).rstrip() for line in drawn))
        if legend:
            yield ""
            yield f"<sub>{markdown(legend)}</sub>"
    steps = proof_steps(witness, trace)
    if not steps:
        return
    yield ""
    yield from _table(
        ("step", "time", "CPU", "task", "event", "what it shows"),
        (
            (
                f"{'-> ' if chain and step.number > 1 else ''}{step.number}",
                markdown(step.time),
                str(step.cpu),
                code(step.task, in_table=True),
                _event(step),
                markdown(step.role),
            )
            for step in steps
        ),
    )


def _event(step: Step) -> str:
    if step.inferred:
        return f"{code(step.name, in_table=True)} (inferred)"
    fields = f" {code(step.fields, in_table=True)}" if step.fields else ""
    return f"{code(step.name, in_table=True)}{fields}"


def _coverage(analysis: Analysis, verbose: bool) -> Iterator[str]:
    if verbose:
        yield from _table(
            ("rule", "name", "status", "missing", "why"),
            (
                (
                    row.code,
                    markdown(row.name),
                    outline.STATUS_WORDS[row.status],
                    markdown(outline.missing(row)),
                    markdown(row.why),
                )
                for row in outline.coverage(analysis)
            ),
        )
        return
    for label, (first, *rest) in outline.coverage_lines(analysis):
        yield f"- {label}: {first}"
        yield from (f"  - {markdown(line.removeprefix('- '))}" for line in rest)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(lines: Iterable[str]) -> str:
    return "<br>".join(markdown(line.removeprefix("- ")) for line in lines)
