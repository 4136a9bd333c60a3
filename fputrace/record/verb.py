"""``fputrace record``: from its options to a recording, or to the commands that would make it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Protocol

from fputrace.errors import UsageError
from fputrace.plain import PlainTuple
from fputrace.record import commands, cost, live, sidecar
from fputrace.record.commands import Run
from fputrace.record.kernel import describe, find_tracefs
from fputrace.record.plan import Plan, make_plan


class Options(Protocol):
    """The options, by the names that the command line gives them."""

    command: list[str]
    output: str | None
    recorder: str | None
    probes: bool
    kfpu: bool
    pid: int | None
    vm: int | None
    seconds: float | None
    buffer_mb: int | None
    dry_run: bool
    tracefs: str | None


class Asked(PlainTuple):
    """What is to be done on this kernel; ``recorder`` is None where nobody chose one."""

    plan: Plan
    run: Run
    recorder: str | None
    notes: tuple[str, ...]


Counted = Callable[[str], tuple[Mapping[str, int], int, float] | None]
"""Reads a recording: events by name, holes, and the seconds it spans; None where it cannot."""


def asked(options: Options) -> Asked:
    """Look at this kernel and choose.  Raises UsageError where it cannot be recorded here.

    What is only printed (``dry_run``) will run when this process is gone: with the number alone in
    its name, the next recording would take it for what a dead process left, and remove it.
    """
    tracefs = find_tracefs(options.tracefs)
    pids, notes = _threads(options)
    plan = make_plan(
        describe(tracefs),
        f"dry{os.getpid()}" if options.dry_run else str(os.getpid()),
        probes=options.probes,
        kfpu=options.kfpu,
        pids=pids,
        buffer_mb=options.buffer_mb,
    )
    recorder = options.recorder
    output = options.output or live.RECORDERS[recorder or _default_recorder()]
    return Asked(plan, Run(output, tuple(options.command), options.seconds), recorder, tuple(notes))


def shown(what: Asked) -> str:
    """The commands of the chosen recorder; without one a shell script, the others as comments."""
    plan, run = what.plan, what.run
    words = {"trace-cmd": commands.trace_cmd_words, "perf": commands.perf_words}
    if what.recorder in words:
        return commands.commands(plan, words[what.recorder](plan, run))
    if what.recorder == "tracefs":
        return commands.script(plan, run)
    head = []
    for name, make in words.items():
        said = commands.commands(plan, make(plan, run._replace(output=live.RECORDERS[name])))
        head += [f"# With {name}:", *(f"#   {line}" for line in said.splitlines()), "#"]
    if run.output in live.RECORDERS.values():
        run = run._replace(output=live.RECORDERS["tracefs"])
    first, _newline, rest = commands.script(plan, run).partition("\n")
    return "\n".join([first, *head, "# With nothing but this:", rest])


def record_command(what: Asked, talk: Callable[[str], None], counted: Counted) -> int:
    """Record, and say what it costs before and afterwards; the exit status."""
    plan, run = what.plan, what.run
    _check_output(run.output)
    recorder = what.recorder or _default_recorder()
    tracefs = live.Tracefs(plan.tracefs)
    live.sweep(tracefs, talk)
    for note in (*what.notes, *plan.missing):
        talk(note)
    talk(f"expected: {cost.estimate(plan).text(plan.cpus)}, and two events for every VM exit")
    lasts = "" if run.command or run.seconds else "; Ctrl-C stops it"
    talk(f"recording with {recorder} into {run.output}{lasts}")
    done = live.record(tracefs, plan, run, recorder, talk)
    if done.status:
        talk(f"{run.command[0]} ended with status {done.status}")
    # The statistics of the ring buffer are the second best: they know no names.
    counts, holes, seconds = counted(run.output) or ({"": done.events}, 0, done.seconds)
    events = sum(counts.values())
    if events:
        spent = cost.measured(counts, plan, seconds).text(plan.cpus)
        talk(f"recorded: {events:,} events in {seconds:.3f} s, {spent}")
    lost = holes + sum(done.losses.values()) + sum(done.misses.values())
    for place, count in done.losses.items():
        talk(
            f"{place} lost {count} events; --buffer-mb with more than {plan.buffer_kb >> 10} helps"
        )
    for probe, count in done.misses.items():
        talk(f"the kernel missed {count} hits of the probe {probe}")
    if holes and not done.losses:
        talk(f"events are missing at {holes} places; --buffer-mb with more helps")
    talk(f"analyse it: fputrace analyze {run.output}")
    return 3 if lost else 0


def _check_output(output: str) -> None:
    """Raise UsageError where nothing could be stored: before the recording, not behind it."""
    folder = os.path.dirname(output) or "."
    if os.path.isdir(output):
        raise UsageError(f"-o {output} is a folder", hint="Name a file in it.")
    if not os.path.isdir(folder):
        raise UsageError(f"-o {output}: there is no folder {folder}", hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"-o {output}: {folder} may not be written by this user", hint="Name another folder."
        )


def _threads(options: Options) -> tuple[list[int], list[str]]:
    """The threads whose user mode is wanted, and what to say about the choice."""
    pid = options.vm or options.pid
    if pid is None:
        return [], []
    threads = [tid for tid, _comm in sidecar.threads_of(pid)]
    if not threads:
        raise UsageError(f"there is no process {pid}", hint="pgrep -a qemu lists virtual machines.")
    if options.vm is None:
        return threads, []
    vcpus = sidecar.vcpu_threads(pid)
    if vcpus:
        return vcpus, []
    unnamed = (
        f"process {pid} names no thread like a vCPU (QEMU: -name NAME,debug-threads=on): the user "
        f"mode of all {len(threads)} threads is recorded"
    )
    return threads, [unnamed]


def _default_recorder() -> str:
    return "trace-cmd" if shutil.which("trace-cmd") else "tracefs"
