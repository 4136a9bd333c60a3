"""What to record on one kernel, as plain data: events with their filters, probes, clock, buffers.

Chosen from what the kernel offers (:class:`fputrace.record.kernel.Kernel`), never from its release
number: distributions backport.  Facts: reference sections of docs/record.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from fputrace.plain import PlainTuple, plain
from fputrace.record.kernel import Kernel

VCPU_THREADS = 'comm ~ "CPU *" || comm ~ "*vcpu*"'
"""vCPU threads by name: QEMU's "CPU 0/KVM", crosvm, cloud-hypervisor and Firecracker have vcpu."""

_MOST_PREDICATES = 16
"""Parts of an event filter that every kernel takes (4.14's MAX_FILTER_PRED is 32)."""

_XFD = "ecx == 0x1c4 || ecx == 0x1c5"  # IA32_XFD, IA32_XFD_ERR

_ALWAYS = (
    "x86_fpu",
    "kvm:kvm_fpu",
    "kvm:kvm_entry",
    "kvm:kvm_exit",
    "kvm:kvm_userspace_exit",
    "kvm:kvm_vcpu_wakeup",
    "sched:sched_switch",
    "sched:sched_migrate_task",
    "sched:sched_process_fork",
    "sched:sched_process_exec",
    "sched:sched_process_exit",
    "sched:sched_process_free",
    "signal:signal_deliver",
    "cpuhp:cpuhp_enter",
    "cpuhp:cpuhp_multi_enter",
    "power:suspend_resume",
)
_NEEDED = ("x86_fpu", "sched:sched_switch", "kvm:kvm_fpu", "kvm:kvm_entry")
"""Without these hardly a rule can answer."""


class Event(PlainTuple):
    """``system:name``, or a ``system`` for all of it, and the filter of its records."""

    name: str
    filter: str = ""


class Fetch(PlainTuple):
    """An argument a probe fetches: the n-th (from 1) or what lies at an offset behind it."""

    name: str
    argument: int
    type: str = "x64"
    offset: int | None = None

    def text(self, place: str) -> str:
        """As a kernel's probe definition says it, e.g. ``fpstate=+16(%di):x64``."""
        inner = place if self.offset is None else f"+{self.offset}({place})"
        return f"{self.name}={inner}:{self.type}"


class Probe(PlainTuple):
    """A probe: its event's name, where it sits, on a function's entry or return, what it fetches.

    ``kind``: "p" (kprobe), "r" (its return) or "f" (fprobe, both).
    """

    name: str
    kind: str
    symbol: str
    module: str = ""
    returns: bool = False
    fetches: tuple[Fetch, ...] = ()

    @property
    def place(self) -> str:
        """The probed place and the fetches: what follows ``p:GROUP/NAME``."""
        if self.kind == "f":
            where = self.symbol + ("%return" if self.returns else "")
            arguments = [fetch.text(f"$arg{fetch.argument}") for fetch in self.fetches]
        else:
            where = f"{self.module}:{self.symbol}" if self.module else self.symbol
            # The calling convention of x86-64; $argN came with 4.20.
            arguments = [
                fetch.text(("%di", "%si", "%dx")[fetch.argument - 1]) for fetch in self.fetches
            ]
        return " ".join([where, *arguments])


@plain(frozen=True)
class Plan:
    """What to record; ``tag`` makes the names of instance and group this run's own.

    ``buffer_kb`` is per CPU.  ``control``: the file of tracefs that takes the probes.  ``missing``:
    sentences on what could not be had here, and what then cannot be told.
    """

    tag: str
    tracefs: str
    events: tuple[Event, ...]
    probes: tuple[Probe, ...]
    control: str
    clock: str
    buffer_kb: int
    cpus: int
    page_size: int
    missing: tuple[str, ...] = ()

    @property
    def instance(self) -> str:
        """Name of the ring buffer."""
        return f"fputrace-{self.tag}"

    @property
    def group(self) -> str:
        """Name of the probes' group; the kernel takes no "-" in it."""
        return f"fputrace_{self.tag}"

    def definition(self, probe: Probe) -> str:
        """The line that makes a probe."""
        return f"{probe.kind}:{self.group}/{probe.name} {probe.place}"


_FPU = (Fetch("fpu", 1),)
_FPSTATE = Fetch("fpstate", 1, offset=16)  # struct fpu, 5.16 on (arch/x86/include/asm/fpu/types.h)
_VCPU = (Fetch("vcpu", 1),)

_PROBES: tuple[tuple[str, tuple[Fetch, ...]], ...] = (
    ("save_fpregs_to_fpstate", _FPU),
    ("copy_fpregs_to_fpstate", _FPU),
    ("restore_fpregs_from_fpstate", (Fetch("fpstate", 1), Fetch("mask", 2))),
    ("__restore_fpregs_from_fpstate", (Fetch("state", 1), Fetch("mask", 2))),
    ("fpu_swap_kvm_fpstate", (Fetch("guest_fpu", 1), Fetch("enter", 2, "u8"))),
    ("switch_fpu_return", ()),
    ("fpregs_mark_activate", ()),
    ("kvm_load_guest_fpu", _VCPU),
    ("kvm_put_guest_fpu", _VCPU),
    ("kvm_arch_vcpu_load", (*_VCPU, Fetch("cpu", 2, "s32"))),
    ("kvm_arch_vcpu_put", _VCPU),
    ("fpu__prepare_write", _FPU),
    ("fpu_force_restore", _FPU),
)
"""Function -> what it fetches, for ``--probes``; they run at every switch, so they fetch little."""

_KFPU: tuple[tuple[str, tuple[Fetch, ...], bool], ...] = (
    ("kernel_fpu_begin_mask", (Fetch("mask", 1, "u32"),), True),
    ("kernel_fpu_begin", (), True),
    ("kernel_fpu_end", (), False),
)
"""Function, fetches, whether its return is probed too (a section has begun), for ``--kfpu``."""


def make_plan(
    kernel: Kernel,
    tag: str,
    *,
    probes: bool = False,
    kfpu: bool = False,
    pids: Sequence[int] = (),
    buffer_mb: int | None = None,
) -> Plan:
    """Choose what to record on `kernel`.

    ``pids``: the threads whose user mode is recorded; none means whatever is named like a vCPU
    thread, and page faults of all.  ``buffer_mb``: of each CPU; None lets the memory decide.
    """
    missing: list[str] = []
    systems = {event.partition(":")[0] for event in kernel.events}
    events = [Event(name) for name in _ALWAYS if name in kernel.events or name in systems]
    events += _user_mode(kernel, pids)
    if "kvm:kvm_msr" in kernel.events:
        events.append(Event("kvm:kvm_msr", _XFD))
    for name in _NEEDED:
        if name in systems or name in kernel.events:
            continue
        what = f"{name}: this kernel has no such event"
        if name.startswith("kvm:") and "kvm" not in systems:
            what += "; load KVM first (modprobe kvm_amd or kvm_intel)"
        missing.append(what)
    chosen, control = _choose_probes(kernel, probes, kfpu, missing)
    return Plan(
        tag=tag,
        tracefs=kernel.tracefs,
        events=tuple(events),
        probes=chosen,
        control=control,
        clock=next((name for name in ("mono", "boot", "global") if name in kernel.clocks), "mono"),
        buffer_kb=buffer_mb * 1024 if buffer_mb else _buffer_kb(kernel),
        cpus=kernel.cpus,
        page_size=kernel.page_size,
        missing=tuple(missing),
    )


def pid_filter(pids: Sequence[int]) -> str:
    """An event filter for these tasks; runs of numbers become ranges, many runs one range."""
    runs: list[list[int]] = []
    for pid in sorted(set(pids)):
        if runs and runs[-1][1] == pid - 1:
            runs[-1][1] = pid
        else:
            runs.append([pid, pid])
    if sum(1 + (first != last) for first, last in runs) > _MOST_PREDICATES:
        runs = [[runs[0][0], runs[-1][1]]]
    parts = [
        f"common_pid == {first}"
        if first == last
        else f"(common_pid >= {first} && common_pid <= {last})"
        for first, last in runs
    ]
    return " || ".join(parts)


def _user_mode(kernel: Kernel, pids: Sequence[int]) -> list[Event]:
    """What shows that a task was in user mode: dear, so of the threads that matter."""
    calls, faults = "raw_syscalls:sys_enter", "exceptions:page_fault_user"
    if pids:
        chosen = [Event(calls, pid_filter(pids)), Event(faults, pid_filter(pids))]
    else:
        chosen = [Event(calls, VCPU_THREADS), Event(faults)]
    return [event for event in chosen if event.name in kernel.events]


def _choose_probes(
    kernel: Kernel, probes: bool, kfpu: bool, missing: list[str]
) -> tuple[tuple[Probe, ...], str]:
    """The probes, and the file that takes them."""
    # kprobes first: their fetches are the same from 4.14 on.
    control = "kprobe_events" if kernel.kprobes else "dynamic_events"
    if not (probes or kfpu):
        return (), control
    if not kernel.kprobes and not kernel.fprobes:
        missing.append(
            "probes: this kernel has neither kprobes nor fprobes (CONFIG_KPROBE_EVENTS, "
            "CONFIG_FPROBE_EVENTS), so the rules that need them stay undecided"
        )
        return (), control
    chosen: list[Probe] = []

    def add(name: str, fetches: tuple[Fetch, ...], returns: bool = False) -> bool:
        found = kernel.functions.get(name)
        if found is None:
            return False
        kind = "f" if not kernel.kprobes else "r" if returns else "p"
        # A clone's arguments are not those of the source.
        kept = () if found.clone or returns else fetches
        event = name + ("__return" if returns else "")
        chosen.append(Probe(event, kind, found.symbol, found.module, returns, kept))
        return True

    if probes:
        for name, fetches in _PROBES:
            with_fpstate = name == "save_fpregs_to_fpstate" and (
                "restore_fpregs_from_fpstate" in kernel.functions
            )
            add(name, (*fetches, _FPSTATE) if with_fpstate else fetches)
        if not any(probe.name.endswith("_fpregs_to_fpstate") for probe in chosen):
            missing.append(
                "probes: the save is inline in this kernel (before 5.9), or its functions cannot "
                "be listed"
            )
    if kfpu:
        begun = False
        for name, fetches, returns in _KFPU:
            # Where both exist, one calls the other.
            if name == "kernel_fpu_begin" and begun:
                continue
            if add(name, fetches) and returns:
                begun = True
                add(name, (), returns=True)
        if not begun:
            missing.append("probes: kernel_fpu_begin() is not to be found in this kernel")
    return tuple(chosen), control


def _buffer_kb(kernel: Kernel) -> int:
    """64 MiB a CPU, but an eighth of the free memory at most and 1 MiB at least."""
    share = kernel.memory // 8 // max(kernel.cpus, 1) if kernel.memory else 16 << 20
    return max(1 << 10, min(64 << 10, share >> 10))
