"""Pages made of the parser and the schema: man page, completions, commands.md, schema.md."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fputrace import __version__
from fputrace.arguments import EXIT_STATUSES
from fputrace.cli import build_parser
from fputrace.verbs import VERBS

FOLDER = "docs/share"
"""Laid out as below an installation's ``share``, where man and the shells look."""

_FILES = frozenset({"TRACE", "IN", "OUT", "OLD", "NEW", "FILE", "FOLDER"})
"""What stands for the name of a file in --help."""

_ENVIRONMENT = (
    ("NO_COLOR, FORCE_COLOR", "No colours, or colours even where the output is no terminal."),
    ("COLUMNS", "How wide a drawing may be, instead of asking the terminal."),
)


def files() -> dict[str, str]:
    """Path in the repository -> content."""
    import shtab

    parser = build_parser()
    for one in (parser, *_verbs(parser).values()):
        for action in one._actions:
            if action.metavar in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return {
        f"{FOLDER}/man/man1/fputrace.1": man_page(),
        f"{FOLDER}/bash-completion/completions/fputrace": shtab.complete(parser, "bash"),
        f"{FOLDER}/zsh/site-functions/_fputrace": shtab.complete(parser, "zsh"),
    }


def man_page() -> str:
    """fputrace(1) for man."""
    parser = build_parser()
    statuses = (line for status, text in EXIT_STATUSES for line in (".TP", f"{status}", _r(text)))
    lines = [
        '.\\" Made from the parser by docs/generate.py',
        f'.TH FPUTRACE 1 "" "fputrace {__version__}" "User Commands"',
        ".SH NAME",
        "fputrace \\- find floating-point state gone wrong under KVM in kernel traces",
        ".SH SYNOPSIS",
        ".B fputrace",
        "\\fIVERB\\fR [\\fIOPTION\\fR]... [\\fITRACE\\fR]...",
        ".SH DESCRIPTION",
        _r(parser.description or ""),
        "It reads recordings of ftrace and perf, rebuilds who owned the FP registers of each CPU,",
        "and says what went wrong, with the events that prove it.",
        "Findings are \\fIconfirmed\\fR or \\fIpossible\\fR; what a trace cannot tell is",
        "\\fInot decidable\\fR.",
        ".SH OPTIONS",
        *_options(parser),
        *(line for name, verb in _verbs(parser).items() for line in _verb(name, verb)),
        ".SH EXIT STATUS",
        "Of \\fBfputrace analyze\\fR; other verbs tell theirs above.",
        *statuses,
        ".SH ENVIRONMENT",
        *(line for name, text in _ENVIRONMENT for line in (".TP", f".B {name}", _r(text))),
        ".SH FILES",
        ".TP",
        ".I fputrace.toml, pyproject.toml",
        "Defaults of \\fBfputrace analyze\\fR: the nearest above the current folder.",
        ".SH SEE ALSO",
        ".BR trace-cmd (1),",
        ".BR perf-record (1)",
    ]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every verb with its options, in Markdown."""
    verbs = _verbs(build_parser())
    lines = [
        "# Commands",
        "",
        "What `fputrace VERB --help` and `man fputrace` say.",
        "`fputrace --version --verbose` tells what a bug report needs.",
        "",
    ]
    for name, parser in verbs.items():
        lines += [f"## fputrace {name}", "", parser.description or "", ""]
        for group in parser._action_groups:
            actions = _shown(group)
            if not actions:
                continue
            own = group.title in (None, "options", "positional arguments")
            title = "" if own else f"{str(group.title).capitalize()}"
            lines += [f"| {title} | |", "| --- | --- |"]
            for action in actions:
                words = re.sub(r"\\f[BIR]", "", _heading(action)).replace("\\-", "-")
                text = parser._get_formatter()._expand_help(action) if action.help else ""
                lines.append(f"| `{_cell(words)}` | {_cell(text)} |")
            lines.append("")
        examples = re.search(r"examples:\n((?:  .+\n?)+)", parser.epilog or "")
        if examples:
            lines += ["```console", re.sub(r"^  ", "", examples[1], flags=re.MULTILINE).rstrip()]
            lines += ["```", ""]
    return "\n".join(lines).rstrip() + "\n"


def schema_page(path: Path) -> str:
    """The JSON report, table by table, from its schema."""
    schema = json.loads(path.read_text())
    lines = [
        "# JSON",
        "",
        f"`--format json` of `analyze` and `report`, as `{path.name}` describes it. "
        + schema["description"],
        "",
        *_table("The document", schema),
    ]
    for name, part in schema["$defs"].items():
        if part.get("properties"):
            lines += _table(name, part)
    return "\n".join(lines).rstrip() + "\n"


def _table(name: str, part: dict[str, Any]) -> list[str]:
    rows = [
        f"| `{key}` | {_cell(_type(value))} | {_cell(value.get('description', ''))} |"
        for key, value in _flat("", part)
    ]
    about = [part["description"], ""] if part.get("description") and name[0].islower() else []
    return [f"## {name}", "", *about, "| | type | |", "| --- | --- | --- |", *rows, ""]


def _flat(before: str, part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Properties, those of nested objects behind their own name."""
    for key, value in part.get("properties", {}).items():
        yield f"{before}{key}", value
        yield from _flat(f"{before}{key}.", value)
        yield from _flat(f"{before}{key}[].", value.get("items", {}))


def _type(value: dict[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in value:
        return str(value["$ref"]).rpartition("/")[2]
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(one)}`" for one in value["enum"])
    if "anyOf" in value or "oneOf" in value:
        return " or ".join(_type(one) for one in value.get("anyOf") or value["oneOf"])
    if value.get("type") == "array" and "items" in value:
        return f"array of {_type(value['items'])}"
    kind = value.get("type", "any")
    return kind if isinstance(kind, str) else " or ".join(kind)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name -> parser, in the order of --help."""
    (offered,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    verbs: dict[str, argparse.ArgumentParser] = offered.choices
    assert len(verbs) == len(VERBS)
    return verbs


def _verb(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f".SH FPUTRACE {_r(name.upper())}"
    yield _r(parser.description or "")
    yield ".PP"
    yield f"\\fBfputrace {_r(name)}\\fR [\\fIOPTION\\fR]..."
    for action in parser._get_positional_actions():
        many = {"*": "[\\fI{}\\fR]...", "+": "\\fI{}\\fR...", "?": "[\\fI{}\\fR]"}
        yield many.get(str(action.nargs), "\\fI{}\\fR").format(_r(_named(action)))
    yield from _options(parser)
    for part in re.split(r"\n\s*\n", (parser.epilog or "").strip()):
        title, _, text = part.partition("\n")
        if text:
            yield f".SS {_r(title[:1].upper() + title[1:].rstrip(':'))}"
            yield from (".nf", *(_r(line) for line in text.splitlines()), ".fi")
        elif title:
            yield from (".PP", _r(title))


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every group with its arguments."""
    for group in parser._action_groups:
        actions = _shown(group)
        if not actions:
            continue
        if group.title not in (None, "options", "positional arguments"):
            yield f".SS {_r(str(group.title).capitalize())}"
            if group.description:
                yield _r(_sentence(group.description))
        for action in actions:
            yield ".TP"
            yield _heading(action)
            yield _r(parser._get_formatter()._expand_help(action)) if action.help else "\\&"


def _shown(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    """Its arguments; the verbs themselves are sections of their own."""
    return [
        action
        for action in group._group_actions
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
        and action.help is not argparse.SUPPRESS
    ]


def _sentence(text: str) -> str:
    """A description of --help, which begins small and has no full stop."""
    path = "/" in text.split(maxsplit=1)[0]
    return (text if path else text[:1].upper() + text[1:]).rstrip(".") + "."


def _heading(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"\\fI{_r(_named(action))}\\fR"
    value = "" if action.nargs == 0 else f" \\fI{_r(_named(action))}\\fR"
    return ", ".join(f"\\fB{_r(option)}\\fR" for option in action.option_strings) + value


def _named(action: argparse.Action) -> str:
    if action.metavar is not None:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _r(text: str) -> str:
    """``text`` as roff that shows just that."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))
