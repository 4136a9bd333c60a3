"""Parquet tables: what a changed, missing or forged one does."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fputrace.convert import convert_trace
from fputrace.errors import FormatError, TraceError, UsageError
from fputrace.parsers import arrow, open_trace, parquetpages
from fputrace.parsers.parquet import MOST_LOSSES
from tests.parsers.rows import read_all

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def converted(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parquet") / "tables"
    with open_trace(samples / "6.1-storm-lost" / "trace.dat") as trace:
        convert_trace(trace, "parquet", str(folder))
    return folder


@pytest.fixture
def tables(converted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(converted, tmp_path / "tables"))


def read(folder: Path) -> None:
    """Every row with its fields."""
    read_all(folder)


def forge(folder: Path, file: str, change: Callable[[Any], Any]) -> None:
    """Change a table, and the checksum and the rows that the metadata tell of it."""
    table = change(pq.read_table(folder / file))
    pq.write_table(table, folder / file, row_group_size=arrow.CHUNK_ROWS)

    def told(value: dict[str, Any]) -> None:
        for one in value["tables"]:
            if one["file"] == file:
                one["crc32"] = arrow.checksum_of(str(folder / file))
                one["rows"] = [len(table)]

    metadata(folder, "tables", told)


def metadata(folder: Path, key: str, change: Callable[[Any], Any]) -> None:
    """Change one value of the metadata."""
    rows = pq.read_table(folder / "metadata.parquet").to_pylist()
    for row in rows:
        if row["key"] == key:
            value = json.loads(row["value"])
            change(value)
            row["value"] = json.dumps(value)
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")


def column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Any], Any]:
    """A change of one column's values."""

    def made(table: Any) -> Any:
        at = table.schema.get_field_index(name)
        kind = table.schema.field(at)
        values = pa.array(change(table.column(at).to_pylist()), type=kind.type)
        return table.set_column(at, kind, values)

    return made


def test_a_changed_byte_is_an_error(tables: Path) -> None:
    dice = random.Random(3)
    for file in sorted(tables.iterdir()):
        data = file.read_bytes()
        if file.name == arrow.METADATA:
            continue
        for place in (0, dice.randrange(len(data)), len(data) - 1):
            changed = bytearray(data)
            changed[place] ^= 1 << dice.randrange(8)
            file.write_bytes(changed)
            with pytest.raises(FormatError, match="checksum"):
                open_trace(tables)
        file.write_bytes(data)
    read(tables)


def test_truncated_is_an_error(tables: Path) -> None:
    for file in sorted(tables.iterdir()):
        data = file.read_bytes()
        for size in (0, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:size])
            with pytest.raises(TraceError):
                open_trace(tables)
        file.write_bytes(data)


def test_changed_metadata_give_an_error_or_the_same(converted: Path, tables: Path) -> None:
    """Pages have checksums of their own; what is around them says little."""
    file = tables / arrow.METADATA
    data = file.read_bytes()
    expected = read_all(converted, fields=False)
    dice = random.Random(4)
    for _ in range(40):
        changed = bytearray(data)
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        file.write_bytes(changed)
        try:
            found = read_all(tables, fields=False)
        except TraceError:
            continue
        assert (found.rows, found.marks) == (expected.rows, expected.marks)
        assert found.trace.losses == expected.trace.losses


def test_a_missing_table_is_an_error(tables: Path) -> None:
    for name in ("losses.parquet", "marks.parquet", "kvm.kvm_entry.parquet"):
        moved = (tables / name).rename(tables / "away")
        with pytest.raises(FormatError, match=f"there is no {name}"):
            open_trace(tables)
        moved.rename(tables / name)


def test_a_pipe_is_not_waited_for(tables: Path) -> None:
    (tables / "kvm.kvm_entry.parquet").unlink()
    os.mkfifo(tables / "kvm.kvm_entry.parquet")
    with pytest.raises(FormatError, match="is no file"):
        open_trace(tables)


def another(numbers: list[int]) -> list[int]:
    """The first row that is another table's."""
    first = min(set(range(len(numbers) + 1)) - set(numbers))
    return [first, *numbers[1:]]


SWITCH = "sched.sched_switch.parquet"
FORGED: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "row twice": (SWITCH, column("common_row", lambda v: [v[1], *v[1:]]), "rows are not those"),
    "row of another": (SWITCH, column("common_row", another), "two tables"),
    "row beyond": (SWITCH, column("common_row", lambda v: [*v[:-1], 1 << 40]), "rows are not"),
    "row below": (SWITCH, column("common_row", lambda v: [-1, *v[1:]]), "rows are not"),
    "row null": (SWITCH, column("common_row", lambda v: [None, *v[1:]]), "is null"),
    "row missing": (SWITCH, lambda table: table.slice(1), "is in no table"),
    "CPU of nobody": (SWITCH, column("common_cpu", lambda v: [77, *v[1:]]), "CPU is none"),
    "pid null": (SWITCH, column("common_pid", lambda v: [None, *v[1:]]), "is null"),
    "time goes back": (SWITCH, column("common_ts", lambda v: [1 << 60, *v[1:]]), "order of time"),
    "another column": (
        SWITCH,
        lambda table: table.drop_columns(["prev_pid"]),
        "columns are others",
    ),
    "another type": (
        SWITCH,
        lambda t: t.set_column(1, "common_ts", t.column("common_cpu")),
        "columns are others",
    ),
    "mark": ("marks.parquet", column("mark", lambda v: ["KVM_FPU", *v[1:]]), "a mark is none"),
    "mark unknown": ("marks.parquet", column("mark", lambda v: [None, *v[1:]]), "no kind"),
}


@pytest.mark.parametrize(("file", "change", "said"), FORGED.values(), ids=FORGED)
def test_forged_tables_are_errors(
    file: str, change: Callable[[Any], Any], said: str, tables: Path
) -> None:
    forge(tables, file, change)
    with pytest.raises(FormatError, match=said):
        read(tables)


ROWS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "more rows": lambda told: told.update(rows=told["rows"] + 1),
    "many rows": lambda told: told.update(rows=1 << 62),
    "rows below": lambda told: told.update(rows=-1),
    "no tables": lambda told: told.update(tables=[]),
    "another folder": lambda told: told["tables"][2].update(file="../x.parquet"),
    "an event twice": lambda told: told["tables"].append(told["tables"][2]),
    "an unknown event": lambda told: told["tables"][2].update(event="a:b"),
    "rows of a group": lambda told: told["tables"][2].update(rows=[3]),
    "a group too large": lambda told: told["tables"][2].update(rows=[1 << 40]),
    "groups that are not": lambda told: told["tables"][2]["rows"].append(7),
}


@pytest.mark.parametrize("change", ROWS.values(), ids=ROWS)
def test_forged_metadata_are_errors(change: Callable[[Any], Any], tables: Path) -> None:
    metadata(tables, "tables", change)
    with pytest.raises(FormatError):
        read(tables)


def test_exact_rows_of_another_form(tables: Path) -> None:
    """Fields that an event's table cannot hold stand in exact.parquet as JSON."""

    def say(line: str) -> Callable[[Any], Any]:
        return lambda table: pa.Table.from_pylist(
            [{"common_row": 0, "has_op": False, "fields": line}], schema=table.schema
        )

    forge(tables, "exact.parquet", say('{"x":[1,2],"y":"z"}'))
    assert read_all(tables).rows[0].fields == {"x": (1, 2), "y": "z"}
    forge(tables, "exact.parquet", say("[" * 100_000))
    with pytest.raises(FormatError):
        read(tables)


# What a file claims of its size is not what it takes


def one_text(name: str, text: str) -> Callable[[Any], Any]:
    """All rows have this text: an entry of the dictionary, and a run of numbers."""

    def made(table: Any) -> Any:
        index = pa.array([0] * len(table), pa.int32())
        at = table.schema.get_field_index(name)
        return table.set_column(at, name, pa.DictionaryArray.from_arrays(index, pa.array([text])))

    return made


def write(folder: Path, file: str, table: Any, **options: Any) -> None:
    """As forge(), without the table's schema in the file, packed as far as zstd goes."""
    options = {"compression": "zstd", "compression_level": 19, "store_schema": False} | options
    pq.write_table(table, folder / file, row_group_size=arrow.CHUNK_ROWS, **options)
    rows = [arrow.CHUNK_ROWS] * (len(table) // arrow.CHUNK_ROWS)
    rows += [len(table) % arrow.CHUNK_ROWS] if len(table) % arrow.CHUNK_ROWS else []
    sign(folder, file, rows=rows)


def sign(folder: Path, file: str, **more: Any) -> None:
    """Tell the checksum of a table."""
    crc = arrow.checksum_of(str(folder / file))

    def told(value: dict[str, Any]) -> None:
        for one in value.get("tables", [value]):
            if one["file"] == file:
                one.update(more, crc32=crc)

    metadata(folder, "losses" if file == "losses.parquet" else "tables", told)


def refused(folder: Path, why: str) -> None:
    """Reading it is an error, and takes little memory of arrow's."""
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(FormatError, match=why):
        read(folder)
    assert pa.default_memory_pool().max_memory() - before < 16 << 20


def test_a_text_of_many_rows_is_there_once(tables: Path) -> None:
    table = pq.read_table(tables / SWITCH)
    write(tables, SWITCH, one_text("prev_comm", "x" * (1 << 20))(table))
    assert (tables / SWITCH).stat().st_size < 100_000
    with open_trace(tables) as trace:
        block = next(iter(trace.blocks()))
        row = next(at for at in range(len(block)) if "prev_comm" in block.fields_of(at))
        assert len(block.fields_of(row)["prev_comm"]) == 1 << 20


def test_a_text_too_large(tables: Path) -> None:
    table = pq.read_table(tables / "marks.parquet")
    write(tables, "marks.parquet", one_text("mark", "x" * (5 << 20))(table))
    refused(tables, "the texts of mark are too large")


def test_texts_too_large_together(tables: Path) -> None:
    for file, name in (("losses.parquet", "where"), (arrow.METADATA, "value")):
        table = pq.read_table(tables / file)
        many = pa.concat_tables([table] * (200_000 // len(table) + 1))
        made = one_text(name, "x" * (1 << 16))(many)
        if file == arrow.METADATA:
            pq.write_table(made, tables / file, compression="zstd", store_schema=False)
        else:
            write(tables, file, made)
        refused(tables, f"the texts of {name} are too large")


def test_a_dictionary_that_unpacks_to_much(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquetpages, "LARGEST_GROUP", 20 << 20)  # 256 MiB take long to write
    table = pq.read_table(tables / SWITCH)
    write(tables, SWITCH, one_text("prev_comm", "x" * (30 << 20))(table), compression_level=1)
    assert (tables / SWITCH).stat().st_size < 100_000
    refused(tables, "row group 0 takes")


def test_more_losses_than_one_reads(tables: Path) -> None:
    row = pq.read_table(tables / "losses.parquet").slice(0, 1)
    write(tables, "losses.parquet", row.take(pa.array(np.zeros(MOST_LOSSES + 1, dtype=np.int32))))
    assert (tables / "losses.parquet").stat().st_size < 100_000
    refused(tables, "more than 1048576 losses")


def test_values_told_by_those_before_them(tables: Path) -> None:
    """Each text is the one before and nothing more: no page's size bounds that."""
    table = pq.read_table(tables / SWITCH)
    at = table.schema.get_field_index("prev_comm")
    same = pa.array(["x" * (1 << 14)] * len(table))
    options = {"use_dictionary": False, "column_encoding": {"prev_comm": "DELTA_BYTE_ARRAY"}}
    write(tables, SWITCH, table.set_column(at, "prev_comm", same), **options)
    refused(tables, "values of encoding 7")


def test_headers_of_pages_that_lie(tables: Path) -> None:
    """Any byte of a table changed, its checksum with it: an error, or rows of no great size."""
    table = pq.read_table(tables / SWITCH)
    write(tables, SWITCH, table)
    data = (tables / SWITCH).read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    dice = random.Random(5)
    before = pa.default_memory_pool().max_memory()
    for number in range(24):
        changed = bytearray(data)
        place = 4 + number if number < 16 else len(data) - dice.randrange(9, footer)
        changed[place] ^= 1 << dice.randrange(8)
        (tables / SWITCH).write_bytes(changed)

        sign(tables, SWITCH)
        with suppress(TraceError):
            read_all(tables, fields=number % 8 == 0)
    assert pa.default_memory_pool().max_memory() - before < 64 << 20


def test_what_cannot_be_read_is_not_written(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquetpages, "LARGEST_GROUP", 10_000)
    with (
        open_trace(samples / "6.1-storm-lost" / "trace.dat") as trace,
        pytest.raises(UsageError, match="does not fit into tables") as caught,
    ):
        convert_trace(trace, "parquet", str(tmp_path / "tables"))
    assert "jsonl" in caught.value.hint
    assert not (tmp_path / "tables").exists()
