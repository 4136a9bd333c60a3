"""The verbs of the command line, a module each: ``add(offer)`` declares it, ``run(args)`` does it.

``run`` puts a result on stdout and returns the exit status.  What a verb needs is imported when it
runs, so that ``fputrace --help`` costs no more than Python itself.
"""

from __future__ import annotations

import importlib
from types import ModuleType

VERBS = (
    "analyze",
    "report",
    "check",
    "diff",
    "timeline",
    "at",
    "graph",
    "info",
    "convert",
    "export",
    "cut",
    "redact",
    "record",
    "calibrate",
    "rules",
    "explain",
)
"""In the order in which ``fputrace --help`` lists them."""


def verb(name: str) -> ModuleType:
    """The module of one of :data:`VERBS`."""
    return importlib.import_module(f"fputrace.verbs.{name}")
