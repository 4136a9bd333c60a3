"""Small recordings cut out of the samples: some hundred events in 10 to 40 KB, everything in them.

A fuzzer's speed is the size of what it feeds: one analysis of such a file costs milliseconds.
Nothing here uses the readers under test.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.tools.records import records, shape_of
from tests.writers import TraceFile, container
from tests.writers.pages import Endian

KALLSYMS_BYTES = 2048


# trace.dat


def small_tracedat(path: Path, pages: int, start: int = 0) -> TraceFile:
    """``pages`` consecutive ring-buffer pages (by time) from the ``start``-th on.

    Of the event formats only those that occur are kept, of kallsyms the beginning.
    """
    trace = container.read(path)
    buffer = trace.buffers[0]
    every = sorted(
        (int.from_bytes(page[:8], trace.endian), cpu, number)
        for cpu, data in buffer.cpus.items()
        for number, page in enumerate(data)
    )
    kept = {(cpu, number) for _, cpu, number in every[start : start + pages]}
    buffer.cpus = {
        cpu: [page for number, page in enumerate(data) if (cpu, number) in kept]
        for cpu, data in buffer.cpus.items()
    }
    shape = shape_of(trace)
    ids = {
        int.from_bytes(record.data[:2], trace.endian)
        for data in buffer.cpus.values()
        for page in data
        for record in records(page, shape)
        if record.data is not None
    }
    trace.blocks[container.EVENTS] = only_formats(trace.blocks[container.EVENTS], ids, trace.endian)
    trace.blocks[container.FTRACE] = trace.word(0, 4)
    for block, size in ((container.KALLSYMS, 4), (container.PRINTK, 4)):
        text = trace.blocks[block][size : size + KALLSYMS_BYTES].rpartition(b"\n")[0] + b"\n"
        trace.blocks[block] = trace.word(len(text), size) + text
    return trace


def only_formats(block: bytes, ids: set[int], endian: Endian) -> bytes:
    """A block of event formats with only the events whose number occurs."""
    cursor = container.Bytes(block, endian)
    out = bytearray()
    systems = 0
    for _ in range(cursor.int(4)):
        name = cursor.string().encode()
        texts = [cursor.take(cursor.int(8)) for _ in range(cursor.int(4))]
        texts = [text for text in texts if _number_of(text) in ids]
        if texts:
            systems += 1
            out += name + b"\0" + len(texts).to_bytes(4, endian)
            out += b"".join(len(text).to_bytes(8, endian) + text for text in texts)
    return systems.to_bytes(4, endian) + out


def _number_of(text: bytes) -> int:
    found = re.search(rb"^ID: (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else -1


# perf.data

SAMPLE, COMPRESSED, HEADER_ATTR, HEADER_TRACING_DATA = 9, 81, 64, 66
FINISHED_ROUND, HEADER_FEATURE = 68, 80
TRACING_DATA, COMPRESSION = 1, 27
_HEADER = struct.Struct("<8sQQQQQQQQ4Q")
# What only costs bytes: build ids, CPU cache and memory topology, BPF programs, PMU lists.
_DULL_FEATURES = {2, 11, 13, 14, 15, 16, 20, 22, 25, 26, 28, 30, 31}
_DULL_RECORDS = {1, 10, 17, 18}  # mappings of libraries, symbols, BPF


@dataclass(frozen=True)
class PerfFile:
    """A little-endian perf.data in pieces: attr entries, feature sections, records in order."""

    attrs: tuple[tuple[bytes, tuple[int, ...]], ...]
    features: dict[int, bytes]
    records: tuple[bytes, ...]

    def data(self) -> bytes:
        """The records as one stream."""
        return b"".join(self.records)

    def file(self, data: bytes | None = None) -> bytes:
        """File mode, with other bytes as the data section if given."""
        data = self.data() if data is None else data
        ids_at = _HEADER.size
        ids = b"".join(struct.pack(f"<{len(n)}Q", *n) for _, n in self.attrs)
        attrs_at = ids_at + len(ids)
        entries = bytearray()
        for attr, numbers in self.attrs:
            entries += attr + struct.pack("<QQ", ids_at, 8 * len(numbers))
            ids_at += 8 * len(numbers)
        data_at = attrs_at + len(entries)
        entry_size = len(self.attrs[0][0]) + 16
        bits = [0, 0, 0, 0]
        for bit in self.features:
            bits[bit // 64] |= 1 << bit % 64
        head = _HEADER.pack(
            b"PERFILE2", 104, entry_size, attrs_at, len(entries), data_at, len(data), 0, 0, *bits
        )
        at = data_at + len(data) + 16 * len(self.features)
        table, sections = bytearray(), bytearray()
        for bit in sorted(self.features):
            table += struct.pack("<QQ", at + len(sections), len(self.features[bit]))
            sections += self.features[bit]
        return head + ids + bytes(entries) + data + bytes(table) + bytes(sections)

    def pipe(self, data: bytes | None = None) -> bytes:
        """Pipe mode: what ``perf record -o -`` writes."""
        out = bytearray(struct.pack("<8sQ", b"PERFILE2", 16))
        for attr, numbers in self.attrs:
            out += record(HEADER_ATTR, attr + struct.pack(f"<{len(numbers)}Q", *numbers))
        for bit, body in self.features.items():
            if bit != TRACING_DATA:
                section = struct.pack("<Q", bit) + body + bytes(-len(body) % 8)
                out += record(HEADER_FEATURE, section)
        tracing = self.features[TRACING_DATA]
        tracing += bytes(-len(tracing) % 8)
        out += record(HEADER_TRACING_DATA, struct.pack("<I", len(tracing))) + tracing
        return bytes(out) + (self.data() if data is None else data)


def record(kind: int, body: bytes, misc: int = 0) -> bytes:
    """One perf record."""
    return struct.pack("<IHH", kind, misc, 8 + len(body)) + body


def read_perf(path: Path) -> PerfFile:
    """A little-endian, uncompressed perf.data of file mode."""
    raw = path.read_bytes()
    _, _, entry, attrs_at, attrs_size, data_at, data_size, _, _, *words = _HEADER.unpack_from(raw)
    attrs = []
    for at in range(attrs_at, attrs_at + attrs_size, entry):
        ids_at, ids_size = struct.unpack_from("<QQ", raw, at + entry - 16)
        ids = struct.unpack_from(f"<{ids_size // 8}Q", raw, ids_at)
        attrs.append((raw[at : at + entry - 16], ids))
    features = {}
    table = data_at + data_size
    for bit in range(256):
        if words[bit // 64] >> bit % 64 & 1:
            at, size = struct.unpack_from("<QQ", raw, table)
            features[bit] = raw[at : at + size]
            table += 16
    return PerfFile(tuple(attrs), features, tuple(split(raw[data_at : data_at + data_size])))


def beside(data: bytes, at: int) -> int:
    """Bytes behind a record that its size does not count: HEADER_TRACING_DATA's payload."""
    if int.from_bytes(data[at : at + 4], "little") != HEADER_TRACING_DATA:
        return 0
    return int.from_bytes(data[at + 8 : at + 12], "little")


def split(data: bytes) -> Iterator[bytes]:
    """The records of a stream, HEADER_TRACING_DATA's payload not among them."""
    at = 0
    while at + 8 <= len(data):
        size = max(8, struct.unpack_from("<H", data, at + 6)[0])
        yield data[at : at + size]
        at += size


def small_perf(path: Path, samples: int, skip: int = 0) -> PerfFile:
    """``samples`` samples after the first ``skip``, with the COMM, FORK and LOST between them."""
    perf = read_perf(path)
    kept: list[bytes] = []
    seen = 0
    for one in perf.records:
        kind = struct.unpack_from("<I", one)[0]
        if kind in _DULL_RECORDS or (seen < skip and kind not in (3, 7)):
            seen += kind == SAMPLE
            continue
        seen += kind == SAMPLE
        if seen > skip + samples:
            break
        kept.append(one)
    kept.append(record(FINISHED_ROUND, b""))
    features = {b: body for b, body in perf.features.items() if b not in _DULL_FEATURES}
    ids = {struct.unpack_from("<Q", attr, 8)[0] for attr, _ in perf.attrs}
    features[TRACING_DATA] = _small_tracing(features[TRACING_DATA], ids)
    return replace(perf, features=features, records=tuple(kept))


def _small_tracing(block: bytes, ids: set[int]) -> bytes:
    """TRACING_DATA without the formats that no attr names, and with the beginning of kallsyms."""
    cursor = container.Bytes(block, "little", len(container.MAGIC))
    cursor.string()
    cursor.take(6)
    start = block[: cursor.at]
    for _ in range(2):  # header_page, header_event
        cursor.string()
        cursor.take(cursor.int(8))
    headers = block[len(start) : cursor.at]
    for _ in range(cursor.int(4)):
        cursor.take(cursor.int(8))
    events = cursor.at
    for _ in range(cursor.int(4)):
        cursor.string()
        for _ in range(cursor.int(4)):
            cursor.take(cursor.int(8))
    formats = only_formats(block[events : cursor.at], ids, "little")
    texts = []
    for _ in range(2):  # kallsyms, printk formats
        text = cursor.take(cursor.int(4))[:KALLSYMS_BYTES].rpartition(b"\n")[0]
        text += b"\n" if text else b""
        texts.append(struct.pack("<I", len(text)) + text)
    return start + headers + bytes(4) + formats + b"".join(texts) + block[cursor.at :]


def compressed(perf: PerfFile, compress: Callable[[bytes], bytes], piece: int = 3000) -> PerfFile:
    """``perf record -z``: the same records as COMPRESSED ones, an event may straddle two.

    ``compress`` gives what a zstd stream that is never reset has for the next piece.
    """
    data = perf.data()
    packed = [compress(data[at : at + piece]) for at in range(0, len(data), piece)]
    features = {**perf.features, COMPRESSION: struct.pack("<5I", 1, 1, 1, 2, 0x81000)}
    return replace(perf, features=features, records=tuple(record(COMPRESSED, p) for p in packed))


# text


def small_text(path: Path, lines: int, skip: int = 0) -> bytes:
    """The header of a text and ``lines`` lines of it."""
    every = path.read_bytes().splitlines(keepends=True)
    header = [line for line in every[:20] if line.startswith((b"#", b"cpus=", b"version ="))]
    return b"".join(header + every[len(header) + skip :][:lines])
