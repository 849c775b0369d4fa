"""The cheap counters of this process, by the standard library alone."""

from __future__ import annotations

import gc
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_counters", "trim_heap"]

_STATM, _FD, _TASK = "/proc/self/statm", "/proc/self/fd", "/proc/self/task"
_HAS_PROC = os.path.exists(_STATM)  # noqa: PTH110 - pathlib is not needed here


def read_counters(_: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the interpreter, the C library and the kernel count; None where one of them does not tell."""
    rss, mapped = _memory()
    heap, free = _heap()
    generations = gc.get_stats()
    return {
        "pid": os.getpid(),
        "blocks": sys.getallocatedblocks() if hasattr(sys, "getallocatedblocks") else None,
        "heap_bytes": heap,
        "heap_free_bytes": free,
        "rss_bytes": rss,
        "mapped_bytes": mapped,
        "fds": len(os.listdir(_FD)) - 1 if _HAS_PROC else None,  # noqa: PTH208 - no Path objects in a reading
        "threads": os.stat(_TASK).st_nlink - 2 if _HAS_PROC else None,  # noqa: PTH116 - see above
        "gc_collections": [one["collections"] for one in generations],
        "gc_freed": sum(one["collected"] for one in generations),
        "gc_pending": gc.get_count()[0],
        **_traced(),
    }


def _memory() -> tuple[int | None, int | None]:
    """Return resident bytes, and private writable bytes that are mapped."""
    if not _HAS_PROC:
        return None, None
    descriptor = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fields = os.read(descriptor, 256).split()
    finally:
        os.close(descriptor)
    page = os.sysconf("SC_PAGE_SIZE")
    return int(fields[1]) * page, int(fields[5]) * page


def _traced() -> dict[str, int]:
    """Return what tracemalloc counts, where it is loaded and tracing."""
    tracemalloc = sys.modules.get("tracemalloc")
    if tracemalloc is None or not tracemalloc.is_tracing():
        return {}
    traced, peak = tracemalloc.get_traced_memory()
    return {"traced_bytes": traced, "traced_peak_bytes": peak, "tracer_bytes": tracemalloc.get_tracemalloc_memory()}


def _heap() -> tuple[int | None, int | None]:
    """Return bytes in use in the native heap, and bytes that it keeps free."""
    mallinfo = _mallinfo()
    if mallinfo is None:
        return None, None
    found = mallinfo()
    return found.uordblks + found.hblkhd, found.fordblks


@cache
def _mallinfo() -> Callable[[], Any] | None:
    """Return glibc's ``mallinfo2``; None where there is none (musl, glibc before 2.33)."""
    try:
        import ctypes  # noqa: PLC0415 - when the first reading is asked for
    except ImportError:
        return None

    class Found(ctypes.Structure):
        """``struct mallinfo2``."""

        _fields_ = tuple(
            (name, ctypes.c_size_t)
            for name in (
                "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                "keepcost",
            )
        )  # fmt: skip

    try:
        function: Any = ctypes.PyDLL(None).mallinfo2
    except (AttributeError, OSError):
        return None
    function.restype = Found
    return function  # type: ignore[no-any-return] # a foreign function


def trim_heap() -> bool | None:
    """Give free memory of the native heap back to the system; whether some was, None where that cannot be asked."""
    try:
        import ctypes  # noqa: PLC0415 - see _mallinfo

        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (ImportError, AttributeError, OSError):
        return None
