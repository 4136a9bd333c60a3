"""docs/bugs/pkru-xcr0-uabi.md: registers and sizes that no event shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from fputrace.events import KINDS, PROBED_FUNCTIONS
from tests.bugs.claims import page, said
from tests.rules.scenario import DEFERRED, HOG, VCPU, Story, tell

BUG = page("pkru-xcr0-uabi")


def switched_out_with_guest_xcr0(s: Story) -> None:
    """do_machine_check() sleeps between kvm_load_guest_xcr0() and kvm_put_guest_xcr0() (before
    1811d979c716: arch/x86/kvm/vmx.c).  XSETBV and WRPKRU print nothing, so this is any sched-out.
    """
    s.begin(HOG)
    s.switch(VCPU)
    s.restore()
    s.run_guest()
    s.return_to_vmm()
    s.run_guest()
    s.return_to_vmm()
    s.switch(HOG)
    s.restore()
    s.switch(VCPU)
    s.restore()


@pytest.mark.parametrize("generation", DEFERRED)
def test_before(generation: str, tmp_path: Path) -> None:
    analysis = tell(switched_out_with_guest_xcr0, generation, tmp_path)
    assert said(analysis) == BUG.tracepoints == BUG.probes == {}


def test_after_is_the_same_story() -> None:
    """No event and no function that fputrace could know of carries PKRU, XCR0 or a copied size."""
    words = [name for spec in KINDS for name in spec.names]
    words += [field for spec in KINDS for operand in spec.operands for field in operand.fields]
    words += PROBED_FUNCTIONS
    for hidden in ("pkru", "xcr0", "xsetbv", "uabi"):
        assert not [word for word in words if hidden in word.lower()]
