"""Recordings without one kind of event: no rule stays ``checked`` without it, none accuses more.

Each sample is analysed as if one event had not been enabled: its rows, its format and its count
are not there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fputrace
from fputrace import analysis as analysis_module
from fputrace.events import EventBlock, Trace
from fputrace.findings import Analysis, Severity, Status, Verdict
from fputrace.parsers import open_trace
from fputrace.rules import RULES
from tests.conftest import SAMPLE_CASES, SAMPLES

STRENGTH = (Status.NOT_DECIDABLE, Status.PARTLY, Status.CHECKED)

HOW = [*((case, None) for case in SAMPLE_CASES), ("4.14.0-rc8-pinned", "G3")]
"""Samples by their own evidence, and the undecided one by force."""


def without(trace: Trace, event: str) -> Trace:
    """The same recording, made without ``event``."""
    inner = trace.blocks

    def blocks(outer: Trace) -> Iterator[EventBlock]:
        for block in inner():
            kept = np.array([name != event for name in trace.event_names])
            rows = (block.event < 0) | kept[block.event]
            outer.counts = {name: n for name, n in trace.counts.items() if name != event}
            outer.losses, outer.comms = trace.losses, trace.comms
            outer.first_ns, outer.last_ns = trace.first_ns, trace.last_ns
            outer.event_names = trace.event_names
            outer.probes = {name: how for name, how in trace.probes.items() if name != event}
            yield dataclasses.replace(
                block,
                **{
                    name: getattr(block, name)[rows]
                    for name in ("ts", "cpu", "pid", "kind", "flags", "event", "op")
                },
            )

    formats = {name: found for name, found in trace.formats.items() if name != event}
    return dataclasses.replace(trace, formats=formats, _blocks=blocks, _close=trace.close)


def accusations(analysis: Analysis, *verdicts: Verdict) -> Counter[tuple[str, int | None]]:
    """How often each rule speaks of each task, with such a verdict."""
    counts: Counter[tuple[str, int | None]] = Counter()
    for finding in analysis.findings:
        if finding.verdict in verdicts and finding.severity is not Severity.TRACE:
            counts[finding.code, finding.pid] += finding.count
    return counts


def opened_without(event: str) -> Callable[..., Trace]:
    """What ``open_trace`` gives of a recording made without ``event``."""

    def opened(path: Path, **how: Any) -> Trace:
        return without(open_trace(path, **how), event)

    return opened


@functools.cache
def analyzed(case: str, generation: str | None) -> Analysis:
    """The whole recording."""
    return fputrace.analyze(SAMPLES / case / "trace.dat", generation=generation)


def no_stronger(less: Analysis, whole: Analysis, event: str) -> None:
    for verdicts in ((Verdict.CONFIRMED,), tuple(Verdict)):
        more = accusations(less, *verdicts) - accusations(whole, *verdicts)
        assert not more, f"{verdicts} only without {event}: {dict(more)}"
    before = {row.code: row.status for row in whole.coverage}
    for row in less.coverage:
        if row.status in STRENGTH and before[row.code] in STRENGTH:
            assert STRENGTH.index(row.status) <= STRENGTH.index(before[row.code]), (event, row)


def evidence(trace: Trace) -> set[str]:
    """What a recording holds, in the words of ``Rule.needs``; a probe counts by its function."""
    held = set(trace.formats) | set(trace.counts)
    for functions, _how in trace.probes.values():
        held |= {f"probe:{function}" for function in functions.split(", ")}
    return held


def lacking(needs: Iterable[str], held: set[str]) -> list[str]:
    """Needs that none of its alternatives meets; a save's argument goes with its probe."""
    if "probe:save_fpregs_to_fpstate" in held:
        held = held | {"argument:fpstate"}
    return [need for need in needs if not held & set(need.split("|"))]


def answers_say_it_is_missing(less: Analysis, event: str) -> None:
    held = evidence(less.trace)
    candidates = set(less.generation.candidates)
    answers = {row.code: row for row in less.coverage}
    for rule in RULES:
        answer = answers[rule.code]
        if answer.status is Status.NOT_APPLICABLE:
            continue
        needed = lacking(rule.needs, held)
        if needed:
            assert answer.status is Status.NOT_DECIDABLE, (event, answer)
            assert set(needed) <= set(answer.missing), (event, answer)
        routes = [route for route in rule.routes if route.generations & candidates]
        if any(lacking(route.needs, held) for route in routes) or event in rule.excuses:
            assert answer.status is not Status.CHECKED, (event, answer)


@pytest.mark.parametrize(("case", "generation"), HOW)
def test_without_each_event_in_turn(
    case: str, generation: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SAMPLES / case / "trace.dat"
    whole = analyzed(case, generation)
    codes = [row.code for row in whole.coverage]
    assert sorted(set(codes)) == codes, "each rule exactly once"
    for event in list(whole.trace.counts):
        with monkeypatch.context() as patch:
            patch.setattr(analysis_module, "open_trace", opened_without(event))
            less = fputrace.analyze(path, generation=generation)
        assert event not in less.trace.counts
        no_stronger(less, whole, event)
        answers_say_it_is_missing(less, event)


@pytest.mark.parametrize("case", ["6.12-storm", "7.2-storm"])
def test_not_decidable_is_silent(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis_module, "open_trace", opened_without("kvm:kvm_fpu"))
    less = fputrace.analyze(SAMPLES / case / "trace.dat")
    answers = {row.code: row for row in less.coverage}
    for finding in less.findings:
        assert answers[finding.code].status is not Status.NOT_DECIDABLE, finding.message
