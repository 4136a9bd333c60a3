"""Reports for other programs against the schemas of those programs (README.md)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import xmlschema
from jsonschema import Draft202012Validator

_HERE = Path(__file__).parent


@cache
def _sarif() -> Draft202012Validator:
    schema = json.loads((_HERE / "sarif-2.1.0.json").read_text())
    # "format" says nothing unless it is asked for: URIs and GUIDs are checked too.
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@cache
def _junit() -> Any:
    return xmlschema.XMLSchema(_HERE / "junit-10.xsd")


def sarif_errors(text: str) -> list[str]:
    """What is wrong with a SARIF log; nothing where it is valid."""
    return [
        f"{error.json_path}: {error.message}" for error in _sarif().iter_errors(json.loads(text))
    ]


def junit_errors(text: str) -> list[str]:
    """What is wrong with a JUnit result; nothing where it is valid."""
    return [str(error.reason) for error in _junit().iter_errors(text)]
