"""The HTML page without a browser: one file, its policy, hostile text, its size."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fputrace
from fputrace.findings import Analysis
from fputrace.lanes import Marked, Pieces
from fputrace.overview import CELLS, MARKS, SPANS, overview
from fputrace.pyramid import STATES, Overview, levels
from fputrace.reports import Options, render
from fputrace.reports.html_data import packed
from fputrace.reports.html_report import LARGEST
from tests.conftest import SAMPLES
from tests.reports.cases import HOSTILE_NAMES, analysis, guest_in_thread_fpu, hostile

_VOID = {"meta", "br", "input"}


class Page(HTMLParser):
    """What a browser would take the page for."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)
        if tag in ("script", "style"):
            self.raw.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.raw[-1] = (self.raw[-1][0], self.raw[-1][1] + data)
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def flat(self) -> str:
        return re.sub(r"\s+", " ", self.text)

    @property
    def documents(self) -> list[Any]:
        return [json.loads(content) for _, content in self.raw if content.startswith("{")]


@functools.lru_cache
def drawn(case: str) -> Analysis:
    made = fputrace.analyze(SAMPLES / case / "trace.dat")
    made.overview = overview(made)
    return made


def page(*analyses: Analysis, **options: Any) -> tuple[str, Page]:
    html = str(render("html", analyses, Options(version="0.1.0", **options)))
    return html, Page(html)


@pytest.mark.parametrize("case", ["5.2.1-pinned", "6.1-storm-lost"])
def test_one_file_that_asks_for_nothing(case: str) -> None:
    html, found = page(drawn(case))
    assert html.isascii()
    assert html.endswith("</html>\n")
    assert html == page(drawn(case))[0]
    policy = next(
        meta["content"] or ""
        for meta in found.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    code = [content for tag, content in found.raw if not content.startswith("{")]
    assert len(code) == 2
    for content in code:
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for tag, attributes in found.tags:
        assert not any(name.startswith("on") or name in ("style", "src") for name in attributes), (
            tag
        )
        assert (attributes.get("href") or "#").startswith("#"), tag
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
    assert "Permission to use, copy, modify" in html  # the licence of what draws


def test_says_it_all() -> None:
    made = drawn("5.2.1-pinned")
    _, found = page(made, command="fputrace report x --format html")
    text = found.flat
    for part in (
        "FPU101 guest-state-in-thread-fpu: confirmed, 978 times",
        "the registers are saved over the VMM's image",
        "kvm_put_guest_fpu() (inferred)",
        "Looks like 240c35a3783a",
        '240c35a3783a ("kvm: x86: Use task structs fpu field for user")',
        "current->thread.fpu (fpu=0xffff8880b7cb0880) held the VMM's registers, gets the guest's",
        "switch_fpu_prepare() <-- evidence: 4",
        "guest \u2192 user",
        "Not counted: fputrace counts them with --costs.",
        "To record what is missing:",
        "fputrace report x --format html",
        "Made by fputrace 0.1.0",
    ):
        assert part in text, part
    for row in made.coverage:
        assert f"{row.code} {row.name}" in text
    anchors = {attributes.get("id") for _, attributes in found.tags}
    links = [attributes.get("href") or "#main" for attributes in found.all("a")]
    assert {link[1:] for link in links if "=" not in link} <= anchors | {None, "main"}
    (document,) = found.documents
    assert {f"#trace=1&proof={proof['id']}" for proof in document["proofs"]} == {
        link for link in links if "proof=" in link
    }


def test_nothing_found() -> None:
    """It says so, and nothing about marks in drawings that are not there."""
    text, _ = page(drawn("6.12-storm"))
    assert "None. What the trace could answer" in text
    assert "Marks:" not in text


def test_ids_are_unique_and_references_lead_somewhere() -> None:
    made = drawn("5.2.1-pinned")
    _, found = page(made, made)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name) in (None, *ids)


def test_costs_where_they_were_counted() -> None:
    made = fputrace.analyze(SAMPLES / "5.2.1-pinned" / "trace.dat", costs=True)
    _, found = page(made)
    assert "What saves and restores cost" in found.flat
    assert "There is no time to draw in this recording." in found.flat


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_text(name: str) -> None:
    made = hostile(name)
    clean = page(analysis(*made.findings[:0]))[1]
    html, found = page(made, verbose=True)
    assert html.isascii()
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in clean.tags} | {
        "pre", "span", "tr", "td", "details", "summary", "article", "h3", "h4", "br",
    }  # fmt: skip
    assert found.text.replace("\n", "").isprintable()
    if name.isprintable():
        assert name in found.text


def test_hostile_names_in_the_data() -> None:
    made = drawn("5.2.1-pinned")
    comms = dict.fromkeys(made.trace.comms, "</script><script>alert(1)//<!--")
    html, found = page(replace(made, trace=replace(made.trace, comms=comms)))
    assert html.count("</script>") == len(found.all("script")) == 2
    (document,) = found.documents
    assert [task[1] for task in document["tasks"][3:]] == list(comms.values())[:1] * len(
        document["tasks"][3:]
    )


def test_columns_come_back() -> None:
    columns = {
        "small": np.array([0, 1, 255], dtype=np.int64),
        "large": np.array([1 << 52, 0, 70_000], dtype=np.int64),
    }
    part = packed(columns)
    raw = zlib.decompress(base64.b64decode(part["data"]))
    at = 0
    for name, planes in part["columns"]:
        values = sum(
            np.frombuffer(raw, np.uint8, 3, at + 3 * plane).astype(np.int64) << 8 * plane
            for plane in range(planes)
        )
        at += 3 * planes
        assert np.array_equal(values, columns[name])
    assert at == len(raw)


def noise(cpus: int) -> Overview:
    """An overview as full of what does not pack as its limits allow."""
    dice = np.random.default_rng(1)
    width = 1 << 16
    while width * cpus > CELLS:
        width //= 4
    end = 10**12

    def lane() -> Pieces:
        cell = np.repeat(np.arange(width), 6)
        size = len(cell)
        state = np.tile(np.arange(6), width)
        return Pieces(cell, state, dice.integers(1, 3000, size), dice.random(size) / 6)

    lanes = tuple(lane() for _ in range(cpus))
    spans: NDArray[np.int64] = np.zeros((SPANS, 7), dtype=np.int64)
    spans[:, 0] = np.sort(dice.integers(0, cpus, SPANS))
    spans[:, 1] = dice.integers(0, end, SPANS)
    spans = spans[np.lexsort((spans[:, 1], spans[:, 0]))]
    spans[:, 2] = spans[:, 1] + dice.integers(1, 1 << 40, SPANS)
    spans[:, 3:5] = dice.integers(1, 3000, (SPANS, 2))
    marks = tuple(
        Marked(int(cpu), int(at), int(at) + 7, "error", "FPU101")
        for cpu, at in zip(dice.integers(0, cpus, MARKS), dice.integers(0, end, MARKS), strict=True)
    )
    return Overview(
        0, end, tuple(range(cpus)), tuple(levels(width, lanes)), spans, ((0, end),),
        {cpu: (1,) * len(STATES) for cpu in range(cpus)},
        {pid: (pid,) * len(STATES) for pid in range(3000)}, marks, (), {}, {},
    )  # fmt: skip


@pytest.mark.parametrize("cpus", [2, pytest.param(2000, marks=pytest.mark.long)])
def test_never_larger_than_promised(cpus: int) -> None:
    findings = [replace(guest_in_thread_fpu(pid=n), code=f"FPU{n:03}") for n in range(100, 900)]
    made = analysis(*findings, overview=noise(cpus), notes=["x" * 5000] * 5000)
    html = str(render("html", [made], Options(verbose=True)))
    assert LARGEST / 2 < len(html) <= LARGEST
    assert '"levels":[{' in html
    if cpus > 2:
        assert len(str(render("html", [made, made], Options()))) <= LARGEST


@pytest.mark.long
def test_millions_of_events(tmp_path: Path) -> None:
    """A sample repeated: most of the page is the same size however long the recording is."""
    from tests.tools.repeat_pages import repeat

    path = tmp_path / "trace.dat"
    repeat(SAMPLES / "6.12-storm" / "trace.dat", path, 2_000_000)
    made = fputrace.analyze(path)
    made.overview = overview(made)
    assert made.overview is not None
    assert not made.overview.is_exact
    html, _ = page(made)
    assert len(html) <= LARGEST
