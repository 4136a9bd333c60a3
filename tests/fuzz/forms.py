"""Every form of recording that is fuzzed, as small seeds: :data:`FORMS`.

A seed keeps what is inside (pages, records, lines) apart from what stands around it (a container, a
compression), so that a mutation can go inside and still reach the reader behind the container.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import json
import lzma
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import zstandard

from fputrace.parsers import open_trace
from tests.fuzz.cutting import (
    PerfFile,
    beside,
    compressed,
    small_perf,
    small_text,
    small_tracedat,
    split,
)
from tests.writers import Compression, TraceFile, pftrace
from tests.writers.tracefs import write_tracefs

SAMPLES = Path(__file__).parent.parent.parent / "sample_traces"
SEEDS = Path(__file__).parent / "seeds"

Tree = Mapping[str, bytes]
"""A file, under the name "", or the files of a folder."""


def _as_it_is(parts: Tree) -> Tree:
    return parts


# Where a cut must show


def always(_data: bytes, _at: int) -> bool:
    """The recording says where it ends."""
    return True


def never(_data: bytes, _at: int) -> bool:
    """A file among others that may as well be shorter."""
    return False


def in_a_line(data: bytes, at: int) -> bool:
    """A text may end with any line."""
    return at > 0 and data[at - 1] != 10 and data[at] != 10


def in_text(data: bytes, at: int) -> bool:
    """The text has an end, but it need not end with a line feed."""
    return data[at:] != b"\n"


def in_a_record(data: bytes, at: int) -> bool:
    """A pipe of perf records may end with any of them."""
    place = 16
    while place < at:
        place += max(8, int.from_bytes(data[place + 6 : place + 8], "little")) + beside(data, place)
    return place != at


def in_a_packet(data: bytes, at: int) -> bool:
    """A file of protobuf packets (field 1, length-delimited) may end with any of them."""
    place = 0
    while place < at:
        size = shift = 0
        place += 1
        while data[place] > 127:
            size |= (data[place] & 127) << shift
            shift += 7
            place += 1
        place += 1 + (size | data[place] << shift)
    return place != at


def before_padding(data: bytes, at: int) -> bool:
    """A tar archive ends with zeros."""
    return data[at:].strip(b"\0") != b""


@dataclass(frozen=True)
class Seed:
    """``parts``: what is mutated, one of them at a time; ``pack`` makes the recording of them.

    ``text``: the parts are lines.  ``tells(data, at)``: whether a file that is cut at that byte can
    be known to be cut.
    """

    parts: Tree
    pack: Callable[[Tree], Tree] = _as_it_is
    text: bool = False
    tells: Callable[[bytes, int], bool] = always


def _file(data: bytes, text: bool = False) -> Seed:
    return Seed({"": data}, text=text, tells=in_a_line if text else always)


def write(tree: Tree, folder: Path) -> Path:
    """A mutant on disk, as a file ``recording`` or a folder of that name."""
    target = folder / "recording"
    if set(tree) == {""}:
        target.write_bytes(tree[""])
        return target
    for name, data in tree.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)
    return target


# trace.dat

# Cases of every generation, the first of their pages that is taken, and how it is written.
_DATS: tuple[tuple[str, int], ...] = (
    ("4.14.5-pinned", 20),
    ("5.2.1-pinned", 30),
    ("6.1-storm-lost", 40),
    ("6.12-kfpu-probes", 60),
    ("6.12-two-vms", 50),
    ("7.2-storm", 90),
)


@lru_cache
def _dat(case: str, start: int, pages: int = 4) -> TraceFile:
    return small_tracedat(SAMPLES / case / "trace.dat", pages, start)


def _dats(version: int, compression: Compression = "none") -> list[Seed]:
    return [_file(_dat(*which).to_bytes(version, compression, 2)) for which in _DATS]


def _dats_inside(compression: Compression) -> list[Seed]:
    """Pages are mutated before they are compressed."""

    def seed(trace: TraceFile) -> Seed:
        parts = {str(cpu): b"".join(pages) for cpu, pages in trace.buffers[0].cpus.items()}

        def pack(changed: Tree) -> Tree:
            size = trace.page_size
            cpus = {
                int(cpu): [data[at : at + size] for at in range(0, len(data), size)]
                for cpu, data in changed.items()
            }
            buffer = dataclasses.replace(trace.buffers[0], cpus=cpus)
            file = dataclasses.replace(trace, buffers=[buffer])
            return {"": file.to_bytes(7, compression, 2)}

        return Seed(parts, pack)

    return [seed(_dat(*which)) for which in _DATS]


# perf.data

_PERFS = (("5.2.1-pinned", 2000), ("5.10-pinned", 3000), ("6.12-perf-lost", 5840))


@lru_cache
def _perf(case: str, skip: int, samples: int = 200) -> PerfFile:
    return small_perf(SAMPLES / case / "perf.data", samples, skip)


def _zstd_stream() -> Callable[[bytes], bytes]:
    """One zstd stream over all pieces, flushed behind each, as perf does."""
    stream = zstandard.ZstdCompressor().compressobj()
    return lambda data: stream.compress(data) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def _perf_z(perf: PerfFile, pipe: bool) -> Seed:
    def pack(changed: Tree) -> Tree:
        plain = dataclasses.replace(perf, records=tuple(split(changed[""])))
        packed = compressed(plain, _zstd_stream())
        return {"": packed.pipe() if pipe else packed.file()}

    return Seed({"": perf.data()}, pack, tells=in_a_record if pipe else always)


def _perf_folder(perf: PerfFile) -> Seed:
    """``perf record --threads``: the header in ``data``, each thread's records in ``data.N``."""
    records = perf.records
    features = {**perf.features, 24: (1).to_bytes(8, "little")}
    head = dataclasses.replace(perf, features=features, records=())
    parts = {"data": head.file(), "data.0": b"".join(records[::2])}
    return Seed({**parts, "data.1": b"".join(records[1::2])}, tells=never)


# text

_CANONICAL = re.compile(rb"^ *(.+)-(\d+) +\[(\d+)\] (\S+) +(\d+)\.(\d{6}): (.*)$")


def _trace_txt() -> bytes:
    return (SEEDS / "trace.txt").read_bytes()


def _console() -> bytes:
    """``ftrace_dump_on_oops`` in a serial log: the latency form, other lines between."""
    lines = ["Linux version 5.10.0-32-cloud-amd64 (x@y) #1 SMP", "Dumping ftrace buffer:", "-" * 33]
    first = None
    for number, line in enumerate(_trace_txt().splitlines()):
        match = _CANONICAL.match(line)
        if match is None:
            continue
        comm, pid, cpu, flags, seconds, fraction, rest = (word.decode() for word in match.groups())
        us = int(seconds) * 1_000_000 + int(fraction)
        first = us if first is None else first
        lines.append(f"{comm[:8]:>8}-{pid:<7} {int(cpu):3}{flags} {us - first:4}us : {rest}")
        if number % 50 == 0:
            lines.append("CPU: 1 PID: 0 Comm: swapper/1 Tainted: G      D")
        if number % 70 == 0:
            lines.append(f"CPU:{int(cpu)} [LOST 12 EVENTS]")
    lines += ["-" * 33, "Kernel panic - not syncing: Fatal exception"]
    return "".join(f"[ {n / 1000 + 9:12.6f}] {t}\n" for n, t in enumerate(lines)).encode()


def _systrace_html() -> bytes:
    head = b'<!DOCTYPE html>\n<html><body>\n<script class="trace-data" type="application/text">\n'
    text = _trace_txt().replace(b"&", b"&amp;").replace(b"<", b"&lt;")
    return head + text + b"</script>\n</body></html>\n"


def _systrace_json() -> bytes:
    return json.dumps({"traceEvents": [], "systemTraceEvents": _trace_txt().decode()}).encode()


def _mail() -> bytes:
    quoted = b"".join(b"> " + line + b"\n" for line in _trace_txt().splitlines()[:90])
    return b"From: someone\nSubject: Re: FPU\n\nOn Monday someone wrote:\n" + quoted


def _flowed_mail() -> bytes:
    """What a mail program sends that breaks lines behind blanks, and says so."""
    head = b"From: someone\nContent-Type: text/plain; format=flowed\n\nLook:\n\n"
    lines = (line.replace(b": ", b": \n", 1) for line in _trace_txt().splitlines()[:90])
    return head + b"\n".join(lines) + b"\n\n-- \nsomeone\n"


def _deltatime() -> bytes:
    """As ``perf script --deltatime -F +ip,+sym`` prints it."""
    before: int | None = None
    lines = []
    for line in (SEEDS / "perf-script-default.txt").read_bytes().splitlines():
        found = re.search(rb" (\d+)\.(\d{6}): ", line)
        if found is None:
            continue
        now = int(found[1] + found[2])
        passed = divmod(now - (now if before is None else before), 10**6)
        before = now
        told = line[: found.start()], *passed, line[found.end() :]
        lines.append(b"%b %d.%06d: %b ffffffff81234567 __schedule\n" % told)
    return b"".join(lines)


def _texts(*stems: str) -> list[Seed]:
    return [_file((SEEDS / f"{stem}.txt").read_bytes(), text=True) for stem in stems]


def _big_text() -> list[Seed]:
    return [
        _file(small_text(SAMPLES / case / "trace.txt", 400, skip), text=True)
        for case, skip in (("5.10-pinned", 6000), ("6.12-pipe-lost", 29000))
    ]


# containers


def _lz4(data: bytes) -> bytes:
    import lz4.frame

    return bytes(lz4.frame.compress(data, content_checksum=True))


def _tar(tree: Tree, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(mode=mode, fileobj=out) as archive:  # type: ignore[call-overload]
        for name, data in tree.items():
            member = tarfile.TarInfo(f"sent/{name or 'trace.dat'}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _zip(tree: Tree) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in tree.items():
            archive.writestr(zipfile.ZipInfo(f"sent/{name or 'trace.dat'}"), data)
    return out.getvalue()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 6, mtime=0),
    "xz": lambda data: lzma.compress(data, preset=1),
    "zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "bz2": bz2.compress,
    "lz4": _lz4,
}


def _insides() -> list[Seed]:
    """What people put into a container."""
    return [
        _file(_dat("6.1-storm-lost", 40, 2).to_bytes(7, "none")),
        _file(_dat("7.2-storm", 90, 2).to_bytes(6)),
        _file(_perf("6.12-perf-lost", 5840).file()),
        *_texts("trace", "trace-cmd-report-t"),
    ]


def _compressed(name: str) -> list[Seed]:
    pack = COMPRESSIONS[name]
    return [Seed(seed.parts, lambda tree: {"": pack(tree[""])}, seed.text) for seed in _insides()]


def _archived(
    pack: Callable[[Tree], bytes], tells: Callable[[bytes, int], bool] = always
) -> list[Seed]:
    seeds = [*_insides(), *_tracefs()]
    return [Seed(seed.parts, lambda tree: {"": pack(tree)}, seed.text, tells) for seed in seeds]


def _tracefs() -> list[Seed]:
    seeds = []
    for case, start, pages in (("6.1-storm-lost", 40, True), ("5.10-pinned", 0, False)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            text = None if pages else _trace_txt()
            write_tracefs(folder, _dat(case, start), pages=pages, text=text)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            parts = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        seeds.append(Seed(parts, tells=never))
    return seeds


# what fputrace writes itself


def _converted(form: str) -> list[Seed]:
    from fputrace.convert import convert_trace

    seeds = []
    for case, start in (_DATS[0], _DATS[2]):
        with tempfile.TemporaryDirectory() as name:
            source = Path(name) / "trace.dat"
            source.write_bytes(_dat(case, start).to_bytes(6))
            target = Path(name) / "out"
            with open_trace(source) as trace:
                convert_trace(trace, form, str(target))
            files = [target] if target.is_file() else sorted(target.iterdir())
            parts = {"" if path == target else path.name: path.read_bytes() for path in files}
        tells = {"jsonl": in_text, "parquet": always, "text": in_a_line}[form]
        seeds.append(Seed(parts, text=form != "parquet", tells=tells))
    return seeds


_PERFETTOS: tuple[tuple[pftrace.Generic, bool, pftrace.Compression], ...] = (
    ("named", True, "none"),
    ("described", False, "none"),
    ("named", True, "deflate"),
    ("described", True, "zstd"),
)


def _pftraces() -> list[Seed]:
    seeds = []
    for generic, compact, packing in _PERFETTOS:
        with tempfile.TemporaryDirectory() as name:
            source = Path(name) / "trace.dat"
            source.write_bytes(_dat("6.1-storm-lost", 40, 2).to_bytes(6))
            writer = pftrace.PerfettoWriter(generic=generic, compact=compact)
            with open_trace(source) as trace:
                pftrace.write_trace(writer, trace)
            seeds.append(Seed({"": writer.to_bytes(packing)}, tells=in_a_packet))
    return seeds


FORMS: Mapping[str, Callable[[], list[Seed]]] = {
    "trace.dat v6": lambda: _dats(6),
    "trace.dat v7": lambda: _dats(7),
    "trace.dat v7 zstd": lambda: _dats(7, "zstd") + _dats_inside("zstd"),
    "trace.dat v7 zlib": lambda: _dats(7, "zlib") + _dats_inside("zlib"),
    "perf.data": lambda: [_file(_perf(*which).file()) for which in _PERFS],
    "perf.data pipe": lambda: [
        Seed({"": _perf(*which).pipe()}, tells=in_a_record) for which in _PERFS
    ],
    "perf.data -z": lambda: [
        _perf_z(_perf(*which), pipe) for which in _PERFS for pipe in (False, True)
    ],
    "perf.data folder": lambda: [_perf_folder(_perf(*_PERFS[1]))],
    "trace": lambda: _texts("trace") + _big_text()[:1],
    "trace_pipe": lambda: _texts("trace_pipe") + _big_text()[1:],
    "trace-cmd report": lambda: _texts(
        "trace-cmd-report",
        "trace-cmd-report-4.14",
        "trace-cmd-report-l",
        "trace-cmd-report-t",
        "trace-cmd-report-R",
        "trace-cmd-report-ts-diff",
    ),
    "perf script": lambda: [
        *_texts("perf-script", "perf-script-default", "perf-script-F"),
        _file(_deltatime(), text=True),
    ],
    "console": lambda: [_file(_console(), text=True)],
    "systrace": lambda: [
        _file(data, text=True)
        for data in (_systrace_html(), _systrace_json(), _mail(), _flowed_mail())
    ],
    **{name: lambda name=name: _compressed(name) for name in COMPRESSIONS},  # type: ignore[misc]
    "tar": lambda: _archived(_tar, before_padding),
    "tar.gz": lambda: _archived(lambda tree: _tar(tree, "w:gz")),
    "zip": lambda: _archived(_zip),
    "tracefs": _tracefs,
    "pftrace": _pftraces,
    "jsonl": lambda: _converted("jsonl"),
    "parquet": lambda: _converted("parquet"),
    "text of convert": lambda: _converted("text"),
}
"""Name of a form -> its seeds."""
