"""Stands in for the ``cython`` module where it is not installed: the hot loops run as plain Python.

Only what the loops use.  Cython itself recognises the guarded ``import cython`` in their files and
never looks here.  :func:`uncompiled` says which loops that concerns.
"""

from __future__ import annotations

import os
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

compiled = False

LOOPS = (
    "fputrace.parsers.ringbuffer",
    "fputrace.parsers.merge",
    "fputrace.parsers.perfloop",
    "fputrace.lines.textchunk",
    "fputrace.lines.textmemo",
    "fputrace.lines.textprefix",
    "fputrace.lines.textscan",
    "fputrace.lines.textwalk",
    "fputrace.replay.reader",
    "fputrace.replay.proofs",
    "fputrace.replay.loop",
    "fputrace.replay.judge",
    "fputrace.replay.lives",
    "fputrace.replay.probed",
    "fputrace.replay.sections",
    "fputrace.replay.swaps",
    "fputrace.replay.costs",
    "fputrace.replay.ledger",
    "fputrace.replay.spanloop",
)
"""The modules with hot loops: the ext-modules of pyproject.toml."""


def uncompiled() -> list[str]:
    """Those of :data:`LOOPS` that run as plain Python in this installation."""
    folder = os.path.dirname(os.path.abspath(__file__))
    plain = []
    for name in LOOPS:
        # importlib.util.find_spec would import what the loops are in.
        path = os.path.join(folder, *name.split(".")[1:])
        if not any(os.path.exists(path + suffix) for suffix in EXTENSION_SUFFIXES):
            plain.append(name)
    return plain


def _same(function: Any) -> Any:
    return function


def boundscheck(_on: bool) -> Any:
    """Decorator without effect."""
    return _same


wraparound = initializedcheck = boundscheck


def exceptval(*_value: Any, check: bool = True) -> Any:
    """Decorator without effect."""
    return _same


cfunc = cclass = final = inline = _same


class _NoGil:
    """``@nogil`` and ``with nogil:`` without effect."""

    def __call__(self, function: Any) -> Any:
        return function

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exc: object) -> None:
        return None


nogil = _NoGil()

_TYPES = ("bint", "uchar", "ushort", "uint", "int", "longlong", "ulonglong", "void", "Py_ssize_t")


def __getattr__(name: str) -> Any:
    """C types, which at run time only :func:`declare` and :func:`cast` get."""
    if name not in _TYPES:
        raise AttributeError(name)
    return None


def cast(_type: Any, value: Any, **_how: Any) -> Any:
    """The value itself: Python's integers need no width."""
    return value


def declare(_type: Any = None, value: Any = None, **_more: Any) -> Any:
    """The value itself."""
    return value
