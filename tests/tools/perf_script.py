"""What perf itself says about a recording: the oracle of the perf.data reader.

``perf script -F trace`` prints fields through the event's print format, so values are compared as
the text that the kernel would make of them; the raw record is asked for where that is not enough.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MISSING = "perf is not installed (Debian: apt install linux-perf)"
INSTALLED = shutil.which("perf") is not None

_FIELDS = "comm,tid,cpu,time,event,trace"
_LINE = re.compile(
    r"\s*(.*?)\s+(-?\d+) \[(\d+)\]\s+(\d+)\.(\d{9}):\s+(?:([^\s:]+:[^\s:]+):\s?)?(.*)"
)
_LOST = re.compile(r"PERF_RECORD_LOST lost (\d+)")


class Event(NamedTuple):
    """One line: ``text`` is what stands after the event's name.  ``tid`` is -1 for a task gone."""

    cpu: int
    ns: int
    tid: int
    comm: str
    name: str
    text: str


class Lost(NamedTuple):
    """A LOST record: its own time, and how many events."""

    cpu: int
    ns: int
    lost: int


def run(*arguments: str | Path) -> str:
    """Its stdout; CalledProcessError when it fails."""
    done = subprocess.run(
        ["perf", *arguments], capture_output=True, check=True, errors="surrogateescape"
    )
    return done.stdout


def script(path: Path) -> Iterator[Event | Lost]:
    """Every event and LOST record in the order of perf; ValueError for any other line."""
    said = run("script", "-i", path, "--ns", "-F", _FIELDS, "--show-lost-events")
    for line in said.rstrip("\n").split("\n"):
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"perf script says {line!r}")
        comm, tid, cpu, seconds, ns, name, text = found.groups()
        when = int(seconds) * 10**9 + int(ns)
        if name is None and (lost := _LOST.match(text)):
            yield Lost(int(cpu), when, int(lost[1]))
        else:
            yield Event(int(cpu), when, int(tid), comm, name, text)


_FPU = re.compile(
    r"x86/fpu: (?P<fpu>0x\w+) load: (?P<load_fpu>\d) "
    r"xfeatures: (?P<hex_xfeatures>\w+) xcomp_bv: (?P<hex_xcomp_bv>\w+)"
)
_PAIRS = {
    "sched:sched_migrate_task": "comm=(?P<comm>.*) pid=(?P<pid>.*) prio=(?P<prio>.*) "
    "orig_cpu=(?P<orig_cpu>.*) dest_cpu=(?P<dest_cpu>.*)",
    "sched:sched_process_exec": "filename=(?P<filename>.*) pid=(?P<pid>.*) old_pid=(?P<old_pid>.*)",
    "sched:sched_process_exit": "comm=(?P<comm>.*) pid=(?P<pid>.*) prio=(?P<prio>.*)",
    "sched:sched_process_free": "comm=(?P<comm>.*) pid=(?P<pid>.*) prio=(?P<prio>.*)",
    "sched:sched_process_fork": "comm=(?P<parent_comm>.*) pid=(?P<parent_pid>.*) "
    "child_comm=(?P<child_comm>.*) child_pid=(?P<child_pid>.*)",
    "sched:sched_switch": "prev_comm=(?P<prev_comm>.*) prev_pid=(?P<prev_pid>.*) "
    "prev_prio=(?P<prev_prio>.*) prev_state=(?P<prev_state>.*) ==> "
    "next_comm=(?P<next_comm>.*) next_pid=(?P<next_pid>.*) next_prio=(?P<next_prio>.*)",
    "kvm:kvm_fpu": "(?P<load>unload|load)",
    "kvm:kvm_entry": r"vcpu (?P<vcpu_id>\d+)(?:, rip (?P<rip>0x\w+))?",
    "kvm:kvm_exit": r"(?:vcpu (?P<vcpu_id>\d+) )?reason (?P<exit_reason>\S+) "
    r"(?:\S+ )??rip (?P<guest_rip>0x\w+) info1? (?P<hex_info1>\w+) (?:info2 )?(?P<hex_info2>\w+)"
    r"(?: intr_info (?P<intr_info>0x\w+) error_code (?P<error_code>0x\w+))?",
    "kvm:kvm_userspace_exit": r"reason (?P<reason>\w+ \(\d+\)|restart|error \(\d+\))",
}
_PATTERNS = {name: re.compile(pattern) for name, pattern in _PAIRS.items()}
_SYMBOL = re.compile(r'\{ *(\w+), *"([^"]*)" *\}')
_TEXT = frozenset(["comm", "prev_comm", "next_comm", "parent_comm", "child_comm", "filename"])
_STATES = "SDTtXZPI"  # include/linux/sched.h, task_index_to_char(), from bit 0 on


def values(event: Event, print_fmt: str) -> dict[str, Any]:
    """Field -> int or str, of an event that this knows; ValueError when it reads otherwise.

    What a name stands for is in the print format of the recording.
    """
    pattern = _FPU if event.name.startswith("x86_fpu:") else _PATTERNS[event.name]
    found = pattern.fullmatch(event.text.strip())
    if found is None:
        raise ValueError(f"{event} does not read as {pattern.pattern}")
    symbols = {text: int(number, 0) for number, text in _SYMBOL.findall(print_fmt)}
    decoded: dict[str, Any] = {}
    for name, text in found.groupdict().items():
        if text is None:
            continue
        if name in _TEXT or name == "prev_state":
            decoded[name] = text
        elif name.startswith("hex_"):
            decoded[name.removeprefix("hex_")] = int(text, 16)
        elif name == "reason":
            decoded[name] = int(text.split("(")[1].rstrip(")"))
        else:
            decoded[name] = symbols[text] if text in symbols else int(text, 0)
    return decoded


def state_text(state: int) -> str:
    """How libtraceevent prints ``prev_state`` (plugins/plugin_sched_switch.c)."""
    low = state & 0xFF
    letters = "R" if not low else _STATES[(low & -low).bit_length() - 1]
    return letters + ("+" if state & 0x100 else "")
