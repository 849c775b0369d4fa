"""
Objects of one type that hold one another, in chains or in circles.

Above each of them is only the next, thousands deep, so no way up comes to an end. What is asked instead is who of the
others holds any of them, and how many hang on that one.
"""

from __future__ import annotations

import gc
from itertools import chain
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.naming import identities, is_a, kinds_of, length
from pytest_memguard.explain.roots import is_machinery

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pytest_memguard.explain.growth import Budget

__all__ = ["holders_of", "links", "reach"]

#: So many objects are asked between two looks at the clock.
_BATCH = 1_000
#: What has more entries than this is no list of neighbours, and what has more than that is not asked what it holds.
_NEIGHBOURS, _LARGEST = 100, 1_000_000
#: From its dictionary of attributes to a list there to another one.
_DEEPEST = 3
_SIZED = (dict, list, tuple, set, frozenset)
_BETWEEN = identities(*_SIZED)


def links(one: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any object at all
    """Return the ways from *one* to others of its type: the containers between, each a short one, and the other."""
    kind = type(one)
    found: list[tuple[Any, ...]] = []
    ways: list[tuple[Any, ...]] = [(one,)]
    for _ in range(_DEEPEST):
        longer = [(*way, held) for way in ways for held in gc.get_referents(way[-1])]
        found += [way[1:] for way in longer if type(way[-1]) is kind and way[-1] is not one]
        ways = [way for way in longer if id(type(way[-1])) in _BETWEEN and (length(way[-1]) or 0) <= _NEIGHBOURS]
        ways = ways[:_NEIGHBOURS]
    return found


def reach(one: object, enough: int, budget: Budget) -> int:
    """Return how many of its type hang on *one*, itself included; no more than *enough* are counted."""
    seen, waiting = {id(one)}, [one]
    while waiting and len(seen) < enough and not budget.is_spent():
        for way in links(waiting.pop()):
            if id(way[-1]) not in seen:
                seen.add(id(way[-1]))
                waiting.append(way[-1])
    return len(seen)


def holders_of(
    alike: Sequence[Any], skip: Collection[int], is_root: Callable[[object], bool], budget: Budget
) -> list[tuple[Any, Any]]:
    """
    Return who else holds any of *alike*, each with one that it holds: only such as none of them holds, if there are.

    It takes one look at all objects, whatever the number of those that are sought.

    Args:
        alike: Objects of one type.
        skip: Identities of objects of ours.
        is_root: Whether an object is held by what is no object: it is its own holder then.
        budget: How long.

    """
    sought = set(map(id, alike))
    everything = gc.get_objects()
    left_out = {id(alike), id(everything), *skip, *sought}
    found: list[Any] = []
    for at in range(0, len(everything), _BATCH):
        if budget.is_spent():
            break
        batch = _to_be_asked(everything[at : at + _BATCH])
        if not sought.isdisjoint(map(id, gc.get_referents(*batch))):
            found += [one for one in batch if id(one) not in left_out and _holds(one, sought)]
    below = set(map(id, chain.from_iterable(map(gc.get_referents, alike))))
    above = [one for one in alike if is_root(one)] + [one for one in found if id(one) not in below]
    return sorted(above or found, key=lambda one: type(one) is FrameType)


def _to_be_asked(batch: list[Any]) -> list[Any]:
    """Leave out what must not be asked what it holds: modules (3.12.1 does not survive that), and what is very long."""
    doubtful = {identity for identity, kind in kinds_of(batch).items() if issubclass(kind, (*_SIZED, ModuleType))}
    return [one for one in batch if id(type(one)) not in doubtful or _may_be_asked(one)]


def _may_be_asked(one: object) -> bool:
    return not is_a(one, ModuleType) and _length(one) <= _LARGEST


def _length(one: Any) -> int:  # noqa: ANN401 - any object at all
    """Return the length of a container; ``len`` of a class of the user's would be the user's code."""
    return len(one) if id(type(one)) in _BETWEEN else length(one) or 0


def _holds(one: object, sought: set[int]) -> bool:
    is_ours = type(one) is FrameType and is_machinery(one)
    return not is_ours and not sought.isdisjoint(map(id, gc.get_referents(one)))
