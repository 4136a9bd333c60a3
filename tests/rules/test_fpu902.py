"""FPU902: events the core rules need were not recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.coverage import CORE_EVENTS
from tests.rules.scenario import HOG, VCPU, Story, of, tell


def short(s: Story) -> None:
    s.begin(VCPU)
    s.run_guest()
    s.return_to_vmm()
    s.switch(HOG)
    s.restore()


@pytest.mark.parametrize("event", CORE_EVENTS)
def test_fires(event: str, tmp_path: Path) -> None:
    (finding,) = of(tell(short, "G5", tmp_path, without=[event.partition(":")[2]]), "FPU902")
    assert finding.count == 1
    assert finding.message.startswith(f"not recorded: {event}.")


def test_says_all_that_is_missing_at_once(tmp_path: Path) -> None:
    (finding,) = of(tell(short, "G5", tmp_path, without=["kvm_fpu", "kvm_entry"]), "FPU902")
    assert "kvm:kvm_fpu, kvm:kvm_entry" in finding.message


@pytest.mark.parametrize("event", ["sched_migrate_task", "kvm_exit", "x86_fpu_copy_src"])
def test_silent_for_events_no_core_rule_needs(event: str, tmp_path: Path) -> None:
    assert of(tell(short, "G5", tmp_path, without=[event]), "FPU902") == []


def test_silent(samples: Path) -> None:
    assert of(fputrace.analyze(samples / "6.12-storm" / "trace.dat"), "FPU902") == []
