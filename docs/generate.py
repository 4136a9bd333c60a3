"""Makes what the documentation repeats of the code.

    python docs/generate.py            writes it
    python docs/generate.py --check    says what is out of date, exit status 1 if anything is

Whole: ``docs/rules.md``, ``events.md`` and ``generations.md``, and ``docs/analyze.svg`` from a real
run; in the READMEs the text between ``<!-- name -->`` and ``<!-- /name -->``, the table of
``docs/bugs`` from the heads of its pages.
"""

from __future__ import annotations

import argparse
import html
import inspect
import io
import json
import os
import re
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from functools import cache
from pathlib import Path
from textwrap import fill

import manual

import fputrace
from fputrace.arguments import EXIT_STATUSES
from fputrace.cli import main as main_of_fputrace
from fputrace.events import KINDS, PROBED_FUNCTIONS
from fputrace.generation import TITLES, UPSTREAM, Range
from fputrace.parsers import FORMATS as INPUTS
from fputrace.rules import PAGES
from fputrace.verbs.analyze import FORMATS, RECORD

ROOT = Path(__file__).parent.parent
PICTURED = "sample_traces/5.2.1-pinned/trace.dat"
REPORTED = ("5.2.1", "4.14.5")
PATCHED = ("4.14.5-pinned", "4.14.177-pinned")
OUT = ("preempted", "cond_resched", "halt", "sleep")
PICTURE_COLUMNS, PICTURE_LINES = 100, 53
BUGS = (
    "double-save",
    "crc32c-in-kvm-run",
    "double-load",
    "guest-over-user-image",
    "raw-save",
    "entry-hole",
    "cached-owner",
    "mpx-put",
    "failed-xrstor",
    "xfd",
    "lazy-fpu",
    "pkru-xcr0-uabi",
)
"""The pages of ``docs/bugs``, in the order of its table."""
MADE = "<!-- Made by docs/generate.py: do not edit. -->\n\n"

EVENTS = """\
# Events

What fputrace reads of an event, under the kernel's names; newer and older names of one field stand
side by side. An event whose format lacks a needed field counts as not recorded. Any other event is
counted by name. `syscalls:sys_enter_*` and `syscalls:sys_exit_*` count as `raw_syscalls:sys_enter`
and `sys_exit`.

| event | field | C type | unit | needed |
| --- | --- | --- | --- | --- |
"""

PROBES = """
## Probes

Probe events (kprobe, eprobe, fprobe, the function tracer) are known by the function they sit on,
whatever they are called:

"""

GENERATIONS = """\
# Generations

How a kernel moves FPU state. A trace's generation is found from what it holds; the release only
chooses among what is left, because vendors port back (`fputrace/generation.py`).

"""

RELEASES = """
## Upstream releases

An upstream release decides, unless the trace contradicts it. A vendor's suffix (`5.2.1-arch1-1`)
makes it a lower bound; `-rc` or a bare `+` says nothing.

| release | generation |
| --- | --- |
"""

OPEN = 9999
"""In ``generation.UPSTREAM``: no border."""


def events_page() -> str:
    """Every event that matters, from ``events.KINDS``."""
    rows = []
    for spec in KINDS:
        event = ", ".join(f"`{spec.system}:{name}`" for name in spec.names)
        for operand in spec.operands:
            fields = ", ".join(f"`{field}`" for field in operand.fields)
            needed = "yes" if operand.required else "no"
            rows.append(f"| {event} | {fields} | `{operand.ctype}` | {operand.unit} | {needed} |")
            event = ""
    probes = [f"* `{function}`" for function in PROBED_FUNCTIONS]
    return MADE + EVENTS + "\n".join(rows) + "\n" + PROBES + "\n".join(probes) + "\n"


def generations_page() -> str:
    """What each generation is and which releases have it, from ``generation``."""
    titles = "".join(f"* **{code}**: {title}\n" for code, title in TITLES.items())
    rows = "".join(f"| {releases(known)} | {known.code} |\n" for known in UPSTREAM)
    return MADE + GENERATIONS + titles + RELEASES + rows


def releases(known: Range) -> str:
    """A range of releases in words; a border at 0 or 9999 is none."""
    major, minor, patch = known.last
    first = ".".join(map(str, known.first[: 3 if known.first[2] else 2]))
    last = ".".join(str(n) for n in (major, minor, patch) if n < OPEN)
    if known.first == known.last:
        return first
    if major == OPEN:
        return f"{first} and later"
    if minor == OPEN:
        return f"{first} and later {major}.x"
    if known.first[:2] == (0, 0):
        return f"up to {last}"
    if patch == OPEN and known.first[:2] == (major, minor):
        return f"{first} and later {last}.x"
    return f"{first} to {last}"


def rules_page() -> str:
    """Every rule's page, from the docstrings of ``rules/``."""
    pages = [inspect.cleandoc(page.__doc__ or "") for page in PAGES]
    lines = [
        "# Rules",
        "",
        "`fputrace explain CODE` prints one of them. Codes are never reused.",
        "",
        *(
            f"* [{p.RULE.code} {p.RULE.name}](#{p.RULE.code.lower()}-{p.RULE.name}): {p.RULE.title}"
            for p in PAGES
        ),
        "",
        *("\n" + re.sub(r"^#", "##", page, flags=re.MULTILINE) + "\n" for page in pages),
    ]
    return MADE + "\n".join(lines).rstrip() + "\n"


def picture() -> str:
    """The first screen of a real run, drawn by rich but without the fonts a browser would load."""
    from rich.console import Console
    from rich.segment import Segments

    from fputrace.reports import Options, render

    os.chdir(ROOT)
    console = Console(
        record=True,
        file=io.StringIO(),
        width=PICTURE_COLUMNS,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    analysis = fputrace.analyze(PICTURED)
    report = render("rich", [analysis], Options(version=fputrace.__version__, exit_status=1))
    lines = console.render_lines(report, new_lines=True)
    console.print(Segments(segment for line in lines[:PICTURE_LINES] for segment in line))
    svg = console.export_svg(title=f"fputrace analyze {PICTURED}", unique_id="fputrace")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def sample_rows() -> str:
    """A row a case, from expected.json."""
    rows = ["| case | kernel | generation | what fputrace must say |", "| --- | --- | --- | --- |"]
    for path in sorted((ROOT / "sample_traces").glob("*/expected.json")):
        expected = json.loads(path.read_text())
        name = path.parent.name
        said = [f"{code} {want['verdict']}" for code, want in expected["findings"].items()]
        cells = (
            f"[{name}]({name}/README.md)",
            expected["kernel"] or "not named",
            " or ".join(expected.get("candidates", [expected["generation"]])),
            ", ".join(said).replace("|", " or ") or "nothing",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def bug_head(name: str) -> dict[str, str]:
    """The table at the top of a page of ``docs/bugs``, and its title."""
    text = (ROOT / "docs" / "bugs" / f"{name}.md").read_text()
    head = dict(re.findall(r"^\| (\w+) \| (.+) \|$", text.partition("\n## ")[0], re.MULTILINE))
    return {"title": text.partition("\n")[0].removeprefix("# "), **head}


def bug_rows() -> str:
    """A row a page of ``docs/bugs``."""
    rows = [
        "| bug | kernels | tracepoints show | probes show | test |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in BUGS:
        head = bug_head(name)
        cells = [f"[{head['title']}]({name}.md)", head["kernels"]]
        cells += [head["tracepoints"], head["probes"], head["proof"].partition(";")[0]]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


@cache
def patch_rows() -> str:
    """What f775b13eedee saves: the vCPU threads of two recordings of one workload."""
    lines = ["| | 4.14.5, before | 4.14.177, after |", "| --- | --- | --- |"]
    sums = []
    for case in PATCHED:
        found = fputrace.analyze(str(ROOT / "sample_traces" / case / "trace.dat"), costs=True)
        assert found.costs is not None
        vcpus = [task for task in found.costs.tasks if task.is_vcpu]
        out = [cause for task in vcpus for cause in task.by_why if cause.why in OUT]
        saves = [cause.saves for cause in out]
        restores = [cause.restores for cause in out]
        sums.append(
            (
                sum(cause.times for cause in out),
                sum(one.needed for one in saves),
                sum(one.redundant for one in saves),
                sum(one.needed for one in restores),
                sum(one.redundant for one in restores),
                sum(cause.elided for cause in out),
                sum(cause.bytes_redundant for cause in out),
                sum(cause.ns_redundant for cause in out),
            )
        )
    names = (
        "switch-outs of vCPU threads",
        "saves needed",
        "saves redundant",
        "restores needed",
        "restores redundant",
        "restores skipped",
        "bytes moved for nothing, ≈",
        "ns for nothing, ≈ (default prices)",
    )
    for name, *values in zip(names, *sums, strict=True):
        lines.append(f"| {name} | {values[0]:,} | {values[1]:,} |")
    return "\n".join(lines)


@cache
def queries() -> dict[str, str]:
    """The answers to the queries of docs/export.md, in their order."""
    import duckdb

    from fputrace.export import Window, export

    page = (ROOT / "docs" / "export.md").read_text()
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        export(fputrace.analyze(str(ROOT / PICTURED)), "parquet", folder, Window(), force=True)
        for number, query in enumerate(re.findall(r"```sql\n(.*?)```", page, re.DOTALL), 1):
            answer = duckdb.execute(re.sub(r"'(\w+\.parquet)'", rf"'{folder}/\1'", query))
            heads = [column[0] for column in answer.description]
            rows = [[str(value) for value in row] for row in answer.fetchall()]
            table = [heads, ["---"] * len(heads), *rows]
            lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
            answers[f"query-{number}"] = f"\n\n{lines}\n\n"
    return answers


FEARED = "4.14.0-rc8-pinned"


@cache
def compared() -> dict[str, str]:
    """The patch of 2017 by three recordings: what docs/diff.md and the README say of it."""
    from fputrace.compare import OUT, compare, work_of
    from fputrace.reports.diff import figure, text

    before, after = PATCHED
    normal = [page.RULE.code for page in PAGES if getattr(page.RULE, "costs_only", False)]
    paths = {case: f"sample_traces/{case}/trace.dat" for case in (before, FEARED, after)}
    os.chdir(ROOT)
    found = {
        case: fputrace.analyze(path, costs=True, ignore=normal) for case, path in paths.items()
    }
    forced = fputrace.analyze(paths[FEARED], generation="G3")
    works = {case: work_of(analysis) for case, analysis in found.items()}

    def count(case: str, code: str) -> int:
        return sum(one.count for one in found[case].findings if one.code == code)

    def told(case: str, code: str) -> str:
        row = next(row for row in found[case].coverage if row.code == code)
        if row.status.value.startswith("not"):
            return row.status.value.replace("-", " ")
        verdicts = {one.verdict.value for one in found[case].findings if one.code == code}
        rate = figure(count(case, code) / works[case].outs)
        return f"{rate}, {' and '.join(sorted(verdicts))}" if verdicts else "0"

    rows = [
        ["", *(str(found[case].trace.kernel) for case in paths)],
        ["---"] * 4,
        ["generation", *(" or ".join(found[case].generation.candidates) for case in paths)],
        ["vCPU threads switched out", *(f"{works[case].outs:,}" for case in paths)],
        ["for each of these:", "", "", ""],
        ["FPU201 double-save", *(told(case, "FPU201") for case in paths)],
        ["FPU101 guest-state-in-thread-fpu", *(told(case, "FPU101") for case in paths)],
    ]
    pairs = {case: compare(found[before], found[case]) for case in (FEARED, after)}
    sums: dict[str, dict[str, float]] = {case: {} for case in paths}
    for case, pair in pairs.items():
        for row in pair.measures:
            if row.unit == OUT:
                sums[before][row.name] = row.old.rate or 0.0
                sums[case][row.name] = row.new.rate or 0.0
    for name in sums[before]:
        sign = ", ≈" if name.startswith(("ns", "bytes")) else ""
        rows.append([f"{name}{sign}", *(figure(sums[case][name]) for case in paths)])

    def outs(case: str) -> str:
        return f"{works[case].outs:,}"

    proven = sum(
        one.count
        for one in forced.findings
        if one.code == "FPU101" and one.verdict.value == "confirmed"
    )
    twice, over = count(before, "FPU201"), count(FEARED, "FPU101")
    answer = (
        f"**4.14.5** restores the VMM's registers in {twice} of {outs(before)} switch-outs of a "
        "vCPU thread only to save them again at once (FPU201, confirmed): on average ≈ "
        f"{figure(sums[before]['ns redundant'])} ns a switch-out for nothing. **4.14.0-rc8+** does "
        f"not, and pays for it: in {over} of {outs(FEARED)} it saves the guest's registers over "
        "the VMM's (FPU101). By its tracepoints alone that is only possible: G2 prints the same; "
        f"judged as G3 (`--new-generation G3`) {proven} of them are confirmed. **4.14.177**, the "
        f"patch as merged, has no FPU201 in {outs(after)} switch-outs and no redundant save or "
        f"restore: one costs ≈ {figure(sums[after]['ns'])} ns instead of "
        f"{figure(sums[before]['ns'])}. It saves the guest's registers in `thread.fpu` too, but by "
        "design: the VMM's wait in `vcpu->arch.user_fpu`, for which FPU101 would need probes. The "
        "patch was right, and so was the objection to what it might have been."
    )
    assert not count(after, "FPU201")
    assert not sums[after]["saves redundant"] + sums[after]["restores redundant"]

    def shown(case: str) -> str:
        return f"\n\n```text\n{text(pairs[case], found[before], found[case])}```\n\n"

    return {
        "answer": f"\n\n{fill(answer, 110)}\n\n",
        "kernels": "\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n",
        "diff-feared": shown(FEARED),
        "diff-patched": shown(after),
    }


CHECKS = (
    ("5.2.1-pinned", "FPU101"),
    ("4.14.5-pinned", "FPU103"),
    ("4.14.5-pinned", "FPU110"),
)
"""A case and a rule for each answer of ``check``."""


@cache
def checks() -> str:
    """What ``check`` says and returns."""
    from fputrace.cli import main as command

    os.chdir(ROOT)
    lines = []
    for case, code in CHECKS:
        words = ["check", f"sample_traces/{case}/trace.dat", "--rule", code]
        with redirect_stdout(io.StringIO()) as out:
            status = command(words)
        said = fill(out.getvalue(), 110, break_on_hyphens=False)
        lines += [f"$ fputrace {' '.join(words)}; echo $?", said, str(status)]
    return "\n".join(lines)


@cache
def reports() -> dict[str, str]:
    """What ``report`` writes of two recordings: to the end of the first finding, and the end."""
    shown = {}
    for case in REPORTED:
        text = run_fputrace("report", f"sample_traces/{case}-pinned/trace.dat")
        _, second, *_ = re.finditer(r"^FPU\d+ ", text, re.MULTILINE)
        start = text[: second.start()].strip()
        end = text[text.index("\nProvenance\n=") :].strip()
        shown[f"report-{case}"] = f"\n\n```text\n{start}\n\n[...]\n\n{end}\n```\n\n"
    markdown = run_fputrace("report", PICTURED, "--format", "markdown")
    (diagram, *_) = re.findall(r"^```mermaid\n.*?^```$", markdown, re.MULTILINE | re.DOTALL)
    return {**shown, "report-diagram": f"\n\n{diagram}\n\n"}


def run_fputrace(*words: str) -> str:
    """What a command writes, as somebody gets it in the repository."""
    with tempfile.TemporaryDirectory() as folder, chdir(ROOT):
        output = Path(folder) / "output"
        main_of_fputrace([*words, "-q", "-o", str(output)])
        return output.read_text()


def parts() -> dict[str, str]:
    """Marker in a README -> the text between it and its end."""
    statuses = [f"| {status} | {text} |" for status, text in EXIT_STATUSES]
    return {
        **compared(),
        "checks": f"\n\n```console\n{checks()}\n```\n\n",
        "bugs": f"\n{bug_rows()}\n",
        "cases": f"\n{sample_rows()}\n",
        "exit-statuses": "\n" + "\n".join(["| exit status | |", "| --- | --- |", *statuses]) + "\n",
        "formats": ", ".join(f"`{name}`" for name in FORMATS),
        "inputs": ", ".join(f"`{known.name}`" for known in INPUTS),
        "patch": f"\n\n{patch_rows()}\n\n",
        **queries(),
        **reports(),
        "record": f"\n\n```console\n{RECORD}\n```\n\n",
    }


def filled(text: str) -> str:
    """A README with the text between its markers made anew."""
    for name, part in parts().items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, new=begin + part + end: new,  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    return text


def words(text: str) -> str:
    """What a page or picture says: of a picture its letters, since rich may draw them otherwise."""
    if not text.startswith("<svg"):
        return text
    return html.unescape("\n".join(re.findall(r"<text[^>]*>(.*?)</text>", text, re.DOTALL)))


def made() -> dict[str, str]:
    """Path below the root -> its text."""
    files = {
        "docs/events.md": events_page(),
        "docs/generations.md": generations_page(),
        "docs/rules.md": rules_page(),
        "docs/analyze.svg": picture(),
        "docs/commands.md": MADE + manual.commands_page(),
        "docs/schema.md": MADE + manual.schema_page(ROOT / "fputrace/reports/analyze.schema.json"),
        **manual.files(),
    }
    for readme in (
        "README.md",
        "docs/bugs/README.md",
        "docs/ci.md",
        "docs/costs.md",
        "docs/diff.md",
        "docs/export.md",
        "docs/reports.md",
        "sample_traces/README.md",
    ):
        files[readme] = filled((ROOT / readme).read_text())
    return files


def main() -> int:
    """Write, or with ``--check`` compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, text in made().items():
        path = ROOT / name
        if path.exists() and words(path.read_text()) == words(text):
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    verb = "is out of date (python docs/generate.py renews it)" if check else "written"
    for name in stale:
        sys.stdout.write(f"{name} {verb}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
