"""Samples that are read again: all at once as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fputrace.parsers import open_trace, perfrecords
from tests.conftest import SAMPLES


@pytest.mark.parametrize(("gap", "usual"), [(1 << 12, 1 << 10), (32, 1 << 10), (1 << 12, 24)])
def test_columns_are_what_the_rows_say(
    monkeypatch: pytest.MonkeyPatch, gap: int, usual: int
) -> None:
    """However records lie, and where some are longer than usual and must be read alone."""
    monkeypatch.setattr(perfrecords, "_GAP", gap)
    monkeypatch.setattr(perfrecords, "_USUAL", usual)
    monkeypatch.setattr(perfrecords, "_WINDOW_SHIFT", 14)
    monkeypatch.setattr(perfrecords, "_AT_ONCE", 5000)
    with open_trace(SAMPLES / "6.12-perf-lost" / "perf.data") as trace:
        block = next(iter(trace.blocks()))
        records: Any = block.fields_of
        together = 0
        for index in np.unique(block.event[block.event >= 0]).tolist():
            rows = np.flatnonzero(block.event == index)
            columns = records.columns(rows)
            together += columns is not None
            for number, row in enumerate(rows[:400].tolist() if columns else ()):
                said = records(row)
                assert list(columns) == list(said)
                for name, value in said.items():
                    own = columns[name][number]
                    pointer = isinstance(value, str) and not isinstance(own, str)
                    assert (hex(own) if pointer else own) == value
        assert together > 0
