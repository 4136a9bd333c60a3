"""perf.data, as ``perf record`` writes it: to a file, to a pipe, compressed, or as a directory.

A sample's RAW is the record that ftrace would have written, so samples go the way of a trace.dat
once they are found (:mod:`fputrace.parsers.passes`).  The pid is that record's ``common_pid``: the
TID beside it is -1 for a task that was reaped already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from fputrace.errors import FormatError, TraceError
from fputrace.events import EventBlock, EventFormat, Loss, Trace
from fputrace.parsers import layout, perffile, perflayout
from fputrace.parsers.clocks import Correction
from fputrace.parsers.container import MOST_CPUS, Buffer, CpuData
from fputrace.parsers.formats import parse_format
from fputrace.parsers.losses import NOTES, CpuLosses, LossBook
from fputrace.parsers.passes import Cpu, Pass, Plan, geometry_of
from fputrace.parsers.perffile import FEATURE_CMDLINE as CMDLINE
from fputrace.parsers.perffile import TRACEPOINT, Recording
from fputrace.parsers.perfindex import Index, layout_of
from fputrace.parsers.perfpack import read_folder, unpack
from fputrace.parsers.perfrecords import PerfRecords
from fputrace.parsers.perfsort import Sorted, SortedStream, backward, needed, sort
from fputrace.parsers.perfstream import Stream
from fputrace.parsers.records import BlockRecords, RecordDecoder
from fputrace.parsers.source import Source
from fputrace.parsers.streams import Chunk
from fputrace.parsers.symbols import Symbols
from fputrace.parsers.tables import EventTable
from fputrace.plain import plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLOCKS = {0: "realtime", 1: "mono", 4: "mono_raw", 7: "boot", 11: "tai"}
"""``clockid_t`` (include/uapi/linux/time.h) -> the name that ftrace has for that clock."""

_OWN_CLOCK = (
    "times are those of perf's own clock, which no other recording shares; record with -k mono to "
    "compare it with others"
)
_TASKS_ONLY = (
    "only chosen tasks were recorded, not whole CPUs: what others did on the same CPUs is not in "
    "it; record with -a"
)

_FILTERED = "recorded with a filter: nobody knows which events it left out"
_SPARE = ("raw_syscalls:", "syscalls:", "exceptions:", "kvm:kvm_msr")
"""Events that prove something where they are, and nothing where they are not."""

_PAGE = 1 << 14
"""Bytes of a page, where a piece of such a recording is written as a trace.dat; it has none."""

_OVERWRITTEN = "recorded with --overwrite: nobody counted what was overwritten"


def _filtered(words: Sequence[str]) -> bool:
    """Whether perf's command line has it leave out events on whose absence something may rest.

    A ``--filter`` is of the event before it (``fputrace record`` limits system calls to vCPUs).
    """
    events = ""
    for number, word in enumerate(words):
        if word == "--":
            break
        if word in ("-e", "--event"):
            events = words[number + 1] if number + 1 < len(words) else ""
        elif word.startswith("--event="):
            events = word.removeprefix("--event=")
        elif word.startswith("-e"):
            events = word.removeprefix("-e")
        spared = all(event.startswith(_SPARE) for event in events.split(","))
        if word.startswith("--exclude-perf") or (word.startswith("--filter") and not spared):
            return True
    return False


def open_perfdata(fd: int, path: str) -> Trace:
    """Open a perf.data.  The descriptor belongs to the trace from now on.

    Raises FormatError when the file is no perf.data, breaks off before its events' formats or has
    none, TraceError when it has no tracepoints.
    """
    source = Source(fd, path)
    sources = [source]
    try:
        recording = perffile.read_start(source)
        sources = recording.sources
        if perffile.FEATURE_DIR_FORMAT in recording.features:
            raise FormatError(
                "this is the header of a perf.data that is a directory; its events are beside it",
                path=path,
                hint="Give the directory: " + (os.path.dirname(path) or "."),
            )
        trace = _opened(recording)
    except BaseException:
        for opened in sources:
            opened.close()
        raise
    return trace


def open_perf_folder(folder: str, path: str) -> Trace:
    """Open a perf.data that is a directory: ``data`` and ``data.0``, ``data.1``, …

    Raises what :func:`open_perfdata` raises, for `path`.
    """
    try:
        fd = os.open(os.path.join(folder, "data"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise TraceError(f"data cannot be opened: {error.strerror}", path=path) from error
    source = Source(fd, path)
    sources = [source]
    try:
        recording = perffile.read_start(source)
        sources = recording.sources
        read_folder(recording, folder)
        trace = _opened(recording)
    except BaseException:
        for opened in sources:
            opened.close()
        raise
    trace.format = trace.format.replace("perf.data", "perf.data directory", 1)
    return trace


def _opened(recording: Recording) -> Trace:
    if not perffile.read_ahead(recording):
        unpack(recording)
        perffile.read_ahead(recording)
    trace = _trace_of(recording)

    def close() -> None:
        for source in recording.sources:
            source.close()

    trace._close = close
    return trace


@plain(frozen=True)
class PerfPlan(Plan):
    """A plan, and the index that all passes share."""

    recording: Recording
    index: Index
    names: dict[int, str]
    """Id of an event -> its name."""
    sorted: Sorted | None
    """The samples, where they had to be sorted as a whole."""


class _Book(LossBook):
    """Losses as perf tells of them, by the offset of a record."""

    def __init__(self, trace: Trace, plan: PerfPlan) -> None:
        super().__init__(trace, plan.container.path, plan.buffer.compressed, {})
        self.plan = plan
        self.noted: set[int] = set()
        self.throttles: dict[tuple[int | None, str], int] = {}

    def uncounted(self, cpu: CpuLosses, loss: Loss) -> None:
        """As the base; what one THROTTLE has lost between many events is one row."""
        losses = self.trace.losses
        known = self.throttles.setdefault((loss.cpu, loss.where), len(losses))
        if known == len(losses):
            super().uncounted(cpu, loss)
        else:
            losses[known] = losses[known]._replace(before_ns=loss.before_ns)

    def damaged_at(self, cpu: CpuLosses, hole: Chunk | None, at: int) -> str:
        """The record that cannot be read."""
        offset = hole.offset if hole else at & perflayout.OFFSET
        return f"records from byte {offset}{self._unpacked}"

    @property
    def _unpacked(self) -> str:
        return " of the unpacked data" if self.compressed else ""

    def note(self, cpu: CpuLosses, hole: Chunk | None, at: int, reason: str) -> None:
        """Each place once, however many CPUs it concerns."""
        offset = hole.offset if hole else at & perflayout.OFFSET
        if offset not in self.noted:
            self.noted.add(offset)
            self.damaged += 1
            if self.damaged <= NOTES:
                place = f"at byte {offset} (0x{offset:x}){self._unpacked}"
                self.trace.notes.append(f"{self.path} {place}: {reason}")

    def finish(self, cpus: list[CpuLosses]) -> None:
        """At the end of a pass: what LOST_SAMPLES knows, and what stands outside the records."""
        recording = self.plan.recording
        if self.plan.sorted is not None:
            self.trace.losses += self.plan.sorted.losses
        for broken in self.plan.index.broken:
            if broken.offset not in self.noted:  # no CPU was there to tell of it
                place = f"byte {broken.offset}{self._unpacked}"
                self.trace.notes.append(f"{self.path} at {place}: {broken.reason}")
                if self.plan.sorted is None:
                    where = f"records from {place}: {broken.reason}"
                    self.trace.losses.append(
                        Loss(None, None, None, None, where, placed=False, severity="damaged")
                    )
        self._lost_samples({cpu.place.cpu: cpu.counted for cpu in cpus}, cpus)
        if recording.cut:
            where = f"the file ends {recording.cut}"
            self.trace.losses.append(
                Loss(None, None, None, None, where, placed=False, severity="damaged")
            )
        if self.plan.index.guest_samples:
            self.trace.notes.append(
                f"{self.path}: {self.plan.index.guest_samples} samples are a guest's and left out"
            )
        super().finish(cpus)

    def _lost_samples(self, counted: dict[int, int], cpus: list[CpuLosses]) -> None:
        """LOST_SAMPLES repeats by event what LOST told: what goes beyond that has no place."""
        told = self.plan.index.told.lost_samples
        if not told:
            return
        by_event: dict[str, int] = {}
        by_cpu: dict[int | None, int] = {}
        for number, lost in told.items():
            name = self.plan.names.get(number, "other events")
            by_event[name] = by_event.get(name, 0) + lost
            cpu = self.plan.recording.index.get(number, (-1, -1))[0]
            place = cpu if cpu >= 0 else None
            by_cpu[place] = by_cpu.get(place, 0) + lost
        most = sorted(by_event.items(), key=lambda item: (-item[1], item[0]))
        self.trace.notes.append(
            f"{self.path}: events lost by kind (LOST_SAMPLES): "
            + ", ".join(f"{name} {lost}" for name, lost in most if lost)
        )
        if None in by_cpu:
            by_cpu, counted = {None: sum(by_cpu.values())}, {None: sum(counted.values())}  # type: ignore[dict-item]
        # Where somebody did not count, LOST_SAMPLES tells of the same events.
        uncounted = self.plan.sorted is not None or any(cpu.uncounted for cpu in cpus)
        for place, lost in by_cpu.items():
            left = lost - counted.get(place, 0)  # type: ignore[arg-type]
            if left > 0 and not uncounted:
                where = "LOST_SAMPLES at the end, which no LOST record told of"
                self.trace.losses.append(Loss(place, None, None, left, where, placed=False))


def _origin(unpacked: bool) -> Callable[[int], str]:
    """Says of a place which record of the file it is in."""
    behind = " of the unpacked data" if unpacked else ""
    return lambda place: f"record at byte {place & perflayout.OFFSET}{behind}"


class _PerfPass(Pass):
    """A pass over samples, each as long as it is needed."""

    plan: PerfPlan

    def __init__(self, trace: Trace, plan: PerfPlan) -> None:
        plan.index.new_pass()
        super().__init__(trace, plan)

    def loss_book(self) -> LossBook:
        """One that knows perf's records."""
        return _Book(self.trace, self.plan)

    def stream(self, place: CpuData, most: int) -> Iterator[Chunk]:
        """The samples of one CPU."""
        index = self.plan.index
        slot, ready = index.cpus.index(place.cpu), self.plan.sorted
        if ready is not None:
            return SortedStream(index, slot, ready.samples[slot]).chunks()
        return Stream(index, slot).chunks()

    def open(self, cpu: Cpu) -> None:
        """Nothing is kept: :meth:`records` reads again what somebody asks for."""

    def records(self, raw: NDArray[np.int64], event: NDArray[np.int32]) -> BlockRecords:
        """Those of the samples."""
        plan = self.plan
        return PerfRecords(raw, event, plan.recording, self.table.formats, plan.decoder)

    def payload(self, cpu: Cpu, _row: int, start: int) -> bytes:
        """A sample that the walk is at: its size stands in front."""
        size = int.from_bytes(cpu.data[start - 4 : start], self.plan.decoder.order)
        return bytes(cpu.data[start : start + size])

    def blocks(self) -> Iterator[EventBlock]:
        """As the base, with the names that COMM and FORK records tell at the end."""
        try:
            yield from super().blocks()
        finally:
            self.plan.index.forget()
        told, comms = self.plan.index.told, self.trace.comms
        for pid, (when, comm) in told.comms.items():
            if comm and pid and self.comm_times.get(pid, -1) <= when:
                comms[pid] = comm
        for task, parent in told.parents.items():
            if task not in comms and parent in comms:
                comms[task] = comms[parent]


def _blocks_of(plan: PerfPlan) -> Callable[[Trace], Iterator[EventBlock]]:
    return lambda trace: _PerfPass(trace, plan).blocks()


def _trace_of(recording: Recording) -> Trace:
    perffile.refuse_without_formats(recording)
    container, path = recording.container, recording.path
    rows = [layout_of(attr) for attr in recording.attrs]
    tracepoints = [attr for attr in recording.attrs if attr.type == TRACEPOINT]
    if not any(row[perflayout.WANTED] for row in rows):
        raise TraceError(
            "the samples lack their time, their CPU or the record itself (RAW)",
            path=path,
            hint=perffile.RECORD_HINT,
        )
    trace = Trace(path, "perf.data" + (" pipe" if recording.pipe else ""))
    if recording.unpacked:
        trace.format += " zstd"
    trace.kernel = perffile.text_of(recording, perffile.FEATURE_OSRELEASE)
    host = perffile.text_of(recording, perffile.FEATURE_HOSTNAME)
    trace.host = host if host != "(none)" else None
    _set_clock(recording, trace)
    forms = _formats(recording)
    used = {attr.config for attr in tracepoints}
    forms = [form for form in forms if form.id in used]
    for form in forms:
        trace.formats[form.key] = form
    table = EventTable(trace, forms, Symbols())
    _refuse_sampled(recording, trace, table)
    listed = sorted({cpu for cpu, _ in recording.index.values()})
    per_cpu = bool(listed) and listed[0] >= 0 and listed[-1] < MOST_CPUS
    index = Index(recording, listed if per_cpu else None)
    ready = sort(index) if needed(index) else None
    if ready is not None and backward(index):
        trace.losses_known = False
        trace.limits.append(_OVERWRITTEN)
    if _filtered(perffile.texts_of(recording, CMDLINE)):
        trace.losses_known = False
        trace.limits.append(_FILTERED)
    trace.cpus = _cpus(recording, index)
    if any(task >= 0 for _, task in recording.index.values()):
        trace.limits.append(_TASKS_ONLY)
    trace.total_bytes = sum(segment.end - segment.start for segment in recording.segments)
    comms = {0: "<idle>"}
    trace.comms = dict(comms)
    # What the file's head and its features say of themselves so far is damage to them.
    trace.broken = list(container.notes)
    if recording.cut:
        container.notes.append(f"{path}: the file ends {recording.cut}")
        trace.broken.append(container.notes[-1])
    trace.notes = list(container.notes)
    unpacked = recording.unpacked
    places = [CpuData(cpu, 0, 1, origin=_origin(unpacked)) for cpu in index.cpus]
    plan = PerfPlan(
        container,
        Buffer("", places, compressed=unpacked),
        _PAGE,
        _geometry(table, container.big),
        table,
        Correction(),
        RecordDecoder(container.big, container.long_size),
        comms,
        list(container.notes),
        {},
        recording,
        index,
        _names(recording, table),
        ready,
    )
    trace._plan = plan
    trace._blocks = _blocks_of(plan)
    return trace


def _set_clock(recording: Recording, trace: Trace) -> None:
    clocks = perffile.clock_ids(recording)
    if clocks is None:
        trace.clock = "perf"
        trace.limits.append(_OWN_CLOCK)
        return
    names = sorted(CLOCKS.get(clock, f"clockid {clock}") for clock in clocks)
    trace.clock = ", ".join(names)
    if len(names) > 1:
        trace.clock_global = False
        trace.limits.append(f"its events have times of different clocks: {trace.clock}")
    elif names[0] not in CLOCKS.values():
        trace.clock_global = False


def _formats(recording: Recording) -> list[EventFormat]:
    container = recording.container
    forms = [parse_format(text, "ftrace") for text in container.ftrace_formats]
    forms += [parse_format(text, system) for system, text in container.event_formats]
    good = [form for form in forms if form is not None]
    if len(good) < len(forms):
        container.notes.append(
            f"{container.path}: {len(forms) - len(good)} event formats cannot be read"
        )
    return good


def _refuse_sampled(recording: Recording, trace: Trace, table: EventTable) -> None:
    """An event of which only every so many-th was recorded proves nothing: it counts as OTHER."""
    for attr in recording.attrs:
        if attr.type != TRACEPOINT or (attr.period == 1 and not attr.flag(perffile.FREQ)):
            continue
        index = int(table.index_of[attr.config]) if 0 <= attr.config < 1 << 16 else -1
        form = table.formats[index] if index >= 0 else None
        if form is None:
            continue
        table.disable(index)
        trace.unusable[form.key] = ["a record of every event (record without -c and -F)"]


def _cpus(recording: Recording, index: Index) -> list[int]:
    """The CPUs that were online, as far as the file tells which."""
    listed = set(index.cpus)
    online = perffile.online_cpus(recording)
    if len(listed) < online:
        listed |= set(range(online))
    return sorted(listed)


def _names(recording: Recording, table: EventTable) -> dict[int, str]:
    """Id of an event -> ``system:name``."""
    names: dict[int, str] = {}
    for attr in recording.attrs:
        if attr.type == TRACEPOINT and 0 <= attr.config < 1 << 16:
            index = int(table.index_of[attr.config])
            if index >= 0:
                names.update(dict.fromkeys(attr.ids, table.trace.event_names[index]))
    return names


def _geometry(table: EventTable, big: bool) -> NDArray[np.int64]:
    """What is where in records, and in the pages of a piece (u64 time, u64 commit, records)."""
    geometry = geometry_of(table, big, 0)
    geometry[layout.PAGE_SIZE] = _PAGE
    geometry[layout.COMMIT_OFF], geometry[layout.DATA_OFF] = 8, 16
    geometry[layout.LONG] = 8
    return geometry
