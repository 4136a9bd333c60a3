"""Host and guest of one run: each by itself, and each says what the other is."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from fputrace.cli import main
from fputrace.parsers import open_trace
from fputrace.parsers.container import TRACEID
from fputrace.relatives import relations
from tests.writers import TraceWriter

HOST, GUEST = 0xFFFF_0000_1111_2222, 0x33


def pair(folder: Path, version: int = 7) -> tuple[Path, Path]:
    """A host whose thread 70 runs vCPU 0 of the guest, and that guest's own recording."""
    paths = []
    for name, number in (("host", HOST), ("guest", GUEST)):
        w = TraceWriter("6.1.0", cpus=1, clock="mono")
        w.option(TRACEID, struct.pack("<Q", number))
        if name == "host":
            w.guest("deb", GUEST, {0: 70})
        for ts in range(100, 2000, 100):
            w.event(0, ts, 70, "kvm_fpu", load=ts // 100 % 2)
        paths.append(w.write(folder / f"{name}.dat", version))
    return paths[0], paths[1]


@pytest.mark.parametrize("version", [6, 7])
def test_the_ids_are_read(tmp_path: Path, version: int) -> None:
    host, guest = pair(tmp_path, version)
    with open_trace(host) as one, open_trace(guest) as other:
        assert one.trace_id == HOST
        assert one.guest_ids == {GUEST: "deb"}
        assert other.trace_id == GUEST
        assert other.guest_ids == {}


@pytest.mark.parametrize("swapped", [False, True])
def test_each_says_what_the_other_is_in_any_order(
    tmp_path: Path, swapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    host, guest = pair(tmp_path)
    given = [guest, host] if swapped else [host, guest]
    main(["analyze", *map(str, given), "--format", "markdown"])
    told = capsys.readouterr().out
    for_guest = f"recording of guest deb of {host}. Its CPUs are the guest's"
    for_host = f"{guest} is the recording of guest deb, analysed by itself"
    assert told.count(for_guest) == told.count(for_host) == 1
    assert (told.index(for_guest) < told.index(for_host)) == swapped


def test_a_guest_beside_its_host_changes_no_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host, guest = pair(tmp_path)
    main(["analyze", str(host), str(guest), "--format", "json"])
    together = json.loads(capsys.readouterr().out)["traces"]
    alone = []
    for path in (host, guest):
        main(["analyze", str(path), "--format", "json"])
        alone += json.loads(capsys.readouterr().out)["traces"]
    assert together == alone


def test_the_same_recording_twice_is_noted(tmp_path: Path) -> None:
    host, guest = pair(tmp_path)
    copy = tmp_path / "copy.dat"
    copy.write_bytes(guest.read_bytes())
    with open_trace(host) as a, open_trace(guest) as b, open_trace(copy) as c:
        said = relations([a, b, c])
    assert "the same TRACEID (0x33)" in said[1][1]
    assert str(guest) in " ".join(said[2])
    assert len(said[0]) == 2


def test_recordings_without_ids_have_no_relations(tmp_path: Path) -> None:
    w = TraceWriter("6.1.0", cpus=1)
    w.event(0, 1, 1, "kvm_fpu", load=1)
    path = w.write(tmp_path / "a.dat")
    with open_trace(path) as a, open_trace(path) as b:
        assert relations([a, b]) == [[], []]
