"""The native heap: what malloc has handed out, small and large blocks together."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.values import HEAP

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

__all__ = ["ChunkCache", "NativeHeap"]


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


#: glibc keeps up to seven freed chunks of each of 64 sizes per thread, 16 bytes apart (malloc.c, tcache).
_CHUNKS, _SIZES, _SMALLEST, _APART = 7, 64, 24, 16


class ChunkCache:
    """
    glibc's per-thread cache of freed chunks, brought to the same level before each reading.

    Chunks in it count as in use. A small leak takes them first and does not show for seven runs; what ``calloc`` hands
    out does not come from it but goes back to it, and looks like a leak for seven runs. Full, it is a constant.
    """

    def __init__(self) -> None:
        import ctypes  # noqa: PLC0415 - only where native memory is followed

        library: Any = ctypes.PyDLL(None)  # keeps the interpreter's lock: half the cost of a call
        library.malloc.restype = ctypes.c_void_p
        library.malloc.argtypes = [ctypes.c_size_t]
        library.free.restype = None
        library.free.argtypes = [ctypes.c_void_p]
        self._malloc: Callable[[int], int] = library.malloc
        self._free: Callable[[int], None] = library.free

    @staticmethod
    def available() -> bool:
        """Whether this C library is glibc."""
        import platform  # noqa: PLC0415 - asked once

        return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"

    def level(self) -> None:
        """Fill the cache: take seven chunks of each size, from it first, and free them into it."""
        malloc, free = self._malloc, self._free
        for size in range(_SMALLEST, _SMALLEST + _SIZES * _APART, _APART):
            a, b, c, d = malloc(size), malloc(size), malloc(size), malloc(size)
            e, f, g = malloc(size), malloc(size), malloc(size)
            free(a), free(b), free(c), free(d), free(e), free(f), free(g)
