"""The steps of a proof in words: each event with its main fields, as trace-cmd would print it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fputrace.events import ABSENT
from fputrace.plain import PlainTuple
from fputrace.reports.outline import clock_of, task

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Witness
    from fputrace.moment import NearEvent

POINTERS = frozenset(
    {"fpu", "rip", "guest_rip", "ip", "address", "sa_handler", "parent_ip"}
    | {"__probe_ip", "__probe_func", "__probe_ret_ip"}
)
"""Fields that hold an address: hexadecimal everywhere, and strings in JSON."""

MASKS = frozenset({"xfeatures", "xcomp_bv"})
"""``u64`` bit masks, which the kernel prints as hexadecimal (x86/asm/trace/fpu.h)."""

_PREV_STATES = {0: "R", 1: "S", 2: "D", 4: "T", 8: "t", 16: "X", 32: "Z", 64: "P", 128: "I"}
"""The print format of ``sched_switch`` itself (include/trace/events/sched.h, 4.14 to 7.2)."""

_U64 = (1 << 64) - 1


class Step(PlainTuple):
    """One step of a proof: an event of the trace, or what must have happened between two events."""

    number: int
    time: str
    cpu: int
    task: str
    name: str
    fields: str
    role: str
    inferred: bool


def proof_steps(witness: Witness, trace: Trace) -> list[Step]:
    """The events of a proof in time order, times relative to the first."""
    clock = clock_of(trace)
    if not witness.events:
        return []
    first = witness.events[0].ns
    return [
        Step(
            number,
            "" if event.inferred else clock.after(event.ns, first),
            event.cpu,
            "" if event.inferred else task(event.comm, event.pid),
            event.name.partition(":")[2] or event.name,
            "" if event.inferred else fields_text(event, trace.comms),
            event.role,
            event.inferred,
        )
        for number, event in enumerate(witness.events, 1)
    ]


def fields_text(event: NearEvent, comms: Mapping[int, str]) -> str:
    """The main fields of an event, in the words ``trace-cmd report`` has for them.

    ``comms`` names the task that a ``sched_switch`` without ``next_comm`` switches to.
    """
    fields = {k: v for k, v in event.fields.items() if v != ABSENT}
    name = event.name.partition(":")[2] or event.name
    if name == "kvm_fpu" and "load" in fields:
        return "load" if fields["load"] else "unload"
    if name == "sched_switch" and {"prev_pid", "next_pid"} <= fields.keys():
        prev, to = fields["prev_pid"], fields["next_pid"]
        prev_comm = fields.get("prev_comm", event.comm)
        next_comm = fields.get("next_comm") or comms.get(to) or ("swapper" if to == 0 else "<...>")
        state = prev_state(fields.get("prev_state"))
        return f"{prev_comm}:{prev} {state}==> {next_comm}:{to}"
    hidden = {"xcomp_bv"} if name.startswith("x86_fpu_") else set()
    return " ".join(f"{k}={field_text(k, v)}" for k, v in fields.items() if k not in hidden)


def field_text(name: str, value: Any) -> str:
    """A field's value for people: addresses and masks in hexadecimal."""
    if isinstance(value, int) and (name in POINTERS or name in MASKS):
        return f"0x{value & _U64:x}"
    return str(int(value)) if isinstance(value, bool) else str(value)


def prev_state(state: Any) -> str:
    """``prev_state`` as ``sched_switch`` prints it since 4.14: ``R+`` is a preempted task."""
    if state is None:
        return ""
    letter = _PREV_STATES.get(state & 0xFF)
    if letter is None or not 0 <= state < 0x200:
        return f"prev_state={state} "
    return f"{letter}{'+' if state & 0x100 else ''} "
