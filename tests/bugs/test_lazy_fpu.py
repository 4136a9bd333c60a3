"""docs/bugs/lazy-fpu.md: a host that loads registers at their first use (CVE-2018-3665)."""

from __future__ import annotations

from pathlib import Path

from tests.bugs.claims import page, said
from tests.rules.scenario import HOG, KTHREAD, OTHER, Story, of, tell

BUG = page("lazy-fpu")


def device_not_available(s: Story) -> None:
    """do_device_not_available() -> fpu__restore() in the midst of a stay (4.9:
    arch/x86/kernel/traps.c).
    """
    s.switch(HOG, restore=False)
    s.event("sched_migrate_task", pid=KTHREAD.pid)
    s.fpu("regs_activated", flag=1)
    s.switch(OTHER, restore=False)
    s.event("sys_enter", id=1)
    s.switch(KTHREAD, save=False)


def eager(s: Story) -> None:
    """eagerfpu=on: __switch_to() restores."""
    s.switch(HOG)
    s.event("sched_migrate_task", pid=KTHREAD.pid)
    s.switch(OTHER)
    s.event("sys_enter", id=1)
    s.switch(KTHREAD)


def test_before(tmp_path: Path) -> None:
    analysis = tell(device_not_available, "G1", tmp_path, kernel="4.4.0")
    assert analysis.generation.code == "G0"
    assert of(analysis, "FPU121") != []
    assert said(analysis) == BUG.tracepoints == BUG.probes


def test_after(tmp_path: Path) -> None:
    analysis = tell(eager, "G1", tmp_path, kernel="4.9.0")
    assert analysis.generation.code == "G0"
    assert said(analysis) == {}
