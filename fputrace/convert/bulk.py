"""A block's rows by event, their fields as columns where the reader can give them so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.events import ABSENT, EventBlock, Kind
from fputrace.metadata import Names
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

Columns = dict[str, Any]
"""Field -> an array of integers or a list of texts, as ``EventBlock.fields_of`` gives them; an
address is a number here."""


class Group(PlainTuple):
    """Rows of a block of one event and kind.

    ``columns`` is None where each row must be asked for its fields.
    """

    rows: NDArray[np.int64]
    event: int
    kind: Kind
    columns: Columns | None


def groups_of(block: EventBlock) -> Iterator[Group]:
    """The events of a block, marks left out."""
    columns_of = getattr(block.fields_of, "columns", None)
    both = block.event.astype(np.int64) << 8 | block.kind
    both[block.event < 0] = -1
    order = np.argsort(both, kind="stable")
    values, starts = np.unique(both[order], return_index=True)
    for value, rows in zip(values.tolist(), np.split(order, starts[1:]), strict=True):
        if value >= 0:
            columns = None if columns_of is None else columns_of(rows)
            yield Group(rows, value >> 8, Kind(value & 255), columns)


def told_by_fields(names: Names, columns: Columns, op: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of which rows the fields give the operands, as ``metadata.operands_of`` reads them."""
    told = np.ones(len(op), dtype=bool)
    for number in range(4):
        value: Any = ABSENT
        if number < len(names):
            alias = next((alias for alias in names[number] if alias in columns), None)
            if alias is not None and isinstance(columns[alias], np.ndarray):
                value = columns[alias].astype(np.int64)
        told &= op[:, number] == value
    return told
