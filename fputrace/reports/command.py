"""A shell command on lines of a report, still fit to be copied."""

from __future__ import annotations

import re

_SHELL_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|['"\\])+""")


def command_lines(command: str, width: int) -> list[str]:
    """A shell command on lines of at most ``width``, continued with backslashes.

    Words are never broken, so that the command can be copied; one that is longer than a line
    stays as long as it is.
    """
    lines = []
    for part in command.strip().splitlines():
        indent = ""
        line = ""
        for word in _words(part):
            if line and len(indent) + len(line) + 1 + len(word) > width - 2:
                lines.append(f"{indent}{line} \\")
                indent, line = "    ", word
            else:
                line = f"{line} {word}" if line else word
        lines.append(f"{indent}{line}")
    return lines


def _words(line: str) -> list[str]:
    """The words of a shell line; a one-letter option stays with its argument."""
    words: list[str] = []
    for word in _SHELL_WORD.findall(line):
        if words and re.fullmatch("-[A-Za-z]", words[-1]) and not word.startswith("-"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words
