"""Lines of ftrace and perf text, read in plain Python: tolerant, exact, slow.

The compiled walk (:mod:`fputrace.lines.textwalk`) reads what is usual; every line that it is not
sure of comes here, and on every line it reads both must agree.

Shapes of lines: kernel/trace/trace_output.c (``trace_print_context()``, ``trace_print_lat_fmt()``)
for tracefs, trace-cmd's trace-read.c and libtraceevent's ``tep_print_event()`` for ``trace-cmd
report``, tools/perf/builtin-script.c (``perf_sample__fprintf_start()``) for ``perf script``.  A
comm may hold anything but has at most 15 bytes, so what stands before an event's name is found as
the leftmost place where all of it matches: no comm has room for a whole ``-PID [CPU] SECS.FRAC:``.
"""

from __future__ import annotations

import re
from functools import cache

from fputrace.plain import PlainTuple

LARGEST_PREFIX = 512
"""Bytes of a line in which its time must stand; names of instances are the longest before it."""

LARGEST_CPU = 65535
LARGEST_PID = (1 << 31) - 1
LARGEST_SECONDS = (1 << 64) // 10**9
COMM_BYTES = 15

LEAST_TICKS = 10
"""Bytes from the CPU to behind an integer time: with fewer a comm has room for all of it (the
kernel prints such times 12 wide)."""

_FTRACE = rb"-(?P<pid>\d{1,7}) {1,40}(?:\((?: {0,8}\d{1,8}|-{1,8})\) {1,8})?\[(?P<cpu>\d{3,5})\]"
_PERF = rb"(?:(?<=\s)|^)(?:-?\d{1,10}/)?(?P<pid>-1|\d{1,10}) {1,40}\[(?P<cpu>\d{3,5})\]"
_LATENCY = rb"-(?P<pid>\d{1,7}) {1,40}(?P<cpu>\d{1,5})(?P<flags>[^\s\d]\S{2,8})"
_PERF_SHORT = rb"(?:(?<=\s)|^)(?:-?\d{1,10}/)?(?P<pid>-1|\d{1,10}) {1,40}(?P<cpu>\d{1,5})"
_FLAGS = rb" {1,40}(?:(?P<flags>[^\s\d]\S{2,8}) {1,40})?"
_BLANKS = rb" {1,40}"
_TIME = rb"(?P<secs>\d{1,10})\.(?P<frac>\d{9}|\d{6}):(?=\s|$)"
_TICKS = rb"(?P<secs>\d{1,18})(?P<frac>):(?=\s|$)"


class Form(PlainTuple):
    """How a program prints the beginning of a line.

    ``bracket``: the CPU stands in ``[]``; ``dash``: comm and pid are joined by ``-``; ``ticks``:
    times are integers of the clock's own unit; ``beginning``: the regular expression.
    """

    name: str
    bracket: bool
    dash: bool
    ticks: bool
    beginning: bytes

    @property
    def pattern(self) -> re.Pattern[bytes]:
        """``beginning``, compiled when it is first needed: most texts have one form."""
        return _compiled(self.beginning)


_compiled = cache(re.compile)
_TIMED = re.compile(rb"\d:(?:\s|$)")


def _forms() -> tuple[Form, ...]:
    forms = []
    for ticks, time in ((False, _TIME), (True, _TICKS)):
        forms += [
            Form("ftrace text", True, True, ticks, _FTRACE + _FLAGS + time),
            Form("perf script", True, False, ticks, _PERF + _FLAGS + time),
            Form("ftrace text, latency", False, True, ticks, _LATENCY + _BLANKS + time),
            Form("perf script -L", False, False, ticks, _PERF_SHORT + _BLANKS + time),
        ]
    return tuple(forms)


FORMS: tuple[Form, ...] = _forms()
"""Every beginning that is known, the usual ones first."""


class Prefix(PlainTuple):
    """What stands before an event's name.

    ``ts`` in ns, or in ticks; ``comm`` as printed, without blanks around it; ``buffer`` is the
    instance or file that trace-cmd names before the comm, or empty; ``flags`` the column of flags
    as it stands; ``end`` where the text of the event begins.
    """

    ts: int
    cpu: int
    pid: int
    comm: bytes
    buffer: bytes
    flags: bytes
    end: int


_VOTES = 100  # lines that are enough


def form_of(lines: list[bytes]) -> Form | None:
    """The form that most of the first lines have that have any; None when no line has one."""
    counts = dict.fromkeys(FORMS, 0)
    seen = 0
    for line in lines:
        for form in FORMS:
            if read_prefix(form, line) is not None:
                counts[form] += 1
                seen += 1
                break
        if seen == _VOTES:
            break
    return max(FORMS, key=lambda form: counts[form]) if seen else None


_BUFFER = re.compile(rb"([^\s:]{1,250}): {1,40}(?=\S)")
_AFTER = re.compile(rb"[ \t]*(?:\((?:\+?-?\d{1,18}|-{2,6})\)[ \t]+)?")


def read_prefix(form: Form, line: bytes) -> Prefix | None:
    """The beginning of a line, None when it is of another form."""
    if _TIMED.search(line, 0, LARGEST_PREFIX) is None:
        return None  # no line of any form, and most lines that are none
    pattern = form.pattern
    hit = pattern.search(line, 0, LARGEST_PREFIX)
    if hit is None:
        return None
    cpu, pid, secs, frac = int(hit["cpu"]), int(hit["pid"]), int(hit["secs"]), hit["frac"]
    if cpu > LARGEST_CPU or pid > LARGEST_PID or (frac and secs > LARGEST_SECONDS):
        return None
    flags = hit["flags"] if "flags" in pattern.groupindex else None
    if form.ticks and hit.end() - hit.end("flags" if flags else "cpu") < LEAST_TICKS:
        return None
    ts = secs * 1_000_000_000 + int(frac) * (1 if len(frac) == 9 else 1000) if frac else secs
    if ts >= 1 << 63:  # a time before zero, which trace-cmd prints without its sign
        ts -= 1 << 64
        if ts < -(1 << 62):
            return None
    comm = line[: hit.start()].strip()
    buffer = b""
    if len(comm) > COMM_BYTES:
        named = _BUFFER.match(comm)
        if named is not None:
            buffer, comm = named[1], comm[named.end() :]
    after = _AFTER.match(line, hit.end())
    assert after is not None  # it can be empty
    return Prefix(ts, cpu, pid, comm, buffer, flags or b"", after.end())


_USUAL = bytes(b for b in range(128) if chr(b).isalnum()) + b"_./ -"  # characters of a comm
_DUMPED = re.compile(rb"-\d{1,10} {1,12}\d|ms \(\+")
"""Stands in every event whose time counts from the start of a buffer (parsers/latency.py)."""


def begins_plainly(head: bytes) -> bool:
    """Whether a file begins with an event as tracefs, trace-cmd or perf print it, and as no other.

    Only comments may stand before it.  Whatever else a text can be, a log or a mail, needs no look
    then: it would be found to be none.
    """
    for line in head.split(b"\n")[:-1]:
        if b"\x1b" in line or b"#012" in line:
            return False
        if line.startswith(b"#"):
            if _DUMPED.search(line):  # a task may have such a name
                return False
        else:
            return any(_is_plain(form, line.rstrip()) for form in FORMS[:2])
    return False


def _is_plain(form: Form, line: bytes) -> bool:
    prefix = read_prefix(form, line)
    if prefix is None or not prefix.comm or prefix.buffer or not line.isascii():
        return False
    front = line[: prefix.end].strip()
    return (
        prefix.end < len(line)
        and len(front) < 80
        and front.count(b":") == 1
        and b"(" not in front
        and b" " * 17 not in front
        and (prefix.comm in (b"<idle>", b"<...>") or not prefix.comm.translate(None, _USUAL))
        and line.decode("ascii").isprintable()
    )


# Flags

_IRQS = {"d": 1, "D": 1 | 128, "b": 128, "X": 2}
_RESCHED = {"N": 4 | 32, "n": 4, "p": 32, "L": 4 | 2, "l": 2, "b": 32 | 2, "B": 4 | 32 | 2}
_CONTEXT = {"Z": 64 | 8, "z": 64, "H": 8 | 16, "h": 8, "s": 16}


def flags_number(word: bytes) -> int:
    """``common_flags`` and ``common_preempt_count`` of a column of flags.

    As ``trace_print_lat_fmt()`` prints them: interrupts, need-resched, context, preempt depth and,
    since 5.16, migrate-disable depth.  Of columns of other kernels only the first is understood.
    """
    letters = word.decode("ascii", "replace")
    flags = _IRQS.get(letters[:1], 0)
    if len(letters) not in (4, 5):
        return flags
    flags |= _RESCHED.get(letters[1], 0) | _CONTEXT.get(letters[2], 0)
    depths = [int(c, 16) if c in "0123456789abcdef" else 0 for c in letters[3:]]
    return flags | sum(depth << 4 * i for i, depth in enumerate(depths)) << 8


# Lines that are no events


class Lost(PlainTuple):
    """A line that tells of losses on a CPU: how many events, None when it does not count them.

    ``started``: the CPU's data begins here, what it had before was overwritten.
    """

    cpu: int
    events: int | None
    started: bool = False


_LOST = re.compile(
    rb"\s{0,64}(?:[^\s:]{1,250}: {1,40})?CPU:(\d{1,5}) \[(?:LOST )?(?:(\d{1,18}) )?EVENTS"
    rb"(?: DROPPED)?\]\s*"
)
_STARTED = re.compile(rb"\s{0,64}#{2,8} CPU (\d{1,5}) buffer started #{2,8}\s*")
_PERF_LOST = re.compile(rb"PERF_RECORD_LOST(?:_SAMPLES)?\s{1,80}lost\s{1,80}(\d{1,18})\s*")
WRITTEN = re.compile(
    rb"# entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})(?:\s+#P:(\d{1,5}))?"
)
"""The header of tracefs' ``trace``: events in it, events ever written, CPUs (ftrace.rst)."""
CPUS = re.compile(rb"cpus=(\d{1,5})\s*")
"""The first line of ``trace-cmd report``."""

_KERNELS = (
    re.compile(rb"\bLinux version (\d+\.\d+\S{0,80})"),
    # An oops: `CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-13-amd64 #1 Debian 6.1.55-1`.
    re.compile(rb"\b(?:Not tainted|Tainted: \S[A-Z\[\]=, _]{0,80}) (\d+\.\d+\S{0,80})"),
    re.compile(
        rb"^#?\s{0,8}(?:uname(?: -\w+)?|[Kk]ernel)[:=]\s{0,8}(?:Linux \S{1,64} )?(\d+\.\d+\S{0,80})"
    ),
    re.compile(rb"^#?\s{0,8}Linux \S{1,64} (\d+\.\d+\S{0,80}) #\d"),
    re.compile(rb"^# os release : (\d+\.\d+\S{0,80})"),
)
_CLOCK = re.compile(rb"^#\s{0,8}(?:trace_)?clock:\s{0,8}(?:.{0,80}\[)?([a-z0-9_-]{2,16})\]?\s*$")


def read_lost(line: bytes) -> Lost | None:
    """What a line of its own says about losses; :func:`read_perf_lost` is for perf's."""
    hit = _LOST.fullmatch(line)
    if hit is not None and int(hit[1]) <= LARGEST_CPU:
        return Lost(int(hit[1]), None if hit[2] is None else int(hit[2]))
    hit = _STARTED.fullmatch(line)
    if hit is not None and int(hit[1]) <= LARGEST_CPU:
        return Lost(int(hit[1]), None, True)
    return None


def read_perf_lost(text: bytes) -> int | None:
    """The count of ``PERF_RECORD_LOST lost N``, where perf would print an event's name."""
    hit = _PERF_LOST.fullmatch(text)
    return int(hit[1]) if hit else None


def read_kernel(line: bytes) -> str | None:
    """The kernel release that a line between the events tells."""
    for pattern in _KERNELS:
        hit = pattern.search(line[:LARGEST_PREFIX])
        if hit is not None:
            return hit[1].decode("ascii", "backslashreplace").rstrip(",;")
    return None


def read_clock(line: bytes) -> str | None:
    """The clock that a comment names."""
    hit = _CLOCK.match(line[:LARGEST_PREFIX])
    return hit[1].decode("ascii") if hit else None


def shown(line: bytes) -> str:
    """A line for messages: bounded, and with nothing in it that a terminal obeys."""
    text = line[:100].decode("utf-8", "backslashreplace")
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"`{safe}" + ("...`" if len(line) > 100 else "`")
