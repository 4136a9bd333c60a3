"""Price tables and component sizes from files: what ``--prices`` and ``--cpuid`` take.

A price table is JSON: ``{"source": TEXT, "save": {"ns": N, "ns_per_byte": N}, "restore": {…}}``;
``fputrace calibrate`` writes one.  Sizes are JSON: ``{"xstate": {"2": 256, …}}``, as a sidecar has
them, with ``"size"`` and ``"aligned"`` where known (CPUID leaf 0xD).
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

from fputrace.errors import UsageError
from fputrace.pricing import ALIGNED, COMPONENT_BYTES, TABLES, Prices, Pricing

CALIBRATED = "calibrated"
"""What ``--prices`` calls the table that ``fputrace calibrate`` stored."""

_LARGEST = 1 << 20
_MOST_BYTES = 1 << 20
_MOST_NS = 1e9


def default_path() -> str:
    """Where ``fputrace calibrate`` stores its table: below XDG_DATA_HOME."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "fputrace", "prices.json")


def pricing_of(prices: str | None = None, cpuid: str | None = None) -> Pricing:
    """What to count by.

    ``prices``: a name of ``pricing.TABLES``, "calibrated", or a file; ``cpuid``: a file with sizes.
    Raises UsageError for a file that cannot be read or says something impossible.
    """
    pricing = Pricing()
    if prices is not None:
        pricing = Pricing(prices=TABLES[prices] if prices in TABLES else _prices(prices))
    if cpuid is None:
        return pricing
    return _with_sizes(pricing, cpuid)


def _prices(asked: str) -> Prices:
    path = default_path() if asked == CALIBRATED else asked
    hint = f"--prices takes a file, {', '.join(TABLES)} or {CALIBRATED}"
    if asked == CALIBRATED and not os.path.exists(path):
        raise UsageError(
            f"{path}: nothing is stored there yet", hint="fputrace calibrate measures and stores it"
        )
    table = _read(path, hint)
    figures = []
    for name in ("save", "restore"):
        one = table.get(name)
        if not isinstance(one, dict):
            raise UsageError(f"{path}: no {name!r} with its ns", hint=hint)
        for key, missing in (("ns", None), ("ns_per_byte", 0.0)):
            value = one.get(key, missing)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not math.isfinite(value)
                or not 0 <= value <= _MOST_NS
            ):
                raise UsageError(f"{path}: {name}.{key} is {value!r}, no number of ns", hint=hint)
            figures.append(float(value))
    source = table.get("source")
    if not isinstance(source, str):
        source = f"prices of {os.path.basename(path)}"
    return Prices(figures[0], figures[2], source, figures[1], figures[3])


def _with_sizes(pricing: Pricing, path: str) -> Pricing:
    hint = '--cpuid takes a file such as {"xstate": {"2": 256, "9": 8}}'
    table = _read(path, hint)
    sizes = table.get("xstate")
    if not isinstance(sizes, dict):
        raise UsageError(f"{path}: no 'xstate' with the bytes of components", hint=hint)
    known = dict(COMPONENT_BYTES)
    for name, size in sizes.items():
        if (
            not name.isascii()
            or not name.isdecimal()
            or not 2 <= int(name[:4]) <= 62
            or isinstance(size, bool)
            or not isinstance(size, int)
            or not 0 <= size <= _MOST_BYTES
        ):
            raise UsageError(f"{path}: component {name!r} of {size!r} bytes", hint=hint)
        known[int(name)] = size
    whole = table.get("size")
    aligned = table.get("aligned", sorted(ALIGNED))
    if not isinstance(aligned, list) or not all(isinstance(bit, int) for bit in aligned):
        raise UsageError(f"{path}: 'aligned' is no list of components", hint=hint)
    return Pricing(
        pricing.prices,
        known,
        f"component sizes of {os.path.basename(path)}",
        frozenset(aligned),
        whole if isinstance(whole, int) and not isinstance(whole, bool) and whole > 0 else None,
    )


def _read(path: str, hint: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            text = stream.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", hint=hint) from None
    try:
        if len(text) > _LARGEST:
            raise ValueError("it is too large")
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not the JSON it should be: {error}", hint=hint) from None
    if not isinstance(table, dict):
        raise UsageError(f"{path}: not a JSON object", hint=hint)
    return table
