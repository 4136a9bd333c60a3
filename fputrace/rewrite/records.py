"""The records of a recording as its recorder wrote them: raw times and raw bytes, by blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fputrace.events import EventBlock, Kind, Trace
from fputrace.parsers.clocks import Correction
from fputrace.parsers.passes import Pass, Plan
from fputrace.parsers.records import BlockRecords
from fputrace.plain import changed, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray


@plain(frozen=True)
class Rows:
    """A block's rows.  ``raw_ts``: as recorded; ``ts``: as the trace tells it everywhere else."""

    block: EventBlock
    records: BlockRecords
    raw_ts: NDArray[np.int64]
    ts: NDArray[np.int64]

    def lost_before(self, row: int) -> int | None:
        """How many events a LOSS row says are missing; None where nobody counted."""
        count = int(self.block.op[row, 0])
        return count if count >= 0 else None


def plan_of(trace: Trace) -> Plan | None:
    """How the records are read; None when it holds none, or not the text of their formats."""
    plan = trace._plan
    if isinstance(plan, Plan) and (plan.container.event_formats or plan.container.ftrace_formats):
        return plan
    return None


def rows_of(
    trace: Trace, plan: Plan, progress: Callable[[Trace], None] | None = None
) -> Iterator[Rows]:
    """One pass over the records, in time order for each CPU; `progress` is called after each block.

    Raises ReadError when the file shrinks or fails meanwhile.
    """
    correction = plan.corrections
    positions = {place.cpu: at for at, place in enumerate(plan.buffer.cpus)}
    moved = {cpu: at for cpu, at in positions.items() if correction.applies(at)}
    if moved:
        blocks = Pass(trace, changed(plan, corrections=Correction())).blocks()
    else:
        blocks = trace.blocks()
    for block in blocks:
        records: Any = block.fields_of
        ts = block.ts
        if moved:
            ts = ts.copy()
            for cpu, position in moved.items():
                rows = np.flatnonzero(block.cpu == cpu)
                own = ts[rows]
                correction.apply(own, position)
                ts[rows] = own
        yield Rows(block, records, block.ts, ts)
        if progress is not None:
            progress(trace)


def is_record(block: EventBlock) -> NDArray[np.bool_]:
    """Rows that are events, not marks."""
    kinds = block.kind
    found: NDArray[np.bool_] = (kinds != int(Kind.LOSS)) & (kinds != int(Kind.CPU_END))
    return found & (block.event >= 0)
