"""A trace as the kernel prints it on a console, from the lines of its file ``trace``.

The columns are those of ``trace_print_lat_context`` and ``lat_print_timestamp``
(kernel/trace/trace_output.c), the frame that of ``ftrace_dump_one`` (kernel/trace/trace.c), what
stands in front of each line is what printk, loggers and terminal programs put there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

BEGIN = "Dumping ftrace buffer:"
RULE = "---------------------------------"
EMPTY = "   (ftrace buffer empty)"

_PLAIN = re.compile(r" *(.+?)-(\d+) +\[(\d+)\] (?:(\S+) )? *(\d+)\.(\d{6})\d*: +(.*)")

# trace_find_mark(): how long until the next event, in us.
_MARKS = ((1_000_000, "$"), (100_000, "@"), (10_000, "*"), (1000, "#"), (100, "!"), (10, "+"))

Front = Callable[[int], str]
"""What stands in front of the nth line."""

FRONTS: dict[str, Front] = {
    "none": lambda n: "",
    "printk time": lambda n: f"[{12 + n / 1e5:12.6f}] ",
    "caller": lambda n: f"[{12 + n / 1e5:12.6f}][{f'T{n % 9999}':>6s}] ",
    "cpu caller": lambda n: f"[{12 + n / 1e5:12.6f}][{f'C{n % 8}':>6s}] ",
    "level": lambda n: f"<0>[{12 + n / 1e5:12.6f}] ",
    "bare level": lambda n: "<4>",
    "syslog": lambda n: f"Nov 23 02:00:{n % 60:02d} vmhost kernel: [{12 + n / 1e5:12.6f}] ",
    "journal": lambda n: f"Nov 03 02:00:{n % 60:02d} vmhost kernel: ",
    "iso syslog": lambda n: f"2026-11-23T02:00:00.{n % 10**6:06d}+00:00 vmhost kernel: ",
    "short monotonic": lambda n: f"[{12 + n / 1e5:12.6f}] vmhost kernel: ",
    "dmesg -T": lambda n: f"[Mon Nov 23 02:00:{n % 60:02d} 2026] ",
    "dmesg -x": lambda n: f"kern  :emerg : [{12 + n / 1e5:12.6f}] ",
    "dmesg -d": lambda n: f"[{12 + n / 1e5:12.6f} <    0.000012>] ",
    "minicom": lambda n: f"[2026-11-23 02:00:{n % 60:02d}] [{12 + n / 1e5:12.6f}] ",
    "conserver": lambda n: f"[2026-11-23T02:00:{n % 60:02d}.123Z] ",
    "netconsole": lambda n: f"0,{n},{12_000_000 + n},-,caller=T{n % 9999};",
    "quoted": lambda n: f"> > [{12 + n / 1e5:12.6f}] ",
    "colour": lambda n: f"\x1b[32m[{12 + n / 1e5:12.6f}] \x1b[0m\x1b[1m",
}
"""Ways in which a console log comes."""


def latency_lines(plain: Iterable[str]) -> list[str]:
    """The event lines of a ``trace`` in latency form; lines that tell of losses stay."""
    found: list[tuple[str, int]] = []
    for line in plain:
        event = _PLAIN.fullmatch(line.rstrip("\n"))
        if event is not None:
            comm, pid, cpu, flags, seconds, us, text = event.groups()
            head = f"{comm[:8]:>8}-{int(pid):<7d} {int(cpu):3d}{flags or '.....'}"
            found.append((f"{head} {{time:4d}}us{{mark}}: \0{text}", int(seconds + us)))
        elif line.startswith(("CPU:", "####")):
            found.append((line.rstrip("\n"), -1))
    times = [us for _line, us in found if us >= 0]
    start = times[0] if times else 0
    following = iter([*times[1:], times[-1] if times else 0])
    lines = []
    for line, us in found:
        if us < 0:
            lines.append(line)
            continue
        left = next(following) - us
        mark = next((mark for more, mark in _MARKS if left > more), " ")
        head, text = line.split("\0", 1)
        lines.append(head.format(time=us - start, mark=mark) + text)
    return lines


def dump(lines: Sequence[str], name: str = "") -> list[str]:
    """The lines of a whole dump, of an instance if it has a `name`."""
    begin = f"Dumping ftrace instance {name} buffer:" if name else BEGIN
    return [begin, RULE, *lines, RULE] if lines else [begin, EMPTY]


def log(lines: Iterable[str], front: str = "printk time", end: str = "\n") -> bytes:
    """A log of these messages, each with what `front` puts before it."""
    put = FRONTS[front]
    return "".join(put(n) + line + end for n, line in enumerate(lines)).encode()


def latency_file(
    plain: Sequence[str], release: str = "6.1.0-50-amd64", overwritten: int = 0
) -> bytes:
    """The file ``trace`` with the option latency-format (``print_trace_header``)."""
    lines = latency_lines(plain)
    events = sum(not line.startswith(("CPU:", "####")) for line in lines)
    count = f"#{events}/{events + overwritten}, CPU#0"
    head = [
        "# tracer: nop",
        "#",
        f"# nop latency trace v1.1.5 on {release}",
        "# " + "-" * 68,
        f"# latency: 0 us, {count} | (M:desktop VP:0, KP:0, SP:0 HP:0 #P:2)",
        "#    -----------------",
        "#    | task: -0 (uid:0 nice:0 policy:0 rt_prio:0)",
        "#    -----------------",
        "#",
    ]
    return "".join(line + "\n" for line in [*head, *lines]).encode()


def plain_lines(path: Path, most: int | None = None) -> list[str]:
    """The lines of a ``trace`` without its head."""
    lines = path.read_text().splitlines(keepends=True)
    return [line for line in lines if not line.startswith("# ") and line != "#\n"][:most]
