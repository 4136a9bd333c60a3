"""Analyses made by hand: what the reports are given in their tests.

The two proofs are real ones: the double save of 4.14.5 and the save of guest registers over QEMU's
of 5.2.1 (sample_traces/4.14.5-pinned, 5.2.1-pinned), times as recorded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from fputrace.events import ABSENT, Loss, Trace
from fputrace.findings import (
    Analysis,
    Cost,
    Coverage,
    Finding,
    Findings,
    GenerationResult,
    RuleInfo,
    Severity,
    Status,
    Verdict,
    Witness,
    WitnessEvent,
)
from fputrace.lanes import LaneCell, LaneGrid
from fputrace.rules import PAGES
from fputrace.timeline import Span

QEMU, HOG = 0xFFFF8880B7CAE880, 0xFFFF8880B7C1A880
HOSTILE = "\x1b[31m|`<b>\n@x"
HOSTILE_NAMES = (
    HOSTILE,
    "=cmd|' /C calc'!A0",
    "[bold]x[/bold]",
    "```\n# head",
    "<script>alert()",
    "\x9b2J\r\b\u202e",
    "caf\u00e9\udc80\ud83d",
    "| a | b |\\",
)


def fpu(kind: str, ns: int, cpu: int, pid: int, comm: str, token: int, role: str) -> WitnessEvent:
    fields = {"fpu": token - (1 << 64), "load_fpu": False, "xfeatures": 0x217, "xcomp_bv": ABSENT}
    return WitnessEvent(ns, cpu, pid, comm, f"x86_fpu:x86_fpu_{kind}", fields, role)


def event(
    ns: int, cpu: int, pid: int, comm: str, name: str, role: str, **fields: Any
) -> WitnessEvent:
    return WitnessEvent(ns, cpu, pid, comm, name, fields, role)


def switch(
    ns: int, cpu: int, prev: tuple[int, str], to: tuple[int, str], role: str
) -> WitnessEvent:
    return event(
        ns, cpu, *prev, "sched:sched_switch", role,
        prev_comm=prev[1], prev_pid=prev[0], prev_state=0, next_comm=to[1], next_pid=to[0],
    )  # fmt: skip


def inferred(ns: int, cpu: int, pid: int, comm: str, name: str, role: str) -> WitnessEvent:
    return WitnessEvent(ns, cpu, pid, comm, name, {}, role, inferred=True)


def double_save(comm: str = "CPU 0/KVM") -> Finding:
    """FPU201 of 4.14.5: put at sched-out, then saved again by the switch."""
    t = 3_436_143_000
    vcpu, hog = (74, comm), (90, "fphog")
    events = (
        switch(t, 0, vcpu, hog, "the vCPU thread is preempted inside KVM_RUN"),
        inferred(t, 0, *vcpu, "kvm_put_guest_fpu", "saves the guest's registers, restores QEMU's"),
        event(t + 9_120, 0, *vcpu, "kvm:kvm_fpu", "the registers now hold QEMU's image", load=0),
        fpu("regs_deactivated", t + 10_420, 0, *vcpu, QEMU, "QEMU's image is saved a second time"),
        fpu("regs_activated", t + 10_990, 0, *vcpu, HOG, "the next task's image is restored"),
    )
    later = tuple(replace(e, ns=e.ns + 5_000_000 + i) for i, e in enumerate(events))
    spans = (
        Span(0, t - 500_000, t + 9_120, 74, 74, "guest", "known"),
        Span(0, t + 9_120, t + 10_990, 74, 74, "user", "inferred"),
        Span(0, t + 10_990, t + 4_000_000, 90, 90, "user", "known"),
        Span(1, t - 900_000, t + 4_000_000, 75, 75, "guest", "known"),
    )
    return Finding(
        "FPU201", "double-save", Severity.PERFORMANCE, Verdict.CONFIRMED, 88, 74, comm, 0, 70, (0,),
        t, t + 2_000_000_000,
        "KVM restored QEMU's registers when the vCPU thread was switched out, and the switch saved "
        "them again at once: nothing had used them.",
        (Witness(t, 0, events, spans), Witness(t + 5_000_000, 0, later)),
        Cost(88 * 832, 25_520, "Zen 5, measured"), "VM 70 (qemu-system-x86)",
    )  # fmt: skip


def guest_in_thread_fpu(verdict: Verdict = Verdict.CONFIRMED, pid: int = 93) -> Finding:
    """FPU101 of 5.2.1: guest registers saved where QEMU's image lives."""
    t = 3_436_143_000
    vcpu, other = (pid, "CPU 1/KVM"), (91, "fpsleeper")
    events = (
        event(t, 1, *vcpu, "kvm:kvm_fpu", "the guest's registers are loaded", load=1),
        event(t + 40_000, 1, *vcpu, "kvm:kvm_entry", "the guest runs", vcpu_id=1),
        switch(t + 90_000, 1, vcpu, other, "the vCPU thread is preempted inside KVM_RUN"),
        inferred(t + 90_000, 1, *vcpu, "switch_fpu_prepare", "copies the registers to thread.fpu"),
        fpu("regs_deactivated", t + 104_000, 1, *vcpu, QEMU, "QEMU's image is overwritten"),
        event(t + 9_104_000, 1, *vcpu, "kvm:kvm_fpu", "QEMU gets the guest's registers", load=0),
    )
    spans = (
        Span(1, t, t + 104_000, pid, pid, "guest", "known"),
        Span(1, t + 104_000, t + 500_000, 91, 0, "unknown", "unknown"),
        Span(1, t + 500_000, t + 9_104_000, 91, 91, "user", "known"),
    )
    return Finding(
        "FPU101", "guest-state-in-thread-fpu", Severity.ERROR, verdict, 1012, pid, "CPU 1/KVM", 1,
        87, (0, 1), t, t + 1_000_000_000,
        "The guest's registers were saved into current->thread.fpu, over QEMU's image; the next "
        "kvm_put_guest_fpu() gives them to QEMU.",
        (Witness(t + 104_000, 1, events, spans),), None, None,
    )  # fmt: skip


def trace(**changes: Any) -> Trace:
    made = Trace(
        path="sample_traces/4.14.5-pinned/trace.dat",
        format="trace.dat v6",
        kernel="4.14.5",
        cpus=[0, 1],
        clock="local",
        counts={
            "sched:sched_switch": 6092,
            "kvm:kvm_fpu": 4000,
            "x86_fpu:x86_fpu_regs_activated": 29,
        },
        first_ns=2_104_000_000,
        last_ns=6_304_312_000,
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


COVERAGE = [
    Coverage("FPU101", "guest-state-in-thread-fpu", Status.CHECKED, (), ""),
    Coverage("FPU102", "missing-restore-at-vm-entry", Status.CHECKED, (), ""),
    Coverage("FPU105", "missing-restore-at-user-return", Status.NOT_DECIDABLE,
             ("raw_syscalls:sys_enter",), "nothing shows when a task is in user mode"),
    Coverage("FPU110", "guest-state-visible-to-user", Status.NOT_DECIDABLE,
             ("raw_syscalls:sys_enter",), "nothing shows when a task is in user mode"),
    Coverage("FPU112", "vm-entry-after-kernel-fpu", Status.PARTLY,
             ("a probe on kernel_fpu_begin",), "only tasks that lost the CPU are seen"),
    Coverage("FPU104", "missing-restore-claimed-valid", Status.NOT_APPLICABLE, (),
             "G1 has no TIF_NEED_FPU_LOAD"),
]  # fmt: skip

RULES = tuple(
    RuleInfo(
        page.RULE.code, page.RULE.name, page.RULE.severity, page.RULE.title, page.__doc__ or ""
    )
    for page in PAGES
)

RECORD = (
    "trace-cmd record -C mono -b 16384 -e x86_fpu -e kvm:kvm_fpu -e kvm:kvm_entry "
    "-e sched:sched_switch -e raw_syscalls:sys_enter "
    "-e 'p:fputrace/kfpu kernel_fpu_begin' sleep 10"
)


def analysis(*findings: Finding, **changes: Any) -> Analysis:
    made = Analysis(
        trace(),
        GenerationResult("G1", True, False, ("G1",), (
            "x86_fpu events print `initialized`: 4.14 to 5.1",
            "kvm_fpu unload follows the sched_switch of the vCPU thread 88 times",
        )),
        Findings(findings), list(COVERAGE), [], RECORD, cast("Any", None), rules=RULES,
    )  # fmt: skip
    return replace(made, **changes)


def hostile(name: str) -> Analysis:
    """Everything that comes from a recording is ``name``."""
    finding = double_save(name)
    finding.vm = f"VM {name}"
    finding.message = f"{name} did it"
    witness = finding.witnesses[0]
    events = tuple(
        replace(e, comm=name, name=f"x:{name}", fields={name: name}) for e in witness.events
    )
    finding.witnesses = (replace(witness, events=events),)
    return analysis(
        finding,
        trace=trace(path=name, format=name, kernel=name, host=name, clock=name, counts={name: 1},
                    notes=[name]),
        losses=[Loss(0, 5, 7, 3, name)], notes=[f"note {name}"], record=f"record '{name}'",
        generation=GenerationResult(None, False, False, ("G2", "G3"), (name,)),
        coverage=[Coverage("FPU101", name, Status.PARTLY, (name,), name)],
    )  # fmt: skip


def grid(width: int = 40, cpus: int = 2) -> LaneGrid:
    """Lanes with every state, a finding of each severity and both kinds of loss."""
    states = "UUUUUUUUGGGGGGGGGGGGGGGGKKII....????UGUG"
    cells = tuple(
        tuple(
            LaneCell(
                states[i * len(states) // width],
                0.9 if i % 3 else 0.4,
                {"U": 90, "G": 74}.get(states[i * len(states) // width], 0),
                {12: "error", 20: "performance"}.get(i, "") if cpu == 0 else "",
                {12: "lost", 30: "unknown"}.get(i, "") if cpu == 0 else "",
            )
            for i in range(width)
        )
        for cpu in range(cpus)
    )
    return LaneGrid(1_000_000_000, 3_000_000_000, tuple(range(cpus)), cells)
