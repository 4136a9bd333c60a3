"""``analyze`` for code hosts and editors: SARIF 2.1.0, one run for all traces.

* A result is a finding; its code flows are its proofs, a thread flow location each event.
* Where: the trace as an artifact with a relative URI, and logical locations for CPU, vCPU and task.
  Every region is line 1, which GitHub wants: a recording has no lines worth naming.
* Level: a confirmed error is ``error``, a possible one and a confirmed performance finding
  ``warning``, everything else ``note``.
* ``partialFingerprints`` rest on what survives another run (``findings.fingerprint``).
* What a baseline or a configuration left out is there as a result with a suppression.
* Rules that could not be decided, and traces that could not be read, are notifications.

Within the limits that GitHub's code scanning documents: see the constants.  Text of the recording
is cleaned as on a terminal, and can neither end a message early nor be a link in one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fputrace.findings import Severity, Status, Verdict, fingerprint, in_words
from fputrace.reports import outline
from fputrace.reports.escape import clean, decoded, dumps
from fputrace.reports.steps import proof_steps

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Finding, RuleInfo, Witness
    from fputrace.reports import Options

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

MOST_RESULTS = 5_000
"""Results of a run that GitHub keeps (more than 25 000 it rejects)."""
MOST_STEPS = 1_000
"""Thread flow locations of a result that GitHub keeps."""
MOST_TEXT = 1_024
"""Characters of a rule's descriptions that GitHub shows."""

_LEVELS = {
    (Severity.ERROR, Verdict.CONFIRMED): "error",
    (Severity.ERROR, Verdict.POSSIBLE): "warning",
    (Severity.PERFORMANCE, Verdict.CONFIRMED): "warning",
}
_RULE_LEVELS = {Severity.ERROR: "error", Severity.PERFORMANCE: "warning"}
_PROBLEMS = {Severity.ERROR: "error", Severity.PERFORMANCE: "warning"}  # else: recommendation

_Json = dict[str, Any]


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The SARIF log of these analyses: ASCII, ends with a newline."""
    rules = _rules(analyses)
    numbers = {rule.code: number for number, rule in enumerate(rules)}
    results, left_out = _results(analyses, numbers)
    notices = [_unread(one.path, f"{one.message}. {one.hint}") for one in options.unread]
    if left_out:
        text = f"{outline.plural(left_out, 'result')} left out: {MOST_RESULTS:,} is the limit."
        notices.append({"level": "warning", "message": _message(text)})
    run = {
        "tool": {
            "driver": {
                "name": "fputrace",
                "version": options.version,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": not options.unread,
                "exitCode": options.exit_status,
                "toolExecutionNotifications": notices,
                "toolConfigurationNotifications": [
                    notice for one in analyses for notice in _undecided(one, numbers)
                ],
            }
        ],
        # The other base, %SRCROOT%, is wherever who reads this has the files.
        "originalUriBaseIds": {"ROOT": {"uri": "file:///"}},
        "artifacts": [_artifact(analysis) for analysis in analyses],
        "results": results,
        "columnKind": "utf16CodeUnits",
    }
    return dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rules(analyses: Sequence[Analysis]) -> list[RuleInfo]:
    """The rules that were selected for any of the traces, in the order of their codes."""
    chosen = {
        rule.code: rule
        for analysis in analyses
        for rule in analysis.rules
        if rule.code not in analysis.left_out
    }
    return [chosen[code] for code in sorted(chosen)]


def _rule(rule: RuleInfo) -> _Json:
    about = re.search(r"^## What\n(.*?)(?=\n## |\Z)", rule.page, re.MULTILINE | re.DOTALL)
    what = " ".join(about[1].split()) if about else rule.title
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": clean(rule.title)[:MOST_TEXT]},
        "fullDescription": {"text": clean(what)[:MOST_TEXT]},
        "help": {"text": rule.page or rule.title, "markdown": rule.page or rule.title},
        "defaultConfiguration": {"level": _RULE_LEVELS.get(rule.severity, "note")},
        "properties": {
            "tags": ["fpu", "kvm", rule.severity.value],
            "precision": "high",
            "problem.severity": _PROBLEMS.get(rule.severity, "recommendation"),
        },
    }


def _results(analyses: Sequence[Analysis], numbers: dict[str, int]) -> tuple[list[_Json], int]:
    """Results of all traces, the gravest first where there are too many; how many are left out."""
    found: list[tuple[Finding, int, str | None]] = []
    for index, analysis in enumerate(analyses):
        found += [(one, index, None) for one in outline.sorted_findings(analysis.findings)]
        for row in analysis.suppressed:
            found += [(one, index, row.reason) for one in row.left_out]
    suppressing = any(reason is not None for _, _, reason in found)
    order = list(Severity)
    if len(found) > MOST_RESULTS:
        found.sort(key=lambda row: (row[2] is not None, order.index(row[0].severity)))
    seen: dict[str, int] = {}
    results = []
    for finding, index, reason in found[:MOST_RESULTS]:
        made = _result(finding, analyses[index], index, numbers, seen)
        if suppressing:
            made["suppressions"] = [] if reason is None else [_suppression(reason)]
        results.append(made)
    return results, max(len(found) - MOST_RESULTS, 0)


def _result(
    finding: Finding,
    analysis: Analysis,
    artifact: int,
    numbers: dict[str, int],
    seen: dict[str, int],
) -> _Json:
    trace = analysis.trace
    place = _place(trace.path, artifact)
    mine = hashlib.sha256(repr(fingerprint(finding)).encode()).hexdigest()[:16]
    # Tasks of one name and vCPU, and both verdicts of one task, share what survives a run.
    seen[mine] = seen.get(mine, 0) + 1
    said = [f"{outline.one_line(finding, analysis.windowed)}.", finding.message]
    said += [f"{like.sentence[0].upper()}{like.sentence[1:]}." for like in finding.known]
    result: _Json = {"ruleId": finding.code}
    if finding.code in numbers:
        result["ruleIndex"] = numbers[finding.code]
    result |= {
        "level": _LEVELS.get((finding.severity, finding.verdict), "note"),
        "message": _message(" ".join(said)),
        "locations": [{"physicalLocation": place, "logicalLocations": _logical(finding)}],
        "partialFingerprints": {
            "primaryLocationLineHash": f"{mine}:{seen[mine]}",
            "fputraceFinding/v1": mine,
        },
        "occurrenceCount": finding.count,
        "properties": {
            "verdict": finding.verdict.value,
            "severity": finding.severity.value,
            "firstNs": finding.first_ns,
            "lastNs": finding.last_ns,
            "pid": finding.pid,
            "vcpu": finding.vcpu,
            "cpus": list(finding.cpus),
            "knownBugs": [like.bug.id for like in finding.known],
        },
    }
    flows = _flows(finding.witnesses, analysis, place)
    if flows:
        result["codeFlows"] = flows
    return result


def _logical(finding: Finding) -> list[_Json]:
    """Task, vCPU and CPUs, as far as the trace tells."""
    places = []
    vm = f"VM {finding.tgid}/" if finding.tgid is not None else ""
    if finding.comm or finding.pid is not None:
        name = clean(outline.task(finding.comm, finding.pid))
        places.append({"name": name, "fullyQualifiedName": f"{vm}{name}", "kind": "task"})
    if finding.vcpu is not None:
        name = f"vCPU {finding.vcpu}"
        places.append({"name": name, "fullyQualifiedName": f"{vm}{name}", "kind": "vcpu"})
    if finding.cpus:
        places.append(_cpu(outline.cpu_list(finding.cpus)))
    return places


def _cpu(numbers: str) -> _Json:
    return {"name": f"CPU {numbers}", "fullyQualifiedName": f"CPU {numbers}", "kind": "cpu"}


def _flows(witnesses: Iterable[Witness], analysis: Analysis, place: _Json) -> list[_Json]:
    """A code flow a proof, until the limit of steps."""
    flows: list[_Json] = []
    left = MOST_STEPS
    for witness in witnesses:
        steps = proof_steps(witness, analysis.trace)
        left -= len(steps)
        if left < 0:
            break
        locations = []
        for event, step in zip(witness.events, steps, strict=True):
            logical = [_cpu(str(event.cpu))]
            if not step.inferred:
                task = clean(step.task)
                logical.append({"name": task, "fullyQualifiedName": task, "kind": "task"})
            said = f"{step.name} {step.fields}".strip()
            lead = "(inferred) " if step.inferred else f"{step.time} {step.task}: "
            locations.append(
                {
                    "location": {
                        "physicalLocation": place,
                        "logicalLocations": logical,
                        "message": _message(f"{lead}{said}: {step.role}"),
                    },
                    "executionOrder": step.number,
                    "importance": "important" if step.inferred else "essential",
                    "properties": {"ns": event.ns, "cpu": event.cpu, "inferred": event.inferred},
                }
            )
        if locations:
            where = f"{outline.clock_of(analysis.trace).at(witness.ns)}, CPU {witness.cpu}"
            flows.append({"message": _message(where), "threadFlows": [{"locations": locations}]})
    return flows


def _undecided(analysis: Analysis, numbers: dict[str, int]) -> Iterable[_Json]:
    """A notification for each rule that this trace could not answer."""
    for row in outline.coverage(analysis):
        if row.status is Status.NOT_DECIDABLE:
            missing = f" (missing: {in_words(row.missing)})" if row.missing else ""
            text = f"{row.code} {row.name} is not decidable: {row.why}{missing}."
            rule: _Json = {"id": row.code}
            if row.code in numbers:
                rule["index"] = numbers[row.code]
            yield {
                "level": "note",
                "message": _message(text),
                "associatedRule": rule,
                "locations": [{"physicalLocation": _place(analysis.trace.path)}],
            }


def _unread(path: str, text: str) -> _Json:
    return {
        "level": "error",
        "message": _message(text.strip()),
        "locations": [{"physicalLocation": _place(path)}],
    }


def _suppression(reason: str) -> _Json:
    return {"kind": "external", "status": "accepted", "justification": clean(reason)}


def _artifact(analysis: Analysis) -> _Json:
    trace, generation = analysis.trace, analysis.generation
    artifact: _Json = {
        "location": _uri(trace.path),
        "roles": ["analysisTarget"],
        "properties": {
            "format": clean(trace.format),
            "kernel": None if trace.kernel is None else clean(trace.kernel),
            "generation": generation.code,
            "candidates": list(generation.candidates),
            "events": sum(trace.counts.values()),
            "losses": len(analysis.losses),
        },
    }
    if analysis.sha256:
        artifact["hashes"] = {"sha-256": analysis.sha256}
    return artifact


def _place(path: str, artifact: int | None = None) -> _Json:
    location = _uri(path)
    if artifact is not None:
        location["index"] = artifact
    return {"artifactLocation": location, "region": {"startLine": 1}}


def _uri(path: str) -> _Json:
    """A relative reference: to the current folder, or where the file is not below it, to "/"."""
    base = "%SRCROOT%"
    if os.path.isabs(path):
        below = os.path.relpath(path)
        if below.startswith(os.pardir):
            path, base = path.lstrip("/"), "ROOT"
        else:
            path = below
    try:
        name = os.fsencode(path)  # a byte that is no UTF-8 is quoted as the byte it is
    except UnicodeEncodeError:  # a name inside of an archive may be no name of a file
        name = decoded(path).encode()
    return {"uri": quote(name), "uriBaseId": base}


def _message(text: str) -> _Json:
    """A plain-text message; what would be a link in it ("[text](target)") is none."""
    return {"text": clean(text).replace("](", "] (") or "-"}
