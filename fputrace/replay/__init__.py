"""Replay: events in, the state before each event out (docs/model.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.errors import FormatError, FputraceError
from fputrace.replay import (
    costs,
    judge,
    layout,
    ledger,
    lives,
    loop,
    probed,
    proofs,
    sections,
    spanloop,
    swaps,
)
from fputrace.replay.layout import Before, Cpu, Own, Task, Win
from fputrace.replay.model import TABLES
from fputrace.timeline import Facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock, Trace

PART = 8192
"""Rows replayed at once: their facts (1 MiB) stay in the cache until the judge has read them."""

MAX_CPU = 65535
"""A CPU number beyond this is damage (NR_CPUS of x86 is 8192)."""


def view(array: Any) -> memoryview:
    """An array as the loops take it: uncompiled, they get plain integers out of it."""
    return memoryview(array)


def action_table(generation: str) -> NDArray[np.int64]:
    """Transition table of a generation: int64[256, 3], ``Act`` bits by Kind and Win."""
    table = np.zeros((256, len(Win)), dtype=np.int64)
    for (kind, win), act in TABLES[generation].rows.items():
        table[int(kind), int(win)] = int(act)
    return table


def _check_built() -> None:
    """Raise ImportError when the compiled loops are older than the layout of their tables.

    They run without bounds checks on these tables.
    """
    judged = (layout.JudgeCpu, layout.JudgeTask, Before, layout.Out, layout.Seen)
    counted = (layout.CostCpu, layout.CostTask, Before, layout.Out, layout.CostSum)
    followed = (layout.ProbedCpu, layout.ProbedTask, Before, layout.Out)
    sectioned = (layout.SectionCpu, layout.SectionTask, Before, layout.Out)
    if (
        loop.widths() != (Cpu.WIDTH, Task.WIDTH, Before.WIDTH)
        or judge.widths() != tuple(int(table.WIDTH) for table in judged)
        or proofs.widths() != (layout.JudgeCpu.WIDTH, layout.JudgeTask.WIDTH, layout.Out.WIDTH)
        or probed.widths() != tuple(int(table.WIDTH) for table in followed)
        or sections.widths() != tuple(int(table.WIDTH) for table in sectioned)
        or lives.widths() != (layout.LivesTask.WIDTH, Before.WIDTH, layout.Out.WIDTH)
        or swaps.widths() != (layout.SwapTask.WIDTH, Before.WIDTH, layout.Out.WIDTH)
        or costs.widths() != tuple(int(table.WIDTH) for table in counted)
        or spanloop.widths() != (layout.OpenSpan.WIDTH, Before.WIDTH)
        or ledger.widths() != (layout.CostTask.WIDTH, layout.CostSum.WIDTH)
    ):
        raise FputraceError(
            "the compiled loops are older than fputrace/replay/layout.py",
            hint="Install fputrace again.",
        )


def new_cpus(count: int, listed: list[int]) -> NDArray[np.int64]:
    """CPU rows at the start of a trace: all unknown; those the recording lists are blind."""
    cpus = np.zeros((count, Cpu.WIDTH), dtype=np.int64)
    cpus[:, Cpu.CUR] = layout.NO_PID
    cpus[:, Cpu.WIN] = Win.UNKNOWN
    cpus[:, Cpu.OWN_STATE] = Own.UNKNOWN
    cpus[:, Cpu.OWN_PID] = -1
    cpus[:, Cpu.STAY_START] = layout.FAR_PAST
    cpus[:, Cpu.WIN_TS] = layout.FAR_PAST
    cpus[:, Cpu.PREV_TS] = layout.FAR_PAST - 1
    cpus[[c for c in listed if 0 <= c < count], Cpu.BLIND] = 1
    return cpus


class Replay:
    """The ownership loop with its state, fed block by block.

    ``part(block, start)`` gives the facts of up to ``PART`` rows from ``start`` on as
    int64[rows, Before.WIDTH]; ``facts(block)`` those of all rows that were replayed so far.  Both
    are parts of an array that the next block uses again.
    """

    def __init__(self, trace: Trace, generation: str, *, module: Any = loop) -> None:
        _check_built()
        model = TABLES[generation]
        count = max([c for c in trace.cpus if c <= MAX_CPU], default=0) + 1
        self._cpus = new_cpus(count, trace.cpus)
        self._tasks = np.zeros((1024, Task.WIDTH), dtype=np.int64)
        self._free = np.zeros(1024, dtype=np.int32)
        # 16 MiB of address space, of which the kernel hands out only the pages in use.
        self._pids = np.zeros(layout.PID_MAX + 1, dtype=np.int32)
        self._facts = np.zeros((0, Before.WIDTH), dtype=np.int64)
        self._path = trace.path
        self._listed = trace.cpus
        self.loop = module.Ownership(
            view(self._cpus),
            view(self._tasks),
            view(self._pids),
            view(self._free),
            view(action_table(generation)),
            model.eager,
            model.tif_at_switch_in,
        )
        self._columns: tuple[Any, ...] = ()
        self._block: EventBlock | None = None

    @property
    def cpu_rows(self) -> int:
        """Length per-CPU tables need."""
        return len(self._cpus)

    @property
    def task_rows(self) -> int:
        """Length per-task tables need."""
        return len(self._tasks)

    @property
    def gaps(self) -> tuple[int, int]:
        """Undeclared holes found so far: gaps of a CPU, and tasks two CPUs claimed."""
        gaps, clashes = self.loop.undeclared()
        return int(gaps), int(clashes)

    @property
    def silent(self) -> list[int]:
        """CPUs that the recording lists and that have shown no event."""
        seen = self._cpus[:, Cpu.SEEN]
        return [cpu for cpu in self._listed if cpu < len(seen) and not seen[cpu]]

    def columns(self, block: EventBlock) -> tuple[Any, ...]:
        """Views of a block's columns and of its facts, as the loops read them.

        From now on the replay is at this block.  Raises FormatError for a CPU number no Linux has.
        """
        if self._block is not block:
            if len(block):
                top = int(block.cpu.max())
                if top > MAX_CPU or int(block.cpu.min()) < 0:
                    raise FormatError(f"CPU number {top} is no CPU of Linux", path=self._path)
                if top >= len(self._cpus):
                    grown = new_cpus(top + 1, [])
                    grown[: len(self._cpus)] = self._cpus
                    self._cpus = grown
                    self.loop.grow_cpus(view(grown))
            self._block = block
            if len(block) > len(self._facts):
                self._facts = np.zeros((len(block), Before.WIDTH), dtype=np.int64)
            ts, cpu, pid, kind, event, op, facts = (
                view(np.ascontiguousarray(column))
                for column in (
                    *(block.ts, block.cpu, block.pid, block.kind, block.event, block.op),
                    self.facts(block),
                )
            )
            self._columns = (ts, cpu, pid, kind, event, op, facts)
            self.loop.read(ts, cpu, pid, kind, op, facts)
        return self._columns

    def state(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is known now: rows of :class:`~fputrace.replay.layout.Cpu`, and those of
        :class:`~fputrace.replay.layout.Task` that are in use and not forgotten.  Copies.
        """
        tasks = self._tasks
        live = tasks[:, Task.EPOCH] == self.loop.current_epoch()
        # A row given back (sched_process_free) keeps its pid, which no longer leads to it.
        pids = tasks[:, Task.PID]
        live &= (pids >= 0) & (pids <= layout.PID_MAX)
        live &= self._pids[np.where(live, pids, 0)] == np.arange(len(tasks))
        live[0] = False
        return self._cpus.copy(), tasks[live]

    def part(self, block: EventBlock, start: int, before: int | None = None) -> NDArray[np.int64]:
        """Replay the next rows of ``block`` from ``start`` on, none from row ``before`` on."""
        self.columns(block)
        stop = min(start + PART, len(block) if before is None else before)
        done = self.loop.run(start, stop)
        if done < stop:
            self._tasks = np.concatenate([self._tasks, np.zeros_like(self._tasks)])
            self._free = np.concatenate([self._free, np.zeros_like(self._free)])
            self.loop.grow_tasks(view(self._tasks), view(self._free))
        return self._facts[start:done]

    def facts(self, block: EventBlock) -> NDArray[np.int64]:
        """The facts of a block all of whose rows were replayed: the latest one."""
        return self._facts[: len(block)]


def facts_of(table: NDArray[np.int64]) -> Facts:
    """A facts table (int64[n, Before.WIDTH]) as named columns."""
    known = table[:, Before.F_KNOWN]
    token = table[:, Before.OWN_STATE] == Own.TOKEN
    return Facts(
        cur=table[:, Before.CUR].astype(np.int32),
        win=table[:, Before.WIN].astype(np.int8),
        own=np.where(token, table[:, Before.OWN], 0),
        own_state=table[:, Before.OWN_STATE].astype(np.int8),
        own_pid=table[:, Before.OWN_PID].astype(np.int32),
        subject=table[:, Before.SUBJECT].astype(np.int32),
        fpu=np.where(known, table[:, Before.F], 0),
        fpu_known=known.astype(np.int8),
        last=table[:, Before.LAST].astype(np.int32),
        tif=table[:, Before.TIF].astype(np.int8),
        kvm=table[:, Before.KVM].astype(np.int8),
        image=table[:, Before.IMAGE].astype(np.int8),
    )


def replay(
    trace: Trace, generation: str, *, module: Any = loop
) -> Iterator[tuple[EventBlock, Facts]]:
    """Every block of a trace with the facts before each of its events.

    ``generation``: a code of ``model.GENERATIONS``; ``module``: the loop to use (a test gives the
    uncompiled one).  Raises what reading the trace raises.
    """
    machine = Replay(trace, generation, module=module)
    for block in trace.blocks():
        start = 0
        while start < len(block):
            start += len(machine.part(block, start))
        yield block, facts_of(machine.facts(block).copy())
