"""What the pages of docs/bugs claim, and what an analysis says, in one form to compare."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fputrace.findings import Analysis, Verdict
from tests.rules.scenario import accused

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))  # its own modules, as where it is run as a program
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))
"""What makes the table of docs/bugs/README.md."""

Said = Mapping[str, str]
"""Code -> the strongest verdict."""


class Claims(NamedTuple):
    """What a page says a recording shows."""

    tracepoints: Said
    probes: Said
    generations: frozenset[str]


def page(name: str) -> Claims:
    """The claims in the head of ``docs/bugs/NAME.md``."""
    head = GENERATE["bug_head"](name)
    tracepoints = _said(head["tracepoints"])
    probes = tracepoints if head["probes"] == "the same" else _said(head["probes"])
    return Claims(tracepoints, probes, frozenset(re.findall(r"G\d\w?", head["generations"])))


def _said(text: str) -> Said:
    return dict(re.findall(r"`(FPU\d{3})` (confirmed|possible)", text))


def said(analysis: Analysis) -> Said:
    """What fputrace says of a recording, but for rules about the recording itself."""
    found: dict[str, str] = {}
    for code, verdict, _pid, _count in accused(analysis):
        if found.get(code) != Verdict.CONFIRMED:
            found[code] = verdict
    return found
