"""Parquet tables, as ``fputrace convert --to parquet`` writes them (docs/convert.md).

The rows of all tables carry their numbers, and a chunk of numbers is put together at once.  Every
file's checksum is in the metadata and is compared before pyarrow reads the file: what differs is a
FormatError, never a guess.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.errors import FormatError
from fputrace.events import ABSENT, BLOCK_ROWS, EventBlock, Kind, Loss, Trace
from fputrace.metadata import (
    OPERANDS,
    MalformedError,
    comms_from_plain,
    format_from_plain,
    from_plain,
    kind_of,
    loss_from_plain,
)
from fputrace.parsers import arrow
from fputrace.parsers.arrow import ADDRESS, CHUNK_ROWS, LIST, TEXT, Column
from fputrace.parsers.parquetpages import LARGEST_GROUP, check_pages
from fputrace.parsers.rows import Columns, Marks, blocks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_VALUE = 4 << 20
"""A text or JSON of more characters than this is not read, as a line of JSON lines."""

LARGEST_METADATA = 1 << 26
"""So is a ``metadata.parquet`` of more characters."""

MOST_LOSSES = 1 << 20
"""So is a ``losses.parquet`` of more rows."""

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,120}\.parquet")
_HINT = "The folder was changed or is not complete; convert the recording again."
_LOSS_TEXTS = ("where", "severity")


def open_parquet(folder: str, path: str) -> Trace:
    """Open a folder of tables.

    Raises FormatError when its metadata cannot be read or a table is not as it was written,
    UsageError when pyarrow is not installed.
    """
    arrow.pyarrow()
    tables = _Folder(folder, path)
    trace = tables.trace
    trace.total_bytes = tables.size
    trace._blocks = lambda opened: _Pass(opened, tables).blocks()
    trace._close = tables.close
    return trace


@contextmanager
def _typed(path: str) -> Iterator[None]:
    """What pyarrow and checked values raise, as a FormatError with the place."""
    try:
        yield
    except FileNotFoundError as error:
        missing = os.path.basename(error.filename or "a table")
        raise FormatError(f"there is no {missing}", path=path, hint=_HINT) from error
    except (
        arrow.pyarrow().ArrowException,
        ArithmeticError,
        LookupError,
        MemoryError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        said = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise FormatError(said, path=path, hint=_HINT) from error


def _parquet_file(path: str, shown: str, schema: Any) -> Any:
    """A file with these columns, whose row groups may be read.

    A text stays an entry of a dictionary, however many rows have it.
    """
    pa = arrow.pyarrow()
    texts = [field.name for field in schema if field.type == pa.string()]
    file = pa.parquet.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True)
    entry = pa.dictionary(pa.int32(), pa.string())
    stored = [
        pa.field(field.name, pa.string()) if field.type == entry else field
        for field in file.schema_arrow
    ]
    if not pa.schema(stored).equals(schema, check_metadata=False):
        raise FormatError("its columns are others than they should be", path=shown)
    check_pages(path, shown, file.metadata)
    return file


class _File:
    """One table: whole when its checksum is right, read a row group at a time."""

    def __init__(self, folder: str, shown: str, told: Any, schema: Any) -> None:
        name = told.get("file") if isinstance(told, dict) else None
        if not isinstance(name, str) or not _FILE.fullmatch(name):
            raise MalformedError(f"{str(name)[:40]!r} is no name of a table")
        self.path = os.path.join(folder, name)
        self.shown = os.path.join(shown, name)
        self.schema = schema
        if os.path.lexists(self.path) and not os.path.isfile(self.path):
            raise MalformedError(f"{name} is no file")  # to open a pipe may take for ever
        if arrow.checksum_of(self.path) != told.get("crc32"):
            raise FormatError(
                "its checksum is another than when it was written", path=self.shown, hint=_HINT
            )
        self.file = _parquet_file(self.path, self.shown, schema)
        self._lock = Lock()  # a block's fields are asked for while the next one is read

    def group(self, number: int, rows: int, columns: list[str] | None = None) -> Any:
        """A row group's columns; raises FormatError when it has another number of rows."""
        told = self.file.metadata
        if number >= told.num_row_groups or told.row_group(number).num_rows != rows:
            raise FormatError(
                f"row group {number} does not have its {rows} rows", path=self.shown, hint=_HINT
            )
        with self._lock, _typed(self.shown):
            table = self.file.read_row_group(number, columns=columns, use_threads=False)
        if len(table) != rows:
            raise FormatError(f"row group {number} has {len(table)} rows", path=self.shown)
        return table


class _Table:
    """A file of rows: which event's, and how many of each chunk."""

    def __init__(self, file: _File, event: str, rows: list[int], fields: dict[str, Column]) -> None:
        self.file = file
        self.event = event
        self.rows = rows
        self.fields = fields
        self.numbers = np.cumsum([0] + [int(count > 0) for count in rows]).tolist()

    def of(self, chunk: int) -> tuple[int, int]:
        """(row group, rows) of a chunk; no rows where it has none."""
        rows = self.rows[chunk] if chunk < len(self.rows) else 0
        return self.numbers[chunk] if rows else -1, rows


class _Folder:
    """The metadata, and the tables they name."""

    def __init__(self, folder: str, shown: str) -> None:
        self.folder = folder
        self.shown = shown
        self.comms: dict[int, str] = {}
        self.losses: list[Loss] = []
        self.rows = 0
        self.size = 0
        with _typed(os.path.join(shown, arrow.METADATA)):
            self._read()
        self.notes = list(self.trace.notes)

    def _read(self) -> None:
        told: dict[str, Any] = {}
        forms = {}
        for key, value in self._metadata():
            if key == "comms":
                self.comms.update(comms_from_plain(value))
            elif key == "format":
                form = format_from_plain(value)
                forms[form.key] = form
            else:
                told[key] = value
        self.trace = from_plain(told.get("fputrace"), self.shown, "parquet")
        self.trace.formats = forms
        self.trace.comms = dict(self.comms)
        self._open_tables(told.get("tables"))
        self._read_losses(told.get("losses"))

    def close(self) -> None:
        """Close every table."""
        for table in (self.marks, self.exact, *self.events):
            table.file.file.close()

    def _metadata(self) -> Iterator[tuple[str, Any]]:
        path = os.path.join(self.folder, arrow.METADATA)
        shown = os.path.join(self.shown, arrow.METADATA)
        with _parquet_file(path, shown, arrow.metadata_schema()) as file:
            if file.metadata.num_rows > CHUNK_ROWS:
                raise MalformedError(f"it has more than {CHUNK_ROWS} rows")
            table = file.read(use_threads=False)
        keys, values = (_texts(table, name, LARGEST_METADATA) for name in ("key", "value"))
        for key, value in zip(keys, values, strict=True):
            if value is None:
                raise MalformedError("it has no text where JSON should be")
            yield key, json.loads(value)

    def _open_tables(self, told: Any) -> None:
        rows = told.get("rows") if isinstance(told, dict) else None
        listed = told.get("tables") if isinstance(told, dict) else None
        if type(rows) is not int or rows < 0 or not isinstance(listed, list):
            raise MalformedError("it does not tell which tables there are")
        self.rows = rows
        self.events: list[_Table] = []
        for one in listed:
            name = one.get("event") if isinstance(one, dict) else None
            if not isinstance(name, str):
                raise MalformedError("a table is of no event")
            if name:
                schema, fields = arrow.event_schema(self.trace.formats.get(name))
                self.events.append(self._table(one, name, schema, fields))
            elif one.get("file") == arrow.MARKS:
                self.marks = self._table(one, "", arrow.marks_schema(), {})
            else:
                self.exact = self._table(one, "", arrow.exact_schema(), {})
        if not hasattr(self, "marks") or not hasattr(self, "exact"):
            raise MalformedError("it names no table of marks or of exact rows")

    def _table(self, told: Any, name: str, schema: Any, fields: dict[str, Column]) -> _Table:
        rows = told.get("rows")
        chunks = -(-self.rows // CHUNK_ROWS)
        if (
            not isinstance(rows, list)
            or len(rows) > chunks
            or not all(type(count) is int and 0 <= count <= CHUNK_ROWS for count in rows)
        ):
            raise MalformedError("a table does not tell its rows")
        file = _File(self.folder, self.shown, told, schema)
        self.size += os.path.getsize(file.path)
        return _Table(file, name, rows, fields)

    def _read_losses(self, told: Any) -> None:
        file = _File(self.folder, self.shown, told, arrow.losses_schema())
        metadata = file.file.metadata
        if metadata.num_rows > MOST_LOSSES:
            raise MalformedError(f"it tells of more than {MOST_LOSSES} losses")
        for number in range(metadata.num_row_groups):
            found = file.group(number, metadata.row_group(number).num_rows)
            columns = [
                _texts(found, name) if name in _LOSS_TEXTS else found.column(name).to_pylist()
                for name in found.column_names
            ]
            for row in zip(*columns, strict=True):
                self.losses.append(loss_from_plain(dict(zip(found.column_names, row, strict=True))))


class _Chunk:
    """The rows of a chunk in order, and how to find their fields again."""

    def __init__(
        self, tables: _Folder, trace: Trace, number: int, known: Mapping[str, int]
    ) -> None:
        self.tables = tables
        self.number = number
        self.cpus = np.array(trace.cpus, dtype=np.int64)
        self.base = number * CHUNK_ROWS
        count = min(CHUNK_ROWS, tables.rows - self.base)
        self.rows = Columns.empty(count)
        self.rows.raw[:] = -1
        self.rows.op[:] = ABSENT
        self.table = np.full(count, -1, dtype=np.int32)
        self.index = np.zeros(count, dtype=np.int32)
        self.filled = np.zeros(count, dtype=bool)
        self.exact: dict[int, str] = {}
        self.whole: dict[int, Any] = {}
        with _typed(tables.shown):
            self._marks(tables.marks)
            for at, table in enumerate(tables.events):
                self._events(at, table, trace, known)
            if not self.filled.all():
                row = self.base + int(np.flatnonzero(~self.filled)[0])
                raise MalformedError(f"row {row} is in no table")
            self._exact(tables.exact)

    def _take(self, table: _Table, columns: list[str]) -> tuple[NDArray[np.int64], Any] | None:
        """Places in the chunk of a table's rows, and those of its columns."""
        group, rows = table.of(self.number)
        if not rows:
            return None
        found = table.file.group(group, rows, ["common_row", *columns])
        at = _integers(found, "common_row")[0] - self.base
        if int(at.min()) < 0 or int(at.max()) >= len(self.rows) or len(np.unique(at)) < len(at):
            raise MalformedError(f"{table.file.shown}: its rows are not those of the chunk")
        return at, found

    def _fill(self, at: NDArray[np.int64], found: Any) -> None:
        if self.filled[at].any():
            raise MalformedError("a row is in two tables")
        self.filled[at] = True
        cpu = _integers(found, "common_cpu")[0]
        if not np.isin(cpu, self.cpus).all():
            raise MalformedError("a row's CPU is none of the recording's")
        self.rows.cpu[at] = cpu
        self.rows.ts[at] = _integers(found, "common_ts")[0]

    def _marks(self, table: _Table) -> None:
        taken = self._take(table, ["common_ts", "common_cpu", "mark", "lost", "after_ns"])
        if taken is None:
            return
        at, found = taken
        self._fill(at, found)
        kinds = [kind_of(name) for name in _texts(found, "mark")]
        if not set(kinds) <= {Kind.LOSS, Kind.LOSS_END, Kind.CPU_END}:
            raise MalformedError("a mark is none")
        self.rows.kind[at] = kinds
        self.rows.pid[at] = self.rows.event[at] = -1
        self.rows.flags[at] = 0
        is_loss = self.rows.kind[at] == Kind.LOSS
        for number, name in enumerate(("lost", "after_ns")):
            values, there = _integers(found, name)
            self.rows.op[at, number] = np.where(is_loss, np.where(there, values, -1), ABSENT)

    def _events(self, number: int, table: _Table, trace: Trace, known: Mapping[str, int]) -> None:
        event = known[table.event]
        kind = trace.event_kinds[event]
        names = OPERANDS.get(kind, ())
        operands = [
            [alias for alias in aliases if alias in table.fields and table.fields[alias].is_number]
            for aliases in names
        ]
        wanted = dict.fromkeys(alias for aliases in operands for alias in aliases)
        own = ["common_ts", "common_cpu", "common_pid", "common_flags"]
        taken = self._take(table, [*own, *wanted])
        if taken is None:
            return
        at, found = taken
        self._fill(at, found)
        rows = self.rows
        rows.pid[at] = _integers(found, "common_pid")[0]
        rows.flags[at] = _integers(found, "common_flags")[0]
        rows.kind[at] = kind
        rows.event[at] = event
        rows.raw[at] = at
        self.table[at] = number
        self.index[at] = np.arange(len(at))
        for place, aliases in enumerate(operands):
            value = np.full(len(at), ABSENT, dtype=np.int64)
            for alias in reversed(aliases):
                column, there = _integers(found, alias)
                value = np.where(there, column, value)
            rows.op[at, place] = value

    def _exact(self, table: _Table) -> None:
        names = [field.name for field in table.file.schema][1:]
        taken = self._take(table, names)
        if taken is None:
            return
        at, found = taken
        if (self.table[at] < 0).any():
            raise MalformedError("an exact row is no event's")
        kinds = _texts(found, "kind")
        told = np.array([name is not None for name in kinds])
        made = [kind_of(name) for name in kinds if name is not None]
        if any(kind in (Kind.LOSS, Kind.LOSS_END, Kind.CPU_END) for kind in made):
            raise MalformedError("a mark has no event")
        self.rows.kind[at[told]] = made
        has_op = np.array([told is True for told in found.column("has_op").to_pylist()])
        for number in range(4):
            values, there = _integers(found, f"op{number}")
            rows = at[has_op]
            self.rows.op[rows, number] = np.where(there, values, ABSENT)[has_op]
        for row, line in zip(at.tolist(), _texts(found, "fields"), strict=True):
            if line is not None:
                self.exact[row] = line

    # Fields

    def table_of(self, number: int) -> Any:
        """A table's row group with all its fields; kept while the chunk is."""
        if number not in self.whole:
            table = self.tables.events[number]
            group, rows = table.of(self.number)
            self.whole[number] = table.file.group(group, rows, list(table.fields))
        return self.whole[number]

    def fields(self, row: int) -> dict[str, Any]:
        """The fields of a row of the chunk."""
        number = int(self.table[row])
        if number < 0:
            return {}
        with _typed(self.tables.shown):
            return self._decoded(row, number)

    def _decoded(self, row: int, number: int) -> dict[str, Any]:
        if row in self.exact:
            return _from_json(self.exact[row])
        index = int(self.index[row])
        found = self.table_of(number)
        fields: dict[str, Any] = {}
        for name, column in self.tables.events[number].fields.items():
            value = found.column(name)[index].as_py()
            if value is not None:
                fields[name] = _shown(value, column.role)
        return fields

    def columns(self, rows: NDArray[np.int64]) -> dict[str, Any] | None:
        """As ``BlockRecords.columns``: rows of one event, unless a field is null or exact."""
        number = int(self.table[rows[0]])
        if self.exact and not self.exact.keys().isdisjoint(rows.tolist()):
            return None
        with _typed(self.tables.shown):
            return self._column_wise(rows, number)

    def _column_wise(self, rows: NDArray[np.int64], number: int) -> dict[str, Any] | None:
        found = self.table_of(number).take(self.index[rows])
        columns: dict[str, Any] = {}
        for name, column in self.tables.events[number].fields.items():
            values = found.column(name).combine_chunks()
            if values.null_count:
                return None
            if column.is_number:
                columns[name] = values.to_numpy()
            elif column.role == TEXT:
                columns[name] = _texts(found, name)
            else:
                columns[name] = [tuple(one) for one in values.to_pylist()]
        return columns


class _FieldsOf:
    """``fields_of`` of a block."""

    def __init__(self, chunk: _Chunk, raw: NDArray[np.int64]) -> None:
        self._chunk = chunk
        self._raw = raw

    def __call__(self, row: int) -> dict[str, Any]:
        at = int(self._raw[row])
        return self._chunk.fields(at) if at >= 0 else {}

    def columns(self, rows: NDArray[np.int64]) -> dict[str, Any] | None:
        """As ``BlockRecords.columns``."""
        return self._chunk.columns(self._raw[rows])


class _Pass:
    """One run over the rows."""

    def __init__(self, trace: Trace, tables: _Folder) -> None:
        self.trace = trace
        self.tables = tables
        self.known: dict[str, int] = {}
        for index, name in enumerate(trace.event_names):
            self.known.setdefault(name, index)
        self.chunk: _Chunk | None = None

    def blocks(self) -> Iterator[EventBlock]:
        """All rows in order.  Raises FormatError where the tables do not fit each other."""
        trace, tables = self.trace, self.tables
        trace.losses[:] = tables.losses
        trace.counts.clear()
        trace.notes[:] = tables.notes
        trace.comms.clear()
        trace.comms.update(tables.comms)
        trace.first_ns = trace.last_ns = None
        trace.read_bytes = 0
        return blocks_of(trace, self._parts(), Marks((), {}), self._fields_of)

    def _fields_of(self, rows: Columns) -> Callable[[int], dict[str, Any]]:
        assert self.chunk is not None
        return _FieldsOf(self.chunk, rows.raw)

    def _parts(self) -> Iterator[Columns]:
        before = -(1 << 63)
        chunks = -(-self.tables.rows // CHUNK_ROWS)
        for number in range(chunks):
            self.chunk = chunk = _Chunk(self.tables, self.trace, number, self.known)
            ts = chunk.rows.ts
            if int(ts[0]) < before or (len(ts) > 1 and (ts[1:] < ts[:-1]).any()):
                raise FormatError(
                    "the rows are not in the order of time", path=self.tables.shown, hint=_HINT
                )
            before = int(ts[-1])
            for start in range(0, len(ts), BLOCK_ROWS):
                yield chunk.rows.part(slice(start, start + BLOCK_ROWS))
            self.trace.read_bytes = self.trace.total_bytes * (number + 1) // chunks


def _integers(found: Any, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A column of integers, and where it has one; unsigned ones as their two's complement."""
    column = found.column(name).combine_chunks()
    there = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    if column.null_count:
        if name.startswith("common_"):
            raise MalformedError(f"{name} is null")
        column = column.fill_null(0)
    return column.to_numpy(zero_copy_only=False).astype(np.int64), there


def _texts(found: Any, name: str, room: int = LARGEST_GROUP) -> list[Any]:
    """A column of texts, of so many characters at most; what several rows have is there once."""
    texts: list[Any] = []
    for part in found.column(name).chunks:
        known = part.dictionary.to_pylist()
        sizes = np.array([len(text or "") for text in known], dtype=np.int64)
        at = part.indices.drop_null().to_numpy()
        room -= int(sizes[at].sum())
        if int(sizes.max(initial=0)) > LARGEST_VALUE or room < 0:
            raise MalformedError(f"the texts of {name} are too large")
        texts += [None if one is None else known[one] for one in part.indices.to_pylist()]
    return texts


def _shown(value: Any, role: str) -> Any:
    if role == ADDRESS:
        return hex(value)
    return tuple(value) if role == LIST else value


def _from_json(line: str) -> dict[str, Any]:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise MalformedError("the fields of an exact row are no object")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
