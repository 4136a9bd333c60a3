"""Colours of the terminal reports: Okabe and Ito's, which colour-blind readers can tell apart.

Colour only ever repeats what letters already say.
"""

from __future__ import annotations

ORANGE, SKY, GREEN = "#e69f00", "#56b4e9", "#009e73"
VERMILLION, PURPLE, GREY = "#d55e00", "#cc79a7", "#999999"

STATES = {"U": SKY, "G": ORANGE, "K": PURPLE, "I": GREEN}
"""The letter of a register image -> its colour."""

FILLED = frozenset(STATES)
"""States drawn as a filled span, black on their colour; nobody's and unknown are grey text."""

SEVERITIES = {
    "error": f"bold {VERMILLION}",
    "performance": f"bold {ORANGE}",
    "trace": f"bold {SKY}",
    "info": "bold",
}
LOSSES = {"lost": f"bold {VERMILLION}", "unknown": GREY}
"""Kinds of ``LaneCell.loss``."""

_OTHERS = {
    "mark": "bold",
    "dim": "dim",
    ".": GREY,
    "?": GREY,
    **{f"fill {state}": STATES[state] for state in FILLED},
    **SEVERITIES,
    **LOSSES,
}


def style(kind: str) -> str:
    """The rich style of a piece of a drawing (``lanes.Piece``, ``timeline``)."""
    if kind in FILLED:
        return f"black on {STATES[kind]}"
    return _OTHERS.get(kind, "")
