"""Runs a check on many inputs in forked workers that may crash, hang or eat memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

Check = Callable[[Path], None]
Job = TypeVar("Job")
MEBI = 1 << 20
RESIDENT_MIB = 512
"""What a process may have in memory at once while it looks at one input."""

MOST_JOBS = 5000
"""What one process does; a leak shows long before, memory in small pieces only after many more."""

PATIENCE = 4
"""Seconds by the clock for each second of CPU time allowed: other work may want the machine."""


@dataclass
class Failure:
    """What went wrong with which input."""

    label: str
    why: str


@dataclass
class Outcome(Generic[Job]):
    """One input done: ``why`` it failed or "", CPU time it took, the process's peak in bytes."""

    job: Job
    why: str
    seconds: float
    peak: int


class TooSlow(BaseException):
    """Not an Exception, so that no handler in the tool takes it for its own."""


def run_all(
    inputs: Iterable[tuple[str, bytes]],
    check: Check,
    folder: Path,
    *,
    seconds: float = 5.0,
    mebibytes: int = RESIDENT_MIB,
    most: int = 20,
) -> list[Failure]:
    """Apply ``check`` to each input, written to a file in ``folder``; returns what failed.

    An input fails when ``check`` raises anything, takes more than ``seconds`` of CPU time or four
    times as long by the clock, needs more than ``mebibytes`` on top of what the process has, or
    kills its process.  A new worker then goes on with the next input, until ``most`` have failed.
    """
    path = folder / "mutant.dat"

    def write_and_check(job: tuple[str, bytes], _folder: Path) -> None:
        path.write_bytes(job[1])
        check(path)

    failures: list[Failure] = []
    for outcome in run(inputs, write_and_check, 1, seconds=seconds, mebibytes=mebibytes):
        if outcome.why:
            failures.append(Failure(outcome.job[0], outcome.why))
            if len(failures) >= most:
                break
    return failures


def run(
    jobs: Iterable[Job],
    check: Callable[[Job, Path], int | None],
    workers: int,
    *,
    seconds: float,
    mebibytes: int = RESIDENT_MIB,
) -> Iterator[Outcome[Job]]:
    """Apply ``check(job, its worker's folder)`` to each job in forked workers, as they finish.

    ``check`` may return the peak of a process it has started, which then counts instead.

    A job fails when ``check`` raises, takes more than ``seconds`` of CPU time, asks for more than
    ``mebibytes`` on top of what the process has, has more than RESIDENT_MIB resident, or kills its
    process; a new worker then goes on, as after MOST_JOBS.
    """
    rest = iter(jobs)
    with tempfile.TemporaryDirectory() as name:
        pool: list[_Worker[Job]] = []
        try:
            for number in range(workers):
                folder = Path(name) / str(number)
                folder.mkdir()
                pool.append(_Worker(check, folder, seconds, mebibytes))
            busy = [worker for worker in pool if worker.take(rest)]
            while busy:
                ready = wait(
                    [w.pipe for w in busy], max(0.0, min(w.deadline for w in busy) - now())
                )
                for worker in [w for w in busy if w.pipe in ready or w.deadline <= now()]:
                    yield worker.outcome()
                    if not worker.take(rest):
                        busy.remove(worker)
        finally:
            for worker in pool:
                worker.stop()


now = time.monotonic


class _Worker(Generic[Job]):
    """One forked process at a time, and the job it has."""

    def __init__(
        self,
        check: Callable[[Job, Path], int | None],
        folder: Path,
        seconds: float,
        mebibytes: int,
    ) -> None:
        self._check, self._folder = check, folder
        self._seconds, self._mebibytes = seconds, mebibytes
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, there = context.Pipe()
        self.deadline = 0.0
        self._process = context.Process(target=self._serve, args=(self.pipe, there))
        self._process.start()
        self._done = 0
        there.close()

    def take(self, jobs: Iterator[Job]) -> bool:
        """Begin the next job; False when there is none."""
        for job in jobs:
            self._job, self._from = job, now()
            # The worker stops itself in Python code; a loop in C is stopped from here.
            self.deadline = self._from + PATIENCE * self._seconds + 10
            self.pipe.send(job)
            return True
        return False

    def outcome(self) -> Outcome[Job]:
        """What the worker says of its job, or what became of the worker."""
        took = now() - self._from
        if not self.pipe.poll():
            self._process.kill()
            why, peak = f"hangs: no answer in {took:.0f} s", 0
        else:
            try:
                why, took, peak = self.pipe.recv()
            except EOFError:
                self._process.join()
                why, peak = f"died: exit code {self._process.exitcode}", 0
        if not why and peak > RESIDENT_MIB * MEBI:
            why = f"had {peak / MEBI:.0f} MiB resident"
        self._done += 1
        if why or self._done == MOST_JOBS:
            self.stop()
            self._begin()
        return Outcome(self._job, why, took, peak)

    def stop(self) -> None:
        """End the process."""
        # Another worker, forked later, may hold this end of the pipe too: closing it tells nothing.
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _serve(self, theirs: Connection, pipe: Connection) -> None:
        theirs.close()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resident = peak_bytes()
        limit = used + self._mebibytes * MEBI
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def late(_number: int, _frame: FrameType | None) -> None:
            raise TooSlow(f"takes longer than {self._seconds} s")

        signal.signal(signal.SIGALRM, late)
        signal.signal(signal.SIGPROF, late)
        while True:
            job = pipe.recv()
            if job is None:
                return
            begin = busy()
            forget_peak()
            other = None
            try:
                # Whatever comes at the very end is still caught by the outer one.
                try:
                    self._limit(self._seconds)
                    other = self._check(job, self._folder)
                    why = ""
                finally:
                    self._limit(0)
            except BaseException:  # noqa: BLE001  every kind of failure is a result here
                self._limit(0)
                why = f"after {busy() - begin:.1f} s\n{traceback.format_exc()}"
            # What the fork brought along beyond a bare interpreter is the caller's, not the file's.
            own = peak_bytes() - max(0, resident - BARE) if other is None else other
            pipe.send((why, busy() - begin, own))

    def _limit(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)


BARE = 64 * MEBI
"""What Python with all of fputrace imported has resident."""


def busy() -> float:
    """CPU time of this process and of those it has waited for, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def forget_peak() -> None:
    """Let this process's peak begin anew (``proc(5)``: 5 into clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(process: int | str = "self") -> int:
    """The most a process had resident since; OSError when it has ended."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError("no VmHWM: it has ended")
