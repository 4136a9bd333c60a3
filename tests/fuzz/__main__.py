"""A seeded mutation fuzzer over every form of recording.

    python -m tests.fuzz --minutes 10                  as many as fit
    python -m tests.fuzz --files 100000 --seed 7       so many
    python -m tests.fuzz --command 1000                through the command line, a process each
    python -m tests.fuzz --cuts 1 --form "trace.dat"   cut at every byte
    python -m tests.fuzz --again 7.4711 --form trace   one again; --write FILE to have it

Every mutant must end in a result or a typed error, within time and memory, and nothing that is cut
may look complete.  What fails is kept in ``--keep`` with its reason; exit status 1 then.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.checks import OUTPUTS, VERBS, command, examine
from tests.fuzz.forms import FORMS, Tree, write
from tests.fuzz.mutants import FOREIGN, Mutant, make, seeds_of
from tests.fuzz.sandbox import MEBI, Outcome, run

SECONDS = 30.0
"""What one file may take."""

PROGRESS = 5000
"""After how many files one hears of them."""


class Job(NamedTuple):
    """Which mutant; ``how`` is examine, command or cut (``label`` is then SEED.BYTE)."""

    how: str
    form: str
    label: str


def mutant_of(job: Job) -> Mutant:
    """The mutant of a job, made again."""
    if job.how != "cut":
        return make(job.form, job.label)
    number, at = (int(word) for word in job.label.split("."))
    seed = seeds_of(job.form)[number]
    data = seed.pack(seed.parts)[""]
    return Mutant(job.form, number, f"cut at {at}", {"": data[:at]}, seed.tells(data, at))


def check(job: Job, folder: Path) -> int | None:
    """Do what the job says, in a folder of its own; the peak of the process it was done in."""
    mutant = mutant_of(job)
    path = _written(mutant.tree, folder)
    turn = sum(job.label.encode())
    if job.how == "command":
        return command(path, VERBS[turn % len(VERBS)])
    said = examine(path, "text" if job.how == "cut" else OUTPUTS[turn % len(OUTPUTS)])
    if mutant.cut:
        whole = _said_of_whole(mutant.form, mutant.seed, folder)
        assert "error" not in whole, "the seed itself cannot be read"
        assert said - whole, "a truncated recording looks complete"
    return None


def _written(tree: Tree, folder: Path) -> Path:
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return write(tree, folder)


_said: dict[tuple[str, int], set[str]] = {}


def _said_of_whole(form: str, number: int, folder: Path) -> set[str]:
    """What the seed itself says is wrong with it."""
    if (form, number) not in _said:
        seed = seeds_of(form)[number]
        _said[form, number] = examine(_written(seed.pack(seed.parts), folder), "info")
    return _said[form, number]


@dataclass
class Tally:
    """What came of the files of one form."""

    files: int = 0
    failures: int = 0
    slowest: float = 0.0
    peak: int = 0

    def add(self, outcome: Outcome[Job]) -> None:
        self.files += 1
        self.failures += bool(outcome.why)
        self.slowest = max(self.slowest, outcome.seconds)
        self.peak = max(self.peak, outcome.peak)


def jobs(how: str, seed: int, forms: list[str], files: int, until: float) -> Iterator[Job]:
    """So many files, form after form, until the clock says so."""
    for number, form in zip(range(files), itertools.cycle(forms), strict=False):
        if time.monotonic() > until:
            return
        yield Job(how, form, f"{seed}.{number}")


def cuts(forms: list[str], step: int) -> Iterator[Job]:
    """The smallest seed of each form, cut at every ``step``-th byte; folders are left out."""
    for form in forms:
        packed = [seed.pack(seed.parts) for seed in seeds_of(form)]
        sizes = {len(tree[""]): number for number, tree in enumerate(packed) if set(tree) == {""}}
        if sizes:
            smallest = min(sizes)
            for at in range(0, smallest, step):
                yield Job("cut", form, f"{sizes[smallest]}.{at}")


def fuzz(
    wanted: Iterator[Job],
    forms: Iterable[str],
    keep: Path | None,
    workers: int = 2,
    tell: Callable[[str], None] = lambda _text: None,
) -> tuple[dict[str, Tally], list[str]]:
    """Run the jobs; returns a tally of each form, and what failed and why."""
    tallies: dict[str, Tally] = {}
    failures: list[str] = []
    for form in (*FOREIGN, *forms):
        seeds_of(form)  # here once, not in every worker
    for done, outcome in enumerate(run(wanted, check, workers, seconds=SECONDS), 1):
        if done % PROGRESS == 0:
            tell(f"{done:,} files, {len(failures)} failures so far")
        job = outcome.job
        tallies.setdefault(job.form, Tally()).add(outcome)
        if outcome.why:
            mutant = mutant_of(job)
            failures.append(f"{' '.join(job)}: {mutant.told}\n{outcome.why}")
            tell(failures[-1])
            if keep is not None:
                folder = keep / "-".join(job).replace(" ", "_")
                folder.mkdir(parents=True, exist_ok=True)
                write(mutant.tree, folder)
                (folder / "why.txt").write_text(failures[-1] + "\n")
    return tallies, failures


def say(text: str) -> None:
    print(text, flush=True)


def table(tallies: dict[str, Tally]) -> str:
    """A line a form."""
    lines = [f"{'form':<20} {'files':>8} {'failures':>8} {'slowest':>9} {'peak':>9}"]
    for form, tally in tallies.items():
        peak = f"{tally.peak / MEBI:.0f} MiB"
        lines.append(
            f"{form:<20} {tally.files:>8,} {tally.failures:>8} {tally.slowest:>7.2f} s {peak:>9}"
        )
    return "\n".join(lines)


def main() -> int:
    """Arguments in, exit status out."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, help="default: 1, or until --files are done")
    parser.add_argument("--files", type=int, help="how many, through the library")
    parser.add_argument("--command", type=int, metavar="FILES", help="how many, as processes")
    parser.add_argument("--cuts", type=int, metavar="STEP", help="cut at every STEP-th byte")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--form", default="", help=f"forms that begin so: {', '.join(FORMS)}")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--again", metavar="SEED.NUMBER", help="one of them again, in here")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="only write it there")
    given = parser.parse_args()
    forms = [form for form in FORMS if form.startswith(given.form)]
    if not forms:
        parser.error(f"no form begins with {given.form!r}")
    how = "command" if given.command else "cut" if given.cuts else "examine"
    if given.again:
        return _again(Job(how, forms[0], given.again), given.write or given.keep, given.write)
    begin = time.monotonic()
    files = given.command or given.files or 1 << 60
    minutes = given.minutes or (1.0 if files == 1 << 60 else 1e6)
    if given.cuts:
        wanted = cuts(forms, given.cuts)
    else:
        wanted = jobs(how, given.seed, forms, files, begin + 60 * minutes)
    tallies, failures = fuzz(wanted, forms, given.keep, given.workers, say)
    print(table(tallies))
    tried = sum(tally.files for tally in tallies.values())
    seconds = time.monotonic() - begin
    print(f"{tried:,} files in {seconds:,.0f} s, {len(failures)} failures (--seed {given.seed})")
    return 1 if failures else 0


def _again(job: Job, folder: Path, only_write: object) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    mutant = mutant_of(job)
    print(f"{mutant.form} {job.label}, seed {mutant.seed}: {mutant.told}")
    if only_write:
        print(_written(mutant.tree, folder))
    else:
        check(job, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
