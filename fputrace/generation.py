"""Which generation of the kernel's FPU code a trace comes from.

Elimination first: what the formats and the observed sequences contradict is struck.  The release
then chooses among the survivors; it never overrules what the trace shows.  A pure upstream
release decides; a vendor's suffix is a lower bound (vendors port back, nobody ports forward the
old); an ``-rc`` or a bare ``+`` is no bound at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fputrace.errors import UsageError
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from fputrace.events import EventFormat, Trace

GENERATIONS = ("G0", "G1", "G2", "G2x", "G3", "G4a", "G4x", "G4b", "G4c", "G4d", "G5", "G6")
"""Ascending; docs/generations.md tells what each is."""

TITLES: Mapping[str, str] = {
    "G0": "up to 4.13: lazy or eager FPU, event text has fpregs_active",
    "G1": "4.14.0-4.14.93: KVM puts the guest FPU at every sched-out",
    "G2": "4.15-4.20, 4.14.94+, 5.1.21: swapped once per KVM_RUN, user image in arch.user_fpu",
    "G2x": "4.14.94 and a few after: G2 with a duplicate kvm_load_guest_fpu()",
    "G3": "5.0.0-5.1.20: user image left in current->thread.fpu (240c35a3783a)",
    "G4a": "5.2.0-5.2.3: deferred load, user image still in current->thread.fpu",
    "G4x": "5.2.4: as G4a with the user image back in vcpu->arch.user_fpu",
    "G4b": "5.2.5-5.4.18, 5.5.0-5.5.2: reload in kvm_arch_vcpu_load()",
    "G4c": "5.4.19+, 5.5.3-5.10: reload in vcpu_enter_guest(), after kvm_entry",
    "G4d": "5.11-5.15: kvm_entry printed after the reload",
    "G5": "5.16-6.15: fpu_swap_kvm_fpstate() swaps fpu->fpstate",
    "G6": "6.16 and later: switch_fpu() sets TIF_NEED_FPU_LOAD at switch-out",
}

EAGER = frozenset({"G0", "G1", "G2", "G2x", "G3"})
DEFERRED = frozenset(GENERATIONS) - EAGER

Release = tuple[int, int, int]


class Range(PlainTuple):
    """Upstream releases first..last (inclusive) belong to ``code``."""

    first: Release
    last: Release
    code: str


_END = 9999
UPSTREAM: tuple[Range, ...] = (
    # Borders read in source or announcements, reference 0.2.
    Range((0, 0, 0), (4, 13, _END), "G0"),
    Range((4, 14, 0), (4, 14, 93), "G1"),
    Range((4, 14, 94), (4, _END, _END), "G2"),
    Range((5, 0, 0), (5, 1, 20), "G3"),
    Range((5, 1, 21), (5, 1, _END), "G2"),
    Range((5, 2, 0), (5, 2, 3), "G4a"),
    Range((5, 2, 4), (5, 2, 4), "G4x"),
    Range((5, 2, 5), (5, 4, 18), "G4b"),
    Range((5, 4, 19), (5, 4, _END), "G4c"),
    Range((5, 5, 0), (5, 5, 2), "G4b"),
    Range((5, 5, 3), (5, 10, _END), "G4c"),
    Range((5, 11, 0), (5, 15, _END), "G4d"),
    Range((5, 16, 0), (6, 15, _END), "G5"),
    Range((6, 16, 0), (_END, _END, _END), "G6"),
)

_RANK: Mapping[str, int] = {
    # For a vendor's lower bound: generations a vendor kernel of the same base may be.  5.0-5.2
    # with any suffix may or may not carry the revert ec269475cba7.
    "G0": 0, "G1": 1, "G2": 2, "G2x": 2, "G3": 2, "G4a": 3, "G4x": 3, "G4b": 4, "G4c": 5,
    "G4d": 6, "G5": 7, "G6": 8,
}  # fmt: skip

_RELEASE = re.compile(r"^(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(.*)$", re.DOTALL)


class Known(PlainTuple):
    """What a release string says: the upstream code, and how much it binds."""

    code: str
    bound: str  # "exact", "lower" or "none"


def read_version(release: str) -> Release | None:
    """The three numbers of a release string, whatever follows them; None when it is no release."""
    match = _RELEASE.match(release.strip())
    return match and (int(match[1]), int(match[2]), int(match[3] or 0))


def read_release(release: str) -> Known | None:
    """Upstream generation of a release string, or None when it is no release."""
    match = _RELEASE.match(release.strip())
    version = read_version(release)
    if match is None or version is None:
        return None
    suffix = match[4]
    code = next((r.code for r in UPSTREAM if r.first <= version <= r.last), "G6")
    if suffix == "":
        return Known(code, "exact")
    if suffix.startswith("-rc") or suffix == "+":
        return Known(code, "none")
    return Known(code, "lower")


_ENOUGH = 3
"""Occurrences from which on a sequence other kernels print by chance counts as a habit."""


class Struck(PlainTuple):
    """One piece of evidence and the generations it contradicts."""

    codes: frozenset[str]
    why: str
    weak: bool = False
    """A habit, not a contradiction: it strikes no generation that an upstream release names."""


def _except(*kept: str) -> frozenset[str]:
    return frozenset(GENERATIONS) - frozenset(kept)


def by_formats(trace: Trace, formats: Mapping[str, EventFormat] | None = None) -> list[Struck]:
    """What the event formats and symbols of a recording contradict; ``formats`` as for decide()."""
    formats = trace.formats if formats is None else formats
    out: list[Struck] = []

    def fields(key: str) -> set[str]:
        found = formats.get(key)
        return {f.name for f in found.fields} if found else set()

    def lacks(key: str, name: str) -> bool:
        """Whether the kernel's event has no such field: a text need not show all there are."""
        found = formats.get(key)
        return (
            found is not None and found.complete and bool(found.fields) and name not in fields(key)
        )

    fpu: set[str] = set()
    for key in formats:
        if key.startswith("x86_fpu:"):
            fpu |= fields(key)
    if "fpregs_active" in fpu:
        out.append(Struck(_except("G0"), "x86_fpu events print fpregs_active: 4.13 or older"))
    elif "initialized" in fpu:
        out.append(
            Struck(_except("G1", "G2", "G2x", "G3"), "x86_fpu events print initialized: 4.14-5.1")
        )
    elif "load_fpu" in fpu:
        out.append(Struck(EAGER, "x86_fpu events print load_fpu: 5.2 or later"))
    entry = fields("kvm:kvm_entry")
    if lacks("kvm:kvm_entry", "rip"):
        out.append(Struck(frozenset({"G4d", "G5", "G6"}), "kvm_entry has no rip: before 5.10"))
    elif "rip" in entry:
        out.append(
            Struck(frozenset({"G3", "G4a", "G4x", "G4b"}), "kvm_entry has rip: 5.10 or later")
        )
    if "error_code" in entry:
        out.append(Struck(_except("G5", "G6"), "kvm_entry has error_code: 6.14 or later"))
    leave = fields("kvm:kvm_exit")
    if "vcpu_id" in leave:
        out.append(Struck(frozenset({"G3", "G4a", "G4x"}), "kvm_exit has vcpu_id: 5.4 or later"))
    elif lacks("kvm:kvm_exit", "vcpu_id"):
        out.append(Struck(frozenset({"G4d", "G5", "G6"}), "kvm_exit has no vcpu_id: before 5.4"))
    if trace.symbols.get("kernel_fpu_end"):
        if trace.symbols.get("fpu_swap_kvm_fpstate"):
            out.append(
                Struck(_except("G5", "G6"), "kallsyms has fpu_swap_kvm_fpstate: 5.16 or later")
            )
        else:
            out.append(
                Struck(frozenset({"G5", "G6"}), "kallsyms lacks fpu_swap_kvm_fpstate: before 5.16")
            )
        if trace.symbols.get("switch_fpu_return"):
            out.append(Struck(EAGER, "kallsyms has switch_fpu_return: 5.2 or later"))
    return out


def by_sequences(seen: Mapping[str, int]) -> list[Struck]:
    """What observed event sequences contradict; ``seen`` counts them (replay.layout.Seen names)."""
    out: list[Struck] = []

    def n(name: str) -> int:
        return seen.get(name, 0)

    zero, one = n("OUT_SAVE_FLAG_0"), n("OUT_SAVE_FLAG_1")
    if zero > one:
        out.append(Struck(frozenset({"G6"}), f"{zero} switch-out saves print load: 0"))
    elif one > zero:
        out.append(Struck(DEFERRED - {"G6"}, f"{one} switch-out saves print load: 1"))
    unloads, kept = n("UNLOAD_IN_WINDOW"), n("OUT_WHILE_LOADED")
    if unloads and unloads >= kept:
        out.append(
            Struck(
                frozenset({"G2", "G2x", "G3"}), f"{unloads} kvm_fpu unloads inside a switch window"
            )
        )
    elif kept > 1:
        out.append(Struck(frozenset({"G1"}), f"{kept} vCPU sched-outs keep the guest loaded"))
    late, early = n("USER_EXIT_WHILE_LOADED"), n("USER_EXIT_WHILE_OUT")
    if late > early:
        out.append(
            Struck(frozenset({"G2", "G2x", "G3"}), f"{late} kvm_userspace_exit before the unload")
        )
    elif early > late:
        out.append(Struck(frozenset({"G1"}), f"{early} kvm_userspace_exit after the unload"))
    # A reload that directly follows kvm_entry cannot come from later kernels, whose reload is over
    # by then (needs kvm_exit, or a reload on the way to user mode would look the same).  One right
    # before kvm_entry may be the emulator's (kvm_fpu_get()) in any of them.
    after, before = n("RELOAD_AFTER_ENTRY"), n("RELOAD_BEFORE_ENTRY")
    if after >= _ENOUGH and n("EXITS"):
        out.append(
            Struck(
                frozenset({"G4b", "G4d", "G5", "G6"}),
                f"{after} reloads right after kvm_entry",
                True,
            )
        )
    elif before >= _ENOUGH and not after:
        out.append(
            Struck(
                frozenset({"G4a", "G4x", "G4c"}),
                f"{before} reloads right before kvm_entry, none after one",
                weak=True,
            )
        )
    if n("DOUBLE_LOAD") < 2:
        out.append(Struck(frozenset({"G2x"}), ""))
    return out


class Decision(PlainTuple):
    """Candidates left, whether that is a decision, and the evidence in words."""

    candidates: tuple[str, ...]
    decided: bool
    forced: bool
    evidence: tuple[str, ...]

    @property
    def code(self) -> str | None:
        """The generation, when decided."""
        return self.candidates[0] if self.decided else None


def decide(
    trace: Trace,
    seen: Mapping[str, int],
    *,
    kernel: str | None = None,
    generation: str | None = None,
    formats: Mapping[str, EventFormat] | None = None,
) -> Decision:
    """Decide a trace's generation from its formats, what was seen in it, and its release.

    ``kernel`` stands for the recording's own release; ``generation`` forces the answer;
    ``formats`` for the trace's, while a reader adds to those.  Raises UsageError for an unknown
    code, or one that the formats contradict.
    """
    contradicted = by_formats(trace, formats)
    if generation is not None:
        if generation not in GENERATIONS:
            raise UsageError(
                f"--generation: there is no generation {generation!r}",
                hint="Generations: " + ", ".join(GENERATIONS) + ".",
            )
        against = [s.why for s in contradicted if generation in s.codes and s.why]
        if against:
            raise UsageError(
                f"--generation {generation} contradicts the formats in {trace.path}: {against[0]}",
                hint="Leave --generation away, or give one that fits.",
            )
        return Decision((generation,), True, True, (f"forced to {generation}",))

    left = list(GENERATIONS)
    evidence: list[str] = []
    release = kernel or trace.kernel
    known = read_release(release) if release else None
    named = known.code if known is not None and known.bound == "exact" else ""
    for struck in [*contradicted, *by_sequences(seen)]:
        if struck.weak and named in struck.codes:
            continue
        remaining = [g for g in left if g not in struck.codes]
        if not remaining:
            evidence.append(f"{struck.why}: contradicts the rest, ignored")
            continue
        if struck.why and len(remaining) < len(left):
            evidence.append(struck.why)
        left = remaining
    if known is None:
        evidence.append(
            "no kernel release in the recording"
            if not release
            else f"release {release!r} says nothing"
        )
    else:
        left, said = _choose(left, known, str(release))
        evidence.append(said)
    return Decision(tuple(left), len(left) == 1, False, tuple(evidence))


def _choose(left: Sequence[str], known: Known, release: str) -> tuple[list[str], str]:
    """Let a release choose among the survivors."""
    if known.bound == "none":
        return list(left), f"release {release} is somebody's tree: no bound"
    if known.bound == "exact":
        if known.code == "G2" and "G2x" in left and release.startswith("4.14."):
            return ["G2x"], f"release {release} is upstream: G2, with double loads"
        if known.code in left:
            return [known.code], f"release {release} is upstream: {known.code}"
        return list(left), f"release {release} would be {known.code}, which the trace contradicts"
    chosen = [g for g in left if _RANK[g] >= _RANK[known.code]]
    if release.startswith("4.") and ".el" not in release:
        # 240c35a3783a, which makes G3, shrank a structure in 5.0 and was reverted; only rebases of
        # the whole of KVM (RHEL's) could have carried it to an older base.
        chosen = [g for g in chosen if g != "G3"]
    if not chosen:
        return list(
            left
        ), f"release {release} is at least {known.code}, which the trace contradicts"
    return chosen, f"release {release} is at least {known.code}"


def evidence_for_all(codes: Sequence[str]) -> str:
    """``G2 (…) or G3 (…)`` for messages."""
    return " or ".join(f"{code} ({TITLES[code].split(':')[0]})" for code in codes)
