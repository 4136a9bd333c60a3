"""The sections of the HTML page, one function each, from the words of ``outline``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from fputrace.findings import Verdict, in_words
from fputrace.reports import costs as cost_tables
from fputrace.reports import lanes, outline, summary
from fputrace.reports.chain import chain_lines, overwritten
from fputrace.reports.command import command_lines
from fputrace.reports.markup import Child, add, node, written
from fputrace.reports.steps import Step, proof_steps

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Analysis, Finding, Witness
    from fputrace.reports import Options

SECTIONS = {
    "summary": "Summary",
    "findings": "Findings",
    "timeline": "Timeline",
    "graph": "Ownership graph",
    "costs": "Costs",
    "coverage": "Coverage",
}
"""Beginning of a section's id -> its title."""

MARGIN = 20_000
"""Bytes of a page that its frame takes."""

Proof = tuple[str, "Finding", "Witness"]
"""A proof that the page shows, with its name there."""

_NOTES = 100
_LISTED = 1000
_DRAWING_WIDTH = 100
_COMMAND_WIDTH = 90


def section(name: str, number: str, *content: Child, title: str = "") -> Element:
    """A section of a trace, with its heading."""
    heading = node("h2", title or SECTIONS[name], id=f"{name}-{number}-title")
    return node(
        "section", heading, content, id=f"{name}-{number}", aria_labelledby=f"{name}-{number}-title"
    )


def overview(analysis: Analysis, number: str, options: Options) -> Element:
    """What was looked at and what came out, notes, and how the page was made."""
    notes = outline.notes(analysis)
    more = len(notes) - _NOTES
    told = [
        *summary.kernel(analysis),
        *summary.holes(analysis),
        *summary.provenance(analysis, options.version, options.command),
    ]
    return section(
        "summary",
        number,
        node("p", summary.summary(analysis)),
        rows(told),
        [node("p", note, class_="note") for note in notes[:_NOTES]],
        node("p", f"And {outline.plural(more, 'note')} more.") if more > 0 else None,
    )


def rows(told: Iterable[outline.Row]) -> Element:
    """Labels and their values."""
    listed = node("dl")
    for label, lines in told:
        add(listed, node("dt", label))
        add(listed, node("dd", [node("div", line.removeprefix("- ")) for line in lines]))
    return listed


def findings(
    analysis: Analysis, number: str, verbose: bool, has_lanes: bool, room: int
) -> tuple[Element, list[Proof]]:
    """The findings and the proofs shown; those beyond about ``room`` bytes only by a line."""
    made = section("findings", number)
    told: set[str] = set()
    groups = outline.groups(analysis.findings, verbose)
    legend = lanes.legend(outline.shown_witnesses(groups, True))
    proofs: list[Proof] = []
    shown = 0
    if not groups:
        answers = node("a", SECTIONS["coverage"], href=f"#coverage-{number}")
        add(made, node("p", "None. What the trace could answer stands under ", answers, "."))
    if legend:
        add(made, node("p", legend, class_="quiet"))
    for group in groups:
        add(made, node("h3", outline.HEADINGS[group.severity]))
        listed = []
        for finding in group.proved:
            if room <= 0:
                listed.append(finding)
                continue
            shown += 1
            own = [(f"F{shown}.{i}", finding, w) for i, w in enumerate(finding.witnesses, 1)]
            article = _finding(analysis, number, own, finding, has_lanes, told)
            room -= len(written(article))
            if room > 0:
                made.append(article)
                proofs += own
            else:
                listed.append(finding)
        listed += group.listed
        if listed:
            lines = [outline.one_line(one, analysis.windowed) for one in listed[:_LISTED]]
            add(made, node("ul", [node("li", line) for line in lines]))
        more = group.hidden + max(len(listed) - _LISTED, 0)
        if more:
            add(made, node("p", f"And {outline.number(more)} more, which --format json shows."))
    return made, proofs


def _finding(
    analysis: Analysis,
    number: str,
    proofs: Sequence[Proof],
    finding: Finding,
    has_lanes: bool,
    told: set[str],
) -> Element:
    """A finding with its proofs, the shortest open; a bug that is in ``told`` only by a line."""
    clock = outline.clock_of(analysis.trace)
    article = node("article", class_=f"finding {finding.severity.value}")
    add(article, node("h4", outline.title(finding, analysis.windowed)))
    first = outline.shown_proofs(finding, False)
    sure = finding.verdict is Verdict.CONFIRMED
    buffers = overwritten(finding.witnesses[first[0]], sure) if first else []
    add(article, rows([*outline.facts(finding, clock), *buffers]))
    add(article, node("p", finding.message))
    for like in finding.known:
        said = like.sentence[:1].upper() + like.sentence[1:] + "."
        add(article, node("p", said, class_="known"))
        if like.bug.id not in told:
            told.add(like.bug.id)
            add(article, node("ul", [node("li", commit) for commit in like.commits]))
    order = [*first, *(index for index in range(len(proofs)) if index not in first)]
    for place, index in enumerate(order):
        name, _, witness = proofs[index]
        title = outline.proof_title(finding, index, clock, len(order) == 1)
        proof = _proof(analysis.trace, witness, finding)
        jump = None
        if has_lanes and any(not event.inferred for event in witness.events):
            jump = node(
                "a",
                "Show it in the timeline",
                class_="jump",
                href=f"#trace={number}&proof={name}",
                aria_label=f"Show {finding.code}, {title}, in the timeline",
            )
        words = "" if place else f"{title}. "
        proof.insert(0, node("p", words, jump, id=f"proof-{number}-{name}"))
        add(article, node("details", node("summary", title), proof) if place else proof)
    more = outline.more_proofs(finding, len(proofs))
    return add(article, node("p", more) if more else None)


def _proof(trace: Trace, witness: Witness, finding: Finding) -> list[Element]:
    """What happened: drawn, event by event, and as calls."""
    made = []
    drawn = lanes.draw(witness, _DRAWING_WIDTH)
    if drawn:
        # Read aloud it says nothing that the table does not.
        pre = node("pre", class_="drawing", aria_hidden="true")
        for index, line in enumerate(drawn):
            add(pre, node("br") if index else None)
            add(pre, [node("span", text, class_=_CLASSES.get(kind)) for text, kind in line])
        made.append(pre)
    steps = proof_steps(witness, trace)
    if steps:
        made.append(
            table(
                ("step", "time", "CPU", "task", "event", "what it shows"),
                [_step(step, finding.code in outline.CHAINS) for step in steps],
                numbers=(0, 1, 2),
                kind="steps",
            )
        )
    calls = chain_lines(witness, _DRAWING_WIDTH)
    if calls:
        sure = finding.verdict is Verdict.CONFIRMED
        made += [node("p", "Calls:" if sure else "Calls, if it is so:"), _lines("\n".join(calls))]
    return made


_CLASSES = {state: state for state in "UGKI"} | {"mark": "mark", "dim": "dim"}


def _step(step: Step, chain: bool) -> list[Child]:
    arrow = "\u2192 " if chain and step.number > 1 else ""
    if step.inferred:
        event: Child = node("span", node("code", step.name), " (inferred)", class_="inferred")
    else:
        event = [node("code", step.name), f" {step.fields}" if step.fields else ""]
    return [f"{arrow}{step.number}", step.time, str(step.cpu), step.task, event, step.role]


def table(
    titles: Sequence[str],
    cells: Iterable[Sequence[Child]],
    numbers: Sequence[int] = (),
    caption: str = "",
    kind: str = "",
) -> Element:
    """A table that scrolls by itself where it is too wide; ``numbers``: columns of figures."""
    kinds = ["n" if column in numbers else None for column in range(len(titles))]
    heads = [
        node("th", title, scope="col", class_=k) for title, k in zip(titles, kinds, strict=True)
    ]
    body = [
        node("tr", [node("td", cell, class_=k) for cell, k in zip(row, kinds, strict=True)])
        for row in cells
    ]
    made = node(
        "table",
        node("caption", caption) if caption else None,
        node("thead", node("tr", heads)),
        node("tbody", body),
        class_=kind or None,
    )
    return node("div", made, class_="wide")


def costs(analysis: Analysis, number: str, verbose: bool) -> Element:
    """What saves and restores cost, or how to have it counted."""
    if analysis.costs is None:
        hint = node("p", "Not counted: fputrace counts them with ", node("code", "--costs"), ".")
        return section("costs", number, hint)
    made = section("costs", number, title=cost_tables.HEADING)
    add(made, [node("p", line) for line in cost_tables.summary(analysis.costs)])
    clock = outline.clock_of(analysis.trace)
    for one in cost_tables.tables(analysis.costs, clock, verbose):
        figures = tuple(range(one.left, len(one.head)))
        add(made, table(one.head, one.rows, figures, one.title))
        add(made, [node("p", line, class_="quiet") for line in one.notes])
    return made


def coverage(analysis: Analysis, number: str) -> Element:
    """What the trace could answer, rule by rule, and what would have recorded the rest."""
    titles = {rule.code: rule.title for rule in analysis.rules}
    made = section("coverage", number)
    add(made, rows(outline.coverage_lines(analysis)))
    rules = table(
        ("rule", "what it looks for", "status", "missing", "why"),
        [
            (
                f"{row.code} {row.name}",
                titles.get(row.code, ""),
                outline.STATUS_WORDS[row.status],
                in_words(row.missing),
                row.why,
            )
            for row in outline.coverage(analysis)
        ],
        caption="Every rule",
    )
    add(made, node("details", node("summary", "Every rule"), rules))
    for words, command in outline.recordings(analysis):
        lines = "\n".join(command_lines(command, _COMMAND_WIDTH))
        add(made, [node("p", words), _lines(lines)])
    return made


def _lines(text: str) -> Element:
    pre = node("pre")
    for index, line in enumerate(text.splitlines()):
        add(pre, [node("br") if index else None, line])
    return pre


_KEYS = (
    ("\u2190 \u2192", "a fifth of the view back, forth; Page Up and Page Down a whole one"),
    ("+ \u2212", "zoom in, out"),
    ("Home", "the whole recording"),
    ("\u2191 \u2193", "the CPU above, below, and what it holds"),
    (", .", "the span before, the next one"),
    ("n p", "the next finding, the one before"),
    ("l L", "the next place with losses, the one before"),
    ("e E", "the next part of which single spans are kept, the one before"),
    ("Esc", "no filter, no proof"),
    ("?", "this list"),
)
_LEGEND = (
    ("user", "user image"),
    ("guest", "guest image"),
    ("kernel", "the kernel's own use"),
    ("init", "initial state"),
    ("nobody", "nobody's"),
    ("lane", "not known"),
    ("error", "finding: error"),
    ("performance", "finding: performance"),
    ("lost", "events lost"),
)


def timeline(analysis: Analysis, number: str) -> Iterator[Element]:
    """The frame that the page's script draws the lanes in."""
    yield node("h2", SECTIONS["timeline"], id=f"timeline-{number}-title")
    if analysis.overview is None:
        yield node("p", "There is no time to draw in this recording.")
        return
    swatches = [
        node(
            "li",
            node("span", class_=f"swatch c-{name}", data_color=name, aria_hidden="true"),
            words,
        )
        for name, words in _LEGEND
    ]
    canvas = node(
        "canvas",
        class_="tl-lanes",
        tabindex="0",
        role="application",
        aria_label="Lanes of the CPUs; ? lists the keys",
        aria_describedby=f"said-{number}",
    )
    strip = [node("g", class_="tl-density"), node("g", class_="tl-brush")]
    hover = node("div", class_="tl-hover", hidden=True, aria_hidden="true")
    yield node(
        "div",
        node("p", "What each CPU's FPU registers held, and whose it was.", class_="quiet"),
        _bar(),
        node("ul", swatches, node("li", class_="tl-page", hidden=True), class_="legend"),
        node("svg", strip, class_="tl-strip", aria_hidden="true"),
        node("svg", node("g"), class_="tl-axis", aria_hidden="true"),
        node(
            "div",
            node("div", node("div", canvas, class_="tl-room"), class_="tl-scroll"),
            hover,
            class_="tl-box",
        ),
        node("p", class_="tl-range quiet"),
        node(
            "p",
            node("span", class_="tl-said", id=f"said-{number}", role="status"),
            " ",
            node("a", "Its events", class_="tl-back jump", hidden=True),
            class_="tl-told",
        ),
        _help(),
        _span_table(),
        class_="timeline",
        data_trace=number,
        hidden=True,
    )


def _bar() -> Element:
    buttons = (
        ("in", "Zoom in"),
        ("out", "Zoom out"),
        ("all", "Whole recording"),
        ("previous", "Previous finding"),
        ("next", "Next finding"),
        ("loss", "Next loss"),
    )
    return node(
        "div",
        [node("button", words, type="button", class_=f"tl-{name}") for name, words in buttons],
        node("label", "CPUs ", node("input", class_="tl-cpus", placeholder="0-3,7", size="10")),
        node(
            "label",
            "Registers of ",
            node("select", node("option", "every task", value=""), class_="tl-task"),
        ),
        class_="tl-bar",
        role="group",
        aria_label="Timeline",
    )


def _help() -> Element:
    keys = node("dl")
    for key, words in _KEYS:
        add(keys, [node("dt", key), node("dd", words)])
    words = (
        "Drag to move; turn the wheel with Ctrl, or after a click on the lanes, to zoom; click for "
        "what is there. The strip above shows findings and losses of the whole recording, and the "
        "part in view; where a line runs along its lower edge, single spans are kept. Where many "
        "spans lie in one pixel, a column shows their shares. The address of the page names what "
        "is in view: copy it to show it to somebody who has the file."
    )
    return node(
        "details", node("summary", "How to move, keys"), node("p", words), keys, class_="tl-help"
    )


def _span_table() -> Element:
    spans = table(
        ("CPU", "from", "length", "registers hold", "owner", "certainty"),
        (),
        numbers=(0, 1, 2),
        caption="Spans in view",
    )
    return node(
        "details",
        node("summary", "Spans in view, as a table"),
        node("p", class_="tl-count", role="status"),
        spans,
        class_="tl-table",
    )
