"""``info``: what a recording says about itself, for a terminal, as text and as JSON.

The trace must have been read once (``Trace.blocks``): counts, losses and times come from that pass.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from fputrace.reports import outline
from fputrace.reports.escape import decoded, dumps

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fputrace.events import Loss, Trace

SCHEMA_VERSION = 1


def info_rows(trace: Trace) -> list[outline.Row]:
    """The recording in labelled values."""
    clock = outline.clock_of(trace)
    rows = [
        outline.Row("File", [trace.path]),
        outline.Row("Format", [trace.format]),
        outline.Row("Kernel", [trace.kernel or "not recorded"]),
        outline.Row("Host", [trace.host or "not recorded"]),
        outline.Row("CPUs", [outline.cpus(trace.cpus)]),
        outline.Row("Clock", [_clock(trace)]),
        outline.Row("Time span", outline.time_span(trace, clock)),
    ]
    if trace.is_guest:
        rows.append(outline.Row("Guest", ["this was recorded inside a virtual machine"]))
    if trace.guests:
        vcpus = [f"{tid} is vCPU {n} of {name}" for tid, (name, n) in sorted(trace.guests.items())]
        rows.append(outline.Row("vCPUs", vcpus))
    if trace.instances:
        rows.append(outline.Row("Instances", [", ".join(trace.instances)]))
    rows.append(outline.Row("Formats", _formats(trace)))
    if trace.probes:
        rows.append(outline.Row("Probes", _probes(trace)))
    rows.append(outline.Row("Losses", _losses(trace, clock)))
    rows += outline.limits(trace)
    if trace.notes:
        rows.append(outline.Row("Notes", [f"- {note}" for note in dict.fromkeys(trace.notes)]))
    return rows


def info_rich(trace: Trace, ascii_only: bool = False) -> RenderableType:
    """A renderable: the labelled values, then the events by name."""
    from fputrace.reports.rich_report import RowsView

    return RowsView([*info_rows(trace), _events(trace)], ascii_only)


def info_text(trace: Trace) -> str:
    """Plain ASCII of at most 72 columns; ends with a newline."""
    from fputrace.reports.text_report import rows

    return "\n".join(rows([*info_rows(trace), _events(trace)])) + "\n"


def info_json(trace: Trace) -> str:
    """One JSON object; times in ns of the trace's clock.  Ends with a newline."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "path": trace.path,
        "format": trace.format,
        "kernel": trace.kernel,
        "host": trace.host,
        "cpus": list(trace.cpus),
        "clock": trace.clock,
        "clock_global": trace.clock_global,
        "clock_in_ns": trace.clock_in_ns,
        "first_ns": trace.first_ns,
        "last_ns": trace.last_ns,
        "events": sum(trace.counts.values()),
        "events_by_name": dict(sorted(trace.counts.items())),
        "losses_known": trace.losses_known,
        "losses": [
            {
                "cpu": loss.cpu,
                "after_ns": loss.after_ns,
                "before_ns": loss.before_ns,
                "count": loss.count,
                "where": loss.where,
            }
            for loss in trace.losses
        ],
        "formats": sorted(trace.formats),
        "unusable": {name: list(fields) for name, fields in sorted(trace.unusable.items())},
        "instances": list(trace.instances),
        "is_guest": trace.is_guest,
        "guests": [
            {"tid": tid, "guest": name, "vcpu": vcpu}
            for tid, (name, vcpu) in sorted(trace.guests.items())
        ],
        "probes": [
            {"event": event, "function": function, "evidence": evidence}
            for event, (function, evidence) in sorted(trace.probes.items())
        ],
        "limits": list(dict.fromkeys(trace.limits)),
        "notes": list(dict.fromkeys(trace.notes)),
    }
    return dumps(_decoded(document))


def _probes(trace: Trace) -> list[str]:
    """Each probe with the function it sits on, and what says so."""
    says = {"kallsyms": "", "name": " (so its name says)"}
    return [
        f"{event} on {function}{says.get(evidence, '')}"
        for event, (function, evidence) in sorted(trace.probes.items())
    ]


def _clock(trace: Trace) -> str:
    name = trace.clock or "not recorded"
    told = [] if trace.clock_global else ["not the same on all CPUs"]
    if not trace.clock_in_ns:
        told.append("counts in its own unit, not in ns")
    return f"{name} ({', '.join(told)})" if told else name


def _formats(trace: Trace) -> list[str]:
    lines = [f"{outline.plural(len(trace.formats), 'event')} described"]
    for name, fields in sorted(trace.unusable.items()):
        lines.append(f"- {name} cannot be used: it lacks {', '.join(fields)}")
    return lines


def _losses(trace: Trace, clock: outline.Clock) -> list[str]:
    """The sum, then CPU by CPU."""
    total, *_ = outline.losses(trace.losses, trace, clock)
    by_cpu: defaultdict[int, list[Loss]] = defaultdict(list)
    for row in trace.losses:
        by_cpu[-1 if row.cpu is None else row.cpu].append(row)
    lines = [total]
    for cpu, rows in sorted(by_cpu.items()):
        name = f"CPU {cpu}" if cpu >= 0 else "CPU not told"
        counted = sum(row.count or 0 for row in rows)
        amount = outline.plural(counted, "event") if counted else "an unknown number of events"
        first = f", the first after {clock.at(rows[0].after_ns)}" if rows[0].after_ns else ""
        lines.append(f"- {name}: {amount} in {outline.plural(len(rows), 'place')}{first}")
    return lines


def _events(trace: Trace) -> outline.Row:
    """Events by name, the most frequent first, then their sum."""
    ordered = sorted(trace.counts.items(), key=lambda item: (-item[1], item[0]))
    total = sum(trace.counts.values())
    width = len(outline.number(total))
    lines = [f"{outline.number(count):>{width}} {name}" for name, count in ordered if count]
    return outline.Row("Events", [f"{outline.number(total)} in all", *lines])


def _decoded(value: Any) -> Any:
    """The document with every string fit for JSON."""
    if isinstance(value, str):
        return decoded(value)
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        return {_decoded(key): _decoded(item) for key, item in value.items()}
    return value
