"""Events in columns: what parsers make and every later stage reads.

A recording is a stream of :class:`EventBlock`, rows in global time order (time, then CPU, then
file order).  A row is an event, or one of the three marks LOSS, LOSS_END and CPU_END that say
where a CPU could not be seen.  Columns, one numpy array each, all of the same length *n*:

=========  ==========  ==========================================================================
column     dtype       meaning
=========  ==========  ==========================================================================
``ts``     int64       time in ns of the trace's clock (raw clocks: in that clock's own unit)
``cpu``    int32       the kernel's CPU number
``pid``    int32       ``common_pid``: the task that was ``current``; -1 on marks
``kind``   uint8       a :class:`Kind`
``flags``  uint16      low byte ``common_flags``, high byte ``common_preempt_count``
``event``  int32       index into ``Trace.event_names``; -1 on marks
``op``     int64[n,4]  the operands of that kind, see :data:`KINDS`; 64-bit unsigned values
                       (pointers, ``xfeatures``) are stored as their two's complement
=========  ==========  ==========================================================================

An operand that this kernel's format lacks, and that the kind does not require, is ``ABSENT``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from fputrace.plain import PlainTuple, plain

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

ABSENT = -(1 << 62)
"""Operand value of a field that the event's format does not have."""

BLOCK_ROWS = 65536
"""Rows of a full block (64 Ki measured best)."""


class Kind(IntEnum):
    """What a row is.  Numbers are stable inside one process only; names are the contract."""

    OTHER = 0
    LOSS = 1
    LOSS_END = 2
    CPU_END = 3
    # x86_fpu:*
    REGS_ACTIVATED = 10
    REGS_DEACTIVATED = 11
    DROPPED = 12
    BEFORE_SAVE = 13
    AFTER_SAVE = 14
    BEFORE_RESTORE = 15
    AFTER_RESTORE = 16
    INIT_STATE = 17
    ACTIVATE_STATE = 18
    COPY_SRC = 19
    COPY_DST = 20
    XSTATE_CHECK_FAILED = 21
    # kvm:*
    KVM_FPU = 30
    KVM_ENTRY = 31
    KVM_EXIT = 32
    KVM_USERSPACE_EXIT = 33
    KVM_VCPU_WAKEUP = 34
    KVM_MSR = 35
    # sched:*
    SCHED_SWITCH = 40
    SCHED_MIGRATE_TASK = 41
    SCHED_PROCESS_FORK = 42
    SCHED_PROCESS_EXEC = 43
    SCHED_PROCESS_EXIT = 44
    SCHED_PROCESS_FREE = 45
    # proof of user mode, signals
    SYS_ENTER = 50
    SYS_EXIT = 51
    PAGE_FAULT_USER = 52
    SIGNAL_DELIVER = 53
    # the machine itself was away
    CPUHP = 60
    SUSPEND_RESUME = 61
    # probes and function-tracer entries, by the function they sit on
    PROBE_SAVE = 70
    PROBE_RESTORE = 71
    PROBE_SWAP = 72
    PROBE_KFPU_BEGIN = 73
    PROBE_KFPU_END = 74
    PROBE_SWITCH_FPU_RETURN = 75
    PROBE_LOAD_GUEST_FPU = 76
    PROBE_PUT_GUEST_FPU = 77
    PROBE_VCPU_LOAD = 78
    PROBE_VCPU_PUT = 79
    PROBE_MARK_ACTIVATE = 80
    PROBE_OTHER = 81
    PROBE_KFPU_BEGUN = 82
    PROBE_PTRACE_WRITE = 83


class Operand(PlainTuple):
    """One operand: the kernel's field names (newest first), C type, unit, and whether needed."""

    fields: tuple[str, ...]
    ctype: str
    unit: str
    required: bool = True


class KindSpec(PlainTuple):
    """How a kind is recognised in a recording and what its operands are."""

    kind: Kind
    system: str
    names: tuple[str, ...]
    operands: tuple[Operand, ...]


def _op(names: str, ctype: str, unit: str = "", required: bool = True) -> Operand:
    return Operand(tuple(names.split("|")), ctype, unit, required)


# struct fpu * is an opaque token.  The flag is TIF_NEED_FPU_LOAD of `current` since 5.2
# (load_fpu), fpu->initialized in 4.14-5.1, fpu->fpregs_active before (x86/asm/trace/fpu.h).
_FPU = (
    _op("fpu", "struct fpu *"),
    _op("load_fpu|initialized|fpregs_active", "bool"),
    _op("xfeatures", "u64", "mask", required=False),
    _op("xcomp_bv", "u64", "mask", required=False),
)


def _fpu(kind: Kind, name: str) -> KindSpec:
    return KindSpec(kind, "x86_fpu", (f"x86_fpu_{name}",), _FPU)


KINDS: tuple[KindSpec, ...] = (
    _fpu(Kind.REGS_ACTIVATED, "regs_activated"),
    _fpu(Kind.REGS_DEACTIVATED, "regs_deactivated"),
    _fpu(Kind.DROPPED, "dropped"),
    _fpu(Kind.BEFORE_SAVE, "before_save"),
    _fpu(Kind.AFTER_SAVE, "after_save"),
    _fpu(Kind.BEFORE_RESTORE, "before_restore"),
    _fpu(Kind.AFTER_RESTORE, "after_restore"),
    _fpu(Kind.INIT_STATE, "init_state"),
    _fpu(Kind.ACTIVATE_STATE, "activate_state"),
    _fpu(Kind.COPY_SRC, "copy_src"),
    _fpu(Kind.COPY_DST, "copy_dst"),
    _fpu(Kind.XSTATE_CHECK_FAILED, "xstate_check_failed"),
    KindSpec(Kind.KVM_FPU, "kvm", ("kvm_fpu",), (_op("load", "u32"),)),
    KindSpec(
        Kind.KVM_ENTRY,
        "kvm",
        ("kvm_entry",),
        (_op("vcpu_id", "unsigned int"), _op("rip", "unsigned long", "", False)),
    ),
    KindSpec(
        Kind.KVM_EXIT,
        "kvm",
        ("kvm_exit",),
        (
            _op("exit_reason", "unsigned int"),
            _op("vcpu_id", "unsigned int", "", False),
            _op("guest_rip", "unsigned long", "", False),
        ),
    ),
    KindSpec(
        Kind.KVM_USERSPACE_EXIT,
        "kvm",
        ("kvm_userspace_exit",),
        (_op("reason", "__u32"), _op("errno", "int")),
    ),
    KindSpec(
        Kind.KVM_VCPU_WAKEUP,
        "kvm",
        ("kvm_vcpu_wakeup",),
        (
            _op("ns", "__u64", "ns"),
            _op("waited", "bool", "", False),
            _op("valid", "bool", "", False),
        ),
    ),
    KindSpec(
        Kind.KVM_MSR,
        "kvm",
        ("kvm_msr",),
        (
            _op("write", "unsigned", "bool"),
            _op("ecx", "u32", "MSR"),
            _op("data", "u64"),
        ),
    ),
    KindSpec(
        Kind.SCHED_SWITCH,
        "sched",
        ("sched_switch",),
        (_op("prev_pid", "pid_t"), _op("prev_state", "long"), _op("next_pid", "pid_t")),
    ),
    KindSpec(
        Kind.SCHED_MIGRATE_TASK,
        "sched",
        ("sched_migrate_task",),
        (_op("pid", "pid_t"), _op("orig_cpu", "int"), _op("dest_cpu", "int")),
    ),
    KindSpec(
        Kind.SCHED_PROCESS_FORK,
        "sched",
        ("sched_process_fork",),
        (_op("parent_pid|pid", "pid_t"), _op("child_pid", "pid_t")),
    ),
    KindSpec(
        Kind.SCHED_PROCESS_EXEC,
        "sched",
        ("sched_process_exec",),
        (_op("pid", "pid_t"), _op("old_pid", "pid_t")),
    ),
    KindSpec(Kind.SCHED_PROCESS_EXIT, "sched", ("sched_process_exit",), (_op("pid", "pid_t"),)),
    KindSpec(Kind.SCHED_PROCESS_FREE, "sched", ("sched_process_free",), (_op("pid", "pid_t"),)),
    KindSpec(Kind.SYS_ENTER, "raw_syscalls", ("sys_enter",), (_op("id|__syscall_nr|nr", "long"),)),
    KindSpec(
        Kind.SYS_EXIT,
        "raw_syscalls",
        ("sys_exit",),
        (_op("id|__syscall_nr|nr", "long"), _op("ret", "long")),
    ),
    KindSpec(
        Kind.PAGE_FAULT_USER,
        "exceptions",
        ("page_fault_user",),
        (
            _op("address", "unsigned long"),
            _op("ip", "unsigned long", "", False),
            _op("error_code", "unsigned long", "", False),
        ),
    ),
    KindSpec(
        Kind.SIGNAL_DELIVER,
        "signal",
        ("signal_deliver",),
        (_op("sig", "int"), _op("sa_handler", "unsigned long", "", False)),
    ),
    KindSpec(
        Kind.CPUHP, "cpuhp", ("cpuhp_enter", "cpuhp_multi_enter"), (_op("cpu", "unsigned int"),)
    ),
    KindSpec(
        Kind.SUSPEND_RESUME,
        "power",
        ("suspend_resume",),
        (_op("val", "int"), _op("start", "bool", "", False)),
    ),
)
"""Every event that matters here; any other is counted by name and kept as ``Kind.OTHER``.

``syscalls:sys_enter_*`` and ``syscalls:sys_exit_*`` are SYS_ENTER and SYS_EXIT as well.
Probe kinds have no fixed operands: ``op`` holds the first four fields after ``__probe_ip``
(``__probe_func``/``__probe_ret_ip``, ``ip`` and ``parent_ip`` for their own kinds of probe)
in the order of the format file; what they mean is decided by whoever uses them.
"""

PROBED_FUNCTIONS: Mapping[str, Kind] = {
    # Function a probe sits on -> kind.  Clone suffixes (.isra.0, .constprop.0) are cut first.
    "save_fpregs_to_fpstate": Kind.PROBE_SAVE,
    "copy_fpregs_to_fpstate": Kind.PROBE_SAVE,
    "restore_fpregs_from_fpstate": Kind.PROBE_RESTORE,
    "__restore_fpregs_from_fpstate": Kind.PROBE_RESTORE,
    "fpu_swap_kvm_fpstate": Kind.PROBE_SWAP,
    "kernel_fpu_begin": Kind.PROBE_KFPU_BEGIN,
    "kernel_fpu_begin_mask": Kind.PROBE_KFPU_BEGIN,
    "kernel_fpu_end": Kind.PROBE_KFPU_END,
    "switch_fpu_return": Kind.PROBE_SWITCH_FPU_RETURN,
    "kvm_load_guest_fpu": Kind.PROBE_LOAD_GUEST_FPU,
    "kvm_put_guest_fpu": Kind.PROBE_PUT_GUEST_FPU,
    "kvm_arch_vcpu_load": Kind.PROBE_VCPU_LOAD,
    "kvm_arch_vcpu_put": Kind.PROBE_VCPU_PUT,
    "vcpu_load": Kind.PROBE_VCPU_LOAD,
    "vcpu_put": Kind.PROBE_VCPU_PUT,
    "fpregs_mark_activate": Kind.PROBE_MARK_ACTIVATE,
    "fpu__prepare_write": Kind.PROBE_PTRACE_WRITE,
    "fpu_force_restore": Kind.PROBE_PTRACE_WRITE,
}


class Loss(PlainTuple):
    """One place where events of a CPU are missing.

    ``after_ns`` / ``before_ns``: time of that CPU's event before and after the hole; None where
    there is none.  ``count``: events lost, None when the recorder did not say.  ``where``: the
    place in the input and who reported it.  ``placed`` is False when only a total is known, so
    that the hole may be anywhere in that CPU's data.  ``severity`` is "lost" or "damaged".
    """

    cpu: int | None
    after_ns: int | None
    before_ns: int | None
    count: int | None  # type: ignore[assignment]  # hides tuple.count(), of no use here
    where: str
    placed: bool = True
    severity: str = "lost"


class FormatField(PlainTuple):
    """One field of an event's format file: offset and size in bytes, as the file gives them."""

    name: str
    ctype: str
    offset: int
    size: int
    signed: bool
    array: bool
    dynamic: str  # "", "data_loc" or "rel_loc"


class EventFormat(PlainTuple):
    """An event's format as the recording itself describes it (``events/*/*/format``)."""

    system: str
    name: str
    id: int
    fields: tuple[FormatField, ...]
    print_fmt: str = ""
    complete: bool = True
    """False when only the fields that a text showed are known: others may exist."""

    @property
    def key(self) -> str:
        """``system:name``."""
        return f"{self.system}:{self.name}"


@plain
class EventBlock:
    """Up to ``BLOCK_ROWS`` rows, see the module.  ``fields_of`` decodes one row completely."""

    ts: NDArray[np.int64]
    cpu: NDArray[np.int32]
    pid: NDArray[np.int32]
    kind: NDArray[np.uint8]
    flags: NDArray[np.uint16]
    event: NDArray[np.int32]
    op: NDArray[np.int64]
    names: list[str]
    fields_of: Callable[[int], dict[str, Any]]

    def __len__(self) -> int:
        return len(self.ts)

    def to_pandas(self, kind: Kind | None = None) -> pd.DataFrame:
        """Rows of one kind (or all) with every field under the kernel's own name.

        Columns ``ts``, ``cpu``, ``pid``, ``name`` and the event's fields; integers in the
        kernel's signedness, fixed and dynamic strings as str, other arrays as tuples.
        """
        import numpy as np
        import pandas as pd

        wanted = (self.kind == kind) if kind is not None else (self.event >= 0)
        rows = np.flatnonzero(wanted)
        frame = pd.DataFrame(
            {
                "ts": self.ts[rows],
                "cpu": self.cpu[rows],
                "pid": self.pid[rows],
                "name": [self.names[i] if i >= 0 else "" for i in self.event[rows]],
            }
        )
        decoded = pd.DataFrame([self.fields_of(int(r)) for r in rows])
        return pd.concat([frame, decoded.drop(columns=["name"], errors="ignore")], axis=1)


UNREAD = "a text that can be read"
"""What an event of a text lacks whose lines are there, but cut, or printed without fields."""


class ProbeDefinition(PlainTuple):
    """What a probe was made to be: its function, entry or return, and each argument's fetch.

    ``fetches``: argument -> ``%di``, ``+16(%di)``, ``$arg1``: the kernel's words, without a type.
    """

    function: str
    returns: bool
    fetches: Mapping[str, str]


@plain(frozen=True)
class Sidecar:
    """What a recorder wrote down beside the events.

    ``probes``: ``group:event`` -> definition; ``kthreads``: tasks that are kernel threads;
    ``xsave_sizes``: bytes of each state component (CPUID leaf 0xD), by its bit.
    """

    probes: Mapping[str, ProbeDefinition]
    kthreads: frozenset[int] = frozenset()
    xsave_sizes: Mapping[int, int] = field(default_factory=dict)


@plain
class Trace:
    """An opened recording: what it says about itself, and its events in blocks.

    Filled by a parser.  ``losses``, ``comms``, ``counts``, ``first_ns`` and ``last_ns`` are
    complete only when a pass over :meth:`blocks` has ended; each pass starts them anew.
    """

    path: str
    format: str
    kernel: str | None = None
    host: str | None = None
    cpus: list[int] = field(default_factory=list)
    clock: str | None = None
    clock_global: bool = True
    clock_in_ns: bool = True
    pointers_hashed: bool = False
    losses_known: bool = True
    """False when this form of recording cannot tell that events were lost."""
    whole_known: bool = True
    """False when nothing tells whether parts were left out later (a text that may be grep'ed)."""
    formats: dict[str, EventFormat] = field(default_factory=dict, repr=False)
    """``system:name`` -> format, of every event this recording describes."""
    enabled: frozenset[str] | None = None
    """``system:name`` of the events known to have been switched on; None: all described ones."""
    unusable: dict[str, list[str]] = field(default_factory=dict)
    """``system:name`` -> needed fields its format lacks; such events count as not recorded."""
    symbols: dict[str, int] = field(default_factory=dict, repr=False)
    """Kernel functions that tell a generation, as far as the recording's kallsyms has them."""
    has_kallsyms: bool = False
    probes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Probe event -> (function it was seen on, what says so: "kallsyms", "sidecar" or "name")."""
    sidecar: Sidecar | None = None
    """What the recorder wrote down besides, None where there is nothing of this recording."""
    comms: dict[int, str] = field(default_factory=dict, repr=False)
    guests: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Host TID -> (guest name, vCPU id), from the GUEST option."""
    is_guest: bool = False
    instances: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences about the input a reader should know (damage, options ignored, …)."""
    broken: list[str] = field(default_factory=list)
    """Of the notes, those on parts of the file that cannot be read, its events apart."""
    limits: list[str] = field(default_factory=list)
    """What this form of recording cannot tell, a sentence each ("times are in microseconds")."""
    trace_id: int | None = None
    """TRACEID of a trace.dat: what a host's GUEST option names its guests' recordings by."""
    guest_ids: dict[int, str] = field(default_factory=dict)
    """TRACEID of a guest's recording -> the guest's name, from the GUEST option."""
    event_names: list[str] = field(default_factory=list, repr=False)
    event_kinds: list[Kind] = field(default_factory=list, repr=False)
    losses: list[Loss] = field(default_factory=list, repr=False)
    counts: dict[str, int] = field(default_factory=dict, repr=False)
    """``system:name`` -> events seen in the last pass."""
    first_ns: int | None = None
    last_ns: int | None = None
    total_bytes: int = 0
    """Size of the event data in bytes, for progress."""
    read_bytes: int = 0
    """How much of it the current pass has read."""
    _plan: Any = field(default=None, repr=False)
    """How its raw records are read (``parsers.passes.Plan``); None where there are none."""
    _blocks: Callable[[Trace], Iterator[EventBlock]] | None = field(default=None, repr=False)
    _close: Callable[[], None] | None = field(default=None, repr=False)

    def blocks(self) -> Iterator[EventBlock]:
        """One pass over the events in global time order; may be called again for another pass.

        Raises ReadError when the file shrinks or fails meanwhile, ValueError after ``close()``.
        """
        if self._blocks is None:
            raise ValueError(f"{self.path}: the trace is closed; open it again")
        return self._blocks(self)

    def close(self) -> None:
        """Give back the file; the trace cannot be read any more."""
        if self._close is not None:
            self._close()
            self._close = None
            self._blocks = None

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
