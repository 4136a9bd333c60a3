"""New names for old ones: the same old name always gets the same new one, and no two share one.

New names are numbers in the order of first appearance: they tell nothing of the old ones, and the
same recording gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection

KINDS = ("comm", "host", "pointer", "symbol", "text")
"""What can be kept: names of tasks; of hosts, guests and instances; addresses; of the functions of
modules that are not KVM's; any other text."""

LONGEST_COMM = 15
"""TASK_COMM_LEN without its NUL (include/linux/sched.h)."""

_KERNEL_OWN = re.compile(r"<idle>|<\.\.\.>|swapper(/\d{1,4})?|")
_ADDRESS = re.compile(r"0x[0-9a-f]{9,}", re.IGNORECASE)
_PATH = re.compile(r"(?=.*/).*?([^/]*)", re.S)

_LEAST_KERNEL = 0xFF00_0000_0000_0000
"""Kernel addresses with five levels of page tables begin here (arch/x86/x86_64/mm.rst)."""

_ERRORS = 0xFFFF_FFFF_FFFF_F000
"""From here on it is an error or a small negative number (include/linux/err.h)."""

_SMALLEST = 1 << 16
"""Below that nothing is mapped (vm.mmap_min_addr): it is NULL, or a number."""

_PAGE = 1 << 12
_MOST_FUNCTIONS = 1 << 20
_TEXT = 0xFFFF_FFFF_8000_0000
_MODULES = 0xFFFF_FFFF_C000_0000
# Kernels have nothing in the first and the last (both are holes in mm.rst), nor programs in the
# second, so that no new address is anybody's old one.
_NEW_TEXT = {_TEXT: 0xFFFF_FFFF_2000_0000, _MODULES: 0xFFFF_FFFF_6000_0000}
_NEW_USER = 0x1000_0000_0000
_NEW_KERNEL = 0xFFFF_8000_0000_0000
_NEW_32 = 0x0100_0000


def has_address(text: str) -> bool:
    """Whether a probe's definition, or a part of one, names a place in memory."""
    return bool(_ADDRESS.search(text))


class Names:
    """The new names of one recording; ``keep``: which of :data:`KINDS` stay as they are."""

    def __init__(self, keep: Collection[str] = (), known: Collection[str] = ()) -> None:
        self.keep = frozenset(keep)
        self.functions: set[int] = set()
        """Addresses of functions that came up, as they were."""
        self._taken = set(known)
        self._new: dict[str, dict[str, str]] = {}
        self._pages: dict[int, dict[int, int]] = {}
        self._moved: dict[int, int] = {}

    def changed(self, kind: str) -> dict[str, str]:
        """Old name -> new one, as far as they came up."""
        return self._new.get(kind, {})

    def comm(self, name: str) -> str:
        """A task's name; what the kernel calls its idle tasks stays."""
        if "comm" in self.keep or _KERNEL_OWN.fullmatch(name):
            return name
        return self._numbered("task", name)

    def host(self, name: str) -> str:
        """A host, a guest or an instance."""
        if "host" in self.keep or name in ("", "(none)"):
            return name
        return self._numbered("host", name)

    def symbol(self, name: str) -> str:
        """A function of a module that is not the kernel's own."""
        return name if "symbol" in self.keep else self._numbered("function", name)

    def text(self, text: str) -> str:
        """Any other text.  A path's last part becomes what a task of that program is called."""
        if "text" in self.keep or not text:
            return text
        path = _PATH.fullmatch(text)
        if path is None:
            return self._numbered("text", text)
        return "/" + (self.comm(path[1][:LONGEST_COMM]) if path[1] else "")

    def pointer(self, value: int) -> int:
        """An address of 64 bits.  What is NULL, an error or a small number stays.

        Functions keep their distance from each other, all else its place in its page of 4 KiB.
        """
        if _TEXT <= value < _ERRORS and len(self.functions) < _MOST_FUNCTIONS:
            self.functions.add(value)
        if value < _SMALLEST or value >= _ERRORS or "pointer" in self.keep:
            return value
        if value < _LEAST_KERNEL:
            return self._in_page(_NEW_USER, value)
        if value < _TEXT:
            return self._in_page(_NEW_KERNEL, value)
        start = _MODULES if value >= _MODULES else _TEXT
        moved = self._moved.setdefault(start, _NEW_TEXT[start] - (value & -_PAGE))
        return value + moved & (1 << 64) - 1

    def is_kernel(self, value: int) -> bool:
        """Whether a number of 64 bits is a kernel address, whatever it is called."""
        return _LEAST_KERNEL <= value < _ERRORS

    def pointer32(self, value: int) -> int:
        """An address of 32 bits."""
        if value < _SMALLEST or value >= _ERRORS & 0xFFFF_FFFF or "pointer" in self.keep:
            return value
        return self._in_page(_NEW_32, value)

    def _in_page(self, base: int, value: int) -> int:
        pages = self._pages.setdefault(base, {})
        number = pages.setdefault(value // _PAGE, len(pages))
        return base + number * _PAGE + value % _PAGE

    def _numbered(self, kind: str, name: str) -> str:
        new = self._new.setdefault(kind, {})
        if name not in new:
            number = len(new) + 1
            while f"{kind}{number}" in self._taken:
                number += 1
            new[name] = f"{kind}{number}"
            self._taken.add(new[name])
        return new[name]
