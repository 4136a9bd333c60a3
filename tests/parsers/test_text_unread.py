"""Texts that hold events but not their fields: nothing may say that they were not recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Analysis
from tests.rules.scenario import of

EVENT = "{comm:>16}-{pid:<5} [{cpu:03d}] {secs}.{frac:06d}: {text}"
TEXTS = [
    "x86_fpu_regs_activated: x86/fpu: 0xffff888001234880 load: 1 xfeatures: 207 xcomp_bv: 0",
    "x86_fpu_regs_deactivated: x86/fpu: 0xffff888001234880 load: 0 xfeatures: 207 xcomp_bv: 0",
    (
        "sched_switch: prev_comm=qemu prev_pid=42 prev_prio=120 prev_state=S ==> next_comm=sh "
        "next_pid=43 next_prio=120"
    ),
    "kvm_entry: vcpu 0, rip 0xfff0 intr_info 0x00000000 error code 0x00000000",
]
CORE = [
    "x86_fpu:x86_fpu_regs_activated",
    "x86_fpu:x86_fpu_regs_deactivated",
    "kvm:kvm_entry",
    "sched:sched_switch",
]


def lines(count: int = 40) -> list[str]:
    return [
        EVENT.format(comm="qemu", pid=42, cpu=0, secs=9, frac=n, text=TEXTS[n % len(TEXTS)])
        for n in range(count)
    ]


def told(text: str, path: Path) -> Analysis:
    path.write_text(text)
    return fputrace.analyze(path)


def wrapped(text: list[str]) -> str:
    """As a mail program breaks lines: at the last blank before column 72."""
    done = []
    for line in text:
        rest = line
        while len(rest) > 72:
            at = rest.rindex(" ", 0, 72)
            done.append(rest[:at])
            rest = rest[at + 1 :]
        done.append(rest)
    return "From: a@example.org\nSubject: FPU\n\nHi,\n\n" + "\n".join(done) + "\n"


def cut(width: int) -> Callable[[list[str]], str]:
    return lambda text: "".join(line[:width] + "\n" for line in text)


@pytest.mark.parametrize(
    "change", [cut(72), cut(68), cut(50), wrapped], ids=["72", "68", "in the name", "wrapped"]
)
def test_cut_lines_are_recorded_but_not_readable(
    change: Callable[[list[str]], str], tmp_path: Path
) -> None:
    found = told(change(lines()), tmp_path / "text")
    (finding,) = of(found, "FPU902")
    absent, _, unread = finding.message.partition("in this text, but not their fields: ")
    assert [event for event in CORE if event in absent] == []
    assert unread
    assert "whole lines" in unread
    said = " ".join(found.notes)
    assert "whole lines" in said
    assert "No vCPU ran" not in said
    assert "holds no x86_fpu events" not in said
    assert "no kvm_entry was seen" not in said


def test_perf_script_without_its_fields_says_what_prints_them(tmp_path: Path) -> None:
    text = "".join(f"qemu 42 [000] 9.{n:06d}: {event}: \n" for n in range(9) for event in CORE)
    (finding,) = of(told(text, tmp_path / "text"), "FPU902")
    assert finding.message.startswith("not recorded: kvm:kvm_fpu. in this text, but not")
    assert "-F comm,tid,cpu,time,event,trace" in finding.message


def test_one_broken_line_does_not_make_an_event_unreadable(tmp_path: Path) -> None:
    text = [*lines(), lines()[2][:60], *lines()]
    found = told("".join(line + "\n" for line in text), tmp_path / "text")
    assert "in this text" not in "".join(f.message for f in of(found, "FPU902"))


def test_what_is_in_no_line_was_not_recorded(tmp_path: Path) -> None:
    text = "".join(line[:70] + "\n" for line in lines() if "kvm_entry" not in line)
    (finding,) = of(told(text, tmp_path / "text"), "FPU902")
    assert finding.message.startswith("not recorded: kvm:kvm_fpu, kvm:kvm_entry. ")
