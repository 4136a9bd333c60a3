"""Trace text in web pages and JSON: what is inside, where its lines stood, and where it is cut."""

from __future__ import annotations

import errno
import json
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fputrace.errors import FormatError, ReadError
from fputrace.parsers import wrapped
from fputrace.parsers.wrapped import Unwrapped, lines_of, unwrap
from tests.conftest import SAMPLES

TEXT = (SAMPLES / "6.1-pinned" / "trace.txt").read_text()[:20_000].rpartition("\n")[0] + "\n"
OPEN = '<script class="trace-data" type="application/text">\n'


def opened(data: bytes) -> tuple[Unwrapped, str]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        read = unwrap(file.fileno(), "page")
    assert read is not None
    try:
        return read, os.pread(read.fd, 1 << 26, 0).decode("utf-8", "surrogateescape")
    finally:
        os.close(read.fd)


def refused(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        opened(data)
    assert caught.value.hint
    return caught.value


def page(*scripts: str, end: str = "</script>\n", head: str = OPEN) -> bytes:
    body = "".join(head + text + end for text in scripts)
    return (
        f"<!DOCTYPE html>\n<html>\n<head><script>var x = '<'; </script>\n{body}</html>\n".encode()
    )


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [TEXT, escaped(TEXT)])
@pytest.mark.parametrize("upper", [False, True])
def test_a_systrace_page(text: str, upper: bool) -> None:
    data = page(text)
    if upper:
        data = data.replace(b"<!DOCTYPE html>\n", b"").replace(b"<html>", b"<HTML>\n", 1)
    read, copy = opened(data)
    assert copy == "\n" + TEXT
    assert (read.form, read.damaged, read.notes) == ("systrace page", "", [])
    at = copy[: copy.index("sched_switch")].count("\n") + 1
    assert data.decode().splitlines()[read.line_of(at) - 1].strip().endswith("next_prio=120")


def test_of_several_scripts_the_longest_with_a_trace() -> None:
    other = json.dumps({"traceEvents": [{"ph": "X"}] * 5000})
    short = "".join(TEXT.splitlines(keepends=True)[:40])
    read, copy = opened(page(short, other, TEXT, short))
    assert copy.strip() == TEXT.strip()
    assert "4 trace-data scripts" in read.notes[0]


def test_quotes_and_order_of_the_attributes_do_not_matter() -> None:
    _read, copy = opened(page(TEXT, head="<script type='application/text' class='trace-data'>"))
    assert copy == TEXT


@pytest.mark.parametrize("chunk", [600, 1000, 4096])
def test_pieces_may_end_anywhere(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(wrapped, "_CHUNK", chunk)
    for shift in range(0, 80, 7):
        read, copy = opened(b"<html>" + b"x" * shift + page("short", escaped(TEXT)))
        assert copy == "\n" + TEXT
        assert read.damaged == ""


def test_a_page_that_breaks_off_is_damaged() -> None:
    data = page(TEXT)
    for cut in (len(data) // 2, len(data) - 12):
        read, copy = opened(data[:cut])
        assert read.damaged == "the page breaks off inside the trace"
        assert copy.strip()
        assert ("\n" + TEXT).startswith(copy)
    read, _copy = opened(data[:-4])
    assert (read.damaged, read.notes) == ("", ["the page breaks off behind the trace"])


def test_pages_without_a_trace_are_refused() -> None:
    error = refused(page('{"traceEvents": []}', "H4sIAAAA"))
    assert "found 2 with other content" in str(error)
    assert "found 0" in str(refused(b"<html><body>Sign in</body></html>"))


def test_a_page_of_many_scripts_ends_the_search() -> None:
    read, copy = opened(page(TEXT, *["x"] * 3000))
    assert copy.strip() == TEXT.strip()
    assert "256" in read.notes[0]


# --- JSON ---------------------------------------------------------------------------------------


def chrome(text: str, **options: object) -> bytes:
    other = [{"ph": "X", "args": {"note": '"systemTraceEvents": "no"'}}] * 9
    value = {"traceEvents": other, "systemTraceEvents": text, "metadata": {"a": 1}}
    return json.dumps(value, **options).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("indent", [None, 2])
def test_chrome_json(indent: int | None) -> None:
    read, copy = opened(chrome(TEXT, indent=indent))
    assert copy == TEXT
    assert (read.form, read.damaged) == ("Chrome JSON", "")
    assert read.line_of(12) == 12


@given(st.text(max_size=300), st.booleans(), st.integers(7, 64))
def test_any_string_is_what_json_says_it_is(text: str, ascii_only: bool, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wrapped, "_CHUNK", chunk)
        _read, copy = opened(chrome(text, ensure_ascii=ascii_only))
    # Halves of a surrogate pair have no UTF-8; a pair cut in two by a piece's end is two halves.
    beyond = any(ord(one) > 0xFFFF for one in text)
    assert copy == text or (ascii_only and beyond)


def test_every_cut_of_the_string_is_damage() -> None:
    data = chrome(TEXT[:400])
    start = data.index(b'"systemTraceEvents": "#') + len(b'"systemTraceEvents": "')
    end = data.index(b'", "metadata"')
    for cut in range(start, end + 1):
        read, copy = opened(data[:cut])
        assert read.damaged
        assert TEXT.startswith(copy)
    read, _copy = opened(data[:-2])
    assert read.damaged == ""
    assert "breaks off behind" in read.notes[-1]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'{"traceEvents": []}', "JSON without ftrace's text"),
        (b'{"systemTraceEvents": {"a": 1}}', "not a string"),
        (b'{"systemTraceEvents"', "not a string"),
        (b'{"systemTraceEvents": "a\\qbcdefghijk"}', "an escape that JSON does not have"),
        (b'{"systemTraceEvents": "a\\u12z4efghijk"}', "an escape that JSON does not have"),
    ],
)
def test_other_json_is_refused(data: bytes, what: str) -> None:
    assert what in str(refused(data))


def test_the_key_may_lie_across_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapped, "_CHUNK", 64)
    for blanks in range(70):
        _read, copy = opened(b"{" + b" " * blanks + b'"systemTraceEvents" : "abc"}')
        assert copy == "abc"


def test_no_room_for_the_copy_is_a_read_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for data in (page(TEXT), chrome(TEXT), b"> " + TEXT.encode().replace(b"\n", b"\n> ")):
        with tempfile.TemporaryFile() as file, monkeypatch.context() as patch:
            file.write(data)
            file.flush()
            patch.setattr("tempfile.TemporaryFile", full)
            with pytest.raises(ReadError, match="No space left"):
                unwrap(file.fileno(), "page")


# --- lines --------------------------------------------------------------------------------------


@given(st.binary(max_size=400), st.integers(1, 9), st.integers(1, 50))
def test_lines_are_those_of_the_file(data: bytes, chunk: int, longest: int) -> None:
    data = data.replace(b"\x07", b"\n")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile() as file:
        patch.setattr(wrapped, "_CHUNK", chunk)
        patch.setattr(wrapped, "MAX_LINE", longest)
        file.write(data)
        file.flush()
        read = list(lines_of(file.fileno()))
    parts = data.split(b"\n")
    assert [line for line, _whole in read] == [
        line[:longest] for line in (parts if parts[-1] else parts[:-1])
    ]
    assert [whole for _line, whole in read] == [
        len(line) <= longest and (at < len(parts) - 1)
        for at, line in enumerate(parts if parts[-1] else parts[:-1])
    ]


@given(st.binary(max_size=600), st.sampled_from([b"<html>", b"{", b"<!DOCTYPE HTML>"]))
def test_any_bytes_give_a_result_or_a_typed_error(data: bytes, head: bytes) -> None:
    data = data.replace(b"\x01", OPEN.encode()).replace(b"\x02", b"</script")
    data = data.replace(b"\x03", b'"systemTraceEvents":"').replace(b"\x04", TEXT[500:900].encode())
    try:
        opened(head + data)
    except FormatError as error:
        assert error.hint
