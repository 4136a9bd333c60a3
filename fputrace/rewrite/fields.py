"""Records without their names: each field by what its event's format says that it is."""

from __future__ import annotations

import re
from typing import Any

from fputrace.events import EventFormat, FormatField
from fputrace.parsers.formats import is_pointer, is_string
from fputrace.parsers.records import element_size
from fputrace.plain import PlainTuple
from fputrace.rewrite.names import Names

_COMM = re.compile(r"(.*_)?comm")
_ADDRESS = re.compile(
    r"(.*_)?(fpu|fpstate|ip|rip|pc|rsp|addr|address|ptr|pointer|gva|gpa|hva|func|function|caller|callsite|"
    r"handler|restorer|buf|args)"
)
"""Names of fields that hold addresses, of programs and guests too."""


class _Step(PlainTuple):
    """What to do with the bytes of a field.  ``element``: bytes of each number in an array."""

    field: FormatField
    what: str  # "keep", "zero", "text", "number" or "address"
    element: int


class RecordCleaner:
    """Gives records of one recording new names.  ``long_size`` is the kernel's."""

    def __init__(self, names: Names, big: bool, long_size: int) -> None:
        self.names = names
        self.order: Any = "big" if big else "little"
        self.long_size = long_size
        self._steps: dict[int, list[_Step]] = {}

    def clean(self, form: EventFormat | None, payload: bytes, head: int) -> bytes:
        """A record without names; of an event without a format the first `head` bytes are left.

        What no field describes is zero: it may be what the memory held before.
        """
        if form is None:
            return payload[:head].ljust(len(payload), b"\0")
        steps = self._steps.get(id(form))
        if steps is None:
            steps = self._steps[id(form)] = [
                self._step(field, _is_probe(form)) for field in form.fields
            ]
        out = bytearray(len(payload))
        for field, what, element in steps:
            start, size = field.offset, field.size
            data = payload[start : start + size]
            if field.dynamic:
                if len(data) == size:
                    self._dynamic(out, field, what, element, payload)
            elif size == 0:  # a flexible array: the rest of the record
                out[start:] = self._rest(field, what, element, payload[start:])
            elif what == "keep":
                out[start : start + len(data)] = data
            elif what != "zero":
                out[start : start + len(data)] = self._new(field, what, element, data)
        return bytes(out)

    def _step(self, field: FormatField, of_probe: bool) -> _Step:
        named = is_address(field.name)
        if field.name.startswith("common_"):
            return _Step(field, "keep" if field.size <= 4 else "zero", 0)
        if is_string(field):
            return _Step(field, "text", 0)
        if is_pointer(field):
            return _Step(field, "address", field.size)
        if field.array or field.dynamic:
            element = element_size(field, self.long_size)
            whole = {1: "zero", 8: "address" if named else "number"}.get(element, "keep")
            return _Step(field, whole, element)
        if field.size == 8 and (named or of_probe or not field.signed):
            return _Step(field, "address" if named else "number", 8)
        return _Step(field, "keep" if field.size in (1, 2, 4, 8) else "zero", 0)

    def _new(self, field: FormatField, what: str, element: int, data: bytes) -> bytes:
        """The bytes of a field with new names, as many as before."""
        if what == "text":
            text = self._text(field, data)
            return text[: max(len(data) - 1, 0)].ljust(len(data), b"\0")
        if what == "keep":
            return data
        if what == "zero":
            return bytes(len(data))
        out = bytearray()
        for at in range(0, len(data) - element + 1, element):
            value = int.from_bytes(data[at : at + element], self.order)
            if element == 4:
                value = self.names.pointer32(value)
            elif element == 8 and (what == "address" or self.names.is_kernel(value)):
                value = self.names.pointer(value)
            out += value.to_bytes(element, self.order)
        return bytes(out.ljust(len(data), b"\0"))

    def _text(self, field: FormatField, data: bytes) -> bytes:
        text = data.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        new = self.names.comm(text) if is_comm(field.name) else self.names.text(text)
        return new.encode("utf-8", "replace")

    def _rest(self, field: FormatField, what: str, element: int, data: bytes) -> bytes:
        """A flexible array, which may grow."""
        if what == "text" and data:
            return (self._text(field, data) + b"\0").ljust(len(data), b"\0")
        return self._new(field, what, element, data)

    def _dynamic(
        self, out: bytearray, field: FormatField, what: str, element: int, payload: bytes
    ) -> None:
        """A field elsewhere in the record; text that grows goes behind the record."""
        end = field.offset + field.size
        word = int.from_bytes(payload[field.offset : end], self.order)
        base = end if field.dynamic == "rel_loc" else 0
        start = (word & 0xFFFF) + base
        length = word >> 16 if field.size == 4 else len(payload)
        data = payload[start : start + length]
        new = self._new(field, what, element, data)
        text = self._text(field, data) if what == "text" else b""
        place = len(out) + 3 & ~3
        if len(text) >= len(data) > 0 and field.size == 4 and place - base < 1 << 16:
            out += bytes(place - len(out)) + text + b"\0"
            word = len(text) + 1 << 16 | place - base
            new = b""
        out[field.offset : end] = word.to_bytes(field.size, self.order)
        out[start : start + len(new)] = new


def _is_probe(form: EventFormat) -> bool:
    """Whether somebody made up the event's fields: their types are what he wrote."""
    return any(field.name in ("__probe_ip", "__probe_func") for field in form.fields)


def is_address(name: str) -> bool:
    """Whether a field of this name holds addresses, of programs and guests too."""
    return _ADDRESS.fullmatch(name) is not None


def is_comm(name: str) -> bool:
    """Whether a field of this name holds the name of a task."""
    return _COMM.fullmatch(name) is not None
