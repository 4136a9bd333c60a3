"""What saves and restores cost: bytes by architecture, ns by a price table (reference E).

Prices are estimates; everything that prints one says "≈" and where it comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER_BYTES = 64
"""XSAVE header: XSTATE_BV, XCOMP_BV and reserved words."""

LEGACY_BYTES = 512
"""x87 and SSE (components 0 and 1): the FXSAVE image."""

COMPONENT_BYTES: dict[int, int] = {
    # Component number in xfeatures -> bytes (Intel SDM 1, chapter 13; asm/fpu/types.h).
    2: 256,  # AVX
    3: 64,  # MPX BNDREGS
    4: 64,  # MPX BNDCSR
    5: 64,  # AVX-512 opmask
    6: 512,  # ZMM_Hi256
    7: 1024,  # Hi16_ZMM
    9: 8,  # PKRU
    10: 8,  # PASID
    11: 16,  # CET_U
    12: 24,  # CET_S
    17: 64,  # AMX TILECFG
    18: 8192,  # AMX TILEDATA
    19: 128,  # APX
}


class Prices(NamedTuple):
    """Price of one operation: ``base`` ns and ns per byte, with the source of the figures."""

    save_ns: float
    restore_ns: float
    source: str


DEFAULT = Prices(60.0, 150.0, "default for x86, registers hot in the cache")
"""Of the order measured on current x86; cold caches cost two to three times as much."""


def bytes_in_use(xfeatures: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes one save or restore touches, per ``xfeatures`` (XSTATE_BV) value; same shape."""
    import numpy as np

    total = np.full(xfeatures.shape, HEADER_BYTES, dtype=np.int64)
    total += LEGACY_BYTES * ((xfeatures & 3) != 0)
    for bit, size in COMPONENT_BYTES.items():
        total += size * ((xfeatures >> bit) & 1)
    return total


def redundant_pair(xfeatures: NDArray[np.int64], prices: Prices = DEFAULT) -> tuple[int, int]:
    """(bytes, ns) of one needless restore and one needless save per element."""
    count = len(xfeatures)
    moved = 2 * int(bytes_in_use(xfeatures).sum())
    return moved, round(count * (prices.save_ns + prices.restore_ns))
