"""What the verbs' arguments have in common: parsers, types of values, groups of options."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from fputrace.errors import closest
from fputrace.reports.escape import clean

if TYPE_CHECKING:
    from decimal import Decimal

DEFAULT_TRACES = ("trace.dat", "perf.data")
"""What is read when no TRACE is given: the first of these in the current folder."""

EXIT_STATUSES = (
    (0, "nothing found at or above --fail-on (default: error)"),
    (1, "findings at or above --fail-on; `possible` ones count, unless --fail-on-confirmed"),
    (2, "wrong usage, or an input that cannot be read"),
    (3, "nothing found, but losses, damage or missing events kept a core rule from being checked"),
)
"""Exit status -> what it says; the README's table and the help are made from it."""

STATUS_TABLE = "exit status:\n" + "\n".join(f"  {n}  {text}" for n, text in EXIT_STATUSES)
"""The exit statuses as an epilog shows them."""


class Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal; argparse imports all that packs files to find that out."""

    def __init__(self, prog: str, **kind: Any) -> None:
        super().__init__(prog, **{"width": terminal_columns() - 2, **kind})


def terminal_columns() -> int:
    """How wide the terminal is, as ``shutil.get_terminal_size`` has it."""
    with suppress(KeyError, ValueError):
        told = int(os.environ["COLUMNS"])
        if told > 0:
            return told
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80


class Parser(argparse.ArgumentParser):
    """Errors in two lines: what is wrong with the closest that exists, and where help is."""

    def __init__(self, **kind: Any) -> None:
        super().__init__(**{"formatter_class": Help, **kind})

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; exit status 2, or what the verb has for it."""
        bad = re.search(r"invalid choice: '(.+?)' \(choose from (.+)\)", message)
        if bad:
            known = re.findall(r"[\w.-]+", bad[2])
            message = f"{message[: bad.start()]}'{bad[1]}' is not known{closest(bad[1], known)}"
        # What it quotes may be the name of a file.
        self.exit(
            self.get_default("trouble") or 2,
            f"fputrace: {clean(message)}\n  {self.prog} --help lists what there is\n",
        )


class Verb(Parser):
    """Options may stand before, between and after the positional arguments."""

    _mixing = False

    def parse_known_args(  # type: ignore[override]  # typeshed has it generic in the namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, options and positional arguments mixed; complain of unknown options."""
        # argparse's intermixed parsing calls this method for its parts.
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            found, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False
        if unknown:
            # TRACEs behind an unknown option are left over too; the option is what is wrong.
            unknown = [word for word in unknown if word.startswith("-")] or unknown
            near = closest(unknown[0].partition("=")[0], self._option_string_actions, cutoff=0.75)
            near = near if unknown[0].startswith("--") and "closest" in near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return found, unknown


Offer = Callable[..., Parser]
"""``offer(name, run, text, epilog="")``: the parser of a new verb, which calls ``run(args)``."""


def cpu_list(text: str) -> frozenset[int]:
    """``0-3,7`` as the kernel writes lists of CPUs."""
    cpus: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= 1 << 20:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of CPUs such as 0-3,7")
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def numbers(text: str) -> frozenset[int]:
    """``70,72``"""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d{1,10}", part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 70,72")
    return frozenset(int(part) for part in parts)


def time_range(text: str) -> tuple[Decimal | None, Decimal | None]:
    """``A,B`` in seconds, as perf's --time; an empty side is the trace's own end."""
    from decimal import Decimal

    sides = [side.strip() for side in text.split(",")]
    # Plain decimals only: what Decimal takes besides (NaN, 1e999999999) is no time.
    if len(sides) != 2 or not all(re.fullmatch(r"-?\d{0,12}(\.\d*)?", side) for side in sides):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no pair of seconds such as 12.5,13 or 12.5, or ,13"
        )
    start, end = (Decimal(side) if re.search(r"\d", side) else None for side in sides)
    if start is not None and end is not None and start > end:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    return start, end


def moment(text: str) -> Decimal | None:
    """A time in seconds; None for ``end``."""
    from decimal import Decimal

    if text.strip().lower() == "end":
        return None
    if not re.fullmatch(r"-?(\d{1,12}(\.\d*)?|\.\d+)", text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 12.345678, nor `end`")
    return Decimal(text.strip())


def release(text: str) -> str:
    """A kernel's release, as ``uname -r`` says it."""
    from fputrace.generation import read_version

    if read_version(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no kernel release such as 6.12.9")
    return text


def codes(text: str) -> list[str]:
    """``fpu101,FPU2`` in capitals"""
    found = [part.strip().upper() for part in text.split(",") if part.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of codes such as FPU101,FPU2")
    return found


def finding(text: str) -> tuple[str, int]:
    """``fpu101:2``: a rule's code in capitals, and which of its findings, from 1."""
    match = re.fullmatch(r"([A-Za-z]{2,10}\d{3})(?::([1-9]\d{0,5}))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no finding such as FPU101 or FPU101:2")
    return match[1].upper(), int(match[2] or 1)


def kinds(text: str) -> frozenset[str]:
    """``comm,host``: what ``redact`` keeps."""
    known = ("comm", "host", "pointer", "symbol", "text")
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"{word!r} cannot be kept{closest(word, known)}")
    return frozenset(words)


def size(text: str) -> int:
    """Bytes, ``500K`` and ``5M`` in thousands and millions."""
    match = re.fullmatch(r"([1-9]\d{0,11})([KMG]?)", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500K or 5M")
    unit: int = 1000 ** " KMG".index(match[2] or " ")
    return int(match[1]) * unit


def width(text: str) -> int:
    """Columns of a drawing."""
    if not text.isdecimal() or not 20 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no width from 20 to 10000 columns")
    return int(text)


def gib(text: str) -> float:
    """GiB, above 0."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GiB such as 64")
    return float(text)


def positive(text: str) -> int:
    """A whole number above 0."""
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def seconds(text: str) -> float:
    """Seconds, above 0."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds such as 10")
    return float(text)


def add_input(parser: Parser) -> None:
    """TRACE... and how to read them."""
    parser.add_argument(
        "traces",
        metavar="TRACE",
        nargs="*",
        help="recordings of any known format, packed or not, archives, folders; - is stdin "
        f"(default: {', then '.join(DEFAULT_TRACES)} in this folder)",
    )
    add_reading(parser)


def add_in_out(parser: Parser) -> None:
    """IN and OUT, of a verb that makes a recording of a recording; and how to read IN."""
    parser.add_argument("input", metavar="IN", help="a recording; - is stdin")
    parser.add_argument(
        "output",
        metavar="OUT",
        type=lambda text: None if text == "-" else text,
        help="the file to write, which is there when it is complete; - is stdout",
    )
    add_reading(parser)
    parser.set_defaults(output_name="OUT", sha256=False)


def add_reading(parser: Parser) -> None:
    """How to read a TRACE."""
    group = parser.add_argument_group("reading")
    group.add_argument("--format-in", metavar="NAME", help="what TRACE is, instead of looking")
    group.add_argument("--member", metavar="NAME", help="which recording of an archive or a folder")
    group.add_argument(
        "--max-unpacked",
        metavar="GIB",
        type=gib,
        help="unpack up to this (default: 0.25, beyond that 1000 times the input, at most 32)",
    )
    group.add_argument(
        "--reader", choices=["tracecmd"], help="read trace.dat through trace-cmd's Python bindings"
    )
    group.add_argument("--instance", metavar="NAME", help="the ftrace instance (default: the top)")
    group.add_argument(
        "--clock", metavar="NAME", help="the trace clock, where TRACE lacks it: mono"
    )


def add_model(parser: Parser) -> None:
    """What the kernel is, where the trace cannot tell."""
    group = parser.add_argument_group("the kernel")
    group.add_argument(
        "--kernel", metavar="RELEASE", type=release, help="its release, where TRACE lacks it"
    )
    group.add_argument(
        "--generation", metavar="G", help="judge by this model of FPU ownership (G4a), as if proven"
    )


def add_view(parser: Parser) -> argparse._ArgumentGroup:
    """Which CPUs, times and tasks are shown."""
    group = parser.add_argument_group(
        "what is shown", "the whole trace is replayed all the same, so nothing is judged on a part"
    )
    group.add_argument("--cpu", metavar="LIST", type=cpu_list, help="CPUs, 0-3,7")
    group.add_argument(
        "--time", metavar="A,B", type=time_range, help="from A to B, seconds of the trace's clock"
    )
    group.add_argument("--pid", metavar="LIST", type=numbers, help="tasks")
    return group


def add_vm_view(group: argparse._ArgumentGroup) -> None:
    """Which vCPUs and VMs are shown."""
    group.add_argument("--vcpu", metavar="LIST", type=numbers, help="vCPUs, by vcpu_id")
    group.add_argument("--vm", metavar="TGID", type=positive, help="one virtual machine")


def add_rules(parser: Parser) -> argparse._ArgumentGroup:
    """Which rules are asked."""
    group = parser.add_argument_group(
        "rules", "codes or their beginnings: FPU1 is FPU101, FPU102, ..."
    )
    group.add_argument("--select", metavar="CODES", type=codes, action="extend", help="only these")
    group.add_argument("--ignore", metavar="CODES", type=codes, action="extend", help="not these")
    return group


def add_costs(parser: Parser) -> None:
    """What saves and restores cost."""
    group = parser.add_argument_group("costs", "estimates; docs/costs.md says how they come about")
    group.add_argument(
        "--costs",
        action="store_true",
        help="what saves and restores cost each task; also asks FPU203 to FPU207",
    )
    group.add_argument(
        "--prices",
        metavar="FILE",
        help="ns of a save and a restore: JSON, or a name: default, zen5, calibrated",
    )
    group.add_argument(
        "--cpuid", metavar="FILE", help="bytes of each xstate component: JSON, a sidecar has them"
    )


def add_output(parser: Parser, formats: Sequence[str] = ()) -> argparse._ArgumentGroup:
    """Where the result goes, and in which of ``formats``."""
    group = parser.add_argument_group("output")
    if formats:
        group.add_argument(
            "--format",
            choices=formats,
            help="default: rich on a terminal, else text",
        )
    group.add_argument(
        "-o",
        dest="output",
        metavar="FILE",
        help="write the result there, packed when FILE ends in .gz",
    )
    group.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="auto: on a terminal, and as NO_COLOR and FORCE_COLOR say",
    )
    return group


def add_form(parser: Parser, forms: Sequence[str]) -> None:
    """In which of ``forms`` a TRACE is written, and where: a file, or for parquet a folder."""
    output = parser.add_argument_group("output")
    output.add_argument("--to", choices=forms, required=True)
    output.add_argument(
        "-o",
        dest="output",
        metavar="FILE",
        help="a file, compressed when it ends in .gz or .zst (default: standard output); "
        "for parquet a folder",
    )
    output.add_argument(
        "--force", action="store_true", help="replace the tables that are in the folder already"
    )


def ask_all(parser: Parser) -> None:
    """No choice of rules, VMs or costs, nor hashes: what ``inputs.analyses_of`` reads all the same.

    To be called before options of these names are added.
    """
    parser.set_defaults(select=None, ignore=None, plugins=(), vcpu=None, vm=None, sha256=False)
    parser.set_defaults(costs=False, prices=None, cpuid=None)


def add_plugins(parser: argparse._ActionsContainer) -> None:
    """Rules of other packages."""
    parser.add_argument(
        "--plugin",
        dest="plugins",
        metavar="NAME",
        action="append",
        default=[],
        help="a rule of another package (its entry point in fputrace.rules); runs its code",
    )
