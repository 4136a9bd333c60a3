"""FPU301: a section inside a section.  The fault itself: test_probed.py."""

from __future__ import annotations

from pathlib import Path

from tests.rules.probed import ADDRESSES, FUNCTIONS, ProbedStory, tell_probed
from tests.rules.scenario import KTHREAD, VCPU, accused
from tests.writers import EventSpec


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
