"""
Numbers for objects by their address, in a quarter of the memory that the objects themselves take.

A dictionary of a million addresses takes 130 MB, as each address and each number is an object of 32 bytes. This is a
table of 4 bytes for every 16 bytes of address space that has an object in it.
"""

from __future__ import annotations

import sys
from array import array

__all__ = ["NONE", "PAGE_BITS", "SKIPPED", "SLOT_BITS", "SLOT_MASK", "Addresses"]

#: Two objects never begin within one slot: the smallest object has the size of two pointers.
SLOT_BITS = 4 if sys.maxsize > 2**32 else 3
PAGE_BITS = 12
SLOT_MASK = (1 << PAGE_BITS - SLOT_BITS) - 1

#: The number of an address that nothing was said of, and that of an object which is left out.
NONE, SKIPPED = 0, 0xFFFFFFFF

#: Identities are odd numbers below 2**31, as V8's own are.
_PUBLIC_PAGES = 1 << 30 - (PAGE_BITS - SLOT_BITS)
#: Pages are counted from one in the middle of the heap, both ways: this keeps most identities short.
_ANCHOR = id(sys) >> PAGE_BITS
#: These pages hold the identities of what is no object: roots, threads, frames.
_RESERVED_PAGES = 16
_EMPTY = array("I", bytes(4 * (SLOT_MASK + 1)))


class Addresses:
    """
    Which object has which number, and which identity.

    ``pages`` may be read directly where a method call for every edge would cost too much: the slots of a page, and
    behind them the page's public number.
    """

    __slots__ = ("_taken", "pages")

    def __init__(self) -> None:
        self.pages: dict[int, array[int]] = {}
        self._taken = set(range(_RESERVED_PAGES))

    def number(self, address: int) -> int:
        """Return the number of the object at *address*; NONE where it has none."""
        page = self.pages.get(address >> PAGE_BITS)
        return NONE if page is None else page[address >> SLOT_BITS & SLOT_MASK]

    def give(self, address: int, number: int) -> None:
        """Let *number* be that of the object at *address*."""
        page = self.pages.get(address >> PAGE_BITS)
        if page is None:
            page = self._new_page(address >> PAGE_BITS)
        page[address >> SLOT_BITS & SLOT_MASK] = number

    def identity(self, address: int) -> int:
        """Return the identity of a numbered object: odd, unique, and the same as long as the object lives."""
        page = self.pages[address >> PAGE_BITS]
        return (page[-1] * (SLOT_MASK + 1) + (address >> SLOT_BITS & SLOT_MASK)) * 2 + 1

    def _new_page(self, key: int) -> array[int]:
        """Return an empty page; its public number is its distance to the anchor, or the next one that is free."""
        distance = key - _ANCHOR
        public = (2 * distance if distance >= 0 else -2 * distance - 1) % _PUBLIC_PAGES
        while public in self._taken:
            public = (public + 1) % _PUBLIC_PAGES
        self._taken.add(public)
        page = self.pages[key] = _EMPTY[:]
        page.append(public)
        return page
