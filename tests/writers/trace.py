"""The writer that scenario tests use: events by name, a file out."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.writers.container import (
    CMDLINES,
    CPUCOUNT,
    CPUSTAT,
    DATE,
    EVENTS,
    FTRACE,
    GUEST,
    HEADERS,
    KALLSYMS,
    OFFSET,
    PRINTK,
    TIME_SHIFT,
    TRACECLOCK,
    TSC2NSEC,
    UNAME,
    Buffer,
    Compression,
    TraceFile,
    clock_text,
)
from tests.writers.formats import (
    KERNELS,
    PLAIN,
    USER_MODE,
    Common,
    EventSpec,
    Layout,
    formats_for,
)
from tests.writers.pages import Endian, PageBuilder, Stamp, header_size

FIRST_ID = 100
_HEADER_EVENT = """\
# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
"""


class TraceWriter:
    """Collects events per CPU and writes them as a trace.dat.

    >>> w = TraceWriter(kernel="5.2.1", comms={1: "qemu"})
    >>> w.event(0, 1000, 1, "sched_switch", prev_pid=1, next_pid=2, next_comm="fphog")
    >>> w.loss(0, count=12)
    >>> w.event(0, 2000, 2, "x86_fpu_regs_activated", fpu=0xFFFF8880B7C18880, flag=1)
    >>> path = w.write(tmp_path / "trace.dat", version=7, compression="zstd")  # doctest: +SKIP

    Parameters
    ----------
    kernel : the release in the UNAME option.
    generation_formats : which of ``formats.KERNELS`` describes the events; by ``kernel`` if None.
    cpus : how many CPUs (0, 1, …) or their sparse ids.
    clock : the ``trace_clock`` in use.
    comms : pid -> command name, for the saved command lines (the names in ``sched_switch`` and
        its kin are whatever the event is given).
    extra_events : further events the file describes; ``formats.USER_MODE`` always are.
    without : names of events the file does not describe.
    common : ``PLAIN``, ``RT`` or an own shape of the ``common_`` fields.
    kallsyms : text, lines ``ADDR TYPE NAME``.

    Unspecified fields are 0 or "".  Every file has CPUSTAT (whose overrun is the sum of the counted
    losses unless :attr:`stats` says otherwise), TRACECLOCK, UNAME and CPUCOUNT; further options
    are appended by :meth:`option` and the methods named after them.
    """

    def __init__(
        self,
        kernel: str = "6.12.0",
        *,
        generation_formats: str | None = None,
        cpus: int | Iterable[int] = 2,
        clock: str = "mono",
        endian: Endian = "little",
        long_size: int = 8,
        page_size: int = 4096,
        comms: Mapping[int, str] | None = None,
        extra_events: Iterable[EventSpec] = (),
        without: Iterable[str] = (),
        common: Common = PLAIN,
        kallsyms: str = "",
        machine: str = "x86_64",
    ):
        self.kernel, self.clock, self.machine = kernel, clock, machine
        self.endian: Endian = endian
        self.long_size, self.page_size = long_size, page_size
        self.cpus = list(range(cpus)) if isinstance(cpus, int) else list(cpus)
        self.comms = dict(comms or {})
        self.kallsyms = kallsyms
        self.stats: dict[int, dict[str, int]] = {}
        self.options: list[tuple[int, bytes]] = []
        self.counts: dict[int, int] = dict.fromkeys(self.cpus, 0)
        self._lost: dict[int, int] = dict.fromkeys(self.cpus, 0)
        self._builders: dict[str, dict[int, PageBuilder]] = {}
        self.instance_clocks: dict[str, str] = {}
        self.instance("")
        spec = KERNELS[generation_formats or formats_for(kernel)]
        self.layouts: dict[str, Layout] = {}
        for number, event in enumerate([*spec.events, *USER_MODE, *extra_events]):
            if event.name in without or f"{event.system}:{event.name}" in without:
                continue
            self.layouts[event.name] = self.layouts[f"{event.system}:{event.name}"] = Layout(
                event,
                FIRST_ID + number,
                endian=endian,
                long_size=long_size,
                common=common,
                char_signed=spec.char_signed,
            )

    # --- what happens on a CPU -----------------------------------------------------------------

    def event(
        self,
        cpu: int,
        ts: int,
        pid: int,
        name: str,
        /,
        *,
        common_flags: int = 0,
        common_preempt_count: int = 0,
        stamp: Stamp = "auto",
        length_word: bool = False,
        instance: str = "",
        cut: int | None = None,
        **fields: Any,
    ) -> None:
        """One event at ``ts`` (ns), with ``pid`` as ``common_pid`` and the kernel's field names.

        For ``x86_fpu`` events ``flag`` means ``load_fpu`` or ``initialized``, whichever this
        kernel has.  ``stamp`` and ``length_word`` as in :meth:`PageBuilder.event`.  ``cut`` keeps
        only that many bytes of the record.
        """
        layout = self.layouts[name]
        if "flag" in fields and layout.spec.system == "x86_fpu":
            fields[layout.fields[1].field.name] = fields.pop("flag")
        record = layout.pack(
            {
                "common_flags": common_flags,
                "common_preempt_count": common_preempt_count,
                "common_pid": pid,
                **fields,
            }
        )
        self.builder(cpu, instance).event(ts, record[:cut], stamp=stamp, length_word=length_word)
        if not instance:
            self.counts[cpu] += 1

    def loss(self, cpu: int, count: int | None = None, instance: str = "") -> None:
        """Events were lost on ``cpu`` here: the next page says so, with the count if given."""
        self.builder(cpu, instance).lost(count)
        if not instance:
            self._lost[cpu] += count or 0

    def page(self, cpu: int, instance: str = "") -> None:
        """End the page that ``cpu`` is writing."""
        self.builder(cpu, instance).end_page()

    def builder(self, cpu: int, instance: str = "") -> PageBuilder:
        """The page builder of ``cpu``, for record shapes that have no method here."""
        return self._builders[instance][cpu]

    # --- the rest of the file ------------------------------------------------------------------

    def instance(self, name: str, clock: str | None = None) -> None:
        """Add a further buffer (``tracing/instances/NAME``)."""
        self.instance_clocks[name] = clock or self.clock
        self._builders[name] = {
            cpu: PageBuilder(self.endian, self.long_size, self.page_size) for cpu in self.cpus
        }

    def option(self, number: int, data: bytes) -> None:
        """Append an option of any kind."""
        self.options.append((number, data))

    def date(self, microseconds: int) -> None:
        """DATE: added to every time stamp."""
        self.option(DATE, f"{microseconds:#x}".encode() + b"\0")

    def offset(self, ns: int) -> None:
        """OFFSET (``--ts-offset``): added to every time stamp."""
        self.option(OFFSET, f"{ns}".encode() + b"\0")

    def tsc2nsec(self, mult: int, shift: int, offset: int = 0) -> None:
        """TSC2NSEC: how ticks become ns."""
        self.option(TSC2NSEC, self._pack("IIQ", mult, shift, offset))

    def guest(self, name: str, trace_id: int, threads: Mapping[int, int]) -> None:
        """GUEST: which host thread (TID) runs which vCPU of a guest."""
        rows = b"".join(self._pack("II", vcpu, tid) for vcpu, tid in threads.items())
        self.option(
            GUEST,
            name.encode()
            + b"\0"
            + self._pack("Q", trace_id)
            + self._pack("I", len(threads))
            + rows,
        )

    def time_shift(
        self,
        peer: int,
        samples: Mapping[int, list[tuple[int, int, int]]],
        *,
        interpolate: bool = False,
        fractions: Mapping[int, list[int]] | None = None,
    ) -> None:
        """TIME_SHIFT: per CPU samples of (time, offset, scaling) against the peer's clock."""
        data = self._pack("QII", peer, int(interpolate), len(samples))
        for rows in samples.values():
            times, offsets, scalings = zip(*rows, strict=True)
            n = len(rows)
            data += self._pack("I", n) + self._pack(f"{n}q", *times)
            data += self._pack(f"{n}q", *offsets) + self._pack(f"{n}Q", *scalings)
        for cpu in samples if fractions is not None else ():
            data += self._pack(f"{len(samples[cpu])}Q", *(fractions or {})[cpu])
        self.option(TIME_SHIFT, data)

    def file(self) -> TraceFile:
        """Everything collected so far, as the pieces of a file."""
        trace = TraceFile(self.endian, self.long_size, self.page_size)
        data_size = self.page_size - header_size(self.long_size)
        header_page = (
            "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
            f"\tfield: local_t commit;\toffset:8;\tsize:{self.long_size};\tsigned:1;\n"
            "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
            f"\tfield: char data;\toffset:{header_size(self.long_size)};"
            f"\tsize:{data_size};\tsigned:1;\n"
        )
        trace.blocks[HEADERS] = b"".join(
            name + b"\0" + self._text(text.encode(), 8)
            for name, text in ((b"header_page", header_page), (b"header_event", _HEADER_EVENT))
        )
        trace.blocks[FTRACE] = self._pack("I", 0)
        trace.blocks[EVENTS] = self._events()
        trace.blocks[KALLSYMS] = self._text(self.kallsyms.encode(), 4)
        trace.blocks[PRINTK] = self._text(b"", 4)
        lines = "".join(f"{pid} {comm}\n" for pid, comm in self.comms.items())
        trace.blocks[CMDLINES] = self._text(lines.encode(), 8)
        trace.options = [
            (TRACECLOCK, clock_text(self.clock)),
            (UNAME, f"Linux host {self.kernel} {self.machine}".encode() + b"\0"),
            *((CPUSTAT, self._cpustat(cpu)) for cpu in self.cpus),
            (CPUCOUNT, self._pack("I", max(self.cpus) + 1)),
            *self.options,
        ]
        trace.buffers = [
            Buffer(
                name,
                self.instance_clocks[name],
                self.page_size,
                {cpu: builder.finish() for cpu, builder in builders.items()},
            )
            for name, builders in self._builders.items()
        ]
        return trace

    def write(
        self,
        path: Path,
        version: int = 7,
        compression: Compression = "none",
        option_sections: int = 1,
    ) -> Path:
        """Write the file and return ``path``; ``compression`` counts in version 7 only."""
        path.write_bytes(self.file().to_bytes(version, compression, option_sections))
        return path

    def _events(self) -> bytes:
        systems: dict[str, list[Layout]] = {}
        for key, layout in self.layouts.items():
            if ":" in key:
                systems.setdefault(layout.spec.system, []).append(layout)
        out = self._pack("I", len(systems))
        for system, layouts in systems.items():
            out += system.encode() + b"\0" + self._pack("I", len(layouts))
            out += b"".join(self._text(layout.text.encode(), 8) for layout in layouts)
        return out

    def _cpustat(self, cpu: int) -> bytes:
        stats = {
            "entries": 0,
            "overrun": self._lost[cpu],
            "commit overrun": 0,
            "bytes": 0,
            "dropped events": 0,
            "read events": self.counts[cpu],
            **self.stats.get(cpu, {}),
        }
        lines = [f"CPU: {cpu}", *(f"{name}: {value}" for name, value in stats.items())]
        return "\n".join(lines).encode() + b"\n\0"

    def _text(self, text: bytes, size: int) -> bytes:
        return len(text).to_bytes(size, self.endian) + text

    def _pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(("<" if self.endian == "little" else ">") + layout, *values)
