"""Events of a text: from an event's name and arguments to a kind and its operands.

What a text names is a name without its system (tracefs, trace-cmd) or with it (perf).  Systems come
from :data:`~fputrace.events.KINDS`; an event that is none of them keeps the name it has.
"""

from __future__ import annotations

import re
from typing import Any

from fputrace.events import (
    ABSENT,
    KINDS,
    PROBED_FUNCTIONS,
    UNREAD,
    EventFormat,
    FormatField,
    Kind,
    KindSpec,
    Trace,
)
from fputrace.parsers.probes import RETURN, function_in_name
from fputrace.parsers.shapes import Shape, match_args, parts_of, raw_fields
from fputrace.parsers.symbols import REACH, base_name
from fputrace.parsers.textmeta import Header
from fputrace.plain import PlainTuple

MOST_NAMES = 4096
"""Different names of events; what is more shares one."""

LARGEST_NAME = 100

FUNCTION = "ftrace:function"
"""What the function tracer records, as trace.dat calls it."""

_SPECS: dict[str, KindSpec] = {
    name: spec for spec in KINDS for key in spec.names for name in (key, f"{spec.system}:{key}")
}
_KEYS = frozenset(f"{spec.system}:{key}" for spec in KINDS for key in spec.names)
_ENTER = next(spec for spec in KINDS if spec.kind is Kind.SYS_ENTER)
_EXIT = next(spec for spec in KINDS if spec.kind is Kind.SYS_EXIT)

_UNTOLD = frozenset(
    ["prev_state", "exit_reason", "reason", "errno", "id", "ret", "address", "val", "sig", "ns"]
)
"""Operands that a text may leave out: no verdict rests on them."""

_I64 = 1 << 63
_NOTHING = (ABSENT, ABSENT, ABSENT, ABSENT)

_OFFSET = re.compile(r"0x[0-9a-f]{1,16}")
_ADDRESS = re.compile(r"(?:0x)?[0-9a-f]{8,16}")

BY_ADDRESS = (
    "Probes are shown by their address only: what they sit on is not told, so they prove nothing. "
    "Give trace.dat, which has kallsyms."
)
"""A sentence of ``Trace.limits``: trace-cmd report prints no symbol for a probe's address."""


class Named(PlainTuple):
    """The text of an event split: its name, ``:`` behind it or not, and where arguments begin."""

    name: str
    colon: bool
    args: int


class Event(PlainTuple):
    """A decoded event.

    ``key`` as in ``Trace.event_names``; ``ops`` as in an EventBlock; ``shape`` the text it was
    read by, None where none was needed; ``lacks`` names what the text hides of what the kind
    needs; ``broken``: no known text of a known kind.
    """

    key: str
    kind: Kind
    ops: tuple[int, int, int, int]
    fields: dict[str, Any]
    shape: Shape | None = None
    lacks: tuple[str, ...] = ()
    broken: bool = False


_TOKEN = re.compile(rb"(\S{1,250})[ \t]*")
_NAMED = re.compile(rb"(?<!\S)((?:\w{1,64}:)?\w{4,64}):(?!\S)")
_LEAST_CUT = 4  # letters of a name that is cut off: `x86_`, `kvm_`
_PERIOD = re.compile(rb"\d{1,20}[ \t]+(?=\S+:(?:\s|$))")
_PARENT = re.compile(r"<-+ ?\S")
_PROBE = re.compile(r"\((?:(?P<ret>\S{1,250}) <- )?(?P<func>[^\s()]{1,250})\)(?: (?P<args>.*))?$")
_SYSCALL = re.compile(r"(sys_\w{1,60})(?:\((?P<enter>.*)\)?| -> (?P<ret>.*))$")


def split_name(line: bytes, at: int) -> Named | None:
    """The name of the event whose text begins at `at`; None when there is no text at all.

    Names end with a colon; without it a word is a function of the function tracer, or the name of
    a system call.
    """
    period = _PERIOD.match(line, at)  # perf script -F +period
    if period is not None:
        at = period.end()
    token = _TOKEN.match(line, at)
    if token is None:
        return None
    word = token[1].decode("utf-8", "backslashreplace")
    colon = len(word) > 1 and word.endswith(":")
    return Named(word[:-1] if colon else word, colon, token.end())


def names_in(text: bytes) -> set[str]:
    """``system:name`` of the known events that a line names which is no event, or no whole one."""
    words = {word.decode("ascii") for word in _NAMED.findall(text)}
    return {key_of(word, spec) for word in words if (spec := spec_named(word)) is not None}


def spec_named(name: str) -> KindSpec | None:
    """The row of KINDS that a name means, with its system or without."""
    spec = _SPECS.get(name)
    if spec is None:
        system, _, event = name.rpartition(":")
        if system in ("", "syscalls") and event.startswith("sys_enter_"):
            return _ENTER
        if system in ("", "syscalls") and event.startswith("sys_exit_"):
            return _EXIT
    return spec


def key_of(name: str, spec: KindSpec) -> str:
    """``system:name`` of an event of a known kind."""
    event = name.rpartition(":")[2]
    return f"syscalls:{event}" if event not in spec.names else f"{spec.system}:{event}"


def decode(named: Named, args: str) -> Event:
    """What an event's name and the text behind it say; never fails."""
    name = named.name
    if not named.colon:
        return _without_colon(named, args)
    spec = spec_named(name)
    if spec is not None:
        return _known(name, spec, args)
    if name == "function":
        return _function(args.split(" ", maxsplit=1)[0], args, raw_fields(args))
    probe = _PROBE.match(args)
    if probe is not None:
        return _probe(name, probe["func"], probe["ret"], raw_fields(probe["args"] or ""))
    if args.startswith("__probe_"):
        told = raw_fields(args)
        place = told.pop("__probe_ip", told.pop("__probe_func", None))
        returned = told.pop("__probe_ret_ip", None)
        shown = f"{place:x}" if isinstance(place, int) else str(place)
        return _probe(name, shown, None if returned is None else str(returned), told)
    return Event(name[:LARGEST_NAME], Kind.OTHER, _NOTHING, raw_fields(args))


def _known(name: str, spec: KindSpec, args: str) -> Event:
    key = key_of(name, spec)
    found = match_args(key, args)
    if found is None:
        return Event(key, Kind.OTHER, _NOTHING, raw_fields(args), broken=True)
    shape, fields = found
    ops: list[int] = []
    lacks: list[str] = []
    for operand in spec.operands:
        name = next((field for field in operand.fields if field in fields), "")
        value = fields.get(name)
        if isinstance(value, int):
            ops.append(value - 2 * _I64 if value >= _I64 else value)
            continue
        ops.append(ABSENT)
        if operand.required and not _UNTOLD.intersection(operand.fields):
            lacks.append(" or ".join(operand.fields))
    kind = Kind.OTHER if lacks else spec.kind
    return Event(key, kind, _NOTHING if lacks else _padded(ops), fields, shape, tuple(lacks))


def _padded(ops: list[int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = (*ops, *_NOTHING)[:4]
    return first, second, third, fourth


def _without_colon(named: Named, args: str) -> Event:
    if _PARENT.match(args):
        return _function(named.name, args, {})
    call = _SYSCALL.match(f"{named.name} {args}".strip())
    if call is not None:
        entered = call["enter"] is not None
        spec = _ENTER if entered else _EXIT
        event = call[1].replace("sys_", "sys_enter_" if entered else "sys_exit_", 1)
        return _known(f"syscalls:{event}", spec, call["enter"] if entered else call["ret"])
    return Event(named.name.strip("<>")[:LARGEST_NAME], Kind.OTHER, _NOTHING, {})


def _function(name: str, args: str, told: dict[str, Any]) -> Event:
    """A line of the function tracer: ``FUNC <-PARENT``, or trace-cmd's ``function:``."""
    name = str(told.get("ip", name))
    kind = PROBED_FUNCTIONS.get(base_name(name.partition("+")[0]), Kind.PROBE_OTHER)
    fields: dict[str, Any] = {"ip": name}
    parent = told.get("parent_ip") or args.rpartition("<-")[2].strip("- ")
    if (parent and "<-" in args) or "parent_ip" in told:
        fields["parent_ip"] = str(parent)
    return Event(FUNCTION, kind, _NOTHING, fields)


def _probe(name: str, place: str, returned: str | None, told: dict[str, Any]) -> Event:
    """A kprobe or fprobe: ``NAME: (FUNC+0x0/0x80) arg=1``; its kind is that of the function."""
    values = [value if isinstance(value, int) else ABSENT for value in told.values()]
    ops = _padded([value - 2 * _I64 if value >= _I64 else value for value in values])
    function = probed_function(name, place)
    kind = Kind.PROBE_OTHER
    if function is not None:
        kind = PROBED_FUNCTIONS[function]
    if returned is not None:
        kind = Kind.PROBE_KFPU_BEGUN if kind is Kind.PROBE_KFPU_BEGIN else Kind.PROBE_OTHER
    fields = {"__probe_ip" if returned is None else "__probe_func": place, **told}
    if returned is not None:
        fields["__probe_ret_ip"] = returned
    return Event(name[:LARGEST_NAME], kind, ops, fields)


def probed_function(name: str, place: str) -> str | None:
    """The function that a probe sits on: the printed one, else what the event's name says.

    A probe in the midst of a function is not hit by every call, so it is none on the function.
    """
    symbol, _, behind = place.partition("+")
    printed = base_name(symbol)
    if printed in PROBED_FUNCTIONS:
        offset = _OFFSET.match(behind)
        return printed if offset is None or int(offset[0], 16) < REACH else None
    bare = re.fullmatch(r"(?:0x)?[0-9a-f]{8,16}", place) is not None
    return function_in_name(name.rpartition(":")[2]) if bare else None


class EventTable:
    """The events of a text, numbered as they turn up; fills the trace's tables.

    The numbers last: later passes find what the first one found.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.index: dict[str, int] = {}
        self.told: dict[str, dict[str, None]] = {}
        self.alive: set[str] = set()
        self.header = Header()

    def decode(self, named: Named, args: bytes) -> Event:
        """What an event's text says, with the names that the head of a converted text gives."""
        text = args.decode("utf-8", "backslashreplace").strip()
        told = self.header.events.get(named.name) if self.header.any else None
        event = decode(named, text)
        if told is None or told[0] == event.key:
            return event
        key, kind = told
        spec = spec_named(key)
        if spec is not None:
            return _known(key, spec, text)
        probe = kind >= Kind.PROBE_SAVE
        return event._replace(
            key=key,
            kind=event.kind if probe and event.kind >= Kind.PROBE_SAVE else Kind.OTHER,
        )

    def settle(self, event: Event) -> Event:
        """Decide about an event that its text does not tell completely, and note what it shows.

        An event whose first text cannot be read, or hides what it needs, counts as not recorded
        from then on; where others before could be read, this one is ``broken``.
        """
        unusable = self.trace.unusable
        if event.kind is not Kind.OTHER:
            self.alive.add(event.key)
        elif event.lacks or event.broken:
            if event.key in self.alive:
                return event._replace(broken=True)
            unusable.setdefault(event.key, list(event.lacks) or [UNREAD])
        if event.key in unusable:
            return event._replace(kind=Kind.OTHER, ops=_NOTHING, broken=False)
        if event.shape is not None:
            self._tell_fields(event.key, event.shape)
        elif event.kind >= Kind.PROBE_SAVE:
            self._tell_probe(event)
        return event

    def number(self, event: Event) -> int:
        """The event's number in ``Trace.event_names``, a new one for a new name."""
        key = event.key
        number = self.index.get(key)
        if number is None:
            names = self.trace.event_names
            if len(names) >= MOST_NAMES:
                key = "text:other"
            number = self.index.setdefault(key, len(names))
            if number == len(names):
                names.append(key)
                self.trace.event_kinds.append(event.kind)
        return number

    def tell_unread(self, named: set[str]) -> None:
        """Note known events of which no line could be read: those `named`, and those cut off.

        Told when a pass has ended.  ``cut`` leaves the beginning of a name as the last word.
        """
        counts = self.trace.counts
        cut = tuple(name for name in counts if len(name) >= _LEAST_CUT and name not in _KEYS)
        named = named | {
            key_of(name, spec)
            for name, spec in _SPECS.items()
            if any(name.startswith(one) for one in cut)
        }
        for key in sorted(named):
            if key not in counts:
                self.trace.unusable.setdefault(key, [UNREAD])

    def _tell_fields(self, key: str, shape: Shape) -> None:
        known = self.told.setdefault(key, {})
        names = [part.text for part in parts_of(shape.template) if part.type and part.text != "_"]
        new = [name for name in (*names, *shape.constants) if name not in known]
        told = self.trace.formats.get(key)
        if told is not None and (told.complete or not new):
            return
        known.update(dict.fromkeys(new))
        system, _, event = key.rpartition(":")
        fields = tuple(FormatField(name, "", 0, 0, False, False, "") for name in known)
        self.trace.formats[key] = EventFormat(system, event, 0, fields, complete=False)

    def _tell_probe(self, event: Event) -> None:
        fields = event.fields
        place = str(fields.get("__probe_ip", fields.get("__probe_func", fields.get("ip", ""))))
        function = probed_function(event.key, place)
        if function is None:
            if _ADDRESS.fullmatch(place) and BY_ADDRESS not in self.trace.limits:
                self.trace.limits.append(BY_ADDRESS)
            return
        printed = event.key != FUNCTION and base_name(place.partition("+")[0]) == function
        evidence = "kallsyms" if printed else "name"
        if "__probe_ret_ip" in fields:
            function += RETURN
        known = self.trace.probes.get(event.key)
        if known is None:
            self.trace.probes[event.key] = (function, evidence)
            return
        functions, how = known
        if function not in functions.split(", "):
            functions = f"{functions}, {function}"
        elif self.header.any:
            return  # the head of a converted text says how it is known
        # One record that only its event's name tells is enough: none proves more than it.
        self.trace.probes[event.key] = (functions, "name" if "name" in (how, evidence) else how)
