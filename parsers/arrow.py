"""The Parquet tables of a converted recording: what their writer and their reader agree on.

A folder of one table per event, ``marks.parquet``, ``exact.parquet``, ``losses.parquet`` and
``metadata.parquet``; docs/convert.md describes their columns.  Every row of the recording has a
number, and CHUNK_ROWS of them make a chunk: a table's row group holds its rows of one chunk, so
that neither side holds more than a chunk.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from fputrace.errors import UsageError
from fputrace.metadata import text_of
from fputrace.parsers.formats import is_integer, is_pointer, is_string
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from fputrace.events import EventFormat

CHUNK_ROWS = 1 << 18
"""Rows of the recording that a row group's rows are among."""

METADATA = "metadata.parquet"
LOSSES = "losses.parquet"
MARKS = "marks.parquet"
EXACT = "exact.parquet"
"""Rows whose kind, operands or fields their event's table cannot tell."""

ADDRESS, INTEGER, TEXT, LIST = "address", "integer", "text", "list"
"""What a column holds: a field's role."""


def pyarrow() -> Any:
    """The module; raises UsageError when it is not installed."""
    try:
        import pyarrow as module
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "Parquet tables need pyarrow, which is not installed",
            hint="pip install 'fputrace[arrow]', or convert --to jsonl.",
        ) from error
    return module


class Column(PlainTuple):
    """What a field's column holds: its role, and the least and most of its numbers."""

    role: str
    least: int
    most: int

    @property
    def is_number(self) -> bool:
        """Whether an operand can be read from it."""
        return self.role in (ADDRESS, INTEGER)


def event_schema(form: EventFormat | None) -> tuple[Any, dict[str, Column]]:
    """The columns of an event's table, and what those that are fields hold.

    Columns of ours begin with ``common_``, as no event's own field does.
    """
    pa = pyarrow()
    columns = [
        ("common_row", pa.int64()),
        ("common_ts", pa.int64()),
        ("common_cpu", pa.int32()),
        ("common_pid", pa.int32()),
        ("common_comm", pa.string()),
        ("common_flags", pa.uint16()),
    ]
    fields: dict[str, Column] = {}
    for field in form.fields if form is not None else ():
        name = text_of(field.name)
        if name.startswith("common_") or name in fields:
            continue
        signed = field.signed and not is_pointer(field)
        bits = 8 * field.size if is_integer(field) else 64
        limits = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        number = getattr(pa, f"{'' if signed else 'u'}int{bits}")()
        if is_integer(field):
            fields[name] = Column(ADDRESS if is_pointer(field) else INTEGER, *limits)
            columns.append((name, number))
        elif is_string(field):
            fields[name] = Column(TEXT, 0, 0)
            columns.append((name, pa.string()))
        else:
            fields[name] = Column(LIST, *limits)
            columns.append((name, pa.list_(number)))
    return pa.schema(columns), fields


def marks_schema() -> Any:
    """Columns of ``marks.parquet``."""
    pa = pyarrow()
    return pa.schema(
        [
            ("common_row", pa.int64()),
            ("common_ts", pa.int64()),
            ("common_cpu", pa.int32()),
            ("mark", pa.string()),
            ("lost", pa.int64()),
            ("after_ns", pa.int64()),
        ]
    )


def exact_schema() -> Any:
    """Columns of ``exact.parquet``; null where the event's table tells."""
    pa = pyarrow()
    columns = [("common_row", pa.int64()), ("kind", pa.string()), ("has_op", pa.bool_())]
    columns += [(f"op{number}", pa.int64()) for number in range(4)]
    return pa.schema([*columns, ("fields", pa.string())])


def losses_schema() -> Any:
    """Columns of ``losses.parquet``: a Loss each."""
    pa = pyarrow()
    return pa.schema(
        [
            ("cpu", pa.int32()),
            ("after_ns", pa.int64()),
            ("before_ns", pa.int64()),
            ("count", pa.int64()),
            ("where", pa.string()),
            ("placed", pa.bool_()),
            ("severity", pa.string()),
        ]
    )


def metadata_schema() -> Any:
    """Columns of ``metadata.parquet``: what it is of, and its JSON."""
    pa = pyarrow()
    return pa.schema([("key", pa.string()), ("value", pa.string())])


def checksum_of(path: str) -> int:
    """CRC-32 of a file; raises OSError."""
    crc = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            crc = zlib.crc32(piece, crc)
    return crc
