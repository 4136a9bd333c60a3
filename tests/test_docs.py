"""What the documents show runs, and what they link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fputrace.rules import PAGES

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for folder in (".", "docs", "sample_traces", "sample_traces/*", "tests", "tests/*")
    for path in ROOT.glob(f"{folder}/*.md")
)
HEADINGS = (
    "What",
    "Why it matters",
    "Generations",
    "Events needed",
    "Example",
    "When it can be wrong",
    "References",
)


def test_readme_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "G4a"
    assert any(line.startswith("FPU101 confirmed ") for line in lines[1:])
    assert len(names["frame"]) == len(lines) - 1  # type: ignore[arg-type]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.RULE.code)
def test_rule_pages_have_one_form(page: object) -> None:
    text = page.__doc__ or ""
    rule = page.RULE  # type: ignore[attr-defined]
    assert text.startswith(f"# {rule.code} {rule.name}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == HEADINGS
    for body in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert re.search("[a-z]", body), f"{rule.code}: a heading with nothing under it"


def test_the_architecture_names_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = [path.name for path in (ROOT / "fputrace").glob("*.py") if path.name[0] != "_"]
    folders = [f"{path.parent.name}/" for path in (ROOT / "fputrace").glob("*/__init__.py")]
    assert modules
    assert [name for name in modules + folders if name not in text] == []
