"""The table of known bugs: the same as docs/bugs says, and named only where it fits."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.findings import KnownBug, Verdict
from fputrace.generation import GENERATIONS, UPSTREAM
from fputrace.knownbugs import KNOWN_BUGS, match
from fputrace.rules import RULES
from tests.bugs.claims import GENERATE, page
from tests.reports.cases import analysis, double_save, guest_in_thread_fpu

HEAD = GENERATE["bug_head"]
HASH = re.compile(r"\b[0-9a-f]{12}\b")
RELEASE = re.compile(r"\b\d\.\d+(?:\.\d+)?(?:-rc\d+)?\b")

every_bug = pytest.mark.parametrize("bug", KNOWN_BUGS, ids=lambda bug: bug.id)


def test_every_page_whose_bug_can_be_found_is_in_the_table() -> None:
    found = [name for name in GENERATE["BUGS"] if page(name).probes]
    assert [bug.id for bug in KNOWN_BUGS] == found


@every_bug
def test_commits_and_titles_are_those_of_the_page(bug: KnownBug) -> None:
    head = HEAD(bug.id)
    assert bug.title == head["title"].replace("`", "")
    introduced = f"{bug.commit} {bug.subject}"
    assert bug.commit in head["introduced"]
    assert set(HASH.findall(introduced)) <= set(HASH.findall(" ".join(head.values())))
    assert {fix.commit for fix in bug.fixes if fix.commit} == set(HASH.findall(head["fixed"])) - (
        {"e751732486eb"} if bug.id == "entry-hole" else set()  # what the fix reverts
    )
    for fix in bug.fixes:
        if not fix.commit:
            assert fix.subject in head["fixed"]


@every_bug
def test_releases_are_those_of_the_page(bug: KnownBug) -> None:
    head = HEAD(bug.id)
    fixed = {name for fix in bug.fixes for name in fix.releases if "y" not in name}
    outside = re.sub(r'"[^"]*"', "", head["fixed"])
    fixes = {name for name in RELEASE.findall(outside) if name != "4.14"}
    assert fixed == fixes
    borders = set()
    for one in bug.affected:
        for border in (one.first, one.last):
            if one.all_of_them and border > (0, 0, 0):
                numbers = [str(number) for number in border if number < 9999]
                borders.add(".".join(numbers))
    kernels = {
        name if name.count(".") == 2 else f"{name}.0"
        for name in RELEASE.findall(head["kernels"].partition(";")[0])
    }
    for name in borders:
        assert any(name == told or told.startswith(f"{name}.") for told in kernels), name


@every_bug
def test_rules_and_generations_are_those_of_the_page(bug: KnownBug) -> None:
    claims = page(bug.id)
    others = set(re.findall(r"`(FPU\d+)` confirmed \([^`]*\[another bug\]", HEAD(bug.id)["probes"]))
    others |= set(
        re.findall(r"`(FPU\d+)` confirmed \([^`]*\[another bug\]", HEAD(bug.id)["tracepoints"])
    )
    assert bug.codes == set(claims.probes) - others
    assert bug.generations == claims.generations
    rules = {rule.code: rule for rule in RULES}
    assert all(bug.generations <= rules[code].generations for code in bug.codes)


@every_bug
def test_releases_and_generations_agree(bug: KnownBug) -> None:
    """An upstream release that has the bug is of one of its generations."""
    for one in bug.affected:
        inside = {
            known.code for known in UPSTREAM if known.first <= one.last and one.first <= known.last
        }
        named = {code.replace("G2x", "G2") for code in bug.generations}
        assert inside & named
        assert one.first == (0, 0, 0) or bug.id == "xfd" or inside <= named | {"G0", "G4x", "G4c"}


def looks(
    code: str = "G4a", release: str | None = "5.2.1", **changes: Any
) -> list[tuple[str, str]]:
    finding = guest_in_thread_fpu(**changes)
    found = analysis(finding, release=release)
    found.generation = replace(
        found.generation, code=code, candidates=tuple(code.split("|")), decided="|" not in code
    )
    return [(like.bug.id, like.doubt) for like in match(finding, found)]


GUEST = "guest-over-user-image"


@pytest.mark.parametrize(
    ("generation", "release", "doubt"),
    [
        ("G4a", "5.2.1", ""),
        ("G3", "5.0.21", ""),
        ("G3", "5.1.20", ""),
        ("G4a", "5.2.3-arch1-1-ARCH", "a vendor's kernel"),
        ("G3", "4.18.0-80.el8.x86_64", "a vendor's kernel"),
        ("G4a", None, "the release is not recorded"),
        ("G4a", "custom", "the release is not recorded"),
        ("G3", "5.1.0-rc7+", "somebody's own tree"),
    ],
)
def test_release_and_generation(generation: str, release: str | None, doubt: str) -> None:
    ((bug, why),) = looks(generation, release)
    assert bug == GUEST
    assert (doubt in why) if doubt else not why


@pytest.mark.parametrize(
    ("generation", "release"),
    [
        ("G4a", "5.2.4"),  # healthy as far as anybody told
        ("G3", "5.1.21"),
        ("G3", "5.1.21-300.fc30.x86_64"),
        ("G4a", "5.3.0-10-generic"),
        ("G1", "4.14.5"),
        ("G5", "6.1.0"),
    ],
)
def test_silence_where_it_is_not(generation: str, release: str) -> None:
    assert not [bug for bug, _ in looks(generation, release) if bug == GUEST]


def test_a_possible_finding_is_no_more_than_that() -> None:
    assert looks(verdict=Verdict.POSSIBLE) == [(GUEST, "the finding is not confirmed")]
    assert looks("G4a|G4x") == [(GUEST, "the generation is not decided")]


def test_crc32c_is_no_switch_out() -> None:
    """The same rule in G1 finds two things; the proof tells which."""
    assert looks("G1", "4.14.5") == []
    probe = "fputrace:kfpu_begin"
    finding = guest_in_thread_fpu()
    witness = finding.witnesses[0]
    finding.witnesses = (
        replace(
            witness,
            events=tuple(
                replace(e, name=probe) if e.name.endswith("regs_deactivated") else e
                for e in witness.events
            ),
        ),
    )
    found = analysis(finding, release="4.14.5")
    assert [like.bug.id for like in match(finding, found)] == ["crc32c-in-kvm-run"]


def test_the_sentence() -> None:
    finding = guest_in_thread_fpu()
    found = analysis(finding, release="5.2.1")
    found.generation = replace(found.generation, code="G4a", candidates=("G4a",))
    assert match(finding, found)[0].sentence == (
        "looks like 240c35a3783a; affected 5.0, 5.1 up to 5.1.20, 5.2 up to 5.2.3; "
        "fixed by ec269475cba7 in 5.3-rc2, 5.2.4 and 5.1.21"
    )
    assert match(double_save(), analysis(release="4.14.5"))[0].sentence == (
        "looks like the design that f775b13eedee replaced; affected up to 4.14.93; "
        "fixed by f775b13eedee in 4.15 and 4.14.94"
    )


@pytest.mark.parametrize(
    ("case", "bugs"),
    [
        ("5.2.1-pinned", {"FPU101": GUEST, "FPU111": "raw-save"}),
        ("4.14.5-pinned", {"FPU201": "double-save"}),
        # Faults made on purpose: nobody shipped them.
        ("6.1-put-at-sched-out", {}),
        ("6.1-stale-owner", {}),
    ],
)
def test_recordings(samples: Path, case: str, bugs: dict[str, str]) -> None:
    result = fputrace.analyze(samples / case / "trace.dat")
    named = {found.code: like.bug.id for found in result.findings for like in found.known}
    assert named == bugs
    certain = {f.code for f in result.findings if any(not like.doubt for like in f.known)}
    assert certain == set(bugs)


def test_forced_or_given_release(samples: Path) -> None:
    """--kernel counts as the release; a forced generation alone names no release."""
    path = samples / "4.14.0-rc8-pinned" / "trace.dat"
    forced = fputrace.analyze(path, generation="G3")
    doubts = {like.doubt for found in forced.findings for like in found.known}
    assert doubts == {"4.14.0-rc8+ is somebody's own tree"}
    given = fputrace.analyze(path, kernel="5.0.1")
    assert {like.sentence[:10] for f in given.findings for like in f.known if not like.doubt} == {
        "looks like"
    }


def test_codes_of_generations_are_known() -> None:
    assert all(bug.generations <= set(GENERATIONS) for bug in KNOWN_BUGS)
