"""Rows of the replay in, findings out: verdicts, counts and a few witnesses per task.

A million hits cost no more than ten: rows of a block are checked at once, summed per task, and only
the first few are kept as witnesses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field
from functools import reduce
from itertools import pairwise
from operator import and_, or_
from typing import TYPE_CHECKING

import numpy as np

from fputrace.events import ABSENT, KINDS, EventFormat, Kind
from fputrace.findings import (
    Case,
    Cost,
    Finding,
    Rows,
    Rule,
    Verdict,
    Witness,
    WitnessEvent,
)
from fputrace.lanes import Marked
from fputrace.plain import PlainTuple, changed, plain
from fputrace.pricing import LEGACY, STANDARD, Pricing
from fputrace.replay.layout import REF, Out, Ref
from fputrace.timeline import Fact, Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

WITNESSES = 3
"""Occurrences kept of each finding, the earliest ones."""

Window = tuple[int | None, int | None]
"""From and to, in ns of the trace's clock, both included; None is open."""


def within(ns: int, window: Window) -> bool:
    """Whether a time lies in a window."""
    low, high = window
    return (low is None or low <= ns) and (high is None or ns <= high)


_SLOT = {
    "event": Out.EVENT,
    "own": Out.OWN,
    "switch": Out.SWITCH,
    "in": Out.IN,
    "kvm": Out.KVM,
    "save": Out.SAVE,
    "entry": Out.ENTRY,
    "acted": Out.ACTED,
    "next": Out.NEXT,
    "begin": Out.BEGIN,
    "end": Out.END,
    "swap": Out.SWAP,
    "saved": Out.SAVED,
    "cause": Out.CAUSE,
}

_OPERANDS = {spec.kind: spec.operands for spec in KINDS}
_POINTERS = frozenset({"fpu", "rip", "guest_rip", "address", "ip", "sa_handler"})
_MASKS = frozenset({"xfeatures", "xcomp_bv"})


_FILTERED = (
    "a filter (set_event_pid, or one of an event's own) may have left out what is missing: nothing "
    "of the kind shows where it should"
)
_WITH_OTHERS = Fact.RAW_FIRST | Fact.UNTOLD
"""Facts that mean something beside others only."""

_BAD_FLAG = int(Fact.BAD_FLAG)


@plain
class Hits:
    """Occurrences of one rule for one task with one verdict, summed."""

    count: int = 0
    first: int = 0
    last: int = 0
    cpus: set[int] = field(default_factory=set)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    spans: list[Sequence[Span]] = field(default_factory=list)
    facts: int = 0

    def add(self, count: int, first: int, last: int, cpus: set[int], facts: int) -> None:
        """Sum up further occurrences."""
        self.first = first if not self.count else min(self.first, first)
        self.last = last if not self.count else max(self.last, last)
        self.count += count
        self.cpus |= cpus
        self.facts |= facts

    def merge(self, other: Hits, window: Window = (None, None)) -> None:
        """Take over another sum, its witnesses if there is room."""
        self.add(other.count, other.first, other.last, other.cpus, other.facts)
        for row, spans in zip(other.rows, other.spans, strict=True):
            self.keep(row, spans, window)

    def keep(self, row: NDArray[np.int64], spans: Sequence[Span], window: Window) -> int | None:
        """Keep a witness if there is room, or in the place of one outside of the window when it
        lies inside; returns its number.
        """
        if len(self.rows) < WITNESSES:
            self.rows.append(row)
            self.spans.append(spans)
            return len(self.rows) - 1
        if within(int(row[Out.EVENT + Ref.TS]), window):
            for index, kept in enumerate(self.rows):
                if not within(int(kept[Out.EVENT + Ref.TS]), window):
                    self.rows[index], self.spans[index] = row, spans
                    return index
        return None

    def in_time_order(self) -> list[tuple[NDArray[np.int64], Sequence[Span]]]:
        """Its witnesses: proof that had to wait was merged after later ones."""
        both = zip(self.rows, self.spans, strict=True)
        return sorted(both, key=lambda pair: int(pair[0][Out.EVENT + Ref.TS]))


def _distinct(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different rows of int64[n, 2], sorted; ``np.unique`` would import ``numpy.ma``."""
    ordered = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    new = np.ones(len(ordered), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[new]


class Places:
    """Where findings of one severity occurred: every one, to a resolution that fits in memory.

    Keeps (CPU, time // width) pairs; when there are too many, ``width`` (ns) doubles.
    """

    LIMIT = 16384

    def __init__(self) -> None:
        self._width = 1
        self._kept = np.zeros((0, 2), dtype=np.int64)
        self._fresh: list[NDArray[np.int64]] = []
        self._waiting = 0

    def add(self, cpu: NDArray[np.int64], ts: NDArray[np.int64]) -> None:
        """Further occurrences, int64[n] each, ts in ns."""
        self._fresh.append(np.stack([cpu, ts], axis=1))
        self._waiting += len(cpu)
        if self._waiting > self.LIMIT:
            self._settle()

    def _settle(self) -> None:
        """Put what came since the last time among what is kept; sorting is dear."""
        fresh = np.concatenate([*self._fresh, np.zeros((0, 2), dtype=np.int64)])
        fresh[:, 1] //= self._width
        self._fresh.clear()
        self._waiting = 0
        self._kept = _distinct(np.concatenate([self._kept, fresh]))
        while len(self._kept) > self.LIMIT and self._width < 1 << 62:
            self._width *= 2
            self._kept[:, 1] //= 2
            self._kept = _distinct(self._kept)

    def marks(self, what: str, code: str = "") -> Iterator[Marked]:
        """All of them; each lies somewhere between the mark's start and end."""
        self._settle()
        for cpu, step in self._kept.tolist():
            start = step * self._width
            yield Marked(cpu, start, start + self._width - 1, what, code)


Key = tuple[str, int, bool]  # code, the task's serial, confirmed
Around = Callable[[int, int], Sequence[Span]]


class Shown(PlainTuple):
    """Which kinds of event were seen where, by their names in ``Rule.shown_again``.

    ``last``: the time at which each CPU last showed it, int64[cpus], 0 never.  ``told``: serials of
    the tasks it was seen of, ascending; None for a kind that is not asked of tasks.
    """

    last: Callable[[str], NDArray[np.int64]]
    told: Callable[[str], NDArray[np.int64] | None]

    def of(self, kind: str, serials: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these tasks have shown it."""
        told = self.told(kind)
        if told is None:
            return np.ones(len(serials), dtype=bool)
        at = np.searchsorted(told, serials)
        found: NDArray[np.bool_] = np.append(told, -1)[at] == serials
        return found


class Collector:
    """Checks the rows of each block and keeps the sums.

    ``candidates``: generations still possible.  A row is confirmed when every candidate's check
    confirms it, possible when some candidate's check takes it.  ``window``: witnesses are of there,
    as far as anything happened there.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        candidates: Sequence[str],
        pricing: Pricing = STANDARD,
        window: Window = (None, None),
    ) -> None:
        self._window = window
        # A rule that could say nothing of any candidate asks for no rows.
        self._rules = [rule for rule in rules if set(candidates) & rule.generations]
        self._facts = [int(rule.facts) for rule in self._rules]  # a Flag is slow to reach
        self._candidates = tuple(candidates)
        self._hits: dict[Key, Hits] = {}
        # Proof that rests on an absent event waits, per CPU, until that kind shows again there, and
        # of that task at all: filters leave out whole tasks.
        self._waiting: dict[tuple[str, int, int, str], Hits] = {}
        self._tasks: dict[int, tuple[int, int]] = {}  # serial -> pid, vCPU
        self._pricing = pricing
        self._prices: dict[tuple[str, int], list[float]] = {}  # bytes, ns
        self.places: dict[str, Places] = {}
        """Code -> where its findings occurred."""
        self._unfilled: list[tuple[Hits, int]] = []
        self.bad_flags = 0
        self.wanted = _BAD_FLAG
        for rule in self._rules:
            self.wanted |= self._asked(rule)

    def _asked(self, rule: Rule) -> int:
        """The facts that mean something to a rule in some candidate generation."""
        single = np.array([int(fact) for fact in rule.facts], dtype=np.int64)
        rows = Rows(single, np.zeros_like(single))
        taken = np.zeros(len(single), dtype=bool)
        for code in self._candidates:
            if code in rule.generations:
                answer = rule.check(rows, code)
                taken |= answer.confirmed | answer.possible
                if rule.price is not None:
                    taken |= rule.price(rows)
        asked = int(np.bitwise_or.reduce(single[taken], initial=0))
        return asked | int(rule.facts & _WITH_OTHERS) if asked else 0

    def add(self, out: NDArray[np.int64], shown: Shown) -> None:
        """Check rows (int64[n, Out.WIDTH]); ``shown`` is as it stands after them."""
        self._release(shown)
        if not len(out):
            return
        own = out[:, Out.EVENT + Ref.OP2]
        kind = out[:, Out.EVENT + Ref.KIND]
        has_mask = (kind >= Kind.REGS_ACTIVATED) & (kind <= Kind.XSTATE_CHECK_FAILED)
        saved = np.where(out[:, Out.SAVE + Ref.KIND] != 0, out[:, Out.SAVE + Ref.OP2], LEGACY)
        rows = Rows(out[:, Out.FACTS], np.where(has_mask, own, saved))
        present = int(np.bitwise_or.reduce(rows.facts))
        if present & _BAD_FLAG:
            self.bad_flags += int(rows.show(Fact.BAD_FLAG).sum())
        for rule, facts in zip(self._rules, self._facts, strict=True):
            if not present & facts:
                continue
            checks = [
                rule.check(rows, code) for code in self._candidates if code in rule.generations
            ]
            confirmed = reduce(and_, [c.confirmed for c in checks])
            if len(checks) < len(self._candidates):
                confirmed = np.zeros_like(confirmed)
            taken = reduce(or_, [c.confirmed | c.possible for c in checks])
            self._take(rule, out, confirmed, True, shown)
            self._take(rule, out, taken & ~confirmed, False, shown)
            if rule.price is not None:
                priced = rule.price(rows)
                unrestored = rows.show(rule.unrestored)
                self._price(rule, out, rows, priced & ~unrestored, rule.moves)
                self._price(rule, out, rows, priced & unrestored, (rule.moves[0], 0))

    @property
    def unfilled(self) -> bool:
        """Whether witnesses were kept since the last :meth:`fill`."""
        return bool(self._unfilled)

    @property
    def waiting(self) -> bool:
        """Whether a proof waits for its CPU to show a kind of event again."""
        return bool(self._waiting)

    def fill(self, around: Around) -> None:
        """Give the witnesses kept since the last call their spans, at the end of a block.

        ``around``: (from ns, to ns) -> the spans of every CPU that overlap.
        """
        for hits, index in self._unfilled:
            row = hits.rows[index]
            times = [int(row[slot + Ref.TS]) for slot in _SLOT.values() if row[slot + Ref.KIND]]
            hits.spans[index] = around(min(times), max(times))
        self._unfilled.clear()

    def _take(
        self,
        rule: Rule,
        out: NDArray[np.int64],
        mask: NDArray[np.bool_],
        confirmed: bool,
        shown: Shown,
    ) -> None:
        chosen = np.flatnonzero(mask)
        if not len(chosen):
            return
        rows = out[chosen]
        awaited = np.full(len(rows), -1)
        cpu = rows[:, Out.EVENT + Ref.CPU]
        ts = rows[:, Out.EVENT + Ref.TS]
        serial = rows[:, Out.SERIAL]
        self.places.setdefault(rule.code, Places()).add(cpu, ts)
        kinds = rule.shown_again
        for number, (facts, kind) in enumerate(kinds if confirmed else ()):
            rests = (rows[:, Out.FACTS] & int(facts)) != 0
            awaited[rests & ((ts >= shown.last(kind)[cpu]) | ~shown.of(kind, serial))] = number
        # One group per task (and, while it waits, per CPU and kind); in one sorted pass.
        split = np.where(awaited < 0, -1, cpu * len(kinds) + awaited)
        order = np.lexsort((split, serial))
        tasks, splits = serial[order], split[order]
        edges = np.flatnonzero((tasks[1:] != tasks[:-1]) | (splits[1:] != splits[:-1])) + 1
        for begin, end in pairwise([0, *edges.tolist(), len(order)]):
            group = np.sort(order[begin:end])
            part = rows[group]
            one = part[0]
            number = int(one[Out.SERIAL])
            # What one follower has not seen of a task, another has: a vCPU once known stays.
            vcpu = int(part[-1][Out.VCPU])
            known = self._tasks.get(number, (0, -1))[1]
            self._tasks[number] = (int(part[-1][Out.SUBJECT]), vcpu if vcpu >= 0 else known)
            if awaited[group[0]] < 0:
                hits = self._hits.setdefault((rule.code, number, confirmed), Hits())
            else:
                kind = kinds[awaited[group[0]]][1]
                where = (rule.code, number, int(one[Out.EVENT + Ref.CPU]), kind)
                hits = self._waiting.setdefault(where, Hits())
            hits.add(
                int(part[:, Out.COUNT].sum()),
                int(ts[group].min()),
                int(ts[group].max()),
                set(cpu[group].tolist()),
                int(np.bitwise_or.reduce(part[:, Out.FACTS])),
            )
            first = part[: max(0, WITNESSES - len(hits.rows))]
            low, high = self._window
            if low is not None or high is not None:
                rest, when = part[len(first) :], ts[group][len(first) :]
                inside = when >= (low if low is not None else ts.min())
                inside &= when <= (high if high is not None else ts.max())
                first = np.concatenate([first, rest[inside][:WITNESSES]])
            for row in first:
                index = hits.keep(row.copy(), (), self._window)
                if index is not None:
                    self._unfilled.append((hits, index))

    def _price(
        self,
        rule: Rule,
        out: NDArray[np.int64],
        rows: Rows,
        mask: NDArray[np.bool_],
        moves: tuple[int, int],
    ) -> None:
        if not mask.any():
            return
        moved, spent = self._pricing.cost(
            rows.xfeatures[mask], out[mask, Out.COUNT], moves, rule.components
        )
        serial = out[mask, Out.SERIAL]
        order = np.argsort(serial, kind="stable")
        edges = np.concatenate([[0], np.flatnonzero(np.diff(serial[order])) + 1])
        bytes_, ns = np.add.reduceat(moved[order], edges), np.add.reduceat(spent[order], edges)
        for number, *price in zip(serial[order][edges].tolist(), bytes_, ns, strict=True):
            total = self._prices.setdefault((rule.code, number), [0.0, 0.0])
            total[0] += float(price[0])
            total[1] += float(price[1])

    def _release(self, shown: Shown) -> None:
        for key in list(self._waiting):
            code, number, cpu, kind = key
            again = self._waiting[key].last < shown.last(kind)[cpu]
            if again and shown.of(kind, np.array([number]))[0]:
                self._hits.setdefault((code, number, True), Hits()).merge(
                    self._waiting.pop(key), self._window
                )

    def findings(
        self,
        undecided: Collection[str],
        *,
        comms: dict[int, str],
        names: Sequence[str],
        formats: Mapping[str, EventFormat],
        vms: Callable[[int], tuple[int | None, str | None]],
        weaken: Callable[[Rule, Fact], str],
        owner: Callable[[int], str],
        shown: Shown,
    ) -> list[Finding]:
        """Everything found, at the end of the trace, but by rules whose codes are `undecided`.

        ``vms``: pid -> (tgid, VM name); ``weaken``: why what a rule finds by these facts is no
        proof in this trace, or ""; ``owner``: pid of an acquirer in words.
        """
        rules = {rule.code: rule for rule in self._rules}
        reasons: dict[Key, str] = {}
        for (code, number, _cpu, kind), hits in self._waiting.items():
            self._hits.setdefault((code, number, False), Hits()).merge(hits, self._window)
            if not shown.of(kind, np.array([number]))[0]:
                reasons[code, number, False] = _FILTERED
        self._waiting.clear()
        final: dict[Key, Hits] = {}
        for (code, number, confirmed), hits in self._hits.items():
            if code in undecided:
                continue
            reason = weaken(rules[code], Fact(hits.facts))
            if hits.facts & Fact.UNTOLD and not confirmed:
                reason = reason or _FILTERED
            key = (code, number, confirmed and not reason)
            final.setdefault(key, Hits()).merge(hits, self._window)
            reasons[key] = reasons.get(key) or reason
        found = []
        for (code, number, confirmed), hits in final.items():
            rule = rules[code]
            pid, vcpu = self._tasks[number]
            comm = comms.get(pid, "<...>")
            tgid, vm = vms(pid)
            verdict = Verdict.CONFIRMED if confirmed else Verdict.POSSIBLE
            case = Case(
                comm=f"{comm} ({pid})",
                pid=pid,
                vcpu=vcpu if vcpu >= 0 else None,
                count=hits.count,
                owner=owner(int(hits.rows[0][Out.OWNER])),
                facts=Fact(hits.facts),
                verdict=verdict,
                generation=" or ".join(self._candidates),
            )
            message = rule.say(case)
            if not confirmed:
                reading = self._normal_in(rule) or reasons[code, number, confirmed]
                reading = reading or rule.other_reading or "another reading fits the same events"
                message += f" Possible only: {reading}."
            price = self._prices.get((code, number))
            found.append(
                Finding(
                    code=code,
                    name=rule.name,
                    severity=rule.severity,
                    verdict=verdict,
                    count=hits.count,
                    pid=pid,
                    comm=comm,
                    vcpu=case.vcpu,
                    tgid=tgid,
                    cpus=tuple(sorted(hits.cpus)),
                    first_ns=hits.first,
                    last_ns=hits.last,
                    message=message,
                    witnesses=tuple(
                        _witness(rule, row, spans, Naming(comms, names, formats), case)
                        for row, spans in hits.in_time_order()
                    ),
                    cost=Cost(round(price[0]), round(price[1]), self._pricing.prices.source)
                    if price
                    else None,
                    vm=vm,
                )
            )
        return found

    def _normal_in(self, rule: Rule) -> str:
        """Where what a rule finds may be no fault at all: comes before what could be missing."""
        silent = [
            code
            for code in self._candidates
            if code not in rule.generations or code in rule.by_design
        ]
        if not silent:
            return ""
        return (
            f"this kernel may be {' or '.join(silent)}, where this is normal; "
            "--kernel RELEASE or --generation CODE decides"
        )


def _witness(
    rule: Rule,
    row: NDArray[np.int64],
    spans: Sequence[Span],
    naming: Naming,
    case: Case,
) -> Witness:
    """One occurrence with the events that prove it, in the order the rule tells its story."""
    at = int(row[Out.EVENT + Ref.TS])
    events: list[WitnessEvent] = []
    here = int(row[Out.EVENT + Ref.CPU])
    seen: set[tuple[int, ...]] = set()
    for step in rule.proof:
        if not step.event:
            last = events[-1].ns if events else at
            events.append(
                WitnessEvent(last, here, int(row[Out.SUBJECT]), "", step.name, {}, step.role, True)
            )
            continue
        start = int(_SLOT[step.event])
        ref = tuple(int(v) for v in row[start : start + REF])
        if ref[Ref.KIND] == 0 or ref in seen:
            continue
        seen.add(ref)
        events.append(event_of(ref, step.role, naming, step.event))
    known = [e for e in events if not e.inferred]
    if [e.ns for e in known] != sorted(e.ns for e in known):
        # Inferred steps stay behind the event they follow.
        order: list[tuple[int, int, WitnessEvent]] = []
        for index, event in enumerate(events):
            order.append((event.ns, index, event))
        events = [event for _ns, _index, event in sorted(order, key=lambda item: item[:2])]
    here_only = changed(case, facts=Fact(int(row[Out.FACTS])))
    return Witness(at, here, tuple(events), spans, rule.chain and rule.chain(here_only))


class Naming(PlainTuple):
    """What the recording calls things: tasks, events by number, fields by event."""

    comms: Mapping[int, str]
    names: Sequence[str]
    formats: Mapping[str, EventFormat]


def event_of(ref: tuple[int, ...], role: str, naming: Naming, step: str = "") -> WitnessEvent:
    """A kept event with its operands under this kernel's own field names."""
    kind = Kind(ref[Ref.KIND])
    index = ref[Ref.EVENT]
    name = naming.names[index] if 0 <= index < len(naming.names) else kind.name.lower()
    known = naming.formats.get(name)
    own = {field.name for field in known.fields} if known else set()
    fields: dict[str, object] = {}
    if kind >= Kind.PROBE_SAVE and known is not None:
        # What people called the arguments their probe fetched.
        labels = [f.name for f in known.fields if not f.name.startswith(("common_", "__probe_"))]
        for label, value in zip(labels, ref[Ref.OP0 :], strict=False):
            if value != ABSENT:
                wide = not 0 <= value < 1 << 32
                fields[label] = f"0x{value & 0xFFFFFFFFFFFFFFFF:x}" if wide else value
    for number, operand in enumerate(_OPERANDS.get(kind, ())):
        value = ref[Ref.OP0 + number]
        if value == ABSENT:
            continue
        label = next((alias for alias in operand.fields if alias in own), operand.fields[0])
        wide = label in _POINTERS or label in _MASKS
        fields[label] = f"0x{value & 0xFFFFFFFFFFFFFFFF:x}" if wide else value
    pid = ref[Ref.PID]
    return WitnessEvent(
        ns=ref[Ref.TS],
        cpu=ref[Ref.CPU],
        pid=pid,
        comm=naming.comms.get(pid, "<...>") if pid else "<idle>",
        name=name,
        fields=fields,
        role=role,
        step=step,
    )
