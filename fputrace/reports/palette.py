"""Colours of the terminal reports: Okabe and Ito's, which colour-blind readers can tell apart.

Colour only ever repeats what letters already say.
"""

from __future__ import annotations

ORANGE, SKY, GREEN, BLUE = "#e69f00", "#56b4e9", "#009e73", "#0072b2"
VERMILLION, PURPLE, GREY = "#d55e00", "#cc79a7", "#999999"

STATES = {"U": SKY, "G": ORANGE, "K": PURPLE, "I": GREEN, ".": GREY, "?": GREY}
"""The letter of a register image -> its colour."""

FILLED = frozenset("UGKI")
"""States drawn as a filled span, black on their colour; the others as coloured text."""

SEVERITIES = {
    "error": f"bold {VERMILLION}",
    "performance": f"bold {ORANGE}",
    "trace": f"bold {SKY}",
    "info": "bold",
}
LOSSES = {"lost": f"bold {VERMILLION}", "unknown": GREY}


def style(kind: str) -> str:
    """The rich style of a piece of a drawing (``lanes.Piece``, ``timeline``)."""
    if kind in FILLED:
        return f"black on {STATES[kind]}"
    if kind in STATES:
        return STATES[kind]
    return {"mark": "bold", "dim": "dim"}.get(kind, "") or SEVERITIES.get(kind) or LOSSES.get(kind, "")
