"""Text from a recording is harmless in every output; see docs/security.md.

Hostile names stand in the recording itself (tasks, host, kernel, guests, instances, events), in the
names of files, and in bytes that errors quote.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import tarfile
from importlib import import_module
from pathlib import Path

import pytest

import fputrace
from fputrace.cli import main
from fputrace.errors import FputraceError
from fputrace.parsers import open_trace
from fputrace.reports import escape
from tests.fuzz.checks import harmless
from tests.fuzz.cutting import small_tracedat
from tests.writers import TraceWriter, container
from tests.writers.container import GUEST, UNAME, TraceFile
from tests.writers.formats import EventSpec

SAMPLE = Path(__file__).parent.parent / "sample_traces" / "4.14.5-pinned" / "trace.dat"
TASK = b"fphog"

NAMES: dict[str, bytes] = {
    "escape sequence": b"\x1b]0;t\x07\x1b[31mred",
    "eight-bit controls": b"\xc2\x9b2J\xc2\x90q\x7f\x08\r",
    "direction and nothing": b"a\xe2\x80\xaeb\xe2\x80\x8b\xef\xbe\xa0\xcd\x8f",
    "lines": b"x\nfputrace: ok\n",
    "no UTF-8": b"\xff\xfe\xed\xa0\x80\xf5\xc0\xaf",
    "Markdown": b"|`<b>&@a*_[x](y",
    "more Markdown": b"```\n# h ~~~ $$",
    "formula": b"=1+cmd|' /C'!A",
    "JSON": b'","x":[{}]\\u0000',
    "rich": b"[red]x[/red]:a:",
}
OUTPUTS: dict[str, list[str]] = {
    "rich": ["analyze", "-v", "--format", "rich", "--color", "never"],
    "colours": ["analyze", "-v", "--format", "rich", "--color", "always"],
    "text": ["analyze", "-v", "--format", "text"],
    "markdown": ["analyze", "-v", "--format", "markdown"],
    "html": ["analyze", "-v", "--costs", "--format", "html"],
    "json": ["analyze", "-v", "--format", "json"],
    "timeline": ["timeline"],
    "timeline colours": ["timeline", "--color", "always"],
    "info": ["info", "--format", "text"],
    "info rich": ["info", "--format", "rich"],
    "info json": ["info", "--format", "json"],
    "convert text": ["convert", "--to", "text"],
    "convert jsonl": ["convert", "--to", "jsonl"],
}
_COLOURS = re.compile(r"\x1b\[[\d;]*m")


def named(name: bytes) -> TraceFile:
    """A part of a recording with findings, in which a task, the host and the kernel have a name."""
    trace = small_tracedat(SAMPLE, 24)
    field = name[:15].ljust(16, b"\0")
    buffer = trace.buffers[0]
    old = TASK.ljust(16, b"\0")
    cpus = {cpu: [p.replace(old, field) for p in pages] for cpu, pages in buffer.cpus.items()}
    trace.buffers = [dataclasses.replace(buffer, cpus=cpus)]
    lines = trace.blocks[container.CMDLINES][8:].replace(TASK, name[:15].replace(b"\n", b"\x0b"))
    trace.blocks[container.CMDLINES] = trace.word(len(lines), 8) + lines
    uname = b"Linux " + name.replace(b" ", b"") + b" 4.14.5 x86_64\0"
    trace.options = [(n, uname if n == UNAME else data) for n, data in trace.options]
    trace.options.append((GUEST, name + b"\0" + trace.word(7, 8) + bytes(4)))
    return trace


def outcome(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str, str]:
    status = main(arguments)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_in_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes, output: str
) -> None:
    path = tmp_path / "trace.dat"
    path.write_bytes(named(name).to_bytes(7))
    status, out, err = outcome(capsys, [*OUTPUTS[output], str(path)])
    assert status in (0, 1, 3)
    assert out
    assert harmless(_COLOURS.sub("", out))
    assert harmless(err)
    out.encode()  # no half characters
    if "json" in output:
        for document in out.splitlines() if output == "convert jsonl" else [out]:
            json.loads(document)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_makes_no_line_and_no_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes
) -> None:
    """Tables of Markdown keep their columns, and the converted text its lines."""
    shown = []
    for task in (TASK, name):
        path = tmp_path / "trace.dat"
        path.write_bytes(named(task).to_bytes(7))
        _, markdown, _ = outcome(capsys, [*OUTPUTS["markdown"], str(path)])
        _, text, _ = outcome(capsys, [*OUTPUTS["convert text"], str(path)])
        shown.append((columns(markdown), len(text.splitlines())))
    assert shown[0] == shown[1]


def columns(markdown: str) -> list[int]:
    """Of each row of a table, how many bars are not escaped; nothing in it is HTML."""
    found = []
    fence = ""
    for line in markdown.splitlines():
        if fence or line.startswith("```"):
            fence = "" if line == fence else fence or line[: len(line) - len(line.lstrip("`"))]
            continue
        prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line)
        assert not re.search(r"<(?!br>|/?sub>|/?details>|/?summary>)", prose), line
        if line.startswith("|"):
            found.append(len(re.findall(r"(?<!\\)\|", line)))
    return found


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes) -> None:
    folder = os.fsencode(tmp_path)
    whole = os.fsdecode(os.path.join(folder, name.replace(b"/", b"") + b".dat"))
    Path(whole).write_bytes(named(TASK).to_bytes(6))
    broken = os.fsdecode(os.path.join(folder, name.replace(b"/", b"") + b".bad"))
    Path(broken).write_bytes(b"\x17\x08\x44tracing6\0" + name)
    missing = str(tmp_path / "missing.dat")
    for arguments in OUTPUTS.values():
        if arguments[0] == "convert":
            continue
        status, out, err = outcome(capsys, [*arguments, whole, broken, missing])
        assert status == 2
        assert harmless(_COLOURS.sub("", out))
        assert len(err.splitlines()) <= 6
        assert harmless(err)
    with pytest.raises(SystemExit):
        main([whole])  # is no verb
    assert harmless(capsys.readouterr().err)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_what_errors_quote(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: bytes) -> None:
    """A text without events, an archive of such, bytes that are nothing."""
    path = tmp_path / "what"
    archive = io.BytesIO()
    with tarfile.open(mode="w", fileobj=archive) as tar:
        for number in range(3):
            member = tarfile.TarInfo(os.fsdecode(b"%d" % number + name))
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name))
    lines = b"".join(b" " * 10 + name.replace(b"\n", b"") + b"-1 nothing\n" for _ in range(9))
    for content in (name, lines, archive.getvalue(), b"\0" + name, b'{"fputrace":"' + name):
        path.write_bytes(content)
        status, out, err = outcome(capsys, ["analyze", str(path)])
        assert status == 2
        assert out == ""
        assert str(path) in err
        assert harmless(err)


def test_names_of_events_and_instances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A format file may call its event anything, and an instance is a folder's name."""
    for number, name in enumerate(NAMES.values()):
        text = name.decode("latin-1")
        word = re.sub(r"\s", "", text)
        writer = TraceWriter(extra_events=[EventSpec(word or "x", word or "x", ())])
        writer.event(0, 1000, 1, word)
        writer.instance(text.replace("\0", ""))
        path = writer.write(tmp_path / f"{number}.dat")
        for arguments in OUTPUTS.values():
            _, out, err = outcome(capsys, [*arguments, str(path)])
            assert harmless(_COLOURS.sub("", out))
            assert harmless(err)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_converted_names_are_the_same_names(tmp_path: Path, name: bytes) -> None:
    """Escaping is for eyes: JSON lines give back the very bytes."""
    path, lines = tmp_path / "trace.dat", tmp_path / "trace.jsonl"
    path.write_bytes(named(name).to_bytes(7))
    assert main(["convert", "--to", "jsonl", "-o", str(lines), str(path)]) == 0
    comms = []
    for recording in (path, lines):
        with open_trace(recording) as trace:
            for _ in trace.blocks():
                pass
            comms.append(dict(trace.comms))
    assert comms[0] == comms[1]


def test_invisible_characters_are_shown() -> None:
    """Characters that str.isprintable() calls printable and that show as nothing."""
    hidden = "\u034f\u115f\u1160\u17b4\u180b\u180e\u200b\u2060\u3164\ufe0f\ufeff\uffa0\U000e0100"
    assert (
        escape.clean(f"a{hidden}b")
        == "a"
        + "".join(f"\\u{ord(c):04x}" if ord(c) < 1 << 16 else f"\\U{ord(c):08x}" for c in hidden)
        + "b"
    )


def test_json_has_no_control_character() -> None:
    everything = "".join(map(chr, range(0x3000)))
    text = escape.dumps({everything: [everything]})
    assert harmless(text)
    assert text.isascii()
    assert json.loads(text) == {everything: [everything]}
    with pytest.raises(ValueError, match="JSON"):
        escape.dumps(float("nan"))


def test_a_recording_names_no_file_that_is_opened(tmp_path: Path) -> None:
    """Members of an archive stay inside: none is written where its name says."""
    outside = tmp_path / "outside"
    archive = io.BytesIO()
    content = named(TASK).to_bytes(6)
    with tarfile.open(mode="w", fileobj=archive) as tar:
        for member_name in ("../outside", str(outside)):
            member = tarfile.TarInfo(member_name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "/etc/passwd")):
            member = tarfile.TarInfo(f"link{kind!r}")
            member.type, member.linkname = kind, target
            tar.addfile(member)
        member = tarfile.TarInfo("fifo")
        member.type = tarfile.FIFOTYPE
        tar.addfile(member)
    path = tmp_path / "sent.tar"
    path.write_bytes(archive.getvalue())
    try:
        fputrace.analyze(path)
    except FputraceError as error:
        assert str(path) in str(error)
    assert not outside.exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["sent.tar"]


UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def test_the_limits_in_the_document_are_those_of_the_code() -> None:
    text = (Path(__file__).parent.parent / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| .* \| (\d+) ?([KMG]iB)? \| `(\w+)\.(\w+)` \|$", text, re.MULTILINE)
    assert len(rows) == text.count("` |\n") > 15
    for number, unit, module, name in rows:
        value = getattr(import_module(f"fputrace.parsers.{module}"), name)
        assert value == int(number) * UNITS[unit], f"{module}.{name}"
