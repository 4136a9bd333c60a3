"""Every prefix and every flipped byte of a small file: a result or a TraceError, nothing else.

The default run tries each fourth byte, ``-m long`` each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fputrace.errors import TraceError
from fputrace.parsers import container7, open_trace
from tests.fuzz.sandbox import run_all
from tests.writers import Compression, TraceWriter

FORMS: list[tuple[int, Compression]] = [(6, "none"), (7, "none"), (7, "zstd"), (7, "zlib")]
IDS = [f"v{version}-{compression}" for version, compression in FORMS]
EACH_BYTE = [
    *(
        pytest.param(*form, 4, id=f"{name}-each fourth")
        for form, name in zip(FORMS[1:3], IDS[1:3], strict=True)
    ),
    *(
        pytest.param(*form, 1, id=name, marks=pytest.mark.long)
        for form, name in zip(FORMS, IDS, strict=True)
    ),
]
"""For tests that try every byte, which takes seconds a form: the default run tries each fourth."""
KEPT = {"sched_switch", "sched_process_exec", "x86_fpu_regs_activated", "kvm_fpu"}


def small_file(version: int, compression: Compression) -> bytes:
    """Two CPUs, five pages, a counted loss: everything once, in as few bytes as possible."""
    names = {layout.spec.name for layout in TraceWriter("6.12.1").layouts.values()}
    w = TraceWriter(
        "6.12.1", without=names - KEPT, page_size=512, comms={1: "a"}, kallsyms="1 T f\n"
    )
    w.guest("vm", 77, {0: 1})
    w.offset(5)
    for cpu in (0, 1):
        w.event(cpu, 1000, 1, "sched_switch", prev_pid=1, next_pid=2, next_comm="a")
        w.event(cpu, 2000 + (1 << 28), 2, "x86_fpu_regs_activated", fpu=0xFF11000000123400)
        w.loss(cpu, 3)
        w.event(cpu, 3000 + (1 << 28), 2, "sched_process_exec", filename="/bin/true", pid=2)
        w.builder(cpu).discard(3500 + (1 << 28), 8)
        w.event(cpu, 4000 + (1 << 28), 2, "kvm_fpu", load=1, length_word=True)
    w.page(0)
    w.event(0, 5000 + (1 << 28), 2, "kvm_fpu", stamp="absolute")
    return w.file().to_bytes(version, compression, option_sections=2)


def read_everything(path: Path) -> bool:
    """Whether the reader took the file for whole; a TraceError must say what and where."""
    try:
        with open_trace(path) as trace:
            for block in trace.blocks():
                for row in range(len(block)):
                    if block.event[row] >= 0:
                        block.fields_of(row)
            damaged = any(loss.severity == "damaged" for loss in trace.losses)
            return not damaged and not trace.notes
    except TraceError as error:
        assert str(path) in str(error)
        return False


def must_not_look_whole(path: Path) -> None:
    assert not read_everything(path), "a truncated file looks complete"


def must_end(path: Path) -> None:
    read_everything(path)


@pytest.mark.parametrize(("version", "compression"), FORMS, ids=IDS)
def test_the_small_file_itself_is_whole(
    tmp_path: Path, version: int, compression: Compression
) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(small_file(version, compression))
    assert read_everything(path)
    with open_trace(path) as trace:
        assert sum(len(block) for block in trace.blocks()) > 9
        assert [(loss.cpu, loss.count) for loss in trace.losses] == [(0, 3), (1, 3)]


@pytest.mark.parametrize(("version", "compression", "step"), EACH_BYTE)
def test_every_prefix(tmp_path: Path, version: int, compression: Compression, step: int) -> None:
    data = small_file(version, compression)
    prefixes = ((f"first {n} bytes", data[:n]) for n in range(len(data) - 1, -1, -step))
    assert run_all(prefixes, must_not_look_whole, tmp_path) == []


def flipped(data: bytes, mask: int, step: int) -> Iterator[tuple[str, bytes]]:
    for at in range(0, len(data), step):
        out = bytearray(data)
        out[at] ^= mask
        yield f"byte {at} ^ {mask:#x}", bytes(out)


@pytest.mark.parametrize("mask", [0xFF, pytest.param(0x01, marks=pytest.mark.long)])
@pytest.mark.parametrize(("version", "compression", "step"), EACH_BYTE)
def test_every_flipped_byte(
    tmp_path: Path, version: int, compression: Compression, step: int, mask: int
) -> None:
    assert run_all(flipped(small_file(version, compression), mask, step), must_end, tmp_path) == []


def test_files_that_are_nothing(tmp_path: Path) -> None:
    empty = {"empty": b"", "text": b"hello\n" * 50, "zeros": bytes(5000), "magic": b"\x17\x08\x44"}
    for name, data in empty.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(TraceError, match=name):
            open_trace(path)


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.long)])
def test_a_bomb_is_refused(tmp_path: Path, step: int) -> None:
    """Sizes in the file are not believed: a chunk that claims 4 GiB costs no 4 GiB."""
    data = small_file(7, "zstd")
    huge = [
        (f"size at {at}", data[:at] + b"\xf0\xff\xff\xff" + data[at + 4 :])
        for at in range(0, len(data) - 4, step)
    ]
    assert run_all(huge, must_end, tmp_path, mebibytes=256) == []


def test_data_of_two_cpus_in_one_place_is_read_once(tmp_path: Path) -> None:
    """A CPU's data ends where the next one's begins, whatever the table says."""
    w = TraceWriter()
    for cpu in (0, 1):
        w.event(cpu, 1000 + cpu, 7, "kvm_fpu", load=1)
    whole = bytearray(w.file().to_bytes(6))
    table = whole.index(b"flyrecord\0") + 10
    size = int.from_bytes(whole[table + 8 : table + 16], "little")
    whole[table + 8 : table + 16] = (2 * size).to_bytes(8, "little")
    path = tmp_path / "trace.dat"
    path.write_bytes(whole)
    with open_trace(path) as trace:
        assert sum(int((block.event >= 0).sum()) for block in trace.blocks()) == 2
        assert any("runs into it" in note for note in trace.notes)


def test_a_cpu_is_in_the_table_once(tmp_path: Path) -> None:
    w = TraceWriter(cpus=[3, 4])
    for cpu in (3, 4):
        w.event(cpu, 1000 + cpu, 7, "kvm_fpu", load=1)
    file = w.file()
    data = file.to_bytes(7)
    four = (4).to_bytes(4, "little") + data.rindex(file.buffers[0].cpus[4][0]).to_bytes(8, "little")
    assert data.count(four) == 1
    path = tmp_path / "trace.dat"
    path.write_bytes(data.replace(four, (3).to_bytes(4, "little") + four[4:]))
    with pytest.raises(TraceError, match="twice"):
        open_trace(path)


def test_zeros_behind_a_recording_are_not_walked_to_their_end(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gigabyte of them costs nothing to send, and 64 million empty sections to look at."""
    path = tmp_path / "trace.dat"
    path.write_bytes((samples / "5.2.1-pinned" / "trace.dat").read_bytes())
    with open_trace(path) as trace:
        wanted = [len(block) for block in trace.blocks()]
    os.truncate(path, path.stat().st_size + (1 << 30))
    seen = 0

    def count(*arguments: Any) -> Iterator[tuple[int, int, int, int]]:
        nonlocal seen
        for section in walk_sections(*arguments):
            seen += 1
            yield section

    walk_sections = container7._walk_sections
    monkeypatch.setattr(container7, "_walk_sections", count)
    with open_trace(path) as trace:
        assert [len(block) for block in trace.blocks()] == wanted
    assert 10 < seen <= 1 << 16
