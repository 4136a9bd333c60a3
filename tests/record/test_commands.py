"""The exact commands, and the shell script as a shell runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fputrace.cli import main
from fputrace.record import live
from fputrace.record.commands import Run, commands, perf_words, script, trace_cmd_words
from fputrace.record.plan import Event, Fetch, Plan, Probe
from tests.record.fake import FakeTracefs, make

PLAN = Plan(
    tag="42",
    tracefs="/sys/kernel/tracing",
    events=(Event("x86_fpu"), Event("kvm:kvm_fpu"), Event("kvm:kvm_msr", "ecx == 0x1c4")),
    probes=(
        Probe("save_fpregs_to_fpstate", "p", "save_fpregs_to_fpstate", fetches=(Fetch("fpu", 1),)),
        Probe("kernel_fpu_begin__return", "r", "kernel_fpu_begin", returns=True),
    ),
    control="kprobe_events",
    clock="mono",
    buffer_kb=20000,
    cpus=2,
    page_size=4096,
)

TRACE_CMD = """\
echo 'p:fputrace_42/save_fpregs_to_fpstate save_fpregs_to_fpstate fpu=%di:x64' >> /sys/kernel/tracing/kprobe_events
echo 'r:fputrace_42/kernel_fpu_begin__return kernel_fpu_begin' >> /sys/kernel/tracing/kprobe_events
trace-cmd record \\
  --no-filter \\
  -o trace.dat \\
  -B fputrace-42 \\
  -C mono \\
  -b 20000 \\
  -e x86_fpu \\
  -e kvm:kvm_fpu \\
  -e kvm:kvm_msr \\
  -f 'ecx == 0x1c4' \\
  -e fputrace_42 sleep 10
[ ! -d /sys/kernel/tracing/instances/fputrace-42 ] || rmdir /sys/kernel/tracing/instances/fputrace-42
echo -:fputrace_42/save_fpregs_to_fpstate >> /sys/kernel/tracing/kprobe_events
echo -:fputrace_42/kernel_fpu_begin__return >> /sys/kernel/tracing/kprobe_events
"""  # noqa: E501

PERF = """\
perf record \\
  -a \\
  -k mono \\
  -m 4096 \\
  -o perf.data \\
  -e 'x86_fpu:*' \\
  -e kvm:kvm_fpu \\
  -e kvm:kvm_msr \\
  --filter 'ecx == 0x1c4' \\
  -e 'fputrace_42:*' \\
  -- ./work 'a b'
"""


def test_trace_cmd() -> None:
    run = Run("trace.dat", seconds=10)
    assert commands(PLAN, trace_cmd_words(PLAN, run)) == TRACE_CMD


def test_perf() -> None:
    run = Run("perf.data", ("./work", "a b"))
    assert PERF in commands(PLAN, perf_words(PLAN, run))
    assert perf_words(PLAN, Run("x"))[-2:] == ["sleep", "infinity"]


def test_both_command_and_time() -> None:
    run = Run("trace.dat", ("./work",), 2.5)
    assert trace_cmd_words(PLAN, run)[-3:] == ["timeout", "2.5", "./work"]


def test_script_says_what_it_records() -> None:
    lines = script(PLAN, Run("out file.tar", ("./work", "it's"))).splitlines()
    assert lines[0] == "#!/bin/sh"
    assert "add p save_fpregs_to_fpstate 'save_fpregs_to_fpstate fpu=%di:x64'" in lines
    assert "add r kernel_fpu_begin__return kernel_fpu_begin" in lines
    assert "on x86_fpu" in lines
    assert "on kvm/kvm_msr 'ecx == 0x1c4'" in lines
    assert "on $group" in lines
    assert "output=${1:-'out file.tar'}" in lines
    assert "    ./work 'it'\"'\"'s' &" in lines
    assert not any("@" in line for line in lines if not line.lstrip().startswith("#"))


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox"])
def test_shells_take_the_script(tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    path = tmp_path / "record.sh"
    path.write_text(script(PLAN, Run("fputrace.tar")))
    words = [shell, "sh"] if shell == "busybox" else [shell]
    subprocess.run([*words, "-n", path], check=True)


def test_script_without_tracefs(tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "record.sh"
    path.write_text(script(replace(PLAN, tracefs=str(tmp_path)), Run("fputrace.tar")))
    ran = subprocess.run(["sh", path], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 2
    assert "tracefs is not mounted" in ran.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.sh"]


def test_a_dry_run_says_what_this_kernel_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = make(tmp_path, "G5", kprobes=False)
    words = ["record", "--dry-run", "--probes", "--tracefs", str(top)]
    assert main([*words, "--with", "perf"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("perf record \\\n")
    assert "neither kprobes nor fprobes" in captured.err
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("recorder", [[], ["--with", "trace-cmd"]])
def test_printed_names_are_no_dead_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recorder: list[str]
) -> None:
    """The next start of a recording removes what bears a dead process's number."""
    top = make(tmp_path)
    assert main(["record", "--dry-run", "--probes", "--tracefs", str(top), *recorder]) == 0
    text = capsys.readouterr().out
    said = re.search(r"-B (\S+)", text)
    assert said is not None
    instance = said[1]
    group = instance.replace("-", "_")
    assert f"rmdir {top}/instances/{instance}\n" in text
    assert f"echo -:{group}/save_fpregs_to_fpstate >> {top}/kprobe_events\n" in text
    (top / f"instances/{instance}").mkdir()
    (top / "kprobe_events").write_text(f"p:{group}/save_fpregs_to_fpstate schedule\n")
    talk: list[str] = []
    live.sweep(FakeTracefs(str(top)), talk.append, str(tmp_path / "proc"))
    assert talk == []
    assert (top / f"instances/{instance}").is_dir()
    # Nor does the script, which looks for numbers, too.
    assert not re.fullmatch(r"fputrace-[0-9]+", instance)
