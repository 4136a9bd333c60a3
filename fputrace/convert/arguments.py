"""An event's arguments as text: the kernel's own where the table of texts has it, else raw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fputrace.events import ABSENT, Kind, Trace
from fputrace.metadata import OPERANDS
from fputrace.parsers.formats import PROBE_FIELDS
from fputrace.parsers.shapes import Part, Shape, parts_of, shapes_of
from fputrace.parsers.symbols import Symbols
from fputrace.parsers.words import SVM, USER_EXITS, VMX, VMX_FLAGS, state_word
from fputrace.reports.escape import clean

_U64 = (1 << 64) - 1
_MOST = 4096  # ways to write kept: the fields of a text's events may be others in every line
_INTEL = 1  # KVM_ISA_VMX of arch/x86/kvm/trace.h

Fields = Mapping[str, Any]
Writer = Callable[[Fields], "str | None"]
"""An event's fields to its text; None when that text cannot say them."""

_Columns = Mapping[int, tuple[tuple[str, int, int], ...]]
"""Kind -> a row's fields: name, column of ``op``, and a mask."""


class Arguments:
    """The texts of one recording's events."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.pointer = "%016x" if trace.pointers_hashed else "0x%x"
        self.symbols = Symbols()
        self.symbols.places = [
            (address, name) for name, address in trace.symbols.items() if address
        ]
        self.writers: dict[tuple[int, tuple[str, ...]], list[Writer]] = {}
        self.columns = [
            self._columns(name, kind)
            for name, kind in zip(trace.event_names, trace.event_kinds, strict=True)
        ]

    def of_row(
        self,
        fields_of: Callable[[int], dict[str, Any]],
        row: int,
        event: int,
        kind: int,
        op: Sequence[int],
    ) -> str:
        """The text of a row: its number in its block, and its columns ``event``, ``kind``, ``op``.

        A field that the record lacks is left out.
        """
        fields: dict[str, Any]
        columns = self.columns[event].get(kind)
        if columns is not None and ABSENT not in op[: len(columns)]:
            fields = {name: op[column] & mask for name, column, mask in columns}
        else:
            fields = fields_of(row)
            if None in fields.values():
                fields = {name: value for name, value in fields.items() if value is not None}
        key = (event, tuple(fields))
        writers = self.writers.get(key)
        if writers is None:
            if len(self.writers) >= _MOST:
                self.writers.clear()
            writers = self.writers[key] = self._writers(self.trace.event_names[event], fields)
        for write in writers:
            text = write(fields)
            if text is not None:
                return text
        raise AssertionError("the last writer writes anything")

    def _writers(self, name: str, fields: Fields) -> list[Writer]:
        """The texts to try for fields of these names; the last one takes all."""
        form = self.trace.formats.get(name)
        raw = _raw_writer(_HEX.findall(form.print_fmt) if form is not None else ())
        if name == "ftrace:function":
            return [self._function, raw]
        if "__probe_ip" in fields or "__probe_ret_ip" in fields:
            return [self._probe_writer(raw)]
        if name == "kvm:kvm_userspace_exit":
            return [_user_exit, raw]
        if name == "sched:sched_switch" and "prev_state" not in fields:
            return [_untold_switch, raw]
        shapes = _kernel_shapes(name, fields.keys())
        return [*(self._writer(shape) for shape in shapes), raw]

    def _columns(self, name: str, kind: Kind) -> _Columns:
        """Where an event's fields are all operands: decoding its rows is not needed."""
        form = self.trace.formats.get(name)
        if form is None or not form.complete:
            return {}
        own = {f.name: f for f in form.fields if not f.name.startswith("common_")}
        found = [
            # A column holds 64 bits unsigned as their two's complement.
            (alias, column, -1 if own[alias].signed else _U64)
            for column, aliases in enumerate(OPERANDS.get(kind, ()))
            for alias in aliases
            if alias in own
        ]
        return {kind: tuple(found)} if len(found) == len(own) else {}

    def _format(self, part: Part) -> str:
        """How ``%`` writes a field of the types in ``_DIRECT``."""
        if part.type == "ptr":
            return self.pointer
        return f"%{part.width}{'d' if part.type == 'dec' else 'x'}"

    def _writer(self, shape: Shape) -> Writer:
        text = ""
        fields = []
        constants = tuple(shape.constants.items())
        for part in parts_of(shape.template):
            if part.type:
                fields.append((part.text, self._value_of(shape, part)))
                text += self._format(part) if part.type in _DIRECT else "%s"
            else:
                text += part.text.replace("%", "%%")

        def write(found: Fields) -> str | None:
            if constants and any(found[name] != value for name, value in constants):
                return None
            try:
                return text % tuple(
                    [
                        found[name] if value_of is None else value_of(found, found[name])
                        for name, value_of in fields
                    ]
                )
            except (TypeError, ValueError, KeyError):
                return None  # not the type or value the kernel has there: raw says it

        return write

    def _value_of(self, shape: Shape, part: Part) -> Callable[[Fields, Any], Any] | None:
        """What ``%`` is given for a field; None: the field's value itself."""
        if part.type == "dec":
            return None
        if part.type in _DIRECT:
            return lambda _, value: _number(value) & _U64
        if part.type == "state":
            return lambda _, value: state_word(_number(value))
        if part.text == "exit_reason":
            return _exit_reason
        if part.type == "one":
            words = {number: word for word, number in shape.symbols[part.text].items()}
            return lambda _, value: words[_number(value)]
        return lambda _, value: _plain(value)

    def _function(self, fields: Fields) -> str | None:
        """``FUNC <-PARENT`` as the function tracer prints it; None where nobody knows FUNC."""
        address, parent = fields.get("ip"), fields.get("parent_ip")
        if isinstance(address, int):
            name = self.symbols.near(address & _U64)
        else:
            name = _word(address)
        if not name or parent is None:
            return None
        return f"{name} <-{f'0x{parent & _U64:x}' if isinstance(parent, int) else _word(parent)}"

    def _probe_writer(self, raw: Callable[[Fields], str]) -> Writer:
        """``(FUNC+0x4) arg=1``, of a return ``(CALLER <- FUNC) arg=1``.

        kernel/trace/trace_kprobe.c, ``print_kprobe_event()`` and ``print_kretprobe_event()``.
        """

        def write(fields: Fields) -> str:
            if "__probe_ret_ip" in fields:
                function = self._place(fields.get("__probe_func")).removesuffix("+0x0")
                place = f"{self._place(fields['__probe_ret_ip'])} <- {function}"
            else:
                place = self._place(fields["__probe_ip"])
            arguments = raw({k: v for k, v in fields.items() if k not in PROBE_FIELDS})
            return f"({place}) {arguments}" if arguments else f"({place})"

        return write

    def _place(self, address: Any) -> str:
        """An address as the kernel prints it, ``FUNC+0x4`` where it is known; texts have words."""
        if not isinstance(address, int):
            return _word(address) or "0"
        name = self.symbols.near(address & _U64)
        if name is None:
            return f"{address & _U64:x}"
        return f"{name}+0x{(address - self.trace.symbols[name]) & _U64:x}"


_DIRECT = frozenset({"dec", "hex", "ptr"})
"""Types that ``%`` writes."""

_HEX = re.compile(r"(\w+)=0x%")
"""Fields that a print format shows in hexadecimal."""


def _kernel_shapes(name: str, fields: Iterable[str]) -> list[Shape]:
    """The kernel's texts that these fields give, those that say most first."""
    own = set(fields)
    found = []
    for shape in shapes_of(name):
        named = {part.text for part in parts_of(shape.template) if part.type}
        told = named | shape.constants.keys()
        if shape.by == "kernel" and told <= own and told:
            found.append((len(told), shape))
    # A text that leaves out an operand is none: what it says is less than the record.
    most = max((size for size, _ in found), default=0)
    return [shape for size, shape in found if size == most]


def _user_exit(fields: Fields) -> str | None:
    """kvm_userspace_exit: what errno is decides what is printed."""
    reason, errno = fields.get("reason"), fields.get("errno")
    if not isinstance(reason, int) or not isinstance(errno, int):
        return None
    if errno < 0:
        return f"reason {'restart' if errno == -4 else 'error'} ({-errno})"
    return f"reason {_USER_EXITS.get(reason, f'0x{reason & _U64:x}')} ({reason})"


_USER_EXITS = {number: word for word, number in USER_EXITS.items()}
_VMX = {number: word for word, number in VMX.items()}
_SVM = {number: word for word, number in SVM.items()}


def _untold_switch(fields: Fields) -> str | None:
    """As trace-cmd's plugin prints it, whose R does not tell whether the task was preempted."""
    try:
        return (
            f"{_plain(fields['prev_comm'])}:{fields['prev_pid']:d} [{fields['prev_prio']:d}] R ==> "
            f"{_plain(fields['next_comm'])}:{fields['next_pid']:d} [{fields['next_prio']:d}]"
        )
    except (KeyError, ValueError):
        return None  # of a text whose line was damaged, a number may be words: raw says it


def _exit_reason(fields: Fields, value: Any) -> str:
    """Intel's reasons and AMD's share numbers: ``isa`` tells them apart."""
    reason = _number(value)
    if fields.get("isa") != _INTEL:
        return _SVM.get(reason, f"0x{reason & _U64:x}")
    name = _VMX.get(reason & 0xFFFF, f"0x{reason & 0xFFFF:x}")
    return name + "".join(f" {flag}" for flag, bit in VMX_FLAGS.items() if reason & bit)


def _number(value: Any) -> int:
    """Readers give pointers as hexadecimal text."""
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return int(value, 16)
    raise TypeError


def _raw_writer(hexadecimal: Iterable[str]) -> Callable[[Fields], str]:
    """``field=value field=value``, as ``trace-cmd report -R``."""
    as_hex = frozenset(hexadecimal)

    def write(fields: Fields) -> str:
        return " ".join(
            f"{clean(name)}=0x{value & _U64:x}"
            if name in as_hex and isinstance(value, int)
            else f"{clean(name)}={_plain(value)}"
            for name, value in fields.items()
        )

    return write


def _word(value: Any) -> str:
    """What a text told in place of an address, as one word."""
    return "".join(clean(value).split()) if isinstance(value, str) else ""


def _plain(value: Any) -> str:
    """Numbers decimal, arrays as hexadecimal numbers, text without what is not printable."""
    if isinstance(value, (tuple, list)):
        return f"ARRAY[{', '.join(f'{item & _U64:x}' for item in value)}]"
    return clean(str(value))
