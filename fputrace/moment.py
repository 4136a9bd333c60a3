"""One moment of a trace: who held the registers of each CPU, and where every image was.

Plain values, made by :mod:`fputrace.freeze` and rendered by ``reports/at.py``.  Certainty is
"known" when events tell it, "inferred" when it follows from them in this generation, "unknown";
``why`` says why it is not known.  Times in ns of the trace's clock.
"""

from __future__ import annotations

from typing import Any, Protocol

from fputrace.plain import PlainTuple


class NearEvent(Protocol):
    """An event as it is shown (`fputrace.findings.WitnessEvent`); a mark of a hole has pid -1."""

    @property
    def ns(self) -> int:
        """Time, ns."""

    @property
    def pid(self) -> int:
        """``common_pid``."""

    @property
    def comm(self) -> str:
        """Its name."""

    @property
    def name(self) -> str:
        """``system:name``."""

    @property
    def fields(self) -> dict[str, Any]:
        """Under the kernel's names."""


class Why(PlainTuple):
    """A reason, one of :data:`REASONS`, with the time or the stretch and the task it speaks of."""

    reason: str
    ns: int | None = None
    until_ns: int | None = None
    lost: int | None = None
    """Events lost, None when the recorder did not say."""
    pid: int = -1
    comm: str = ""


REASONS = {
    "start": "no event has told since the recording began",
    "not-seen": "no event of this CPU has come yet",
    "lost": "events are lost here",
    "after-lost": "events were lost, and none has told since",
    "ended": "the recording of this CPU has ended",
    "another-blind": "another CPU could not be seen, where this task may have run since",
    "another-ended": "the recording of another CPU has ended, where this task may have run since",
    "gap": "an event of a task that this CPU did not run: others are missing, and none told since",
    "away": "the CPU was off or the machine suspended, and no event has told since",
    "nobody": "the owner gave the registers up",
    "kvm-unknown": "no kvm_fpu has told whether its guest FPU is loaded",
    "no-kvm": "no KVM event of the task was seen before",
    "another-runs": "another task runs, and the kernel's own use of the FPU shows no event",
    "taken": "another task has acquired these registers since: the image is in memory, or lost",
    "arriving": "it is being switched to, and its restore was not seen yet",
    "no-switch": "no sched_switch of this CPU was seen yet: it may be on its way out",
    "owner-unknown": "nobody knows who acquired these registers last",
    "elided": "the registers are still valid: a reload would be skipped without an event",
    "no-save": "no save shows since its restore; the kernel's own use of the FPU saves without one",
    "switching": "its save was not seen yet",
    "not-told": "no event has told",
    "overwritten": "the guest's registers were saved over it",
    "undecided": "the generation is undecided",
}
"""Reason -> what it means."""


class CpuMoment(PlainTuple):
    """One CPU.

    ``pid``: the task that runs, -1 unknown, since ``since_ns`` (None: before the first event that
    tells).  ``leaving``: a `sched_switch` from this task (-1: from none) to ``pid`` was printed,
    and no event of ``pid`` yet.  ``owner``: pid of the task that last acquired the registers
    (`fpu_fpregs_owner_ctx`), 0 for NULL, -1 unknown; ``token``: its ``struct fpu *``.  ``image``:
    "user", "guest", "kernel", "init" or "unknown".
    """

    cpu: int
    pid: int
    comm: str
    since_ns: int | None
    leaving: int
    leaving_comm: str
    owner: int
    owner_comm: str
    owner_since_ns: int | None
    token: int | None
    image: str
    image_since_ns: int | None
    certainty: str
    why: Why | None
    before: tuple[NearEvent, ...]
    after: tuple[NearEvent, ...]


class Place(PlainTuple):
    """Where an image is: ``where`` in words, ``cpu`` when that is a CPU's registers.

    ``copy``: a CPU whose registers still hold the same, -1 none that is known.
    """

    where: str
    cpu: int
    since_ns: int | None
    certainty: str
    why: Why | None
    copy: int = -1


class TaskMoment(PlainTuple):
    """One task with FPU state.

    ``cpu``: where it runs, -1 nowhere that is known.  ``last_cpu``: `fpu->last_cpu`, -1 INVALID,
    None unknown.  ``tif``: TIF_NEED_FPU_LOAD, None unknown or not in this generation.  ``guest`` is
    None for a task that is no vCPU as far as the trace tells; ``vcpu`` its ``vcpu_id``, None where
    no kvm_entry told it; ``loaded``: whether its guest FPU is loaded, None unknown.
    """

    pid: int
    comm: str
    cpu: int
    token: int | None
    last_cpu: int | None
    tif: bool | None
    loaded: bool | None
    vcpu: int | None
    user: Place
    guest: Place | None
    shown: bool
    """It runs, owns registers or is a vCPU: what is shown unless everything is asked for."""


class Moment(PlainTuple):
    """The whole machine after the last event at or before ``ns``."""

    ns: int
    last_ns: int | None
    """The last event at or before ``ns``; None: the trace begins later."""
    at_end: bool
    """The end of the trace was asked for: CPUs whose data ended earlier are as they were then."""
    generation: tuple[str, ...]
    """The candidates; the first is the one replayed by."""
    cpus: tuple[CpuMoment, ...]
    tasks: tuple[TaskMoment, ...]
    notes: tuple[str, ...]
    """What makes all of it less certain."""
