"""A rule's page on a terminal: rich's Markdown with calmer headings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.text import Text
from rich.theme import Theme

from fputrace.reports.escape import clean

_WIDTH = 100
_THEME = Theme({"markdown.code": "bold", "markdown.h1": "bold", "markdown.h2": "bold"})


class _LeftHeading(Heading):
    """A heading at the left margin: bold, without a box."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        self.text.justify = "left"
        yield self.text


class Page(Markdown):
    """Markdown no wider than reads well."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
    }

    def __init__(self, text: str) -> None:
        super().__init__(text, code_theme="ansi_light", hyperlinks=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.ascii_only:  # rich's bullets and quotes are not
            for line in self.markup.splitlines():
                yield Text(clean(line, ascii_only=True))
            return
        narrow = options.update(max_width=min(options.max_width, _WIDTH))
        with console.use_theme(_THEME):
            yield from super().__rich_console__(console, narrow)
