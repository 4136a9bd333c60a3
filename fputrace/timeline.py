"""Who held the registers of each CPU: spans, and the facts before each event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, Protocol, overload

from fputrace.events import Kind
from fputrace.plain import PlainTuple

if TYPE_CHECKING:
    import networkx as nx
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from fputrace.lanes import LaneGrid, Marked
    from fputrace.moment import Moment


class Span(PlainTuple):
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


class Fact(IntFlag):
    """What an event shows beyond the state before it; rules select on these bits."""

    SAVED_LOADED_ENTRY = 1 << 1  # switch-out save, guest loaded: the next kvm_entry proves it
    SAVED_LOADED_OPEN = 1 << 2  # the same, settled by a kvm_fpu, a hole or the end: not proven
    ENTRY_FOREIGN = 1 << 3  # kvm_entry, registers acquired by somebody else (or nobody)
    ENTRY_ELSEWHERE = 1 << 4  # kvm_entry, registers last acquired on another CPU
    ENTRY_NOT_LOADED = 1 << 5  # kvm_entry while the guest is not loaded
    CLEAR_FOREIGN = 1 << 6  # TIF_NEED_FPU_LOAD clear, registers are somebody else's
    CLEAR_ELSEWHERE = 1 << 7  # TIF_NEED_FPU_LOAD clear, registers are on another CPU
    USER_FOREIGN = 1 << 8  # user mode with somebody else's registers
    USER_LOADED = 1 << 9  # user mode while the guest is loaded
    SAVE_NO_RESTORE = 1 << 10  # switch-out save, nothing restored since switch-in
    LIVE_NOT_SAVED = 1 << 11  # switch-out of live registers without a save (eager)
    LIVE_NOT_SAVED_QUIET = 1 << 0  # the same, but the next task printed nothing of its own
    LOAD_TWICE = 1 << 12
    UNLOAD_TWICE = 1 << 13
    RAW_FOREIGN = 1 << 14  # KVM saved registers another task had acquired
    RAW_ELSEWHERE = 1 << 15  # KVM saved registers although the task's were on another CPU
    RAW_FLAGGED = 1 << 16  # KVM saved registers although TIF_NEED_FPU_LOAD was set
    TWO_CPUS = 1 << 17  # acquired on two CPUs at once, both running it
    TWO_CPUS_OPEN = 1 << 18  # the same, but the other CPU was not seen to go on
    UNLOAD_THEN_SAVE = 1 << 19  # guest unloaded and user image saved in one switch window
    LOAD_AFTER_IN = 1 << 20  # user image restored at switch-in, saved by the next load unused
    RAW_FIRST = 1 << 22  # with RAW_*: it was the task's first activation after switch-in
    BAD_FLAG = 1 << 21  # a flag this generation cannot print
    # What probes show (fputrace.replay.probed).
    KERNEL_SAVED = 1 << 23  # switch-out save of what a kernel FPU section left, nothing restored
    KERNEL_USER = 1 << 24  # user mode on what a kernel FPU section left
    KERNEL_ENTRY = 1 << 25  # kvm_entry on what a kernel FPU section left
    KERNEL_LOADED_ENTRY = 1 << 26  # a section saved the loaded guest; the next kvm_entry proves it
    KERNEL_LOADED_OPEN = 1 << 27  # the same, settled by a kvm_fpu, a hole or the end: not proven
    SAVED_OWN_LOADED = 1 << 28  # a save to the task's own fpstate while its guest is loaded
    SAVED_GUEST_OUT = 1 << 29  # a save to the guest's fpstate while the guest is out
    PARKED_SAVED = 1 << 30  # guest saved to thread.fpu, where a probe saw the VMM's image put
    SWAP_NOT_SAVED = 1 << 31  # guest swapped in over live registers without a save
    OUT_NOT_SAVED_LOADED = 1 << 32  # switch-out of live registers without a save, guest loaded
    OUT_NOT_SAVED = 1 << 33  # the same, guest not loaded: an exec may be under way
    SWAP_NOT_RESTORED = 1 << 34  # guest swapped out and nothing restored in its place
    NESTED = 1 << 35  # kernel_fpu_begin inside a section
    NESTED_SURE = 1 << 36  # the same, and the first begin had returned
    SLEPT = 1 << 37  # sched_switch inside a section
    SLEPT_SURE = 1 << 38  # the same, the begin had returned or the task blocked
    TOO_LONG = 1 << 39  # a section longer than the limit
    BY_NAME = 1 << 40  # only the name of an event says which function its probe sits on
    # What the lives of tasks show (fputrace.replay.lives).
    CHILD_SAVED = 1 << 41  # switch-out save of a forked task that never had its registers loaded
    CHILD_USER = 1 << 42  # user mode of a forked task that never had its registers loaded
    EXEC_USER = 1 << 43  # user mode after an exec, nothing restored since
    EXEC_USER_EARLY = 1 << 44  # the same, and nothing restored since the system call either
    SIGNAL_USER = 1 << 45  # user mode after a signal was delivered, nothing restored since
    KTHREAD_ACTIVE = 1 << 46  # a kernel thread acquired registers as its own
    PTRACE_LOST = 1 << 47  # a debugger wrote the registers, and the task went on with others
    XFD_SET = 1 << 48  # a component in use that the guest's XFD switches off
    SIGFRAME = 1 << 49  # xstate_check_failed
    LAZY = 1 << 50  # registers acquired by use, long after the switch (G0)
    # What moving registers costs (fputrace.replay.costs).
    SWAP_NO_ENTRY = 1 << 51  # guest loaded and put again in a KVM_RUN that never entered it
    SWAP_NO_ENTRY_OPEN = 1 << 52  # the same, but kvm_entry may not have been recorded there
    USER_EXIT_SWAP = 1 << 53  # guest loaded, entered, and put again for an exit to the VMM
    KFPU_RELOAD = 1 << 54  # a reload of registers that were the task's, as far as events tell
    KFPU_RELOAD_PROBED = 1 << 55  # the same, and a probe saw the kernel use them
    MIGRATED_RELOAD = 1 << 56  # a restore on another CPU than the one that saved
    HALT_SWAP = 1 << 57  # a vCPU waited for an interrupt, and its registers were saved
    SAVE_UNUSED = 1 << 58  # a switch-out save that no restore ever read
    SAVE_UNUSED_OPEN = 1 << 59  # the same, but the restore may have been done
    STICKY = 1 << 60  # AVX-512 or AMX in use at every one of many saves
    LOAD_AFTER_SKIPPED = 1 << 61  # LOAD_AFTER_IN, but its restore was skipped: only the save
    UNTOLD = 1 << 62  # beside others: the switch that should show what is missing shows nothing


class Facts(PlainTuple):
    """The state before each row of a block (docs/model.md); undefined on marks.

    All arrays have the block's length.  ``cur``: int32 pid, -1 unknown.  ``win``: int8, 0 none,
    1 open, 2 unknown.  ``own``: int64 token (two's complement), valid where ``own_state`` (int8: 0
    unknown, 1 NULL, 2 token) is 2; ``own_pid`` int32 its acquirer, 0 for NULL, -1 unknown.
    Of the ``subject`` (int32 pid): ``fpu`` int64 token where ``fpu_known`` (int8); ``last`` int32
    CPU, -1 INVALID, -2 unknown; ``tif`` int8, -1 unknown; ``kvm`` int8, 0 OUT, 1 LOADED, -1
    unknown.  ``image`` int8 of the CPU: 0 unknown, 1 user, 2 guest, 3 kernel, 4 init, 5
    user as far as can be told (no KVM event of the task was ever seen).
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


IMAGES = ("unknown", "user", "guest", "kernel", "init")
"""Names of ``Facts.image`` values."""

CERTAINTIES = ("unknown", "inferred", "known")

SPAN_COLUMNS = (
    "cpu", "start_ns", "end_ns", "pid", "owner", "image", "certainty", "ended_by", "saved", "bytes",
)  # fmt: skip
"""Columns of a span table (int64[n, 10]): as :class:`Span`, ``image`` and ``certainty`` as indices
into ``IMAGES`` and ``CERTAINTIES``; ``ended_by`` is the Kind of the event that ended the span, 0
when nothing did; ``saved`` is 1 when a regs_deactivated lies in it; ``bytes`` is what its
regs_activated and regs_deactivated moved, by their ``xfeatures`` (see ``fputrace.pricing``)."""


class Col:
    """``SPAN_COLUMNS`` by number."""

    (
        CPU, START, END, PID, OWNER, IMAGE, CERTAINTY, BY, SAVED, BYTES,
    ) = range(len(SPAN_COLUMNS))  # fmt: skip


def _no_spans() -> NDArray[np.int64]:
    import numpy as np

    return np.zeros((0, len(SPAN_COLUMNS)), dtype=np.int64)


def as_spans(table: NDArray[np.int64]) -> tuple[Span, ...]:
    """A span table as values."""
    return tuple(
        Span(cpu, start, end, pid, owner, IMAGES[image], CERTAINTIES[certainty])
        for cpu, start, end, pid, owner, image, certainty in table[:, : Col.CERTAINTY + 1].tolist()
    )


class Spans(Sequence[Span]):
    """A span table as values that are made when somebody looks at them."""

    def __init__(self, table: NDArray[np.int64]) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Span: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Span, ...]: ...

    def __getitem__(self, index: int | slice) -> Span | tuple[Span, ...]:
        return as_spans(self._table)[index]

    def __iter__(self) -> Iterator[Span]:
        return iter(as_spans(self._table))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


class Event(Protocol):
    """An event of a proof, as far as the graph needs it (`fputrace.findings.WitnessEvent`)."""

    @property
    def ns(self) -> int:
        """Time, ns."""

    @property
    def cpu(self) -> int:
        """The CPU it came from."""

    @property
    def pid(self) -> int:
        """``common_pid``."""


class Occurrence(Protocol):
    """One occurrence with its proof (`fputrace.findings.Witness`)."""

    @property
    def events(self) -> Sequence[Event]:
        """In time order."""


class Proven(Protocol):
    """What has witnesses (`fputrace.findings.Finding`)."""

    @property
    def witnesses(self) -> Sequence[Occurrence]:
        """A few of its occurrences."""


_MOVED = {
    Kind.REGS_ACTIVATED: "restore",
    Kind.REGS_DEACTIVATED: "save",
    Kind.DROPPED: "drop",
    Kind.SCHED_SWITCH: "switch",
}


def _ending(span: Span, by: int, after: Span | None) -> str:
    """What ended a span: ``by`` is the Kind of the event, ``after`` what followed at once."""
    if after is not None and after.pid != span.pid:
        return "switch" if span.pid >= 0 and after.pid >= 0 else ""
    if by == Kind.KVM_FPU and after is not None:
        return "load" if after.image == "guest" else "unload"
    return _MOVED.get(Kind(by), "")


def moves(
    tables: Iterable[NDArray[np.int64]],
) -> tuple[dict[tuple[str, str], tuple[int, int, int]], dict[str, int]]:
    """What :meth:`Timeline.summary_graph` tells, of span tables in time order.

    (Image, next one on that CPU) -> count, bytes and ns, by image; and image -> ns.
    """
    import numpy as np

    images = len(IMAGES)
    sums = np.zeros((images * images, 3), dtype=np.int64)
    spent = np.zeros(images, dtype=np.int64)
    last = _no_spans()
    for table in tables:
        if not len(table):
            continue
        np.add.at(spent, table[:, Col.IMAGE], table[:, Col.END] - table[:, Col.START])
        rows = np.concatenate([last, table])
        rows = rows[np.argsort(rows[:, Col.CPU], kind="stable")]
        new = np.diff(rows[:, Col.CPU]) != 0
        last = rows[np.append(new, True)]
        earlier, later = rows[:-1][~new], rows[1:][~new]
        pair = earlier[:, Col.IMAGE] * images + later[:, Col.IMAGE]
        np.add.at(sums[:, 0], pair, 1)
        np.add.at(sums[:, 1], pair, earlier[:, Col.BYTES])
        np.add.at(sums[:, 2], pair, earlier[:, Col.END] - earlier[:, Col.START])
    return {
        (IMAGES[pair // images], IMAGES[pair % images]): (count, moved, ns)
        for pair, (count, moved, ns) in enumerate(sums.tolist())
        if count
    }, dict(zip(IMAGES, spent.tolist(), strict=True))


class Timeline:
    """Ownership of the registers over a whole trace; every call reads the trace anew.

    Nothing is kept: memory depends on the answer, not on the trace.  ``tables`` is a function that
    yields span tables (see ``SPAN_COLUMNS``) of one pass, ``stays`` one that yields tables of stays
    (:mod:`fputrace.tasks`); ``marks`` gives findings and holes; ``freeze`` what was known at a time
    (:func:`fputrace.freeze.freeze`).
    """

    def __init__(
        self,
        tables: Callable[[], Iterator[NDArray[np.int64]]],
        bounds: tuple[int | None, int | None],
        cpus: Sequence[int],
        marks: Callable[[], Iterable[Marked]],
        comms: Callable[[], dict[int, str]],
        stays: Callable[[], Iterator[NDArray[np.int64]]],
        freeze: Callable[[int | None, int], Moment],
        in_ns: bool = True,
    ) -> None:
        self._freeze = freeze
        self._tables = tables
        self._stays = stays
        self.in_ns = in_ns
        """The clock counts ns; else times are its ticks."""
        self.start_ns, self.end_ns = bounds
        self.cpus = tuple(cpus)
        self.marks = marks
        """Where findings occurred, and holes: a function, in no order."""
        self._comms = comms

    def tables(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        cpus: Iterable[int] | None = None,
    ) -> Iterator[NDArray[np.int64]]:
        """One pass: tables (``SPAN_COLUMNS``) of the spans that overlap a window.

        The spans of a CPU come in time order.  Raises ReadError when the file fails meanwhile.
        """
        import numpy as np

        low = -(1 << 62) if start_ns is None else start_ns
        high = (1 << 62) if end_ns is None else end_ns
        wanted = None if cpus is None else np.fromiter(cpus, dtype=np.int64)
        for table in self._tables():
            keep = (table[:, Col.END] > low) & (table[:, Col.START] < high)
            if wanted is not None:
                keep &= np.isin(table[:, Col.CPU], wanted)
            yield table[keep]

    def spans(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        cpus: Iterable[int] | None = None,
    ) -> pd.DataFrame:
        """Spans that overlap a window, by CPU and time.

        Spans are whole: the first and last of a window reach beyond it.  Columns as :class:`Span`,
        and ``ended_by``, the :class:`~fputrace.events.Kind` of the event that ended it (0: none
        did); ``saved``, whether a regs_deactivated lies in it; ``bytes``, what its saves and
        restores moved as far as events tell their ``xfeatures``.  Times in ns.  Raises ReadError
        when the file fails meanwhile.
        """
        import numpy as np
        import pandas as pd

        table = np.concatenate([_no_spans(), *self.tables(start_ns, end_ns, cpus)])
        frame = pd.DataFrame(table, columns=list(SPAN_COLUMNS)).astype({"saved": bool})
        frame["image"] = [IMAGES[i] for i in table[:, Col.IMAGE]]
        frame["certainty"] = [CERTAINTIES[i] for i in table[:, Col.CERTAINTY]]
        return frame.sort_values(["cpu", "start_ns"], ignore_index=True)

    def task_tables(
        self, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """What is known of each task over time: int64[n, 6], see ``fputrace.tasks.STAY_COLUMNS``.

        Each task's stays are in time order; those that overlap the window, whole.  Raises
        ReadError when the file fails meanwhile.
        """
        low = -(1 << 62) if start_ns is None else start_ns
        high = (1 << 62) if end_ns is None else end_ns
        for table in self._stays():
            yield table[(table[:, 2] > low) & (table[:, 1] < high)]

    def graph(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        finding: Proven | None = None,
        spans: Sequence[Span] | None = None,
    ) -> nx.MultiDiGraph[int]:
        """Spans of a window, of the evidence of one finding, or the given ones, as a graph.

        Of a finding: from the first to the last event of each witness, the spans of their CPUs and
        of their tasks.

        Nodes are numbered by start and CPU; attributes: those of :class:`Span`, ``comm``, and
        ``events``, the finding's evidence that lies in the span.  Edges have the key
        ``next_on_cpu`` or ``next_of_task`` (never of idle, pid 0) and two attributes.  ``moved``
        says what ended the earlier span: "switch" where another task runs next (on a
        ``next_of_task`` edge "save" when the switch saved its registers), else "restore", "save",
        "load", "unload" or "drop" by its event, "" where none of these did or nobody
        knows.  ``gap_ns`` is the time between the two.  Raises ReadError when the file fails.
        """
        import networkx as nx

        rows: list[tuple[Span, int, int]] = []
        if spans is not None:
            rows = [(span, 0, 0) for span in spans]
        else:
            wanted = self.tables(start_ns, end_ns, None)
            for table in wanted if finding is None else self._evidence(finding):
                by, saved = table[:, Col.BY].tolist(), table[:, Col.SAVED].tolist()
                rows += zip(as_spans(table), by, saved, strict=True)
        rows.sort(key=lambda row: (row[0].start_ns, row[0].cpu))
        events = [event for one in finding.witnesses for event in one.events] if finding else []
        comms = self._comms()
        graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        for number, (span, _by, _saved) in enumerate(rows):
            within = tuple(
                e for e in events if e.cpu == span.cpu and span.start_ns < e.ns <= span.end_ns
            )
            graph.add_node(number, **span._asdict(), comm=comms.get(span.pid, ""), events=within)

        after: dict[int, int] = {}
        for key in ("next_on_cpu", "next_of_task"):
            latest: dict[int, int] = {}
            for number, (span, _by, _saved) in enumerate(rows):
                of = span.cpu if key == "next_on_cpu" else span.pid
                before = latest.get(of)
                latest[of] = number
                if before is None or (key == "next_of_task" and of <= 0):
                    continue
                earlier, by, saved = rows[before]
                gap = span.start_ns - earlier.end_ns
                if key == "next_on_cpu" and gap == 0:
                    after[before] = number
                neighbour = rows[after[before]][0] if before in after else None
                moved = _ending(earlier, by, neighbour)
                if key == "next_of_task" and moved == "switch" and saved:
                    moved = "save"
                graph.add_edge(before, number, key=key, moved=moved, gap_ns=gap)
        return graph

    def _evidence(self, finding: Proven) -> Iterator[NDArray[np.int64]]:
        """Spans from the first to the last event of each witness, of their CPUs and tasks."""
        import numpy as np

        for table in self._tables():
            keep = np.zeros(len(table), dtype=bool)
            for witness in finding.witnesses:
                times = [event.ns for event in witness.events]
                during = (table[:, Col.END] >= min(times)) & (table[:, Col.START] <= max(times))
                cpus = [event.cpu for event in witness.events]
                pids = [event.pid for event in witness.events if event.pid > 0]
                keep |= during & (
                    np.isin(table[:, Col.CPU], cpus) | np.isin(table[:, Col.PID], pids)
                )
            yield table[keep]

    def summary_graph(self) -> nx.MultiDiGraph[str]:
        """The whole trace as one small graph.

        Nodes are register images ("user", "guest", …) with ``ns``, the time all CPUs spent in
        them.  An edge (key ``next_on_cpu``) says how often a span with one image was followed by
        one with the other on its CPU (``count``), the bytes that saves and restores moved in those
        earlier spans (``bytes``) and how long they were (``ns``).  Raises ReadError when the file
        fails.
        """
        import networkx as nx

        found, spent = moves(self._tables())
        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        for image, ns in spent.items():
            graph.add_node(image, ns=ns)
        for (before, after), (count, moved, ns) in found.items():
            graph.add_edge(before, after, "next_on_cpu", count=count, bytes=moved, ns=ns)
        return graph

    def lanes(
        self,
        start_ns: int,
        end_ns: int,
        width: int,
        cpus: Sequence[int] | None = None,
        owners: Collection[int] | None = None,
    ) -> LaneGrid:
        """The window cut into ``width`` cells a CPU, each with its dominant state and marks.

        With ``owners`` (pids) only what these tasks hold is told; the marks are of every task.
        Raises ReadError when the file fails.
        """
        chosen = self.cpus if cpus is None else tuple(cpus)
        from fputrace.lanes import LaneCounter

        counter = LaneCounter(start_ns, end_ns, width, chosen, owners)
        for table in self.tables(start_ns, end_ns, chosen):
            counter.add(table[:, [Col.CPU, Col.START, Col.END, Col.OWNER, Col.IMAGE]])
        return counter.grid(self.marks())

    def plot(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        cpus: Sequence[int] | None = None,
        *,
        ax: Axes | None = None,
        width: int = 1200,
    ) -> Axes:
        """The lanes of a window (None: of the whole trace) drawn by matplotlib, an extra.

        ``width`` is how many cells a lane is cut into; ``ax`` where to draw, else on a new figure.
        Raises UsageError when matplotlib is not installed, ReadError when the file fails.
        """
        from fputrace.reports.figure import draw

        low = (self.start_ns or 0) if start_ns is None else start_ns
        high = (self.end_ns or 0) + 1 if end_ns is None else end_ns
        return draw(self.lanes(low, high, width, cpus), self.in_ns, ax)

    def at(self, ns: int | None = None, around: int = 0) -> Moment:
        """Every CPU and task after the last event at or before ``ns``; None: at the end.

        ``around``: how many events of each CPU before and after to give.  Raises ReadError when the
        file fails.
        """
        return self._freeze(ns, around)
