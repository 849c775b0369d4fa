"""
The way up: from an object to a root, through what refers to it.

``gc.get_referrers`` takes 15 ms for a million objects, for eight objects at once 20 ms (measured, 3.10 to 3.13); an
index of all references would take half a second, and hundreds of megabytes. So the way is searched breadth-first,
one call a level.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from dataclasses import dataclass
from types import BuiltinFunctionType, FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.edges import Step
from pytest_memguard.explain.holders import Grown
from pytest_memguard.explain.naming import attributes, first_name, identities, is_a, length, type_name
from pytest_memguard.explain.roots import (
    FIXTURE,
    HOME,
    LATE,
    Roots,
    at_no_referrer,
    defines,
    home_of,
    is_machinery,
    runs_tests,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_memguard.explain.growth import Budget

__all__ = ["Climb", "Way"]

_MOST_LEVELS = 24
_WIDEST = 48
#: Of what refers to the same object in the same way, as the frames of a thousand kept tracebacks do, so many go on.
_MOST_ALIKE = 16
#: A better root is looked for so many levels above a poor one.
_FURTHER = 2
#: A container with more entries than this is not asked what it refers to.
_LARGEST = 1_000_000


@dataclass(slots=True, eq=False)
class Way:
    """A way from a root down: the steps to the first object of the chain, and the chain."""

    first: tuple[Step, ...]
    chain: list[Any]


@dataclass(slots=True, eq=False)
class _Search:
    """Objects met on the way up, and for each the one below it that it refers to."""

    pool: list[Any]
    below: list[int]
    seen: set[int]
    machinery: bool = False


class Climb:
    """
    Finds ways up.

    Args:
        roots: Where a way ends.
        born: Identities of the objects born in the runs.
        skip: Identities of objects of ours.
        budget: How long.

    """

    def __init__(self, roots: Roots, born: Iterable[int], skip: Iterable[int], budget: Budget) -> None:
        self.roots = roots
        self._born = frozenset(born)
        self._given = set(skip) | {id(roots), id(roots.__dict__), id(roots.modules)}
        self._budget = budget

    def up(self, starts: Sequence[Any], *, native: bool = True) -> Way | None:
        """
        Return the best way from a root to one of *starts*; None where only what runs the tests holds them.

        Args:
            starts: Objects to look from.
            native: Whether what C code holds, which nobody sees into, counts as a root.

        """
        self._skip = {*self._given, id(starts)}
        search = _Search(list(starts), [-1] * len(starts), set(map(id, starts)))
        level = list(range(len(starts)))
        found: list[tuple[int, int, int]] = []
        for depth in range(_MOST_LEVELS):
            found += self._roots_among(search, level, depth)
            if found and (min(found)[0] == 0 or depth >= min(found)[1] + _FURTHER):
                break
            if not level or self._budget.is_spent(f"on the way to a root, {len(search.pool):,} objects up"):
                break
            level = self._above(search, [at for at in level if not self._is_end(search.pool[at])])
        if found:
            return self._way(search, self._best(search, found))
        return None if search.machinery else self._way_from_nowhere(search, len(starts), native=native)

    def is_referred_to(self, objects: list[Any], *, besides: Sequence[Any]) -> bool:
        """Whether an object that was not born in the runs refers to one of some; *besides* are lists of ours."""
        targets = tuple(objects)
        ours = {*self._given, id(targets), id(objects), id(besides), *map(id, besides)}
        return any(
            id(one) not in ours and id(one) not in self._born and not _asks(one) for one in gc.get_referrers(*targets)
        )

    def _is_root(self, one: object) -> bool:
        return self.roots.find(one) is not None and (id(one) not in self._born or self.roots.knows(one))

    def _is_end(self, one: object) -> bool:
        """Whether nothing better is to be found above: other than above the variable of a running frame."""
        root = self.roots.find(one)
        return root is not None and root[0] != LATE and self._is_root(one)

    def _roots_among(self, search: _Search, level: list[int], depth: int) -> list[tuple[int, int, int]]:
        found = []
        for at in level:
            root = self.roots.find(search.pool[at]) if self._is_root(search.pool[at]) else None
            if root is None:
                continue
            if root[1][0].kind != "fixture" and self._is_machine_root(root[1][0]):
                search.machinery = True
                continue
            found.append((root[0], depth, at))
        return found

    def _is_machine_root(self, root: Step) -> bool:
        return runs_tests(root.name) if root.kind in ("module", "class") else False

    def _best(self, search: _Search, found: list[tuple[int, int, int]]) -> int:
        goodness, depth, at = min(found)
        alike = [one for one in found if one[:2] == (goodness, depth)]
        if len(alike) > 1 and goodness < HOME:
            alike.sort(key=lambda one: self._rank(search, one[2]))
            return alike[0][2]
        return at

    def _rank(self, search: _Search, at: int) -> tuple[bool, bool, str]:
        """Return a sorting key: modules that define the name before those that import it."""
        root = self.roots.find(search.pool[at])
        step = root[1][0] if root is not None else Step("", "", None)
        if step.kind != "module" or search.below[at] < 0:
            return (False, False, step.name)
        held = search.pool[search.below[at]]
        attribute = first_name(attributes(sys.modules.get(step.name)), held)
        is_own = home_of(held) == step.name or defines(step.name, attribute)
        return (not is_own, not attribute, step.name)

    def _way(self, search: _Search, at: int) -> Way:
        root = self.roots.find(search.pool[at])
        chain = _chain(search, at)
        first = root[1] if root is not None else at_no_referrer(chain[0])
        if first[0].kind == "module" and type(chain[0]) is dict:
            module = sys.modules.get(first[0].name)
            chain = [module, *chain] if attributes(module) is chain[0] else chain
        if first[0].kind == "fixture":
            value = next((place for place, one in enumerate(chain) if type(one) is tuple), 0)
            chain = chain[value + 1 :] or chain
            first = (Step("fixture", first[0].name, chain[0]),)
        return Way(first, chain)

    def _way_from_nowhere(self, search: _Search, starts: int, *, native: bool) -> Way | None:
        """Return the way from an object that something refers to which the collector does not see."""
        for at in reversed(range(len(search.pool))):
            is_allowed = native or at_no_referrer(search.pool[at])[0].kind != "native"
            if is_allowed and _is_held_from_outside(search.pool, at):
                break
        else:
            if not native:
                return None
            at = starts - 1
        chain = _chain(search, at)
        return Way(at_no_referrer(chain[0]), chain)

    def _above(self, search: _Search, level: list[int]) -> list[int]:
        """Return the places of the objects that refer to those of *level*, newly met."""
        if not level:
            return []
        targets = tuple([search.pool[at] for at in level])
        skip = self._skip | {id(targets), id(search.pool), id(search), id(level)}
        referrers = gc.get_referrers(*targets)
        wanted = {id(search.pool[at]): at for at in level}
        from_newborn = {at for at in level if id(search.pool[at]) in self._born}
        above: list[int] = []
        alike: Counter[tuple[int, ...]] = Counter()
        for one in sorted(referrers, key=self._promise):
            if id(one) in skip or id(one) in search.seen or id(type(one)) in _OURS:
                continue
            if _is_ours(one):
                search.machinery = search.machinery or type(one) is not FrameType
                continue
            held = _held_by(one, wanted) if len(level) > 1 else level[0]
            if held is None or (id(one) in self._born and held not in from_newborn):
                continue
            sort = (held, *_sort(one))
            alike[sort] += 1
            if alike[sort] > _MOST_ALIKE:
                continue
            search.seen.add(id(one))
            search.pool.append(one)
            search.below.append(held)
            above.append(len(search.pool) - 1)
            if len(above) >= _WIDEST:
                break
        return above

    def _promise(self, one: object) -> int:
        """Sort what leads to a root soon before what does not."""
        if type(one) is dict:
            return 0 if id(one) in self.roots.modules else 1
        return 3 if id(type(one)) in _UNPROMISING else 2


_OURS = identities(Grown, _Search, Way, Step)
_UNPROMISING = identities(list, tuple, set, FrameType)


def _asks(one: object) -> bool:
    """Whether it belongs to the search itself: one of its objects, or the frame of a function of it."""
    return id(type(one)) in _OURS or (type(one) is FrameType and is_machinery(one))


def _is_ours(one: object) -> bool:
    if type(one) is BuiltinFunctionType or is_a(one, type, ModuleType):
        return False
    return is_machinery(one) and type_name(one) != FIXTURE


def _sort(one: Any) -> tuple[int, int]:  # noqa: ANN401 - any object at all
    """Return what makes referrers alike: their type, of frames their code too."""
    return id(type(one)), id(one.f_code) if type(one) is FrameType else 0


def _held_by(one: Any, wanted: dict[int, int]) -> int | None:  # noqa: ANN401 - any object at all
    if is_a(one, ModuleType):
        return min(wanted.values())
    if (length(one) or 0) > _LARGEST:
        return None
    return next((wanted[id(held)] for held in gc.get_referents(one) if id(held) in wanted), None)


def _chain(search: _Search, at: int) -> list[Any]:
    chain = []
    while at >= 0:
        chain.append(search.pool[at])
        at = search.below[at]
    return chain


def _is_held_from_outside(pool: list[Any], at: int) -> bool:
    """Whether there are more references to an object than referrers that the collector sees."""
    one = pool[at]
    identity = id(one)
    known = 0
    for referrer in gc.get_referrers(one):
        if is_a(referrer, ModuleType):
            known += 1
        elif (length(referrer) or 0) <= _LARGEST:
            known += deque(map(id, gc.get_referents(referrer))).count(identity)
    return sys.getrefcount(one) - known > _OUR_REFERENCES


def _our_references() -> int:
    """Return the references that asking as above makes by itself: the variable and the call."""
    pool: list[Any] = [[]]
    one = pool[0]
    return sys.getrefcount(one) - len([referrer for referrer in gc.get_referrers(one) if referrer is pool])


_OUR_REFERENCES = _our_references()
