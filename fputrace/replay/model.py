"""The transition table of each generation: data for the one replay loop.

``TABLES[code]`` maps (:class:`~fputrace.events.Kind`, context) to :class:`Act` bits.  Context is
where the event lies: outside a switch window, in its tail, or unknown (docs/model.md).  Rows are
shared where kernels agree and replaced where a commit changed them.
"""

from __future__ import annotations

from fputrace.events import Kind
from fputrace.plain import PlainTuple
from fputrace.replay.layout import Act, Win

Context = tuple[Kind, Win]
Rows = dict[Context, Act]


class Model(PlainTuple):
    """One generation as the loop sees it."""

    rows: Rows
    eager: bool
    tif_at_switch_in: bool
    """switch_fpu_finish() sets TIF_NEED_FPU_LOAD of the incoming task (5.2-6.15)."""
    reload_after_entry: bool
    """kvm_entry is printed before vcpu_enter_guest() reloads the registers (5.2-5.10)."""
    out_save_flag: int
    """``load_fpu`` that a switch-out save prints: 0 (5.2-6.15), 1 (6.16+), -1 no such flag."""


def _everywhere(kind: Kind, act: Act) -> Rows:
    return {(kind, win): act for win in Win}


_COMMON: Rows = {
    **_everywhere(Kind.SCHED_SWITCH, Act.SWITCH),
    **_everywhere(Kind.SCHED_PROCESS_FORK, Act.FORK),
    **_everywhere(Kind.SCHED_PROCESS_EXEC, Act.EXEC),
    **_everywhere(Kind.SCHED_PROCESS_FREE, Act.FREE),
    **_everywhere(Kind.CPUHP, Act.GAP_CPU),
    **_everywhere(Kind.SUSPEND_RESUME, Act.GAP_ALL),
    **_everywhere(Kind.KVM_ENTRY, Act.KVMISH),
    **_everywhere(Kind.KVM_EXIT, Act.KVMISH),
    **_everywhere(Kind.KVM_USERSPACE_EXIT, Act.KVMISH),
    **_everywhere(Kind.KVM_VCPU_WAKEUP, Act.KVMISH),
    (Kind.REGS_DEACTIVATED, Win.OPEN): Act.LEARN_F | Act.LAST_HERE,
    (Kind.REGS_DEACTIVATED, Win.NONE): Act.ARM_DROP,
    (Kind.REGS_DEACTIVATED, Win.UNKNOWN): Act.ARM_DROP,
}

# 4.14-5.1: __switch_to -> switch_fpu_finish() -> fpregs_activate() prints the incoming task's
# activation under the outgoing pid, since current_task is written later (process_64.c).
_EAGER: Rows = {
    **_COMMON,
    (Kind.REGS_ACTIVATED, Win.OPEN): (
        Act.SUBJECT_NEXT | Act.OWN_F | Act.LAST_HERE | Act.IMAGE_BY_KVM
    ),
    (Kind.REGS_ACTIVATED, Win.NONE): Act.LEARN_F | Act.OWN_F | Act.LAST_HERE | Act.IMAGE_BY_KVM,
    (Kind.REGS_ACTIVATED, Win.UNKNOWN): Act.OWN_F | Act.IMAGE_UNKNOWN,
    **_everywhere(Kind.DROPPED, Act.DROP),
    **_everywhere(Kind.COPY_SRC, Act.LEARN_F),
    **_everywhere(Kind.COPY_DST, Act.CHILD_TOKEN),
    **_everywhere(Kind.BEFORE_SAVE, Act.LEARN_F),
    **_everywhere(Kind.AFTER_SAVE, Act.LEARN_F),
    **_everywhere(Kind.KVM_FPU, Act.KVMISH | Act.KVM_SET | Act.IMAGE_ALWAYS),
}

# 5.2+: 5f409e20b794 ("x86/fpu: Defer FPU state load until return to userspace") and its series.
_DEFERRED: Rows = {
    **_COMMON,
    **_everywhere(
        Kind.REGS_ACTIVATED,
        Act.LEARN_F | Act.OWN_F | Act.LAST_HERE | Act.TIF_0 | Act.IMAGE_BY_KVM,
    ),
    (Kind.REGS_DEACTIVATED, Win.OPEN): (Act.LEARN_F | Act.LAST_HERE | Act.TIF_0),
    (Kind.REGS_DEACTIVATED, Win.NONE): Act.ARM_DROP | Act.TIF_FLAG,
    (Kind.REGS_DEACTIVATED, Win.UNKNOWN): Act.ARM_DROP | Act.TIF_FLAG,
    **_everywhere(Kind.DROPPED, Act.DROP | Act.TIF_FLAG),
    **_everywhere(Kind.COPY_SRC, Act.LEARN_F | Act.TIF_FLAG),
    **_everywhere(Kind.COPY_DST, Act.CHILD_TOKEN | Act.TIF_FLAG),
    **_everywhere(Kind.BEFORE_SAVE, Act.LEARN_F | Act.TIF_FLAG),
    **_everywhere(Kind.AFTER_SAVE, Act.LEARN_F | Act.TIF_FLAG),
    **_everywhere(Kind.KVM_FPU, Act.KVMISH | Act.KVM_SET | Act.IMAGE_IF_OWNER),
    **_everywhere(Kind.PROBE_KFPU_BEGIN, Act.IMAGE_KERNEL),
}

# 6.16+: switch_fpu() sets the flag on the outgoing task before it saves (asm/fpu/sched.h).
_G6: Rows = {
    **_DEFERRED,
    (Kind.REGS_DEACTIVATED, Win.OPEN): (Act.LEARN_F | Act.LAST_HERE | Act.TIF_1),
}

_EAGER_MODEL = Model(
    _EAGER, eager=True, tif_at_switch_in=False, reload_after_entry=False, out_save_flag=-1
)
_EARLY = Model(
    _DEFERRED, eager=False, tif_at_switch_in=True, reload_after_entry=True, out_save_flag=0
)
_LATE = _EARLY._replace(reload_after_entry=False)

TABLES: dict[str, Model] = {
    "G0": _EAGER_MODEL,
    "G1": _EAGER_MODEL,
    "G2": _EAGER_MODEL,
    "G2x": _EAGER_MODEL,
    "G3": _EAGER_MODEL,
    "G4a": _EARLY,
    "G4x": _EARLY,
    "G4b": _LATE,  # reloads in kvm_arch_vcpu_load(), before kvm_entry
    "G4c": _EARLY,
    "G4d": _LATE,  # kvm_entry moved to the vendor's vcpu_run, after the reload
    "G5": _LATE,
    "G6": Model(
        _G6, eager=False, tif_at_switch_in=False, reload_after_entry=False, out_save_flag=1
    ),
}
