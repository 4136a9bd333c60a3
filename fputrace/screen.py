"""Where results go: what this terminal, pipe or file can show, and the progress bar beside it."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any

from fputrace.plain import PlainTuple
from fputrace.reports.escape import clean

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rich.console import Console, RenderableType

    from fputrace.events import Trace

PROGRESS_BYTES = 64 << 20
"""Event data above which a progress bar is worth a terminal's line."""


def say(message: str, hint: str = "") -> None:
    """Talk to the user; a hint may have several lines.  Both may quote a file and its name."""
    lines = [clean(message), *(f"  {clean(line)}" for line in hint.splitlines())]
    print("fputrace:", "\n".join(lines), file=sys.stderr)  # noqa: T201


def stdout_is_ascii() -> bool:
    """Whether stdout shows nothing but ASCII.

    ``sys.stdout.encoding`` alone does not tell: Python writes UTF-8 in a C locale (PEP 540), and
    with ``LANG=C`` alone it moves its own LC_CTYPE to C.UTF-8 (PEP 538) where the user said C.
    """
    import locale

    utf8 = "utf" in (sys.stdout.encoding or "").lower() and "utf" in locale.getencoding().lower()
    moved = os.environ.get("LC_CTYPE") == "C.UTF-8" and os.environ.get("LANG") in ("C", "POSIX")
    return not utf8 or moved


class Screen(PlainTuple):
    """Where a result goes: ``output`` is a path or None for stdout, ``color`` as ``--color``."""

    output: str | None = None
    color: str = "auto"

    @property
    def ascii(self) -> bool:
        """Files are UTF-8; stdout is what its locale says."""
        return self.output is None and stdout_is_ascii()

    @property
    def wants_rich(self) -> bool:
        """A terminal, or somebody who asks for colour where there is none (``| less -R``)."""
        forced = self.color == "always" or bool(os.environ.get("FORCE_COLOR"))
        return forced or (self.output is None and sys.stdout.isatty())

    def console(self, file: Any = None, width: int | None = None) -> Console:
        """A rich console for ``file`` (stdout); NO_COLOR, FORCE_COLOR, COLUMNS, TERM are rich's."""
        from rich.console import Console

        file = file or sys.stdout
        if self.color == "never":
            return Console(file=file, color_system=None, highlight=False, width=width)
        if self.color == "auto":
            return Console(file=file, highlight=False, width=width)
        # Asked for by name: neither NO_COLOR nor TERM=dumb counts, what the terminal can do does.
        found = Console(file=file, force_terminal=True).color_system
        return Console(
            file=file,
            force_terminal=True,
            no_color=False,
            color_system="truecolor" if found == "truecolor" else "256",
            highlight=False,
            width=width,
        )

    def show(self, result: str | RenderableType, width: int | None = None) -> None:
        """Write a result.  A file is opened only when there is something to write.

        Raises OSError when it cannot be written (BrokenPipeError: its reader has gone); its
        ``filename`` is ``output``.
        """
        if self.ascii and isinstance(sys.stdout, io.TextIOWrapper):
            # rich asks the stream what it can show; whatever slips through is a question mark.
            sys.stdout.reconfigure(encoding="ascii", errors="replace")
        if self.output is None:
            if isinstance(result, str):
                sys.stdout.write(result)
            else:
                self.console(width=width).print(result)
            return
        if not isinstance(result, str):
            text = io.StringIO()
            self.console(text, width).print(result)
            result = text.getvalue()
        write_file(self.output, result)


def write_file(path: str, text: str) -> None:
    """Write a result as UTF-8, packed when the name ends in ``.gz``: the same bytes each time.

    Raises OSError with ``filename`` when it cannot be written.
    """
    data = text.encode("utf-8")
    if path.endswith(".gz"):
        import gzip

        packed = io.BytesIO()
        # No time and no name of a file in it.
        with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:
            file.write(data)
        data = packed.getvalue()
    try:
        with open(path, "wb") as out:
            out.write(data)
    except OSError as error:
        # One that came while writing (a full disk) does not know of which file.
        error.filename = path
        raise


class Progress:
    """A bar on stderr while a large trace is read: events, bytes, time left.

    Call it with the Trace as it fills; ``stack`` takes the bar away.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._bar: Any = None

    def __call__(self, trace: Trace) -> None:
        """Show how far ``trace`` is."""
        if trace.total_bytes < PROGRESS_BYTES:
            return
        if self._bar is None:
            self._bar = self._stack.enter_context(self._make())
            name = clean(os.path.basename(trace.path))
            self._task = self._bar.add_task(name, total=trace.total_bytes, events="")
        events = f"{sum(trace.counts.values()):,} events"
        # A packed file is first unpacked, then read: each has a size of its own.
        self._bar.update(
            self._task, total=trace.total_bytes, completed=trace.read_bytes, events=events
        )

    def _make(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        return Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[events]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
