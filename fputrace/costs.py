"""What a trace's saves and restores cost: the sums of the replay as values for reports.

Which steps each generation takes, and what is counted as inferred, is in docs/costs.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fputrace.events import Kind
from fputrace.pricing import (
    COMPACTED,
    COMPONENTS,
    Example,
    Moment,
    Moved,
    Place,
    Prices,
    Pricing,
    TaskCost,
    TraceCosts,
    WhyCost,
)
from fputrace.replay.layout import REF, CostOp, CostStep, CostSum, CostWhy, Ref

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fputrace.events import Trace

LISTED = 50
"""Tasks besides vCPU threads that are listed one by one; the others are summed up."""

NAMES: tuple[tuple[CostWhy, str], ...] = (
    (CostWhy.PREEMPTED, "preempted"),
    (CostWhy.YIELDED, "cond_resched"),
    (CostWhy.HALTED, "halt"),
    (CostWhy.BLOCKED, "sleep"),
    (CostWhy.RUN, "KVM_RUN"),
    (CostWhy.KERNEL, "kernel FPU"),
    (CostWhy.OTHER, "other"),
)
"""Causes in the order reports list them."""

VmOf = Callable[[int], tuple[int | None, str | None]]

_EAGER = frozenset({"G0", "G1", "G2", "G2x", "G3"})
_POINTER = frozenset({"G5", "G6"})
_FREE = "free"

_REGISTERS = "CPU registers"
_PLACES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    # What a place holds after KVM_RUN began, the switch-out, the switch-in and the put.  "old" is
    # an image of which somebody else has a newer one.
    "put": (  # kvm_arch_vcpu_put() at every sched-out: 4.14 before f775b13eedee
        (_REGISTERS, ("guest", _FREE, "VMM, then guest again", "VMM")),
        ("thread.fpu", ("VMM", "VMM", "VMM", "VMM, old")),
        ("guest_fpu", ("guest, old", "guest", "guest, old", "guest")),
    ),
    "user_fpu": (  # f775b13eedee
        (_REGISTERS, ("guest", _FREE, "guest", "VMM")),
        ("vcpu user_fpu", ("VMM", "VMM", "VMM", "VMM, old")),
        ("thread.fpu", ("VMM, old", "guest", "guest, old", "guest, old")),
        ("guest_fpu", ("guest, old", "guest, old", "guest, old", "guest")),
    ),
    "thread": (  # 240c35a3783a
        (_REGISTERS, ("guest", _FREE, "guest", "guest: the VMM's are lost")),
        ("thread.fpu", ("VMM", "guest over the VMM's", "guest, old", "guest, old")),
        ("guest_fpu", ("guest, old", "guest, old", "guest, old", "guest")),
    ),
    "fpstate": (  # d69c1382e1b7
        (_REGISTERS, ("guest", _FREE, "guest", "VMM")),
        ("own fpstate", ("VMM", "VMM", "VMM", "VMM, old")),
        ("guest fpstate", ("guest, old", "guest", "guest, old", "guest")),
        ("fpu->fpstate is", ("guest fpstate", "guest fpstate", "guest fpstate", "own fpstate")),
    ),
    "fpstate put": (
        (_REGISTERS, ("guest", _FREE, "VMM, then guest again", "VMM")),
        ("own fpstate", ("VMM", "VMM", "VMM", "VMM, old")),
        ("guest fpstate", ("guest, old", "guest", "guest, old", "guest")),
        ("fpu->fpstate is", ("guest fpstate", "own fpstate", "guest fpstate", "own fpstate")),
    ),
}

_MOMENTS: tuple[tuple[str, tuple[CostStep, ...]], ...] = (
    ("KVM_RUN in", (CostStep.LOAD_ACT, CostStep.LOAD)),
    ("switched out", (CostStep.OUT, CostStep.OUT_SAVE)),
    ("in again", (CostStep.IN, CostStep.IN_ACT, CostStep.RELOAD)),
    ("put", (CostStep.PUT_ACT, CostStep.PUT)),
)

NOT_SEEN = "not seen"


def costs_of(
    trace: Trace,
    sums: NDArray[np.int64],
    pricing: Pricing,
    candidates: Sequence[str],
    vm_of: VmOf,
    recorded: Callable[[str], bool],
) -> TraceCosts:
    """The costs of one trace.

    ``sums``: int64[rows in use, CostSum.WIDTH] of the follower; ``vm_of``: pid -> (tgid, VM name);
    ``recorded``: whether an event ("system:name") was.
    """
    span = None
    if trace.first_ns is not None and trace.last_ns is not None and trace.clock_in_ns:
        span = trace.last_ns - trace.first_ns
    entries = bool(trace.counts.get("kvm:kvm_entry"))
    tasks = [_task(trace, row, pricing, candidates, vm_of, span, entries) for row in sums[1:]]
    tasks = [task for task in tasks if _any(task.total)]
    tasks.sort(key=lambda task: (not task.is_vcpu, -task.total.ns, task.pid))
    vcpus = sum(task.is_vcpu for task in tasks)
    listed, rest = tasks[: vcpus + LISTED], tasks[vcpus + LISTED :]
    others = _sum([task.total for task in rest] + [_sum(_causes(sums[0], pricing.prices, False))])
    total = _sum([task.total for task in listed] + [others])
    return TraceCosts(
        prices=pricing.prices,
        sizes_source=pricing.sizes_source,
        span_ns=span,
        total=total,
        share_ppm=_ppm(total.ns, span),
        tasks=tuple(listed),
        others=others if _any(others) else None,
        limits=tuple(_limits(trace, candidates, recorded)),
    )


def _any(cause: WhyCost) -> bool:
    return bool(cause.times or cause.saves.done or cause.restores.done)


def _sum(causes: Sequence[WhyCost]) -> WhyCost:
    total = WhyCost("total", 0, Moved(), Moved(), 0)
    for cause in causes:
        total = total.plus(cause)
    return total


def _ppm(ns: int, span: int | None) -> int | None:
    return round(ns * 1_000_000 / span) if span else None


def _causes(row: NDArray[np.int64], prices: Prices, entries: bool) -> list[WhyCost]:
    """What each cause cost one task; causes that never came are left out."""
    table = row[CostSum.OPS : CostSum.STEPS].reshape(CostWhy.WIDTH, CostOp.WIDTH).copy()
    # A sleep of which no event told why.
    table[CostWhy.BLOCKED] += table[CostWhy.PENDING]
    if entries:
        run = table[CostWhy.RUN]
        run[CostOp.SAVES_REDUNDANT] += row[CostSum.IDLE_SAVES]
        run[CostOp.RESTORES_REDUNDANT] += row[CostSum.IDLE_RESTORES]
        run[CostOp.SAVE_BYTES_REDUNDANT] += row[CostSum.IDLE_SAVE_BYTES]
        run[CostOp.RESTORE_BYTES_REDUNDANT] += row[CostSum.IDLE_RESTORE_BYTES]
    causes = []
    for why, name in NAMES:
        n = {op: int(table[why, op]) for op in CostOp if op is not CostOp.WIDTH}
        if not any(n.values()):
            continue
        saves = Moved(
            n[CostOp.SAVES],
            n[CostOp.SAVES_REDUNDANT],
            n[CostOp.SAVES_INFERRED],
            n[CostOp.SAVE_BYTES],
            n[CostOp.SAVE_BYTES_REDUNDANT],
            prices.saves(n[CostOp.SAVES], n[CostOp.SAVE_BYTES]),
            prices.saves(n[CostOp.SAVES_REDUNDANT], n[CostOp.SAVE_BYTES_REDUNDANT]),
        )
        restores = Moved(
            n[CostOp.RESTORES],
            n[CostOp.RESTORES_REDUNDANT],
            n[CostOp.RESTORES_INFERRED],
            n[CostOp.RESTORE_BYTES],
            n[CostOp.RESTORE_BYTES_REDUNDANT],
            prices.restores(n[CostOp.RESTORES], n[CostOp.RESTORE_BYTES]),
            prices.restores(n[CostOp.RESTORES_REDUNDANT], n[CostOp.RESTORE_BYTES_REDUNDANT]),
        )
        causes.append(WhyCost(name, n[CostOp.TIMES], saves, restores, n[CostOp.ELIDED]))
    return causes


def _task(
    trace: Trace,
    row: NDArray[np.int64],
    pricing: Pricing,
    candidates: Sequence[str],
    vm_of: VmOf,
    span: int | None,
    entries: bool,
) -> TaskCost:
    pid, vcpu = int(row[CostSum.PID]), int(row[CostSum.VCPU]) - 1
    causes = _causes(row, pricing.prices, entries)
    total = _sum(causes)
    tgid, vm = vm_of(pid)
    is_vcpu = bool(row[CostSum.KVMISH])
    ops = row[CostSum.OPS : CostSum.STEPS].reshape(CostWhy.WIDTH, CostOp.WIDTH)
    return TaskCost(
        pid=pid,
        comm=trace.comms.get(pid, "<...>"),
        vcpu=vcpu if vcpu >= 0 else None,
        is_vcpu=is_vcpu,
        tgid=tgid,
        vm=vm,
        total=total,
        by_why=tuple(causes),
        share_ppm=_ppm(total.ns, span),
        images=tuple(_images(row, pricing)),
        assumed=int(ops[:, CostOp.ASSUMED].sum()),
        examples=tuple(_examples(trace, row, candidates)) if is_vcpu else (),
    )


def _images(row: NDArray[np.int64], pricing: Pricing) -> list[str]:
    """Its images as last saved: components in use, bytes, format."""
    import numpy as np

    said = []
    for name, column in (("user", CostSum.X_USER), ("guest", CostSum.X_GUEST)):
        mask = int(row[column]) - 1
        if mask >= 0:
            held = int(pricing.bytes_in_use(np.array([mask]))[0])
            parts = [COMPONENTS.get(bit, f"{bit}") for bit in range(63) if mask >> bit & 1]
            said.append(f"{name} 0x{mask:x} ({' '.join(parts) or 'initial'}), {held} bytes in use")
    xcomp = int(row[CostSum.XCOMP])
    if said:
        form = "compacted" if xcomp & COMPACTED else "standard"
        size = pricing.image_bytes(xcomp)
        whole = f", {size} bytes in all" if size else ""
        said.append(f"{form} format (xcomp_bv 0x{xcomp & (1 << 64) - 1:x}){whole}")
    return said


def _examples(trace: Trace, row: NDArray[np.int64], candidates: Sequence[str]) -> list[Example]:
    """Where the images were during the KVM_RUN that was kept, once per way it may be."""
    step = int(row[CostSum.STEP])
    refs = row[CostSum.STEPS :].reshape(CostStep.WIDTH, REF)
    if not step:
        return []
    put = bool(refs[CostStep.RELOAD, Ref.KIND])
    ways: dict[str, list[str]] = {}
    for code in candidates:
        if code in _POINTER:
            way = "fpstate put" if put else "fpstate"
        elif code in ("G0", "G1") or put:
            way = "put"
        else:
            way = "thread" if code in ("G3", "G4a") else "user_fpu"
        ways.setdefault(way, []).append(code)
    moments = []
    for number, (title, steps) in enumerate(_MOMENTS):
        shown = [refs[one] for one in steps if number < step and refs[one, Ref.KIND]]
        moments.append(Moment(title, tuple(_event(trace, ref) for ref in shown)))
    free = _FREE
    if step > 1:
        pid = int(refs[CostStep.OUT, Ref.OP2])
        free = f"free for {trace.comms.get(pid, '<...>')} ({pid})" if pid else "free (idle)"
    made = []
    for way, codes in ways.items():
        places = [
            Place(
                name,
                tuple(
                    NOT_SEEN if number >= step else free if held == _FREE else held
                    for number, held in enumerate(holds)
                ),
            )
            for name, holds in _PLACES[way]
        ]
        made.append(Example(" or ".join(codes), tuple(moments), tuple(places)))
    return made


def _event(trace: Trace, ref: NDArray[np.int64]) -> tuple[int, int, str]:
    index = int(ref[Ref.EVENT])
    names = trace.event_names
    name = names[index] if 0 <= index < len(names) else Kind(int(ref[Ref.KIND])).name.lower()
    return int(ref[Ref.TS]), int(ref[Ref.CPU]), name


def _limits(trace: Trace, candidates: Sequence[str], recorded: Callable[[str], bool]) -> list[str]:
    """What the figures leave out."""
    said = []
    for event, without in (
        ("x86_fpu:x86_fpu_regs_deactivated", "saves at switch-outs are not counted"),
        ("x86_fpu:x86_fpu_regs_activated", "restores are not counted"),
        ("sched:sched_switch", "no save and no restore can be counted"),
        ("kvm:kvm_fpu", "what KVM swaps is not counted"),
        ("kvm:kvm_vcpu_wakeup", "a vCPU that halted counts as asleep"),
        ("kvm:kvm_userspace_exit", "what KVM_RUN did for nothing is not told"),
    ):
        if not recorded(event):
            said.append(f"{event} was not recorded: {without}.")
    if recorded("kvm:kvm_fpu") and not trace.counts.get("kvm:kvm_entry"):
        said.append("No kvm_entry was seen: swaps for nothing cannot be told.")
    if trace.losses or not trace.losses_known:
        said.append("Events may be missing: counted is what was seen.")
    if not trace.probes:
        said.append(
            "What the kernel itself used the registers for shows only where a task's had to be "
            "loaded again (no probes on kernel_fpu_begin)."
        )
    if set(candidates) & _EAGER:
        said.append(
            "A restore that was skipped prints the same event in this generation: one counts as "
            "skipped where nobody else had acquired the registers."
        )
    if len(candidates) > 1:
        said.append(f"Counted by the steps of {candidates[0]}; it may be another generation.")
    return said
