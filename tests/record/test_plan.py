"""What is chosen on a kernel of each generation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fputrace.record.kernel import describe
from fputrace.record.plan import VCPU_THREADS, Plan, make_plan, pid_filter
from tests.record.fake import make


def plan(tmp_path: Path, generation: str = "G5", **options: Any) -> Plan:
    layout = {name: options.pop(name) for name in ("kvm", "kprobes", "fprobes") if name in options}
    top = make(tmp_path, generation, **layout)
    return make_plan(describe(str(top), str(tmp_path / "proc")), "42", **options)


def definitions(chosen: Plan) -> list[str]:
    return [chosen.definition(probe) for probe in chosen.probes]


def test_events_that_exist_here(tmp_path: Path) -> None:
    chosen = plan(tmp_path)
    names = [event.name for event in chosen.events]
    assert names[0] == "x86_fpu"
    assert "kvm:kvm_entry" in names
    assert "kvm:kvm_vcpu_wakeup" not in names  # this kernel has none
    assert "sched:sched_wakeup" not in names  # no rule needs it
    filters = {event.name: event.filter for event in chosen.events if event.filter}
    assert filters == {
        "raw_syscalls:sys_enter": VCPU_THREADS,
        "kvm:kvm_msr": "ecx == 0x1c4 || ecx == 0x1c5",
    }
    assert (chosen.instance, chosen.group) == ("fputrace-42", "fputrace_42")
    assert (chosen.clock, chosen.missing, chosen.probes) == ("mono", (), ())


def test_user_mode_of_chosen_threads(tmp_path: Path) -> None:
    filters = {event.name: event.filter for event in plan(tmp_path, pids=[72, 73]).events}
    for name in ("raw_syscalls:sys_enter", "exceptions:page_fault_user"):
        assert filters[name] == "(common_pid >= 72 && common_pid <= 73)"
    assert filters["sched:sched_switch"] == ""


def test_without_kvm(tmp_path: Path) -> None:
    missing = plan(tmp_path, kvm=False).missing
    assert len(missing) == 2
    assert all("modprobe" in sentence for sentence in missing)


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        ("G1", ["p:fputrace_42/kvm_load_guest_fpu kvm:kvm_load_guest_fpu vcpu=%di:x64",
                "p:fputrace_42/kvm_put_guest_fpu kvm:kvm_put_guest_fpu vcpu=%di:x64",
                "p:fputrace_42/kvm_arch_vcpu_load kvm:kvm_arch_vcpu_load vcpu=%di:x64 cpu=%si:s32",
                "p:fputrace_42/kvm_arch_vcpu_put kvm:kvm_arch_vcpu_put vcpu=%di:x64",
                "p:fputrace_42/kernel_fpu_begin kernel_fpu_begin",
                "r:fputrace_42/kernel_fpu_begin__return kernel_fpu_begin",
                "p:fputrace_42/kernel_fpu_end kernel_fpu_end"]),
        ("G4", ["p:fputrace_42/copy_fpregs_to_fpstate copy_fpregs_to_fpstate fpu=%di:x64",
                "p:fputrace_42/switch_fpu_return switch_fpu_return",
                "p:fputrace_42/fpregs_mark_activate fpregs_mark_activate",
                # A clone's arguments are anybody's guess.
                "p:fputrace_42/kvm_load_guest_fpu kvm:kvm_load_guest_fpu.isra.0",
                "p:fputrace_42/fpu__prepare_write fpu__prepare_write fpu=%di:x64",
                "p:fputrace_42/kernel_fpu_begin kernel_fpu_begin",
                "r:fputrace_42/kernel_fpu_begin__return kernel_fpu_begin",
                "p:fputrace_42/kernel_fpu_end kernel_fpu_end"]),
        ("G4d", ["p:fputrace_42/save_fpregs_to_fpstate save_fpregs_to_fpstate fpu=%di:x64",
                 ("p:fputrace_42/__restore_fpregs_from_fpstate __restore_fpregs_from_fpstate "
                 "state=%di:x64 mask=%si:x64"),
                 "p:fputrace_42/switch_fpu_return switch_fpu_return",
                 "p:fputrace_42/fpu_force_restore fpu_force_restore fpu=%di:x64",
                 "p:fputrace_42/kernel_fpu_begin_mask kernel_fpu_begin_mask mask=%di:u32",
                 "r:fputrace_42/kernel_fpu_begin_mask__return kernel_fpu_begin_mask",
                 "p:fputrace_42/kernel_fpu_end kernel_fpu_end"]),
        ("G5", [("p:fputrace_42/save_fpregs_to_fpstate save_fpregs_to_fpstate fpu=%di:x64 "
                "fpstate=+16(%di):x64"),
                ("p:fputrace_42/restore_fpregs_from_fpstate restore_fpregs_from_fpstate "
                "fpstate=%di:x64 mask=%si:x64"),
                ("p:fputrace_42/fpu_swap_kvm_fpstate fpu_swap_kvm_fpstate guest_fpu=%di:x64 "
                "enter=%si:u8"),
                "p:fputrace_42/switch_fpu_return switch_fpu_return",
                "p:fputrace_42/fpregs_mark_activate fpregs_mark_activate",
                "p:fputrace_42/fpu_force_restore fpu_force_restore fpu=%di:x64",
                "p:fputrace_42/kernel_fpu_begin_mask kernel_fpu_begin_mask mask=%di:u32",
                "r:fputrace_42/kernel_fpu_begin_mask__return kernel_fpu_begin_mask",
                "p:fputrace_42/kernel_fpu_end kernel_fpu_end"]),
    ],
)  # fmt: skip
def test_probes_of_a_generation(tmp_path: Path, generation: str, expected: list[str]) -> None:
    chosen = plan(tmp_path, generation, probes=True, kfpu=True)
    assert definitions(chosen) == expected
    assert chosen.control == "kprobe_events"
    assert bool(chosen.missing) == (generation == "G1")  # the save is inline there


def test_the_kernels_own_use_only_when_asked(tmp_path: Path) -> None:
    assert not any("kernel_fpu" in line for line in definitions(plan(tmp_path, probes=True)))


def test_fprobes_where_there_are_no_kprobes(tmp_path: Path) -> None:
    chosen = plan(tmp_path, kprobes=False, fprobes=True, probes=True, kfpu=True)
    assert chosen.control == "dynamic_events"
    lines = definitions(chosen)
    assert lines[0] == (
        "f:fputrace_42/save_fpregs_to_fpstate save_fpregs_to_fpstate fpu=$arg1:x64 "
        "fpstate=+16($arg1):x64"
    )
    assert "f:fputrace_42/kernel_fpu_begin_mask__return kernel_fpu_begin_mask%return" in lines


def test_a_kernel_without_probes_says_so(tmp_path: Path) -> None:
    chosen = plan(tmp_path, kprobes=False, probes=True)
    assert chosen.probes == ()
    assert "neither kprobes nor fprobes" in chosen.missing[0]


def test_buffers(tmp_path: Path) -> None:
    kernel = replace(describe(str(make(tmp_path)), str(tmp_path / "proc")), cpus=4)
    assert make_plan(kernel, "1").buffer_kb == 64 << 10
    assert make_plan(kernel, "1", buffer_mb=3).buffer_kb == 3 << 10
    small = replace(kernel, cpus=512)
    assert make_plan(small, "1").buffer_kb == 1 << 10


def test_filters_of_many_tasks_stay_small() -> None:
    assert pid_filter([5]) == "common_pid == 5"
    assert pid_filter([9, 5, 5]) == "common_pid == 5 || common_pid == 9"
    assert pid_filter(range(10, 200, 2)) == "(common_pid >= 10 && common_pid <= 198)"
