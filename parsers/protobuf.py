"""Protocol buffers without a schema: the fields of a message, one after the other.

The wire format is that of protobuf.dev/programming-guides/encoding.  Messages inside messages are
ranges of the same bytes; whoever wants them asks for them, so nothing here recurses.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

VARINT, I64, LEN, I32 = 0, 1, 2, 5
"""Wire types; 3 and 4, groups, are not written any more."""

LARGEST_NUMBER = (1 << 29) - 1
"""Of a field."""

_U64 = (1 << 64) - 1


class ProtobufError(ValueError):
    """Bytes that are no message (never leaves the parser); ``at`` is where."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at a place, 64 bits, and where it ends.

    Raises ProtobufError when it does not end before `end`, or within ten bytes.
    """
    value = shift = 0
    start = at
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, at
        shift += 7
        if shift > 63:
            raise ProtobufError(start, "a number of more than ten bytes")
    raise ProtobufError(start, "the message ends inside a number")


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, value, -1) or, of what has a length, (number, start, stop) of each field.

    Numbers of fixed size are given unsigned.  Raises ProtobufError where the message breaks.
    """
    while at < end:
        start = at
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = varint(data, start, end)
        wire = tag & 7
        number = tag >> 3
        if not 0 < number <= LARGEST_NUMBER:
            raise ProtobufError(start, f"a field with the number {number}")
        if wire in (VARINT, LEN):
            if at >= end:
                raise ProtobufError(start, "the message ends behind a tag")
            value = data[at]
            at += 1
            if value >= 0x80:
                value, at = varint(data, at - 1, end)
            if wire == VARINT:
                yield number, value, -1
                continue
            if value > end - at:
                raise ProtobufError(start, f"a field of {value} bytes where {end - at} are left")
            yield number, at, at + value
            at += value
        elif wire in (I64, I32):
            size = 8 if wire == I64 else 4
            if size > end - at:
                raise ProtobufError(start, "the message ends inside a number")
            yield number, int.from_bytes(data[at : at + size], "little"), -1
            at += size
        else:
            raise ProtobufError(start, f"wire type {wire}")


def packed(data: bytes, at: int, end: int) -> array[int]:
    """The numbers of a packed repeated field, unsigned 64 bits.

    Raises ProtobufError when the last one does not end.
    """
    values = array("Q")
    while at < end:
        byte = data[at]
        if byte < 0x80:
            at += 1
        else:
            byte, at = varint(data, at, end)
        values.append(byte)
    return values


def signed(value: int, bits: int = 64) -> int:
    """A number as two's complement: how int32 and int64 are encoded."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def text(data: bytes, at: int, end: int) -> str:
    """A string; bytes that are not UTF-8 as backslash escapes."""
    return data[at:end].decode("utf-8", "backslashreplace")
