"""Recordings made to cost much: small files, or some megabytes, against time and memory.

Mutations of good recordings rarely find these, so each is made by hand: :data:`BOMBS`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping

import zstandard

from tests.fuzz.cutting import FINISHED_ROUND, record
from tests.fuzz.forms import SEEDS, Tree
from tests.fuzz.mutants import seeds_of
from tests.writers import TraceWriter
from tests.writers.container import CMDLINES, EVENTS, KALLSYMS

MEBI = 1 << 20


def _file(data: bytes) -> Tree:
    return {"": data}


def _line(number: int, cpu: int, args: str, *, comm: str = "a", pid: int = 7) -> str:
    return f"{comm:>16}-{pid:<7} [{cpu:03}] d....  {number // 10**6}.{number % 10**6:06}: {args}\n"


def _switch(prev: int, following: int) -> str:
    return (
        f"sched_switch: prev_comm=a prev_pid={prev} prev_prio=120 prev_state=S ==> "
        f"next_comm=a next_pid={following} next_prio=120"
    )


_FPU = "x86_fpu_regs_activated: x86/fpu: ffff98413fe73380 load: 1 xfeatures: 217 xcomp_bv: 0"


def _text(lines: Iterator[str]) -> Tree:
    return _file(("# tracer: nop\n#\n" + "".join(lines)).encode())


def _many_cpus() -> Tree:
    return _text(_line(n, n, _FPU) for n in range(60_000))


def _many_tasks() -> Tree:
    return _text(_line(n, n % 2, _switch(n, n + 1), pid=n) for n in range(1, 120_000))


def _many_names() -> Tree:
    return _text(_line(n, 0, f"event_{n}: x={n}") for n in range(100_000))


def _many_losses() -> Tree:
    def lines() -> Iterator[str]:
        for n in range(60_000):
            yield f"CPU:{n % 2} [LOST {n} EVENTS]\n"
            yield _line(n, n % 2, _FPU)

    return _text(lines())


def _losses_of_nobody() -> Tree:
    return _text(
        _line(n, 0, _FPU) if n % 100 == 0 else f"CPU:{n % 60_000} [LOST EVENTS]\n"
        for n in range(200_000)
    )


def _times_far_apart() -> Tree:
    return _text(_line(n * 8_999_999_999_000_000 // 40, 0, _FPU) for n in range(40))


def _long_lines(piece: str) -> Tree:
    whole = (SEEDS / "trace.txt").read_text()
    return _file((whole + piece * (3 * MEBI // len(piece)) + "\n" + whole).encode())


def _half_lines(piece: str) -> Tree:
    """A line that begins well, and goes on."""
    return _text(
        _line(n, 0, f"sched_switch: prev_comm={piece * (300_000 // len(piece))}") for n in range(9)
    )


def _json(depth: int, opening: str) -> Tree:
    return _file(b'{"fputrace":' + opening.encode() * depth)


def _json_wrapper(depth: int) -> Tree:
    return _file(b'{"traceEvents":' + b"[" * depth + b"]" * depth + b',"systemTraceEvents":"x"}')


def _zeros(size: int) -> bytes:
    """Zeros behind the start of a trace.dat, so that they are worth unpacking."""
    return b"\x17\x08\x44tracing6\0" + bytes(size)


def _lines_of_nothing(size: int) -> bytes:
    return b"# tracer: nop\n" + b"#\n" * (size // 2)


def _lines_behind(line: bytes, head: str = "") -> Tree:
    """Lines that say nothing, packed, behind a head."""
    return _file(gzip.compress(head.encode() + line * (100 * MEBI // len(line)), 1))


_SIZE = 300 * MEBI


def _streamed(engine: object, data: Callable[[], Iterator[bytes]]) -> bytes:
    return b"".join(engine.compress(piece) for piece in data()) + engine.flush()  # type: ignore[attr-defined, no-any-return]


def _much() -> Iterator[bytes]:
    yield _zeros(0)
    for _ in range(_SIZE // MEBI):
        yield bytes(MEBI)


def _gzip_twice() -> Tree:
    inner = _streamed(lzma.LZMACompressor(preset=0), _much)
    return _file(gzip.compress(gzip.compress(inner)))


def _many_members() -> Tree:
    out = io.BytesIO()
    with tarfile.open(mode="w:gz", fileobj=out, compresslevel=1) as archive:
        for number in range(250_000):
            archive.addfile(tarfile.TarInfo(f"d/{number}"))
    return _file(out.getvalue())


def _sparse_tar() -> Tree:
    """A member that says it has 8 GiB, and ends after 512 bytes."""
    member = tarfile.TarInfo("trace.dat")
    member.size = 8 << 30
    return _file(member.tobuf() + b"\x17\x08\x44tracing6\0".ljust(512, b"\0"))


def _zip_many() -> Tree:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(30_000):
            archive.writestr(f"d/{number}", b"")
    return _file(out.getvalue())


def _zip_bomb() -> Tree:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            with archive.open(f"{number}/trace.dat", "w") as member:
                member.write(_zeros(20 * MEBI))
    return _file(out.getvalue())


def _deep_archive() -> Tree:
    data = next(iter(seeds_of("trace")[0].parts.values()))
    for _ in range(40):
        data = gzip.compress(data, 1)
    return _file(data)


def _zstd_window() -> Tree:
    """A frame that asks for 2 GiB of history."""
    return _file(b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00")


def _xz_memory() -> Tree:
    """LZMA2 with a dictionary of 4 GiB - 1."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(_zeros(4096), filters=filters))
    at = data.index(b"\x21\x01") + 2  # LZMA2's one byte of properties
    data[at] = 40
    header = slice(12, 12 + 4 * (data[12] + 1))
    body = bytes(data[header])[:-4]
    import zlib

    data[header] = body + zlib.crc32(body).to_bytes(4, "little")
    return _file(bytes(data))


def _long_option() -> Tree:
    writer = TraceWriter(comms=dict.fromkeys(range(1, 200000), "a"))
    writer.event(0, 1000, 1, "sched_switch", prev_pid=1, next_pid=2)
    return _file(writer.file().to_bytes(7, "zstd"))


def _block_that_lies(section: int, size: int) -> Tree:
    """A count or a length of 2**31 - 1 in a block of trace.dat."""
    trace = TraceWriter().file()
    trace.blocks[section] = trace.word((1 << 31) - 1, size) + trace.blocks[section][size:]
    return _file(trace.to_bytes(6))


def _tracedat_many_cpus() -> Tree:
    writer = TraceWriter(cpus=8_000, page_size=256)
    for cpu in range(8_000):
        writer.event(cpu, 1000 + cpu, cpu + 1, "x86_fpu_regs_activated", fpu=5, flag=1)
    return _file(writer.file().to_bytes(7, "zstd"))


def _tracedat_large_chunks() -> Tree:
    """64 CPUs with 16 MiB of empty pages each, in chunks that pack to nearly nothing."""
    trace = TraceWriter(cpus=64).file()
    trace.buffers[0].cpus = {cpu: [bytes(16 * MEBI)] for cpu in range(64)}
    return _file(trace.to_bytes(7, "zstd"))


def _tracedat_shared_data() -> Tree:
    """8,000 CPUs that all have the same 2 MiB."""
    writer = TraceWriter(cpus=8_000)
    for number in range(100_000):
        writer.event(0, 1000 + number, 7, "kvm_fpu", load=number & 1)
    whole = bytearray(writer.file().to_bytes(6))
    table = whole.index(b"flyrecord\0") + 10
    whole[table : table + 16 * 8_000] = whole[table : table + 16] * 8_000
    return _file(bytes(whole))


def _tracedat_far_times() -> Tree:
    writer = TraceWriter()
    for number in range(60):
        writer.event(0, 1 + number * (1 << 56), 1, "kvm_fpu", load=number & 1)
        writer.page(0)
    return _file(writer.file().to_bytes(6))


def _perf_empty_records(kind: int, size: int) -> Tree:
    perf = seeds_of("perf.data pipe")[0].parts[""]
    return _file(perf + struct.pack("<IHH", kind, 0, size) * 400_000)


def _perf_rounds() -> Tree:
    return _file(seeds_of("perf.data pipe")[0].parts[""] + record(FINISHED_ROUND, b"") * 400_000)


def _perf_packed() -> Tree:
    """COMPRESSED records that hold 300 MiB of nothing."""
    perf = seeds_of("perf.data pipe")[0].parts[""]
    engine = zstandard.ZstdCompressor().compressobj()
    data = b"".join(engine.compress(piece) for piece in _much())
    data += engine.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)
    return _file(
        perf + b"".join(record(81, data[at : at + 60_000]) for at in range(0, len(data), 60_000))
    )


def _pftrace_nested() -> Tree:
    inner = b""
    for _ in range(2000):
        inner = b"\x0a" + _varint(len(inner)) + inner
    return _file(inner)


def _pftrace_small() -> Tree:
    """A million empty packets."""
    return _file(b"\x0a\x00" * 1_000_000)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _jsonl_wide() -> Tree:
    whole = seeds_of("jsonl")[0].parts[""]
    head, _, rest = whole.partition(b"\n")
    wide = json.dumps({f"k{n}": n for n in range(200_000)}).encode()
    return _file(head + b"\n" + wide + b"\n" + rest)


def _html(scripts: int) -> Tree:
    one = b'<script class="trace-data" type="application/text">\n'
    return _file(b"<!DOCTYPE html>\n<html>\n" + one * scripts + b"# tracer: nop\n")


BOMBS: Mapping[str, Callable[[], Tree]] = {
    "text of 60,000 CPUs": _many_cpus,
    "text of 120,000 tasks": _many_tasks,
    "text of 100,000 events' names": _many_names,
    "text of 60,000 losses": _many_losses,
    "text of losses on CPUs without events": _losses_of_nobody,
    "text over 285 years": _times_far_apart,
    **{
        f"lines of 3 MB: {piece!r}": lambda piece=piece: _long_lines(piece)  # type: ignore[misc]
        for piece in (
            " ",
            "a",
            "a-1 [000] ",
            "[",
            " ==> ",
            "-",
            "a: ",
            "1.",
            "> ",
            "[ 1.0] ",
            "<0>",
        )
    },
    **{
        f"events of 300 KB: {piece!r}": lambda piece=piece: _half_lines(piece)  # type: ignore[misc]
        for piece in ("a", " ==> ", "prev_pid=1 ", " next_comm=a next_pid=1 ", "=", " ")
    },
    "JSON, 1,000,000 deep": lambda: _json(1_000_000, "["),
    "JSON, objects 100,000 deep": lambda: _json(100_000, '{"a":'),
    "JSON wrapper, 100,000 deep": lambda: _json_wrapper(100_000),
    "jsonl of 200,000 keys": _jsonl_wide,
    "gz of 300 MiB": lambda: _file(gzip.compress(_zeros(_SIZE), 6)),
    "gz of 300 MiB of empty lines": lambda: _file(gzip.compress(_lines_of_nothing(_SIZE), 6)),
    **{
        f"gz of 100 MiB of {line!r}": lambda line=line: _lines_behind(line)  # type: ignore[misc]
        for line in (b"\n", b"a\n", b"> \n", b"[ 1.0] x\n", b"Linux\n", b"#012" * 2000 + b"\n")
    },
    "gz of an event and 100 MiB of newlines": lambda: _lines_behind(b"\n", _line(1, 0, _FPU)),
    "gz of 100 MiB of newlines in a page": lambda: _lines_behind(
        b"\n", '<html><script class="trace-data">\n# tracer: nop\n'
    ),
    "gz of 100 MiB of newlines behind numbers": lambda: _lines_behind(b"\n", "1:a\n2:a\n3:a\n"),
    "bz2 of 300 MiB": lambda: _file(_streamed(bz2.BZ2Compressor(), _much)),
    "xz of 300 MiB": lambda: _file(_streamed(lzma.LZMACompressor(preset=0), _much)),
    "zst of 300 MiB": lambda: _file(_streamed(zstandard.ZstdCompressor().compressobj(), _much)),
    "gz in gz of xz of 300 MiB": _gzip_twice,
    "gz 40 deep": _deep_archive,
    "zstd with a window of 2 GiB": _zstd_window,
    "xz with a dictionary of 4 GiB": _xz_memory,
    "tar.gz of 250,000 members": _many_members,
    "tar with a member of 8 GiB": _sparse_tar,
    "zip of 30,000 members": _zip_many,
    "zip of 20 traces of 20 MiB": _zip_bomb,
    "trace.dat of 200,000 names": _long_option,
    "trace.dat of 8,000 CPUs": _tracedat_many_cpus,
    "trace.dat of 64 chunks of 16 MiB": _tracedat_large_chunks,
    "trace.dat of 8,000 CPUs in one place": _tracedat_shared_data,
    "trace.dat over 100 years": _tracedat_far_times,
    "trace.dat, 2**31 event systems": lambda: _block_that_lies(EVENTS, 4),
    "trace.dat, 2 GiB of kallsyms": lambda: _block_that_lies(KALLSYMS, 4),
    "trace.dat, 2 GiB of names": lambda: _block_that_lies(CMDLINES, 8),
    "perf.data of empty LOST records": lambda: _perf_empty_records(2, 8),
    "perf.data of empty samples": lambda: _perf_empty_records(9, 8),
    "perf.data of records of size 0": lambda: _perf_empty_records(9, 0),
    "perf.data of 400,000 rounds": _perf_rounds,
    "perf.data -z of 300 MiB": _perf_packed,
    "pftrace, 2,000 deep": _pftrace_nested,
    "pftrace of 1,000,000 empty packets": _pftrace_small,
    "HTML of 10,000 scripts": lambda: _html(10_000),
    "HTML of one script": lambda: _html(1),
}
"""What it is -> the recording."""
