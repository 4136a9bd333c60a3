"""Recordings written anew, in their own form: a piece of one, or one without its names.

Everything here writes what :mod:`fputrace.parsers` reads.  What a recording holds and nobody here
knows is not copied.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from fputrace.events import Trace
    from fputrace.parsers.perfdata import PerfPlan
    from fputrace.rewrite.names import Names


class Redacted(PlainTuple):
    """What was made, and the names it has."""

    names: Names
    said: str

    def facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        """What lies beside the recording (:mod:`fputrace.rewrite.beside`) with new names."""
        from fputrace.rewrite.names import has_address

        kept = dict(facts)
        if isinstance(facts.get("tasks"), list):
            kept["tasks"] = [
                [pid, tgid, self.names.comm(str(comm)), flags]
                for pid, tgid, comm, flags in facts["tasks"]
            ]
        if isinstance(facts.get("probes"), list):
            kept["probes"] = [line for line in facts["probes"] if not has_address(str(line))]
        return kept


def redact(
    trace: Trace,
    out: IO[bytes],
    keep: Collection[str] = (),
    progress: Callable[[Trace], None] | None = None,
) -> Redacted:
    """Write a recording with new names to a file that can be sought in.

    Parameters
    ----------
    keep
        Which of :data:`fputrace.rewrite.names.KINDS` stay as they are.
    progress
        Called with the trace after every block.

    Raises
    ------
    ReadError
        The recording fails while it is read.
    OSError
        There is no room for what is written.
    """
    from fputrace.parsers.perfdata import PerfPlan
    from fputrace.rewrite.names import Names
    from fputrace.rewrite.records import plan_of
    from fputrace.rewrite.renamed_perf import redact_perfdata
    from fputrace.rewrite.renamed_tracedat import redact_tracedat
    from fputrace.rewrite.views import renamed, write_view

    known = {*trace.comms.values(), *trace.instances, trace.host or ""}
    names = Names(keep, known)
    plan = plan_of(trace)
    if plan is not None and plan.container.version:
        events = redact_tracedat(trace, plan, names, out, progress)
    elif isinstance(plan, PerfPlan) and _is_whole(trace, plan, progress):
        events = redact_perfdata(trace, plan, names, out, progress)
    else:
        view = renamed(trace, names)
        write_view(view, out, progress)
        events = sum(view.counts.values())
    changed = [
        f"{len(names.changed(kind)):,} {word}"
        for kind, word in (("task", "tasks"), ("host", "hosts"), ("text", "texts"))
        if names.changed(kind)
    ]
    return Redacted(names, f"{events:,} events; new names: {', '.join(changed) or 'none'}")


def _is_whole(trace: Trace, plan: PerfPlan, progress: Callable[[Trace], None] | None) -> bool:
    """Whether a perf.data can be written as one: a new file could not say what is damaged."""
    from fputrace.rewrite.renamed_perf import can_rename

    for _ in trace.blocks():
        if progress is not None:
            progress(trace)
    return can_rename(trace, plan)
