"""Recordings written in another form: ``fputrace convert``.

Trace -> rows of blocks -> JSON lines, Parquet tables or text.  What a converted file tells of its
recording is in :mod:`fputrace.metadata`; docs/convert.md describes the forms for those who read
them with other tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.convert.output import file_output, folder_output
from fputrace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fputrace.events import EventBlock, Trace

FORMS = ("jsonl", "parquet", "text")
"""``convert --to``."""


def convert_trace(
    trace: Trace,
    to: str,
    output: str | None,
    *,
    force: bool = False,
    progress: Callable[[Trace], None] | None = None,
) -> None:
    """Write a recording in one of :data:`FORMS`.

    Parameters
    ----------
    output
        A file, compressed when its name ends in ``.gz`` or ``.zst``, or None for standard output;
        for parquet a folder.  It is there only when it is complete.
    force
        Replace a folder that is not empty.
    progress
        Called with the trace after every block; JSON lines and Parquet read a recording twice.

    Raises
    ------
    UsageError
        There is no such form; parquet without a folder, or into one that is not empty; a module
        that the form needs is not installed.
    OSError
        It cannot be written; ``filename`` is `output`.
    ReadError
        The recording fails while it is read.
    """
    if to not in FORMS:
        raise UsageError(f"--to: there is no form {to!r}", hint=f"Forms: {', '.join(FORMS)}.")
    if progress is not None:
        watch(trace, progress)
    if to == "parquet":
        from fputrace.convert.parquet import check_pyarrow, write_parquet

        check_pyarrow()
        with folder_output(output, force) as folder:
            write_parquet(trace, folder)
        return
    if to == "jsonl":
        from fputrace.convert.jsonl import write_jsonl as write
    else:
        from fputrace.convert.text import write_text as write
    with file_output(output) as out:
        write(trace, out)


def watch(trace: Trace, progress: Callable[[Trace], None]) -> None:
    """Have `progress` called after every block of every pass."""
    inner = trace._blocks
    if inner is None:
        return  # closed: blocks() says so
    read = inner

    def blocks(opened: Trace) -> Iterator[EventBlock]:
        for block in read(opened):
            yield block
            progress(opened)

    trace._blocks = blocks
