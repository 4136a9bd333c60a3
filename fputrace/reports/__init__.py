"""Reports: plain values in, text or a rich renderable out.

A reporter computes nothing, opens nothing and knows no terminal: what it draws for a terminal
takes its width from the console that prints it.  The modules of a report are imported when it is
asked for, so that ``fputrace --help`` pays for none of them.

===================  ==========================================================================
module               what it renders
===================  ==========================================================================
``rich_report``      ``analyze`` for a terminal
``text_report``      ``analyze`` for a mailing list: ASCII, 72 columns
``markdown_report``  ``analyze`` for a ticket
``html_report``      ``analyze`` as a page to look at; ``html_parts``, ``html_graph`` and
                     ``html_data`` make its sections and data, ``markup`` its elements
``json_report``      ``analyze`` for programs: ``analyze.schema.json``
``jsonl_report``     ``analyze`` for pipes and tables: a finding a line
``sarif_report``     ``analyze`` for code hosts: SARIF 2.1.0
``junit_report``     ``analyze`` for CI servers: a test case a rule
``check``            ``check``: a sentence a trace
``diff``             ``diff``: two recordings side by side, as text and Markdown
``diff_json``        ``diff`` for programs: ``diff.schema.json``
``timeline``         ``timeline``: the lanes of a whole trace or a window
``at``               ``at``: CPUs and images at a time, for a terminal, as text and JSON
``graph``            ``graph``: images between registers and memory, in formats of graphs
``info``             ``info``: what a recording says about itself
``rules``            ``rules`` and ``explain``
``costs``            what saves and restores cost, as tables
``outline``          what the reports of ``analyze`` have in common, before any layout
``summary``          the paragraph a report begins with, and what it was made of
``chain``            the calls behind a proof, and the buffer that they overwrote
``mermaid``          a proof as a diagram that code hosts draw
``fitting``          a report within the length that lists and code hosts take
``steps``            the steps of a proof, each event with its main fields
``lanes``            the drawing of a proof: lanes per CPU with the marks of its events
``command``          a shell command on several lines
``palette``          colours that colour-blind readers can tell apart
``notebook``         findings and coverage where a notebook shows a value
``figure``           the lanes by matplotlib
``page``             a page of Markdown on a terminal
``escape``           text from a trace made harmless, for every kind of output
===================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, cast

from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fputrace.findings import Analysis


class Unread(PlainTuple):
    """A TRACE that could not be read: what is wrong with it, and what to do."""

    path: str
    message: str
    hint: str = ""


class Options(PlainTuple):
    """What the user chose about the look of a report, and where it says that it comes from.

    ``verbose``: every witness, every finding and the whole coverage table.  ``ascii``: nothing
    but ASCII (a locale that is not UTF-8).  ``exit_status`` and ``version`` are what JSON repeats.
    ``command``: the command that makes the same report again, "" where there is none (the API).
    ``max_lines``: text is no longer than that; ``attach``: the file in which the reader finds what
    is left out (:func:`attachment`).
    ``unread`` is told by the reports of :data:`TELL_UNREAD`.
    """

    verbose: bool = False
    ascii: bool = False
    exit_status: int = 0
    version: str = ""
    command: str = ""
    max_lines: int | None = None
    attach: str | None = None
    unread: tuple[Unread, ...] = ()


REPORTS: Mapping[str, str] = {
    "rich": "fputrace.reports.rich_report",
    "text": "fputrace.reports.text_report",
    "markdown": "fputrace.reports.markdown_report",
    "html": "fputrace.reports.html_report",
    "json": "fputrace.reports.json_report",
    "jsonl": "fputrace.reports.jsonl_report",
    "sarif": "fputrace.reports.sarif_report",
    "junit": "fputrace.reports.junit_report",
}
"""``--format`` of ``analyze`` -> the module whose ``report(analyses, options)`` makes it."""

TELL_UNREAD = frozenset({"sarif", "junit"})
"""Reports that have a place for a TRACE that could not be read: made even when none could."""


def render(name: str, analyses: Sequence[Analysis], options: Options) -> str | RenderableType:
    """The report ``name`` of these analyses: a rich renderable for "rich", else text that ends
    with a newline.  Raises KeyError for a name that is not in :data:`REPORTS`.
    """
    module = import_module(REPORTS[name])
    return cast("str | RenderableType", module.report(analyses, options))


def attachment(name: str, analyses: Sequence[Analysis], options: Options) -> str:
    """What ``options.attach`` holds: the report with nothing left out.  Only "text" has one."""
    module = import_module(REPORTS[name])
    return cast("str", module.attachment(analyses, options))
