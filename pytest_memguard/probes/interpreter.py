"""Counters that the interpreter keeps: allocated blocks and objects known to the collector."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from pytest_memguard.core.values import BLOCKS, GC_OBJECTS

if TYPE_CHECKING:
    from array import array

__all__ = ["AllocatedBlocks", "CollectorObjects"]


class AllocatedBlocks:
    """Memory blocks that the interpreter's allocators have handed out and not got back."""

    metrics = (BLOCKS,)

    @staticmethod
    def available() -> bool:
        """Whether this interpreter counts blocks (PyPy does not)."""
        return hasattr(sys, "getallocatedblocks")

    def read(self, row: array[int], at: int) -> None:
        """Write the number of blocks."""
        row[at] = sys.getallocatedblocks()


class CollectorObjects:
    """Objects that the collector tracks; with the older heap frozen, only those born since."""

    metrics = (GC_OBJECTS,)

    def read(self, row: array[int], at: int) -> None:
        """Write the number of tracked objects that are not frozen."""
        row[at] = len(gc.get_objects())
