"""What every recording, however damaged, must go through: :func:`examine` and :func:`command`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

import fputrace
from fputrace.compare import compare
from fputrace.convert import convert_trace
from fputrace.errors import FputraceError
from fputrace.events import EventBlock, Kind, Trace
from fputrace.findings import Analysis
from fputrace.lanes import LaneGrid
from fputrace.reports import Options, diff, info, render
from fputrace.reports.outline import clock_of
from fputrace.reports.timeline import timeline_text
from tests.fuzz.sandbox import PATIENCE, peak_bytes

OUTPUTS = (
    "text",
    "markdown",
    "json",
    "jsonl",
    "sarif",
    "junit",
    "rich",
    "diff",
    "info",
    "info json",
    "timeline",
    "convert jsonl",
    "convert text",
)
"""One of them is made of each recording."""

_TRACEBACK = re.compile(r"Traceback|Error:.*\n *\^|File \".*\", line \d+")


def examine(path: Path, output: str) -> set[str]:
    """Open, analyse, read every block, decode fields, make one output.

    Returns what the recording says is wrong with it: its notes, and "damaged" for each damaged
    loss.  Raises AssertionError when the contract of ``fputrace.events`` is broken or an output is
    not harmless, and lets through any other exception; an FputraceError is a fine answer, if it
    names the file.
    """
    try:
        analysis = fputrace.analyze(path)
    except FputraceError as error:
        assert str(path) in str(error), f"an error that does not name the file: {error}"
        return {"error"}
    with analysis.trace as trace:
        try:
            _read(trace)
            _show(analysis, output, path.parent)
        except FputraceError as error:
            assert str(path) in str(error), f"an error that does not name the file: {error}"
            return {"error"}
        said = set(trace.notes)
        if any(loss.severity == "damaged" for loss in trace.losses):
            said.add("damaged")
        return said


def _read(trace: Trace) -> None:
    last = (-(1 << 63), -1)
    events = 0
    for block in trace.blocks():
        _check_block(trace, block)
        first = (int(block.ts[0]), int(block.cpu[0])) if len(block) else last
        assert first[0] >= last[0], f"time steps back between blocks: {last} {first}"
        if len(block):
            last = (int(block.ts[-1]), int(block.cpu[-1]))
        of_events = np.flatnonzero(block.event >= 0)
        events += len(of_events)
        for row in of_events[:: max(1, len(of_events) // 40)].tolist():
            block.fields_of(row)
    assert events == sum(trace.counts.values()), "counts differ from rows"


def _check_block(trace: Trace, block: EventBlock) -> None:
    """The columns as ``fputrace.events`` promises them."""
    size = len(block.ts)
    columns = (block.cpu, block.pid, block.kind, block.flags, block.event, block.op)
    assert all(len(column) == size for column in columns)
    assert np.all(block.ts[1:] >= block.ts[:-1]), "time steps back inside a block"
    marks = np.isin(block.kind, (Kind.LOSS, Kind.LOSS_END, Kind.CPU_END))
    assert np.all((block.event >= 0) == ~marks), "a mark with an event, or an event without"
    assert np.all(block.event < len(trace.event_names))
    assert np.all(np.isin(np.unique(block.cpu), trace.cpus)), "a CPU that the trace does not have"


def _show(analysis: Analysis, output: str, folder: Path) -> None:
    trace = analysis.trace
    if output == "info":
        text = info.info_text(trace)
    elif output == "info json":
        text = info.info_json(trace)
    elif output == "timeline":
        text = timeline_text(_lanes(analysis), clock_of(trace), trace.comms, 80, True, "", False)
    elif output.startswith("convert"):
        target = folder / "converted"
        convert_trace(trace, output.split()[1], os.fspath(target))
        text = target.read_text(encoding="utf-8")
    elif output == "diff":
        same = compare(analysis, analysis)
        assert same.empty, f"differs from itself: {same}"
        text = diff.text(same, analysis, analysis, verbose=True)
    elif output == "rich":
        from rich.console import Console

        screen = io.StringIO()
        shown = render("rich", [analysis], Options())
        Console(file=screen, width=100, color_system=None, highlight=False).print(shown)
        text = screen.getvalue()
    else:
        made = render(output, [analysis], Options(verbose=True, ascii=output == "text"))
        assert isinstance(made, str)
        text = made
    assert harmless(text), f"not harmless: {output}"
    if output == "junit":
        ET.fromstring(text)
    if output in ("json", "sarif", "info json"):
        json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def _lanes(analysis: Analysis) -> LaneGrid:
    trace = analysis.trace
    if trace.first_ns is None or trace.last_ns is None:
        return LaneGrid(0, 0, (), ())
    return analysis.timeline.lanes(trace.first_ns, trace.last_ns, 40, trace.cpus, None)


def harmless(text: str) -> bool:
    """Whether a terminal shows just the characters: nothing but printable ones and line ends."""
    return text.replace("\n", "").isprintable()


# The command line

ROOT = Path(__file__).parent.parent.parent
VERBS = (
    ("analyze", "--format", "text"),
    ("analyze", "--format", "json"),
    ("analyze", "--format", "markdown"),
    ("analyze", "--format", "html"),
    ("analyze", "--format", "rich", "--color", "always"),
    ("timeline",),
    ("info",),
    ("info", "--format", "json"),
    ("convert", "--to", "jsonl"),
    ("convert", "--to", "text"),
)
_COLORS = re.compile(r"\x1b\[[\d;]*m")


def command(path: Path, verb: tuple[str, ...]) -> int:
    """``python -m fputrace VERB FILE`` as its own process; returns its peak memory in bytes.

    Raises AssertionError for another exit status than 0 to 3, a process that hangs, a traceback, an
    output that is not harmless, or an error that does not name the file.
    """
    out, talk = path.parent / "out", path.parent / "talk"
    arguments = [sys.executable, "-m", "fputrace", *verb, str(path)]
    with out.open("wb") as stdout, talk.open("wb") as stderr:
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
    peak = _wait(process)
    status = process.returncode
    said = talk.read_text(errors="surrogateescape")
    assert status in (0, 1, 2, 3), f"exit status {status}: {said}"
    assert not _TRACEBACK.search(said), said
    assert status != 2 or str(path) in said, f"an error that does not name the file: {said}"
    shown = out.read_text(errors="surrogateescape")
    assert harmless(_COLORS.sub("", shown)), "not harmless: stdout"
    assert harmless(said), f"not harmless: {said!r}"
    if "json" in verb and shown:
        json.loads(shown, parse_constant=_no_constant)
    for line in shown.splitlines() if "jsonl" in verb else ():
        json.loads(line, parse_constant=_no_constant)
    return peak


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The process's peak, looked at until it ends: what ``wait4`` tells counts its parent too."""
    end = time.monotonic() + PATIENCE * 30
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError):
            peak = max(peak, peak_bytes(process.pid))
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise AssertionError(f"takes longer than {PATIENCE * 30} s")
        time.sleep(0.005)
    return peak
