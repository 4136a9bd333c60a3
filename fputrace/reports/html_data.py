"""The timeline's data as a page carries it: columns of numbers, packed, within a size.

A column of n numbers is k planes of n bytes, the lowest first, which pack well; all planes of a
part stand one behind the other, deflated, in base64.  ``assets/unpack.js`` reads it.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.pyramid import OTHERS, STATES
from fputrace.reports.escape import clean
from fputrace.reports.markup import data
from fputrace.reports.outline import clock_of, loss
from fputrace.reports.steps import proof_steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.findings import Analysis, Finding, Witness
    from fputrace.pyramid import Level, Overview
    from fputrace.reports.html_parts import Proof

_TASKS = 2000
_HOLES = 2000
_NAME = 100
_ROUND = 100_000_000_000_000
_KINDS = ("error", "performance", "trace", "info", "lost")


def timeline_data(
    analysis: Analysis, found: Overview, proofs: Sequence[Proof], room: int
) -> dict[str, Any]:
    """What ``assets/timeline.js`` draws, in at most ``room`` bytes of JSON where that is possible.

    When room is short, exact spans beyond half of it are left out, then the finest levels.
    """
    clock, trace = clock_of(analysis.trace), analysis.trace
    # Numbers of JavaScript are exact up to 2**53 ns, 104 days: times count from a round one.
    base = found.start_ns // _ROUND * _ROUND
    pids = _pids(found)
    number = {pid: index for index, pid in enumerate(pids)}
    document: dict[str, Any] = {
        "base": str(base),
        "start": found.start_ns - base,
        "end": found.end_ns - base,
        "inNs": clock.in_ns,
        "clock": clean(trace.clock or "clock")[:_NAME],
        "states": list(STATES),
        "cpus": list(found.cpus),
        "tasks": [_task(pid, analysis, found) for pid in pids],
        "exact": [[a - base, b - base] for a, b in found.exact],
        "marks": _marks(found, base),
        "holes": _holes(analysis, found, base),
        "proofs": [_proof(*proof, analysis, base) for proof in proofs],
    }
    left = room - len(data(document))
    spans = _spans(found, base, number)
    if len(spans["data"]) > left // 2:
        found = found._replace(spans=found.spans[:0], exact=())
        spans, document["exact"] = _spans(found, base, number), []
    document["spans"] = spans
    left -= len(data(spans))
    kept: list[dict[str, Any]] = []
    for level in reversed(found.levels):
        # Cells smaller than the spans in them tell nothing that exact spans do not.
        pieces = sum(len(lane.cell) for lane in level.lanes)
        if kept and found.is_exact and pieces > len(found.spans):
            break
        packed = _level(level, number)
        left -= len(data(packed))
        if kept and left < 0:
            break
        kept.append(packed)
    document["levels"] = kept[::-1]
    return document


def _pids(found: Overview) -> list[int]:
    """Tasks by number: those named in lanes, the longest owners first; others go unnamed."""
    by_time = sorted(
        found.owners, key=lambda pid: (pid not in found.vcpus, -sum(found.owners[pid]))
    )
    named = [pid for pid in by_time if pid > 0][:_TASKS]
    return [OTHERS, -1, 0, *named]


def _task(pid: int, analysis: Analysis, found: Overview) -> list[Any]:
    """[pid, name, vCPU thread as words or null]."""
    if pid <= 0:
        return [pid, {OTHERS: "others", -1: "unknown", 0: "nobody"}[pid], None]
    vcpu = found.vcpus.get(pid)
    words = None
    if vcpu is not None:
        number = "vCPU thread" if vcpu.vcpu is None else f"vCPU {vcpu.vcpu}"
        words = clean(number + (f" of {vcpu.vm}" if vcpu.vm else ""))[:_NAME]
    comm = analysis.trace.comms.get(pid) or "<...>"
    return [pid, clean(comm)[:_NAME], words]


def _marks(found: Overview, base: int) -> list[list[Any]]:
    """[CPU, start, end, kind, code] of every place of a finding; holes are told apart."""
    return [
        [mark.cpu, mark.start_ns - base, mark.end_ns - base, _KINDS.index(mark.what), mark.code]
        for mark in found.marks
        if mark.what != "lost"
    ]


def _holes(analysis: Analysis, found: Overview, base: int) -> list[list[Any]]:
    """[CPU or null, start, end, words] of the holes in view."""
    clock = clock_of(analysis.trace)
    rows: list[list[Any]] = []
    for row in analysis.losses:
        start = found.start_ns if row.after_ns is None else row.after_ns
        end = found.end_ns if row.before_ns is None else row.before_ns
        if end >= found.start_ns and start <= found.end_ns and len(rows) < _HOLES:
            words = clean(loss(row, clock))[: 4 * _NAME]
            rows.append([row.cpu, start - base, end - base, words])
    return rows


def _proof(
    name: str, finding: Finding, witness: Witness, analysis: Analysis, base: int
) -> dict[str, Any]:
    """A proof of the page, with its events as the lanes mark them."""
    steps = proof_steps(witness, analysis.trace)
    return {
        "id": name,
        "title": f"{finding.code} {finding.name}",
        "cpu": witness.cpu,
        "at": witness.ns - base,
        "events": [
            [step.number, event.ns - base, event.cpu, clean(f"{step.name} {step.fields}")[:200]]
            for step, event in zip(steps, witness.events, strict=True)
            if not step.inferred
        ],
    }


def _spans(found: Overview, base: int, number: Mapping[int, int]) -> dict[str, Any]:
    table = found.spans
    cpu = np.searchsorted(np.array(sorted(found.cpus)), table[:, 0])
    start = table[:, 1] - base
    # Within a CPU spans follow each other: the step from one start to the next is small.
    step = np.diff(start, prepend=0)
    step[np.diff(cpu, prepend=-1) != 0] = 0
    first = [
        int(start[np.searchsorted(cpu, lane)]) if lane in cpu else 0
        for lane in range(len(found.cpus))
    ]
    columns = {
        "cpu": cpu,
        "step": step,
        "length": table[:, 2] - table[:, 1],
        "pid": _numbered(table[:, 3], number),
        "owner": _numbered(table[:, 4], number),
        "image": table[:, 5],
        "certainty": table[:, 6],
    }
    return {"first": first, **packed(columns)}


def _level(level: Level, number: Mapping[int, int]) -> dict[str, Any]:
    lanes = level.lanes
    cell = np.concatenate([np.diff(lane.cell, prepend=0) for lane in lanes])
    share = np.concatenate([lane.length for lane in lanes])
    columns = {
        "step": cell,
        "state": np.concatenate([lane.state for lane in lanes]),
        "owner": _numbered(np.concatenate([lane.owner for lane in lanes]), number),
        "share": np.clip(np.rint(share * 255), 1, 255).astype(np.int64),
    }
    return {"width": level.width, "counts": [len(lane.cell) for lane in lanes], **packed(columns)}


def _numbered(pids: NDArray[np.int64], number: Mapping[int, int]) -> NDArray[np.int64]:
    """Indices into ``tasks``; who has none is one of the others."""
    known, rows = np.unique(pids, return_inverse=True)
    return np.array([number.get(pid, 0) for pid in known.tolist()], dtype=np.int64)[rows]


def packed(columns: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    """Columns of equal length, of numbers from 0 to 2**53."""
    size = {len(column) for column in columns.values()}.pop()
    told: list[tuple[str, int]] = []
    parts: list[bytes] = []
    for name, column in columns.items():
        planes = max(1, (int(column.max(initial=0)).bit_length() + 7) // 8)
        told.append((name, planes))
        parts += [_plane(column, plane) for plane in range(planes)]
    raw = zlib.compress(b"".join(parts))
    return {"size": size, "columns": told, "data": b64encode(raw).decode()}


def _plane(column: NDArray[np.int64], plane: int) -> bytes:
    return ((column >> (8 * plane)) & 0xFF).astype(np.uint8).tobytes()
