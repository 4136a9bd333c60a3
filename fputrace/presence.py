"""Whether a trace shows what one rule looks for: present, absent, or nothing can be said.

The three answers are the exit statuses that ``git bisect run`` takes for bad, good and skip.  A
trace in which nothing was found says "absent" only if it could have shown it: the rule was checked,
or checked in part; ``strict`` wants it checked in full.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from fputrace.findings import Status, Verdict
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Coverage, Finding


class Answer(IntEnum):
    """Exit statuses of ``fputrace check``."""

    ABSENT = 0
    PRESENT = 1
    NOT_DECIDABLE = 125


class Presence(PlainTuple):
    """The answer and what it rests on.

    ``findings``: of this rule, confirmed before possible, many before few.  ``row``: its coverage.
    """

    answer: Answer
    findings: tuple[Finding, ...]
    row: Coverage


def presence(
    analysis: Analysis, code: str, *, confirmed_only: bool = False, strict: bool = False
) -> Presence:
    """Whether the rule with this code found something in a trace that was asked it.

    ``confirmed_only``: what is only possible decides nothing.  ``strict``: nor does the silence of
    a rule that was checked in part.  Raises KeyError for a code the analysis has no coverage of.
    """
    rows = {row.code: row for row in analysis.coverage}
    row = rows[code]
    found = tuple(
        sorted(
            (one for one in analysis.findings if one.code == code),
            key=lambda one: (one.verdict is not Verdict.CONFIRMED, -one.count, one.pid or 0),
        )
    )
    if found:
        sure = found[0].verdict is Verdict.CONFIRMED or not confirmed_only
        return Presence(Answer.PRESENT if sure else Answer.NOT_DECIDABLE, found, row)
    enough = (Status.CHECKED,) if strict else (Status.CHECKED, Status.PARTLY)
    answer = Answer.ABSENT if row.status in enough else Answer.NOT_DECIDABLE
    return Presence(answer, (), row)


def overall(answers: list[Answer]) -> Answer:
    """Of several traces: one that shows it is enough; absent must hold of each, and of one."""
    if Answer.PRESENT in answers:
        return Answer.PRESENT
    return Answer.ABSENT if set(answers) == {Answer.ABSENT} else Answer.NOT_DECIDABLE
