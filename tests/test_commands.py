"""Every command that a document or a --help shows, run as it stands; man page, completions."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fputrace import cli
from fputrace.cli import build_parser

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_traces"
PAGES = sorted(
    # What commands.md shows are the examples of --help.
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")}
    - {ROOT / "docs" / "commands.md"}
)
SHARE = ROOT / "docs" / "share"
STANDS_FOR = {
    "trace.dat": "5.2.1-pinned/trace.dat",
    "later.dat": "5.2.1-pinned/trace.dat",
    "known-good.dat": "4.14.177-pinned/trace.dat",
    "before.dat": "4.14.5-pinned/trace.dat",
    "after.dat": "4.14.177-pinned/trace.dat",
    "perf.data": "6.1-pinned/perf.data",
    "trace.txt": "6.1-pinned/trace.txt",
    "oops.txt": "6.1-pinned/trace.txt",
    "console.txt": "6.1-pinned/trace.txt",
}
"""What the names in documents are links to."""

NOT_RUN = frozenset({"record", "calibrate"})
"""Need root or change what is known of this machine: they have tests of their own."""

PLACEHOLDER = re.compile(r"\bNAME\b|\bFILE\b|<|\*|\.\.\.")


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Name -> parser."""
    (offered,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    choices: dict[str, argparse.ArgumentParser] = offered.choices
    return choices


def commands(text: str) -> list[str]:
    """The fputrace commands in a text's blocks of code, without what is said beside them."""
    found = []
    fenced = False
    for line in text.replace("\\\n", "").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if fenced or line.startswith(("    ", "  ")):
            match = re.match(r"\s*\$?\s*((?:sudo )?fputrace .*)", line)
            if match and "usage:" not in line:
                found.append(re.split(r" {2,}| # ", match[1])[0])
    return found


def words(command: str) -> list[str]:
    """The arguments of an fputrace command, without sudo and where its output goes."""
    told = re.sub(r"\$\([^)]*\)", "4711", re.split(" > |; ", command)[0])
    parts = shlex.split(told, comments=True)
    return parts[parts.index("fputrace") + 1 :]


def run(command: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Run it, or see that its arguments are understood where it cannot run here."""
    first, *others = command.split(" | ")
    for other in others:
        if other.startswith("fputrace"):
            build_parser().parse_args(words(other))
    arguments = words(first)
    if arguments[0] in NOT_RUN or PLACEHOLDER.search(first):
        asked = arguments[: arguments.index("--")] if "--" in arguments else arguments
        build_parser().parse_args(asked)
        return
    monkeypatch.chdir(folder)
    try:
        status = cli.main(arguments)
    except SystemExit as done:  # --help, --version, and arguments that are not understood
        status = int(done.code or 0)
    told = (0, 1, 125) if arguments[0] == "check" else (0, 1, 3)
    assert status in told, command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the names in documents mean something."""
    for name, target in STANDS_FOR.items():
        (tmp_path / name).symlink_to(SAMPLES / target)
    for name in ("sample_traces", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize(
    "page", [p for p in PAGES if commands(p.read_text())], ids=lambda p: str(p.relative_to(ROOT))
)
def test_commands_of_a_page(page: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for command in commands(page.read_text()):
        run(command, monkeypatch, folder)


@pytest.mark.parametrize("name", sorted(verbs()))
def test_examples_of_help(name: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    examples = commands(verbs()[name].epilog or "")
    assert examples, f"fputrace {name} --help shows no example"
    for command in examples:
        run(command, monkeypatch, folder)


def test_the_man_page_has_every_option() -> None:
    page = (SHARE / "man/man1/fputrace.1").read_text().replace("\\-", "-")
    for name, verb in verbs().items():
        section = page.split(f".SH FPUTRACE {name.upper()}\n")[1].split("\n.SH ")[0]
        for action in verb._actions:
            if action.dest != "help" and action.help is not argparse.SUPPRESS:
                for option in action.option_strings:
                    assert f"\\fB{option}\\fR" in section, f"{name} {option}"


def test_the_man_page_is_clean_roff() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed: apt install groff-base")
    page = str(SHARE / "man/man1/fputrace.1")
    done = subprocess.run(
        [groff, "-man", "-ww", "-P-c", "-Tascii", page], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "analyze" in re.sub(".\b", "", done.stdout)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fputrace ana", "analyze"),
        ("fputrace analyze --sel", "--select"),
        ("fputrace --ver", "--version"),
    ],
)
def test_bash_completes(typed: str, offered: str) -> None:
    words = typed.split()
    script = (
        f"source {shlex.quote(str(SHARE / 'bash-completion/completions/fputrace'))}\n"
        f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}\n"
        '_shtab_fputrace; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert offered in done.stdout.split()
