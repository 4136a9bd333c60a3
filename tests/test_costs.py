"""``analyze --costs``: what is counted, on recordings, against probes, and how it is shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import fputrace
from fputrace.analysis import filter_view
from fputrace.errors import UsageError
from fputrace.events import Kind
from fputrace.findings import Analysis
from fputrace.pricefile import CALIBRATED, pricing_of
from fputrace.pricing import STANDARD, TABLES, TaskCost, TraceCosts, WhyCost
from fputrace.replay import costs, ledger, reader, swaps
from fputrace.reports import Options, render
from tests.conftest import SAMPLES
from tests.rules.scenario import HOG, KTHREAD, OTHER, VCPU, Story, Task
from tests.tools.plain import follow_in_plain

BEFORE = str(SAMPLES / "4.14.5-pinned" / "trace.dat")
AFTER = str(SAMPLES / "4.14.177-pinned" / "trace.dat")
PROBED = ("6.12-kfpu-probes", "6.1-no-pointer-swap")
PUT_AT_OUT = str(SAMPLES / "6.1-put-at-sched-out" / "trace.dat")


@cache
def analysed(path: str) -> Analysis:
    return fputrace.analyze(path, costs=True)


def costs_of(analysis: Analysis) -> TraceCosts:
    assert analysis.costs is not None
    return analysis.costs


def vcpus(path: str) -> list[TaskCost]:
    return [task for task in costs_of(analysed(path)).tasks if task.is_vcpu]


def causes(task: TaskCost) -> dict[str, WhyCost]:
    return {cause.why: cause for cause in task.by_why}


def told(story: Story, folder: Path, **how: Any) -> Analysis:
    return fputrace.analyze(story.write(folder / "trace.dat"), costs=True, **how)


# --- what is counted -------------------------------------------------------------------------


def test_the_redundant_half_of_every_sched_out_before_the_change() -> None:
    """One restore and one save of the VMM's image at each put in a switch window, and again at the
    next load.
    """
    found = analysed(BEFORE)
    double = sum(f.count for f in found.findings if f.code == "FPU201")
    saves = sum(task.total.saves.redundant for task in vcpus(BEFORE))
    restores = sum(task.total.restores.redundant for task in vcpus(BEFORE))
    assert double < saves <= 2 * double
    assert saves - restores <= sum(task.total.elided for task in vcpus(BEFORE))
    for task in vcpus(BEFORE):
        preempted = causes(task)["preempted"]
        # Guest, VMM, and VMM again at the next load; the guest's is needed.
        assert preempted.saves.redundant == task.total.saves.redundant > 0
        assert task.total.ns_redundant == (
            60 * task.total.saves.redundant + 150 * task.total.restores.redundant
        )
        assert task.total.bytes_redundant == 904 * (
            task.total.saves.redundant + task.total.restores.redundant
        )


def test_nothing_redundant_after_the_change() -> None:
    assert vcpus(AFTER)
    for task in vcpus(AFTER):
        assert task.total.saves.done > 500
        assert (task.total.saves.redundant, task.total.restores.redundant) == (0, 0)
        assert (task.total.ns_redundant, task.total.bytes_redundant) == (0, 0)


@pytest.mark.parametrize("case", PROBED)
def test_vcpu_threads_as_the_probes_count(case: str) -> None:
    """save_fpregs_to_fpstate() and restore_fpregs_from_fpstate() are what is counted."""
    path = str(SAMPLES / case / "trace.dat")
    seen: dict[Kind, Counter[int]] = {Kind.PROBE_SAVE: Counter(), Kind.PROBE_RESTORE: Counter()}
    for block in analysed(path).trace.blocks():
        for kind, hits in seen.items():
            hits.update(block.pid[block.kind == kind].tolist())
    assert vcpus(path)
    for task in vcpus(path):
        assert task.total.saves.done == seen[Kind.PROBE_SAVE][task.pid] > 100
        assert task.total.restores.done == seen[Kind.PROBE_RESTORE][task.pid] > 100
    total = costs_of(analysed(path)).total
    assert total.saves.done == pytest.approx(sum(seen[Kind.PROBE_SAVE].values()), rel=0.01)
    assert total.restores.done == pytest.approx(sum(seen[Kind.PROBE_RESTORE].values()), rel=0.01)


def test_a_regression_of_a_later_kernel() -> None:
    """6.1 with a put at sched-out: the out half only, TIF_NEED_FPU_LOAD spares the other."""
    double = sum(f.count for f in analysed(PUT_AT_OUT).findings if f.code == "FPU201")
    redundant = [task.total.saves.redundant for task in vcpus(PUT_AT_OUT)]
    assert sum(redundant) == double > 0


def test_sums_are_sums(sample: Path) -> None:
    found = costs_of(analysed(str(sample)))
    for task in found.tasks:
        for name in ("saves", "restores"):
            parts = [getattr(cause, name) for cause in task.by_why]
            whole = getattr(task.total, name)
            assert sum(part.done for part in parts) == whole.done
            assert 0 <= whole.redundant <= whole.done
            assert 0 <= whole.inferred <= whole.done
            assert whole.bytes >= 64 * whole.done
    listed = sum(task.total.saves.done for task in found.tasks)
    assert found.total.saves.done == listed + (found.others.saves.done if found.others else 0)


def test_plain_python_counts_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    follow_in_plain(monkeypatch, (reader, swaps, ledger, costs))
    for path in (BEFORE, PUT_AT_OUT):
        again = fputrace.analyze(path, costs=True)
        assert costs_of(again) == costs_of(analysed(path))
        assert list(again.findings) == list(analysed(path).findings)


def test_tasks_that_ended_are_summed_up(tmp_path: Path) -> None:
    """A number that is used again is another task; what the first one did stays in the sum."""
    story = Story("G5")
    story.begin(HOG)
    for number in range(600):
        child = Task(1000, f"child{number}", 0xFFFF888000000000 + 4096 * number)
        story.event("sched_process_fork", parent_pid=HOG.pid, child_pid=1000, child_comm="child")
        story.switch(child)
        story.restore()
        story.switch(HOG)
        story.restore()
        story.event("sched_process_free", pid=1000)
    found = costs_of(told(story, tmp_path))
    # One at its switch-out each; HOG's as well.
    assert found.total.saves.done == 2 * 600
    assert found.others is not None
    assert found.others.saves.done == 600 - 1


def test_more_tasks_than_a_table_has_rows(tmp_path: Path) -> None:
    story = Story("G5")
    story.begin(HOG)
    for number in range(700):
        task = Task(2000 + number, "one", 0xFFFF888000000000 + 4096 * number)
        story.switch(task)
        story.restore()
    story.switch(KTHREAD)
    found = costs_of(told(story, tmp_path))
    assert found.total.saves.done == 701
    assert len(found.tasks) < 100
    assert found.others is not None


def test_more_activations_wait_at_the_end_than_a_table_has_rows(tmp_path: Path) -> None:
    """Their tasks never came back, and nothing else was counted of them."""
    story = Story("G5", cpus=1)
    story.begin(HOG)
    for number in range(600):
        task = Task(2000 + number, "one", 0xFFFF888000000000 + 4096 * number)
        story.schedule(task)
        story.switch_to(task, save=False)
        story.restore()
        story.schedule(HOG)
        story.switch_to(HOG, save=False)
    assert costs_of(told(story, tmp_path)).total.restores.done == 601
    story = Story("G5", cpus=400)
    for cpu in range(400):
        story.switch(Task(3000 + cpu, "one", 0xFFFF888000000000 + 4096 * cpu), cpu)
        story.restore(cpu)
    assert costs_of(told(story, tmp_path)).total.restores.done == 400


def test_asleep_is_not_halted_without_the_event(tmp_path: Path) -> None:
    def slept(**how: Any) -> Analysis:
        story = Story("G5", **how)
        story.begin(VCPU)
        story.run_guest()
        story.schedule(HOG, state=1)
        story.switch_to(HOG)
        story.restore()
        story.switch(VCPU)
        story.event("kvm_vcpu_wakeup", ns=5000, waited=1, valid=1)
        story.enter()
        return told(story, tmp_path)

    with_it, without = slept(), slept(without=["kvm_vcpu_wakeup"])
    for analysis, why in ((with_it, "halt"), (without, "sleep")):
        (task,) = [task for task in costs_of(analysis).tasks if task.is_vcpu]
        assert causes(task)[why].saves.done == 1
    assert any("kvm_vcpu_wakeup" in line for line in costs_of(without).limits)
    assert not any("kvm_vcpu_wakeup" in line for line in costs_of(with_it).limits)


# --- where the images were -------------------------------------------------------------------

PLACES = {
    "G1": {"CPU registers", "thread.fpu", "guest_fpu"},
    "G2": {"CPU registers", "vcpu user_fpu", "thread.fpu", "guest_fpu"},
    "G4a": {"CPU registers", "thread.fpu", "guest_fpu"},
    "G5": {"CPU registers", "own fpstate", "guest fpstate", "fpu->fpstate is"},
}


@pytest.mark.parametrize(
    ("case", "generation"),
    [
        ("4.14.5-pinned", "G1"),
        ("4.14.177-pinned", "G2"),
        ("5.2.1-pinned", "G4a"),
        ("6.12-storm", "G5"),
    ],
)
def test_the_table_of_places(case: str, generation: str) -> None:
    for task in vcpus(str(SAMPLES / case / "trace.dat")):
        (example,) = task.examples
        assert example.generation == generation
        assert {place.name for place in example.places} == PLACES[generation]
        assert [len(place.holds) for place in example.places] == [4] * len(example.places)
        first = [moment.events[0][0] for moment in example.moments]
        assert first == sorted(first)
        names = [{name for _ns, _cpu, name in moment.events} for moment in example.moments]
        assert "kvm:kvm_fpu" in names[0] & names[3]
        assert names[1] >= {"sched:sched_switch", "x86_fpu:x86_fpu_regs_deactivated"}
        assert "sched:sched_switch" in names[2]


def test_the_bug_of_5_2_is_in_the_table() -> None:
    (example,) = vcpus(str(SAMPLES / "5.2.1-pinned" / "trace.dat"))[0].examples
    holds = {place.name: place.holds for place in example.places}
    assert holds["thread.fpu"][:2] == ("VMM", "guest over the VMM's")
    assert holds["CPU registers"][3] == "guest: the VMM's are lost"


def test_what_was_not_seen_is_said(tmp_path: Path) -> None:
    story = Story("G5")
    story.begin(VCPU)
    story.run_guest()
    story.switch(OTHER)
    story.restore()
    (task,) = [task for task in costs_of(told(story, tmp_path)).tasks if task.is_vcpu]
    (example,) = task.examples
    registers = next(place for place in example.places if place.name == "CPU registers")
    assert registers.holds == ("guest", "free for make (97)", "not seen", "not seen")


def test_generations_that_keep_the_image_elsewhere_get_a_table_each(tmp_path: Path) -> None:
    story = Story("G2", kernel="5.0.1-vendor")
    story.begin(VCPU)
    story.run_guest()
    story.switch(HOG)
    analysis = told(story, tmp_path)
    assert not analysis.generation.decided
    (task,) = [task for task in costs_of(analysis).tasks if task.is_vcpu]
    assert len(task.examples) > 1
    assert any("may be another generation" in line for line in costs_of(analysis).limits)


# --- prices and sizes ------------------------------------------------------------------------


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_prices_of_a_file(tmp_path: Path) -> None:
    table = {"source": "mine", "save": {"ns": 1, "ns_per_byte": 0.5}, "restore": {"ns": 2}}
    found = costs_of(fputrace.analyze(BEFORE, costs=True, prices=write(tmp_path / "p.json", table)))
    assert found.prices.source == "mine"
    moved = costs_of(analysed(BEFORE)).total
    assert found.total.saves.done == moved.saves.done
    expected = moved.saves.done + 0.5 * moved.saves.bytes + 2 * moved.restores.done
    assert found.total.ns == pytest.approx(expected, rel=1e-3)
    priced = [f.cost for f in fputrace.analyze(BEFORE, prices="zen5").findings if f.cost]
    assert all(cost.source == TABLES["zen5"].source for cost in priced)


def test_sizes_of_a_file(tmp_path: Path) -> None:
    sizes = write(tmp_path / "c.json", {"xstate": {"2": 1000, "20": 7}, "size": 3000})
    pricing = pricing_of(None, sizes)
    assert pricing.component_bytes[2] == 1000
    assert pricing.component_bytes[20] == 7
    assert pricing.component_bytes[9] == STANDARD.component_bytes[9]
    assert pricing.image_bytes(0) == 3000
    found = costs_of(fputrace.analyze(BEFORE, costs=True, cpuid=sizes))
    assert found.sizes_source == "component sizes of c.json"
    assert found.total.bytes > costs_of(analysed(BEFORE)).total.bytes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "1",
        '{"save": 5}',
        '{"save": {"ns": 1}}',
        '{"save": {"ns": -1}}',
        '{"save": {"ns": NaN}, "restore": {"ns": 1}}',
        '{"save": {"ns": true}}',
        '{"save": {"ns": "x"}, "restore": {"ns": 1}}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_no_price_table(content: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        pricing_of(write(tmp_path / "p.json", content))
    assert "p.json" in caught.value.message
    assert "--prices" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        '{"xstate": []}',
        '{"xstate": {"x": 1}}',
        '{"xstate": {"2": -1}}',
        '{"xstate": {"63": 1}}',
        '{"xstate": {"2": 1e9}}',
        '{"xstate": {"2": 99999999}}',
        '{"xstate": {}, "aligned": 5}',
        '{"xstate": {"' + "9" * 5000 + '": 1}}',
    ],
)
def test_no_sizes(content: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        pricing_of(None, write(tmp_path / "c.json", content))
    assert "c.json" in caught.value.message


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="nothing is stored") as caught:
        pricing_of(CALIBRATED)
    assert "fputrace calibrate" in (caught.value.hint or "")
    for asked in ((str(tmp_path / "no"), None), (None, str(tmp_path / "no"))):
        with pytest.raises(UsageError, match="No such file"):
            pricing_of(*asked)


# --- reports ---------------------------------------------------------------------------------


def test_json_is_as_the_schema_says() -> None:
    schema = Path(fputrace.__file__).parent / "reports" / "analyze.schema.json"
    report = render("json", [analysed(BEFORE), analysed(AFTER)], Options(version="1"))
    document = json.loads(str(report))
    jsonschema.validate(document, json.loads(schema.read_text()))
    before, after = (trace["costs"] for trace in document["traces"])
    assert before["total"]["saves"]["redundant"] > 0
    assert after["total"]["saves"]["redundant"] == after["total"]["ns_redundant"] == 0
    assert before["prices"]["source"]
    assert [task["is_vcpu"] for task in before["tasks"][:2]] == [True, True]


def test_text_fits_and_says_about() -> None:
    text = str(render("text", [analysed(BEFORE)], Options(version="1")))
    part = text[text.index("What saves and restores cost") : text.index("\nCoverage\n")]
    assert part.isascii()
    assert max(map(len, part.splitlines())) <= 72
    assert "~ 60 ns" in part and "default for x86" in part
    assert re.search(r"preempted +47 +47 \+ 76 +43 \+ 75", part)


def test_markdown_and_rich_show_the_same() -> None:
    from rich.console import Console

    text = str(render("markdown", [analysed(BEFORE)], Options(version="1")))
    assert "| preempted | 47 | 47 + 76 |" in text.replace("\\+", "+")
    console = Console(width=100, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(render("rich", [analysed(BEFORE)], Options(version="1")))
    assert "47 + 76" in captured.get()
    with console.capture() as captured:
        console.print(render("rich", [analysed(BEFORE)], Options(ascii=True, version="1")))
    part = captured.get().partition("What saves")[2].partition("Coverage")[0]
    assert part.isascii()


def test_a_view_shows_its_tasks() -> None:
    view = filter_view(analysed(BEFORE), pids=[75])
    assert [task.pid for task in costs_of(view).tasks] == [75]
    view = filter_view(analysed(BEFORE), vcpus=[0])
    assert [task.vcpu for task in costs_of(view).tasks] == [0]
