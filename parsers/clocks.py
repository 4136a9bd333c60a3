"""Clocks: which of them are in ns and global, and what a file says to add to its times.

Order of operations as in libtracecmd's ``timestamp_calc()``: guest to host first, then cycles
to ns, then DATE and OFFSET.
"""

from __future__ import annotations

import struct
from dataclasses import field
from typing import TYPE_CHECKING

from fputrace.plain import PlainTuple, plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GLOBAL_CLOCKS = frozenset(
    [
        "global",
        "mono",
        "mono_raw",
        "boot",
        "tai",
        "perf",
        "x86-tsc",
        "tsc2nsec",
        "counter",
    ]
)
"""Clocks that order events of different CPUs (Documentation/trace/ftrace.rst, trace_clock)."""

RAW_CLOCKS = frozenset(["x86-tsc", "tsc2nsec", "counter"])
"""Clocks that do not count nanoseconds."""

TSC_CLOCKS = frozenset(["x86-tsc", "tsc2nsec"])
"""Clocks that count cycles; with TSC2NSEC they are read in ns."""

STEPPING_CLOCKS_SLACK_NS = 10**9
"""`local`, `tai` and clocks this does not know may step back by up to this and still be right."""

_LARGEST_OFFSET = 1 << 61


def slack_of(clock: str | None) -> int:
    """How far an event may lie after the next page's base time before it is called damaged."""
    steady = GLOBAL_CLOCKS - {"tai"}
    return 0 if clock in steady else STEPPING_CLOCKS_SLACK_NS


class Shift(PlainTuple):
    """One sample of TIME_SHIFT: guest time, and how to come from there to the host's."""

    time: int
    offset: int
    scaling: int
    fraction: int


@plain
class Correction:
    """What turns a recorded time into the trace's time, per CPU position in the file."""

    add: int = 0
    mult: int = 0
    shift: int = 0
    interpolate: bool = False
    shifts: list[list[Shift]] = field(default_factory=list)

    def applies(self, position: int) -> bool:
        """Whether times of the CPU at this position change at all."""
        return bool(
            self.add or self.mult or (position < len(self.shifts) and self.shifts[position])
        )

    def apply(self, ts: NDArray[np.int64], position: int) -> None:
        """Correct raw times (int64, not negative) in place."""
        import numpy as np

        samples = self.shifts[position] if position < len(self.shifts) else []
        if samples or self.mult:
            exact = [self.one(int(value), samples) for value in ts] if samples else None
            if exact is not None:
                ts[:] = np.array(exact, dtype=np.int64)
                return
            low = (ts & 0xFFFFFFFF).astype(np.uint64) * np.uint64(self.mult)
            high = (ts >> 32).astype(np.uint64) * np.uint64(self.mult)
            ns = (low >> np.uint64(self.shift)) + (high << np.uint64(32 - self.shift))
            ts[:] = (ns & np.uint64((1 << 62) - 1)).astype(np.int64)
        ts += self.add

    def one(self, ts: int, samples: list[Shift]) -> int:
        """One time, in whole numbers; held inside what an int64 can say."""
        if len(samples) == 1:
            ts += samples[0].offset
        elif samples:
            ts = self._from_samples(ts, samples)
        if self.mult:
            ts = ts * self.mult >> self.shift
        return max(0, min(ts + self.add, (1 << 62) - 1))

    def _from_samples(self, ts: int, samples: list[Shift]) -> int:
        low, high = 0, len(samples) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if ts < samples[middle].time:
                high = middle
            else:
                low = middle
        left, right = samples[low], samples[high]
        correction = left.offset
        if self.interpolate:
            span = right.time - left.time
            scaled = (ts - left.time) * (right.offset - left.offset) + span // 2
            correction += scaled // span if scaled >= 0 else -(-scaled // span)  # as C divides
        return (ts * left.scaling >> left.fraction) + correction


def parse_offset(data: bytes) -> int | None:
    """The ASCII number of DATE and OFFSET (``strtoll`` base 0); None when it is none."""
    text = data.split(b"\0")[0].strip().decode("ascii", "replace")
    try:
        value = int(text, 0)
    except ValueError:
        return None
    return value if abs(value) < _LARGEST_OFFSET else None


def parse_time_shift(data: bytes, big: bool) -> tuple[bool, list[list[Shift]]] | None:
    """The TIME_SHIFT option: whether to interpolate, and each CPU's samples in time order.

    None when the option is too short for what it announces.
    """
    order = ">" if big else "<"
    try:
        _peer, flags, cpus = struct.unpack_from(order + "QII", data, 0)
        at = 16
        tables: list[list[tuple[int, int, int]]] = []
        for _ in range(cpus):
            (count,) = struct.unpack_from(order + "I", data, at)
            at += 4
            if count * 24 > len(data) - at:
                return None
            times = struct.unpack_from(f"{order}{count}q", data, at)
            offsets = struct.unpack_from(f"{order}{count}q", data, at + 8 * count)
            scalings = struct.unpack_from(f"{order}{count}Q", data, at + 16 * count)
            at += 24 * count
            tables.append(list(zip(times, offsets, scalings, strict=True)))
        shifts = []
        fractions_follow = at < len(data)
        for table in tables:
            fractions: tuple[int, ...] = (0,) * len(table)
            if fractions_follow:
                fractions = struct.unpack_from(f"{order}{len(table)}Q", data, at)
                at += 8 * len(table)
            if any(fraction > 63 for fraction in fractions):
                return None
            unique: dict[int, Shift] = {}
            for (time, offset, scaling), fraction in zip(table, fractions, strict=True):
                unique.setdefault(time, Shift(time, offset, scaling, fraction))
            shifts.append([unique[time] for time in sorted(unique)])
    except struct.error:
        return None
    return bool(flags & 1), shifts
