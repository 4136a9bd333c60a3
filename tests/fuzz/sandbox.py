"""Runs a check on many inputs in a forked worker that may crash, hang or eat memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

Check = Callable[[Path], None]
MEBI = 1 << 20


@dataclass
class Failure:
    """What went wrong with which input."""

    label: str
    why: str


class TooSlow(BaseException):
    """Not an Exception, so that no handler in the tool takes it for its own."""


def run_all(
    inputs: Iterable[tuple[str, bytes]],
    check: Check,
    folder: Path,
    *,
    seconds: float = 5.0,
    mebibytes: int = 512,
    most: int = 20,
) -> list[Failure]:
    """Apply ``check`` to each input, written to a file in ``folder``; returns what failed.

    An input fails when ``check`` raises anything, takes longer than ``seconds``, needs more than
    ``mebibytes`` on top of what the process has, or kills its process.  A new worker then goes on
    with the next input, until ``most`` have failed.
    """
    failures: list[Failure] = []
    rest = iter(inputs)
    while batch := _worker(rest, check, folder, seconds, mebibytes):
        failures += batch
        if len(failures) >= most:
            break
    return failures


def _worker(
    inputs: Iterator[tuple[str, bytes]],
    check: Check,
    folder: Path,
    seconds: float,
    mebibytes: int,
) -> list[Failure]:
    """Feeds one worker until an input fails; empty when the inputs are used up."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    path = folder / "mutant.dat"
    process = context.Process(target=_serve, args=(here, there, check, path, seconds, mebibytes))
    process.start()
    there.close()
    try:
        for label, data in inputs:
            path.write_bytes(data)
            here.send(None)
            # The worker stops itself in Python code; a loop in C is stopped from here.
            if not here.poll(seconds + 10):
                process.kill()
                return [Failure(label, f"hangs: no answer in {seconds + 10:.0f} s")]
            try:
                why = here.recv()
            except EOFError:
                process.join()
                return [Failure(label, f"died: exit code {process.exitcode}")]
            if why:
                return [Failure(label, why)]
    finally:
        here.close()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
    return []


def _serve(
    theirs: Connection, pipe: Connection, check: Check, path: Path, seconds: float, mebibytes: int
) -> None:
    # The fork copied the other end too; without this the pipe would never be found closed.
    theirs.close()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = used + mebibytes * MEBI
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow(f"takes longer than {seconds} s")

    signal.signal(signal.SIGALRM, late)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        begin = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            check(path)
            why = ""
        except BaseException:  # noqa: BLE001  every kind of failure is a result here
            why = f"after {time.monotonic() - begin:.1f} s\n{traceback.format_exc()}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(why)
