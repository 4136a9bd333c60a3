"""Writes the .pxd files of this package: the loops' constants as C compile-time numbers.

    python -m fputrace.replay.pxd          writes them
    python -m fputrace.replay.pxd --check  exit status 1 when they are out of date

A loop names its constants in its ``if not cython.compiled:`` block, from :mod:`layout` and
:class:`~fputrace.events.Kind`; compiled, it takes the same names from the ``.pxd`` beside it.  As C
variables they cost a third of the replay's time (measured: 30 against 19 ns an event).
"""

from __future__ import annotations

import ast
import importlib.resources
import sys
from pathlib import Path

from fputrace.events import Kind
from fputrace.replay import layout

MODULES = ("loop", "judge", "probed", "lives", "swaps", "costs")


def text(source: str) -> str:
    """The ``.pxd`` of a loop's source."""
    names = {**vars(layout), "layout": layout, "Kind": Kind}
    lines = ["# Written by python -m fputrace.replay.pxd from the .py beside it.", "cdef enum:"]
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and "compiled" in ast.unparse(node.test):
            for line in node.body:
                if isinstance(line, ast.Assign):
                    value = eval(ast.unparse(line.value), {"int": int}, names)  # noqa: S307
                    lines.append(f"    {ast.unparse(line.targets[0])} = {int(value)}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the files; returns the exit status."""
    folder = Path(str(importlib.resources.files("fputrace.replay")))
    stale = 0
    for module in MODULES:
        target = folder / f"{module}.pxd"
        fresh = text((folder / f"{module}.py").read_text(encoding="utf-8"))
        if "--check" in sys.argv[1:]:
            if not target.exists() or target.read_text(encoding="utf-8") != fresh:
                sys.stderr.write(f"{target.name} is old: run python -m fputrace.replay.pxd\n")
                stale = 1
        else:
            target.write_text(fresh, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
