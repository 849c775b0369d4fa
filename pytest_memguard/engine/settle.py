"""
Bring the process to rest before a reading: what is only garbage, or only cached, must not count.

Measured (see docs/explanation/how-a-leak-is-decided.md): without clearing the type attribute cache 7 of 10 clean
tests of a template engine look like steady leaks; a collection with the older heap frozen costs 0.2 us, not 18 ms.
"""

from __future__ import annotations

import gc
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_memguard.core.clocks import REAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "THREAD_GRACE_S",
    "clear_type_cache",
    "collect",
    "collect_all",
    "frozen",
    "purge",
    "quiet_finalizers",
    "wait_for_threads",
]

#: Finalizers that run in one collection may free what only the next one finds; three are enough in practice.
_COLLECTIONS = 3
#: A joined thread can stay visible to the kernel for some milliseconds.
THREAD_GRACE_S = 0.05
_LOOK_AGAIN_S = 0.001


def _nothing() -> None:
    pass


#: The interpreter keeps attribute names in 4096 slots of its own: the noise source of the block counter.
clear_type_cache: Callable[[], object] = getattr(
    sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", _nothing)
)


def _swallow(_unraisable: Any, /) -> None:  # noqa: ANN401 - sys.UnraisableHookArgs is not public
    """Drop what finalizers raise while *we* collect: in a plain run it would hit another test, or none."""


@contextmanager
def quiet_finalizers() -> Iterator[None]:
    """Let nothing that a finalizer warns or raises get out of a collection of ours."""
    hook = sys.unraisablehook
    sys.unraisablehook = _swallow
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook


def collect() -> None:
    """Collect until nothing more is found; cheap while the older heap is frozen."""
    clear_type_cache()
    for _ in range(_COLLECTIONS):
        if not gc.collect():
            break


def collect_all(*, freeze: bool = True) -> None:
    """Collect the whole heap, the frozen part included, and freeze it again."""
    gc.unfreeze()
    clear_type_cache()
    if gc.collect():  # dear on a large heap: what finalizers of finalizers leave waits for the next reading
        gc.collect()
    if freeze:
        gc.freeze()


@contextmanager
def frozen() -> Iterator[None]:
    """Freeze all that lives now, so that collections and ``gc.get_objects`` see only what is born inside."""
    gc.collect(1)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def wait_for_threads(count: Callable[[], int], settled: int, grace_s: float = THREAD_GRACE_S) -> None:
    """Wait up to *grace_s* seconds for threads that are ending, while *count* is above *settled*."""
    deadline = REAL.seconds() + grace_s
    looks = int(grace_s / _LOOK_AGAIN_S) + 1  # the end as well where a clock stands still (time-machine's reach into C)
    while looks and count() > settled and REAL.seconds() < deadline:
        REAL.sleep(_LOOK_AGAIN_S)
        looks -= 1


def purge() -> None:
    """Empty the bounded caches of the standard library: filling them is no leak, and emptying them is harmless."""
    for clear in _purgers():
        clear()


def _purgers() -> Iterator[Callable[[], object]]:
    modules = sys.modules
    for module, attribute in _CLEARERS:
        clear = getattr(modules.get(module), attribute, None)
        if clear is not None:
            yield clear
    yield from getattr(modules.get("typing"), "_cleanups", ())
    for module, attribute in _MAPPINGS:
        mapping = getattr(modules.get(module), attribute, None)
        if mapping is not None:
            yield mapping.clear
    for module, attribute in _LRU_CACHES:
        clear = getattr(getattr(modules.get(module), attribute, None), "cache_clear", None)
        if clear is not None:
            yield clear


_CLEARERS = (("re", "purge"), ("urllib.parse", "clear_cache"), ("struct", "_clearcache"), ("_struct", "_clearcache"))
_MAPPINGS = (("_strptime", "_regex_cache"),)
_LRU_CACHES = (
    ("inspect", "_shadowed_dict_from_weakref_mro_tuple"),
    ("inspect", "_shadowed_dict_from_mro_tuple"),
    ("fnmatch", "_compile_pattern"),
    ("glob", "_compile_pattern"),
    ("tokenize", "_compile"),
)
