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
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pytest_memguard.explain.climb import Climb
from pytest_memguard.explain.edges import steps
from pytest_memguard.explain.growth import Budget, newest
from pytest_memguard.explain.holders import Grown, containers_by_measure
from pytest_memguard.explain.paths import type_of
from pytest_memguard.explain.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_memguard.explain.climb import Way

__all__ = ["Lengths", "find_path"]

#: Shorter containers are not remembered: there are very many, and none of them is one that grows with every request.
_SHORT = 16
#: So many containers are followed, those that gained most, and so many objects below each.
_MOST_GROWN, _MOST_BELOW = 8, 5000


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
    samples: Sequence[Any], lengths: Lengths, *, least: int, budget_s: float
) -> tuple[list[dict[str, Any]], str]:
    """
    Return the hops from a root down to one of *samples*, and why there are none.

    Each hop has kind, name and type, as in ``core.values.Hop``, and how many entries it has ``gained`` since lengths
    were remembered.

    Args:
        samples: Objects of one type; none where any container that grew will do.
        lengths: What was remembered.
        least: Entries that a container must have gained to be one that grows.
        budget_s: Seconds that this may take.

    """
    grown = lengths.gained()
    gains = {id(one): gained for one, gained in grown}
    budget = Budget(budget_s)
    climb = Climb(Roots("", threading.main_thread().ident), (), {id(samples), id(grown)}, budget)
    kinds = {id(type(one)) for one in samples}
    for one, gained in grown[:_MOST_GROWN]:
        below = _down(one, kinds) if gained >= least and not budget.is_spent() else []
        way = _rooted(climb, one) if below else None
        if way is not None:
            return _hops(way, below, gains), ""
    for sample in samples:
        way = _rooted(climb, sample) if not budget.is_spent() else None
        if way is not None:
            return _hops(way, [sample], gains), ""
    if budget.is_spent():
        return [], f"it was not found within {budget_s:g} s; a heap snapshot has all paths"
    return [], "no module, class, thread or running function was found that leads to it; a heap snapshot has all paths"


def _rooted(climb: Climb, one: object) -> Way | None:
    """Return the way from a root; what C code seems to hold may only be held too deep to see."""
    way = climb.up([one])
    return None if way is None or way.first[0].kind == "native" else way


def _down(container: Any, kinds: set[int]) -> list[Any]:  # noqa: ANN401 - any container at all
    """Return the chain from a container through its newest entry to the first object of *kinds*; empty without one."""
    entries = [value for _, value in newest(Grown(container, 0, 1))] or gc.get_referents(container)[-1:]
    if not kinds or not entries:
        return [container, *entries]
    above: dict[int, tuple[Any, ...]] = {id(entries[0]): (entries[0],)}
    waiting = deque(above.values())
    while waiting and len(above) < _MOST_BELOW:
        chain = waiting.popleft()
        if id(type(chain[-1])) in kinds:
            return [container, *chain]
        if isinstance(chain[-1], (type, ModuleType)):
            continue
        for one in gc.get_referents(chain[-1]):
            if id(one) not in above:
                above[id(one)] = (*chain, one)
                waiting.append(above[id(one)])
    return []


def _hops(way: Way, below: Sequence[Any], gains: dict[int, int]) -> list[dict[str, Any]]:

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
