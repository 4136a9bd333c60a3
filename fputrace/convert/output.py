"""Where a converted recording goes: whole or not at all, whatever interrupts the writing."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, cast

from fputrace.errors import UsageError


@contextmanager
def file_output(output: str | None) -> Iterator[IO[bytes]]:
    """A stream to a file, which appears under its name when all is written, or to stdout.

    What is no regular file (a pipe, ``/dev/null``) is written to directly.  Raises UsageError when
    a module for the compression is missing, OSError with ``filename`` when it cannot be written.
    """
    if output is None:
        yield cast("IO[bytes]", sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        if os.path.exists(output) and not stat.S_ISREG(os.stat(output).st_mode):
            with open(output, "wb") as file, _compressed(file, output) as out:
                yield out
            return
        handle, partial = tempfile.mkstemp(prefix=".fputrace-", dir=os.path.dirname(output) or ".")
        try:
            with os.fdopen(handle, "wb") as file, _compressed(file, output) as out:
                yield out
            os.chmod(partial, _mode(output))
            os.replace(partial, output)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial)
            raise
    except OSError as error:
        # One that came while writing (a full disk) does not know of which file.
        error.filename, error.filename2 = output, None
        raise


def check_no_terminal(output: str | None) -> None:
    """Raises UsageError where bytes that are no text would be written to a terminal."""
    if output is None and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "the result is binary, and standard output is a terminal",
            hint="Name a file to write, or send it on: > FILE, | COMMAND",
        )


@contextmanager
def folder_output(
    output: str | None, force: bool, known_by: str = "metadata.parquet"
) -> Iterator[str]:
    """A folder to write in, which appears under its name when all is written.

    ``known_by``: the file by which a folder that may be replaced is known.

    Raises UsageError when `output` is None, a file, or a folder that is not empty and not to be
    replaced; OSError with ``filename`` when it cannot be made.
    """
    if output is None:
        raise UsageError(
            "parquet is a folder of tables and cannot go to standard output",
            hint="Name the folder: -o FOLDER",
        )
    output = output.rstrip("/") or "/"
    if os.path.lexists(output) and not os.path.isdir(output):
        raise UsageError(
            f"{output} is no folder",
            hint="parquet is a folder of tables; name one that is not there yet.",
        )
    try:
        there = os.path.isdir(output)
        if there and os.listdir(output) and not force:
            raise UsageError(
                f"{output} is not empty", hint="--force replaces it, or name another folder."
            )
        if there and os.listdir(output) and not os.path.isfile(f"{output}/{known_by}"):
            raise UsageError(
                f"{output} holds something else than such tables",
                hint="--force replaces only those; name another folder.",
            )
        parent = os.path.dirname(output) or "."
        partial = tempfile.mkdtemp(prefix=".fputrace-", dir=parent)
        try:
            yield partial
            os.chmod(partial, 0o777 & ~_umask())
            if there:
                old = tempfile.mkdtemp(prefix=".fputrace-", dir=parent)
                os.rename(output, old)
                os.rename(partial, output)
                shutil.rmtree(old)
            else:
                os.rename(partial, output)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        error.filename, error.filename2 = output, None
        raise


@contextmanager
def _compressed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """`file`, or a stream that compresses into it, by the name's ending."""
    with ExitStack() as stack:
        if name.endswith(".gz"):
            # No name and no time in it: the same recording gives the same bytes.
            gz = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
            yield cast("IO[bytes]", stack.enter_context(gz))
        elif name.endswith(".zst"):
            yield stack.enter_context(_zstd(file))
        else:
            yield file


def _zstd(file: IO[bytes]) -> Any:
    try:
        import zstandard
    except ImportError:
        pass
    else:
        return zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UsageError("no zstd module is installed", hint="pip install zstandard") from error
    return zstd.ZstdFile(file, "wb")


def _mode(output: str) -> int:
    """The permissions a file keeps, or those of a new one."""
    with suppress(OSError):
        return stat.S_IMODE(os.stat(output).st_mode)
    return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
