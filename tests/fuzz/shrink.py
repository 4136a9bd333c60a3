"""Makes a failing file smaller, as long as it fails in the same way: for ``corpus/``.

    python -m tests.fuzz.shrink fuzz-failures/examine-trace-1.23/recording small.txt

Pieces are taken out, halves first, then ever smaller ones (Zeller, "Simplifying and Isolating
Failure-Inducing Input", 2002): lines of a text, else bytes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.checks import OUTPUTS, examine


def failure(data: bytes, output: str) -> str:
    """The kind of exception and the innermost line of code, or "" when all is well."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "recording"
        path.write_bytes(data)
        try:
            examine(path, output)
        except Exception as error:  # noqa: BLE001  whatever it is, it is to stay the same
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            assert place is not None
            return f"{type(error).__name__} {place.tb_frame.f_code.co_filename} {place.tb_lineno}"
    return ""


def shrink(pieces: list[bytes], fails: Callable[[bytes], bool]) -> list[bytes]:
    """The pieces without those that are not needed to fail."""
    size = max(1, len(pieces) // 2)
    while True:
        at = 0
        while at < len(pieces):
            fewer = pieces[:at] + pieces[at + size :]
            if fewer and fails(b"".join(fewer)):
                pieces = fewer
            else:
                at += size
        if size == 1:
            return pieces
        size //= 2


def main() -> int:
    """Arguments in, exit status out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    data = given.source.read_bytes()
    output = next((one for one in OUTPUTS if failure(data, one)), "")
    if not output:
        print("it does not fail", file=sys.stderr)
        return 1
    why = failure(data, output)
    fails = lambda smaller: failure(smaller, output) == why  # noqa: E731
    kept = shrink(data.splitlines(keepends=True), fails)
    if len(kept) < 4 or b"\0" in data[:4096]:
        kept = shrink([bytes([byte]) for byte in b"".join(kept)], fails)
    given.target.write_bytes(b"".join(kept))
    print(f"{len(data)} -> {sum(map(len, kept))} bytes: {output}: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
