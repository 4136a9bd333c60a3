"""Parquet tables of spans, findings, their evidence and events, for pandas and DuckDB."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.events import ABSENT, KINDS, EventBlock
from fputrace.metadata import text_of
from fputrace.parsers.arrow import pyarrow
from fputrace.reports.escape import clean
from fputrace.timeline import CERTAINTIES, IMAGES, SPAN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fputrace.export import Window
    from fputrace.findings import Analysis, Finding

OPERANDS = tuple(dict.fromkeys(operand.fields[0] for spec in KINDS for operand in spec.operands))
"""Columns of ``events.parquet`` besides its own: every operand, under the kernel's newest name."""


UNSIGNED = frozenset(
    operand.fields[0]
    for spec in KINDS
    for operand in spec.operands
    if "*" in operand.ctype or operand.ctype in ("u64", "__u64", "unsigned long")
)
"""Operands whose 64 bits have no sign; a block holds them as two's complement."""


def check_pyarrow() -> None:
    """Raise UsageError when the module that writes the tables is not installed."""
    pyarrow()


def write_tables(analysis: Analysis, folder: str, window: Window) -> None:
    """Write ``spans``, ``findings``, ``evidence`` and ``events`` (docs/export.md) into a folder.

    Raises ReadError when the recording fails meanwhile.
    """
    findings = [
        finding
        for finding in analysis.findings
        if window.holds(finding.first_ns, None) or window.holds(finding.last_ns, None)
    ]
    _write(folder, "spans", _SPANS, _spans(analysis, window))
    _write(folder, "findings", _FINDINGS, iter([_findings(findings)]))
    _write(folder, "evidence", _EVIDENCE, iter([_evidence(findings)]))
    _write(folder, "events", _events_schema(), _events(analysis, window))


def _write(
    folder: str, name: str, schema: Sequence[tuple[str, str]], parts: Iterator[Sequence[Any]]
) -> None:
    """One table; ``parts`` are its columns, some rows at a time."""
    pa = pyarrow()
    types = {
        "i64": pa.int64(),
        "u64": pa.uint64(),
        "i32": pa.int32(),
        "text": pa.string(),
        "word": pa.dictionary(pa.int32(), pa.string()),
        "bool": pa.bool_(),
        "cpus": pa.list_(pa.int32()),
    }
    made = pa.schema([(column, types[kind]) for column, kind in schema])
    path = os.path.join(folder, f"{name}.parquet")
    with pa.parquet.ParquetWriter(path, made, compression="zstd") as writer:
        for columns in parts:
            arrays = [
                column if isinstance(column, pa.Array) else pa.array(column, type=kind)
                for column, kind in zip(columns, made.types, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=made))


def _words(numbers: NDArray[np.int64], words: Sequence[str]) -> Any:
    """Numbers as the words they index, told once a table."""
    pa = pyarrow()
    return pa.DictionaryArray.from_arrays(
        pa.array(numbers.astype(np.int32)), pa.array(list(words), type=pa.string())
    )


_SPANS = (
    ("cpu", "i32"), ("start_ns", "i64"), ("end_ns", "i64"), ("pid", "i32"), ("comm", "word"),
    ("owner", "i32"), ("owner_comm", "word"), ("image", "word"), ("certainty", "word"),
    ("saved", "bool"), ("bytes", "i64"),
)  # fmt: skip


def _spans(analysis: Analysis, window: Window) -> Iterator[Sequence[Any]]:
    for table in analysis.timeline.tables(*window[:3]):
        column = {name: table[:, number] for number, name in enumerate(SPAN_COLUMNS)}
        yield (
            column["cpu"],
            column["start_ns"],
            column["end_ns"],
            column["pid"],
            _comms(column["pid"], analysis),
            column["owner"],
            _comms(column["owner"], analysis),
            _words(column["image"], IMAGES),
            _words(column["certainty"], CERTAINTIES),
            column["saved"] != 0,
            column["bytes"],
        )


def _comms(pids: NDArray[np.int64], analysis: Analysis) -> Any:
    """The tasks' names; "" where the trace has none."""
    known, numbers = np.unique(pids, return_inverse=True)
    comms = analysis.trace.comms
    return _words(numbers, [clean(text_of(comms.get(pid, ""))) for pid in known.tolist()])


_FINDINGS = (
    ("finding", "i32"), ("code", "text"), ("name", "text"), ("severity", "text"),
    ("verdict", "text"), ("count", "i64"), ("pid", "i32"), ("comm", "text"), ("vcpu", "i32"),
    ("tgid", "i32"), ("cpus", "cpus"), ("first_ns", "i64"), ("last_ns", "i64"),
    ("message", "text"), ("cost_bytes", "i64"), ("cost_ns", "i64"),
)  # fmt: skip


def _findings(findings: Sequence[Finding]) -> Sequence[Any]:
    rows = [
        (
            number,
            one.code,
            one.name,
            one.severity.value,
            one.verdict.value,
            one.count,
            one.pid,
            None if one.comm is None else clean(one.comm),
            one.vcpu,
            one.tgid,
            list(one.cpus),
            one.first_ns,
            one.last_ns,
            clean(one.message),
            one.cost.bytes if one.cost else None,
            one.cost.ns if one.cost else None,
        )
        for number, one in enumerate(findings)
    ]
    return _columns(rows, len(_FINDINGS))


_EVIDENCE = (
    ("finding", "i32"), ("witness", "i32"), ("step", "i32"), ("ns", "i64"), ("cpu", "i32"),
    ("pid", "i32"), ("comm", "text"), ("event", "text"), ("role", "text"), ("inferred", "bool"),
)  # fmt: skip


def _evidence(findings: Sequence[Finding]) -> Sequence[Any]:
    rows = [
        (
            number,
            occurrence,
            step,
            event.ns,
            event.cpu,
            event.pid,
            clean(event.comm),
            clean(event.name),
            clean(event.role),
            event.inferred,
        )
        for number, finding in enumerate(findings)
        for occurrence, witness in enumerate(finding.witnesses)
        for step, event in enumerate(witness.events)
    ]
    return _columns(rows, len(_EVIDENCE))


def _columns(rows: Sequence[Sequence[Any]], width: int) -> Sequence[Any]:
    return list(zip(*rows, strict=True)) if rows else [[] for _ in range(width)]


def _events_schema() -> tuple[tuple[str, str], ...]:
    """Event, when, where and whose; then every operand, empty for events that have none such."""
    own = (
        ("common_ts", "i64"),
        ("common_cpu", "i32"),
        ("common_pid", "i32"),
        ("common_comm", "word"),
        ("event", "word"),
    )
    return (*own, *((name, "u64" if name in UNSIGNED else "i64") for name in OPERANDS))


def _events(analysis: Analysis, window: Window) -> Iterator[Sequence[Any]]:
    for block in analysis.trace.blocks():
        keep = block.pid >= 0  # marks are no events
        if window.start_ns is not None:
            keep &= block.ts >= window.start_ns
        if window.end_ns is not None:
            keep &= block.ts <= window.end_ns
        if window.cpus is not None:
            keep &= np.isin(block.cpu, sorted(window.cpus))
        rows = np.flatnonzero(keep)
        if len(rows):
            yield (
                block.ts[rows],
                block.cpu[rows],
                block.pid[rows],
                _comms(block.pid[rows].astype(np.int64), analysis),
                _words(block.event[rows].astype(np.int64), [clean(n) for n in block.names]),
                *_operands(block, rows),
            )


def _operands(block: EventBlock, rows: NDArray[np.intp]) -> Iterator[Any]:
    """The columns of the operands: null where the row's event has none."""
    pa = pyarrow()
    kinds = block.kind[rows]
    columns: dict[str, NDArray[np.int64]] = {}
    for spec in KINDS:
        of = np.flatnonzero(kinds == spec.kind)
        if len(of):
            for number, operand in enumerate(spec.operands):
                column = columns.setdefault(
                    operand.fields[0], np.full(len(rows), ABSENT, dtype=np.int64)
                )
                column[of] = block.op[rows[of], number]
    for name in OPERANDS:
        kind = pa.uint64() if name in UNSIGNED else pa.int64()
        if name in columns:
            column = columns[name]
            values = column.view(np.uint64) if name in UNSIGNED else column
            yield pa.array(values, type=kind, mask=column == ABSENT)
        else:
            yield pa.nulls(len(rows), kind)
