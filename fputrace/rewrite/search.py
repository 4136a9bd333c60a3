"""The smallest piece of a recording in which a finding is the same, with the same verdict."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

from fputrace.errors import UsageError
from fputrace.events import Trace
from fputrace.findings import Analysis, Finding, Severity, Verdict, Witness
from fputrace.plain import PlainTuple
from fputrace.rewrite.beside import write_beside
from fputrace.rewrite.cut import (
    SMALLER,
    Piece,
    Progress,
    TextWindow,
    TooMuchError,
    Window,
    read_window,
)

_STEPS = 5
"""Halvings of each side of a piece that is large enough."""

Judge = Callable[[str], Analysis]
"""Analyses a file as the recording was analysed."""


class Cut(PlainTuple):
    """A piece and the times it is from, in the trace's time."""

    piece: Piece
    start: int
    end: int


def finding_of(analysis: Analysis, code: str, number: int) -> Finding:
    """The `number`th finding of a rule (from 1), in the order of reports.

    Raises UsageError when there is none, or when it speaks of no place in the recording.
    """
    path = analysis.trace.path
    found = [finding for finding in analysis.findings if finding.code == code]
    if not found:
        others = list(dict.fromkeys(finding.code for finding in analysis.findings))
        raise UsageError(
            f"{path}: there is no finding {code}",
            hint=f"It has {', '.join(others)}."
            if others
            else "It has no findings; use --time A,B.",
        )
    if not 0 < number <= len(found):
        raise UsageError(
            f"{path}: there are {len(found)} findings {code}, and no number {number}",
            hint="Their numbers are the order in which fputrace analyze shows them.",
        )
    finding = found[number - 1]
    if not any(witness.events for witness in finding.witnesses):
        raise UsageError(
            f"{path}: {code} is about the whole recording and has no place in it",
            hint="Say what to cut with --time A,B.",
        )
    return finding


def cut_finding(
    analysis: Analysis,
    finding: Finding,
    judge: Judge,
    most: int,
    *,
    facts: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Cut:
    """The smallest piece of at most `most` bytes that shows a finding as the recording does.

    In it that finding has the same verdict, and nothing is confirmed that was not.  `facts` is what
    lies beside the recording (:mod:`fputrace.rewrite.beside`).
    Raises UsageError when there is no such piece.
    """
    search = _Search(analysis, finding, judge, most, facts or {}, progress)
    for witness in sorted(finding.witnesses, key=_length):
        if witness.events:
            found = search.around(witness)
            if found is not None:
                return found
    raise UsageError(
        f"{analysis.trace.path}: no piece below {most:,} bytes shows {finding.code} "
        f"{finding.verdict.value} as the whole does",
        hint=SMALLER,
    )


def _length(witness: Witness) -> int:
    start, end = _ends(witness)
    return end - start


def _ends(witness: Witness) -> tuple[int, int]:
    times = [witness.ns, *(event.ns for event in witness.events)]
    return min(times), max(times)


class _Search:
    def __init__(
        self,
        analysis: Analysis,
        finding: Finding,
        judge: Judge,
        most: int,
        facts: dict[str, Any],
        progress: Progress | None,
    ) -> None:
        self.trace: Trace = analysis.trace
        self.finding = finding
        self.judge = judge
        self.most = most
        self.facts = facts
        self.progress = progress
        self.proven = {_key(one) for one in _proofs(analysis)}
        # A pass begins these anew.
        self.first, self.last = analysis.trace.first_ns or 0, analysis.trace.last_ns or 0

    def around(self, witness: Witness) -> Cut | None:
        """Widen the time around a witness until it proves the same; then take away what it can."""
        low, high = _ends(witness)
        margin = max((high - low) // 4, 1)
        while True:
            start, end = max(low - margin, self.first), min(high + margin, self.last)
            try:
                window = read_window(self.trace, start, end, self.most, self.progress)
                found = self._try(window, start, end, witness)
            except TooMuchError:
                return None
            if found is not None:
                return self._shrink(window, found, witness)
            if start <= self.first and end >= self.last:
                return None
            margin *= 4

    def _shrink(self, window: Window | TextWindow, found: Cut, witness: Witness) -> Cut:
        low, high = _ends(witness)
        for side in ("end", "start"):
            good = low - found.start if side == "start" else found.end - high
            bad = -1
            for _ in range(_STEPS):
                margin = (good + bad) // 2
                if margin in (good, bad):
                    break
                start = low - margin if side == "start" else found.start
                end = high + margin if side == "end" else found.end
                smaller = self._try(window, start, end, witness)
                if smaller is None:
                    bad = margin
                else:
                    found, good = smaller, margin
        return found

    def _try(
        self, window: Window | TextWindow, start: int, end: int, witness: Witness
    ) -> Cut | None:
        piece = window.piece(start, end)
        if len(piece.data) > self.most:
            return None
        beside = ""
        handle, path = tempfile.mkstemp(prefix="fputrace-", suffix=".dat")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(piece.data)
            if self.facts:
                beside = write_beside(path, self.facts)
            analysis = self.judge(path)
            analysis.trace.close()
        finally:
            os.unlink(path)
            if beside:
                os.unlink(beside)
        shown = any(self._same(one, witness) for one in analysis.findings)
        if shown and all(_key(one) in self.proven for one in _proofs(analysis)):
            return Cut(piece, start, end)
        return None

    def _same(self, other: Finding, witness: Witness) -> bool:
        finding = self.finding
        return (
            (other.code, other.pid, other.verdict) == (finding.code, finding.pid, finding.verdict)
            and other.first_ns is not None
            and other.last_ns is not None
            and other.first_ns <= witness.ns <= other.last_ns
        )


def _proofs(analysis: Analysis) -> list[Finding]:
    """What is confirmed of the kernel, not of the recording."""
    return [
        one
        for one in analysis.findings
        if one.verdict is Verdict.CONFIRMED and one.severity is not Severity.TRACE
    ]


def _key(finding: Finding) -> tuple[str, int | None]:
    return finding.code, finding.pid
