"""zlib and zstd for trace.dat v7, with every size checked before memory is given to it.

libtracecmd writes zstd frames without their content size (trace-compress-zstd.c), so the size
the file declares beside each chunk is the only one there is; it is a claim, not a fact.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from fputrace.errors import FormatError, TraceError

Decompress = Callable[[bytes, int], bytes]

PIECE = 1 << 20
"""Bytes that a stream is asked for at once."""


class DecompressError(Exception):
    """Compressed data that does not decompress to what was declared (never leaves the parser)."""


def _zlib(data: bytes, size: int) -> bytes:
    engine = zlib.decompressobj()
    try:
        return engine.decompress(data, max(size, 1))
    except zlib.error as error:
        raise DecompressError(str(error)) from error


def zstd_module(path: str = "") -> Any:
    """The zstd engine: ``zstandard``, or the standard library's from Python 3.14."""
    try:
        import zstandard
    except ImportError:
        pass
    else:
        return zstandard
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise TraceError(
            "this trace is compressed with zstd and no zstd module is installed",
            path=path,
            hint="pip install zstandard, or convert it: trace-cmd convert --compression none",
        ) from error
    return zstd


def _zstd(path: str) -> Decompress:
    module = zstd_module(path)
    if hasattr(module, "ZstdDecompressor") and hasattr(module, "FORMAT_ZSTD1"):
        engine = module.ZstdDecompressor()

        def decompress(data: bytes, size: int) -> bytes:
            try:
                return bytes(engine.decompress(data, max_output_size=max(size, 1)))
            except (module.ZstdError, MemoryError) as error:
                raise DecompressError(str(error)) from error

        return decompress

    def decompress_std(data: bytes, size: int) -> bytes:
        try:
            return bytes(module.ZstdDecompressor().decompress(data, max(size, 1)))
        except (module.ZstdError, MemoryError) as error:
            raise DecompressError(str(error)) from error

    return decompress_std


def engine_for(name: str, path: str = "", offset: int | None = None) -> Decompress | None:
    """The function ``(data, declared size) -> bytes`` of a compression; None for "none".

    It raises :class:`DecompressError` for bytes that are not such data, and never returns more
    than the declared size; the caller caps that size.  Raises FormatError when the compression is
    unknown, TraceError when its module is missing; both name `path`.
    """
    if name == "none":
        return None
    if name == "zlib":
        return _zlib
    if name == "zstd":
        return _zstd(path)
    raise FormatError(
        f"compression {name!r} is not known; this version reads none, zlib and zstd",
        path=path,
        offset=offset,
        hint="Convert the file: trace-cmd convert --compression none -i IN -o OUT",
    )


def pieces(name: str, data: bytes, size: int) -> Iterator[bytes]:
    """Decompress in pieces of at most PIECE bytes, `size` in total: memory follows the data.

    Raises :class:`DecompressError` where the stream breaks; what came before has been yielded.
    """
    if name == "zlib":
        engine = zlib.decompressobj()
        left = size
        try:
            while left > 0:
                piece = engine.decompress(data, min(PIECE, left))
                if not piece:
                    return
                left -= len(piece)
                data = engine.unconsumed_tail
                yield piece
        except zlib.error as error:
            raise DecompressError(str(error)) from error
        return
    module = zstd_module()
    if hasattr(module, "FORMAT_ZSTD1"):
        stream = module.ZstdDecompressor().stream_reader(io.BytesIO(data))
    else:
        stream = module.ZstdFile(io.BytesIO(data))
    left = size
    try:
        while left > 0:
            piece = stream.read(min(PIECE, left))
            if not piece:
                return
            left -= len(piece)
            yield bytes(piece)
    except (module.ZstdError, EOFError, MemoryError) as error:
        raise DecompressError(str(error)) from error
