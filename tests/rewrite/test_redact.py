"""Recordings without names: the same findings, the same order, nothing of the old names left."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

import fputrace
from fputrace.cli import main
from fputrace.events import EventFormat, FormatField
from fputrace.findings import Analysis
from fputrace.parsers import open_trace
from fputrace.record.sidecar import PF_KTHREAD, SUFFIX, write
from fputrace.rewrite.fields import RecordCleaner
from fputrace.rewrite.names import Names
from tests.conftest import SAMPLES, unless_long
from tests.parsers.rows import read_all
from tests.rewrite.leaks import formats_of, leaks, names_in, pointers_in, symbols_in, unpacked
from tests.rewrite.test_cut import report
from tests.writers import TraceWriter
from tests.writers.container import UNAME, read

QUICK = ("5.2.1-pinned", "6.1-storm-lost", "6.12-kfpu-probes")
RECORDINGS = [
    pytest.param(path, marks=() if path.parent.name in QUICK else pytest.mark.long)
    for path in sorted(SAMPLES.glob("*/trace.dat"))
]
CORRUPTION = SAMPLES / "5.2.1-pinned" / "trace.dat"


def redact(*words: str | Path) -> int:
    return main(["redact", *map(str, words), "-q"])


def said(analysis: Analysis) -> dict[str, Any]:
    """All that an analysis says, without names."""
    return {
        "generation": analysis.generation,
        "findings": [
            (f.code, f.verdict, f.count, f.pid, f.vcpu, f.tgid, f.cpus, f.first_ns, f.last_ns)
            for f in analysis.findings
        ],
        "witnesses": [
            [(w.ns, w.cpu, [(e.ns, e.cpu, e.pid, e.name, e.role) for e in w.events])]
            for f in analysis.findings
            for w in f.witnesses
        ],
        "coverage": analysis.coverage,
        "losses": [loss[:4] for loss in analysis.losses],
        "counts": analysis.trace.counts,
    }


@pytest.mark.parametrize("path", RECORDINGS)
def test_the_same_is_said_and_no_name_is_left(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.dat"
    assert redact(path, out) == 0
    assert said(fputrace.analyze(out)) == said(fputrace.analyze(path))
    pointers = pointers_in(path) | symbols_in(path)
    assert len(pointers) > 1000
    assert not leaks(unpacked(out), names_in(path), pointers, formats_of(path))
    lines, old = report(out), report(path)
    assert [line[line.index("[") :][:24] for line in lines[1:] if "]" in line] == [
        line[line.index("[") :][:24] for line in old[1:] if "]" in line
    ]


def test_rows_stay_and_who_is_who_stays(tmp_path: Path) -> None:
    """Equal stays equal, different stays different, NULL stays NULL, numbers stay."""
    out = tmp_path / "out.dat"
    assert redact(CORRUPTION, out) == 0
    old, new = read_all(CORRUPTION), read_all(out)
    assert [row[:5] for row in new.rows] == [row[:5] for row in old.rows]
    assert new.marks == old.marks
    there: dict[Any, Any] = {}
    back: dict[Any, Any] = {}
    for before, after in zip(old.rows, new.rows, strict=True):
        assert before.fields.keys() == after.fields.keys()
        for name, value in before.fields.items():
            other = after.fields[name]
            if isinstance(value, str) and not value.startswith("swapper/"):
                assert there.setdefault(value, other) == other
                assert back.setdefault(other, value) == value
            else:
                assert value == other, (before.name, name)
    assert there.pop("fphog").startswith("task")
    assert any(name.startswith("0xffff") for name in there)
    assert new.trace.kernel == "5.2.1"
    assert new.trace.comms.keys() == old.trace.comms.keys()


def full() -> TraceWriter:
    """A recording with every place where a name can stand."""
    writer = TraceWriter(
        "6.12.1-house",
        cpus=2,
        comms={70: "secretd", 71: "x"},
        kallsyms="ffffffff81234560 T kernel_fpu_begin\nffffffff81234600 T next\n"
        "ffffffffc0123450 t house_fn\t[housemod]\nffffffffc0123550 t kvm_fn\t[kvm]\n"
        "0000000000001000 A percpu\n",
    )
    writer.options.append((11, bytes(8)))
    for instance in ("", "houseinst"):
        if instance:
            writer.instance(instance)
        for n in range(20):
            fpu = 0xFFFF888012345000 + 0x1000 * (n % 3) if n else 0
            writer.event(
                n % 2, 1000 * n, 70, "x86_fpu_regs_activated", fpu=fpu, flag=1, instance=instance
            )
            writer.event(
                n % 2,
                1000 * n + 1,
                70,
                "sched_switch",
                prev_comm="secretd",
                prev_pid=70,
                next_comm="houseworker/1" if n % 3 else "swapper/0",
                next_pid=71 if n % 3 else 0,
                instance=instance,
            )
            writer.event(
                n % 2,
                1000 * n + 2,
                70,
                "sched_process_exec",
                filename="/srv/house/secretd" if n % 2 else "/b",
                pid=70,
                old_pid=70,
                instance=instance,
            )
    return writer


@pytest.mark.parametrize("version", [6, 7])
def test_hosts_guests_instances_paths_and_modules(tmp_path: Path, version: int) -> None:
    file_path, out = tmp_path / "in.dat", tmp_path / "out.dat"
    full().write(file_path, version=version)
    file = read(file_path)
    file.options = [one for one in file.options if one[0] != UNAME]
    file.options.append((UNAME, b"Linux househost 6.12.1 x86_64\0"))
    file.options.append((13, b"houseguest\0" + bytes(8) + b"\1\0\0\0" + b"\0\0\0\0\x46\0\0\0"))
    file.options.append((9, b"3.2 house-build\0"))
    file.options.append((10, b"70 1 secretd\n7f0000000000 7f0000001000 /srv/house/secretd\n\0"))
    file_path.write_bytes(file.to_bytes(7 if version == 7 else 6))
    assert redact(file_path, out) == 0
    data = unpacked(out)
    assert b"house" not in data
    assert b"secret" not in data
    assert b"srv" not in data
    pointers = pointers_in(file_path) | pointers_in(file_path, "houseinst") | symbols_in(file_path)
    assert len(pointers) > 5
    assert not leaks(data, set(), pointers)
    new, old = read_all(out), read_all(file_path)
    assert new.trace.host == "host2" or new.trace.host == "host1"
    assert [name for name, _ in new.trace.guests.values()] != ["houseguest"]
    (instance,) = new.trace.instances
    assert len(read_all(out, instance=instance).rows) == len(old.rows) == len(new.rows)
    execs = [row.fields["filename"] for row in new.rows if row.name == "sched:sched_process_exec"]
    assert len(set(execs)) == 2
    assert execs[1] == "/" + new.rows[1].fields["prev_comm"], "a program is called as its task"
    assert new.rows[0].fields["fpu"] == "0x0"
    assert new.trace.symbols.keys() == old.trace.symbols.keys()


def test_what_is_kept_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.dat"
    path = full().write(tmp_path / "in.dat")
    assert redact(path, out, "--keep", "comm,host,text,pointer,symbol") == 0
    assert read_all(out).rows == read_all(path).rows
    assert read_all(out).trace.instances == ["houseinst"]
    assert redact(path, out, "--keep", "comm") == 0
    assert "secretd" in names_in(out)
    assert not leaks(unpacked(out), set(), pointers_in(path))
    with pytest.raises(SystemExit):
        redact(path, out, "--keep", "coms")
    assert "the closest that exist: comm" in capsys.readouterr().err


def test_functions_are_found_at_their_new_addresses(tmp_path: Path) -> None:
    """Probes keep their functions, and trace-cmd finds them."""
    path, out = SAMPLES / "6.12-kfpu-probes" / "trace.dat", tmp_path / "out.dat"
    assert redact(path, out) == 0
    new, old = read_all(out, fields=False), read_all(path, fields=False)
    assert new.trace.probes == old.trace.probes
    assert {evidence for _, evidence in new.trace.probes.values()} == {"kallsyms"}
    assert [row.name for row in new.rows] == [row.name for row in old.rows]


def test_what_memory_held_before_is_not_copied(tmp_path: Path) -> None:
    """A comm's bytes behind its NUL, and bytes that no field describes."""
    writer = TraceWriter("6.12.1")
    writer.event(0, 1, 1, "sched_switch", prev_comm="ab\0LEFTOVER", next_comm="c", next_pid=2)
    writer.event(0, 2, 1, "kvm_fpu", load=1)
    path, out = writer.write(tmp_path / "in.dat", version=6), tmp_path / "out.dat"
    assert b"LEFTOVER" in path.read_bytes()
    assert redact(path, out) == 0
    assert b"LEFTOVER" not in out.read_bytes()


def test_a_clock_that_went_back_proves_nothing_afterwards_either(tmp_path: Path) -> None:
    writer = TraceWriter("6.12.1", cpus=2)
    for cpu in (0, 1):
        writer.event(cpu, 10_000, 1, "kvm_fpu", load=1)
        writer.event(cpu, 5_000, 1, "kvm_fpu", load=0, stamp="absolute")
    path, out = writer.write(tmp_path / "in.dat"), tmp_path / "out.dat"
    assert not read_all(path).trace.clock_global
    for words in (["redact"], ["cut", "--time", ","]):
        assert main([words[0], str(path), str(out), *words[1:], "-q"]) == 0
        assert not read_all(out).trace.clock_global


def test_the_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert redact(CORRUPTION, tmp_path / name) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_output_and_refusals(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    kept = shutil.copy(CORRUPTION, tmp_path / "in.dat")
    assert redact(kept, kept) == 2
    assert b"is the recording itself" in capfdbinary.readouterr().err
    assert redact(kept, tmp_path / "no" / "where.dat") == 2
    assert redact(kept, tmp_path / "out.dat.gz") == 0
    with open_trace(tmp_path / "out.dat.gz") as trace:
        assert sum(len(block) for block in trace.blocks()) > 16_000
    assert redact(kept, "/dev/full") == 2
    capfdbinary.readouterr()
    assert redact(kept, "-") == 0
    (tmp_path / "piped.dat").write_bytes(capfdbinary.readouterr().out)
    assert len(read_all(tmp_path / "piped.dat", fields=False).rows) == 16_664


@pytest.mark.parametrize("seed", range(3))
def test_damaged_recordings_give_an_output_or_an_error(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = read(SAMPLES / "4.14.5-pinned" / "trace.dat")
    whole.blocks[19] = bytes(4)
    for buffer in whole.buffers:
        buffer.cpus = {cpu: pages[:6] for cpu, pages in buffer.cpus.items()}
    good = whole.to_bytes(6 + seed % 2)
    path, out = tmp_path / "in.dat", tmp_path / "out.dat"
    for _ in range(12):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 60)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        out.unlink(missing_ok=True)
        status = redact(path, out)
        assert status in (0, 2)
        assert (status == 0) == out.exists()
        if status == 0:
            fputrace.analyze(out).trace.close()


OWN_WORDS = b"grep, tail, trace-cmd report, perf script, KVM"
"""What fputrace itself says of texts."""

TEXTS = [unless_long(path) for path in sorted(SAMPLES.glob("*/trace.txt"))]


@pytest.mark.parametrize("path", TEXTS)
def test_texts(path: Path, tmp_path: Path) -> None:
    """Of ftrace, with and without pointers."""
    out = tmp_path / "out.txt"
    assert redact(path, out) == 0
    assert said(fputrace.analyze(out)) == said(fputrace.analyze(path))
    assert not leaks(out.read_bytes(), names_in(path), pointers_in(path), OWN_WORDS)
    old, new = read_all(path, ordered=False), read_all(out, ordered=False)
    assert [(row.ts, row.cpu, row.pid) for row in new.rows] == [
        (row.ts, row.cpu, row.pid) for row in old.rows
    ]


LINES = """\
          <idle>-0       [001] d..2.     3.208785: sched_switch: prev_comm=swapper/1 prev_pid=0 \
prev_prio=120 prev_state=R ==> next_comm=house next_pid=18 next_prio=120
           house-5       [001] d..2.     3.208786: driver: bar=house x=0xffff888012345678 of house
           house-5       [001] d..2.     3.208787: tracing_mark_write: hello house
           house-5       [001] d..2.     3.208789: sys_enter: NR 1 (7f00, ffff888011112222, 3)
           house-5       [001] d..2.     3.208790: p_fpu: (house_fn+0x4/0x50) fpu=0xffff888011112222
 => ffffffff81234567
"""


@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_what_nobody_knows_in_a_text_is_not_copied(tmp_path: Path, suffix: str) -> None:
    path, out = tmp_path / "house.txt", tmp_path / "out"
    path.write_text(LINES)
    if suffix == "jsonl":
        assert main(["convert", str(path), "--to", "jsonl", "-o", str(tmp_path / "h.jsonl")]) == 0
        path = tmp_path / "h.jsonl"
    assert redact(path, out) == 0
    data = out.read_bytes()
    assert b"house" not in data.replace(b"house_fn+0x4/0x50", b""), "the kernel's functions stay"
    assert not leaks(data, set(), {0xFFFF888012345678, 0xFFFF888011112222, 0xFFFFFFFF81234567})
    assert len(read_all(out).rows) == 5


def test_perf_script_and_trace_cmd_report(tmp_path: Path) -> None:
    """Texts that others made of the same recording."""
    path, out = tmp_path / "in.txt", tmp_path / "out.txt"
    path.write_text("\n".join(report(CORRUPTION)) + "\n")
    assert redact(path, out) == 0
    assert said(fputrace.analyze(out)) == said(fputrace.analyze(path))
    assert not leaks(out.read_bytes(), names_in(path), pointers_in(path), OWN_WORDS)
    perf = SAMPLES / "5.2.1-pinned" / "perf.data"
    if shutil.which("perf") is not None:
        done = subprocess.run(
            ["perf", "script", "--ns", "-i", perf], capture_output=True, check=True
        )
        path.write_bytes(done.stdout)
        assert redact(path, out) == 0
        assert said(fputrace.analyze(out)) == said(fputrace.analyze(path))
        assert not leaks(out.read_bytes(), names_in(path), pointers_in(path), OWN_WORDS)


def test_addresses_keep_what_ties_them_together() -> None:
    names = Names()
    fpu = names.pointer(0xFFFF888012345880)
    assert names.pointer(0xFFFF888012345900) - fpu == 0x80, "in one page"
    first = names.pointer(0xFFFFFFFF9A000040)
    assert names.pointer(0xFFFFFFFF9A100000) - first == 0xFFFC0, "functions"
    for same in (0, 1, 4096, 0xFFFF, 0xFFFF_FFFF_FFFF_FFF2):
        assert names.pointer(same) == same
    assert names.pointer(0x7F0012345678) & 0xFFF == 0x678
    assert len({names.pointer(0xFFFF888000000000 + n * 64) for n in range(1000)}) == 1000


def test_what_lies_beside_a_recording_goes_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sidecar of fputrace record: its probes and kernel threads count, its names do not."""
    path = Path(shutil.copy(CORRUPTION, tmp_path / "in.dat"))
    facts = {
        "probes": [
            "p:fpu/save save_fpregs_to_fpstate fpu=%di:x64",
            "p:fpu/there 0xffffffff81234567",
        ],
        "tasks": [[92, 92, "househog", 0], [10, 10, "rcu_preempt", PF_KTHREAD]],
        "recorder": "trace-cmd",
        "clock": "mono",
        "cmdline": ["housearg"],
        "version": "Linux version 5.2.1 (root@househost)",
    }
    write(f"{path}{SUFFIX}", str(path), facts)
    for verb, words in (("redact", []), ("cut", ["--finding", "FPU111:2"])):
        out = tmp_path / f"{verb}.dat"
        assert main([verb, str(path), str(out), *words]) == 0
        assert f"{out.name}{SUFFIX} belongs to it" in capsys.readouterr().err
        with open_trace(out) as trace:
            assert trace.sidecar is not None
            assert trace.sidecar.kthreads == {10}
            assert "fpu:save" in trace.sidecar.probes
        beside = Path(f"{out}{SUFFIX}").read_text()
        assert ("house" in beside) == (verb == "cut")
        assert ("81234567" in beside) == (verb == "cut")
        assert "housearg" not in beside


def test_numbers_that_stay_are_those_that_the_docs_name() -> None:
    """docs/sharing.md, "What stays"."""
    names = ("guest_rip", "info1", "info2")
    fields = tuple(
        FormatField(name, "u64", offset=8 * place, size=8, signed=False, array=False, dynamic="")
        for place, name in enumerate(names)
    )
    form = EventFormat("kvm", "kvm_exit", 1, fields, "", True)
    cleaner = RecordCleaner(Names(), big=False, long_size=8)

    def clean(*values: int) -> tuple[int, ...]:
        return struct.unpack("<3Q", cleaner.clean(form, struct.pack("<3Q", *values), 8))

    stays = (0x1051, 0x7F12345678AB, 0xB7FE40000)
    assert clean(*stays) == stays
    kernel = 0xFFFF888012345678
    assert kernel not in clean(kernel, kernel, kernel)
    program = 0x7F12345678AB
    rip, *infos = clean(program, program, program)
    assert rip != program
    assert infos == [program, program]
