"""read(write(events)) == events, over every page shape, byte order, word size and version."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fputrace.events import Kind
from tests.parsers.rows import read_all
from tests.writers import PLAIN, RT, Common, EventSpec, TraceWriter

SHAPES = EventSpec(
    "test",
    "shapes",
    (
        "u8 a",
        "s64 b",
        "short c",
        "char text[16]",
        "__data_loc char[] words",
        "bool flag",
        "enum task_kind kind",
        "unsigned long many[3]",
        "__rel_loc char[] more",
        "long word",
        "void * pointer",
        "__data_loc u32[] numbers",
        "u16 last",
    ),
)
ODD_GAP = Common(("unsigned char common_padding",), 16)

# Names are what people call threads: anything but NUL.
_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


def _signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)


def _unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


def shapes(long_size: int) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    word = 8 * long_size
    return st.tuples(
        st.just("test:shapes"),
        st.fixed_dictionaries(
            {
                "a": _unsigned(8),
                "b": _signed(64),
                "c": _signed(16),
                "text": _text.filter(lambda t: len(t.encode()) < 16),
                "words": st.text("abc /", max_size=150),
                "flag": st.integers(0, 1),
                "kind": _unsigned(32),
                "many": st.tuples(*[_unsigned(word)] * 3),
                "more": _text,
                "word": _signed(word),
                "pointer": _unsigned(word),
                "numbers": st.lists(_unsigned(32), max_size=4).map(tuple),
                "last": _unsigned(16),
            }
        ),
    )


def known(long_size: int) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Events that the tool acts upon."""
    word = 8 * long_size
    return st.one_of(
        st.tuples(
            st.just("x86_fpu:x86_fpu_regs_activated"),
            st.fixed_dictionaries(
                {"fpu": _unsigned(word), "flag": st.integers(0, 1), "xfeatures": _unsigned(64)}
            ),
        ),
        st.tuples(
            st.just("sched:sched_switch"),
            st.fixed_dictionaries(
                {"prev_pid": _signed(32), "next_pid": _signed(32), "prev_state": _signed(word)}
            ),
        ),
        st.tuples(st.just("kvm:kvm_fpu"), st.fixed_dictionaries({"load": st.integers(0, 1)})),
        st.tuples(
            st.just("sched:sched_process_exec"),
            st.fixed_dictionaries({"filename": _text, "pid": _signed(32)}),
        ),
    )


@dataclass
class Told:
    """What was written: events as (ts, cpu, pid, flags, name, fields), and holes per CPU."""

    rows: list[tuple[int, int, int, int, str, dict[str, Any]]] = field(default_factory=list)
    holes: list[tuple[int, int | None, int | None, int | None]] = field(default_factory=list)


# Steps of time: none, a few, and beyond what 27 bits hold.
_delta = st.one_of(st.just(0), st.integers(1, 5000), st.integers((1 << 27) - 2, 1 << 40))


@st.composite
def recordings(draw: st.DrawFn) -> tuple[TraceWriter, Told, int, Any, int]:
    long_size = draw(st.sampled_from([4, 8]))
    cpus = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=4)))
    w = TraceWriter(
        draw(st.sampled_from(["4.14.5", "5.2.1", "5.10.0", "6.1.9", "6.12.1", "7.2.0"])),
        cpus=cpus,
        endian=draw(st.sampled_from(["little", "big"])),
        long_size=long_size,
        page_size=draw(st.sampled_from([4096, 8192, 16384, 65536])),
        common=draw(st.sampled_from([PLAIN, RT, ODD_GAP])),
        extra_events=[SHAPES],
    )
    told = Told()
    for cpu in cpus:
        # Statistics that know of losses would count the holes that the pages do not.
        w.stats[cpu] = {"overrun": 0}
        _draw_cpu(draw, w, told, cpu, long_size)
    told.rows.sort(key=lambda row: row[:2])
    version = draw(st.sampled_from([6, 7]))
    compression = draw(st.sampled_from(["none", "zlib", "zstd"])) if version == 7 else "none"
    return w, told, version, compression, draw(st.integers(1, 4))


def _draw_cpu(draw: st.DrawFn, w: TraceWriter, told: Told, cpu: int, long_size: int) -> None:
    builder = w.builder(cpu)
    # Also beyond 59 bits, where absolute stamps need the five bits of the time before.
    now = draw(st.sampled_from([0, 1000, (1 << 59) + 12345, (1 << 61) + 7]))
    last: int | None = None
    hole: list[int | None] | None = None
    for _ in range(draw(st.integers(0, 25))):
        step = draw(
            st.sampled_from(
                ["event"] * 8
                + ["absolute", "extend", "loss", "page", "discard", "time", "pad"]
                + ["early", "empty"]
            )
        )
        now += draw(_delta)
        if step == "loss":
            count = draw(st.one_of(st.none(), st.integers(1, (1 << 31) - 1)))
            w.loss(cpu, count)
            hole = [*(hole or []), count]
            if draw(st.booleans()):
                # A page that lost events and has none itself.
                builder.open_page(now)
                builder.end_page()
        elif step == "page":
            builder.end_page()
        elif step == "discard":
            builder.discard(now, 4 * draw(st.integers(1, 30)))
            now = builder.last_ts
        elif step == "time":
            builder.time_only(now)
        elif step == "pad":
            builder.pad()
        elif step == "early":
            builder.open_page(now)
        elif step == "empty":
            builder.open_page(now)
            builder.end_page()
        else:
            name, fields = draw(st.one_of(shapes(long_size), known(long_size)))
            pid, flags, preempt = draw(_signed(32)), draw(_unsigned(8)), draw(_unsigned(8))
            stamp: Any = {"event": "auto"}.get(step, step)
            if stamp == "absolute" and now >> 59 != builder.last_ts >> 59:
                builder.open_page(now)
            w.event(
                cpu,
                now,
                pid,
                name,
                common_flags=flags,
                common_preempt_count=preempt,
                stamp=stamp,
                length_word=draw(st.booleans()),
                **fields,
            )
            if hole is not None:
                told.holes.append((cpu, last, now, _total(hole)))
                hole = None
            told.rows.append((now, cpu, pid, flags | preempt << 8, name, fields))
            last = now
    if hole is not None:
        told.holes.append((cpu, last, None, _total(hole)))


def _total(counts: list[int | None]) -> int | None:
    return None if None in counts else sum(count or 0 for count in counts)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(recordings())
def test_reading_gives_what_was_written(made: tuple[TraceWriter, Told, int, Any, int]) -> None:
    w, told, version, compression, sections = made
    with tempfile.TemporaryDirectory() as folder:
        path = w.write(Path(folder) / "trace.dat", version, compression, sections)
        mine = read_all(path)
    assert [row[:5] for row in mine.rows] == [row[:5] for row in told.rows]
    for row, (*_, written) in zip(mine.rows, told.rows, strict=True):
        layout = w.layouts[row.name]
        pointers = {p.field.name for p in layout.fields if "*" in p.field.ctype}
        for name, value in written.items():
            real = layout.fields[1].field.name if name == "flag" and "x86" in row.name else name
            got = row.fields[real]
            if real in pointers:
                assert got == hex(value)
            else:
                assert got == value, (row, real)
        # What was not given was written as 0.
        for placed in layout.fields:
            assert placed.field.name in row.fields
    trace = mine.trace
    assert Counter(loss[:4] for loss in trace.losses if loss.placed) == Counter(told.holes)
    assert trace.kernel == w.kernel
    assert trace.clock == "mono"
    assert trace.counts == {
        name: sum(row[4] == name for row in told.rows) for name in {row[4] for row in told.rows}
    }
    assert trace.first_ns == (told.rows[0][0] if told.rows else None)
    assert trace.last_ns == (told.rows[-1][0] if told.rows else None)
    # A hole between two events is marked at both ends, and every CPU ends where its data does.
    inner = [hole for hole in told.holes if hole[1] is not None and hole[2] is not None]
    ends = [(ts, cpu) for ts, cpu, kind in mine.marks if kind == Kind.LOSS_END]
    assert {(before, cpu) for cpu, _, before, _ in inner} <= set(ends)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(recordings())
def test_a_second_pass_gives_the_same(made: tuple[TraceWriter, Told, int, Any, int]) -> None:
    from fputrace.parsers import open_trace

    w, told, version, compression, sections = made
    with tempfile.TemporaryDirectory() as folder:
        path = w.write(Path(folder) / "trace.dat", version, compression, sections)
        with open_trace(path) as trace:
            passes = [
                (
                    [(block.ts.tolist(), block.event.tolist()) for block in trace.blocks()],
                    list(trace.losses),
                    dict(trace.counts),
                )
                for _ in range(2)
            ]
    assert passes[0] == passes[1]
    assert sum(passes[0][2].values()) == len(told.rows)
