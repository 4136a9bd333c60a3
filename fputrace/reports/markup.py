"""Elements of an HTML page: text from anywhere goes in as text and can be nothing else.

The tree is the standard library's, which escapes when it writes; what is not printable has become
visible before (:func:`fputrace.reports.escape.clean`), and no single piece of text is endless.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from fputrace.reports.escape import clean

LONGEST = 2000
"""Characters of one piece of text that a page shows."""

Child = Element | str | None | Iterable["Child"]

_JSON = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def text(words: str) -> str:
    """``words`` printable, and cut where nobody reads on."""
    if len(words) > LONGEST:
        words = words[:LONGEST] + "…"
    return clean(words)


def node(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Element:
    """An element: ``node("td", "4.14", class_="n", aria_label="kernel")``.

    Attributes that are None or False are left out, True stands without a value.
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            said = "" if value is True else text(str(value))
            made.set(name.rstrip("_").replace("_", "-"), said)
    return add(made, children)


def add(parent: Element, children: Child) -> Element:
    """Put children behind those that ``parent`` has."""
    if children is None:
        return parent
    if isinstance(children, str):
        last = parent[-1] if len(parent) else None
        if last is None:
            parent.text = (parent.text or "") + text(children)
        else:
            last.tail = (last.tail or "") + text(children)
    elif isinstance(children, Element):
        parent.append(children)
    else:
        for child in children:
            add(parent, child)
    return parent


def raw(parent: Element, tag: str, content: str, **attributes: str) -> Element:
    """A ``script`` or ``style``, whose content HTML does not escape: ours, or :func:`data`."""
    made = SubElement(parent, tag, attributes)
    made.text = content
    return made


def data(document: Any) -> str:
    """JSON that stands in a ``script`` element: nothing in it can end the element."""
    dense = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return dense.replace("\x7f", "\\u007f").translate(_JSON)


def written(root: Element) -> str:
    """An element as HTML in ASCII, a page from its doctype on; ends with a newline."""
    html: str = tostring(root, encoding="us-ascii", method="html").decode()
    return f"<!DOCTYPE html>\n{html}\n" if root.tag == "html" else f"{html}\n"
