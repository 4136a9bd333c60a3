"""Trace lines in a log or a mail: the dump of ftrace's buffer that a kernel left on its console.

``ftrace_dump_on_oops``, sysrq-z and kdb's ``ftdump`` print (kernel/trace/trace.c
``ftrace_dump_one``, kernel/trace/trace_kdb.c)::

    Dumping ftrace buffer:
    ---------------------------------
    CPU:1 [LOST 4711 EVENTS]
      <idle>-0         1d..2. 1234us+: sched_switch: ...
    ---------------------------------

each line a printk record of its own, oldest event first over all CPUs.  Other records stand in
between, a serial line drops bytes, two writers share a line, a crash ends it all.  What is read
is what is whole: an event counts only when the line behind it begins as a line of this log does.
Anything else is a hole of every CPU: a broken line may be the tail of one event or what is left
of several.  Holes are told to the text reader in the kernel's own words, ``CPU:N [LOST EVENTS]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fputrace.errors import FormatError
from fputrace.parsers.dump import Dump, Place
from fputrace.parsers.latency import FRONT, OWN_LOSS, Line, line_of
from fputrace.parsers.mail import unflowed
from fputrace.parsers.textevents import names_in
from fputrace.parsers.wrapped import (
    MAX_LINE,
    MOST_OTHERS,
    OTHERS_AN_EVENT,
    Copy,
    Unwrapped,
    refuse_endless,
)

_BEGIN = re.compile(rb"Dumping ftrace (?:instance (?P<name>\S{1,64}+) )?+buffer(?::| \(skipping)")
_RULE = re.compile(rb"-{20,60}+")
_EMPTY = b"(ftrace buffer empty)"
_DROPPED = re.compile(
    # printk (kernel/printk/printk.c), systemd-journald
    rb"\*\* \d{1,20}+ printk messages dropped \*\*|Missed \d{1,20}+ kernel messages"
)
_COLOUR = re.compile(rb"\x1b\[[0-9;?]{0,20}+[A-Za-z]")
_NOISE = bytes([*range(9), *range(11, 32), 127])
_JOINED = re.compile(rb"\[ {0,8}+\d{1,8}+\.\d{6}\]|\dus[ +!#*@$]: ")
_FRAGMENT = re.compile(
    rb"\dus[ +!#*@$]: |==> |(?:prev|next)_\w|_prio=|x86/fpu|xfeatures|xcomp_bv|kvm_\w{2,16}+: "
    rb"|-\d{1,10}+ {1,12}+\d{1,4}+[dDbX.][.\w]{3}"
)
_TOLD_BEFORE = re.compile(
    # trace-cmd report; atrace; perf script --show-lost-events; uname -a
    rb"Linux \S|cpus=|version = |CPU[: ]\d|##### CPU|TRACE:|capturing trace|.{0,80}PERF_RECORD_"
)
_NAME = re.compile(rb"[\w.:-]{1,64}")
_HEAD = re.compile(rb".{0,8}|.{0,8}?-\d{1,10}+(?: {1,12}+\d{1,5}+.{0,40})?")
"""The beginning of an event's line, and no more."""

_STACK = re.compile(
    # trace_stack_print of kernel/trace/trace_output.c; perf script's call chains
    rb"=> [\w.]{1,200}+(?:\+0x[0-9a-fx/]{1,40}+)?+(?: \[\w{1,64}+\])?+(?: <[0-9a-f]{1,16}+>)?+"
    rb"|[0-9a-f]{6,16}+ [^\s(]{1,400}+ \([^)]{1,400}+\)"
)
_GRAPH = re.compile(rb"\d{1,4}+\) .{0,60}\|  ")
_RAW = re.compile(rb"\d{1,10}+ \d{1,4}+ \d{6,20}+ |[0-9a-f]{8} [0-9a-f]{8} [0-9a-f]{16}\b")
_BARE = re.compile(rb"sched_switch: prev_comm=|x86_fpu_\w{4,24}+: x86/fpu: |kvm_fpu: (?:un)?load")
_RELEASES = (
    re.compile(rb"Linux version (\d\S{2,63})"),
    re.compile(rb"Linux \S{1,64}+ (\d{1,3}\.\d\S{1,63}+) #\d"),
    re.compile(rb"latency trace v[\d.]{1,12}+ on (\d\S{2,63})"),
    re.compile(rb"[Nn]ot tainted \(?+(\d{1,3}\.\d[^\s)]{1,63}+)"),
    re.compile(rb"Tainted: [A-Z ]{1,40}+(\d{1,3}\.\d\S{1,63}+)"),
)
_CPUS = re.compile(rb"Brought up \d{1,4}+ nodes?+, (\d{1,5}+) CPU|#P:(\d{1,5}+)")
_ENTRIES = re.compile(rb"# latency: .{1,40}?, #(\d{1,20}+)/(\d{1,20}+), CPU#.{1,80}?#P:(\d{1,5}+)")

_VARYING = b" \t0123456789" + bytes(range(65, 91)) + bytes(range(97, 123))
_SHOWN_DUMPS = 8
_WHAT_TO_RECORD = (
    "Record events with their task: echo nop > current_tracer; echo 0 > options/raw; "
    "echo 0 > options/hex; or use trace-cmd record -e x86_fpu -e kvm -e sched."
)


class _Reader:
    """Goes through the lines of a log and keeps the longest dump."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.left = MOST_OTHERS
        """Lines that may still be no events."""
        self.best: Dump | None = None
        self.now: Dump | None = None
        self.spare: Copy | None = None
        self.found: list[Place] = []
        self.dumps = 0
        self.empty = 0
        self.graph = 0
        self.raw = 0
        self.bare = 0
        self.kernel: str | None = None
        self.machine: int | None = None
        self.head: list[tuple[bytes, int]] = []
        self.in_file = False
        self.cut = ""
        self.pasted = False
        """Something stands before the first event that no tool prints there."""
        self.plain = False
        """The first event stands in a form, and at a place, that needs no unwrapping."""

    # --- dumps ---

    def begin(self) -> Dump:
        self.end()
        self.now = Dump(self.spare or Copy(), kernel=self.kernel, machine=self.machine)
        self.spare = None
        return self.now

    def end(self) -> None:
        dump, self.now = self.now, None
        if dump is None:
            return
        dump.settle()
        dump.finish()
        if dump.events:
            self.dumps += 1
            if len(self.found) < _SHOWN_DUMPS:
                self.found.append(Place(dump.first, dump.last, dump.events))
        if dump.events and (self.best is None or dump.events >= self.best.events):
            dump, self.best = self.best, dump
        if dump is not None:
            dump.copy.clear()
            self.spare = dump.copy

    def close(self) -> None:
        for dump in (self.best, self.now):
            if dump is not None:
                dump.copy.close()
        if self.spare is not None:
            self.spare.close()

    # --- lines ---

    def read(self, lines: Iterable[tuple[bytes, bool]]) -> None:
        for number, raw, whole in unflowed(lines):
            if not whole and len(raw) < MAX_LINE:
                self.breaks_off(number)
                break
            line = raw.rstrip()
            if b"\x1b" in line:
                line = _COLOUR.sub(b"", line)
            if b"#012" in line:  # how rsyslog writes a newline inside a record
                first, *others = line.split(b"#012")
                self.line(first, number, True)
                for part in others:
                    self.line(part, number, whole)
            else:
                self.line(line, number, whole)
            if self.plain:
                return
        self.end()

    def breaks_off(self, number: int) -> None:
        """The file ends within this line; it is not looked at."""
        if self.now is None or self.now.closed:
            self.cut = f"the file breaks off within line {number}, behind the dump"
        else:
            self.now.settle()
            self.now.cut = f"line {number}: the file breaks off within a line"

    def line(self, line: bytes, number: int, whole: bool) -> None:
        dropped = _DROPPED.search(line) if b" messages" in line else None
        if dropped is not None and self.now is not None:
            # Old kernels print the notice in front of the next record, on its line.
            self.now.settle()
            self.now.dropped += 1
            self.now.holes += 1
            line = line[dropped.end() :]
        self.left -= 1 + (len(line) >> 7)
        if self.left < 0:
            _refuse(self, self.path)  # what knows better
            raise refuse_endless(number, self.path)
        front = FRONT.match(line)
        assert front is not None  # it matches nothing, too
        body = line[front.end() :]
        signs = _signs(front[0])
        if not body:
            if self.now is not None and self.now.absolute:
                self.now.settle()
                self.gap()
            return
        event = line_of(body) if b": " in body else None
        if event is None:
            self.other(body, number, signs, whole, line.startswith(b" "))
        elif not whole or _is_damaged(line, event):
            dump = self.now
            if dump is not None and not dump.closed:
                dump.settle()
                dump.hole(number)
        else:
            self.event(event, number, signs)

    def event(self, event: Line, number: int, signs: bytes) -> None:
        absolute = event.time is None
        self.left += 1 + OTHERS_AN_EVENT
        dump = self.now
        if dump is None or dump.closed or (dump.events and dump.absolute != absolute):
            if absolute and not signs and not self.pasted and not self.dumps and dump is None:
                self.plain = True
                return
            dump = self.begin()
        elif absolute and dump.seam and dump.pending is None and event.order < dump.top:
            dump = self.begin()  # another recording in the same mail
        if not dump.events and dump.pending is None:
            dump.absolute, dump.front, dump.in_file = absolute, signs, self.in_file
            for text, place in self.head:
                dump.copy.line(text, place)
            self.head = []
        dump.settle()
        dump.seam = False
        dump.top = max(dump.top, event.order) if absolute else dump.top
        dump.pending = event, number

    def other(self, body: bytes, number: int, signs: bytes, whole: bool, indented: bool) -> None:
        """A line that is no event."""
        dump = self.now
        if (found := _BEGIN.match(body)) is not None:
            dump = self.begin()
            dump.headed = True
            self.in_file = False
            dump.instance = (found["name"] or b"").decode("utf-8", "replace")
        elif body == _EMPTY:
            self.empty += 1
            self.end()
        elif body.startswith(b"#") and OWN_LOSS.match(body) is None:
            self.comment(body, number, signs)
            self.pasted = self.pasted or indented
        elif dump is None or dump.closed:
            self.learn(body)
            self.pasted = self.pasted or _TOLD_BEFORE.match(body) is None
            self.graph += _GRAPH.match(body) is not None
            self.raw += _RAW.match(body) is not None
            self.bare += _BARE.match(body) is not None
        elif _RULE.fullmatch(body) is not None:
            dump.settle()
            dump.closed = dump.events > 0
        elif OWN_LOSS.fullmatch(body) is not None:
            dump.settle()
            dump.copy.line(body + b"\n", number)
        elif dump.absolute:
            if _STACK.fullmatch(body) is None:
                dump.named |= names_in(body)
                self.gap()
            self.learn(body)
        elif _STACK.fullmatch(body) is None:
            self.between(dump, body, number, whole and signs == dump.front != b"")
            self.learn(body)

    def between(self, dump: Dump, body: bytes, number: int, record: bool) -> None:
        """A line inside a dump that is none of it; `record`: it begins as a record does."""
        if not record:
            dump.hole(number)  # it may be the tail of the event before, or a part of any other
            return
        dump.settle()
        if _FRAGMENT.search(body) is not None or _HEAD.fullmatch(body) is not None:
            dump.hole(number)
        else:
            dump.others += 1

    def gap(self) -> None:
        """Something between quoted lines: lines may have been left out, or broken to fit."""
        dump = self.now
        assert dump is not None  # asked by the caller
        if dump.pending is not None:
            dump.named |= names_in(dump.pending[0].text)
        dump.pending = None
        dump.holes += not dump.seam
        dump.seam = True
        dump.others += 1

    def comment(self, body: bytes, number: int, signs: bytes) -> None:
        """A line of the head that tracefs puts before a trace."""
        if body.startswith(b"# tracer: "):
            if b"function_graph" in body:
                self.graph += 1 << 20
            if self.now is not None and self.now.absolute:
                self.end()
            self.head = [(body + b"\n", number)]
        elif (found := _ENTRIES.match(body)) is not None:
            self.in_file = not signs
            self.machine = int(found[3])
            text = b"# entries-in-buffer/entries-written: %s/%s   #P:%s\n" % found.groups()
            self.head = [*self.head[:1], (text, number)]
        elif body.startswith(b"# entries-in-buffer"):
            self.head = [*self.head[:1], (body + b"\n", number)]
        self.learn(body)

    def learn(self, body: bytes) -> None:
        """The kernel's release and how many CPUs it has, where a line tells."""
        if b"Linux" in body or b"ainted" in body or b" on " in body:
            for pattern in _RELEASES:
                found = pattern.search(body)
                if found is None:
                    continue
                release = found[1].decode("utf-8", "replace")
                booted = body.startswith(b"Linux version")
                if booted:
                    self.end()  # it did not survive into this boot
                elif self.now is not None and self.now.kernel is None:
                    self.now.kernel = release
                self.kernel = release
                break
        found = _CPUS.search(body)
        if found is not None:
            self.machine = int(found[1] or found[2])


def _signs(front: bytes) -> bytes:
    """What is the same in front of all lines of a log: all but letters, digits and blanks."""
    return front.translate(None, _VARYING)


def _is_damaged(line: bytes, event: Line) -> bool:
    """Whether an event's line has noise in it, the head of another, or a name and no more."""
    if len(line.translate(None, _NOISE)) != len(line):
        return True
    if not line.isascii():
        try:
            if "\ufffd" in line.decode("utf-8"):
                return True
        except UnicodeDecodeError:
            return True
    if event.time is None:
        return False
    text = event.text
    if b" " not in text:
        return _NAME.fullmatch(text) is not None
    # Both searches are slow beside the rest of what a line costs, and few lines need them.
    return (b"us" in text or b"]" in text) and _JOINED.search(text) is not None


def read_console(lines: Iterable[tuple[bytes, bool]], path: str) -> Unwrapped | None:
    """The longest dump, or quoted trace, among the lines of a file; None when there is none.

    `lines` are those of :func:`~fputrace.parsers.wrapped.lines_of`.  None, too, when the file
    begins as tracefs, perf script or trace-cmd report print it.

    Raises
    ------
    FormatError
        The buffer was empty when it was dumped, the trace is in a form without tasks, or nearly
        all of a long text is no trace.
    """
    reader = _Reader(path)
    try:
        reader.read(lines)
        best = None if reader.plain else reader.best
        if best is not None:
            reader.best = None
            return _result(reader, best)
        if not reader.plain:
            _refuse(reader, path)
        return None
    finally:
        reader.close()


def _refuse(reader: _Reader, path: str) -> None:
    if reader.graph > 2:
        raise FormatError(
            "this is the output of the function_graph tracer: its lines do not name the task, "
            "and events are comments in it",
            path=path,
            hint=_WHAT_TO_RECORD,
        )
    if reader.raw > 2:
        raise FormatError(
            "this is a trace in the option raw or hex: its lines do not name the events' fields",
            path=path,
            hint=_WHAT_TO_RECORD,
        )
    if reader.bare:
        raise FormatError(
            "events without their task, CPU and time, as the boot option tp_printk prints them",
            path=path,
            hint="Boot without tp_printk and with ftrace_dump_on_oops: the dump has them.",
        )
    if reader.empty:
        raise FormatError(
            "a kernel log whose dump of ftrace's buffer is empty",
            path=path,
            hint="Start tracing before the crash: trace-cmd start -e x86_fpu -e kvm -e sched.",
        )


def _result(reader: _Reader, dump: Dump) -> Unwrapped:
    form = "console log"
    if dump.absolute:
        form = "quoted text"
    elif dump.in_file:
        form = "latency-format trace"
    read = Unwrapped(
        dump.copy.finish(),
        form,
        dump.copy.lines,
        kernel=dump.kernel,
        relative=not dump.absolute,
        losses_known=dump.in_file,
        damaged=dump.cut,
        named=frozenset(dump.named),
    )
    read.notes += dump.notes(
        [place for place in reader.found if place.first != dump.first], reader.dumps - 1
    )
    read.notes += [reader.cut] * bool(reader.cut)
    read.limits += dump.limits()
    return read
