"""Recording from a made-up kernel: what is switched on, and that all of it is gone afterwards."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from fputrace.errors import UsageError
from fputrace.record import live, sidecar
from fputrace.record.commands import Run
from fputrace.record.kernel import describe
from fputrace.record.plan import make_plan
from tests.record.fake import PAGE, FakeTracefs, make

DEAD = 4194304  # beyond the kernel's largest pid_max
FOREIGN = "p:mine/probe schedule\np:fputrace_x/probe schedule\n"


def drive(tmp_path: Path, *command: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.record.driver", str(tmp_path), str(tmp_path / "out.tar")]
    return subprocess.Popen([*words, *command], stdout=subprocess.PIPE, text=True)


def until(there: Path, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not there.exists():
        assert time.monotonic() < end, f"{there} does not appear"
        time.sleep(0.02)


def others(top: Path) -> None:
    """What belongs to somebody else."""
    (top / "instances/theirs").mkdir()
    (top / "instances/fputrace-theirs").mkdir()
    (top / "kprobe_events").write_text(FOREIGN)


def assert_as_it_was(top: Path) -> None:
    assert sorted(os.listdir(top / "instances")) == ["fputrace-theirs", "theirs"]
    assert (top / "kprobe_events").read_text() == FOREIGN


def test_a_recording(tmp_path: Path) -> None:
    top = make(tmp_path)
    others(top)
    look = "cp -r $0/instances/fputrace-[0-9]* $1; cat $0/kprobe_events > $1.probes; exit 3"
    child = drive(tmp_path, "sh", "-c", look, str(top), str(tmp_path / "seen"))
    said, _ = child.communicate(timeout=60)
    assert "status 3 losses {} misses {}" in said
    assert_as_it_was(top)
    seen = tmp_path / "seen"
    assert (seen / "tracing_on").read_text().startswith("1")
    assert (seen / "trace_clock").read_text().startswith("mono")
    assert (seen / "buffer_size_kb").read_text().strip() == str(
        min(64 << 10, (2 << 30) // 8 // (os.cpu_count() or 1) >> 10)
    )
    assert (seen / "events/x86_fpu/enable").read_text().startswith("1")
    assert (seen / "events/sched/sched_wakeup/enable").read_text().startswith("0")
    assert "ecx" in (seen / "events/kvm/kvm_msr/filter").read_text()
    made = (tmp_path / "seen.probes").read_text().removeprefix(FOREIGN).splitlines()
    assert f"p:fputrace_{child.pid}/kernel_fpu_end kernel_fpu_end" in made
    with tarfile.open(tmp_path / "out.tar") as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
        raw = tar.extractfile("./per_cpu/cpu1/trace_pipe_raw")
        assert raw is not None and raw.read() == PAGE
        kept = tar.extractfile("./kprobe_events")
        assert kept is not None and kept.read().decode().splitlines() == made
    assert {"uname", "kallsyms", "trace_clock", "saved_cmdlines", "events/header_page",
            "events/x86_fpu/x86_fpu_dropped/format", "per_cpu/cpu0/stats"} <= names  # fmt: skip
    assert "events/sched/sched_wakeup/format" not in names
    told = json.loads((tmp_path / "out.tar.fputrace.json").read_text())
    assert told["probes"] == made
    assert told["cmdline"] == ["kvm.nx_huge_pages=off"]
    assert [72, 70, "CPU 0/KVM", 4194304] in told["tasks"]
    assert [2, 2, "kthreadd :) ", 2129984] in told["tasks"]
    assert not list(tmp_path.glob(".fputrace-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    top = make(tmp_path)
    others(top)
    child = drive(tmp_path, "sh", "-c", f"touch {tmp_path}/runs; exec sleep 60")
    until(tmp_path / "runs")
    child.send_signal(number)
    said, _ = child.communicate(timeout=60)
    assert "status -15" in said
    assert_as_it_was(top)
    assert (tmp_path / "out.tar.fputrace.json").exists()


def test_a_command_that_cannot_run(tmp_path: Path) -> None:
    top = make(tmp_path)
    others(top)
    child = drive(tmp_path, str(tmp_path / "no-such-program"))
    child.communicate(timeout=60)
    assert child.returncode != 0
    assert_as_it_was(top)
    assert not list(tmp_path.glob(".fputrace-*"))


def test_what_a_killed_run_leaves_goes_at_the_next_start(tmp_path: Path) -> None:
    top = make(tmp_path)
    others(top)
    child = drive(tmp_path, "sh", "-c", f"touch {tmp_path}/runs; sleep 2")
    until(tmp_path / "runs")
    child.kill()
    child.communicate(timeout=60)
    assert (top / f"instances/fputrace-{child.pid}").is_dir()
    assert f"fputrace_{child.pid}/" in (top / "kprobe_events").read_text()
    # A run that goes on is not touched: its process is there.
    (tmp_path / f"proc/{os.getpid()}").mkdir()
    (top / f"instances/fputrace-{os.getpid()}").mkdir()
    again = drive(tmp_path, "true")
    said, _ = again.communicate(timeout=60)
    assert f"taking away the instance fputrace-{child.pid}" in said
    assert (top / f"instances/fputrace-{os.getpid()}").is_dir()
    (top / f"instances/fputrace-{os.getpid()}").rmdir()
    assert_as_it_was(top)


def test_in_a_container_nothing_is_swept(tmp_path: Path) -> None:
    top = make(tmp_path)
    (top / f"instances/fputrace-{DEAD}").mkdir()
    namespace = tmp_path / "proc/self/ns/pid"
    namespace.unlink()
    os.symlink("pid:[4026532000]", namespace)
    said: list[str] = []
    live.sweep(FakeTracefs(str(top)), said.append, str(tmp_path / "proc"))
    assert (top / f"instances/fputrace-{DEAD}").is_dir()
    assert said == []


def test_an_instance_that_cannot_be_made(tmp_path: Path) -> None:
    top = make(tmp_path)
    (top / "instances/fputrace-7").mkdir()
    plan = make_plan(describe(str(top), str(tmp_path / "proc")), "7", probes=True)
    run = Run(str(tmp_path / "out.tar"))
    with pytest.raises(UsageError, match="cannot be made"):
        live.record(FakeTracefs(str(top)), plan, run, "tracefs", print, str(tmp_path / "proc"))
    assert (top / "kprobe_events").read_text() == ""


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """No file may grow beyond 8 KiB: room for the pages, not for a tar of them."""
    top = make(tmp_path)
    others(top)
    words = [sys.executable, "-m", "tests.record.driver", str(tmp_path), str(tmp_path / "out.tar")]
    ran = subprocess.run(
        [*words, "true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)),
    )
    assert ran.returncode != 0
    assert f"OSError: [Errno 27] File too large: '{tmp_path}/out.tar'" in ran.stderr
    assert_as_it_was(top)
    assert not [path for path in tmp_path.iterdir() if "out.tar" in path.name]
    assert not list(tmp_path.glob(".fputrace-*"))


def test_a_recorder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = make(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    plan = make_plan(describe(str(top), str(tmp_path / "proc")), "7", probes=True)
    run = Run(str(tmp_path / "out.tar"))
    with pytest.raises(UsageError, match="not installed"):
        live.record(FakeTracefs(str(top)), plan, run, "perf", print, str(tmp_path / "proc"))
    assert os.listdir(top / "instances") == []
    assert (top / "kprobe_events").read_text() == ""


def test_a_recorder_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = make(tmp_path)
    (tmp_path / "trace-cmd").write_text("#!/bin/sh\nexit 5\n")
    (tmp_path / "trace-cmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    plan = make_plan(describe(str(top), str(tmp_path / "proc")), "7", probes=True)
    run = Run(str(tmp_path / "out.dat"))
    with pytest.raises(UsageError, match="status 5 and wrote no recording"):
        live.record(FakeTracefs(str(top)), plan, run, "trace-cmd", print, str(tmp_path / "proc"))
    assert os.listdir(top / "instances") == []
    assert (top / "kprobe_events").read_text() == ""


STAND_IN = """#!/bin/sh
echo "$@" > {folder}/words
trap 'echo pages > {folder}/out.tar; exit 0' INT
touch {folder}/runs
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_recorder_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Killed, it is the kernel that interrupts the recorder: nobody is left to record for ever."""
    top = make(tmp_path)
    others(top)
    (tmp_path / "trace-cmd").write_text(STAND_IN.format(folder=tmp_path))
    (tmp_path / "trace-cmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("RECORDER", "trace-cmd")
    child = drive(tmp_path)
    until(tmp_path / "runs")
    child.send_signal(number)
    until(tmp_path / "out.tar")
    child.communicate(timeout=60)
    words = (tmp_path / "words").read_text().split()
    assert words[:3] == ["record", "--no-filter", "-o"]
    assert f"fputrace_{child.pid}" in words
    if number is not signal.SIGKILL:
        assert_as_it_was(top)
        assert json.loads((tmp_path / "out.tar.fputrace.json").read_text())["clock"] == "mono"


def test_losses_and_missed_hits_are_told(tmp_path: Path) -> None:
    top = make(tmp_path)
    # ours come last; an earlier probe of the same name is somebody else's
    profile = "  kernel_fpu_end  10  9\n  kernel_fpu_end  10  2\n  other  10  7\n"
    (top / "kprobe_profile").write_text(profile)
    stats = (
        "for cpu in $0/instances/fputrace-*/per_cpu/cpu1; do "
        "printf 'overrun: 4\\ncommit overrun: 1\\n' > $cpu/stats; done"
    )
    said, _ = drive(tmp_path, "sh", "-c", stats, str(top)).communicate(timeout=60)
    assert "losses {'cpu1': 5} misses {'kernel_fpu_end': 2}" in said


def test_vcpu_threads(tmp_path: Path) -> None:
    make(tmp_path)
    proc = str(tmp_path / "proc")
    assert sidecar.vcpu_threads(70, proc) == [72, 73]
    assert [tid for tid, _ in sidecar.threads_of(70, proc)] == [70, 72, 73, 80]
    assert sidecar.threads_of(99, proc) == []
