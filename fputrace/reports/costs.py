"""What saves and restores cost, as tables for the reports of ``analyze --costs``.

Strings made here hold text from the trace as it is; whoever lays them out escapes them (module
``escape``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from fputrace.plain import PlainTuple
from fputrace.reports.escape import clean, decoded
from fputrace.reports.outline import Clock, number, plural, task

if TYPE_CHECKING:
    from fputrace.pricing import Example, Moved, TaskCost, TraceCosts, WhyCost

HEADING = "What saves and restores cost"

_VCPUS_SHOWN = 8
_TASKS_SHOWN = 10

_LEGEND = (
    "Saves and restores stand as needed + redundant: redundant is what put an image into the "
    "registers, or out of them, that nothing used in between. Skipped are restores that were due "
    "and not done, the registers still holding the image."
)


_WHERE = (
    "The first KVM_RUN that was switched out and in again. What a place holds follows from the "
    "generation; old: somewhere else is a newer image."
)


class CostTable(PlainTuple):
    """A table under a title, with sentences below it; columns from ``left`` on hold numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    left: int = 1


def summary(costs: TraceCosts) -> list[str]:
    """The sum, and what it was counted by, a sentence each."""
    total = costs.total
    share = f", {percent(costs.share_ppm)} of one core" if costs.share_ppm is not None else ""
    said = [
        (
            f"{plural(total.saves.done, 'save')} and {plural(total.restores.done, 'restore')}, "
            f"≈ {number(total.bytes)} bytes and {time(total.ns)}{share}; redundant: "
            f"{plural(total.saves.redundant, 'save')} and "
            f"{plural(total.restores.redundant, 'restore')}, ≈ {number(total.bytes_redundant)} "
            f"bytes and {time(total.ns_redundant)}."
        ),
        f"Prices: {costs.prices.source} ({_price(costs)}); {costs.sizes_source}.",
    ]
    inferred = total.saves.inferred + total.restores.inferred
    if inferred:
        said.append(
            f"{number(inferred)} of them are inferred: the generation's code does them, and no "
            "event of their own shows it."
        )
    return said + list(costs.limits)


def _price(costs: TraceCosts) -> str:
    prices = costs.prices
    words = []
    for name, base, slope in (
        ("save", prices.save_ns, prices.save_ns_a_byte),
        ("restore", prices.restore_ns, prices.restore_ns_a_byte),
    ):
        words.append(f"{name} ≈ {base:g} ns" + (f" + {slope:g} ns a byte" if slope else ""))
    return ", ".join(words)


def tables(costs: TraceCosts, clock: Clock, verbose: bool) -> Iterator[CostTable]:
    """VCPU threads one by one, with where their images were; then the other tasks."""
    vcpus = [one for one in costs.tasks if one.is_vcpu]
    others = [one for one in costs.tasks if not one.is_vcpu]
    shown = len(vcpus) if verbose else _VCPUS_SHOWN
    for index, one in enumerate(vcpus[:shown]):
        yield _of_task(one, (_LEGEND,) if index == 0 else ())
        for example in one.examples:
            yield _where(example, one, clock)
    others = [*vcpus[shown:], *others]
    rest = others if verbose else others[:_TASKS_SHOWN]
    if rest:
        yield CostTable(
            "Other tasks" if vcpus else "Tasks",
            ("task", "out", "saves", "restores", "≈ us", "of a core"),
            tuple(
                (
                    task(one.comm, one.pid),
                    number(one.total.times),
                    _moved(one.total.saves),
                    _moved(one.total.restores),
                    micro(one.total.ns),
                    percent(one.share_ppm),
                )
                for one in rest
            ),
            _more(others[len(rest) :], costs.others),
        )


def _more(hidden: Sequence[TaskCost], others: WhyCost | None) -> tuple[str, ...]:
    ns = sum(one.total.ns for one in hidden) + (others.ns if others else 0)
    if not ns:
        return ()
    shown = ", shown with -v" if hidden else ""
    return (f"All the others together: ≈ {time(ns)}{shown}.",)


def _of_task(one: TaskCost, notes: tuple[str, ...]) -> CostTable:
    vcpu = f", vCPU {one.vcpu}" if one.vcpu is not None else ""
    vm = f" of {one.vm}" if one.vm else ""
    total = one.total
    said = [*notes]
    share = f", {percent(one.share_ppm)} of one core" if one.share_ppm is not None else ""
    said.append(
        f"≈ {number(total.bytes)} bytes{share}; redundant ≈ {number(total.bytes_redundant)} bytes."
    )
    if one.images:
        said.append(f"Images: {'; '.join(one.images)}.")
    if one.assumed:
        said.append(
            f"The components of {number(one.assumed)} images moved were told by no event: counted "
            "with those of its other image."
        )
    return CostTable(
        f"{task(one.comm, one.pid)}{vcpu}{vm}",
        ("why", "times", "saves", "restores", "skipped", "≈ us", "redundant"),
        tuple(
            (
                cause.why,
                number(cause.times),
                _moved(cause.saves),
                _moved(cause.restores),
                number(cause.elided),
                micro(cause.ns),
                micro(cause.ns_redundant),
            )
            for cause in (*one.by_why, total)
        ),
        tuple(said),
    )


def _where(example: Example, one: TaskCost, clock: Clock) -> CostTable:
    shown = [moment.events for moment in example.moments]
    times = [f"{clock.at(of[0][0])} [{of[0][1]:03}]" if of else "" for of in shown]
    events = [
        ", ".join(name.rpartition(":")[2].removeprefix("x86_fpu_") for _ns, _cpu, name in of)
        for of in shown
    ]
    return CostTable(
        f"Where its images were ({example.generation}): {task(one.comm, one.pid)}",
        ("", *(moment.title for moment in example.moments)),
        (
            ("time", *times),
            ("events", *events),
            *((place.name, *place.holds) for place in example.places),
        ),
        (_WHERE,),
        left=9,
    )


def _moved(moved: Moved) -> str:
    """``117``, or ``47 + 70`` where some were redundant."""
    if not moved.redundant:
        return number(moved.done)
    return f"{number(moved.needed)} + {number(moved.redundant)}"


def micro(ns: int) -> str:
    """Ns in us."""
    return f"{ns / 1000:,.1f}"


def time(ns: int) -> str:
    """Ns in the unit that suits it."""
    if ns < 1000:
        return f"{ns} ns"
    return f"{ns / 1000:,.1f} us" if ns < 1_000_000 else f"{ns / 1_000_000:,.2f} ms"


def percent(ppm: int | None) -> str:
    """Millionths as percent."""
    return "" if ppm is None else f"{ppm / 10_000:.3f} %"


def plain(table: CostTable, width: int) -> Iterator[str]:
    """A table as lines of at most ``width`` columns, ASCII, cells wrapped where they must be."""
    rows = (table.head, *table.rows)
    grid = [[clean(approximate(cell), ascii_only=True) for cell in row] for row in rows]
    gap = 2
    columns = list(zip(*grid, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [
        max(len(word) for cell in column for word in (cell.split() or [""])) for column in columns
    ]
    room = width - gap * (len(widths) - 1)
    while sum(widths) > room:
        # The column with most to give: words are broken only when nothing else is left.
        slack = [size - least for size, least in zip(widths, words, strict=True)]
        by = slack if max(slack) > 0 else widths
        widths[by.index(max(by))] -= 1
    for row in grid:
        cells = [wrap(cell, size) or [""] for cell, size in zip(row, widths, strict=True)]
        for line in zip_longest(*cells, fillvalue=""):
            parts = [
                part.rjust(size) if index >= table.left else part.ljust(size)
                for index, (part, size) in enumerate(zip(line, widths, strict=True))
            ]
            yield (" " * gap).join(parts).rstrip()


def approximate(text: str) -> str:
    """``text`` with a sign for "about" that ASCII has."""
    return text.replace("≈", "~")


def costs_json(costs: TraceCosts) -> dict[str, Any]:
    """As ``analyze.schema.json`` has it."""
    return {
        "prices": {
            "source": decoded(costs.prices.source),
            "save_ns": costs.prices.save_ns,
            "restore_ns": costs.prices.restore_ns,
            "save_ns_per_byte": costs.prices.save_ns_a_byte,
            "restore_ns_per_byte": costs.prices.restore_ns_a_byte,
        },
        "sizes": decoded(costs.sizes_source),
        "span_ns": costs.span_ns,
        "share_ppm": costs.share_ppm,
        "total": _cause_json(costs.total),
        "tasks": [_task_json(one) for one in costs.tasks],
        "others": costs.others and _cause_json(costs.others),
        "limits": [decoded(line) for line in costs.limits],
    }


def _task_json(one: TaskCost) -> dict[str, Any]:
    return {
        "pid": one.pid,
        "comm": decoded(one.comm),
        "vcpu": one.vcpu,
        "is_vcpu": one.is_vcpu,
        "tgid": one.tgid,
        "share_ppm": one.share_ppm,
        "total": _cause_json(one.total),
        "why": [_cause_json(cause) for cause in one.by_why],
        "images": [decoded(line) for line in one.images],
        "assumed": one.assumed,
        "where": [
            {
                "generation": example.generation,
                "moments": [
                    {
                        "title": moment.title,
                        "events": [
                            {"ns": ns, "cpu": cpu, "name": decoded(name)}
                            for ns, cpu, name in moment.events
                        ],
                    }
                    for moment in example.moments
                ],
                "places": [
                    {"name": place.name, "holds": [decoded(held) for held in place.holds]}
                    for place in example.places
                ],
            }
            for example in one.examples
        ],
    }


def _cause_json(cause: WhyCost) -> dict[str, Any]:
    return {
        "why": cause.why,
        "times": cause.times,
        "saves": _moved_json(cause.saves),
        "restores": _moved_json(cause.restores),
        "skipped": cause.elided,
        "bytes": cause.bytes,
        "bytes_redundant": cause.bytes_redundant,
        "ns": cause.ns,
        "ns_redundant": cause.ns_redundant,
    }


def _moved_json(moved: Moved) -> dict[str, int]:
    return {
        "done": moved.done,
        "needed": moved.needed,
        "redundant": moved.redundant,
        "inferred": moved.inferred,
    }
