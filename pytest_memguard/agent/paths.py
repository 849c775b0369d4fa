"""
Who holds what stays: the path from a root, through the container that grows, down to an object.

Paths are sought as for a test that leaks, with two differences: the thread that serves is not the one that asks, and
keys are not shown, as they may be secrets.

It brings 30,000 blocks and ``threading``: an agent that is never asked for a path does not load it.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

from pytest_memguard.agent.chains import holders_of, links, reach
from pytest_memguard.explain.climb import Climb
from pytest_memguard.explain.edges import steps
from pytest_memguard.explain.growth import Budget, newest
from pytest_memguard.explain.holders import Grown, containers_by_measure
from pytest_memguard.explain.naming import is_a
from pytest_memguard.explain.paths import type_of
from pytest_memguard.explain.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from pytest_memguard.explain.climb import Way

__all__ = ["Lengths", "find_path"]

#: Shorter containers are not remembered: there are very many, and none of them is one that grows with every request.
_SHORT = 16
#: So many containers are followed, those that gained most, and so many objects below each.
_MOST_GROWN, _MOST_BELOW = 8, 5000
#: So many of those that hold objects of a chain are followed at once.
_MOST_HOLDERS = 48

Hop = dict[str, Any]


class Lengths:
    """How many entries the containers had that were long enough, by identity."""

    def __init__(self) -> None:
        self._before: dict[int, int] | None = None

    def remember(self) -> None:
        """Remember the length of every container."""
        self._before = {id(one): length for one, length in _lengths()}

    def gained(self) -> list[tuple[Any, int]]:
        """Return the containers that gained since, and how many entries, those that gained most first."""
        before = self._before
        if before is None:
            return []
        found = [(one, length - before.get(id(one), _SHORT)) for one, length in _lengths() if one is not before]
        return sorted((pair for pair in found if pair[1] > 0), key=lambda pair: -pair[1])


def _lengths() -> Iterator[tuple[Any, int]]:
    for found, measure in containers_by_measure():
        for one in found:
            length = measure(one)
            if length >= _SHORT:
                yield one, length


def find_path(
    alike: Sequence[Any], lengths: Lengths, *, came: int = 1, least: int, budget_s: float
) -> tuple[list[Hop], str]:
    """
    Return the hops from a root down to one of *alike*, and why there are none.

    Each hop has kind, name and type, as in ``core.values.Hop``, and how many entries it has ``gained`` since lengths
    were remembered. Of objects that hold one another, the next one has gained what came, if so many hang on the first.

    Args:
        alike: All objects of one type, the oldest first; none where any container that grew will do.
        lengths: What was remembered.
        came: How many of the objects came since.
        least: Entries that a container must have gained to be one that grows.
        budget_s: Seconds that this may take.

    """
    budget = Budget(budget_s)
    search = _Search(alike, lengths, came, budget)
    for look in search.ways_to_look(least):
        hops = look()
        if hops:
            return hops, ""
    if budget.is_spent():
        return [], f"it was not found within {budget_s:g} s; a heap snapshot has all paths"
    return [], "no module, class, thread or running function was found that leads to it; a heap snapshot has all paths"


class _Search:
    """One search, and the ways to look; each returns the hops of the path that it finds, none where it finds none."""

    def __init__(self, alike: Sequence[Any], lengths: Lengths, came: int, budget: Budget) -> None:
        self._alike, self._came, self._budget = alike, came, budget
        self._grown = lengths.gained()
        self._gains = {id(one): gained for one, gained in self._grown}
        self._roots = Roots("", threading.main_thread().ident)
        self._ours = {id(alike), id(self), id(self.__dict__), id(self._grown), *map(id, self._grown)}
        self._climb = Climb(self._roots, (), self._ours, budget)

    def ways_to_look(self, least: int) -> list[Callable[[], list[Hop]]]:
        """Return them in the order in which they promise most."""
        from_grown = partial(self._from_grown, least)
        if not self._alike:
            return [from_grown]
        # One that a request in flight does not use, and the last; they stand in the order in which they were made.
        middle = len(self._alike) - 1 - min(self._came, len(self._alike)) // 2
        from_each = partial(self._from_each, (middle, -1))
        is_linked = bool(links(self._alike[middle]))
        return [from_grown, self._from_others, from_each] if is_linked else [from_grown, from_each, self._from_others]

    def _from_grown(self, least: int) -> list[Hop]:
        """Look at the containers that gained most, from each of them down and up."""
        kinds = {id(type(one)) for one in self._alike[-1:]}
        for one, gained in self._grown[:_MOST_GROWN]:
            below = _down(one, kinds, self._roots.modules) if gained >= least and not self._budget.is_spent() else []
            way = self._rooted([one]) if below else None
            if way is not None:
                return _hops(way, below, self._gains)
        return []

    def _from_each(self, places: Sequence[int]) -> list[Hop]:
        """Look from single objects up."""
        for at in places:
            way = self._rooted([self._alike[at]])
            if way is not None:
                return _hops(way, way.chain[-1:], self._gains)
        return []

    def _from_others(self) -> list[Hop]:
        """Look up from what else holds one of the objects, if as many as came hang on that one."""
        holders = holders_of(self._alike, self._ours, self._roots.knows, self._budget)[:_MOST_HOLDERS]
        way = self._rooted([one for one in holders if reach(self._first(one), self._came, self._budget) >= self._came])
        if way is None:
            return []
        holder = way.chain[-1]
        first = self._first(holder)
        below = [holder] if holder is first else [holder, first]
        further = links(first)
        if not further:
            return _hops(way, below, self._gains)
        return _hops(way, [*below, *further[0]], {**self._gains, id(further[0][-1]): self._came})

    def _first(self, holder: Any) -> Any:  # noqa: ANN401 - any object at all
        """Return the first object of the type that is looked for, of those that *holder* holds, or is."""
        kind = type(self._alike[0])
        held = [holder] if type(holder) is kind else gc.get_referents(holder)
        return next((one for one in held if type(one) is kind), holder)

    def _rooted(self, starts: Sequence[Any]) -> Way | None:
        """Return the way from a root; what C code seems to hold may only be held too deep to see."""
        return None if self._budget.is_spent() or not starts else self._climb.up(starts, native=False)


def _down(container: Any, kinds: set[int], namespaces: Collection[int]) -> list[Any]:  # noqa: ANN401 - any container
    """Return the chain from a container through its newest entry to the first object of *kinds*; empty without one."""
    entries = [value for _, value in newest(Grown(container, 0, 1))] or gc.get_referents(container)[-1:]
    if any(is_a(entry, ReferenceType) for entry in entries):
        return []  # it keeps nothing: a register, that is tidied up from time to time
    if not kinds or not entries:
        return [container, *entries]
    above: dict[int, tuple[Any, ...]] = {id(entries[0]): (entries[0],)}
    waiting = deque(above.values())
    while waiting and len(above) < _MOST_BELOW:
        chain = waiting.popleft()
        if id(type(chain[-1])) in kinds:
            return [container, *chain]
        if is_a(chain[-1], type, ModuleType) or id(chain[-1]) in namespaces:
            continue
        for one in gc.get_referents(chain[-1]):
            if id(one) not in above:
                above[id(one)] = (*chain, one)
                waiting.append(above[id(one)])
    return []


def _hops(way: Way, below: Sequence[Any], gains: dict[int, int]) -> list[Hop]:
    chain = [*way.chain, *below[1:]]
    named = [*way.first, *steps(chain, frozenset(map(id, chain)))]
    return [
        {
            "kind": step.kind,
            "name": step.name,
            "type": type_of(step),
            "gained": max(gains.get(identity, 0) for identity in (id(step.one), *step.via)),
        }
        for step in named
    ]
