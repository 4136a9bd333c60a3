"""``check``: one sentence a trace that says why the answer is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.findings import Status, Verdict, in_words
from fputrace.reports import outline
from fputrace.reports.escape import clean

if TYPE_CHECKING:
    from fputrace.findings import Analysis
    from fputrace.presence import Presence

WORDS = {0: "absent", 1: "present", 125: "not decidable"}
"""Exit status -> the first word of the sentence."""


def sentence(analysis: Analysis, found: Presence, ascii_only: bool) -> str:
    """The answer, the rule, what it rests on, and of which trace; ends with a newline."""
    row = found.row
    rule = f"{row.code} {row.name}"
    if found.findings:
        first, *more = found.findings
        why = f"{first.verdict.value}, {outline.plural(first.count, 'time')}"
        if outline.subject(first):
            why += f", {outline.subject(first)}"
        if more:
            why += f", and {outline.plural(len(more), 'more finding')}"
        if first.verdict is Verdict.POSSIBLE and found.answer != 1:
            why = f"only {why}, and --confirmed-only asks for proof"
    elif row.status is Status.CHECKED:
        why = "checked: every event it needs was recorded, nothing was lost"
    elif row.status is Status.PARTLY:
        why = f"checked in part: {row.why}"
        if found.answer != 0:
            why += ", and --strict asks for all of it"
    else:
        why = row.why + (f"; missing {in_words(row.missing)}" if row.missing else "")
    trace, generation = analysis.trace, analysis.generation
    model = outline.either(generation.candidates) if generation.candidates else "generation unknown"
    of = f"{trace.path}, kernel {trace.kernel or 'not recorded'}, {model}"
    return clean(f"{WORDS[found.answer]}: {rule}: {why} ({of})", ascii_only) + "\n"
