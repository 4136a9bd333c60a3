"""What trace-cmd and perf print for a recording, line by line: texts for the readers of text."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.tools.trace_cmd import Event

PERF_MISSING = "perf is not installed (Debian: apt install linux-perf)"
PERF_INSTALLED = shutil.which("perf") is not None

_REPORT = re.compile(r"\s*(.*?)-(\d+) +\[(\d+)\]\S* +(\d+)\.(\d{9}): (\S+): *(.*)")
_SCRIPT = re.compile(r"\s*(.*?) +(-?\d+) \[(\d+)\] +(\d+)\.(\d{9}): +(\S+): ?(.*)")


def trace_cmd_report(path: Path, *options: str) -> str:
    """``trace-cmd report -t OPTIONS``."""
    return _stdout("trace-cmd", "report", "-t", *options, "-i", str(path))


def perf_script(path: Path, *options: str) -> str:
    """``perf script`` in the form that loses least."""
    fields = ("-F", "comm,tid,cpu,time,event,trace")
    return _stdout("perf", "script", "--ns", *fields, *options, "-i", str(path))


def events_of(text: str) -> Iterator[Event]:
    """The events in a text of either; ValueError for a line that is none and tells no loss."""
    # Only a newline ends a line: names may hold any other separator.
    for line in text.rstrip("\n").split("\n"):
        found = _REPORT.fullmatch(line) or _SCRIPT.fullmatch(line)
        if found:
            comm, pid, cpu, seconds, ns, name, args = found.groups()
            yield Event(int(cpu), int(seconds + ns), int(pid), comm, name, args)
        elif line and not re.match(r"cpus=|#|CPU[: ]\d+|.*PERF_RECORD_LOST", line):
            raise ValueError(f"no event: {line!r}")


def _stdout(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=True, errors="surrogateescape")
    return done.stdout
