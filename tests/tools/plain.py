"""Compiled loops as the plain Python they are written in, whatever was built from them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from fputrace.replay import costs, judge, ledger, lives, probed, proofs, reader, sections, swaps

FOLLOWERS = (reader, proofs, judge, lives, probed, sections, swaps, ledger, costs)
"""What :mod:`fputrace.following` runs, the modules that others import first."""


def plain(loop: ModuleType) -> ModuleType:
    """The source of a loop, run as Python under the loop's name."""
    name = loop.__name__
    path = Path(str(loop.__file__)).with_name(f"{name.rpartition('.')[2]}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.cython.compiled
    return module


def follow_in_plain(monkeypatch: pytest.MonkeyPatch, loops: Iterable[ModuleType]) -> None:
    """From here on these loops are plain Python; they see each other so, too."""
    for loop in loops:
        module = plain(loop)
        monkeypatch.setitem(sys.modules, loop.__name__, module)
        name = loop.__name__.rpartition(".")[2]
        if loop not in (reader, proofs):
            monkeypatch.setattr(f"fputrace.following.{name}", module)
