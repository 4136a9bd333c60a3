"""``analyze`` as one HTML page: findings, a timeline to move in, the graph, coverage and costs.

The page is one file that needs nothing else: its policy (``Content-Security-Policy``) allows its
own script and style, by their hashes, and no request at all.  What it draws was computed before
(``Analysis.overview``); docs/html.md says what is in it and how large it becomes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from fputrace.reports import html_parts as parts
from fputrace.reports import outline
from fputrace.reports.html_data import timeline_data
from fputrace.reports.html_graph import graph
from fputrace.reports.markup import add, data, node, raw, written
from fputrace.reports.summary import file_name

if TYPE_CHECKING:
    from fputrace.findings import Analysis
    from fputrace.reports import Options

LARGEST = 8_000_000
"""Bytes of a page at most, however long the traces and however many (docs/html.md)."""

_FINDINGS_SHARE = 4
"""This part of a trace's room is what findings with their proofs may take."""

_LIBRARIES = (
    "array", "color", "dispatch", "ease", "format", "interpolate", "selection", "time",
    "time-format", "timer", "drag", "transition", "scale", "axis", "brush", "zoom",
)  # fmt: skip
"""Modules of D3 (https://d3js.org), each behind those it needs."""

_SCRIPTS = ("unpack", "model", "draw", "timeline", "page")


def report(analyses: Sequence[Analysis], options: Options) -> str:
    """The page of all traces, in ASCII; ends with a newline."""
    script, style = _script(), _asset("page.css")
    page = node("html", lang="en")
    names = ", ".join(file_name(analysis.trace.path) for analysis in analyses[:3])
    page.append(_head(f"fputrace: {names}", script, style))
    body = node("body")
    page.append(body)
    add(body, [_top(analyses), _trouble()])
    main = node("main", id="main")
    body.append(main)
    room = (LARGEST - len(script) - len(style)) // len(analyses)
    for number, analysis in enumerate(analyses, 1):
        main.append(_trace(analysis, str(number), len(analyses) > 1, room, options))
    body.append(_bottom(options))
    raw(body, "script", script)
    return written(page)


def _head(title: str, script: str, style: str) -> Element:
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", http_equiv="Content-Security-Policy", content=policy),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="referrer", content="no-referrer"),
        node("title", title),
    )
    raw(head, "style", style)
    return head


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    """A file of ``assets``, in ASCII: what is not stands as an escape of JavaScript."""
    path = files("fputrace.reports").joinpath("assets", *name.split("/"))
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    return text.encode("ascii", "backslashreplace").decode()


def _script() -> str:
    """D3 with its licences, then our own."""
    libraries = "\n".join(_asset(f"vendor/d3-{name}.min.js") for name in _LIBRARIES)
    ours = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    licences = _asset("vendor/LICENSES.txt")
    return f'/*!\n{licences}*/\n{libraries}\n(() => {{\n"use strict";\n{ours}\n}})();\n'


def _top(analyses: Sequence[Analysis]) -> Iterator[Element]:
    yield node("a", "Skip to the report", class_="skip", href="#main")
    themes = [
        node(
            "label",
            node("input", type="radio", name="theme", value=value, checked=value == "auto"),
            f" {words}",
        )
        for value, words in (("auto", "as the system"), ("light", "light"), ("dark", "dark"))
    ]
    theme = node("fieldset", node("legend", "Colours:"), themes, id="theme", hidden=True)
    title = "FPU state in this recording" if len(analyses) == 1 else "FPU state in these recordings"
    left = node("div", node("h1", title))
    if len(analyses) == 1:
        add(left, node("p", outline.verdict_line(analyses[0]), class_="verdict"))
        links = [
            node("li", node("a", words, href=f"#{name}-1"))
            for name, words in parts.SECTIONS.items()
        ]
    else:
        links = [
            node(
                "li",
                node("a", file_name(analysis.trace.path), href=f"#trace-{number}"),
                f": {outline.verdict_line(analysis)}",
            )
            for number, analysis in enumerate(analyses, 1)
        ]
    yield node("header", left, theme)
    yield node("nav", node("ul", links), aria_label="Contents")


def _trouble() -> Iterator[Element]:
    yield node(
        "p",
        "The timelines cannot be drawn; all else is complete. Browsers since 2024 draw them.",
        id="trouble",
        role="alert",
        hidden=True,
    )
    yield node(
        "noscript",
        node("p", "Without JavaScript everything is here but the timelines.", class_="note"),
    )


def _trace(analysis: Analysis, number: str, several: bool, room: int, options: Options) -> Element:
    section = node("section", id=f"trace-{number}")
    if several:
        add(section, node("h2", file_name(analysis.trace.path)))
        add(section, node("p", outline.verdict_line(analysis), class_="verdict"))
    add(section, parts.overview(analysis, number, options))
    has_lanes = analysis.overview is not None
    findings, proofs = parts.findings(
        analysis, number, options.verbose, has_lanes, room // _FINDINGS_SHARE
    )
    add(section, findings)
    lanes = node("section", id=f"timeline-{number}", aria_labelledby=f"timeline-{number}-title")
    add(section, lanes)
    if analysis.overview is not None:
        add(section, graph(analysis.overview, number, outline.clock_of(analysis.trace)))
    add(section, [parts.costs(analysis, number, options.verbose), parts.coverage(analysis, number)])
    add(lanes, parts.timeline(analysis, number))
    if analysis.overview is not None:
        left = room - len(written(section)) - parts.MARGIN
        drawn = timeline_data(analysis, analysis.overview, proofs, left)
        raw(lanes, "script", data(drawn), type="application/json", id=f"data-{number}")
    return section


def _bottom(options: Options) -> Element:
    version = f" {options.version}" if options.version else ""
    return node("footer", node("p", f"Made by fputrace{version}."))
