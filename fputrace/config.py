"""Options from a file: ``[tool.fputrace]`` of pyproject.toml, or fputrace.toml (docs/config.md).

Options of ``analyze`` only, nothing that runs code, reads other files or writes any.  What the
command line says wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from fputrace.errors import UsageError, closest
from fputrace.plain import plain

FILES = ("fputrace.toml", "pyproject.toml")
"""What is looked for in the current folder, the first that says anything."""
LARGEST = 1 << 20
"""Bytes; a longer file is no configuration."""
FAIL_ON = ("error", "performance", "never")
_HINT = "docs/config.md has all options; --no-config does without the file."


@plain(frozen=True)
class Config:
    """What a file says: ``path`` is "" without one, an option is None when it does not say."""

    path: str = ""
    select: tuple[str, ...] | None = None
    ignore: Mapping[str, str] = field(default_factory=dict)
    """Code or its beginning -> why its findings do not count."""
    fail_on: str | None = None
    fail_on_confirmed: bool | None = None
    strict: bool | None = None
    generation: str | None = None
    kernel: str | None = None

    def said(self) -> list[str]:
        """The options it gives, as words."""
        given = [
            f"{key} = {getattr(self, key.replace('-', '_'))!r}"
            for key in KEYS
            if key not in ("ignore", "select") and getattr(self, key.replace("-", "_")) is not None
        ]
        if self.select is not None:
            given.insert(0, f"select = {' '.join(self.select)}")
        return given + [f"ignore {code} ({reason})" for code, reason in self.ignore.items()]


def find(path: str | None = None) -> Config:
    """The file asked for, else the one in the current folder that has options, else none.

    Raises UsageError for a file that is no TOML, an unknown key or a value that cannot be, and
    OSError for one that was asked for and cannot be read.
    """
    if path is not None:
        table = _table(path, os.path.basename(path) == "pyproject.toml")
        if table is None:
            raise UsageError(f"{path}: has no [tool.fputrace]", hint=_HINT)
        return _config(path, table)
    for name in FILES:
        if os.path.isfile(name):
            table = _table(name, name == "pyproject.toml")
            if table is not None:
                return _config(name, table)
    return Config()


def _table(path: str, nested: bool) -> dict[str, Any] | None:
    with open(path, "rb") as stream:
        text = stream.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise UsageError(f"{path}: too long for a configuration", hint=_HINT)
    if nested and b"fputrace" not in text:
        return None  # most of the projects that somebody works in; reading them takes a while
    import tomllib

    try:
        document: Any = tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is no TOML: {error}", hint=_HINT) from None
    if nested:
        tool = document.get("tool", {})
        document = tool.get("fputrace") if isinstance(tool, dict) else None
        if document is None:
            return None
        if not isinstance(document, dict):
            raise UsageError(f"{path}: tool.fputrace is no table", hint=_HINT)
    table: dict[str, Any] = document
    return table


def _config(path: str, table: dict[str, Any]) -> Config:
    for key in table:
        if key not in KEYS:
            raise UsageError(
                f"{path}: there is no option {key!r}{closest(key, KEYS)}",
                hint=_HINT,
            )
    values = {key.replace("-", "_"): KEYS[key](f"{path}: {key}", table[key]) for key in table}
    return Config(path, **values)


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place} is {value!r}, and should be a text", hint=_HINT)
    return value


def _release(place: str, value: Any) -> str:
    from fputrace.generation import read_version

    if read_version(_text(place, value)) is None:
        raise UsageError(f"{place} is {value!r}, and no release such as 6.12.9", hint=_HINT)
    return str(value)


def _generation(place: str, value: Any) -> str:
    from fputrace.generation import GENERATIONS

    if _text(place, value) not in GENERATIONS:
        raise UsageError(
            f"{place}: there is no generation {value!r}",
            hint=f"Generations: {', '.join(GENERATIONS)}.\n{_HINT}",
        )
    return str(value)


def _flag(place: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{place} is {value!r}, and should be true or false", hint=_HINT)
    return value


def _level(place: str, value: Any) -> str:
    if value not in FAIL_ON:
        raise UsageError(f"{place} is {value!r}{closest(str(value), FAIL_ON)}", hint=_HINT)
    return str(value)


def _codes(place: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise UsageError(
            f'{place} is {value!r}, and should be a list of codes: ["FPU1"]', hint=_HINT
        )
    return tuple(_text(place, code).upper() for code in value)


def _reasons(place: str, value: Any) -> dict[str, str]:
    example = 'it should say why: FPU201 = "known, ticket 12"'
    if not isinstance(value, dict):
        raise UsageError(f"{place} is {value!r}: {example}", hint=_HINT)
    for code, reason in value.items():
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(f"{place}.{code} has no reason: {example}", hint=_HINT)
    return {code.upper(): reason.strip() for code, reason in value.items()}


KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "select": _codes,
    "ignore": _reasons,
    "fail-on": _level,
    "fail-on-confirmed": _flag,
    "strict": _flag,
    "generation": _generation,
    "kernel": _release,
}
"""Every option there is, and what checks its value."""
