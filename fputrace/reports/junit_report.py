"""``analyze`` for CI servers: JUnit XML, a suite each trace, a case each selected rule.

A case fails when its rule found something, whatever ``--fail-on`` says.  It is skipped, with the
reason, when the trace cannot answer the rule or the rule does not apply to it; when all that was
found is known (a baseline, a configuration); and when the rule is about the recording itself, since
that is no fault of the kernel.  A trace that could not be read is a suite with one error.

The elements are those that Jenkins' xunit plugin accepts.  Everything is cleaned as on a terminal,
so that no character remains that XML cannot hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from fputrace.findings import Severity, Status, in_words
from fputrace.reports import outline
from fputrace.reports.escape import clean
from fputrace.reports.steps import proof_steps

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Coverage, Finding
    from fputrace.reports import Options, Unread

_SHOWN = 20
"""Findings of one rule that are told one by one."""
_PROVED = 3
"""Of these, how many with their shortest proof."""


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The XML text: ASCII, ends with a newline."""
    suites = [_suite(analysis) for analysis in analyses]
    suites += [_unread(one) for one in options.unread]
    root = ET.Element("testsuites", name="fputrace")
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root, " ")
    text = ET.tostring(root, encoding="us-ascii", xml_declaration=False).decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(analysis: Analysis) -> ET.Element:
    trace = analysis.trace
    suite = ET.Element("testsuite", name=clean(trace.path))
    properties = ET.SubElement(suite, "properties")
    about = {
        "kernel": trace.kernel or "not recorded",
        "generation": outline.generation(analysis),
        "format": trace.format,
        "events": str(sum(trace.counts.values())),
        "losses": str(len(analysis.losses)),
        **({"sha256": analysis.sha256} if analysis.sha256 else {}),
        **({"findings not shown": str(analysis.hidden)} if analysis.hidden else {}),
    }
    for name, value in about.items():
        ET.SubElement(properties, "property", name=name, value=clean(value))
    cases = [_case(row, analysis) for row in outline.coverage(analysis)]
    suite.extend(cases)
    return _counted(suite, cases)


def _unread(one: Unread) -> ET.Element:
    suite = ET.Element("testsuite", name=clean(one.path))
    case = ET.SubElement(suite, "testcase", name="read", classname=_class(one.path))
    error = ET.SubElement(case, "error", type="unreadable", message=clean(one.message))
    error.text = clean(f"{one.message}. {one.hint}".strip())
    return _counted(suite, [case])


def _counted(suite: ET.Element, cases: Sequence[ET.Element]) -> ET.Element:
    suite.set("tests", str(len(cases)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    return suite


def _class(path: str) -> str:
    """Servers take what stands before the last point for a package."""
    return f"fputrace.{clean(os.path.splitext(path)[0]).replace('.', '_')}"


def _case(row: Coverage, analysis: Analysis) -> ET.Element:
    case = ET.Element(
        "testcase", name=f"{row.code} {clean(row.name)}", classname=_class(analysis.trace.path)
    )
    found = [f for f in outline.sorted_findings(analysis.findings) if f.code == row.code]
    known = [one for one in analysis.suppressed if one.code == row.code]
    if found:
        ours = found[0].severity is not Severity.TRACE
        element = ET.SubElement(case, "failure" if ours else "skipped")
        element.set("type", f"{found[0].severity.value}-{found[0].verdict.value}")
        element.set("message", clean(_summary(found)))
        element.text = "\n" + "\n".join(clean(line) for line in _lines(found, analysis)) + "\n"
    elif known:
        times = sum(one.occurrences for one in known)
        reasons = "; ".join(one.reason for one in known)
        _skip(case, "known", f"{outline.plural(times, 'time')}: {reasons}")
    elif row.status is Status.NOT_DECIDABLE:
        missing = f"; missing {in_words(row.missing)}" if row.missing else ""
        _skip(case, row.status.value, f"{row.why}{missing}")
    elif row.status is Status.NOT_APPLICABLE:
        _skip(case, row.status.value, row.why)
    elif row.status is Status.PARTLY:
        ET.SubElement(case, "system-out").text = clean(f"Checked in part: {row.why}.")
    return case


def _skip(case: ET.Element, why: str, message: str) -> None:
    ET.SubElement(case, "skipped", type=why, message=clean(message))


def _summary(found: Sequence[Finding]) -> str:
    """One line for the list of failures."""
    more = f", and {outline.plural(len(found) - 1, 'more finding')}" if len(found) > 1 else ""
    return f"{outline.one_line(found[0])}{more}"


def _lines(found: Sequence[Finding], analysis: Analysis) -> Iterator[str]:
    clock = outline.clock_of(analysis.trace)
    for number, finding in enumerate(found[:_SHOWN]):
        yield outline.one_line(finding, analysis.windowed)
        yield f"  {finding.message}"
        yield from (f"  {like.sentence}" for like in finding.known)
        if number < _PROVED and finding.witnesses:
            (index,) = outline.shown_proofs(finding, verbose=False)
            yield f"  {outline.proof_title(finding, index, clock)}"
            for step in proof_steps(finding.witnesses[index], analysis.trace):
                if step.inferred:
                    yield f"  {step.number:3} {step.name} (inferred)"
                else:
                    event = f"{step.name}: {step.fields}" if step.fields else step.name
                    yield f"  {step.number:3} {step.time} [{step.cpu:03}] {step.task}: {event}"
                yield f"      {step.role}"
    if len(found) > _SHOWN:
        yield f"and {outline.plural(len(found) - _SHOWN, 'more finding')}"
