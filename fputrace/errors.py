"""What can go wrong, in one screen.

    FputraceError
    ├── UsageError        the caller asked for something that cannot be            exit 2
    └── TraceError        the input cannot be used at all                          exit 2
        ├── FormatError   it is not what its name or magic says (path, offset)
        └── ReadError     the operating system or the file failed while reading

A damaged record, a lost event or a truncated tail is *data*, not an error: it becomes a row of
``Trace.losses`` and a note in the coverage.  Only a file in which nothing can be read raises.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

COPY_AGAIN = "The file is truncated or damaged; copy it again from where it was recorded."
_DISK = "Make room there, or name a file on another disk."
_RIGHTS = "ls -ld shows whose it is; read or write as that user, or name another file."
_SYSTEM = {
    errno.ENOENT: "Is the name right? The folder it stands in has to be there.",
    errno.ENOTDIR: "A part of that name is a file and no folder; name another.",
    errno.EISDIR: "That is a folder; name a file in it.",
    errno.EEXIST: "It is there already; name another.",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "Nothing can be written there; name a file elsewhere.",
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EFBIG: _DISK,
    errno.ENAMETOOLONG: "Name it shorter.",
    errno.ELOOP: "ls -l shows which link leads back to itself.",
    errno.ENXIO: "It is a device or a socket; name a file.",
    errno.ENODEV: "It is a device or a socket; name a file.",
    errno.ENOMEM: "Free some memory, and try again.",
    errno.EMFILE: "ulimit -n tells how many files may be open; raise it, or give fewer.",
}
_FEW = 20
_ELSE = "dmesg may say more; try with a copy on another disk."


class FputraceError(Exception):
    """Base of every error this package raises on purpose; ``hint`` says what to do next."""

    default_hint = ""
    """What to do where the error itself does not say."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    def __str__(self) -> str:
        return "\n  ".join([self.message, *self.hint.splitlines()])


class UsageError(FputraceError):
    """Options that contradict each other, the trace, or the documented values."""


class TraceError(FputraceError):
    """An input that gives no events.  ``path`` and ``offset`` (bytes, or None) say where."""

    def __init__(
        self, message: str, *, path: str = "", offset: int | None = None, hint: str = ""
    ) -> None:
        place = path
        if offset is not None:
            place = f"{path} at byte {offset} (0x{offset:x})"
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.path = path
        self.offset = offset


class FormatError(TraceError):
    """The bytes are not of the format they claim; says what was expected and what was found."""

    default_hint = COPY_AGAIN


class ReadError(TraceError):
    """The file shrank, vanished or could not be read while it was being analysed."""

    default_hint = _ELSE


def what_to_do(error: OSError) -> str:
    """A hint for what the system refused: what whoever named the file can do about it."""
    return _SYSTEM.get(error.errno or 0, _ELSE)


def closest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The closest names that exist for an unknown word; all when none is close and they are few.

    As the end of a message: "; the closest that exist: A, B".
    """
    import difflib

    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=3, cutoff=cutoff)
    if found:
        return "; the closest that exist: " + ", ".join(by_fold[name] for name in found)
    return "; there are: " + ", ".join(by_fold.values()) if len(by_fold) <= _FEW else ""
