"""Traces in mails: broken lines that format=flowed puts together, and those that nothing can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fputrace.events import Kind, Trace
from fputrace.parsers.mail import unflowed
from fputrace.parsers.text import open_text
from tests.writers.text import TextEvent, fpu_args, ftrace, switch_args

EVENTS = [
    TextEvent(i % 2, 10**9 + i * 7000, 70 + i % 2, f"CPU {i % 2}/KVM", *named)
    for i, named in enumerate(
        [
            ("kvm_fpu", "load"),
            ("sched_switch", switch_args(("sh", 70, "S"), ("CPU 1/KVM", 71))),
            ("x86_fpu_regs_activated", fpu_args("ffff8a2d81fac8c0", 0)),
        ]
        * 4
    )
]
LINES = [ftrace(event) for event in EVENTS]
HEAD = "From: a@example.org\nSubject: registers\nContent-Type: text/plain; charset=UTF-8"
FLOWED = "; format=flowed"
BODY = "\n\nHello,\n\nthis is what I see:\n\n"


def broken(line: str, width: int = 60) -> list[str]:
    """A line as a mail program breaks it: behind blanks, which stay."""
    parts, rest = [], line
    while len(rest) > width and (at := rest.rfind(" ", 1, width)) > 0 and rest[: at + 1].strip():
        parts.append(rest[: at + 1])
        rest = rest[at + 1 :]
    # A line that begins with a blank gets another one.
    return [" " + part if part.startswith(" ") else part for part in [*parts, rest]]


def mail(type_: str, front: str = "", end: str = "\n\n-- \nSomebody\n") -> str:
    lines = [front + part for line in LINES for part in broken(line)]
    assert len(lines) > 2 * len(LINES)
    return HEAD + type_ + BODY + "\n".join(lines) + end


def read(text: str, folder: Path) -> tuple[Trace, list[tuple[int, int, int, int, list[int]]]]:
    path = folder / "mail.txt"
    path.write_text(text)
    trace = open_text(os.open(path, os.O_RDONLY), str(path))
    with trace:
        rows = [
            (int(ts), int(cpu), int(pid), int(kind), op.tolist())
            for block in trace.blocks()
            for ts, cpu, pid, kind, op in zip(
                block.ts, block.cpu, block.pid, block.kind, block.op, strict=True
            )
        ]
    return trace, rows


@pytest.mark.parametrize("front", ["", "> ", "> > ", ">> "])
@pytest.mark.parametrize("type_", [FLOWED, ';\n\tformat="flowed"'])
def test_flowed_lines_are_whole_again(type_: str, front: str, tmp_path: Path) -> None:
    _plain, wanted = read("\n".join(LINES) + "\n", tmp_path)
    trace, rows = read(mail(type_, front), tmp_path)
    assert rows == wanted
    assert trace.format == "quoted text"
    assert not trace.losses


def test_blanks_that_were_added_are_taken_away(tmp_path: Path) -> None:
    _plain, wanted = read("\n".join(LINES) + "\n", tmp_path)
    added = mail(FLOWED + "; delsp=yes").replace(" \n", "  \n").replace("--  \n", "-- \n")
    assert read(added, tmp_path)[1] == wanted


def test_broken_lines_of_other_mails_are_holes(tmp_path: Path) -> None:
    trace, rows = read(mail(""), tmp_path)
    assert sum(kind not in (Kind.LOSS, Kind.LOSS_END, Kind.CPU_END)
               for _ts, _cpu, _pid, kind, _op in rows) < len(EVENTS)  # fmt: skip
    assert trace.losses or not trace.whole_known


def test_which_lines_go_on() -> None:
    def told(*lines: bytes) -> list[tuple[int, bytes]]:
        head = (b"Content-Type: text/plain; format=flowed", b"")
        read = unflowed((line, True) for line in (*head, *lines))
        return [(line.number, line.text) for line in read][2:]

    assert told(b"a ", b"b ", b"c", b"d") == [(3, b"a b c"), (6, b"d")]
    assert told(b"> a ", b"b") == [(3, b"> a "), (4, b"b")]
    assert told(b">> a ", b"> > b") == [(3, b">> a b")]
    assert told(b"a ", b"-- ", b"b") == [(3, b"a "), (4, b"-- "), (5, b"b")]
    assert told(b"a ", b"Content-Type: text/x-log", b"b ", b"c") == [
        (3, b"a "), (4, b"Content-Type: text/x-log"), (5, b"b "), (6, b"c"),
    ]  # fmt: skip
    long = b"x" * 8000 + b" "
    assert [len(text) for _number, text in told(long, long, b"y")] == [8001, 8002]
    assert told(b"a ") == [(3, b"a ")]
