"""Records of a perf.data that lie elsewhere: compressed, or in a directory.

``perf record -z`` wraps what it reads from the kernel into COMPRESSED records: pieces of one zstd
stream, which is never reset, so that a record inside may begin in one and end in the next
(tools/perf/util/zstd.c, ``perf_session__process_compressed_event()``).  It is unpacked into a
temporary file without a name.  ``perf record --threads`` writes a directory: ``data`` with the
header, and ``data.0``, ``data.1``, … with one buffer's records each.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator
from typing import IO, Any

from fputrace.errors import FormatError, ReadError, TraceError, what_to_do
from fputrace.parsers.compression import zstd_module
from fputrace.parsers.perffile import (
    AUXTRACE,
    COMPRESSED,
    COMPRESSED2,
    HEADER_TRACING_DATA,
    PIPE_CUT,
    Recording,
    Segment,
    more_behind,
)
from fputrace.parsers.source import Source
from fputrace.parsers.unpack import Budget
from fputrace.plain import plain

MOST_FILES = 1 << 14
"""Files of a directory that are read: one for each buffer, so for each CPU."""

_WINDOW = 1 << 20
_FEED = 1 << 10  # bytes the engine gets at once: it gives at most 128 KiB for each 4
_DATA = re.compile(r"data\.(\d{1,9})")


class _Stream:
    """The one zstd stream of a segment."""

    def __init__(self, path: str) -> None:
        self._module = zstd_module(path)
        self._engine: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack more of it; ValueError where it is none."""
        at = 0
        while at < len(data):
            if self._engine is None:
                plain = hasattr(self._module, "FORMAT_ZSTD1")
                made = self._module.ZstdDecompressor()
                self._engine = made.decompressobj() if plain else made
            piece = data[at : at + _FEED]
            at += len(piece)
            try:
                yield bytes(self._engine.decompress(piece))
            except (self._module.ZstdError, EOFError, MemoryError) as error:
                raise ValueError(str(error)) from error
            if self._engine.eof:
                at -= len(self._engine.unused_data)
                self._engine = None


@plain
class _Damage:
    """Why a stream could not be unpacked to its end, and how many bytes of the file that leaves."""

    reason: str = ""
    missing: int = 0


def unpack(recording: Recording) -> None:
    """Replace the segments by what is in their COMPRESSED records, and by the records between.

    Those come first: they are what perf made itself, and stand in no order with the samples.
    Raises FormatError when it unpacks to more than a file of this size may, ReadError when there
    is no room for it.
    """
    import tempfile  # with it comes random, for 2 ms

    size = sum(segment.end - segment.start for segment in recording.segments)
    budget = Budget(recording.path, size)
    budget.read = size
    segments: list[Segment] = []
    for segment in recording.segments:
        damage = _Damage()
        try:
            with tempfile.TemporaryFile() as plain, tempfile.TemporaryFile() as inside:
                _sort_out(recording, segment, plain, inside, budget, damage)
                for spool in (plain, inside):
                    spool.flush()
                fds = [os.dup(spool.fileno()) for spool in (plain, inside)]
        except OSError as error:
            raise ReadError(
                f"cannot be unpacked to a temporary file: {error.strerror}",
                path=recording.path,
                hint=f"It is made in {tempfile.gettempdir()}; set TMPDIR to another folder.",
            ) from error
        sources = [Source(fd, recording.path) for fd in fds]
        recording.sources += sources
        segments.append(Segment(sources[0], 0, sources[0].size, sources[0].size))
        told = sources[1].size + damage.missing
        segments.append(Segment(sources[1], 0, sources[1].size, told, damage.reason))
    recording.segments = segments
    recording.unpacked = True


def _sort_out(
    recording: Recording,
    segment: Segment,
    plain: IO[bytes],
    inside: IO[bytes],
    budget: Budget,
    damage: _Damage,
) -> None:
    """Copy records to `plain`, and what is in the compressed ones to `inside`."""
    stream = _Stream(recording.path)
    end, last = segment.start, 0
    for at, kind, record, more in records_of(recording, segment):
        last = kind
        if kind in (COMPRESSED, COMPRESSED2) and not damage.reason:
            try:
                for piece in stream.feed(_packed(kind, record, recording.order)):
                    budget.add(len(piece))
                    inside.write(piece)
            except ValueError as error:
                damage.reason = f"the compressed record at byte {at} of the file: {error}"
                damage.missing = segment.told - at
        elif kind not in (COMPRESSED, COMPRESSED2, AUXTRACE):
            plain.write(record)
            if more:
                plain.write(segment.source.read_known(at + len(record), more, "event formats"))
        end = at + len(record) + more
    if end < segment.told and not damage.reason:
        damage.reason = f"the file breaks off at its byte {end}"
        damage.missing = segment.told - end
    elif recording.pipe and last in (COMPRESSED, COMPRESSED2) and not damage.reason:
        damage.reason, damage.missing = PIPE_CUT, 1


def _packed(kind: int, record: bytes, order: str) -> bytes:
    """The piece of the stream that a record holds; COMPRESSED2 is padded and says how long."""
    if kind == COMPRESSED:
        return record[8:]
    size = struct.unpack_from(order + "Q", record, 8)[0] if len(record) >= 16 else 0
    return record[16 : 16 + size]


def records_of(recording: Recording, segment: Segment) -> Iterator[tuple[int, int, bytes, int]]:
    """Offset, type and bytes of every whole record, and how many bytes behind it are its own."""
    at, window, window_at = segment.start, b"", segment.start
    while at + 8 <= segment.end:
        start = at - window_at
        if len(window) < start + 8 or len(window) < start + _size(recording, window, start):
            window_at = at
            window = segment.source.read_known(at, min(_WINDOW, segment.end - at), "records")
            start = 0
        kind, _, size = struct.unpack_from(recording.order + "IHH", window, start)
        if size < 8 or at + size > segment.end:
            return
        record = window[start : start + size]
        more = 0
        if kind in (HEADER_TRACING_DATA, AUXTRACE):
            more = more_behind(kind, record[8:], recording.order)
            if at + size + more > segment.end:
                return
        yield at, kind, record, more
        at += size + more


def _size(recording: Recording, window: bytes, start: int) -> int:
    return int(struct.unpack_from(recording.order + "H", window, start + 6)[0])


def read_folder(recording: Recording, folder: str) -> None:
    """Add the records of ``data.0``, ``data.1``, … to those of ``data``.

    Raises TraceError when one of them cannot be opened.
    """
    found = [
        (int(match[1]), match[0]) for match in map(_DATA.fullmatch, os.listdir(folder)) if match
    ]
    if len(found) > MOST_FILES:
        raise FormatError(
            f"{len(found)} files data.N cannot be", path=recording.path, hint="It is no perf.data."
        )
    for _, name in sorted(found):
        path = os.path.join(folder, name)
        shown = os.path.join(recording.path, name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise TraceError(
                f"cannot be opened: {error.strerror}", path=shown, hint=what_to_do(error)
            ) from error
        source = Source(fd, shown)
        recording.sources.append(source)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            recording.segments.append(Segment(source, 0, source.size, source.size))
