"""FPU906: part of the file could not be read."""

from __future__ import annotations

from pathlib import Path

import fputrace
from fputrace.findings import Status
from tests.rules.scenario import HOG, OTHER, Story, confirmed, of, row


def long_story() -> Story:
    s = Story("G5")
    s.begin(OTHER)
    for _ in range(200):
        s.switch(HOG)
        s.restore()
        s.switch(OTHER)
        s.restore()
    return s


def test_fires_for_a_file_cut_short(tmp_path: Path) -> None:
    """A version 6 file ends with the events; version 7 has its table of CPUs there."""
    path = long_story().writer.write(tmp_path / "trace.dat", version=6)
    whole = fputrace.analyze(path)
    path.write_bytes(path.read_bytes()[:-4096])
    cut = fputrace.analyze(path)
    (finding,) = of(cut, "FPU906")
    assert "could not be read" in finding.message
    assert 0 < sum(cut.trace.counts.values()) < sum(whole.trace.counts.values())
    assert row(cut, "FPU104").status is Status.PARTLY
    assert not confirmed(cut, "FPU104")


def test_fires_for_a_corrupt_record(tmp_path: Path) -> None:
    path = long_story().write(tmp_path / "trace.dat")
    whole = fputrace.analyze(path)
    data = bytearray(path.read_bytes())
    # The last page begins on a page border; a record header of its middle gets a wild length.
    middle = len(data) - len(data) % 4096 - 4096 + 0x200
    data[middle : middle + 64] = b"\xfe" * 64
    path.write_bytes(data)
    damaged = fputrace.analyze(path)
    assert of(whole, "FPU906") == []
    assert len(of(damaged, "FPU906")) == 1


def test_silent(sample: Path) -> None:
    assert of(fputrace.analyze(sample), "FPU906") == []
