"""Options from fputrace.toml and pyproject.toml (docs/config.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fputrace.cli import main
from fputrace.config import KEYS, Config, find
from fputrace.errors import UsageError
from tests.rules.scenario import KTHREAD, VCPU, Story

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a recording of one FPU108 in it."""
    monkeypatch.chdir(tmp_path)
    story = Story("G5")
    story.begin(VCPU)
    story.load()
    story.load()
    story.enter()
    story.return_to_vmm()
    story.switch(KTHREAD)
    story.write(tmp_path / "trace.dat")
    return tmp_path


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    status = main(["analyze", "--format", "json", "-q", *arguments])
    (trace,) = json.loads(capsys.readouterr().out)["traces"]
    return status, trace


def test_no_file_says_nothing(folder: Path) -> None:
    assert find() == Config()
    (folder / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert find() == Config()


def test_a_pyproject_of_somebody_else_need_not_be_right(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project\n")
    assert find() == Config()
    (folder / "pyproject.toml").write_text("[project\n[tool.fputrace]\n")
    with pytest.raises(UsageError, match="is no TOML"):
        find()


@pytest.mark.parametrize(
    ("name", "head"), [("fputrace.toml", ""), ("pyproject.toml", "[tool.fputrace]\n")]
)
def test_every_option(name: str, head: str, folder: Path) -> None:
    ignore = "[ignore]\n" if not head else "[tool.fputrace.ignore]\n"
    (folder / name).write_text(
        head + 'select = ["fpu1"]\nfail-on = "performance"\nfail-on-confirmed = true\n'
        'strict = true\ngeneration = "G5"\nkernel = "6.12.0"\n' + ignore + 'FPU108 = " why "\n'
    )
    config = find()
    assert config == Config(
        name, ("FPU1",), {"FPU108": "why"}, "performance", True, True, "G5", "6.12.0"
    )
    assert len(config.said()) == len(KEYS)


def test_fputrace_toml_comes_first(folder: Path) -> None:
    (folder / "fputrace.toml").write_text('kernel = "5.2.1"\n')
    (folder / "pyproject.toml").write_text('[tool.fputrace]\nkernel = "6.1.0"\n')
    assert find().kernel == "5.2.1"
    assert find("pyproject.toml").kernel == "6.1.0"


BAD = [
    ("slect = ['FPU1']", "the closest that exist: select"),
    ("baseline = 'x'", "there is no option 'baseline'"),
    ("output = 'x'", "there is no option 'output'"),
    ("plugins = ['x']", "there is no option 'plugins'"),
    ("select = 'FPU1'", "should be a list of codes"),
    ("select = []", "should be a list of codes"),
    ("select = [1]", "should be a text"),
    ("ignore = ['FPU1']", "should say why"),
    ("ignore = {FPU1 = ''}", "has no reason"),
    ("ignore = {FPU1 = 3}", "has no reason"),
    ("fail-on = 'perf'", "the closest that exist: performance"),
    ("strict = 1", "true or false"),
    ("kernel = 5", "should be a text"),
    ("generation = 5", "should be a text"),
    ("generation = 'G9'", "generation: there is no generation 'G9'"),
    ("generation = 'g5'", "Generations: G0, "),
    ("x", "is no TOML"),
    ("a = " + "[" * 5000, "is no TOML"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_errors_name_the_place(
    text: str, says: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "fputrace.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        find()
    assert str(error.value).startswith("fputrace.toml: ")
    assert says in str(error.value)
    assert main(["analyze", "-q"]) == 2
    assert says in capsys.readouterr().err
    assert main(["analyze", "-q", "--no-config", "-o", "report"]) == 1


def test_a_generation_that_does_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asked for it is named: the file, or the command line, which wins."""
    (folder / "fputrace.toml").write_text('generation = "G1"')
    assert main(["analyze", "-q"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fputrace: fputrace.toml: generation G1 contradicts the formats in ")
    assert "Leave generation in fputrace.toml away" in said
    assert main(["analyze", "-q", "--generation", "G2"]) == 2
    assert "fputrace.toml" not in capsys.readouterr().err


def test_codes_must_exist(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ('select = ["FPU77"]', '[ignore]\nFPU77 = "why"'):
        (folder / "fputrace.toml").write_text(text)
        assert main(["analyze", "-q"]) == 2
        assert "no rule begins with 'FPU77'" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * (2 << 20)])
def test_any_bytes(content: bytes, folder: Path) -> None:
    (folder / "fputrace.toml").write_bytes(content)
    with pytest.raises(UsageError):
        find()


def test_a_file_asked_for_must_be_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "-q", "--config", "missing.toml"]) == 2
    assert "missing.toml" in capsys.readouterr().err
    (folder / "pyproject.toml").write_text("[project]\n")
    assert main(["analyze", "-q", "--config", "pyproject.toml"]) == 2
    assert "has no [tool.fputrace]" in capsys.readouterr().err


def test_what_is_ignored_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, trace = report(capsys)
    assert (status, len(trace["findings"])) == (1, 1)  # type: ignore[arg-type]
    assert "suppressed" not in trace
    (folder / "fputrace.toml").write_text('[ignore]\nFPU108 = "ticket 12"\n')
    status, trace = report(capsys)
    assert (status, trace["findings"]) == (0, [])
    reason = "ticket 12 (ignore in fputrace.toml)"
    assert trace["suppressed"] == [{"code": "FPU108", "reason": reason, "findings": 1, "count": 1}]
    main(["analyze", "--format", "text", "-q"])
    assert f"Left out: FPU108, 1 finding, 1 time: {reason}." in " ".join(
        capsys.readouterr().out.split()
    )
    status, trace = report(capsys, "--no-config")
    assert status == 1


def test_the_command_line_wins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fputrace.toml").write_text('fail-on = "never"\nselect = ["FPU109"]\n')
    status, trace = report(capsys)
    assert (status, trace["findings"]) == (0, [])
    status, trace = report(capsys, "--select", "FPU108", "--fail-on", "error")
    assert (status, len(trace["findings"])) == (1, 1)  # type: ignore[arg-type]


def test_where_options_came_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fputrace.toml").write_text('generation = "G5"\n')
    main(["analyze", "--format", "text", "-v"])
    said = capsys.readouterr()
    assert "fputrace.toml: generation = 'G5'" in said.err
    assert "Options from fputrace.toml: generation = 'G5'." in " ".join(said.out.split())


def test_the_document_lists_every_option() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    for key in KEYS:
        assert f"\n{key} = " in text or f"[tool.fputrace.{key}]" in text, key
