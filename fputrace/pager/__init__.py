"""``timeline --interactive``: a trace on the whole screen of a terminal.

``view.py`` is which stretch is shown, ``source.py`` what is in it, ``app.py`` the screen, which
Textual (an extra) draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from fputrace.findings import Analysis
    from fputrace.pyramid import Overview


def page(
    analysis: Analysis,
    overview: Overview,
    window: tuple[int | None, int | None] | None = None,
    owners: Collection[int] | None = None,
    ascii_only: bool = False,
) -> None:
    """Show a trace until the user has seen enough.

    ``overview`` is of the CPUs to show; ``window`` (ns) what is shown first; ``owners`` (pids)
    whose registers are told, None for everybody's.  Raises UsageError where Textual is missing.
    """
    try:
        from fputrace.pager.app import Pager
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise UsageError(
            "--interactive needs the package textual, which is not installed",
            hint="pip install 'fputrace[interactive]' (in a clone: pip install '.[interactive]')",
        ) from None
    Pager(analysis, overview, window, owners, ascii_only).run()
