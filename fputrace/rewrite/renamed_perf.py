"""A perf.data without the names that are in it.

Records that this knows get new names, as do the features; all others (maps of programs, symbols,
namespaces, control groups) are left out.  A file stays a file and a pipe a pipe; what was
compressed comes out plain, a directory becomes one file.  Facts: see
:mod:`fputrace.parsers.perffile`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import IO

from fputrace.errors import ReadError
from fputrace.events import Trace
from fputrace.parsers import perffile
from fputrace.parsers.container import MAGIC as FORMATS_MAGIC
from fputrace.parsers.perfdata import PerfPlan
from fputrace.parsers.perffile import (
    COMM,
    FEATURE_CMDLINE,
    FEATURE_HOSTNAME,
    FEATURE_NRCPUS,
    FEATURE_OSRELEASE,
    FEATURE_TRACING_DATA,
    FORK,
    HEADER_ATTR,
    HEADER_FEATURE,
    HEADER_TRACING_DATA,
    ID_INDEX,
    LOST,
    LOST_SAMPLES,
    SAMPLE,
    SAMPLE_ID_ALL,
    TRACEPOINT,
    Attr,
)
from fputrace.parsers.perfindex import (
    ADDR,
    BEFORE_READ,
    CALLCHAIN,
    ID,
    IDENTIFIER,
    IP,
    RAW,
    READ,
    TRAILER,
)
from fputrace.parsers.perfpack import records_of
from fputrace.plain import PlainTuple
from fputrace.rewrite.fields import RecordCleaner
from fputrace.rewrite.names import Names
from fputrace.rewrite.tracefile import HEADER_EVENT, Head

Progress = Callable[[Trace], None]

EXIT, THROTTLE, UNTHROTTLE, SWITCH, SWITCH_CPU_WIDE = 4, 5, 6, 14, 15
FINISHED_ROUND, TIME_CONV, FINISHED_INIT = 68, 79, 82
_AS_THEY_ARE = frozenset(
    {LOST, EXIT, THROTTLE, UNTHROTTLE, FORK, LOST_SAMPLES, SWITCH, SWITCH_CPU_WIDE}
    | {FINISHED_ROUND, ID_INDEX, TIME_CONV, FINISHED_INIT}
)
"""Records that hold numbers only."""

_COUNTS = (1 << 0, 1 << 1)  # PERF_FORMAT_TOTAL_TIME_ENABLED, _RUNNING
_READ_ID, _GROUP, _READ_LOST = 1 << 2, 1 << 3, 1 << 4
_ADDRESSES_IN_ATTR = slice(56, 72)  # config1 and config2: a probe's function or its offset
_LARGEST = (1 << 16) - 8
_FEATURE_BITS = 256
_KEPT_WORDS = ("--filter", "--exclude-perf", "--overwrite")


class _Layout(PlainTuple):
    """Where in a sample what is."""

    attr: Attr
    addresses: tuple[int, ...]
    size: int  # of the fields in front of READ


def can_rename(trace: Trace, plan: PerfPlan) -> bool:
    """Whether nothing of it is damaged, and every sample tells which event it is of.

    Complete when a pass over the trace has ended.
    """
    whole = not plan.recording.cut and all(loss.severity == "lost" for loss in trace.losses)
    return whole and _id_place(plan.recording.attrs) is not None


def _id_place(attrs: list[Attr]) -> int | None:
    """Where the id is in a sample; -1 where all have one layout; None where nobody knows."""
    if len({(attr.sample_type, attr.read_format, attr.type) for attr in attrs}) == 1:
        return -1
    if all(attr.sample_type & IDENTIFIER for attr in attrs):
        return 0
    if all(attr.sample_type & ID for attr in attrs):
        places = {
            8 * sum(bool(attr.sample_type & bit) for bit in BEFORE_READ[1 : BEFORE_READ.index(ID)])
            for attr in attrs
            if not attr.sample_type & IDENTIFIER
        }
        if len(places) == 1:
            return places.pop()
    return None


def redact_perfdata(
    trace: Trace, plan: PerfPlan, names: Names, out: IO[bytes], progress: Progress | None = None
) -> int:
    """Write a recording with new names to a file that can be sought in; the number of its samples.

    Raises ReadError as the recording's file does.
    """
    return _Writer(trace, plan, names, out).write(progress)


class _Writer:
    def __init__(self, trace: Trace, plan: PerfPlan, names: Names, out: IO[bytes]) -> None:
        self.trace, self.plan, self.names, self.out = trace, plan, names, out
        self.recording = plan.recording
        self.order = plan.recording.order
        self.raw = perffile.raw_attrs(self.recording)
        attrs = [attr for attr, _ in self.raw]
        self.layouts = [self._layout(attr) for attr in attrs]
        self.by_id = {number: at for at, attr in enumerate(attrs) for number in attr.ids}
        place = _id_place(attrs)
        self.id_at = -1 if place is None else place
        trailing = attrs[0].sample_type if attrs and attrs[0].flag(SAMPLE_ID_ALL) else 0
        self.trailer = 8 * sum(bool(trailing & bit) for bit in TRAILER)
        big = self.recording.container.big
        self.cleaner = RecordCleaner(names, big, plan.decoder.long_size)

    def pack(self, form: str, *values: int) -> bytes:
        """Integers in the recording's byte order."""
        return struct.pack(self.order + form, *values)

    def _layout(self, attr: Attr) -> _Layout:
        place = 0
        addresses = []
        for bit in BEFORE_READ:
            if attr.sample_type & bit:
                if bit in (IP, ADDR):
                    addresses.append(place)
                place += 8
        return _Layout(attr, tuple(addresses), place)

    def write(self, progress: Progress | None) -> int:
        """The whole file, in the form that the recording has."""
        formats = self._formats()
        features = self._features()
        raw = [(attr, self._attr(attr, data)) for attr, data in self.raw]
        if self.recording.pipe:
            self.out.write(self._magic() + self.pack("Q", 16))
            for attr, data in raw:
                ids = self.pack(f"{len(attr.ids)}q", *attr.ids)
                self.out.write(self._record(HEADER_ATTR, data + ids))
            padded = formats.ljust(len(formats) + 7 & ~7, b"\0")
            self.out.write(self._record(HEADER_TRACING_DATA, self.pack("I", len(padded))))
            self.out.write(padded)
            for bit, data in sorted(features.items()):
                self.out.write(self._record(HEADER_FEATURE, self.pack("Q", bit) + data))
            return self._records(progress)
        places = []
        self.out.write(bytes(104))
        for attr, _ in raw:
            places.append((self.out.tell(), 8 * len(attr.ids)))
            self.out.write(self.pack(f"{len(attr.ids)}q", *attr.ids))
        attrs_at = self.out.tell()
        size = max((len(data) for _, data in raw), default=64)
        for (_, data), place in zip(raw, places, strict=True):
            self.out.write(data.ljust(size, b"\0") + self.pack("2Q", *place))
        data_at = self.out.tell()
        count = self._records(progress)
        end = self.out.tell()
        features[FEATURE_TRACING_DATA] = formats
        self._feature_table(features)
        words = [0] * (_FEATURE_BITS // 64)
        for bit in features:
            words[bit // 64] |= 1 << bit % 64
        sections = (attrs_at, (size + 16) * len(raw), data_at, end - data_at, 0, 0)
        self.out.seek(0)
        self.out.write(self._magic() + self.pack("2Q", 104, size + 16))
        self.out.write(self.pack("6Q", *sections) + self.pack("4Q", *words))
        return count

    def _magic(self) -> bytes:
        return perffile.MAGIC[::-1] if self.recording.container.big else perffile.MAGIC

    def _record(self, kind: int, body: bytes, misc: int = 0) -> bytes:
        body = body.ljust(len(body) + 7 & ~7, b"\0")
        return self.pack("IHH", kind, misc, len(body) + 8) + body

    # What it says of itself

    def _attr(self, attr: Attr, data: bytes) -> bytes:
        """A perf_event_attr, without the address of a probe that is no tracepoint."""
        clean = bytearray(data)
        if attr.type != TRACEPOINT:
            clean[_ADDRESSES_IN_ATTR] = bytes(len(clean[_ADDRESSES_IN_ATTR]))
        return bytes(clean)

    def _formats(self) -> bytes:
        """TRACING_DATA: the formats, version 0.6, without kallsyms, printk and command lines."""
        container = self.recording.container
        head = Head(
            container.big,
            container.long_size,
            container.page_size,
            container.header_page,
            container.header_event or HEADER_EVENT,
            container.ftrace_formats,
            container.event_formats,
        )
        start = FORMATS_MAGIC + b"0.6\0" + bytes([container.big, container.long_size])
        blocks = b"".join(block for _, block in head.blocks())
        return start + self.pack("I", container.page_size) + blocks

    def _features(self) -> dict[int, bytes]:
        features = self.recording.features
        found = {
            bit: features[bit] for bit in (FEATURE_OSRELEASE, FEATURE_NRCPUS) if bit in features
        }
        host = perffile.text_of(self.recording, FEATURE_HOSTNAME)
        if host is not None:
            found[FEATURE_HOSTNAME] = self._string(self.names.host(host))
        if FEATURE_CMDLINE in features:
            # Some options say that events are left out: the reader looks for those.
            words = ["perf", "record"]
            for word in perffile.texts_of(self.recording, FEATURE_CMDLINE):
                words += [kept for kept in _KEPT_WORDS if word.startswith(kept)]
            texts = b"".join(self._string(word) for word in words)
            found[FEATURE_CMDLINE] = self.pack("I", len(words)) + texts
        return found

    def _string(self, text: str) -> bytes:
        data = text.encode("utf-8", "replace") + b"\0"
        data = data.ljust(len(data) + 63 & ~63, b"\0")
        return self.pack("I", len(data)) + data

    def _feature_table(self, features: dict[int, bytes]) -> None:
        table = self.out.tell()
        self.out.write(bytes(16 * len(features)))
        places = []
        for _, data in sorted(features.items()):
            places += [self.out.tell(), len(data)]
            self.out.write(data)
        end = self.out.tell()
        self.out.seek(table)
        self.out.write(self.pack(f"{len(places)}Q", *places))
        self.out.seek(end)

    # Its records

    def _records(self, progress: Progress | None) -> int:
        trace = self.trace
        trace.read_bytes = count = 0
        for segment in self.recording.segments:
            for _at, kind, record, more in records_of(self.recording, segment):
                new = self._new(kind, record)
                self.out.write(new)
                trace.read_bytes += len(record) + more
                if kind == SAMPLE and new:
                    count += 1
                    if progress is not None and not count % 65536:
                        progress(trace)
            if segment.end < segment.told:
                raise ReadError("the file breaks off in its records", path=self.recording.path)
        return count

    def _new(self, kind: int, record: bytes) -> bytes:
        """A record with new names; b"" for one that is left out."""
        if kind in _AS_THEY_ARE:
            return record
        (misc,) = struct.unpack_from(self.order + "H", record, 4)
        if kind == COMM:
            return self._comm(record[8:], misc)
        return self._sample(record[8:], misc) if kind == SAMPLE else b""

    def _comm(self, body: bytes, misc: int) -> bytes:
        """COMM: u32 pid, u32 tid, the name up to a multiple of 8, the trailer."""
        end = len(body) - self.trailer
        if end < 8:
            return b""
        name = self.names.comm(body[8:end].split(b"\0")[0].decode("utf-8", "backslashreplace"))
        data = name.encode("utf-8", "replace") + b"\0"
        data = data.ljust(len(data) + 7 & ~7, b"\0")
        return self._record(COMM, body[:8] + data + body[end:], misc)

    def _sample(self, body: bytes, misc: int) -> bytes:
        number = 0
        if self.id_at >= 0:
            if len(body) < self.id_at + 8:
                return b""
            (key,) = struct.unpack_from(self.order + "q", body, self.id_at)
            number = self.by_id.get(key, -1)
        layout = self.layouts[number]
        attr = layout.attr
        if number < 0 or attr.type != TRACEPOINT or not attr.sample_type & RAW:
            return b""
        try:
            return self._tracepoint(layout, body, misc)
        except struct.error:
            return b""

    def _tracepoint(self, layout: _Layout, body: bytes, misc: int) -> bytes:
        """A sample: fields of fixed size, READ, CALLCHAIN, RAW; what follows is left empty."""
        kind, place = layout.attr.sample_type, layout.size
        out = bytearray(body[:place])
        for at in layout.addresses:
            (value,) = struct.unpack_from(self.order + "Q", body, at)
            struct.pack_into(self.order + "Q", out, at, self.names.pointer(value))
        if kind & READ:
            size = self._read_size(layout.attr.read_format, body, place)
            out += body[place : place + size]
            place += size
        if kind & CALLCHAIN:
            (count,) = struct.unpack_from(self.order + "Q", body, place)
            if count > len(body) // 8:
                return b""
            chain = struct.unpack_from(f"{self.order}{count}Q", body, place + 8)
            out += self.pack(f"{count + 1}Q", count, *(self.names.pointer(one) for one in chain))
            place += 8 * (count + 1)
        (size,) = struct.unpack_from(self.order + "I", body, place)
        payload = body[place + 4 : place + 4 + size]
        new = self._payload(payload)
        # perf_trace_buf_alloc(): the record with its size is a multiple of 8 bytes.
        new = new.ljust((len(new) + 4 + 7 & ~7) - 4, b"\0")
        out += self.pack("I", len(new)) + new
        left = max(0, len(body) - place - 4 - size)
        out += bytes(left)
        return self._record(SAMPLE, bytes(out), misc) if len(out) < _LARGEST else b""

    def _payload(self, payload: bytes) -> bytes:
        table = self.plan.table
        number = int.from_bytes(payload[:2], self.cleaner.order)
        index = int(table.index_of[number])
        form = table.formats[index] if index >= 0 else None
        return self.cleaner.clean(form, payload, 8)

    def _read_size(self, form: int, body: bytes, place: int) -> int:
        """Bytes of READ (perf_event_open(2), PERF_SAMPLE_READ)."""
        times = sum(bool(form & bit) for bit in _COUNTS)
        each = 1 + bool(form & _READ_ID) + bool(form & _READ_LOST)
        if not form & _GROUP:
            return 8 * (times + each)
        (count,) = struct.unpack_from(self.order + "Q", body, place)
        return 8 * int(1 + times + each * min(count, len(body)))
