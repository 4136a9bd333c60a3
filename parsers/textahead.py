"""A look through a long text that begins while the rest of the program is still being loaded.

Loading takes a tenth of a second on one core, a look through half a gigabyte as long on the other.
Only who runs the program knows that early what will be read: the command line calls :func:`begin`,
and the text reader takes what it finds, if it is of the same file.
"""

from __future__ import annotations

import os
import stat

from fputrace.parsers.source import Source
from fputrace.parsers.textlines import Form, form_of
from fputrace.parsers.textlook import Beside, Look

_HEAD = 1 << 14


class _Begun:
    """The look that has begun last, until somebody takes it; None when there is none."""

    look: tuple[Beside, Form] | None = None


def begin(path: str) -> None:
    """Begin to look through the file at `path` if it is a text; never raises."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return  # a pipe must not be opened twice
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        head = os.pread(fd, _HEAD, 0)
    except (OSError, ValueError):
        return  # who opens it to read it says why
    form = form_of(head.split(b"\n")) if b"\0" not in head else None
    if form is None:
        os.close(fd)
        return
    try:
        source = Source(fd, path)
        thread = Beside(Look(source, form, quick=True), 0, source.size)
        thread.start()
    except (OSError, RuntimeError, MemoryError):
        os.close(fd)  # memory or a thread cannot be had now
        return
    _Begun.look = thread, form


def take(source: Source, form: Form) -> Look | None:
    """The look that has begun at the beginning of this file, at rest now; None when there is none.

    What was begun of another file is given up.
    """
    if _Begun.look is None:
        return None
    thread, begun = _Begun.look
    _Begun.look = None
    thread.halt()
    own = thread.look.source
    same = begun is form and _version(own) == _version(source)
    own.close()
    return thread.look if same else None


def _version(source: Source) -> tuple[int, ...]:
    """What tells one file, and one state of it, from others."""
    status = os.fstat(source.fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, source.size
