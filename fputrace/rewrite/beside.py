"""The sidecar of a new recording: what the reader uses of the old one's."""

from __future__ import annotations

import json
from typing import Any

from fputrace.events import Trace
from fputrace.parsers.opening import SUFFIX
from fputrace.record.sidecar import write

_READ = ("probes", "tasks", "xsave_components", "recorder", "clock")
"""What :mod:`fputrace.parsers.sidecar` reads, but for losses, which the recording tells itself."""


def facts_beside(trace: Trace, path: str) -> dict[str, Any]:
    """What lies beside the recording at `path` and is of it; empty where nothing does."""
    if trace.sidecar is None:
        return {}
    try:
        with open(path + SUFFIX, "rb") as stream:
            told = json.load(stream)
    except (OSError, ValueError):
        return {}  # it was there when the recording was opened
    return {key: told[key] for key in _READ if key in told}


def write_beside(path: str, facts: dict[str, Any]) -> str:
    """Write the sidecar of the recording at `path`; its name.  Raises OSError."""
    name = path + SUFFIX
    write(name, path, facts)
    return name
