"""What editors and ``grep -n`` put in front of a text: a byte order mark, a number on each line.

The copy without them has the same lines as the file, so that a line keeps its number.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator

from fputrace.parsers.wrapped import Copy

_HEAD = 1 << 14  # bytes whose lines tell whether all are numbered
_LEAST = 3  # numbered lines that are none by chance
_PIECE = 1 << 16

# `12:` of grep -n, `12-` of its context, blanks and a tab of cat -n and nl.
_NUMBER = re.compile(rb"^[ ]{0,12}(\d{1,12})[:\t-]", re.MULTILINE)


def without_numbers(fd: int) -> int | None:
    """A copy of a file without its mark and numbers, the caller's to close; None without any.

    Raises OSError when the file cannot be read or the copy not be written.
    """
    head = os.pread(fd, _HEAD, 0)
    mark = head.startswith(codecs.BOM_UTF8)
    numbered = _is_numbered(head.removeprefix(codecs.BOM_UTF8))
    if not (mark or numbered):
        return None
    copy = Copy()
    try:
        for piece in _stripped(fd, numbered):
            copy.text(piece)
        return copy.finish()
    except BaseException:
        copy.close()
        raise


def _is_numbered(head: bytes) -> bool:
    """Whether each line begins with a number greater than that of the line before."""
    last, count = -1, 0
    for line in head.split(b"\n")[:-1]:
        if line.strip() in (b"", b"--"):  # nl leaves empty lines alone, grep puts -- between
            continue
        found = _NUMBER.match(line)
        if found is None or int(found[1]) <= last:
            return False
        last, count = int(found[1]), count + 1
    return count >= _LEAST


def _stripped(fd: int, numbered: bool) -> Iterator[bytes]:
    """The text in pieces that are lines, or parts of long ones."""
    with open(fd, "rb", closefd=False) as stream:
        stream.seek(0)
        stream.seek(len(codecs.BOM_UTF8) if stream.read(3) == codecs.BOM_UTF8 else 0)
        begins = True
        while piece := stream.read(_PIECE) + stream.readline(_PIECE):
            at = 0 if begins else piece.find(b"\n") + 1 or len(piece)
            yield piece[:at] + (_NUMBER.sub(b"", piece[at:]) if numbered else piece[at:])
            begins = piece.endswith(b"\n")
