"""What the running kernel offers a recorder: its events, its traceable functions, its clocks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from fputrace.errors import UsageError
from fputrace.events import PROBED_FUNCTIONS
from fputrace.plain import plain

PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
"""Where tracefs is mounted (Documentation/trace/ftrace.rst)."""

_CLONE = re.compile(r"\.(?:isra|constprop)\.\d+")
_MODULE = re.compile(r"\[(\w+)\]")


@plain(frozen=True)
class Function:
    """A probed function as this kernel has it: its symbol, and the module that holds it.

    A clone (``.isra.0``) may take other arguments than the function in the source.
    """

    symbol: str
    module: str = ""

    @property
    def clone(self) -> bool:
        """Whether a compiler made it from the function that the source has."""
        return "." in self.symbol


@plain(frozen=True)
class Kernel:
    """A kernel as a recorder sees it.

    ``events``: ``system:name``; ``functions``: those of PROBED_FUNCTIONS that are out of line
    here; ``guessed``: they come from kallsyms, which does not tell what may be probed; ``memory``:
    bytes that are free.
    """

    release: str
    tracefs: str
    events: frozenset[str]
    functions: Mapping[str, Function]
    guessed: bool
    kprobes: bool
    fprobes: bool
    clocks: tuple[str, ...]
    cpus: int
    memory: int
    page_size: int = 4096


def find_tracefs(given: str | None = None) -> str:
    """The folder tracefs is mounted at.

    Raises UsageError, with what to do, where there is none or it may not be used.
    """
    for place in (given,) if given else PLACES:
        try:
            os.scandir(place).close()
            if os.path.isdir(os.path.join(place, "events")):
                if os.access(os.path.join(place, "instances"), os.W_OK | os.X_OK):
                    return place
                raise UsageError(
                    f"{place} may not be written by this user",
                    hint="Run it as root (sudo fputrace record ...), or give your group the right: "
                    "mount -o remount,gid=GROUP,mode=770 " + place + "\n"
                    "Or send fputrace record --dry-run to whoever has it.",
                )
        except PermissionError:
            raise UsageError(
                f"{place} may not be read by this user",
                hint="Run it as root: sudo fputrace record ...\n"
                "Or send fputrace record --dry-run to whoever is root.",
            ) from None
        except OSError:
            continue
    raise UsageError(
        f"tracefs is not mounted at {given or ' or '.join(PLACES)}",
        hint="As root: mount -t tracefs nodev /sys/kernel/tracing\n"
        "In a container: it must be given the host's /sys/kernel/tracing.",
    )


def describe(tracefs: str, proc: str = "/proc") -> Kernel:
    """Read what the kernel that this tracefs belongs to offers."""
    listed = _lines(os.path.join(tracefs, "available_filter_functions"))
    functions = _functions(line.split() for line in listed)
    guessed = not functions
    if guessed:
        # Locked down, or a kernel without the function tracer.
        symbols = _lines(os.path.join(proc, "kallsyms"))
        functions = _functions(line.split()[2:] for line in symbols if _is_text(line))
    readme = _text(os.path.join(tracefs, "README"))
    return Kernel(
        release=_text(os.path.join(proc, "sys/kernel/osrelease")).strip() or os.uname().release,
        tracefs=tracefs,
        events=frozenset(
            line.strip() for line in _lines(os.path.join(tracefs, "available_events"))
        ),
        functions=functions,
        guessed=guessed,
        kprobes=os.path.exists(os.path.join(tracefs, "kprobe_events")),
        fprobes=bool(re.search(r"^\s*f\[?:\[", readme, re.M)),
        clocks=tuple(re.findall(r"[\w-]+", _text(os.path.join(tracefs, "trace_clock")))),
        cpus=os.cpu_count() or 1,
        memory=_available(proc),
        page_size=os.sysconf("SC_PAGE_SIZE"),
    )


def _functions(lines: Iterable[list[str]]) -> dict[str, Function]:
    """Those of PROBED_FUNCTIONS among lines of ``NAME [MODULE]``, exact names before clones."""
    found: dict[str, Function] = {}
    for words in lines:
        if not words:
            continue
        symbol = words[0]
        name = _CLONE.sub("", symbol)
        if name not in PROBED_FUNCTIONS or (name in found and symbol != name):
            continue
        module = _MODULE.fullmatch(words[1]) if len(words) > 1 else None
        found[name] = Function(symbol, module[1] if module else "")
    return found


def _is_text(line: str) -> bool:
    words = line.split(maxsplit=3)
    return len(words) >= 3 and words[1] in "tTwW"


def _available(proc: str) -> int:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _text(os.path.join(proc, "meminfo")), re.M)
    return int(match[1]) * 1024 if match else 0


def _text(path: str) -> str:
    """A file's text, "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as stream:
            return stream.read()
    except OSError:
        return ""


def _lines(path: str) -> Iterator[str]:
    """A file's lines, none where it cannot be read; some of these files have 100,000."""
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as stream:
            yield from stream
    except OSError:
        return
