"""``analyze`` for a terminal, as wide as its console and no wider than reads well.

Built from ``rich.text.Text``, never from markup, so that nothing a task calls itself is obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fputrace.findings import Severity, Status, Verdict, in_words
from fputrace.reports import costs, lanes, outline, palette
from fputrace.reports.command import command_lines
from fputrace.reports.escape import clean
from fputrace.reports.steps import Step, proof_steps
from fputrace.reports.text_report import step_lines

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Analysis, Finding, Witness
    from fputrace.pricing import TraceCosts
    from fputrace.reports import Options

_PROSE = 100
_DRAWING = 140
_NARROW, _WIDE = 64, 140
_STATUS_STYLES = {
    Status.CHECKED: palette.GREEN,
    Status.PARTLY: palette.ORANGE,
    Status.NOT_DECIDABLE: palette.PURPLE,
    Status.NOT_APPLICABLE: "dim",
}


def report(analyses: Sequence[Analysis], options: Options) -> RenderableType:
    """A renderable of every trace, one under the other."""
    views: list[RenderableType] = []
    for analysis in analyses:
        if views:
            views.append(Text(""))
        views.append(AnalysisView(analysis, options))
    return Group(*views)


class AnalysisView:
    """One trace: what it is, what was found with its proof, what could not be answered."""

    def __init__(self, analysis: Analysis, options: Options) -> None:
        self.analysis = analysis
        self.verbose = options.verbose
        self.ascii = options.ascii
        self.clock = outline.clock_of(analysis.trace)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        analysis, ink = self.analysis, Ink(self.ascii or options.ascii_only)
        yield ink.rows(outline.head(analysis))
        for note in outline.notes(analysis):
            yield Text("")
            yield ink.prose(f"Note: {note}", palette.SKY)
        yield Text("")
        yield ink.prose(outline.verdict_line(analysis), _verdict_style(analysis))
        groups = outline.groups(analysis.findings, self.verbose)
        legend = lanes.legend(outline.shown_witnesses(groups, self.verbose))
        for group in groups:
            yield from ink.heading(outline.HEADINGS[group.severity], options)
            for index, finding in enumerate(group.proved):
                yield from [Text("")] * (index > 0)
                yield from self._finding(finding, ink, legend)
                legend = "" if finding.witnesses else legend
            if group.listed or group.hidden:
                yield Text("")
            for finding in group.listed:
                yield ink.prose(outline.one_line(finding, analysis.windowed))
            if group.hidden:
                yield ink.prose(f"and {outline.number(group.hidden)} more, shown with -v", "dim")
        if analysis.costs:
            yield from ink.heading(costs.HEADING, options)
            yield from self._costs(analysis.costs, ink)
        yield from ink.heading("Coverage", options)
        yield self._coverage(ink)
        for words, command in outline.recordings(analysis):
            yield Text("")
            yield ink.prose(words)
            yield Text("")
            for line in command_lines(clean(command), min(options.max_width, _PROSE) - 2):
                yield Text("  " + ink(line), style="bold", no_wrap=True, overflow="ignore")

    def _finding(self, finding: Finding, ink: Ink, legend: str) -> Iterator[RenderableType]:
        verdict = "bold" if finding.verdict is Verdict.CONFIRMED else ""
        yield Text.assemble(
            (finding.code, palette.SEVERITIES[finding.severity.value]),
            (f" {ink(finding.name)}", "bold"),
            ": ",
            (finding.verdict.value, verdict),
            f", {outline.times(finding, self.analysis.windowed)}",
        )
        yield Padding(ink.rows(outline.facts(finding, self.clock)), (0, 0, 0, 2), expand=False)
        yield Text("")
        yield Padding(ink.prose(finding.message), (0, 0, 0, 2), expand=False)
        for like in finding.known:
            yield Text("")
            yield Padding(ink.prose(like.sentence), (0, 0, 0, 2), expand=False)
        shown = outline.shown_proofs(finding, self.verbose)
        for place, index in enumerate(shown):
            witness = finding.witnesses[index]
            yield Text("")
            words = outline.proof_title(finding, index, self.clock, len(shown) == 1)
            title = ink.prose(words, "dim")
            yield Padding(title, (0, 0, 0, 2), expand=False)
            chain = finding.code in outline.CHAINS
            proof = ProofView(
                witness, self.analysis.trace, chain, "" if place else legend, self.ascii
            )
            yield Padding(proof, (0, 0, 0, 2), expand=False)
        more = outline.more_proofs(finding, len(shown))
        if more:
            yield Text("")
            yield Text("  " + more, style="dim")

    def _costs(self, found: TraceCosts, ink: Ink) -> Iterator[RenderableType]:
        sign = costs.approximate if ink.ascii else str
        for line in costs.summary(found):
            yield ink.prose(sign(line))
        for one in costs.tables(found, self.clock, self.verbose):
            yield Text("")
            yield ink.prose(one.title, "bold")
            drawn = Table(box=None, pad_edge=False, header_style="dim")
            for index, name in enumerate(one.head):
                drawn.add_column(
                    Text(ink(sign(name))), justify="right" if index >= one.left else "left"
                )
            for row in one.rows:
                drawn.add_row(*(Text(ink(sign(cell))) for cell in row))
            yield Padding(drawn, (0, 0, 0, 2), expand=False)
            for line in one.notes:
                yield ink.prose(sign(line), "dim")

    def _coverage(self, ink: Ink) -> RenderableType:
        if not self.verbose:
            return ink.rows(outline.coverage_lines(self.analysis))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(max_width=34)
        table.add_column(no_wrap=True)
        table.add_column()
        for row in outline.coverage(self.analysis):
            missing = f"missing {in_words(row.missing)}" if row.missing else ""
            table.add_row(
                row.code,
                Text(ink(row.name)),
                Text(outline.STATUS_WORDS[row.status], style=_STATUS_STYLES[row.status]),
                Text(ink("; ".join(part for part in (missing, row.why) if part))),
            )
        return table


class RowsView:
    """Labelled values on their own, for ``info``."""

    def __init__(self, rows: Sequence[outline.Row], ascii_only: bool) -> None:
        self.rows = rows
        self.ascii = ascii_only

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        yield Ink(self.ascii or options.ascii_only).rows(self.rows)


class ProofView:
    """A proof: the lanes with the marks of its events, and under them its steps."""

    def __init__(
        self,
        witness: Witness,
        trace: Trace,
        chain: bool,
        legend: str,
        ascii_only: bool,
    ) -> None:
        self.witness = witness
        self.trace = trace
        self.chain = chain
        self.legend = legend
        self.ascii = ascii_only

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        ink = Ink(self.ascii or options.ascii_only)
        drawn = lanes.draw(self.witness, min(options.max_width, _DRAWING))
        if drawn:
            yield Text("")
            for pieces in drawn:
                yield ink.line(pieces)
            if self.legend:
                yield Text("")
                yield ink.prose(self.legend, "dim")
        steps = proof_steps(self.witness, self.trace)
        if not steps:
            return
        yield Text("")
        if options.max_width < _NARROW:
            for line in step_lines(steps, self.chain, options.max_width, ""):
                yield Text(line)
        else:
            yield self._table(steps, ink, options.max_width >= _WIDE)

    def _table(self, steps: Sequence[Step], ink: Ink, wide: bool) -> Table:
        """Number, time, CPU, task and event, what it shows: in a row where it fits, else under."""
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True)
        arrow = "->" if ink.ascii else "→"
        for step in steps:
            place = f"{arrow} {step.number}" if self.chain and step.number > 1 else f"{step.number}"
            lead = [Text(cell, "dim") for cell in (place, step.time, f"[{step.cpu:03}]")]
            task = Text(ink(step.task))
            if step.inferred:
                event = Text.assemble((ink(step.name), "dim"), (" (inferred)", "dim"))
            else:
                event = Text.assemble((ink(step.name), "bold"), f" {ink(step.fields)}")
            role = Padding(Text(ink(step.role)), (0, 0, 0, 1 if wide else 2), expand=False)
            if wide:
                table.add_row(*lead, task, event, role)
            else:
                told = Text.assemble(task, " ", event) if step.task else event
                table.add_row(*lead, Group(told, role))
        return table


class Ink:
    """How text gets onto this console: escaped, and in ASCII where that is all it has."""

    def __init__(self, ascii_only: bool) -> None:
        self.ascii = ascii_only

    def __call__(self, text: str) -> str:
        """``text`` made harmless for this console."""
        return clean(text, self.ascii)

    def prose(self, text: str, style: str = "") -> RenderableType:
        """A paragraph, no wider than reads well."""
        return Constrain(Text(self(text), style=style), _PROSE)

    def rows(self, rows: Iterable[outline.Row]) -> RenderableType:
        """Labelled values, the values aligned."""
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, style=palette.SKY)
        table.add_column(overflow="fold")
        for label, lines in rows:
            table.add_row(label, Group(*(self._bullet(line) for line in lines)))
        return Constrain(table, _PROSE + 20)

    def _bullet(self, line: str) -> RenderableType:
        if not line.startswith("- "):
            return Text(self(line))
        table = Table.grid(padding=(0, 1))
        table.add_row("-" if self.ascii else "•", Text(self(line[2:])))
        return table

    def heading(self, text: str, options: ConsoleOptions) -> Iterator[RenderableType]:
        """A title with a line to its right."""
        rest = min(options.max_width, _PROSE) - len(text) - 1
        line = ("-" if self.ascii else "─") * max(rest, 0)
        yield Text("")
        yield Text.assemble((text, "bold"), " ", (line, "dim"))
        yield Text("")

    def line(self, pieces: Iterable[lanes.Piece]) -> Text:
        """A line of a drawing, coloured."""
        line = Text(no_wrap=True, overflow="crop")
        for text, kind in pieces:
            drawn = text if self.ascii or kind not in palette.FILLED else text.replace("-", "─")
            line.append(drawn, palette.style(kind))
        return line


def _verdict_style(analysis: Analysis) -> str:
    severities = {finding.severity for finding in analysis.findings}
    for severity in (Severity.ERROR, Severity.PERFORMANCE):
        if severity in severities:
            return palette.SEVERITIES[severity.value]
    if analysis.hidden:
        return palette.ORANGE
    return f"bold {palette.GREEN}"
