"""The generation: formats and sequences strike, the release chooses among what is left."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fputrace.errors import UsageError
from fputrace.events import EventFormat, FormatField, Trace
from fputrace.generation import (
    DEFERRED,
    EAGER,
    GENERATIONS,
    TITLES,
    UPSTREAM,
    Known,
    by_formats,
    by_sequences,
    decide,
    evidence_for_all,
    read_release,
)
from fputrace.replay.layout import Seen
from fputrace.replay.model import TABLES

BORDERS = (
    ("4.9.337", "G0"),
    ("4.13", "G0"),
    ("4.13.16", "G0"),
    ("4.14", "G1"),
    ("4.14.0", "G1"),
    ("4.14.93", "G1"),
    ("4.14.94", "G2"),
    ("4.14.336", "G2"),
    ("4.15", "G2"),
    ("4.20.17", "G2"),
    ("5.0", "G3"),
    ("5.0.21", "G3"),
    ("5.1.0", "G3"),
    ("5.1.20", "G3"),
    ("5.1.21", "G2"),
    ("5.2", "G4a"),
    ("5.2.3", "G4a"),
    ("5.2.4", "G4x"),
    ("5.2.5", "G4b"),
    ("5.2.21", "G4b"),
    ("5.3.18", "G4b"),
    ("5.4", "G4b"),
    ("5.4.18", "G4b"),
    ("5.4.19", "G4c"),
    ("5.4.300", "G4c"),
    ("5.5.0", "G4b"),
    ("5.5.2", "G4b"),
    ("5.5.3", "G4c"),
    ("5.6", "G4c"),
    ("5.10.223", "G4c"),
    ("5.11", "G4d"),
    ("5.15.135", "G4d"),
    ("5.16", "G5"),
    ("6.1.176", "G5"),
    ("6.15.11", "G5"),
    ("6.16", "G6"),
    ("7.2", "G6"),
    ("7.2.13", "G6"),
    ("12.0", "G6"),
)


def trace(*events: str, symbols: tuple[str, ...] = (), kernel: str | None = None) -> Trace:
    """A recording that describes ``system:name field field …`` events."""
    formats = {}
    for number, event in enumerate(events):
        key, *names = event.split()
        system, name = key.split(":")
        fields = tuple(FormatField(n, "int", 8, 4, True, False, "") for n in names)
        formats[key] = EventFormat(system, name, number, fields)
    return Trace(
        path="made",
        format="made",
        kernel=kernel,
        formats=formats,
        symbols=dict.fromkeys(symbols, 1),
    )


FPREGS_ACTIVE = "x86_fpu:x86_fpu_regs_activated fpu fpregs_active fpstate_active xfeatures"
INITIALIZED = "x86_fpu:x86_fpu_regs_activated fpu initialized xfeatures xcomp_bv"
LOAD_FPU = "x86_fpu:x86_fpu_regs_activated fpu load_fpu xfeatures xcomp_bv"
ENTRY = "kvm:kvm_entry vcpu_id"
ENTRY_RIP = "kvm:kvm_entry vcpu_id rip"
ENTRY_ERROR = "kvm:kvm_entry vcpu_id rip intr_info error_code"
EXIT = "kvm:kvm_exit exit_reason guest_rip"
EXIT_ID = "kvm:kvm_exit exit_reason guest_rip vcpu_id"

LINUX_4_14 = (INITIALIZED, ENTRY, EXIT)
LINUX_5_2 = (LOAD_FPU, ENTRY, EXIT)
LINUX_5_4 = (LOAD_FPU, ENTRY, EXIT_ID)
LINUX_5_10 = (LOAD_FPU, ENTRY_RIP, EXIT_ID)
LINUX_6_14 = (LOAD_FPU, ENTRY_ERROR, EXIT_ID)


def left(*events: str, seen: Mapping[str, int] | None = None, kernel: str | None = None) -> str:
    """Candidates, space-separated."""
    return " ".join(decide(trace(*events, kernel=kernel), seen or {}).candidates)


# ----- releases


@pytest.mark.parametrize(("release", "code"), BORDERS, ids=[release for release, _ in BORDERS])
def test_upstream_release_decides(release: str, code: str) -> None:
    assert read_release(release) == Known(code, "exact")
    decision = decide(trace(kernel=release), {})
    assert (decision.candidates, decision.code) == ((code,), code)
    assert decision.decided
    assert not decision.forced
    assert any(release in sentence and code in sentence for sentence in decision.evidence)


def test_ranges_follow_each_other_without_hole_or_overlap() -> None:
    for before, after in itertools.pairwise(UPSTREAM):
        assert before.first <= before.last < after.first <= after.last
        assert {before.code, after.code} <= set(GENERATIONS)
        # Nothing lies between: either the next patch level, or the next series.
        major, minor, patch = before.last
        following = {(major, minor, patch + 1), (major, minor + 1, 0), (major + 1, 0, 0)}
        assert after.first in following


@pytest.mark.parametrize(
    ("release", "known"),
    [
        ("4.15.0-213-generic", Known("G2", "lower")),
        ("4.18.0-553.el8", Known("G2", "lower")),
        ("4.19.0-27-amd64", Known("G2", "lower")),
        ("5.2.1-arch1-1", Known("G4a", "lower")),
        ("6.1.0-50-cloud-amd64", Known("G5", "lower")),
        ("7.2.13+deb14-amd64", Known("G6", "lower")),
        ("6.12.0.fputest", Known("G5", "lower")),
        ("5.2.0-rc3", Known("G4a", "none")),
        ("5.2-rc3", Known("G4a", "none")),
        ("4.14.0-rc8+", Known("G1", "none")),
        ("4.14.5+", Known("G1", "none")),
    ],
)
def test_suffix_bounds_from_below_or_not_at_all(release: str, known: Known) -> None:
    assert read_release(release) == known


@pytest.mark.parametrize(
    "release", ["", "   ", "linux", "5", "5.", "v5.2", "\0", "12345.1", "-5.2"]
)
def test_no_release(release: str) -> None:
    assert read_release(release) is None
    decision = decide(trace(kernel=release), {})
    assert decision.candidates == tuple(g for g in GENERATIONS if g != "G2x")
    assert not decision.decided
    assert decision.code is None


def test_space_around_a_release() -> None:
    assert read_release(" 5.2.1\n") == Known("G4a", "exact")


@pytest.mark.parametrize(
    ("release", "formats", "candidates"),
    [
        # 5.0, 5.1 and 5.2 with any suffix may or may not carry the revert ec269475cba7.
        ("5.0.0-32-generic", LINUX_4_14, "G2 G3"),
        ("5.1.21-1-MANJARO", LINUX_4_14, "G2 G3"),
        ("5.2.1-arch1-1", LINUX_5_2, "G4a G4x G4b G4c"),
        ("4.14.98-v7+", LINUX_4_14, "G2"),
        ("4.14.50-custom", LINUX_4_14, "G1 G2"),
        # RHEL 8 has 5.x's FPU code under the number 4.18: the formats say how far.
        ("4.18.0-80.el8", LINUX_4_14, "G2 G3"),
        ("4.18.0-553.el8", LINUX_5_4, "G4b G4c"),
        ("4.18.0-553.el8", LINUX_5_10, "G4c G4d G5 G6"),
        ("5.4.0-150-generic", LINUX_5_4, "G4b G4c"),
        ("5.10.0-30-amd64", LINUX_5_10, "G4c G4d G5 G6"),
        ("6.14.0-1-amd64", LINUX_6_14, "G5 G6"),
        ("7.2.13+deb14-amd64", LINUX_6_14, "G6"),
        # Somebody's tree: only the formats count.
        ("4.14.0-rc8+", LINUX_4_14, "G1 G2 G3"),
        ("6.16.0-rc1", LINUX_6_14, "G5 G6"),
    ],
)
def test_vendor_release_with_formats(
    release: str, formats: tuple[str, ...], candidates: str
) -> None:
    assert left(*formats, kernel=release) == candidates


def test_debian_6_1_is_decided_by_its_saves() -> None:
    saves = {"OUT_SAVE_FLAG_0": 40}
    assert left(*LINUX_5_10, kernel="6.1.0-50-cloud-amd64") == "G5 G6"
    assert left(*LINUX_5_10, kernel="6.1.0-50-cloud-amd64", seen=saves) == "G5"


@pytest.mark.parametrize(
    ("release", "formats"),
    [("4.14.5", LINUX_5_2), ("7.2.13+deb14-amd64", LINUX_4_14), ("5.2.1", LINUX_6_14)],
)
def test_trace_overrules_the_release(release: str, formats: tuple[str, ...]) -> None:
    decision = decide(trace(*formats, kernel=release), {})
    assert decision.candidates == decide(trace(*formats), {}).candidates
    assert decision.evidence[-1].endswith("which the trace contradicts")
    assert release in decision.evidence[-1]


def test_kernel_option_stands_for_the_recordings_own() -> None:
    decision = decide(trace(*LINUX_5_2, kernel="5.3.1"), {}, kernel="5.2.1")
    assert decision.code == "G4a"
    assert "5.2.1" in decision.evidence[-1]


def test_recording_without_release() -> None:
    decision = decide(trace(*LINUX_4_14), {})
    assert decision.candidates == ("G1", "G2", "G3")
    assert decision.evidence[-1] == "no kernel release in the recording"


# ----- formats


@pytest.mark.parametrize(
    ("events", "candidates"),
    [
        ((FPREGS_ACTIVE,), "G0"),
        ((INITIALIZED,), "G1 G2 G3"),
        ((LOAD_FPU,), "G4a G4x G4b G4c G4d G5 G6"),
        ((ENTRY,), "G0 G1 G2 G3 G4a G4x G4b G4c"),
        ((ENTRY_RIP,), "G0 G1 G2 G4c G4d G5 G6"),
        ((ENTRY_ERROR,), "G5 G6"),
        ((EXIT,), "G0 G1 G2 G3 G4a G4x G4b G4c"),
        ((EXIT_ID,), "G0 G1 G2 G4b G4c G4d G5 G6"),
        (LINUX_4_14, "G1 G2 G3"),
        (LINUX_5_2, "G4a G4x G4b G4c"),
        (LINUX_5_4, "G4b G4c"),
        (LINUX_5_10, "G4c G4d G5 G6"),
        (LINUX_6_14, "G5 G6"),
        (("sched:sched_switch prev_pid next_pid",), "G0 G1 G2 G3 G4a G4x G4b G4c G4d G5 G6"),
    ],
)
def test_formats_strike(events: tuple[str, ...], candidates: str) -> None:
    assert left(*events) == candidates


def test_any_x86_fpu_event_tells_the_flag() -> None:
    assert left("x86_fpu:x86_fpu_dropped fpu initialized") == "G1 G2 G3"


@pytest.mark.parametrize(
    ("symbols", "lost"),
    [
        ((), set()),
        (("fpu_swap_kvm_fpstate",), set()),  # without a known symbol kallsyms may be cut short
        (("kernel_fpu_end",), {"G5", "G6"}),
        (("kernel_fpu_end", "switch_fpu_return"), {*EAGER, "G5", "G6"}),
        (
            ("kernel_fpu_end", "switch_fpu_return", "fpu_swap_kvm_fpstate"),
            set(GENERATIONS) - {"G5", "G6"},
        ),
    ],
)
def test_kallsyms_strike(symbols: tuple[str, ...], lost: set[str]) -> None:
    struck = {code for s in by_formats(trace(symbols=symbols)) for code in s.codes}
    assert struck == lost


# ----- sequences


@pytest.mark.parametrize(
    ("seen", "formats", "candidates"),
    [
        ({"OUT_SAVE_FLAG_0": 3}, LINUX_6_14, "G5"),
        ({"OUT_SAVE_FLAG_1": 3}, LINUX_6_14, "G6"),
        ({"OUT_SAVE_FLAG_0": 1, "OUT_SAVE_FLAG_1": 90}, LINUX_6_14, "G6"),
        ({"OUT_SAVE_FLAG_0": 2, "OUT_SAVE_FLAG_1": 2}, LINUX_6_14, "G5 G6"),
        ({"UNLOAD_IN_WINDOW": 5}, LINUX_4_14, "G1"),
        ({"UNLOAD_IN_WINDOW": 5, "OUT_WHILE_LOADED": 1}, LINUX_4_14, "G1"),
        ({"UNLOAD_IN_WINDOW": 1, "OUT_WHILE_LOADED": 9}, LINUX_4_14, "G2 G3"),
        # The first one may be the start of the trace.
        ({"OUT_WHILE_LOADED": 1}, LINUX_4_14, "G1 G2 G3"),
        ({"OUT_WHILE_LOADED": 2}, LINUX_4_14, "G2 G3"),
        # In later formats an unload in the window is a finding, not a generation.
        ({"UNLOAD_IN_WINDOW": 5}, LINUX_5_2, "G4a G4x G4b G4c"),
        ({"USER_EXIT_WHILE_LOADED": 3}, LINUX_4_14, "G1"),
        ({"USER_EXIT_WHILE_OUT": 3}, LINUX_4_14, "G2 G3"),
        ({"RELOAD_AFTER_ENTRY": 4, "EXITS": 9}, LINUX_5_4, "G4c"),
        ({"RELOAD_AFTER_ENTRY": 4, "EXITS": 9}, LINUX_5_2, "G4a G4x G4c"),
        # Without kvm_exit the reload may be one on the way to user mode.
        ({"RELOAD_AFTER_ENTRY": 4}, LINUX_5_4, "G4b G4c"),
        ({"RELOAD_BEFORE_ENTRY": 4}, LINUX_5_4, "G4b"),
        ({"RELOAD_BEFORE_ENTRY": 4}, LINUX_5_10, "G4d G5 G6"),
        # One or two may be the emulator's, and so may those beside reloads after kvm_entry.
        ({"RELOAD_BEFORE_ENTRY": 2}, LINUX_5_4, "G4b G4c"),
        ({"RELOAD_BEFORE_ENTRY": 9, "RELOAD_AFTER_ENTRY": 4, "EXITS": 9}, LINUX_5_4, "G4c"),
    ],
)
def test_sequences_strike(seen: dict[str, int], formats: tuple[str, ...], candidates: str) -> None:
    assert set(seen) <= {s.name for s in Seen}
    assert left(*formats, seen=seen) == candidates


@pytest.mark.parametrize("loads", range(4))
def test_g2x_only_with_double_loads(loads: int) -> None:
    decision = decide(trace(*LINUX_4_14), {"DOUBLE_LOAD": loads})
    assert ("G2x" in decision.candidates) == (loads >= 2)
    assert not any("DOUBLE" in sentence or sentence == "" for sentence in decision.evidence)


def test_a_double_load_in_an_upstream_g2_is_g2x() -> None:
    twice = {"DOUBLE_LOAD": 50}
    assert left(*LINUX_4_14, kernel="4.14.94", seen=twice) == "G2x"
    assert left(*LINUX_4_14, kernel="4.14.95-generic", seen=twice) == "G2 G2x"
    assert left(*LINUX_4_14, kernel="5.0.1", seen=twice) == "G3"


def test_a_tree_with_g1s_number_that_keeps_the_guest_loaded_is_not_g1() -> None:
    seen = {"OUT_WHILE_LOADED": 300, "USER_EXIT_WHILE_OUT": 20}
    assert left(*LINUX_4_14, kernel="4.14.0-rc8+", seen=seen) == "G2 G3"
    assert left(*LINUX_4_14, kernel="4.14.5", seen=seen) == "G2 G3"


def test_evidence_that_contradicts_all_the_rest_is_told_and_ignored() -> None:
    decision = decide(trace(INITIALIZED, ENTRY_ERROR), {})
    assert decision.candidates == ("G1", "G2")  # error_code would leave none of them
    ignored = [s for s in decision.evidence if s.endswith("contradicts the rest, ignored")]
    assert len(ignored) == 1
    assert "error_code" in ignored[0]


def test_evidence_names_only_what_struck_something() -> None:
    decision = decide(trace(*LINUX_6_14), {"UNLOAD_IN_WINDOW": 3})
    assert not any("kvm_fpu" in sentence for sentence in decision.evidence)


# ----- forced


@pytest.mark.parametrize("code", GENERATIONS)
def test_forced(code: str) -> None:
    decision = decide(trace(kernel="5.2.1"), {"OUT_SAVE_FLAG_1": 9}, generation=code)
    assert (decision.candidates, decision.decided, decision.forced) == ((code,), True, True)
    assert decision.evidence == (f"forced to {code}",)


def test_forced_against_the_formats() -> None:
    with pytest.raises(UsageError, match="contradicts the formats") as error:
        decide(trace(*LINUX_5_2), {}, generation="G2")
    assert "load_fpu" in error.value.message
    assert error.value.hint


def test_forced_against_the_release_is_allowed() -> None:
    assert decide(trace(*LINUX_4_14, kernel="4.14.177"), {}, generation="G3").code == "G3"


@pytest.mark.parametrize("code", ["G7", "g2", "", "G", "5.2"])
def test_forced_to_what_is_none(code: str) -> None:
    with pytest.raises(UsageError) as error:
        decide(trace(), {}, generation=code)
    assert all(known in error.value.hint for known in GENERATIONS)


# ----- anything

EVENTS = (
    FPREGS_ACTIVE, INITIALIZED, LOAD_FPU, ENTRY, ENTRY_RIP, ENTRY_ERROR, EXIT, EXIT_ID,
)  # fmt: skip
SYMBOLS = ("kernel_fpu_end", "switch_fpu_return", "fpu_swap_kvm_fpstate")
RELEASES = st.one_of(
    st.none(),
    st.text(),
    st.from_regex(r"\d{1,5}\.\d{1,5}(\.\d{1,5})?([-+.].*)?", fullmatch=True),
    st.sampled_from([release for release, _code in BORDERS]),
)


@settings(deadline=None)  # two cores, shared
@given(
    release=RELEASES,
    kernel=RELEASES,
    events=st.lists(st.sampled_from(EVENTS)),
    symbols=st.lists(st.sampled_from(SYMBOLS)),
    seen=st.dictionaries(st.sampled_from([s.name for s in Seen]), st.integers(0, 5)),
)
def test_there_is_always_an_answer(
    release: str | None,
    kernel: str | None,
    events: list[str],
    symbols: list[str],
    seen: dict[str, int],
) -> None:
    made = trace(*events, symbols=tuple(symbols), kernel=release)
    decision = decide(made, seen, kernel=kernel)
    assert decision.candidates
    places = [GENERATIONS.index(code) for code in decision.candidates]
    assert places == sorted(set(places))
    assert decision.decided == (len(decision.candidates) == 1)
    assert decision.code == (decision.candidates[0] if decision.decided else None)
    assert "G2x" not in decision.candidates or seen.get("DOUBLE_LOAD", 0) >= 2
    assert not decision.forced
    assert all(decision.evidence)


def test_tables_name_the_same_generations() -> None:
    assert tuple(TITLES) == GENERATIONS
    assert set(TABLES) == set(GENERATIONS)
    assert {code for code in GENERATIONS if TABLES[code].eager} == EAGER
    assert set(GENERATIONS) == EAGER | DEFERRED


def test_sequences_without_counts_strike_only_g2x() -> None:
    assert [(s.codes, s.why) for s in by_sequences({})] == [(frozenset({"G2x"}), "")]


def test_generations_in_words() -> None:
    words = evidence_for_all(["G2", "G3"])
    assert words.startswith("G2 (")
    assert " or G3 (" in words
