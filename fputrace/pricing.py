"""What saves and restores cost: bytes by architecture, ns by a price table.

Prices are estimates; everything that prints one says "≈" and where it comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

HEADER_BYTES = 64
"""XSAVE header: XSTATE_BV, XCOMP_BV and reserved words."""

LEGACY_BYTES = 512
"""x87 and SSE (components 0 and 1): the FXSAVE image."""

LEGACY = 3
"""Their bits in xfeatures."""

COMPACTED = 1 << 63
"""Bit of xcomp_bv: components lie one behind the other (XSAVEC, XSAVES)."""

COMPONENT_BYTES: Mapping[int, int] = {
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

COMPONENTS: Mapping[int, str] = {
    # How people call them (arch/x86/kernel/fpu/xstate.c, xfeature_names).
    0: "x87",
    1: "SSE",
    2: "AVX",
    3: "BNDREGS",
    4: "BNDCSR",
    5: "opmask",
    6: "ZMM_Hi256",
    7: "Hi16_ZMM",
    9: "PKRU",
    10: "PASID",
    11: "CET_U",
    12: "CET_S",
    15: "LBR",
    17: "TILECFG",
    18: "TILEDATA",
    19: "APX",
}

ALIGNED = frozenset({18})
"""Components at a multiple of 64 bytes in a compacted image (CPUID.0xD.i ECX[1])."""


STICKY_BITS = 0xE0 | 3 << 17
"""AVX-512's three components and AMX's two: rarely in use, and large (FPU208)."""


class Prices(PlainTuple):
    """ns of one operation, ``base + slope * bytes``, with the source of the figures."""

    save_ns: float
    restore_ns: float
    source: str
    save_ns_a_byte: float = 0.0
    restore_ns_a_byte: float = 0.0

    def saves(self, count: int, moved: int) -> int:
        """Ns that many saves cost that moved that many bytes together."""
        return round(count * self.save_ns + moved * self.save_ns_a_byte)

    def restores(self, count: int, moved: int) -> int:
        """The same for restores."""
        return round(count * self.restore_ns + moved * self.restore_ns_a_byte)


DEFAULT = Prices(60.0, 150.0, "default for x86, registers hot in the cache")
"""Of the order measured on current x86; cold caches cost two to three times as much."""

TABLES: Mapping[str, Prices] = {
    "default": DEFAULT,
    # XSAVEOPT64 40, XSAVEC64 40-50, XRSTOR64 100 ns, whatever AVX and AVX-512 hold: medians of
    # 20001, L1-hot, TSC at 2596 MHz.
    "zen5": Prices(45.0, 100.0, "measured on one AMD EPYC of family 26 (Zen 5), hot in the cache"),
}
"""Price tables that come with fputrace, by the name ``--prices`` takes."""


class Pricing(PlainTuple):
    """What to count by: a price table, and bytes of each component with their source."""

    prices: Prices = DEFAULT
    component_bytes: Mapping[int, int] = COMPONENT_BYTES
    sizes_source: str = "component sizes of the architecture"
    aligned: frozenset[int] = ALIGNED
    standard_bytes: int | None = None
    """Size of an image in the standard format, which differs from CPU to CPU."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes by component, int64[64]; 0 stands for x87 and SSE together, 1 for the header."""
        import numpy as np

        sizes = np.zeros(64, dtype=np.int64)
        sizes[0], sizes[1] = LEGACY_BYTES, HEADER_BYTES
        for bit, size in self.component_bytes.items():
            sizes[bit] = size
        return sizes

    def bytes_in_use(self, xfeatures: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes one save or restore touches, per ``xfeatures`` (XSTATE_BV) value; same shape."""
        import numpy as np

        total = np.full(xfeatures.shape, HEADER_BYTES, dtype=np.int64)
        total += LEGACY_BYTES * ((xfeatures & LEGACY) != 0)
        for bit, size in self.component_bytes.items():
            total += size * ((xfeatures >> bit) & 1)
        return total

    def image_bytes(self, xcomp_bv: int) -> int | None:
        """Size of an image with this xcomp_bv; None in the standard format of an unknown CPU."""
        if not xcomp_bv & COMPACTED:
            return self.standard_bytes
        total = HEADER_BYTES + LEGACY_BYTES
        for bit in range(2, 63):
            if xcomp_bv >> bit & 1:
                if bit in self.aligned:
                    total = -(-total // 64) * 64
                total += self.component_bytes.get(bit, 0)
        return total

    def cost(
        self,
        xfeatures: NDArray[np.int64],
        counts: NDArray[np.int64],
        moves: tuple[int, int],
        components: int = -1,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(bytes, ns) of rows that each stand for ``counts`` times (saves, restores) = ``moves``.

        ``components``: price only what these add to operations that take place in any case.
        """
        saves, restores = moves
        whole = components == -1
        held = self.bytes_in_use(xfeatures & components) - (0 if whole else HEADER_BYTES)
        moved = counts * held
        prices = self.prices
        once = (saves * prices.save_ns + restores * prices.restore_ns) * whole
        a_byte = saves * prices.save_ns_a_byte + restores * prices.restore_ns_a_byte
        return (saves + restores) * moved, counts * once + moved * a_byte


STANDARD = Pricing()
"""What is counted by when nothing else is said."""


def bytes_in_use(xfeatures: NDArray[np.int64]) -> NDArray[np.int64]:
    """:meth:`Pricing.bytes_in_use` of :data:`STANDARD`."""
    return STANDARD.bytes_in_use(xfeatures)


# What a trace's saves and restores cost, as plain values for reports (fputrace.costs makes them).


class Moved(PlainTuple):
    """Saves, or restores, of one cause: how many, and those that nothing needed.

    ``inferred``: of ``done``, those no event of their own shows.  Bytes and ns are of ``done``, and
    of ``redundant`` in the fields that end so.
    """

    done: int = 0
    redundant: int = 0
    inferred: int = 0
    bytes: int = 0
    bytes_redundant: int = 0
    ns: int = 0
    ns_redundant: int = 0

    @property
    def needed(self) -> int:
        """Those that were not redundant."""
        return self.done - self.redundant

    def plus(self, other: Moved) -> Moved:
        """Both together."""
        return Moved(*(a + b for a, b in zip(self, other, strict=True)))


class WhyCost(PlainTuple):
    """What one cause cost: how often it came, what it moved, and restores that were skipped."""

    why: str
    times: int
    saves: Moved
    restores: Moved
    elided: int

    @property
    def ns(self) -> int:
        """Saves and restores."""
        return self.saves.ns + self.restores.ns

    @property
    def ns_redundant(self) -> int:
        """Of these, what nothing needed."""
        return self.saves.ns_redundant + self.restores.ns_redundant

    @property
    def bytes(self) -> int:
        """Saves and restores."""
        return self.saves.bytes + self.restores.bytes

    @property
    def bytes_redundant(self) -> int:
        """Of these, what nothing needed."""
        return self.saves.bytes_redundant + self.restores.bytes_redundant

    def plus(self, other: WhyCost) -> WhyCost:
        """Both together, under this one's name."""
        return WhyCost(
            self.why,
            self.times + other.times,
            self.saves.plus(other.saves),
            self.restores.plus(other.restores),
            self.elided + other.elided,
        )


class Moment(PlainTuple):
    """A column of an :class:`Example`: what happened, and the events that show it, each
    (ns, CPU, name).
    """

    title: str
    events: tuple[tuple[int, int, str], ...]


class Place(PlainTuple):
    """A row of an :class:`Example`: a place and what it holds after each moment."""

    name: str
    holds: tuple[str, ...]


class Example(PlainTuple):
    """Where the images of one vCPU thread were during its first KVM_RUN that was switched out.

    ``generation``: by whose rules the places are filled in.
    """

    generation: str
    moments: tuple[Moment, ...]
    places: tuple[Place, ...]


class TaskCost(PlainTuple):
    """What one task's registers cost.

    ``share_ppm``: ns in millionths of one core over the trace, None where the clock counts no ns.
    ``images``: its images as last seen, in words.  ``assumed``: saves and restores whose components
    no event told.
    """

    pid: int
    comm: str
    vcpu: int | None
    is_vcpu: bool
    tgid: int | None
    vm: str | None
    total: WhyCost
    by_why: tuple[WhyCost, ...]
    share_ppm: int | None
    images: tuple[str, ...]
    assumed: int
    examples: tuple[Example, ...]


class TraceCosts(PlainTuple):
    """What saves and restores cost in one trace: vCPU threads first, then by ns.

    ``others``: tasks too many to list, together, and ``others_count`` how many.  ``limits``: what
    the figures leave out, a sentence each.
    """

    prices: Prices
    sizes_source: str
    span_ns: int | None
    total: WhyCost
    share_ppm: int | None
    tasks: tuple[TaskCost, ...]
    others: WhyCost | None
    limits: tuple[str, ...]
