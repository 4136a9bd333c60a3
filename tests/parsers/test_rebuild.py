"""Pages made here are read as the kernel's are, and hold what was put into them."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fputrace.errors import FormatError, ReadError
from fputrace.events import EventFormat, FormatField, Kind, Loss, Trace
from fputrace.parsers.rebuild import (
    LARGEST_RECORD,
    MadePages,
    PageWriter,
    Parts,
    Spool,
    add_after_passes,
    open_parts,
    pieces_of,
    spooled,
)
from fputrace.parsers.source import Source
from tests.tools.records import Shape, lost_before, records

LITTLE = Shape("little", 8)
PAGE = 4096
LOAD = EventFormat("kvm", "kvm_fpu", 9, (FormatField("load", "u32", 8, 4, False, False, ""),))


def spool() -> Spool:
    made = Spool("user.file")
    made.allowed = 1 << 24
    return made


def kvm_fpu(pid: int, load: int) -> bytes:
    return (9).to_bytes(4, "little") + pid.to_bytes(4, "little") + load.to_bytes(4, "little")


def split(data: bytes) -> list[bytes]:
    return [data[at : at + PAGE] for at in range(0, len(data), PAGE)]


def written(writer: PageWriter, made: Spool) -> list[bytes]:
    writer.finish()
    source = MadePages(made.finish(), "user.file", {0: writer})
    try:
        return split(source.read(0, source.size, "pages"))
    finally:
        source.close()


_step = st.one_of(st.integers(0, 5000), st.integers((1 << 27) - 2, 1 << 40), st.just(1 << 60))
_record = st.tuples(_step, st.binary(min_size=8, max_size=300), st.booleans())


@settings(max_examples=80, deadline=None)
@given(st.lists(_record, max_size=60))
def test_records_come_back(told: list[tuple[int, bytes, bool]]) -> None:
    made = spool()
    writer = PageWriter(made)
    now = 0
    expected = []
    lost = []
    for step, payload, missing in told:
        now = min(now + step, (1 << 62) - 1)
        if missing:
            writer.lost(0)
        writer.record(now, payload, 0)
        expected.append((now, payload.ljust(-(-len(payload) // 4) * 4, b"\0")))
        lost.append(missing)
    got = []
    seen = []
    for page in written(writer, made):
        missed = lost_before(page, LITTLE) != 0
        for record in records(page, LITTLE):
            if record.data is not None:
                got.append((record.ts, record.data))
                seen.append(missed)
                missed = False
    assert got == expected
    assert seen == lost


def test_time_may_go_back() -> None:
    made = spool()
    writer = PageWriter(made)
    times = [5000, 4000, (1 << 60) + 7, 3000]
    for ts in times:
        writer.record(ts, bytes(8), 0)
    got = [one.ts for page in written(writer, made) for one in records(page, LITTLE) if one.data]
    assert got == times


def test_the_largest_record_fits() -> None:
    made = spool()
    writer = PageWriter(made)
    for _ in range(3):
        writer.lost(0)
        writer.record(1, bytes(LARGEST_RECORD), 0)
    assert len(written(writer, made)) == 3


def test_every_loss_is_told_once() -> None:
    """Also where each page has one record, and behind the last one."""
    made = spool()
    writer = PageWriter(made)
    for ts in range(5):
        writer.lost(ts)
        writer.lost(100 + ts)
        writer.record(ts, bytes(8), ts)
    writer.lost(77)
    pages = written(writer, made)
    assert [lost_before(page, LITTLE) for page in pages] == [None] * 6
    assert list(writer.origins) == [0, 1, 2, 3, 4, 77]


def test_pages_of_several_cpus_are_put_in_order() -> None:
    made = spool()
    writers = {cpu: PageWriter(made) for cpu in (3, 1, 8)}
    chosen = random.Random(5)
    for ts in range(2000):
        cpu = chosen.choice([3, 1])
        writers[cpu].record(ts, kvm_fpu(cpu, ts), ts)
    for writer in writers.values():
        writer.finish()
    source = MadePages(made.finish(), "user.file", writers)
    assert [(place.cpu, place.size) for place in source.places][2] == (8, 0)
    for place in source.places:
        data = source.read(place.offset, place.size, "pages")
        pids = {one.data[4] for page in split(data) for one in records(page, LITTLE) if one.data}
        assert pids <= {place.cpu}
        assert source.read(place.offset, place.size, "pages") == b"".join(
            source.read(place.offset + at, min(700, place.size - at), "pages")
            for at in range(0, place.size, 700)
        )
    source.close()


def opened(writer: PageWriter, made: Spool, **more: Any) -> Trace:
    writer.finish()
    source = MadePages(made.finish(), "user.file", {2: writer})
    return open_parts(Parts("user.file", "made", [LOAD], source.places, **more), source)


def test_the_reader_of_pages_reads_them() -> None:
    made = spool()
    writer = PageWriter(made)
    for ts in range(1000, 1500):
        if ts == 1200:
            writer.lost(4711)
        writer.record(ts, kvm_fpu(7, ts & 1), ts)
    with opened(
        writer,
        made,
        kernel="6.1.0",
        host="box",
        clock="local [boot]",
        cmdlines=b"7 a task\n",
        stats={2: b"overrun: 30\ndropped events: 2\n"},
    ) as trace:
        blocks = list(trace.blocks())
        assert sum(len(block) for block in blocks) == 500 + 3
        assert blocks[0].fields_of(1) == {"load": 1}
        assert (trace.kernel, trace.host, trace.clock) == ("6.1.0", "box", "boot")
        assert trace.comms[7] == "a task"
        assert trace.cpus == [2]
        hole, dropped = trace.losses
        assert hole[:4] == (2, 1199, 1200, 30)
        assert "packet at byte 4711 of CPU 2" in hole.where
        assert (dropped.count, dropped.placed) == (2, False)
        assert trace.event_kinds[int(blocks[0].event[0])] is Kind.KVM_FPU


def test_what_is_added_is_there_after_each_pass() -> None:
    made = spool()
    writer = PageWriter(made)
    writer.record(1000, kvm_fpu(7, 1), 0)
    with opened(writer, made) as trace:
        unplaced = Loss(1, None, None, 5, "told", placed=False)
        cut = Loss(None, None, None, None, "the end", severity="damaged")
        add_after_passes(trace, losses=[unplaced, cut], notes=["a note"], comms={7: "x", 0: "y"})
        assert trace.notes == ["a note"]
        for _ in range(2):
            list(trace.blocks())
            assert trace.losses == [unplaced, cut._replace(after_ns=1000)]
            assert trace.notes == ["a note"]
            assert trace.comms == {0: "<idle>", 7: "x"}


def test_there_is_a_limit_to_what_is_written() -> None:
    made = Spool("user.file")
    made.allowed = 2 * PAGE
    writer = PageWriter(made)
    with pytest.raises(FormatError, match=r"user.file.*temporary file"):
        for ts in range(1000):
            writer.record(ts, bytes(100), 0)
    made.close()


def test_a_temporary_file_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(ReadError, match=r"user.file: .*No space left"):
        Spool("user.file")
    with pytest.raises(ReadError, match=r"user.file: .*No space left"):
        spooled([b""], "user.file")


def test_bytes_are_spooled_as_they_are() -> None:
    fd = spooled([b"one", b"", b"two" * 500000], "user.file")
    source = Source(fd, "user.file")
    assert source.size == 3 + 1500000
    assert source.read(0, 6, "head") == b"onetwo"
    os.lseek(fd, 3, os.SEEK_SET)
    assert b"".join(pieces_of(fd, "user.file")) == b"two" * 500000
    source.close()
    with pytest.raises(ReadError, match="cannot be read"):
        list(pieces_of(fd, "user.file"))
