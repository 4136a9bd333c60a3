"""``fputrace --version --verbose``: what a bug report needs to say about an installation.

No paths and no names: the text is made to be pasted.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from importlib import metadata

from fputrace import __version__
from fputrace.nocython import LOOPS, uncompiled

LIBRARIES = ("numpy", "pandas", "networkx", "rich", "zstandard")
"""What every installation has."""

EXTRAS = ("pyarrow", "lz4", "perfetto", "matplotlib", "textual")
"""What some verbs and options need."""

PROGRAMS = ("trace-cmd", "perf")
"""What ``fputrace record`` may call."""

_ANSWER_S = 5
"""Seconds within which a program must tell its version."""


def about() -> str:
    """The lines of it."""
    plain = [name.rpartition(".")[2] for name in uncompiled()]
    loops = f"plain Python: {', '.join(plain)}" if plain else f"compiled, all {len(LOOPS)}"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    rows = {
        "fputrace": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": system,
        "loops": loops,
        "libraries": ", ".join(_library(name) for name in LIBRARIES),
        "optional": ", ".join(_library(name) for name in EXTRAS),
        "programs": ", ".join(_program(name) for name in PROGRAMS),
        "output": f"{sys.stdout.encoding}, {'a' if sys.stdout.isatty() else 'no'} terminal",
    }
    return "".join(f"{label:<10} {text}\n" for label, text in rows.items())


def _library(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} -"


def _program(name: str) -> str:
    """What a program calls its version, "-" where there is none or it does not answer."""
    path = shutil.which(name)
    if path is None:
        return f"{name} -"
    words = [path, "--version"] if name == "perf" else [path, "-v"]
    try:
        told = subprocess.run(  # noqa: S603
            words, capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"{name} ?"
    # trace-cmd tells its version above its usage.
    for line in told.stdout.splitlines() + told.stderr.splitlines():
        for word in line.split():
            if word[:1].isdigit() and "." in word:
                return f"{name} {word}"
    return f"{name} ?"
