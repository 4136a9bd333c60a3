"""Rules, findings, coverage: what a check says, as plain values that reports render."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from fputrace.plain import PlainTuple, plain
from fputrace.timeline import Fact

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fputrace.events import Loss, Trace
    from fputrace.pricing import TraceCosts
    from fputrace.pyramid import Overview
    from fputrace.timeline import Span, Timeline


class Severity(str, Enum):
    """Ordered as reports list them."""

    ERROR = "error"
    PERFORMANCE = "performance"
    TRACE = "trace"
    INFO = "info"


class Verdict(str, Enum):
    """Whether the events prove it, or another reading of them exists."""

    CONFIRMED = "confirmed"
    POSSIBLE = "possible"


class Status(str, Enum):
    """Whether this trace could answer a rule."""

    CHECKED = "checked"
    PARTLY = "partly"
    NOT_DECIDABLE = "not-decidable"
    NOT_APPLICABLE = "not-applicable"


class Rows(PlainTuple):
    """Events the replay found notable, for a rule's ``check``: int64 arrays of equal length.

    ``facts``: :class:`~fputrace.timeline.Fact` bits.  ``xfeatures``: of the event itself, or of
    the task's last switch-out save where the event has none.
    """

    facts: NDArray[np.int64]
    xfeatures: NDArray[np.int64]

    def show(self, facts: Fact) -> NDArray[np.bool_]:
        """Rows that show any of these facts."""
        shown: NDArray[np.bool_] = (self.facts & int(facts)) != 0
        return shown


class Check(PlainTuple):
    """A rule's answer: which rows are proof, and which only fit (bool arrays)."""

    confirmed: NDArray[np.bool_]
    possible: NDArray[np.bool_]


_NOTHING = Fact(0)
_NO_PROOF = Fact.BY_NAME | Fact.UNTOLD


def verdicts(rows: Rows, confirmed: Fact = _NOTHING, possible: Fact = _NOTHING) -> Check:
    """Rows with a ``confirmed`` fact are proof; others with a ``possible`` fact only fit.

    Where only an event's name says which function its probe sits on, or a filter may have left out
    what is missing, nothing is proof.
    """
    proof = rows.show(confirmed) & ~rows.show(_NO_PROOF)
    return Check(proof, rows.show(confirmed | possible) & ~proof)


class Step(PlainTuple):
    """One step of a proof: which kept event shows it and what it means.

    ``event``: "event" (the row itself), "own" (last acquisition on the CPU), "switch" (of the
    task's last switch-out save), "begin" and "end" (of the last kernel FPU section on the CPU),
    "swap" (the task's last fpu_swap_kvm_fpstate), "saved" (its last save by probe), "in" (the
    sched_switch that brought the task in), "kvm" (its last kvm_fpu), "save" (its last switch-out
    save), "entry" (its last kvm_entry), "acted" (its last activation), "next" (the event that
    settled it); or "" for a step no event shows: then ``name`` is the kernel function that must
    have run.
    """

    event: str
    role: str
    name: str = ""


@plain(frozen=True)
class Case:
    """What a rule's message may speak of."""

    comm: str
    pid: int
    vcpu: int | None
    count: int
    owner: str
    """Who acquired the registers last, in words."""
    facts: Fact
    verdict: Verdict
    generation: str
    """The generations judged by, in words."""

    @property
    def times(self) -> str:
        """``count`` as a sentence says it."""
        return "once" if self.count == 1 else f"{self.count} times"

    @property
    def stays(self) -> str:
        """``count`` stays on a CPU, as a sentence says it."""
        return "one stay on a CPU" if self.count == 1 else f"{self.count} stays on a CPU"


class Frame(PlainTuple):
    """A function in a chain of calls, ``depth`` calls below the first.

    ``event``: the :class:`Step` whose event shows that it ran, "" where that is inferred.
    ``does``: what it moves from where to where, "" where it only calls the next.
    """

    depth: int
    function: str
    event: str = ""
    does: str = ""


class Buffer(PlainTuple):
    """A place in memory that a fault overwrote: what it ``held``, what it ``gets``, and which later
    step (``reader``) takes that for what it held.
    """

    name: str
    held: str
    gets: str
    reader: str


class Chain(PlainTuple):
    """How the kernel came to do it, as calls, and what was overwritten by that."""

    frames: tuple[Frame, ...]
    buffer: Buffer | None = None


class Route(PlainTuple):
    """One way to see what a rule looks for: in which generations, and what must be recorded.

    ``needs``: as ``Rule.needs``.  ``shows``: what only this way shows, as part of a sentence: "what
    the kernel's own use of the registers did is not seen".
    """

    generations: frozenset[str]
    needs: tuple[str, ...]
    shows: str = ""


ANY = ~Fact(0)
"""Every fact, in ``Rule.shown_again``."""


@plain(frozen=True)
class Rule:
    """One rule: what it asks for and what it says.  Its page is the docstring of its module.

    ``check`` is asked once per candidate generation; the verdicts are combined (all confirm:
    confirmed; some: possible).  ``needs``: events without which it cannot answer, each
    "system:name", "probe:FUNCTION" (a probe on it, whatever its name) or "argument:fpstate" (a
    save's destination), alternatives joined with "|".  ``generations``: where it holds.
    ``by_design``: where what tracepoints show is normal.  ``routes``: ways to see the fault, when
    there are several or not all generations have the same.
    ``shown_again``: facts that rest on the absence of an event, with the kind of event
    ("regs_activated", "kvm_fpu", "save probe") the CPU must show later, and the task itself at some
    time (a filter may leave out all of a task); several joined with "+".
    ``one_cpu``: proven by the order on one CPU alone, so that no
    global clock is needed.  ``core``: generations in which it is a core rule (exit status 3).
    """

    code: str
    name: str
    severity: Severity
    title: str
    generations: frozenset[str]
    needs: tuple[str, ...]
    facts: Fact
    check: Callable[[Rows, str], Check]
    proof: tuple[Step, ...]
    say: Callable[[Case], str]
    by_design: frozenset[str] = frozenset()
    routes: tuple[Route, ...] = ()
    shown_again: tuple[tuple[Fact, str], ...] = ()
    one_cpu: bool = False
    by_absence: bool = False
    """Rests on the absence of an event although nothing is awaited again."""
    core: frozenset[str] = frozenset()
    vcpu_only: bool = False
    """Speaks of vCPU threads: not applicable where none ran."""
    price: Callable[[Rows], NDArray[np.bool_]] | None = None
    """Rows that cost something: each of their occurrences what ``moves`` says."""
    moves: tuple[int, int] = (1, 1)
    """Saves and restores that a priced occurrence costs."""
    unrestored: Fact = _NOTHING
    """Priced rows that show one of these cost their saves alone."""
    components: int = -1
    """Bits of xfeatures: only what these add is the price."""
    costs_only: bool = False
    """A normal cost and no finding, unless costs are asked for."""
    excuses: tuple[str, ...] = ()
    """Events that would make the sequence innocent: they must have been recorded, seen or not."""
    other_reading: str = ""
    """What a ``possible`` of this rule may be instead."""
    chain: Callable[[Case], Chain] | None = None
    """The calls behind one occurrence; its ``Case.facts`` are of that one alone."""

    @property
    def rests_on_absence(self) -> bool:
        """Whether a lost event could make its sequence: silence where losses are hidden."""
        return self.by_absence or bool(self.shown_again)


class TraceFacts(PlainTuple):
    """What the rules about the trace itself (FPU901-906) judge."""

    trace: Trace
    losses: Sequence[Loss]
    gaps: int
    candidates: tuple[str, ...]
    decided: bool
    missing: tuple[str, ...]
    unread: frozenset[str]
    """Events of a text whose lines are there, but not their fields."""
    to_read: str
    """What to do about those."""
    to_keep: str
    """What to do about losses."""
    bad_flags: int


class TraceRule(PlainTuple):
    """A rule about the recording: says a sentence and how often, or nothing."""

    code: str
    name: str
    title: str
    check: Callable[[TraceFacts], tuple[str, int] | None]
    severity: Severity = Severity.TRACE


@plain(frozen=True)
class WitnessEvent:
    """One event of a proof.  ``role`` says what it proves; ``inferred`` marks a step that no event
    shows (then ``name`` is the kernel function that must have run, and ``fields`` is empty).
    """

    ns: int
    cpu: int
    pid: int
    comm: str
    name: str
    fields: dict[str, Any]
    role: str
    inferred: bool = False
    step: str = ""
    """``Step.event`` of the step it is."""


@plain(frozen=True)
class Witness:
    """One occurrence of a finding: when and where, its events in time order, the spans around it of
    every CPU (for the drawing; empty when they were not kept), and the calls behind it.
    """

    ns: int
    cpu: int
    events: tuple[WitnessEvent, ...]
    spans: Sequence[Span] = ()
    chain: Chain | None = None


class Cost(PlainTuple):
    """Estimated price: bytes moved and ns spent, with where the price comes from."""

    bytes: int
    ns: int
    source: str = ""


class Releases(PlainTuple):
    """Upstream releases ``first``..``last``, both included; 9999 is whatever came last.

    ``all_of_them``: False where some of them have a fix and which is not known.
    """

    first: tuple[int, int, int]
    last: tuple[int, int, int]
    all_of_them: bool = True

    def __str__(self) -> str:
        first, last = self.first, self.last
        begin = ".".join(map(str, first if first[2] else first[:2]))
        end = ".".join(str(number) for number in last if number < 9999)
        if first == last:
            text = begin
        elif first == (0, 0, 0):
            text = f"up to {end}"
        elif first[:2] == last[:2] and not first[2]:
            text = begin if last[2] == 9999 else f"{begin} up to {end}"
        else:
            text = f"{begin} to {end}"
        return text if self.all_of_them else f"some of {text}"


class Fix(PlainTuple):
    """A commit that mends a known bug, "" where only its subject is known, and where it is."""

    commit: str
    subject: str
    releases: tuple[str, ...]
    mostly: bool = False
    """It leaves a part of the bug; a later one mends that."""


class KnownBug(PlainTuple):
    """A bug that Linux shipped (``docs/bugs/<id>.md``); ``fputrace.knownbugs`` has them all.

    ``commit``: the first bad one, "" where it was the design, which ``subject`` then names.
    ``unless``: an event whose presence in a proof says that it is another bug.
    """

    id: str
    title: str
    commit: str
    subject: str
    fixes: tuple[Fix, ...]
    affected: tuple[Releases, ...]
    codes: frozenset[str]
    generations: frozenset[str]
    condition: str = ""
    """What a host must have besides, in words that follow "only"."""
    unless: str = ""

    @property
    def called(self) -> str:
        """``240c35a3783a``, or in words what has no commit."""
        return self.commit or self.subject

    @property
    def where(self) -> str:
        """``5.0, 5.1 up to 5.1.20, 5.2 up to 5.2.3``."""
        where = ", ".join(map(str, self.affected))
        return f"{where}, {self.condition}" if self.condition else where

    @property
    def mended(self) -> str:
        """``ec269475cba7 in 5.3-rc2, 5.2.4 and 5.1.21``; several, one after the other."""
        return ", and by ".join(
            f"{fix.commit or chr(34) + fix.subject + chr(34)} in {_and(fix.releases)}"
            f"{' for the most part' if fix.mostly else ''}"
            for fix in self.fixes
        )


class LooksLike(PlainTuple):
    """What a finding resembles; ``doubt`` says why it need not be, "" where nothing speaks
    against it.
    """

    bug: KnownBug
    doubt: str = ""

    @property
    def sentence(self) -> str:
        """``looks like 240c35a3783a; affected 5.0, ...; fixed by ec269475cba7 in ...``."""
        bug = self.bug
        like = f"may be {bug.called} ({self.doubt})" if self.doubt else f"looks like {bug.called}"
        return f"{like}; affected {bug.where}; fixed by {bug.mended}"

    @property
    def commits(self) -> list[str]:
        """Every commit it speaks of, as the kernel's own changelogs name one."""
        known = [
            (self.bug.commit, self.bug.subject),
            *((f.commit, f.subject) for f in self.bug.fixes),
        ]
        return [f'{commit} ("{subject}")' for commit, subject in known if commit]


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


@plain
class Finding:
    """What one rule says of one task: ``count`` hits with this verdict (design, section 4)."""

    code: str
    name: str
    severity: Severity
    verdict: Verdict
    count: int
    pid: int | None
    comm: str | None
    vcpu: int | None
    tgid: int | None
    cpus: tuple[int, ...]
    first_ns: int | None
    last_ns: int | None
    message: str
    witnesses: tuple[Witness, ...] = ()
    cost: Cost | None = None
    vm: str | None = None
    """How reports call the VM this vCPU thread belongs to, where the trace tells it."""
    known: tuple[LooksLike, ...] = ()
    """Bugs that Linux shipped and this may be."""


class Fingerprint(PlainTuple):
    """What a finding keeps from run to run."""

    code: str
    comm: str
    vcpu: int | None


def fingerprint(finding: Finding) -> Fingerprint:
    """The parts that survive another run; numbers in the task's name are not among them."""
    return Fingerprint(finding.code, re.sub(r"\d+", "N", finding.comm or ""), finding.vcpu)


class Findings(list[Finding]):
    """A list of findings that can become a DataFrame."""

    def to_pandas(self) -> pd.DataFrame:
        """One row a finding, the columns of :class:`Finding` without witnesses, cost and known."""
        import pandas as pd

        left_out = ("witnesses", "cost", "known")
        columns = [f.name for f in fields(Finding) if f.name not in left_out]
        rows = [
            [v.value if isinstance(v, Enum) else v for v in (getattr(f, c) for c in columns)]
            for f in self
        ]
        return pd.DataFrame(rows, columns=columns)


@plain(frozen=True)
class Coverage:
    """Whether the trace could answer one rule, what is missing, and why."""

    code: str
    name: str
    status: Status
    missing: tuple[str, ...]
    why: str


def in_words(needs: Iterable[str]) -> str:
    """Needs of a rule (``Rule.needs``) as a reader says them: ``a and b``, either of which may be
    one of several.
    """
    return ", and ".join(_need(need) for need in needs)


def _need(need: str) -> str:
    if need == "argument:fpstate":
        return "a save's fpstate among the arguments its probe fetched"
    ways = need.split("|")
    events = [way for way in ways if not way.startswith("probe:")]
    probes = [way.removeprefix("probe:") for way in ways if way.startswith("probe:")]
    return " or ".join([*events, *([f"a probe on {' or '.join(probes)}"] if probes else [])])


@plain(frozen=True)
class GenerationResult:
    """The generation a trace was judged by (docs/generations.md)."""

    code: str | None
    decided: bool
    forced: bool
    candidates: tuple[str, ...]
    evidence: tuple[str, ...]


class Suppressed(PlainTuple):
    """Findings of one rule that were left out of a report, and why: never silently.

    ``left_out``: the findings themselves, for the formats that show them as what they are.
    """

    code: str
    reason: str
    findings: int
    occurrences: int
    left_out: tuple[Finding, ...] = ()


class RuleInfo(PlainTuple):
    """What reports tell of a rule; ``page``: its documentation (Markdown), "" of a plugin's."""

    code: str
    name: str
    severity: Severity
    title: str
    page: str


@plain
class Analysis:
    """Everything one trace gave: what ``analyze`` prints and ``fputrace.analyze`` returns."""

    trace: Trace
    generation: GenerationResult
    findings: Findings
    coverage: list[Coverage]
    losses: list[Loss]
    record: str | None
    timeline: Timeline
    notes: list[str] = field(default_factory=list)
    """Sentences for the reader: no FPU events, no vCPU, a guest's trace, … with what to do."""
    costs: TraceCosts | None = None
    """What saves and restores cost, where that was asked for."""
    sha256: str | None = None
    left_out: tuple[str, ...] = ()
    """Codes of rules that were not selected: they were not run."""
    hidden: int = 0
    """Findings that a view of tasks, CPUs or times leaves out."""
    suppressed: tuple[Suppressed, ...] = ()
    """What a configuration or a baseline took out of ``findings``."""
    windowed: bool = False
    """The view is a window of time; counts of findings are of the whole trace all the same."""
    release: str | None = None
    """The release judged by: the recording's own, or what ``--kernel`` said."""
    record_trace_cmd: str | None = None
    """``record`` for trace-cmd, as far as that goes: it makes no probes."""
    rules: tuple[RuleInfo, ...] = ()
    """The catalogue that ``coverage`` has a row of each of, plugins included."""
    overview: Overview | None = None
    """What a page draws, where it was asked for (:func:`fputrace.overview.overview`)."""

    def to_pandas(self) -> pd.DataFrame:
        """The findings as a DataFrame, see :meth:`Findings.to_pandas`."""
        return self.findings.to_pandas()

    def _repr_html_(self) -> str:
        """What Jupyter shows of it: verdict, findings, and the timeline as a drawing."""
        from fputrace.reports.notebook import fragment

        return fragment(self)
