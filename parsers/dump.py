"""A dump of ftrace's buffer on its way from a log to the text reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from fputrace.parsers.latency import LATEST, Line
from fputrace.parsers.wrapped import Copy
from fputrace.plain import PlainTuple, plain


class Place(PlainTuple):
    """Where a dump stands in a file: its first and last line, and its events."""

    first: int
    last: int
    events: int


@plain
class Dump:
    """A dump as it is being copied."""

    copy: Copy
    first: int = 0
    last: int = 0
    headed: bool = False
    closed: bool = False
    in_file: bool = False
    """It is the file ``trace`` in the option latency-format, not a log."""
    absolute: bool = False
    raw_clock: bool = False
    front: bytes = b""
    """The signs that stand before each line, letters, digits and blanks left out."""
    kernel: str | None = None
    machine: int | None = None
    instance: str = ""
    events: int = 0
    others: int = 0
    broken: int = 0
    first_broken: int = 0
    dropped: int = 0
    back: int = 0
    holes: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    """CPU -> ``holes`` when its last line was copied; less than now: it has a hole since."""
    pending: tuple[Line, int] | None = None
    seam: bool = False
    top: int = 0
    shift: int = 0
    cut: str = ""
    named: set[str] = field(default_factory=set)
    """Known events that lines name which were left out."""

    def settle(self) -> None:
        """The event last read is whole: copy it, behind the hole its CPU may have."""
        if self.pending is None:
            return
        line, number = self.pending
        self.pending = None
        if line.time is not None:
            if line.time + self.shift < self.top:
                # Dumps print in the order of time: lines before this one are missing or damaged.
                self.shift = self.top - line.time
                self.back += 1
                self.holes += 1
            if line.time + self.shift >= LATEST:
                self.hole(number)
                return
            self.top = line.time + self.shift
            self.raw_clock = line.raw
        self.first = self.first or number
        self.last = number
        self.events += 1
        if self.seen.get(line.cpu, self.holes) < self.holes:
            self.copy.line(b"CPU:%d [LOST EVENTS]\n" % line.cpu, number)
        self.seen[line.cpu] = self.holes
        self.copy.line(line.plain(self.shift), number)

    def hole(self, number: int) -> None:
        """Events of any CPU may be missing here, the last one read among them: not whole."""
        self.pending = None
        self.first_broken = self.first_broken or number
        self.broken += 1
        self.holes += 1

    def finish(self) -> None:
        """What is left to tell when no line follows."""
        # What is missing behind the last event of all is told by ``cut``, or is no loss.
        latest = max(self.seen.values(), default=0)
        for cpu, holes in self.seen.items():
            if holes < latest:
                self.copy.line(b"CPU:%d [LOST EVENTS]\n" % cpu, self.last)
        if not self.cut and not self.absolute and not self.in_file and not self.closed:
            self.cut = f"line {self.last}: the dump breaks off, no closing line follows"

    def notes(self, others: Sequence[Place], more: int) -> list[str]:
        """What there is to say of this dump; the file has `more` dumps, `others` among them."""
        what = "the trace" if self.absolute or self.in_file else "the dump"
        if self.instance:
            what += f" of the instance {self.instance}"
        notes = [f"{what} is read from lines {self.first}-{self.last}: {self.events} events"]
        if more:
            said = [f"lines {first}-{last} ({events} events)" for first, last, events in others]
            said += [f"{more - len(said)} more"] * (more > len(said))
            notes.append(
                f"it is the longest of {more + 1} in this file; not read: {', '.join(said)}"
            )
        if not self.absolute and not self.in_file and not self.headed:
            notes.append("the log lacks the first line of the dump: its head may be missing")
        if self.others:
            notes.append(f"other lines in between, left out: {self.others}")
        if self.broken:
            notes.append(
                f"broken, joined or noisy lines, left out: {self.broken}, the first near line "
                f"{self.first_broken}"
            )
        if self.dropped:
            notes.append(f"notices of dropped messages inside the dump: {self.dropped}")
        if self.back:
            notes.append(
                f"places where time steps back, so that lines are missing or damaged: {self.back}"
            )
        return notes

    def limits(self) -> list[str]:
        """What this form of recording cannot tell."""
        if self.absolute:
            return ["lines that the sender left out are not told"]
        unit = "the clock's unit" if self.raw_clock else "microseconds"
        limits = [
            f"times are {unit} since the buffer's start: their order is the kernel's, not exact",
            "task names are cut to 8 characters",
        ]
        if not self.in_file:
            limits.append("lines that the console or a logger lost without a word are not told")
            if len(self.seen) == 1 and self.machine != 1:
                (cpu,) = self.seen
                limits.append(
                    f"only CPU {cpu} is in the dump: what the others did is unknown "
                    "(ftrace_dump_on_oops=orig_cpu dumps no other)"
                )
        return limits
