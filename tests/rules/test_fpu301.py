"""FPU301: a section inside a section.  The fault itself: test_probed.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rules.probed import ADDRESSES, FUNCTIONS, ProbedStory, tell_probed
from tests.rules.scenario import KTHREAD, VCPU, accused
from tests.writers import EventSpec

SOFTIRQ = 0x10


def test_two_probes_on_one_function_are_one_call(tmp_path: Path) -> None:
    """kprobe and function tracer, say."""
    twins = [
        EventSpec("mine", f"other_{name}", ("unsigned long __probe_ip",))
        for name in ("begin", "end")
    ]

    def story(s: ProbedStory) -> None:
        s.switch(KTHREAD)
        s.begin(VCPU)
        for _ in range(3):
            for name in ("begin", "end"):
                s.probe(name)
                s.event(f"other_{name}", __probe_ip=ADDRESSES[FUNCTIONS[name]] + 4)
            s.restore()
        s.switch(KTHREAD)

    analysis = tell_probed(story, "G5", tmp_path, more=twins)
    assert accused(analysis) == []


def test_one_section_after_the_other_is_no_nesting(tmp_path: Path) -> None:
    def story(s: ProbedStory) -> None:
        s.switch(KTHREAD)
        s.begin(VCPU)
        for _ in range(3):
            s.kernel_fpu()
        s.restore()
        s.switch(KTHREAD)

    assert accused(tell_probed(story, "G5", tmp_path)) == []


@pytest.mark.parametrize(
    ("depth", "unset", "found"),
    [(0, ["begun"], []), (1, ["begun"], ["possible"]), (1, [], [])],
    ids=["flags tell", "flags tell of a section", "returns are recorded"],
)
def test_a_softirq_before_the_section(
    depth: int, unset: list[str], found: list[str], tmp_path: Path
) -> None:
    """An interrupt where a kprobe on the begin returns; its softirq uses the FPU too."""

    def story(s: ProbedStory) -> None:
        for task in (KTHREAD, VCPU):
            s.schedule(task, common_preempt_count=2)
            s.switch_to(task)
        s.restore()
        s.kernel_fpu()
        s.restore()
        s.probe("begin")
        s.probe("begin", common_flags=SOFTIRQ, common_preempt_count=depth)
        for name in ("begun", "end", "begun", "end"):
            s.probe(name)
        s.restore()
        s.schedule(KTHREAD, common_preempt_count=2)
        s.switch_to(KTHREAD)

    analysis = tell_probed(story, "G5", tmp_path, unset=unset)
    assert [verdict for code, verdict, *_ in accused(analysis) if code == "FPU301"] == found
