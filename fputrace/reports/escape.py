"""Text from a trace made harmless: a task may call itself anything.

Names of tasks, hosts, files and events come from the recording, and with them whatever somebody put
there: terminal control sequences, line breaks, Markdown, HTML.  Everything a report prints passes
through :func:`clean` (or, for JSON, :func:`dumps`); Markdown passes through :func:`markdown` or
:func:`code` as well.  Reports for the terminal build ``rich.text.Text`` and never rich markup, so
square brackets need no escape there.  docs/security.md says what is escaped where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from typing import Any

# Patterns are compiled when they are first needed, which for most commands is never.

# Characters that show as nothing although str.isprintable() has them: fillers, joiners and
# variation selectors (Unicode's DerivedCoreProperties.txt, Default_Ignorable_Code_Point).
_INVISIBLE = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_HIDDEN = f"[{_INVISIBLE}]"
_SURROGATE = "[\ud800-\udfff]"
_SPECIAL = r"[\\`*{}\[\]#|~!$]|(?<!\w)_|_(?!\w)"
_ENTITIES = {"&": "&amp;", "<": "&lt;", "@": "&#64;"}
_ENTITY = "[&<@]"
_LINK = r"(?i:(https?|ftp)://|www\.)"
_PLAIN = {str, int, float, bool, type(None)}
_NOT_PLAIN = r"[^A-Za-z0-9 _./,+=()'>-]"
_BLOCK_START = r"^(\s*\d*)(>|[-+=](?=[-+=\s]|$)|[.)](?=\s|$))"


def decoded(text: str) -> str:
    r"""``text`` without lone surrogates: bytes that were no UTF-8 read as ``\x80``."""
    if text.isascii():
        return text
    return re.sub(_SURROGATE, lambda m: _escaped(m[0]), text)


class Alike:
    """For :func:`dumps`: a list of objects with the same keys and plain values, by columns.

    Thousands of objects need not be made for it.  ``columns``: key -> the values of all of them.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.columns = columns


def dumps(document: Any) -> str:
    """JSON on indented lines, ASCII only and without a control character; ends with a newline.

    Keys are strings.  NaN and infinities, which JSON does not have, raise ValueError.
    """
    # Of the control characters json leaves only DEL as it is.
    return _indented(document, "\n").replace("\x7f", "\\u007f") + "\n"


def dumps_line(document: Any) -> str:
    """The same on one line."""
    return _encoder(",")(document).replace("\x7f", "\\u007f") + "\n"


def _indented(value: Any, line: str) -> str:
    """As ``json.dumps(value, indent=1)``, which runs in Python: this leaves the most to C.

    ``line`` begins a line of what is around ``value``.
    """
    if type(value) in _PLAIN:
        return _texts()[type(value)](value)
    if isinstance(value, Alike):
        return _table(value.columns, line)
    inner = line + " "
    if not value or not isinstance(value, (dict, list, tuple)):
        return _encoder(", ")(value)
    if not _nested(value.values() if isinstance(value, dict) else value):
        text = _encoder(f",{inner}")(value)
        return text[0] + inner + text[1:-1] + line + text[-1]
    if isinstance(value, dict):
        parts = [_key(key) + _indented(one, inner) for key, one in value.items()]
        return "{" + inner + f",{inner}".join(parts) + line + "}"
    alike = set(map(type, value)) == {dict} and len(set(map(tuple, value))) == 1
    if alike and value[0] and not _nested(chain.from_iterable(map(dict.values, value))):
        return _table({key: [row[key] for row in value] for key in value[0]}, line)
    return "[" + inner + f",{inner}".join(_indented(one, inner) for one in value) + line + "]"


def _table(columns: Mapping[str, Sequence[Any]], line: str) -> str:
    """Objects with the same keys and plain values, which have their values in columns."""
    if not next(iter(columns.values())):
        return "[]"
    inner = line + " "
    pairs = [_key(key).replace("%", "%%") + "%s" for key in columns]
    one = "{" + inner + " " + f",{inner} ".join(pairs) + inner + "}"
    texts = map(one.__mod__, zip(*map(_column, columns.values()), strict=True))
    return "[" + inner + f",{inner}".join(texts) + line + "]"


def _column(values: Sequence[Any]) -> Iterable[Any]:
    """Plain values as they stand in JSON; an integer formats as it stands there."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return values
    texts = _texts()
    if len(kinds) == 1:
        return map(texts[kinds.pop()], values)
    return [texts[type(value)](value) for value in values]


@cache
def _texts() -> dict[type, Callable[[Any], str]]:
    from json.encoder import encode_basestring_ascii

    other = _encoder(",")
    return {str: encode_basestring_ascii, int: str, float: other, bool: other, type(None): other}


def _nested(values: Iterable[Any]) -> bool:
    return not set(map(type, values)) <= _PLAIN


@cache
def _encoder(between: str) -> Callable[[Any], str]:
    import json

    return json.JSONEncoder(separators=(between, ": "), allow_nan=False).encode


@lru_cache(1 << 12)
def _key(text: str) -> str:
    """A key of an object, which is often one of very few."""
    return _encoder(", ")(text) + ": "


def clean(text: str, ascii_only: bool = False) -> str:
    r"""``text`` with every character that is not printable as ``\xNN``, ``\uNNNN`` or ``\n``.

    Not printable are control characters (also the eight-bit ones), line breaks of every kind, marks
    that change the direction of writing, characters that show as nothing, and bytes that were no
    UTF-8; with ``ascii_only`` everything beyond ASCII as well.  A backslash is left as it is, so
    that cleaning twice is the same as once.
    """
    if text.isprintable() and (text.isascii() or not (ascii_only or re.search(_HIDDEN, text))):
        return text
    return "".join(c if _shows(c, ascii_only) else _escaped(c) for c in text)


def _shows(char: str, ascii_only: bool) -> bool:
    if char.isascii():
        return char.isprintable()
    return not ascii_only and char.isprintable() and not re.match(_HIDDEN, char)


def markdown(text: str) -> str:
    """``text`` as Markdown that shows just that, in running prose and in a table's cell.

    Also harmless to what code hosts make of plain text: HTML, links, mentions and formulas.
    """
    text = re.sub(_SPECIAL, lambda m: "\\" + m[0], clean(text))
    text = re.sub(_ENTITY, lambda m: _ENTITIES[m[0]], text)
    text = re.sub(_LINK, lambda m: m[0].replace(":", "&#58;").replace(".", "&#46;"), text)
    return re.sub(_BLOCK_START, lambda m: f"{m[1]}\\{m[2]}", text)


def code(text: str, in_table: bool = False) -> str:
    """``text`` as a Markdown code span; a table's cell needs its pipes escaped even there.

    With a ``<`` in it as an element of HTML: no span can have that escaped.
    """
    text = clean(text)
    if not text:
        return ""
    if "<" in text:
        return f"<code>{markdown(text)}</code>"
    fence = "`" * (1 + _longest_run(text))
    space = " " if text[0] in "` " or text[-1] in "` " else ""
    span = f"{fence}{space}{text}{space}{fence}"
    return span.replace("|", "\\|") if in_table else span


def element(text: str) -> str:
    """``text`` between two tags of HTML, where Markdown's own escapes mean nothing."""
    import html  # its table of entities takes a millisecond

    return html.escape(clean(text)).replace("@", "&#64;")


def fenced(text: str, language: str = "text", trusted: bool = False) -> str:
    r"""``text`` (several lines) as a fenced block that nothing in it can close.

    A ``<`` reads ``\x3c`` there, for those who take what is rendered for HTML once more, unless the
    text is ``trusted``: nothing in it comes from a trace.
    """
    text = text if trusted else text.replace("<", "\\x3c")
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text}\n{fence}"


def dot_string(text: str) -> str:
    """``text`` (several lines) as a quoted string of Graphviz that shows just that, centred.

    Graphviz reads backslashes and HTML entities in labels.
    """
    lines = [clean(line) for line in text.split("\n")]
    escaped = (line.replace("&", "&amp;").replace("\\", "\\\\") for line in lines)
    return '"' + "\\n".join(escaped).replace('"', '\\"') + '"'


def mermaid(text: str) -> str:
    """``text`` as Mermaid shows it: whatever its grammar might mean something by is a number.

    Its entities have no ampersand: https://mermaid.js.org/syntax/flowchart.html#entity-codes
    """
    return re.sub(_NOT_PLAIN, lambda m: f"#{ord(m[0])};", clean(text))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _escaped(char: str) -> str:
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:  # how Python carries a byte that was no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
