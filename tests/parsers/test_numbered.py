"""A byte order mark and line numbers in front of a text: it reads as without them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

import fputrace
from fputrace.errors import FormatError

LINES = [
    b"cpus=2",
    (
        b"              sh-89    [001]     3.160397838: sched_switch:         sh:89 [120] R ==> "
        b"swapper/1:0 [120]"
    ),
    (
        b"          <idle>-0     [000]     3.161074108: sched_switch:         swapper/0:0 [120] R "
        b"==> rcu_preempt:10 [120]"
    ),
    (
        b"     rcu_preempt-10    [000]     3.161562778: sched_switch:         rcu_preempt:10 [120] "
        b"W ==> swapper/0:0 [120]"
    ),
]
PLAIN = b"\n".join(LINES) + b"\n"


def numbered(form: bytes) -> bytes:
    return b"".join(form % number + line + b"\n" for number, line in enumerate(LINES, 1))


def read(data: bytes, path: Path) -> tuple[object, ...]:
    path.write_bytes(data)
    with fputrace.open(path) as trace:
        rows = [
            row
            for block in trace.blocks()
            for row in zip(block.ts, block.cpu, block.pid, block.kind, strict=True)
        ]
        told = (trace.format, trace.cpus, trace.losses_known, trace.comms, trace.notes)
        return (*told, dict(trace.counts), rows)


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + PLAIN,
        numbered(b"%d:"),
        numbered(b"%6d\t"),
        codecs.BOM_UTF8 + numbered(b"%d:"),
        numbered(b"%d-").replace(b"3-", b"3:", 1),
    ],
    ids=["mark", "grep -n", "cat -n", "both", "grep -nC"],
)
def test_reads_as_without(data: bytes, tmp_path: Path) -> None:
    assert read(data, tmp_path / "text") == read(PLAIN, tmp_path / "text")


def test_numbers_that_do_not_rise_are_names_of_buffers(tmp_path: Path) -> None:
    data = b"".join(b"7: " + line + b"\n" for line in LINES[1:])
    path = tmp_path / "text"
    path.write_bytes(data)
    with fputrace.open(path) as trace:
        assert trace.instances == ["7"]


def test_line_numbers_are_taken_off_once(tmp_path: Path) -> None:
    deep = b"".join(b"%d:" % n * 2000 + b"\n" for n in range(1, 9))
    path = tmp_path / "text"
    path.write_bytes(deep)
    with pytest.raises(FormatError):
        fputrace.open(path)


def test_a_long_line_stays_whole(tmp_path: Path) -> None:
    long = b"# " + b"12:x" * 50_000
    data = numbered(b"%d:") + b"5:" + long + b"\n"
    assert read(data, tmp_path / "text") == read(PLAIN + long + b"\n", tmp_path / "text")
