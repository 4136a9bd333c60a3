"""A copy of a tracefs directory, or what a remote user sends of one.

``events/*/*/format`` and either the ring buffer's pages (``per_cpu/cpuN/trace_pipe_raw``) or the
text of ``trace``; what else is there (``saved_cmdlines``, ``trace_clock``, ``per_cpu/cpuN/stats``,
``uname -a``, ``kallsyms``) is used.  Facts: the kernel's Documentation/trace/ftrace.rst, and
kernel/trace/trace.c for the texts.

Files of a mounted tracefs say they have 0 bytes and yield more when they are read.  Its pages are
never read there: that would take them away from whoever records.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator

from fputrace.errors import FormatError, ReadError, UsageError
from fputrace.events import KINDS, EventFormat, Loss, Sidecar, Trace
from fputrace.parsers.container import LARGEST_TEXT, MOST_CPUS, CpuData
from fputrace.parsers.formats import parse_format
from fputrace.parsers.rebuild import Parts, add_after_passes, open_parts, pieces_of, spooled
from fputrace.parsers.sidecar import parse_definitions
from fputrace.parsers.source import Source
from fputrace.parsers.symbols import find_symbols
from fputrace.parsers.tracedat import cmdlines
from fputrace.plain import plain

_SMALL = 1 << 20
"""Bytes of the largest format file and of other texts that are short."""

_MOST_FORMATS = 1 << 16
"""Event ids have 16 bits."""

_CPU = re.compile(r"cpu(\d{1,6})")
_STAT = re.compile(rb"^(commit overrun|dropped events):\s*(\d{1,18})\s*$", re.M)
_BRACKETS = re.compile(r"\[([^\]\s]+)\]")
_RELEASE = re.compile(r"\d+\.\d+\S*")

_UNAMES = (
    "uname", "uname.txt", "uname-a", "uname-a.txt", "uname_a", "uname_a.txt", "uname -a",
    "proc/version", "version",
)  # fmt: skip
_KALLSYMS = ("kallsyms", "proc/kallsyms")
_PARTS_OF_SYS = frozenset(["tracing", "debug", "kernel", "sys"])
"""Folders above tracefs in /sys; what lies beside them belongs to the same copy."""

HOW_TO_COPY = (
    "tar takes files of tracefs for empty. As root: cd /sys/kernel/tracing && mkdir /tmp/t && "
    "cp --parents events/*/*/format events/*/*/enable events/header_page trace saved_cmdlines "
    "trace_clock per_cpu/cpu*/stats /tmp/t && uname -a > /tmp/t/uname"
)


def open_tracefs(folder: str, path: str, instance: str | None) -> Trace:
    """Open a copy of a tracefs directory; nothing of it is needed any more afterwards.

    `path` is its name for messages, `instance` a folder of ``instances/`` to read instead of the
    top buffer.  Pages win over the text.  Raises FormatError when there are no events or no
    formats in it, UsageError when there is no such instance, ReadError when it cannot be read.
    """
    top = _Folder(folder, path)
    names = top.folders("instances")
    buffer = top
    if instance:
        if instance not in names:
            known = ", ".join(names) or "none"
            raise UsageError(
                f"{path}: there is no instance {instance!r}", hint=f"Instances here: {known}."
            )
        buffer = top.inside(f"instances/{instance}")
    forms, notes = _formats(top)
    about = _About(
        list(forms.values()),
        _enabled(buffer, forms),
        _uname(top),
        buffer.text("trace_clock").decode("ascii", "replace").strip(),
        _stats(buffer),
        tuple(names),
        notes,
    )
    trace = _open_pages(top, buffer, about)
    if trace is None:
        trace = _open_text(top, buffer, about)
    if trace is None:
        raise _without_events(top, buffer, names)
    trace.enabled = about.enabled
    made = top.text("kprobe_events") + top.text("dynamic_events")
    if made:
        lines = made.decode("ascii", "backslashreplace").splitlines()
        trace.sidecar = Sidecar(parse_definitions(lines))
    _tell_filters(buffer, trace)
    return trace


class _Folder:
    """A folder whose files are read with a limit, and its name for messages."""

    def __init__(self, folder: str, path: str) -> None:
        self.folder = folder
        self.path = path

    def inside(self, name: str) -> _Folder:
        return _Folder(os.path.join(self.folder, name), self.name_of(name))

    def name_of(self, name: str) -> str:
        """A file's name for messages."""
        return os.path.join(self.path, name)

    def entries(self, name: str = "") -> list[os.DirEntry[str]]:
        """What a folder in this one holds, in the order of names; nothing where there is none."""
        try:
            with os.scandir(os.path.join(self.folder, name)) as found:
                return sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ReadError(f"cannot be read: {error}", path=self.name_of(name)) from error

    def folders(self, name: str) -> list[str]:
        """Names of the folders in a folder of this one."""
        return [entry.name for entry in self.entries(name) if entry.is_dir()]

    def open(self, name: str) -> int | None:
        """A descriptor of a regular file, None when there is none.

        Raises ReadError when it may not be read.
        """
        try:
            # Not waiting for anybody to write, should it be a FIFO.
            fd = os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
                raise ReadError(f"cannot be read: {error}", path=self.name_of(name)) from error
            return None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def pieces(self, name: str) -> Iterator[bytes]:
        """A file's bytes to its end, whatever size it says it has; nothing where there is none."""
        fd = self.open(name)
        if fd is None:
            return
        try:
            yield from pieces_of(fd, self.name_of(name))
        finally:
            os.close(fd)

    def text(self, name: str, most: int = _SMALL) -> bytes:
        """The first `most` bytes of a file, b"" where there is none."""
        taken = []
        for piece in self.pieces(name):
            taken.append(piece[:most])
            most -= len(piece)
            if most <= 0:
                break
        return b"".join(taken)

    def size(self, name: str) -> int:
        """The size a regular file says it has; 0 where there is none."""
        try:
            found = os.stat(os.path.join(self.folder, name))
        except OSError:
            return 0
        return found.st_size if stat.S_ISREG(found.st_mode) else 0


@plain
class _About:
    """What the folder says whatever form its events have."""

    forms: list[EventFormat]
    enabled: frozenset[str]
    uname: tuple[str, str]
    clock: str
    stats: dict[int, bytes]
    instances: tuple[str, ...]
    notes: list[str]


def _formats(top: _Folder) -> tuple[dict[str, EventFormat], list[str]]:
    """The formats in ``events/``, by their folder in there, and notes on what cannot be read.

    Raises FormatError when there is none.
    """
    forms: dict[str, EventFormat] = {}
    empty = bad = 0
    for system in top.folders("events"):
        for event in top.folders(f"events/{system}"):
            name = f"events/{system}/{event}/format"
            text = top.text(name)
            form = parse_format(text, system)
            if form is not None and len(forms) < _MOST_FORMATS:
                forms[f"{system}/{event}"] = form
            elif text:
                bad += 1
            elif os.path.exists(os.path.join(top.folder, name)):
                empty += 1
    if not forms:
        what = "there is no events/SYSTEM/EVENT/format"
        if bad:
            what = f"none of the {bad} files events/*/*/format is the format of an event"
        elif empty:
            what = f"all {empty} files events/*/*/format are empty"
        raise FormatError(what, path=top.path, hint=HOW_TO_COPY)
    notes = [f"{top.path}: {empty} of the event formats are empty"] if empty else []
    if bad:
        notes.append(f"{top.path}: {bad} event formats cannot be read")
    return forms, notes


def _enabled(buffer: _Folder, forms: dict[str, EventFormat]) -> frozenset[str]:
    """Events that ``enable`` says are on; a copy without these files proves nothing of any."""
    return frozenset(
        form.key
        for folder, form in forms.items()
        if buffer.text(f"events/{folder}/enable", 8).startswith(b"1")
    )


def _roots(top: _Folder) -> Iterator[_Folder]:
    """The folder, and those above it that a copy of /sys/kernel/tracing goes with it."""
    yield top
    where = os.path.realpath(top.folder)
    mounted = where.startswith("/sys/")
    while os.path.basename(where) in _PARTS_OF_SYS:
        where = os.path.dirname(where)
        # What is beside a copy that lies in the root belongs to this machine, not to the copy.
        if where != "/" or mounted:
            yield _Folder(where, where)


def _uname(top: _Folder) -> tuple[str, str]:
    """(release, host) as ``uname -a``, ``uname -r`` or /proc/version have them; "" unknown."""
    for root in _roots(top):
        for name in _UNAMES:
            words = root.text(name, 4096).decode("utf-8", "backslashreplace").split()
            if len(words) >= 3 and words[0] == "Linux" and _RELEASE.fullmatch(words[2]):
                return words[2], "" if words[1] == "version" else words[1]
            if len(words) == 1 and _RELEASE.fullmatch(words[0]):
                return words[0], ""
    return "", ""


def _kallsyms(top: _Folder) -> Iterator[bytes]:
    """The first kallsyms there is, as far as one can be long."""
    for root in _roots(top):
        for name in _KALLSYMS:
            left = LARGEST_TEXT
            for piece in root.pieces(name):
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return
            if left < LARGEST_TEXT:
                return


def _cpus(buffer: _Folder) -> list[int]:
    """CPUs that have a folder in ``per_cpu``."""
    found = (_CPU.fullmatch(name) for name in buffer.folders("per_cpu"))
    numbers = {int(match[1]) for match in found if match is not None}
    return sorted(number for number in numbers if number < MOST_CPUS)


def _stats(buffer: _Folder) -> dict[int, bytes]:
    """``stats`` of every CPU that has any."""
    texts = {cpu: buffer.text(f"per_cpu/cpu{cpu}/stats", 4096) for cpu in _cpus(buffer)}
    return {cpu: text for cpu, text in texts.items() if text}


def _open_pages(top: _Folder, buffer: _Folder, about: _About) -> Trace | None:
    """The trace of the copied pages, None when there are none."""
    places: list[CpuData] = []
    at = 0
    for cpu in _cpus(buffer):
        name = f"per_cpu/cpu{cpu}/trace_pipe_raw"
        size = buffer.size(name)
        places.append(CpuData(cpu, at, size, buffer.name_of(name)))
        at += size
    if not at:
        return None

    def copied() -> Iterator[bytes]:
        for place in places:
            left = place.size
            for piece in buffer.pieces(f"per_cpu/cpu{place.cpu}/trace_pipe_raw") if left else ():
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    break
            if left > 0:
                raise ReadError("it has shrunk while it was being read", path=place.path)

    release, host = about.uname
    subbuf = buffer.text("buffer_subbuf_size_kb", 32).strip()
    parts = Parts(
        top.path,
        "tracefs pages",
        about.forms,
        places,
        header_page=top.text("events/header_page"),
        page_size=int(subbuf) * 1024 if subbuf.isdigit() and len(subbuf) < 8 else 0,
        cmdlines=top.text("saved_cmdlines", LARGEST_TEXT),
        kernel=release,
        host=host,
        clock=about.clock,
        stats=about.stats,
        kallsyms=lambda: _kallsyms(top),
        instances=about.instances,
        notes=about.notes,
    )
    trace = open_parts(parts, Source(spooled(copied(), top.path), top.path))
    trace.limits.append(
        "pages do not say how many there are: a file that was cut between two of them looks whole"
    )
    return trace


def _open_text(top: _Folder, buffer: _Folder, about: _About) -> Trace | None:
    """The trace of the text in ``trace``, with what the folder knows; None when it has no line."""
    name = buffer.name_of("trace")
    pieces = buffer.pieces("trace")
    first = next(pieces, b"")
    if all(line.startswith(b"#") or not line.strip() for line in first.split(b"\n")):
        return None
    from fputrace.parsers.text import NO_RELEASE, open_text

    def copied() -> Iterator[bytes]:
        yield first
        yield from pieces

    # A copy, because the size of a file in a mounted tracefs is no size.
    clock = _BRACKETS.search(about.clock)
    trace = open_text(spooled(copied(), name), name, clock=clock[1] if clock else None)
    trace.format = "tracefs text"
    release, host = about.uname
    trace.kernel = release or trace.kernel
    if trace.kernel:
        trace.limits = [said for said in trace.limits if said != NO_RELEASE]
    trace.host = host or trace.host
    trace.cpus = sorted({*trace.cpus, *_cpus(buffer)})
    trace.instances = list(about.instances)
    for form in about.forms:
        trace.formats[form.key] = form
    symbols = find_symbols(_kallsyms(top))
    trace.has_kallsyms = symbols.any_text
    trace.symbols = symbols.first
    add_after_passes(
        trace,
        losses=_unplaced(about),
        notes=about.notes,
        comms=cmdlines(top.text("saved_cmdlines", LARGEST_TEXT)),
    )
    return trace


def _unplaced(about: _About) -> list[Loss]:
    """What the statistics count and the head of the text does not: it has overruns only."""
    return [
        Loss(cpu, None, None, lost, f"statistics of CPU {cpu}", placed=False)
        for cpu, text in about.stats.items()
        if (lost := sum(int(count) for _, count in _STAT.findall(text)))
    ]


def _tell_filters(buffer: _Folder, trace: Trace) -> None:
    """Events that a filter kept out leave no trace of it in the data."""
    filtered = [name for name in ("set_event_pid", "set_event_notrace_pid") if buffer.text(name)]
    for spec in KINDS:
        for event in spec.names:
            name = f"events/{spec.system}/{event}/filter"
            if buffer.text(name).strip() not in (b"", b"none"):
                filtered.append(name)
    if filtered:
        trace.losses_known = False
        trace.limits.append(f"events were filtered when this was copied: see {', '.join(filtered)}")


def _without_events(top: _Folder, buffer: _Folder, instances: list[str]) -> FormatError:
    """Why there is nothing to read, and what to copy instead."""
    hint = HOW_TO_COPY
    if buffer.text("trace", 1):
        what = "trace has no line of an event: the ring buffer was empty"
        hint = "Switch events on, run the workload, then copy: trace-cmd start -e x86_fpu -e sched"
    elif os.path.exists(os.path.join(buffer.folder, "trace")):
        what = "trace is empty, and there are no pages in per_cpu/cpu*/trace_pipe_raw"
    else:
        what = "there is neither trace nor per_cpu/cpu*/trace_pipe_raw with pages"
    if buffer is top and instances:
        hint = f"Or is it one of its instances? --instance {instances[0]}. {hint}"
    return FormatError(what, path=buffer.path, hint=hint)
