"""What a notebook shows: a fragment of HTML, and a figure."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.errors import UsageError

HOSTILE = '<script>alert("1")</script>\x1b]0;x\x07\u202e'
EMPTY = frozenset({"br", "img", "path", "rect"})


class Page(HTMLParser):
    """Elements and text; every element that is opened must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_result_shows_itself(samples: Path) -> None:
    result = fputrace.analyze(str(samples / "5.2.1-pinned" / "trace.dat"))
    page = Page(result._repr_html_())
    words = "\n".join(page.words)
    assert "4 confirmed error findings" in words
    assert words.count("FPU101 guest-state-in-thread-fpu") == 4
    assert "user" in words
    assert "guest" in words
    assert page.tags.count("rect") > 100, "both CPUs' lanes"
    assert not {"script", "style", "link", "iframe"} & set(page.tags)


def test_names_are_text(samples: Path) -> None:
    result = fputrace.analyze(str(samples / "5.2.1-pinned" / "trace.dat"))
    result.trace.host = HOSTILE
    html = result._repr_html_()
    assert html.isascii()
    assert "\x1b" not in html
    page = Page(html)
    assert "script" not in page.tags
    assert "\\x1b]0;x" in "".join(page.words)


def test_a_clean_trace_has_no_table_of_findings(samples: Path) -> None:
    result = fputrace.analyze(str(samples / "4.14.177-pinned" / "trace.dat"))
    page = Page(result._repr_html_())
    assert page.tags.count("table") == 1
    assert "Nothing is wrong as far as" in " ".join(page.words)


def test_the_figure(samples: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    result = fputrace.analyze(str(samples / "6.1-storm-lost" / "trace.dat"))
    axes = result.timeline.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["CPU 0", "CPU 1"]
    told = set(axes.get_legend_handles_labels()[1])
    assert {"user", "guest", "events lost"} <= told
    first, last = result.trace.first_ns or 0, result.trace.last_ns or 0
    assert axes.get_xlim() == pytest.approx((first / 1e9, last / 1e9), abs=1e-6)
    again = result.timeline.plot(6_000_000_000, 7_000_000_000, [1], ax=axes.figure.add_subplot())
    assert [label.get_text() for label in again.get_yticklabels()] == ["CPU 1"]
    assert again.get_xlim() == pytest.approx((6, 7))


def test_the_figure_needs_matplotlib(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = fputrace.analyze(str(samples / "4.14.177-pinned" / "trace.dat"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="matplotlib"):
        result.timeline.plot()
