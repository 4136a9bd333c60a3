"""The container of perf.data: header, attributes and features, in file mode and in pipe mode.

Facts: tools/perf/Documentation/perf.data-file-format.txt, ``struct perf_event_attr`` in
include/uapi/linux/perf_event.h, and tools/perf/util/header.c for the features.  What the events
are is in TRACING_DATA, which is the start of a trace.dat of version 6 under another magic.
"""

from __future__ import annotations

import struct
from dataclasses import field

from fputrace.errors import FormatError, TraceError
from fputrace.parsers import container as tracedat
from fputrace.parsers.container import (
    LARGEST_TEXT,
    MOST_CPUS,
    Container,
    read_event_formats,
    read_ftrace_formats,
    read_headers,
)
from fputrace.parsers.source import Cursor, Source
from fputrace.plain import PlainTuple, plain

MAGIC = b"PERFILE2"
TRACEPOINT = 2  # enum perf_type_id, PERF_TYPE_TRACEPOINT

# enum perf_event_type, and from 64 on perf's own.
LOST, COMM, FORK, SAMPLE, LOST_SAMPLES = 2, 3, 7, 9, 13
HEADER_ATTR, HEADER_TRACING_DATA, ID_INDEX, AUXTRACE = 64, 66, 69, 71
HEADER_FEATURE, COMPRESSED, COMPRESSED2 = 80, 81, 83

# Features (tools/perf/util/header.h).
FEATURE_TRACING_DATA, FEATURE_HOSTNAME, FEATURE_OSRELEASE = 1, 3, 4
FEATURE_NRCPUS, FEATURE_CMDLINE = 7, 11
FEATURE_DIR_FORMAT, FEATURE_COMPRESSED = 24, 27

PIPE_CUT = "the pipe ends in the middle of a round of samples"
"""What is wrong with a pipe whose last record holds samples: FINISHED_ROUND ends each round."""

_WANTED = (
    FEATURE_TRACING_DATA,
    FEATURE_HOSTNAME,
    FEATURE_OSRELEASE,
    FEATURE_NRCPUS,
    FEATURE_CMDLINE,
    FEATURE_DIR_FORMAT,
    FEATURE_COMPRESSED,
)

# Bits of the flags behind read_format.
FREQ, SAMPLE_ID_ALL, USE_CLOCKID, WRITE_BACKWARD = 10, 18, 25, 27

_HEAD = 104  # bytes of the header in file mode
_PIPE_HEAD = 16
_ATTR_LEAST = 64  # PERF_ATTR_SIZE_VER0
_CLOCKID_AT = 92
_MOST_ATTRS = 1 << 16
_MOST_IDS = 1 << 22
_LARGEST_FEATURE = 1 << 24
_MOST_AHEAD = 1 << 17  # records of its own that perf writes before anything else

RECORD_HINT = (
    "Record tracepoints: perf record -a -k mono -e 'x86_fpu:*' -e 'kvm:kvm_fpu' -e 'kvm:kvm_entry' "
    "-e 'kvm:kvm_exit' -e 'sched:*' -- sleep 10"
)


class Attr(PlainTuple):
    """What was asked of the kernel for one event: the fields of perf_event_attr that matter.

    ``flags`` has bit 0 for ``disabled`` in either byte order; ``name`` is from EVENT_DESC.
    """

    type: int
    config: int
    period: int
    sample_type: int
    read_format: int
    flags: int
    clockid: int
    ids: tuple[int, ...]
    name: str = ""

    def flag(self, bit: int) -> bool:
        """Whether a bit of the flags is set."""
        return bool(self.flags >> bit & 1)


class Segment(PlainTuple):
    """Where records are: bytes `start` to `end` of a source, which should go on to `told`.

    `reason` says why they do not, where that is known.
    """

    source: Source
    start: int
    end: int
    told: int
    reason: str = ""


@plain
class Recording:
    """What a perf.data says about itself, and where its records are.

    ``container`` holds the formats; ``sources`` is what is to be closed.  ``index`` is ID_INDEX:
    id -> CPU, task; ``guests`` are the ids whose events come from a guest.  ``unpacked``: the
    records were compressed, so that their offsets are those of the unpacked data.
    """

    container: Container
    pipe: bool
    attrs: list[Attr] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    features: dict[int, bytes] = field(default_factory=dict)
    index: dict[int, tuple[int, int]] = field(default_factory=dict)
    guests: set[int] = field(default_factory=set)
    has_formats: bool = False
    unpacked: bool = False
    cut: str = ""
    """Where the file breaks off outside its records; "" when it does not."""

    @property
    def order(self) -> str:
        """Byte order for :mod:`struct`."""
        return ">" if self.container.big else "<"

    @property
    def path(self) -> str:
        """Name of the file, for messages."""
        return self.container.path


def read_start(source: Source) -> Recording:
    """Header, attributes and features of a file; of a pipe, where its records begin.

    Raises FormatError when this is no perf.data of the current layout, or breaks off in front of
    its records.
    """
    head = source.read(0, _PIPE_HEAD, "header")
    if head[:8] not in (MAGIC, MAGIC[::-1]):
        raise FormatError(
            f"expected the magic {MAGIC!r} of perf.data, found {head[:8]!r}",
            path=source.path,
            offset=0,
            hint="Leave --format-in away: what it is, is found from its content.",
        )
    big = head[:8] == MAGIC[::-1]
    container = Container(source, 0, big, 8, 4096)
    (size,) = struct.unpack(">Q" if big else "<Q", head[8:16])
    if size == _PIPE_HEAD:
        recording = Recording(container, pipe=True, sources=[source])
        recording.segments.append(Segment(source, _PIPE_HEAD, source.size, source.size))
        return recording
    if size < _HEAD:
        raise FormatError(
            f"a header of {size} bytes cannot be (a file's has {_HEAD}, a pipe's {_PIPE_HEAD})",
            path=source.path,
            offset=8,
        )
    recording = Recording(container, pipe=False, sources=[source])
    _read_header(recording, source)
    return recording


def _read_header(recording: Recording, source: Source) -> None:
    head = source.read(0, _HEAD, "header")
    order = recording.order
    attr_size, attrs_at, attrs_size, data_at, data_size = struct.unpack_from(order + "5Q", head, 16)
    bits = _feature_bits(head[72:104], order)
    if not _ATTR_LEAST + 16 <= attr_size <= 4096 or attrs_size % attr_size:
        raise FormatError(
            f"attributes of {attr_size} bytes in {attrs_size} bytes cannot be",
            path=source.path,
            offset=16,
        )
    count = attrs_size // attr_size
    if count > _MOST_ATTRS:
        raise FormatError(f"{count} attributes cannot be", path=source.path, offset=32)
    raw = source.read(attrs_at, attrs_size, "attributes")
    for at in range(0, attrs_size, attr_size):
        ids_at, ids_size = struct.unpack_from(order + "2Q", raw, at + attr_size - 16)
        if ids_size // 8 + len(recording.attrs) > _MOST_IDS:
            raise FormatError(
                f"{ids_size // 8} ids of one event cannot be",
                path=source.path,
                offset=attrs_at + at,
            )
        ids = source.read(ids_at, ids_size // 8 * 8, "ids of an event")
        recording.attrs.append(parse_attr(raw[at : at + attr_size - 16], ids, order))
    if data_size == 0 and not _table_fits(source, data_at, bits, order):
        # perf writes the size, and what comes behind the records, when it ends.
        recording.container.notes.append(
            f"{source.path}: the header says that there are no records: perf record was killed "
            "before it could write how many; they are read up to the end of the file"
        )
        recording.segments.append(Segment(source, data_at, source.size, source.size))
        return
    end = min(data_at + data_size, source.size)
    recording.segments.append(Segment(source, min(data_at, end), end, data_at + data_size))
    if data_at + data_size <= source.size:
        _read_features(recording, source, data_at + data_size, bits)


def raw_attrs(recording: Recording) -> list[tuple[Attr, bytes]]:
    """Each event's attribute and its bytes, once.

    ``attrs`` has those of a compressed pipe twice.  Raises ReadError when the file shrinks.
    """
    source, order = recording.container.source, recording.order
    if not recording.pipe:
        size, place, _ = struct.unpack(order + "3Q", source.read_known(16, 24, "header"))
        return [
            (attr, source.read_known(place + number * size, size - 16, "attributes"))
            for number, attr in enumerate(recording.attrs)
        ]
    wanted = set(recording.attrs)
    found: dict[Attr, bytes] = {}
    at = _PIPE_HEAD
    while len(found) < len(wanted) and at + 8 <= source.size:
        kind, _, size = struct.unpack(order + "IHH", source.read_known(at, 8, "record"))
        body = source.read_known(at + 8, max(size, 8) - 8, "record")
        if kind == HEADER_ATTR and len(body) >= _ATTR_LEAST:
            (length,) = struct.unpack_from(order + "I", body, 4)
            found[parse_attr(body[:length], body[length:], order)] = body[:length]
        elif kind in (HEADER_TRACING_DATA, AUXTRACE):
            at += more_behind(kind, body, order)
        at += max(size, 8)
    return list(found.items())


def _feature_bits(words: bytes, order: str) -> list[int]:
    """Numbers of the features that are there, in the order in which their table has them."""
    values = struct.unpack(order + "4Q", words)
    return [64 * i + bit for i, value in enumerate(values) for bit in range(64) if value >> bit & 1]


def _table_fits(source: Source, at: int, bits: list[int], order: str) -> bool:
    """Whether the features' table is at `at`: its first section is right behind it."""
    size = 16 * len(bits)
    if not bits or at + size > source.size:
        return False
    (first,) = struct.unpack_from(order + "Q", source.read(at, size, "table of the features"))
    return bool(first == at + size)


def _read_features(recording: Recording, source: Source, at: int, bits: list[int]) -> None:
    table = source.read(at, min(16 * len(bits), source.size - at), "table of the features")
    for number, bit in enumerate(bits):
        if 16 * number + 16 > len(table):
            recording.cut = f"in the table of the features at byte {at}"
            return
        offset, size = struct.unpack_from(recording.order + "2Q", table, 16 * number)
        if offset + size > source.size:
            recording.cut = recording.cut or f"in feature {bit} at byte {min(offset, source.size)}"
        elif bit == FEATURE_TRACING_DATA:
            read_tracing_data(recording, source, offset, size)
        elif bit in _WANTED and size <= _LARGEST_FEATURE:
            recording.features[bit] = source.read(offset, size, f"feature {bit}")


def parse_attr(raw: bytes, ids: bytes, order: str) -> Attr:
    """One perf_event_attr of whatever length, at least 64 bytes, and the ids of its event."""
    kind, _, config, period, sample_type, read_format, flags = struct.unpack_from(
        order + "2I5Q", raw
    )
    if order == ">":  # a bit field: the first flag is the first bit of the first byte
        flags = int(f"{flags:064b}"[::-1], 2)
    clockid = 0
    if len(raw) >= _CLOCKID_AT + 4:
        (clockid,) = struct.unpack_from(order + "i", raw, _CLOCKID_AT)
    numbers = struct.unpack(f"{order}{len(ids) // 8}q", ids[: len(ids) // 8 * 8])
    return Attr(kind, config, period, sample_type, read_format, flags, clockid, numbers)


def read_tracing_data(recording: Recording, source: Source, at: int, size: int) -> None:
    """The formats, as tools/perf/util/trace-event-info.c writes them: versions 0.5 and 0.6."""
    container = recording.container
    if size > LARGEST_TEXT:
        raise FormatError(f"event formats of {size} bytes cannot be", path=source.path, offset=at)
    data = source.read(at, size, "event formats (TRACING_DATA)")
    cursor = Cursor(source, 0, container.big, data, at)
    head = cursor.take(len(tracedat.MAGIC), "magic of the event formats")
    if head != tracedat.MAGIC:
        raise FormatError(
            f"expected the event formats to begin with {tracedat.MAGIC!r}, found {head!r}",
            path=source.path,
            offset=at,
        )
    cursor.string("version of the event formats", 16)
    big, long_size = cursor.take(2, "endianness and long size")
    if big > 1 or long_size not in (4, 8):
        raise FormatError(
            f"expected endianness 0 or 1 and a long of 4 or 8 bytes, found {big} and {long_size}",
            path=source.path,
            offset=at,
        )
    container.long_size = long_size
    container.page_size = cursor.u32("page size")
    read_headers(container, cursor)
    read_ftrace_formats(container, cursor)
    read_event_formats(container, cursor)
    recording.has_formats = True


def read_ahead(recording: Recording) -> bool:
    """What stands in front of the first sample: of a pipe everything, else ID_INDEX.

    Returns False where records are compressed.  Raises FormatError for a pipe whose
    attributes or formats cannot be.
    """
    for segment in list(recording.segments):
        at, window, window_at = segment.start, b"", segment.start
        for _ in range(_MOST_AHEAD):
            if at + 8 > segment.end:
                break
            head = window[at - window_at : at - window_at + 8]
            if len(head) < 8:
                window_at = at
                window = segment.source.read_known(at, min(1 << 18, segment.end - at), "records")
                head = window[:8]
            kind, _, size = struct.unpack(recording.order + "IHH", head)
            if size < 8 or at + size > segment.end or kind in (SAMPLE, LOST):
                break
            if kind in (COMPRESSED, COMPRESSED2):
                return False
            more = 0
            if kind in (HEADER_ATTR, HEADER_TRACING_DATA, ID_INDEX, AUXTRACE, HEADER_FEATURE):
                body = segment.source.read_known(at + 8, size - 8, "record")
                more = _read_record(recording, segment, at, kind, body)
            at += size + more
    return FEATURE_COMPRESSED not in recording.features


def _read_record(recording: Recording, segment: Segment, at: int, kind: int, body: bytes) -> int:
    """One record of perf's own; returns how many bytes behind it belong to it."""
    order, source = recording.order, segment.source
    if kind == HEADER_ATTR and recording.pipe:
        size = struct.unpack_from(order + "I", body, 4)[0] if len(body) >= 8 else 0
        if not _ATTR_LEAST <= size <= len(body):
            raise FormatError(
                f"an attribute of {size} bytes cannot be in a record of {len(body) + 8}",
                path=source.path,
                offset=at,
            )
        recording.attrs.append(parse_attr(body[:size], body[size:], order))
        if len(recording.attrs) > _MOST_ATTRS:
            raise FormatError("this many attributes cannot be", path=source.path, offset=at)
    elif kind == HEADER_TRACING_DATA:
        size = more_behind(kind, body, order)
        if not recording.has_formats:
            read_tracing_data(recording, source, at + 8 + len(body), size)
        return size
    elif kind == ID_INDEX:
        read_id_index(recording, body)
    elif kind == AUXTRACE:
        return more_behind(kind, body, order)
    elif kind == HEADER_FEATURE and recording.pipe and len(body) >= 8:
        (bit,) = struct.unpack_from(order + "Q", body)
        if bit in _WANTED:
            recording.features[bit] = body[8:]
    return 0


def more_behind(kind: int, body: bytes, order: str) -> int:
    """Bytes behind a record that its size leaves out (HEADER_TRACING_DATA, AUXTRACE)."""
    form = "I" if kind == HEADER_TRACING_DATA else "Q"
    if len(body) < struct.calcsize("=" + form):
        return 0
    return int(struct.unpack_from(order + form, body)[0])


def read_id_index(recording: Recording, body: bytes) -> None:
    """ID_INDEX: which CPU and task an id was opened for, and since 6.1 which guest's it is.

    Entries of (id, idx, cpu, tid), then for each (machine_pid, vcpu) where that is in the record.
    """
    order = recording.order
    if len(body) < 8:
        return
    (count,) = struct.unpack_from(order + "Q", body)
    count = min(count, (len(body) - 8) // 32)
    for at in range(8, 8 + 32 * count, 32):
        number, _, cpu, task = struct.unpack_from(order + "4q", body, at)
        # perf stores an int: -1 comes as 32 or as 64 bits.
        recording.index[number] = (_as_int(cpu), _as_int(task))
    more = body[8 + 32 * count :]
    if len(more) >= 16 * count:
        for i in range(count):
            machine, _vcpu = struct.unpack_from(order + "2q", more, 16 * i)
            if machine:
                recording.guests.add(struct.unpack_from(order + "q", body, 8 + 32 * i)[0])


def _as_int(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def text_of(recording: Recording, feature: int) -> str | None:
    """A feature that is one string: u32 length, text, NUL."""
    data = recording.features.get(feature, b"")[4:].split(b"\0")[0]
    return data.decode("utf-8", "backslashreplace") if data else None


def texts_of(recording: Recording, feature: int) -> list[str]:
    """A feature that is a list of strings: u32 number, then each as :func:`text_of` has it."""
    data = recording.features.get(feature, b"")
    texts: list[str] = []
    at = 4
    while at + 4 <= len(data):
        (size,) = struct.unpack_from(recording.order + "I", data, at)
        raw = data[at + 4 : at + 4 + size].split(b"\0")[0]
        texts.append(raw.decode("utf-8", "backslashreplace"))
        at += 4 + size
    return texts


def online_cpus(recording: Recording) -> int:
    """NRCPUS: how many CPUs were online; 0 when the file does not say."""
    data = recording.features.get(FEATURE_NRCPUS, b"")
    if len(data) < 8:
        return 0
    available, online = struct.unpack_from(recording.order + "2I", data)
    # Older perf wrote them in the other order.
    fewer = min(available, online)
    return fewer if fewer <= MOST_CPUS else 0


def clock_ids(recording: Recording) -> set[int] | None:
    """The clocks of the tracepoints; None in the set's place when one runs on perf's own."""
    chosen = [attr for attr in recording.attrs if attr.type == TRACEPOINT]
    if any(not attr.flag(USE_CLOCKID) for attr in chosen):
        return None
    return {attr.clockid for attr in chosen}


def refuse_without_formats(recording: Recording) -> None:
    """Raise when this recording cannot give events, with the sentence that says why."""
    path, attrs = recording.path, recording.attrs
    if not attrs:
        raise FormatError(
            "there is no event in this recording", path=path, offset=0, hint=RECORD_HINT
        )
    if not any(attr.type == TRACEPOINT for attr in attrs):
        raise TraceError(
            "none of the events in this perf.data is a tracepoint",
            path=path,
            hint=RECORD_HINT,
        )
    if not recording.has_formats:
        segment = recording.segments[-1]
        if segment.end < segment.told or recording.cut:
            raise FormatError(
                "the file ends before the formats of its events (TRACING_DATA), which perf "
                "writes behind the records",
                path=path,
                # A packed recording was unpacked; where that broke off is no place in the file.
                offset=None if recording.unpacked else segment.source.size,
            )
        raise FormatError(
            "the formats of the events (TRACING_DATA) are missing, so nobody can read them",
            path=path,
            offset=segment.end,
            hint="perf record writes them when it ends: stop it with Ctrl-C (SIGINT), do not kill "
            "it. simpleperf does not write them at all. " + RECORD_HINT,
        )
