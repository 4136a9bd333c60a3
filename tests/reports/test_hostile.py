"""Names from a recording that want to be more than text come out as text in every report.

One test over the table ``REPORTS``: a format that is added is asked with the rest.  What a hostile
name must not do is written down once for each *kind* of output, and a format without a kind fails.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from shutil import which
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from fputrace.findings import Analysis
from fputrace.reports import REPORTS, Options, render
from fputrace.reports.escape import clean
from tests.reports.cases import HOSTILE_NAMES, hostile

NAMES = (
    *HOSTILE_NAMES,
    "\x1b]0;owned\x07\x1b[2J",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)//",
    "]]><x>&lol;",
    '"onload="x',
    "'; DROP --",
    "=cmd()",
    "@everyone",
    "\u202egpj.exe\u2066",
    "a\u2028b\u0085c\nd",
    "`````\n\n# owned",
    "end\nparticipant x",
    "%%{init: {}}%%",
    "$(reboot)",
    "javascript:alert(1)",
    "\x00\x08\x7f",
)
HARMLESS = "CPU 0/KVM"
OPTIONS = Options(verbose=True, version="0", command="fputrace report trace.dat")


def make(name: str, analysis: Analysis) -> str:
    made = render(name, [analysis], OPTIONS)
    if isinstance(made, str):
        return made
    file = io.StringIO()
    Console(file=file, width=120, color_system=None, highlight=False).print(made)
    return file.getvalue()


def lines_of_text(text: str, name: str) -> None:
    """Nothing but what prints, and no line that a name began."""
    assert all(char.isprintable() or char == "\n" for char in text)
    assert not re.search(r"^(# owned|participant x|d$)", text, re.MULTILINE)


def ascii_text(text: str, name: str) -> None:
    lines_of_text(text, name)
    assert text.isascii()


def markdown(text: str, name: str) -> None:
    """A renderer sees the same elements as with a harmless name; no ``<`` but our own."""
    lines_of_text(text, name)
    ours = r"<(?!/?(details|summary|sub|br|code)>|-- evidence: \d)"
    assert not re.search(ours, text)
    render_html = MarkdownIt("commonmark", {"html": True}).enable("table").render

    def structure(made: str) -> list[str]:
        without_cells = re.sub(r"<br>|</?code>", "", render_html(made))
        return re.findall(r"</?[a-z]\w*", without_cells)

    assert structure(text) == structure(make("markdown", hostile(HARMLESS)))


class _Page(HTMLParser):
    """Elements with their attributes' names, and the names of what could run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(sorted(key for key, _ in attrs))))
        for key, value in attrs:
            assert not key.startswith("on")
            assert not (value or "").strip().lower().startswith("javascript:")


def html(text: str, name: str) -> None:
    """The same elements with the same attributes as with a harmless name; a command has lines."""
    pages = []
    for made in (text, make("html", hostile(HARMLESS))):
        page = _Page()
        page.feed(made)
        page.close()
        pages.append([seen for seen in page.seen if seen != ("br", ())])
    assert pages[0] == pages[1]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def json_values(text: str, name: str) -> None:
    """One document, ASCII, its shape that of a harmless name."""
    assert text.isascii()
    assert all(char.isprintable() or char == "\n" for char in text)
    shape_of(json.loads(text))


def json_lines(text: str, name: str) -> None:
    assert text.endswith("\n")
    for line in text.splitlines():
        json_values(line, name)


def shape_of(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            key.encode()
            shape_of(inner)
    elif isinstance(value, list):
        for inner in value:
            shape_of(inner)
    elif isinstance(value, str):
        value.encode()  # no half of a surrogate pair


def xml(text: str, name: str) -> None:
    """Well-formed, the same elements as with a harmless name, and nothing that XML 1.0 forbids."""

    def elements(made: str) -> list[str]:
        return [element.tag for element in ElementTree.fromstring(made.encode()).iter()]

    assert elements(text) == elements(make("junit", hostile(HARMLESS)))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "<!" not in text


KINDS: dict[str, Callable[[str, str], None]] = {
    "rich": lines_of_text,
    "text": ascii_text,
    "markdown": markdown,
    "html": html,
    "json": json_values,
    "jsonl": json_lines,
    "sarif": json_values,
    "junit": xml,
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("report", REPORTS)
def test_comes_out_inert(report: str, name: str) -> None:
    assert report in KINDS, "say above what a hostile name must not do in it"
    text = make(report, hostile(name))
    assert "\x1b" not in text
    text.encode("utf-8")
    KINDS[report](text, name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_diagrams_keep_to_the_grammar(name: str) -> None:
    """Every line of a diagram is one of four statements, whatever its text."""
    for diagram in diagrams(make("markdown", hostile(name))):
        first, *lines = diagram.splitlines()
        assert first == "sequenceDiagram"
        text = r"([A-Za-z0-9 _./,+=()'>-]|#\d+;)*"
        who = r"(T\d*|R\d+|M)"
        for line in lines:
            statement = (
                rf"    (participant {who} as {text}|{who}->>{who}: {text}"
                rf"|Note (over|right of) {who}: {text})"
            )
            assert re.fullmatch(statement, line), line


def diagrams(text: str) -> list[str]:
    return re.findall(r"^```mermaid\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(which("node") is None, reason="needs node, with mermaid and jsdom: npm install")
def test_mermaid_takes_every_diagram(tmp_path: Path) -> None:
    """Mermaid's own parser, where it is installed (NODE_PATH or a node_modules above)."""
    made = "".join(make("markdown", hostile(name)) for name in (*NAMES, "end", "style:#x;", "alt"))
    file = tmp_path / "diagrams.json"
    file.write_text(json.dumps(diagrams(made)))
    script = Path(__file__).with_name("mermaid.cjs")
    done = subprocess.run(["node", script, file], capture_output=True, text=True, check=False)
    if "Cannot find module" in done.stderr:
        pytest.skip("needs mermaid and jsdom for node: npm install mermaid jsdom")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) == len(diagrams(made)) > len(NAMES)


def test_the_name_is_still_there() -> None:
    """Inert is not absent: what can be shown is shown."""
    name = "<b>|`x`"
    assert clean(name) in make("text", hostile(name))
    assert "&lt;b>" in make("markdown", hostile(name))
