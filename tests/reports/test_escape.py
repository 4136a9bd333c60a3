from __future__ import annotations

import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fputrace.reports.escape import (
    Alike,
    clean,
    code,
    decoded,
    dumps,
    element,
    fenced,
    markdown,
    mermaid,
)
from tests.reports.cases import HOSTILE_NAMES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("CPU 0/KVM", "CPU 0/KVM"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\t\x00", "a\\nb\\r\\t\\x00"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eevil", "\\u202eevil"),
        ("\u2028", "\\u2028"),
        ("caf\u00e9\udc80", "caf\u00e9\\x80"),
        ("\ud83d", "\\ud83d"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_clean_ascii() -> None:
    assert clean("caf\u00e9 \u2192 \U0001f427", ascii_only=True) == "caf\\xe9 \\u2192 \\U0001f427"


@given(st.text(st.characters()), st.booleans())
def test_clean_is_printable_and_settled(text: str, ascii_only: bool) -> None:
    once = clean(text, ascii_only)
    assert once.isprintable()
    assert once.isascii() or not ascii_only
    assert clean(once, ascii_only) == once


@given(st.text(st.characters()))
def test_decoded_encodes(text: str) -> None:
    decoded(text).encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the next kvm_put_guest_fpu()", "the next kvm_put_guest_fpu()"),
        ("_x_ *y* `z`", "\\_x\\_ \\*y\\* \\`z\\`"),
        ("<script>&amp;", "&lt;script>&amp;amp;"),
        ("a|b", "a\\|b"),
        ("@someone #12", "&#64;someone \\#12"),
        ("- item", "\\- item"),
        ("12. item", "12\\. item"),
        ("4.14.5", "4.14.5"),
        ("+0.000 us", "+0.000 us"),
        ("> quote", "\\> quote"),
        ("---", "\\---"),
        ("http://x.y www.x.y", "http&#58;//x.y www&#46;x.y"),
        ("![i](u)", "\\!\\[i\\](u)"),
        ("a\n# b", "a\\\\n\\# b"),
    ],
)
def test_markdown(text: str, shown: str) -> None:
    assert markdown(text) == shown


@given(st.text(st.characters()))
def test_markdown_shows_the_text_again(text: str) -> None:
    """Undoing entities and backslashes gives what was to be shown."""
    unescaped = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown(text))
    assert html.unescape(unescaped) == clean(text)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_code_and_fence_cannot_be_closed_from_inside(name: str) -> None:
    span = code(name)
    if "<" in name:
        assert span == f"<code>{markdown(name)}</code>"
    else:
        delimiter = re.match("`+", span)
        assert delimiter
        assert span.endswith(delimiter[0])
        assert delimiter[0] not in re.findall("`+", span[len(delimiter[0]) : -len(delimiter[0])])
    first, *body, last = fenced(clean(name)).splitlines()
    assert "<" not in first + "".join(body)
    assert first == f"{last}text"
    assert not any(last in line for line in body)


@given(st.text(st.characters()))
def test_mermaid_has_nothing_its_grammar_knows(text: str) -> None:
    shown = mermaid(text)
    assert re.fullmatch(r"([A-Za-z0-9 _./,+=()'>-]|#\d+;)*", shown)
    assert re.sub(r"#(\d+);", lambda m: chr(int(m[1])), shown) == clean(text)


@given(st.text(st.characters()))
def test_element_shows_the_text_again(text: str) -> None:
    shown = element(text)
    assert not set(shown) & set("<>@")
    assert html.unescape(shown) == clean(text)


def test_code_in_a_table_keeps_its_pipes() -> None:
    assert code("a|b", in_table=True) == "`a\\|b`"
    assert code("") == ""


_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["},\n  {", "\x7f", "[{"])
)


@given(
    st.recursive(
        _LEAVES,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(), inner, max_size=4)
            | st.lists(st.fixed_dictionaries({"%s": inner, "b": inner}), max_size=4)
        ),
        max_leaves=30,
    )
)
def test_json_is_what_the_standard_library_writes(document: object) -> None:
    expected = json.dumps(document, indent=1).replace("\x7f", "\\u007f") + "\n"
    assert dumps(document) == expected


@given(st.lists(st.tuples(_LEAVES, _LEAVES), max_size=4))
def test_json_of_columns_is_that_of_their_objects(rows: list[tuple[object, object]]) -> None:
    columns = {"%s": [one for one, _ in rows], "b": [other for _, other in rows]}
    objects = [{"%s": one, "b": other} for one, other in rows]
    assert dumps({"a": [Alike(columns), 1]}) == dumps({"a": [objects, 1]})


@pytest.mark.parametrize("document", [float("nan"), [float("inf")], {"a": [{"b": float("nan")}]}])
def test_json_has_no_nan(document: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps(document)
