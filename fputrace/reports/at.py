"""``at``: one moment of a trace, CPU by CPU and image by image, for a terminal, as text and JSON.

CPU 1: fpsleeper-91 runs, for 12.100 us
  registers  guest image of CPU 1/KVM-94, for 301.250 us (inferred: another task runs, ...)
  owner      CPU 1/KVM-94 acquired them last, 301.250 us before
  -24.560 us CPU 1/KVM-94: sched_switch: CPU 1/KVM:94 S ==> fpsleeper:91
           * CPU 1/KVM-94: x86_fpu_regs_deactivated: fpu=0xffff8880b7c18880 load_fpu=0
   +1.020 us fpsleeper-91: sys_exit: id=230 ret=0

CPU 1/KVM-94 (vCPU 1): off the CPU, its guest is loaded
  user image   overwritten in thread.fpu
  guest image  in thread.fpu, for 12.100 us
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from fputrace.moment import REASONS
from fputrace.reports import outline, palette
from fputrace.reports.escape import clean, decoded, dumps
from fputrace.reports.steps import fields_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from fputrace.moment import CpuMoment, Moment, NearEvent, Place, TaskMoment, Why
    from fputrace.reports.lanes import Piece

SCHEMA_VERSION = 1
WIDTH = 72

_MARKS = {
    "loss": "events are lost from here on",
    "loss_end": "the lost events end here",
    "cpu_end": "the recording of this CPU ends here",
}
_IMAGES = {"user": "U", "guest": "G", "kernel": "K", "init": "I"}
_UNIT = re.compile(r"(\d) (s|ms|us)\b")
_NAMED = frozenset({"taken", "kvm-unknown"})
"""Reasons that need the name of the task they speak of."""

_LEGEND = (
    "known: the last event that tells left it so; the kernel's own use of the FPU "
    "(kernel_fpu_begin) shows no event. inferred: it follows from events in this generation. "
    "unknown: nothing tells."
)


class MomentView:
    """One moment as rich draws it; ``title`` stands above where several traces are shown."""

    def __init__(self, moment: Moment, about: About, ascii_only: bool = False) -> None:
        self.moment = moment
        self.about = about
        self.ascii = ascii_only

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        from rich.text import Text

        ascii_only = self.ascii or options.ascii_only
        for line in moment_lines(self.moment, self.about, options.max_width, ascii_only):
            text = Text()
            for piece, kind in line:
                text.append(piece, palette.style(kind))
            yield text


class About:
    """What the moment is of: ``path``, ``kernel``, ``clock``, ``comms`` (pid -> name), and the
    times of the whole trace.  ``everything``: tasks too that no CPU and no VM is about.
    """

    def __init__(
        self,
        path: str,
        kernel: str | None,
        clock: outline.Clock,
        bounds: tuple[int, int],
        comms: dict[int, str],
        everything: bool = False,
    ) -> None:
        self.path = path
        self.kernel = kernel
        self.clock = clock
        self.bounds = bounds
        self.comms = comms
        self.everything = everything


def moment_text(moment: Moment, about: About) -> str:
    """Plain ASCII of at most 72 columns; ends with a newline."""
    lines = moment_lines(moment, about, WIDTH, ascii_only=True)
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def moment_lines(
    moment: Moment, about: About, width: int, ascii_only: bool
) -> Iterator[list[Piece]]:
    """Lines as pieces with their kind (``palette.style``), nothing in them harmful."""
    draw = _Drawing(moment, about, width, ascii_only)
    yield from draw.head()
    for cpu in moment.cpus:
        yield [("", "")]
        yield from draw.cpu(cpu)
    shown = [task for task in moment.tasks if task.shown or about.everything]
    for task in shown:
        yield [("", "")]
        yield from draw.task(task)
    hidden = len(moment.tasks) - len(shown)
    yield [("", "")]
    if hidden:
        more = (
            "1 more task, which" if hidden == 1 else f"{outline.number(hidden)} more tasks, which"
        )
        verb = "runs" if hidden == 1 else "run"
        yield from draw.prose(f"{more} neither {verb} nor own registers: shown with -v.")
    for note in moment.notes:
        yield from draw.prose(note)
    yield from draw.prose(_LEGEND, "dim")


class _Drawing:
    """Lines of one moment at one width."""

    def __init__(self, moment: Moment, about: About, width: int, ascii_only: bool) -> None:
        self.moment = moment
        self.about = about
        self.clock = about.clock
        self.width = max(width, 40)
        self.ascii = ascii_only

    # -- words ----------------------------------------------------------------------------------

    def exact(self, ns: int) -> str:
        """A time with all its digits."""
        if not self.clock.in_ns:
            return self.clock.at(ns)
        sign, rest = ("-", -ns) if ns < 0 else ("", ns)
        return f"{sign}{rest // 10**9}.{rest % 10**9:09d} s"

    def long(self, since: int | None) -> str:
        """How long something has been so."""
        if since is None:
            return "since before the first event that tells"
        if since >= self.moment.ns:
            return "from then on"
        return f"for {self.clock.length(self.moment.ns - since)}"

    def apart(self, ns: int) -> str:
        """A time relative to the moment; ``*`` for the moment itself."""
        if ns == self.moment.ns:
            return "*"
        sign = "+" if ns > self.moment.ns else "-"
        return sign + self.clock.length(abs(ns - self.moment.ns))

    def why(self, why: Why | None) -> str:
        """A reason in words."""
        if why is None:
            return ""
        details = []
        if why.pid >= 0 and why.reason in _NAMED:
            details.append(outline.task(why.comm, why.pid))
        if why.ns is not None and why.until_ns is not None:
            details.append(f"between {self.clock.at(why.ns)} and {self.clock.at(why.until_ns)}")
        elif why.ns is not None:
            details.append(f"at {self.clock.at(why.ns)}")
        elif why.until_ns is not None:
            details.append(f"before {self.clock.at(why.until_ns)}")
        if why.lost is not None:
            details.append(outline.plural(why.lost, "event"))
        return REASONS[why.reason] + (f" ({', '.join(details)})" if details else "")

    def sure(self, certainty: str, why: Why | None) -> str:
        """``known``, or how it is not, and why."""
        return certainty if why is None else f"{certainty}: {self.why(why)}"

    # -- lines ----------------------------------------------------------------------------------

    def prose(self, text: str, kind: str = "") -> Iterator[list[Piece]]:
        """A paragraph."""
        yield from self.lines("", text, kind)

    def lines(self, lead: str, text: str, kind: str, lead_kind: str = "") -> Iterator[list[Piece]]:
        """Wrapped text behind ``lead``, its further lines below where it begins."""
        text = _UNIT.sub("\\1\xa0\\2", clean(text, self.ascii))
        room = max(self.width - len(lead), 24)
        for line in wrap(text, room, break_on_hyphens=False) or [""]:
            yield [(lead, lead_kind), (line.replace("\xa0", " "), kind)]
            lead = " " * len(lead)

    def head(self) -> Iterator[list[Piece]]:
        """What is looked at."""
        moment, about = self.moment, self.about
        where = "The end" if moment.at_end else "The moment"
        first, last = about.bounds
        text = f"{where}, {self.exact(moment.ns)}, of {about.path}"
        yield from self.prose(text, "mark")
        kernel = f"kernel {about.kernel}" if about.kernel else "a kernel not recorded"
        yield from self.prose(
            f"{kernel[0].upper()}{kernel[1:]}, generation {outline.either(moment.generation)}. "
            f"The trace is from {self.clock.at(first)} to {self.clock.at(last)}.",
            "dim",
        )

    def cpu(self, cpu: CpuMoment) -> Iterator[list[Piece]]:
        """A CPU: who runs, what its registers hold, who acquired them, and its events nearby."""
        if cpu.pid < 0:
            text = "nobody knows which task runs"
        else:
            text = f"{outline.task(cpu.comm, cpu.pid)} runs, {self.long(cpu.since_ns)}"
        if cpu.leaving >= 0:
            text += f"; it was switched to from {outline.task(cpu.leaving_comm, cpu.leaving)}"
        yield from self.lines(f"CPU {cpu.cpu}: ", text, "mark", "mark")
        owner = outline.task(cpu.owner_comm, cpu.owner)
        if cpu.image == "unknown":
            text = f"{self.sure('unknown', cpu.why)}"
        else:
            of = "" if cpu.image == "kernel" else f" of {owner}" if cpu.owner > 0 else ""
            sure = self.sure(cpu.certainty, cpu.why)
            text = f"{cpu.image} image{of}, {self.long(cpu.image_since_ns)} ({sure})"
        letter = _IMAGES.get(cpu.image, "")
        yield from self.lines("  registers  ", text, f"fill {letter}" if letter else "")
        if cpu.owner == 0:
            text = f"nobody (fpu_fpregs_owner_ctx is NULL), {self.long(cpu.owner_since_ns)}"
        elif cpu.owner > 0:
            token = "" if cpu.token is None else f", fpu=0x{cpu.token & (1 << 64) - 1:x}"
            text = f"{owner} acquired them last{self.ago(cpu.owner_since_ns)}{token}"
        else:
            text = ""
        if text:
            yield from self.lines("  owner      ", text, "")
        yield from self.events([*cpu.before, *cpu.after])

    def ago(self, ns: int | None) -> str:
        """When something happened."""
        if ns is None:
            return ""
        return f", {self.clock.length(self.moment.ns - ns)} before" if ns < self.moment.ns else ""

    def events(self, events: Sequence[NearEvent]) -> Iterator[list[Piece]]:
        """Events around the moment; ``*`` stands for its own time."""
        times = [self.apart(event.ns) for event in events]
        column = max((len(time) for time in times), default=0)
        for event, time in zip(events, times, strict=True):
            kind = "" if event.ns <= self.moment.ns else "dim"
            if event.pid < 0:
                text = f"-- {_MARKS.get(event.name, event.name)} --"
            else:
                fields = fields_text(event, self.about.comms)
                name = event.name.partition(":")[2] or event.name
                what = f"{name}: {fields}" if fields else name
                text = f"{outline.task(event.comm, event.pid)}: {what}"
            yield from self.lines(f"  {time:>{column}}  ", text, kind, kind)

    def task(self, task: TaskMoment) -> Iterator[list[Piece]]:
        """A task: where it is and where its images are."""
        words = [f"runs on CPU {task.cpu}" if task.cpu >= 0 else "not seen on a CPU"]
        if task.last_cpu is not None:
            words.append("last_cpu is " + (str(task.last_cpu) if task.last_cpu >= 0 else "invalid"))
        if task.tif is not None:
            words.append(f"TIF_NEED_FPU_LOAD {'set' if task.tif else 'clear'}")
        if task.guest is not None:
            loaded = {True: "loaded", False: "not loaded", None: "loaded or not, nobody knows"}
            words.append(f"guest FPU {loaded[task.loaded]}")
        vcpu = "" if task.vcpu is None else f" (vCPU {task.vcpu})"
        name = clean(outline.task(task.comm, task.pid) + vcpu, self.ascii)
        yield from self.lines(f"{name}: ", ", ".join(words), "mark", "mark")
        yield from self.place("user image", task.user)
        if task.guest is not None:
            yield from self.place("guest image", task.guest)

    def place(self, label: str, place: Place) -> Iterator[list[Piece]]:
        """Where an image is."""
        if place.where == "unknown":
            text = self.sure("unknown", place.why)
        else:
            why = place.why
            if why is not None and why.ns == place.since_ns:
                why = why._replace(ns=None)
            where = f"registers of CPU {place.cpu}" if place.cpu >= 0 else place.where
            since = "" if place.since_ns is None else f", {self.long(place.since_ns)}"
            copy = "" if place.copy < 0 else f"; the registers of CPU {place.copy} hold the same"
            text = f"{where}{since}{copy} ({self.sure(place.certainty, why)})"
        bad = place.why is not None and place.why.reason == "overwritten"
        yield from self.lines(f"  {label:<11}  ", text, "error" if bad else "")


def moment_json(moment: Moment, about: About) -> str:
    """One JSON object; times in ns of the trace's clock, addresses as strings.

    Ends with a newline.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "path": decoded(about.path),
        "kernel": about.kernel and decoded(about.kernel),
        "candidates": list(moment.generation),
        "ns": moment.ns,
        "at_end": moment.at_end,
        "cpus": [_cpu(cpu) for cpu in moment.cpus],
        "tasks": [_task(task) for task in moment.tasks if task.shown or about.everything],
        "notes": list(moment.notes),
    }
    return dumps(document)


def _cpu(cpu: CpuMoment) -> dict[str, Any]:
    return {
        "cpu": cpu.cpu,
        "task": _who(cpu.pid, cpu.comm),
        "since_ns": cpu.since_ns,
        "switched_from": _who(cpu.leaving, cpu.leaving_comm),
        "owner": _who(cpu.owner, cpu.owner_comm),
        "owner_since_ns": cpu.owner_since_ns,
        "fpu": _address(cpu.token),
        "image": cpu.image,
        "image_since_ns": cpu.image_since_ns,
        "certainty": cpu.certainty,
        "why": _why(cpu.why),
        "before": [_event(event) for event in cpu.before],
        "after": [_event(event) for event in cpu.after],
    }


def _task(task: TaskMoment) -> dict[str, Any]:
    return {
        "pid": task.pid,
        "comm": decoded(task.comm),
        "vcpu": task.vcpu,
        "cpu": None if task.cpu < 0 else task.cpu,
        "fpu": _address(task.token),
        "last_cpu": task.last_cpu,
        "tif_need_fpu_load": task.tif,
        "guest_loaded": task.loaded,
        "user": _place(task.user),
        "guest": task.guest and _place(task.guest),
    }


def _who(pid: int, comm: str) -> dict[str, Any] | None:
    return None if pid < 0 else {"pid": pid, "comm": decoded(comm)}


def _address(value: int | None) -> str | None:
    return None if value is None else f"0x{value & (1 << 64) - 1:x}"


def _place(place: Place) -> dict[str, Any]:
    return {
        "where": place.where,
        "cpu": None if place.cpu < 0 else place.cpu,
        "since_ns": place.since_ns,
        "copy_on_cpu": None if place.copy < 0 else place.copy,
        "certainty": place.certainty,
        "why": _why(place.why),
    }


def _why(why: Why | None) -> dict[str, Any] | None:
    if why is None:
        return None
    return {
        "reason": why.reason,
        "text": REASONS[why.reason],
        "ns": why.ns,
        "until_ns": why.until_ns,
        "lost": why.lost,
        "task": _who(why.pid, why.comm),
    }


def _event(event: NearEvent) -> dict[str, Any]:
    fields = {
        decoded(name): decoded(value) if isinstance(value, str) else value
        for name, value in event.fields.items()
    }
    return {
        "ns": event.ns,
        "pid": event.pid,
        "comm": decoded(event.comm),
        "name": decoded(event.name),
        "fields": fields,
    }
