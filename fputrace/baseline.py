"""Findings that are known: what ``--write-baseline`` stores, and what ``--baseline`` takes out.

A finding is known when another run of the same workload had it: same rule, a verdict at least as
strong, a task of the same name (numbers in it aside: pids and worker numbers differ from run to
run), the same vCPU, and a rate, occurrences a second of recording, that has not grown to more than
:data:`GROWN` times what it was.  Messages, times and pids do not matter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fputrace.errors import UsageError
from fputrace.findings import (
    Findings,
    Fingerprint,
    Severity,
    Suppressed,
    Verdict,
    fingerprint,
)
from fputrace.plain import PlainTuple, changed

if TYPE_CHECKING:
    from fputrace.findings import Analysis, Finding

VERSION = 1
GROWN = 3.0
"""A rate this many times the known one is new: the fault got worse."""
FEW = 5
"""Occurrences that are no rate yet: so few are known whatever the rate was."""
LARGEST = 16 << 20
"""Bytes of a baseline file; more is none."""


class Known(PlainTuple):
    """What is known of a fingerprint: its strongest verdict and its highest rate (1/s)."""

    verdict: Verdict
    rate: float


def gather(analyses: Iterable[Analysis]) -> dict[Fingerprint, Known]:
    """What these analyses found; findings about the recording itself are never known."""
    found: dict[Fingerprint, Known] = {}
    for analysis in analyses:
        rates = {
            key: Known(verdict, count / _seconds(analysis))
            for key, (count, verdict) in _summed(analysis).items()
        }
        found = union(found, rates)
    return found


def union(
    old: Mapping[Fingerprint, Known], new: Mapping[Fingerprint, Known]
) -> dict[Fingerprint, Known]:
    """What either knows: of a fingerprint in both the stronger verdict and the higher rate."""
    both = dict(old)
    for key, (verdict, rate) in new.items():
        before = both.get(key, Known(verdict, rate))
        strongest = Verdict.CONFIRMED if Verdict.CONFIRMED in (before.verdict, verdict) else verdict
        both[key] = Known(strongest, max(before.rate, rate))
    return both


def _summed(analysis: Analysis) -> dict[Fingerprint, tuple[int, Verdict]]:
    """Occurrences and strongest verdict a fingerprint: workers of one name count together."""
    summed: dict[Fingerprint, tuple[int, Verdict]] = {}
    for finding in analysis.findings:
        if finding.severity is not Severity.TRACE:
            count, verdict = summed.get(fingerprint(finding), (0, Verdict.POSSIBLE))
            if finding.verdict is Verdict.CONFIRMED:
                verdict = finding.verdict
            summed[fingerprint(finding)] = (count + finding.count, verdict)
    return summed


def _seconds(analysis: Analysis) -> float:
    """How long the recording is; at least a millisecond, so that there is a rate."""
    trace = analysis.trace
    return max((trace.last_ns or 0) - (trace.first_ns or 0), 1_000_000) / 1e9


def write(path: str, known: Mapping[Fingerprint, Known]) -> int:
    """Store what is known; returns how many fingerprints.

    Raises UsageError rather than overwriting a file that is no baseline, and OSError.
    """
    if os.path.exists(path) and os.path.getsize(path):
        try:
            read(path)
        except UsageError as error:
            raise UsageError(
                f"--write-baseline: {error.message}, and is not written over",
                hint="Name another file.",
            ) from None
    rows = [
        {**key._asdict(), "verdict": known[key].verdict.value, "rate": round(known[key].rate, 6)}
        for key in sorted(
            known, key=lambda key: (key.code, key.comm, -1 if key.vcpu is None else key.vcpu)
        )
    ]
    text = json.dumps({"fputrace_baseline": VERSION, "findings": rows}, indent=1)
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(f"{text}\n")
    except OSError as error:
        # One that came while writing (a full disk) does not know of which file.
        error.filename = path
        raise
    return len(rows)


def read(path: str) -> dict[Fingerprint, Known]:
    """A stored baseline; UsageError when the file is none, OSError."""

    def wrong(what: str) -> UsageError:
        return UsageError(f"{path}: {what}", hint="--write-baseline FILE makes one")

    with open(path, "rb") as stream:
        text = stream.read(LARGEST + 1)
    try:
        document = json.loads(text if len(text) <= LARGEST else b"")
    except (ValueError, RecursionError):
        raise wrong("is no baseline of fputrace") from None
    if not isinstance(document, dict) or "fputrace_baseline" not in document:
        raise wrong("is no baseline of fputrace")
    if document["fputrace_baseline"] != VERSION:
        raise wrong(f"is of version {document['fputrace_baseline']!r}, known is {VERSION}")
    rows = document.get("findings")
    if not isinstance(rows, list):
        raise wrong("lists no findings")
    return dict(_row(row, number, wrong) for number, row in enumerate(rows))


def _row(row: Any, number: int, wrong: Any) -> tuple[Fingerprint, Known]:
    kinds: Mapping[str, tuple[type, ...]] = {
        "code": (str,),
        "comm": (str,),
        "vcpu": (int, type(None)),
        "verdict": (str,),
        "rate": (int, float),
    }
    if not isinstance(row, dict) or set(row) != set(kinds):
        raise wrong(f"finding {number}: needs {', '.join(kinds)}")
    for key, kind in kinds.items():
        if not isinstance(row[key], kind) or isinstance(row[key], bool):
            raise wrong(f"finding {number}: {key} is {row[key]!r}")
    if row["verdict"] not in (Verdict.CONFIRMED.value, Verdict.POSSIBLE.value):
        raise wrong(f"finding {number}: verdict is {row['verdict']!r}")
    mine = Fingerprint(row["code"], row["comm"], row["vcpu"])
    return mine, Known(Verdict(row["verdict"]), float(row["rate"]))


def apply(analysis: Analysis, known: Mapping[Fingerprint, Known], path: str) -> Analysis:
    """The analysis without what is known; how much that was is in ``suppressed``."""
    summed = _summed(analysis)
    seconds = _seconds(analysis)

    def is_known(finding: Finding) -> bool:
        old = known.get(fingerprint(finding))
        if old is None or finding.severity is Severity.TRACE:
            return False
        if finding.verdict is Verdict.CONFIRMED and old.verdict is not Verdict.CONFIRMED:
            return False
        count, _verdict = summed[fingerprint(finding)]
        return count <= FEW or count / seconds <= old.rate * GROWN

    return suppress(analysis, is_known, f"known, in {path}")


def suppress(analysis: Analysis, is_out: Any, reason: str) -> Analysis:
    """The analysis without the findings ``is_out`` takes; they are counted by code, with why."""
    out = [finding for finding in analysis.findings if is_out(finding)]
    rows = [
        Suppressed(
            code,
            reason,
            sum(finding.code == code for finding in out),
            sum(finding.count for finding in out if finding.code == code),
            tuple(finding for finding in out if finding.code == code),
        )
        for code in sorted({finding.code for finding in out})
    ]
    kept = Findings(finding for finding in analysis.findings if not is_out(finding))
    return changed(analysis, findings=kept, suppressed=(*analysis.suppressed, *rows))
