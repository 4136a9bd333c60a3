"""``fputrace calibrate``: measured here, where this machine can."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fputrace import calibrate
from fputrace.calibrate import Calibration, Measured
from fputrace.cli import main
from fputrace.errors import UsageError
from fputrace.pricefile import CALIBRATED, default_path, pricing_of


def can_measure() -> bool:
    try:
        machine: Any = importlib.import_module("fputrace.calibrate._xsave")
    except ImportError:
        return False
    return bool(machine.machine()[0])


measures = pytest.mark.skipif(not can_measure(), reason="no compiled helper, or no XSAVE here")


@measures
def test_measured_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["calibrate"]) == 0
    out, err = capfd.readouterr()
    assert "xrstor" in out and "warm ns" in out
    assert out.isascii()
    assert "--prices calibrated" in err
    stored = json.loads(Path(default_path()).read_text())
    pricing = pricing_of(CALIBRATED, default_path())
    assert pricing.prices.source == stored["source"]
    # Somewhere between a nanosecond and a slow emulator's millisecond.
    once = pricing.prices.saves(1, 832) + pricing.prices.restores(1, 832)
    assert 1 <= once < 2_000_000
    assert all(one["warm_ns"] >= 0 for one in stored["measurements"])
    assert {one["bytes"] for one in stored["measurements"]} >= {576}
    target = tmp_path / "mine.json"
    assert main(["calibrate", "-q", "-o", str(target)]) == 0
    assert capfd.readouterr().err == ""
    assert pricing_of(str(target)).prices.source == stored["source"]


@measures
def test_the_helper_refuses_what_the_cpu_cannot() -> None:
    helper: Any = importlib.import_module("fputrace.calibrate._xsave")
    numbers = ((99, 3, 10), (-1, 3, 10), (1, 1 << 62, 10), (1, 3, 0), (1, 3, 1 << 40))
    for asked in numbers:
        with pytest.raises((ValueError, OverflowError)):
            helper.measure(*asked, 0)


def test_without_the_helper(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fputrace.calibrate._xsave", None)
    assert main(["calibrate"]) == 2
    assert "apt install gcc python3-dev" in capfd.readouterr().err


def test_without_xsave(monkeypatch: pytest.MonkeyPatch) -> None:
    class Helper:
        @staticmethod
        def machine() -> tuple[int, int, list[Any], int, str]:
            return 0, 0, [], 0, ""

    monkeypatch.setitem(sys.modules, "fputrace.calibrate._xsave", Helper)
    with pytest.raises(UsageError, match="no XSAVE") as caught:
        calibrate.calibrate()
    assert "--prices" in (caught.value.hint or "")


def point(size: int, ns: float) -> Measured:
    return Measured("xsave", 3, size, ns, ns)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(576, 50.0)], (50.0, 0.0)),
        ([(500, 50.0), (1000, 100.0)], (0.0, 0.1)),
        ([(500, 60.0), (1000, 110.0)], (10.0, 0.1)),
        ([(500, 60.0), (1000, 40.0)], (50.0, 0.0)),  # noise
        ([(500, 10.0), (1000, 100.0)], (0.0, 55 / 750)),
    ],
)
def test_the_line_through_what_was_measured(
    points: list[tuple[int, float]], expected: tuple[float, float]
) -> None:
    assert calibrate._line([point(*one) for one in points]) == pytest.approx(expected)


def test_what_is_stored_is_what_is_read(tmp_path: Path) -> None:
    found = Calibration(
        "A CPU",
        (point(576, 50.0),),
        (40.0, 0.01, "xsavec"),
        (90.0, 0.02, "xrstor"),
        {2: 256, 9: 8},
        (18,),
        2440,
    )
    path = tmp_path / "prices.json"
    path.write_text(calibrate.document(found))
    pricing = pricing_of(str(path), str(path))
    assert pricing.prices[:2] == (40.0, 90.0)
    assert pricing.prices[3:] == (0.01, 0.02)
    assert pricing.component_bytes[9] == 8
    assert pricing.image_bytes(0) == 2440
    assert "A CPU" in calibrate.table(found)
