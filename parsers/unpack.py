"""Compression around a recording: layers taken off one after the other, in bounded memory.

A layer is known by its first bytes, never by a name.  Streams are iterators of bytes, so that a
pipe is read once and nothing is held but a piece of each layer.

What the tools do is done here too: members that follow each other are one stream (RFC 1952 2.2;
xz(1), zstd(1), bzip2(1), lz4(1)), zeros behind a gzip or xz stream are padding, and what else
follows a gzip or bzip2 stream is ignored.  A stream that breaks off gives what is there, but the
checksum that would prove it is not there: one flipped bit, too, may lead a decoder astray until the
data ends.  Bytes that contradict their own checksum or code give an error instead: decoders notice
late, so what came before is as doubtful as what comes after.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any, Protocol

from fputrace.errors import FormatError, ReadError, TraceError
from fputrace.parsers.compression import zstd_module
from fputrace.plain import PlainTuple, plain

DEPTH = 6
"""Layers of compression and archives that are taken off a recording."""

FREE_BYTES = 1 << 28
"""Unpacked bytes that any input may give (256 MiB)."""

RATIO = 1000
"""Beyond FREE_BYTES: unpacked bytes for each byte of the input (text gives 50 to 100)."""

MOST_BYTES = 1 << 35
"""Unpacked bytes in all (32 GiB)."""

HEAD = 64
"""Bytes that tell a layer; no more, because a stream may have no more yet."""

_SHORTEST = 10  # bytes: fewer may be the beginning of a member, cut off
_READ = 1 << 18
_FEED = 1 << 14
_PIECE = 1 << 18  # bytes that an engine may give at once
_FEED_ZSTD = 1 << 11  # its engine takes no limit: a block of 4 bytes gives 128 KiB
_WINDOW = 1 << 27  # bytes of history, as zstd(1) allows without --long
_XZ_MEMORY = 1 << 28  # xz -9 needs 65 MiB


@plain
class Budget:
    """How much may be unpacked for one input, and what was wrong on the way.

    ``size`` is that of the input in bytes, None for a stream; ``most`` replaces every rule.
    What is inside an archive counts for the ``outer`` one.
    """

    path: str
    size: int | None = None
    most: int | None = None
    progress: Callable[[int], None] | None = None
    outer: Budget | None = None
    read: int = 0
    unpacked: int = 0
    damage: list[str] = field(default_factory=list)
    """Sentences: where data breaks off.  The recording is not complete then."""
    unproven: bool = False
    """Data broke off before its checksum: what came out may be wrong anywhere."""
    notes: list[str] = field(default_factory=list)

    @property
    def allowed(self) -> int:
        """Bytes that may be unpacked, given what has been read."""
        if self.most is not None:
            return self.most
        size = self.read if self.size is None else self.size
        return min(MOST_BYTES, max(FREE_BYTES, RATIO * size))

    def add(self, size: int) -> None:
        """Count unpacked bytes; FormatError when there are too many."""
        self.unpacked += size
        if self.outer is not None:
            self.outer.add(size)
        elif self.unpacked > self.allowed:
            raise FormatError(
                f"it unpacks to more than {self.allowed / (1 << 30):,.2f} GiB "
                f"({self.read:,} bytes of it were read): it may be made to fill the disk",
                path=self.path,
                hint="If you trust it: --max-unpacked GIB allows more.",
            )


class Window:
    """A stream of bytes with a look ahead.  ``at`` is how many bytes have been taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = b""
        self._start = 0
        self.at = 0

    def head(self, size: int) -> bytes:
        """The next bytes, which stay: `size`, or fewer at the end."""
        if len(self._buffer) - self._start < size:
            parts = [self._buffer[self._start :]]
            have = len(parts[0])
            while have < size and (piece := next(self._pieces, b"")):
                parts.append(piece)
                have += len(piece)
            self._buffer, self._start = b"".join(parts), 0
        return self._buffer[self._start : self._start + size]

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none only at the end."""
        if self._start == len(self._buffer):
            self._buffer, self._start = next(self._pieces, b""), 0
        taken = self._buffer[self._start : self._start + size]
        self._start += len(taken)
        self.at += len(taken)
        return taken

    def unread(self, size: int) -> None:
        """Put back bytes of the last read."""
        self._start -= size
        self.at -= size

    def pieces(self, size: int | None = None) -> Iterator[bytes]:
        """What is left, or its next `size` bytes."""
        while size is None or size > 0:
            taken = self.read(_READ if size is None else min(size, _READ))
            if not taken:
                return
            if size is not None:
                size -= len(taken)
            yield taken

    def exactly(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end; for small sizes that were checked."""
        return b"".join(self.pieces(size))


def pieces_of(fd: int, budget: Budget, seekable: bool) -> Iterator[bytes]:
    """The bytes of a descriptor: from its beginning by offset, or as they come.

    Raises ReadError when the system refuses.
    """
    while True:
        try:
            piece = os.pread(fd, _READ, budget.read) if seekable else os.read(fd, _READ)
        except OSError as error:
            raise ReadError(
                f"cannot be read: {error.strerror}", path=budget.path, offset=budget.read
            ) from error
        if not piece:
            return
        budget.read += len(piece)
        if budget.progress is not None:
            budget.progress(budget.read)
        yield piece


class Engine(Protocol):
    """One member being unpacked.  ``unused``: how many of the last bytes fed are not its own."""

    eof: bool
    hungry: bool
    unused: int

    def feed(self, data: bytes) -> bytes:
        """Unpack; the layer's own errors come out as they are."""


class _Limited:
    """bz2, lzma and lz4 share the shape of bz2.BZ2Decompressor."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.eof = False
        self.hungry = True
        self.unused = 0

    def feed(self, data: bytes) -> bytes:
        piece: bytes = self._engine.decompress(data, _PIECE)
        self.eof = self._engine.eof
        self.hungry = self._engine.needs_input
        self.unused = len(self._engine.unused_data or b"")
        return piece


class _Gzip:
    def __init__(self) -> None:
        self._engine = zlib.decompressobj(wbits=31)
        self._left = b""
        self.eof = False
        self.hungry = True
        self.unused = 0

    def feed(self, data: bytes) -> bytes:
        piece = self._engine.decompress(self._left + data, _PIECE)
        self._left = self._engine.unconsumed_tail
        self.eof = self._engine.eof
        # A full piece may have more behind it although all bytes are taken.
        self.hungry = not self._left and len(piece) < _PIECE
        self.unused = len(self._engine.unused_data)
        return piece


class _Zstd:
    def __init__(self, path: str) -> None:
        module = zstd_module(path)
        if hasattr(module, "FORMAT_ZSTD1"):
            self._engine = module.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        else:
            log_max = module.DecompressionParameter.window_log_max
            self._engine = module.ZstdDecompressor(options={log_max: _WINDOW.bit_length() - 1})
        self._error = module.ZstdError
        self.eof = False
        self.hungry = True
        self.unused = 0

    def feed(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._engine.decompress(data)
        except self._error as error:
            # Its class is known only once the module is there.
            raise ValueError(str(error)) from error
        self.eof = self._engine.eof
        self.unused = len(self._engine.unused_data)
        return piece


def _lz4(path: str) -> Engine:
    try:
        from lz4.frame import LZ4FrameDecompressor
    except ImportError as error:
        raise TraceError(
            "this is lz4-compressed data and no lz4 module is installed",
            path=path,
            hint="pip install 'fputrace[lz4]', or decompress it first: lz4 -d FILE",
        ) from error
    return _Limited(LZ4FrameDecompressor())


class Layer(PlainTuple):
    """A form of compression: how it begins, its engine, and what may stand behind a stream.

    ``feed``: bytes that the engine is given at once.  ``tail``: what follows is "ignored", or a
    sign of "damage"; ``padded``: zeros may; ``frames``: frames to be skipped may.
    """

    name: str
    magic: bytes
    engine: Callable[[str], Engine]
    tail: str
    feed: int = _FEED
    padded: bool = False
    frames: bool = False


LAYERS: tuple[Layer, ...] = (
    Layer("gzip", b"\x1f\x8b\x08", lambda _path: _Gzip(), "ignored", padded=True),
    Layer(
        "xz",
        b"\xfd7zXZ\0",
        lambda _path: _Limited(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)),
        "damage",
        padded=True,
    ),
    Layer("zstd", b"\x28\xb5\x2f\xfd", _Zstd, "damage", feed=_FEED_ZSTD, frames=True),
    Layer("bzip2", b"BZh", lambda _path: _Limited(bz2.BZ2Decompressor()), "ignored"),
    Layer("lz4", b"\x04\x22\x4d\x18", _lz4, "damage", frames=True),
)
"""Every layer; the first whose magic fits is it."""

_BLOCKS_BZIP2 = (b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90")

# RuntimeError is lz4's, ValueError stands for zstd's.
_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError, MemoryError)


def layer_of(head: bytes) -> Layer | None:
    """The layer that data beginning so is packed with; None when it is not packed."""
    # pzstd begins with a skippable frame (RFC 8878 3.1.2, which lz4 has too).
    at = 0
    while size := _skippable(head, at):
        at += size
    head = head[at:]
    for layer in LAYERS:
        if head.startswith(layer.magic):
            # "BZh" could begin a text: its first block is asked for too.
            if layer.name == "bzip2" and head[4:10] not in _BLOCKS_BZIP2:
                continue
            return layer
    return None


def _skippable(head: bytes, at: int = 0) -> int:
    """Size of the skippable frame at `at`; 0 when there is none."""
    if head[at + 1 : at + 4] != b"\x2a\x4d\x18" or head[at] & 0xF0 != 0x50:
        return 0
    return 8 + int.from_bytes(head[at + 4 : at + 8], "little")


def _skip_frames(source: Window) -> None:
    while size := _skippable(source.head(8)):
        for _ in source.pieces(size):
            pass


def unpack(source: Window, layer: Layer, budget: Budget) -> Iterator[bytes]:
    """Take one layer off.

    Raises FormatError for corrupt data or too much of it; data that breaks off ends the stream
    and is told in ``budget.damage``.
    """
    while True:
        engine = layer.engine(budget.path)
        yield from _member(source, layer, engine, budget)
        if not engine.eof:
            budget.damage.append(f"the {layer.name} data breaks off at its byte {source.at:,}")
            budget.unproven = True
            return
        source.unread(engine.unused)
        if layer.padded:
            while (zeros := source.read(_READ)) and not zeros.strip(b"\0"):
                pass
            source.unread(len(zeros.lstrip(b"\0")))
        if layer.frames:
            _skip_frames(source)
        follows = source.head(HEAD)
        if not follows:
            return
        if len(follows) < _SHORTEST and layer.magic[: len(follows)] == follows[: len(layer.magic)]:
            budget.damage.append(f"the {layer.name} data breaks off at its byte {source.at:,}")
            return
        if layer_of(follows) is not layer:
            said = f"behind the {layer.name} data, from its byte {source.at:,}, is something else"
            if layer.tail == "ignored":
                budget.notes.append(f"{said}, which was ignored")
            else:
                budget.damage.append(said)
            return


def _member(source: Window, layer: Layer, engine: Engine, budget: Budget) -> Iterator[bytes]:
    if layer.frames:
        _skip_frames(source)
    while not engine.eof:
        data = b""
        if engine.hungry and not (data := source.read(layer.feed)):
            return
        try:
            piece = engine.feed(data)
        except _ERRORS as error:
            raise FormatError(
                f"the {layer.name} data is corrupt near its byte {source.at:,}: {error}",
                path=budget.path,
                hint="What comes before cannot be trusted either; copy the file again from where "
                "it was recorded.",
            ) from error
        if piece:
            budget.add(len(piece))
            yield piece


def peel(source: Window, budget: Budget, depth: int) -> tuple[Window, tuple[str, ...]]:
    """Take all layers off: what is inside, and the names of the layers, outermost first.

    Raises FormatError when there are more than `depth`.
    """
    names: list[str] = []
    while layer := layer_of(source.head(HEAD)):
        if len(names) == depth:
            raise FormatError(
                f"it is packed more than {DEPTH} times", path=budget.path, hint="Unpack it first."
            )
        names.append(layer.name)
        source = Window(unpack(source, layer, budget))
    return source, tuple(names)
