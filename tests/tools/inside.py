"""The command inside this process: what it prints and returns, without the start of another one.

For the tests that ask what is said.  Those of streams, signals, terminals and locales start a
process (``tests/test_cli.py``).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from fputrace import cli

LEFT_OUT = ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
"""Variables that change what is printed."""


def fputrace(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """``fputrace ARGUMENTS`` with files for its output, as it is under the same name in a process.

    Whatever writes to the descriptors 1 and 2, not only to ``sys.stdout``, is caught.
    """
    words = list(map(str, arguments))
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        contextlib.ExitStack() as undo,
    ):
        for number, file in ((1, out), (2, err)):
            saved = os.dup(number)
            undo.callback(os.close, saved)
            undo.callback(os.dup2, saved, number)
            os.dup2(file.fileno(), number)
        stdout = undo.enter_context(open(1, "w", encoding="utf-8", closefd=False))
        stderr = undo.enter_context(open(2, "w", encoding="utf-8", closefd=False))
        undo.enter_context(contextlib.redirect_stdout(stdout))
        undo.enter_context(contextlib.redirect_stderr(stderr))
        undo.enter_context(mock.patch.dict(os.environ, {**kept, **(env or {})}, clear=True))
        if cwd is not None:
            undo.enter_context(contextlib.chdir(cwd))
        try:
            status = cli.main(words)
        except SystemExit as done:
            status = int(done.code or 0)
        stdout.flush()
        stderr.flush()
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read())
    return subprocess.CompletedProcess(words, status, *told)
