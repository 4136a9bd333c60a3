"""Prices: bytes by component, ns by table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fputrace.events import ABSENT
from fputrace.pricing import (
    COMPONENT_BYTES,
    DEFAULT,
    HEADER_BYTES,
    LEGACY_BYTES,
    STANDARD,
    STICKY_BITS,
    TABLES,
    Prices,
    Pricing,
    bytes_in_use,
)

AVX, AVX512, PKRU, AMX = 1 << 2, 0b111 << 5, 1 << 9, 0b11 << 17


def masks(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("xfeatures", "size"),
    [
        (0, 64),
        (1, 576),
        (2, 576),  # x87 and SSE share the FXSAVE image
        (3, 576),
        (3 | AVX, 832),
        (3 | AVX | AVX512, 2432),
        (3 | AVX | AVX512 | PKRU, 2440),
        (3 | AVX | AVX512 | PKRU | AMX, 10696),
        (PKRU, 72),
        (0x217, 904),
    ],
)
def test_known_sizes(xfeatures: int, size: int) -> None:
    assert bytes_in_use(masks(xfeatures)).tolist() == [size]


def test_shape_stays_and_a_missing_mask_is_a_header() -> None:
    table = masks(3, 7, ABSENT, 0).reshape(2, 2)
    assert bytes_in_use(table).tolist() == [[576, 832], [64, 64]]
    assert bytes_in_use(masks()).tolist() == []


@given(st.integers(0, (1 << 62) - 1))
def test_every_component_counts_once(xfeatures: int) -> None:
    known = [size for bit, size in COMPONENT_BYTES.items() if xfeatures >> bit & 1]
    legacy = LEGACY_BYTES if xfeatures & 3 else 0
    assert bytes_in_use(masks(xfeatures)).tolist() == [HEADER_BYTES + legacy + sum(known)]


def test_a_pair_is_a_restore_and_a_save() -> None:
    def price(*values: int, times: int = 1, pricing: Pricing = STANDARD) -> tuple[int, float]:
        moved, ns = pricing.cost(masks(*values), np.full(len(values), times), (1, 1))
        return int(moved.sum()), float(ns.sum())

    assert price(3) == (2 * 576, 210)
    assert price(3, 7) == (2 * (576 + 832), 420)
    assert price(3, times=10) == (20 * 576, 2100)
    assert price() == (0, 0)
    linear = Pricing(prices=Prices(1.0, 2.0, "measured", 0.5, 0.25))
    assert price(3, pricing=linear) == (2 * 576, 3.0 + 0.75 * 576)


def test_what_components_add_costs_by_the_byte_alone() -> None:
    linear = Pricing(prices=Prices(100.0, 200.0, "measured", 0.5, 0.25))
    moved, ns = linear.cost(masks(3 | AVX512), masks(4), (1, 1), STICKY_BITS)
    assert moved.tolist() == [2 * 4 * 1600]
    assert ns.tolist() == [4 * 1600 * 0.75]


def test_sizes_of_images() -> None:
    assert STANDARD.image_bytes(0) is None, "the standard format differs from CPU to CPU"
    assert Pricing(standard_bytes=2696).image_bytes(0) == 2696
    compacted = 1 << 63
    assert STANDARD.image_bytes(compacted | 3) == 576
    assert STANDARD.image_bytes(compacted | 3 | AVX | PKRU) == 840
    # TILEDATA begins at a multiple of 64.
    assert STANDARD.image_bytes(compacted | 3 | AVX | PKRU | AMX) == 960 + 8192
    assert STANDARD.sizes.tolist()[:3] == [512, 64, 256]


def test_price_tables_name_their_source() -> None:
    assert all(table.source for table in TABLES.values())
    assert TABLES["default"] == DEFAULT


def test_the_restore_costs_more() -> None:
    assert DEFAULT.restore_ns > DEFAULT.save_ns > 0
    assert DEFAULT.source
