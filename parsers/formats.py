"""Event format files: text to :class:`~fputrace.events.EventFormat`, and which kind an event is.

The grammar is that of ``events/SYSTEM/NAME/format`` in tracefs (kernel/trace/trace_events.c,
``f_show()``).  Offsets and sizes are always the file's own: RT and vendor kernels leave gaps
between the common fields.  Whatever cannot be understood is left out, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from fputrace.events import (
    KINDS,
    EventFormat,
    FormatField,
    Kind,
    KindSpec,
    Operand,
)
from fputrace.plain import PlainTuple

LARGEST_RECORD = 1 << 20
"""Fields that end beyond this are junk (a record fits a sub-buffer, which is far smaller)."""

_NAME = re.compile(r"^name:[ \t]*(\S+)", re.M)
_ID = re.compile(r"^ID:[ \t]*(\d{1,9})\b", re.M)
_FIELD = re.compile(
    r"^\s*(?:field|field special|special):(?P<decl>[^;\n]*);"
    r"\s*offset:\s*(?P<offset>\d{1,9});\s*size:\s*(?P<size>\d{1,9});"
    r"(?:\s*signed:\s*(?P<signed>-?\d+);)?",
    re.M,
)
_FUNCTION = re.compile(r"\(\s*\*\s*(\w+)\s*\)")  # int (*func)(void)
_DECLARATOR = re.compile(r"(\w+)\s*((?:\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]\s*)*)$")
_SIGNED = re.compile(
    r"^(?:const\s+|volatile\s+)*(?:signed|int|long|short|s8|s16|s32|s64|__s\d+"
    r"|pid_t|ssize_t|loff_t|time_t|time64_t)\b"
)


def _field(match: re.Match[str]) -> FormatField | None:
    """One ``field:`` line, None when it makes no sense."""
    declaration = match["decl"].strip()
    offset, size = int(match["offset"]), int(match["size"])
    if offset + size > LARGEST_RECORD:
        return None
    dynamic = ""
    for word in ("data_loc", "rel_loc"):
        if declaration.startswith("__" + word):
            dynamic = word
            declaration = declaration[len(word) + 2 :].strip()
    function = _FUNCTION.search(declaration)
    if function:
        name, ctype, array = function[1], declaration, False
    else:
        declarator = _DECLARATOR.search(declaration)
        if declarator is None:
            return None
        name = declarator[1]
        array = bool(declarator[2])
        ctype = (declaration[: declarator.start()].rstrip() + declarator[2].strip()).strip()
    array = array or "[" in ctype
    if match["signed"] is not None:
        signed = int(match["signed"]) == 1
    else:
        signed = _SIGNED.match(ctype) is not None
    return FormatField(name, ctype, offset, size, signed, array, dynamic)


def parse_format(text: bytes, system: str) -> EventFormat | None:
    """An event's format, None when the text names no event or no id.

    Bytes that are not UTF-8 are kept as backslash escapes; lines that are no field are skipped.
    """
    decoded = text.decode("utf-8", "backslashreplace")
    name, number = _NAME.search(decoded), _ID.search(decoded)
    if name is None or number is None:
        return None
    head, _, print_fmt = decoded.partition("print fmt:")
    fields = [field for field in map(_field, _FIELD.finditer(head)) if field is not None]
    return EventFormat(system, name[1], int(number[1]), tuple(fields), print_fmt.strip())


def parse_fields(text: bytes) -> list[FormatField]:
    """The ``field:`` lines of any such text, ``header_page`` for one."""
    matches = _FIELD.finditer(text.decode("utf-8", "backslashreplace"))
    return [field for field in map(_field, matches) if field is not None]


def is_pointer(field: FormatField) -> bool:
    """Whether the field holds an address to be shown in hex."""
    return "*" in field.ctype and not field.array and not field.dynamic


@lru_cache(1 << 10)
def is_string(field: FormatField) -> bool:
    """Whether the field is text: an array of plain ``char``, fixed or dynamic."""
    words = field.ctype.replace("[", " ").split()
    return field.array and "char" in words and "unsigned" not in words and "signed" not in words


def is_integer(field: FormatField) -> bool:
    """Whether the field is one number that a column can hold."""
    return field.size in (1, 2, 4, 8) and not field.array and not field.dynamic


class Common(PlainTuple):
    """Where the fields that every record begins with are (``struct trace_entry``).

    By default as 64-bit kernels have them: one word of eight bytes, which the walk reads at once.
    """

    type_offset: int = 0
    type_size: int = 2
    flags_offset: int = 2
    count_offset: int = 3
    pid_offset: int = 4


def common_of(form: EventFormat) -> Common | None:
    """The common fields as this format has them, None when one is lacking or of another size."""
    found = {field.name: field for field in form.fields if field.name.startswith("common_")}
    kind, flags = found.get("common_type"), found.get("common_flags")
    count, pid = found.get("common_preempt_count"), found.get("common_pid")
    if kind is None or flags is None or count is None or pid is None:
        return None
    if kind.size not in (2, 4) or (flags.size, count.size, pid.size) != (1, 1, 4):
        return None
    return Common(kind.offset, kind.size, flags.offset, count.offset, pid.offset)


def choose_common(formats: Iterable[EventFormat]) -> Common:
    """What most formats say; the kernel's own order when none says anything."""
    votes: dict[Common, int] = {}
    for form in formats:
        common = common_of(form)
        if common is not None:
            votes[common] = votes.get(common, 0) + 1
    return max(votes, key=lambda common: votes[common]) if votes else Common()


class Decoder(PlainTuple):
    """How the walk decodes one event: its kind, four operand fields, what a record must have."""

    kind: Kind
    operands: tuple[FormatField | None, ...]
    need: int
    ip: FormatField | None
    missing: tuple[str, ...]


_SPECS: dict[tuple[str, str], KindSpec] = {
    (spec.system, name): spec for spec in KINDS for name in spec.names
}
_ENTER = next(spec for spec in KINDS if spec.kind is Kind.SYS_ENTER)
_EXIT = next(spec for spec in KINDS if spec.kind is Kind.SYS_EXIT)

PROBE_FIELDS = ("__probe_ip", "__probe_func", "__probe_ret_ip")
"""What a kprobe, kretprobe or fprobe event begins with (kernel/trace/trace_probe.h)."""


def spec_of(form: EventFormat) -> KindSpec | None:
    """The row of KINDS this event is, by system and name; None for any other event."""
    if form.system == "syscalls" and form.name.startswith("sys_enter_"):
        return _ENTER
    if form.system == "syscalls" and form.name.startswith("sys_exit_"):
        return _EXIT
    return _SPECS.get((form.system, form.name))


def is_return_probe(form: EventFormat) -> bool:
    """Whether the event fires when the probed function returns."""
    return any(field.name == "__probe_ret_ip" for field in form.fields)


def _operand(form: EventFormat, operand: Operand) -> FormatField | None:
    by_name = {field.name: field for field in form.fields if is_integer(field)}
    for name in operand.fields:
        if name in by_name:
            return by_name[name]
    return None


def decoder_of(form: EventFormat) -> Decoder:
    """Which kind an event is and where its operands lie.

    An event of a known kind whose format lacks a required operand becomes ``Kind.OTHER`` with
    those operands in ``missing``.  Probes get their kind from the function they sit on, see
    :mod:`fputrace.parsers.probes`; here they are PROBE_OTHER with their first four arguments.
    """
    spec = spec_of(form)
    if spec is not None:
        found = [_operand(form, operand) for operand in spec.operands]
        missing = tuple(
            " or ".join(operand.fields)
            for operand, field in zip(spec.operands, found, strict=True)
            if field is None and operand.required
        )
        if missing:
            return Decoder(Kind.OTHER, (None,) * 4, 0, None, missing)
        need = max(
            field.offset + field.size
            for operand, field in zip(spec.operands, found, strict=True)
            if field is not None and operand.required
        )
        padded = tuple(found) + (None,) * (4 - len(found))
        return Decoder(spec.kind, padded, need, None, ())
    if (form.system, form.name) == ("ftrace", "function"):
        by_name = {field.name: field for field in form.fields if is_integer(field)}
        ip, parent = by_name.get("ip"), by_name.get("parent_ip")
        if ip is None:
            return Decoder(Kind.OTHER, (None,) * 4, 0, None, ("ip",))
        return Decoder(Kind.PROBE_OTHER, (ip, parent, None, None), ip.offset + ip.size, ip, ())
    names = [field.name for field in form.fields]
    marks = [name for name in PROBE_FIELDS if name in names]
    if marks:
        own = [f for f in form.fields if not f.name.startswith(("common_", "__probe_"))][:4]
        arguments = tuple(field if is_integer(field) else None for field in own)
        ip = next(
            (f for f in form.fields if f.name in ("__probe_ip", "__probe_func") and is_integer(f)),
            None,
        )
        need = ip.offset + ip.size if ip else 0
        return Decoder(Kind.PROBE_OTHER, arguments + (None,) * (4 - len(arguments)), need, ip, ())
    return Decoder(Kind.OTHER, (None,) * 4, 0, None, ())
