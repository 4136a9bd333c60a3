"""Many records of one event decoded at once: each field a column, for whoever writes them all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.parsers.formats import is_integer, is_string
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventFormat, FormatField
    from fputrace.parsers.records import RecordDecoder


class _Texts(dict[bytes, str]):
    """Bytes -> the text they are; few differ."""

    def __missing__(self, data: bytes) -> str:
        text = self[data] = data.split(b"\0")[0].decode("utf-8", "backslashreplace")
        return text


class Part(PlainTuple):
    """Some of the records: which of the rows asked for, and where in `data` each one is."""

    rows: NDArray[np.intp]
    data: bytes | memoryview
    start: NDArray[np.int64]
    length: NDArray[np.int64]


def columns_of(
    decoder: RecordDecoder, form: EventFormat, rows: int, parts: Iterable[Part | None]
) -> dict[str, Any] | None:
    """The fields of records of one event, in the format's order; None when one is too short.

    Integers and pointers are arrays of their size and sign, int64 and smaller or uint64; texts and
    other arrays are lists of what :meth:`RecordDecoder.fields` gives.  The `parts` hold all `rows`;
    None in the place of one that lies beyond what was read.
    """
    fields = [field for field in form.fields if not field.name.startswith("common_")]
    if any(not field.array and not field.dynamic and not is_integer(field) for field in fields):
        return None
    end = max((field.offset + field.size for field in fields), default=0)
    done: list[tuple[NDArray[np.intp], dict[str, Any]]] = []
    for part in parts:
        if part is None or int(part.length.min()) < end:
            return None
        done.append((part.rows, _in_part(decoder, fields, end, part)))
    if len(done) == 1 and not np.any(np.diff(done[0][0]) < 0):
        return done[0][1]
    return {field.name: _joined(rows, done, field.name) for field in fields}


def words(data: bytes | memoryview, places: NDArray[np.int64], order: str) -> NDArray[np.int64]:
    """The 32-bit words at these places."""
    bytes_of = np.frombuffer(data, dtype=np.uint8)
    window = np.lib.stride_tricks.sliding_window_view(bytes_of, 4)[places]
    letter = ">" if order == "big" else "<"
    return window.copy().view(letter + "u4").ravel().astype(np.int64)


def in_pages(
    data: bytes | memoryview, at: NDArray[np.int64], order: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Where records begin whose headers are at `at`, and their lengths; None beyond the data.

    include/linux/ring_buffer.h: type_len 0 has the length in the word behind the header.
    """
    if len(data) < 8 or int(at.max()) + 8 > len(data):
        return None
    head = words(data, at, order)
    short = head >> 27 if order == "big" else head & 31
    start = np.where(short > 0, at + 4, at + 8)
    length = np.where(short > 0, short * 4, words(data, at + 4, order) - 4)
    return (start, length) if int((start + length).max()) <= len(data) else None


def _joined(rows: int, parts: Iterable[tuple[NDArray[np.intp], dict[str, Any]]], name: str) -> Any:
    """One column from its parts, each with the rows it is of."""
    whole: Any = None
    listed = False
    for at, found in parts:
        part = found[name]
        if whole is None:
            listed = isinstance(part, list)
            whole = np.empty(rows, dtype=object if listed else part.dtype)
        if listed:
            for row, value in zip(at.tolist(), part, strict=True):
                whole[row] = value
        else:
            whole[at] = part
    return whole.tolist() if listed else whole


def _in_part(
    decoder: RecordDecoder, fields: list[FormatField], end: int, part: Part
) -> dict[str, Any]:
    _, buffer, start, length = part
    data = np.frombuffer(buffer, dtype=np.uint8)
    letter = ">" if decoder.order == "big" else "<"
    table = np.lib.stride_tricks.sliding_window_view(data, max(end, 1))[start]
    texts = _Texts()
    columns: dict[str, Any] = {}
    for field in fields:
        cut = np.ascontiguousarray(table[:, field.offset : field.offset + field.size])
        if is_integer(field):
            sign = "i" if field.signed and "*" not in field.ctype else "u"
            values = cut.view(f"{letter}{sign}{field.size}").ravel()
            columns[field.name] = values.astype(values.dtype.newbyteorder("="))
        elif is_string(field) and not field.dynamic and field.size:
            columns[field.name] = [
                texts[text] for text in cut.view(f"S{field.size}").ravel().tolist()
            ]
        else:
            payloads = zip(start.tolist(), length.tolist(), strict=True)
            columns[field.name] = [
                decoder.value(field, bytes(buffer[first : first + size]))
                for first, size in payloads
            ]
    return columns
