"""The command line: arguments in, exit status out.

What every verb takes is in :mod:`fputrace.arguments`, what it does in :mod:`fputrace.verbs`.
stdout is the result, stderr the talk.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from fputrace import __version__
from fputrace.arguments import STATUS_TABLE, Parser, Verb
from fputrace.errors import FputraceError, what_to_do
from fputrace.screen import say
from fputrace.verbs import VERBS, verb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TOP_EPILOG = f"""examples:
  fputrace analyze trace.dat                 what went wrong, with the proof of each finding
  fputrace timeline trace.dat --cpu 0-1      who held the FPU registers of each CPU, when
  fputrace explain FPU101                    what a finding means

{STATUS_TABLE}
"""

_LONG = 1 << 25  # bytes of a file that it is worth while to begin with early
_ABOUT = ({"--version", "--verbose"}, {"--version", "-v"})


def build_parser(only: str | None = None) -> Parser:
    """Every verb and option there is; ``only``: a verb, when no other one can be meant."""
    talk = Verb(add_help=False, allow_abbrev=False)
    talk.add_argument("-q", "--quiet", action="store_true", help="no progress, no notices")
    talk.add_argument("-v", "--verbose", action="store_true", help="everything, not a selection")
    parser = Parser(
        prog="fputrace",
        description="Finds floating-point state gone wrong under KVM in recordings of a kernel.",
        epilog=_TOP_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"fputrace {__version__}",
        help="with --verbose all that a bug report needs",
    )
    offered = parser.add_subparsers(
        title="verbs", metavar="VERB", dest="verb", parser_class=Verb, prog=parser.prog
    )

    def offer(
        name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str = ""
    ) -> Parser:
        made = offered.add_parser(
            name,
            parents=[talk],
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=epilog,
            allow_abbrev=False,
        )
        made.set_defaults(run=run, trouble=2)
        return made

    for name in VERBS if only is None else (only,):
        verb(name).add(offer)
    return parser


def process() -> NoReturn:
    """:func:`main` in a process of its own, which ends with it.

    Looking for cycles among thousands of values that have none takes a tenth of a short run, and
    taking the interpreter apart in the end 10 ms: what asked to be called then is, no more.
    """
    gc.set_threshold(100_000, 20, 20)
    status = main()
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result goes to stdout, and the exit status is returned."""
    # numpy's BLAS starts a thread for each core when it is loaded; nothing here uses them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    no_stdout = _open_closed_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["analyze"]:
        _look_ahead(words[1:])
    parser = build_parser(words[0] if words and words[0] in VERBS else None)
    if set(words) in _ABOUT:
        return _run(_tell_about, argparse.Namespace(), 2)
    command: list[str] = []
    if words[:1] == ["record"] and "--" in words:
        # What is COMMAND's own is no option of ours, and argparse drops a "--" of it.
        command = words[words.index("--") + 1 :]
        del words[words.index("--") :]
    args = parser.parse_args(words)
    args.command = command
    args.line = command_line(words)
    if args.verb is None:
        print(parser.format_help(), end="", file=sys.stderr)  # noqa: T201
        return 2
    trouble: int = args.trouble
    if no_stdout and args.output is None:
        say("standard output is closed", "-o FILE writes the result to a file")
        return trouble
    return _run(args.run, args, trouble)


def _tell_about(_args: argparse.Namespace) -> int:
    from fputrace.about import about

    sys.stdout.write(about())
    return 0


def _run(verb: Callable[[argparse.Namespace], int], args: argparse.Namespace, trouble: int) -> int:
    """What a verb returns, or, where it fails, its status for `trouble` when it is told why."""
    try:
        status = verb(args)
        sys.stdout.flush()
        return status
    except FputraceError as error:
        say(error.message, error.hint)
        return trouble
    except BrokenPipeError:
        # Whoever read us has seen enough.
        _drop_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        say(f"{error.filename or 'standard output'}: {error.strerror or error}", what_to_do(error))
        if error.filename is None:
            _drop_stdout()
        return trouble
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except MemoryError:
        say(
            "there is not enough memory for this",
            "Analyse it on a machine with more, or less of it.",
        )
        return trouble
    except ImportError as error:
        say(f"the installation is not complete: {error}", "Install fputrace again.")
        return trouble
    except Exception:  # noqa: BLE001  Python's own status would say "findings"
        import traceback

        traceback.print_exc()
        say(
            "this is a fault of fputrace, not of what it was given",
            "Please report it: the lines above, and what fputrace --version --verbose says.",
        )
        return trouble


def command_line(words: Sequence[str]) -> str:
    """The command as a report repeats it: whoever has the recording can run it and get the same.

    Without what does not change the result (``-o``, ``--color``, ``-q``), and with no absolute
    path: those are this machine's own.
    """
    import shlex

    kept: list[str] = []
    dropped = False
    for word in words:
        option, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if dropped or word in ("-q", "--quiet") or (option == "--color" and sign):
            dropped = False
        elif word in ("-o", "--color"):
            dropped = True
        elif not (word.startswith("-o") and not sign):
            kept.append(option + sign + (os.path.basename(value) if value[:1] == "/" else value))
    return shlex.join(["fputrace", *kept])


def _look_ahead(words: Sequence[str]) -> None:
    """Begin with the first of these that is a long text, while they are still being understood.

    It need not be the TRACE: who opens another file gives the look up.
    """
    path = next((word for word in words if word[:1] != "-" and _is_long(word)), None)
    if path is not None:
        with suppress(ImportError, MemoryError):  # the verb says what is missing
            from fputrace.parsers import textahead

            textahead.begin(path)


def _is_long(path: str) -> bool:
    try:
        return os.path.isfile(path) and os.path.getsize(path) >= _LONG
    except OSError:
        return False


def _open_closed_streams() -> bool:
    """Let stdout and stderr be /dev/null where the caller closed them; True without a stdout.

    Python makes them None then, and the next file opened would get their number.
    """
    closed = sys.stdout is None
    if closed:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return closed


def _drop_stdout() -> None:
    """What stdout still holds is lost: Python must not complain again when it closes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
