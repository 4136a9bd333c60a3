"""How a report to be sent begins and ends: the paragraph that sums it up, and what it was made of.

As in ``outline``, strings hold text from the trace as it is; whoever lays them out escapes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fputrace.findings import Severity, Verdict
from fputrace.reports import outline

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Finding

_TASKS_SHOWN = 3
_KERNEL_ROWS = frozenset({"Kernel", "Generation", "CPUs", "Time span", "Events"})


def kernel(analysis: Analysis) -> list[outline.Row]:
    """What ran and what the recording holds: the rows of :func:`head` a reader looks at first."""
    return [row for row in outline.head(analysis) if row.label in _KERNEL_ROWS]


def holes(analysis: Analysis) -> list[outline.Row]:
    """What is lost and what this form of recording cannot tell."""
    clock = outline.clock_of(analysis.trace)
    return [
        outline.Row("Losses", outline.losses(analysis.losses, analysis.trace, clock)),
        *outline.limits(analysis.trace),
    ]


def provenance(analysis: Analysis, version: str, command: str) -> list[outline.Row]:
    """What the report was made of and how, so that somebody else makes the same again.

    Of an absolute path only the name: the folder is of this machine and tells nothing elsewhere.
    """
    trace = analysis.trace
    digest = analysis.sha256 or "none: only files are hashed, and by analyze only with --sha256"
    rows = [
        outline.Row("Input", [f"{file_name(trace.path)} ({trace.format})"]),
        outline.Row("SHA-256", [digest]),
    ]
    rows += [outline.Row("Tool", [f"fputrace {version}"])] if version else []
    return rows + ([outline.Row("Command", [command])] if command else [])


def file_name(path: str) -> str:
    """A relative path as it is, of an absolute one the name."""
    return (path.rstrip("/").rpartition("/")[2] or path) if path.startswith("/") else path


def summary(analysis: Analysis) -> str:
    """What was looked at and what came out, as one paragraph."""
    trace, clock = analysis.trace, outline.clock_of(analysis.trace)
    of_cpus = f" of {outline.plural(len(trace.cpus), 'CPU')}" if trace.cpus else ""
    over = ""
    if trace.first_ns is not None and trace.last_ns is not None:
        over = f" over {clock.length(trace.last_ns - trace.first_ns)}"
    model = analysis.generation
    judged = f"generation {model.code}" if model.code else "generation undecided"
    on = f"Linux {trace.kernel}" if trace.kernel else "a kernel that is not named"
    events = outline.plural(sum(trace.counts.values()), "event")
    return " ".join(
        [
            f"{events}{of_cpus}{over}, recorded on {on} ({judged}).",
            outline.verdict_line(analysis),
            *_in_short(analysis),
            _lost_in_short(analysis),
        ]
    )


def _in_short(analysis: Analysis) -> Iterator[str]:
    """A sentence for each rule that says something about the kernel."""
    titles = {rule.code: rule.title for rule in analysis.rules}
    by_code: dict[str, list[Finding]] = {}
    for finding in outline.sorted_findings(analysis.findings):
        if finding.severity in (Severity.ERROR, Severity.PERFORMANCE):
            by_code.setdefault(finding.code, []).append(finding)
    for code, found in by_code.items():
        sure = sum(one.count for one in found if one.verdict is Verdict.CONFIRMED)
        maybe = sum(one.count for one in found) - sure
        counts = [f"confirmed {outline.plural(sure, 'time')}"] if sure else []
        counts += [f"possible {outline.plural(maybe, 'time')}"] if maybe else []
        whose = [outline.task(one.comm, one.pid) for one in found if one.pid is not None]
        tasks = list(dict.fromkeys(whose))
        shown = tasks[:_TASKS_SHOWN]
        if len(tasks) > _TASKS_SHOWN:
            shown.append(f"{outline.number(len(tasks) - _TASKS_SHOWN)} more")
        of = f", of {outline.either(shown, 'and')}" if shown else ""
        named = dict.fromkeys(
            like.bug.called for one in found for like in one.known if not like.doubt
        )
        like = f"; looks like {outline.either(list(named))}" if named else ""
        yield f"{code}: {titles.get(code, found[0].name)}: {' and '.join(counts)}{of}{like}."


def _lost_in_short(analysis: Analysis) -> str:
    if analysis.losses:
        first = outline.losses(analysis.losses, analysis.trace, outline.clock_of(analysis.trace))[0]
        return f"Lost: {first}."
    known = analysis.trace.losses_known
    return "No events were lost." if known else "Whether events were lost, nothing tells."
