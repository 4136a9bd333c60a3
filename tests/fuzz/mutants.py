"""Mutants by number: the same seed and number always make the same recording."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from tests.fuzz.forms import FORMS, Seed, Tree
from tests.fuzz.mutations import mutate, mutate_text

FOREIGN = ("trace.dat v6", "perf.data", "trace")
"""Forms that pieces of all others are replaced with."""


@dataclass(frozen=True)
class Mutant:
    """A damaged recording.  ``cut``: it is nothing but shorter, and can be known to be."""

    form: str
    seed: int
    told: str
    tree: Tree
    cut: bool = False


@functools.cache
def seeds_of(form: str) -> tuple[Seed, ...]:
    """The seeds of a form, made once."""
    return tuple(FORMS[form]())


def make(form: str, label: str) -> Mutant:
    """The mutant of a form that belongs to this label."""
    chance = random.Random(f"{form} {label}")
    seeds = seeds_of(form)
    number = chance.randrange(len(seeds))
    seed = seeds[number]
    whole = seed.pack(seed.parts)
    kind = chance.random()
    if kind < 0.12:
        name = chance.choice(sorted(whole))
        data = whole[name]
        at = chance.randrange(len(data)) if data else 0
        shows = bool(data) and seed.tells(data, at)
        shorter = {**whole, name: data[:at]}
        return Mutant(form, number, f"cut {name} at {at}", shorter, shows)
    other = _other(chance.choice(FOREIGN) if chance.random() < 0.2 else form, chance)
    # Outside: what the packing made, where it makes anything.
    outside = set(whole) != set(seed.parts) or whole[next(iter(whole))] not in seed.parts.values()
    parts = whole if outside and kind < 0.55 else seed.parts
    name = chance.choice(sorted(parts))
    change = mutate_text if seed.text and parts is seed.parts else mutate
    told, data = change(parts[name], other, chance)
    changed = {**parts, name: data}
    tree = changed if parts is whole else seed.pack(changed)
    where = "outside" if parts is whole else "inside"
    return Mutant(form, number, f"{where} {name} {told}", tree)


def _other(form: str, chance: random.Random) -> bytes:
    """What is spliced in."""
    parts = chance.choice(seeds_of(form)).parts
    return parts[chance.choice(sorted(parts))] or b"\0"
