"""Recordings of simulated kernels: nothing is confirmed but what that kernel really does wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.events import KINDS, Kind
from fputrace.findings import Severity, Verdict
from tests.oracles.made_streams import Kernel, Row, lose
from tests.writers import TraceWriter

RELEASES = {
    "G1": "4.14.5",
    "G2": "4.19.0",
    "G2x": "4.14.94",
    "G3": "5.0.1",
    "G4a": "5.2.1",
    "G4x": "5.2.4",
    "G4b": "5.3.1",
    "G4c": "5.10.0",
    "G4d": "5.15.0",
    "G5": "6.12.0",
    "G6": "7.2.0",
}
FAULTS = {
    # What kernels of a generation do wrong by themselves, and the simulated ones with them.
    "G1": {"FPU201"},  # kvm_arch_vcpu_put() at every sched-out
    "G3": {"FPU101"},  # 240c35a3783a
    "G4a": {"FPU101", "FPU111"},  # the same; saves without looking at TIF_NEED_FPU_LOAD
    "G4x": {"FPU111"},
}
SPECS = {spec.kind: spec for spec in KINDS}


def record(path: Path, rows: list[Row], cpus: int, release: str) -> Path:
    """A trace.dat of these rows, without the events that this release does not have."""
    writer = TraceWriter(release, cpus=cpus)
    for row in rows:
        if row.kind == Kind.LOSS:
            writer.loss(row.cpu)
        spec = SPECS.get(row.kind)
        if spec is None or spec.names[0] not in writer.layouts:
            continue
        layout = writer.layouts[spec.names[0]]
        there = {packed.field.name for packed in layout.fields}
        fields: dict[str, Any] = {
            name: value % 2**64 if operand.ctype.endswith("*") else value
            for operand, value in zip(spec.operands, row.op, strict=False)
            for name in operand.fields
            if name in there
        }
        writer.event(row.cpu, 1_000_000 + row.ts, row.pid, spec.names[0], **fields)
    return writer.write(path)


def confirmed(path: Path, generation: str) -> set[str]:
    return {
        finding.code
        for finding in fputrace.analyze(path, generation=generation).findings
        if finding.verdict is Verdict.CONFIRMED and finding.severity is not Severity.TRACE
    }


@pytest.mark.parametrize("generation", RELEASES)
def test_nothing_else_is_confirmed(tmp_path: Path, generation: str) -> None:
    found = set()
    release = RELEASES[generation]
    for seed in range(20):
        chance = random.Random(f"{generation} {seed}")
        kernel = Kernel(generation, chance, cpus=chance.choice([1, 2, 3]))
        for _ in range(120):
            kernel.step()
        for holes in (0, 4):
            rows = lose(kernel.rows, chance, holes).rows
            path = record(tmp_path / "trace.dat", rows, kernel.cpus, release)
            found |= confirmed(path, generation)
            assert found <= FAULTS.get(generation, set()), (seed, holes)
    assert found == FAULTS.get(generation, set())
