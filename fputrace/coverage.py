"""Whether a trace could answer each rule, what is missing, and what would record it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fputrace.events import KINDS, UNREAD
from fputrace.findings import Coverage, Route, Rule, Status, TraceRule, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fputrace.events import Trace
    from fputrace.generation import Decision

CORE_EVENTS = (
    "x86_fpu:x86_fpu_regs_activated",
    "x86_fpu:x86_fpu_regs_deactivated",
    "kvm:kvm_fpu",
    "kvm:kvm_entry",
    "sched:sched_switch",
)
"""Without these no core rule can answer; FPU902 names those that are missing."""

ENTRY = "kvm:kvm_entry"
"""Where it was recorded and never seen, the back end prints none (PVM)."""

BASE_EVENTS = (
    "x86_fpu",
    "kvm:kvm_fpu",
    "kvm:kvm_entry",
    "kvm:kvm_exit",
    "kvm:kvm_userspace_exit",
    "sched:sched_switch",
    "sched:sched_migrate_task",
    "sched:sched_process_fork",
    "sched:sched_process_exec",
    "sched:sched_process_exit",
    "sched:sched_process_free",
)
"""What to record always: the least that the sound rules need."""


HIDDEN_LOSSES = (
    "it rests on an event that is absent, and this form of recording does not tell losses"
)


def unread_of(trace: Trace) -> frozenset[str]:
    """Events of a text whose lines are there, but cut or printed without their fields."""
    return frozenset(name for name, lacks in trace.unusable.items() if UNREAD in lacks)


def to_read(trace: Trace) -> str:
    """What to do where a text holds events but not their fields."""
    if "perf script" in trace.format:
        return (
            "Print them: perf script --ns --show-lost-events -F comm,tid,cpu,time,event,trace "
            "(trace prints the fields)."
        )
    return (
        "Give the text with whole lines: not cut (cut -c, a terminal's width), not wrapped by a "
        "mail program (send it as an attachment); or give the recording itself."
    )


def to_keep(trace: Trace) -> str:
    """What to do where events were lost."""
    if "quoted text" in trace.format:
        return (
            "lines of this text are broken or left out: give it as an attachment, which no mail "
            "program wraps, or give the recording itself"
        )
    if "console log" in trace.format:
        return (
            "a larger buffer (trace_buf_size=) keeps more, and a log with whole lines "
            "(log_buf_len=, pstore or kdump instead of a serial line) all that was dumped"
        )
    if "perf" in trace.format:
        return "record with larger buffers (perf record -m 64M)"
    return "record with larger buffers (trace-cmd record -b)"


class Gathered:
    """What one pass over a trace found that the coverage depends on."""

    def __init__(
        self,
        trace: Trace,
        decision: Decision,
        seen: Mapping[str, int],
        gaps: int,
        fpstates: bool = False,
        silent: Sequence[int] = (),
    ) -> None:
        self.trace = trace
        self.silent = silent
        self.fpstates = fpstates
        self.probed = frozenset(
            name for functions, _how in trace.probes.values() for name in functions.split(", ")
        )
        self.decision = decision
        self.seen = seen
        self.gaps = gaps
        self.holes = len(trace.losses)

    @property
    def unread(self) -> frozenset[str]:
        """Events of a text whose lines are there, but cut or printed without their fields."""
        return unread_of(self.trace)

    def lack(self, event: str) -> str:
        """Why an event that is missing is, as the end of a sentence."""
        return "cannot be read in this text" if event in self.unread else "was not recorded"

    def recorded(self, event: str) -> bool:
        """Whether an event was recorded: seen, or switched on with a format that is usable.

        A probe counts when it was hit: before, nothing tells what it sits on.
        """
        if event.startswith("probe:"):
            return event.removeprefix("probe:") in self.probed
        if event == "argument:fpstate":
            return self.fpstates
        trace = self.trace
        if event in trace.unusable:
            return False
        on = trace.formats if trace.enabled is None else trace.enabled
        return bool(trace.counts.get(event)) or (event in trace.formats and event in on)

    def occurred(self, event: str) -> bool:
        """Whether it was not only recorded but seen."""
        if event.startswith(("probe:", "argument:")):
            return self.recorded(event)
        return bool(self.trace.counts.get(event))

    def missing(self, needs: Sequence[str]) -> tuple[str, ...]:
        """Needs (alternatives joined with "|") that the recording does not meet."""
        return tuple(
            need for need in needs if not any(self.recorded(one) for one in need.split("|"))
        )

    def lacking(self, route: Route) -> tuple[str, ...]:
        """What keeps a way to the fault closed; every vCPU prints kvm_entry, if any can."""
        silent = [need for need in route.needs if need == ENTRY and not self.occurred(need)]
        return self.missing(route.needs) or tuple(silent)

    @property
    def has(self) -> list[str]:
        """What was recorded of all that is read here, named as in ``Rule.needs``."""
        events = [f"{spec.system}:{name}" for spec in KINDS for name in spec.names]
        return [event for event in events if self.recorded(event)] + [
            f"probe:{function}" for function in sorted(self.probed)
        ]

    @property
    def has_vcpu(self) -> bool:
        """Whether any vCPU thread was seen."""
        return bool(self.seen.get("KVM_FPUS") or self.seen.get("ENTRIES"))


def cover(rules: Sequence[Rule], found: Gathered, costs: bool) -> list[Coverage]:
    """One row a rule that this version has, in the order of the codes.

    ``costs``: rules about normal costs were asked.
    """
    return [
        Coverage(rule.code, rule.name, Status.NOT_APPLICABLE, (), "a normal cost: --costs asks it")
        if rule.costs_only and not costs
        else _one(rule, found)
        for rule in rules
    ]


def hidden(rule: Rule, trace: Trace) -> bool:
    """Whether an event that was lost without a word could make what the rule looks for."""
    return rule.rests_on_absence and not trace.losses_known


def _one(rule: Rule, found: Gathered) -> Coverage:
    def row(status: Status, why: str, missing: Sequence[str] = ()) -> Coverage:
        return Coverage(rule.code, rule.name, status, tuple(missing), why)

    candidates = found.decision.candidates
    holds = [code for code in candidates if code in rule.generations]
    if not holds:
        return row(Status.NOT_APPLICABLE, f"not a rule of generation {' or '.join(candidates)}")
    missing = found.missing(rule.needs)
    if missing:
        return row(Status.NOT_DECIDABLE, _without(missing, found), missing)
    if rule.vcpu_only and not found.has_vcpu:
        if any(event.startswith("kvm:") for event in found.unread):
            return row(Status.NOT_DECIDABLE, "KVM's events in this text cannot be read")
        return row(Status.NOT_APPLICABLE, "no vCPU ran in this trace")
    for need in rule.needs:
        if not any(found.occurred(kind) for kind in need.split("|")):
            return row(
                Status.NOT_DECIDABLE,
                "events it needs never occurred: not enabled, or this KVM back end emits none",
                (need,),
            )
    if hidden(rule, found.trace):
        return row(Status.NOT_DECIDABLE, HIDDEN_LOSSES)
    routes = [route for route in rule.routes if route.generations & set(holds)]
    closed = [(route, lacks) for route in routes if (lacks := found.lacking(route))]
    if routes and len(closed) == len(routes):
        route, lacks = closed[0]
        return row(Status.NOT_DECIDABLE, _closed(route, found), lacks)
    limits = [f"{_closed(route, found)} ({in_words(lacks)})" for route, lacks in closed]
    limits += [
        f"{event} {found.lack(event)}, which could excuse what is found"
        for event in found.missing(rule.excuses)
    ]
    if found.holes:
        limits.append(f"{found.holes} holes in the trace")
    if found.silent and not rule.one_cpu:
        limits.append(
            f"{_cpus(found.silent)} showed no event, so that a task may have been there unseen "
            "whenever it was switched out"
        )
    if found.gaps:
        limits.append(f"{found.gaps} undeclared gaps (a pid filter, or tracing was switched off)")
    if not found.trace.losses_known:
        limits.append("this form of recording does not tell losses")
    if not found.trace.whole_known:
        limits.append("nothing tells whether parts of it were left out")
    if not found.decision.decided:
        limits.append(f"the generation may be {' or '.join(candidates)}")
    if not found.trace.clock_global and not rule.one_cpu:
        limits.append("the clock is not global")
    if limits:
        return row(Status.PARTLY, "; ".join(limits))
    return row(Status.CHECKED, "every event it needs was recorded, nothing was lost")


def _cpus(numbers: Sequence[int]) -> str:
    """``CPU 3``, ``CPUs 1, 3 and 9 more``."""
    shown = ", ".join(map(str, numbers[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"CPU{'s' * (len(numbers) > 1)} {shown}{more}"


def _closed(route: Route, found: Gathered) -> str:
    """Why a way to the fault is closed, in words."""
    return route.shows if route.shows else _without(found.lacking(route), found)


def _without(missing: Sequence[str], found: Gathered) -> str:
    """That events are missing, in words: they are in a text that cannot be read, or nowhere."""
    if any(one in found.unread for need in missing for one in need.split("|")):
        return "events it needs are in this text, but their fields are not"
    return "events it needs were not recorded"


def cover_trace_rules(rules: Sequence[TraceRule]) -> list[Coverage]:
    """Rules about the recording are always checked."""
    return [
        Coverage(rule.code, rule.name, Status.CHECKED, (), "the recording itself tells")
        for rule in rules
    ]


def record_command(
    rows: Sequence[Coverage], has: Sequence[str], unread: frozenset[str] = frozenset()
) -> str | None:
    """The command that would record what undecided rules lack, or None when they lack nothing.

    And what this trace ``has`` (:attr:`Gathered.has`), so that nothing is lost.  It chooses the
    events that the kernel there has; probes are asked for where a rule wants some, those of the
    kernel's own FPU use apart, for they can be frequent.  Events that were recorded and only
    cannot be read (``unread``) are no reason for another recording.
    """
    wanted = _wanted(rows, unread)
    if not wanted:
        return None
    probed = [need for need in (*wanted, *has) if need.startswith(("probe:", "argument:"))]
    kernel = [need for need in probed if need.startswith("probe:kernel_fpu")]
    options = ["--probes"] * (len(probed) > len(kernel)) + ["--kfpu"] * bool(kernel)
    return " ".join(["fputrace record", *options, "--seconds 10"])


def trace_cmd_command(
    rows: Sequence[Coverage], has: Sequence[str], unread: frozenset[str] = frozenset()
) -> str | None:
    """The same for trace-cmd, as far as it goes without probes; None when they are all there is."""
    probed = ("probe:", "argument:")
    wanted = [need for need in _wanted(rows, unread) if not need.startswith(probed)]
    if not wanted:
        return None
    events = list(BASE_EVENTS)
    for event in (*wanted, *(one for one in has if not one.startswith(probed))):
        if event not in events and event.split(":")[0] not in events:
            events.append(event)
    return "trace-cmd record -C mono -b 20000 " + " ".join(f"-e {event}" for event in events)


def _wanted(rows: Sequence[Coverage], unread: frozenset[str]) -> list[str]:
    """What undecided rules miss, each once; of alternatives the first."""
    wanted: dict[str, None] = {}
    for row in rows:
        if row.status is Status.NOT_DECIDABLE:
            for need in row.missing:
                first = need.split("|")[0]
                if ":" in first and first not in unread:
                    wanted[first] = None
    return list(wanted)
