"""Samples that are read again: all at once as one by one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fputrace.errors import ReadError
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


def test_a_file_whose_samples_went_away_is_said_so(tmp_path: Path) -> None:
    """Between two passes: rounds that end stand where samples were."""
    path = tmp_path / "perf.data"
    data = bytearray((SAMPLES / "6.12-perf-lost" / "perf.data").read_bytes())
    path.write_bytes(data)
    start, size = struct.unpack_from("<QQ", data, 40)  # perf_file_header.data
    with open_trace(path) as trace:
        assert sum(map(len, trace.blocks())) > 0
        ended = struct.pack("<IHH", 68, 0, 8)  # PERF_RECORD_FINISHED_ROUND
        data[start : start + size // 8 * 8] = ended * (size // 8)
        path.write_bytes(data)
        with pytest.raises(ReadError, match=r"no samples of CPU \d+ are here any more"):
            list(trace.blocks())
