"""``analyze`` as Markdown for a ticket: what code hosts render, and readable as it is.

Everything from the trace stands escaped in prose, in tables, in fenced blocks or in a diagram
(``escape``).  What is long is folded (``<details>``), and the whole fits into one comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fputrace.findings import Verdict, in_words
from fputrace.reports import costs, lanes, outline, summary
from fputrace.reports.chain import chain_lines, overwritten
from fputrace.reports.command import command_lines
from fputrace.reports.escape import clean, code, element, fenced, markdown
from fputrace.reports.fitting import Block, Limit, Part, characters, fit
from fputrace.reports.mermaid import sequence
from fputrace.reports.steps import proof_steps
from fputrace.reports.text_report import step_lines

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Finding, Witness
    from fputrace.pricing import TraceCosts
    from fputrace.reports import Options

MAX_CHARACTERS = 60_000
"""GitHub takes 65 536 for an issue or a comment; whoever pastes it wants to say something too."""

_WIDTH = 100


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The report of every trace, one under the other; ends with a newline."""
    parts = [_part(analysis, options, index > 0) for index, analysis in enumerate(analyses)]
    lines = fit(parts, Limit(MAX_CHARACTERS - 1, characters, _notice, by_line=False))
    return "\n".join(lines) + "\n"


def _notice(lines: int, findings: int) -> Block:
    missing = f"{outline.number(lines)} lines ({outline.plural(findings, 'part')})"
    return ["", f"**Left out: {missing}.** `fputrace report --attach FILE` writes everything."]


def _part(analysis: Analysis, options: Options, below: bool) -> Part:
    """The blocks of one trace; ``below``: under those of another."""
    name = summary.file_name(analysis.trace.path)
    head = [
        [
            *([""] if below else []),
            f"## fputrace: {markdown(name)}",
            "",
            markdown(summary.summary(analysis)),
            "",
            *_pairs(summary.kernel(analysis)),
        ]
    ]
    head += [["", f"> {markdown(note)}"] for note in outline.notes(analysis)]
    tail = [["", "### Coverage", "", *_coverage(analysis, options.verbose)]]
    for words, command in outline.recordings(analysis):
        shown = command_lines(clean(command), _WIDTH)
        tail.append(["", words, "", fenced("\n".join(shown), "sh")])
    tail.append(["", "### Losses", "", *_pairs(summary.holes(analysis))])
    origin = summary.provenance(analysis, options.version, options.command)
    tail.append(["", "### Provenance", "", *_pairs(origin, spans=True)])
    return Part(head, list(_body(analysis, options.verbose)), tail)


def _body(analysis: Analysis, verbose: bool) -> Iterator[Block]:
    groups = outline.groups(analysis.findings, verbose)
    legend = lanes.legend(outline.shown_witnesses(groups, verbose))
    told: set[str] = set()
    for group in groups:
        heading = ["", f"### {outline.HEADINGS[group.severity]}"]
        for finding in group.proved:
            yield [*heading, *_finding(finding, analysis, verbose, legend, told)]
            legend = "" if finding.witnesses else legend
            heading = []
        listed = [outline.one_line(finding, analysis.windowed) for finding in group.listed]
        rows = [f"- {markdown(line)}" for line in listed]
        if group.hidden:
            rows.append(f"- and {outline.number(group.hidden)} more, shown with `-v`")
        if rows:
            yield [*heading, "", *rows]
    if analysis.costs:
        yield list(_costs(analysis.costs, outline.clock_of(analysis.trace), verbose))


def _finding(
    finding: Finding, analysis: Analysis, verbose: bool, legend: str, told: set[str]
) -> Iterator[str]:
    """A finding with its proofs, folded from the second of a rule and verdict (``told``) on."""
    clock = outline.clock_of(analysis.trace)
    sure = finding.verdict is Verdict.CONFIRMED
    shown = outline.shown_proofs(finding, verbose)
    yield ""
    yield f"#### {markdown(outline.title(finding, analysis.windowed))}"
    yield ""
    yield markdown(finding.message)
    for like in finding.known:
        yield ""
        yield f"**{markdown(like.sentence[:1].upper() + like.sentence[1:])}.**"
        if like.bug.id not in told:
            yield ""
            yield from (f"- {markdown(commit)}" for commit in like.commits)
            told.add(like.bug.id)
    buffers = overwritten(finding.witnesses[shown[0]], sure) if shown else []
    yield ""
    yield from _pairs([*outline.facts(finding, clock), *buffers])
    kind = f"{finding.code} {finding.verdict.value}"
    for place, index in enumerate(shown):
        title = outline.proof_title(finding, index, clock, len(shown) == 1)
        explained = "" if place else legend
        proof = _proof(finding.witnesses[index], analysis, finding, explained)
        yield ""
        yield from _folded(title, proof) if kind in told else [f"{markdown(title)}:", *proof]
        told.add(kind)
    more = outline.more_proofs(finding, len(shown))
    if more:
        yield ""
        yield markdown(more)


def _proof(witness: Witness, analysis: Analysis, finding: Finding, legend: str) -> Iterator[str]:
    """What happened: drawn and listed, as calls, as a diagram."""
    drawn = ["".join(text for text, _ in line).rstrip() for line in lanes.draw(witness, _WIDTH)]
    steps = proof_steps(witness, analysis.trace)
    listed = list(step_lines(steps, finding.code in outline.CHAINS, _WIDTH, "", ascii_only=False))
    if drawn or listed:
        yield ""
        yield fenced("\n".join([*drawn, *([""] if drawn and listed else []), *listed]))
    if drawn and legend:
        yield ""
        yield f"<sub>{markdown(legend)}</sub>"
    calls = chain_lines(witness, _WIDTH)
    if calls:
        yield ""
        yield "Calls:" if finding.verdict is Verdict.CONFIRMED else "Calls, if it is so:"
        yield ""
        yield fenced("\n".join(calls), trusted=True)
    diagram = sequence(witness, analysis.trace)
    if diagram:
        yield ""
        yield from _folded("The same as a diagram", ["", fenced(diagram, "mermaid")])


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines, of which the first is empty, that a click shows."""
    yield f"<details><summary>{element(title)}</summary>"
    yield from lines
    yield ""
    yield "</details>"


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


def _coverage(analysis: Analysis, verbose: bool) -> Iterator[str]:
    every = outline.coverage(analysis)
    if not verbose:
        for label, (first, *_) in outline.coverage_lines(analysis):
            yield f"- {label}: {first}"
        every = [row for row in every if row.missing or row.why]
    table = list(
        _table(
            ("rule", "name", "status", "missing", "why"),
            (
                (
                    row.code,
                    markdown(row.name),
                    outline.STATUS_WORDS[row.status],
                    markdown(in_words(row.missing)),
                    markdown(row.why),
                )
                for row in every
            ),
        )
    )
    if verbose:
        yield from table
    elif every:
        yield ""
        yield from _folded("What is missing, rule by rule", ["", *table])


def _pairs(rows: Iterable[outline.Row], spans: bool = False) -> Iterator[str]:
    """Labelled values as a table without a head; ``spans``: the values as code."""
    shown = [(f"**{row.label}**", _cell(row.lines, spans)) for row in rows]
    if shown:
        yield from _table(("", ""), shown)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(lines: Iterable[str], spans: bool) -> str:
    if spans:
        return "<br>".join(code(line, in_table=True) for line in lines)
    return "<br>".join(markdown(line.removeprefix("- ")) for line in lines)
