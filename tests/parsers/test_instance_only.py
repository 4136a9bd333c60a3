"""A trace.dat whose events are all in one instance, as fputrace record has trace-cmd make it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.errors import UsageError
from fputrace.parsers import open_trace
from tests.writers import TraceWriter


@pytest.mark.parametrize("version", [6, 7])
def test_it_is_read_without_its_name(tmp_path: Path, version: int) -> None:
    writer = TraceWriter("6.12.1", cpus=1)
    writer.instance("fputrace-1", clock="mono")
    writer.event(0, 100, 9, "kvm_fpu", load=0, instance="fputrace-1")
    path = writer.write(tmp_path / "trace.dat", version)
    with open_trace(path) as trace:
        assert sum(len(block) for block in trace.blocks()) >= 1
        assert trace.counts == {"kvm:kvm_fpu": 1}
        assert trace.clock == "mono"
    with pytest.raises(UsageError, match="no instance"):
        open_trace(path, instance="other")
