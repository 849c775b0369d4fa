"""The native heap: what malloc has handed out, small and large blocks together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memguard.core.values import HEAP

if TYPE_CHECKING:
    from array import array

__all__ = ["NativeHeap"]


class NativeHeap:
    """
    Bytes in use in the native heap: ``heap_used + mmap_used``.

    The C library moves large blocks between the two, so only their sum means anything.
    """

    metrics = (HEAP,)

    def __init__(self) -> None:
        import psutil  # noqa: PLC0415 - heavy; only where a test is checked

        self._heap_info = psutil.heap_info

    @staticmethod
    def available() -> bool:
        """Whether this platform can tell: not on musl, nor on macOS before 10.12."""
        import psutil  # noqa: PLC0415 - heavy; only where a test is checked

        if not hasattr(psutil, "heap_info"):
            return False
        try:
            psutil.heap_info()
        except (OSError, RuntimeError, NotImplementedError, psutil.Error):
            return False
        return True

    def read(self, row: array[int], at: int) -> None:
        """Write the bytes in use."""
        heap = self._heap_info()
        row[at] = heap.heap_used + heap.mmap_used
