"""One record decoded completely, by its event's format: what reports show of a witness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.events import EventFormat, FormatField
from fputrace.parsers.bulk import Part, columns_of, in_pages
from fputrace.parsers.formats import is_pointer, is_string

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Buffers = Mapping[int, bytes | memoryview]


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "backslashreplace")


_SIZES = {
    "char": 1, "bool": 1, "_Bool": 1, "u8": 1, "s8": 1, "uint8_t": 1, "int8_t": 1,
    "short": 2, "u16": 2, "s16": 2, "uint16_t": 2, "int16_t": 2,
    "int": 4, "u32": 4, "s32": 4, "uint32_t": 4, "int32_t": 4, "pid_t": 4, "unsigned": 4,
    "u64": 8, "s64": 8, "uint64_t": 8, "int64_t": 8,
}  # fmt: skip


def element_size(field: FormatField, long_size: int) -> int:
    """Bytes of one element of an array: by its length where that is a number, else by its type."""
    declared, _, length = field.ctype.partition("[")
    length = length.rstrip("] ")
    if not field.dynamic and length.isdecimal() and 0 < int(length) <= field.size:
        size = field.size // int(length)
        if size in (1, 2, 4, 8):
            return size
    words = declared.replace("__", "").split()
    if "*" in declared or words.count("long") == 1:
        return long_size
    if "long" in words:
        return 8
    known = [_SIZES[word] for word in words if word in _SIZES and word != "unsigned"]
    return known[0] if known else 4 if "unsigned" in words else 1


class RecordDecoder:
    """Decodes payloads of one recording.  ``long_size`` is the kernel's."""

    def __init__(self, big: bool, long_size: int) -> None:
        self.order: Any = "big" if big else "little"
        self.long_size = long_size

    def fields(self, form: EventFormat, payload: bytes) -> dict[str, Any]:
        """Every field of the event except the common ones, under the kernel's names.

        Integers by size and sign, pointers as hex strings, text as str (cut at NUL, bytes that
        are not UTF-8 as backslash escapes), other arrays as tuples of int.  A field that lies
        beyond the record is left out; dynamic fields are clamped to it.
        """
        decoded: dict[str, Any] = {}
        for field in form.fields:
            if not field.name.startswith("common_"):
                value = self.value(field, payload)
                if value is not None:
                    decoded[field.name] = value
        return decoded

    def value(self, field: FormatField, payload: bytes) -> Any:
        """One field, as :meth:`fields` gives it; None when it lies beyond the record."""
        if field.dynamic:
            return self._array(field, self._dynamic(field, payload))
        data = payload[field.offset : field.offset + field.size]
        if field.array:
            return self._array(field, data)
        if len(data) < field.size:
            return None
        if is_pointer(field):
            return hex(int.from_bytes(data, self.order))
        if field.size in (1, 2, 4, 8):
            return int.from_bytes(data, self.order, signed=field.signed)
        return tuple(data)

    def _dynamic(self, field: FormatField, payload: bytes) -> bytes:
        """What a ``__data_loc`` or ``__rel_loc`` word points at (offset low, length high)."""
        word = payload[field.offset : field.offset + field.size]
        value = int.from_bytes(word, self.order)
        start = value & 0xFFFF
        length = value >> 16 if field.size == 4 else len(payload)  # old form: offset only
        if field.dynamic == "rel_loc":
            start += field.offset + field.size
        return payload[start : start + length]

    def _array(self, field: FormatField, data: bytes) -> Any:
        if is_string(field):
            return _text(data)
        size = element_size(field, self.long_size)
        return tuple(
            int.from_bytes(data[at : at + size], self.order, signed=field.signed)
            for at in range(0, len(data) - size + 1, size)
        )


class BlockRecords:
    """Where the records of one block are: ``fields_of`` of that block.

    ``raw`` holds, for each row, the number of a chunk and the offset of the record's header in it
    (``chunk << 32 | offset``), -1 on marks; ``buffers`` keeps those chunks.
    """

    def __init__(
        self,
        raw: NDArray[np.int64],
        event: NDArray[np.int32],
        buffers: Buffers,
        formats: list[EventFormat | None],
        decoder: RecordDecoder,
    ) -> None:
        self.raw = raw
        self.event = event
        self.buffers = buffers
        self.formats = formats
        self.decoder = decoder

    def payload(self, row: int) -> bytes:
        """The record's bytes behind its header; empty on marks."""
        place = int(self.raw[row])
        if place < 0:
            return b""
        data = self.buffers[place >> 32]
        at = place & 0xFFFFFFFF
        word = int.from_bytes(data[at : at + 4], self.decoder.order)
        size = word >> 27 if self.decoder.order == "big" else word & 31
        if size:
            return bytes(data[at + 4 : at + 4 + 4 * size])
        length = int.from_bytes(data[at + 4 : at + 8], self.decoder.order) - 4
        return bytes(data[at + 8 : at + 8 + length])

    def __call__(self, row: int) -> dict[str, Any]:
        """The fields of a row; empty on marks and for events without a format."""
        index = int(self.event[row])
        form = self.formats[index] if index >= 0 else None
        return self.decoder.fields(form, self.payload(row)) if form is not None else {}

    def columns(self, rows: NDArray[np.int64]) -> dict[str, Any] | None:
        """Every field of these rows, which are of one event, as :func:`bulk.columns_of` has them.

        None when that event has no format or a record is too short: then ask row by row.
        """
        index = int(self.event[rows[0]])
        form = self.formats[index] if index >= 0 else None
        if form is None:
            return None
        return columns_of(self.decoder, form, len(rows), self.parts(self.raw[rows]))

    def parts(self, raw: NDArray[np.int64]) -> Iterator[Part | None]:
        """Where the records are whose ``raw`` that is; None: beyond what was read."""
        for serial in np.unique(raw >> 32).tolist():
            rows = np.flatnonzero(raw >> 32 == serial)
            data = self.buffers[serial]
            found = in_pages(data, raw[rows] & 0xFFFFFFFF, self.decoder.order)
            yield Part(rows, data, *found) if found is not None else None

    def field(self, row: int, name: str) -> Any:
        """One field of a row by its name; "" where there is none."""
        index = int(self.event[row])
        form = self.formats[index] if index >= 0 else None
        for known in form.fields if form is not None else ():
            if known.name == name:
                return self.decoder.value(known, self.payload(row))
        return ""
