"""Both readers of trace.dat on one file, and libtraceevent's opinion of its fields.

Runs in the Python that ``provide.sh`` prints, with the checkout as ``PYTHONPATH``::

    compare.py FILE [INSTANCE]

Says what both gave ("same: … events, … losses") and exits 0, or the first differences and 1.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import ctracecmd
import numpy as np

from fputrace.events import EventBlock, EventFormat, Trace
from fputrace.parsers import open_trace
from fputrace.parsers.formats import is_integer, is_pointer
from fputrace.parsers.records import BlockRecords

COLUMNS = ("ts", "cpu", "pid", "kind", "flags", "event", "op")
# Everything a trace says of itself after a pass, but for how it was read.
METADATA = (
    "format", "kernel", "host", "cpus", "clock", "clock_global", "clock_in_ns", "losses_known",
    "formats", "unusable", "symbols", "probes", "comms", "guests", "is_guest", "instances",
    "notes", "event_names", "event_kinds", "losses", "counts", "first_ns", "last_ns",
    "total_bytes",
)  # fmt: skip
SAMPLES_PER_EVENT = 20
DECODED_EVERY = 16  # rows; of the others the bytes are compared


def read(path: str, instance: str | None, reader: str | None) -> tuple[Trace, list[EventBlock]]:
    trace = open_trace(path, instance=instance, reader=reader)
    blocks = list(trace.blocks())
    trace.close()
    return trace, blocks


def block_differences(native: EventBlock, other: EventBlock) -> Iterator[str]:
    for name in COLUMNS:
        ours, theirs = getattr(native, name), getattr(other, name)
        if ours.dtype != theirs.dtype or not np.array_equal(ours, theirs):
            row = int(np.flatnonzero(np.reshape(ours != theirs, (len(ours), -1)).any(axis=1))[0])
            yield f"column {name}, row {row}: {ours[row]} native, {theirs[row]} bindings"
    for row in range(len(native)):
        ours, theirs = payload(native, row), payload(other, row)
        if row % DECODED_EVERY == 0:
            ours, theirs = native.fields_of(row), other.fields_of(row)
        if ours != theirs:
            yield f"row {row}: {ours} native, {theirs} bindings"
            return


def payload(block: EventBlock, row: int) -> bytes:
    """The row's record as the reader keeps it."""
    records = block.fields_of
    assert isinstance(records, BlockRecords)
    return records.payload(row)


def reader_differences(
    native: tuple[Trace, list[EventBlock]], other: tuple[Trace, list[EventBlock]]
) -> Iterator[str]:
    for name in METADATA:
        ours, theirs = getattr(native[0], name), getattr(other[0], name)
        if ours != theirs:
            yield f"{name}: {ours!r} native, {theirs!r} bindings"
    lengths = [[len(block) for block in blocks] for _, blocks in (native, other)]
    if lengths[0] != lengths[1]:
        yield f"blocks of {lengths[0]} rows native, {lengths[1]} bindings"
        return
    for i, (ours, theirs) in enumerate(zip(native[1], other[1], strict=True)):
        yield from (f"block {i}: {text}" for text in block_differences(ours, theirs))


def format_differences(form: EventFormat, event: Any) -> Iterator[str]:
    """The event's fields as libtraceevent understands its format file."""
    theirs = {}
    shape = ctracecmd.tep_event_format_get(event)
    for first in (
        ctracecmd.tep_format_common_fields_get(shape),
        ctracecmd.tep_format_fields_get(shape),
    ):
        field = first
        while field is not None:
            flags = ctracecmd.tep_format_field_flags_get(field)
            theirs[ctracecmd.tep_format_field_name_get(field)] = (
                ctracecmd.tep_format_field_offset_get(field),
                ctracecmd.tep_format_field_size_get(field),
                bool(flags & ctracecmd.TEP_FIELD_IS_SIGNED),
                bool(flags & ctracecmd.TEP_FIELD_IS_DYNAMIC),
            )
            field = ctracecmd.tep_format_field_next_get(field)
    ours = {f.name: (f.offset, f.size, f.signed, bool(f.dynamic)) for f in form.fields}
    if ours != theirs:
        yield f"format {form.key}: {ours} native, {theirs} libtraceevent"


def number_differences(
    event: Any, form: EventFormat, fields: dict[str, Any], data: Any
) -> Iterator[str]:
    """One record's integers as libtraceevent reads them (it gives them unsigned, 64 bits)."""
    for field in form.fields:
        if field.name.startswith("common_") or not (is_integer(field) or is_pointer(field)):
            continue
        found = ctracecmd.tep_find_any_field(event, field.name)
        error, theirs = ctracecmd.tep_read_number_field(found, data)
        ours = fields[field.name]
        ours = int(ours, 16) if isinstance(ours, str) else ours
        mask = (1 << 8 * field.size) - 1
        if error or (ours ^ theirs) & mask:
            yield f"{form.key}.{field.name}: {ours} native, {theirs} libtraceevent"


def decoding_differences(path: str, trace: Trace, blocks: list[EventBlock]) -> Iterator[str]:
    """Formats, and some records of every kind of event, against libtraceevent's decoder."""
    handle = ctracecmd.tracecmd_open(path, ctracecmd.TRACECMD_FL_LOAD_NO_PLUGINS)
    tep = ctracecmd.tracecmd_get_tep(handle)
    rows: dict[int, list[tuple[EventBlock, int]]] = {cpu: [] for cpu in trace.cpus}
    for block in blocks:
        for row in np.flatnonzero(block.event >= 0).tolist():
            rows[int(block.cpu[row])].append((block, row))
    for cpu in trace.cpus:
        seen: Counter[str] = Counter()
        for block, row in rows[cpu]:
            record = ctracecmd.tracecmd_read_data(handle, cpu)
            name = block.names[block.event[row]]
            form = trace.formats.get(name)
            if form is not None and seen[name] < SAMPLES_PER_EVENT:
                event = ctracecmd.tep_find_event(tep, ctracecmd.tep_data_type(tep, record))
                data = ctracecmd.tep_record_data_get(record)
                if not seen[name]:
                    yield from format_differences(form, event)
                yield from number_differences(event, form, block.fields_of(row), data)
                if ctracecmd.tep_data_pid(tep, record) != block.pid[row]:
                    yield f"row {row}: pid {block.pid[row]}"
                seen[name] += 1
            ctracecmd.tracecmd_free_record(record)
    ctracecmd.tracecmd_close(handle)


def main(path: str, instance: str | None = None) -> int:
    native = read(path, instance, None)
    differences = list(reader_differences(native, read(path, instance, "tracecmd")))
    # The top buffer's; a file of `fputrace record` has its events in an instance.
    if not instance and not native[0].instances:
        differences += decoding_differences(path, *native)
    for text in differences[:10]:
        print(text)
    if not differences:
        events = sum(native[0].counts.values())
        print(f"same: {events} events, {len(native[0].losses)} losses")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
