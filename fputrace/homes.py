"""Where the images of tasks and guests lie in memory, in each generation, by the kernel's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fputrace.plain import PlainTuple


class Homes(PlainTuple):
    """Where images lie in memory, in one generation.

    ``own``: a task's; ``parked``: the VMM's while its guest is loaded; ``guest``: the guest's while
    it is not loaded; ``guest_out``: where a switch saves it while it is loaded.
    """

    own: str
    parked: str
    guest: str
    guest_out: str


_GUEST = "vcpu->arch.guest_fpu"
_USER_FPU = Homes("thread.fpu", "vcpu->arch.user_fpu", _GUEST, "thread.fpu")
# Until 4.14.93 the guest is put before its thread is saved; in 240c35a3783a it is not.
_BESIDE = Homes("thread.fpu", "thread.fpu", _GUEST, "thread.fpu")
_FPSTATE = f"{_GUEST}.fpstate"

HOMES: Mapping[str, Homes] = {
    "G0": _BESIDE,
    "G1": _BESIDE,
    "G2": _USER_FPU,
    "G2x": _USER_FPU,
    "G3": _BESIDE,
    "G4a": _BESIDE,
    "G4x": _USER_FPU,
    "G4b": _USER_FPU,
    "G4c": _USER_FPU,
    "G4d": _USER_FPU,
    # fpu->fpstate while no guest is loaded, fpu->__task_fpstate while one is.
    "G5": Homes("thread.fpu, own fpstate", "thread.fpu, own fpstate", _FPSTATE, _FPSTATE),
    "G6": Homes("x86_task_fpu(), own fpstate", "x86_task_fpu(), own fpstate", _FPSTATE, _FPSTATE),
}


def homes_of(candidates: Sequence[str]) -> Homes:
    """Of a kernel that is one of these; what they do not agree on reads ``A or B``."""
    return Homes(
        *(
            " or ".join(dict.fromkeys(names))
            for names in zip(*(HOMES[code] for code in candidates), strict=True)
        )
    )
