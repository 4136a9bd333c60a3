"""What trace-cmd itself says about a recording: the oracle of the trace.dat reader.

``trace-cmd report -R -t`` prints fields raw and times to the ns; how an integer is printed (hex
or decimal) follows the event's print format, so that is looked at too.
"""

from __future__ import annotations

import bisect
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.writers.container import EVENTS, FTRACE, KALLSYMS, TraceFile

MISSING = "trace-cmd is not installed (Debian: apt install trace-cmd)"
INSTALLED = shutil.which("trace-cmd") is not None

# From 3.3 on, -R prints the flags behind the CPU, and the time right behind them: [000]-0x1.
_LINE = re.compile(
    r"\s*(.*?)-(\d+)\s+\[(\d+)\](?:-0x[0-9a-f]+?)?\s*(\d+)(?:\.(\d{9}))?: (\S+):\s*(.*)", re.DOTALL
)
_DROPPED = re.compile(r"CPU:(\d+) \[(?:(\d+) )?EVENTS DROPPED\]")
_FIELD = re.compile(
    r"\s(?:field|field special|special):([^;]+);\s*offset:(\d+);\s*size:(\d+);\s*(?:signed:(\d);)?"
)


class Event(NamedTuple):
    """One line: ``text`` is what stands after the event's name.

    ``ns`` is in the clock's own unit where that is no time (x86-tsc, counter).
    """

    cpu: int
    ns: int
    pid: int
    comm: str
    name: str
    text: str


class Dropped(NamedTuple):
    """``CPU:N [M EVENTS DROPPED]``; ``lost`` None when the number is not known."""

    cpu: int
    lost: int | None


def run(*arguments: str | Path) -> str:
    """Its stdout; CalledProcessError when it fails."""
    done = subprocess.run(
        ["trace-cmd", *arguments], capture_output=True, check=True, errors="surrogateescape"
    )
    return done.stdout


def report(path: Path) -> Iterator[Event | Dropped]:
    """Every event and every loss of all buffers as printed; ValueError for any other line."""
    # Only a newline ends a line: names may hold any other separator.
    for line in run("report", "-R", "-t", "-i", path).rstrip("\n").split("\n"):
        if found := _DROPPED.match(line):
            yield Dropped(int(found[1]), int(found[2]) if found[2] else None)
        elif found := _LINE.fullmatch(line):
            comm, pid, cpu, seconds, ns, name, text = found.groups()
            yield Event(int(cpu), int(seconds + (ns or "")), int(pid), comm, name, text)
        elif line and not line.startswith(("cpus=", "CPU ")):
            raise ValueError(f"trace-cmd report says {line!r}")


class Decoder:
    """Turns the text of raw events into values, with the formats and symbols of the recording."""

    def __init__(self, trace: TraceFile):
        self.endian = trace.endian
        self._fields: dict[str, tuple[re.Pattern[str], list[tuple[str, int, bool]]]] = {}
        for block in (trace.blocks[FTRACE], trace.blocks[EVENTS]):
            text = block.decode("latin1")
            for part in re.split(r"(?m)name: ", text)[1:]:
                self._add(part)
        symbols: dict[int, set[str]] = {}
        for line in trace.blocks[KALLSYMS][4:].decode("latin1").splitlines():
            address, _kind, name, *_module = line.split()
            symbols.setdefault(int(address, 16), set()).add(name)
        self._symbols = symbols
        self._addresses = sorted(symbols)

    def _add(self, text: str) -> None:
        name = text.split(maxsplit=1)[0]
        body, _, print_fmt = text.partition("print fmt:")
        hexadecimal = _hexadecimal(print_fmt)
        fields: list[tuple[str, int, bool]] = []
        for found in _FIELD.finditer(body):
            declared = found[1].split("[")[0] if "_loc" not in found[1] else found[1]
            field = declared.split()[-1]
            if field.startswith("common_"):
                continue
            length = re.search(r"\[(\w+)\]$", found[1])
            element = int(found[3]) // int(length[1]) if length and length[1].isdigit() else 0
            fields.append((field, element, field in hexadecimal))
        pattern = " ".join(f"{re.escape(field)}=(.*?)" for field, _, _ in fields)
        self._fields[name] = re.compile(pattern + r"\s*", re.DOTALL), fields

    def values(self, event: Event) -> dict[str, Any]:
        """Field -> int, str, tuple, or a set of names for an address printed as a symbol."""
        pattern, fields = self._fields[event.name]
        found = pattern.fullmatch(event.text)
        if found is None:
            raise ValueError(f"{event} does not have the fields {fields}")
        return {
            name: self._value(text, element, is_hex)
            for (name, element, is_hex), text in zip(fields, found.groups(), strict=True)
        }

    def _value(self, text: str, element: int, is_hex: bool) -> Any:
        if text.startswith("ARRAY["):
            data = bytes(int(part, 16) for part in re.findall(r"\w+", text[5:]))
            return tuple(
                int.from_bytes(data[i : i + element], self.endian)
                for i in range(0, len(data), element)
            )
        # A symbol and, from 3.3 on, the address it stands for.
        if symbol := re.fullmatch(r"[\w.]* \((0x[0-9a-f]+)\)", text):
            return int(symbol[1], 16)
        try:
            return int(text, 16 if is_hex or text.startswith("0x") else 10)
        except ValueError:
            return text

    def symbols_at(self, address: int) -> set[str]:
        """The names of the function an address lies in."""
        at = bisect.bisect_right(self._addresses, address) - 1
        return self._symbols[self._addresses[at]] if at >= 0 else set()


def _hexadecimal(print_fmt: str) -> set[str]:
    """Fields that the print format shows with %x or %p."""
    found = re.match(r'\s*"((?:[^"\\]|\\.)*)"(.*)', print_fmt, re.DOTALL)
    if not found:
        return set()
    conversions = re.findall(r"%[-+ #0]*\d*(?:\.\d+)?(?:hh|h|ll|l|L|z)?([a-zA-Z])", found[1])
    arguments, depth, current = [], 0, ""
    for sign in found[2].lstrip(" ,"):
        depth += (sign in "({") - (sign in ")}")
        if sign == "," and depth == 0:
            arguments.append(current.strip())
            current = ""
        else:
            current += sign
    arguments.append(current.strip())
    return {
        argument.removeprefix("REC->").split("\n")[0]
        for conversion, argument in zip(conversions, arguments, strict=False)
        if conversion in "xXp" and argument.startswith("REC->")
    }
