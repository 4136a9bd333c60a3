"""The HTML page in Debian's Chromium: it loads, moves, jumps, asks for nothing, and stays text."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.overview import overview
from fputrace.reports import Options, render
from tests.conftest import SAMPLES

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="apt install chromium")

CASES = ("5.2.1-pinned", "6.1-storm-lost")
HOSTILE = "<img src=x onerror=alert(1)></script><script>document.title='gone'</script>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each case, and one in which every task has a hostile name."""
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for case in CASES:
        analysis = fputrace.analyze(SAMPLES / case / "trace.dat")
        analysis.overview = overview(analysis)
        made[case] = analysis
    plain = made["5.2.1-pinned"]
    comms = dict.fromkeys(plain.trace.comms, HOSTILE)
    findings = [dataclasses.replace(one, comm=HOSTILE, vm=HOSTILE) for one in plain.findings]
    made["hostile"] = dataclasses.replace(
        plain,
        trace=dataclasses.replace(plain.trace, comms=comms, path=HOSTILE),
        findings=type(plain.findings)(findings),
    )
    for name, analysis in made.items():
        (folder / f"{name}.html").write_text(str(render("html", [analysis], Options())))
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


class Seen:
    """A tab, and what nobody wants to see in it."""

    def __init__(self, browser: Any, **options: Any) -> None:
        size = {"width": 1000, "height": 800}
        self.tab = browser.new_page(viewport=size, reduced_motion="reduce", **options)
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.trouble.append(message.text))
        self.tab.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.trouble.append(dialog.message))
        self.tab.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path, address: str = "") -> Any:
        self.tab.goto(f"{path.as_uri()}{address}")
        self.tab.wait_for_selector("html[data-ready]")
        return self.tab

    def said(self) -> str:
        return str(self.tab.inner_text(".tl-said"))

    def window(self) -> tuple[float, float]:
        """What the timeline says that it shows, in s."""
        # A frame later all that was asked for is drawn.
        self.tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        found = re.match(r"([\d.]+) to ([\d.]+) s,", self.tab.inner_text(".tl-range"))
        assert found
        return float(found[1]), float(found[2])

    def colours(self) -> set[str]:
        """Colours of the legend that the lanes show now."""
        return set(
            self.tab.evaluate(
                """() => {
                    const canvas = document.querySelector(".tl-lanes");
                    const { width, height } = canvas;
                    const copy = new OffscreenCanvas(width, height).getContext(
                        "2d", { willReadFrequently: true });
                    copy.drawImage(canvas, 0, 0);
                    const { data } = copy.getImageData(0, 0, width, height);
                    const drawn = new Set();
                    for (let at = 0; at < data.length; at += 4)
                        drawn.add(`rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`);
                    return [...document.querySelectorAll("[data-color]")]
                        .filter((one) => drawn.has(getComputedStyle(one).backgroundColor))
                        .map((one) => one.dataset.color);
                }"""
            )
        )


@pytest.fixture
def seen(browser: Any) -> Iterator[Seen]:
    made = Seen(browser)
    yield made
    assert made.trouble == []
    assert [url for url in made.requests if not url.startswith("file:")] == []
    made.tab.close()


@pytest.mark.parametrize("case", CASES)
def test_draws_what_the_registers_held(seen: Seen, pages: dict[str, Path], case: str) -> None:
    tab = seen.open(pages[case])
    low, high = seen.window()
    assert high - low > 1
    assert {"user", "guest", "nobody"} <= seen.colours()
    assert ("error" in seen.colours()) == (case == "5.2.1-pinned")
    assert tab.is_visible(".tl-loss") == (case == "6.1-storm-lost")
    # One file, asked for once; and no other script runs, nor can one ask for anything.
    assert len(seen.requests) == 1
    refused = tab.evaluate(
        """async () => {
            let refused = 0;
            document.addEventListener("securitypolicyviolation", () => refused++);
            document.body.insertAdjacentHTML("beforeend", "<img src='https://example.org/x'>");
            await fetch("https://example.org/").catch(() => 0);
            const script = document.createElement("script");
            script.textContent = "document.title = 'ran'";
            document.body.append(script);
            await new Promise((done) => setTimeout(done, 50));
            return [refused, document.title];
        }"""
    )
    assert refused[0] >= 3
    assert refused[1].startswith("fputrace: ")
    assert len(seen.trouble) >= 3  # the policy speaks up
    seen.trouble.clear()
    seen.requests = [url for url in seen.requests if "example.org" not in url]


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*/trace.dat")), ids=lambda p: p.parent.name)
def test_every_sample(seen: Seen, path: Path, tmp_path: Path) -> None:
    analysis = fputrace.analyze(path, costs=True)
    analysis.overview = overview(analysis)
    page = tmp_path / "page.html"
    page.write_text(str(render("html", [analysis], Options(verbose=True))))
    tab = seen.open(page)
    low, high = seen.window()
    assert high > low
    assert {"user", "guest"} <= seen.colours()
    for finding in analysis.findings:
        if finding.witnesses:
            name = f"{finding.code} {finding.name}: {finding.verdict.value}"
            assert tab.locator("h4", has_text=name).count()
    if tab.locator("a.jump[href]").count():
        tab.locator("a.jump[href]").first.click()
        assert "proof" in seen.said()


def test_keys_zoom_and_move(seen: Seen, pages: dict[str, Path]) -> None:
    tab = seen.open(pages["5.2.1-pinned"])
    whole = seen.window()
    tab.focus(".tl-lanes")
    for _ in range(3):
        tab.keyboard.press("+")
    near = seen.window()
    assert near[1] - near[0] == pytest.approx((whole[1] - whole[0]) / 8, rel=1e-6)
    tab.keyboard.press("ArrowRight")
    moved = seen.window()
    assert moved[0] - near[0] == pytest.approx((near[1] - near[0]) / 5, rel=1e-3)
    tab.keyboard.press(".")
    assert re.match(r"CPU 0: .+; from \d+\.\d{9}, ", seen.said())
    tab.keyboard.press("ArrowDown")
    assert seen.said().startswith("CPU 1: ")
    tab.keyboard.press("Home")
    assert seen.window() == whole
    tab.keyboard.press("?")
    assert tab.is_visible("text=the next finding, the one before")


def test_mouse_zooms_moves_and_tells(seen: Seen, pages: dict[str, Path]) -> None:
    tab = seen.open(pages["5.2.1-pinned"])
    whole = seen.window()
    tab.locator(".tl-lanes").scroll_into_view_if_needed()
    box = tab.locator(".tl-lanes").bounding_box()
    x, y = box["x"] + 500, box["y"] + 22
    tab.mouse.move(x, y)
    assert tab.inner_text(".tl-hover").startswith("CPU 0: ")
    tab.mouse.wheel(0, -400)  # scrolls the page, if anything
    tab.wait_for_timeout(50)
    assert seen.window() == whole
    tab.locator(".tl-lanes").hover(position={"x": 500, "y": 22})
    tab.keyboard.down("Control")
    tab.mouse.wheel(0, -400)
    tab.keyboard.up("Control")
    playwright.expect(tab.locator(".tl-range")).to_contain_text(" ms")
    near = seen.window()
    assert near[1] - near[0] < (whole[1] - whole[0]) / 1.5
    box = tab.locator(".tl-lanes").bounding_box()
    y = box["y"] + 22
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 120, y, steps=3)
    tab.mouse.up()
    assert seen.window()[0] < near[0]
    # The strip moves the view, too.
    strip = tab.locator(".tl-strip").bounding_box()
    tab.mouse.click(strip["x"] + 900, strip["y"] + 12)
    assert seen.window()[0] > near[0]


def test_a_finding_leads_to_its_place(seen: Seen, pages: dict[str, Path]) -> None:
    tab = seen.open(pages["5.2.1-pinned"])
    tab.click("text=Show it in the timeline >> nth=0")
    playwright.expect(tab.locator(".tl-said")).to_contain_text("FPU101")
    low, high = seen.window()
    assert low < 3.301540 < 3.301815 < high < low + 0.1
    assert tab.evaluate("document.activeElement.className") == "tl-lanes"
    tab.wait_for_timeout(300)
    assert tab.evaluate("location.hash") == "#trace=1&proof=F1.1"
    tab.click("text=Its events")
    assert tab.evaluate("location.hash") == "#proof-1-F1.1"
    tab.focus(".tl-lanes")
    tab.keyboard.press("n")
    assert re.match(r"FPU1\d1 \(error\) on CPU [01], about 3\.\d+", seen.said())


def test_events_of_a_proof_at_one_place_share_a_label(seen: Seen, pages: dict[str, Path]) -> None:
    seen.tab.add_init_script(
        """window.drawn = [];
        const pen = CanvasRenderingContext2D.prototype, plain = pen.fillText;
        pen.fillText = function (words, ...where) {
            drawn.push(String(words));
            return plain.call(this, words, ...where);
        };"""
    )
    tab = seen.open(pages["5.2.1-pinned"], "#trace=1&proof=F1.1")
    tab.wait_for_timeout(300)
    # The save that overwrites (4) comes 24 us behind 2.
    assert {"1", "2,4", "5"} <= set(tab.evaluate("drawn"))


def test_losses_are_places_to_go(seen: Seen, pages: dict[str, Path]) -> None:
    tab = seen.open(pages["6.1-storm-lost"])
    tab.click(".tl-loss")
    assert re.search(r"events? lost on CPU \d", seen.said())
    assert "lost" in seen.colours()


def test_filters(seen: Seen, pages: dict[str, Path]) -> None:
    tab = seen.open(pages["5.2.1-pinned"])
    room = tab.locator(".tl-room")
    both = room.bounding_box()["height"]
    tab.fill(".tl-cpus", "1")
    tab.press(".tl-cpus", "Enter")
    assert room.bounding_box()["height"] == both / 2
    tab.fill(".tl-cpus", "7-9")
    tab.press(".tl-cpus", "Enter")
    assert "no such CPU" in seen.said()
    assert room.bounding_box()["height"] == both / 2
    names = tab.locator(".tl-task optgroup >> nth=0").locator("option").all_inner_texts()
    assert names == ["CPU 0/KVM-93, vCPU 0 of kvmload (92)", "CPU 1/KVM-94, vCPU 1 of kvmload (92)"]
    tab.select_option(".tl-task", "94")
    tab.wait_for_timeout(300)
    assert tab.evaluate("location.hash") == "#trace=1&cpu=1&task=94"
    seen.window()
    assert {"user", "guest"} & seen.colours()
    tab.select_option(".tl-task", "93")  # never ran on CPU 1
    seen.window()
    assert not {"user", "guest"} & seen.colours()


def test_the_address_says_it_all(seen: Seen, pages: dict[str, Path]) -> None:
    address = "#trace=1&t=3.4,3.405&cpu=0&task=93"
    tab = seen.open(pages["5.2.1-pinned"], address)
    assert seen.window() == (3.4, 3.405)
    assert tab.input_value(".tl-cpus") == "0"
    assert tab.input_value(".tl-task") == "93"
    tab.click("summary:text('Spans in view')")
    tab.wait_for_selector(".tl-table td")
    rows = tab.locator(".tl-table tbody tr").all_inner_texts()
    assert {row.split("\t")[0] for row in rows} == {"0"}
    assert f"{len(rows)} spans." in tab.inner_text(".tl-count")
    tab.evaluate("location.hash = '#trace=1&t=x,y&cpu=-&task=<b>&proof=F99.1'")
    tab.wait_for_timeout(100)
    assert seen.window()[0] < 3.2  # what is no address shows everything


def test_hostile_names_stay_text(seen: Seen, pages: dict[str, Path]) -> None:
    tab = seen.open(pages["hostile"])
    tab.click("text=Show it in the timeline >> nth=0")
    tab.keyboard.press(".")
    seen.window()
    assert HOSTILE in seen.said()
    box = tab.locator(".tl-lanes").bounding_box()
    tab.mouse.move(box["x"] + 400, box["y"] + 22)
    assert HOSTILE in tab.inner_text(".tl-hover")
    tab.click("summary:text('Spans in view')")
    assert tab.locator("img").count() == 0
    assert tab.title().startswith("fputrace: ")
    assert HOSTILE[-20:] in tab.inner_text(".tl-task")


def test_narrow_dark_and_on_paper(browser: Any, pages: dict[str, Path]) -> None:
    seen = Seen(browser, color_scheme="dark")
    tab = seen.open(pages["5.2.1-pinned"])
    ground = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(ground) == "rgb(22, 24, 28)"
    assert "guest" in seen.colours()
    tab.check("input[value=light]")
    assert tab.evaluate(ground) == "rgb(255, 255, 255)"
    tab.set_viewport_size({"width": 360, "height": 700})
    assert seen.window()[1] > 4
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open]):not(.tl-table)").count() == 0
    assert tab.locator(".tl-lanes").bounding_box()["width"] == 680
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("article details[open]").count() == 0
    assert tab.locator(".tl-lanes").bounding_box()["width"] < 360
    assert tab.pdf().startswith(b"%PDF")
    assert seen.trouble == []
    tab.close()


def test_without_script_it_can_be_read(browser: Any, pages: dict[str, Path]) -> None:
    with contextlib.closing(browser.new_context(java_script_enabled=False)) as context:
        tab = context.new_page()
        tab.goto(pages["5.2.1-pinned"].as_uri())
        assert tab.is_visible("noscript p")
        assert tab.is_visible("text=FPU101 guest-state-in-thread-fpu: confirmed, 978 times")
        assert not tab.is_visible(".tl-bar")


def test_every_control_has_a_name(seen: Seen, pages: dict[str, Path]) -> None:
    tab = seen.open(pages["6.1-storm-lost"])
    told = tab.locator("body").aria_snapshot()
    controls = re.findall(r"- (button|textbox|combobox|radio|link|application|group)\b(.*)", told)
    assert {kind for kind, _ in controls} >= {"button", "textbox", "combobox", "radio", "link"}
    assert all(rest.startswith(' "') for kind, rest in controls if kind != "group")
    for name in ("Zoom in", "Next finding", "CPUs", "Registers of", "Lanes of the CPUs"):
        assert name in told
