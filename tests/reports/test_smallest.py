"""The proof a report shows is the smallest: it alone gives the finding, and no part of it does.

A recording is reduced to the events of one proof (as JSON lines, the formats and what the header
says kept) and analysed again.  With them stay the CPU's later switches up to the proof's last
event: they say only whom it runs, and without them a later event of the task would be a gap.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fputrace
from fputrace.convert import convert_trace
from fputrace.findings import Verdict
from fputrace.reports.outline import shown_proofs, sorted_findings


class Recording(NamedTuple):
    """The lines before its events, its events with their lines, and where each CPU ends."""

    head: list[str]
    events: list[tuple[dict[str, Any], str]]
    ends: list[str]


def read(path: Path) -> Recording:
    lines = path.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    head = [line for row, line in zip(rows, lines, strict=True) if not row.keys() & {"ts", "end"}]
    events = [(row, line) for row, line in zip(rows, lines, strict=True) if "event" in row]
    ends = [line for row, line in zip(rows, lines, strict=True) if row.get("mark") == "CPU_END"]
    return Recording(head, events, ends)


def write(path: Path, recording: Recording, kept: Sequence[int]) -> None:
    chosen = [recording.events[index] for index in kept]
    lines = [*recording.head, *(line for _, line in chosen), *recording.ends]
    body = "".join(f"{line}\n" for line in lines)
    times = [row["ts"] for row, _ in chosen]
    counts = dict(sorted(Counter(row["event"] for row, _ in chosen).items()))
    told = {"events": len(chosen), "events_by_name": counts, "first_ns": min(times)}
    told |= {"last_ns": max(times), "losses": 0}
    end = '{"end":' + json.dumps(told, separators=(",", ":"))
    checksum = zlib.crc32(end.encode(), zlib.crc32(body.encode()))
    path.write_text(f'{body}{end},"crc32":{checksum}}}\n')


def found(path: Path, code: str, release: str | None) -> Collection[Verdict]:
    result = fputrace.analyze(path, kernel=release)
    assert not result.losses
    return {one.verdict for one in result.findings if one.code == code}


@pytest.mark.parametrize(
    ("case", "code", "verdict"),
    [
        # fputrace itself wants to see more of the CPU than a reader to whom this is shown.
        ("5.2.1-pinned", "FPU101", Verdict.POSSIBLE),
        ("4.14.5-pinned", "FPU201", Verdict.CONFIRMED),
    ],
)
def test_smallest(samples: Path, tmp_path: Path, case: str, code: str, verdict: Verdict) -> None:
    path = samples / case / "trace.dat"
    whole = fputrace.analyze(path)
    finding = next(f for f in sorted_findings(whole.findings) if f.code == code)
    assert finding.verdict is Verdict.CONFIRMED
    (index,) = shown_proofs(finding, verbose=False)
    proof = [e for e in finding.witnesses[index].events if not e.inferred]
    with fputrace.open(path) as trace:
        convert_trace(trace, "jsonl", str(tmp_path / "whole.jsonl"))
    recording = read(tmp_path / "whole.jsonl")
    named = {(event.ns, event.cpu, event.name) for event in proof}
    events = [
        number
        for number, (row, _) in enumerate(recording.events)
        if (row["ts"], row["cpu"], row["event"]) in named
    ]
    assert len(events) == len(proof)
    switch = next(event.ns for event in proof if event.name == "sched:sched_switch")
    later = [
        number
        for number, (row, _) in enumerate(recording.events)
        if row["event"] == "sched:sched_switch"
        and row["cpu"] == proof[-1].cpu
        and switch < row["ts"] < proof[-1].ns
    ]
    part = tmp_path / "part.jsonl"
    write(part, recording, sorted(events + later))
    assert found(part, code, whole.trace.kernel) == {verdict}
    for left_out in events:
        write(part, recording, [number for number in sorted(events + later) if number != left_out])
        assert not found(part, code, whole.trace.kernel), left_out
