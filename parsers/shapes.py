"""The texts of event arguments: one table for reading them and for writing them.

A row of :func:`all_shapes` is one text that one event has been seen to print, as a template of
literals and ``{field:type}``.  Four sources print texts: the kernel itself (``print fmt`` of
4.9 to 7.2, which ``perf script`` prints as well), trace-cmd's plugins where they differ,
``trace-cmd report -R`` (``field=value``), and tracefs with the option ``fields``
(``print_fields()`` of kernel/trace/trace_output.c, in older kernels in reverse order).

========================  ======================================================================
type                      text and value
========================  ======================================================================
``dec``, ``dec04``,       decimal, signed; the digits are the width when written, padded with
``dec3``                  zeros or blanks as in ``%04d`` and ``%3d``
``neg``                   decimal without sign whose value is its negative
``hex``, ``hex016``       hexadecimal, with or without 0x
``ptr``                   a pointer: hexadecimal, or ``(null)``; ``(____ptrval____)`` and
                          ``(efault)`` are None
``word``                  up to a blank
``state``                 ``prev_state`` in the kernel's letters
``plugin_state``          ``prev_state`` in trace-cmd's letters
``comm``, ``rest``        any text up to the next literal, or to the end
``sym``                   the same, words that stand for a number: see ``Shape.symbols``; None
                          for a number that the table has no word for
``one``                   one of the words of ``Shape.symbols``
========================  ======================================================================

A field called ``_`` is read and dropped.  Texts of other kernels than those known still match
the last row of an event where that ends in ``{_:rest}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from fputrace.events import KINDS, Kind
from fputrace.parsers.words import (
    EXIT_REASONS,
    plugin_state_number,
    state_number,
    symbol_number,
)
from fputrace.plain import PlainTuple


class Shape(PlainTuple):
    """One text of one event.

    ``name``: the event's, or its beginning and ``*``.  ``by``: who prints it ("kernel",
    "trace-cmd", "raw", "fields").  ``symbols``: field -> word -> number.  ``constants``: fields
    whose value the literals tell.
    """

    kind: Kind
    system: str
    name: str
    by: str
    template: str
    symbols: Mapping[str, Mapping[str, int]] = {}
    constants: Mapping[str, int] = {}


class Part(PlainTuple):
    """A piece of a template: a literal (``type`` is empty) or a field; ``width`` as written."""

    text: str
    type: str = ""
    width: str = ""


FREE = frozenset({"comm", "rest", "sym"})
"""Types whose text ends only where the next literal begins."""

_PART = re.compile(r"\{(\w+):([a-z_]+)(\d*)\}")


@cache
def parts_of(template: str) -> tuple[Part, ...]:
    """The literals and fields of a template, in order."""
    parts: list[Part] = []
    end = 0
    for field in _PART.finditer(template):
        if field.start() > end:
            parts.append(Part(template[end : field.start()]))
        parts.append(Part(field[1], field[2], field[3]))
        end = field.end()
    if end < len(template):
        parts.append(Part(template[end:]))
    return tuple(parts)


# -- the table ------------------------------------------------------------------------------------

_BOOL = {"false": 0, "true": 1}
_EXIT = {"exit_reason": EXIT_REASONS}

_FPU_FLAGS = (
    # Newest first: 5.2, 4.14, 4.12, 4.9 (arch/x86/include/asm/trace/fpu.h).
    ("load: {load_fpu:dec}", "load_fpu:bool"),
    ("initialized: {initialized:dec}", "initialized:bool"),
    (
        "fpregs_active: {fpregs_active:dec} fpstate_active: {fpstate_active:dec}",
        "fpregs_active:bool fpstate_active:bool",
    ),
    (
        (
            "fpregs_active: {fpregs_active:dec} fpstate_active: {fpstate_active:dec} "
            "counter: {counter:dec}"
        ),
        "fpregs_active:bool fpstate_active:bool counter:dec",
    ),
)

_VCPU_EXIT = "vcpu {vcpu_id:dec} reason {exit_reason:sym} rip 0x{guest_rip:hex}"
_INFOS = " info1 0x{info1:hex016} info2 0x{info2:hex016}"
_INJECTED = " intr_info 0x{intr_info:hex08} error_code 0x{error_code:hex08}"
_TASK = "comm={comm:comm} pid={pid:dec} prio={prio:dec}"

_TEXTS: tuple[tuple[str, str, str, dict[str, Mapping[str, int]], dict[str, int]], ...] = (
    # (events, who prints it, template, symbols, constants); the first that matches is taken.
    *(
        ("x86_fpu_*", "kernel", f"x86/fpu: {{fpu:ptr}} {flags} {tail}", {}, {})
        for tail in ("xfeatures: {xfeatures:hex} xcomp_bv: {xcomp_bv:hex}", "{_:rest}")
        for flags, _ in _FPU_FLAGS
    ),
    ("kvm_fpu", "kernel", "{load:one}", {"load": {"unload": 0, "load": 1}}, {}),
    ("kvm_entry", "kernel", "vcpu {vcpu_id:dec}, rip 0x{rip:hex}", {}, {}),
    # The same text of kernels that have the field: meant when writing.
    ("kvm_entry", "kernel", "vcpu {vcpu_id:dec}, rip 0x{rip:hex}", {}, {"immediate_exit": 0}),
    ("kvm_entry", "kernel", "vcpu {vcpu_id:dec}, rip 0x{rip:hex}" + _INJECTED, {},
     {"immediate_exit": 0}),
    ("kvm_entry", "kernel", "vcpu {vcpu_id:dec}, rip 0x{rip:hex}[immediate exit]", {},
     {"immediate_exit": 1}),
    ("kvm_entry", "kernel", "vcpu {vcpu_id:dec}, rip 0x{rip:hex}" + _INJECTED
     + "[immediate exit]", {}, {"immediate_exit": 1}),
    ("kvm_entry", "kernel", "vcpu {vcpu_id:dec}", {}, {}),
    ("kvm_entry", "trace-cmd", "vcpu {vcpu_id:dec} rip 0x{rip:hex}", {}, {}),
    # plugin_kvm asks for the field rip, which kernels before 5.10 lack.
    ("kvm_entry", "trace-cmd", "vcpu {vcpu_id:dec}<CANT FIND FIELD rip>{_:rest}", {}, {}),
    ("kvm_entry", "kernel", "vcpu {vcpu_id:dec}, rip 0x{rip:hex} {_:rest}", {}, {}),
    ("kvm_exit", "kernel", _VCPU_EXIT + _INFOS + _INJECTED, _EXIT, {}),
    ("kvm_exit", "kernel", _VCPU_EXIT + _INFOS + _INJECTED + " requests 0x{requests:hex016}",
     _EXIT, {}),
    ("kvm_exit", "kernel", _VCPU_EXIT + " info {info1:hex} {info2:hex}", _EXIT, {}),
    ("kvm_exit", "kernel", ("reason {exit_reason:sym} rip 0x{guest_rip:hex} "
     "info {info1:hex} {info2:hex}"), _EXIT, {}),  # and trace-cmd's of every kernel
    ("kvm_exit", "kernel", _VCPU_EXIT + " {_:rest}", _EXIT, {}),
    ("kvm_exit", "trace-cmd", "reason {exit_reason:sym} rip 0x{guest_rip:hex} {_:rest}", _EXIT,
     {}),
    ("kvm_userspace_exit", "kernel", "reason restart ({errno:neg})", {}, {}),
    ("kvm_userspace_exit", "kernel", "reason error ({errno:neg})", {}, {}),
    # The reason is printed when errno is not negative, and KVM_RUN returns nothing above 0.
    ("kvm_userspace_exit", "kernel", "reason {_:word} ({reason:dec})", {}, {"errno": 0}),
    ("kvm_msr", "kernel", "msr_{write:one} {ecx:hex} = 0x{data:hex}",
     {"write": {"read": 0, "write": 1}}, {"exception": 0}),
    ("kvm_msr", "kernel", "msr_{write:one} {ecx:hex} = 0x{data:hex} (#GP)",
     {"write": {"read": 0, "write": 1}}, {"exception": 1}),
    ("kvm_vcpu_wakeup", "kernel", "{waited:one} time {ns:dec} ns, polling {valid:one}",
     {"waited": {"poll": 0, "wait": 1}, "valid": {"invalid": 0, "valid": 1}}, {}),
    ("sched_switch", "kernel", ("prev_comm={prev_comm:comm} prev_pid={prev_pid:dec} "
     "prev_prio={prev_prio:dec} prev_state={prev_state:state} ==> next_comm={next_comm:comm} "
     "next_pid={next_pid:dec} next_prio={next_prio:dec}"), {}, {}),
    ("sched_switch", "trace-cmd", ("{prev_comm:comm}:{prev_pid:dec} [{prev_prio:dec}] "
     "{prev_state:plugin_state} ==> {next_comm:comm}:{next_pid:dec} [{next_prio:dec}]"), {}, {}),
    ("sched_migrate_task", "kernel", _TASK + " orig_cpu={orig_cpu:dec} dest_cpu={dest_cpu:dec}",
     {}, {}),
    ("sched_process_fork", "kernel", ("comm={parent_comm:comm} pid={parent_pid:dec} "
     "child_comm={child_comm:comm} child_pid={child_pid:dec}"), {}, {}),
    ("sched_process_exec", "kernel", ("filename={filename:comm} pid={pid:dec} "
     "old_pid={old_pid:dec}"), {}, {}),
    ("sched_process_exit", "kernel", _TASK, {}, {}),
    ("sched_process_exit", "kernel", _TASK + " group_dead={group_dead:one}",
     {"group_dead": _BOOL}, {}),
    ("sched_process_free", "kernel", _TASK, {}, {}),
    ("sys_enter", "kernel", "NR {id:dec} ({args:rest})", {}, {}),
    ("sys_exit", "kernel", "NR {id:dec} = {ret:dec}", {}, {}),
    # "fd: 0x00000003, buf: ..." and "0x4"; without the number that tells which call it is.
    ("sys_exit_*", "kernel", "0x{ret:hex}", {}, {}),
    # %ps is a symbol where there is one: a page fault of user mode seldom has.
    ("page_fault_user", "kernel", ("address=0x{address:hex} ip=0x{ip:hex} "
     "error_code=0x{error_code:hex}"), {}, {}),
    ("page_fault_user", "kernel", "address={_:word} ip={_:word} error_code=0x{error_code:hex}",
     {}, {}),
    ("signal_deliver", "kernel", ("sig={sig:dec} errno={errno:dec} code={code:dec} "
     "sa_handler={sa_handler:hex} sa_flags={sa_flags:hex}"), {}, {}),
    ("cpuhp_*enter", "kernel", ("cpu: {cpu:dec04} target: {target:dec3} step: {idx:dec3} "
     "({fun:rest})"), {}, {}),
    ("suspend_resume", "kernel", "{action:comm}[{val:dec}] {start:one}",
     {"start": {"end": 0, "begin": 1}}, {}),
)  # fmt: skip

_EXIT_FIELDS = "exit_reason:dec guest_rip:hex isa:dec info1:hex info2:hex"

_FIELDS: tuple[tuple[str, str], ...] = (
    # Events and their fields in the order of the format file, for -R and the option `fields`.
    *(
        ("x86_fpu_*", f"fpu:ptr {flags} xfeatures:hex xcomp_bv:hex")
        for _, flags in _FPU_FLAGS
    ),
    ("kvm_fpu", "load:dec"),
    ("kvm_entry", "vcpu_id:dec"),
    ("kvm_entry", "vcpu_id:dec rip:hex"),
    ("kvm_entry", "vcpu_id:dec rip:hex immediate_exit:bool"),
    ("kvm_entry", "vcpu_id:dec rip:hex immediate_exit:bool intr_info:hex error_code:hex"),
    ("kvm_exit", _EXIT_FIELDS),
    ("kvm_exit", _EXIT_FIELDS + " vcpu_id:dec"),
    ("kvm_exit", _EXIT_FIELDS + " intr_info:hex error_code:hex vcpu_id:dec"),
    ("kvm_exit", _EXIT_FIELDS + " intr_info:hex error_code:hex vcpu_id:dec requests:hex"),
    ("kvm_userspace_exit", "reason:dec errno:dec"),
    ("kvm_msr", "write:dec ecx:hex data:hex exception:bool"),
    ("kvm_vcpu_wakeup", "ns:dec waited:bool valid:bool"),
    ("sched_switch", ("prev_comm:comm prev_pid:dec prev_prio:dec prev_state:dec "
     "next_comm:comm next_pid:dec next_prio:dec")),
    ("sched_migrate_task", "comm:comm pid:dec prio:dec orig_cpu:dec dest_cpu:dec"),
    ("sched_process_fork", "parent_comm:comm parent_pid:dec child_comm:comm child_pid:dec"),
    ("sched_process_exec", "filename:comm pid:dec old_pid:dec"),
    ("sched_process_exit", "comm:comm pid:dec prio:dec"),
    ("sched_process_exit", "comm:comm pid:dec prio:dec group_dead:bool"),
    ("sched_process_free", "comm:comm pid:dec prio:dec"),
    ("sys_enter", "id:dec args:rest"),
    ("sys_exit", "id:dec ret:dec"),
    ("sys_enter_*", "__syscall_nr:dec"),
    ("sys_exit_*", "__syscall_nr:dec ret:hex"),
    ("page_fault_user", "address:hex ip:hex error_code:hex"),
    ("signal_deliver", "sig:dec errno:dec code:dec sa_handler:hex sa_flags:hex"),
    ("cpuhp_*enter", "cpu:dec target:dec idx:dec fun:rest"),
    ("suspend_resume", "action:comm val:dec start:bool"),
)  # fmt: skip

_RAW = {"bool": "{NAME:dec}"}
_OPTION_FIELDS = {
    # print_fields(): a byte is `(1)`, other integers are `0x1 (1)`, text is as it is.
    "bool": "({NAME:dec})",
    "dec": "0x{_:hex} ({NAME:dec})",
    "hex": "0x{NAME:hex} ({_:dec})",
    "ptr": "0x{NAME:ptr} ({_:dec})",
}


def _assignments(fields: list[str], forms: Mapping[str, str]) -> str:
    named = (field.partition(":") for field in fields)
    return " ".join(
        f"{name}=" + forms.get(kind, f"{{NAME:{kind}}}").replace("NAME", name)
        for name, _, kind in named
    )


def _field_texts(fields: str) -> tuple[tuple[str, str], ...]:
    order = fields.split()
    return (
        ("raw", _assignments(order, _RAW)),
        ("fields", _assignments(order, _OPTION_FIELDS)),
        ("fields", _assignments(order[::-1], _OPTION_FIELDS)),
    )


def _named(pattern: str, name: str) -> bool:
    """Whether an event's name is meant; a pattern holds at most one ``*``."""
    head, star, tail = pattern.partition("*")
    if not star:
        return name == pattern
    return len(name) >= len(head) + len(tail) and name.startswith(head) and name.endswith(tail)


_SYSCALLS = ("sys_enter_*", "sys_exit_*")


@cache
def _rows(kind: Kind, system: str, name: str) -> tuple[Shape, ...]:
    """The texts of one event of the table, in order."""
    rows = [
        Shape(kind, system, name, by, template, symbols, constants)
        for pattern, by, template, symbols, constants in _TEXTS
        if _named(pattern, name)
    ]
    for pattern, fields in _FIELDS:
        if _named(pattern, name):
            texts = dict.fromkeys(_field_texts(fields))
            rows += (Shape(kind, system, name, by, template) for by, template in texts)
    if name == "sys_enter_*":
        # The fields of a system call differ from call to call; its number comes first.
        rows += (
            Shape(kind, system, name, "raw", f"{number}={{{number}:dec}} {{_:rest}}")
            for number in ("__syscall_nr", "nr")
        )
        rows.append(Shape(kind, system, name, "kernel", "{_:rest}"))
    return tuple(rows)


_EVENTS: Mapping[str, tuple[Kind, str]] = {
    **{name: (spec.kind, spec.system) for spec in KINDS for name in spec.names},
    "sys_enter_*": (Kind.SYS_ENTER, "syscalls"),
    "sys_exit_*": (Kind.SYS_EXIT, "syscalls"),
}


def all_shapes() -> tuple[Shape, ...]:
    """Every known text, by event; of one event the first that matches is meant."""
    return tuple(row for name, event in _EVENTS.items() for row in _rows(*event, name))


def shapes_of(name: str) -> tuple[Shape, ...]:
    """The rows of an event, in order; ``name`` with or without its system.  None: no rows."""
    system, _, event = name.rpartition(":")
    if event not in _EVENTS:
        event = next((pattern for pattern in _SYSCALLS if _named(pattern, event)), "")
    if event not in _EVENTS or system not in ("", _EVENTS[event][1]):
        return ()
    return _rows(*_EVENTS[event], event)


# -- reading --------------------------------------------------------------------------------------

_PATTERNS = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "dec": r" {0,16}(-?[0-9]{1,20})",  # blanks where %3d pads with them
        "neg": r"([0-9]{1,19})",
        "hex": r"(?:0x)?([0-9a-fA-F]{1,16})",
        "ptr": r"((?:0x)?[0-9a-fA-F]{1,16}|\(null\)|\(____ptrval____\)|\(efault\))",
        "word": r"(\S+)",
        "state": r"([A-Za-z|+]{1,32})",
        "plugin_state": r"([A-Za-z|+]{1,32})",
    }.items()
}
_POINTERS = {"(null)": 0, "(____ptrval____)": None, "(efault)": None}


class _Matcher:
    """A template as the runs of parts between its free fields.

    Each part of a run ends where it ends, so a run is tried once at every place where its first
    literal stands: time grows with the length of the text only.  The last run is sought from the
    right, since it must reach the end.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.runs: list[list[Part]] = [[]]
        self.free: list[Part] = []
        for part in parts_of(shape.template):
            if part.type in FREE:
                self.free.append(part)
                self.runs.append([])
            else:
                self.runs[-1].append(part)

    def match(self, text: str) -> dict[str, Any] | None:
        """Every field's value, None when the text is another."""
        values: dict[str, Any] = dict(self.shape.constants)
        at = self._read(self.runs[0], text, 0, values)
        for free, run in zip(self.free, self.runs[1:], strict=True):
            if at < 0:
                return None
            start, end = self._find(run, text, at, values, run is self.runs[-1])
            if end >= 0 and free.text != "_":
                word = text[at:start]
                values[free.text] = (
                    symbol_number(self.shape.symbols[free.text], word)
                    if free.type == "sym"
                    else word
                )
            at = end
        return values if at == len(text) else None

    def _find(
        self, run: list[Part], text: str, at: int, values: dict[str, Any], last: bool
    ) -> tuple[int, int]:
        """Where a run behind a free field begins and ends; an end of -1: nowhere."""
        if not run:
            return len(text), len(text)
        if last:
            start = text.rfind(run[0].text, at)
            return start, self._read(run, text, start, values) if start >= 0 else -1
        start = text.find(run[0].text, at)
        while start >= 0:
            end = self._read(run, text, start, values)
            if end >= 0:
                return start, end
            start = text.find(run[0].text, start + 1)
        return -1, -1

    def _read(self, run: list[Part], text: str, at: int, values: dict[str, Any]) -> int:
        """Read a run that begins at `at`; its end, or -1 when the text is another."""
        for part in run:
            if not part.type:
                if not text.startswith(part.text, at):
                    return -1
                at += len(part.text)
                continue
            if part.type == "one":
                words = self.shape.symbols[part.text]
                word = max((w for w in words if text.startswith(w, at)), key=len, default="")
                end = at + len(word)
            else:
                found = _PATTERNS[part.type].match(text, at)
                word, end = (found[1], found.end()) if found is not None else ("", at)
            value = self._value(part, word) if word else _IMPOSSIBLE
            if value is _IMPOSSIBLE:
                return -1
            if part.text != "_":
                values[part.text] = value
            at = end
        return at

    def _value(self, part: Part, word: str) -> Any:
        if part.type == "dec":
            number = int(word)
            return number if -(1 << 63) <= number < 1 << 64 else _IMPOSSIBLE
        if part.type == "neg":
            return -int(word)
        if part.type == "hex":
            return int(word, 16)
        if part.type == "ptr":
            return _POINTERS[word] if word.startswith("(") else int(word, 16)
        if part.type == "state":
            return state_number(word)
        if part.type == "plugin_state":
            return plugin_state_number(word)
        if part.type == "one":
            return self.shape.symbols[part.text][word]
        return word


_IMPOSSIBLE = object()


@cache
def _matchers(name: str) -> tuple[_Matcher, ...]:
    return tuple(_Matcher(shape) for shape in shapes_of(name))


def match_args(name: str, text: str) -> tuple[Shape, dict[str, Any]] | None:
    """Which text of the event this is, and its fields.

    Parameters
    ----------
    name
        The event, ``sched_switch`` or ``sched:sched_switch``.
    text
        Its arguments, from behind ``event: `` to the end of the line.

    Returns
    -------
    The shape and field -> value under the kernel's names: int, str for ``comm``, ``word`` and
    ``rest``, None where the text does not tell the number.  None when no text of this event
    looks so.
    """
    text = text.strip()
    for matcher in _matchers(name):
        values = matcher.match(text)
        if values is not None:
            return matcher.shape, values
    return None


_ASSIGNMENT = re.compile(r"(?:^|(?<= ))([A-Za-z_][A-Za-z0-9_]{0,63})=")
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{1,16}")
_NUMBER = re.compile(r"(?:0x([0-9a-fA-F]{1,16})|(-?[0-9]{1,20}))(?: \(-?[0-9]{1,20}\))?")


def raw_fields(text: str) -> dict[str, Any]:
    """``field=value field=value``, as ``trace-cmd report -R`` prints any event.

    ``0x`` and decimal numbers become int, those of ``__probe_ip`` and its like always
    hexadecimal; everything else stays text.  A name that comes twice keeps its first value.
    """
    hits = list(_ASSIGNMENT.finditer(text))
    found: dict[str, Any] = {}
    ends = [hit.start() for hit in hits[1:]] + [len(text)]
    for hit, end in zip(hits, ends, strict=False):
        found.setdefault(hit[1], _raw_value(hit[1], text[hit.end() : end].strip()))
    return found


def _raw_value(name: str, value: str) -> Any:
    if name.startswith("__probe_"):
        return int(value, 16) if _HEX.fullmatch(value) else value
    number = _NUMBER.fullmatch(value)
    if number is None:
        return value
    return int(number[1], 16) if number[1] is not None else int(number[2])
