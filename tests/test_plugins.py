"""Rules from other packages: loaded by name only, and whatever is wrong with one has a name."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

from fputrace import plugins
from fputrace.cli import main
from fputrace.errors import UsageError
from tests.rules.scenario import KTHREAD, VCPU, Story

GOOD = """
    from fputrace.findings import Rule, Severity, Step, verdicts
    from fputrace.timeline import Fact

    RULE = Rule(
        code="SWAP001",
        name="second-load",
        severity=Severity.ERROR,
        title="a second load",
        generations=frozenset({"G5", "G6"}),
        needs=("kvm:kvm_fpu", "sched:sched_switch"),
        facts=Fact.LOAD_TWICE,
        check=lambda rows, generation: verdicts(rows, confirmed=Fact.LOAD_TWICE),
        proof=(Step("event", "loaded again"),),
        say=lambda case: f"{case.comm} loaded twice.",
    )
"""
RULE = "import dataclasses, good; RULE = dataclasses.replace(good.RULE, {})"
MORE = {
    "told": '"""# TOLD001 told\n\nAll about it.\n"""\n'
    + RULE.format("code='TOLD001', name='told'"),
    "needs": RULE.format("code='NEEDS001', needs=('kvm:kvm_msr',)"),
}
BROKEN = {
    "raises": ("raise RuntimeError('broken')", "cannot be loaded: RuntimeError: broken"),
    "syntax": ("def", "cannot be loaded: SyntaxError"),
    "exits": ("import nothing_of_that_name", "cannot be loaded: ModuleNotFoundError"),
    "leaves": ("import sys; sys.exit(0)", "cannot be loaded: SystemExit: 0"),
    "empty": ("", "neither a fputrace.findings.Rule nor a module with one"),
    "ours": (RULE.format("code='FPU101'"), "'FPU101' is no code for a plugin"),
    "odd": (RULE.format("code='x'"), "'x' is no code for a plugin"),
    "future": (RULE.format("generations=frozenset({'G9'})"), "no generation that exists: G9"),
    "facts": (RULE.format("facts=1 << 63"), "facts that the timeline does not have"),
    "answer": (RULE.format("check=lambda rows, generation: 7"), "gives no Check"),
    "check": (RULE.format("check=lambda rows: 7"), "its check failed: TypeError"),
    "quits": (
        RULE.format("check=lambda rows, generation: exit(0)"),
        "its check failed: SystemExit",
    ),
    "parts": (RULE.format("say=lambda case: exit()"), "its say failed: SystemExit"),
    "chain": (RULE.format("chain=lambda case: exit(0)"), "its chain failed: SystemExit"),
    "say": (RULE.format("say=lambda case: case.nothing"), "its say failed: AttributeError"),
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with an entry point for each of these modules, on the path; and a recording."""
    for name, text in {
        "good": GOOD,
        **MORE,
        **{name: code for name, (code, _) in BROKEN.items()},
    }.items():
        module = "exits_" if name == "exits" else name
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, module, raising=False)
    info = tmp_path / "pack-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pack\nVersion: 1\n")
    rows = [
        f"{name} = {name if name != 'exits' else 'exits_'}" for name in ("good", *MORE, *BROKEN)
    ]
    rows.append("itself = good:RULE")
    (info / "entry_points.txt").write_text("[fputrace.rules]\n" + "\n".join(rows) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    story = Story("G5")
    story.begin(VCPU)
    story.load()
    story.load()
    story.enter()
    story.return_to_vmm()
    story.switch(KTHREAD)
    return story.write(tmp_path / "trace.dat")


def test_found_beside_the_catalogue(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["analyze", str(installed), "--format", "json", "-q", "--no-config"]
    assert main([*arguments, "--plugin", "good"]) == 1
    (trace,) = json.loads(capsys.readouterr().out)["traces"]
    assert [f["code"] for f in trace["findings"]] == ["FPU108", "SWAP001"]
    (row,) = [row for row in trace["coverage"] if row["code"] == "SWAP001"]
    assert row["status"] == "checked"
    assert main([*arguments, "--plugin", "good", "--select", "SWAP"]) == 1
    assert main([*arguments, "--plugin", "good", "--ignore", "FPU,SWAP"]) == 0
    assert main([*arguments, "--select", "SWAP"]) == 2


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_every_report_shows_it(
    form: str, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["analyze", str(installed), "--format", form, "-q", "-v", "--plugin", "good"])
    assert "SWAP001" in capsys.readouterr().out


def test_listed(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--format", "text", "--plugin", "itself"]) == 0
    assert "SWAP001" in capsys.readouterr().out
    assert main(["rules", "--format", "text"]) == 0
    assert "SWAP001" not in capsys.readouterr().out


def test_explained(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By what its module says, else by what the rule is."""
    assert main(["explain", "SWAP001", "--plugin", "good", "--plugin", "told"]) == 0
    assert "## Events needed\nkvm:kvm_fpu, sched:sched_switch\n" in capsys.readouterr().out
    assert main(["explain", "told", "fpu108", "--plugin", "told"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# TOLD001 told\n\nAll about it.\n")
    assert "# FPU108 " in said
    assert main(["explain", "SWAP001"]) == 2
    assert "there is no rule 'SWAP001'" in capsys.readouterr().err


def test_strict_counts_what_a_plugin_cannot_decide(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["analyze", str(installed), "-q", "--no-config", "--select", "NEEDS"]
    assert main([*arguments, "--plugin", "needs"]) == 0
    assert main([*arguments, "--plugin", "needs", "--strict"]) == 3
    assert "NEEDS001" in capsys.readouterr().out


def test_nothing_is_loaded_unasked(installed: Path) -> None:
    main(["analyze", str(installed), "-q", "-o", str(installed.parent / "out")])
    assert not {"good", "raises", "answer"} & sys.modules.keys()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_ends_in_a_sentence(
    name: str, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["analyze", str(installed), "-q", "--no-config", "--plugin", name]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"--plugin {name}: " in said
    assert BROKEN[name][1] in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["leaves", "quits"])
@pytest.mark.parametrize("verb", ["rules", "explain FPU101"])
def test_one_that_exits_is_no_success(
    verb: str, name: str, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb.split(), "--plugin", name]) == 2
    assert f"--plugin {name}: " in capsys.readouterr().err


def test_unknown_and_double(installed: Path) -> None:
    with pytest.raises(UsageError, match="the closest that exist: good"):
        plugins.load(["god"])
    with pytest.raises(UsageError, match="another plugin has the code SWAP001"):
        plugins.load(["good", "itself"])
    assert len(plugins.load(["good", "good"])) == 1
    assert plugins.load([]) == ()
