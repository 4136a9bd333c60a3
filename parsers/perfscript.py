"""``perf script`` with other times or columns than the text reader takes: put into its usual form.

``--deltatime`` prints how long ago the line before was (builtin-script.c,
``perf_sample__fprintf_start()``), and ``-F +ip,+sym`` appends the place in the code to an event's
own text.  What is written instead is what perf would have printed without these options.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator

from fputrace.errors import FormatError
from fputrace.parsers.textlines import FORMS, LARGEST_PREFIX, Form, read_perf_lost, read_prefix
from fputrace.parsers.wrapped import (
    MAX_LINE,
    MOST_OTHERS,
    OTHERS_AN_EVENT,
    Copy,
    Unwrapped,
    lines_of,
    refuse_endless,
)

_HEAD = 1 << 16  # bytes whose lines tell which options were given
_VOTES = 100  # lines of them that are enough
_LEAST = 4

_PLACE = re.compile(
    # ` ffffffff81000000 fpregs_restore_userregs+0x12 ([kernel.kallsyms])`: ip, sym, symoff, dso.
    # Alone, an address is one of the kernel: events themselves end with small numbers.
    rb" {1,40}+(?:ffff[0-9a-f]{12}"
    rb"|[0-9a-f]{1,16} \[unknown\]"
    rb"|[0-9a-f]{6,16} (?!ffff[0-9a-f]{12}\b)[A-Za-z_.$][\w.$@]{0,200}+(?:\+0x[0-9a-f]{1,16}+)?+)"
    rb"(?: \([^()]{1,200}+(?:\([^()]{1,200}+\))?+\))?+ {0,8}+$"
)
_LONGEST_PLACE = 700
# What dump_trace has perf print before the bytes of each event (tools/perf/util/session.c).
_RAW = re.compile(rb"^\. \.\.\. raw event: size \d{1,10} bytes\r?$", re.MULTILINE)


def refuse_dump(fd: int, path: str) -> None:
    """Raise FormatError for the raw dump of ``perf script -D``, whose events stand among bytes."""
    head = os.pread(fd, _HEAD, 0)
    # The words alone are found in a hundredth of the time.
    if b"raw event: size" in head and _RAW.search(head) is not None:
        raise FormatError(
            "this is the raw dump that perf script -D (--dump-raw-trace) prints: each event stands "
            "among its bytes",
            path=path,
            hint="Give perf.data itself, or print it without -D: perf script --ns "
            "--show-lost-events -F comm,tid,cpu,time,event,trace.",
        )


def read_script(fd: int, path: str) -> Unwrapped | None:
    """The text of a file as perf script prints it usually; None when there is nothing to do.

    Raises OSError when the file cannot be read or the copy not be written, FormatError when nearly
    all of a long text is no event.
    """
    head = os.pread(fd, _HEAD, 0)
    lines = head.split(b"\n")[:-1]
    form = _form_of(lines)
    if form is None:
        return None
    deltas, places = _has_deltas(form, lines), _has_places(form, lines)
    if not (deltas or places):
        return None
    copy = Copy()
    left = MOST_OTHERS
    try:
        for number, (line, whole, event) in enumerate(_rewritten(fd, form, deltas, places), 1):
            left += OTHERS_AN_EVENT if event else -1 - (len(line) >> 7)
            if left < 0:
                raise refuse_endless(number, path)
            if whole:
                copy.line(line + b"\n", number)
            else:
                copy.text(line)
    except BaseException:
        copy.close()
        raise
    read = Unwrapped(copy.finish(), form.name, copy.lines)
    if deltas:
        read.limits.append(
            "Times are sums of the differences that perf script --deltatime printed, and begin "
            "at 0; without --ns each difference lacks up to a microsecond."
        )
    return read


def _form_of(lines: list[bytes]) -> Form | None:
    """The form of perf script that these lines have, None when most are of another program."""
    counts = dict.fromkeys(FORMS, 0)
    for line in lines[: 4 * _VOTES]:
        for form in FORMS:
            if read_prefix(form, line) is not None:
                counts[form] += 1
                break
        if sum(counts.values()) == _VOTES:
            break
    best = max(FORMS, key=lambda form: counts[form])
    return None if best.dash or best.ticks or counts[best] < _LEAST else best


def _has_deltas(form: Form, lines: list[bytes]) -> bool:
    """Whether times begin at zero and go back all the time: perf itself prints them in order."""
    times = [prefix.ts for line in lines if (prefix := read_prefix(form, line)) is not None]
    back = sum(later < earlier for earlier, later in itertools.pairwise(times))
    return times[0] == 0 and back > len(times) // 8


def _has_places(form: Form, lines: list[bytes]) -> bool:
    """Whether every event's text ends with a place in the code."""
    texts = [
        line[prefix.end :]
        for line in lines
        if (prefix := read_prefix(form, line)) is not None and prefix.end < len(line)
    ]
    events = [text for text in texts if not text.startswith(b"PERF_RECORD_")]
    return bool(events) and all(_place_of(text) is not None for text in events)


def _place_of(text: bytes) -> int | None:
    """Where the place in the code begins at the end of an event's text."""
    start = max(0, len(text) - _LONGEST_PLACE)
    hit = _PLACE.search(text, start)
    return hit.start() if hit is not None else None


def _rewritten(
    fd: int, form: Form, deltas: bool, places: bool
) -> Iterator[tuple[bytes, bool, bool]]:
    """(line, whether it has an end, whether it is an event) for each line of the file."""
    now = 0
    for line, ended in lines_of(fd):
        # Of one that is too long the rest is missing, which no field needs.
        text, whole = line, ended or len(line) == MAX_LINE
        hit = form.pattern.search(text, 0, LARGEST_PREFIX)
        prefix = read_prefix(form, text) if hit is not None else None
        if hit is not None and prefix is not None:
            at = _place_of(text[prefix.end :]) if places else None
            if at is not None and read_perf_lost(text[prefix.end :]) is None:
                text = text[: prefix.end + at]
            if deltas:
                now += prefix.ts
                seconds, fraction = divmod(now, 10**9)
                digits = len(hit["frac"])
                shown = b"%0*d" % (digits, fraction // 10 ** (9 - digits))
                text = b"%b%d.%b%b" % (
                    text[: hit.start("secs")],
                    seconds,
                    shown,
                    text[hit.end("frac") :],
                )
        yield text, whole, prefix is not None
