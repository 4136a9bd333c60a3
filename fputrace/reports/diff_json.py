"""``diff`` for programs: JSON by ``diff.schema.json``, ASCII only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fputrace.compare import UNITS
from fputrace.reports.escape import decoded, dumps
from fputrace.reports.json_report import text_or_none

if TYPE_CHECKING:
    from fputrace.compare import Amount, Comparison, Side, Work
    from fputrace.findings import Analysis

SCHEMA_VERSION = 1

_CHANGES = {1: "more", -1: "less", 0: "same"}


def diff_json(
    found: Comparison, old: Analysis, new: Analysis, exit_status: int, version: str
) -> str:
    """The document as text; ends with a newline."""
    works = (found.old_work, found.new_work)
    return dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "tool": {"name": "fputrace", "version": version},
            "old": _trace(old, works[0]),
            "new": _trace(new, works[1]),
            "comparable": found.comparable,
            "remarks": [{"level": one.level, "text": decoded(one.text)} for one in found.remarks],
            "verdict": found.verdict,
            "empty": found.empty,
            "findings": [
                {
                    "code": row.code,
                    "name": decoded(row.name),
                    "severity": row.severity.value,
                    "change": row.change.value,
                    "unit": row.unit or None,
                    "why": decoded(row.why),
                    "known": [decoded(sentence) for sentence in row.known],
                    "old": _side(row.old, works[0]),
                    "new": _side(row.new, works[1]),
                }
                for row in found.findings
            ],
            "measures": [
                {
                    "group": row.group,
                    "name": row.name,
                    "unit": row.unit,
                    "change": _CHANGES[row.change],
                    "old": _amount(row.old),
                    "new": _amount(row.new),
                }
                for row in found.measures
            ],
            "exit_status": exit_status,
        }
    )


def _trace(analysis: Analysis, work: Work) -> dict[str, Any]:
    trace, generation = analysis.trace, analysis.generation
    return {
        "path": decoded(trace.path),
        "sha256": analysis.sha256,
        "kernel": text_or_none(trace.kernel),
        "generation": generation.code,
        "candidates": list(generation.candidates),
        "events": sum(trace.counts.values()),
        "losses": len(analysis.losses),
        "work": {unit: work.of(unit) for unit in UNITS},
    }


def _side(side: Side, work: Work) -> dict[str, Any]:
    return {
        "count": side.seen,
        "confirmed": side.confirmed,
        "whose": [decoded(name) for name in side.whose],
        "rates": side.rates(work),
    }


def _amount(amount: Amount) -> dict[str, Any]:
    return {"total": amount.total, "of": amount.of, "rate": amount.rate}
