"""Finds old names in the bytes of a new recording, packed or not."""

from __future__ import annotations

import re
from pathlib import Path

from fputrace.parsers import open_trace
from tests.parsers.rows import read_all
from tests.writers.container import KALLSYMS, read

LEAST_KERNEL = 0xFF00_0000_0000_0000
ERRORS = 0xFFFF_FFFF_FFFF_F000
IDLE = re.compile(r"<idle>|swapper/\d+|<\.\.\.>|")
_ADDRESS = re.compile(r"\b(?:0x)?([0-9a-f]{16})\b")


def names_in(path: Path, instance: str | None = None) -> set[str]:
    """Every text that a recording's records and its table of tasks hold."""
    trace, rows, _ = read_all(path, instance=instance, ordered=False)
    found = {*trace.comms.values()}
    for row in rows:
        found |= {value for value in row.fields.values() if isinstance(value, str)}
    found = {name for name in found if not IDLE.fullmatch(name) and not _number(name)}
    return found | {part for name in found for part in name.split("/") if part}


def _number(text: str) -> bool:
    return re.fullmatch(r"(0x)?[0-9a-f]+", text) is not None


def pointers_in(path: Path, instance: str | None = None) -> set[int]:
    """Every kernel address that a recording's records and its kallsyms hold."""
    found: set[int] = set()
    for row in read_all(path, instance=instance, ordered=False).rows:
        for value in row.fields.values():
            numbers = value if isinstance(value, tuple) else (value,)
            for one in numbers:
                number = int(one, 16) if isinstance(one, str) and _number(one) else one
                if isinstance(number, int) and number > 0:
                    found.add(number)
    return {value for value in found if LEAST_KERNEL <= value < ERRORS}


def symbols_in(path: Path) -> set[int]:
    """Every address of kallsyms."""
    text = read(path).blocks[KALLSYMS]
    addresses = {int(match[1], 16) for match in re.finditer(rb"^([0-9a-f]{16}) ", text, re.M)}
    return {address for address in addresses if LEAST_KERNEL <= address < ERRORS}


def unpacked(path: Path) -> bytes:
    """A trace.dat with all that is compressed in it laid open, and the file itself."""
    trace = read(path)
    pages = [page for buffer in trace.buffers for cpu in buffer.cpus.values() for page in cpu]
    options = [data for _, data in trace.options]
    names = [buffer.name.encode() for buffer in trace.buffers]
    return b"\0".join([*trace.blocks.values(), *options, *names, *pages, path.read_bytes()])


def formats_of(path: Path) -> bytes:
    """What a recording says of its events, which stays."""
    with open_trace(path) as trace:
        return repr(trace.formats).encode()


def leaks(data: bytes, names: set[str], pointers: set[int], known: bytes = b"") -> list[str]:
    """Names (as whole words) and pointers (8 bytes, hex) that `data` holds and `known` does not.

    A name of one or two letters is found in any data; its place is looked at by other tests.
    """
    found = []
    for name in sorted(names):
        word = re.compile(rb"(?<![\w.])" + re.escape(name.encode()) + rb"(?![\w.])")
        if len(name) > 2 and word.search(data) and not word.search(known):
            found.append(name)
    words = set()
    for start in range(8):
        chunk = data[start : start + (len(data) - start) // 8 * 8]
        words |= pointers & set(memoryview(chunk).cast("Q"))
    swapped = {int.from_bytes(value.to_bytes(8, "little"), "big") for value in pointers}
    for start in range(8):
        chunk = data[start : start + (len(data) - start) // 8 * 8]
        words |= swapped & set(memoryview(chunk).cast("Q"))
    found += [hex(value) for value in sorted(words)]
    text = data.decode("latin-1").lower()
    found += [hit for hit in _ADDRESS.findall(text) if int(hit, 16) in pointers]
    return found
