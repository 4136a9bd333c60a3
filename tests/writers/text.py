"""Lines of trace text, written as the programs that print them do."""

from __future__ import annotations

from typing import NamedTuple

REPORT_FLAGS = "d..2."


class TextEvent(NamedTuple):
    """One event: ``ns`` since the clock began, ``args`` behind ``name: ``."""

    cpu: int
    ns: int
    pid: int
    comm: str
    name: str
    args: str
    flags: str = REPORT_FLAGS
    tgid: int | None = None


def seconds(ns: int, digits: int) -> str:
    """A time with 6 or 9 digits behind the point; 0 digits print the number itself."""
    if not digits:
        return str(ns)
    return f"{ns // 10**9}.{ns % 10**9 // 10 ** (9 - digits):0{digits}d}"


def ftrace(event: TextEvent, digits: int = 6, with_tgid: bool = False) -> str:
    """A line of tracefs' ``trace`` (``trace_print_context()`` of the kernel's trace_output.c)."""
    group = ""
    if with_tgid:
        group = f" ({event.tgid:7d})" if event.tgid is not None else " (-------)"
    return (
        f"{event.comm:>16}-{event.pid:<7d}{group} [{event.cpu:03d}] {event.flags} "
        f"{seconds(event.ns, digits):>12}: {event.name}: {event.args}"
    )


def report(event: TextEvent, digits: int = 6, flags: bool = False, buffer: str = "") -> str:
    """A line of ``trace-cmd report``; from 3.3 on it prints the flags."""
    shown = f" {event.flags}" if flags else ""
    return (
        f"{buffer}{event.comm:>16}-{event.pid:<5d} [{event.cpu:03d}]{shown} "
        f"{seconds(event.ns, digits):>12}: {event.name + ':':<21} {event.args}"
    )


def report_latency(event: TextEvent, digits: int = 6) -> str:
    """A line of ``trace-cmd report -l``."""
    return (
        f"{event.comm[:8]:>8}-{event.pid:<5d} {event.cpu:3d}{event.flags} "
        f"{seconds(event.ns, digits):>12}: {event.name + ':':<21} {event.args}"
    )


def perf(event: TextEvent, digits: int = 6, with_pid: bool = False, system: str = "") -> str:
    """A line of ``perf script``; `with_pid` as with ``-F +pid``."""
    task = f"{event.tgid or event.pid:>5}/{event.pid:<5d}" if with_pid else f"{event.pid:>5}"
    name = f"{system}:{event.name}" if system else event.name
    return (
        f"{event.comm:>16} {task} [{event.cpu:03d}] {seconds(event.ns, digits):>12}: "
        f"{name:>30}: {event.args}"
    )


def switch_args(prev: tuple[str, int, str], following: tuple[str, int]) -> str:
    """The text of ``sched_switch``."""
    comm, pid, state = prev
    return (
        f"prev_comm={comm} prev_pid={pid} prev_prio=120 prev_state={state} ==> "
        f"next_comm={following[0]} next_pid={following[1]} next_prio=120"
    )


def fpu_args(fpu: str, load: int, features: int = 0x207) -> str:
    """The text of an ``x86_fpu`` event, since 5.2."""
    return f"x86/fpu: {fpu} load: {load} xfeatures: {features:x} xcomp_bv: 0"


def text_of(lines: list[str]) -> bytes:
    """A file of these lines."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
