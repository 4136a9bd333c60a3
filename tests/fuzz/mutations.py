"""How a recording is damaged: seeded, so that a failure can be made again."""

from __future__ import annotations

import random

from tests.writers.pages import Endian

INTERESTING = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    1 << 31,
    (1 << 32) - 1,
    (1 << 63),
    (1 << 64) - 1,
)
ENDIANS: tuple[Endian, ...] = ("little", "big")


def mutate(data: bytes, other: bytes, chance: random.Random) -> tuple[str, bytes]:
    """What was done, and ``data`` after it; ``other`` is a second file to splice with."""
    out = bytearray(data)
    told: list[str] = []
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not out:
            break
        at = _place(len(out), chance)
        what = chance.choice(
            ("flip", "byte", "number", "cut", "remove", "repeat", "splice", "zero")
        )
        if what == "flip":
            out[at] ^= 1 << chance.randrange(8)
        elif what == "byte":
            out[at] = chance.randrange(256)
        elif what == "number":
            size = chance.choice((1, 2, 4, 8))
            number = chance.choice(INTERESTING) & ((1 << 8 * size) - 1)
            out[at : at + size] = number.to_bytes(size, chance.choice(ENDIANS))
        elif what == "cut":
            del out[at:]
        elif what == "remove":
            del out[at : at + chance.choice((1, 4, 64, 4096))]
        elif what == "repeat":
            size = chance.choice((1, 8, 512, 4096))
            out[at:at] = out[at : at + size]
        elif what == "splice":
            size = chance.choice((16, 512, 4096, 65536))
            start = chance.randrange(len(other))
            out[at : at + size] = other[start : start + size]
        else:
            size = chance.choice((4, 64, 4096))
            out[at : at + size] = bytes(len(out[at : at + size]))
        told.append(f"{what}@{at}")
    return " ".join(told), bytes(out)


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
