"""docs/bugs/xfd.md: XSTATE_BV[i] in memory while the guest sets XFD[i] (b45f72177594)."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from fputrace.findings import Status
from tests.bugs.claims import page, said
from tests.rules.scenario import AFTER, HOG, VCPU, Story, of, row, tell
from tests.writers import EventSpec

BUG = page("xfd")
MSR = EventSpec("kvm", "kvm_msr", ("u32 write", "u32 ecx", "u64 data", "u8 exc"))
XFD, TILE = 0x1C4, 1 << 18
GENERATIONS = pytest.mark.parametrize("generation", sorted(BUG.generations))


def preempted_in_wrmsr_exit(s: Story, *, fixed: bool) -> None:
    """handle_wrmsr() is preempted before fpu_update_guest_xfd(), so AMX state in use is saved; then
    XFD is set.  Without the fix the XRSTOR of vcpu_enter_guest() raises #NM: the thread dies there
    (arch/x86/kernel/fpu/core.c, as in the message of b45f72177594).
    """
    s.begin(HOG)
    s.switch(VCPU)
    s.restore()
    s.run_guest()
    s.schedule(HOG)
    flag = int(s.generation == "G6")
    s.event("x86_fpu_regs_deactivated", fpu=VCPU.fpu, flag=flag, xfeatures=AFTER | TILE)
    s.switch_to(HOG, save=False)
    s.restore()
    s.switch(VCPU)
    s.event("kvm_msr", write=1, ecx=XFD, data=TILE)
    if fixed:
        s.event("x86_fpu_regs_activated", fpu=VCPU.fpu, flag=1, xfeatures=AFTER)
        s.enter()
        s.leave()
        s.return_to_vmm()
    else:
        s.event("sched_process_exit", pid=VCPU.pid)
    s.switch(HOG, save=fixed)
    s.restore()


@GENERATIONS
def test_before(generation: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: preempted_in_wrmsr_exit(s, fixed=False), generation, tmp_path, extra_events=[MSR]
    )
    assert said(analysis) == BUG.tracepoints == BUG.probes
    (finding,) = of(analysis, "FPU119")
    names = [event.name for event in finding.witnesses[0].events]
    assert names == ["x86_fpu:x86_fpu_regs_deactivated", "kvm:kvm_msr"]


@GENERATIONS
def test_before_with_a_recording_that_ends_in_the_panic(generation: str, tmp_path: Path) -> None:
    class Panic(Story):
        def event(
            self, name: str, cpu: int = 0, by: int | None = None, /, **fields: object
        ) -> None:
            super().event(name, cpu, by, **fields)
            self.over = self.over or name == "kvm_msr"

    told = Panic(generation, extra_events=[MSR])
    preempted_in_wrmsr_exit(told, fixed=False)
    assert said(fputrace.analyze(told.write(tmp_path / "trace.dat"))) == BUG.tracepoints


@GENERATIONS
def test_after(generation: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: preempted_in_wrmsr_exit(s, fixed=True), generation, tmp_path, extra_events=[MSR]
    )
    assert said(analysis) == {}
    assert row(analysis, "FPU119").status is Status.CHECKED


@GENERATIONS
def test_not_decidable_without_the_msr_writes(generation: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: preempted_in_wrmsr_exit(s, fixed=False),
        generation,
        tmp_path,
        without=["kvm_msr"],
    )
    assert said(analysis) == {}
    assert row(analysis, "FPU119").status is Status.NOT_DECIDABLE
