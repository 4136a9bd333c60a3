"""What is read of a kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fputrace.errors import UsageError
from fputrace.record.kernel import Function, describe, find_tracefs
from tests.record.fake import make


def test_what_a_kernel_offers(tmp_path: Path) -> None:
    kernel = describe(str(make(tmp_path, "G4")), str(tmp_path / "proc"))
    assert kernel.release == "6.1.0-test"
    assert "kvm:kvm_fpu" in kernel.events
    assert kernel.functions["switch_fpu_return"] == Function("switch_fpu_return")
    assert kernel.functions["kvm_load_guest_fpu"] == Function("kvm_load_guest_fpu.isra.0", "kvm")
    assert kernel.functions["kvm_load_guest_fpu"].clone
    assert kernel.memory == 2 << 30
    assert (kernel.kprobes, kernel.fprobes, kernel.guessed) == (True, False, False)
    assert kernel.clocks == ("local", "global", "counter", "mono", "boot")


def test_functions_come_from_kallsyms_where_the_list_is_locked(tmp_path: Path) -> None:
    top = make(tmp_path, "G5", functions=False, kprobes=False, fprobes=True)
    kernel = describe(str(top), str(tmp_path / "proc"))
    assert kernel.guessed
    assert "fpu_swap_kvm_fpstate" in kernel.functions
    assert "schedule" not in kernel.functions
    assert (kernel.kprobes, kernel.fprobes) == (False, True)


def test_an_exact_name_wins_over_a_clone(tmp_path: Path) -> None:
    top = make(tmp_path, "G5")
    names = (
        "kernel_fpu_end.constprop.0\nkernel_fpu_end\nkernel_fpu_end.isra.1\nkernel_fpu_end.cold\n"
    )
    (top / "available_filter_functions").write_text(names)
    functions = describe(str(top), str(tmp_path / "proc")).functions
    assert functions == {"kernel_fpu_end": Function("kernel_fpu_end")}


def test_no_tracefs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not mounted") as caught:
        find_tracefs(str(tmp_path / "none"))
    assert "mount -t tracefs" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="not mounted"):
        find_tracefs(str(tmp_path / "empty"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may do everything")
def test_without_the_right(tmp_path: Path) -> None:
    top = make(tmp_path)
    (top / "instances").chmod(0o500)
    with pytest.raises(UsageError, match="may not be written") as caught:
        find_tracefs(str(top))
    assert "sudo" in caught.value.hint
    assert "--dry-run" in caught.value.hint
