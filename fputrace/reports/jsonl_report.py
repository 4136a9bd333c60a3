"""``analyze`` for pipes and tables: JSON lines, one finding each, complete in itself.

A line has the keys of a finding in ``analyze.schema.json`` and, before them, those of its trace
that say where it comes from: ``path``, ``sha256``, ``kernel``, ``host``, ``generation`` (the code,
or null) and ``candidates``.  A trace without findings has no line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fputrace.reports.escape import decoded, dumps_line
from fputrace.reports.json_report import SCHEMA_VERSION, finding_json, text_or_none
from fputrace.reports.outline import sorted_findings

if TYPE_CHECKING:
    from fputrace.findings import Analysis
    from fputrace.reports import Options


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The lines of these analyses, ASCII; "" when nothing was found."""
    return "".join(line for analysis in analyses for line in _lines(analysis, options.version))


def _lines(analysis: Analysis, version: str) -> list[str]:
    trace = analysis.trace
    about = {
        "schema_version": SCHEMA_VERSION,
        "version": version,
        "path": decoded(trace.path),
        "sha256": analysis.sha256,
        "kernel": text_or_none(trace.kernel),
        "host": text_or_none(trace.host),
        "generation": analysis.generation.code,
        "candidates": list(analysis.generation.candidates),
    }
    return [
        dumps_line({**about, **finding_json(finding)})
        for finding in sorted_findings(analysis.findings)
    ]
