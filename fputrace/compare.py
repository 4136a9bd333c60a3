"""Two recordings side by side: what is gone, what is new, and what changed for the same work.

Runs differ in length and load, so a count is never compared as it is: it is divided by the units of
work of its recording (:class:`Work`), and two rates differ only where they are further apart than
counts of that size scatter by themselves (:func:`direction`).  What one of the two could not have
shown is neither gone nor the same: it is untold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from math import hypot, sqrt
from typing import TYPE_CHECKING

from fputrace.findings import Severity, Status, Verdict, fingerprint
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Coverage, Finding
    from fputrace.pricing import TaskCost, TraceCosts, WhyCost

SIGMAS = 3.0
"""Standard deviations (of counts that come independently) by which changed rates differ."""
LEAST = 0.05
"""Part of the larger rate by which they differ at least."""
ENOUGH = 3.0
"""Occurrences that must be expected where none was seen: then none in 20 runs is chance."""
LONGER = 10.0
"""Times that one recording may be as long as the other."""
BUSIER = 2.0
"""Times that one may do as much a second as the other."""
NAMED = 12
"""Events that only one of the two saw which are named."""
SHORTEST_S = 0.1
"""Seconds below which rates say little."""

SECOND, OUT, RUN, ENTRY, VCPU = "second", "sched-out", "KVM_RUN", "VM entry", "vCPU"
UNITS = (SECOND, OUT, RUN, ENTRY, VCPU)
"""Units of work.  A sched-out is one of a vCPU thread, inside of KVM_RUN or not."""

JUDGED_BY = {
    # What `count` counts, where it is not something that just happens in time.
    "FPU101": OUT,
    "FPU106": OUT,
    "FPU107": OUT,
    "FPU201": OUT,
    "FPU102": ENTRY,
    "FPU103": ENTRY,
    "FPU112": ENTRY,
    "FPU108": RUN,
    "FPU109": RUN,
    "FPU202": RUN,
    "FPU203": RUN,
}
"""Rule -> the unit that its rates are compared by; all others by the second."""

_OUT_CAUSES = frozenset({"preempted", "cond_resched", "halt", "sleep"})
_ANSWERED = frozenset({Status.CHECKED, Status.PARTLY})
_KNOWN_IMAGES = ("user", "guest", "kernel", "init")


class Change(str, Enum):
    """What became of a finding, in the order reports list them."""

    NEW = "new"
    MORE = "more"
    LESS = "less"
    GONE = "gone"
    UNTOLD = "untold"
    SAME = "same"


class Work(PlainTuple):
    """What a recording's machine did; ``seconds`` is None where its clock counts no ns."""

    seconds: float | None
    outs: int
    runs: int
    entries: int
    vcpus: int

    def of(self, unit: str) -> float:
        """How many of these units there were; 0.0 where that is unknown."""
        amounts = (self.seconds or 0.0, self.outs, self.runs, self.entries, self.vcpus)
        return float(dict(zip(UNITS, amounts, strict=True))[unit])


class Amount(PlainTuple):
    """A sum over a recording, the units of work it is spread over, and how many things it is of."""

    total: float
    of: float
    events: int

    @property
    def rate(self) -> float | None:
        """A unit's share; None where there was no such work."""
        return self.total / self.of if self.of else None

    @property
    def scatter(self) -> float:
        """Standard deviation of the rate; what was never seen may as well have come once."""
        return self.total / self.of / sqrt(self.events) if self.events else 1 / self.of


def direction(old: Amount, new: Amount) -> int:
    """1 where NEW's rate is higher, -1 where it is lower, 0 where nothing tells them apart."""
    if old.rate is None or new.rate is None:
        return 0
    apart = abs(new.rate - old.rate)
    if apart <= SIGMAS * hypot(old.scatter, new.scatter):
        return 0
    if apart <= LEAST * max(abs(old.rate), abs(new.rate)):
        return 0
    return 1 if new.rate > old.rate else -1


class Side(PlainTuple):
    """A rule's findings in one recording: occurrences, how many of them proven, and whose."""

    seen: int
    confirmed: int
    whose: tuple[str, ...]

    def rates(self, work: Work) -> dict[str, float | None]:
        """Unit -> occurrences for each."""
        return {unit: Amount(self.seen, work.of(unit), self.seen).rate for unit in UNITS}


class FindingChange(PlainTuple):
    """One rule in both.  ``unit``: what the rates are compared by, "" where nothing can be.

    ``why``: what keeps the change from being sure, or makes it one.  ``known``: sentences on the
    bugs that the findings look like.
    """

    code: str
    name: str
    severity: Severity
    change: Change
    unit: str
    old: Side
    new: Side
    why: str
    known: tuple[str, ...]


class Measure(PlainTuple):
    """A figure of both recordings for each ``unit`` of work; ``change`` as of :func:`direction`."""

    group: str
    name: str
    unit: str
    old: Amount
    new: Amount
    change: int


class Remark(PlainTuple):
    """Something that keeps two recordings apart.  ``level``: "no", "in part", or "note"."""

    level: str
    text: str


class Comparison(PlainTuple):
    """OLD against NEW.  ``comparable``: "yes", "in part" or "no", for the reasons in ``remarks``.

    ``verdict``, of the findings alone: "same", "better", "worse", "mixed", "untold", or, where
    nothing can be compared, "incomparable".
    """

    old_work: Work
    new_work: Work
    comparable: str
    remarks: tuple[Remark, ...]
    verdict: str
    findings: tuple[FindingChange, ...]
    measures: tuple[Measure, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing tells the two apart."""
        same = all(row.change is Change.SAME for row in self.findings)
        return same and not any(row.change for row in self.measures)


def compare(old: Analysis, new: Analysis) -> Comparison:
    """What changed from OLD to NEW, both analysed with ``costs=True``.

    Findings about the recordings themselves are no changes: they are remarks.  Raises ReadError
    when a file fails: transitions take another pass over each.
    """
    works = work_of(old), work_of(new)
    findings = _findings(old, new, *works)
    remarks = _remarks(old, new, *works)
    levels = {remark.level for remark in remarks}
    comparable = "no" if "no" in levels else "in part" if "in part" in levels else "yes"
    return Comparison(
        *works,
        comparable,
        tuple(remarks),
        "incomparable" if comparable == "no" else _verdict(row.change for row in findings),
        tuple(findings),
        (*_costs(old.costs, new.costs, *works), *_transitions(old, new, *works)),
    )


def work_of(analysis: Analysis) -> Work:
    """The units of work in a recording that was analysed with ``costs=True``."""
    trace = analysis.trace
    seconds = None
    if trace.clock_in_ns and trace.first_ns is not None and trace.last_ns is not None:
        seconds = (trace.last_ns - trace.first_ns) / 1e9
    vcpus = _vcpus(analysis.costs)
    return Work(
        seconds=seconds,
        outs=sum(cause.times for task in vcpus for cause in _causes(task, _OUT_CAUSES)),
        runs=sum(cause.times for task in vcpus for cause in _causes(task, {"KVM_RUN"})),
        entries=trace.counts.get("kvm:kvm_entry", 0),
        vcpus=len(vcpus),
    )


def _vcpus(costs: TraceCosts | None) -> list[TaskCost]:
    return [task for task in costs.tasks if task.is_vcpu] if costs else []


def _causes(task: TaskCost, names: Iterable[str]) -> list[WhyCost]:
    return [cause for cause in task.by_why if cause.why in names]


def _verdict(changes: Iterable[Change]) -> str:
    seen = set(changes)
    worse, better = bool(seen & {Change.NEW, Change.MORE}), bool(seen & {Change.LESS, Change.GONE})
    if worse:
        return "mixed" if better else "worse"
    if better:
        return "better"
    return "untold" if Change.UNTOLD in seen else "same"


# Findings


def _findings(old: Analysis, new: Analysis, old_work: Work, new_work: Work) -> list[FindingChange]:
    sides = [_by_code(analysis) for analysis in (old, new)]
    rows = [{row.code: row for row in analysis.coverage} for analysis in (old, new)]
    skipped = {*old.left_out, *new.left_out}
    changes = []
    for code in sorted({*sides[0], *sides[1]} - skipped):
        before, after = (side.get(code, []) for side in sides)
        said, unit, why = _judge(
            code,
            (_side(before), _side(after)),
            (old_work, new_work),
            (rows[0].get(code), rows[1].get(code)),
        )
        first = (after or before)[0]
        known = dict.fromkeys(like.sentence for one in (*before, *after) for like in one.known)
        changes.append(
            FindingChange(
                code,
                first.name,
                first.severity,
                said,
                unit,
                _side(before),
                _side(after),
                why,
                tuple(known),
            )
        )
    order, severities = list(Change), list(Severity)
    changes.sort(key=lambda row: (order.index(row.change), severities.index(row.severity)))
    return changes


def _by_code(analysis: Analysis) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in analysis.findings:
        if finding.severity is not Severity.TRACE:
            found.setdefault(finding.code, []).append(finding)
    return found


def _side(found: Sequence[Finding]) -> Side:
    """Of all tasks together: which of several threads it hits may be chance."""
    whose = sorted({fingerprint(one) for one in found}, key=lambda key: (key.comm, key.vcpu or 0))
    return Side(
        sum(one.count for one in found),
        sum(one.count for one in found if one.verdict is Verdict.CONFIRMED),
        tuple(
            f"{key.comm or '<...>'}" + (f" (vCPU {key.vcpu})" if key.vcpu is not None else "")
            for key in whose
        ),
    )


def _judge(
    code: str,
    sides: tuple[Side, Side],
    works: tuple[Work, Work],
    rows: tuple[Coverage | None, Coverage | None],
) -> tuple[Change, str, str]:
    """(change, the unit it is judged by, why)"""
    old, new = sides
    unit = next(
        (
            unit
            for unit in (JUDGED_BY.get(code, SECOND), SECOND)
            if all(work.of(unit) for work in works)
        ),
        "",
    )
    rates = [
        Amount(side.seen, work.of(unit) if unit else 0.0, side.seen)
        for side, work in zip(sides, works, strict=True)
    ]
    if not new.seen:
        blind = _blind(rows[1], "NEW", rates[0], rates[1].of)
        return (Change.UNTOLD if blind else Change.GONE), unit, blind
    if not old.seen:
        return Change.NEW, unit, _blind(rows[0], "OLD", rates[1], rates[0].of)
    if new.confirmed and not old.confirmed:
        return Change.NEW, unit, "confirmed in NEW, only possible in OLD"
    said = {1: Change.MORE, -1: Change.LESS, 0: Change.SAME}[direction(*rates)]
    if old.confirmed and not new.confirmed:
        return said, unit, "confirmed in OLD, only possible in NEW"
    return said, unit, "" if unit else "nothing that both did can be counted"


def _blind(row: Coverage | None, name: str, seen: Amount, of: float) -> str:
    """Why the recording ``name`` would not have shown what the other one did; "" if it would."""
    if row is None:
        return f"{name} was not asked it"
    if row.status not in _ANSWERED:
        return f"{name} cannot tell: {row.why}"
    if seen.rate is None or seen.rate * of < ENOUGH:
        return f"{name} is too short to have shown it at the rate of the other"
    return ""


# Costs and transitions


def _costs(
    old: TraceCosts | None, new: TraceCosts | None, old_work: Work, new_work: Work
) -> list[Measure]:
    """What saves and restores took for each unit of work."""
    works = (old_work, new_work)
    vcpus = [_vcpus(costs) for costs in (old, new)]
    outs = [[c for task in tasks for c in _causes(task, _OUT_CAUSES)] for tasks in vcpus]
    runs = [[c for task in tasks for c in _causes(task, {"KVM_RUN"})] for tasks in vcpus]
    every = [[c for task in tasks for c in task.by_why] for tasks in vcpus]
    total = [[costs.total] if costs else [] for costs in (old, new)]
    groups = (
        ("vCPU threads, around a sched-out", OUT, outs, _FIGURES),
        ("vCPU threads, as KVM_RUN begins and ends", RUN, runs, _FIGURES),
        (
            "vCPU threads, all causes",
            RUN,
            every,
            ("ns", "ns redundant", "bytes", "bytes redundant"),
        ),
        ("all tasks", SECOND, total, ("saves", "restores", "ns", "ns redundant")),
    )
    return [
        _measure(group, name, unit, works, [_sum(name, one) for one in causes])
        for group, unit, causes, names in groups
        for name in names
    ]


_FIGURES = (
    "saves",
    "saves redundant",
    "restores",
    "restores redundant",
    "restores skipped",
    "bytes",
    "bytes redundant",
    "ns",
    "ns redundant",
)


def _sum(name: str, causes: Iterable[WhyCost]) -> tuple[int, int]:
    """(the figure, how many operations it is of)"""
    total = events = 0
    for cause in causes:
        saves, restores = cause.saves, cause.restores
        value, of = {
            "saves": (saves.done, saves.done),
            "saves redundant": (saves.redundant, saves.redundant),
            "restores": (restores.done, restores.done),
            "restores redundant": (restores.redundant, restores.redundant),
            "restores skipped": (cause.elided, cause.elided),
            "bytes": (cause.bytes, saves.done + restores.done),
            "bytes redundant": (cause.bytes_redundant, saves.redundant + restores.redundant),
            "ns": (cause.ns, saves.done + restores.done),
            "ns redundant": (cause.ns_redundant, saves.redundant + restores.redundant),
        }[name]
        total, events = total + value, events + of
    return total, events


def _transitions(old: Analysis, new: Analysis, old_work: Work, new_work: Work) -> list[Measure]:
    """How often the registers went from one kind of image to another."""
    works = (old_work, new_work)
    unit = RUN if all(work.runs for work in works) else SECOND
    graphs = [
        {
            (before, after): int(data["count"])
            for before, after, data in analysis.timeline.summary_graph().edges(data=True)
            if before in _KNOWN_IMAGES and after in _KNOWN_IMAGES
        }
        for analysis in (old, new)
    ]
    return [
        _measure(
            "registers go from one image to another",
            f"{before} to {after}",
            unit,
            works,
            [(graph.get((before, after), 0),) * 2 for graph in graphs],
        )
        for before, after in sorted({*graphs[0], *graphs[1]})
    ]


def _measure(
    group: str, name: str, unit: str, works: tuple[Work, Work], sums: Sequence[tuple[int, int]]
) -> Measure:
    old, new = (
        Amount(total, work.of(unit), events)
        for (total, events), work in zip(sums, works, strict=True)
    )
    return Measure(group, name, unit, old, new, direction(old, new))


# Whether the two can be compared


def _remarks(old: Analysis, new: Analysis, old_work: Work, new_work: Work) -> list[Remark]:
    named = (("OLD", old, old_work), ("NEW", new, new_work))
    made: list[Remark] = []
    for name, analysis, work in named:
        trace, generation = analysis.trace, analysis.generation
        if not trace.counts:
            made.append(Remark("no", f"{name} has no events."))
            continue
        if len(generation.candidates) > 1:
            either = " or ".join(generation.candidates)
            made.append(
                Remark("in part", f"{name} may be {either}: what depends on that is only possible.")
            )
        if analysis.losses:
            made.append(
                Remark("in part", f"{name} lost events: its counts are the least there was.")
            )
        elif not trace.losses_known:
            made.append(Remark("in part", f"{name} is of a form that does not tell losses."))
        if work.seconds is None:
            made.append(
                Remark("in part", f"{name} has a clock that counts no ns: no rate a second.")
            )
        elif work.seconds < SHORTEST_S:
            made.append(
                Remark("in part", f"{name} is {work.seconds:.3f} s long: rates say little.")
            )
    if not made or made[0].level != "no":
        made += _between(old, new, old_work, new_work)
    return made


def _between(old: Analysis, new: Analysis, old_work: Work, new_work: Work) -> list[Remark]:
    """What the two do not have in common."""
    made = []
    answered = [{r.code for r in one.coverage if r.status in _ANSWERED} for one in (old, new)]
    if not any(code < "FPU9" for code in answered[0] & answered[1]):
        made.append(Remark("no", "No rule is answered by both."))
    for name, mine, its in (("OLD", 0, 1), ("NEW", 1, 0)):
        only: dict[str, list[str]] = {}
        for row in (old, new)[its].coverage:
            if row.code in answered[mine] and row.status is Status.NOT_DECIDABLE:
                only.setdefault(row.why, []).append(row.code)
        made += [
            Remark("in part", f"Only {name} can answer {', '.join(codes)}; in the other: {why}.")
            for why, codes in only.items()
        ]
    models = [" or ".join(one.generation.candidates) for one in (old, new)]
    if models[0] != models[1]:
        text = (
            f"The generations differ ({models[0]}; {models[1]}): what is by design in one may be a"
        )
        made.append(Remark("note", f"{text} fault in the other."))
    if bool(old_work.vcpus) != bool(new_work.vcpus):
        name = "NEW" if old_work.vcpus else "OLD"
        made.append(Remark("in part", f"No vCPU ran in {name}: nothing of KVM can be compared."))
    elif old_work.vcpus != new_work.vcpus:
        text = f"{old_work.vcpus} and {new_work.vcpus} vCPUs ran: rates a second do not compare."
        made.append(Remark("in part", text))
    if len(old.trace.cpus) != len(new.trace.cpus):
        text = f"{len(old.trace.cpus)} and {len(new.trace.cpus)} CPUs were recorded."
        made.append(Remark("note", text))
    made += _pace(old_work, new_work)
    for name, one, other in (("OLD", old, new), ("NEW", new, old)):
        seen = sorted(set(one.trace.counts) - set(other.trace.counts))
        if seen:
            more = f" and {len(seen) - NAMED} more" if len(seen) > NAMED else ""
            text = f"Seen in {name} only: {', '.join(seen[:NAMED])}{more}."
            made.append(Remark("note", text))
    if old.trace.trace_id is not None and old.trace.trace_id == new.trace.trace_id:
        made.append(Remark("note", "Both have the same TRACEID: they are of one recording."))
    return made


def _pace(old: Work, new: Work) -> list[Remark]:
    """How long the two are, and how busy."""
    if not old.seconds or not new.seconds:
        return []
    made = []
    lengths = sorted((old.seconds, new.seconds))
    if lengths[1] > LONGER * lengths[0]:
        text = (
            f"OLD is {old.seconds:.3g} s long, NEW {new.seconds:.3g} s: what is rare shows in the"
        )
        made.append(Remark("in part", f"{text} longer one only."))
    for unit in (OUT, RUN, ENTRY):
        rates = (old.of(unit) / old.seconds, new.of(unit) / new.seconds)
        if min(rates) and max(rates) > BUSIER * min(rates):
            much = f"{rates[0]:,.0f} {plural(unit)} a second in OLD, {rates[1]:,.0f} in NEW"
            text = f"The load differs: {much}. Rates for each {unit} compare."
            made.append(Remark("in part", text))
    return made


def plural(unit: str) -> str:
    """A unit of work, several of it."""
    return "VM entries" if unit == ENTRY else f"{unit}s"
