"""Trace lines as they stand in logs and mails: what is in front of them, and the kernel's columns.

The latency form (``trace_print_lat_context`` and ``lat_print_timestamp`` of
kernel/trace/trace_output.c) is ``%8.8s-%-7d %3dFLAGS %4lldus[ +!#*@$]: EVENT: ARGS``: the task's
name is cut to 8 characters, the CPU is followed directly by 3 to 9 flags, and times count from
the start of the buffer.  ``ftrace_dump`` prints it to the console, the tracefs option
``latency-format`` to ``trace``.  With the option ``verbose`` it is
``%16s %7d %3d %d %08x %08lx [%08llx] %ld.%03ldms (+%ld.%03ldms): EVENT: ARGS``.

Every pattern here is bounded and possessive where it repeats: the time to match a line is
proportional to its length.
"""

from __future__ import annotations

import re

from fputrace.plain import PlainTuple

_TIME = rb"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?+"
_LEVELS = rb"emerg|alert|crit|err|warn|notice|info|debug"
_ZONE = rb"(?: ?+(?:Z|[+-]\d\d:?+\d\d))?+"

_IN_FRONT: tuple[tuple[str, bytes], ...] = (
    ("quotation in a mail", rb">"),
    ("printk level", rb"<\d{1,3}>"),
    ("printk time, also of dmesg -d", rb"\[ {0,12}+\d{1,12}+\.\d{1,9}+(?: <[ .\d]{1,16}+>)?+\]"),
    ("printk caller (CONFIG_PRINTK_CALLER)", rb"\[ {0,12}+[TC]\d{1,10}+\]"),
    ("/dev/kmsg, extended netconsole", rb"\d{1,3},\d{1,20},\d{1,20},[^,;\s]{1,9}+[^;\s]{0,60}+;"),
    ("facility and level of dmesg -x", rb"[a-z]\w{2,9}+ {0,6}+:(?:" + _LEVELS + rb") {0,6}+:"),
    ("date of dmesg -T", rb"\[[A-Z][a-z][a-z] [A-Z][a-z][a-z] [ \d]\d " + _TIME + rb" \d{4}\]"),
    ("date of syslog", rb"[A-Z][a-z][a-z] [ \d]\d " + _TIME),
    ("ISO date", rb"\d{4}-\d\d-\d\d[T ]" + _TIME + _ZONE),
    ("date of minicom or conserver", rb"\[(?:\d{4}-\d\d-\d\d[T ])?+" + _TIME + _ZONE + rb"\]"),
    ("syslog's host and program", rb"(?:[\w.:-]{1,64}+ )?+kernel(?:\[\d{1,10}+\])?+:"),
    ("kdb's pager and prompt", rb"(?:\[\d{1,4}+\])?+(?:more|kdb)>"),
)  # fmt: skip
"""What a printk, a logger, a terminal program or a mail puts in front of a line."""

FRONT = re.compile(
    rb" {0,64}+(?>(?:" + b"|".join(form for _name, form in _IN_FRONT) + rb") {0,64}+){0,8}+"
)
"""Matches any line; what it matches is not the kernel's own text."""

_LATENCY = re.compile(
    rb"(?P<comm>.{0,8}?)-(?P<pid>\d{1,10}+) {1,12}+(?P<cpu>\d{1,5}+)(?P<flags>[^\s\d]\S{2,8}+)"
    rb" {1,20}+(?P<time>\d{1,20}+)(?P<unit>us[ +!#*@$])?+: (?P<event>.+)"
)
_VERBOSE = re.compile(
    rb"(?P<comm>.{1,16}?) {1,12}+(?P<pid>\d{1,10}+) {1,5}+(?P<cpu>\d{1,5}+) (?P<flags>\d{1,5}+)"
    rb" (?P<preempt>[0-9a-f]{8}) [0-9a-f]{8,16}+ \[(?P<time>[0-9a-f]{8,16}+)\]"
    rb" \d{1,12}+\.\d{3}ms \(\+\d{1,12}+\.\d{3}ms\): (?P<event>.+)"
)
_ABSOLUTE = re.compile(
    # trace, trace_pipe and trace-cmd report; perf script; trace-cmd report -l
    rb".{1,80}?(?:-\d{1,10}+|[ /]\d{1,10}+) {1,16}+(?:\([ \d-]{1,12}+\) {1,4}+)?+"
    rb"\[(?P<cpu>\d{3,5}+)\] {1,20}+(?:[^\s\d]\S{2,8}+ {1,20}+)?+(?P<at>\d{1,20}+(?:\.\d{1,9}+)?+)"
    rb": .+"
    rb"|.{0,40}?-\d{1,10}+ {1,12}+(?P<cpu_l>\d{1,5}+)[^\s\d]\S{2,8}+ {1,20}+"
    rb"(?P<at_l>\d{1,20}+\.\d{1,9}+): .+"
)
OWN_LOSS = re.compile(
    rb"(?:CPU:\d{1,5}+ \[(?:LOST|\d{1,20}+ EVENTS|EVENTS) [^\]]{0,40}+\]"
    rb"|##### CPU (?P<cpu>\d{1,5}+) buffer started ####)"
)
"""A line by which the kernel or trace-cmd itself tells of a hole (`print_trace_line`,
`test_cpu_buff_start` of kernel/trace/trace.c)."""

LATEST = 10**15
"""No time is so late, in us: thirty years."""

_FLAG_BITS = ((0x01, "d"), (0x04, "N"))


class Line(PlainTuple):
    """A trace line taken apart.

    ``time``: since the start of the buffer, in us, or in the clock's unit when ``raw``; None where
    the line is in a form that other readers know, which is then ``text`` as it is.  Otherwise
    ``head`` is what ``trace`` prints before the time and ``text`` what it prints behind.
    """

    cpu: int
    time: int | None
    raw: bool
    head: bytes
    text: bytes
    order: int
    """The digits of the time as they stand: what orders the lines of one recording."""

    def plain(self, shift: int) -> bytes:
        """The line in the form of ``trace``, its time moved by `shift`."""
        if self.time is None:
            return self.text + b"\n"
        if self.raw:
            return b"%s %12d: %s\n" % (self.head, self.time + shift, self.text)
        return b"%s %5d.%06d: %s\n" % (self.head, *divmod(self.time + shift, 10**6), self.text)


def line_of(text: bytes) -> Line | None:
    """A line from which FRONT was cut, taken apart; None when it is no event in a known form."""
    if (found := _LATENCY.fullmatch(text)) is not None:
        return _line(found, int(found["time"]), found["unit"] is None, found["flags"])
    if (found := _VERBOSE.fullmatch(text)) is not None:
        return _line(found, int(found["time"], 16), False, _flags(found))
    if (found := _ABSOLUTE.fullmatch(text)) is not None:
        order = int((found["at"] or found["at_l"]).replace(b".", b""))
        return Line(int(found["cpu"] or found["cpu_l"]), None, False, b"", text, order)
    return None


def _line(found: re.Match[bytes], time: int, raw: bool, flags: bytes) -> Line | None:
    if time >= LATEST:
        return None  # an event older than the buffer's start: the kernel's difference is negative
    cpu = int(found["cpu"])
    head = b"%16s-%-7s [%03d] %s" % (found["comm"], found["pid"], cpu, flags)
    return Line(cpu, time, raw, head, found["event"], time)


def _flags(found: re.Match[bytes]) -> bytes:
    """The letters of `trace_print_lat_fmt` for what the verbose form prints as numbers."""
    bits = int(found["flags"])
    letters = "".join(letter if bits & bit else "." for bit, letter in _FLAG_BITS)
    hard, soft = bits & 0x08, bits & 0x10
    letters += "H" if hard and soft else "h" if hard else "s" if soft else "."
    depth = int(found["preempt"], 16) & 0xF
    return (letters + (f"{depth:x}" if depth else ".")).encode()
