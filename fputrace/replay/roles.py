"""What the arguments are that probes fetched: as the recorder says, else from their values.

A recording names a probe's arguments but not what they fetch, and people call them anything; only
a sidecar has the definitions, and values that are none of the kind prove it wrong.  The
first argument of save_fpregs_to_fpstate() is the task's own ``struct fpu *`` (a child's in
fpu_clone()), which x86_fpu events print too.  ``struct fpstate *`` is what
restore_fpregs_from_fpstate() gets: inside fpu_swap_kvm_fpstate() one value when the guest is loaded
and another when it is put, for the same thread; nothing else behaves so.  A save's argument is an
fpstate when its values are such values.  (arch/x86/kernel/fpu/core.c, 5.16 on.)
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from fputrace.events import ABSENT, Kind
from fputrace.replay.layout import Before, Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fputrace.events import EventBlock, Trace

_ENOUGH = 4
"""Saves of known tasks that must agree before an argument is called their fpu."""

_ROWS = 1 << 16
"""Probe records looked at before what is not known by then stays unknown."""

_HALF = -(1 << 56)
"""Kernel addresses, as int64 and with five levels of page tables, lie from here to the last page
below 0 (Documentation/arch/x86/x86_64/mm.rst)."""

Argument = tuple[int, int]  # event, operand

_FETCHED = {
    # struct fpu has its fpstate pointer at 16 since 5.16; before, padding is there, no address.
    ("save_fpregs_to_fpstate", "$arg1"): Role.FPU,
    ("save_fpregs_to_fpstate", "+16($arg1)"): Role.FPSTATE,
    ("copy_fpregs_to_fpstate", "$arg1"): Role.FPU,
    ("restore_fpregs_from_fpstate", "$arg1"): Role.FPSTATE,
}
"""(function, fetch) -> what the argument is (arch/x86/include/asm/fpu/types.h)."""


class Roles:
    """Learns as records come; ``table``: int64[events, 4] of :class:`Role`."""

    def __init__(self, trace: Trace | None = None) -> None:
        self.table = np.zeros((0, 4), dtype=np.int64)
        self._trace = trace
        self._told: set[Argument] = set()
        self.fpstates = False
        """Whether it is known to which fpstate a save goes."""
        self._left = _ROWS
        self._same: dict[Argument, list[int]] = defaultdict(lambda: [0, 0])  # equal, in all
        self._swapped: dict[Argument, dict[int, tuple[set[int], set[int]]]] = defaultdict(dict)
        self._restored: dict[Argument, set[int]] = defaultdict(set)
        self._saved: dict[Argument, set[int]] = defaultdict(set)
        self._inside: dict[int, list[tuple[Argument, int]]] = {}  # pid -> restores since its swap

    def learn(self, block: EventBlock, start: int, facts: NDArray[np.int64], events: int) -> None:
        """Look at the part of a block that begins at ``start``; facts as the loop gave them."""
        if len(self.table) < events:
            grown = np.zeros((events, 4), dtype=np.int64)
            first = len(self.table)
            grown[:first] = self.table
            self.table = grown
            self._seed(first)
        if self._left <= 0:
            return
        stop = start + len(facts)
        kind = block.kind[start:stop]
        wanted = np.isin(kind, (Kind.PROBE_SAVE, Kind.PROBE_RESTORE, Kind.PROBE_SWAP, Kind.KVM_FPU))
        for i in np.flatnonzero(wanted).tolist():
            self._left -= 1
            row = start + i
            pid = int(block.pid[row])
            what = Kind(int(kind[i]))
            if what is Kind.PROBE_SWAP:
                self._inside[pid] = []
            elif what is Kind.KVM_FPU:
                self._swap(pid, int(block.op[row, 0]))
            else:
                values = block.op[row].tolist()
                self._probe(what, int(block.event[row]), pid, values, facts[i])
        self._conclude()

    def _seed(self, first: int) -> None:
        """What the definitions of the events from number `first` on say of their arguments."""
        trace = self._trace
        if trace is None or trace.sidecar is None:
            return
        for event in range(first, len(self.table)):
            key = trace.event_names[event]
            made = trace.sidecar.probes.get(key)
            if made is None or made.returns or key not in trace.formats:
                continue
            fields = [form.name for form in trace.formats[key].fields]
            own = [name for name in fields if not name.startswith(("common_", "__probe_"))]
            for operand, name in enumerate(own[:4]):
                fetch = made.fetches.get(name, "").replace("%di", "$arg1").replace("0x10", "16")
                role = _FETCHED.get((made.function, fetch), Role.NONE)
                if role is not Role.NONE:
                    self.table[event, operand] = role
                    self._told.add((event, operand))

    def _probe(
        self, kind: Kind, event: int, pid: int, values: list[int], facts: NDArray[np.int64]
    ) -> None:
        for operand, value in enumerate(values):
            if value == ABSENT:
                continue
            argument = (event, operand)
            if kind is Kind.PROBE_SAVE and facts[Before.F_KNOWN]:
                tally = self._same[argument]
                tally[0] += value == facts[Before.F]
                tally[1] += 1
            if not _HALF <= value < -4096:
                if argument in self._told and self.table[argument] == Role.FPSTATE:
                    # No pointer: whoever wrote the definition down was wrong.
                    self.table[argument] = Role.NONE
                    self._told.discard(argument)
                continue
            if kind is Kind.PROBE_SAVE:
                self._saved[argument].add(value)
            else:
                self._restored[argument].add(value)
                if pid in self._inside:
                    self._inside[pid].append((argument, value))

    def _swap(self, pid: int, load: int) -> None:
        for argument, value in self._inside.pop(pid, ()):
            sides = self._swapped[argument].setdefault(pid, (set(), set()))
            sides[load != 0].add(value)

    def _conclude(self) -> None:
        for (event, operand), (equal, total) in self._same.items():
            if total >= _ENOUGH and equal * 10 >= total * 9:
                self.table[event, operand] = Role.FPU
            elif total >= _ENOUGH and self.table[event, operand] == Role.FPU:
                self.table[event, operand] = Role.NONE
        known: set[int] = set()
        for (event, operand), tasks in self._swapped.items():
            both = [(put, loaded) for put, loaded in tasks.values() if put and loaded]
            if both and all(not put & loaded for put, loaded in both):
                self.table[event, operand] = Role.FPSTATE
                known |= self._restored[event, operand]
            elif self.table[event, operand] == Role.FPSTATE:
                self.table[event, operand] = Role.NONE
        self.fpstates = False
        for argument in self._told:
            values = self._saved.get(argument, ())
            self.fpstates |= bool(values) and self.table[argument] == Role.FPSTATE
        for event in {event for event, _ in self._saved}:
            shared = {
                operand: len(values & known)
                for (one, operand), values in self._saved.items()
                if one == event and self.table[event, operand] != Role.FPU
            }
            best = max(shared, key=lambda operand: shared[operand], default=None)
            if best is not None and shared[best]:
                self.table[event, best] = Role.FPSTATE
                self.fpstates = True
