"""Stories with probes: what kprobes on the FPU code print beside the tracepoints (5.16 on).

The steps are those of fpu_swap_kvm_fpstate(), switch_fpu_prepare() (switch_fpu() from 6.16 on) and
kernel_fpu_begin_mask() in arch/x86/kernel/fpu/core.c; a fault is a step left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import fputrace
from fputrace.findings import Analysis
from tests.rules.scenario import Story, Task
from tests.writers import EventSpec

BASE = 0xFFFFFFFF81040000
FUNCTIONS = {
    "save": "save_fpregs_to_fpstate",
    "restore": "restore_fpregs_from_fpstate",
    "swap": "fpu_swap_kvm_fpstate",
    "begin": "kernel_fpu_begin_mask",
    "end": "kernel_fpu_end",
    "begun": "kernel_fpu_begin_mask",
}
"""Name of the probe -> the function it sits on; ``begun`` is the return of the begin."""
BEFORE_5_16 = {
    "save": "copy_fpregs_to_fpstate",
    "begin": "kernel_fpu_begin",
    "end": "kernel_fpu_end",
    "begun": "kernel_fpu_begin",
}
_KNOWN = sorted({*FUNCTIONS.values(), *BEFORE_5_16.values()})
ADDRESSES = {function: BASE + 0x100 * n for n, function in enumerate(_KNOWN)}
GUEST = 0xFF747EF300075000

_IP = "unsigned long __probe_ip"
_PROBES = (
    EventSpec("mine", "save", (_IP, "u64 a", "u64 b")),
    EventSpec("mine", "restore", (_IP, "u64 where", "u64 mask")),
    EventSpec("mine", "swap", (_IP, "u64 g", "u8 in")),
    EventSpec("mine", "begin", (_IP,)),
    EventSpec("mine", "end", (_IP,)),
    EventSpec("mine", "begun", ("unsigned long __probe_func", "unsigned long __probe_ret_ip")),
)


class ProbedStory(Story):
    """A story in which the probes of :data:`FUNCTIONS` were set, but those of ``unset``."""

    def __init__(
        self,
        generation: str,
        *,
        unset: Collection[str] = (),
        more: Collection[EventSpec] = (),
        **how: Any,
    ):
        self.functions = FUNCTIONS if generation in ("G5", "G6") else BEFORE_5_16
        probes = [
            spec for spec in _PROBES if spec.name in self.functions and spec.name not in unset
        ]
        super().__init__(generation, extra_events=[*probes, *more], **how)
        self.writer.kallsyms = "".join(
            f"{ADDRESSES[function]:x} T {function}\n" for function in self.functions.values()
        )
        self._set = {spec.name for spec in probes}
        self._guests: set[Task] = set()

    def probe(self, name: str, cpu: int = 0, **arguments: Any) -> None:
        """A record of one probe, if it was set."""
        if name not in self._set:
            return
        address = ADDRESSES[self.functions[name]]
        if name == "begun":
            self.event(name, cpu, __probe_func=address, __probe_ret_ip=BASE)
        else:
            self.event(name, cpu, __probe_ip=address + 4, **arguments)

    def own(self, task: Task) -> int:
        """The task's own fpstate: ``fpu->__fpstate``."""
        return task.fpu + 0x40

    def save_to(self, task: Task, fpstate: int, cpu: int = 0) -> None:
        """save_fpregs_to_fpstate(&task->thread.fpu)."""
        self.probe("save", cpu, a=task.fpu, b=fpstate)

    def _buffer(self, task: Task) -> int:
        return GUEST + task.pid * 0x1000 if task in self._guests else self.own(task)

    def switch_to(
        self,
        to: Task,
        cpu: int = 0,
        *,
        save: bool | None = None,
        restore: bool = True,
        probe: bool = True,
    ) -> None:
        """As the tracepoints alone, with the save's probe before its event."""
        prev = self._current[cpu]
        if (prev in self._live if save is None else save) and probe:
            self.save_to(prev, self._buffer(prev), cpu)
        super().switch_to(to, cpu, save=save, restore=restore)

    def restore(self, cpu: int = 0) -> None:
        """switch_fpu_return() of a task whose TIF_NEED_FPU_LOAD is set."""
        task = self._current[cpu]
        self.probe("restore", cpu, where=self._buffer(task), mask=0x604FF)
        super().restore(cpu)

    def swap(
        self,
        load: int,
        cpu: int = 0,
        *,
        save: bool = True,
        restore: bool = True,
        pointer: bool = True,
    ) -> None:
        """fpu_swap_kvm_fpstate(): save, pointer, restore, regs_activated; then kvm_fpu."""
        task = self._current[cpu]
        self.probe("swap", cpu, g=GUEST, **{"in": load})
        if save and task in self._live:
            self.save_to(task, self._buffer(task), cpu)
        if pointer and load:
            self._guests.add(task)
        elif not load:
            self._guests.discard(task)
        image = GUEST + task.pid * 0x1000 if load else self.own(task)
        if restore:
            self.probe("restore", cpu, where=image, mask=0x604FF)
        self._swap(load, cpu)

    def load(self, cpu: int = 0) -> None:
        """kvm_load_guest_fpu()."""
        self.swap(1, cpu)

    def put(self, cpu: int = 0) -> None:
        """kvm_put_guest_fpu()."""
        self.swap(0, cpu)

    def kernel_fpu(self, cpu: int = 0, *, keeps_owner: bool = False) -> None:
        """A section in the current task's context: it saves, and makes the CPU nobody's."""
        task = self._current[cpu]
        self.probe("begin", cpu)
        if task in self._live and not keeps_owner:
            self.save_to(task, self._buffer(task), cpu)
        self.probe("begun", cpu)
        self.probe("end", cpu)
        if not keeps_owner:
            self._live.discard(task)
            self._owner[cpu] = 0


ProbedTelling = Callable[[ProbedStory], None]


def tell_probed(story: ProbedTelling, generation: str, folder: Path, **how: Any) -> Analysis:
    """Write ``story`` and analyse it."""
    told = ProbedStory(generation, **how)
    story(told)
    return fputrace.analyze(told.write(folder / "trace.dat"))
