"""``diff``: two recordings side by side, as text for a mailing list or Markdown for a ticket.

JSON is in :mod:`fputrace.reports.diff_json`.  What is laid out here was compared before
(:mod:`fputrace.compare`); rows without a change are shown with ``verbose`` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from fputrace.compare import UNITS, Change
from fputrace.plain import PlainTuple
from fputrace.reports import outline
from fputrace.reports.costs import CostTable, approximate, plain
from fputrace.reports.escape import clean, markdown

if TYPE_CHECKING:
    from fputrace.compare import Comparison, FindingChange, Measure, Side, Work
    from fputrace.findings import Analysis

WIDTH = 72

_VERDICTS = {
    "same": "Nothing differs.",
    "better": "Better: findings are gone or fewer, and none is new.",
    "worse": "Worse: findings are new or more, and none is gone.",
    "mixed": "Mixed: findings are gone or fewer, and others new or more.",
    "untold": "Untold: what only OLD shows, NEW could not have shown.",
    "incomparable": "The two cannot be compared.",
}
_PRICED = "≈ ns and bytes are estimates (prices: {}; {})."
_SCATTER = (
    "A change is told where rates are further apart than counts of this size scatter by "
    "themselves (three standard deviations, and 5 %)."
)
_OUT = "Counts are divided by the work of their recording; a sched-out is one of a vCPU thread."


class Section(PlainTuple):
    """A heading, tables, and paragraphs below them."""

    heading: str
    tables: tuple[CostTable, ...]
    after: tuple[str, ...]


def text(found: Comparison, old: Analysis, new: Analysis, verbose: bool = False) -> str:
    """ASCII, 72 columns; ends with a newline."""
    lines = list(_plain_head(found, old, new))
    for section in _sections(found, old, verbose):
        lines += ["", section.heading, "-" * len(section.heading)]
        for table in section.tables:
            lines += ["", *_wrapped(table.title), *(f"  {row}" for row in plain(table, WIDTH - 2))]
            for note in table.notes:
                lines += _wrapped(note, "  ")
        for paragraph in section.after:
            lines += ["", *_wrapped(paragraph)]
    return "\n".join(lines) + "\n"


def markdown_text(found: Comparison, old: Analysis, new: Analysis, verbose: bool = False) -> str:
    """For a ticket; ends with a newline."""
    lines = ["## fputrace diff", ""]
    about = _sides(found, old, new)
    lines += _table(about.head, about.rows)
    lines += ["", f"**{markdown(verdict(found))}** {markdown(_comparable(found))}", ""]
    lines += [f"- {markdown(remark.text)}" for remark in found.remarks]
    for section in _sections(found, old, verbose):
        lines += ["", f"### {markdown(section.heading)}"]
        for table in section.tables:
            lines += ["", f"#### {markdown(table.title)}", "", *_table(table.head, table.rows)]
            lines += [part for note in table.notes for part in ("", markdown(note))]
        for paragraph in section.after:
            lines += ["", markdown(paragraph)]
    return "\n".join(lines) + "\n"


def verdict(found: Comparison) -> str:
    """The verdict as a sentence, with the codes it is about."""
    said = [_VERDICTS[found.verdict]]
    if found.verdict == "same" and not found.empty:
        said = ["No finding differs; what was done for the same work does."]
    for change in Change:
        codes = [row.code for row in found.findings if row.change is change]
        if codes and change is not Change.SAME:
            said.append(f"{change.value.capitalize()}: {', '.join(codes)}.")
    return " ".join(said)


def _comparable(found: Comparison) -> str:
    return {
        "yes": "The two can be compared.",
        "in part": "The two can be compared in part:",
        "no": "The two cannot be compared:",
    }[found.comparable]


def _both(found: Comparison, old: Analysis, new: Analysis) -> list[tuple[Analysis, Work]]:
    return [(old, found.old_work), (new, found.new_work)]


def _about(analysis: Analysis, work: Work) -> list[tuple[str, str]]:
    """(label, value) of a recording: what the two have in common, or do not."""
    trace, generation = analysis.trace, analysis.generation
    seconds = f"{work.seconds:.3f} s" if work.seconds is not None else "not in seconds"
    events = outline.number(sum(trace.counts.values()))
    forced = ", forced" if generation.forced else ""
    codes = outline.either(generation.candidates) if generation.candidates else "undecided"
    losses = "not told by this form" if not trace.losses_known else "none"
    return [
        ("trace", trace.path),
        ("kernel", trace.kernel or "not recorded"),
        ("generation", codes + forced),
        ("length", seconds),
        ("CPUs", outline.number(len(trace.cpus))),
        ("events", events),
        ("losses", outline.plural(len(analysis.losses), "place") if analysis.losses else losses),
        ("vCPUs", outline.number(work.vcpus)),
        ("sched-outs", outline.number(work.outs)),
        ("KVM_RUNs", outline.number(work.runs)),
        ("VM entries", outline.number(work.entries)),
    ]


def _sides(found: Comparison, old: Analysis, new: Analysis) -> CostTable:
    rows = zip(*(_about(one, work) for one, work in _both(found, old, new)), strict=True)
    about = tuple((before[0], before[1], after[1]) for before, after in rows)
    return CostTable("", ("", "OLD", "NEW"), about, left=9)


def _plain_head(found: Comparison, old: Analysis, new: Analysis) -> Iterator[str]:
    yield from plain(_sides(found, old, new), WIDTH)
    yield ""
    yield from _wrapped(verdict(found))
    yield from _wrapped(_comparable(found))
    for remark in found.remarks:
        yield from _wrapped(f"- {remark.text}", rest="  ")


def _sections(found: Comparison, old: Analysis, verbose: bool) -> Iterator[Section]:
    rows = [row for row in found.findings if verbose or row.change is not Change.SAME]
    if rows:
        tables = tuple(_finding(row, found) for row in rows)
        worse = [row.code for row in rows if row.change in (Change.NEW, Change.MORE)]
        proof = f"The proof: fputrace analyze NEW --select {','.join(worse)}"
        yield Section("Findings", tables, (_OUT, proof) if worse else (_OUT,))
    tables = tuple(_measures(found, verbose))
    if tables:
        priced = [_SCATTER]
        if old.costs:
            priced.append(_PRICED.format(old.costs.prices.source, old.costs.sizes_source))
        yield Section("For the same work", tables, tuple(priced))


def _finding(row: FindingChange, found: Comparison) -> CostTable:
    sides = (("OLD", row.old, found.old_work), ("NEW", row.new, found.new_work))
    notes = []
    if row.why:
        notes.append(f"{row.why[0].upper()}{row.why[1:]}.")
    if row.unit and row.change in (Change.MORE, Change.LESS, Change.SAME):
        notes.append(f"Compared by the {row.unit}.")
    for name, side, _work in sides:
        if side.whose:
            shown = ", ".join(side.whose[:4])
            more = f" and {len(side.whose) - 4} more" if len(side.whose) > 4 else ""
            notes.append(f"In {name}: {shown}{more}.")
    notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in row.known]
    return CostTable(
        f"{row.change.value.upper()} {row.code} {row.name} ({row.severity.value})",
        ("", "verdict", "count", *(f"/{unit}" for unit in UNITS)),
        tuple(
            (
                name,
                _proven(side),
                outline.number(side.seen),
                *(figure(rate) for rate in side.rates(work).values()),
            )
            for name, side, work in sides
        ),
        tuple(notes),
        left=2,
    )


def _proven(side: Side) -> str:
    if not side.seen:
        return ""
    return (
        "confirmed" if side.confirmed == side.seen else "in part" if side.confirmed else "possible"
    )


def _measures(found: Comparison, verbose: bool) -> Iterator[CostTable]:
    """A table a group, with the rows that changed."""
    groups: dict[tuple[str, str], list[Measure]] = {}
    for row in found.measures:
        nothing = not (row.old.total or row.new.total)
        if row.change or (verbose and not nothing):
            groups.setdefault((row.group, row.unit), []).append(row)
    for (group, unit), rows in groups.items():
        yield CostTable(
            f"{group[0].upper() if group.islower() else group[0]}{group[1:]}, per {unit}",
            ("", "OLD", "NEW", "change"),
            tuple((_name(r), figure(r.old.rate), figure(r.new.rate), _change(r)) for r in rows),
        )


def _name(row: Measure) -> str:
    return f"≈ {row.name}" if row.name.startswith(("ns", "bytes")) else row.name


def _change(row: Measure) -> str:
    if not row.change:
        return "about the same"
    if not row.old.rate or not row.new.rate:
        return "gone" if row.old.rate else "new"
    return f"{(row.new.rate / row.old.rate - 1) * 100:+,.0f} %"


def figure(value: float | None) -> str:
    """Three digits that count; "-" for what has no rate."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" if abs(value) >= 0.001 else f"{value:.1e}"


def _wrapped(paragraph: str, indent: str = "", rest: str | None = None) -> list[str]:
    cleaned = clean(approximate(paragraph), ascii_only=True)
    return wrap(
        cleaned,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if rest is None else rest,
        break_on_hyphens=False,
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *([markdown(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
