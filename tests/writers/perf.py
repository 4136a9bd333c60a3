"""Writes exact perf.data files from Python values; see :class:`PerfWriter`."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import zstandard

from tests.writers.container import EVENTS, FTRACE, HEADERS
from tests.writers.pages import Endian
from tests.writers.trace import TraceWriter

Form = Literal["file", "pipe", "zstd", "zstd2", "zstd pipe"]

# enum perf_event_sample_format
IP, TID, TIME, ADDR, READ, CALLCHAIN, ID, CPU, PERIOD, STREAM_ID, RAW, IDENTIFIER = (
    1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x100, 0x200, 0x400, 0x10000,
)  # fmt: skip
USUAL = IDENTIFIER | IP | TID | TIME | CPU | PERIOD | RAW
"""What perf record asks for with several tracepoints."""

# read_format
ENABLED, RUNNING, READ_ID, GROUP, READ_LOST = 1, 2, 4, 8, 16

# Flags of perf_event_attr.
FREQ, SAMPLE_ID_ALL, USE_CLOCKID, WRITE_BACKWARD = 10, 18, 25, 27

KERNEL = 1  # cpumode in the misc field of a record


class PerfWriter:
    """Collects records in the order in which the file is to have them, and writes a perf.data.

    >>> w = PerfWriter(kernel="5.2.1", cpus=2)
    >>> w.event(0, 1000, 1, "sched_switch", prev_pid=1, next_pid=2, next_comm="fphog")
    >>> w.lost(0, 12, 2000)
    >>> w.event(0, 2000, 2, "kvm_fpu", load=1)
    >>> path = w.write(tmp_path / "perf.data", "pipe")  # doctest: +SKIP

    Parameters
    ----------
    kernel : the release in OSRELEASE, which chooses the formats (``None`` leaves the feature out).
    events : which events are recorded; each has an id for every CPU.
    cpus : how many CPUs, or their numbers.
    sample_type, read_format : of every event; ``sample_types`` says otherwise for some.
    attr_size : bytes of a perf_event_attr, 64 to 136 so far.
    clockid : ``-k``; None leaves perf's own clock.
    id_index : write ID_INDEX; ``"task"`` says that buffers are per task (``--per-thread``).
    """

    def __init__(
        self,
        kernel: str | None = "6.12.0",
        *,
        events: Sequence[str] = ("sched_switch", "kvm_fpu", "x86_fpu_regs_activated"),
        cpus: int | Sequence[int] = 2,
        endian: Endian = "little",
        long_size: int = 8,
        sample_type: int = USUAL,
        read_format: int = READ_ID,
        sample_types: Mapping[str, int] | None = None,
        attr_size: int = 128,
        clockid: int | None = 1,
        sample_id_all: bool = True,
        id_index: bool | Literal["task"] = True,
        backward: bool = False,
        tracing_version: str = "0.6",
        period: int = 1,
    ):
        self.endian: Endian = endian
        self.order = "<" if endian == "little" else ">"
        self.kernel = kernel
        self.cpus = list(range(cpus)) if isinstance(cpus, int) else list(cpus)
        self.events = list(events)
        self.trace = TraceWriter(kernel or "6.12.0", endian=endian, long_size=long_size)
        self.sample_types = dict.fromkeys(events, sample_type) | dict(sample_types or {})
        self.read_format, self.attr_size, self.clockid = read_format, attr_size, clockid
        self.sample_id_all, self.id_index, self.backward = sample_id_all, id_index, backward
        self.tracing_version, self.period = tracing_version, period
        self.guests: set[str] = set()
        self.hostname = "box"
        self.more_features: dict[int, bytes] = {}
        self.cmdline = ["perf", "record", "-a"]
        self.records: list[tuple[int, bytes]] = []

    # --- records -------------------------------------------------------------------------------

    def id_of(self, name: str, cpu: int) -> int:
        """The id of an event on a CPU."""
        return 1000 + self.events.index(name) * len(self.cpus) + self.cpus.index(cpu)

    def record(
        self, cpu: int, kind: int, body: bytes, misc: int = 0, size: int | None = None
    ) -> None:
        """A record of any type, in the buffer of a CPU."""
        header = self._pack("IHH", kind, misc, len(body) + 8 if size is None else size)
        self.records.append((cpu, header + body))

    def event(
        self,
        cpu: int,
        ts: int,
        pid: int,
        name: str,
        /,
        *,
        tid: int | None = None,
        misc: int = KERNEL,
        chain: Sequence[int] = (),
        values: int = 1,
        cut: int | None = None,
        **fields: Any,
    ) -> None:
        """A sample: ``pid`` is the ``common_pid``, ``tid`` what perf has beside it.

        ``chain`` is its call chain and ``values`` how many a READ of a group has, where the
        sample_type has them; ``cut`` keeps that many bytes of the record.  ``flag`` as in
        :meth:`TraceWriter.event`.
        """
        layout = self.trace.layouts[name]
        if "flag" in fields and layout.spec.system == "x86_fpu":
            fields[layout.fields[1].field.name] = fields.pop("flag")
        record = layout.pack({"common_pid": pid, **fields})[:cut]
        raw = self._pack("I", len(record) + -(len(record) + 4) % 8) + record
        raw += bytes(-len(raw) % 8)
        kind, number = self.sample_types[name], self.id_of(name, cpu)
        tid = pid if tid is None else tid
        parts = (
            (IDENTIFIER, self._pack("Q", number)),
            (IP, self._pack("Q", 0xFFFFFFFF81000000)),
            (TID, self._pack("ii", tid, tid)),
            (TIME, self._pack("Q", ts)),
            (ADDR, self._pack("Q", 0xADD)),
            (ID, self._pack("Q", number)),
            (STREAM_ID, self._pack("Q", 5)),
            (CPU, self._pack("II", cpu, 0)),
            (PERIOD, self._pack("Q", 1)),
            (READ, self._read(number, values)),
            (CALLCHAIN, self._pack(f"{len(chain) + 1}Q", len(chain), *chain)),
            (RAW, raw),
        )
        self.record(cpu, 9, b"".join(data for bit, data in parts if kind & bit), misc)

    def lost(self, cpu: int, count: int, ts: int, name: str | None = None) -> None:
        """LOST: ``count`` events, written at ``ts`` in front of what comes next."""
        name = name or self.events[0]
        body = self._pack("QQ", self.id_of(name, cpu), count)
        self.record(cpu, 2, body + self.trailer(cpu, ts, name))

    def throttle(self, cpu: int, ts: int, name: str | None = None, on: bool = True) -> None:
        """THROTTLE, or UNTHROTTLE where ``on`` is False."""
        name = name or self.events[0]
        body = self._pack("QQQ", ts, self.id_of(name, cpu), self.id_of(name, cpu))
        self.record(cpu, 5 if on else 6, body + self.trailer(cpu, ts, name))

    def lost_samples(self, cpu: int, count: int, name: str, misc: int = 0) -> None:
        """LOST_SAMPLES, as perf appends one for each id."""
        self.record(cpu, 13, self._pack("Q", count) + self.trailer(0, 0, name, cpu), misc)

    def comm(self, cpu: int, tid: int, comm: str, ts: int = 0) -> None:
        """COMM of a thread."""
        text = comm.encode() + b"\0"
        text += bytes(-len(text) % 8)
        self.record(
            cpu, 3, self._pack("ii", tid, tid) + text + self.trailer(cpu, ts, self.events[0])
        )

    def fork(self, cpu: int, tid: int, parent: int, ts: int = 0) -> None:
        """FORK of a thread."""
        body = self._pack("iiiiQ", tid, parent, tid, parent, ts)
        self.record(cpu, 7, body + self.trailer(cpu, ts, self.events[0]))

    def finished_round(self) -> None:
        """FINISHED_ROUND: all buffers were read once."""
        self.record(-1, 68, b"")

    def trailer(self, cpu: int, ts: int, name: str, of_cpu: int | None = None) -> bytes:
        """What ``sample_id_all`` puts behind records that are no samples."""
        if not self.sample_id_all:
            return b""
        number = self.id_of(name, cpu if of_cpu is None else of_cpu)
        parts = (
            (TID, self._pack("ii", 1, 1)),
            (TIME, self._pack("Q", ts)),
            (ID, self._pack("Q", number)),
            (STREAM_ID, self._pack("Q", 5)),
            (CPU, self._pack("II", cpu, 0)),
            (IDENTIFIER, self._pack("Q", number)),
        )
        kind = self.sample_types[name]
        return b"".join(data for bit, data in parts if kind & bit)

    def _read(self, number: int, values: int) -> bytes:
        form = self.read_format
        times = self._pack("Q", 7) * bool(form & ENABLED)
        times += self._pack("Q", 8) * bool(form & RUNNING)
        value = self._pack("Q", 42)
        value += self._pack("Q", number) * bool(form & READ_ID)
        value += self._pack("Q", 0) * bool(form & READ_LOST)
        if form & GROUP:
            return self._pack("Q", values) + times + value * values
        # A single value stands in front of the times.
        return value[:8] + times + value[8:]

    # --- the rest of the file ------------------------------------------------------------------

    def attr(self, name: str) -> bytes:
        """The perf_event_attr of an event."""
        flags = [SAMPLE_ID_ALL] * self.sample_id_all + [WRITE_BACKWARD] * self.backward
        flags += [USE_CLOCKID] * (self.clockid is not None)
        bits = sum(1 << flag for flag in flags)
        if self.endian == "big":
            bits = int(f"{bits:064b}"[::-1], 2)
        attr = self._pack(
            "II5Q",
            2,
            self.attr_size,
            self.trace.layouts[name].id,
            self.period,
            self.sample_types[name],
            self.read_format,
            bits,
        )
        attr = attr.ljust(92, b"\0") + self._pack("i", self.clockid or 0)
        return attr.ljust(self.attr_size, b"\0")[: self.attr_size]

    def ids(self, name: str) -> bytes:
        """The ids of an event."""
        return self._pack(f"{len(self.cpus)}Q", *(self.id_of(name, cpu) for cpu in self.cpus))

    def tracing_data(self) -> bytes:
        """TRACING_DATA, as tools/perf/util/trace-event-info.c writes it."""
        blocks = self.trace.file().blocks
        head = b"\x17\x08\x44tracing" + self.tracing_version.encode() + b"\0"
        head += bytes([self.endian == "big", self.trace.long_size]) + self._pack("I", 4096)
        tail = self._pack("II", 0, 0)  # kallsyms and printk formats
        if self.tracing_version == "0.6":
            tail += self._pack("Q", 0)  # saved command lines
        return head + blocks[HEADERS] + blocks[FTRACE] + blocks[EVENTS] + tail

    def features(self, form: Form = "file") -> dict[int, bytes]:
        """Feature bit -> section, without TRACING_DATA."""
        features = self.more_features | {
            3: self._string(self.hostname),
            7: self._pack("II", len(self.cpus), len(self.cpus)),
            11: self._pack("I", len(self.cmdline)) + b"".join(map(self._string, self.cmdline)),
        }
        if self.kernel is not None:
            features[4] = self._string(self.kernel)
        if self.clockid is not None:
            features[29] = self._pack("IIQQ", 1, self.clockid, 1 << 60, 1 << 40)
        if "zstd" in form:  # version, type, level, ratio, mmap_len
            features[27] = self._pack("5I", 1, 1, 1, 2, 1 << 20)
        return features

    def index(self) -> bytes:
        """ID_INDEX, with machine_pid and vcpu where an event is a guest's."""
        rows, more = b"", b""
        pairs = [(name, cpu) for name in self.events for cpu in self.cpus]
        for number, (name, cpu) in enumerate(pairs):
            place = -1 if self.id_index == "task" else cpu
            task = 77 if self.id_index == "task" else -1
            rows += self._pack("QQqq", self.id_of(name, cpu), number, place, task)
            more += self._pack("QQ", 555 if name in self.guests else 0, 0)
        body = self._pack("Q", len(pairs)) + rows + (more if self.guests else b"")
        return self._pack("IHH", 69, 0, len(body) + 8) + body

    def body(self, form: Form = "file", piece: int = 1000) -> bytes:
        """The records; in zstd forms those of buffers in one stream, cut every `piece` bytes."""
        head = self.index() if self.id_index else b""
        if "zstd" not in form:
            return head + b"".join(data for _, data in self.records)
        engine = zstandard.ZstdCompressor().compressobj()
        inside = b"".join(data for cpu, data in self.records if cpu >= 0)
        out = head
        for at in range(0, len(inside), piece):
            packed = engine.compress(inside[at : at + piece])
            packed += engine.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            if form == "zstd2":
                padded = packed + bytes(-len(packed) % 8)
                out += self._pack("IHHQ", 83, 0, 16 + len(padded), len(packed)) + padded
            else:
                out += self._pack("IHH", 81, 0, 8 + len(packed)) + packed
            out += self._pack("IHH", 82, 0, 8)  # FINISHED_INIT, which means nothing here
        return out

    def to_bytes(self, form: Form = "file", *, killed: bool = False, more: bytes = b"") -> bytes:
        """The file; ``killed`` as perf leaves it behind when it cannot end; ``more`` records."""
        if form in ("pipe", "zstd pipe"):
            head = self._magic() + self._pack("Q", 16) + self._pipe_head(form)
            last_round = b"" if killed else self._pack("IHH", 68, 0, 8)
            return head + self.body(form) + more + last_round
        ids = b"".join(self.ids(name) for name in self.events)
        each = len(self.ids(self.events[0]))
        attrs = b"".join(
            self.attr(name) + self._pack("QQ", 104 + each * number, each)
            for number, name in enumerate(self.events)
        )
        body = self.body(form) + more
        start = 104 + len(ids) + len(attrs)
        features = {} if killed else {1: self.tracing_data(), **self.features(form)}
        sections, table = b"", b""
        at = start + len(body) + 16 * len(features)
        for bit in sorted(features):
            table += self._pack("QQ", at + len(sections), len(features[bit]))
            sections += features[bit]
        return b"".join(
            (
                self._header(len(ids), len(attrs), start, 0 if killed else len(body), features),
                ids,
                attrs,
                body,
                table,
                sections,
            )
        )

    def write(self, path: Path, form: Form = "file") -> Path:
        """Write the file and return ``path``."""
        path.write_bytes(self.to_bytes(form))
        return path

    def write_folder(self, path: Path) -> Path:
        """Write a directory (``--threads``): each CPU's records in a file of their own."""
        path.mkdir()
        records, self.records = self.records, []
        self.more_features = {24: self._pack("Q", 1)}
        (path / "data").write_bytes(self.to_bytes())
        for number, cpu in enumerate(self.cpus):
            own = b"".join(data for of, data in records if of in (cpu, -1))
            (path / f"data.{number}").write_bytes(own)
        return path

    def _magic(self) -> bytes:
        return b"PERFILE2" if self.endian == "little" else b"2ELIFREP"

    def _header(
        self, ids: int, attrs: int, start: int, size: int, features: Mapping[int, bytes]
    ) -> bytes:
        bits = [sum(1 << b % 64 for b in features if b // 64 == word) for word in range(4)]
        return self._magic() + self._pack(
            "12Q", 104, self.attr_size + 16, 104 + ids, attrs, start, size, 0, 0, *bits
        )

    def _pipe_head(self, form: Form) -> bytes:
        out = b""
        for name in self.events:
            body = self.attr(name) + self.ids(name)
            out += self._pack("IHH", 64, 0, len(body) + 8) + body
        for bit, data in self.features(form).items():
            padded = self._pack("Q", bit) + data + bytes(-len(data) % 8)
            out += self._pack("IHH", 80, 0, len(padded) + 8) + padded
        data = self.tracing_data()
        data += bytes(-len(data) % 8)
        return out + self._pack("IHHI", 66, 0, 12, len(data)) + data

    def _string(self, text: str) -> bytes:
        data = text.encode() + b"\0"
        data += bytes(-len(data) % 64)
        return self._pack("I", len(data)) + data

    def _pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(self.order + layout, *values)
