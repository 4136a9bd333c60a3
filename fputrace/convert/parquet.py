"""Parquet tables: one per event, and those that put them together again (docs/convert.md)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.convert.bulk import Group, groups_of, told_by_fields
from fputrace.errors import FormatError, UsageError
from fputrace.events import ABSENT, EventBlock, Kind, Trace
from fputrace.metadata import (
    OPERANDS,
    comms_to_plain,
    format_to_plain,
    loss_to_plain,
    operands_of,
    plain_fields,
    text_of,
    to_plain,
)
from fputrace.parsers import arrow
from fputrace.parsers.arrow import ADDRESS, CHUNK_ROWS, INTEGER, TEXT, Column
from fputrace.parsers.parquetpages import check_pages

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_pyarrow() -> None:
    """Raise UsageError when the module that writes the tables is not installed."""
    arrow.pyarrow()


def write_parquet(trace: Trace, folder: str) -> None:
    """Write a recording's tables into an empty folder; reads the recording twice.

    Raises what reading the trace and writing raise, UsageError when rows are too large for tables.
    """
    for _ in trace.blocks():
        pass
    with ExitStack() as stack:
        writer = _Writer(trace, folder, stack)
        for block in trace.blocks():
            writer.add(block)
        writer.flush()
        tables = writer.tables()
    _write_losses(trace, folder)
    losses: dict[str, Any] = {"file": arrow.LOSSES}
    for table in (*tables, losses):
        table["crc32"] = _checksum_of_readable(folder, table["file"])
    _write_metadata(trace, folder, writer.rows, tables, losses)


def _checksum_of_readable(folder: str, file: str) -> int:
    """A table's checksum; raises UsageError when its reader would refuse it."""
    path = os.path.join(folder, file)
    try:
        check_pages(path, file, arrow.pyarrow().parquet.read_metadata(path))
    except FormatError as error:
        raise UsageError(
            f"the recording does not fit into tables: {file}: {error.message}",
            hint="Convert it --to jsonl.",
        ) from error
    return arrow.checksum_of(path)


class _Table:
    """One file, its rows of the current chunk, and how many each chunk had."""

    def __init__(self, path: str, schema: Any, stack: ExitStack) -> None:
        pa = arrow.pyarrow()
        self.file = os.path.basename(path)
        self.schema = schema
        self._pa = pa
        self._writer = stack.enter_context(
            pa.parquet.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
        )
        self._waiting: list[Any] = []
        self.groups: list[int] = []

    def add(self, columns: Sequence[Any]) -> None:
        """Some rows: arrays or lists in the schema's order."""
        pa = self._pa
        arrays = [
            pa.array(column, type=kind, from_pandas=False)
            for column, kind in zip(columns, self.schema.types, strict=True)
        ]
        self._waiting.append(pa.Table.from_arrays(arrays, schema=self.schema))

    def flush(self, chunk: int) -> None:
        """The rows of a chunk as one row group, in the order of their numbers."""
        if not self._waiting:
            return
        whole = self._pa.concat_tables(self._waiting)
        self._waiting = []
        numbers = whole.column(0).to_numpy()
        if len(numbers) > 1 and int(np.diff(numbers).min()) < 0:
            whole = whole.take(np.argsort(numbers, kind="stable"))
        self._writer.write_table(whole, row_group_size=CHUNK_ROWS)
        self.groups += [0] * (chunk - len(self.groups)) + [len(whole)]


class _Writer:
    """Sorts the rows of blocks into tables."""

    def __init__(self, trace: Trace, folder: str, stack: ExitStack) -> None:
        self.trace = trace
        self.folder = folder
        self.stack = stack
        self.rows = 0
        self.chunk = 0
        self.comms = {pid: text_of(comm) for pid, comm in trace.comms.items()}
        self.kinds: dict[str, Kind] = {}
        for name, kind in zip(trace.event_names, trace.event_kinds, strict=True):
            self.kinds.setdefault(name, kind)
        self.events: dict[str, tuple[_Table, dict[str, Column]]] = {}
        self.marks = self._table(arrow.MARKS, arrow.marks_schema())
        self.exact = self._table(arrow.EXACT, arrow.exact_schema())

    def _table(self, file: str, schema: Any) -> _Table:
        return _Table(os.path.join(self.folder, file), schema, self.stack)

    def _event(self, name: str) -> tuple[_Table, dict[str, Column]]:
        if name not in self.events:
            schema, fields = arrow.event_schema(self.trace.formats.get(name))
            taken = {table.file for table, _ in self.events.values()}
            self.events[name] = (self._table(_file_of(name, taken), schema), fields)
        return self.events[name]

    def add(self, block: EventBlock) -> None:
        """The rows of one block, chunk by chunk."""
        start = 0
        while start < len(block):
            stop = min(len(block), start + CHUNK_ROWS - self.rows % CHUNK_ROWS)
            whole = start == 0 and stop == len(block)
            self._add(block if whole else _part(block, start, stop))
            start = stop
            if self.rows % CHUNK_ROWS == 0:
                self.flush()

    def flush(self) -> None:
        """End a chunk."""
        for table in (self.marks, self.exact, *(table for table, _ in self.events.values())):
            table.flush(self.chunk)
        self.chunk = -(-self.rows // CHUNK_ROWS)

    def tables(self) -> list[dict[str, Any]]:
        """What the metadata say of the tables."""
        named = [("", self.marks), ("", self.exact)]
        named += [(text_of(name), table) for name, (table, _) in self.events.items()]
        return [{"event": name, "file": table.file, "rows": table.groups} for name, table in named]

    def _add(self, block: EventBlock) -> None:
        self._add_marks(block)
        for group in groups_of(block):
            name = block.names[group.event]
            table, fields = self._event(name)
            columns = self._columns(block, group, fields)
            pids = block.pid[group.rows]
            comms = [self.comms.get(pid) for pid in pids.tolist()]
            table.add(
                [
                    group.rows + self.rows,
                    block.ts[group.rows],
                    block.cpu[group.rows],
                    pids,
                    comms,
                    block.flags[group.rows],
                    *columns,
                ]
            )
        self.rows += len(block)

    def _add_marks(self, block: EventBlock) -> None:
        at = np.flatnonzero(block.event < 0)
        if not len(at):
            return
        is_loss = block.kind[at] == Kind.LOSS
        told = [
            [
                None if not loss or value == -1 else value
                for loss, value in zip(is_loss, op, strict=True)
            ]
            for op in (block.op[at, 0].tolist(), block.op[at, 1].tolist())
        ]
        names = [Kind(kind).name for kind in block.kind[at].tolist()]
        self.marks.add([at + self.rows, block.ts[at], block.cpu[at], names, *told])

    def _columns(self, block: EventBlock, group: Group, fields: Mapping[str, Column]) -> list[Any]:
        """The fields of a group's rows; what they cannot tell goes into the exact rows."""
        name = block.names[group.event]
        kind = None if group.kind is self.kinds.get(name, Kind.OTHER) else group.kind.name
        op = block.op[group.rows]
        names = OPERANDS.get(group.kind, ())
        lines: list[str | None] = [None] * len(op)
        if group.columns is not None:
            columns = [group.columns[field] for field in fields]
            told = told_by_fields(names, group.columns, op)
        else:
            told = np.empty(len(op), dtype=bool)
            fitting = []
            for at, row in enumerate(group.rows.tolist()):
                plain = plain_fields(block.fields_of(row))
                fit = _fitting(plain, fields)
                numbers = {key: value for key, value in fit.items() if fields[key].is_number}
                told[at] = operands_of(names, numbers) == tuple(op[at].tolist())
                if [key for key in fields if key in fit] != list(plain):
                    lines[at] = json.dumps(plain, separators=(",", ":"))
                fitting.append(fit)
            columns = [[fit.get(field) for fit in fitting] for field in fields]
        if kind is not None:
            told[:] = False  # a table's operands are those of its event's own kind
        unlike = ~told | np.array([line is not None for line in lines])
        self._add_exact(group.rows, np.flatnonzero(unlike), kind, told, op, lines)
        return columns

    def _add_exact(
        self,
        rows: NDArray[np.int64],
        at: NDArray[np.intp],
        kind: str | None,
        told: NDArray[np.bool_],
        op: NDArray[np.int64],
        lines: Sequence[str | None],
    ) -> None:
        """Kind, operands and fields of some rows, each where their table does not tell it."""
        if not len(at):
            return
        has_op = ~told[at]
        ops = [
            [
                value if has and value != ABSENT else None
                for has, value in zip(has_op, one, strict=True)
            ]
            for one in op[at].T.tolist()
        ]
        fields = [lines[row] for row in at.tolist()]
        self.exact.add([rows[at] + self.rows, [kind] * len(at), has_op, *ops, fields])


def _fitting(plain: Mapping[str, Any], fields: Mapping[str, Column]) -> dict[str, Any]:
    """Those of a row's fields that their columns can hold, as they hold them."""
    fit: dict[str, Any] = {}
    for name, value in plain.items():
        column = fields.get(name)
        if column is None:
            continue
        if column.role == ADDRESS:
            if type(value) is str and _HEX.fullmatch(value) and int(value, 16) <= column.most:
                fit[name] = int(value, 16)
        elif column.role == INTEGER:
            if type(value) is int and column.least <= value <= column.most:
                fit[name] = value
        elif column.role == TEXT:
            if type(value) is str:
                fit[name] = value
        elif type(value) is list and all(column.least <= one <= column.most for one in value):
            fit[name] = value
    return fit


_HEX = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]*)")


def _file_of(name: str, taken: Collection[str]) -> str:
    """A file's name for an event: ``sched.sched_switch.parquet``, safe on every system."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", ".", text_of(name)).strip(".")[:100] or "event"
    folded = {file.casefold() for file in taken}
    number, file = 1, f"{stem}.parquet"
    while file.casefold() in folded:
        number += 1
        file = f"{stem}.{number}.parquet"
    return file


def _part(block: EventBlock, start: int, stop: int) -> EventBlock:
    """Some rows of a block."""
    columns_of = getattr(block.fields_of, "columns", None)
    cut = slice(start, stop)
    return EventBlock(
        block.ts[cut],
        block.cpu[cut],
        block.pid[cut],
        block.kind[cut],
        block.flags[cut],
        block.event[cut],
        block.op[cut],
        block.names,
        _Shifted(block.fields_of, columns_of, start),
    )


class _Shifted:
    """``fields_of`` of a part of a block."""

    def __init__(self, fields_of: Any, columns_of: Any, start: int) -> None:
        self._fields_of = fields_of
        self._columns_of = columns_of
        self._start = start

    def __call__(self, row: int) -> dict[str, Any]:
        fields: dict[str, Any] = self._fields_of(row + self._start)
        return fields

    def columns(self, rows: NDArray[np.int64]) -> dict[str, Any] | None:
        """As ``BlockRecords.columns``."""
        if self._columns_of is None:
            return None
        columns: dict[str, Any] | None = self._columns_of(rows + self._start)
        return columns


def _write_losses(trace: Trace, folder: str) -> None:
    pa = arrow.pyarrow()
    rows = [loss_to_plain(loss) for loss in trace.losses]
    table = pa.Table.from_pylist(rows, schema=arrow.losses_schema())
    pa.parquet.write_table(
        table,
        os.path.join(folder, arrow.LOSSES),
        compression="zstd",
        write_page_checksum=True,
        row_group_size=CHUNK_ROWS,
    )


def _write_metadata(
    trace: Trace, folder: str, rows: int, tables: list[dict[str, Any]], losses: dict[str, Any]
) -> None:
    pa = arrow.pyarrow()
    told = [("fputrace", to_plain(trace))]
    told += [("format", format_to_plain(form)) for form in trace.formats.values()]
    comms = iter(comms_to_plain(trace.comms).items())
    while part := dict(islice(comms, _COMMS)):
        told.append(("comms", part))
    told += [("losses", losses), ("tables", {"rows": rows, "tables": tables})]
    keys = [key for key, _ in told]
    values = [json.dumps(value, separators=(",", ":"), allow_nan=False) for _, value in told]
    table = pa.Table.from_arrays([keys, values], schema=arrow.metadata_schema())
    pa.parquet.write_table(
        table, os.path.join(folder, arrow.METADATA), compression="zstd", write_page_checksum=True
    )


_COMMS = 1000  # names of tasks a row
