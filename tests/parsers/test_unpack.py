"""Layers of compression: what is inside comes out, in bounded memory, and never more than allowed.

gzip(1), xz(1), zstd(1), bzip2(1) and lz4(1) are asked for the same data where they are installed.
"""

from __future__ import annotations

import io
import itertools
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fputrace.errors import FormatError
from fputrace.parsers.unpack import (
    DEPTH,
    FREE_BYTES,
    LAYERS,
    RATIO,
    Budget,
    Window,
    layer_of,
    peel,
)
from tests.tools.archives import PACKERS, pack

NAMES = tuple(PACKERS)
TEXT = b"".join(b"qemu-%d [000] %d.%06d: kvm_fpu: load\n" % (i, i, i * 37) for i in range(3000))


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def unpacked(data: bytes, size: int = 1 << 16, depth: int = DEPTH) -> tuple[bytes, Budget]:
    """What comes out, when the stream comes in pieces of `size`."""
    budget = Budget("x", len(data))
    inside, _layers = peel(Window(cut(data, size)), budget, depth)
    return b"".join(inside.pieces()), budget


def test_every_layer_has_a_packer() -> None:
    assert {layer.name for layer in LAYERS} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(1 << 21), os.urandom(300_000)])
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_what_was_packed_comes_out(name: str, data: bytes, size: int) -> None:
    packed = pack(data, [name])
    assert layer_of(packed[:4096]) is not None
    out, budget = unpacked(packed, size)
    assert out == data
    assert budget.damage == budget.notes == []
    assert budget.unpacked == len(data)


@pytest.mark.parametrize("name", NAMES)
def test_members_one_behind_the_other(name: str) -> None:
    packed = b"".join(pack(part, [name]) for part in (b"one ", b"", TEXT, b"end"))
    out, budget = unpacked(packed, 100)
    assert out == b"one " + TEXT + b"end"
    assert budget.damage == budget.notes == []


@pytest.mark.parametrize("name", NAMES)
def test_tiny_members_cost_what_they_are(name: str) -> None:
    one = pack(b"a", [name])
    out, _ = unpacked(one * 3000, 1 << 20)
    assert out == b"a" * 3000


@pytest.mark.parametrize("name", NAMES)
def test_the_tool_reads_the_same(name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    packed = pack(b"first ", [name]) + pack(TEXT, [name])
    tool = subprocess.run([name, "-dc"], input=packed, capture_output=True, check=True)
    assert tool.stdout == unpacked(packed)[0]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_tool_writes_is_read(name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    packed = subprocess.run([name, "-c"], input=TEXT, capture_output=True, check=True).stdout
    assert unpacked(packed)[0] == TEXT


@pytest.mark.parametrize("name", ["gzip", "bzip2"])
def test_garbage_behind_gzip_and_bzip2_is_ignored_and_noted(name: str) -> None:
    out, budget = unpacked(pack(TEXT, [name]) + b"some garbage")
    assert out == TEXT
    assert budget.damage == []
    assert "which was ignored" in budget.notes[0]


@pytest.mark.parametrize("name", ["xz", "zstd", "lz4"])
def test_garbage_behind_the_others_is_damage(name: str) -> None:
    packed = pack(TEXT, [name])
    out, budget = unpacked(packed + b"some garbage")
    assert out == TEXT
    assert f"from its byte {len(packed):,}" in budget.damage[0]


@pytest.mark.parametrize("name", ["gzip", "xz"])
def test_zeros_behind_are_padding(name: str) -> None:
    packed = pack(b"one", [name]) + bytes(1024) + pack(b"two", [name]) + bytes(512)
    out, budget = unpacked(packed, 100)
    assert out == b"onetwo"
    assert budget.damage == budget.notes == []


@pytest.mark.parametrize("name", ["zstd", "lz4"])
@pytest.mark.parametrize("length", [0, 4, 100_000])
def test_frames_to_be_skipped(name: str, length: int) -> None:
    skipped = b"\x5a\x2a\x4d\x18" + length.to_bytes(4, "little") + bytes(length)
    short = b"\x50\x2a\x4d\x18\4\0\0\0abcd"  # pzstd begins with one like this
    out, budget = unpacked(short + pack(TEXT, [name]) + skipped + pack(b"x", [name]) + skipped)
    assert out == TEXT + b"x"
    assert budget.damage == []


@settings(deadline=None)
@given(
    data=st.binary(max_size=200),
    more=st.sampled_from([0, 1, 1000]),
    layers=st.lists(st.sampled_from(NAMES), max_size=DEPTH),
    size=st.integers(1, 5000),
)
def test_any_layers_around_anything(data: bytes, more: int, layers: list[str], size: int) -> None:
    data += more * b"some text, "
    if layer_of(data):
        return
    out, budget = unpacked(pack(data, layers), size)
    assert out == data
    assert budget.damage == budget.notes == []


@settings(deadline=None)
@given(name=st.sampled_from(NAMES), where=st.integers(10, 1 << 20))
def test_a_stream_that_breaks_off_gives_what_is_there(name: str, where: int) -> None:
    packed = pack(TEXT, [name])
    packed = packed[: max(12, where % len(packed))]
    out, budget = unpacked(packed)
    assert TEXT.startswith(out)
    assert budget.damage == [f"the {name} data breaks off at its byte {len(packed):,}"]


@settings(deadline=None)
@given(name=st.sampled_from(NAMES), more=st.integers(1, 9))
def test_a_member_of_which_only_the_first_bytes_are_there(name: str, more: int) -> None:
    packed = pack(TEXT, [name])
    _out, budget = unpacked(packed + packed[:more])
    assert len(budget.damage) == 1 or (name == "gzip" and more < 3 and not budget.notes)


@settings(deadline=None)
@given(
    layers=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
    flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 7)), min_size=1, max_size=4),
)
def test_flipped_bits_never_give_other_bytes_in_silence(
    layers: list[str], flips: list[tuple[int, int]]
) -> None:
    packed = bytearray(pack(TEXT, layers))
    for at, bit in flips:
        packed[at % len(packed)] ^= 1 << bit
    if layer_of(bytes(packed)) is not next(one for one in LAYERS if one.name == layers[-1]):
        return
    try:
        out, budget = unpacked(bytes(packed))
    except FormatError:
        return
    told = bool(budget.damage or budget.notes)
    # A header may change in ways that mean nothing (gzip's time, its name).
    assert out == TEXT or told or layer_of(out) or len(layers) > 1


@pytest.mark.parametrize("name", NAMES)
def test_corrupt_data_says_where(name: str) -> None:
    packed = bytearray(pack(os.urandom(400_000), [name]))
    packed[200_000:200_032] = bytes(range(32))
    with pytest.raises(FormatError, match=f"the {name} data is corrupt near its byte [234]"):
        unpacked(bytes(packed))


def test_a_wrong_checksum_is_an_error_and_no_recording() -> None:
    packed = bytearray(pack(TEXT, ["gzip"]))
    packed[-8] ^= 1
    with pytest.raises(FormatError, match="incorrect data check"):
        unpacked(bytes(packed))


def test_more_layers_than_are_taken_off() -> None:
    with pytest.raises(FormatError, match=f"packed more than {DEPTH} times"):
        unpacked(pack(TEXT, ["gzip"] * (DEPTH + 1)))
    assert unpacked(pack(TEXT, ["gzip"] * DEPTH))[0] == TEXT


def test_text_that_begins_with_letters_of_a_magic_is_not_packed() -> None:
    assert layer_of(b"BZh9 is no block") is None
    assert layer_of(b"") is None
    assert layer_of(b"\x1f\x8b") is None


# --- how much ------------------------------------------------------------------------------------


def zeros(size: int) -> bytes:
    """gzip data of so many zeros, made without having them."""
    engine = zlib.compressobj(9, wbits=31)
    out = io.BytesIO()
    for _ in range(size >> 20):
        out.write(engine.compress(bytes(1 << 20)))
    out.write(engine.flush())
    return out.getvalue()


def drain(budget: Budget, data: bytes) -> int:
    inside, _ = peel(Window(cut(data, 1 << 16)), budget, DEPTH)
    return sum(map(len, inside.pieces()))


def test_a_bomb_stops_at_the_free_amount() -> None:
    bomb = pack(zeros(1 << 29), ["gzip"])
    assert len(bomb) < 10_000
    budget = Budget("x", len(bomb))
    with pytest.raises(FormatError, match=r"more than 0\.25 GiB") as caught:
        drain(budget, bomb)
    assert "--max-unpacked" in caught.value.hint
    assert budget.unpacked <= FREE_BYTES + (1 << 21)


def test_a_recording_that_is_mostly_zeros_passes() -> None:
    packed = zeros(300 << 20) + pack(os.urandom(1 << 16), ["gzip"])
    assert drain(Budget("x", len(packed)), packed) == (300 << 20) + (1 << 16)


def test_the_limit_can_be_raised_and_lowered() -> None:
    packed = pack(bytes(1 << 22), ["gzip"])
    assert drain(Budget("x", len(packed), most=1 << 22), packed) == 1 << 22
    with pytest.raises(FormatError, match="more than"):
        drain(Budget("x", len(packed), most=1 << 21), packed)


def test_a_stream_may_unpack_as_far_as_it_has_been_read() -> None:
    budget = Budget("x", None)
    assert budget.allowed == FREE_BYTES
    budget.read = 1 << 20
    assert budget.allowed == RATIO << 20
    budget.read = 1 << 40
    assert budget.allowed == 32 << 30


BOMB = """
    import sys
    from fputrace.errors import FormatError
    from fputrace.parsers import open_trace
    try:
        open_trace(sys.argv[1], max_unpacked=0.5)
    except FormatError as error:
        print(error)
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_takes_little_memory(name: str, tmp_path: Path) -> None:
    # 640 MiB of zeros behind the first bytes of a recording; what the layer makes of them.
    head = b"\x17\x08\x44tracing6\0" + bytes(5000)
    one = pack(bytes(1 << 26), [name])
    path = tmp_path / "bomb"
    path.write_bytes(pack(head, [name]) + one * 10)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BOMB), path],
        capture_output=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20)),
    )
    assert b"unpacks to more than 0.50 GiB" in done.stdout


def test_look_ahead_does_not_change_what_is_read() -> None:
    data = bytes(range(256)) * 40
    for sizes in itertools.permutations([1, 100, 5000]):
        window = Window(cut(data, 33))
        out = b""
        for size in sizes:
            assert window.head(size) == data[len(out) : len(out) + size]
            out += window.read(size)
            assert window.at == len(out)
        assert out + b"".join(window.pieces()) == data
        assert window.head(10) == window.read(10) == b""
