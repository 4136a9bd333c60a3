"""The command as a user meets it: in a process of its own, by what it prints and returns."""

from __future__ import annotations

import json
import os
import platform
import pty
import re
import signal
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fputrace import __version__, cli
from fputrace.about import about
from fputrace.arguments import EXIT_STATUSES
from fputrace.verbs.analyze import RECORD
from tests.tools.inside import fputrace as inside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLES = Path(__file__).parent.parent / "sample_traces"
BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"
CLEAN = SAMPLES / "6.12-storm" / "trace.dat"
UNDECIDED = SAMPLES / "4.14.0-rc8-pinned" / "trace.dat"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:[349][0-8]|10[0-7])[;\d]*m")  # not bold, dim, italic
SLOW = {"pandas", "networkx", "numpy", "rich", "zstandard"}


def fputrace(
    *arguments: object,
    input_: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return subprocess.run(
        [sys.executable, "-m", "fputrace", *map(str, arguments)],
        input=input_,
        stdin=subprocess.DEVNULL if input_ is None else None,
        capture_output=True,
        cwd=cwd,
        env={**kept, **(env or {})},
        check=False,
    )


def on_terminal(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    stream: str = "stdout",
    program: Sequence[str] = ("-m", "fputrace"),
) -> tuple[int, str]:
    """Exit status, and what a terminal of 80 columns got from ``stream`` (the other is dropped)."""
    main, side = pty.openpty()
    base = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=side if stream == "stdout" else subprocess.DEVNULL,
        stderr=side if stream == "stderr" else subprocess.DEVNULL,
        env={**base, "TERM": "xterm-256color", "COLUMNS": "80", **(env or {})},
    ) as process:
        os.close(side)
        got = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not piece:
                break
            got += piece
    os.close(main)
    return process.returncode, got.decode()


def modules_of(*arguments: str) -> set[str]:
    """Top-level modules a run of the command imports."""
    program = (
        "import sys; from fputrace.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["analyze", "--help"], ["--version"], ["rules"], ["explain", "FPU101"]],
)
def test_what_needs_no_trace_imports_nothing_slow(arguments: list[str]) -> None:
    assert not modules_of(*arguments) & SLOW


def test_help_has_examples_and_exit_statuses() -> None:
    text = inside("analyze", "--help").stdout.decode("ascii")  # as any locale can show
    assert "examples:" in text
    for status, meaning in EXIT_STATUSES:
        assert f"  {status}  {meaning}" in text


def test_no_verb_is_a_short_help() -> None:
    done = fputrace()
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"analyze" in done.stderr


def test_version() -> None:
    assert fputrace("--version").stdout.decode() == f"fputrace {__version__}\n"


@pytest.mark.parametrize("words", [["--version", "--verbose"], ["-v", "--version"]])
def test_what_a_bug_report_needs(words: list[str]) -> None:
    done = fputrace(*words)
    told = dict(line.split(maxsplit=1) for line in done.stdout.decode().splitlines())
    assert told["fputrace"] == __version__
    assert f"numpy {np.__version__}" in told["libraries"]
    assert platform.python_version() in told["python"]
    assert set(told) >= {"system", "loops", "optional", "programs", "output"}
    assert str(Path.home()) not in done.stdout.decode()


def test_a_program_that_does_not_tell_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "perf"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    told = dict(line.split(maxsplit=1) for line in about().splitlines())
    assert told["programs"] == "trace-cmd -, perf ?"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["analyse"], "analyze"),
        (["explain", "FPU999"], "FPU9"),
        (["explain", "double-sav"], "double-save"),
        (["analyze", BUG, "--select", "FPU7"], "FPU1"),
        (["analyze", BUG, "--ignore", "XYZ101"], "FPU101"),
        (["analyze", BUG, "--generation", "G4"], "G4a"),
        (["analyze", BUG, "--format", "jsn"], "json"),
        (["analyze", BUG, "--format-in", "trace.dta"], "trace.dat"),
        (["analyze", BUG, "--instance", "nosuch"], "nosuch"),
        (["analyze", BUG, "--cpu", "3-1"], "0-3,7"),
        (["analyze", BUG, "--time", "5"], "12.5,13"),
        (["analyze", BUG, "--time", "5,4"], "before it begins"),
        (["analyze", BUG, "--pid", "qemu"], "70,72"),
        (["timeline", BUG, "--width", "3"], "20"),
        (["analyze", BUG, "--generation", "G1"], "G1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value[-2:]))[-40:],
)
def test_wrong_usage_names_what_there_is(arguments: list[object], hint: str) -> None:
    done = inside(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    talk = done.stderr.decode()
    assert talk.startswith("fputrace: ")
    assert hint in talk
    assert "Traceback" not in talk


def test_unreadable_inputs(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no trace at all\n" * 8)
    for arguments in ([tmp_path / "missing"], [garbage], [tmp_path], []):
        done = inside("analyze", *arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert done.stdout == b""
        talk = done.stderr.decode()
        assert talk.startswith("fputrace: ")
        assert "Traceback" not in talk
        if arguments:
            assert str(arguments[0]) in talk


def test_one_unreadable_input_among_others(tmp_path: Path) -> None:
    done = inside("analyze", "--format", "json", tmp_path / "missing", CLEAN)
    document = json.loads(done.stdout)
    assert [trace["path"] for trace in document["traces"]] == [str(CLEAN)]
    assert document["exit_status"] == done.returncode == 2
    assert b"missing" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([BUG], 1),
        ([CLEAN], 0),
        ([BUG, "--exit-zero"], 0),
        ([BUG, "--fail-on", "never"], 0),
        ([BUG, "--select", "FPU2"], 0),
        ([BUG, "--ignore", "FPU1"], 0),
        ([UNDECIDED], 1),
        ([UNDECIDED, "--fail-on-confirmed"], 0),
        ([UNDECIDED, "--generation", "G3", "--fail-on-confirmed"], 1),
        ([CLEAN, BUG], 1),
        ([CLEAN, "--strict"], 3),
        ([CLEAN, "--strict", "--exit-zero"], 0),
    ],
    ids=lambda value: (
        "-".join(Path(str(v)).parent.name or str(v) for v in value)
        if isinstance(value, list)
        else str(value)
    ),
)
def test_exit_status(arguments: list[object], status: int) -> None:
    done = inside("analyze", "--format", "json", *arguments)
    assert done.returncode == status, done.stderr.decode()
    assert json.loads(done.stdout)["exit_status"] == status


@pytest.mark.parametrize(
    ("arguments", "status"),
    [([CLEAN], 0), ([BUG], 1), ([BUG, "--bogus"], 2), ([CLEAN, "--strict"], 3)],
    ids=["clean", "findings", "usage", "undecided"],
)
def test_exit_status_of_a_process(arguments: list[object], status: int) -> None:
    assert fputrace("analyze", *arguments).returncode == status


def test_costly_findings_fail_only_when_asked() -> None:
    slow = SAMPLES / "4.14.5-pinned" / "trace.dat"
    assert inside("analyze", slow, "--select", "FPU201").returncode == 0
    asked = inside("analyze", slow, "--select", "FPU201", "--fail-on", "performance")
    assert asked.returncode == 1


def test_default_input_is_trace_dat_here(tmp_path: Path) -> None:
    (tmp_path / "trace.dat").symlink_to(BUG)
    done = inside("analyze", "--format", "json", cwd=tmp_path)
    assert [trace["path"] for trace in json.loads(done.stdout)["traces"]] == ["trace.dat"]


def test_standard_input_from_a_pipe_and_a_file() -> None:
    piped = fputrace("analyze", "-", "--format", "json", input_=BUG.read_bytes())
    with BUG.open("rb") as file:
        direct = subprocess.run(
            [sys.executable, "-m", "fputrace", "analyze", "-", "--format", "json"],
            stdin=file,
            capture_output=True,
            check=False,
        )
    named = json.loads(fputrace("analyze", BUG, "--format", "json").stdout)
    named["traces"][0]["path"] = "standard input"
    assert json.loads(piped.stdout) == json.loads(direct.stdout) == named


def test_garbage_on_standard_input_is_called_that() -> None:
    done = fputrace("analyze", "-", input_=b"garbage " * 100)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("fputrace: standard input")


def test_view_options_choose_what_is_shown_not_what_is_judged() -> None:
    def findings(*options: str) -> list[dict[str, object]]:
        done = inside("analyze", BUG, "--format", "json", "--select", "FPU101", *options)
        found: list[dict[str, object]] = json.loads(done.stdout)["traces"][0]["findings"]
        return found

    everything = findings()
    assert len(everything) > 1
    for option, key in (("--pid", "pid"), ("--vcpu", "vcpu"), ("--vm", "tgid")):
        value = everything[0][key]
        kept = [finding for finding in everything if finding[key] == value]
        assert findings(option, str(value)) == kept
        assert findings(option, "999999") == []
    assert findings("--time", "0,0.000001") == []


def test_output_file(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    done = inside("analyze", BUG, "--format", "json", "-o", out)
    assert done.stdout == b""
    assert json.loads(out.read_text())["exit_status"] == done.returncode == 1
    nowhere = inside("analyze", BUG, "-o", tmp_path / "no" / "folder")
    assert nowhere.returncode == 2
    assert b"folder" in nowhere.stderr
    assert b"Traceback" not in nowhere.stderr


@pytest.mark.parametrize("verb", [["analyze"], ["info"], ["convert", "--to", "jsonl"]])
def test_no_verb_writes_over_its_recording(verb: list[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace.dat"
    trace.write_bytes(CLEAN.read_bytes())
    (tmp_path / "same").symlink_to(trace)
    done = inside(*verb, trace, "-o", tmp_path / "same")
    assert done.returncode == 2
    assert b"is the recording itself" in done.stderr
    assert trace.read_bytes() == CLEAN.read_bytes()


@pytest.mark.parametrize(
    ("options", "notice"),
    [
        (["--pid", "99999"], "--pid: the trace names no task 99999"),
        (
            ["--vcpu", "9"],
            "--vcpu: no finding is of vCPU 9; the findings that tell are of vCPU 0-1",
        ),
        (["--vm", "1"], "--vm: no finding is of VM 1"),
        (["--cpu", "7"], "--cpu: there is no CPU 7, only 0-1"),
        (["--time", "100,200"], "--time: the window is after the trace, which is from 3.160398 s"),
        (["--time", ",1"], "--time: the window is before the trace"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, list) else "",
)
def test_a_view_of_what_the_trace_lacks_is_no_acquittal(options: list[str], notice: str) -> None:
    done = inside("analyze", BUG, *options)
    assert done.stderr.decode().startswith(f"fputrace: {BUG}: {notice}")
    text = " ".join(done.stdout.decode().split())
    assert "Nothing is wrong" not in text
    assert "Nothing of what was selected was found; 6 findings of other tasks," in text
    assert inside("analyze", BUG, *options, "-q").stderr == b""


def test_a_part_of_the_findings_says_that_there_are_more() -> None:
    done = inside("analyze", BUG, "--time", "3.3,3.31", "--pid", "93")
    text = " ".join(done.stdout.decode().split())
    assert "1 confirmed error finding. 5 findings of other tasks, CPUs or times are not" in text
    assert re.search(r"FPU101 \S+: confirmed, \d+ times \(in the whole trace\)", text)
    assert done.stderr == b""


def test_only_selected_rules_are_said_to_be_checked() -> None:
    ignored = inside("analyze", BUG, "--ignore", "FPU1").stdout.decode()
    assert "can tell: 3 selected rules checked." in " ".join(ignored.split())
    assert re.search(r"^not selected: +FPU101-121$", ignored, re.MULTILINE)
    none = inside("analyze", BUG, "--select", "FPU101", "--ignore", "FPU101").stdout.decode()
    assert "Nothing was checked: no rule about FPU state was selected." in " ".join(none.split())
    unchecked = inside("analyze", BUG, "--select", "FPU203")
    assert unchecked.returncode == 2
    assert unchecked.stderr.startswith(
        b"fputrace: --select: FPU203 is a normal cost and no finding\n"
    )
    assert inside("analyze", CLEAN, "--ignore", "FPU203").returncode == 0


def test_errors_of_writing_and_reading_name_the_file(tmp_path: Path) -> None:
    full = fputrace("rules", "-o", "/dev/full")
    assert full.returncode == 2
    assert full.stderr.startswith(b"fputrace: /dev/full: No space left on device\n  Make room")
    for arguments in ("rules", "--version --verbose"):
        piped = closed_streams(arguments, ">/dev/full")
        assert piped.returncode == 2
        assert piped.stderr.startswith(b"fputrace: standard output: No space left on device\n")
    for verb in ("analyze", "info"):
        unreadable = fputrace(verb, "/proc/self/mem")
        assert unreadable.returncode == 2
        assert unreadable.stderr.startswith(b"fputrace: /proc/self/mem")


def closed_streams(arguments: str, redirections: str) -> subprocess.CompletedProcess[bytes]:
    command = f"{sys.executable} -m fputrace {arguments} {redirections}"
    return subprocess.run(["bash", "-c", command], capture_output=True, check=False)


VERBS = (
    f"analyze {BUG}",
    f"timeline {BUG}",
    f"info {BUG}",
    "rules",
    "explain FPU101",
)


@pytest.mark.parametrize("arguments", VERBS, ids=lambda text: text.split()[0])
def test_closed_stdout_and_stderr(arguments: str, tmp_path: Path) -> None:
    usual = closed_streams(arguments, "")
    assert usual.stdout
    without_stderr = closed_streams(arguments, "2>&-")
    assert without_stderr.stdout == usual.stdout
    assert without_stderr.returncode == usual.returncode
    without_stdout = closed_streams(arguments, ">&-")
    assert without_stdout.returncode == 2
    assert without_stdout.stderr.startswith(b"fputrace: standard output is closed\n")
    for redirections in (">&- 2>&-", "<&- >&- 2>&-"):
        neither = closed_streams(arguments, redirections)
        assert (neither.returncode, neither.stdout, neither.stderr) == (2, b"", b"")
    out = tmp_path / "out"
    to_file = closed_streams(f"{arguments} -o {out}", "<&- >&- 2>&-")
    assert to_file.returncode == usual.returncode
    assert out.read_bytes()


def test_options_between_and_after_traces() -> None:
    for words in (
        ["--exit-zero", "--format", "json", CLEAN, BUG],
        [CLEAN, "--exit-zero", BUG, "--format", "json"],
        [CLEAN, "--format", "json", "--exit-zero", "--", BUG],
    ):
        done = inside("analyze", *words)
        assert done.returncode == 0, done.stderr
        paths = [trace["path"] for trace in json.loads(done.stdout)["traces"]]
        assert paths == [str(CLEAN), str(BUG)]
    assert inside("explain", "FPU101", "--color", "never", "FPU201").returncode == 0


def test_unknown_options_name_the_help_of_their_verb() -> None:
    done = inside("analyze", CLEAN, "--bogus", BUG)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        "fputrace: unrecognized arguments: --bogus\n  fputrace analyze --help lists what there is\n"
    )


def test_sha256() -> None:
    import hashlib

    done = inside("analyze", CLEAN, "--format", "json", "--sha256")
    expected = hashlib.sha256(CLEAN.read_bytes()).hexdigest()
    assert json.loads(done.stdout)["traces"][0]["sha256"] == expected


@pytest.mark.parametrize("verb", ["analyze", "timeline", "info"])
def test_pipe_gets_plain_text(verb: str) -> None:
    for env in ({}, {"LC_ALL": "C"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}):
        done = fputrace(verb, BUG, env=env)
        assert done.returncode == (1 if verb == "analyze" else 0)
        assert done.stdout.isascii(), env
        assert b"\x1b" not in done.stdout, env


@pytest.mark.parametrize("verb", ["analyze", "timeline", "info", "rules"])
def test_terminal_gets_colour_unless_it_says_no(verb: str) -> None:
    arguments = [verb] if verb == "rules" else [verb, BUG]
    _, colourful = on_terminal(*arguments)
    assert COLOUR.search(colourful)
    for more, env in (
        (["--color", "never"], {}),
        ([], {"NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
    ):
        _, plain = on_terminal(*arguments, *more, env=env)
        colours = [part for part in plain.split("\x1b[")[1:] if part[:1] in "39"]
        assert not colours, (more, env)
    _, ascii_only = on_terminal(*arguments, env={"LC_ALL": "C"})
    assert ascii_only.isascii()


def test_lines_fit_the_terminal() -> None:
    for columns in (80, 200):
        _, shown = on_terminal("analyze", BUG, env={"COLUMNS": str(columns)})
        lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        assert max(map(len, lines)) <= columns


def test_colour_by_force() -> None:
    for done in (
        fputrace("timeline", BUG, "--color", "always"),
        fputrace("timeline", BUG, "--color", "always", env={"TERM": "dumb"}),
        fputrace("timeline", BUG, env={"FORCE_COLOR": "1", "TERM": "xterm-256color"}),
    ):
        assert b"\x1b[" in done.stdout


def test_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m fputrace analyze {BUG} -v | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("1", str(128 + signal.SIGPIPE))


def test_interrupt_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "fputrace", "analyze", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        # It spools what comes, so once this much is through the pipe it is past its start.
        process.stdin.write(CLEAN.read_bytes()[:4096] + bytes(1 << 20))
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        assert process.returncode == 128 + signal.SIGINT
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
        process.stdin.close()


def test_quiet_silences_the_notice_about_plain_loops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fputrace.nocython.uncompiled", lambda: ["fputrace.replay.loop"])
    assert cli.main(["analyze", str(CLEAN), "--format", "json"]) == 0
    loud = capsys.readouterr()
    assert loud.err.count("apt install gcc python3-dev") == 1
    assert cli.main(["analyze", str(CLEAN), "--format", "json", "-q"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert quiet.out == loud.out
    assert cli.main(["diff", str(CLEAN), str(CLEAN)]) == 0
    assert capsys.readouterr().err.count("apt install gcc python3-dev") == 1


def test_progress_on_a_terminal_for_large_files_only() -> None:
    arguments = ("analyze", CLEAN, "--format", "json")
    assert on_terminal(*arguments, stream="stderr") == (0, "")
    # The smallest file counts as large.
    large = (
        "import sys, fputrace.screen as screen; screen.PROGRESS_BYTES = 1\n"
        "from fputrace.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    status, talk = on_terminal(*arguments, stream="stderr", program=("-c", large))
    assert status == 0
    assert "trace.dat" in talk
    assert "events" in talk
    assert on_terminal(*arguments, "-q", stream="stderr", program=("-c", large)) == (0, "")


def test_rules_and_explain_agree() -> None:
    rules = json.loads(inside("rules", "--format", "json").stdout)
    assert rules[0]["code"] == "FPU101"
    for rule in rules:
        page = inside("explain", rule["code"].lower())
        assert page.returncode == 0
        assert page.stdout.decode().startswith(f"# {rule['code']} {rule['name']}\n")


def test_info_as_json() -> None:
    document = json.loads(inside("info", BUG, "--format", "json").stdout)
    assert document["kernel"] == "5.2.1"
    assert document["events_by_name"]["kvm:kvm_entry"] == 3075  # by trace-cmd report | grep -c


def test_timeline_of_a_window() -> None:
    whole = inside("timeline", BUG, "--width", "60").stdout.decode()
    assert all(len(line) <= 60 for line in whole.splitlines())
    assert "CPU 0" in whole
    assert "CPU 1" in whole
    part = inside("timeline", BUG, "--width", "60", "--cpu", "1", "--time", "3.2,3.3")
    lines = part.stdout.decode()
    assert "CPU 0" not in lines
    assert "3.2" in lines.splitlines()[0]


def test_timeline_of_tasks() -> None:
    """93 is the vCPU thread pinned to CPU 0, 94 the one pinned to CPU 1 (cases.toml)."""
    text = inside("timeline", BUG, "--pid", "93").stdout.decode()
    assert "CPU 1" not in text.partition("\n\n")[0]
    assert "Owners: 93 CPU 0/KVM.\n" in text
    assert ". others' or nobody's" in text
    lane = re.search(r"^CPU 0 +(.*)$", text, re.MULTILINE)
    assert lane
    assert set(lane[1]) <= set("UuGg:93.")
    assert inside("timeline", BUG, "--pid", "93,94").stdout.count(b"\nCPU ") == 2
    nobody = inside("timeline", BUG, "--pid", "99999")
    assert b"none of these tasks held registers" in nobody.stdout
    assert b"the trace names no task 99999" in nobody.stderr
    for option in ("--vcpu", "--vm"):
        assert inside("timeline", BUG, option, "0").returncode == 2


@pytest.mark.parametrize(
    ("options", "notice"),
    [
        (["--cpu", "9"], "--cpu: there is no CPU 9, only 0-1"),
        (["--time", "100,200"], "--time: the window is after the trace, which is from 3.160398 s"),
    ],
    ids=["cpu", "time"],
)
@pytest.mark.parametrize("more", [[], ["-q"]], ids=["", "quiet"])
def test_timeline_of_what_the_trace_lacks(options: list[str], notice: str, more: list[str]) -> None:
    done = inside("timeline", BUG, *options, *more)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.decode().startswith(f"fputrace: {BUG}: {notice}")
    assert done.stderr.decode().endswith(f"leave {options[0]} away.\n")
    assert done.stderr.count(b"\n") == 2


def test_timeline_of_a_cpu_too_many_is_drawn() -> None:
    done = inside("timeline", BUG, "--cpu", "1-9")
    assert done.returncode == 0
    assert b"\nCPU 1 " in done.stdout
    assert b"there is no CPU 2-9" in done.stderr
    assert inside("timeline", BUG, "--cpu", "1-9", "-q").stderr == b""


def test_timelines_of_several_traces_name_them() -> None:
    for extra in ([], ["--color", "always"]):
        shown = inside("timeline", BUG, CLEAN, *extra, "--width", "200").stdout.decode()
        lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
        for path, start in ((BUG, "from 3.16"), (CLEAN, "from 5.46")):
            assert lines[lines.index(str(path)) + 1].startswith(start)
    assert str(BUG) not in inside("timeline", BUG).stdout.decode()


def test_lists_and_ranges() -> None:
    parse = cli.build_parser().parse_args
    assert parse(["analyze", "--cpu", "0-2,7"]).cpu == {0, 1, 2, 7}
    assert parse(["analyze", "--time", "1.5,"]).time == (Decimal("1.5"), None)
    assert parse(["analyze", "--time", ",2"]).time == (None, Decimal(2))
    assert parse(["analyze", "--select", "fpu1,FPU201", "--select", "FPU9"]).select == [
        "FPU1",
        "FPU201",
        "FPU9",
    ]


@pytest.mark.parametrize("text", ["", ",", "a", "1-", "-1", "1--2", "99999999"])
def test_bad_cpu_lists(text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.build_parser().parse_args(["analyze", f"--cpu={text}"])
    assert caught.value.code == 2


def test_what_help_says_to_record_is_what_the_coverage_asks_for() -> None:
    from fputrace.coverage import BASE_EVENTS

    words = RECORD.replace("\\\n", " ").split()
    assert tuple(b for a, b in pairwise(words) if a == "-e") == BASE_EVENTS


def test_the_clock_of_a_text_can_be_told() -> None:
    text = SAMPLES / "5.10-pinned" / "trace.txt"
    told = inside("info", "--format", "json", "--clock", "mono", text)
    assert json.loads(told.stdout)["clock_global"] is True
    assert json.loads(inside("info", "--format", "json", text).stdout)["clock_global"] is False
    other = inside("info", "--clock", "boot", SAMPLES / "5.10-pinned" / "trace.dat")
    assert other.returncode == 2
    assert b"the recording itself names mono, not boot" in other.stderr
    unknown = inside("info", "--clock", "bot", text)
    assert unknown.returncode == 2
    assert b"Clocks: local, global" in unknown.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("export", BUG, "--to", "perfetto"),
        ("redact", BUG, "-"),
        ("cut", BUG, "-", "--finding", "FPU101"),
    ],
)
def test_nothing_binary_goes_to_a_terminal(words: tuple[object, ...]) -> None:
    assert on_terminal(*words) == (2, "")


def test_what_is_binary_for_a_terminal_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["redact", str(BUG), "-"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "the result is binary, and standard output is a terminal" in err
    assert "Name a file to write" in err


def test_text_goes_to_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "small.txt"
    assert cli.main(["convert", str(BUG), "--to", "text", "-o", str(path)]) == 0
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:400]))
    status, got = on_terminal("redact", path, "-", "-q")
    assert status == 0
    assert "x86_fpu" in got or "sched_switch" in got
