"""perf.data without names: every form of it, accepted by perf, the same findings, no leak."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.cli import main
from fputrace.parsers import open_trace
from tests.conftest import SAMPLES, unless_long
from tests.parsers.rows import read_all
from tests.rewrite.leaks import formats_of, leaks, names_in, pointers_in
from tests.rewrite.test_redact import OWN_WORDS, redact, said
from tests.writers.perf import CALLCHAIN, USUAL, Form, PerfWriter

RECORDINGS = [
    pytest.param(path, id=path.parent.name, marks=pytest.mark.long)
    if path.parent.name == "6.12-perf-lost"  # half a minute
    else unless_long(path)
    for path in sorted(SAMPLES.glob("*/perf.data"))
]
FORMS: tuple[Form, ...] = ("file", "pipe", "zstd", "zstd pipe")


def script(path: Path) -> list[str]:
    """What perf shows of the samples, without names and addresses; its complaints end a test."""
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed")
    command = ["perf", "script", "--ns", "-F", "tid,cpu,time,event", "-i", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert b"rror" not in done.stderr
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("path", RECORDINGS)
def test_the_same_is_said_and_no_name_is_left(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.data"
    assert redact(path, out) == 0
    assert said(fputrace.analyze(out)) == said(fputrace.analyze(path))
    names, pointers = names_in(path), pointers_in(path)
    assert len(names) > 10
    assert len(pointers) > 5
    assert not leaks(out.read_bytes(), names, pointers, formats_of(path) + OWN_WORDS)
    assert script(out) == script(path)


def house(**how: Any) -> PerfWriter:
    events = ("sched_switch", "kvm_fpu", "x86_fpu_regs_activated", "sched_process_exec")
    writer = PerfWriter("6.12.1", events=events, **how)
    writer.hostname = "househost"
    writer.cmdline = ["perf", "record", "-a", "-o", "/srv/house/perf.data", "--exclude-perf"]
    writer.comm(0, 70, "housed", 900)
    writer.record(0, 10, b"house.ko".ljust(64, b"\0"))  # MMAP2
    for n in range(30):
        cpu, ts = n % 2, 1000 + 10 * n
        writer.event(
            cpu,
            ts,
            70,
            "sched_switch",
            chain=(0xFFFFFFFF81234567, 0xFFFFFFFFC1234567) if how else (),
            prev_comm="housed",
            prev_pid=70,
            next_comm="houseworker",
            next_pid=71,
        )
        writer.event(
            cpu, ts + 1, 71, "x86_fpu_regs_activated", fpu=0xFFFF888012345000 + n // 9 * 0x1000
        )
        writer.event(cpu, ts + 2, 71, "sched_process_exec", filename="/srv/house/run", pid=71)
        if n == 9:
            writer.lost(cpu, 12, ts + 3)
    writer.lost_samples(0, 12, "kvm_fpu")
    writer.fork(0, 72, 71, 2000)
    return writer


def check(path: Path, out: Path) -> None:
    """Nothing of the house is left, and rows, losses and what the recording says of itself stay."""
    assert redact(path, out) == 0
    data = out.read_bytes()
    assert b"house" not in data
    pointers = pointers_in(path) | {0xFFFFFFFF81234567, 0xFFFFFFFFC1234567, 0xFFFFFFFF81000000}
    assert not leaks(data, set(), pointers)
    new, old = read_all(out), read_all(path)
    assert [row[:5] for row in new.rows] == [row[:5] for row in old.rows]
    assert new.marks == old.marks
    assert [loss[:4] for loss in new.trace.losses] == [loss[:4] for loss in old.trace.losses]
    for name in ("kernel", "clock", "cpus", "limits", "losses_known", "counts"):
        assert getattr(new.trace, name) == getattr(old.trace, name), name
    assert new.trace.host == "host1"
    assert new.trace.comms.keys() == old.trace.comms.keys()


@pytest.mark.parametrize("form", FORMS)
def test_files_pipes_and_what_is_packed(form: Form, tmp_path: Path) -> None:
    path, out = house().write(tmp_path / "in", form), tmp_path / "out"
    check(path, out)
    with open_trace(out) as trace:
        assert trace.format == ("perf.data pipe" if "pipe" in form else "perf.data")
    if "pipe" not in form:
        assert script(out) == script(path)


@pytest.mark.parametrize(
    "how",
    [
        {"sample_type": USUAL | CALLCHAIN},
        {"endian": "big"},
        {"sample_type": USUAL & ~0x10000, "read_format": 0},
        {"sample_id_all": False},
        {"attr_size": 64, "clockid": None},
    ],
)
def test_samples_of_every_layout(how: dict[str, Any], tmp_path: Path) -> None:
    check(house(**how).write(tmp_path / "in"), tmp_path / "out")


def test_a_directory_becomes_a_file(tmp_path: Path) -> None:
    folder, out = house().write_folder(tmp_path / "in"), tmp_path / "out"
    assert redact(folder, out) == 0
    new, old = read_all(out), read_all(folder)
    assert [row[:5] for row in new.rows] == [row[:5] for row in old.rows]
    assert b"house" not in out.read_bytes()


def test_a_damaged_file_becomes_a_text_that_says_so(tmp_path: Path) -> None:
    """A perf.data made of it would look whole, and prove what the original does not."""
    path, out = house().write(tmp_path / "in", "pipe"), tmp_path / "out"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert redact(path, out) == 0
    assert b"house" not in out.read_bytes()
    new, old = read_all(out, ordered=False), read_all(path)
    assert new.trace.format.startswith("text")
    assert len(new.rows) == len(old.rows)
    assert [loss.severity for loss in new.trace.losses if loss.severity == "damaged"]


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_give_an_output_or_an_error(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    good = house().to_bytes(FORMS[seed])
    path, out = tmp_path / "in", tmp_path / "out"
    for _ in range(25):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        out.unlink(missing_ok=True)
        status = redact(path, out)
        assert status in (0, 2)
        assert (status == 0) == out.exists()


def test_a_piece_of_a_perf_data_is_a_trace_dat(tmp_path: Path) -> None:
    writer = house()
    writer.cmdline = ["perf", "record"]
    path, out = writer.write(tmp_path / "in"), tmp_path / "out"
    assert main(["cut", str(path), str(out), "--time", "0.0000011,0.0000012", "-q"]) == 0
    piece = read_all(out)
    kept = [row for row in read_all(path).rows if 1100 <= row.ts <= 1200]
    assert [row[:5] for row in piece.rows] == [row[:5] for row in kept]
    assert piece.trace.kernel == "6.12.1"
    assert piece.trace.host == "househost"
    edges = [(loss.cpu, loss.count) for loss in piece.trace.losses if loss.placed]
    assert sorted(edges, key=str) == [(0, None), (0, None), (1, None), (1, None)]
    assert [(loss.cpu, loss.count) for loss in piece.trace.losses if not loss.placed] == [(0, 12)]
