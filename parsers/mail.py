"""Lines of a mail as they were before it was sent: ``format=flowed`` puts broken ones together.

RFC 3676: in such a text a line that ends with a blank goes on in the next one of the same depth of
quotation; with ``DelSp=yes`` that blank is not the text's own.  What a mail program broke without
saying so stays broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fputrace.parsers.wrapped import MAX_LINE
from fputrace.plain import PlainTuple

_TYPE = re.compile(rb"content-type:", re.IGNORECASE)
_FLOWED = re.compile(rb"\bformat ?= ?\"?flowed\b", re.IGNORECASE)
_DELETED = re.compile(rb"\bdelsp ?= ?\"?yes\b", re.IGNORECASE)
_QUOTES = re.compile(rb"(?:> ?+){0,100}+")
_SIGNATURE = b"-- "


class MailLine(PlainTuple):
    """A line without its end, where it begins in the file (from 1), whether it has an end."""

    number: int
    text: bytes
    whole: bool


def unflowed(lines: Iterable[tuple[bytes, bool]]) -> Iterator[MailLine]:
    """The lines of a text; those that a header calls flowed are put together."""
    flowed = deleted = header = False
    open_line: MailLine | None = None
    for number, (raw, whole) in enumerate(lines, 1):
        header = _TYPE.match(raw) is not None or (header and raw[:1] in (b" ", b"\t"))
        if header:
            folded = raw[:1] in (b" ", b"\t")
            flowed = _FLOWED.search(raw) is not None or (flowed and folded)
            deleted = _DELETED.search(raw) is not None or (deleted and folded)
        elif flowed:
            line = MailLine(number, raw.rstrip(b"\r"), whole)
            if open_line is not None:
                line = _joined(open_line, line, deleted) or line
                if line.number == number:
                    yield open_line
            open_line = line if _goes_on(line) else None
            if open_line is None:
                yield line
            continue
        if open_line is not None:
            yield open_line
            open_line = None
        yield MailLine(number, raw, whole)
    if open_line is not None:
        yield open_line


def _goes_on(line: MailLine) -> bool:
    return line.whole and line.text.endswith(b" ") and _content(line.text) != _SIGNATURE


def _joined(first: MailLine, second: MailLine, deleted: bool) -> MailLine | None:
    """Both as one line, None when the second is not the first one's."""
    if _depth(first.text) != _depth(second.text) or _content(second.text) == _SIGNATURE:
        return None
    if len(first.text) + len(second.text) > MAX_LINE:
        return None
    begin = first.text[:-1] if deleted else first.text
    return MailLine(first.number, begin + _content(second.text), second.whole)


def _quotes(text: bytes) -> bytes:
    """The marks of quotation in front, each with the blank that may follow it."""
    marks = _QUOTES.match(text)
    assert marks is not None  # it matches nothing, too
    return marks[0]


def _depth(text: bytes) -> int:
    return _quotes(text).count(b">")


def _content(text: bytes) -> bytes:
    """What stands behind the marks; the blank that mail puts before a line's own is no part."""
    marks = _quotes(text)
    return text[len(marks) :] if marks else text.removeprefix(b" ")
