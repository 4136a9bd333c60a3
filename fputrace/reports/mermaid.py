"""The diagram of a proof that code hosts draw: what moved between tasks, registers and memory.

    sequenceDiagram
        participant T74 as CPU 0/KVM-74
        participant R0 as registers of CPU 0
        participant M as memory
        R0->>M: 4 +10.420 us x86_fpu_regs_deactivated

Mermaid's sequence diagrams, as GitHub and GitLab render them in a ``mermaid`` block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fputrace.reports.escape import mermaid
from fputrace.reports.lanes import mark
from fputrace.reports.outline import task
from fputrace.reports.steps import proof_steps

if TYPE_CHECKING:
    from fputrace.events import Trace
    from fputrace.findings import Witness, WitnessEvent

_MEMORY = "M"


def sequence(witness: Witness, trace: Trace) -> str:
    """The diagram; "" where no event is kept that it could show."""
    steps = proof_steps(witness, trace)
    if not any(not step.inferred for step in steps):
        return ""
    people: dict[str, str] = {}
    lines: list[str] = []
    for event, step in zip(witness.events, steps, strict=True):
        new = dict(_people(event, trace))
        people.update({name: words for name, words in new.items() if name not in people})
        here = _task(event.pid)
        if step.inferred:
            lines.append(f"Note over {here}: {step.number} {mermaid(step.name)} (inferred)")
        else:
            source, target = _between(event)
            text = f"{step.number} {mermaid(f'{step.time} {step.name}')}"
            detail = f" {mermaid(step.fields)}" if step.name == "kvm_fpu" else ""
            lines.append(f"{source}->>{target}: {text}{detail}")
        lines.append(f"Note right of {here}: {mermaid(step.role)}")
    names = [f"participant {name} as {words}" for name, words in people.items()]
    return "\n    ".join(["sequenceDiagram", *names, *lines])


def _people(event: WitnessEvent, trace: Trace) -> Iterator[tuple[str, str]]:
    """Who takes part in an event: tasks, a CPU's registers, memory."""
    if event.inferred:
        return
    yield _task(event.pid), mermaid(task(event.comm, event.pid))
    source, target = _between(event)
    for name in (source, target):
        if name[0] == "R":
            yield name, f"registers of CPU {event.cpu}"
        elif name == _MEMORY:
            yield name, "memory"
        elif name != _task(event.pid):
            pid = int(event.fields["next_pid"])
            comm = event.fields.get("next_comm") or trace.comms.get(pid)
            yield name, mermaid(task(comm or ("swapper" if pid == 0 else None), pid))


def _between(event: WitnessEvent) -> tuple[str, str]:
    """From where to where an event moves something; else a task acts on itself."""
    here, registers = _task(event.pid), f"R{event.cpu}"
    match mark(event):
        case "S":
            return registers, _MEMORY
        case "A" | "L":
            return _MEMORY, registers
        case "U":
            return registers, _MEMORY
        case "D":
            return here, registers
        case "|" if "next_pid" in event.fields:
            return here, _task(int(event.fields["next_pid"]))
    return here, here


def _task(pid: int) -> str:
    return f"T{pid}" if pid >= 0 else "T"
