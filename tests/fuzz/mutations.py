"""How a recording is damaged: seeded, so that a failure can be made again."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.writers.pages import Endian

INTERESTING = (
    0,
    1,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x10000,
    1 << 27,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 8,
    (1 << 64) - 1,
)
MOST_BYTES = 4 << 20
"""A mutant that has grown beyond is left as it is."""
_MOST_WORDS = 1000
"""Words of a line that change places; a list of millions would take the memory of who reads it."""
ENDIANS: tuple[Endian, ...] = ("little", "big")
HOSTILE_BYTES = (
    b"\0",
    b"\x1b[2J\x1b]0;x\x07",
    b"\r",
    b"\x9b31m",
    b"\xc2\x9b31m",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"|`<b>&",
    b"%s%n",
    b"\t" * 9,
    b"(" * 40,
)
HOSTILE_NUMBERS = (
    b"-1",
    b"0",
    b"4294967296",
    b"18446744073709551615",
    b"99999999999999999999999999",
    b"9" * 5000,
    b"1e9",
    b"0x",
    b"0xffffffffffffffff",
    b"999999999.999999999999",
    "\u0661\u0662".encode(),
    b"-0",
    b"1_0",
)


def mutate(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """What was done, and ``data`` after it; ``other`` is a second file to splice with."""
    return _several(_binary, data, other, chance)


def mutate_text(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """The same for a text: mostly by lines and words, sometimes by bytes."""
    return _several(_text, data, other, chance)


Step = Callable[[bytearray, bytes, random.Random], str]


def _several(step: Step, data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    out = bytearray(data)
    told: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not out or len(out) > MOST_BYTES:
            break
        told.append(step(out, other, chance))
    return " ".join(told), bytes(out)


def _binary(out: bytearray, other: bytes, chance: random.Random) -> str:
    at = _place(len(out), chance)
    what = chance.choice(
        ("flip", "byte", "number", "word", "grow", "cut", "remove", "repeat", "splice", "zero")
    )
    if what == "flip":
        out[at] ^= 1 << chance.randrange(8)
    elif what == "byte":
        out[at] = chance.randrange(256)
    elif what in ("number", "word", "grow"):
        size = chance.choice((1, 2, 4, 8) if what == "number" else (2, 4, 8))
        at -= at % size if what != "number" else 0
        endian = chance.choice(ENDIANS)
        number = chance.choice(INTERESTING)
        if what == "grow":  # a length or a count that is a little wrong
            old = int.from_bytes(out[at : at + size], endian)
            number = old + chance.choice((-8, -4, -1, 1, 4, 8, 4096, old))
        number &= (1 << 8 * size) - 1
        out[at : at + size] = number.to_bytes(size, endian)
    elif what == "cut":
        del out[at:]
    elif what == "remove":
        del out[at : at + chance.choice((1, 4, 8, 64, 4096))]
    elif what == "repeat":
        size = chance.choice((1, 8, 512, 4096))
        out[at:at] = out[at : at + size] * chance.choice((1, 1, 1, 2, 20))
    elif what == "splice":
        size = chance.choice((16, 512, 4096, 65536))
        start = chance.randrange(len(other))
        out[at : at + size] = other[start : start + size]
    else:
        size = chance.choice((4, 64, 4096))
        out[at : at + size] = bytes(len(out[at : at + size]))
    return f"{what}@{at}"


def _place(size: int, chance: random.Random) -> int:
    """Mostly anywhere, often where headers, options and page headers are."""
    region = chance.randrange(4)
    if region == 0:
        return chance.randrange(min(size, 2048))
    if region == 1:
        return size - 1 - chance.randrange(min(size, 1024))
    if region == 2:
        return min(chance.randrange(size) // 4096 * 4096 + chance.randrange(24), size - 1)
    return chance.randrange(size)


def _text(out: bytearray, other: bytes, chance: random.Random) -> str:
    at = chance.randrange(len(out))
    begin = out.rfind(b"\n", 0, at) + 1
    end = out.find(b"\n", at) + 1 or len(out)
    line = bytes(out[begin:end])
    what = chance.choice(
        (
            "bytes",
            "cut line",
            "drop line",
            "repeat line",
            "move line",
            "join",
            "break",
            "insert",
            "number",
            "word",
            "foreign line",
            "swap words",
            "long",
            "carriage returns",
            "cut",
        )
    )
    if what == "bytes":
        return _binary(out, other, chance)
    if what == "cut line":
        del out[at : max(at, end - 1)]
    elif what == "drop line":
        del out[begin:end]
    elif what == "repeat line":
        out[begin:begin] = line * chance.choice((1, 2, 300 if len(line) < 4096 else 3))
    elif what == "move line":
        del out[begin:end]
        to = out.find(b"\n", chance.randrange(len(out) + 1)) + 1
        out[to:to] = line
    elif what == "join":
        out[end - 1 : end] = chance.choice((b"", b" ", b"\r"))
    elif what == "break":
        out[at:at] = b"\n"
    elif what == "insert":
        out[at:at] = chance.choice(HOSTILE_BYTES)
    elif what in ("number", "word"):
        _replace_word(out, at, chance)
    elif what == "foreign line":
        start = chance.randrange(len(other))
        start = other.rfind(b"\n", 0, start) + 1
        out[begin:begin] = other[start : start + chance.choice((40, 400, 4000))]
    elif what == "swap words":
        words = line.split(b" ", _MOST_WORDS)
        chance.shuffle(words)
        out[begin:end] = b" ".join(words)
    elif what == "long":
        piece = chance.choice((b" ", b"a", b"x=1 ", b"[", b"-1 [000] ", b" ==> ", b"1.", b"\0"))
        out[at:at] = piece * (chance.choice((300, 5_000, 1_000_000)) // len(piece))
    elif what == "carriage returns":
        out[:] = out.replace(b"\n", b"\r\n")
    else:
        del out[at:]
    return f"{what}@{at}"


def _replace_word(out: bytearray, at: int, chance: random.Random) -> None:
    """The word at ``at`` by another number, or by nothing."""
    separators = b" \n\t:=[]()-."
    begin = at
    while begin and out[begin - 1] not in separators:
        begin -= 1
    end = at
    while end < len(out) and out[end] not in separators:
        end += 1
    out[begin:end] = chance.choice(
        (*HOSTILE_NUMBERS, b"", b"x", str(chance.randrange(300)).encode())
    )
