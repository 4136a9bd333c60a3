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
    Prices,
    bytes_in_use,
    redundant_pair,
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


def test_a_redundant_pair_is_a_restore_and_a_save() -> None:
    assert redundant_pair(masks(3)) == (2 * 576, 210)
    assert redundant_pair(masks(3, 7)) == (2 * (576 + 832), 420)
    assert redundant_pair(masks()) == (0, 0)
    assert redundant_pair(masks(0, 0, 0), Prices(0.5, 1.0, "measured")) == (384, 4)


def test_the_restore_costs_more() -> None:
    assert DEFAULT.restore_ns > DEFAULT.save_ns > 0
    assert DEFAULT.source
