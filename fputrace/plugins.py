"""Rules from other packages: entry points of the group ``fputrace.rules``, loaded by name only.

An entry point is a :class:`~fputrace.findings.Rule` or a module that has one as ``RULE``; nothing
is loaded that nobody asked for with ``--plugin NAME``.  Loading one runs its package's code, as
any import does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from fputrace.errors import UsageError, closest
from fputrace.findings import Check, Rows, Rule
from fputrace.generation import GENERATIONS
from fputrace.plain import changed
from fputrace.timeline import Fact

GROUP = "fputrace.rules"
CODE = re.compile(r"(?!FPU)[A-Z]{2,8}[0-9]{3}")
"""A plugin's codes are its own; the catalogue's begin with FPU."""

_AUTHOR = "Tell whoever wrote it, and leave the plugin away until then."
_FACTS = int(np.bitwise_or.reduce([int(fact) for fact in Fact]))


def load(names: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of these plugins, in the order asked for, each name once.

    Raises UsageError for a name that no installed package offers, one that cannot be imported,
    and an object that is no rule fputrace could run.
    """
    if not names:
        return ()
    known = {point.name: point for point in entry_points(group=GROUP)}
    rules: list[Rule] = []
    for name in dict.fromkeys(names):
        if name not in known:
            there = closest(name, known) if known else "; none is installed"
            raise UsageError(
                f"--plugin {name}: no package offers such a rule{there}",
                hint="Install the package into the Python that runs fputrace.",
            )
        rule = _checked(name, _loaded(known[name]))
        if any(rule.code == one.code for one in rules):
            raise UsageError(
                f"--plugin {name}: another plugin has the code {rule.code} already",
                hint="Ask for one of the two at a time.",
            )
        rules.append(rule)
    return tuple(rules)


def page(name: str) -> str:
    """What a plugin says of its rule: the docstring of the module that its entry point names, or
    what the rule itself tells.  Raises UsageError as :func:`load` does.
    """
    (rule,) = load([name])
    (point,) = (point for point in entry_points(group=GROUP) if point.name == name)
    written = sys.modules[point.module].__doc__
    if written:
        return written
    generations = ", ".join(code for code in GENERATIONS if code in rule.generations)
    needs = ", ".join(need.replace("|", " or ") for need in rule.needs) or "none"
    return (
        f"# {rule.code} {rule.name}\n\n## What\n{rule.title}\n\n"
        f"## Generations\n{generations}\n\n## Events needed\n{needs}\n\n"
        f"## When it can be wrong\nIts module ({point.module}) has no docstring that says so.\n"
    )


def _loaded(point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # whatever somebody else's module raises
        raise UsageError(
            f"--plugin {point.name}: {point.value} cannot be loaded: {_told(error)}",
            hint=_AUTHOR,
        ) from error


def _checked(name: str, found: object) -> Rule:
    """A plugin's rule, guarded; UsageError when it is none."""
    rule = found if isinstance(found, Rule) else getattr(found, "RULE", None)

    def wrong(what: str) -> UsageError:
        return UsageError(f"--plugin {name}: {what}", hint=_AUTHOR)

    if not isinstance(rule, Rule):
        raise wrong("it is neither a fputrace.findings.Rule nor a module with one as RULE")
    if not CODE.fullmatch(str(rule.code)):
        raise wrong(
            f"{rule.code!r} is no code for a plugin: two to eight capitals but not FPU..., "
            "and three digits"
        )
    strange = set(rule.generations) - set(GENERATIONS)
    if strange or not rule.generations:
        raise wrong(f"it holds in no generation that exists: {', '.join(sorted(strange))}")
    if not int(rule.facts) or int(rule.facts) & ~_FACTS:
        raise wrong("it asks for facts that the timeline does not have (fputrace.timeline.Fact)")
    guarded = changed(
        rule,
        check=_guarded(name, "check", rule.check),
        say=_guarded(name, "say", rule.say),
        chain=None if rule.chain is None else _guarded(name, "chain", rule.chain),
        price=None if rule.price is None else _guarded(name, "price", rule.price),
    )
    single = np.array([int(fact) for fact in guarded.facts], dtype=np.int64)
    for generation in sorted(guarded.generations):
        answer: Any = guarded.check(Rows(single, np.zeros_like(single)), generation)
        if not isinstance(answer, Check) or any(
            np.shape(mask) != single.shape or np.asarray(mask).dtype != bool for mask in answer
        ):
            raise wrong("its check gives no Check of two bool arrays as long as the rows")
    return guarded


def _guarded(name: str, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """What a plugin's function raises becomes an error with the plugin's name."""

    def guarded(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:  # whatever somebody else's rule raises
            raise UsageError(
                f"--plugin {name}: its {what} failed: {_told(error)}", hint=_AUTHOR
            ) from error

    return guarded


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
