"""What the reports of ``analyze`` say, in their order and words, before any layout.

Strings made here hold text from the trace as it is; whoever lays them out escapes them (module
``escape``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from fputrace.findings import Severity, Status, Verdict, in_words
from fputrace.generation import TITLES
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from fputrace.events import Loss, Trace
    from fputrace.findings import Analysis, Coverage, Finding, Witness

HEADINGS = {
    Severity.ERROR: "Errors",
    Severity.PERFORMANCE: "Performance",
    Severity.TRACE: "About the trace",
    Severity.INFO: "Information",
}
STATUS_WORDS = {
    Status.CHECKED: "checked",
    Status.PARTLY: "partly checked",
    Status.NOT_DECIDABLE: "not decidable",
    Status.NOT_APPLICABLE: "not applicable",
}
CHAINS = frozenset({"FPU101", "FPU201"})
"""Rules whose proof is one chain of calls, each step leading to the next."""

_ABOUT_TRACE = "FPU9"
_PROOFS_PER_GROUP = 3
_ROWS_PER_GROUP = 20
_LOSSES_SHOWN = 5


class Clock(PlainTuple):
    """How times of a trace are written: a clock that does not count ns never as seconds."""

    name: str | None
    in_ns: bool

    def at(self, time: int | None) -> str:
        """A point in time: ``3.436146 s``, or ``1234567 x86-tsc ticks``."""
        if time is None:
            return "unknown"
        if not self.in_ns:
            return f"{time} {self.name or 'clock'} ticks"
        return f"{_decimal(time, 1000, 6)} s"

    def length(self, time: int) -> str:
        """A stretch of time, in the unit that suits it."""
        if not self.in_ns:
            return f"{time} {self.name or 'clock'} ticks"
        if time < 1_000_000:
            return f"{_decimal(time, 1, 3)} us"
        if time < 1_000_000_000:
            return f"{_decimal(time, 1000, 3)} ms"
        return f"{_decimal(time, 1000, 6)} s"

    def after(self, time: int, first: int) -> str:
        """A time relative to ``first``: ``+12.345 us``, or ``+678 ticks``."""
        sign, distance = ("+", time - first) if time >= first else ("-", first - time)
        return f"{sign}{_decimal(distance, 1, 3)} us" if self.in_ns else f"{sign}{distance} ticks"


def _decimal(value: int, divide: int, places: int) -> str:
    """``value / divide`` rounded, with the point before the last ``places`` digits."""
    sign = "-" if value < 0 else ""
    whole, rest = divmod((abs(value) + divide // 2) // divide, 10**places)
    return f"{sign}{whole}.{rest:0{places}d}"


def clock_of(trace: Trace) -> Clock:
    """How this trace's times are written."""
    return Clock(trace.clock, trace.clock_in_ns)


def task(comm: str | None, pid: int | None) -> str:
    """``comm-pid``, as trace-cmd and the kernel's trace file write a task."""
    if pid is None:
        return comm or ""
    return f"{comm or '<...>'}-{pid}"


class Row(PlainTuple):
    """A labelled value; several lines where the value is a list."""

    label: str
    lines: list[str]


def head(analysis: Analysis) -> list[Row]:
    """What was looked at."""
    trace, clock = analysis.trace, clock_of(analysis.trace)
    host = f" on {trace.host}" if trace.host else ""
    evidence = [f"- {line}" for line in analysis.generation.evidence]
    rows = [
        Row("File", [trace.path]),
        Row("Format", [trace.format]),
        Row("Kernel", [f"{trace.kernel or 'not recorded'}{host}"]),
        Row("Generation", [generation(analysis), *evidence]),
        Row("CPUs", [cpus(trace.cpus)]),
        Row("Time span", time_span(trace, clock)),
        Row("Events", [number(sum(trace.counts.values()))]),
        Row("Losses", losses(analysis.losses, trace, clock)),
        *limits(trace),
    ]
    if analysis.sha256:
        rows.insert(1, Row("SHA-256", [analysis.sha256]))
    return rows


def generation(analysis: Analysis) -> str:
    """The generation in a few words, or what it may be."""
    found = analysis.generation
    if found.forced or found.decided:
        code = found.code or ""
        words = f": {TITLES[code]}" if code in TITLES else ""
        return f"{code}{', forced' if found.forced else ''}{words}"
    if not found.candidates:
        return "undecided: nothing in the trace tells"
    return f"undecided: {either(found.candidates)}"


def time_span(trace: Trace, clock: Clock) -> list[str]:
    """How long the trace is, and from when to when."""
    if trace.first_ns is None or trace.last_ns is None:
        return ["no events"]
    name = f", clock {trace.clock}" if trace.clock and clock.in_ns else ""
    length = clock.length(trace.last_ns - trace.first_ns)
    return [f"{length}, from {clock.at(trace.first_ns)} to {clock.at(trace.last_ns)}{name}"]


def limits(trace: Trace) -> list[Row]:
    """What this form of recording cannot tell; no row where it tells everything."""
    sentences = [f"- {sentence}" for sentence in dict.fromkeys(trace.limits)]
    return [Row("Not told", sentences)] if sentences else []


def losses(rows: Sequence[Loss], trace: Trace, clock: Clock) -> list[str]:
    """How many events are missing and where; the first few places."""
    if not rows:
        return ["none" if trace.losses_known else "this recording cannot tell"]
    known = sum(row.count or 0 for row in rows)
    uncounted = sum(row.count is None for row in rows)
    amount = plural(known, "event") if known else "an unknown number of events"
    if known and uncounted:
        amount += ", and more that nobody counted,"
    lines = [f"{amount} in {plural(len(rows), 'place')}"]
    lines += [f"- {loss(row, clock)}" for row in rows[:_LOSSES_SHOWN]]
    if len(rows) > _LOSSES_SHOWN:
        lines.append(f"- and {number(len(rows) - _LOSSES_SHOWN)} more")
    if not trace.losses_known:
        lines.append("- and this recording need not tell of all of them")
    return lines


def loss(row: Loss, clock: Clock) -> str:
    """One hole: how much, where and when."""
    amount = "an unknown number of events" if row.count is None else plural(row.count, "event")
    where = "a CPU that is not told" if row.cpu is None else f"CPU {row.cpu}"
    if row.after_ns is not None and row.before_ns is not None:
        when = f" between {clock.at(row.after_ns)} and {clock.at(row.before_ns)}"
    elif row.after_ns is not None:
        when = f" after {clock.at(row.after_ns)}"
    elif row.before_ns is not None:
        when = f" before {clock.at(row.before_ns)}"
    else:
        when = ", time unknown"
    kind = "damaged" if row.severity == "damaged" else "lost"
    return f"{amount} {kind} on {where}{when} ({row.where})"


def notes(analysis: Analysis) -> list[str]:
    """Sentences a reader should know before the findings, each once."""
    left_out = [
        f"Left out: {row.code}, {plural(row.findings, 'finding')}, "
        f"{plural(row.occurrences, 'time')}: {row.reason}."
        for row in analysis.suppressed
    ]
    return list(dict.fromkeys([*analysis.notes, *analysis.trace.notes, *left_out]))


class Group(PlainTuple):
    """The findings of one severity: those with a proof, and those of which a line must do."""

    severity: Severity
    proved: list[Finding]
    listed: list[Finding]
    hidden: int


def groups(findings: Iterable[Finding], verbose: bool) -> list[Group]:
    """By severity, then code, then count; a few tasks of each code and verdict unless verbose."""
    found: list[Group] = []
    ordered = sorted_findings(findings)
    for severity in Severity:
        group = Group(severity, [], [], 0)
        hidden = 0
        seen: dict[tuple[str, Verdict], int] = {}
        for finding in (f for f in ordered if f.severity is severity):
            place = seen[finding.code, finding.verdict] = (
                seen.get((finding.code, finding.verdict), 0) + 1
            )
            if verbose or place <= _PROOFS_PER_GROUP:
                group.proved.append(finding)
            elif place <= _ROWS_PER_GROUP:
                group.listed.append(finding)
            else:
                hidden += 1
        if group.proved:
            found.append(group._replace(hidden=hidden))
    return found


def shown_witnesses(groups: Iterable[Group], verbose: bool) -> list[Witness]:
    """The proofs a report draws."""
    proved = [finding for group in groups for finding in group.proved]
    return [finding.witnesses[i] for finding in proved for i in shown_proofs(finding, verbose)]


def shown_proofs(finding: Finding, verbose: bool) -> list[int]:
    """Which of its proofs are shown: all, or the one of fewest events and then of least time."""

    def length(index: int) -> tuple[int, int]:
        recorded = [event.ns for event in finding.witnesses[index].events if not event.inferred]
        return len(recorded), max(recorded, default=0) - min(recorded, default=0)

    every = range(len(finding.witnesses))
    return list(every) if verbose else sorted(every, key=length)[:1]


def sorted_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first; then by code, confirmed before possible, many before few."""
    severities, verdicts = list(Severity), list(Verdict)
    return sorted(
        findings,
        key=lambda f: (
            severities.index(f.severity),
            f.code,
            verdicts.index(f.verdict),
            -f.count,
            -1 if f.pid is None else f.pid,
        ),
    )


def title(finding: Finding, windowed: bool = False) -> str:
    """Rule, verdict and count."""
    return f"{finding.code} {finding.name}: {finding.verdict.value}, {times(finding, windowed)}"


def times(finding: Finding, windowed: bool) -> str:
    """How often; ``windowed`` where only a window of time is shown, which counts never are of."""
    whole = " (in the whole trace)" if windowed and finding.count > 1 else ""
    return f"{plural(finding.count, 'time')}{whole}"


def one_line(finding: Finding, windowed: bool = False) -> str:
    """A finding without its proof."""
    who = f", {subject(finding)}" if subject(finding) else ""
    return f"{title(finding, windowed)}{who}"


def subject(finding: Finding) -> str:
    """Whose finding it is: task, vCPU and VM, as far as the trace tells."""
    parts = [task(finding.comm, finding.pid)] if finding.comm or finding.pid is not None else []
    if finding.vcpu is not None:
        parts.append(f"vCPU {finding.vcpu}" + (f" of {finding.vm}" if finding.vm else ""))
    elif finding.vm:
        parts.append(finding.vm)
    if finding.tgid is not None and str(finding.tgid) not in (finding.vm or ""):
        parts.append(f"tgid {finding.tgid}")
    return ", ".join(parts)


def facts(finding: Finding, clock: Clock) -> list[Row]:
    """Who, where and when."""
    rows = []
    if subject(finding):
        rows.append(Row("Task", [subject(finding)]))
    if finding.cpus:
        rows.append(Row("CPU" if len(finding.cpus) == 1 else "CPUs", [cpu_list(finding.cpus)]))
    if finding.first_ns is not None:
        last = f", last {clock.at(finding.last_ns)}" if finding.count > 1 else ""
        rows.append(Row("First", [clock.at(finding.first_ns) + last]))
    if finding.cost is not None:
        source = f" ({finding.cost.source})" if finding.cost.source else ""
        moved = (
            f"about {number(finding.cost.bytes)} bytes moved, {number(finding.cost.ns)} ns{source}"
        )
        rows.append(Row("Cost", [moved]))
    return rows


def proof_title(finding: Finding, index: int, clock: Clock, alone: bool = True) -> str:
    """Where and when the proof of that index happened, and what its times count from.

    ``alone``: no other proof of the finding is shown.
    """
    witness = finding.witnesses[index]
    which = "Proof" if alone else f"Proof {index + 1} of {len(finding.witnesses)}"
    title = f"{which}: CPU {witness.cpu}, {clock.at(witness.ns)}"
    if witness.events and witness.events[0].ns != witness.ns:
        title += f"; times from {clock.at(witness.events[0].ns)}"
    return title


def more_proofs(finding: Finding, shown: int) -> str:
    """What of the proofs is not shown, as a sentence; "" when nothing is."""
    kept = len(finding.witnesses) - shown
    more = finding.count - max(shown, 1)
    if more <= 0 or not finding.witnesses:
        return ""
    told = f" ({kept} of them with -v)" if kept > 0 else ""
    return f"And {number(more)} more{told}."


def verdict_line(analysis: Analysis) -> str:
    """One sentence that says how it ended."""
    counts = []
    for severity, word in ((Severity.ERROR, "error"), (Severity.PERFORMANCE, "performance")):
        for verdict in Verdict:
            found = [
                f for f in analysis.findings if f.severity is severity and f.verdict is verdict
            ]
            if found:
                counts.append(f"{plural(len(found), f'{verdict.value} {word} finding')}")
    hidden = ""
    if analysis.hidden:
        verb = "is" if analysis.hidden == 1 else "are"
        hidden = f"of other tasks, CPUs or times {verb} not shown"
    left_out = _left_out(analysis)
    if counts:
        more = f" {plural(analysis.hidden, 'finding')} {hidden}." if hidden else ""
        more += f" {left_out}." if left_out else ""
        return f"{', '.join(counts)}.{more}"
    if hidden:
        return (
            "Nothing of what was selected was found; "
            f"{plural(analysis.hidden, 'finding')} {hidden}."
        )
    asked = [row for row in coverage(analysis) if not row.code.startswith(_ABOUT_TRACE)]
    selected = "selected " if analysis.left_out else ""
    if selected and not asked:
        return "Nothing was checked: no rule about FPU state was selected."
    by_status = {status: [row.code for row in asked if row.status is status] for status in Status}
    partly, undecided = by_status[Status.PARTLY], by_status[Status.NOT_DECIDABLE]
    answered = len(by_status[Status.CHECKED]) + len(partly)
    if not answered:
        return f"Nothing was found, and the trace could answer none of the {selected}rules."
    rules = plural(answered, f"{selected}rule")
    line = f"Nothing is wrong as far as this trace can tell: {rules} checked"
    if left_out:
        line = f"{left_out}, and nothing else was found: {rules} checked"
    if partly:
        line += f", {'all' if len(partly) == answered else number(len(partly))} only in part"
    if undecided:
        line += f". It could not answer {either(code_list(undecided))}"
    return f"{line}."


def _left_out(analysis: Analysis) -> str:
    """What a baseline or an ignored rule hides from the counts; "" when nothing."""
    findings = sum(one.findings for one in analysis.suppressed)
    if not findings:
        return ""
    verb = "is" if findings == 1 else "are"
    return f"{plural(findings, 'finding')} {verb} left out as known or ignored"


def code_list(codes: Iterable[str]) -> list[str]:
    """Codes of rules, three and more in a row as ``FPU114-121``; a plugin's run apart."""
    runs: list[list[str]] = []
    for code in codes:
        last = runs[-1][-1] if runs else ""
        if code[:-3] == last[:-3] and int(code[-3:]) == int(last[-3:]) + 1:
            runs[-1].append(code)
        else:
            runs.append([code])
    short: list[str] = []
    for run in runs:
        short += [f"{run[0]}-{run[-1][-3:]}"] if len(run) > 2 else run
    return short


def coverage(analysis: Analysis) -> list[Coverage]:
    """The rows of the rules that were selected."""
    return [row for row in analysis.coverage if row.code not in analysis.left_out]


def coverage_lines(analysis: Analysis) -> list[Row]:
    """Coverage in a few lines: the codes of each status, and what the undecidable ones need."""
    rows = []
    for status in (Status.CHECKED, Status.PARTLY, Status.NOT_DECIDABLE, Status.NOT_APPLICABLE):
        chosen = [row for row in coverage(analysis) if row.status is status]
        if not chosen:
            continue
        lines = [" ".join(code_list(row.code for row in chosen))]
        if status is Status.NOT_DECIDABLE or status is Status.PARTLY:
            lines += _needs(chosen)
        rows.append(Row(STATUS_WORDS[status], lines))
    if analysis.left_out:
        rows.append(Row("not selected", [" ".join(code_list(analysis.left_out))]))
    return rows


def _needs(rows: Sequence[Coverage]) -> list[str]:
    """One line for each different thing that is missing, with the rules that miss it."""
    needs: dict[str, list[str]] = {}
    for row in rows:
        need = f"missing {in_words(row.missing)}" if row.missing else row.why
        needs.setdefault(need, []).append(row.code)
    return [f"- {' '.join(code_list(names))}: {need}" for need, names in needs.items() if need]


RECORD_WORDS = "To record what is missing:"


def recordings(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Commands that would record what is missing, each with the words before it."""
    if analysis.record:
        yield RECORD_WORDS, analysis.record
    if analysis.record and analysis.record_trace_cmd:
        yield "or with trace-cmd, without probes:", analysis.record_trace_cmd


def cpus(numbers: Sequence[int]) -> str:
    """How many CPUs, and which where they are not simply the first ones."""
    if not numbers:
        return "none"
    if list(numbers) == list(range(len(numbers))):
        return str(len(numbers))
    return f"{len(numbers)} ({cpu_list(numbers)})"


def cpu_list(numbers: Iterable[int]) -> str:
    """``0-3,7``, as the kernel writes CPU lists."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(numbers)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def number(value: int) -> str:
    """``1,234,567``."""
    return f"{value:,}"


def plural(count: int, noun: str) -> str:
    """``1 event``, ``2 events``."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def either(names: Sequence[str], word: str = "or") -> str:
    """``A, B or C``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
