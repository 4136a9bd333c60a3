"""From a path to a trace: standard input, layers of compression, archives and folders.

What can be read by offset as it is, is read so; everything else goes to a temporary file first,
because readers seek.  Nothing is copied before its first bytes begin a recording: a stream may
never end.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fputrace.errors import FormatError, ReadError, TraceError, UsageError, what_to_do
from fputrace.events import EventBlock, Loss, Trace
from fputrace.parsers import FOLDERS, FORMATS, HEAD_BYTES, Folder, Format, Options
from fputrace.parsers.archive import MOST_MEMBERS, archive_of, extract, walk
from fputrace.parsers.unpack import DEPTH, Budget, Window, peel, pieces_of
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    # With it comes random, for 2 ms; most recordings are plain files.
    import tempfile

_PLAIN = (".dat", ".data", ".txt", ".log", ".html", ".jsonl", ".pftrace", ".perfetto-trace")
_NEAR = (*_PLAIN, ".gz", ".xz", ".zst", ".bz2", ".lz4", ".tar", ".tgz", ".txz", ".tzst", ".zip")
_LISTED = 12  # recordings that an error names
_NAMED = 4  # other files that it names
_LINE_BYTES = 1 << 20  # of the last line of a text
_TEXT_BYTES = 1 << 26  # of a stream of text; the first event stands in them

SUFFIX = ".fputrace.json"
"""Behind a recording's name: what fputrace record wrote down besides (parsers/sidecar.py)."""

EVENT_LINE = re.compile(
    rb"^# (?:tracer|fputrace): |^cpus=\d{1,5}$|CPU:\d{1,5} \[(?:LOST|\d)"
    rb"|\[\d{3,5}\][ \t]{1,16}(?:[^\s:]{3,12}[ \t]{1,16})?\d{1,12}(?:\.\d{3,9})?:[ \t]",
    re.MULTILINE,
)
"""Found in ftrace's and perf's texts, and in no other."""


class Asked(PlainTuple):
    """What ``open_trace`` was asked for."""

    options: Options
    format_in: str | None = None
    progress: Callable[[Trace], None] | None = None


class _Found(PlainTuple):
    """A recording below a folder.

    ``folder`` is None for a file; ``sure`` is False for a text that may be anything.
    """

    name: str
    what: str
    folder: Folder | None
    sure: bool = True

    @property
    def shown(self) -> str:
        """The name for messages: whoever packed it chose its characters."""
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in self.name)


def open_path(path: str, asked: Asked) -> Trace:
    """Open what stands at `path`; the errors are those of ``open_trace``."""
    if path == "-":
        return _open_input(_stdin(), "standard input", asked, None, 0)
    if os.path.isdir(path):
        return _open_folder(path, path, asked, None, 0)
    trace = _open_input(_file(path), path, asked, None, 0)
    if os.path.exists(path + SUFFIX):
        from fputrace.parsers.sidecar import add_sidecar

        add_sidecar(trace, path)
    return trace


def find(head: bytes, path: str) -> Format:
    """The format of a file that begins with `head`; FormatError when it is none."""
    found = next((known for known in FORMATS if known.sniff(head)), None)
    if found is not None and found.sure:
        return found
    from fputrace.parsers.textlines import begins_plainly

    if found is not None and begins_plainly(head):
        return found
    from fputrace.parsers.unknown import refuse, refuse_other

    refuse_other(head, path)
    if found is None:
        raise refuse(head, path)
    return found


# Files


def _open_input(fd: int, shown: str, asked: Asked, outer: Budget | None, depth: int) -> Trace:
    """Open a descriptor, which belongs to this function from now on."""
    with ExitStack() as stack:
        stack.callback(os.close, fd)
        status = os.fstat(fd)
        seekable = stat.S_ISREG(status.st_mode)
        size = status.st_size if seekable else None
        budget = Budget(shown, size, asked.options.most, _progress(asked, shown, size), outer)
        inside, layers = peel(Window(pieces_of(fd, budget, seekable)), budget, DEPTH - depth)
        head = inside.head(HEAD_BYTES)
        if not head:
            raise _empty(shown, budget)
        # The last file of an archive that breaks off may end anywhere.
        cut_off = outer is not None and bool(outer.damage)
        direct = seekable and not layers and not cut_off
        archive = archive_of(head)
        if archive is not None:
            if depth + len(layers) == DEPTH:
                raise FormatError(
                    f"it is packed more than {DEPTH} times", path=shown, hint="Unpack it first."
                )
            source = fd
            if archive.seeks and not direct:
                source = _spool(inside, budget)
                stack.callback(os.close, source)
            scratch = _scratch(shown)
            try:
                with _copying(budget):
                    extract(archive, inside, source, scratch.name, budget)
                return _open_folder(
                    scratch.name, shown, asked, budget, depth + len(layers) + 1, scratch
                )
            except BaseException:
                scratch.cleanup()
                raise
        if asked.options.member is not None:
            raise UsageError(
                f"--member: {shown} is neither an archive nor a folder",
                hint="Leave --member away: it is one recording.",
            )
        chosen = _forced(asked)
        if asked.format_in is not None and chosen is None:
            raise UsageError(
                f"--format-in: {asked.format_in} is a folder, and {shown} is a file",
                hint="Leave --format-in away, or name the folder.",
            )
        with _explained(budget):
            chosen = chosen or find(head, shown)
        if direct:
            stack.pop_all()
        else:
            fd = _spool(inside, budget, chosen, cut_off)
        with _explained(budget):
            trace = chosen.open(fd, shown, asked.options)
        return _cut(trace, budget, True)


@contextmanager
def _explained(budget: Budget | None) -> Iterator[None]:
    """What cannot be read because its container breaks off, or was left out of it, says so."""
    try:
        yield
    except TraceError as error:
        while budget is not None:
            said = [*budget.damage, *budget.notes]
            if said:
                error.hint = f"In {budget.path}, {said[0]}.\n{error.hint}"
                break
            budget = budget.outer
        raise


def _cut(trace: Trace, budget: Budget, placed: bool) -> Trace:
    """A trace whose container was cut off says so after every pass.

    What a container loses is its end, so nothing between two events of the trace is missing.  In
    a folder (`placed` is False) whole files may be, and what no checksum proves may be wrong.
    """
    placed = placed and not budget.unproven
    notes = [f"{budget.path}: {text}" for text in (*budget.notes, *budget.damage)]
    trace.notes += notes
    read = trace._blocks
    assert read is not None

    def blocks(trace: Trace) -> Iterator[EventBlock]:
        yield from read(trace)
        trace.notes += [note for note in notes if note not in trace.notes]
        last = trace.last_ns if placed else None
        for text in budget.damage:
            trace.losses.append(Loss(None, last, None, None, text, placed, "damaged"))

    if notes:
        trace._blocks = blocks
    return trace


def _forced(asked: Asked) -> Format | None:
    return next((known for known in FORMATS if known.name == asked.format_in), None)


def _empty(shown: str, budget: Budget) -> TraceError:
    if budget.damage:
        return FormatError(f"nothing is in it: {budget.damage[0]}", path=shown, offset=0)
    return TraceError(
        "the file is empty",
        path=shown,
        hint="trace-cmd and perf write when they end: record again, and end it with Ctrl-C.",
    )


def _progress(asked: Asked, shown: str, size: int | None) -> Callable[[int], None] | None:
    """Shows how much of a file has been unpacked, as a pass shows how much has been read."""
    show = asked.progress
    if show is None or size is None:
        return None
    trace = Trace(shown, "packed", total_bytes=size)

    def tell(read: int) -> None:
        trace.read_bytes = read
        show(trace)

    return tell


def _spool(
    inside: Window, budget: Budget, chosen: Format | None = None, cut_off: bool = False
) -> int:
    """Copy a stream to a file without a name; its descriptor.

    Raises FormatError for a text in which no event comes: it may never end.
    """
    import tempfile

    with _copying(budget), tempfile.TemporaryFile() as spool:
        told = chosen is None or chosen is not FORMATS[-1]
        copied = 0
        tail = b""
        for piece in inside.pieces():
            spool.write(piece)
            copied += len(piece)
            if not told:
                told = EVENT_LINE.search(tail + piece) is not None
                tail = piece[-256:]
                if not told and copied > _TEXT_BYTES:
                    raise FormatError(
                        f"this is text ({tail[-24:]!r}), and no event is in the first "
                        f"{copied:,} bytes",
                        path=budget.path,
                        hint="Give the part that has the events, or put it into a file.",
                    )
        cut_off = cut_off or bool(budget.damage)
        if cut_off and chosen is not None and chosen.name in ("text", "jsonl"):
            _drop_half_line(spool.fileno(), copied)
        spool.flush()
        return os.dup(spool.fileno())


def _drop_half_line(fd: int, size: int) -> None:
    """A text that breaks off ends with its last whole line: half a number is a wrong one."""
    start = max(0, size - _LINE_BYTES)
    newline = os.pread(fd, _LINE_BYTES, start).rfind(b"\n")
    os.ftruncate(fd, start + newline + 1)


@contextmanager
def _copying(budget: Budget) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        import tempfile

        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = (
                f"{budget.unpacked:,} bytes were unpacked to {tempfile.gettempdir()}; set TMPDIR "
                "to a folder with more room."
            )
        else:
            hint = f"It is made in {tempfile.gettempdir()}; set TMPDIR to another folder."
        raise ReadError(
            f"cannot be copied to a temporary file: {error.strerror}", path=budget.path, hint=hint
        ) from error


def _scratch(shown: str) -> tempfile.TemporaryDirectory[str]:
    import tempfile

    try:
        return tempfile.TemporaryDirectory(prefix="fputrace-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ReadError(
            f"no temporary folder can be made: {error.strerror}",
            path=shown,
            hint="Set TMPDIR to a folder that can be written to.",
        ) from error


# Folders


def _open_folder(
    root: str,
    shown: str,
    asked: Asked,
    outer: Budget | None,
    depth: int,
    scratch: tempfile.TemporaryDirectory[str] | None = None,
) -> Trace:
    """Open the one recording in a folder, or the one that is asked for.

    ``scratch`` is the folder itself where it was made from an archive; the trace removes it.
    """
    with _explained(outer):
        found, rest = _choose(root, shown, asked)
    budget = outer or Budget(shown)
    path = os.path.join(root, found.name) if found.name else root
    if scratch is None:
        inner = os.path.join(shown, found.shown) if found.name else shown
    else:
        inner = f"{shown}: {found.shown}" if found.name else shown
    inside = asked._replace(options=asked.options._replace(member=rest))
    if found.folder is None:
        trace = _open_input(_file(path), inner, inside, outer, depth)
        if outer is not None:
            _cut(trace, outer, True)
        if scratch is not None:
            # The descriptor is all that the reader needs.
            scratch.cleanup()
        return trace
    with _explained(budget):
        trace = found.folder.open(path, inner, inside.options)
    _cut(trace, budget, False)
    if scratch is not None:
        _at_close(trace, scratch.cleanup)
    return trace


def _at_close(trace: Trace, clean: Callable[[], None]) -> None:
    close = trace._close

    def both() -> None:
        try:
            if close is not None:
                close()
        finally:
            clean()

    trace._close = both


def _choose(root: str, shown: str, asked: Asked) -> tuple[_Found, str | None]:
    """The recording to open, and which member of it when it is an archive itself."""
    member = asked.options.member
    found, others = _search(root, asked)
    sure = [one for one in found if one.sure]
    if member is not None:
        member = member.strip("/")
        for one in sorted(found, key=lambda one: -len(one.name)):
            if member in (one.name, one.shown):
                return one, None
            if one.name and member.startswith(one.name + "/") and one.folder is None:
                return one, member[len(one.name) + 1 :]
        ending = [one for one in found if one.name.endswith("/" + member)]
        if len(ending) == 1:
            return ending[0], None
        if len(sure) == 1 and sure[0].what == "archive":
            return sure[0], member
        raise UsageError(
            f"--member: no recording {member!r} is in {shown}", hint=_list_of(found) or _NOTHING
        )
    if len(sure) == 1:
        return sure[0], None
    if not sure and len(found) == 1:
        return found[0], None
    if sure:
        raise UsageError(f"{shown} holds {len(sure)} recordings", hint=_list_of(sure))
    if found:
        raise UsageError(
            f"{shown} holds {len(found)} texts, none of which begins like a recording",
            hint=_list_of(found),
        )
    if len(others) == 1:
        return others[0], None  # what is wrong with it, opening it says
    if not others:
        raise FormatError("no recording is in it, nor any other file", path=shown, hint=_NOTHING)
    raise FormatError(
        f"no recording is in it, only {len(others):,} other files: {_names_of(others)}",
        path=shown,
        hint=_NOTHING,
    )


_NOTHING = (
    "Name the file or folder that has the recording. Known inside are "
    + ", ".join(dict.fromkeys([one.name for one in FORMATS] + [one.name for one in FOLDERS]))
    + ", packed or not; --format-in NAME forces one."
)


def _list_of(found: list[_Found]) -> str:
    lines = [f"--member {one.shown}   ({one.what})" for one in found[:_LISTED]]
    if len(found) > _LISTED:
        lines.append(f"and {len(found) - _LISTED:,} more")
    return "\n".join(["Choose one:", *(f"  {line}" for line in lines)]) if lines else ""


def _names_of(found: list[_Found]) -> str:
    names = ", ".join(one.shown for one in found[:_NAMED])
    return names + (f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else "")


def _search(root: str, asked: Asked) -> tuple[list[_Found], list[_Found]]:
    """Every recording below a folder, and the other files."""
    folders = [one for one in FOLDERS if asked.format_in in (None, one.name)]
    for folder in folders:
        if folder.sniff(root):
            return [_Found("", folder.name, folder)], []
    found: list[_Found] = []
    others: list[_Found] = []
    entries = walk(root, MOST_MEMBERS)
    entry = next(entries, None)
    while entry is not None:
        name, is_folder = entry
        path = os.path.join(root, name)
        kind = next((one for one in folders if is_folder and one.sniff(path)), None)
        if kind is not None:
            found.append(_Found(name, kind.name, kind))
        elif not is_folder:
            what = _look(path, asked)
            if what is not None:
                found.append(_Found(name, what[0], None, what[1]))
            else:
                others.append(_Found(name, "", None, sure=False))
        try:
            entry = entries.send(kind is not None)
        except StopIteration:
            entry = None
    return found, others


def _look(path: str, asked: Asked) -> tuple[str, bool] | None:
    """What a file in a folder is, and whether that is sure; None when it is no recording."""
    budget = Budget(path)
    try:
        with ExitStack() as stack:
            fd = _file(path)
            stack.callback(os.close, fd)
            inside, _layers = peel(Window(pieces_of(fd, budget, True)), budget, DEPTH)
            head = inside.head(HEAD_BYTES)
            if archive_of(head):
                return "archive", True
            if not head:
                return None
            forced = _forced(asked)
            if asked.format_in is not None:
                return (forced.name, True) if forced and forced.sniff(head) else None
            known = find(head, path)
            if known is FORMATS[-1]:
                return known.name, EVENT_LINE.search(inside.head(1 << 16)) is not None
            return known.name, True
    except TraceError:
        return None


# The file system


def _file(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        if number == errno.ENOENT:
            raise TraceError(
                "there is no such file", path=path or "''", hint=_hint_near(path)
            ) from error
        if number == errno.EACCES:
            hint = "trace-cmd writes as root: sudo chown $USER FILE, or read it as root."
            raise TraceError("it may not be read", path=path, hint=hint) from error
        if isinstance(error, OSError):
            said = error.strerror or str(error)
            raise TraceError(
                f"cannot be opened: {said}", path=path, hint=what_to_do(error)
            ) from error
        raise TraceError(
            f"cannot be opened: {error}", path=path, hint="No file can have that name."
        ) from error


def _hint_near(path: str) -> str:
    """Recordings that lie where the missing one was looked for."""
    folder = os.path.dirname(path) or "."
    try:
        near = sorted(name for name in os.listdir(folder) if name.endswith(_NEAR))[:5]
    except OSError:
        return "The directory is missing too."
    return f"There is: {', '.join(near)}" if near else "No recording is in that directory."


def _stdin() -> int:
    try:
        return os.dup(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError) as error:
        raise TraceError(
            f"cannot be read: {error}", path="standard input", hint="Name a file instead of -."
        ) from error
