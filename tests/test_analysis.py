"""The whole line by its public API: what an analysis says, shows, weakens, and exits with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fputrace
from fputrace import analysis
from fputrace.ahead import ahead
from fputrace.analysis import exit_status, filter_view
from fputrace.coverage import record_command, trace_cmd_command
from fputrace.errors import TraceError, UsageError
from fputrace.events import EventBlock, Kind, Trace
from fputrace.findings import Analysis, Coverage, Severity, Status, Verdict
from fputrace.following import Known, Pass
from fputrace.parsers import open_trace, textpass
from fputrace.rules import RULES, TRACE_RULES
from tests.conftest import SAMPLES
from tests.rules.scenario import HOG, OTHER, VCPU, Story, accused, of, row, tell
from tests.writers import TraceWriter

BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"
CLEAN = SAMPLES / "4.14.177-pinned" / "trace.dat"
KFPU = SAMPLES / "6.12-kfpu-probes" / "trace.dat"
USERMODE = SAMPLES / "6.12-storm-usermode" / "trace.dat"
UNDECIDED = SAMPLES / "4.14.0-rc8-pinned" / "trace.dat"
COSTLY = SAMPLES / "6.1-put-at-sched-out" / "trace.dat"


def preempted(s: Story) -> None:
    """A vCPU thread is preempted inside KVM_RUN and comes back."""
    s.begin(VCPU)
    s.run_guest()
    s.switch(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    s.enter()
    s.leave()
    s.return_to_vmm()
    s.switch(HOG)


def put_at_sched_out(s: Story) -> None:
    """kvm_arch_vcpu_put() puts the guest FPU, and the switch saves the user image again."""
    s.begin(VCPU)
    s.run_guest()
    s.schedule(HOG)
    s.put()
    s.switch_to(HOG)
    if not s.eager:
        s.restore()
    s.switch(VCPU)
    s.load()
    s.enter()


def findings_of(analysis: Analysis) -> list[object]:
    """Everything the findings say (their witnesses without the spans drawn around them)."""
    return [
        dataclasses.replace(
            finding,
            witnesses=tuple(dataclasses.replace(w, spans=()) for w in finding.witnesses),
        )
        for finding in analysis.findings
    ]


# ----- the public API


def test_open_gives_blocks_and_metadata() -> None:
    with fputrace.open(BUG) as trace:
        assert (trace.kernel, trace.cpus) == ("5.2.1", [0, 1])
        assert trace.format.startswith("trace.dat v")
        blocks = list(trace.blocks())
        events = sum(int((block.event >= 0).sum()) for block in blocks)
        assert events == sum(trace.counts.values()) == 16664
        saves = blocks[0].to_pandas(Kind.REGS_DEACTIVATED)
        assert list(saves.columns) == [
            "ts", "cpu", "pid", "name", "fpu", "load_fpu", "xfeatures", "xcomp_bv",
        ]  # fmt: skip
        assert set(saves.name) == {"x86_fpu:x86_fpu_regs_deactivated"}
        assert len(saves) == trace.counts["x86_fpu:x86_fpu_regs_deactivated"]
    with pytest.raises(ValueError, match="closed"):
        trace.blocks()


def test_analyze_gives_everything() -> None:
    result = fputrace.analyze(BUG)
    assert result.generation.code == "G4a"
    assert {f.code for f in result.findings} >= {"FPU101"}
    assert result.trace.kernel == "5.2.1"
    assert result.sha256 is None
    frame = result.to_pandas()
    assert len(frame) == len(result.findings)
    assert "witnesses" not in frame.columns
    assert frame.code.tolist() == [f.code for f in result.findings]
    assert set(frame.severity) <= {s.value for s in Severity}
    assert set(frame.verdict) <= {v.value for v in Verdict}
    assert len(result.timeline.spans()) > 1000
    rules = [*(r.code for r in RULES), *(r.code for r in TRACE_RULES)]
    assert [row.code for row in result.coverage] == sorted(rules)


def test_package_has_only_what_it_says() -> None:
    assert set(fputrace.__all__) == {"__version__", "analyze", "open"}
    with pytest.raises(AttributeError, match="no attribute 'read'"):
        _ = fputrace.read


def test_findings_are_ordered_by_severity_code_and_verdict() -> None:
    order = list(Severity)
    for path in (BUG, COSTLY, SAMPLES / "6.1-storm-lost" / "trace.dat"):
        keys = [
            (order.index(f.severity), f.code, f.verdict.value)
            for f in fputrace.analyze(path).findings
        ]
        assert keys
        assert keys == sorted(keys)


def test_select_and_ignore() -> None:
    assert {f.code for f in fputrace.analyze(BUG, select=["FPU111"]).findings} == {"FPU111"}
    assert "FPU101" not in {f.code for f in fputrace.analyze(BUG, ignore=["FPU101"]).findings}
    assert fputrace.analyze(BUG, ignore=["FPU"]).findings == []
    assert fputrace.analyze(BUG, select=["FPU1"], ignore=["FPU101", "FPU111"]).findings == []
    undecided = fputrace.analyze(UNDECIDED)
    assert of(undecided, "FPU903")
    assert not of(fputrace.analyze(UNDECIDED, ignore=["FPU9"]), "FPU903")


def test_kernel_and_generation() -> None:
    as_recorded = fputrace.analyze(UNDECIDED)
    assert as_recorded.generation.candidates == ("G2", "G3")
    assert {f.verdict for f in of(as_recorded, "FPU101")} == {Verdict.POSSIBLE}
    for how in ({"kernel": "5.0.1"}, {"generation": "G3"}):
        told = fputrace.analyze(UNDECIDED, **how)  # type: ignore[arg-type]
        assert told.generation.code == "G3"
        assert told.generation.forced == ("generation" in how)
        assert Verdict.CONFIRMED in {f.verdict for f in of(told, "FPU101")}
        assert not of(told, "FPU903")
    assert not of(fputrace.analyze(UNDECIDED, kernel="4.19"), "FPU101")
    with pytest.raises(UsageError, match="contradicts"):
        fputrace.analyze(UNDECIDED, generation="G5")


def test_errors_are_typed(tmp_path: Path) -> None:
    with pytest.raises(TraceError):
        fputrace.analyze(tmp_path / "none")
    (tmp_path / "text").write_text("no trace")
    with pytest.raises(TraceError):
        fputrace.open(tmp_path / "text")


def test_sha256_and_progress() -> None:
    seen: list[int] = []
    result = fputrace.analyze(BUG, sha256=True, progress=lambda t: seen.append(t.read_bytes))
    assert result.sha256 is not None
    assert len(result.sha256) == 64
    assert seen[-1] > 0


# ----- the same whatever the blocks


def recut(trace: Trace, rows: int, passes: list[int] | None = None) -> Trace:
    """The trace in blocks of at most ``rows``; each pass over it is noted in ``passes``."""
    read = trace._blocks
    assert read is not None

    def blocks(opened: Trace) -> Iterator[EventBlock]:
        assert read is not None
        if passes is not None:
            passes.append(rows)
        for block in read(opened):
            for start in range(0, len(block), rows):
                part = slice(start, start + rows)
                yield EventBlock(
                    block.ts[part], block.cpu[part], block.pid[part], block.kind[part],
                    block.flags[part], block.event[part], block.op[part], block.names,
                    block.fields_of,
                )  # fmt: skip

    trace._blocks = blocks
    return trace


def test_a_first_look_that_was_wrong_costs_a_pass_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first block decides otherwise than the whole, as when the VM starts late."""
    passes: list[int] = []
    monkeypatch.setattr(
        "fputrace.analysis.open_trace", lambda *a, **k: recut(open_trace(*a, **k), 300, passes)
    )
    monkeypatch.setattr("fputrace.analysis._FIRST_LOOK", 1)
    result = fputrace.analyze(SAMPLES / "5.10-pinned" / "trace.dat")
    assert result.generation.code == "G4c"
    assert 1 < len(passes) <= 3


@pytest.mark.parametrize("path", [BUG, COSTLY], ids=lambda path: path.parent.name)
@pytest.mark.parametrize("rows", [997, 8192])
def test_findings_do_not_depend_on_blocks(
    path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fputrace.analyze(path)

    monkeypatch.setattr(
        "fputrace.analysis.open_trace", lambda *a, **k: recut(open_trace(*a, **k), rows)
    )
    cut = fputrace.analyze(path)
    assert findings_of(cut) == findings_of(whole)
    assert cut.coverage == whole.coverage
    assert cut.timeline.spans().equals(whole.timeline.spans())


@pytest.mark.parametrize("part", [500, 100_000])
def test_findings_do_not_depend_on_the_rows_replayed_at_once(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fputrace.analyze(BUG)
    monkeypatch.setattr("fputrace.replay.PART", part)
    assert findings_of(fputrace.analyze(BUG)) == findings_of(whole)


# ----- views


def test_view_by_cpu_task_vcpu_and_time() -> None:
    whole = fputrace.analyze(BUG)
    about = [f for f in whole.findings if f.pid is not None]
    cpus = {cpu for f in about for cpu in f.cpus}
    assert cpus == {0, 1}
    for cpu in cpus:
        shown = filter_view(whole, cpus=[cpu]).findings
        assert [f for f in about if cpu in f.cpus] == [f for f in shown if f.pid is not None]
    pid = about[0].pid
    assert pid is not None
    assert {f.pid for f in filter_view(whole, pids=[pid]).findings} - {None} == {pid}
    assert about[0].vcpu is not None
    vcpu = filter_view(whole, vcpus=[about[0].vcpu]).findings
    assert {f.vcpu for f in vcpu if f.pid is not None} == {about[0].vcpu}
    first = about[0].first_ns
    assert first is not None
    assert not [f for f in filter_view(whole, time=(None, 0)).findings if f.pid is not None]
    (early,) = of(filter_view(whole, time=(first, first)), about[0].code)
    assert (early.pid, early.count) == (pid, about[0].count)
    assert [witness.ns for witness in early.witnesses] == [first]
    assert filter_view(whole, time=(None, None)).findings == whole.findings
    assert not [f for f in filter_view(whole, pids=[4711]).findings if f.pid is not None]
    assert filter_view(whole).findings == whole.findings


def test_proofs_are_of_the_chosen_time_where_anything_happened_there() -> None:
    window = (3_550_000_000, 3_600_000_000)
    far = fputrace.analyze(BUG, select="FPU101")
    near = fputrace.analyze(BUG, select="FPU101", window=lambda _trace: window)
    assert [(f.code, f.pid, f.count) for f in near.findings] == [
        (f.code, f.pid, f.count) for f in far.findings
    ]
    inside = [
        f
        for f in filter_view(near, time=window).findings
        if any(window[0] <= witness.ns <= window[1] for witness in f.witnesses)
    ]
    assert inside
    for finding in inside:
        assert all(window[0] <= witness.ns <= window[1] for witness in finding.witnesses)
        assert all(witness.spans for witness in finding.witnesses)
        assert "None of the proofs" not in finding.message
    elsewhere = [f for f in filter_view(far, time=window).findings if f.pid is not None]
    assert elsewhere
    assert all(f.message.endswith("lies in the chosen time.") for f in elsewhere)


def test_view_keeps_what_is_said_of_the_recording() -> None:
    lossy = fputrace.analyze(SAMPLES / "6.1-storm-lost" / "trace.dat")
    assert of(filter_view(lossy, pids=[4711], cpus=[99], vm=1), "FPU901") == of(lossy, "FPU901")


def test_two_vms_are_told_apart(tmp_path: Path) -> None:
    """vcpu_id is 1 in both; the processes that forked the threads differ."""
    one = VCPU
    two = VCPU._replace(pid=194, comm="CPU 1/KVM", fpu=VCPU.fpu + 0x10000)

    def story(s: Story) -> None:
        for parent, child in ((80, one), (180, two)):
            s.switch(OTHER._replace(pid=parent, comm=f"qemu{parent}"))
            s.event("sched_process_fork", parent_pid=parent, child_pid=child.pid)
        for vcpu in (one, two):
            s.switch(vcpu)
            s.restore()
            s.run_guest()
            s.switch(HOG)
            s.restore()
            s.switch(vcpu)
            s.enter()
            s.return_to_vmm()
        s.switch(HOG)

    analysis = tell(story, "G4a", tmp_path)
    found = of(analysis, "FPU101")
    assert {(f.pid, f.tgid, f.vcpu) for f in found} == {(94, 80, 1), (194, 180, 1)}
    assert len({f.vm for f in found}) == 2
    for tgid in (80, 180):
        shown = of(filter_view(analysis, vm=tgid), "FPU101")
        assert {f.tgid for f in shown} == {tgid}


def test_the_guest_option_names_the_vm(tmp_path: Path) -> None:
    story = Story("G4a")
    preempted(story)
    story.writer.guest("buster", 7, {1: VCPU.pid})
    analysis = fputrace.analyze(story.write(tmp_path / "trace.dat"))
    assert {f.vm for f in of(analysis, "FPU101")} == {"buster"}


# ----- exit status


def statuses(analysis: Analysis, **how: object) -> int:
    return exit_status([analysis], **how)  # type: ignore[arg-type]


def test_exit_status_of_findings() -> None:
    bug = fputrace.analyze(BUG)
    assert statuses(bug) == 1
    assert statuses(bug, exit_zero=True) == 0
    assert statuses(bug, fail_on="performance") == 1
    assert statuses(bug, fail_on="never") == 0
    assert statuses(filter_view(bug, pids=[4711])) == 0
    with pytest.raises(UsageError, match="sometimes"):
        statuses(bug, fail_on="sometimes")


def test_exit_status_of_possible_findings() -> None:
    undecided = fputrace.analyze(UNDECIDED, select=["FPU101"])
    assert {f.verdict for f in undecided.findings} == {Verdict.POSSIBLE}
    assert statuses(undecided, select=["FPU101"]) == 1
    assert statuses(undecided, select=["FPU101"], fail_on_confirmed=True) == 0


def test_exit_status_of_costs() -> None:
    costly = fputrace.analyze(COSTLY)
    assert {f.severity for f in costly.findings} == {Severity.PERFORMANCE}
    assert statuses(costly) == 0
    assert statuses(costly, fail_on="performance") == 1
    assert statuses(costly, fail_on="performance", fail_on_confirmed=True) == 1


def test_exit_status_of_a_clean_trace() -> None:
    clean = fputrace.analyze(CLEAN)
    assert clean.findings == []
    assert statuses(clean) == 0
    # FPU101 is by design in G2: without a probe it stays open, which only --strict minds.
    assert row(clean, "FPU101").status is Status.NOT_DECIDABLE
    assert statuses(clean, strict=True) == 3
    assert statuses(clean, strict=True, exit_zero=True) == 0
    assert statuses(clean, strict=True, select=["FPU102"]) == 0
    assert statuses(clean, strict=True, select=["FPU101"]) == 3


def test_exit_status_of_missing_events(tmp_path: Path) -> None:
    analysis = tell(preempted, "G5", tmp_path, without=["kvm_fpu"])
    assert accused(analysis) == []
    assert row(analysis, "FPU103").status is Status.NOT_DECIDABLE
    assert statuses(analysis) == 3
    assert statuses(analysis, exit_zero=True) == 0
    assert statuses(analysis, select=["FPU901"]) == 0
    assert statuses(analysis, ignore=["FPU1"]) == 0


def test_exit_status_of_several_traces(tmp_path: Path) -> None:
    clean, bug = fputrace.analyze(CLEAN), fputrace.analyze(BUG)
    poor = tell(preempted, "G5", tmp_path, without=["kvm_fpu"])
    assert exit_status([]) == 0
    assert exit_status([clean, clean]) == 0
    assert exit_status([clean, poor]) == 3
    assert exit_status([poor, clean, bug]) == 1


# ----- what a trace cannot answer


def noted(analysis: Analysis, words: str) -> bool:
    return any(words in note for note in analysis.notes)


def test_no_events_at_all(tmp_path: Path) -> None:
    analysis = fputrace.analyze(TraceWriter("6.12.0").write(tmp_path / "trace.dat"))
    assert noted(analysis, "no events at all")
    assert noted(analysis, "trace-cmd record -C mono -e x86_fpu")
    assert accused(analysis) == []
    assert analysis.timeline.spans().empty
    assert len(analysis.timeline.graph()) == 0
    assert sum(ns for ns in _node_ns(analysis)) == 0
    assert (analysis.timeline.start_ns, analysis.timeline.end_ns) == (None, None)
    assert statuses(analysis) == 3


def _node_ns(analysis: Analysis) -> list[int]:
    return [data["ns"] for _n, data in analysis.timeline.summary_graph().nodes.items()]


def test_no_fpu_events(tmp_path: Path) -> None:
    w = TraceWriter("6.12.0")
    for n in range(10):
        w.event(0, 1000 + n, n % 2, "sched_switch", prev_pid=n % 2, next_pid=(n + 1) % 2)
    analysis = fputrace.analyze(w.write(tmp_path / "trace.dat"))
    assert noted(analysis, "no x86_fpu events")
    assert accused(analysis) == []
    assert statuses(analysis) == 3


def test_no_vcpu(tmp_path: Path) -> None:
    def story(s: Story) -> None:
        for _ in range(3):
            s.begin(HOG)
            s.begin(OTHER)

    analysis = tell(story, "G5", tmp_path)
    assert noted(analysis, "No vCPU ran")
    assert accused(analysis) == []
    assert row(analysis, "FPU102").status is Status.NOT_APPLICABLE
    assert statuses(analysis) == 0


def test_back_end_without_kvm_entry(tmp_path: Path) -> None:
    analysis = tell(preempted, "G5", tmp_path, without=["kvm_entry", "kvm_exit"])
    assert noted(analysis, "no kvm_entry was seen")
    assert accused(analysis) == []
    assert row(analysis, "FPU102").status is Status.NOT_DECIDABLE
    assert statuses(analysis) == 3


def test_a_guests_trace(tmp_path: Path) -> None:
    story = Story("G5", cpus=1)
    story.begin(HOG)
    story.begin(OTHER)
    story.writer.time_shift(7, {0: [(0, 0, 1)]}, fractions={0: [0]})
    analysis = fputrace.analyze(story.write(tmp_path / "trace.dat"))
    assert analysis.trace.is_guest
    assert noted(analysis, "This is a guest's trace")
    assert noted(analysis, "trace-cmd record -A")
    assert not noted(fputrace.analyze(CLEAN), "guest's trace")


def test_record_command_asks_for_what_is_missing(tmp_path: Path) -> None:
    analysis = tell(preempted, "G5", tmp_path, without=["kvm_fpu"])
    assert analysis.record is not None
    assert analysis.record.startswith("fputrace record")
    assert analysis.record_trace_cmd is not None
    assert "-e kvm:kvm_fpu" in analysis.record_trace_cmd


def test_record_command_asks_for_probes_where_only_they_are_missing() -> None:
    def rows(*needs: str) -> list[Coverage]:
        return [Coverage("FPU101", "x", Status.NOT_DECIDABLE, needs, "")]

    assert record_command(rows(), ()) is None
    assert record_command(rows("sched:sched_switch"), ()) == "fputrace record --seconds 10"
    assert trace_cmd_command(rows("probe:fpu_swap_kvm_fpstate"), ()) is None
    assert record_command(rows("argument:fpstate", "probe:kernel_fpu_end"), ()) == (
        "fputrace record --probes --kfpu --seconds 10"
    )
    assert record_command(rows("probe:kernel_fpu_begin_mask|probe:kernel_fpu_begin"), ()) == (
        "fputrace record --kfpu --seconds 10"
    )
    for has, options in (
        (["kvm:kvm_fpu"], ""),
        (["probe:kernel_fpu_begin%return"], "--kfpu "),
        (["probe:kernel_fpu_end", "probe:switch_fpu_return"], "--probes --kfpu "),
    ):
        said = record_command(rows("sched:sched_switch"), has)
        assert said == f"fputrace record {options}--seconds 10"
        assert record_command(rows(), has) is None
    said = trace_cmd_command(rows("kvm:kvm_msr"), ["probe:kernel_fpu_end", "signal:signal_deliver"])
    assert said is not None
    assert said.endswith("-e kvm:kvm_msr -e signal:signal_deliver")
    assert "probe" not in said


def test_record_command_keeps_what_the_trace_has() -> None:
    """FPU112 and FPU301 to FPU303 are checked here, which takes probes on the kernel's own use."""
    analysis = fputrace.analyze(KFPU)
    checked = {row.code for row in analysis.coverage if row.status is not Status.NOT_DECIDABLE}
    assert {"FPU112", "FPU301", "FPU302", "FPU303"} <= checked
    assert analysis.record == "fputrace record --probes --kfpu --seconds 10"
    bare = fputrace.analyze(USERMODE).record_trace_cmd
    assert bare is not None
    for event in ("raw_syscalls:sys_enter", "exceptions:page_fault_user", "signal:signal_deliver"):
        assert f"-e {event}" in bare


# ----- what weakens a proof


def test_the_story_alone_is_proof(tmp_path: Path) -> None:
    assert accused(tell(preempted, "G4a", tmp_path)) == [("FPU101", "confirmed", 94, 1)]
    assert accused(tell(put_at_sched_out, "G5", tmp_path)) == [("FPU201", "confirmed", 94, 1)]


def test_a_local_clock_weakens(tmp_path: Path) -> None:
    analysis = tell(preempted, "G4a", tmp_path, clock="local", cpus=2)
    assert of(analysis, "FPU904")
    assert {f.verdict for f in of(analysis, "FPU101")} == {Verdict.POSSIBLE}
    assert "clock" in of(analysis, "FPU101")[0].message
    # On one CPU the order is right with any clock; so it is for a rule about one CPU's order.
    alone = tell(preempted, "G4a", tmp_path, clock="local", cpus=1)
    assert accused(alone) == [("FPU101", "confirmed", 94, 1)]
    costly = tell(put_at_sched_out, "G5", tmp_path, clock="local", cpus=2)
    assert accused(costly) == [("FPU201", "confirmed", 94, 1)]


def test_a_loss_nobody_placed_weakens(tmp_path: Path) -> None:
    story = Story("G4a")
    preempted(story)
    story.writer.stats[0] = {"dropped events": 5}
    analysis = fputrace.analyze(story.write(tmp_path / "trace.dat"))
    assert [(loss.count, loss.placed) for loss in analysis.losses] == [(5, False)]
    assert of(analysis, "FPU901")
    assert accused(analysis) == [("FPU101", "possible", 94, 1)]
    assert "nobody recorded" in of(analysis, "FPU101")[0].message


def test_a_pid_filter_weakens(tmp_path: Path) -> None:
    """Only the vCPU thread's events were recorded: who ran between is not in the trace."""

    def filtered(s: Story) -> None:
        preempted(s)
        s.fpu("regs_activated", flag=1)  # HOG is here ...
        s.event("kvm_entry", 0, VCPU.pid, vcpu_id=1)  # ... and the vCPU without a sched_switch

    analysis = tell(filtered, "G4a", tmp_path)
    (finding,) = of(analysis, "FPU101")
    assert finding.verdict is Verdict.POSSIBLE
    assert "undeclared gaps" in finding.message
    assert row(analysis, "FPU102").status is Status.PARTLY


def test_a_hole_is_told_once(tmp_path: Path) -> None:
    def story(s: Story) -> None:
        preempted(s)
        s.moment()
        s.begin(OTHER)

    analysis = tell(story, "G4a", tmp_path, hole=True)
    assert [(loss.cpu, loss.count) for loss in analysis.losses] == [(0, 7)]
    assert [f.count for f in of(analysis, "FPU901")] == [1]
    assert accused(analysis) == [("FPU101", "confirmed", 94, 1)]


def test_times_of_a_finding_are_those_of_its_events(tmp_path: Path) -> None:
    analysis = tell(preempted, "G4a", tmp_path)
    (finding,) = of(analysis, "FPU101")
    (witness,) = finding.witnesses
    assert finding.first_ns == finding.last_ns == witness.ns
    times = [event.ns for event in witness.events]
    assert times == sorted(times)
    blocks = list(analysis.trace.blocks())
    assert set(times) <= set(np.concatenate([block.ts for block in blocks]).tolist())


@pytest.mark.parametrize(
    ("place", "rows", "by_name"),
    [
        ("save_fpregs_to_fpstate+0x0/0x90", 4096, [False]),
        ("ffffffff81234560", 1024, [False, True]),
        ("ffffffff81234560", 4096, [True]),  # the first block tells it
    ],
)
def test_a_probe_that_only_its_name_tells_counts_from_the_first_event_on(
    place: str, rows: int, by_name: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is absent before it was first hit proves no more than behind it."""
    lines = (SAMPLES / "6.12-pipe-lost" / "trace.txt").read_text().splitlines(keepends=True)[:3000]
    task = lines[-1].partition(": ")[0] + ": "
    path = tmp_path / "trace.txt"
    path.write_text("".join([*lines, f"{task}p_save_fpregs_to_fpstate: ({place})\n"]))
    monkeypatch.setattr(textpass, "BLOCK_ROWS", rows)
    made = finished(monkeypatch)
    with fputrace.analyze(path, generation="G5").trace as trace:
        assert [key for key in trace.probes if "save_fpregs" in key]
    assert [known.by_name for known in made] == by_name


@pytest.mark.parametrize("late", [False, True])
def test_returns_to_the_vmm_count_from_the_first_event_on(
    late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text tells that they are recorded where the first one stands, maybe far behind."""
    lines = (SAMPLES / "6.12-pipe-lost" / "trace.txt").read_text().splitlines(keepends=True)[:3000]
    assert "kvm_userspace_exit" not in "".join(lines[:1000])
    assert "kvm_userspace_exit" in "".join(lines)
    path = tmp_path / "trace.txt"
    path.write_text("".join(lines))
    monkeypatch.setattr(textpass, "BLOCK_ROWS", 512 if late else 4096)
    made = finished(monkeypatch)
    fputrace.analyze(path, generation="G5").trace.close()
    assert [known.exits for known in made] == ([False, True] if late else [True])


def finished(monkeypatch: pytest.MonkeyPatch) -> list[Known]:
    """What each whole pass of an analysis knew before it."""
    made: list[Known] = []

    class Noted(Pass):
        def finish(self) -> None:
            super().finish()
            made.append(self.known)

    monkeypatch.setattr(analysis, "Pass", Noted)
    return made


def test_how_far_the_reader_is_ahead_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first events of KVM stand behind the first block of the text."""
    lines = (SAMPLES / "6.12-pipe-lost" / "trace.txt").read_text().splitlines(keepends=True)
    events = [line for line in lines if "] " in line]
    first = [line for line in events[:-9000] if " sched_" in line][:1100]
    path = tmp_path / "trace.txt"
    path.write_text("".join([*first, *events[-9000:]]))
    monkeypatch.setattr(textpass, "BLOCK_ROWS", 1024)
    made: list[tuple[object, ...]] = []

    class Noted(Pass):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append((self.candidates, self.known))

    monkeypatch.setattr(analysis, "Pass", Noted)

    def told(read: Callable[[Iterator[EventBlock]], Iterator[EventBlock]]) -> list[object]:
        made.clear()
        monkeypatch.setattr(analysis, "ahead", read)
        result = fputrace.analyze(path)
        result.trace.close()
        return [*made, result.generation, findings_of(result)]

    threaded = told(ahead)
    assert told(iter) == threaded
    assert told(lambda blocks: iter(list(blocks))) == threaded
