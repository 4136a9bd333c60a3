"""What recording costs the system: an estimate before, what it was afterwards."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from fputrace.plain import PlainTuple
from fputrace.record.plan import Plan
from fputrace.record.sidecar import read

TRACEPOINT_NS = 100
"""A tracepoint into the ring buffer: of the order of 0.1 us."""

KPROBE_NS = 400
"""A probe on a function's entry goes through ftrace: at most a boosted kprobe's 0.33-0.43 us
(Documentation/trace/kprobes.rst), and not less than an optimised one's 0.06 us."""

RETURN_NS = 700
"""A return probe: a boosted kprobe and the 0.30-0.33 us that the return adds (the same table)."""

SOURCE = "Documentation/trace/kprobes.rst, and 0.1 us a tracepoint"

_SAMPLE_SECONDS = 0.2
_FPU_PER_SWITCH = 2
"""x86_fpu events of a switch between two user tasks: a save and, at most, a restore."""

_PROBES_PER_SWITCH = 3
"""save_fpregs_to_fpstate, switch_fpu_return, restore_fpregs_from_fpstate."""


class Cost(PlainTuple):
    """Events and ns of CPU time, each a second of the whole machine."""

    events: float
    ns: float

    def text(self, cpus: int) -> str:
        """In a sentence's words; `cpus` share it."""
        share = self.ns / 1e9 / max(cpus, 1)
        each = self.ns / self.events if self.events else 0.0
        return (
            f"{self.events:,.0f} events/s at ≈ {each:.0f} ns each, "
            f"≈ {share:.2%} of {cpus} CPU{'s' if cpus != 1 else ''} ({SOURCE})"
        )


def estimate(plan: Plan, proc: str = "/proc") -> Cost:
    """From the context switches of a fifth of a second; what guests do is not known before."""
    first = _switches(proc)
    time.sleep(_SAMPLE_SECONDS)
    rate = (_switches(proc) - first) / _SAMPLE_SECONDS
    events = rate * (1 + _FPU_PER_SWITCH)
    switching = any(probe.name.endswith("_fpstate") for probe in plan.probes)
    probes = rate * _PROBES_PER_SWITCH if switching else 0.0
    return Cost(events + probes, events * TRACEPOINT_NS + probes * KPROBE_NS)


def measured(counts: Mapping[str, int], plan: Plan, seconds: float) -> Cost:
    """From the events of a recording (``system:name`` -> how many) that lasted so long."""
    prices = {f"{plan.group}:{probe.name}": KPROBE_NS for probe in plan.probes}
    prices |= {f"{plan.group}:{probe.name}": RETURN_NS for probe in plan.probes if probe.returns}
    ns = sum(count * prices.get(name, TRACEPOINT_NS) for name, count in counts.items())
    lasted = max(seconds, 1e-9)
    return Cost(sum(counts.values()) / lasted, ns / lasted)


def _switches(proc: str) -> int:
    match = re.search(r"^ctxt (\d+)", read(f"{proc}/stat"), re.M)
    return int(match[1]) if match else 0
