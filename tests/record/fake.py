"""Made-up kernels: a tracefs and a /proc as each generation has them, and what makes one live."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fputrace.record.live import Tracefs

FPU_EVENTS = ("regs_activated", "regs_deactivated", "dropped", "copy_dst", "before_save")
EVENTS = (
    "sched:sched_switch",
    "sched:sched_migrate_task",
    "sched:sched_process_fork",
    "sched:sched_process_exec",
    "sched:sched_process_exit",
    "sched:sched_process_free",
    "sched:sched_wakeup",
    "raw_syscalls:sys_enter",
    "exceptions:page_fault_user",
    "signal:signal_deliver",
    "power:suspend_resume",
)
KVM = ("kvm:kvm_fpu", "kvm:kvm_entry", "kvm:kvm_exit", "kvm:kvm_userspace_exit", "kvm:kvm_msr")

# reference: which functions are out of line in which kernel (symbol [module]).
FUNCTIONS = {
    "G1": ["kernel_fpu_begin", "kernel_fpu_end", "kvm_load_guest_fpu [kvm]",
           "kvm_put_guest_fpu [kvm]", "kvm_arch_vcpu_load [kvm]", "kvm_arch_vcpu_put [kvm]"],
    "G4": ["kernel_fpu_begin", "kernel_fpu_end", "copy_fpregs_to_fpstate", "switch_fpu_return",
           "fpregs_mark_activate", "fpu__prepare_write", "kvm_load_guest_fpu.isra.0 [kvm]"],
    "G4d": ["kernel_fpu_begin_mask", "kernel_fpu_end", "save_fpregs_to_fpstate",
            "__restore_fpregs_from_fpstate", "switch_fpu_return", "fpu_force_restore"],
    "G5": ["kernel_fpu_begin_mask", "kernel_fpu_end", "save_fpregs_to_fpstate",
           "restore_fpregs_from_fpstate", "fpu_swap_kvm_fpstate", "switch_fpu_return",
           "fpregs_mark_activate", "fpu_force_restore", "schedule"],
}  # fmt: skip
README = "tracing mini-HOWTO:\n"
FPROBES = "\t           f[:[<group>/][<event>]] <func-name>[%return] [<args>]\n"
PAGE = b"\1" * 4096


def make(
    root: Path,
    generation: str = "G5",
    *,
    kvm: bool = True,
    kprobes: bool = True,
    fprobes: bool = False,
    functions: bool = True,
) -> Path:
    """Lay out ``root/tracing`` and ``root/proc``; the former is returned."""
    top, proc = root / "tracing", root / "proc"
    names = [f"x86_fpu:x86_fpu_{name}" for name in FPU_EVENTS] + list(EVENTS)
    names += KVM if kvm else []
    files = {
        "available_events": "\n".join(names) + "\n",
        "README": README + (FPROBES if fprobes else ""),
        "trace_clock": "[local] global counter mono boot\n",
        "saved_cmdlines": "7 seven\n",
        "events/header_page": "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n",
    }
    if kprobes:
        files |= {"kprobe_events": "", "kprobe_profile": ""}
    if fprobes:
        files["dynamic_events"] = ""
    if functions:
        files["available_filter_functions"] = "\n".join(FUNCTIONS[generation]) + "\n"
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    (top / "instances").mkdir()
    task = proc / "70/task"
    for tid, comm in ((70, "qemu"), (72, "CPU 0/KVM"), (73, "CPU 1/KVM"), (80, "worker")):
        (task / str(tid)).mkdir(parents=True)
        (task / f"{tid}/comm").write_text(f"{comm}\n")
        (task / f"{tid}/stat").write_text(f"{tid} ({comm}) S 1 70 70 0 -1 4194304 0 0\n")
    (proc / "2/task/2").mkdir(parents=True)
    (proc / "2/task/2/stat").write_text("2 (kthreadd :) ) S 0 0 0 0 -1 2129984 0 0\n")
    (proc / "self/ns").mkdir(parents=True)
    os.symlink("pid:[4026531836]", proc / "self/ns/pid")
    (proc / "sys/kernel").mkdir(parents=True)
    (proc / "sys/kernel/osrelease").write_text("6.1.0-test\n")
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2097152 kB\n")
    lines = [f"ffffffff8100{n:04x} T {line}" for n, line in enumerate(FUNCTIONS[generation])]
    (proc / "kallsyms").write_text("\n".join(lines) + "\n")
    (proc / "cmdline").write_text("root=/dev/secret kvm.nx_huge_pages=off\n")
    (proc / "stat").write_text("ctxt 12345\n")
    return top


class FakeTracefs(Tracefs):
    """Does what the kernel does when an instance is made or a line written to a list of probes."""

    def make(self, instance: str) -> None:
        super().make(instance)
        where = Path(self.path(f"instances/{instance}"))
        for event in Path(self.path("available_events")).read_text().split():
            folder = where / "events" / event.replace(":", "/")
            folder.mkdir(parents=True)
            for name in ("enable", "filter", "format"):
                (folder / name).write_text(f"{event}\n" if name == "format" else "0\n")
        for system in (where / "events").iterdir():
            (system / "enable").write_text("0\n")
            (system / "filter").write_text("none\n")
        for name in ("tracing_on", "trace_clock", "buffer_size_kb", "events/enable"):
            (where / name).write_text("0\n")
        for cpu in ("cpu0", "cpu1"):
            (where / "per_cpu" / cpu).mkdir(parents=True)
            (where / "per_cpu" / cpu / "trace_pipe_raw").write_bytes(PAGE)
            (where / "per_cpu" / cpu / "stats").write_text("entries: 1\noverrun: 0\n")

    def remove(self, instance: str) -> None:
        where = self.path(f"instances/{instance}")
        if not os.path.isdir(where):
            os.rmdir(where)
        shutil.rmtree(where)

    def write(self, name: str, text: str, append: bool = False) -> None:
        path = Path(self.path(name))
        if name not in ("kprobe_events", "dynamic_events"):
            super().write(name, text, append)
            system = path.parent
            if name.endswith("/enable") and system.name != "events":
                for event in system.iterdir():
                    if event.is_dir():
                        (event / "enable").write_text(f"{text}\n")
            return
        assert append, "a list of probes must never be emptied: it is everybody's"
        lines = path.read_text().splitlines()
        if text.startswith("-:"):
            kept = [line for line in lines if line.split()[0].partition(":")[2] != text[2:]]
            if len(kept) == len(lines):
                raise FileNotFoundError(2, "No such file or directory")
            lines = kept
        else:
            lines.append(text)
        path.write_text("".join(f"{line}\n" for line in lines))
