"""A text somebody took lines out of (grep, tail, trace-cmd report --cpu): it proves nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import fputrace
from fputrace.convert.text import write_text
from fputrace.findings import Status
from fputrace.parsers import open_trace
from fputrace.parsers.textevents import probed_function

Cut = Callable[[list[str]], list[str]]


def middle(lines: list[str]) -> list[str]:
    return lines[: len(lines) // 3] + lines[2 * len(lines) // 3 :]


def one_event(lines: list[str]) -> list[str]:
    return [line for line in lines if "x86_fpu_regs_activated" not in line]


def twenty(lines: list[str]) -> list[str]:
    return lines[:6951] + lines[6971:]


CUTS: list[Cut] = [list, middle, one_event, twenty]


@pytest.fixture(scope="module")
def text(samples: Path) -> list[str]:
    """5.10-pinned, recorded from tracefs' ``trace``."""
    with (samples / "5.10-pinned" / "trace.txt").open(encoding="utf-8") as stream:
        return stream.read().splitlines()


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("head", [True, False])
def test_nothing_is_proven(cut: Cut, head: bool, text: list[str], tmp_path: Path) -> None:
    """Even told the clock and the release, which a text does not tell."""
    first = next(n for n, line in enumerate(text) if not line.startswith("#"))
    lines = [*(text[:first] if head else ()), *cut(text[first:])]
    path = tmp_path / "trace.txt"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    with fputrace.analyze(path, kernel="5.10.0", clock="mono").trace as trace:
        assert trace.whole_known is (head and cut is list)
    analysis = fputrace.analyze(path, kernel="5.10.0", clock="mono")
    sure = [f for f in analysis.findings if f.verdict == "confirmed" and f.code < "FPU9"]
    assert sure == []
    checked = [row.code for row in analysis.coverage if row.status is Status.CHECKED]
    whole = head and cut is list
    assert any(code < "FPU9" for code in checked) is whole
    if head and not whole:
        assert any(not loss.placed for loss in analysis.losses)


def test_a_converted_report_is_no_stronger(text: list[str], tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    kept = [line for line in text if not re.match("#", line)]
    path.write_text("".join(line + "\n" for line in middle(kept)), encoding="utf-8")
    again = tmp_path / "again.txt"
    with open_trace(path) as trace, again.open("wb") as out:
        write_text(trace, out)
    with open_trace(again) as trace:
        assert not trace.whole_known


@pytest.mark.parametrize(
    ("place", "function"),
    [
        ("save_fpregs_to_fpstate+0x4/0x110", "save_fpregs_to_fpstate"),
        ("save_fpregs_to_fpstate", "save_fpregs_to_fpstate"),
        ("kernel_fpu_end+0x0/0x40 [kvm]", "kernel_fpu_end"),
        ("save_fpregs_to_fpstate+0x58/0x110", None),
    ],
)
def test_a_probe_in_the_midst_is_none_on_the_function(place: str, function: str | None) -> None:
    """As Symbols.near() has it for addresses: some calls do not come by."""
    assert probed_function("mine:save", place) == function
