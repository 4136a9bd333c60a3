"""Writes the .pxd files of this package: the loops' constants as C compile-time numbers.

    python -m fputrace.replay.pxd          writes them
    python -m fputrace.replay.pxd --check  exit status 1 when they are out of date

A loop names its constants in its ``if not cython.compiled:`` block, from :mod:`layout` and
:class:`~fputrace.events.Kind`, and imports there the classes of other loops; compiled, it takes the
same names from the ``.pxd`` beside it.  Constants as C variables cost a third of the replay's time
(measured: 30 against 19 ns an event).
"""

from __future__ import annotations

import ast
import importlib.resources
import sys
from pathlib import Path

from fputrace.events import Kind
from fputrace.replay import layout

MODULES = (
    "loop",
    "judge",
    "probed",
    "sections",
    "lives",
    "swaps",
    "costs",
    "ledger",
    "reader",
    "proofs",
    "spanloop",
)
IMPORTED = ("ledger", "reader", "proofs")
"""Those whose class another loop calls without Python in between: declared in the ``.pxd``."""


def _c_type(annotation: ast.expr | None) -> str:
    """``cython.longlong[:, ::1]`` as C: ``long long[:, ::1]``."""
    written = ast.unparse(annotation) if annotation else "object"
    for told, meant in (("cython.", ""), ("longlong", "long long"), ("uchar", "unsigned char")):
        written = written.replace(told, meant)
    return written


def _class(node: ast.ClassDef) -> list[str]:
    """A class as another loop has to know it: its members, and what it can call in C."""
    bases = ", ".join(map(ast.unparse, node.bases))
    lines = [f"cdef class {node.name}{bases and f'({bases})'}:"]
    for item in node.body:
        if isinstance(item, ast.AnnAssign):
            lines.append(f"    cdef {_c_type(item.annotation)} {ast.unparse(item.target)}")
        elif isinstance(item, ast.FunctionDef) and "cython.cfunc" in map(
            ast.unparse, item.decorator_list
        ):
            taken = [f"{_c_type(arg.annotation)} {arg.arg}" for arg in item.args.args[1:]]
            call = f"{item.name}({', '.join(['self', *taken])})"
            checked = any("check=True" in ast.unparse(one) for one in item.decorator_list)
            raises = "except? -99" if checked else "noexcept"
            lines.append(f"    cdef {_c_type(item.returns)} {call} {raises} nogil")
    return lines


def text(source: str, imported: bool = False) -> str:
    """The ``.pxd`` of a loop's source; ``imported``: with its classes."""
    names = {**vars(layout), "layout": layout, "Kind": Kind}
    classes = ["# Written by python -m fputrace.replay.pxd from the .py beside it."]
    lines = ["cdef enum:"]
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and "compiled" in ast.unparse(node.test):
            for line in node.body:
                if isinstance(line, ast.ImportFrom):
                    classes.append(ast.unparse(line).replace(" import ", " cimport "))
                elif isinstance(line, ast.Assign):
                    name = ast.unparse(line.targets[0])
                    value = eval(ast.unparse(line.value), {"int": int}, names)  # noqa: S307
                    names[name] = value
                    lines.append(f"    {name} = {int(value)}")
        elif isinstance(node, ast.ClassDef) and imported:
            lines += ["", *_class(node)]
    return "\n".join(classes + lines) + "\n"


def main() -> int:
    """Write or check the files; returns the exit status."""
    folder = Path(str(importlib.resources.files("fputrace.replay")))
    stale = 0
    for module in MODULES:
        target = folder / f"{module}.pxd"
        source = (folder / f"{module}.py").read_text(encoding="utf-8")
        fresh = text(source, module in IMPORTED)
        if target.exists() and target.read_text(encoding="utf-8") == fresh:
            continue  # one that is touched is compiled again
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"{target.name} is old: run python -m fputrace.replay.pxd\n")
            stale = 1
        else:
            target.write_text(fresh, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
