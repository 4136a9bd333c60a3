"""Rows in, findings out: verdicts, waiting proof, sums, witnesses, and where they occurred."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fputrace.checking import WITNESSES, Collector, Places, Shown
from fputrace.events import Kind
from fputrace.findings import ANY, Check, Finding, Rows, Rule, Severity, Step, Verdict, verdicts
from fputrace.replay.layout import Out, Ref
from fputrace.timeline import Fact, Span

Table = NDArray[np.int64]
TASK, OTHER = 1, 2  # serials
PIDS = {TASK: 94, OTHER: 95}


def rule(
    check: Callable[[Rows, str], Check] | None = None,
    generations: str = "G1 G2 G3",
    shown_again: str | None = None,
) -> Rule:
    """A rule that asks for LOAD_TWICE (proof) and UNLOAD_TWICE (fits)."""
    return Rule(
        code="FPU108",
        name="made",
        severity=Severity.ERROR,
        title="made",
        generations=frozenset(generations.split()),
        needs=(),
        facts=Fact.LOAD_TWICE | Fact.UNLOAD_TWICE,
        check=check or (lambda rows, _g: verdicts(rows, Fact.LOAD_TWICE, Fact.UNLOAD_TWICE)),
        proof=(Step("kvm", "first"), Step("event", "then")),
        say=lambda case: f"{case.comm} {case.count} by {case.owner} in {case.generation}",
        shown_again=((ANY, shown_again),) if shown_again else (),
        other_reading="it is made",
    )


def row(
    ts: int, fact: Fact = Fact.LOAD_TWICE, *, serial: int = TASK, cpu: int = 0, count: int = 1
) -> list[int]:
    """A row of ``out``: what the judge hands to the rules."""
    out = [0] * Out.WIDTH
    out[Out.FACTS] = fact
    out[Out.SUBJECT], out[Out.SERIAL] = PIDS[serial], serial
    out[Out.VCPU], out[Out.COUNT], out[Out.OWNER] = serial - 1, count, 7
    for slot, when in ((Out.EVENT, ts), (Out.KVM, ts - 5)):
        out[slot + Ref.TS], out[slot + Ref.CPU] = when, cpu
        out[slot + Ref.PID], out[slot + Ref.KIND] = PIDS[serial], Kind.KVM_FPU
        out[slot + Ref.OP0] = 1
    return out


def table(*rows: list[int]) -> Table:
    return np.array(rows, dtype=np.int64).reshape(len(rows), Out.WIDTH)


def cpus(*shown: int, of: Collection[int] | None = None) -> Shown:
    """kvm_fpu was last seen at these times, CPU by CPU, and ``of`` these tasks (None: it is not
    asked of tasks); nothing else ever.
    """
    times = np.zeros(max(2, len(shown)), dtype=np.int64)
    times[: len(shown)] = shown
    told = None if of is None else np.array(sorted(of), dtype=np.int64)
    return Shown(
        lambda what: times if what == "kvm_fpu" else np.zeros_like(times), lambda _what: told
    )


def result(
    collector: Collector,
    weaken: str = "",
    shown: Shown | None = None,
    undecided: Collection[str] = (),
) -> list[Finding]:
    found = collector.findings(
        undecided,
        comms={94: "CPU 0/KVM", 7: "fphog"},
        names=["kvm:kvm_fpu"],
        formats={},
        vms=lambda pid: (pid - 10, f"vm {pid}"),
        weaken=lambda _rule, _facts: weaken,
        owner=lambda pid: f"pid {pid}",
        shown=shown or cpus(),
    )
    return sorted(found, key=lambda f: (f.pid or 0, f.verdict.value))


def said(collector: Collector, weaken: str = "") -> list[tuple[int | None, str, int]]:
    return [(f.pid, f.verdict.value, f.count) for f in result(collector, weaken)]


# ----- verdicts


def test_a_finding_per_task_and_verdict() -> None:
    collector = Collector([rule()], ["G2"])
    collector.add(
        table(
            row(10),
            row(30, count=4, cpu=1),
            row(20, Fact.UNLOAD_TWICE),
            row(15, serial=OTHER),
            row(5, Fact.CLEAR_FOREIGN),
        ),
        cpus(),
    )
    first, possible, other = result(collector)
    assert (first.pid, first.verdict, first.count) == (94, Verdict.CONFIRMED, 5)
    assert (first.first_ns, first.last_ns, first.cpus) == (10, 30, (0, 1))
    assert (first.comm, first.vcpu, first.tgid, first.vm) == ("CPU 0/KVM", 0, 84, "vm 94")
    assert first.message == "CPU 0/KVM (94) 5 by pid 7 in G2"
    assert (possible.verdict, possible.count, possible.cpus) == (Verdict.POSSIBLE, 1, (0,))
    assert possible.message.endswith("Possible only: it is made.")
    assert (other.pid, other.comm, other.vcpu, other.count) == (95, "<...>", 1, 1)
    (proof, *_more) = first.witnesses
    assert [(e.ns, e.name, e.fields, e.role) for e in proof.events] == [
        (5, "kvm:kvm_fpu", {"load": 1}, "first"),
        (10, "kvm:kvm_fpu", {"load": 1}, "then"),
    ]


def test_a_vcpu_once_known_stays() -> None:
    """A follower that begins later has not seen the task enter."""
    collector = Collector([rule()], ["G2"])
    unknown = row(30)
    unknown[Out.VCPU] = -1
    collector.add(table(row(10)), cpus())
    collector.add(table(unknown), cpus())
    assert [found.vcpu for found in result(collector)] == [0]


def test_an_undecidable_rule_makes_no_finding() -> None:
    collector = Collector([rule()], ["G2"])
    collector.add(table(row(10)), cpus())
    assert result(collector, undecided=("FPU108",)) == []
    assert len(result(collector)) == 1


def test_candidates_must_agree_to_confirm() -> None:
    def by_generation(rows: Rows, generation: str) -> Check:
        return verdicts(rows, confirmed=Fact.LOAD_TWICE) if generation == "G3" else verdicts(rows)

    for candidates, verdict in (("G3", "confirmed"), ("G2 G3", "possible"), ("G3 G6", "possible")):
        collector = Collector([rule(by_generation)], candidates.split())
        collector.add(table(row(10)), cpus())
        assert said(collector) == [(94, verdict, 1)]
    assert said(Collector([rule(by_generation)], ["G2"])) == []


def test_a_rule_of_other_generations_is_not_asked() -> None:
    collector = Collector([rule(generations="G1")], ["G5", "G6"])
    assert collector.wanted == Fact.BAD_FLAG
    collector.add(table(row(10)), cpus())
    assert said(collector) == []


def test_a_rule_by_design_names_the_generation() -> None:
    made = dataclasses.replace(
        rule(lambda rows, g: verdicts(rows, Fact.LOAD_TWICE) if g == "G3" else verdicts(rows)),
        by_design=frozenset({"G2"}),
    )
    for weaken in ("", "half of it is missing"):  # which matters only where it is a fault
        collector = Collector([made], ["G2", "G3"])
        collector.add(table(row(10)), cpus())
        (finding,) = result(collector, weaken)
        assert finding.verdict is Verdict.POSSIBLE
        assert "Possible only: this kernel may be G2" in finding.message
        assert "--generation" in finding.message


def test_a_weak_trace_confirms_nothing() -> None:
    collector = Collector([rule()], ["G2"])
    collector.add(table(row(10), row(20, Fact.UNLOAD_TWICE)), cpus())
    (finding,) = result(collector, weaken="half of it is missing")
    assert (finding.verdict, finding.count) == (Verdict.POSSIBLE, 2)
    assert finding.message.endswith("Possible only: half of it is missing.")


# ----- proof that rests on an absent event


def pending(collector: Collector) -> bool:
    """Whether a proof waits."""
    return collector.waiting


def test_proof_waits_until_its_cpu_shows_the_kind_again() -> None:
    collector = Collector([rule(shown_again="kvm_fpu")], ["G2"])
    collector.add(table(row(10)), cpus(10))
    assert pending(collector)
    collector.add(table(), cpus(10, 99))  # another CPU
    assert pending(collector)
    collector.add(table(), cpus(11))
    assert not pending(collector)
    assert said(collector) == [(94, "confirmed", 1)]


def test_proof_that_waits_at_the_end_is_possible() -> None:
    collector = Collector([rule(shown_again="kvm_fpu")], ["G2"])
    collector.add(table(row(10), row(20), row(12, cpu=1), row(13, serial=OTHER)), cpus(15, 0))
    assert said(collector) == [(94, "confirmed", 1), (94, "possible", 2), (95, "confirmed", 1)]


def test_proof_waits_until_its_task_shows_the_kind_at_all() -> None:
    collector = Collector([rule(shown_again="kvm_fpu")], ["G2"])
    collector.add(table(row(10), row(11, serial=OTHER)), cpus(20, of=[OTHER]))
    assert pending(collector)
    collector.add(table(), cpus(20, of=[TASK, OTHER]))
    assert not pending(collector)
    assert said(collector) == [(94, "confirmed", 1), (95, "confirmed", 1)]


def test_a_task_that_never_shows_it_may_be_filtered_away() -> None:
    collector = Collector([rule(shown_again="kvm_fpu")], ["G2"])
    collector.add(table(row(10), row(11, serial=OTHER)), cpus(20, of=[OTHER]))
    first, other = result(collector, shown=cpus(20, of=[OTHER]))
    assert (first.verdict, other.verdict) == (Verdict.POSSIBLE, Verdict.CONFIRMED)
    assert "a filter (set_event_pid" in first.message


def test_waiting_is_per_task() -> None:
    collector = Collector([rule(shown_again="kvm_fpu")], ["G2"])
    collector.add(table(row(10), row(11, serial=OTHER)), cpus(5))
    collector.add(table(row(30)), cpus(20))
    assert said(collector) == [(94, "confirmed", 1), (94, "possible", 1), (95, "confirmed", 1)]


# ----- witnesses


def fresh(collector: Collector) -> bool:
    """Whether it has witnesses without spans."""
    return collector.unfilled


def test_few_witnesses_are_kept_the_earliest() -> None:
    collector = Collector([rule()], ["G2"])
    collector.add(table(*(row(10 * n) for n in range(1, 1001))), cpus())
    collector.add(table(row(20_000)), cpus())
    (finding,) = result(collector)
    assert finding.count == 1001
    assert [w.ns for w in finding.witnesses] == [10, 20, 30][:WITNESSES]


def test_witnesses_get_the_spans_around_them() -> None:
    collector = Collector([rule()], ["G2"])
    asked = []

    def around(first: int, last: int) -> tuple[Span, ...]:
        asked.append((first, last))
        return (Span(0, first, last, 94, 94, "guest", "known"),)

    assert not fresh(collector)
    collector.add(table(row(10), row(20)), cpus())
    assert fresh(collector)
    collector.fill(around)
    assert not fresh(collector)
    collector.fill(around)
    (finding,) = result(collector)
    assert asked == [(5, 10), (15, 20)]
    assert [w.spans[0].end_ns for w in finding.witnesses] == [10, 20]


def test_witnesses_are_in_time_order_whenever_they_were_proven() -> None:
    collector = Collector([rule(shown_again="kvm_fpu")], ["G2"])
    collector.add(table(row(30), row(40, cpu=1)), cpus(0, 50))
    collector.add(table(), cpus(35, 50))
    (finding,) = result(collector)
    assert [witness.ns for witness in finding.witnesses] == [30, 40]


def test_price_of_both_halves() -> None:
    made = dataclasses.replace(rule(), price=lambda rows: rows.show(Fact.LOAD_TWICE))
    collector = Collector([made], ["G2"])
    priced = row(10)
    priced[Out.SAVE + Ref.OP2] = 3
    collector.add(table(priced, priced, row(20, Fact.UNLOAD_TWICE)), cpus())
    finding = result(collector)[0]
    assert finding.cost is not None
    assert (finding.cost.bytes, finding.cost.ns) == (4 * 576, 420)
    assert finding.cost.source


def test_bad_flags_are_counted() -> None:
    collector = Collector([], ["G2"])
    collector.add(table(row(1, Fact.BAD_FLAG), row(2, Fact.BAD_FLAG), row(3)), cpus())
    assert collector.bad_flags == 2
    assert said(collector) == []


# ----- places


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(Places, "LIMIT", 16)
    return 16


def test_places_are_exact_while_they_fit() -> None:
    places = Places()
    places.add(np.array([1, 0, 1]), np.array([30, 10, 30]))
    assert sorted((m.cpu, m.start_ns, m.end_ns, m.what) for m in places.marks("error")) == [
        (0, 10, 10, "error"),
        (1, 30, 30, "error"),
    ]


@settings(deadline=None)  # two cores, shared
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**9)), min_size=1, max_size=60),
        max_size=6,
    )
)
def test_places_coarsen_but_none_disappears(batches: list[list[tuple[int, int]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Places, "LIMIT", 16)
        places = Places()
        for batch in batches:
            pairs = np.array(batch, dtype=np.int64)
            places.add(pairs[:, 0], pairs[:, 1])
        marks = list(places.marks("error"))
    assert len(marks) <= 16
    told = [pair for batch in batches for pair in batch]
    for cpu, ts in told:
        assert any(m.cpu == cpu and m.start_ns <= ts <= m.end_ns for m in marks)
    for mark in marks:
        assert any(mark.cpu == c and mark.start_ns <= ts <= mark.end_ns for c, ts in told)


def test_one_finding_at_each_end_of_a_long_trace_stays_two(few: int) -> None:
    places = Places()
    hour = 3600 * 10**9
    places.add(np.zeros(few * 100, dtype=np.int64), np.arange(few * 100) * 1000)
    places.add(np.array([0]), np.array([hour]))
    marks = sorted(places.marks("error"))
    assert marks[0].start_ns == 0
    assert marks[-1].start_ns <= hour <= marks[-1].end_ns
    assert len(marks) >= 2


def test_every_rule_has_its_places() -> None:
    collector = Collector([rule()], ["G2"])
    collector.add(table(row(10), row(20, Fact.UNLOAD_TWICE, cpu=1)), cpus())
    assert [(m.cpu, m.start_ns) for m in collector.places[rule().code].marks("error")] == [
        (0, 10), (1, 20),
    ]  # fmt: skip
