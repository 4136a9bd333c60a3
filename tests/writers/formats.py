"""Event formats of the kernels that matter, as tables, and how a record is packed by them.

Reduced from the format files inside real recordings of 4.14, 5.2, 5.10, 6.1, 6.12 and 7.2
(``sample_traces``).  Offsets are computed as the C compiler lays the record out, so that the same
tables give 32-bit and big-endian kernels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.writers.pages import Endian

# C type -> size in bytes (0: the kernel's long) and signedness.
TYPES: dict[str, tuple[int, bool]] = {
    "bool": (1, False),
    "char": (1, True),
    "unsigned char": (1, False),
    "u8": (1, False),
    "s8": (1, True),
    "unsigned short": (2, False),
    "u16": (2, False),
    "short": (2, True),
    "int": (4, True),
    "unsigned int": (4, False),
    "pid_t": (4, True),
    "u32": (4, False),
    "__u32": (4, False),
    "enum task_kind": (4, False),
    "s64": (8, True),
    "u64": (8, False),
    "__u64": (8, False),
    "long": (0, True),
    "unsigned long": (0, False),
}


class Field(NamedTuple):
    """A field as declared: ``u64 xfeatures``, ``char comm[16]``, ``__data_loc char[] name``."""

    ctype: str
    name: str
    length: int  # elements of an array, else 0
    dynamic: str  # "", "data_loc" or "rel_loc"


class Placed(NamedTuple):
    """A field with its place in the record, all in bytes."""

    field: Field
    offset: int
    size: int
    element: int
    signed: bool


def parse_field(text: str) -> Field:
    """``char comm[16]`` -> Field."""
    if found := re.fullmatch(r"__(data|rel)_loc (.+)\[\] (\w+)", text):
        return Field(found[2], found[3], 0, f"{found[1]}_loc")
    if found := re.fullmatch(r"(.+?) ?(\w+)(?:\[(\d+)\])?", text):
        return Field(found[1].strip(), found[2], int(found[3] or 0), "")
    raise ValueError(f"not a field: {text!r}")


@dataclass(frozen=True)
class Common:
    """The fields every record begins with, and where the event's own begin at the earliest.

    RT and vendor kernels add fields and leave gaps that no format line describes.
    """

    extra: tuple[str, ...] = ()
    first_offset: int = 8


PLAIN = Common()
RT = Common(("unsigned char common_migrate_disable", "unsigned char common_preempt_lazy_count"), 12)
_COMMON = (
    "unsigned short common_type",
    "unsigned char common_flags",
    "unsigned char common_preempt_count",
    "int common_pid",
)


@dataclass(frozen=True)
class EventSpec:
    """An event without its place in a particular kernel: system, name, fields, print format."""

    system: str
    name: str
    fields: tuple[str, ...]
    print_fmt: str = ""


class Layout:
    """One event as one kernel lays it out: gives the format text and packs records."""

    def __init__(
        self,
        spec: EventSpec,
        event_id: int,
        *,
        endian: Endian = "little",
        long_size: int = 8,
        common: Common = PLAIN,
        char_signed: bool = True,
    ):
        self.spec, self.id, self.endian = spec, event_id, endian
        self.common: list[Placed] = []
        self.fields: list[Placed] = []
        at = 0
        for number, text in enumerate((*_COMMON, *common.extra, *spec.fields)):
            is_common = number < len(_COMMON) + len(common.extra)
            if number == len(_COMMON) + len(common.extra):
                at = max(at, common.first_offset)
            field = parse_field(text)
            element, signed = (long_size, False) if "*" in field.ctype else TYPES[field.ctype]
            element = element or long_size
            if field.ctype == "char":
                signed = char_signed
            size = 4 if field.dynamic else element * (field.length or 1)
            align = 4 if field.dynamic else min(element, long_size)
            at += -at % align
            placed = Placed(field, at, size, element, signed)
            (self.common if is_common else self.fields).append(placed)
            at += size
        self.size = max(at + -at % 4, common.first_offset)

    @property
    def text(self) -> str:
        """The format file, as tracefs shows it."""
        lines = [f"name: {self.spec.name}", f"ID: {self.id}", "format:"]
        lines += [self._line(placed) for placed in self.common]
        lines += ["", *(self._line(placed) for placed in self.fields), ""]
        return "\n".join([*lines, f"print fmt: {self.spec.print_fmt or self._print_fmt()}", ""])

    @staticmethod
    def _line(placed: Placed) -> str:
        field = placed.field
        declared = f"{field.ctype} {field.name}" + (f"[{field.length}]" if field.length else "")
        if field.dynamic:
            declared = f"__{field.dynamic} {field.ctype}[] {field.name}"
        return (
            f"\tfield:{declared};\toffset:{placed.offset};\tsize:{placed.size};"
            f"\tsigned:{int(placed.signed)};"
        )

    def _print_fmt(self) -> str:
        shown = [p.field for p in self.fields if not (p.field.length or p.field.dynamic)]
        return ", ".join(
            [
                '"' + " ".join(f"{f.name}=%llx" for f in shown) + '"',
                *(f"REC->{f.name}" for f in shown),
            ]
        )

    def pack(self, values: Mapping[str, Any]) -> bytes:
        """The record for ``values``: ints, str for char arrays, sequences for other arrays.

        What is not given is 0 or empty; ValueError for a name the event does not have.
        """
        known = {placed.field.name for placed in (*self.common, *self.fields)}
        if unknown := set(values) - known:
            raise ValueError(
                f"{self.spec.name} has no field {sorted(unknown)}, but {sorted(known)}"
            )
        record = bytearray(self.size)
        tail = bytearray()
        for placed in (*self.common, *self.fields):
            value = values.get(placed.field.name, self.id if placed.offset == 0 else None)
            data = self._encode(placed, value)
            if placed.field.dynamic:
                # Length in the upper half, offset in the lower; rel_loc counts from its end.
                start = self.size + len(tail)
                if placed.field.dynamic == "rel_loc":
                    start -= placed.offset + placed.size
                tail += data + bytes(-len(data) % 4)
                data = (len(data) << 16 | start).to_bytes(4, self.endian)
            record[placed.offset : placed.offset + placed.size] = data
        return bytes(record + tail)

    def _encode(self, placed: Placed, value: Any) -> bytes:
        field = placed.field
        if field.ctype == "char" and (field.length or field.dynamic):
            text = value.encode() if isinstance(value, str) else bytes(value or b"")
            if field.dynamic:
                return text + b"\0"
            return text[: field.length - 1].ljust(field.length, b"\0")
        items: Sequence[int] = (value or ()) if field.length or field.dynamic else (value or 0,)
        bits = 8 * placed.element
        data = b"".join(
            (v & ((1 << bits) - 1)).to_bytes(placed.element, self.endian) for v in items
        )
        return data if field.dynamic else data.ljust(placed.size, b"\0")[: placed.size]


# --- the kernels -------------------------------------------------------------------------------

_FPU_PRINT = (
    '"x86/fpu: %p {word}: %d xfeatures: %llx xcomp_bv: %llx", '
    "REC->fpu, REC->{flag}, REC->xfeatures, REC->xcomp_bv"
)
_FPU_4_14 = (
    "before_save after_save before_restore after_restore regs_activated regs_deactivated "
    "activate_state init_state dropped copy_src copy_dst xstate_check_failed"
)
_FPU_5_2 = _FPU_4_14.replace("activate_state ", "")
_FPU_7_2 = (
    "before_save after_save regs_activated regs_deactivated dropped copy_dst xstate_check_failed"
)


def _fpu(names: str, flag: str, word: str) -> list[EventSpec]:
    fields = ("struct fpu * fpu", f"bool {flag}", "u64 xfeatures", "u64 xcomp_bv")
    text = _FPU_PRINT.format(flag=flag, word=word)
    return [EventSpec("x86_fpu", f"x86_fpu_{name}", fields, text) for name in names.split()]


def _event(system: str, name: str, fields: str, print_fmt: str = "") -> EventSpec:
    return EventSpec(system, name, tuple(fields.split("; ")), print_fmt)


_EXIT = "unsigned int exit_reason; unsigned long guest_rip; u32 isa; u64 info1; u64 info2"
_EXIT_5_10 = _EXIT + "; u32 intr_info; u32 error_code; unsigned int vcpu_id"
_ENTRY_5_10 = "unsigned int vcpu_id; unsigned long rip"
_ENTRY_6_1 = _ENTRY_5_10 + "; bool immediate_exit"
_FIXED, _DYNAMIC = "char {}[16]", "__data_loc char[] {}"


def _kvm(entry: str, leave: str) -> list[EventSpec]:
    return [
        _event(
            "kvm",
            "kvm_fpu",
            "u32 load",
            '"%s", __print_symbolic(REC->load, {0, "unload"}, {1, "load"})',
        ),
        _event("kvm", "kvm_entry", entry),
        _event("kvm", "kvm_exit", leave),
        _event("kvm", "kvm_userspace_exit", "__u32 reason; int errno"),
        _event("kvm", "kvm_vcpu_wakeup", "__u64 ns; bool waited; bool valid"),
    ]


def _sched(comm: str = _FIXED, exit_more: str = "") -> list[EventSpec]:
    of = comm.format
    return [
        _event(
            "sched",
            "sched_switch",
            "char prev_comm[16]; pid_t prev_pid; int prev_prio; long prev_state; "
            "char next_comm[16]; pid_t next_pid; int next_prio",
            '"prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%ld ==> next_comm=%s next_pid=%d '
            'next_prio=%d", REC->prev_comm, REC->prev_pid, REC->prev_prio, REC->prev_state, '
            "REC->next_comm, REC->next_pid, REC->next_prio",
        ),
        _event(
            "sched",
            "sched_migrate_task",
            f"{of('comm')}; pid_t pid; int prio; int orig_cpu; int dest_cpu",
        ),
        _event(
            "sched",
            "sched_process_fork",
            f"{of('parent_comm')}; pid_t parent_pid; {of('child_comm')}; pid_t child_pid",
        ),
        _event(
            "sched", "sched_process_exec", "__data_loc char[] filename; pid_t pid; pid_t old_pid"
        ),
        _event("sched", "sched_process_exit", f"char comm[16]; pid_t pid; int prio{exit_more}"),
        _event("sched", "sched_process_free", f"{of('comm')}; pid_t pid; int prio"),
    ]


USER_MODE = [
    _event("raw_syscalls", "sys_enter", "long id; unsigned long args[6]"),
    _event("raw_syscalls", "sys_exit", "long id; long ret"),
    _event(
        "exceptions",
        "page_fault_user",
        "unsigned long address; unsigned long ip; unsigned long error_code",
    ),
    _event(
        "signal",
        "signal_deliver",
        "int sig; int errno; int code; unsigned long sa_handler; unsigned long sa_flags",
    ),
    _event("cpuhp", "cpuhp_enter", "unsigned int cpu; int target; int idx; void * fun"),
    _event("power", "suspend_resume", "__data_loc char[] action; int val; bool start"),
]
"""Events of no generation of their own: 5.10 to 7.2 have them alike."""


class KernelSpec(NamedTuple):
    """What tells one kernel's recordings from another's."""

    events: list[EventSpec]
    char_signed: bool = True


KERNELS: dict[str, KernelSpec] = {
    "4.9": KernelSpec(
        [
            *_fpu(_FPU_4_14, "fpregs_active", "fpregs_active"),
            *_kvm("unsigned int vcpu_id", _EXIT),
            *_sched(),
        ]
    ),
    "4.14": KernelSpec(
        [
            *_fpu(_FPU_4_14, "initialized", "initialized"),
            *_kvm("unsigned int vcpu_id", _EXIT),
            *_sched(),
        ]
    ),
    "5.2": KernelSpec(
        [*_fpu(_FPU_5_2, "load_fpu", "load"), *_kvm("unsigned int vcpu_id", _EXIT), *_sched()]
    ),
    "5.10": KernelSpec(
        [*_fpu(_FPU_5_2, "load_fpu", "load"), *_kvm(_ENTRY_5_10, _EXIT_5_10), *_sched()]
    ),
    "6.1": KernelSpec(
        [*_fpu(_FPU_5_2, "load_fpu", "load"), *_kvm(_ENTRY_6_1, _EXIT_5_10), *_sched()]
    ),
    "6.12": KernelSpec(
        [*_fpu(_FPU_5_2, "load_fpu", "load"), *_kvm(_ENTRY_6_1, _EXIT_5_10), *_sched()],
        char_signed=False,
    ),
    "7.2": KernelSpec(
        [
            *_fpu(_FPU_7_2, "load_fpu", "load"),
            *_kvm(_ENTRY_6_1 + "; u32 intr_info; u32 error_code", _EXIT_5_10 + "; u64 requests"),
            *_sched(_DYNAMIC, "; bool group_dead"),
        ],
        char_signed=False,
    ),
}
"""Formats by the kernel they were read from."""


def formats_for(release: str) -> str:
    """The newest entry of :data:`KERNELS` that is not newer than ``release``.

    >>> formats_for("5.1.21"), formats_for("5.2.4"), formats_for("6.8.0-41")
    ('4.14', '5.2', '6.1')
    """
    numbers = [int(n) for n in re.findall(r"\d+", release)[:2]]
    fitting = [k for k in KERNELS if [int(n) for n in k.split(".")] <= numbers]
    return fitting[-1] if fitting else next(iter(KERNELS))
