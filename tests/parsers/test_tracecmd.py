"""The second reader against the first, with trace-cmd's real Python bindings.

``tests/bindings/provide.sh`` gets them; ``tests/bindings/compare.py`` runs where they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fputrace.errors import FormatError, UsageError
from fputrace.events import BLOCK_ROWS
from fputrace.parsers import open_trace
from tests.writers import TraceWriter

ROOT = Path(__file__).parents[2]
CANNOT_BE_HAD = 77


@pytest.fixture(scope="session")
def python() -> str:
    """A Python that can import ctracecmd and numpy."""
    script = ROOT / "tests" / "bindings" / "provide.sh"
    done = subprocess.run([script], check=False, capture_output=True, text=True)
    if done.returncode == CANNOT_BE_HAD:
        pytest.skip(f"no trace-cmd bindings: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def assert_same(python: str, path: Path, *instance: str) -> str:
    script = ROOT / "tests" / "bindings" / "compare.py"
    return run(python, str(script), str(path), *instance)


def run(*command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return str(done.stdout)


def test_samples_as_recorded(python: str, quick_sample: Path) -> None:
    assert assert_same(python, quick_sample).startswith("same: ")


def test_samples_in_version_6(python: str, quick_sample: Path, tmp_path: Path) -> None:
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed: it converts the samples to version 6")
    converted = tmp_path / "trace.dat"
    files = ("-i", str(quick_sample), "-o", str(converted))
    run("trace-cmd", "convert", *files, "--file-version", "6")
    assert assert_same(python, converted).startswith("same: ")


def test_losses_of_a_sample(python: str, samples: Path) -> None:
    said = assert_same(python, samples / "6.1-storm-lost" / "trace.dat")
    assert said == "same: 55010 events, 6 losses\n"


# --- what the samples do not have --------------------------------------------------------------


def fill(w: TraceWriter, *, start: int = 1000, step: int = 10, instance: str = "") -> None:
    """300 events on the first CPU and on the last, holes with and without a count."""
    for i in range(300):
        ts = start + i * step
        if i in (0, 100, 200):
            w.loss(w.cpus[0], None if i == 200 else 12 + i, instance=instance)
        w.event(
            w.cpus[0], ts, 1, "sched_switch", instance=instance, prev_pid=1, next_pid=2,
            prev_comm="qemu", next_comm="fphog", common_flags=i % 8,
        )  # fmt: skip
        w.event(
            w.cpus[-1], ts, 2, "x86_fpu_regs_activated", instance=instance,
            fpu=0xFFFF8880B7C18880, flag=1, xfeatures=7, stamp="absolute" if i % 7 == 0 else "auto",
        )  # fmt: skip
        if i % 50 == 0:
            w.builder(w.cpus[-1], instance).discard(ts + 1, 24)


def plain(w: TraceWriter) -> None:
    fill(w)


def far_apart(w: TraceWriter) -> None:
    fill(w, step=1 << 40)


def wall_clock(w: TraceWriter) -> None:
    fill(w)
    w.date(1_700_000_000_000_000)


def before_zero(w: TraceWriter) -> None:
    fill(w)
    w.offset(-2000)


def across_59_bits(w: TraceWriter) -> None:
    fill(w, start=(1 << 59) - 1500)


def cycles(w: TraceWriter) -> None:
    fill(w)
    w.tsc2nsec(3_000_000, 22)


def guest_times(w: TraceWriter) -> None:
    fill(w)
    samples = [(0, 100, 1 << 32), (2000, 300, 1 << 32)]
    w.time_shift(7, {0: samples, 1: samples}, fractions={0: [32, 32], 1: [32, 32]})


def no_events(w: TraceWriter) -> None:
    w.comms[1] = "qemu"


def clock_goes_back(w: TraceWriter) -> None:
    for ts in (1000, 2000, 1500, 3000):
        w.event(0, ts, 1, "sched_switch", stamp="absolute", next_comm="fphog")


@pytest.mark.parametrize(
    ("content", "clock"),
    [
        (far_apart, "mono"),
        (wall_clock, "mono"),
        (before_zero, "mono"),
        (across_59_bits, "mono"),
        (cycles, "x86-tsc"),
        (guest_times, "x86-tsc"),
        (no_events, "mono"),
        (clock_goes_back, "local"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_times(
    python: str, tmp_path: Path, content: Callable[[TraceWriter], None], clock: str
) -> None:
    w = TraceWriter(kernel="5.2.1", clock=clock)
    content(w)
    assert_same(python, w.write(tmp_path / "trace.dat"))


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize(
    "shape",
    [
        {"endian": "big"},
        {"long_size": 4},
        {"endian": "big", "long_size": 4},
        {"page_size": 16384},
        {"cpus": [1, 5]},
    ],
    ids=str,
)
def test_machines_and_instances(
    python: str, tmp_path: Path, shape: dict[str, object], version: int
) -> None:
    w = TraceWriter(kernel="5.2.1", **shape)  # type: ignore[arg-type]
    plain(w)
    w.instance("second")
    fill(w, start=5000, instance="second")
    path = w.write(tmp_path / "trace.dat", version=version, compression="zstd")
    assert assert_same(python, path) == "same: 600 events, 3 losses\n"
    assert assert_same(python, path, "second") == "same: 600 events, 3 losses\n"


PASSES = """
import sys
from fputrace.parsers import open_trace
with open_trace(sys.argv[1], reader="tracecmd") as trace:
    given_up, interleaved = trace.blocks(), trace.blocks()
    next(given_up), next(interleaved)
    del given_up
    print([sum(len(block) for block in trace.blocks()) for _ in range(3)])
    print(sum(len(block) for block in interleaved))
"""


def test_passes_may_be_repeated_interleaved_and_given_up(python: str, samples: Path) -> None:
    path = samples / "6.12-two-vms" / "trace.dat"
    rows = sum(len(block) for block in open_trace(path).blocks())
    assert run(python, "-c", PASSES, str(path)) == f"{[rows] * 3}\n{rows - BLOCK_ROWS}\n"


REFUSED = """
import sys
from fputrace.errors import FormatError
from fputrace.parsers import open_trace
with open_trace(sys.argv[1], reader="tracecmd") as trace:
    try:
        list(trace.blocks())
    except FormatError as error:
        print(error)
"""


def test_a_truncated_file_is_refused_where_libtracecmd_would_crash(
    python: str, tmp_path: Path
) -> None:
    w = TraceWriter(kernel="5.2.1")
    plain(w)
    path = w.write(tmp_path / "trace.dat", version=6)
    path.write_bytes(path.read_bytes()[:-5000])
    said = run(python, "-c", REFUSED, str(path))
    assert f"{path} at byte {path.stat().st_size}" in said
    assert "the file ends before the data of CPU 1 does" in said


def test_what_libtracecmd_refuses_is_refused(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(tracecmd_open=lambda *_: None, TRACECMD_FL_LOAD_NO_PLUGINS=1)
    monkeypatch.setitem(sys.modules, "ctracecmd", library)
    trace = open_trace(samples / "5.2.1-pinned" / "trace.dat", reader="tracecmd")
    with trace, pytest.raises(FormatError, match=r"pinned.*libtracecmd cannot read this file"):
        list(trace.blocks())


# --- where the bindings are not ----------------------------------------------------------------


def test_without_the_bindings_it_says_how_to_get_them(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctracecmd", None)
    with pytest.raises(UsageError, match=r"(?s)needs the trace-cmd Python bindings.*python3-trace"):
        open_trace(samples / "5.2.1-pinned" / "trace.dat", reader="tracecmd")
