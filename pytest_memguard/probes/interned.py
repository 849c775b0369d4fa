"""
Interned strings, where the interpreter never frees them: names of attributes, parts of paths.

CPython 3.12.0 to 3.12.6 keep each of them to the end of the process (gh-113993), and so may a build without the GIL. It
is real growth, and is judged as such; this tells whose it is.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["are_kept", "kept_strings"]


def _nothing() -> int:
    return 0


#: Since Python 3.12; 40 ns, as the table knows its length.
_size: Callable[[], int] = getattr(sys, "getunicodeinternedsize", _nothing)


def are_kept(size: Callable[[], int]) -> bool:
    """Whether a string stays interned that nobody else holds; *size* counts the interned ones."""
    before = size()
    sys.intern(f"memguard {os.urandom(8).hex()}")
    return size() > before


@functools.cache
def _are_kept_here() -> bool:
    return are_kept(_size)  # asked once: each time costs a string


def kept_strings() -> int:
    """Return how many interned strings there are; always 0 where they are freed as other strings are."""
    return _size() if _are_kept_here() else 0
