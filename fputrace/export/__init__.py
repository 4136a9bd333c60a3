"""Findings and ownership for other tools: ``fputrace export``.

An analysis -> a Perfetto trace, or Parquet tables of spans, findings and events (docs/export.md).
What is exported is what the timeline gives, block by block: memory does not depend on the trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.convert.output import check_no_terminal, file_output, folder_output
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from fputrace.findings import Analysis

FORMS = ("perfetto", "parquet")
"""``export --to``."""


class Window(PlainTuple):
    """What of a trace is exported: None is no limit.  Times in ns of the trace's clock."""

    start_ns: int | None = None
    end_ns: int | None = None
    cpus: frozenset[int] | None = None
    pids: frozenset[int] | None = None
    """Tasks that get tracks; tables hold every task."""

    def holds(self, ns: int | None, cpu: int | None) -> bool:
        """Whether something at this time (None: at none) and of this CPU is in it."""
        return (
            (self.start_ns is None or ns is None or ns >= self.start_ns)
            and (self.end_ns is None or ns is None or ns <= self.end_ns)
            and (self.cpus is None or cpu is None or cpu in self.cpus)
        )


def export(
    analysis: Analysis, to: str, output: str | None, window: Window, *, force: bool = False
) -> None:
    """Write what was found in one of :data:`FORMS`.

    ``output``: a file, packed when its name ends in ``.gz`` or ``.zst``, or None for standard
    output; for parquet a folder, which ``force`` lets replace.  It is there only when it is
    complete.  Raises UsageError for what cannot be, such as a module that is not installed;
    OSError, with ``filename``, when it cannot be written; ReadError when the recording fails.
    """
    if to == "parquet":
        from fputrace.export.tables import check_pyarrow, write_tables

        check_pyarrow()
        with folder_output(output, force, "spans.parquet") as folder:
            write_tables(analysis, folder, window)
        return
    from fputrace.export.perfetto import messages, write_perfetto

    messages()  # before anything is made
    check_no_terminal(output)
    with file_output(output) as out:
        write_perfetto(analysis, out, window)
