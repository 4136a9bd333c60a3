"""What a recording says about itself, as plain values that JSON can hold, and back.

The form that converted recordings share (docs/convert.md): :mod:`fputrace.convert` writes it, the
readers of its files read it.  Reading trusts nothing: a value of another type, a number beyond
what the kernel has, or a name that does not exist is :class:`MalformedError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fputrace.events import (
    ABSENT,
    KINDS,
    EventFormat,
    FormatField,
    Kind,
    Loss,
    ProbeDefinition,
    Sidecar,
    Trace,
)

SCHEMA_VERSION = 1
"""Of the metadata and the rows; a reader refuses what is newer than itself."""

_U63, _U64 = 1 << 63, (1 << 64) - 1
_MOST_CPU = (1 << 31) - 1
_CONVERTED = re.compile(r"(?:jsonl|parquet|text) \((.*)\)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class MalformedError(ValueError):
    """A value that cannot be; the reader adds the place (never leaves the parsers)."""


def text_of(text: str) -> str:
    r"""``text`` that every JSON reader takes: bytes that were no UTF-8 read as ``\x80``."""
    return _SURROGATE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    # How Python carries a byte that was no UTF-8 (PEP 383).
    byte = 0xDC80 <= number <= 0xDCFF
    return f"\\x{number - 0xDC00:02x}" if byte else f"\\u{number:04x}"


def origin_of(form: str) -> str:
    """The format of the recording that was converted first, however often it was since."""
    while match := _CONVERTED.fullmatch(form):
        form = match[1]
    return form


# A trace


def to_plain(trace: Trace) -> dict[str, Any]:
    """Everything of a trace but ``formats``, ``comms`` and ``losses``, which may be many.

    Complete when a pass over its blocks has ended.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "format": text_of(origin_of(trace.format)),
        "kernel": None if trace.kernel is None else text_of(trace.kernel),
        "host": None if trace.host is None else text_of(trace.host),
        "cpus": list(trace.cpus),
        "clock": None if trace.clock is None else text_of(trace.clock),
        "clock_global": trace.clock_global,
        "clock_in_ns": trace.clock_in_ns,
        "pointers_hashed": trace.pointers_hashed,
        "losses_known": trace.losses_known,
        "whole_known": trace.whole_known,
        "has_kallsyms": trace.has_kallsyms,
        "symbols": {text_of(name): hex(value & _U64) for name, value in trace.symbols.items()},
        "events": [
            [text_of(name), kind.name]
            for name, kind in zip(trace.event_names, trace.event_kinds, strict=True)
        ],
        "enabled": None if trace.enabled is None else sorted(map(text_of, trace.enabled)),
        "unusable": {
            text_of(name): [text_of(field) for field in fields]
            for name, fields in trace.unusable.items()
        },
        "probes": {
            text_of(name): [text_of(function), evidence]
            for name, (function, evidence) in trace.probes.items()
        },
        "instances": [text_of(name) for name in trace.instances],
        "is_guest": trace.is_guest,
        "guests": {str(tid): [text_of(name), vcpu] for tid, (name, vcpu) in trace.guests.items()},
        "trace_id": None if trace.trace_id is None else hex(trace.trace_id & _U64),
        "guest_ids": {
            hex(number & _U64): text_of(name) for number, name in trace.guest_ids.items()
        },
        "notes": [text_of(note) for note in trace.notes],
        "limits": [text_of(limit) for limit in trace.limits],
        "broken": [text_of(note) for note in trace.broken],
        "sidecar": None if trace.sidecar is None else _sidecar_to_plain(trace.sidecar),
    }


def from_plain(plain: Any, path: str, form: str) -> Trace:
    """A trace with what :func:`to_plain` gave; ``form`` is the format it is read from.

    Raises MalformedError.
    """
    table = _table(plain, "metadata")
    version = _integer(table.get("schema_version"), "schema_version")
    if version > SCHEMA_VERSION:
        raise MalformedError(
            f"schema_version is {version}; this version reads up to {SCHEMA_VERSION}"
        )
    trace = Trace(path, f"{form} ({_string(table.get('format'), 'format')})")
    trace.kernel = _optional(_string, table, "kernel")
    trace.host = _optional(_string, table, "host")
    trace.clock = _optional(_string, table, "clock")
    trace.cpus = [_integer(cpu, "cpus", 0, _MOST_CPU) for cpu in _list(table, "cpus")]
    for flag in (
        "clock_global",
        "clock_in_ns",
        "pointers_hashed",
        "losses_known",
        "has_kallsyms",
        "is_guest",
    ):
        if type(table.get(flag)) is not bool:
            raise MalformedError(f"{flag} is neither true nor false")
        setattr(trace, flag, table[flag])
    trace.whole_known = table.get("whole_known", True) is True
    trace.symbols = {
        name: _hexadecimal(value, "symbols")
        for name, value in _table(table.get("symbols"), "symbols").items()
    }
    for pair in _list(table, "events"):
        name, kind = _pair(pair, "events")
        trace.event_names.append(_string(name, "events"))
        trace.event_kinds.append(kind_of(kind))
    if table.get("enabled") is not None:
        trace.enabled = frozenset(_string(name, "enabled") for name in _list(table, "enabled"))
    trace.unusable = {
        name: [_string(field, "unusable") for field in _listed(fields, "unusable")]
        for name, fields in _table(table.get("unusable"), "unusable").items()
    }
    for name, pair in _table(table.get("probes"), "probes").items():
        function, evidence = _pair(pair, "probes")
        trace.probes[name] = (_string(function, "probes"), _string(evidence, "probes"))
    for tid, pair in _table(table.get("guests"), "guests").items():
        guest, vcpu = _pair(pair, "guests")
        trace.guests[_number(tid)] = (_string(guest, "guests"), _integer(vcpu, "guests"))
    trace.trace_id = _optional(_hexadecimal, table, "trace_id")
    trace.guest_ids = {
        _hexadecimal(number, "guest_ids"): _string(name, "guest_ids")
        for number, name in _table(table.get("guest_ids"), "guest_ids").items()
    }
    for key in ("instances", "notes", "limits"):
        setattr(trace, key, [_string(item, key) for item in _list(table, key)])
    if "broken" in table:
        trace.broken = [_string(item, "broken") for item in _list(table, "broken")]
    if table.get("sidecar") is not None:
        trace.sidecar = _sidecar_from_plain(table["sidecar"])
    return trace


def _sidecar_to_plain(sidecar: Sidecar) -> dict[str, Any]:
    return {
        "probes": {
            text_of(key): {
                "function": text_of(probe.function),
                "returns": probe.returns,
                "fetches": {text_of(name): text_of(fetch) for name, fetch in probe.fetches.items()},
            }
            for key, probe in sidecar.probes.items()
        },
        "kthreads": sorted(sidecar.kthreads),
        "xsave_sizes": {str(bit): size for bit, size in sidecar.xsave_sizes.items()},
    }


def _sidecar_from_plain(plain: Any) -> Sidecar:
    table = _table(plain, "sidecar")
    probes = {}
    for key, probe in _table(table.get("probes"), "sidecar").items():
        made = _table(probe, "sidecar")
        if type(made.get("returns")) is not bool:
            raise MalformedError("sidecar has a probe whose `returns` is neither true nor false")
        probes[key] = ProbeDefinition(
            _string(made.get("function"), "sidecar"),
            made["returns"],
            {
                name: _string(fetch, "sidecar")
                for name, fetch in _table(made.get("fetches"), "sidecar").items()
            },
        )
    return Sidecar(
        probes,
        frozenset(_integer(pid, "sidecar") for pid in _list(table, "kthreads")),
        {
            _number(bit): _integer(size, "sidecar", 1, (1 << 20) - 1)
            for bit, size in _table(table.get("xsave_sizes"), "sidecar").items()
        },
    )


# An event's format, a loss, names of tasks


def format_to_plain(form: EventFormat) -> dict[str, Any]:
    """One event's format, with every field as the format file has it."""
    return {
        "system": text_of(form.system),
        "name": text_of(form.name),
        "id": form.id,
        "complete": form.complete,
        "fields": [
            [text_of(part) if isinstance(part, str) else part for part in field]
            for field in form.fields
        ],
        "print_fmt": text_of(form.print_fmt),
    }


def format_from_plain(plain: Any) -> EventFormat:
    """What :func:`format_to_plain` gave; raises MalformedError."""
    table = _table(plain, "format")
    fields = []
    for parts in _list(table, "fields"):
        if not isinstance(parts, list) or [type(part) for part in parts] != _FIELD_TYPES:
            raise MalformedError("a field of a format is not [name, type, offset, size, ...]")
        fields.append(FormatField(*parts))
    if type(table.get("complete")) is not bool:
        raise MalformedError("complete is neither true nor false")
    return EventFormat(
        _string(table.get("system"), "system"),
        _string(table.get("name"), "name"),
        _integer(table.get("id"), "id"),
        tuple(fields),
        _string(table.get("print_fmt"), "print_fmt"),
        table["complete"],
    )


_FIELD_TYPES: list[type] = [str, str, int, int, bool, bool, str]
"""Of the parts of a FormatField."""


def loss_to_plain(loss: Loss) -> dict[str, Any]:
    """One loss; the names are Loss's own."""
    return {**loss._asdict(), "where": text_of(loss.where)}


def loss_from_plain(plain: Any) -> Loss:
    """What :func:`loss_to_plain` gave; raises MalformedError."""
    table = _table(plain, "loss")
    severity = table.get("severity")
    if severity not in ("lost", "damaged") or type(table.get("placed")) is not bool:
        raise MalformedError("a loss is neither lost nor damaged, or has no `placed`")
    return Loss(
        None if table.get("cpu") is None else _integer(table["cpu"], "cpu", 0, _MOST_CPU),
        _optional(_integer, table, "after_ns"),
        _optional(_integer, table, "before_ns"),
        None if table.get("count") is None else _integer(table["count"], "count"),
        _string(table.get("where"), "where"),
        table["placed"],
        severity,
    )


def comms_to_plain(comms: Mapping[int, str]) -> dict[str, str]:
    """Names of tasks; JSON's keys are text."""
    return {str(pid): text_of(comm) for pid, comm in comms.items()}


def comms_from_plain(plain: Any) -> dict[int, str]:
    """What :func:`comms_to_plain` gave; raises MalformedError."""
    table = _table(plain, "comms")
    return {_number(pid): _string(comm, "comms") for pid, comm in table.items()}


# A row's fields and operands


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An event's fields as JSON has them: numbers, texts and lists of numbers; None is left out."""
    return {
        text_of(name): value if type(value) is int else _plain(value)
        for name, value in fields.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, (tuple, list)):
        return [int(item) for item in value]
    if isinstance(value, int):
        return int(value)
    return text_of(str(value))


Names = tuple[tuple[str, ...], ...]

OPERANDS: Mapping[Kind, Names] = {
    spec.kind: tuple(operand.fields for operand in spec.operands) for spec in KINDS
}
"""Kind -> for each of its operands the names its field may have, newest first."""

ROW = (ABSENT,) * 4


def operands_of(names: Names, fields: Mapping[str, Any]) -> tuple[int, ...]:
    """The four operands of a row as its fields give them: ABSENT where they do not.

    Numbers and hexadecimal text count; 64-bit unsigned values become their two's complement.
    """
    found: list[int] = []
    for aliases in names:
        value: Any = ABSENT
        for alias in aliases:
            if alias in fields:
                value = fields[alias]
                break
        if type(value) is str and _HEX.fullmatch(value):
            value = int(value, 16)
        if type(value) is not int or not -_U63 <= value <= _U64:
            value = ABSENT
        found.append(value if value < _U63 else value - _U64 - 1)
    return (*found, *ROW[len(found) :])


_HEX = re.compile(r"0x[0-9a-f]{1,16}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}")


def kind_of(name: Any) -> Kind:
    """A kind by its name; raises MalformedError."""
    kind = Kind.__members__.get(name) if isinstance(name, str) else None
    if kind is None:
        raise MalformedError(f"there is no kind {str(name)[:40]!r}")
    return kind


# Checked values


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is no object")
    return value


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError(f"{what} is no list")
    return value


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    return _listed(table.get(key), key)


def _pair(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise MalformedError(f"{what} has an entry that is no pair")
    return value


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"{what} is no text")
    return text_of(value)


def _integer(value: Any, what: str, least: int = -(1 << 63), most: int = (1 << 63) - 1) -> int:
    if type(value) is not int or not least <= value <= most:
        raise MalformedError(f"{what} is no number from {least} to {most}")
    return value


def _number(text: str) -> int:
    """The number of a task, as an object's key has it."""
    if not _DECIMAL.fullmatch(text):
        raise MalformedError(f"{text[:40]!r} is no number of a task")
    return int(text)


def _hexadecimal(value: Any, what: str) -> int:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise MalformedError(f"{what} has a value that is no hexadecimal number")
    return int(value, 16)


def _optional(check: Callable[[Any, str], Any], table: Mapping[str, Any], key: str) -> Any:
    value = table.get(key)
    return None if value is None else check(value, key)
