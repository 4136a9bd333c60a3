"""Packs bytes in every form that can be opened: layers of compression, tar and zip."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping

import lz4.frame
import zstandard

PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "lz4": lambda data: bytes(lz4.frame.compress(data, content_checksum=True)),
}


def pack(data: bytes, layers: Iterable[str]) -> bytes:
    """Packed by the first layer first, so that the last is the outermost."""
    for layer in layers:
        data = PACKERS[layer](data)
    return data


def tar(
    members: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT, links: Iterable[str] = ()
) -> bytes:
    """A tar with these files, and behind them symbolic links to ``/etc/passwd``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type = tarfile.SYMTYPE
            info.linkname = "/etc/passwd"
            archive.addfile(info)
    return out.getvalue()


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()
