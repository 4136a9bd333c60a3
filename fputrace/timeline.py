"""Who held the registers of each CPU: spans, and the facts before each event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Span(NamedTuple):
    """A stretch of one CPU in which nobody's state moved.

    ``pid``: the task that ran (-1 unknown).  ``owner``: the task that last acquired the registers
    (`fpu_fpregs_owner_ctx`): its pid, 0 for NULL, -1 unknown.  ``image``: "user", "guest",
    "kernel", "init" or "unknown": what the registers held.  ``certainty``: "known" when events
    define it, "inferred" when it follows from the generation, "unknown".  Times in ns.
    """

    cpu: int
    start_ns: int
    end_ns: int
    pid: int
    owner: int
    image: str
    certainty: str


@dataclass(frozen=True)
class Facts:
    """The state before each row of a block (docs/model.md); undefined on marks.

    All arrays have the block's length.  ``cur``: int32 pid, -1 unknown.  ``win``: int8, 0 none,
    1 open, 2 unknown.  ``own``: int64 token (two's complement), valid where ``own_state`` (int8: 0
    unknown, 1 NULL, 2 token) is 2; ``own_pid`` int32 its acquirer, 0 for NULL, -1 unknown.
    Of the ``subject`` (int32 pid): ``fpu`` int64 token where ``fpu_known`` (int8); ``last`` int32
    CPU, -1 INVALID, -2 unknown; ``tif`` int8, -1 unknown; ``kvm`` int8, 0 OUT, 1 LOADED, -1
    unknown.  ``image`` int8 of the CPU: 0 unknown, 1 user, 2 guest, 3 kernel, 4 init.
    """

    cur: NDArray[np.int32]
    win: NDArray[np.int8]
    own: NDArray[np.int64]
    own_state: NDArray[np.int8]
    own_pid: NDArray[np.int32]
    subject: NDArray[np.int32]
    fpu: NDArray[np.int64]
    fpu_known: NDArray[np.int8]
    last: NDArray[np.int32]
    tif: NDArray[np.int8]
    kvm: NDArray[np.int8]
    image: NDArray[np.int8]


class LaneCell(NamedTuple):
    """One cell of a zoomed-out lane.

    ``state``: the image the registers of that CPU held for most of the cell's time: "U" user, "G"
    guest, "K" kernel, "I" init, "." nobody's (owner NULL, or nothing ran that has FPU state), "?"
    unknown.  ``share``: the part of the cell's time in that state, 0 to 1.  ``owner``: the pid
    that owned most of that, 0 for NULL, -1 unknown.  ``finding``: the worst severity of a finding
    with an occurrence in the cell, "error" or "performance", else "".  ``loss``: "lost" when a
    hole in the CPU's events touches the cell, "unknown" when its state is unknown for part of
    the cell because of an earlier hole, else "".
    """

    state: str
    share: float
    owner: int
    finding: str = ""
    loss: str = ""


class LaneGrid(NamedTuple):
    """A window of a trace cut into equal cells: ``cells[i]`` is the lane of ``cpus[i]``.

    ``start_ns`` and ``end_ns`` bound the window, in ns of the trace's clock; every lane has the
    same number of cells, each ``(end_ns - start_ns) / len(cells[i])`` long.
    """

    start_ns: int
    end_ns: int
    cpus: tuple[int, ...]
    cells: tuple[tuple[LaneCell, ...], ...]
