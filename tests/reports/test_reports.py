"""The reports of ``analyze`` for people: what they say, and that nothing in a trace breaks them."""

from __future__ import annotations

import html
import io
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from fputrace.events import Loss
from fputrace.findings import (
    Analysis,
    Coverage,
    GenerationResult,
    Severity,
    Status,
    Verdict,
    in_words,
)
from fputrace.reports import REPORTS, Options, outline, render
from fputrace.reports.command import command_lines
from fputrace.reports.escape import clean
from fputrace.reports.steps import fields_text, prev_state
from tests.reports.cases import (
    COVERAGE,
    HOSTILE_NAMES,
    analysis,
    double_save,
    guest_in_thread_fpu,
    hostile,
    trace,
)

FOR_PEOPLE = ("rich", "text", "markdown")
BOTH = analysis(double_save(), guest_in_thread_fpu())


def draw(
    name: str,
    *analyses: Analysis,
    width: int = 80,
    verbose: bool = False,
    encoding: str = "utf-8",
    color: bool = False,
) -> str:
    options = Options(verbose=verbose, ascii=encoding == "ascii", version="0.1.0")
    made = render(name, analyses, options)
    if isinstance(made, str):
        return made
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, newline="") as file:
        console = Console(
            file=file,
            width=width,
            force_terminal=color,
            color_system="truecolor" if color else None,
            highlight=False,
        )
        console.print(made)
        file.flush()
        return raw.getvalue().decode(encoding)


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_says_it_all(name: str) -> None:
    text = flat(draw(name, BOTH, width=200)).replace("\\", "")
    for part in (
        "sample_traces/4.14.5-pinned/trace.dat",
        "trace.dat v6",
        "4.14.5",
        "4.200312 s, from 2.104000 s to 6.304312 s",
        "10,121",
        "1 confirmed error finding, 1 confirmed performance finding.",
        "FPU201 double-save: confirmed, 88 times",
        "CPU 0/KVM-74, vCPU 0 of VM 70 (qemu-system-x86)",
        "First",
        "3.436143 s, last 5.436143 s",
        "saved them again at once: nothing had used them.",
        "kvm_put_guest_fpu",
        "(inferred)",
        "+10.420 us",
        "fpu=0xffff8880b7cae880 load_fpu=0 xfeatures=0x217",
        "CPU 0/KVM:74 R ==> fphog:90",
        "QEMU's image is saved a second time",
        "And 87 more (1 of them with -v).",
        "G:74",
        "trace-cmd record -C mono",
        "raw_syscalls:sys_enter",
    ):
        assert part in text, part


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_order(name: str) -> None:
    """Errors before performance, codes ascending, confirmed before possible, many before few."""
    few = replace(guest_in_thread_fpu(pid=94), count=3)
    text = draw(
        name,
        analysis(double_save(), few, guest_in_thread_fpu(Verdict.POSSIBLE), guest_in_thread_fpu()),
    )
    titles = re.findall(r"FPU\d+ [a-z-]+: \w+, [\d,]+ times", text)
    assert titles == [
        "FPU101 guest-state-in-thread-fpu: confirmed, 1,012 times",
        "FPU101 guest-state-in-thread-fpu: confirmed, 3 times",
        "FPU101 guest-state-in-thread-fpu: possible, 1,012 times",
        "FPU201 double-save: confirmed, 88 times",
    ]
    assert text.index("Errors") < text.index(titles[0]) < text.index("Performance")


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_many_tasks_do_not_flood(name: str) -> None:
    found = [replace(guest_in_thread_fpu(pid=1000 + n), count=900 - n) for n in range(50)]
    text = draw(name, analysis(*found))
    assert len(re.findall("Proof", text)) == 3
    assert len(re.findall("FPU101 guest-state-in-thread-fpu: ", text)) == 20
    assert "and 30 more" in text
    assert len(text) < 64 * 1024
    whole = draw(name, analysis(*found), verbose=True)
    if name == "markdown":
        assert re.search(r"\*\*Left out: [\d,]+ lines \(\d+ parts\)\.\*\*", whole)
        assert 50_000 < len(whole) < 60_000
    else:
        assert len(re.findall("Proof", whole)) == 50


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_verbose(name: str) -> None:
    text = flat(draw(name, BOTH, verbose=True, width=200))
    assert "Proof 2 of 2" in text
    assert "G1 has no TIF" in text.replace("\\", "")
    for row in COVERAGE:
        assert row.name in text


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_nothing_found(name: str) -> None:
    text = flat(draw(name, analysis()))
    assert (
        "Nothing is wrong as far as this trace can tell: 3 rules checked, 1 only in part. "
        "It could not answer FPU105 or FPU110." in text
    )


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_hidden_findings_are_no_acquittal(name: str) -> None:
    text = flat(draw(name, analysis(hidden=1)))
    assert "Nothing is wrong" not in text
    assert (
        "Nothing of what was selected was found; "
        "1 finding of other tasks, CPUs or times is not shown." in text
    )
    text = flat(draw(name, analysis(double_save(), hidden=7)))
    assert "1 confirmed performance finding. 7 findings of other tasks" in text


@pytest.mark.parametrize("name", FOR_PEOPLE)
@pytest.mark.parametrize("verbose", [False, True])
def test_rules_that_were_not_selected_do_not_count(name: str, verbose: bool) -> None:
    text = flat(draw(name, analysis(left_out=("FPU101", "FPU105")), verbose=verbose, width=200))
    assert (
        "Nothing is wrong as far as this trace can tell: 2 selected rules checked, 1 only in part. "
        "It could not answer FPU110." in text
    )
    assert "guest-state-in-thread-fpu" not in text
    assert verbose or re.search(r"not selected:? +FPU101 FPU105", text)
    none = flat(draw(name, analysis(left_out=tuple(row.code for row in COVERAGE))))
    assert "Nothing was checked: no rule about FPU state was selected." in none


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_counts_in_a_window_are_of_the_whole_trace(name: str) -> None:
    found = [replace(guest_in_thread_fpu(pid=100 + n), count=9) for n in range(5)]
    once = replace(double_save(), count=1)
    text = flat(draw(name, analysis(*found, once, windowed=True))).replace("\\", "")
    assert text.count("confirmed, 9 times (in the whole trace)") == 5
    assert "confirmed, 1 time (" not in text
    assert "whole trace" not in flat(draw(name, analysis(*found)))


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_nothing_answered(name: str) -> None:
    empty = analysis(
        trace=trace(counts={}, first_ns=None, last_ns=None, cpus=[], kernel=None),
        generation=GenerationResult(None, False, False, (), ()),
        coverage=[Coverage("FPU101", "x", Status.NOT_DECIDABLE, ("x86_fpu:*",), "")],
        notes=["The trace holds no x86_fpu events."],
    )
    text = flat(draw(name, empty)).replace("\\", "")
    assert "Nothing was found, and the trace could answer none of the rules." in text
    assert "The trace holds no x86_fpu events." in text
    assert "undecided: nothing in the trace tells" in text
    assert "no events" in text


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_findings_about_the_trace_alone_are_no_fault(name: str) -> None:
    lost = replace(
        double_save(),
        code="FPU901", name="events-lost", severity=Severity.TRACE, pid=None, comm=None, vcpu=None,
        vm=None, tgid=None, witnesses=(), message="Events were lost.", count=1,
    )  # fmt: skip
    text = flat(draw(name, analysis(lost)))
    assert "Nothing is wrong as far as" in text
    assert "FPU901 events-lost: confirmed, 1 time" in text


@pytest.mark.parametrize("name", FOR_PEOPLE)
@pytest.mark.parametrize(
    ("generation", "shown"),
    [
        (GenerationResult("G4a", True, False, ("G4a",), ()), "G4a"),
        (GenerationResult("G3", True, True, ("G3",), ()), "G3, forced"),
        (GenerationResult("G3", False, False, ("G2", "G3"), ()), "undecided: G2 or G3"),
    ],
)
def test_generation(name: str, generation: GenerationResult, shown: str) -> None:
    assert shown in draw(name, analysis(generation=generation))


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_losses(name: str) -> None:
    rows = [Loss(0, 1_000_000_000, 2_000_000_000, 7, "page"), Loss(1, None, None, None, "CPUSTAT")]
    text = flat(draw(name, analysis(losses=rows)))
    assert "7 events, and more that nobody counted, in 2 places" in text
    assert "7 events lost on CPU 0 between 1.000000 s and 2.000000 s (page)" in text
    assert "an unknown number of events lost on CPU 1, time unknown (CPUSTAT)" in text
    text = flat(draw(name, analysis(losses=[rows[0]] * 9)))
    assert "and 4 more" in text
    assert "cannot tell" in flat(draw(name, analysis(trace=trace(losses_known=False))))


@pytest.mark.parametrize("name", FOR_PEOPLE)
def test_raw_clock_is_never_seconds(name: str) -> None:
    text = draw(
        name,
        analysis(double_save(), trace=trace(clock="x86-tsc", clock_in_ns=False)),
        width=200,
    )
    assert "3436143000 x86-tsc ticks" in flat(text)
    assert "+9120 ticks" in text.replace("\\", "")
    assert not re.search(r"\d (s|ms|us)\b", text)


@pytest.mark.parametrize("hostile_name", HOSTILE_NAMES)
@pytest.mark.parametrize("name", FOR_PEOPLE)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_hostile_names(name: str, hostile_name: str, width: int) -> None:
    text = draw(name, hostile(hostile_name), width=width, verbose=True)
    assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("hostile_name", HOSTILE_NAMES)
def test_hostile_names_with_colour(hostile_name: str) -> None:
    """The only control sequences are the report's own colours."""
    text = draw("rich", hostile(hostile_name), color=True)
    rest = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert all(c.isprintable() or c == "\n" for c in rest)
    shown = hostile_name if hostile_name.isprintable() else "\\"
    assert shown in rest


@pytest.mark.parametrize("hostile_name", HOSTILE_NAMES)
@pytest.mark.parametrize("verbose", [False, True])
def test_hostile_names_in_markdown(hostile_name: str, verbose: bool) -> None:
    """As a renderer sees it: the same structure as with a harmless name, and the name as text."""
    render_html = MarkdownIt("commonmark", {"html": True}).enable("table").render

    def structure(name: str) -> list[str]:
        made = render_html(draw("markdown", hostile(name), verbose=verbose))
        return re.findall(r"</?\w+", made.replace("<br>", ""))

    assert structure(hostile_name) == structure("CPU 0/KVM")
    made = render_html(draw("markdown", hostile(hostile_name), verbose=verbose))
    assert clean(hostile_name) in html.unescape(made)


@pytest.mark.parametrize("found", [BOTH, analysis(), *map(hostile, HOSTILE_NAMES)])
@pytest.mark.parametrize("verbose", [False, True])
def test_text_is_for_a_mailing_list(found: Analysis, verbose: bool) -> None:
    text = draw("text", found, found, verbose=verbose)
    assert text.isascii()
    assert text.endswith("\n")
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 72


@pytest.mark.parametrize("width", [40, 60, 80, 140, 200])
@pytest.mark.parametrize("found", [BOTH, hostile(HOSTILE_NAMES[0])])
def test_rich_keeps_to_its_width(width: int, found: Analysis) -> None:
    text = draw("rich", found, width=width, verbose=True)
    report, _, command = text.partition(outline.RECORD_WORDS)
    assert max(map(len, report.splitlines())) <= width
    assert command


def test_rich_in_ascii() -> None:
    text = draw("rich", BOTH, encoding="ascii", width=120)
    assert text.isascii()
    assert "-> 2" in text
    assert "G:74---" in text


def test_rich_without_colour_says_the_same() -> None:
    plain = draw("rich", BOTH, width=120)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", draw("rich", BOTH, width=120, color=True)) == plain


@pytest.mark.parametrize(
    ("state", "shown"),
    [(0, "R "), (1, "S "), (0x80, "I "), (0x100, "R+ "), (3, "prev_state=3 "), (None, "")],
)
def test_prev_state(state: int | None, shown: str) -> None:
    assert prev_state(state) == shown


def test_a_switch_names_the_next_task() -> None:
    bare = replace(
        double_save().witnesses[0].events[0],
        fields={"prev_pid": 74, "prev_state": 0x100, "next_pid": 9},
    )
    assert fields_text(bare, {9: "ksoftirqd/0"}) == "CPU 0/KVM:74 R+ ==> ksoftirqd/0:9"
    assert fields_text(bare, {}) == "CPU 0/KVM:74 R+ ==> <...>:9"


def test_needs_in_words() -> None:
    """All of them are needed, and of each only one of its ways."""
    needs = ("signal:signal_deliver", "probe:a|raw_syscalls:sys_enter|probe:b", "probe:c|probe:d")
    assert in_words(needs) == (
        "signal:signal_deliver, and raw_syscalls:sys_enter or a probe on a or b, "
        "and a probe on c or d"
    )


def test_code_list() -> None:
    codes = ["FPU101", "FPU102", "FPU104", "FPU105", "FPU106", "FPU113", "FPU114", "FPU201"]
    assert outline.code_list(codes) == [
        "FPU101", "FPU102", "FPU104-106", "FPU113", "FPU114", "FPU201",
    ]  # fmt: skip
    assert outline.code_list([]) == []
    assert outline.code_list(["ABC101", "FPU102", "FPU103", "FPU104"]) == ["ABC101", "FPU102-104"]
    assert outline.code_list(["SWAP001", "SWAP002", "SWAP003", "FPU004"]) == [
        "SWAP001-003", "FPU004",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        "trace-cmd record -e 'a b' -e \"c 'd\" -b 100 --long-option=1 x\\ y",
        "one\ntwo -x y",
        "unbalanced 'quote",
    ],
)
@pytest.mark.parametrize("width", [20, 40, 90])
def test_command_survives_a_shell(command: str, width: int) -> None:
    shown = "\n".join(command_lines(command, width))
    assert re.sub(r" \\\n +", " ", shown) == command


def test_help_needs_none_of_it() -> None:
    """Asking which reports exist imports neither rich nor what events are made of."""
    code = (
        "import sys, fputrace.reports, fputrace.reports.outline; "
        "print([m for m in ('rich', 'numpy', 'pandas', 'networkx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert set(REPORTS) >= {"rich", "text", "markdown", "json"}


def test_long_path_is_folded_not_cut() -> None:
    path = "/" + "x" * 90 + "/trace.dat"
    text = draw("rich", analysis(trace=trace(path=path)), width=40)
    assert path in re.sub(r"\s+", "", text)
