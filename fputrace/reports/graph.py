"""``graph``: an ownership graph as Graphviz, GraphML, JSON, Mermaid and SVG.

Gets the graph of :func:`fputrace.flows.ownership_graph`.  Names of tasks come from the trace, so
every label passes through the escapes of its format.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fputrace.errors import UsageError
from fputrace.reports.escape import clean, decoded, dot_string, dumps, mermaid
from fputrace.reports.outline import number, plural, task
from fputrace.reports.palette import GREEN, GREY, ORANGE, SKY, VERMILLION

if TYPE_CHECKING:
    import networkx as nx

    from fputrace.reports.outline import Clock

SCHEMA_VERSION = 1
_LAYOUT_SECONDS = 120
_COLOURS = {"user": SKY, "guest": ORANGE, "unknown": GREY}
_NODES = {"registers": GREEN, "image": "#ffffff", "rest": "#ffffff"}
_WHERE_CHARS = 44


def graph_dot(graph: nx.MultiDiGraph[str], title: str, clock: Clock) -> str:
    """Graphviz's language; ends with a newline."""
    lines = [
        "digraph fputrace {",
        "  rankdir=LR; ranksep=1.6; nodesep=0.35;",
        f"  label={dot_string(title)}; labelloc=t; fontname=Helvetica; fontsize=14;",
        '  node [fontname=Helvetica, fontsize=11, style=filled, fillcolor="#ffffff"];',
        "  edge [fontname=Helvetica, fontsize=9];",
    ]
    for name, data in graph.nodes(data=True):
        shape = "box" if data["kind"] == "registers" else "cylinder"
        label = dot_string("\n".join(_node_lines(data)))
        colour = dot_string(_NODES[data["kind"]])
        lines.append(f"  {dot_string(name)} [label={label}, shape={shape}, fillcolor={colour}];")
    for a, b, data in graph.edges(data=True):
        bold = data["evidence"] or data["overwrites"]
        styles = {
            "label": "\n".join(_edge_lines(data, clock)),
            "color": _edge_colour(data),
            "fontcolor": VERMILLION if data["overwrites"] else "#333333",
            "style": "bold" if bold else "dashed" if data["moved"] == "restore" else "solid",
        }
        told = ", ".join(f"{key}={dot_string(value)}" for key, value in styles.items())
        lines.append(f"  {dot_string(a)} -> {dot_string(b)} [{told}];")
    return "\n".join([*lines, "}"]) + "\n"


def graph_svg(graph: nx.MultiDiGraph[str], title: str, clock: Clock) -> str:
    """A drawing, laid out by Graphviz's program ``dot``; raises UsageError without it."""
    program = shutil.which("dot")
    if program is None:
        raise UsageError(
            "--format svg needs the program `dot` of Graphviz, which is not installed",
            hint="apt install graphviz, or take --format dot, graphml, json or mermaid.",
        )
    source = graph_dot(graph, title, clock)
    try:
        done = subprocess.run(  # noqa: S603  # a fixed program; the graph is on its stdin
            [program, "-Tsvg"],
            input=source,
            capture_output=True,
            encoding="utf-8",
            timeout=_LAYOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"`dot` was still laying the graph out after {_LAYOUT_SECONDS} s",
            hint="Choose less: --finding, --time, --cpu, --pid or a smaller --tasks.",
        ) from None
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UsageError(f"`dot` could not draw the graph: {reason[0]}", hint="Try --format dot.")
    return done.stdout


def graph_mermaid(graph: nx.MultiDiGraph[str], title: str, clock: Clock) -> str:
    """A Mermaid flow chart, as GitHub and GitLab draw it; ends with a newline."""
    lines = [f"%% {_comment(title)}", "flowchart LR"]
    numbers = {name: f"n{index}" for index, name in enumerate(graph)}
    for name, data in graph.nodes(data=True):
        label = "<br/>".join(mermaid(line) for line in _node_lines(data))
        opens, closes = ("[", "]") if data["kind"] == "registers" else ("[(", ")]")
        lines.append(f'  {numbers[name]}{opens}"{label}"{closes}')
    for index, (a, b, data) in enumerate(graph.edges(data=True)):
        label = "<br/>".join(mermaid(line) for line in _edge_lines(data, clock))
        arrow = "-.->" if data["moved"] == "restore" else "-->"
        lines.append(f'  {numbers[a]} {arrow}|"{label}"| {numbers[b]}')
        width = 3 if data["evidence"] or data["overwrites"] else 1
        lines.append(f"  linkStyle {index} stroke:{_edge_colour(data)},stroke-width:{width}px")
    return "\n".join(lines) + "\n"


def graph_graphml(graph: nx.MultiDiGraph[str], title: str, clock: Clock) -> str:
    """GraphML, as networkx, Gephi and yEd read it; times in ns, ends with a newline."""
    import networkx as nx

    plain: nx.MultiDiGraph[str] = nx.MultiDiGraph(title=clean(title))
    for name, data in graph.nodes(data=True):
        plain.add_node(name, label=" ".join(_node_lines(data)), **_cleaned(data))
    for a, b, key, data in graph.edges(data=True, keys=True):
        plain.add_edge(a, b, key=key, label=", ".join(_edge_lines(data, clock)), **_cleaned(data))
    text = io.BytesIO()
    nx.write_graphml_xml(plain, text)
    return text.getvalue().decode() + "\n"


def graph_json(graph: nx.MultiDiGraph[str], title: str, clock: Clock) -> str:
    """One JSON object, as ``networkx.node_link_graph(document, edges="edges")`` reads it.

    Times in ns of the trace's clock.  Ends with a newline.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "directed": True,
        "multigraph": True,
        "graph": {"title": decoded(title), "clock": clock.name and decoded(clock.name)},
        "nodes": [{"id": name, **_decoded(data)} for name, data in graph.nodes(data=True)],
        "edges": [
            {"source": a, "target": b, "key": key, **data}
            for a, b, key, data in graph.edges(data=True, keys=True)
        ],
    }
    return dumps(document)


GRAPHS: Mapping[str, Callable[[nx.MultiDiGraph[str], str, Clock], str]] = {
    "dot": graph_dot,
    "graphml": graph_graphml,
    "json": graph_json,
    "mermaid": graph_mermaid,
    "svg": graph_svg,
}
"""``--format``: each takes the graph, a title, and how times are written."""


def _node_lines(data: Mapping[str, Any]) -> list[str]:
    if data["kind"] == "registers":
        return [f"CPU {data['cpu']}", "registers"]
    if data["kind"] == "rest":
        return [plural(data["tasks"], "other task"), "their images"]
    vcpu = f" (vCPU {data['vcpu']})" if "vcpu" in data else ""
    where = data["where"]
    lines = [where] if len(where) <= _WHERE_CHARS else where.replace(" or ", " or\n").split("\n")
    return [clean(task(data["comm"], data["pid"]) + vcpu), *lines]


def _edge_lines(data: Mapping[str, Any], clock: Clock) -> list[str]:
    """How often and what, and when."""
    what = {"user": "of its own", "guest": "of the guest's", "unknown": "of one of the two"}
    lines = [f"{plural(data['count'], data['moved'])} {what[data['image']]}"]
    if data["overwrites"]:
        lines.append("over the VMM's own image")
    if data["count"] == 1:
        lines.append(f"at {clock.at(data['first_ns'])}")
    else:
        lines.append(f"{clock.at(data['first_ns'])} to {clock.at(data['last_ns'])}")
    if data["bytes"]:
        lines.append(f"{number(data['bytes'])} bytes")
    return lines


def _edge_colour(data: Mapping[str, Any]) -> str:
    return VERMILLION if data["overwrites"] else _COLOURS[data["image"]]


def _cleaned(data: Mapping[str, Any]) -> dict[str, Any]:
    """XML has no control characters, not even escaped ones."""
    return {key: clean(value) if isinstance(value, str) else value for key, value in data.items()}


def _decoded(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: decoded(value) if isinstance(value, str) else value for key, value in data.items()}


def _comment(text: str) -> str:
    """A line of Mermaid that is no directive: those are ``%%{ ... }%%``."""
    return clean(text).replace("{", "(").replace("}", ")")
