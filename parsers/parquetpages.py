"""What a row group of a Parquet file takes in memory, by the headers of its pages.

The sizes that a file's footer tells are claims that pyarrow does not compare with what it reads: a
page of some hundred bytes may unpack to gigabytes, and a run of one value stands for any number of
them.  A page's own header cannot lie so: no more than its ``uncompressed_page_size`` is unpacked,
and no more than its ``num_values`` are decoded.  So the headers are added up before pyarrow reads.

Headers are ``PageHeader`` of apache/parquet-format (src/main/thrift/parquet.thrift), in Thrift's
compact protocol (apache/thrift, doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

from typing import IO, Any

from fputrace.errors import FormatError

LARGEST_GROUP = 1 << 28
"""A row group that takes more bytes of memory than this is neither written nor read."""

_LARGEST_HEADER = 1 << 14  # Arrow leaves out statistics of more than 4 KiB
_VALUE_BYTES = 8  # the largest value; one of a dictionary is its pointer and length
_ENTRY_BYTES = 16

# PageHeader
_TYPE, _UNPACKED, _PACKED = 1, 2, 3
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_HEADER_OF = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}

# DataPageHeader and DictionaryPageHeader have the encoding second, DataPageHeaderV2 fourth.
_VALUES = 1
_ENCODING_OF = {_DATA_PAGE: 2, _DICTIONARY_PAGE: 2, _DATA_PAGE_V2: 4}

# PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY: what Arrow writes.  Others may have values that
# repeat those before them (DELTA_BYTE_ARRAY), so that a page's size bounds nothing.
_ENCODINGS = frozenset((0, 2, 3, 8))

# Thrift's compact types
_STOP, _TRUE, _FALSE, _I16, _I32, _I64, _BINARY, _STRUCT = 0, 1, 2, 4, 5, 6, 8, 12


def check_pages(path: str, shown: str, metadata: Any) -> None:
    """Raise FormatError when a row group takes more than LARGEST_GROUP, or when pages are not as
    Arrow writes them; OSError.  ``metadata``: pyarrow's, of the file at ``path``.
    """
    behind = 0
    with open(path, "rb") as file:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            cost = 0
            for column in map(group.column, range(group.num_columns)):
                if not column.num_values:  # Arrow reads so many, and tells of no page here
                    continue
                place = column.data_page_offset
                if column.has_dictionary_page and 0 < column.dictionary_page_offset < place:
                    place = column.dictionary_page_offset
                if place < behind:  # else few pages could be read any number of times
                    raise FormatError("a column lies in another", path=shown, offset=place)
                behind = place + column.total_compressed_size
                while place < behind:
                    size, takes = _page(file, place, shown)
                    place += size
                    cost += takes
            if cost > LARGEST_GROUP:
                raise FormatError(
                    f"row group {number} takes {cost} bytes, more than {LARGEST_GROUP}", path=shown
                )


def _page(file: IO[bytes], place: int, path: str) -> tuple[int, int]:
    """The bytes of a page in the file, header and all, and those it takes in memory."""
    try:
        file.seek(place)
        header, size = _struct(file.read(_LARGEST_HEADER), 0, 0)
        kind, unpacked, packed = header[_TYPE], header[_UNPACKED], header[_PACKED]
        told = header[_HEADER_OF[kind]]
        values, encoding = told[_VALUES], told[_ENCODING_OF[kind]]
        if min(unpacked, packed, values) < 0 or max(unpacked, packed, values) >= 1 << 31:
            raise ValueError("a size that is none")
        if encoding not in _ENCODINGS:
            raise ValueError(f"values of encoding {encoding}")
    except (LookupError, TypeError, ValueError) as error:
        raise FormatError(
            f"no page as Arrow writes them: {error}", path=path, offset=place
        ) from error
    each = _ENTRY_BYTES if kind == _DICTIONARY_PAGE else _VALUE_BYTES
    return size + packed, unpacked + values * each


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """The fields of a struct, and where it ends.  Raises ValueError, IndexError."""
    fields: dict[int, Any] = {}
    number = 0
    while (kind := data[at] & 15) != _STOP:
        step = data[at] >> 4
        at += 1
        if step:
            number += step
        else:
            number, at = _zigzag(data, at)
        if number in fields:
            raise ValueError(f"field {number} twice")
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        elif kind in (_I16, _I32, _I64):
            fields[number], at = _zigzag(data, at)
        elif kind == _BINARY:
            size, at = _varint(data, at)
            at += size
            fields[number] = None
        elif kind == _STRUCT and depth < 2:  # the page's own header, and its Statistics
            fields[number], at = _struct(data, at, depth + 1)
        else:
            raise ValueError(f"field {number} of type {kind}")
    return fields, at + 1


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while data[at] > 127:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
    return number | data[at] << shift, at + 1
