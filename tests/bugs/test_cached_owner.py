"""docs/bugs/cached-owner.md: CVE-2019-19602, gcc 9 and fpu_fpregs_owner_ctx."""

from __future__ import annotations

from pathlib import Path

import pytest

import fputrace
from tests.bugs.claims import page, said
from tests.rules.scenario import HOG, OTHER, Story, of, tell

BUG = page("cached-owner")


def signal_frame_faults(s: Story, *, cached: bool) -> None:
    """copy_fpstate_to_sigframe() faults on the frame and is preempted; on its second turn
    fpregs_state_valid() answers from the stack (arch/x86/kernel/fpu/signal.c, as in the message of
    59c4bd853abc).  Then fpu__clear(): until 5.7 fpu__drop() first.
    """
    s.begin(OTHER)
    s.event("sys_enter", id=1)
    s.event("signal_deliver", sig=23, sa_handler=0x401000)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    if not cached:
        s.restore()
    if s.generation in ("G4a", "G4x", "G4b"):
        # Not s.drop(): the flag was cleared without a restore.
        for event in ("regs_deactivated", "dropped", "init_state"):
            s.fpu(event, flag=0)
    s.fpu("regs_activated", flag=0)
    s.event("sys_enter", id=15)
    s.fpu("regs_activated", flag=0)  # sigreturn
    s.switch(HOG, save=True)
    s.restore()
    s.switch(OTHER)


def saved_at_switch_out(s: Story, *, cached: bool) -> None:
    """The same without the clear: the frame's fault kills it, or it is preempted once more."""
    s.begin(OTHER)
    s.event("signal_deliver", sig=23, sa_handler=0x401000)
    s.switch(HOG)
    s.restore()
    s.switch(OTHER)
    if not cached:
        s.restore()
    s.switch(HOG, save=True)
    s.restore()
    s.switch(OTHER)


STORIES = pytest.mark.parametrize("story", [signal_frame_faults, saved_at_switch_out])


@STORIES
@pytest.mark.parametrize(
    ("generation", "release"), [("G4a", "5.2.1"), ("G4b", "5.3.1"), ("G4b", "5.4.1")]
)
def test_before(story: object, generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: story(s, cached=True),  # type: ignore[operator]
        generation,
        tmp_path,
        kernel=release,
    )
    assert said(analysis) == BUG.tracepoints == BUG.probes
    (finding,) = of(analysis, "FPU104")
    assert (finding.pid, finding.count) == (OTHER.pid, 1)
    assert "fphog (91)" in finding.message


@STORIES
@pytest.mark.parametrize(("generation", "release"), [("G4b", "5.4.2"), ("G4c", "5.6.0")])
def test_after(story: object, generation: str, release: str, tmp_path: Path) -> None:
    analysis = tell(
        lambda s: story(s, cached=False),  # type: ignore[operator]
        generation,
        tmp_path,
        kernel=release,
    )
    assert said(analysis) == {}


def test_recording_of_the_same_fault(samples: Path) -> None:
    found = said(fputrace.analyze(samples / "6.1-stale-owner" / "trace.dat"))
    assert found["FPU104"] == BUG.tracepoints["FPU104"]
