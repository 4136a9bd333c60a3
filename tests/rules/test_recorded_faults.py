"""Steps that a kernel leaves out, made from recordings of kernels that left out none.

A healthy recording with probes, without what the step prints: found by name, with the verdict that
the rule promises, as often as it was left out, and nothing else is accused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from fputrace.events import Kind
from fputrace.findings import Analysis, Severity, Status
from tests.conftest import SAMPLES
from tests.rules.scenario import row as answer
from tests.tools.altered import Tape

PROBED = ("6.12-kfpu-probes", "7.2-kfpu-probes")
"""G5 and G6: probes set by hand, and by ``fputrace record``."""
IN_INTERRUPT = 0x18
LATER = 5
"""The first of what is left out: by then its probes have been seen."""


class Swap(NamedTuple):
    """fpu_swap_kvm_fpstate(): rows of its probe, its activation, and the probes between."""

    probe: int
    done: int
    saves: list[int]
    restores: list[int]
    load: bool


def swaps(tape: Tape) -> Iterator[Swap]:
    """Every swap that its kvm_fpu tells the direction of."""
    began: dict[int, Swap] = {}
    ended: dict[int, Swap] = {}
    for row, kind in enumerate(tape.kind):
        pid = tape.pid[row]
        if kind == Kind.PROBE_SWAP:
            began[pid] = Swap(row, row, [], [], False)
        elif kind == Kind.PROBE_SAVE and pid in began:
            began[pid].saves.append(row)
        elif kind == Kind.PROBE_RESTORE and pid in began:
            began[pid].restores.append(row)
        elif kind == Kind.REGS_ACTIVATED and pid in began:
            ended[pid] = began.pop(pid)._replace(done=row)
        elif kind == Kind.KVM_FPU and pid in ended:
            yield ended.pop(pid)._replace(load=bool(tape.op[row, 0]))


def no_user_restore(tape: Tape, one_in: int) -> int:
    """fpu_swap_kvm_fpstate(..., false) does not restore the VMM's image."""
    chosen = [swap for swap in swaps(tape) if not swap.load][LATER::one_in]
    for swap in chosen:
        assert len(swap.restores) == 1
        tape.drop(swap.restores)
    return len(chosen)


def swap_without_save(tape: Tape, one_in: int) -> int:
    """fpu_swap_kvm_fpstate(..., true) does not save the VMM's image, whose registers are live."""
    chosen = [swap for swap in swaps(tape) if swap.load and not tape.op[swap.done, 1]][
        LATER::one_in
    ]
    for swap in chosen:
        assert len(swap.saves) == 1
        tape.drop(swap.saves)
    return len(chosen)


class Out(NamedTuple):
    """A switch-out that saved: the sched_switch, the save's probe and its event."""

    switch: int
    saves: list[int]
    loaded: bool


def switch_outs(tape: Tape) -> Iterator[Out]:
    """Switch-outs of tasks whose registers were live since an activation in sight."""
    live: dict[int, int] = {}  # CPU -> pid
    loaded: set[int] = set()  # by kvm_fpu, and not being put
    leaving: dict[int, Out] = {}
    for row, kind in enumerate(tape.kind):
        cpu, pid = tape.cpu[row], tape.pid[row]
        if cpu in leaving:
            out = leaving[cpu]
            if pid != tape.pid[out.switch] or kind == Kind.SCHED_SWITCH:
                del leaving[cpu]
                if len(out.saves) == 2 and kind != Kind.SCHED_SWITCH:
                    yield out
            elif kind in (Kind.PROBE_SAVE, Kind.REGS_DEACTIVATED):
                out.saves.append(row)
                continue
        if kind == Kind.REGS_ACTIVATED:
            live[cpu] = pid
        elif kind in (Kind.PROBE_KFPU_BEGIN, Kind.DROPPED, Kind.SCHED_PROCESS_EXEC):
            live.pop(cpu, None)
        elif kind == Kind.PROBE_SWAP:
            loaded.discard(pid)
        elif kind == Kind.KVM_FPU and tape.op[row, 0]:
            loaded.add(pid)
        elif kind == Kind.SCHED_SWITCH and live.pop(cpu, None) == pid:
            leaving[cpu] = Out(row, [], pid in loaded)


def skipped_save(tape: Tape, one_in: int) -> int:
    """switch_fpu_prepare() (switch_fpu() from 6.16 on) leaves a vCPU's registers unsaved."""
    chosen = [out for out in switch_outs(tape) if out.loaded][LATER::one_in]
    for out in chosen:
        tape.drop(out.saves)
    return len(chosen)


def skipped_save_of_another(tape: Tape, one_in: int) -> int:
    """The same of a task that is no vCPU: an exec that failed would look like it."""
    vcpus = {tape.pid[row] for row, kind in enumerate(tape.kind) if kind == Kind.KVM_FPU}
    outs = [out for out in switch_outs(tape) if tape.pid[out.switch] not in vcpus]
    chosen = outs[LATER::one_in]
    for out in chosen:
        tape.drop(out.saves)
    return len(chosen)


def kernel_fpu_keeps_owner(tape: Tape, _one_in: int = 1) -> int:
    """kernel_fpu_begin_mask() leaves owner and last_cpu: nothing is restored after the section.

    Sections of tasks that are no vCPU, which had their registers restored before they were
    switched out: here they were not, and the switch-out saves what the section left.
    """
    vcpus = {tape.pid[row] for row, kind in enumerate(tape.kind) if kind == Kind.KVM_FPU}
    owner: dict[int, int] = {}  # CPU -> pid
    last: dict[int, int] = {}  # pid -> CPU
    section: dict[int, int] = {}  # CPU -> pid
    restores: dict[int, list[int]] = {}
    acted: dict[int, list[int]] = {}
    times = 0
    for row, kind in enumerate(tape.kind):
        cpu, pid = tape.cpu[row], tape.pid[row]
        if kind == Kind.PROBE_KFPU_END and not tape.flags[row] & IN_INTERRUPT:
            if pid not in vcpus and cpu not in acted:
                section[cpu], restores[cpu] = pid, []
        elif kind == Kind.PROBE_KFPU_BEGIN:
            section.pop(cpu, None)
            acted.pop(cpu, None)
        elif kind == Kind.PROBE_RESTORE and section.get(cpu) == pid:
            restores[cpu].append(row)
        elif kind == Kind.REGS_ACTIVATED:
            valid = owner.get(cpu) == pid and last.get(pid) == cpu
            if section.pop(cpu, None) == pid and tape.op[row, 1] and valid:
                acted[cpu] = [*restores[cpu], row]
            else:
                acted.pop(cpu, None)
            owner[cpu], last[pid] = pid, cpu
        elif kind == Kind.SCHED_SWITCH:
            section.pop(cpu, None)
            times += cpu in acted
            tape.drop(acted.pop(cpu, []))
    return times


def no_pointer_swap(tape: Tape, _one_in: int = 1) -> int:
    """fpu_swap_kvm_fpstate() leaves fpu->fpstate at the thread's own buffer.

    What is saved while the guest is loaded goes there; the guest's image is still loaded from its.
    """
    own: dict[int, int] = {}
    image: dict[int, int] = {}  # the guest's, while it is loaded
    done = list(swaps(tape))
    swap = {one.probe: one for one in done} | {one.done: one for one in done}
    inside = {save for one in done for save in one.saves}
    column = fpstate_column(tape)
    times = 0
    for row, kind in enumerate(tape.kind):
        pid = tape.pid[row]
        if kind == Kind.PROBE_SWAP and row in swap and swap[row].load and swap[row].saves:
            own[pid] = int(tape.op[swap[row].saves[0], column[Kind.PROBE_SAVE]])
        elif kind == Kind.REGS_ACTIVATED and row in swap:
            if swap[row].load and pid in own:
                image[pid] = int(tape.op[swap[row].restores[0], column[Kind.PROBE_RESTORE]])
            else:
                image.pop(pid, None)
        elif kind in column and tape.op[row, column[kind]] == image.get(pid):
            tape.put(row, column[kind], own[pid])
            times += kind == Kind.PROBE_SAVE and row not in inside
    return times


def fpstate_column(tape: Tape) -> dict[int, int]:
    """Operand of the save's and the restore's probes that is the fpstate: both show the same."""
    seen: dict[tuple[int, int], set[int]] = {}
    for row, kind in enumerate(tape.kind):
        if kind in (Kind.PROBE_SAVE, Kind.PROBE_RESTORE):
            for column in range(3):
                seen.setdefault((kind, column), set()).add(int(tape.op[row, column]))
    best = max(
        ((one, other) for one in range(3) for other in range(3)),
        key=lambda pair: len(seen[Kind.PROBE_SAVE, pair[0]] & seen[Kind.PROBE_RESTORE, pair[1]]),
    )
    return {Kind.PROBE_SAVE: best[0], Kind.PROBE_RESTORE: best[1]}


FAULTS: list[tuple[Callable[[Tape, int], int], str, str]] = [
    (no_user_restore, "FPU110", "confirmed"),
    (swap_without_save, "FPU107", "confirmed"),
    (skipped_save, "FPU107", "confirmed"),
    (skipped_save_of_another, "FPU107", "possible"),
    (kernel_fpu_keeps_owner, "FPU105", "confirmed"),
    (no_pointer_swap, "FPU101", "confirmed"),
]


def accused(analysis: Analysis) -> set[tuple[str, str]]:
    """Errors, with their verdicts."""
    errors = [f for f in analysis.findings if f.severity is Severity.ERROR]
    return {(finding.code, finding.verdict.value) for finding in errors}


@pytest.mark.parametrize("one_in", [1, 7])
@pytest.mark.parametrize("case", PROBED)
@pytest.mark.parametrize(("fault", "code", "verdict"), FAULTS, ids=[f.__name__ for f, *_ in FAULTS])
def test_a_step_left_out(
    fault: Callable[[Tape, int], int], code: str, verdict: str, case: str, one_in: int
) -> None:
    tape = Tape(SAMPLES / case / "trace.dat")
    times = fault(tape, one_in)
    assert times > 10
    analysis = tape.analyze()
    # What the recording's end leaves open is possible only.
    assert accused(analysis) | {(code, "possible")} == {(code, verdict), (code, "possible")}
    found = sum(f.count for f in analysis.findings if f.code == code and f.verdict == verdict)
    # What stays in the registers may be saved or used more than once.
    assert 0.99 * times <= found <= 1.01 * times + 1


def test_a_pointer_that_is_not_swapped_shows_in_probes_only() -> None:
    """A recording of that fault, as it is without probes: nobody may call it clean."""
    tape = Tape(SAMPLES / "6.1-no-pointer-swap" / "trace.dat")
    tape.forget(name for name in tape.names if name.startswith("fpu:"))
    analysis = tape.analyze()
    assert accused(analysis) == set()
    assert answer(analysis, "FPU101").status is Status.NOT_DECIDABLE
