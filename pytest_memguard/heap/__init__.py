"""
Heap snapshots: every object of a process, what holds it and where it was made, in the format of Chrome DevTools.

    from pytest_memguard import heap

    heap.write("before.heapsnapshot.gz")
    serve_a_while()
    heap.write("after.heapsnapshot.gz")
    diff = heap.compare(heap.read("before.heapsnapshot.gz"), heap.read("after.heapsnapshot.gz"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_memguard.heap.around import Snapshots, snapshots
    from pytest_memguard.heap.continuous import Continuous, on_signal
    from pytest_memguard.heap.difference import HeapDiff, compare
    from pytest_memguard.heap.forking import is_forking
    from pytest_memguard.heap.loaded import HeapSnapshot
    from pytest_memguard.heap.reading import read
    from pytest_memguard.heap.speedscope import profile
    from pytest_memguard.heap.taking import Summary, write

__all__ = [
    "Continuous",
    "HeapDiff",
    "HeapSnapshot",
    "Snapshots",
    "Summary",
    "compare",
    "is_forking",
    "on_signal",
    "profile",
    "read",
    "snapshots",
    "write",
]

_PLACES = {
    "Continuous": "continuous",
    "HeapDiff": "difference",
    "HeapSnapshot": "loaded",
    "Snapshots": "around",
    "Summary": "taking",
    "compare": "difference",
    "is_forking": "forking",
    "on_signal": "continuous",
    "profile": "speedscope",
    "read": "reading",
    "snapshots": "around",
    "write": "taking",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a service imports this and may never take a snapshot."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only where a name is used

    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
