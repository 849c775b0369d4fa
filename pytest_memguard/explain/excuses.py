"""
How much of what was gained the containers with a limit explain.

A cache that fills gains entries in each run, and a leak beside it shows no other number of entries. So an lru_cache is
emptied, to see what comes back; of other containers the newest entries are weighed. A list of dead weak references is
no leak either: whoever keeps it drops them in one go, now and then.
"""

from __future__ import annotations

import gc
import io
import sys
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any
from weakref import ref

from pytest_memguard.core.values import BLOCKS, HEAP
from pytest_memguard.explain.growth import size_of
from pytest_memguard.explain.naming import class_names, identities, is_a, mro

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.core.ports import Gain
    from pytest_memguard.explain.holders import Grown

__all__ = ["given_back", "stale_references", "weighed"]

#: Up to seven freed chunks of each size stay in the C library's cache and count as used: a fifth to a half of what
#: a short look can free.
_NOT_GIVEN_BACK = 0.4
#: Larger objects lie in the native heap; one with a header has a dictionary and a key besides, perhaps.
_SMALL_BYTES, _BLOCKS_OF_TRACKED = 512, 3
_MOST_WEIGHED = 200_000
#: Of what a list gained beside dead references.
_STALE = 0.8
_PLAIN = identities(
    str, bytes, bytearray, int, float, complex, bool, type(None), tuple, list, dict, set, frozenset, deque, OrderedDict
)
#: What a class statement puts into a class or into one of its bases.
_MADE_IN_PYTHON = frozenset({"__dict__", "__slots__", "__weakref__"})
#: The base in C of all files, which has a dictionary as if it were of Python's making.
_FILE: type = io.IOBase.__bases__[0]


def given_back(caches: Sequence[Grown], gains: Sequence[Gain]) -> float:
    """
    Empty some caches; return the share of what was gained that comes back, the least of all gains.

    Entries from before count for nothing: what an emptied cache gives back is shared out by its entries.
    """
    gc.collect()  # what is garbage by now, of other tests as well, is not the caches'
    back = [0.0] * len(gains)
    for one in caches:
        _count(back, gains, one.container.cache_clear, one.gained / max(1, one.length))
    gained, entries = sum(one.gained for one in caches), sum(one.length for one in caches)
    _count(back, gains, gc.collect, gained / max(1, entries))
    return min((_share(gain, came) for gain, came in zip(gains, back, strict=True)), default=1.0)


def _count(back: list[float], gains: Sequence[Gain], free: Any, share: float) -> None:  # noqa: ANN401 - a callable
    before = [gain.count() for gain in gains]
    free()
    for at, (gain, count) in enumerate(zip(gains, before, strict=True)):
        back[at] += (count - gain.count()) * share


def _share(gain: Gain, came: float) -> float:
    return came / gain.amount / (1 - _NOT_GIVEN_BACK if gain.metric == HEAP else 1.0)


def weighed(containers: Sequence[Grown], gains: Sequence[Gain], born: set[int]) -> float:
    """
    Return about what share of what was gained hangs on the newest entries of some containers, the least of all gains.

    What they share with others counts as theirs. Of a C type nobody knows what it keeps open, or in native memory.

    Args:
        containers: With a limit.
        gains: Whatever was gained.
        born: Identities of what was born meanwhile; what the collector does not track counts as well.

    """
    blocks, size, opaque = _weigh(containers, born)
    shares = {BLOCKS: blocks, HEAP: sys.maxsize if opaque else size}
    every = sys.maxsize if opaque else 0
    return min((shares.get(gain.metric, every) / gain.amount for gain in gains), default=1.0)


def _weigh(containers: Sequence[Grown], born: set[int]) -> tuple[int, int, bool]:
    blocks, size, opaque = 0, 0, False
    seen: set[int] = set()
    front: list[Any] = [entry for one in containers for entry in _newest(one)]
    while front and len(seen) < _MOST_WEIGHED:
        front = list({id(one): one for one in front if id(one) not in seen}.values())
        seen.update(map(id, front))
        front = [one for one in front if id(one) in born or not gc.is_tracked(one)]
        blocks += sum(_BLOCKS_OF_TRACKED if gc.is_tracked(one) else 1 for one in front)
        size += sum(large for large in map(size_of, front) if large > _SMALL_BYTES)
        opaque = opaque or any(_is_opaque(kind) for kind in {id(type(one)): type(one) for one in front}.values())
        front = [one for one in gc.get_referents(*front) if not is_a(one, type)]
    return blocks, size, opaque


def _newest(one: Grown) -> Iterable[Any]:
    """Return the newest keys and values of a dictionary; of others both ends, as new ones may come at either."""
    container = one.container
    if is_a(container, dict):
        items = list(dict.items(container))[-one.gained :]
        return [part for item in items for part in item]
    entries = list(gc.get_referents(container))
    return entries if is_a(container, set) else entries[: one.gained] + entries[-one.gained :]


def _is_opaque(kind: type) -> bool:
    """Return whether it, or one of its bases, is a type of C code that may keep more than one sees."""
    return any(id(base) not in _PLAIN and not _is_made_in_python(base) for base in mro(kind)[:-1])


def _is_made_in_python(kind: type) -> bool:
    names = {name for base in mro(kind)[:-1] for name, _ in class_names(base)}
    return (bool(_MADE_IN_PYTHON & names) and not issubclass(kind, _FILE)) or issubclass(kind, BaseException)


def stale_references(grown: Sequence[Grown], gains: Sequence[Gain]) -> Grown | None:
    """Return the list that gained nothing but weak references to what is gone, if that is what was gained at all."""
    for one in grown:
        if not is_a(one.container, list):
            continue
        new = list.__getitem__(one.container, slice(-one.gained, None))
        if all(type(entry) is ref and entry() is None for entry in new) and all(
            gain.metric == BLOCKS and one.gained >= _STALE * gain.amount for gain in gains
        ):
            return one
    return None
