"""The Perfetto trace, read back with Perfetto's own classes."""

from __future__ import annotations

import gzip
import itertools
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fputrace
from fputrace import cli
from fputrace.export import Window, export
from fputrace.timeline import as_spans

pb: Any = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")


class Event(NamedTuple):
    """A track event with its interned name told."""

    ns: int
    kind: int
    name: str
    about: dict[str, Any]


class Read(NamedTuple):
    """Tracks by their path, each with its events in the order of the file."""

    tracks: dict[tuple[str, ...], list[Event]]


def read(path: Path) -> Read:
    """What Perfetto would see; complains of what it would ignore."""
    trace = pb.Trace()
    data = path.read_bytes()
    trace.ParseFromString(gzip.decompress(data) if path.suffix == ".gz" else data)
    paths: dict[int, tuple[str, ...]] = {0: ()}
    names: dict[int, dict[int, str]] = {}
    tracks: dict[tuple[str, ...], list[Event]] = defaultdict(list)
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            of = packet.track_descriptor
            assert of.uuid not in paths
            paths[of.uuid] = (*paths[of.parent_uuid], of.name)
            continue
        sequence = packet.trusted_packet_sequence_id
        if packet.sequence_flags & pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
            names[sequence] = {}
        known = names[sequence]
        for entry in packet.interned_data.event_names:
            assert entry.iid not in known
            known[entry.iid] = entry.name
        event = packet.track_event
        about = {
            one.name: one.int_value if one.HasField("int_value") else one.string_value
            for one in event.debug_annotations
        }
        name = known[event.name_iid] if event.name_iid else ""
        tracks[paths[event.track_uuid]].append(Event(packet.timestamp, event.type, name, about))
    return Read(tracks)


def slices(events: list[Event]) -> list[tuple[int, int, str]]:
    """Begin and end, by pairs: nothing is nested."""
    kinds = pb.TrackEvent
    some = [e for e in events if e.kind in (kinds.TYPE_SLICE_BEGIN, kinds.TYPE_SLICE_END)]
    assert [e.kind for e in some] == [1, 2] * (len(some) // 2)
    return [(a.ns, b.ns, a.name) for a, b in zip(some[::2], some[1::2], strict=True)]


@pytest.mark.parametrize("case", ["5.2.1-pinned", "6.1-storm-lost"])
def test_tracks_are_the_timeline(samples: Path, tmp_path: Path, case: str) -> None:
    path = tmp_path / "out.pftrace"
    analysis = fputrace.analyze(str(samples / case / "trace.dat"))
    export(analysis, "perfetto", str(path), Window())
    tracks = read(path).tracks
    spans = [s for table in analysis.timeline.tables() for s in as_spans(table)]
    for cpu in analysis.trace.cpus:
        drawn = slices(tracks["FPU registers", f"CPU {cpu}"])
        assert [(a, b) for a, b, _ in drawn] == [
            (s.start_ns, s.end_ns) for s in spans if s.cpu == cpu
        ]
        images = Counter(name.split(":")[0] for _, _, name in drawn)
        assert images["guest"] == sum(s.cpu == cpu and s.image == "guest" for s in spans)
    for events in tracks.values():
        times = [(a, b) for a, b, _ in slices(events)]
        assert all(a < b for a, b in times)
        assert all(b <= c for (_, b), (c, _) in itertools.pairwise(times))
    instants = [e for events in tracks.values() for e in events if e.kind == 3]
    lost = [e for e in instants if e.name == "events lost"]
    assert Counter(e.about["lost"] for e in lost) == Counter(row.count for row in analysis.losses)
    found = [e for e in instants if "verdict" in e.about]
    assert len(found) == sum(len(finding.witnesses) for finding in analysis.findings)
    assert {e.about["verdict"] for e in found} == {
        f.verdict.value for f in analysis.findings if f.witnesses
    }


def test_a_task_has_its_image_and_flag(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.pftrace"
    analysis = fputrace.analyze(str(samples / "6.1-pinned" / "trace.txt"))
    export(analysis, "perfetto", str(path), Window())
    tracks = read(path).tracks
    (vcpu,) = {track[1] for track in tracks if track[0] == "Tasks" and "CPU 1/KVM" in track[1]}
    image = Counter(name for _, _, name in slices(tracks["Tasks", vcpu, "image"]))
    assert image["guest loaded"] > 10
    assert image["guest out"] > 10
    flag = {name for _, _, name in slices(tracks["Tasks", vcpu, "TIF_NEED_FPU_LOAD"])}
    assert "TIF_NEED_FPU_LOAD" in flag


def test_a_window_of_one_cpu(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.pftrace.gz"
    trace = samples / "5.2.1-pinned" / "trace.dat"
    command = ["export", str(trace), "--to", "perfetto", "-o", str(path), "-q"]
    assert cli.main([*command, "--time", "3.5,3.6", "--cpu", "1", "--pid", "94"]) == 0
    tracks = read(path).tracks
    assert {track[1] for track in tracks if track[0] == "FPU registers"} == {"CPU 1"}
    assert {track[1] for track in tracks if track[0] == "Tasks"} == {"CPU 1/KVM-94"}
    for start, end, _ in slices(tracks["FPU registers", "CPU 1"]):
        assert end > 3_500_000_000
        assert start < 3_600_000_000


def test_the_same_bytes_again(samples: Path, tmp_path: Path) -> None:
    trace = str(samples / "4.14.5-pinned" / "trace.dat")
    for name in ("a", "b"):
        out = str(tmp_path / f"{name}.gz")
        assert cli.main(["export", trace, "--to", "perfetto", "-o", out, "-q"]) == 0
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_one_trace_at_a_time(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = str(samples / "4.14.5-pinned" / "trace.dat")
    assert cli.main(["export", trace, trace, "--to", "perfetto"]) == 2
    assert "one by one" in capsys.readouterr().err
