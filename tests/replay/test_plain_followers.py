"""Every loop that follows events says the same uncompiled, of sound kernels and of faulty ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fputrace.findings import Analysis, Severity
from fputrace.reports import Options, render
from tests.conftest import SAMPLES
from tests.rules.test_recorded_faults import (
    kernel_fpu_keeps_owner,
    no_pointer_swap,
    no_user_restore,
    skipped_save,
    swap_without_save,
)
from tests.tools.altered import Tape
from tests.tools.plain import FOLLOWERS, follow_in_plain

ROWS = 8000
"""Of each recording, from its middle: plain Python takes seconds for them."""


def nothing(_tape: Tape, _one_in: int) -> int:
    """The recording as it is."""
    return 0


CASES: list[tuple[str, Callable[[Tape, int], int], str | None]] = [
    ("4.14.5-pinned", nothing, "FPU201"),
    ("5.2.1-pinned", nothing, "FPU101"),
    ("5.10-pinned", nothing, None),
    ("6.1-stale-owner", nothing, "FPU104"),
    ("6.12-storm-usermode", nothing, None),
    ("6.12-kfpu-probes", no_user_restore, "FPU110"),
    ("6.12-kfpu-probes", no_pointer_swap, "FPU101"),
    ("7.2-kfpu-probes", swap_without_save, "FPU107"),
    ("7.2-kfpu-probes", skipped_save, "FPU107"),
    ("7.2-kfpu-probes", kernel_fpu_keeps_owner, "FPU105"),
]


@pytest.mark.parametrize(("case", "fault", "code"), CASES)
def test_compiled_and_plain_say_the_same(
    case: str,
    fault: Callable[[Tape, int], int],
    code: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tape = Tape(SAMPLES / case / "trace.dat")
    fault(tape, 1)
    middle = len(tape) // 2
    tape.drop(range(middle - ROWS // 2))
    tape.drop(range(middle + ROWS // 2, len(tape)))

    def said() -> tuple[object, Analysis]:
        analysis = tape.analyze(costs=True)
        return render("json", [analysis], Options()), analysis

    compiled, analysis = said()
    found = {f.code for f in analysis.findings if f.severity is not Severity.TRACE}
    assert code is None or code in found
    follow_in_plain(monkeypatch, FOLLOWERS)
    assert said()[0] == compiled
