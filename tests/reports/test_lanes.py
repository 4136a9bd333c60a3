from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fputrace.findings import Witness
from fputrace.reports.lanes import draw, legend
from fputrace.timeline import Span
from tests.reports.cases import double_save, event, guest_in_thread_fpu

SAVE = double_save().witnesses[0]
OVERWRITE = guest_in_thread_fpu().witnesses[0]


def drawn(witness: Witness, width: int) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in draw(witness, width)]


def test_double_save() -> None:
    assert drawn(SAVE, 52) == [
        "step      1                    3         4      5",
        "          |                    U         S      A",
        "CPU 0  G:74--------------------u:74-------------U:90",
    ]


def test_overwritten() -> None:
    lines = drawn(OVERWRITE, 60)
    assert lines[0].split() == ["step", "1", "2", "3", "5", "6"]
    assert lines[1].split() == ["L", "E", "|", "S", "U"]
    assert lines[2].startswith("CPU 1     G:93-")
    assert lines[2].index("G:93") == lines[1].index("L")
    assert lines[2].index(".") == lines[1].index("S")


def test_a_cpu_without_events_is_drawn_when_a_task_of_the_proof_owned_its_registers() -> None:
    span = Span(3, SAVE.ns, SAVE.ns + 5_000, 74, 74, "guest", "known")
    foreign = Span(4, SAVE.ns, SAVE.ns + 5_000, 5, 5, "user", "known")
    before = Span(5, SAVE.ns - 5_000, SAVE.ns, 74, 74, "guest", "known")
    lines = drawn(replace(SAVE, spans=(*SAVE.spans, span, foreign, before)), 60)
    assert lines[-1].startswith("CPU 3     G:74")
    assert not any("CPU 4" in line or "CPU 5" in line for line in lines)


def test_without_spans_the_marks_are_left() -> None:
    assert drawn(replace(SAVE, spans=()), 52)[1:] == [
        "CPU 0     |                    U         S      A",
    ]


def test_legend_names_what_is_used() -> None:
    text = legend([SAVE])
    for part in ("| switch", "S save", "A restore", "U guest FPU unloaded", "U user", "G guest"):
        assert part in text
    for part in ("VM entry", "kernel", "unknown"):
        assert part not in text
    both = legend([SAVE, OVERWRITE])
    assert "E VM entry" in both
    assert ". nobody's" in both


@pytest.mark.parametrize("width", [0, 7, 12])
def test_no_room_no_drawing(width: int) -> None:
    assert draw(SAVE, width) == []


def test_no_events_no_drawing() -> None:
    assert draw(Witness(1, 0, ()), 80) == []


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(-(10**9), 10**12), st.integers(0, 10**9)), max_size=8),
    st.integers(20, 200),
)
def test_every_event_has_its_mark(
    times: list[int], spans: list[tuple[int, int]], width: int
) -> None:
    """In order, each in a column of its own, within the width; spans may lie anywhere."""
    events = tuple(event(ns, 0, 7, "t", "kvm:kvm_entry", "", vcpu_id=0) for ns in sorted(times))
    made = Witness(
        events[0].ns,
        0,
        events,
        tuple(Span(0, at, at + length, 7, 7, "guest", "known") for at, length in spans),
    )
    lines = drawn(made, width)
    assert all(len(line) <= width for line in lines)
    if lines:
        assert lines[1].removeprefix("CPU 0").count("E") == len(events)
