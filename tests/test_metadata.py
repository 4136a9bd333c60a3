"""What lies beside a recording, told by a converted one; what is wrong in it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fputrace.events import ProbeDefinition, Sidecar, Trace
from fputrace.metadata import MalformedError, from_plain, to_plain

SIDECAR = Sidecar(
    {"fpu:save": ProbeDefinition("save_fpregs_to_fpstate", False, {"fpstate": "%di"})},
    frozenset({10, 2}),
    {2: 256},
)


def plain(sidecar: Sidecar | None) -> dict[str, Any]:
    trace = Trace("trace.dat", "trace.dat")
    trace.sidecar = sidecar
    return to_plain(trace)


@pytest.mark.parametrize("sidecar", [SIDECAR, None])
def test_a_sidecar_comes_back(sidecar: Sidecar | None) -> None:
    assert from_plain(plain(sidecar), "trace.jsonl", "jsonl").sidecar == sidecar


def test_files_from_before_it_was_written_are_read() -> None:
    told = plain(None)
    del told["sidecar"]
    assert from_plain(told, "trace.jsonl", "jsonl").sidecar is None


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("probes", []),
        ("probes", {"fpu:save": {"function": 1, "returns": False, "fetches": {}}}),
        ("probes", {"fpu:save": {"function": "f", "returns": 0, "fetches": {}}}),
        ("probes", {"fpu:save": {"function": "f", "returns": True, "fetches": {"a": 1}}}),
        ("kthreads", ["10"]),
        ("kthreads", None),
        ("xsave_sizes", {"two": 256}),
        ("xsave_sizes", {"2": 0}),
        ("xsave_sizes", {"2": 1 << 40}),
    ],
)
def test_what_cannot_be_is_refused(part: str, value: object) -> None:
    told = plain(SIDECAR)
    told["sidecar"][part] = value
    with pytest.raises(MalformedError, match=r"sidecar|task|kthreads"):
        from_plain(told, "trace.jsonl", "jsonl")
