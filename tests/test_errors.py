"""Every error a command line can meet says what is wrong, where, and what to do next.

A row of the tables below provokes one; how they say it is theirs.  What only damaged bytes can
provoke has its tests beside the parsers.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fputrace import cli
from fputrace.errors import FormatError, FputraceError, ReadError, what_to_do
from fputrace.record import kernel
from tests.record.fake import make

SAMPLES = Path(__file__).parent.parent / "sample_traces"
DAT = SAMPLES / "5.2.1-pinned" / "trace.dat"
PACKED = SAMPLES / "6.12-storm" / "trace.dat"
PERF = SAMPLES / "6.1-pinned" / "perf.data"
TEXT = SAMPLES / "6.1-pinned" / "trace.txt"
ESCAPE = "bad\x1b[31mname\n.dat"


class Case(NamedTuple):
    """A command; what its message names (``where``), what its hint says, and the exit status."""

    command: str
    where: str
    hint: str
    status: int = 2


HELP = "--help lists"
USAGE = (
    Case("analyse", "analyse", HELP),
    Case("analyze --formt text a.dat", "--formt; the closest that exist: --format", HELP),
    Case("analyze --format xml a.dat", "--format: 'xml'", HELP),
    Case("analyze a.dat --cpu x", "--cpu: 'x'", HELP),
    Case("analyze a.dat --cpu 3-1", "--cpu: '3-1'", HELP),
    Case("analyze a.dat --time 1", "--time: '1'", HELP),
    Case("analyze a.dat --time 5,1", "--time: '5,1' ends before", HELP),
    Case("analyze a.dat --pid x", "--pid: 'x'", HELP),
    Case("analyze a.dat --vcpu ''", "--vcpu: ''", HELP),
    Case("analyze a.dat --vm x", "--vm: 'x'", HELP),
    Case("analyze a.dat --select ''", "--select: ''", HELP),
    Case("analyze a.dat --kernel banana", "--kernel: 'banana'", HELP),
    Case("analyze a.dat --max-unpacked 0", "--max-unpacked: '0'", HELP),
    Case("analyze a.dat --reader x", "--reader: 'x'", HELP),
    Case("analyze a.dat --color x", "--color: 'x'", HELP),
    Case("analyze a.dat -o", "-o: expected", HELP),
    Case("analyze a.dat --select FPU999", "--select: no rule", "fputrace rules"),
    Case("analyze a.dat --select FPU205", "--select: FPU205", "--costs"),
    Case("analyze a.dat --ignore XYZ", "--ignore: no rule", "fputrace rules"),
    Case("analyze a.dat --fail-on all", "--fail-on: 'all'", HELP),
    Case("analyze a.dat --generation G9", "--generation: .*'G9'", "G4a"),
    Case("analyze a.dat --generation G5", "--generation G5 .* in a.dat: ", "Leave --generation"),
    Case("analyze a.dat --format-in xyz", "--format-in: .*'xyz'", "trace.dat"),
    Case("analyze a.dat --format-in perf.data", "a.dat at byte 0", "Leave --format-in away"),
    Case("analyze a.data --format-in trace.dat", "a.data at byte 0", "Leave --format-in away"),
    Case("analyze a.dat --format-in text", "a.dat at byte 0", "binary"),
    Case("analyze a.dat --format-in tracefs", "--format-in: .* a.dat", "Leave --format-in away"),
    Case("analyze a.dat --member x", "--member: a.dat", "Leave --member away"),
    Case("analyze a.dat --instance x", "a.dat: .*instance 'x'", "Instances"),
    Case("analyze a.data --instance x", "--instance: a.data", "Leave --instance away"),
    Case("analyze a.txt --instance x", "--instance: a.txt", "Leave --instance away"),
    Case("analyze a.data --reader tracecmd", "--reader: a.data", "Leave --reader away"),
    Case("analyze a.txt --reader tracecmd", "--reader: a.txt", "Leave --reader away"),
    Case("analyze a.dat --clock x", "--clock: .*'x'", "mono"),
    Case("analyze a.data --clock boot", "a.data: ", "text only"),
    Case("analyze --sha256 -", "--sha256", "file"),
    Case("analyze --sha256 .", "--sha256", "Name the file"),
    Case("analyze", "trace.dat nor perf.data", "record"),
    Case("analyze a.dat --plugin none", "--plugin none", "Install"),
    Case("explain FPU101 --plugin none", "--plugin none", "Install"),
    Case("check a.dat", "--rule", HELP, 125),
    Case("check a.dat --rule FPU999", "--rule: .*'FPU999'", "fputrace rules", 125),
    Case("check a.dat --rule double-sav", "double-save", "fputrace rules", 125),
    Case("check missing --rule FPU101", "missing: ", "There is: a.dat", 125),
    Case("check a.dat --rule FPU101 --generation G7", "--generation: .*'G7'", "G4a", 125),
    Case("check empty --rule FPU101", "empty: ", "record again", 125),
    Case("explain", "CODE", HELP),
    Case("explain doble-save", "'doble-save'; .*double-save", "fputrace rules"),
    Case("rules x", "x", HELP),
    Case("timeline a.data --cpu 77", "a.data: --cpu: .*77", "leave --cpu away"),
    Case("timeline a.data --time 1,1.1", "a.data: --time: ", "leave --time away"),
    Case("timeline a.data --width 5", "--width: '5'", HELP),
    Case("at a.data x", "TIME: 'x'", HELP),
    Case("at a.data 99999999", "a.data: TIME 99999999", "end"),
    Case("at 5", "trace.dat nor perf.data", "record"),
    Case("graph a.dat a.dat", "graph", "one by one"),
    Case("graph a.dat --finding FPU101 --cpu 1", "--finding", "Leave --time"),
    Case("graph a.dat --finding x", "--finding: 'x'", HELP),
    Case("graph a.data --finding FPU120", "a.data: .*FPU120", "--time|It has"),
    Case("diff a.dat", "NEW", HELP),
    Case("diff - -", "standard input", "Name a file"),
    Case("diff a.data missing", "missing: ", "There is: a.dat"),
    Case("diff a.dat a.dat --old-kernel x", "--old-kernel: 'x'", HELP),
    Case("convert a.dat", "--to", HELP),
    Case("convert a.dat --to xml", "--to: 'xml'", HELP),
    Case("convert a.dat a.data --to jsonl", "2 were given", "one by one"),
    Case("convert a.dat --to parquet", "parquet", "-o FOLDER"),
    Case("export a.data --to parquet", "parquet", "-o FOLDER"),
    Case("export a.dat a.dat --to perfetto", "2 were given", "one by one"),
    Case("cut a.dat", "--finding --time|OUT", HELP),
    Case("cut a.dat x --time 1,2", "a.dat: ", "fputrace info"),
    Case("cut a.dat x --time , --max-size 1K", "a.dat: ", "--max-size"),
    Case("cut a.dat x --time 1,2 --max-size 1X", "--max-size: '1X'", HELP),
    Case("cut a.dat a.dat --finding FPU101", "OUT a.dat", "another file"),
    Case("redact a.dat", "OUT", HELP),
    Case("redact a.dat a.dat", "OUT a.dat", "another file"),
    Case("redact a.dat x --keep foo", "--keep: 'foo'", HELP),
    Case("redact missing x", "missing: ", "There is: a.dat"),
    Case("report a.dat --format markdown --max-lines 50", "--max-lines", "Leave"),
    Case("report a.dat --max-lines 3", "3 lines hold no report", "report --help"),
    Case("report a.dat -o x --attach x", "-o and --attach", "another file"),
    Case("report a.dat --attach a.dat", "--attach a.dat", "another file"),
    Case("record --seconds 0", "--seconds: '0'", HELP),
    Case("record --pid 1 --vm 2", "--vm: ", HELP),
    Case("record foo", "foo", HELP),
    Case("record --tracefs nowhere", "nowhere", "mount -t tracefs"),
    Case("record --tracefs k/tracing --pid 99999999", "99999999", "pgrep"),
    Case("record --tracefs k/tracing --vm 99999999", "99999999", "pgrep"),
    Case("record --tracefs k/tracing -o folder", "-o folder", "Name a file"),
    Case("record --tracefs k/tracing -o missing/x", "-o missing/x", "mkdir -p missing"),
)

FILES = (
    Case("info missing", "missing: ", "There is: a.dat"),
    Case("info missing/trace.dat", "missing/trace.dat: ", "directory is missing"),
    Case("info ''", "'': ", "There is: a.dat"),
    Case("info a.dat/x", "a.dat/x: ", "no folder"),
    Case("info loop", "loop: ", "link"),
    Case("info " + "x" * 300, "x: cannot be opened", "shorter"),
    Case("info /proc/self/mem", "/proc/self/mem at byte 0", "dmesg"),
    Case("info empty", "empty: ", "record again"),
    Case("info empty.gz", "empty.gz: ", "record again"),
    Case("info /dev/null", "/dev/null: ", "record again"),
    Case("info garbage", "garbage at byte 0", "binary"),
    Case("info zeros", "zeros at byte 0.*zeros: an empty tar", "tar -tf"),
    Case("info prose", "prose at byte 0.*hello", "trace-cmd report"),
    Case("info nothing-in-it", "nothing-in-it: ", "Name the file"),
    Case("info empty.zip", "empty.zip: no recording .* nor any other", "Name the file"),
    Case("info links.tar", "links.tar: no recording", "left out of the archive: 'a-link'"),
    Case("info elf.tar", "elf.tar: elf at byte 0.*ELF", "trace-cmd record"),
    Case("info others.tar", "others.tar: .* 2 other files: elf, web.html", "Name the file"),
    Case("info two", "two holds 2", "--member a.dat"),
    Case("info two --member c", "--member: .*two", "--member a.dat"),
    Case("info elf", "elf at byte 0.*ELF", "trace-cmd record"),
    Case("info cut.zip", "cut.zip at byte", "Copy it again"),
    Case("info cut.gz", "cut.gz at byte", "gzip data breaks off"),
    Case("info start.gz", "start.gz at byte 0", "gzip data breaks off"),
    Case("info bomb.gz --max-unpacked 0.01", "bomb.gz: ", "--max-unpacked"),
    Case("info web.html", "web.html at byte 0", "again"),
    Case("info other.json", "other.json at byte 0", "trace-cmd record"),
    Case("info chrome.json", "chrome.json: ", "ftrace text"),
    Case("info old.jsonl", "old.jsonl at byte 0.*line 1", "convert"),
    Case("info graph.txt", "graph.txt: .*function_graph", "trace-cmd record"),
    Case("info perf-dump.txt", "perf-dump.txt: .*perf script -D", "without -D: perf script"),
    Case("info empty-trace.txt", "empty-trace.txt at byte 0", "tracing on"),
    Case("info raw.txt", "raw.txt: ", "trace-cmd record"),
    Case("info version5", "version5 at byte 10", "trace-cmd convert"),
    Case("info parquet", "parquet/metadata.parquet: ", "convert"),
    Case("info tracefs", "tracefs: ", "cp --parents"),
    Case("info cut-10", "cut-10 at byte 10", "copy it again"),
    Case("info cut-dat", "cut-dat at byte", "copy it again"),
    Case("info cut-packed", "cut-packed at byte", "copy it again"),
    Case("info cut-perf-8", "cut-perf-8 at byte 0", "copy it again"),
    Case("info cut-perf", "cut-perf: ", "copy it again"),
    Case("info cut-text", "cut-text at byte 0", "tracing on"),
    Case("redact prose x", "prose at byte 0", "trace-cmd report"),
    Case("cut garbage x --time ,", "garbage at byte 0", "binary"),
    Case("convert empty --to jsonl", "empty: ", "record again"),
    Case("report empty", "empty: ", "record again"),
    Case("graph empty", "empty: ", "record again"),
    Case("at empty end", "empty: ", "record again"),
    Case("timeline empty", "empty: ", "record again"),
    Case("export empty --to perfetto", "empty: ", "record again"),
)

OUTPUTS = (
    Case("rules -o folder", "folder: ", "name a file"),
    Case("rules -o missing/x", "missing/x: ", "folder"),
    Case("rules -o prose/x", "prose/x: ", "no folder"),
    Case("rules -o /dev/full", "/dev/full: ", "room"),
    Case("report a.data --attach /dev/full", "/dev/full: ", "room"),
    Case("analyze a.data --write-baseline /dev/full", "/dev/full: ", "room"),
    Case("analyze a.data --write-baseline prose", "--write-baseline: prose: ", "another file"),
    Case("analyze a.data -o a.data", "-o a.data", "another file"),
    Case("redact a.data /dev/full", "/dev/full: ", "room"),
    Case("convert a.data --to jsonl -o /dev/full", "/dev/full: ", "room"),
    Case("convert a.data --to jsonl -o missing/x", "missing/x: ", "folder"),
    Case("convert a.data --to parquet -o prose", "prose", "name one"),
    Case("convert a.data --to parquet -o two", "two", "--force"),
    Case("convert a.data --to parquet -o two --force", "two", "another folder"),
)

BESIDES = (
    Case("analyze a.data --config missing", "missing: ", "name"),
    Case("analyze a.data --config folder", "folder: ", "name a file"),
    *(
        Case(f"analyze a.data --config {number}.toml", f"{number}.toml: {where}", hint)
        for number, (where, hint) in enumerate(
            [
                ("there is no option 'selekt'; .*select", "docs/config.md"),
                ("select is 5", "docs/config.md"),
                ("is no TOML", "docs/config.md"),
                ("fail-on is 'x'", "docs/config.md"),
                ("ignore is ", "docs/config.md"),
                ("ignore.FPU201", "docs/config.md"),
                ("ignore: no rule .*'XPU201'", "fputrace rules"),
                ("select: no rule .*'XX'", "fputrace rules"),
                ("strict is 1", "docs/config.md"),
                ("kernel is 'banana'", "docs/config.md"),
            ]
        )
    ),
    Case("analyze a.data --baseline missing", "missing: ", "name"),
    Case("analyze a.data --baseline prose", "prose: ", "--write-baseline"),
    Case("analyze a.data --baseline other.json", "other.json: ", "--write-baseline"),
    Case("analyze a.data --baseline rows.json", "rows.json: finding 0", "--write-baseline"),
    Case("analyze a.data --costs --prices zen9", "zen9: ", "zen5"),
    Case("analyze a.data --costs --prices prose", "prose: ", "--prices takes"),
    Case("analyze a.data --costs --prices other.json", "other.json: no 'save'", "--prices takes"),
    Case("analyze a.data --costs --prices calibrated", "prices.json: ", "fputrace calibrate"),
    Case("analyze a.data --costs --cpuid other.json", "other.json: no 'xstate'", "--cpuid takes"),
    Case("calibrate -o nosuch/prices.json", "nosuch/prices.json: No such file", "folder"),
)

CONFIGS = (
    "selekt = 1",
    "select = 5",
    "x =",
    "fail-on = 'x'",
    "ignore = ['FPU101']",
    "[ignore]\nFPU201 = ''",
    "[ignore]\nXPU201 = 'why'",
    "select = ['XX']",
    "strict = 1",
    "kernel = 'banana'",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind of file that the tables name."""
    top = tmp_path_factory.mktemp("errors")
    dat, packed, perf, text = (path.read_bytes() for path in (DAT, PACKED, PERF, TEXT))
    elf = b"\x7fELF\2\1\1" + bytes(100)
    graph = " 0)   0.085 us    |  foo();\n" * 20
    rows: dict[str, bytes | str] = {
        "a.dat": dat,
        "a.data": perf,
        "a.txt": text,
        "empty": b"",
        "garbage": bytes(i * 7919 % 251 for i in range(5000)),
        "zeros": bytes(5000),
        "prose": "hello world\nthis is no trace\n" * 40,
        "two/a.dat": dat,
        "two/b.data": perf,
        "elf": elf,
        ESCAPE: elf,
        "cut.zip": b"PK\3\4" + bytes(100),
        "empty.zip": b"PK\5\6" + bytes(18),
        "empty.gz": gzip.compress(b""),
        "cut.gz": gzip.compress(dat, 1)[:50_000],
        "start.gz": gzip.compress(dat[:100])[:12],
        "bomb.gz": gzip.compress(dat + bytes(20 << 20), 1),
        "web.html": "<!DOCTYPE html><html><body>Log in</body></html>",
        "other.json": '{"a": 1}',
        "chrome.json": '{"traceEvents": []}',
        "old.jsonl": '{"fputrace": 99}\n',
        "graph.txt": f"# tracer: function_graph\n#\n{graph}",
        "perf-dump.txt": ". ... raw event: size 104 bytes\n.  0000:  09 00 00 00  ....\n",
        "empty-trace.txt": "# tracer: nop\n#\n# entries-in-buffer/entries-written: 0/0   #P:2\n",
        "raw.txt": "# tracer: nop\n#\n" + "7 0 1000000000 1 2 3\n" * 50,
        "version5": dat[:10] + b"5\0" + dat[12:3000],
        "parquet/metadata.parquet": b"PAR1" + bytes(40) + b"PAR1",
        "cut-10": dat[:10],
        "cut-dat": dat[: len(dat) // 2],
        "cut-packed": packed[: len(packed) // 2],
        "cut-perf-8": perf[:8],
        "cut-perf": perf[:60_000],
        "cut-text": text[:500],
        "rows.json": json.dumps({"fputrace_baseline": 1, "findings": [{}]}),
    }
    rows |= {f"{number}.toml": config for number, config in enumerate(CONFIGS)}
    for name, data in rows.items():
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    for name in ("folder", "nothing-in-it", "tracefs/events", "k"):
        (top / name).mkdir(parents=True)
    (top / "loop").symlink_to("loop")
    (top / "a-link").symlink_to("a.dat")
    packs = {"links": ["a-link"], "elf": ["elf"], "others": ["elf", "web.html"]}
    for name, members in packs.items():
        with tarfile.open(top / f"{name}.tar", "w") as archive:
            for member in members:
                archive.add(top / member, member)
    make(top / "k")
    return top


@pytest.fixture
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, as the current one; nothing of the user's own is seen."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    return folder


def told(words: list[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(words)
        except SystemExit as end:  # argparse
            assert isinstance(end.code, int)
            status = end.code
    return status, out.getvalue(), err.getvalue()


def assert_helps(words: list[str], case: Case) -> None:
    """One message: what and where in its first line, what to do in those below; no result."""
    status, out, err = told(words)
    assert status == case.status, err
    assert out == ""
    first, *rest = err.removesuffix("\n").split("\n")
    assert re.match("fputrace: .", first), err
    assert re.search(case.where, first), err
    assert rest, f"no hint: {err}"
    assert all(re.match("  +[^ ]", line) for line in rest), err
    assert re.search(case.hint, "\n".join(rest)), err
    assert all(line.isprintable() for line in (first, *rest)), err


def words_of(command: str) -> list[str]:
    """The words of a row; `''` is an empty one.  -q: nothing but the error is talked about."""
    words = ["" if word == "''" else word for word in command.split()]
    return [words[0], "-q", *words[1:]] if words[0] != "analyse" else words


@pytest.mark.parametrize(
    "case", (*USAGE, *FILES, *OUTPUTS, *BESIDES), ids=lambda case: case.command[:60]
)
def test_errors_help(case: Case, there: Path) -> None:
    before = (there / "a.dat").stat().st_mtime_ns
    assert_helps(words_of(case.command), case)
    assert (there / "a.dat").stat().st_mtime_ns == before


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module not be installed."""
    for known in list(sys.modules):
        if known == name or known.startswith(f"{name}."):
            monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("module", "command", "where", "hint"),
    [
        ("pyarrow", "convert a.data --to parquet -o new", "pyarrow", "pip install"),
        ("pyarrow", "export a.data --to parquet -o new", "pyarrow", "pip install"),
        ("perfetto", "export a.data --to perfetto -o new", "perfetto", "pip install"),
        ("numpy.lib.nowhere", "graph a.data --format svg -o new", "dot", "apt install"),
    ],
)
def test_what_is_not_installed(
    module: str,
    command: str,
    where: str,
    hint: str,
    there: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(module, monkeypatch)
    monkeypatch.setenv("PATH", str(there / "folder"))
    assert_helps(words_of(command), Case(command, where, hint))
    assert not (there / "new").exists()


def test_an_installation_that_lacks_a_part(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fputrace.compare", None)
    case = Case("diff a.data a.data", "fputrace.compare", "Install fputrace again")
    assert_helps(words_of(case.command), case)


def test_the_name_of_a_file_commands_no_terminal(there: Path) -> None:
    assert_helps(
        ["info", ESCAPE], Case("info", r"bad\\x1b\[31mname\\n.dat at byte 0", "Record with")
    )


@pytest.mark.parametrize(("verb", "status"), [("info", 2), ("check", 125)])
def test_a_fault_of_our_own_is_no_finding(
    verb: str, status: int, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_args: object, **_more: object) -> None:
        raise IndexError("a fault")

    monkeypatch.setattr("fputrace.parsers.opening.open_path", fault)
    more = ["--rule", "FPU101"] if verb == "check" else []
    got, out, err = told([verb, "-q", "a.data", *more])
    assert (got, out) == (status, "")
    assert "IndexError: a fault" in err
    assert "Please report it" in err


def test_without_tracefs_or_the_right_to_it(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "PLACES", (str(there / "none"),))
    assert_helps(["record"], Case("record", "tracefs is not mounted", "mount -t tracefs"))

    def refuse(_path: object) -> Iterator[object]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert_helps(["record"], Case("record", "may not be read", "sudo"))


def test_a_file_that_may_not_be_read(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str, *rest: int, **more: int) -> int:
        if path == "a.dat":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert_helps(["info", "a.dat"], Case("info", "a.dat: ", "sudo chown"))


def test_every_refusal_of_the_system_has_a_hint() -> None:
    for number in errno.errorcode:
        assert re.match(r"[A-Za-z].*\.$", what_to_do(OSError(number, "x")))


def test_a_hint_of_several_lines_stays_a_hint() -> None:
    assert str(FputraceError("what", hint="one\n  two")) == "what\n  one\n    two"
    assert str(FputraceError("what")) == "what"
    assert FormatError("what").hint
    assert ReadError("what").hint
