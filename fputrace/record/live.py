"""Carrying out a plan: an ftrace instance and probes of its own, a recorder, and all away again.

Everything made here has the number of this process in its name, so that the next start finds what
a killed one left.  Nobody else's instance, event or probe is touched, nor the top ring buffer.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field
from types import FrameType

from fputrace.errors import UsageError
from fputrace.plain import plain
from fputrace.record import sidecar
from fputrace.record.commands import SYMBOLS, Run, perf_words, trace_cmd_words
from fputrace.record.plan import Plan

RECORDERS = {"trace-cmd": "trace.dat", "perf": "perf.data", "tracefs": "fputrace.tar"}
"""``--with`` -> the file it makes by default."""

INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h

_INSTANCE = re.compile(r"fputrace-(\d+)")
_FOLDER = re.compile(r"\.fputrace-(\d+)-\w+")
_GROUP = re.compile(r"^[a-z]\d*:(fputrace_(\d+)/\S+)", re.M)
_LOSS = re.compile(r"^(overrun|commit overrun|dropped events):\s*(\d+)", re.M)
_PAUSE = 0.1
_READ = re.compile(r"^read events:\s*(\d+)", re.M)
_PATIENCE = 60.0
"""Seconds a recorder has to write its file after it was told to stop."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What only storing the recording fails with, never tracefs."""

Talk = Callable[[str], None]


class Tracefs:
    """A mounted tracefs: names are relative to it, OSErrors the kernel's."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, name: str) -> str:
        """The path of a file or folder."""
        return os.path.join(self.root, name)

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return os.path.exists(self.path(name))

    def names(self, name: str) -> list[str]:
        """What a folder holds; nothing where there is none."""
        try:
            return sorted(os.listdir(self.path(name)))
        except OSError:
            return []

    def read(self, name: str) -> bytes:
        """All of a file; b"" where it cannot be read."""
        try:
            with open(self.path(name), "rb") as stream:
                return stream.read()
        except OSError:
            return b""

    def write(self, name: str, text: str, append: bool = False) -> None:
        """Write to a file that is there, in one piece: each write is a command."""
        # O_TRUNC empties the lists of probes, everybody's.
        flags = os.O_WRONLY | (os.O_APPEND if append else 0)
        fd = os.open(self.path(name), flags)
        try:
            os.write(fd, text.encode() + b"\n")
        finally:
            os.close(fd)

    def make(self, instance: str) -> None:
        """Make an instance."""
        os.mkdir(self.path(f"instances/{instance}"))

    def remove(self, instance: str) -> None:
        """Remove an instance."""
        os.rmdir(self.path(f"instances/{instance}"))


@plain
class Recorded:
    """What came of it: lost events by place, probe hits missed by event, COMMAND's status.

    ``events``: how many were recorded, where the ring buffer was read by this program.
    """

    output: str
    seconds: float = 0.0
    events: int = 0
    losses: dict[str, int] = field(default_factory=dict)
    misses: dict[str, int] = field(default_factory=dict)
    status: int | None = None


class Stop:
    """Whether somebody asked to stop; replaces the signals' handlers meanwhile."""

    def __init__(self) -> None:
        self.signal: int = 0

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Until the end of this context SIGINT, SIGTERM and SIGHUP only ask."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [(number, signal.signal(number, self._note)) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in before:
                signal.signal(number, handler)


def sweep(tracefs: Tracefs, talk: Talk, proc: str = "/proc") -> None:
    """Take away what killed runs left: instances and probes of processes that are no more."""
    try:
        if os.readlink(f"{proc}/self/ns/pid") != INITIAL_PID_NAMESPACE:
            # In a container other people's processes look dead.
            return
    except OSError:
        return

    def dead(pid: str) -> bool:
        # This process has made nothing yet: what has its number is an earlier one's.
        return pid == str(os.getpid()) or not os.path.exists(f"{proc}/{pid}")

    for name in tracefs.names("instances"):
        match = _INSTANCE.fullmatch(name)
        if match and dead(match[1]):
            talk(f"taking away the instance {name}, which a killed run left")
            _drop_instance(tracefs, name, talk)
    for control in ("kprobe_events", "dynamic_events"):
        left = [name for name, pid in _GROUP.findall(_text(tracefs, control)) if dead(pid)]
        if left:
            talk(f"taking away {len(left)} probes, which a killed run left")
        _drop_probes(tracefs, control, left, talk)


def _drop_instance(tracefs: Tracefs, name: str, talk: Talk) -> None:
    where = f"instances/{name}"
    for switch in ("tracing_on", "events/enable"):
        with suppress(OSError):
            tracefs.write(f"{where}/{switch}", "0")
    for attempt in range(40):
        try:
            tracefs.remove(name)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # Somebody reads it still: a recorder that is just ending.
            if attempt == 39:
                talk(f"{tracefs.path(where)} stays: {error.strerror}; rmdir it later")
        time.sleep(0.1)


def _drop_probes(tracefs: Tracefs, control: str, names: Sequence[str], talk: Talk) -> None:
    for name in names:
        try:
            tracefs.write(control, f"-:{name}", append=True)
        except OSError as error:
            talk(f"the probe {name} stays: {error.strerror}")


def _text(tracefs: Tracefs, name: str) -> str:
    return tracefs.read(name).decode("ascii", "backslashreplace")


@contextmanager
def prepared(tracefs: Tracefs, plan: Plan, talk: Talk) -> Iterator[list[str]]:
    """The plan's instance and probes, in place within this context; yields the definitions made.

    Raises UsageError when the kernel takes no instance.
    """
    where = f"instances/{plan.instance}"
    made: list[str] = []
    try:
        try:
            tracefs.make(plan.instance)
        except OSError as error:
            raise UsageError(
                f"{tracefs.path(where)} cannot be made: {error.strerror}",
                hint="Recording needs root, or the right to write there.",
            ) from None
        tracefs.write(f"{where}/tracing_on", "0")
        tracefs.write(f"{where}/trace_clock", plan.clock)
        for probe in plan.probes:
            definition = plan.definition(probe)
            try:
                tracefs.write(plan.control, definition, append=True)
                made.append(definition)
            except OSError as error:
                talk(f"no probe on {probe.symbol}: {error.strerror}")
        yield made
    finally:
        _drop_instance(tracefs, plan.instance, talk)
        ours = [definition.split()[0].partition(":")[2] for definition in made]
        _drop_probes(tracefs, plan.control, ours, talk)


def record(
    tracefs: Tracefs, plan: Plan, run: Run, recorder: str, talk: Talk, proc: str = "/proc"
) -> Recorded:
    """Record into ``run.output`` with one of :data:`RECORDERS`, and write the sidecar beside it.

    Raises UsageError when the recorder is missing or fails, OSError with the name of the recording
    when it cannot be stored.
    """
    try:
        return _record(tracefs, plan, run, recorder, talk, proc)
    except OSError as error:
        # A write that fails knows no name.
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = run.output
        raise


def _record(
    tracefs: Tracefs, plan: Plan, run: Run, recorder: str, talk: Talk, proc: str
) -> Recorded:
    done = Recorded(run.output)
    tasks = {task[0]: task for task in sidecar.tasks(proc)}
    with ExitStack() as stack:
        stop = stack.enter_context(Stop().listening())
        made = stack.enter_context(prepared(tracefs, plan, talk))
        began = time.monotonic()
        if recorder == "tracefs":
            _by_tracefs(tracefs, plan, run, talk, stop, done, tasks.values())
        else:
            _by_program(tracefs, plan, run, recorder, stop, done)
        done.seconds = time.monotonic() - began
        done.misses = _misses(tracefs, made)
        hash_ptr = _text(tracefs, f"instances/{plan.instance}/options/hash-ptr").strip()
    tasks |= {task[0]: task for task in sidecar.tasks(proc)}
    facts = sidecar.about_machine(proc) | {
        "recorder": recorder,
        "clock": plan.clock,
        "events": [list(event) for event in plan.events],
        "probes": made,
        "misses": done.misses,
        "losses": done.losses,
        "hash_ptr": hash_ptr,
        "tasks": [list(task) for task in tasks.values()],
        "symbols": [
            line.split()[:4]
            for line in sidecar.read(f"{proc}/kallsyms").splitlines()
            if re.search(SYMBOLS, line)
        ],
    }
    sidecar.write(run.output + sidecar.SUFFIX, run.output, facts)
    return done


def _misses(tracefs: Tracefs, made: Sequence[str]) -> dict[str, int]:
    """Hits that the kernel could not handle; no ring buffer counts them (kprobe_profile)."""
    ours = {definition.split()[0].rpartition("/")[2] for definition in made}
    found: dict[str, int] = {}
    for line in _text(tracefs, "kprobe_profile").splitlines():
        words = line.split()
        # Names without their group, in the order they were made: ours are the last.
        if len(words) == 3 and words[0] in ours and words[2].isdigit():
            found[words[0]] = int(words[2])
    return {name: count for name, count in found.items() if count}


# -- trace-cmd and perf


def _by_program(
    tracefs: Tracefs, plan: Plan, run: Run, recorder: str, stop: Stop, done: Recorded
) -> None:
    words = (trace_cmd_words if recorder == "trace-cmd" else perf_words)(plan, run)
    if shutil.which(words[0]) is None:
        raise UsageError(
            f"{recorder} is not installed",
            hint="--with tracefs needs nothing but this program.",
        )
    tracing = f"instances/{plan.instance}/tracing_on"
    with suppress(OSError):
        tracefs.write(tracing, "1")
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent)  # noqa: PLW1509, S603
    asked = None
    told = False
    while child.poll() is None:
        time.sleep(0.05)
        now = time.monotonic()
        if stop.signal and asked is None:
            asked = now
        # A Ctrl-C went to the child too: a second one only where the first did not help.
        grace = 2.0 if stop.signal == signal.SIGINT else 0.0
        if asked is not None and not told and now - asked >= grace:
            told = True
            child.send_signal(signal.SIGINT)
        if asked is not None and now - asked > _PATIENCE:
            child.kill()
    if not os.path.exists(run.output) or not os.path.getsize(run.output):
        raise UsageError(
            f"{recorder} ended with status {child.returncode} and wrote no recording",
            hint="What it said is above; --with tracefs does without it.",
        )


def _die_with_parent() -> None:
    """Let the kernel interrupt this child when its parent is killed (prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG


# -- tracefs alone


def _by_tracefs(
    tracefs: Tracefs,
    plan: Plan,
    run: Run,
    talk: Talk,
    stop: Stop,
    done: Recorded,
    tasks: Iterable[sidecar.Task],
) -> None:
    where = f"instances/{plan.instance}"
    _size_buffer(tracefs, plan, talk)
    for event in [*plan.events, *_group_of(tracefs, plan)]:
        name, condition = event
        folder = f"{where}/events/{name.replace(':', '/')}"
        try:
            if condition:
                tracefs.write(f"{folder}/filter", condition)
            tracefs.write(f"{folder}/enable", "1")
        except OSError as error:
            talk(f"no event {name}: {error.strerror}")
    target = os.path.dirname(os.path.abspath(run.output))
    _drop_folders(target)
    with (
        tempfile.TemporaryDirectory(prefix=f".fputrace-{os.getpid()}-", dir=target) as folder,
        ExitStack() as files,
    ):
        readers = []
        for cpu in tracefs.names(f"{where}/per_cpu"):
            os.makedirs(f"{folder}/per_cpu/{cpu}")
            raw = tracefs.path(f"{where}/per_cpu/{cpu}/trace_pipe_raw")
            fd = os.open(raw, os.O_RDONLY | os.O_NONBLOCK)
            files.callback(os.close, fd)
            out = files.enter_context(open(f"{folder}/per_cpu/{cpu}/trace_pipe_raw", "wb"))
            readers.append((fd, out.write))
        tracefs.write(f"{where}/tracing_on", "1")
        done.status = _while_it_runs(run, stop, readers)
        tracefs.write(f"{where}/tracing_on", "0")
        empty = 0
        while empty < 3:
            empty = 0 if _take(readers) else empty + 1
            time.sleep(0.02)
        files.close()
        _copy(tracefs, plan, folder, done, tasks)
        part = f"{run.output}.part"
        try:
            with tarfile.open(part, "w") as tar:
                tar.add(folder, arcname=".")
            os.replace(part, run.output)
        except OSError:
            with suppress(OSError):
                os.unlink(part)
            raise


def _drop_folders(folder: str) -> None:
    """Remove the pages that a killed run was collecting here."""
    for name in os.listdir(folder):
        match = _FOLDER.fullmatch(name)
        if match and not os.path.exists(f"/proc/{match[1]}"):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def _group_of(tracefs: Tracefs, plan: Plan) -> list[tuple[str, str]]:
    there = tracefs.exists(f"instances/{plan.instance}/events/{plan.group}")
    return [(plan.group, "")] if there else []


def _size_buffer(tracefs: Tracefs, plan: Plan, talk: Talk) -> None:
    """As the plan says, or the half of it as often as the kernel has no room."""
    size = plan.buffer_kb
    while size >= 64:
        try:
            tracefs.write(f"instances/{plan.instance}/buffer_size_kb", str(size))
            return
        except OSError as error:
            talk(f"no room for a ring buffer of {size} KiB a CPU: {error.strerror}")
            size //= 2


def _while_it_runs(
    run: Run, stop: Stop, readers: Sequence[tuple[int, Callable[[bytes], int]]]
) -> int | None:
    """Read pages until COMMAND or the time is over, or somebody asks; COMMAND's status."""
    child = subprocess.Popen(run.command) if run.command else None  # noqa: S603
    end = None if run.seconds is None else time.monotonic() + run.seconds
    while not stop.signal:
        # Whoever reads all the time gets a page for each event, and makes some itself.
        time.sleep(_PAUSE)
        _take(readers)
        if child is not None and child.poll() is not None:
            return child.returncode
        if end is not None and time.monotonic() >= end:
            break
    if child is None:
        return None
    if child.poll() is None:
        child.terminate()
    with suppress(subprocess.TimeoutExpired):
        return child.wait(5)
    child.kill()
    return child.wait()


def _take(readers: Sequence[tuple[int, Callable[[bytes], int]]]) -> bool:
    """Move the pages there are to the files; whether there were any."""
    any_at_all = False
    for fd, write in readers:
        # A bound: a busy CPU must not keep the others waiting.
        for _ in range(1024):
            try:
                page = os.read(fd, 1 << 16)
            except BlockingIOError:
                break
            if not page:
                break
            write(page)
            any_at_all = True
    return any_at_all


def _copy(
    tracefs: Tracefs, plan: Plan, folder: str, done: Recorded, tasks: Iterable[sidecar.Task]
) -> None:
    """What the reader of a copied tracefs wants to know beside the pages."""
    where = f"instances/{plan.instance}"

    def keep(name: str, content: bytes) -> None:
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "wb") as out:
            out.write(content)

    systems = {event.name.partition(":")[0] for event in plan.events} | {plan.group}
    for system in systems:
        for event in tracefs.names(f"{where}/events/{system}"):
            place = f"events/{system}/{event}"
            enable = tracefs.read(f"{where}/{place}/enable")
            if enable.startswith(b"1"):
                keep(f"{place}/enable", enable)
                keep(f"{place}/format", tracefs.read(f"{where}/{place}/format"))
    keep("events/header_page", tracefs.read("events/header_page"))
    for cpu in tracefs.names(f"{where}/per_cpu"):
        stats = tracefs.read(f"{where}/per_cpu/{cpu}/stats")
        keep(f"per_cpu/{cpu}/stats", stats)
        text = stats.decode("ascii", "replace")
        done.events += sum(int(count) for count in _READ.findall(text))
        lost = sum(int(count) for _what, count in _LOSS.findall(text))
        if lost:
            done.losses[cpu] = lost
    for name in ("trace_clock", "buffer_subbuf_size_kb"):
        if tracefs.exists(f"{where}/{name}"):
            keep(name, tracefs.read(f"{where}/{name}"))
    # The kernel keeps 128 names of its own; the last line about a task holds.
    names = [sidecar.saved_cmdlines(some).encode() for some in (tasks, sidecar.tasks())]
    keep("saved_cmdlines", names[0] + tracefs.read("saved_cmdlines") + names[1])
    ours = [
        line for line in tracefs.read(plan.control).splitlines(True) if plan.group.encode() in line
    ]
    if ours:
        keep(plan.control, b"".join(ours))
    symbols = [
        line for line in sidecar.read("/proc/kallsyms").splitlines(True) if re.search(SYMBOLS, line)
    ]
    keep("kallsyms", "".join(symbols).encode())
    uname = os.uname()
    keep(
        "uname",
        f"Linux {uname.nodename} {uname.release} {uname.version} {uname.machine}\n".encode(),
    )
