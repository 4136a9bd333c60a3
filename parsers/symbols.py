"""The few kernel functions that matter, found in megabytes of kallsyms text without parsing it.

Lines are ``ADDR TYPE NAME [MODULE]`` (kernel/kallsyms.c, ``s_show()``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fputrace.events import PROBED_FUNCTIONS

_NEEDLES = (b"fpu", b"fpregs", b"vcpu_load", b"vcpu_put")
"""Every name of PROBED_FUNCTIONS contains one of these."""

_CLONE = re.compile(r"\.(?:isra|constprop|part|cold|llvm|lto_priv)\b.*$")

REACH = 64
"""A probe sits at most this many bytes behind the start of its function (ENDBR, ftrace call)."""


def base_name(name: str) -> str:
    """The function's own name without the suffixes a compiler gives to clones."""
    return _CLONE.sub("", name)


class Symbols:
    """Addresses of PROBED_FUNCTIONS, and who lives near an address."""

    def __init__(self) -> None:
        self.first: dict[str, int] = {}
        self.places: list[tuple[int, str]] = []
        self.any_text = False
        self._carry = b""

    def feed(self, text: bytes) -> None:
        """Look through the next piece of kallsyms."""
        self.any_text = self.any_text or len(text) > 0
        text = self._carry + text
        end = text.rfind(b"\n") + 1
        # A line is short; without a newline for this long the text is no kallsyms.
        self._carry = text[end:][-4096:]
        self._search(text[:end])

    def finish(self) -> None:
        """Look through what is left after the last newline."""
        self._search(self._carry)
        self._carry = b""

    def _search(self, text: bytes) -> None:
        lines: dict[int, int] = {}
        for needle in _NEEDLES:
            at = text.find(needle)
            while at >= 0:
                stop = text.find(b"\n", at)
                if stop < 0:
                    stop = len(text)
                lines[text.rfind(b"\n", 0, at) + 1] = stop
                at = text.find(needle, stop)
        for start in sorted(lines):
            if lines[start] - start < 4096:
                self._line(text[start : lines[start]])

    def _line(self, line: bytes) -> None:
        words = line.split()
        if len(words) < 3 or words[1] not in (b"t", b"T", b"w", b"W"):
            return
        name = words[2].decode("ascii", "backslashreplace")
        base = base_name(name)
        if base not in PROBED_FUNCTIONS or ".cold" in name:
            return
        try:
            address = int(words[0], 16)
        except ValueError:
            return
        if address >= 1 << 64:
            return
        self.first.setdefault(base, address)
        if address:  # zero where kptr_restrict hid them
            self.places.append((address, base))

    def near(self, address: int) -> str | None:
        """The probed function whose first bytes `address` lies in."""
        best: tuple[int, str] | None = None
        for start, name in self.places:
            if start <= address < start + REACH and (best is None or start > best[0]):
                best = (start, name)
        return best[1] if best else None


def find_symbols(pieces: Iterable[bytes]) -> Symbols:
    """Read kallsyms text given in pieces."""
    symbols = Symbols()
    for piece in pieces:
        symbols.feed(piece)
    symbols.finish()
    return symbols
