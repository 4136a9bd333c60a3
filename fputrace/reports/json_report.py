r"""``analyze`` for programs: JSON as ``analyze.schema.json`` (beside this file) describes it.

Times are integers in ns of the trace's clock, addresses strings of hexadecimal (JavaScript's
numbers end at 53 bits), every other number an integer.  A byte that was no UTF-8 reads ``\x80``.
Steps that no event shows belong to a report for people and are left out of ``witnesses``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fputrace.events import ABSENT, Loss
from fputrace.reports.costs import costs_json
from fputrace.reports.escape import Alike, decoded, dumps
from fputrace.reports.outline import sorted_findings
from fputrace.reports.steps import MASKS, POINTERS

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Chain, Finding, LooksLike, Witness
    from fputrace.reports import Options

SCHEMA_VERSION = 1

_U64 = (1 << 64) - 1


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The JSON text of these analyses; ends with a newline."""
    return analyze_json(analyses, options.exit_status, options.version)


def analyze_json(analyses: Sequence[Analysis], exit_status: int, version: str) -> str:
    """One JSON object for all traces, indented; ASCII, so that any locale can print it."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "fputrace", "version": version},
        "traces": [_trace(analysis) for analysis in analyses],
        "exit_status": exit_status,
    }
    return dumps(document)


def _trace(analysis: Analysis) -> dict[str, Any]:
    trace, generation = analysis.trace, analysis.generation
    return {
        "path": decoded(trace.path),
        "sha256": analysis.sha256,
        "format": decoded(trace.format),
        "kernel": text_or_none(trace.kernel),
        "host": text_or_none(trace.host),
        "cpus": len(trace.cpus),
        "clock": text_or_none(trace.clock),
        "events": sum(trace.counts.values()),
        "events_by_name": {decoded(name): count for name, count in sorted(trace.counts.items())},
        "first_ns": trace.first_ns,
        "last_ns": trace.last_ns,
        "generation": {
            "code": generation.code,
            "decided": generation.decided,
            "forced": generation.forced,
            "candidates": list(generation.candidates),
            "evidence": [decoded(line) for line in generation.evidence],
        },
        "losses": _losses(analysis.losses),
        "coverage": [
            {
                "code": row.code,
                "status": row.status.value,
                "missing": [decoded(need) for need in row.missing],
                "why": decoded(row.why),
            }
            for row in analysis.coverage
        ],
        "findings": [finding_json(finding) for finding in sorted_findings(analysis.findings)],
        "costs": costs_json(analysis.costs) if analysis.costs else {},
        "record": text_or_none(analysis.record),
        **_suppressed(analysis),
    }


def _losses(losses: Sequence[Loss]) -> Alike:
    """All of them, of which a recording may have tens of thousands."""
    columns = zip(*losses, strict=True) if losses else ((),) * len(Loss._fields)
    cpu, after_ns, before_ns, count, where, _placed, _severity = columns
    return Alike(
        {
            "cpu": cpu,
            "after_ns": after_ns,
            "before_ns": before_ns,
            "count": count,
            "where": list(map(decoded, where)),
        }
    )


def _suppressed(analysis: Analysis) -> dict[str, Any]:
    """What a configuration or a baseline left out, only where one did."""
    rows = [
        {
            "code": row.code,
            "reason": decoded(row.reason),
            "findings": row.findings,
            "count": row.occurrences,
        }
        for row in analysis.suppressed
    ]
    return {"suppressed": rows} if rows else {}


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as an object of ``analyze.schema.json``."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "verdict": finding.verdict.value,
        "count": finding.count,
        "pid": finding.pid,
        "comm": text_or_none(finding.comm),
        "vcpu": finding.vcpu,
        "tgid": finding.tgid,
        "cpus": list(finding.cpus),
        "first_ns": finding.first_ns,
        "last_ns": finding.last_ns,
        "message": decoded(finding.message),
        "witnesses": [_witness(witness) for witness in finding.witnesses],
        "cost": finding.cost and {"bytes": finding.cost.bytes, "ns": finding.cost.ns},
        "known": [_known(like) for like in finding.known],
    }


def _known(like: LooksLike) -> dict[str, Any]:
    bug = like.bug
    return {
        "id": bug.id,
        "title": bug.title,
        "certain": not like.doubt,
        "doubt": decoded(like.doubt),
        "commit": bug.commit or None,
        "affected": bug.where,
        "fixes": [
            {
                "commit": fix.commit or None,
                "subject": fix.subject,
                "releases": list(fix.releases),
            }
            for fix in bug.fixes
        ],
        "sentence": decoded(like.sentence),
    }


def _witness(witness: Witness) -> dict[str, Any]:
    return {
        "ns": witness.ns,
        "cpu": witness.cpu,
        "events": [
            {
                "ns": event.ns,
                "cpu": event.cpu,
                "pid": event.pid,
                "comm": decoded(event.comm),
                "name": decoded(event.name),
                "fields": _fields(event.fields),
                "role": decoded(event.role),
                "step": event.step,
            }
            for event in witness.events
            if not event.inferred
        ],
        "chain": witness.chain and _chain(witness.chain, {e.step for e in witness.events}),
    }


def _chain(chain: Chain, shown: set[str]) -> dict[str, Any]:
    buffer = chain.buffer
    return {
        "calls": [
            {
                "depth": frame.depth,
                "function": frame.function,
                "evidence": frame.event if frame.event and frame.event in shown else None,
                "does": frame.does,
            }
            for frame in chain.frames
        ],
        "overwritten": buffer
        and {
            "buffer": buffer.name,
            "held": buffer.held,
            "gets": decoded(buffer.gets),
            "reader": buffer.reader,
        },
    }


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of an event; one that this kernel's event lacks is left out."""
    return {decoded(name): _value(name, v) for name, v in fields.items() if v != ABSENT}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_value(name, item) for item in value]
    if isinstance(value, (str, bytes)):
        return decoded(value if isinstance(value, str) else value.decode(errors="surrogateescape"))
    number = int(value)
    if name in POINTERS:
        return f"0x{number & _U64:x}"
    return number & _U64 if name in MASKS else number


def text_or_none(text: str | None) -> str | None:
    """A text of the recording, or the null that stands for none."""
    return None if text is None else decoded(text)
