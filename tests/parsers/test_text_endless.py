"""A text that is nearly all no trace is given up, and says how to cut the trace out."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.errors import FormatError
from fputrace.parsers import console, perfscript, text, textindex, wrapped

EVENT = (
    b"            a-7       [000] d....  0.%06d: x86_fpu_regs_activated: x86/fpu: ffff98413fe73380 "
    b"load: 1 xfeatures: 217 xcomp_bv: 0\n"
)
PERF = b"a     7 [000] %s: x86_fpu:x86_fpu_dropped: x86/fpu: 0xffff98413fe73380 load: 0\n"
MANY = 200


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (console, perfscript, text, textindex, wrapped):
        monkeypatch.setattr(module, "MOST_OTHERS", MANY)


def _opened(folder: Path, data: bytes) -> None:
    path = folder / "some.txt"
    path.write_bytes(data)
    with fputrace.open(path) as trace:
        assert len(list(trace.blocks())) >= 1


@pytest.mark.parametrize("line", [b"\n", b"a\n", b"> \n", b"[ 1.0] x\n", b"Linux\n"])
def test_lines_that_nobody_understands_end(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(FormatError, match=rf"line {MANY + 1}: up to here .*expected") as caught:
        _opened(tmp_path, line * 10_000)
    assert "sed -n" in caught.value.hint


@pytest.mark.parametrize(
    "head",
    [
        EVENT % 1,
        b"hello\n" + EVENT % 1,
        b"".join(PERF % time for time in (b"0.0", b"5.000000", b"0.000001") * 9).replace(
            b" 0.0:", b" 0.000000:"
        ),
    ],
    ids=["trace", "mail", "perf script --deltatime"],
)
def test_an_event_in_front_is_no_way_around(tmp_path: Path, head: bytes) -> None:
    with pytest.raises(FormatError, match="up to here"):
        _opened(tmp_path, head + b"\n" * 10_000 + EVENT % 2)


def test_a_page_of_nothing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_SEARCH", 1 << 10)
    head = b'<html><script class="trace-data">\n# tracer: nop\n'
    with pytest.raises(FormatError, match="up to here"):
        _opened(tmp_path, head + b"\n" * 400_000)


def test_a_long_line_counts_as_several(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 4: up to here"):
        _opened(tmp_path, (b"a" * 8000 + b"\n") * 100)


def test_call_chains_are_no_reason(tmp_path: Path) -> None:
    chain = b"\tffffffff81000000 f ([kernel.kallsyms])\n" * wrapped.OTHERS_AN_EVENT
    _opened(tmp_path, b"".join(EVENT % time + chain for time in range(20)))


def test_a_long_trace_without_tasks_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="function_graph"):
        _opened(tmp_path, b" 0)   1.234 us    |  schedule();\n" * 10_000)


def test_a_log_with_some_lines_is_read(tmp_path: Path) -> None:
    _opened(tmp_path, b"hello\n" * (MANY - 2) + EVENT % 1)  # the event is 129 bytes
