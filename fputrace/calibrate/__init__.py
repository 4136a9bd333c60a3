"""What saves and restores cost on this machine: measured, as a table and as prices.

The instructions are unprivileged, so user space measures what the kernel pays: XSAVES and XRSTORS,
which it uses where it can, do what XSAVEC and XRSTOR do, and save supervisor components besides.
"""

from __future__ import annotations

import json
import time
from importlib import import_module
from typing import Any

from fputrace.errors import UsageError
from fputrace.plain import PlainTuple
from fputrace.pricing import HEADER_BYTES, LEGACY, LEGACY_BYTES

SAMPLES = 2001
"""Of each operation, hot in the cache; their median is the figure."""

COLD_SAMPLES = 201
"""Of each operation with its buffer flushed from the caches."""

_TICKS_FOR_NS = 50_000_000
_NO_OP = 0
_XSAVEOPT, _XSAVEC = 1, 2  # CPUID.0xD.1 EAX
_OPS: tuple[tuple[str, int, int], ...] = (
    # Name, number in _xsave.c, bits of CPUID.0xD.1 EAX it needs.
    ("xsave", 1, 0),
    ("xsavec", 2, _XSAVEC),
    ("xsaveopt", 3, _XSAVEOPT),
    ("xrstor", 4, 0),
    ("xrstor compacted", 5, _XSAVEC),
    ("xsaveopt after xrstor", 6, _XSAVEOPT),
)
_SETS: tuple[tuple[str, int], ...] = (
    ("x87 SSE", LEGACY),
    ("x87 SSE AVX", 0x7),
    ("x87 SSE AVX AVX-512", 0xE7),
)
_ALIGNED = 2  # CPUID.0xD.i ECX


class Measured(PlainTuple):
    """One instruction on one set of components in use: bytes they take, ns by their medians."""

    instruction: str
    components: int
    bytes: int
    warm_ns: float
    cold_ns: float


class Calibration(PlainTuple):
    """Everything measured; ``save`` and ``restore`` as (base ns, ns a byte, instruction)."""

    cpu: str
    measured: tuple[Measured, ...]
    save: tuple[float, float, str]
    restore: tuple[float, float, str]
    sizes: dict[int, int]
    aligned: tuple[int, ...]
    size: int

    @property
    def source(self) -> str:
        """Where prices made of it come from, in words."""
        return f"measured on {self.cpu or 'this CPU'}, hot in the cache, medians of {SAMPLES}"


def calibrate() -> Calibration:
    """Measure on this machine; takes less than a second.

    Raises UsageError where it cannot be done: no compiled helper, another architecture, no XSAVE.
    """
    try:
        xsave: Any = import_module("fputrace.calibrate._xsave")
    except ImportError:
        raise UsageError(
            "the compiled helper that measures is missing",
            hint="apt install gcc python3-dev, then install fputrace again",
        ) from None
    enabled, instructions, components, size, brand = xsave.machine()
    if not enabled & LEGACY:
        raise UsageError(
            "this machine has no XSAVE that user space may use, or is no x86-64",
            hint="Measure on the machine the trace is from, and pass its file to --prices.",
        )
    ns_a_tick = _ns_a_tick(xsave)
    sizes = {bit: bytes_ for bit, bytes_, _offset, _flags in components}
    idle = {cold: _median(xsave, _NO_OP, LEGACY, cold) for cold in (0, 1)}
    measured = [
        Measured(
            name,
            mask,
            HEADER_BYTES
            + LEGACY_BYTES
            + sum(bytes_ for bit, bytes_ in sizes.items() if mask >> bit & 1),
            *(
                max(0, _median(xsave, number, mask, cold) - idle[cold]) * ns_a_tick
                for cold in (0, 1)
            ),
        )
        for name, number, needs in _OPS
        for _words, mask in _SETS
        if mask & ~enabled == 0 and needs & ~instructions == 0
    ]
    known = {one.instruction for one in measured}
    # As the kernel chooses (arch/x86/kernel/fpu/xstate.h, os_xsave()).
    saving = next(name for name in ("xsavec", "xsaveopt", "xsave") if name in known)
    restoring = "xrstor compacted" if saving == "xsavec" else "xrstor"
    return Calibration(
        brand.strip(),
        tuple(measured),
        (*_line([one for one in measured if one.instruction == saving]), saving),
        (*_line([one for one in measured if one.instruction == restoring]), restoring),
        sizes,
        tuple(bit for bit, _size, _offset, flags in components if flags & _ALIGNED),
        size,
    )


def _median(xsave: Any, op: int, mask: int, cold: int) -> int:
    return int(xsave.measure(op, mask, COLD_SAMPLES if cold else SAMPLES, cold))


def _ns_a_tick(xsave: Any) -> float:
    begin, ticks = time.perf_counter_ns(), xsave.tsc()
    while (passed := time.perf_counter_ns() - begin) < _TICKS_FOR_NS:
        pass
    return float(passed / (xsave.tsc() - ticks))


def _line(points: list[Measured]) -> tuple[float, float]:
    """(base, slope) of the line through warm ns by bytes; neither is negative."""
    count = len(points)
    mean_bytes = sum(one.bytes for one in points) / count
    mean_ns = sum(one.warm_ns for one in points) / count
    spread = sum((one.bytes - mean_bytes) ** 2 for one in points)
    slope = 0.0
    if spread:
        slope = sum((one.bytes - mean_bytes) * (one.warm_ns - mean_ns) for one in points) / spread
    slope = max(0.0, slope)
    base = mean_ns - slope * mean_bytes
    return (base, slope) if base >= 0 else (0.0, mean_ns / mean_bytes)


def table(found: Calibration) -> str:
    """The measurements as text, ASCII."""
    words = {mask: name for name, mask in _SETS}
    lines = [
        f"{found.cpu or 'unknown CPU'}, medians of {SAMPLES} (cold: {COLD_SAMPLES})",
        "",
        "instruction            components in use    bytes  warm ns  cold ns",
    ]
    lines += [
        f"{one.instruction:21}  {words[one.components]:19}  {one.bytes:5}  "
        f"{one.warm_ns:7.1f}  {one.cold_ns:7.1f}"
        for one in found.measured
    ]
    lines.append("")
    for name, (base, slope, instruction) in (("save", found.save), ("restore", found.restore)):
        lines.append(f"{name:8} ~ {base:.1f} ns + {slope:.4f} ns a byte ({instruction}, warm)")
    return "\n".join(lines) + "\n"


def document(found: Calibration) -> str:
    """What ``--prices`` and ``--cpuid`` read, as JSON."""
    made = {
        "source": found.source,
        "cpu": found.cpu,
        "save": {"ns": round(found.save[0], 3), "ns_per_byte": round(found.save[1], 6)},
        "restore": {"ns": round(found.restore[0], 3), "ns_per_byte": round(found.restore[1], 6)},
        "xstate": {str(bit): size for bit, size in found.sizes.items()},
        "aligned": list(found.aligned),
        "size": found.size,
        "measurements": [
            {
                "instruction": one.instruction,
                "components": f"0x{one.components:x}",
                "bytes": one.bytes,
                "warm_ns": round(one.warm_ns, 1),
                "cold_ns": round(one.cold_ns, 1),
            }
            for one in found.measured
        ],
    }
    return json.dumps(made, indent=1) + "\n"
