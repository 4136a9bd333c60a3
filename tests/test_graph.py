"""Ownership graphs: every save and restore counted once, in forms that other programs read."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import networkx as nx
import pytest

import fputrace
from fputrace import cli
from fputrace.flows import REST, Flow, Flows, Part, flows, ownership_graph, part_of
from fputrace.reports.graph import GRAPHS, graph_dot, graph_graphml, graph_json, graph_mermaid
from fputrace.reports.outline import Clock
from fputrace.verbs.graph import FORMATS
from tests.conftest import SAMPLES
from tests.reports.cases import HOSTILE_NAMES
from tests.rules.scenario import HOG, VCPU, Story, tell

BUG = SAMPLES / "5.2.1-pinned" / "trace.dat"
CLOCK = Clock("mono", True)

needs_dot = pytest.mark.skipif(not shutil.which("dot"), reason="needs Graphviz's program dot")


def flows_of(path: Path, part: Part | None = None) -> Flows:
    analysis = fputrace.analyze(path)
    with analysis.trace:
        return flows(analysis.trace, analysis.generation.candidates, part or Part())


def total(found: Flows, **want: object) -> int:
    return sum(
        flow.count
        for flow in found.flows
        if all(getattr(flow, name) == value for name, value in want.items())
    )


def flow(pid: int, moved: str, image: str = "user", count: int = 1, **more: object) -> Flow:
    made = Flow(0, pid, "thread.fpu", moved, image, count, 904, 10, 2_000_000_010, False, False)
    return made._replace(**more)  # type: ignore[arg-type]


def made(comm: str = "CPU 0/KVM") -> nx.MultiDiGraph[str]:
    """A vCPU's guest saved over its VMM's image, and two tasks more than are shown."""
    found = Flows(
        (
            flow(93, "save", "guest", 56, overwrites=True, evidence=True),
            flow(93, "restore", "guest", 45),
            flow(93, "restore", "unknown", 1, where="thread.fpu or vcpu->arch.user_fpu"),
            flow(91, "save", count=3),
            flow(90, "save", count=2, cpu=1),
        ),
        {93: 0},
    )
    return ownership_graph(found, {93: comm, 91: comm}, most=1)


# ----- what is counted


def test_every_save_over_the_vmms_image_is_an_occurrence_of_the_rule() -> None:
    """Two ways to count them: this pass, and the judge's."""
    analysis = fputrace.analyze(BUG)
    with analysis.trace:
        found = flows(analysis.trace, analysis.generation.candidates, Part())
        said = sum(one.count for one in analysis.findings if one.code == "FPU101")
    assert total(found, overwrites=True) == said > 1000
    assert found.vcpus == {93: 0, 94: 1}


@pytest.mark.parametrize("case", ["4.14.5-pinned", "5.10-pinned", "6.1-put-at-sched-out"])
def test_every_activation_is_one_restore(case: str) -> None:
    """Eager kernels print none when KVM swaps; the two restores of a swap are counted there."""
    path = SAMPLES / case / "trace.dat"
    found = flows_of(path)
    analysis = fputrace.analyze(path)
    with analysis.trace:
        counts = analysis.trace.counts
        # In a tail whose switch was not seen nobody knows who was activated.
        activated = counts["x86_fpu:x86_fpu_regs_activated"]
        swaps = counts["kvm:kvm_fpu"] if case.startswith("4") else 0
    assert activated + swaps - 3 <= total(found, moved="restore") <= activated + swaps + 3


def test_a_swap_moves_two_images(tmp_path: Path) -> None:
    """KVM_RUN: the VMM's image goes to memory and the guest's comes; in and out."""

    def story(story: Story) -> None:
        story.begin(HOG)
        story.switch(VCPU)
        story.run_guest()
        story.return_to_vmm()

    for code, own, parked, guest in (
        ("G1", "thread.fpu", "thread.fpu", "vcpu->arch.guest_fpu"),
        ("G4c", "thread.fpu", "vcpu->arch.user_fpu", "vcpu->arch.guest_fpu"),
        ("G5", "thread.fpu, own fpstate", "thread.fpu, own fpstate",
         "vcpu->arch.guest_fpu.fpstate"),
    ):  # fmt: skip
        analysis = tell(story, code, tmp_path, forced=code)
        found = flows(analysis.trace, [code], Part(pids={VCPU.pid}))
        assert total(found, moved="restore", image="guest", where=guest) == 1
        assert total(found, moved="save", image="guest", where=guest) == 1
        assert total(found, moved="restore", image="user", where=parked) >= 1
        # With TIF_NEED_FPU_LOAD set the image is in memory already, and nothing is saved.
        assert total(found, moved="save", image="user", where=parked) == (1 if code == "G1" else 0)
        assert not total(found, overwrites=True)
        assert own in {flow.where for flow in found.flows} | {own}


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An activation waits over the end of a part for the kvm_fpu that says whose it is."""
    whole = flows_of(BUG)
    monkeypatch.setattr("fputrace.replay.PART", 7)
    assert flows_of(BUG) == whole


def test_a_part_of_the_time_and_of_the_tasks() -> None:
    half = 3_700_000_000
    early = flows_of(BUG, Part([(0, half)]))
    late = flows_of(BUG, Part([(half + 1, 1 << 60)]))
    whole = flows_of(BUG)
    assert total(early) + total(late) == total(whole)
    assert max(flow.last_ns for flow in early.flows) <= half
    one = flows_of(BUG, Part(pids={93}, cpus={0}))
    assert {(flow.pid, flow.cpu) for flow in one.flows} == {(93, 0)}


def test_around_a_finding() -> None:
    analysis = fputrace.analyze(BUG)
    with analysis.trace:
        finding = next(one for one in analysis.findings if one.code == "FPU101")
        part = part_of(finding)
        found = flows(analysis.trace, analysis.generation.candidates, part)
    proof = [flow for flow in found.flows if flow.evidence]
    assert any(flow.overwrites and flow.pid == finding.pid for flow in proof)
    starts = min(start for start, _ in part.windows)
    ends = max(end for _, end in part.windows)
    assert all(starts <= flow.first_ns <= flow.last_ns <= ends for flow in found.flows)


def test_the_busiest_tasks_stand_apart() -> None:
    graph = made()
    assert [data["kind"] for _, data in graph.nodes(data=True)] == [
        "registers", "registers", "image", "image", "rest",
    ]  # fmt: skip
    assert graph.nodes[REST]["tasks"] == 2
    assert graph.edges["cpu1", REST, "save user"]["count"] == 2
    assert graph.edges["cpu0", REST, "save user"]["count"] == 3


# ----- the forms


def test_every_form_is_offered() -> None:
    assert tuple(GRAPHS) == FORMATS


@needs_dot
@pytest.mark.parametrize("name", ["CPU 0/KVM", *HOSTILE_NAMES])
def test_dot_as_graphviz_reads_it(name: str) -> None:
    graph = made(name)
    done = subprocess.run(
        ["dot", "-Tjson0"],
        input=graph_dot(graph, name, CLOCK),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    read = json.loads(done.stdout)
    assert {node["name"] for node in read["objects"]} == set(graph)
    assert len(read["edges"]) == graph.number_of_edges()
    assert sum("over the VMM's own image" in edge["label"] for edge in read["edges"]) == 1


@needs_dot
@pytest.mark.parametrize("name", ["CPU 0/KVM", "\\N \\l \\", "&amp; &lt;", *HOSTILE_NAMES])
def test_svg_as_graphviz_draws_it(name: str) -> None:
    from fputrace.reports.escape import clean

    svg = GRAPHS["svg"](made(name), "a title", CLOCK)
    assert "<script" not in svg
    texts = {"".join(one.itertext()) for one in ET.fromstring(svg).iter() if one.tag[-4:] == "text"}
    assert f"{clean(name)}-93 (vCPU 0)".replace("\xa0", " ") in texts
    assert "56 saves of the guest's" in texts
    assert "over the VMM's own image" in texts


@pytest.mark.parametrize("name", ["CPU 0/KVM", *HOSTILE_NAMES])
def test_graphml_and_json_as_networkx_reads_them(name: str) -> None:
    graph = made(name)
    text = graph_graphml(graph, name, CLOCK)
    read = nx.read_graphml(io.BytesIO(text.encode()), force_multigraph=True)
    document = json.loads(graph_json(graph, name, CLOCK))
    linked = nx.node_link_graph(document, edges="edges")
    for other in (read, linked):
        assert set(other) == set(graph)
        assert other.number_of_edges() == graph.number_of_edges()
    edge = linked["cpu0"]["task93.0"]["save guest"]
    assert (edge["count"], edge["overwrites"], edge["last_ns"]) == (56, True, 2_000_000_010)
    (labelled,) = [d for _, _, d in read.edges(data=True) if d["overwrites"]]
    assert (labelled["count"], labelled["first_ns"]) == (56, 10)


@pytest.mark.parametrize("name", ["CPU 0/KVM", "end", '"]; click n0', *HOSTILE_NAMES])
def test_mermaid_lines_have_one_form(name: str) -> None:
    """Nothing of a name but plain characters and numbered entities stands in a label."""
    comment, head, *lines = graph_mermaid(made(name), name, CLOCK).splitlines()
    assert comment.startswith("%% ")
    assert "{" not in comment
    assert head == "flowchart LR"
    label = r'"(?:[\w ,.()/+=\'>-]|<br/>|#\d+;)*"'
    node = re.compile(rf"  n\d+(?:\[{label}\]|\[\({label}\)\])", re.ASCII)
    edge = re.compile(rf"  n\d+ (?:-->|-\.->)\|{label}\| n\d+", re.ASCII)
    style = re.compile(r"  linkStyle \d+ stroke:#[0-9a-f]{6},stroke-width:[13]px")
    for line in lines:
        assert node.fullmatch(line) or edge.fullmatch(line) or style.fullmatch(line), line


# ----- the command


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["graph", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "graph.json"
    status, out, _ = run(
        capsys, str(BUG), "--finding", "FPU101", "--format", "json", "-o", str(target)
    )
    assert (status, out) == (0, "")
    document = json.loads(target.read_text())
    assert document["graph"]["title"].endswith(
        "FPU101 guest-state-in-thread-fpu of CPU 1/KVM-94, confirmed"
    )
    assert any(edge["overwrites"] and edge["evidence"] for edge in document["edges"])
    status, out, _ = run(capsys, str(BUG), "--time", "3.3,3.4", "--cpu", "0")
    assert status == 0
    assert '"cpu0"' in out
    assert '"cpu1"' not in out


def test_what_the_command_cannot_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = run(capsys, str(BUG), "--finding", "FPU113")
    assert status == 2
    assert "there is no finding FPU113" in err
    status, _, err = run(capsys, str(BUG), "--finding", "FPU101", "--cpu", "0")
    assert status == 2
    assert "--finding chooses times, CPUs and tasks itself" in err
    status, _, err = run(capsys, str(BUG), "--pid", "4000000", "-q")
    assert status == 2
    assert "shows no save and no restore" in err
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    status, _, err = run(capsys, str(BUG), "--format", "svg")
    assert status == 2
    assert "apt install graphviz" in err


@needs_dot
def test_dot_that_takes_too_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_args: object, **_more: object) -> None:
        raise subprocess.TimeoutExpired("dot", 1)

    monkeypatch.setattr(subprocess, "run", slow)
    status, _, err = run(capsys, str(BUG), "--format", "svg")
    assert status == 2
    assert "Choose less" in err
