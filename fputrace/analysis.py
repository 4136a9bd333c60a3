"""The main job: open a trace, decide its generation, replay it, check the rules.

open_trace -> decide -> Replay -> Judge -> Collector -> Analysis
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fputrace import coverage as cov
from fputrace.ahead import ahead
from fputrace.checking import Window, within
from fputrace.costs import costs_of
from fputrace.errors import UsageError
from fputrace.findings import (
    Analysis,
    Finding,
    Findings,
    GenerationResult,
    Rule,
    RuleInfo,
    Severity,
    Status,
    TraceFacts,
    TraceRule,
    Verdict,
)
from fputrace.following import Known, Pass
from fputrace.generation import Decision, decide
from fputrace.knownbugs import match
from fputrace.lanes import Marked
from fputrace.parsers import open_trace
from fputrace.plain import changed
from fputrace.pricefile import pricing_of
from fputrace.pricing import Pricing
from fputrace.replay import Replay
from fputrace.replay.layout import Before
from fputrace.replay.spans import SpanBuilder
from fputrace.rules import PAGES, RULES, TRACE_RULES
from fputrace.tasks import StayBuilder
from fputrace.timeline import Fact, Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock, Trace
    from fputrace.moment import Moment

Progress = Callable[["Trace"], None]

_PASSES = 3
_FIRST_LOOK = 1000  # rows; fewer say little, and a second pass over them costs nothing


def analyze(
    path: str | os.PathLike[str],
    *,
    generation: str | None = None,
    kernel: str | None = None,
    instance: str | None = None,
    reader: str | None = None,
    format_in: str | None = None,
    member: str | None = None,
    clock: str | None = None,
    max_unpacked: float | None = None,
    select: str | Sequence[str] | None = None,
    ignore: str | Sequence[str] | None = None,
    plugins: Sequence[Rule] = (),
    sha256: bool = False,
    costs: bool = False,
    prices: str | None = None,
    cpuid: str | None = None,
    window: Callable[[Trace], Window | None] | None = None,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse one recording with all rules (or the selected ones).

    ``select``/``ignore``: codes or prefixes of codes.  ``plugins``: rules beside the catalogue's
    (:func:`fputrace.plugins.load`).  ``progress`` is called after every block.
    ``costs``: count every save and restore (``Analysis.costs``), and ask the rules about normal
    costs too; ``prices`` and ``cpuid`` as :func:`fputrace.pricefile.pricing_of` takes them.
    ``window``: from which time of this trace witnesses are kept, as far as anything happened there
    (:func:`filter_view` chooses what is shown).
    What else there is says how the recording is opened: see :func:`fputrace.parsers.open_trace`.
    Raises TraceError when the input cannot be used, UsageError for options that cannot be.
    """
    select, ignore = _codes(select, plugins), _codes(ignore, plugins)
    pricing = pricing_of(prices, cpuid)
    trace = open_trace(
        path,
        format_in=format_in,
        instance=instance,
        reader=reader,
        member=member,
        clock=clock,
        max_unpacked=max_unpacked,
        progress=progress,
    )
    try:
        catalogue = (*RULES, *plugins)
        rules = [
            rule
            for rule in catalogue
            if _chosen(rule.code, select, ignore)
            and (costs or not rule.costs_only)
            and not cov.hidden(rule, trace)  # whatever it found would not be decidable
        ]
        make = partial(
            Pass,
            trace,
            rules=rules,
            pricing=pricing,
            counting=costs,
            window=(window and window(trace)) or (None, None),
        )
        decision, done = _run(trace, make, kernel, generation, progress)
        digest = _digest(os.fspath(path)) if sha256 else None
        found = _conclude(trace, decision, done, catalogue, select, ignore, digest, pricing)
    except BaseException:
        trace.close()
        raise
    found.release = kernel or trace.kernel
    for finding in found.findings:
        finding.known = match(finding, found)
    return found


def _codes(asked: str | Sequence[str] | None, plugins: Sequence[Rule] = ()) -> list[str] | None:
    """Codes or their beginnings as a list; UsageError for one that no code begins with."""
    if asked is None:
        return None
    codes = [asked] if isinstance(asked, str) else list(asked)
    known = [rule.code for rule in (*RULES, *plugins)] + [rule.code for rule in TRACE_RULES]
    for code in codes:
        if not any(one.startswith(code) for one in known):
            raise UsageError(f"no rule begins with {code!r}", hint="fputrace rules lists them")
    return codes


def _chosen(code: str, select: Sequence[str] | None, ignore: Sequence[str] | None) -> bool:
    if ignore and code.startswith(tuple(ignore)):
        return False
    return not select or code.startswith(tuple(select))


def _run(
    trace: Trace,
    make: Callable[[tuple[str, ...], Known], Pass],
    kernel: str | None,
    generation: str | None,
    progress: Progress | None,
) -> tuple[Decision, Pass]:
    """Replay under what formats and release say; again when the events say otherwise.

    Or when they tell of a probe that only its name says on which function it sits, or of returns to
    the VMM that nothing told of before.

    A first look after one block spares most wrong starts; reading goes on meanwhile, and that block
    is replayed again.  It goes by what the block itself tells, however much more the reader has
    told by then, and counts as no pass: of those there are few, so that this ends whatever the
    trace holds.
    """
    decision = decide(trace, {}, kernel=kernel, generation=generation)
    formats = dict(trace.formats)
    passes = _PASSES
    known = Known.of(trace)
    current = make(decision.candidates, known)
    looked = False
    while True:
        for block in ahead(trace.blocks()):
            if looked:
                current.feed(block)
            else:
                shown = _shown(trace, block)
                told = known.told_by(trace, shown)
                if told != known:
                    known = told
                    current = make(decision.candidates, known)
                current.feed(block)
                formats |= {key: trace.formats[key] for key in shown if key in trace.formats}
                early = decide(
                    trace, current.seen, kernel=kernel, generation=generation, formats=formats
                )
                if early.candidates != decision.candidates and len(block) >= _FIRST_LOOK:
                    decision = early
                    current = make(decision.candidates, known)
                    current.feed(block)
                looked = True
            if progress is not None:
                progress(trace)
        current.finish()
        passes -= 1
        final = decide(trace, current.seen, kernel=kernel, generation=generation)
        now = Known.of(trace)
        same = (now.exits, now.by_name) == (known.exits, known.by_name)
        if final.candidates == decision.candidates and same:
            return final, current
        if not passes:
            return decision, current
        decision, known = final, now
        current = make(decision.candidates, known)


def _shown(trace: Trace, block: EventBlock) -> set[str]:
    """The events of a block, by name."""
    # np.unique would import numpy.ma.
    seen = np.flatnonzero(np.bincount(block.event[block.event >= 0]))
    return {trace.event_names[number] for number in seen.tolist()}


def _conclude(
    trace: Trace,
    decision: Decision,
    done: Pass,
    rules: Sequence[Rule],
    select: Sequence[str] | None,
    ignore: Sequence[str] | None,
    digest: str | None,
    pricing: Pricing,
) -> Analysis:
    gathered = cov.Gathered(trace, decision, done.seen, sum(done.gaps), done.fpstates, done.silent)
    unplaced = [loss for loss in trace.losses if not loss.placed]
    rows = cov.cover(rules, gathered, done.counted is not None) + cov.cover_trace_rules(TRACE_RULES)
    rows.sort(key=lambda row: row.code)

    def weaken(rule: Rule, facts: Fact) -> str:
        if unplaced:
            return "events were lost at places nobody recorded"
        unrecorded = gathered.missing(rule.excuses)
        if unrecorded:
            return f"{unrecorded[0]} {gathered.lack(unrecorded[0])}, which could excuse it"
        # FPU113 is about nothing else than two CPUs that claim one task.
        gaps = done.gaps[0] if rule.code == "FPU113" else sum(done.gaps)
        if gaps and rule.severity is Severity.ERROR:
            return (
                "the trace has undeclared gaps (a pid filter, or tracing was switched off and on)"
            )
        if not trace.clock_global and not rule.one_cpu and len(trace.cpus) > 1:
            return "the clock is not the same on all CPUs"
        if not trace.losses_known:
            return "this form of recording does not tell losses"
        if not trace.whole_known:
            return "nothing tells whether parts of the recording were left out"
        return done.unseen(facts)

    def owner(pid: int) -> str:
        if pid > 0:
            return f"{trace.comms.get(pid, '<...>')} ({pid})"
        return "nobody (fpu_fpregs_owner_ctx is NULL)" if pid == 0 else "another task"

    # What lacks the events it needs says so in the coverage, and nothing else.
    undecided = {row.code for row in rows if row.status is Status.NOT_DECIDABLE}
    findings = done.collector.findings(
        undecided,
        comms=trace.comms,
        names=trace.event_names,
        formats=trace.formats,
        vms=done.vm_of,
        weaken=weaken,
        owner=owner,
        shown=done.shown,
    )
    missing = gathered.missing(cov.CORE_EVENTS)
    about = TraceFacts(
        trace=trace,
        losses=trace.losses,
        gaps=sum(done.gaps),
        candidates=decision.candidates,
        decided=decision.decided,
        missing=missing,
        unread=gathered.unread,
        to_read=cov.to_read(trace),
        to_keep=cov.to_keep(trace),
        bad_flags=done.collector.bad_flags,
    )
    for rule in TRACE_RULES:
        said = rule.check(about) if _chosen(rule.code, select, ignore) else None
        if said is not None:
            first, last = _extent(rule.code, trace)
            findings.append(
                Finding(
                    code=rule.code,
                    name=rule.name,
                    severity=rule.severity,
                    verdict=Verdict.CONFIRMED,
                    count=said[1],
                    pid=None,
                    comm=None,
                    vcpu=None,
                    tgid=None,
                    cpus=(),
                    first_ns=first,
                    last_ns=last,
                    message=said[0],
                )
            )
    order = list(Severity)
    findings.sort(
        key=lambda f: (order.index(f.severity), f.code, f.verdict.value, -f.count, f.pid or 0)
    )
    return Analysis(
        trace=trace,
        generation=GenerationResult(
            decision.code,
            decision.decided,
            decision.forced,
            decision.candidates,
            decision.evidence,
        ),
        findings=Findings(findings),
        coverage=rows,
        losses=list(trace.losses),
        record=cov.record_command(rows, gathered.has, gathered.unread),
        record_trace_cmd=cov.trace_cmd_command(rows, gathered.has, gathered.unread),
        timeline=_timeline(trace, decision, done, findings),
        notes=_notes(trace, gathered),
        costs=None
        if done.counted is None
        else costs_of(
            trace,
            done.counted.sums[: done.counted.book.used()],
            pricing,
            decision.candidates,
            done.vm_of,
            gathered.recorded,
        ),
        sha256=digest,
        left_out=tuple(row.code for row in rows if not _chosen(row.code, select, ignore)),
        rules=_catalogue(rules),
    )


def _catalogue(rules: Sequence[Rule]) -> tuple[RuleInfo, ...]:
    """What reports tell of the rules asked and of those about the recording."""
    pages = {page.RULE.code: inspect.cleandoc(page.__doc__ or "") for page in PAGES}
    asked: list[Rule | TraceRule] = [*rules, *TRACE_RULES]
    return tuple(
        RuleInfo(rule.code, rule.name, rule.severity, rule.title, pages.get(rule.code, ""))
        for rule in asked
    )


def _extent(code: str, trace: Trace) -> tuple[int | None, int | None]:
    """(first, last) ns a finding about the recording speaks of: its holes, or all of it."""
    severity = {"FPU901": "lost", "FPU906": "damaged"}.get(code)
    holes = [loss for loss in trace.losses if loss.severity == severity and loss.placed]
    starts = [loss.after_ns if loss.after_ns is not None else trace.first_ns for loss in holes]
    ends = [loss.before_ns if loss.before_ns is not None else trace.last_ns for loss in holes]
    known = [ns for ns in starts + ends if ns is not None]
    if not known:
        return trace.first_ns, trace.last_ns
    return min(known), max(known)


def _timeline(
    trace: Trace, decision: Decision, done: Pass, findings: Sequence[Finding]
) -> Timeline:
    def tables() -> Iterator[NDArray[np.int64]]:
        machine = Replay(trace, decision.candidates[0])
        builder = SpanBuilder()
        for block in ahead(trace.blocks()):
            start = 0
            while start < len(block):
                start += len(machine.part(block, start))
            mask = block.op[:, 2]
            yield builder.add(block.ts, block.cpu, block.kind, mask, machine.facts(block))
        yield builder.finish()

    def stays() -> Iterator[NDArray[np.int64]]:
        machine = Replay(trace, decision.candidates[0])
        builder = StayBuilder()
        for block in ahead(trace.blocks()):
            start = 0
            while start < len(block):
                facts = machine.part(block, start)
                rows = slice(start, start + len(facts))
                state = facts[:, [Before.SUBJECT, Before.LAST, Before.TIF, Before.KVM]]
                # A mark has no subject; what its row holds there is of the row before.
                state[block.pid[rows] < 0, 0] = -1
                yield builder.add(block.ts[rows], state)
                start += len(facts)
        yield builder.finish()

    def marks() -> Iterator[Marked]:
        severities = {finding.code: finding.severity.value for finding in findings}
        for code, places in done.collector.places.items():
            if code in severities:
                yield from places.marks(severities[code], code)
        for loss in trace.losses:
            start = loss.after_ns if loss.after_ns is not None else trace.first_ns
            end = loss.before_ns if loss.before_ns is not None else trace.last_ns
            for cpu in trace.cpus if loss.cpu is None else [loss.cpu]:
                yield Marked(cpu, start or 0, end or 0, "lost")

    # A pass begins them anew.
    losses, comms = list(trace.losses), dict(trace.comms)

    def frozen(ns: int | None, around: int) -> Moment:
        from fputrace.freeze import freeze

        return freeze(trace, decision.candidates, ns, comms=comms, losses=losses, around=around)

    bounds = (trace.first_ns, trace.last_ns)
    return Timeline(
        tables, bounds, trace.cpus, marks, lambda: trace.comms, stays, frozen, trace.clock_in_ns
    )


def _notes(trace: Trace, found: cov.Gathered) -> list[str]:
    """Sentences for a reader whose trace cannot answer much, with what to do."""
    notes = list(trace.notes)
    fpu = any(n for key, n in trace.counts.items() if key.startswith("x86_fpu:"))
    record = "trace-cmd record -C mono " + " ".join(f"-e {e}" for e in cov.BASE_EVENTS)
    unread = {event.partition(":")[0] for event in found.unread}
    if found.unread.intersection(cov.CORE_EVENTS):
        notes.append(
            "Events are in this text whose fields are not: what they say is unknown. "
            + cov.to_read(trace)
        )
    if not trace.counts:
        notes.append(f"The trace holds no events at all. Record one with: {record}")
    elif not fpu and "x86_fpu" not in unread:
        notes.append(
            "The trace holds no x86_fpu events, so nothing can be said about FPU state. "
            f"Record them with: {record}"
        )
    elif not found.has_vcpu and "kvm" not in unread:
        notes.append(
            "No vCPU ran in this trace: rules about KVM do not apply. Start the guest while "
            f"recording; kvm.ko must be loaded before: {record}"
        )
    elif found.has_vcpu and not found.seen.get("ENTRIES") and cov.ENTRY not in found.unread:
        notes.append(
            "vCPU threads load and put their guest FPU, but no kvm_entry was seen: it was not "
            "recorded, or this KVM back end (PVM) emits none. Rules about VM entry are not "
            "decidable."
        )
    if trace.is_guest:
        notes.append(
            "This is a guest's trace: what its host does with the registers is not in it. "
            "Record the host too: trace-cmd record -A GUEST."
        )
    if len(trace.instances) > 1:
        notes.append(
            "The file has other buffers: "
            + ", ".join(n for n in trace.instances if n)
            + " (--instance NAME)."
        )
    return notes


def _digest(path: str) -> str | None:
    import hashlib

    if path == "-" or not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def exit_status(
    analyses: Sequence[Analysis],
    *,
    fail_on: str = "error",
    fail_on_confirmed: bool = False,
    strict: bool = False,
    exit_zero: bool = False,
    select: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
) -> int:
    """Exit status of ``analyze``: 0, 1 findings, 3 nothing found but not decidable (design 5)."""
    levels = {"error": (Severity.ERROR,), "performance": (Severity.ERROR, Severity.PERFORMANCE)}
    if fail_on not in (*levels, "never"):
        raise UsageError(
            f"--fail-on: there is no level {fail_on!r}", hint="Levels: error, performance, never."
        )
    bad = [
        finding
        for analysis in analyses
        for finding in analysis.findings
        if finding.severity in levels.get(fail_on, ())
        and (finding.verdict is Verdict.CONFIRMED or not fail_on_confirmed)
    ]
    if exit_zero:
        return 0
    if bad:
        return 1
    for analysis in analyses:
        undecided = {row.code for row in analysis.coverage if row.status is Status.NOT_DECIDABLE}
        if undecided & set(_must_decide(analysis, strict, select, ignore)):
            return 3
    return 0


def _must_decide(
    analysis: Analysis,
    strict: bool,
    select: Sequence[str] | None,
    ignore: Sequence[str] | None,
) -> list[str]:
    """Codes whose being undecided is exit status 3."""
    if strict:
        errors = [rule.code for rule in analysis.rules if rule.severity is Severity.ERROR]
        return [code for code in errors if _chosen(code, select, ignore)]
    candidates = set(analysis.generation.candidates)
    missing = {row.code: row.missing for row in analysis.coverage}
    codes = []
    for rule in RULES:
        if not _chosen(rule.code, select, ignore) or rule.severity is not Severity.ERROR:
            continue
        lacks_events = any(
            ":" in need and not need.startswith(("probe:", "argument:"))
            for need in missing.get(rule.code, ())
        )
        hidden = cov.hidden(rule, analysis.trace)
        if rule.core & candidates and (lacks_events or hidden):
            codes.append(rule.code)
    return codes


def filter_view(
    analysis: Analysis,
    cpus: Sequence[int] | None = None,
    time: tuple[int | None, int | None] | None = None,
    pids: Sequence[int] | None = None,
    vcpus: Sequence[int] | None = None,
    vm: int | None = None,
) -> Analysis:
    """The same analysis with only the findings asked for; the replay has seen the whole trace.

    A finding is kept when it touches a chosen CPU, overlaps the time window (ns), is of a chosen
    task or vCPU, or of the VM whose process is ``vm``.  Findings about the trace always stay.
    Where some of a finding's proofs lie in the window, the others are left out; where none does,
    its message says so.
    """

    def keep(finding: Finding) -> bool:
        if finding.pid is None:
            return True
        if cpus is not None and not set(cpus) & set(finding.cpus):
            return False
        if pids is not None and finding.pid not in pids:
            return False
        if vcpus is not None and finding.vcpu not in vcpus:
            return False
        if vm is not None and finding.tgid != vm:
            return False
        if time is not None:
            low, high = time
            if low is not None and (finding.last_ns or 0) < low:
                return False
            if high is not None and (finding.first_ns or 0) > high:
                return False
        return True

    def told(finding: Finding) -> Finding:
        if time is None or not finding.witnesses:
            return finding
        inside = tuple(witness for witness in finding.witnesses if within(witness.ns, time))
        if inside:
            return changed(finding, witnesses=inside)
        message = f"{finding.message} None of the proofs kept lies in the chosen time."
        return changed(finding, message=message)

    kept = Findings(told(f) for f in analysis.findings if keep(f))
    costs = analysis.costs
    if costs is not None:
        shown = (
            task
            for task in costs.tasks
            if (pids is None or task.pid in pids)
            and (vcpus is None or task.vcpu in vcpus)
            and (vm is None or task.tgid == vm)
        )
        costs = costs._replace(tasks=tuple(shown))
    return changed(
        analysis,
        findings=kept,
        costs=costs,
        hidden=analysis.hidden + len(analysis.findings) - len(kept),
        windowed=analysis.windowed or time is not None,
    )
