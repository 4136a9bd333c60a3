"""Trace text inside something else: a console log, a mail, a systrace page, Chrome's JSON.

What is inside is written as plain trace text to a file without a name, which the text reader
then reads like any other.  The copy is streamed; it is never larger than a few times the input
(a page or a JSON string only shrinks, a line of a log grows by less than 80 bytes).
"""

from __future__ import annotations

import codecs
import json
import os
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import field
from typing import BinaryIO

from fputrace.errors import FormatError, ReadError
from fputrace.parsers.textlines import begins_plainly
from fputrace.plain import plain

MAX_LINE = 8192
"""Bytes of a line that are looked at; ``printk`` itself stops at 1024."""

MOST_OTHERS = 1 << 20
"""Lines of a text, beside its events, that are looked through; one of n bytes counts 1 + n // 128.

Each costs up to 10 us, or 4 us for 128 bytes of a long one: no text without events takes long.
"""

OTHERS_AN_EVENT = 128
"""How many more there may be for each event: perf prints 127 lines of its call chain."""

MAX_RUNS = 1 << 20
"""Runs of lines kept exactly; beyond, line numbers of messages are those of a line before."""

_CHUNK = 1 << 18


class LineMap:
    """Which line of the input a line of the copy came from: runs of lines that moved alike."""

    def __init__(self) -> None:
        self._copied = array("q")
        self._shift = array("q")
        self._lines = 0
        self._step = 1

    def add(self, original: int, more: int = 0) -> None:
        """The next line of the copy is line `original` of the input (both count from 1).

        So many `more` lines follow it in both.
        """
        self._add(original)
        self._lines += more

    def _add(self, original: int) -> None:
        self._lines += 1
        shift = original - self._lines
        if self._shift and (shift == self._shift[-1] or self._lines % self._step):
            return
        if len(self._shift) == MAX_RUNS:
            self._copied, self._shift = self._copied[::2], self._shift[::2]
            self._step *= 2
        self._copied.append(self._lines)
        self._shift.append(shift)

    def __call__(self, copied: int) -> int:
        """The line of the input for a line of the copy."""
        at = bisect_right(self._copied, copied) - 1
        return copied + self._shift[at] if at >= 0 else copied


@plain
class Unwrapped:
    """Plain trace text taken out of a file, and what is known of it besides.

    ``fd``: the copy, its owner closes it.  ``form``: what the file is, empty where its lines tell.
    ``line_of``: line of the copy -> line of the file.  ``relative``: times count from the start of
    the ring buffer.  ``damaged``: what says that the end is cut, empty where it is not.
    """

    fd: int
    form: str
    line_of: LineMap
    kernel: str | None = None
    relative: bool = False
    losses_known: bool = True
    damaged: str = ""
    notes: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    named: frozenset[str] = frozenset()
    """Known events, ``system:name``, that lines name which were left out as no whole events."""


class Copy:
    """The file without a name that lines are written to."""

    def __init__(self) -> None:
        import tempfile  # with it comes random, for 2 ms; most texts are plain

        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed by whoever reads it
        self.lines = LineMap()
        self.size = 0

    def line(self, text: bytes, original: int) -> None:
        """Write a line (with its end) that stood in line `original`."""
        self.lines.add(original)
        self.text(text)

    def text(self, text: bytes) -> None:
        """Write text that need not end with a line."""
        self._file.write(text)
        self.size += len(text)

    def clear(self) -> None:
        """Begin anew."""
        self._file.seek(0)
        self._file.truncate()
        self.lines = LineMap()
        self.size = 0

    def finish(self) -> int:
        """A descriptor of the copy, at its start; the caller's to close."""
        self._file.flush()
        fd = os.dup(self._file.fileno())
        self._file.close()
        return fd

    def close(self) -> None:
        """Throw it away."""
        self._file.close()


def unwrap(fd: int, path: str) -> Unwrapped | None:
    """What trace text a file holds inside something else; None when it is trace text itself.

    Raises
    ------
    FormatError
        The file is such a container and holds no trace, or one that cannot be read.
    ReadError
        The system refuses to read the file or to write the copy.
    """
    from fputrace.parsers.numbered import without_numbers

    try:
        bare = without_numbers(fd)
        return _unwrap(fd, path) if bare is None else _read_bare(bare, path)
    except OSError as error:
        raise ReadError(f"cannot be copied to a temporary file: {error}", path=path) from error


def _unwrap(fd: int, path: str) -> Unwrapped | None:
    from fputrace.parsers.perfscript import read_script, refuse_dump

    head = os.pread(fd, 4096, 0)
    start = head.lstrip()
    if start[:15].lower().startswith((b"<!doctype html", b"<html")):
        return _read_page(fd, path)
    if start.startswith(b"{"):
        return _read_json(fd, path)
    refuse_dump(fd, path)
    read = read_script(fd, path)
    if read is not None or begins_plainly(head):
        return read
    from fputrace.parsers.console import read_console

    return read_console(lines_of(fd), path)


def _read_bare(fd: int, path: str) -> Unwrapped:
    """What is in a copy that has the lines of the file; the copy is closed, or in the result."""
    try:
        inner = _unwrap(fd, path)
    except BaseException:
        os.close(fd)
        raise
    if inner is None:
        return Unwrapped(fd, "", LineMap())
    os.close(fd)
    return inner


def chunks_of(fd: int) -> Iterator[bytes]:
    """The bytes of a file in pieces."""
    offset = 0
    while piece := os.pread(fd, _CHUNK, offset):
        offset += len(piece)
        yield piece


def refuse_endless(line: int, path: str) -> FormatError:
    """The error for a text of which more lines than MOST_OTHERS are no events, up to `line`."""
    return FormatError(
        f"line {line}: up to here {MOST_OTHERS:,} lines are no events (a long one counts as "
        f"several), beside {OTHERS_AN_EVENT} for each event; expected a trace, a dump of ftrace's "
        "buffer on a console, or a mail that quotes one",
        path=path,
        hint="Cut the trace out: grep -n 'Dumping ftrace buffer\\|sched_switch: ' FILE tells its "
        "lines, sed -n 'FIRST,LASTp' FILE > trace.txt takes them out.",
    )


def lines_of(fd: int) -> Iterator[tuple[bytes, bool]]:
    """(line without its end, whether it is whole) for each line of a file.

    A line is not whole when the file ends in it, or when it is longer than MAX_LINE, of which the
    first MAX_LINE bytes are given.
    """
    rest = b""
    long = False  # inside a line whose beginning was given already
    for piece in chunks_of(fd):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if long:
                long = False
            elif len(line) > MAX_LINE:
                yield line[:MAX_LINE], False
            else:
                yield line, True
        if len(rest) > MAX_LINE:
            if not long:
                yield rest[:MAX_LINE], False
            long, rest = True, b""
    if rest and not long:
        yield rest, False


# --- systrace pages -----------------------------------------------------------------------------

_ENTITIES = (
    (b"&lt;", b"<"),
    (b"&gt;", b">"),
    (b"&quot;", b'"'),
    (b"&#39;", b"'"),
    (b"&amp;", b"&"),
)
_TAG = re.compile(rb"<script\b[^>]{0,400}+>", re.IGNORECASE)
_TAG_BYTES = 512

MAX_SCRIPTS = 256
"""Scripts with trace data that are looked at in a page."""

_IS_TRACE = re.compile(rb"# tracer: |-\d{1,10}+ {1,12}+(?:\([ \d-]{1,12}+\) {1,4}+)?+\[\d{3,5}\] ")


def _read_page(fd: int, path: str) -> Unwrapped:
    """The ``trace-data`` script that holds ftrace's text; a page has others beside it.

    Catapult's and systrace.py's pages carry each trace in a
    ``<script class="trace-data" type="application/text">`` of its own.
    """
    best: tuple[Copy, bool] | None = None
    scripts = 0
    for copy, whole, is_trace in _scripts(fd):
        scripts += 1
        if not is_trace or (best is not None and copy.size <= best[0].size):
            copy.close()
        else:
            if best is not None:
                best[0].close()
            best = (copy, whole)
        if scripts == MAX_SCRIPTS:
            break
    if best is None:
        raise FormatError(
            'a web page without ftrace\'s text: expected a <script class="trace-data"> with it, '
            f"found {scripts} with other content",
            path=path,
            hint="Give the trace itself: what atrace wrote, or the file trace of tracefs.",
        )
    copy, whole = best
    read = Unwrapped(copy.finish(), "systrace page", copy.lines)
    if scripts > 1:
        read.notes.append(
            f"the page has {scripts} trace-data scripts; the longest with ftrace's text is read"
        )
    if not whole:
        read.damaged = "the page breaks off inside the trace"
    elif b"</html" not in _tail(fd).lower():
        read.notes.append("the page breaks off behind the trace")
    return read


def _tail(fd: int) -> bytes:
    """The end of a file, without blanks."""
    return os.pread(fd, 64, max(0, os.fstat(fd).st_size - 64)).rstrip()


def _scripts(fd: int) -> Iterator[tuple[Copy, bool, bool]]:
    """(copy of the text, whether its end was found, whether it is ftrace's) of each trace-data."""
    copy: Copy | None = None
    rest, line, head = b"", 1, b""
    for piece in chunks_of(fd):
        rest += piece
        at = 0
        while True:
            if copy is None:
                tag = _TAG.search(rest, at)
                upto = max(at, len(rest) - _TAG_BYTES) if tag is None else tag.end()
                line += rest.count(b"\n", at, upto)
                at = upto
                if tag is None:
                    break
                if b"trace-data" in tag[0]:
                    copy, head = Copy(), b""
                continue
            end = rest.find(b"</script", at)
            # Whole lines only: an entity or the closing tag may be cut by the piece's end.
            upto = end if end >= 0 else max(at, rest.rfind(b"\n") + 1)
            if end < 0 and len(rest) - upto > _CHUNK:
                upto = len(rest) - _TAG_BYTES  # in a line that no trace has
            if len(head) < _CHUNK:
                head += _unescape(rest[at:upto])
            if upto > at:
                ends = rest.count(b"\n", at, upto)
                copy.lines.add(line, ends - rest.endswith(b"\n", at, upto))
                copy.text(_unescape(rest[at:upto]))
                line += ends
            at = upto
            if end < 0:
                break
            yield copy, True, _IS_TRACE.search(head) is not None
            copy = None
        rest = rest[at:]
    if copy is not None:
        yield copy, False, _IS_TRACE.search(head) is not None


def _unescape(text: bytes) -> bytes:
    if b"&" in text:
        for entity, meant in _ENTITIES:
            text = text.replace(entity, meant)
    return text


# --- Chrome's JSON ------------------------------------------------------------------------------

_KEY = b'"systemTraceEvents"'
_STRING = re.compile(rb'(?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt])*+')
_BEGIN = re.compile(rb'\s{0,64}+:\s{0,64}+"')


def _read_json(fd: int, path: str) -> Unwrapped | None:
    """The string ``systemTraceEvents`` of a trace that Chrome wrote; the rest is not looked at."""
    pieces = chunks_of(fd)
    offset, rest = 0, b""
    for piece in pieces:
        rest += piece
        at = rest.find(_KEY)
        if at >= 0:
            offset, rest = offset + at, rest[at + len(_KEY) :]
            break
        offset, rest = offset + len(rest) - len(_KEY), rest[-len(_KEY) :]
    else:
        raise FormatError(
            'JSON without ftrace\'s text: expected a string "systemTraceEvents", as Chrome writes '
            "it when system tracing is on",
            path=path,
            hint="Give the ftrace text itself, or what fputrace convert --to jsonl wrote.",
        )
    while len(rest) < 256 and (piece := next(pieces, b"")):
        rest += piece
    begin = _BEGIN.match(rest)
    if begin is None:
        raise FormatError(
            '"systemTraceEvents" is not a string', path=path, offset=offset, hint=_TEXT_WANTED
        )
    copy = Copy()
    try:
        whole = _copy_string(rest[begin.end() :], pieces, copy, path, offset)
    except BaseException:
        copy.close()
        raise
    read = Unwrapped(copy.finish(), "Chrome JSON", copy.lines)
    read.notes.append('line numbers count the lines of the string "systemTraceEvents"')
    if not whole:
        read.damaged = 'the file breaks off inside the string "systemTraceEvents"'
    elif not _tail(fd).endswith(b"}"):
        read.notes.append('the file breaks off behind the string "systemTraceEvents"')
    return read


_TEXT_WANTED = "Give the ftrace text itself: trace-cmd report, or the file trace of tracefs."


def _copy_string(rest: bytes, pieces: Iterator[bytes], copy: Copy, path: str, offset: int) -> bool:
    """Write what a JSON string means; False when the file ends within it."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while True:
        found = _STRING.match(rest)
        assert found is not None  # it matches nothing, too
        text = json.loads('"' + decode(found[0]) + '"', strict=False)
        copy.text(text.encode("utf-8", "replace"))
        rest = rest[found.end() :]
        if rest.startswith(b'"'):
            return True
        if len(rest) >= 6:
            raise FormatError(
                f"an escape that JSON does not have: {rest[:6]!r}",
                path=path,
                offset=offset,
                hint=_TEXT_WANTED,
            )
        piece = next(pieces, b"")
        if not piece:
            return False
        rest += piece
