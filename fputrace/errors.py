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

from collections.abc import Iterable


class FputraceError(Exception):
    """Base of every error this package raises on purpose; ``hint`` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


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


class ReadError(TraceError):
    """The file shrank, vanished or could not be read while it was being analysed."""


def closest(word: str, known: Iterable[str]) -> str:
    """The closest names that exist for an unknown word; all of them when none is close.

    As the end of a message: "; the closest that exist: A, B".
    """
    import difflib

    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=3, cutoff=0.5)
    if found:
        return "; the closest that exist: " + ", ".join(by_fold[name] for name in found)
    return "; there are: " + ", ".join(by_fold.values())
