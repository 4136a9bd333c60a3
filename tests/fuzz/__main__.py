"""A seeded mutation fuzzer over the sample recordings.

    python -m tests.fuzz --minutes 10 --seed 1        # read, decode every field, analyse
    python -m tests.fuzz --minutes 1 --only reader

Every mutant must end in a result or a typed error, within time and memory.  What fails is kept in
``--keep`` (default ``fuzz-failures``) with its reason beside it; exit status 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fputrace import cli
from fputrace.errors import FputraceError
from fputrace.parsers import open_trace
from tests.fuzz.mutations import mutate
from tests.fuzz.sandbox import Check, Failure, run_all
from tests.tools.cut_pages import cut_pages
from tests.writers import Compression, container

SAMPLES = Path(__file__).parent.parent.parent / "sample_traces"


def check_reader(path: Path) -> None:
    """Read it all, decode every 50th row; a typed error is fine."""
    with contextlib.suppress(FputraceError), open_trace(path) as trace:
        for block in trace.blocks():
            for row in range(0, len(block), 50):
                if block.event[row] >= 0:
                    block.fields_of(row)


def check_analysis(path: Path) -> None:
    """The command as users run it, in a format that draws the timeline and one that does not."""
    for form in ("json", "text"):
        with contextlib.redirect_stderr(io.StringIO()) as talk:
            status = cli.main(["analyze", "-q", "--format", form, "-o", os.devnull, str(path)])
        if status not in (0, 1, 2, 3) or (status == 2 and str(path) not in talk.getvalue()):
            raise AssertionError(f"exit status {status}: {talk.getvalue()}")


CHECKS: dict[str, Check] = {"reader": check_reader, "analysis": check_analysis}


def corpus(folder: Path) -> list[bytes]:
    """Small v6 and v7 forms of the samples: a fifth of the pages, the beginning of kallsyms."""
    forms: tuple[tuple[int, Compression], ...] = (
        (6, "none"),
        (7, "none"),
        (7, "zstd"),
        (7, "zlib"),
    )
    found = []
    for number, path in enumerate(sorted(SAMPLES.glob("*/trace.dat"))):
        small = folder / "seed.dat"
        cut_pages(path, small, 0.8, number)
        trace = container.read(small)
        symbols = trace.blocks[container.KALLSYMS][4 : 1 << 15]
        trace.blocks[container.KALLSYMS] = trace.word(len(symbols), 4) + symbols
        found.append(trace.to_bytes(*forms[number % len(forms)], option_sections=2))
    return found


def mutants(seeds: list[bytes], seed: int, until: float, limit: int) -> Iterator[tuple[str, bytes]]:
    """Up to ``limit`` mutants, until the clock says so; the number makes one again."""
    for number in range(limit):
        if time.monotonic() > until:
            return
        chance = random.Random(f"{seed}.{number}")
        which = chance.randrange(len(seeds))
        what, data = mutate(seeds[which], chance.choice(seeds), chance)
        yield f"{seed}.{number} of file {which}: {what}", data


def fuzz(
    minutes: float, seed: int, keep: Path | None, only: str = "", limit: int = 1 << 60
) -> tuple[int, list[Failure]]:
    """Run; returns how many mutants were tried and what failed."""
    tried = 0
    last = b""

    def counted(inputs: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        nonlocal tried, last
        for label, data in inputs:
            tried, last = tried + 1, data
            yield label, data

    failures: list[Failure] = []
    checks = [check for name, check in CHECKS.items() if only in ("", name)]

    def check_all(path: Path) -> None:
        for check in checks:
            check(path)

    with tempfile.TemporaryDirectory() as name:
        seeds = corpus(Path(name))
        # Everything is imported here once, not in each worker, where it would count as memory.
        whole = Path(name) / "whole.dat"
        whole.write_bytes(seeds[0])
        check_all(whole)
        until = time.monotonic() + 60 * minutes
        inputs = counted(mutants(seeds, seed, until, limit))
        while found := run_all(inputs, check_all, Path(name), seconds=20, most=1):
            failures += found
            if keep is not None:
                keep.mkdir(exist_ok=True)
                stem = found[0].label.split()[0]
                (keep / f"{stem}.dat").write_bytes(last)
                (keep / f"{stem}.txt").write_text(f"{found[0].label}\n{found[0].why}\n")
                print(f"{found[0].label}\n{found[0].why}", file=sys.stderr)
    return tried, failures


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Mutate recordings and run fputrace on them."
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(CHECKS), default="", help="default: everything")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    tried, failures = fuzz(given.minutes, given.seed, given.keep, given.only)
    print(f"{tried} mutants, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
