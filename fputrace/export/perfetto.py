"""A Perfetto trace of who held which registers: tracks, slices and instants.

The messages are Perfetto's own (``protos/perfetto/trace/track_event``), written by the classes of
its Python package.  Times are those of the recording's clock, taken as Perfetto's default one.
"""

from __future__ import annotations

from itertools import count
from typing import IO, TYPE_CHECKING, Any

from fputrace.errors import UsageError
from fputrace.reports.escape import clean
from fputrace.reports.outline import task
from fputrace.tasks import Stay, as_stays
from fputrace.timeline import Span, as_spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fputrace.events import Loss
    from fputrace.export import Window
    from fputrace.findings import Analysis, Finding, Witness

_REGISTERS, _TASKS, _FINDINGS = "FPU registers", "Tasks", "Findings"
"""The groups of tracks."""

_TIF = {1: "TIF_NEED_FPU_LOAD", 0: "", -1: "unknown"}
_KVM = {1: "guest loaded", 0: "guest out", -1: "unknown"}


def messages() -> Any:
    """Perfetto's messages; raises UsageError when its package is not installed."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise UsageError(
            "a Perfetto trace needs the package perfetto, which is not installed",
            hint="pip install perfetto",
        ) from error
    return perfetto_trace_pb2


class _Sequence:
    """Packets of one sequence: what they say in full is said once."""

    def __init__(self, out: IO[bytes], pb: Any, number: int) -> None:
        self._out = out
        self._pb = pb
        self._number = number
        self._names: dict[str, int] = {}
        self._begun = False

    def event(self, ns: int, track: int, kind: int, name: str = "", **about: Any) -> None:
        """A slice's begin or end, or an instant; ``about`` are its arguments."""
        packet = self._pb.TracePacket()
        packet.timestamp = max(ns, 0)
        packet.trusted_packet_sequence_id = self._number
        packet.sequence_flags = (
            packet.SEQ_NEEDS_INCREMENTAL_STATE
            if self._begun
            else packet.SEQ_INCREMENTAL_STATE_CLEARED
        )
        self._begun = True
        event = packet.track_event
        event.type = kind
        event.track_uuid = track
        if name:
            number = self._names.get(name)
            if number is None:
                number = self._names[name] = len(self._names) + 1
                packet.interned_data.event_names.add(iid=number, name=name)
            event.name_iid = number
        for key, value in about.items():
            if value is not None:
                _annotate(event.debug_annotations.add(), key, value)
        self._out.write(_framed(packet))


def _annotate(annotation: Any, key: str, value: Any) -> None:
    annotation.name = key
    if isinstance(value, (list, tuple)):
        for one in value:
            _annotate(annotation.array_values.add(), "", one)
    elif isinstance(value, int) and abs(value) < 1 << 63:
        annotation.int_value = value
    else:
        annotation.string_value = clean(str(value))


def _framed(packet: Any) -> bytes:
    """A packet as field 1 of a Trace message."""
    body: bytes = packet.SerializeToString()
    length, head = len(body), bytearray(b"\x0a")
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body


class _Writer:
    """Tracks, each with a sequence of its own, made when they are first needed."""

    def __init__(self, out: IO[bytes], comms: Mapping[int, str]) -> None:
        self.pb = messages()
        self._out = out
        self._comms = comms
        self._uuids = count(1)
        self._tracks: dict[tuple[str, ...], int] = {}
        self._sequences: dict[int, _Sequence] = {}
        kinds = self.pb.TrackEvent
        self.begin, self.end, self.instant = (
            kinds.TYPE_SLICE_BEGIN,
            kinds.TYPE_SLICE_END,
            kinds.TYPE_INSTANT,
        )

    def track(self, *path: str) -> int:
        """The track of this name below its parents."""
        known = self._tracks.get(path)
        if known is not None:
            return known
        packet = self.pb.TracePacket()
        descriptor = packet.track_descriptor
        if len(path) > 1:
            descriptor.parent_uuid = self.track(*path[:-1])
        descriptor.uuid = self._tracks[path] = next(self._uuids)
        descriptor.name = path[-1]
        self._out.write(_framed(packet))
        return int(descriptor.uuid)

    def sequence(self, track: int) -> _Sequence:
        """The packets of a track."""
        if track not in self._sequences:
            self._sequences[track] = _Sequence(self._out, self.pb, track)
        return self._sequences[track]

    def slice(self, track: int, start_ns: int, end_ns: int, name: str, **about: Any) -> None:
        """A stretch of a track."""
        sequence = self.sequence(track)
        sequence.event(start_ns, track, self.begin, name, **about)
        sequence.event(end_ns, track, self.end)

    def task(self, pid: int) -> str:
        """How a task is called."""
        return clean(task(self._comms.get(pid), pid))


def write_perfetto(analysis: Analysis, out: IO[bytes], window: Window) -> None:
    """Write the tracks of a trace: one a CPU, two a task, findings and losses as instants.

    Raises UsageError when Perfetto's package is missing, ReadError when the recording fails.
    """
    writer = _Writer(out, analysis.trace.comms)
    for name in (_FINDINGS, _REGISTERS, _TASKS):
        writer.track(name)
    bounds = window.start_ns, window.end_ns
    for table in analysis.timeline.tables(*bounds, window.cpus):
        for span in as_spans(table):
            _span(writer, span)
    for table in analysis.timeline.task_tables(*bounds):
        for stay in as_stays(table):
            if window.pids is None or stay.pid in window.pids:
                _stay(writer, stay)
    for finding in analysis.findings:
        for witness in finding.witnesses:
            if window.holds(witness.ns, witness.cpu):
                _occurrence(writer, finding, witness)
        if not finding.witnesses and finding.first_ns is not None:
            _trace_finding(writer, finding)
    for loss in analysis.losses:
        if window.holds(loss.after_ns, loss.cpu):
            _loss(writer, loss, analysis)


def _span(writer: _Writer, span: Span) -> None:
    track = writer.track(_REGISTERS, f"CPU {span.cpu}")
    if span.image == "unknown":
        name = "unknown" if span.owner else "nobody's"
    else:
        whose = writer.task(span.owner) if span.owner > 0 else "nobody"
        name = f"{span.image}: {whose}"
    running = writer.task(span.pid) if span.pid >= 0 else "unknown"
    writer.slice(track, span.start_ns, span.end_ns, name, running=running, certainty=span.certainty)


def _stay(writer: _Writer, stay: Stay) -> None:
    whose = writer.task(stay.pid)
    times = stay.start_ns, stay.end_ns
    where = {-1: "no CPU", -2: "unknown"}.get(stay.last, f"CPU {stay.last}")
    image = writer.track(_TASKS, whose, "image")
    writer.slice(image, *times, _KVM[stay.kvm], last_cpu=where)
    if _TIF[stay.tif]:
        writer.slice(writer.track(_TASKS, whose, "TIF_NEED_FPU_LOAD"), *times, _TIF[stay.tif])


def _occurrence(writer: _Writer, finding: Finding, witness: Witness) -> None:
    track = writer.track(_FINDINGS, f"{finding.code} {finding.name}")
    writer.sequence(track).event(
        witness.ns,
        track,
        writer.instant,
        f"{finding.code} {finding.verdict.value}",
        verdict=finding.verdict.value,
        severity=finding.severity.value,
        task=writer.task(finding.pid) if finding.pid is not None else None,
        vcpu=finding.vcpu,
        cpu=witness.cpu,
        occurrences=finding.count,
        message=finding.message,
        proof=[
            f"{step.ns} [{step.cpu}] {step.name}: {step.role}"
            + (" (inferred)" if step.inferred else "")
            for step in witness.events
        ],
    )


def _trace_finding(writer: _Writer, finding: Finding) -> None:
    track = writer.track(_FINDINGS, f"{finding.code} {finding.name}")
    writer.sequence(track).event(
        finding.first_ns or 0,
        track,
        writer.instant,
        finding.code,
        occurrences=finding.count,
        message=finding.message,
    )


def _loss(writer: _Writer, loss: Loss, analysis: Analysis) -> None:
    trace = analysis.trace
    for cpu in trace.cpus if loss.cpu is None else [loss.cpu]:
        track = writer.track(_REGISTERS, f"CPU {cpu}")
        start = loss.after_ns if loss.after_ns is not None else trace.first_ns
        writer.sequence(track).event(
            start or 0,
            track,
            writer.instant,
            "events lost",
            lost="unknown" if loss.count is None else loss.count,
            until_ns=loss.before_ns,
            where=loss.where,
        )
