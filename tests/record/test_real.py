"""Recording on this very kernel, where root may: a short look at what its CPUs do anyway."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fputrace
from fputrace.cli import main
from fputrace.errors import UsageError
from fputrace.findings import Analysis
from fputrace.record.kernel import find_tracefs
from tests.record.test_live import until

try:
    TOP = Path(find_tracefs())
except UsageError as error:
    pytest.skip(str(error), allow_module_level=True)
if not (TOP / "events/x86_fpu").is_dir():
    pytest.skip("this kernel has no x86_fpu events", allow_module_level=True)

pytestmark = pytest.mark.root
WHAT = (
    "tracing_on",
    "trace_clock",
    "set_event",
    "buffer_size_kb",
    "current_tracer",
    "trace_options",
)


def state() -> dict[str, object]:
    """What others see of tracefs."""
    texts: dict[str, object] = {name: (TOP / name).read_text() for name in WHAT}
    for control in ("kprobe_events", "dynamic_events"):
        if (TOP / control).exists():
            texts[control] = (TOP / control).read_text()
    return texts | {"instances": sorted(os.listdir(TOP / "instances"))}


@contextmanager
def analysed(path: Path) -> Iterator[Analysis]:
    """An analysis whose recording is closed again: an unpacked one lies in a folder till then."""
    analysis = fputrace.analyze(path)
    with analysis.trace:
        yield analysis


def start(output: Path, *command: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "fputrace", "record", "--with", "tracefs", "--probes"]
    words += ["--buffer-mb", "4", "-o", str(output), "--", *command]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def test_recorded_and_analysed(tmp_path: Path) -> None:
    before = state()
    output = tmp_path / "out.tar"
    child = start(output, "sh", "-c", "for i in 1 2 3 4 5; do sleep 0.02; done")
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    assert state() == before
    assert "expected: " in said
    assert "recorded: " in said
    with analysed(output) as analysis:
        assert analysis.trace.counts["sched:sched_switch"] > 5
        assert analysis.trace.clock == "mono"
        assert analysis.trace.kernel == os.uname().release
        assert analysis.losses == []
        assert analysis.trace.sidecar is not None
        assert not [f for f in analysis.findings if f.verdict == "confirmed" and f.code < "FPU2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    before = state()
    child = start(tmp_path / "out.tar", "sh", "-c", f"touch {tmp_path}/runs; exec sleep 60")
    until(tmp_path / "runs")
    time.sleep(0.2)
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    assert state() == before
    with analysed(tmp_path / "out.tar") as analysis:
        assert analysis.trace.counts


def test_killed_and_started_again(tmp_path: Path) -> None:
    before = state()
    child = start(tmp_path / "out.tar", "sh", "-c", f"touch {tmp_path}/runs; exec sleep 2")
    until(tmp_path / "runs")
    child.kill()
    child.communicate(timeout=60)
    assert state() != before
    again = start(tmp_path / "again.tar", "true")
    _, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert f"fputrace-{child.pid}, which a killed run left" in said
    assert state() == before


def test_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state()
    words = ["record", "--dry-run", "--probes", "--buffer-mb", "4", "--seconds", "0.3"]
    assert main(words) == 0
    script = tmp_path / "record.sh"
    script.write_text(capsys.readouterr().out)
    output = tmp_path / "customer's own.tar"
    subprocess.run(["sh", script, output], check=True, timeout=60, cwd=tmp_path)
    assert state() == before
    assert sorted(os.listdir(tmp_path)) == [output.name, "record.sh"]
    with analysed(output) as analysis:
        assert analysis.trace.counts["sched:sched_switch"] > 5
        assert analysis.losses == []
        assert analysis.trace.sidecar is not None or not (TOP / "kprobe_events").exists()


def test_the_script_killed_and_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state()
    assert main(["record", "--dry-run", "--buffer-mb", "1", "--", "sleep", "1.5"]) == 0
    script = tmp_path / "record.sh"
    script.write_text(capsys.readouterr().out)
    child = subprocess.Popen(["sh", script, tmp_path / "a.tar"])
    until(TOP / f"instances/fputrace-{child.pid}")
    time.sleep(0.3)
    child.kill()
    child.wait()
    assert state() != before
    subprocess.run(["sh", script, tmp_path / "b.tar"], check=True, timeout=60)
    assert state() == before


def a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str], *command: str) -> Path:
    """The script that needs nothing else, around a command."""
    words = ["record", "--dry-run", "--with", "tracefs", "--buffer-mb", "1", "--", *command]
    assert main(words) == 0
    script = tmp_path / "record.sh"
    script.write_text(capsys.readouterr().out)
    return script


def test_a_killed_run_is_no_part_of_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state()
    output = tmp_path / "a.tar"
    script = a_script(tmp_path, capsys, "sleep", "0.5")
    child = subprocess.Popen(["sh", script, output])
    left = tmp_path / f"a.tar.parts.{child.pid}"
    until(left / "go")
    child.kill()
    child.wait()
    pages = left / "per_cpu/cpu0/trace_pipe_raw"
    pages.parent.mkdir(parents=True, exist_ok=True)
    pages.write_bytes(b"no page of the next run")
    began = time.monotonic_ns()
    ran = subprocess.run(["sh", script, output], stderr=subprocess.PIPE, text=True, timeout=60)  # noqa: PLW1510
    assert ran.returncode == 0, ran.stderr
    assert f"{left} is there from another run" in ran.stderr
    assert left.is_dir()
    assert state() == before
    with analysed(output) as analysis:
        assert analysis.trace.first_ns is not None and analysis.trace.first_ns >= began
        assert analysis.losses == []


@pytest.mark.parametrize("program", ["tar", "dd"])
def test_a_full_disk(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    program: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = state()
    script = a_script(tmp_path, capsys, "sleep", "0.2")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / program).write_text("#!/bin/sh\necho torn\nexit 1\n")
    (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    child = subprocess.Popen(["sh", script, tmp_path / "a.tar"], stderr=subprocess.PIPE, text=True)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "written:" not in said
    parts = tmp_path / f"a.tar.parts.{child.pid}"
    assert f"a.tar is not written; what was recorded stays in {parts}" in said
    assert any(pages.stat().st_size for pages in parts.glob("per_cpu/*/trace_pipe_raw"))
    assert not list(tmp_path.glob("*.tar"))
    assert state() == before


def test_two_runs_with_one_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state()
    script = a_script(tmp_path, capsys, "sleep", "0.5")
    runs = [subprocess.Popen(["sh", script, tmp_path / "a.tar"]) for _ in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert state() == before
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "record.sh"]
    with analysed(tmp_path / "a.tar") as analysis:
        assert analysis.losses == []


def test_what_is_recorded_vanishes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state()
    script = a_script(tmp_path, capsys, "sh", "-c", f"sleep 0.3; rm -r {tmp_path}/a.tar.parts.*")
    child = subprocess.Popen(["sh", script, tmp_path / "a.tar"], stderr=subprocess.PIPE, text=True)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 2
    assert "is gone, and the recording with it" in said
    assert state() == before
    assert os.listdir(tmp_path) == ["record.sh"]
