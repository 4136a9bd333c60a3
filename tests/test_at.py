"""One moment of a trace: what is called known is what the kernel did, and is shown legibly."""

from __future__ import annotations

import copy
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import fputrace
from fputrace import cli
from fputrace.events import Kind, Loss, Trace
from fputrace.freeze import freeze
from fputrace.homes import HOMES
from fputrace.moment import REASONS, CpuMoment, Moment, Place, TaskMoment
from fputrace.reports.at import About, MomentView, moment_json, moment_text
from fputrace.reports.outline import Clock
from tests.conftest import SAMPLES
from tests.oracles.made_streams import Cut, Kernel, Row, lose, trace_of
from tests.oracles.naive_replay import GENERATIONS
from tests.reports.cases import HOSTILE_NAMES
from tests.rules.scenario import HOG, VCPU, Story, tell

BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"
SAVED_OVER = "3.303134"
"""Where the first proof of FPU101 on CPU 0 saves the guest's registers, as the report prints it."""


def frozen(trace: Trace, generation: str, ns: int | None = None, around: int = 0) -> Moment:
    return freeze(
        trace, [generation], ns, comms=trace.comms, losses=list(trace.losses), around=around
    )


def cpu_of(moment: Moment, number: int) -> CpuMoment:
    (found,) = [cpu for cpu in moment.cpus if cpu.cpu == number]
    return found


def task_of(moment: Moment, pid: int) -> TaskMoment:
    (found,) = [task for task in moment.tasks if task.pid == pid]
    return found


def told(place: Place) -> tuple[str, str, str]:
    return (
        f"CPU {place.cpu}" if place.cpu >= 0 else place.where,
        place.certainty,
        place.why.reason if place.why else "",
    )


# ----- against kernels that are simulated


class Visible(Kernel):
    """Without what no event shows: known means as the last event left it."""

    def kernel_fpu(self, cpu: int) -> None:
        self.other(cpu)


def in_registers(kernel: Kernel, pid: int) -> int:
    """The CPU whose registers are this task's live ones, -1 when its image is in memory."""
    task = kernel.tasks[pid]
    for cpu, current in enumerate(kernel.current):
        valid = kernel.own[cpu] == task.fpu and not task.tif
        if current == pid and (valid or not kernel.deferred):
            return cpu
    return -1


def check(kernel: Kernel, moment: Moment) -> int:
    """Nothing that is called known is wrong; how many images were known."""
    known = 0
    for cpu in moment.cpus:
        if cpu.certainty == "known":
            assert kernel.current[cpu.cpu] == cpu.pid == cpu.owner
    for task in moment.tasks:
        truth = kernel.tasks.get(task.pid)
        if truth is None or not truth.alive:
            continue
        if task.loaded is not None:
            assert task.loaded == truth.kvm
        live = task.guest if task.loaded else task.user
        if live is not None and live.certainty == "known":
            known += 1
            assert live.cpu == in_registers(kernel, task.pid), (task, kernel.current, kernel.own)
    return known


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_is_known_is_true_of_simulated_kernels(generation: str) -> None:
    known = 0
    for seed in range(25):
        chance = random.Random(seed)
        kernel = Visible(generation, chance, cpus=chance.choice([1, 2, 3]))
        for _ in range(chance.choice([5, 20, 60])):
            kernel.step()
            # Some steps print nothing, and what an elided restore changes shows later.
            if chance.random() < 0.2 and kernel.rows:
                stream = trace_of(kernel.rows, range(kernel.cpus))
                known += check(kernel, frozen(stream, generation, kernel.ts))
    assert known > 100


@pytest.mark.parametrize("generation", ["G1", "G4b", "G6"])
def test_what_is_known_is_true_of_recordings_with_losses(generation: str) -> None:
    known = 0
    for seed in range(20):
        chance = random.Random(seed)
        kernel = Visible(generation, chance, cpus=chance.choice([1, 2, 3]))
        states: dict[int, Kernel] = {}
        for _ in range(60):
            kernel.step()
            if kernel.rows and chance.random() < 0.2:
                states[len(kernel.rows)] = copy.deepcopy(kernel)
        cut: Cut = lose(kernel.rows, chance, chance.choice([1, 2, 4]))
        marked = list(cut.rows)
        for count, state in states.items():
            ns = kernel.rows[count - 1].ts
            # Times of other CPUs differ; of one CPU's events of one time the step must be over.
            if count < len(kernel.rows) and kernel.rows[count].ts == ns:
                continue
            stream = trace_of(marked, range(kernel.cpus))
            known += check(state, frozen(stream, generation, ns))
    assert known > 100


# ----- stories


def at_end(story: Any, generation: str, folder: Path, **how: Any) -> Moment:
    return tell(story, generation, folder, forced=generation, **how).timeline.at()


def preempted(story: Story) -> None:
    """The guest ran, and its thread is switched out."""
    story.begin(HOG)
    story.switch(VCPU)
    story.run_guest()
    if story.generation == "G1":
        # kvm_arch_vcpu_put() lies in the switch, before the save.
        story.schedule(HOG)
        story.put()
        story.switch_to(HOG)
    else:
        story.switch(HOG)
    if not story.eager:
        story.restore()


@pytest.mark.parametrize(
    ("generation", "user", "guest"),
    [
        ("G1", "thread.fpu", "vcpu->arch.guest_fpu"),
        ("G2", "vcpu->arch.user_fpu", "thread.fpu"),
        ("G4c", "vcpu->arch.user_fpu", "thread.fpu"),
        ("G5", "thread.fpu, own fpstate", "vcpu->arch.guest_fpu.fpstate"),
        ("G6", "x86_task_fpu(), own fpstate", "vcpu->arch.guest_fpu.fpstate"),
    ],
)
def test_where_a_preempted_guest_is(generation: str, user: str, guest: str, tmp_path: Path) -> None:
    moment = at_end(preempted, generation, tmp_path)
    vcpu = task_of(moment, VCPU.pid)
    if generation == "G1":
        user = HOMES["G1"].own
    assert told(vcpu.user) == (user, "known", "")
    assert vcpu.guest is not None
    assert told(vcpu.guest) == (guest, "known", "")
    assert vcpu.loaded is (generation != "G1")
    assert told(task_of(moment, HOG.pid).user) == ("CPU 0", "inferred", "no-kvm")


@pytest.mark.parametrize("generation", ["G3", "G4a"])
def test_the_user_image_is_overwritten(generation: str, tmp_path: Path) -> None:
    """240c35a3783a; proven only once kvm_entry shows that the guest's were still loaded."""
    moment = at_end(preempted, generation, tmp_path)
    assert told(task_of(moment, VCPU.pid).user) == ("thread.fpu", "inferred", "overwritten")

    def entered(story: Story) -> None:
        preempted(story)
        story.switch(VCPU)
        story.enter()

    moment = at_end(entered, generation, tmp_path)
    assert told(task_of(moment, VCPU.pid).user) == ("thread.fpu", "known", "overwritten")


def test_a_running_guest(tmp_path: Path) -> None:
    def story(story: Story) -> None:
        story.begin(VCPU)
        story.run_guest()

    moment = at_end(story, "G5", tmp_path)
    cpu, vcpu = cpu_of(moment, 0), task_of(moment, VCPU.pid)
    assert (cpu.pid, cpu.owner, cpu.image, cpu.certainty) == (VCPU.pid, VCPU.pid, "guest", "known")
    assert cpu.token == VCPU.fpu - (1 << 64)
    assert (vcpu.cpu, vcpu.vcpu, vcpu.loaded, vcpu.tif) == (0, 1, True, False)
    assert vcpu.guest is not None
    assert told(vcpu.guest) == ("CPU 0", "known", "")
    assert vcpu.guest.since_ns == cpu.image_since_ns


def test_in_a_switch_the_save_is_awaited(tmp_path: Path) -> None:
    """A sched_switch alone: the registers are still the old task's."""

    def story(story: Story) -> None:
        story.begin(VCPU)
        story.schedule(HOG)

    for generation in ("G1", "G5"):
        moment = at_end(story, generation, tmp_path)
        cpu = cpu_of(moment, 0)
        assert (cpu.pid, cpu.leaving, cpu.owner) == (HOG.pid, VCPU.pid, VCPU.pid)
        assert told(task_of(moment, VCPU.pid).user)[1:] == ("inferred", "switching")


def test_a_task_just_switched_to_is_not_called_robbed(tmp_path: Path) -> None:
    """What TIF_NEED_FPU_LOAD was before a switch says nothing: its image waits in memory."""

    def story(story: Story) -> None:
        story.begin(HOG)
        story.switch(VCPU)
        story.restore()
        story.schedule(HOG)
        story.fpu("regs_deactivated", flag=0)

    moment = at_end(story, "G4c", tmp_path)
    assert cpu_of(moment, 0).pid == HOG.pid
    assert told(task_of(moment, HOG.pid).user) == ("thread.fpu", "inferred", "no-kvm")


def test_undecided_generations_agree_or_say_so(tmp_path: Path) -> None:
    """5.0 and 4.19 print the same; what the user image is in differs."""
    analysis = tell(preempted, "G2", tmp_path, kernel="4.19.0-rc8+", forced=None)
    if analysis.generation.decided:
        pytest.fail("the story should leave the generation open")
    place = task_of(analysis.timeline.at(), VCPU.pid).user
    assert " or " in place.where
    assert told(place)[1:] == ("inferred", "undecided")


# ----- losses and ends


def test_every_reason_of_a_blind_cpu() -> None:
    switch = (1, 0, 2, 0)
    rows = [
        Row(10, 0, 1, Kind.SCHED_SWITCH, switch),
        Row(20, 0, 2, Kind.REGS_ACTIVATED, (-5, 1, 7, 0)),
        Row(20, 0, -1, Kind.LOSS),
        Row(40, 0, -1, Kind.LOSS_END),
        Row(40, 0, 3, Kind.SYS_ENTER),
        Row(50, 0, 3, Kind.SYS_ENTER),
        Row(60, 1, 4, Kind.OTHER),
        Row(60, 1, -1, Kind.CPU_END),
        Row(70, 0, 4, Kind.SYS_ENTER),
    ]
    trace = trace_of(rows, [0, 1])
    loss = Loss(0, 20, 40, 7, "page at 0x1000")
    said = {}
    for ns in (15, 30, 45, 65, 70):
        moment = freeze(trace, ["G5"], ns, comms={}, losses=[loss], around=0)
        said[ns] = [
            (cpu.why.reason, cpu.why.ns, cpu.why.until_ns) for cpu in moment.cpus if cpu.why
        ]
    assert said[15] == [("start", None, None), ("not-seen", None, None)]
    assert said[30] == [("lost", 20, 40), ("not-seen", None, None)]
    assert said[45] == [("after-lost", 20, 40), ("not-seen", None, None)]
    assert said[65][1] == ("ended", 60, None)
    assert said[70][0] == ("gap", 50, 70)
    assert {reason for rows in said.values() for reason, *_ in rows} <= REASONS.keys()


def test_the_end_is_what_the_last_events_left() -> None:
    """A crash stops all CPUs; a CPU whose data ends earlier is as its last event left it."""
    rows = [
        Row(10, 0, 0, Kind.SCHED_SWITCH, (0, 0, 1, 0)),
        Row(11, 1, 0, Kind.SCHED_SWITCH, (0, 0, 2, 0)),
        Row(20, 1, 2, Kind.REGS_ACTIVATED, (-6, 1, 7, 0)),
        Row(21, 1, 2, Kind.KVM_FPU, (0, 0, 0, 0)),
        Row(22, 1, 2, Kind.REGS_ACTIVATED, (-6, 0, 7, 0)),
        Row(22, 1, -1, Kind.CPU_END),
        Row(30, 0, 1, Kind.KVM_FPU, (0, 0, 0, 0)),
        Row(31, 0, 1, Kind.REGS_ACTIVATED, (-5, 1, 7, 0)),
        Row(31, 0, -1, Kind.CPU_END),
    ]
    trace = trace_of(rows, [0, 1])
    moment = frozen(trace, "G5")
    assert (moment.ns, moment.at_end) == (31, True)
    zero, one = moment.cpus
    assert (zero.pid, zero.image, zero.certainty) == (1, "user", "known")
    assert (one.pid, one.image, one.certainty) == (2, "user", "inferred")
    assert one.why is not None
    assert (one.why.reason, one.why.ns) == ("ended", 22)
    assert told(task_of(moment, 2).user) == ("CPU 1", "inferred", "ended")
    assert told(task_of(moment, 1).user) == ("CPU 0", "known", "")
    # Asked for the same time, that CPU is out of sight.
    assert [cpu.certainty for cpu in frozen(trace, "G5", 30).cpus] == ["unknown", "unknown"]


def test_a_moment_agrees_with_the_spans_around_it() -> None:
    """Every CPU of real recordings, at times spread over them."""
    compared = 0
    for case in ("4.14.5-pinned", "5.2.1-pinned", "6.1-storm-lost"):
        analysis = fputrace.analyze(SAMPLES / case / "trace.dat")
        spans = analysis.timeline.spans()
        start, end = analysis.timeline.start_ns, analysis.timeline.end_ns
        assert start is not None
        assert end is not None
        for step in range(1, 6):
            ns = start + (end - start) * step // 6
            moment = analysis.timeline.at(ns)
            for cpu in moment.cpus:
                here = spans[(spans.cpu == cpu.cpu) & (spans.start_ns <= ns) & (spans.end_ns > ns)]
                if here.empty:
                    continue
                (span,) = here.itertuples()
                assert (cpu.owner, cpu.image) == (span.owner, span.image)
                # In a switch window the spans still name the outgoing task.
                assert span.pid in (cpu.pid, cpu.leaving)
                if cpu.leaving < 0 and cpu.certainty != "inferred":
                    assert cpu.certainty == span.certainty
                compared += 1
    assert compared > 20


# ----- what is shown


def made(comm: str = "CPU 0/KVM", **about: Any) -> tuple[Moment, About]:
    analysis = fputrace.analyze(BUG)
    comms = dict.fromkeys(analysis.trace.comms, comm)
    moment = freeze(analysis.trace, ["G4a"], 3_303_133_768, comms=comms, losses=[], around=5)
    clock = Clock("mono", True)
    return moment, About(comm, comm, clock, (3_160_398_000, 4_313_538_508), comms, **about)


def test_the_bug_reads_from_the_text() -> None:
    """What the text says at the save that FPU101 is about."""
    moment, about = made()
    text = " ".join(moment_text(moment, about).split())
    assert "CPU 0: CPU 0/KVM-90 runs" in text
    assert "x86_fpu_regs_deactivated: fpu=0xffff8880b7cae880" in text
    assert "user image thread.fpu, from then on (inferred: the guest's registers were saved" in text
    assert "guest image thread.fpu, from then on; the registers of CPU 0 hold the same" in text


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(name: str) -> None:
    moment, about = made(name, everything=True)
    text = moment_text(moment, about)
    assert text.isascii()
    assert all(line.isprintable() for line in text.splitlines())
    assert all(len(line) <= 72 for line in text.splitlines() if len(line.split()) > 1)
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(MomentView(moment, about))
    assert isinstance(console.file, io.StringIO)
    assert all(line.isprintable() for line in console.file.getvalue().splitlines())
    document = json.loads(moment_json(moment, about))
    assert len(document["cpus"]) == 2
    assert moment_json(moment, about).isascii()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["at", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_printed_time_stands_for_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Reports round to microseconds: the event printed with TIME counts, before or after it."""
    status, out, _ = run(capsys, str(BUG), SAVED_OVER, "--format", "json")
    assert status == 0
    found = json.loads(out)
    assert found["ns"] == 3_303_133_768
    (cpu,) = [cpu for cpu in found["cpus"] if cpu["cpu"] == 0]
    assert cpu["before"][-1]["ns"] == found["ns"]
    # Asked for more exactly, it is what was asked for.
    _, out, _ = run(capsys, str(BUG), "3.3031337", "--format", "json")
    assert json.loads(out)["ns"] == 3_303_133_700


def test_cpu_and_pid_choose(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, str(BUG), SAVED_OVER, "--format", "json", "--cpu", "1")
    found = json.loads(out)
    assert [cpu["cpu"] for cpu in found["cpus"]] == [1]
    assert 93 not in [task["pid"] for task in found["tasks"]]
    _, out, _ = run(capsys, str(BUG), SAVED_OVER, "--format", "json", "--pid", "93")
    found = json.loads(out)
    assert [task["pid"] for task in found["tasks"]] == [93]
    assert [cpu["cpu"] for cpu in found["cpus"]] == [0]


def test_times_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, str(BUG), "99")
    assert (status, out) == (2, "")
    assert "TIME 99 is after the trace, which is from 3.160398 s to 4.313539 s" in err
    assert "`end` is the last event" in err
    with pytest.raises(SystemExit) as stopped:
        run(capsys, str(BUG), "noon")
    assert stopped.value.code == 2
    assert "'noon' is no time such as 12.345678, nor `end`" in capsys.readouterr().err


def test_the_end_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, str(BUG), "end")
    assert status == 0
    assert " ".join(out.split()).startswith(f"The end, 4.313538508 s, of {BUG}")
    assert "CPU 0: trace-cmd-85 runs" in out


def test_an_empty_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Story("G5").write(tmp_path / "trace.dat")
    status, _, err = run(capsys, str(path), "end")
    assert status == 2
    assert "holds no events, so there is no moment to show" in err


def test_the_default_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trace.dat").symlink_to(BUG)
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "end")
    assert status == 0
    assert out.splitlines()[0].endswith("of trace.dat")
